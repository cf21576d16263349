//! `/metrics`: the counters, for Prometheus.

use std::sync::Arc;

use super::handler::{App, Handler};
use super::path::{PathNames, VariantPath};
use super::query::Query;
use super::reply::Reply;
use super::request::Request;
use super::text::with_text;
use crate::error::{Error, Result};
use crate::metrics::CONTENT_TYPE;
use crate::metrics::variants::VariantCounters;

/// `/metrics`.
#[derive(Debug)]
pub(super) struct MetricsRequest;

impl Handler for MetricsRequest {
    fn decode(_: PathNames, _: Query) -> Result<Self> {
        Ok(Self)
    }

    fn handle(&self, app: &App, request: &Request, _: &dyn Fn() -> bool) -> Result<Reply> {
        let caches = [
            ("hour_cache", "directories", app.archive.cache_stats()),
            ("samples_cache", "the samples of segments", app.samples.stats()),
            ("picture_cache", "pictures", app.pictures.stats()),
            ("levels_cache", "the levels of sound", app.pictures.levels.stats()),
        ];
        let page = app.metrics.page(&app.archive, &caches, app.clock.now());
        let page = page.map_err(|error| Error::io("write", "the metrics")(std::io::Error::other(error)))?;
        let reply = Reply::empty(200).with("Content-Type", CONTENT_TYPE).with("Cache-Control", "no-store");
        with_text(request, reply, page)
    }
}

/// The counters of a variant; `None` for a variant that does not exist, so that clients cannot create time series.
pub(super) fn variant_counters(app: &App, path: &VariantPath) -> Option<Arc<VariantCounters>> {
    let exists = || app.archive.has_variant(path.name()).unwrap_or(false);
    app.metrics.variants.find(&path.stream, &path.variant, exists)
}
