//! `/openapi.yaml`: this API, described for programs.

use super::handler::{App, Handler};
use super::path::PathNames;
use super::query::Query;
use super::reply::Reply;
use super::request::Request;
use super::text::{text_reply, with_text};
use crate::error::Result;
use crate::fnv::Fnv;

/// The OpenAPI 3.1 document, embedded by the build.
const DOCUMENT: &str = include_str!("../../docs/openapi.yaml");

/// `/openapi.yaml`.
#[derive(Debug)]
pub(super) struct OpenApiRequest;

impl Handler for OpenApiRequest {
    fn decode(_: PathNames, _: Query) -> Result<Self> {
        Ok(Self)
    }

    fn handle(&self, _: &App, request: &Request, _: &dyn Fn() -> bool) -> Result<Reply> {
        let mut tag = Fnv::new();
        tag.write_str(DOCUMENT);
        text_reply(request, "application/yaml", "max-age=3600", tag, |reply| {
            with_text(request, reply, DOCUMENT.into())
        })
    }
}
