//! Requests and their responses by endpoint, method and status.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use prometheus::{
    Histogram, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Registry, Result, histogram_opts,
    register_histogram_vec_with_registry, register_int_counter_vec_with_registry,
    register_int_gauge_vec_with_registry,
};

/// The endpoint of what is no request, or of a path that does not exist.
pub const UNKNOWN_ENDPOINT: &str = "unknown";

/// The methods that have a label of their own, and the label of all others.
const METHODS: [&str; 5] = ["GET", "HEAD", "OPTIONS", "POST", OTHER_METHOD];
const OTHER_METHOD: &str = "other";
const LATENCY_BUCKETS_SECONDS: [f64; 14] =
    [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];
/// The first bucket of response sizes, the factor between buckets, and their number.
const SIZE_BUCKETS_BYTES: (f64, f64, usize) = (1.0, 4.0, 16);

/// The series of all endpoints.
#[derive(Debug)]
pub(super) struct Responses {
    concurrency: IntGaugeVec,
    latency: HistogramVec,
    size: HistogramVec,
    aborted: IntCounterVec,
    /// Looked up before, by endpoint, method and status.
    series: RwLock<HashMap<(&'static str, &'static str, u16), Series>>,
}

/// The histograms of one kind of response.
#[derive(Debug, Clone)]
struct Series {
    latency: Histogram,
    size: Histogram,
}

impl Responses {
    /// Registers the series. Each of `endpoints` begins with a concurrency of 0 for each method.
    pub(super) fn new(registry: &Registry, endpoints: &[&'static str]) -> Result<Self> {
        let labels = ["endpoint", "method", "status"];
        let help = "Seconds from a request's last byte until the response to it is ready.";
        let latency = histogram_opts!("http_request_latency_all", help, LATENCY_BUCKETS_SECONDS.to_vec());
        let (first, factor, count) = SIZE_BUCKETS_BYTES;
        let buckets = prometheus::exponential_buckets(first, factor, count)?;
        let size = histogram_opts!("http_response_size_all", "Bytes of body sent of a response.", buckets);
        let concurrency = register_int_gauge_vec_with_registry!(
            "http_request_concurrency_all",
            "Requests that are being answered.",
            &["endpoint", "method"],
            registry
        )?;
        for endpoint in endpoints.iter().chain([&UNKNOWN_ENDPOINT]) {
            for method in METHODS {
                concurrency.with_label_values(&[*endpoint, method]);
            }
        }
        Ok(Self {
            concurrency,
            latency: register_histogram_vec_with_registry!(latency, &labels, registry)?,
            size: register_histogram_vec_with_registry!(size, &labels, registry)?,
            aborted: register_int_counter_vec_with_registry!(
                "aborted_responses_total",
                "Responses that ended before their end.",
                &["endpoint", "reason"],
                registry
            )?,
            series: RwLock::default(),
        })
    }

    /// The gauge of requests that are being answered.
    pub(super) fn concurrency(&self, endpoint: &'static str, method: &'static str) -> IntGauge {
        self.concurrency.with_label_values(&[endpoint, method])
    }

    /// Counts a response.
    #[allow(clippy::cast_precision_loss, reason = "histograms hold f64")]
    pub(super) fn observe(
        &self,
        labels: (&'static str, &'static str, u16),
        latency_seconds: f64,
        size_bytes: u64,
    ) {
        let series = self.series(labels);
        series.latency.observe(latency_seconds);
        series.size.observe(size_bytes as f64);
    }

    /// Counts a response that ended before its end.
    pub(super) fn aborted(&self, endpoint: &'static str, reason: &str) {
        self.aborted.with_label_values(&[endpoint, reason]).inc();
    }

    fn series(&self, labels: (&'static str, &'static str, u16)) -> Series {
        if let Some(series) = self.series.read().unwrap_or_else(PoisonError::into_inner).get(&labels) {
            return series.clone();
        }
        let (endpoint, method, status) = labels;
        let status = status.to_string();
        let values = [endpoint, method, &status];
        let series = Series {
            latency: self.latency.with_label_values(&values),
            size: self.size.with_label_values(&values),
        };
        self.series.write().unwrap_or_else(PoisonError::into_inner).insert(labels, series.clone());
        series
    }
}

/// The label of a method, and the method itself without a copy where it is its own label.
pub(super) fn method_label(method: &str) -> (&'static str, Cow<'static, str>) {
    match METHODS.iter().find(|known| **known == method) {
        Some(known) => (known, Cow::Borrowed(known)),
        None => (OTHER_METHOD, Cow::Owned(method.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::{Encoder, TextEncoder};

    #[test]
    fn responses_are_counted_by_endpoint_method_and_status() {
        let registry = Registry::new();
        let responses = Responses::new(&registry, &["home"]).expect("counters");
        for status in [200, 200, 404] {
            responses.observe(("home", "GET", status), 0.25, 300);
        }
        let mut page = Vec::new();
        TextEncoder::new().encode(&registry.gather(), &mut page).expect("a page");
        let page = String::from_utf8(page).expect("text");
        for line in [
            r#"http_request_latency_all_bucket{endpoint="home",method="GET",status="200",le="0.1"} 0"#,
            r#"http_request_latency_all_bucket{endpoint="home",method="GET",status="200",le="0.5"} 2"#,
            r#"http_request_latency_all_bucket{endpoint="home",method="GET",status="200",le="600"} 2"#,
            r#"http_request_latency_all_sum{endpoint="home",method="GET",status="200"} 0.5"#,
            r#"http_response_size_all_bucket{endpoint="home",method="GET",status="404",le="256"} 0"#,
            r#"http_response_size_all_bucket{endpoint="home",method="GET",status="404",le="1024"} 1"#,
            r#"http_response_size_all_bucket{endpoint="home",method="GET",status="404",le="1073741824"} 1"#,
            r#"http_response_size_all_sum{endpoint="home",method="GET",status="404"} 300"#,
            r#"http_request_concurrency_all{endpoint="home",method="POST"} 0"#,
            r#"http_request_concurrency_all{endpoint="unknown",method="other"} 0"#,
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
        }
    }
}
