//! `/coverage/…`: when something was recorded, as JSON for programs and as a picture for people.

mod covered;
mod days;
mod json;
mod picture;

use self::covered::CoverageRequest;
use self::json::write_json;
use self::picture::Picture;
use super::handler::{App, Handler};
use super::path::PathNames;
use super::playlists::with_range;
use super::query::Query;
use super::reply::Reply;
use super::request::Request;
use super::text::{text_reply, with_streamed_text, with_text};
use crate::archive::coverage::MAX_KEPT_RANGES;
use crate::error::Result;

/// Browsers may open a picture as a document of this server. It runs nothing and loads nothing.
const PICTURE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; sandbox";

/// `/coverage/{stream}.json`, `/coverage/{stream}/{variant}.json`.
#[derive(Debug)]
pub(super) struct CoverageJsonRequest(CoverageRequest);

/// `/coverage/{stream}.svg`, `/coverage/{stream}/{variant}.svg`.
#[derive(Debug)]
pub(super) struct CoveragePictureRequest(CoverageRequest);

impl Handler for CoverageJsonRequest {
    fn decode(names: PathNames, query: Query) -> Result<Self> {
        CoverageRequest::read(names, query).map(Self)
    }

    fn handle(&self, app: &App, request: &Request, is_cancelled: &dyn Fn() -> bool) -> Result<Reply> {
        let covered = self.0.covered(app, is_cancelled)?;
        let span = covered.relative_span();
        let reply = text_reply(request, "application/json", "max-age=1", covered.tag("json"), |reply| {
            if covered.ranges() > MAX_KEPT_RANGES {
                return Ok(with_streamed_text(request, reply, move |out| write_json(&covered, out)));
            }
            let mut text = Vec::new();
            write_json(&covered, &mut text)?;
            with_text(request, reply, text)
        })?;
        Ok(with_range(reply, span))
    }
}

impl Handler for CoveragePictureRequest {
    fn decode(names: PathNames, query: Query) -> Result<Self> {
        CoverageRequest::read(names, query).map(Self)
    }

    fn handle(&self, app: &App, request: &Request, is_cancelled: &dyn Fn() -> bool) -> Result<Reply> {
        let covered = self.0.covered(app, is_cancelled)?;
        let reply = text_reply(request, "image/svg+xml", "max-age=1", covered.tag("svg"), |reply| {
            with_text(request, reply, Picture::new(&covered, is_cancelled)?.render())
        })?;
        let reply = reply.with("Content-Security-Policy", PICTURE_POLICY);
        Ok(with_range(reply.with("X-Content-Type-Options", "nosniff"), covered.relative_span()))
    }
}
