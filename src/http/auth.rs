//! Who may ask. Everyone may: where access is restricted, a proxy in front does it.
//!
//! Dispatch applies the policy to every request before anything else, and in one place. A server that checks tokens
//! needs another [`Policy`] here and a way to choose it, and no change of a handler.

use super::reply::Reply;
use super::request::Request;

/// Lets a request pass, or gives the response that refuses it. Called by the workers, so it may block on the disk.
pub type Policy = fn(&Request) -> Result<(), Reply>;

/// Lets every request pass.
pub fn everyone(_: &Request) -> Result<(), Reply> {
    Ok(())
}
