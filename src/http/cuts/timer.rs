//! How long cuts take, and how they end.

use std::sync::Arc;
use std::time::Instant;

use crate::metrics::Metrics;

/// Records duration and result of a cut when it is dropped.
pub(super) struct CutTimer {
    metrics: Arc<Metrics>,
    cut_type: &'static str,
    started: Instant,
    pub(super) result: &'static str,
}

impl CutTimer {
    /// Starts a timer. `result` is recorded unless it is replaced.
    pub(super) fn start(metrics: &Arc<Metrics>, cut_type: &'static str, result: &'static str) -> Self {
        Self { metrics: Arc::clone(metrics), cut_type, started: Instant::now(), result }
    }
}

impl Drop for CutTimer {
    fn drop(&mut self) {
        self.metrics.cut_ended(self.cut_type, self.result, self.started.elapsed().as_secs_f64());
    }
}
