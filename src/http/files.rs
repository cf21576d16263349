//! `/files…`: what the archive has, as JSON arrays.

use std::sync::Arc;

use super::App;
use super::reply::{Body, Reply};
use super::request::Request;
use super::route::Variant;
use super::text::{Conditional, TextHead, gzip, is_compressed, tag_of};
use crate::archive::layout::hour_name;
use crate::archive::listing::NamesJson;
use crate::error::Result;

/// The names of the streams.
pub(super) fn streams(app: &App, request: &Request) -> Result<Reply> {
    json_array(request, &app.archive.streams()?)
}

/// The names of a stream's variants.
pub(super) fn variants(app: &App, request: &Request, stream: &str) -> Result<Reply> {
    json_array(request, &app.archive.variants(stream)?)
}

/// The hours of a variant.
pub(super) fn hours(app: &App, request: &Request, of: &Variant) -> Result<Reply> {
    let hours = app.archive.hours(of.name())?;
    json_array(request, &hours.iter().copied().map(hour_name).collect::<Vec<_>>())
}

/// The names of an hour's files.
pub(super) fn names(
    app: &App,
    request: &Request,
    of: &Variant,
    hour: &str,
    tombstones: bool,
) -> Result<Reply> {
    let listing = app.archive.listing(of.name(), hour)?;
    json_reply(request, if tombstones { &listing.with_tombstones } else { &listing.visible })
}

/// Sorted names as a reply.
fn json_array(request: &Request, names: &[String]) -> Result<Reply> {
    json_reply(request, &NamesJson::new(names)?)
}

fn json_reply(request: &Request, names: &NamesJson) -> Result<Reply> {
    let head = TextHead {
        content_type: "application/json",
        cache_control: "max-age=1",
        tag: tag_of(&("array", names.fingerprint())),
    };
    Ok(match head.begin(request) {
        Conditional::Unchanged(reply) => reply,
        Conditional::Wanted(reply) if is_compressed(request, names.json().len()) => {
            let compressed = Arc::clone(names.compressed(gzip)?);
            reply.with("Content-Encoding", "gzip").with_body(Body::bytes(compressed))
        }
        Conditional::Wanted(reply) => reply.with_body(Body::bytes(Arc::clone(names.json()))),
    })
}
