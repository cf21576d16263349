//! `/files…`: what the archive has, as JSON arrays.

use super::App;
use super::reply::Reply;
use super::request::Request;
use super::route::Variant;
use super::text::{TextHead, tag_of};
use crate::error::{Error, Result};

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
    json_array(request, &hours.iter().map(ToString::to_string).collect::<Vec<_>>())
}

/// The names of an hour's files.
pub(super) fn names(
    app: &App,
    request: &Request,
    of: &Variant,
    hour: &str,
    tombstones: bool,
) -> Result<Reply> {
    json_array(request, &app.archive.names(of.name(), hour, tombstones)?)
}

/// Sorted names as a reply.
fn json_array(request: &Request, names: &[String]) -> Result<Reply> {
    let head = TextHead {
        content_type: "application/json",
        cache_control: "max-age=1",
        tag: tag_of(&("array", names)),
    };
    head.reply(request, || {
        serde_json::to_vec(names).map_err(|error| Error::io("write JSON for", "a list")(error.into()))
    })
}
