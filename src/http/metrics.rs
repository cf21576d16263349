//! `/metrics`: what was counted, and what requests are counted as.

use std::borrow::Cow;
use std::sync::Arc;

use percent_encoding::percent_decode_str;

use super::app::App;
use super::reply::Reply;
use super::request::Request;
use super::route::Shape;
use super::text::with_text;
use crate::archive::VariantName;
use crate::error::{Error, Result};
use crate::metrics::exchange::Endpoint;
use crate::metrics::variants::Variant;
use crate::metrics::{ArchiveState, CONTENT_TYPE};
use crate::timestamp::Timestamp;

/// The page that monitors read.
pub(super) fn page(app: &App, request: &Request) -> Result<Reply> {
    let (cache, now) = (app.archive.cache_stats(), app.clock.now());
    let newest = app.archive.newest_segment_ends();
    let age = |end: Timestamp| {
        #[allow(clippy::cast_precision_loss, reason = "an age in seconds")]
        let micros = (now - end).micros() as f64;
        micros / 1e6
    };
    let state = ArchiveState {
        unparsable_names: app.archive.unparsable_names_total(),
        cache_hits: cache.hits,
        cache_misses: cache.misses,
        cache_hours: cache.hours,
        cache_bytes: cache.bytes,
        newest: (newest.iter())
            .map(|newest| (newest.stream.clone(), newest.variant.clone(), age(newest.end)))
            .collect(),
    };
    let page = app.metrics.page(&state);
    let page = page.map_err(|error| Error::io("write", "the metrics")(std::io::Error::other(error)))?;
    let reply = Reply::empty(200).with("Content-Type", CONTENT_TYPE).with("Cache-Control", "no-store");
    with_text(request, reply, page)
}

/// What a request is counted as.
pub(super) fn endpoint(shape: Shape) -> Endpoint {
    match shape {
        Shape::Home => Endpoint::Home,
        Shape::Health => Endpoint::Health,
        Shape::Metrics => Endpoint::Metrics,
        Shape::OpenApi => Endpoint::OpenApi,
        Shape::Streams => Endpoint::ListStreams,
        Shape::Variants(_) => Endpoint::ListVariants,
        Shape::Hours(_) => Endpoint::ListHours,
        Shape::Names(_) => Endpoint::ListSegments,
        Shape::File(_) => Endpoint::Segments,
        Shape::Multivariant(_) => Endpoint::GenerateMasterPlaylist,
        Shape::Media(_) => Endpoint::GenerateMediaPlaylist,
        Shape::Cut(_) => Endpoint::Cut,
    }
}

/// The variant that a request is about, if there is one.
pub(super) fn variant(app: &App, shape: Shape) -> Option<Arc<Variant>> {
    let (stream, variant) = match shape {
        Shape::Hours([stream, variant])
        | Shape::Names([stream, variant, _])
        | Shape::Media([stream, variant])
        | Shape::Cut([stream, variant]) => (stream, variant),
        Shape::File(path) => {
            let (stream, below) = path.split_once('/')?;
            (stream, below.split_once('/')?.0)
        }
        _ => return None,
    };
    let (stream, variant) = (name(stream)?, name(variant)?);
    app.metrics.variants.find(&stream, &variant, || {
        let name = VariantName { stream: &stream, variant: &variant };
        app.archive.has_variant(name).unwrap_or(false)
    })
}

/// A part of a path as the name of something that can be seen.
fn name(part: &str) -> Option<Cow<'_, str>> {
    let name = percent_decode_str(part).decode_utf8().ok()?;
    let hidden = name.is_empty() || name.starts_with('.') || name.contains(['/', '\\', '\0']);
    (!hidden).then_some(name)
}
