//! `/metrics`: the counters, for Prometheus.

use std::sync::Arc;

use super::handler::{App, Handler};
use super::path::{PathNames, VariantPath};
use super::query::Query;
use super::reply::Reply;
use super::request::Request;
use super::text::with_text;
use crate::error::{Error, Result};
use crate::metrics::variants::VariantCounters;
use crate::metrics::{ArchiveState, CONTENT_TYPE};
use crate::timestamp::Timestamp;

/// `/metrics`.
#[derive(Debug)]
pub(super) struct MetricsRequest;

impl Handler for MetricsRequest {
    fn decode(_: PathNames, _: Query) -> Result<Self> {
        Ok(Self)
    }

    fn handle(&self, app: &App, request: &Request, _: &dyn Fn() -> bool) -> Result<Reply> {
        let page = app.metrics.page(&archive_state(app));
        let page = page.map_err(|error| Error::io("write", "the metrics")(std::io::Error::other(error)))?;
        let reply = Reply::empty(200).with("Content-Type", CONTENT_TYPE).with("Cache-Control", "no-store");
        with_text(request, reply, page)
    }
}

/// The counters that the archive keeps itself, and the age of each variant's newest segment.
fn archive_state(app: &App) -> ArchiveState {
    let (cache, now) = (app.archive.cache_stats(), app.clock.now());
    let newest = app.archive.newest_segment_ends();
    let age = |end: Timestamp| {
        #[allow(clippy::cast_precision_loss, reason = "an age in seconds")]
        let micros = (now - end).micros() as f64;
        micros / 1e6
    };
    ArchiveState {
        unparsable_names: app.archive.unparsable_names_total(),
        cache_hits: cache.hits,
        cache_misses: cache.misses,
        cache_hours: cache.hours,
        cache_bytes: cache.bytes,
        newest: (newest.iter())
            .map(|newest| (newest.stream.clone(), newest.variant.clone(), age(newest.end)))
            .collect(),
    }
}

/// The counters of a variant; `None` for a variant that does not exist, so that clients cannot create time series.
pub(super) fn variant_counters(app: &App, path: &VariantPath) -> Option<Arc<VariantCounters>> {
    let exists = || app.archive.has_variant(path.name()).unwrap_or(false);
    app.metrics.variants.find(&path.stream, &path.variant, exists)
}
