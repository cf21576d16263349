//! `/openapi.yaml`: what this server can be asked, and what it answers, for programs.

use super::reply::Reply;
use super::request::Request;
use super::text::{TextHead, tag_of};
use crate::error::Result;

/// The document, as it was when this server was built.
const DOCUMENT: &str = include_str!("../../docs/openapi.yaml");

/// The API as OpenAPI 3.1. It changes only when the server does.
pub(super) fn document(request: &Request) -> Result<Reply> {
    let head =
        TextHead { content_type: "application/yaml", cache_control: "max-age=3600", tag: tag_of(&DOCUMENT) };
    head.reply(request, || Ok(DOCUMENT.as_bytes().to_vec()))
}
