//! The metrics of one request, from its last byte until its response has ended or was aborted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

pub use super::in_flight::{CurrentRequest, InFlightRequest, InFlightRequests};
use super::registry::{METHODS, Metrics};
use super::variants::VariantCounters;

/// Counts one request.
#[derive(Debug)]
pub struct RequestMetrics {
    metrics: Arc<Metrics>,
    request: Arc<InFlightRequest>,
    /// The labels `endpoint` and `method`.
    labels: [&'static str; 2],
    /// The variant that the request is for, if it is for one.
    pub variant: Option<Arc<VariantCounters>>,
    /// 0 until it is known.
    status: u16,
    latency: Duration,
    ended: bool,
}

impl RequestMetrics {
    /// Counts a request in progress. `begun` is when its last byte was received.
    pub fn begin(
        metrics: &Arc<Metrics>,
        endpoint: &'static str,
        client: SocketAddr,
        method: &str,
        target: &str,
        begun: Instant,
    ) -> Self {
        let known_method = METHODS.into_iter().find(|known| *known == method);
        let labels = [endpoint, known_method.unwrap_or("other")];
        metrics.concurrency.with_label_values(&labels).inc();
        let request = metrics.in_flight.insert(client, method, target, begun);
        let (metrics, latency) = (Arc::clone(metrics), Duration::ZERO);
        Self { metrics, request, labels, variant: None, status: 0, latency, ended: false }
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

    /// The entry in the table of requests in progress.
    pub fn request(&self) -> &Arc<InFlightRequest> {
        &self.request
    }

    /// Counts the response, with the reason if it was aborted. Only the first call counts.
    #[allow(clippy::cast_precision_loss, reason = "histograms hold f64")]
    pub fn end(&mut self, aborted: Option<&'static str>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let (metrics, [endpoint, method]) = (&*self.metrics, self.labels);
        metrics.in_flight.remove(&self.request);
        metrics.concurrency.with_label_values(&self.labels).dec();
        if let Some(reason) = aborted {
            metrics.aborted.with_label_values(&[endpoint, reason]).inc();
        }
        // Without a status there was no response.
        if self.status != 0 {
            let (status, bytes) = (self.status.to_string(), self.request.sent.load(Ordering::Relaxed));
            let labels = [endpoint, method, &status];
            metrics.latency.with_label_values(&labels).observe(self.latency.as_secs_f64());
            metrics.size.with_label_values(&labels).observe(bytes as f64);
            if let Some(variant) = &self.variant {
                metrics.variants.count(variant, endpoint, self.status, bytes);
            }
        }
    }
}

impl Drop for RequestMetrics {
    /// A request is dropped before its end if its worker panics or the server stops.
    fn drop(&mut self) {
        self.end(Some(if std::thread::panicking() { "panic" } else { "shutdown" }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::Archive;
    use crate::timestamp::Timestamp;

    #[test]
    fn a_request_is_counted_once_by_endpoint_method_and_status() {
        let metrics = Metrics::new(&["home"]).expect("counters");
        let begin = |method: &str| {
            let (client, begun) = (SocketAddr::from(([127, 0, 0, 1], 80)), Instant::now());
            RequestMetrics::begin(&metrics, "home", client, method, "/", begun)
        };
        let mut ended = begin("GET");
        ended.ready(500);
        ended.ready(200);
        ended.sent(100);
        ended.sent(200);
        ended.end(None);
        ended.end(Some("client_closed"));
        drop(ended);
        let mut aborted = begin("BREW");
        aborted.ready(404);
        aborted.end(Some("client_closed"));
        drop(begin("GET"));
        let _in_flight = begin("HEAD");
        let page = metrics.page(&Archive::new("/nowhere", 0), &[], Timestamp::MIN).expect("a page");
        let page = String::from_utf8(page).expect("text");
        for line in [
            r#"http_request_latency_all_bucket{endpoint="home",method="GET",status="200",le="600"} 1"#,
            r#"http_response_size_all_bucket{endpoint="home",method="GET",status="200",le="256"} 0"#,
            r#"http_response_size_all_bucket{endpoint="home",method="GET",status="200",le="1024"} 1"#,
            r#"http_response_size_all_bucket{endpoint="home",method="GET",status="200",le="1073741824"} 1"#,
            r#"http_response_size_all_sum{endpoint="home",method="GET",status="200"} 300"#,
            r#"http_request_latency_all_count{endpoint="home",method="other",status="404"} 1"#,
            r#"aborted_responses_total{endpoint="home",reason="client_closed"} 1"#,
            r#"aborted_responses_total{endpoint="home",reason="shutdown"} 1"#,
            r#"http_request_concurrency_all{endpoint="home",method="GET"} 0"#,
            r#"http_request_concurrency_all{endpoint="home",method="HEAD"} 1"#,
            r#"http_request_concurrency_all{endpoint="home",method="POST"} 0"#,
            r#"http_request_concurrency_all{endpoint="unknown",method="other"} 0"#,
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
        }
        assert_eq!(page.matches("http_request_latency_all_count{").count(), 2, "{page}");
        assert_eq!(metrics.in_flight.all().len(), 1);
    }
}
