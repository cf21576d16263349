//! The metrics of one request, from when it is complete until its response has ended in whichever way.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use prometheus::IntGauge;

pub use super::in_flight::{CurrentRequest, InFlightRequest, InFlightRequests};
use super::registry::Metrics;
use super::responses::method_label;
use super::variants::VariantCounters;

/// Counts one request.
#[derive(Debug)]
pub struct RequestMetrics {
    metrics: Arc<Metrics>,
    request: Arc<InFlightRequest>,
    endpoint: &'static str,
    method: &'static str,
    concurrency: IntGauge,
    variant: Option<Arc<VariantCounters>>,
    /// 0 until it is known.
    status: u16,
    latency: Duration,
    ended: bool,
}

impl RequestMetrics {
    /// Begins to count a request that was complete at `begun`.
    pub fn begin(
        metrics: &Arc<Metrics>,
        endpoint: &'static str,
        client: SocketAddr,
        method: &str,
        target: &str,
        begun: Instant,
    ) -> Self {
        let (label, method) = method_label(method);
        let concurrency = metrics.responses.concurrency(endpoint, label);
        concurrency.inc();
        Self {
            request: metrics.in_flight.insert(client, method, target, begun),
            metrics: Arc::clone(metrics),
            endpoint,
            method: label,
            concurrency,
            variant: None,
            status: 0,
            latency: Duration::ZERO,
            ended: false,
        }
    }

    /// Sets the variant that the request is for, if it is for one.
    pub fn set_variant(&mut self, variant: Option<Arc<VariantCounters>>) {
        self.variant = variant;
    }

    /// Notes that the response is ready to be sent. The last call counts, should another response take its place.
    pub fn ready(&mut self, status: u16) {
        self.status = status;
        self.latency = self.request.begun.elapsed();
    }

    /// The status of the response; 0 before [`Self::ready`].
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Notes that bytes of the body were sent.
    pub fn sent(&self, bytes: u64) {
        self.request.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The request, as the table of in-flight requests has it.
    pub fn request(&self) -> &Arc<InFlightRequest> {
        &self.request
    }

    /// Counts the response, which was aborted for the given reason or complete. Only the first call counts.
    pub fn end(&mut self, aborted: Option<&'static str>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let Self { metrics, request, endpoint, method, status, latency, .. } = self;
        metrics.in_flight.remove(request);
        self.concurrency.dec();
        if let Some(reason) = aborted {
            metrics.responses.aborted(endpoint, reason);
        }
        // Without a status there was no response.
        if *status != 0 {
            let sent = request.sent.load(Ordering::Relaxed);
            metrics.responses.observe((endpoint, method, *status), latency.as_secs_f64(), sent);
            if let Some(variant) = &self.variant {
                metrics.variants.count(variant, endpoint, *status, sent);
            }
        }
    }
}

impl Drop for RequestMetrics {
    /// A request that did not end has panicked, or the server stops.
    fn drop(&mut self) {
        self.end(Some(if std::thread::panicking() { "panic" } else { "shutdown" }));
    }
}
