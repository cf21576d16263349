//! Access control. Every request is allowed; a proxy in front can restrict access.
//!
//! Dispatch applies the policy to each request, in one place, before it calls a handler. A server that checks tokens
//! needs another [`Policy`] here and a way to choose it, but no change to a handler.

use super::reply::Reply;
use super::request::Request;

/// Lets a request pass, or gives the response that refuses it. Called by the workers, so it may block on the disk.
pub type Policy = fn(&Request) -> Result<(), Reply>;

/// Lets every request pass.
pub fn everyone(_: &Request) -> Result<(), Reply> {
    Ok(())
}
