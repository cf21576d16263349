//! All metrics of one server, and the page that has them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus::proto::MetricFamily;
use prometheus::{
    Counter, Encoder, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Registry, Result, TextEncoder,
    exponential_buckets, register_counter_with_registry as float_counter,
    register_gauge_vec_with_registry as float_gauges, register_histogram_vec_with_registry as histograms,
    register_int_counter_vec_with_registry as counters, register_int_counter_with_registry as counter,
    register_int_gauge_vec_with_registry as gauges, register_int_gauge_with_registry as gauge,
};

use super::in_flight::InFlightRequests;
use super::pools::Pools;
use super::process;
use super::variants::Variants;
use crate::archive::{Archive, NewestSegment};
use crate::bounded_cache::CacheStats;
use crate::timestamp::Timestamp;

/// The endpoint of malformed requests and of unknown paths.
pub const UNKNOWN_ENDPOINT: &str = "unknown";
/// The methods that have a label of their own, and the label of all others.
pub(super) const METHODS: [&str; 5] = ["GET", "HEAD", "OPTIONS", "POST", "other"];

const LATENCY_BUCKETS_SECONDS: [f64; 14] =
    [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];
const CUT_BUCKETS_SECONDS: [f64; 12] =
    [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0];

/// All metrics of one server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    pub(super) concurrency: IntGaugeVec,
    pub(super) latency: HistogramVec,
    pub(super) size: HistogramVec,
    pub(super) aborted: IntCounterVec,
    /// The requests in progress.
    pub in_flight: InFlightRequests,
    /// Requests by variant.
    pub variants: Variants,
    /// The worker pools.
    pub pools: Pools,
    /// The connections.
    pub connections: Connections,
    cut_seconds: HistogramVec,
    cut_output_bytes: IntCounter,
    fmp4_frames_left_out: IntCounter,
    waveform_decoded_seconds: Counter,
}

/// The metrics of connections.
#[derive(Debug)]
pub struct Connections {
    /// All that are open.
    pub open: AtomicUsize,
    /// Those that are idle, reading, or sending; the rest is working.
    counts: [AtomicUsize; 3],
    states: IntGaugeVec,
    dropped: IntCounterVec,
}

impl Metrics {
    /// Metrics that are all zero. Each of `endpoints`, and `unknown`, begins with a concurrency of 0 for each method.
    /// Fails only if two metrics have one name, which would be a bug.
    pub fn new(endpoints: &[&'static str]) -> Result<Arc<Self>> {
        let registry = Registry::new();
        let help = "Requests in progress.";
        let concurrency = gauges!("http_request_concurrency_all", help, &["endpoint", "method"], registry)?;
        for endpoint in endpoints.iter().chain([&UNKNOWN_ENDPOINT]) {
            for method in METHODS {
                concurrency.with_label_values(&[*endpoint, method]);
            }
        }
        let response = ["endpoint", "method", "status"];
        let help = "Seconds from the last byte of a request until its response is ready.";
        let buckets = LATENCY_BUCKETS_SECONDS.to_vec();
        let latency = histograms!("http_request_latency_all", help, &response, buckets, registry)?;
        let (help, buckets) = ("Bytes of response bodies sent.", exponential_buckets(1.0, 4.0, 16)?);
        let size = histograms!("http_response_size_all", help, &response, buckets, registry)?;
        let (help, labels) = ("Responses that were aborted.", ["endpoint", "reason"]);
        let aborted = counters!("aborted_responses_total", help, &labels, registry)?;
        let (help, labels) = ("Duration of cuts in seconds.", ["type", "result"]);
        let buckets = CUT_BUCKETS_SECONDS.to_vec();
        let cut_seconds = histograms!("cut_seconds", help, &labels, buckets, registry)?;
        let help = "Bytes produced by full and smart cuts.";
        let cut_output_bytes = counter!("cut_output_bytes_total", help, registry)?;
        let help = "Frames that fragments of MP4 leave out because they go on in the next segment.";
        let fmp4_frames_left_out = counter!("fmp4_frames_left_out_total", help, registry)?;
        let help = "Seconds of sound that were decoded for waveforms.";
        let waveform_decoded_seconds = float_counter!("waveform_decoded_seconds_total", help, registry)?;
        Ok(Arc::new(Self {
            concurrency,
            latency,
            size,
            aborted,
            in_flight: InFlightRequests::default(),
            variants: Variants::new(&registry)?,
            pools: Pools::new(&registry)?,
            connections: Connections::new(&registry)?,
            cut_seconds,
            cut_output_bytes,
            fmp4_frames_left_out,
            waveform_decoded_seconds,
            registry,
        }))
    }

    /// Counts a cut, by its type and its result.
    pub fn cut_ended(&self, cut_type: &str, result: &str, seconds: f64) {
        self.cut_seconds.with_label_values(&[cut_type, result]).observe(seconds);
    }

    /// Counts bytes that a full or smart cut has produced.
    pub fn cut_wrote(&self, bytes: usize) {
        self.cut_output_bytes.inc_by(bytes as u64);
    }

    /// Counts frames that a fragment of MP4 leaves out.
    pub fn left_frames_out(&self, frames: u64) {
        self.fmp4_frames_left_out.inc_by(frames);
    }

    /// Counts sound that was decoded for a waveform.
    pub fn decoded_for_waveform(&self, seconds: f64) {
        self.waveform_decoded_seconds.inc_by(seconds);
    }

    /// The page in Prometheus's text format. `caches` have prefixes of metrics, and what is in them. Fails only if a metric
    /// cannot be written, which would be a bug.
    pub fn page(
        &self,
        archive: &Archive,
        caches: &[(&str, &str, CacheStats)],
        now: Timestamp,
    ) -> Result<Vec<u8>> {
        for (state, count) in self.connections.states() {
            self.connections.states.with_label_values(&[state]).set(count.cast_signed() as i64);
        }
        let mut families = self.registry.gather();
        families.extend(process::gather());
        families.extend(gather_archive(archive, now)?);
        families.extend(gather_caches(caches)?);
        let mut page = Vec::with_capacity(64 * 1024);
        TextEncoder::new().encode(&families, &mut page)?;
        Ok(page)
    }
}

impl Connections {
    fn new(registry: &Registry) -> Result<Self> {
        let help = "Connections that were refused or closed by the server, by the reason.";
        let states = gauges!("connections", "Open connections by state.", &["state"], registry)?;
        let dropped = counters!("connections_dropped_total", help, &["reason"], registry)?;
        Ok(Self { open: AtomicUsize::new(0), counts: Default::default(), states, dropped })
    }

    /// Counts a connection that was refused or closed by the server.
    pub fn dropped(&self, reason: &'static str) {
        self.dropped.with_label_values(&[reason]).inc();
    }

    /// Sets the number of connections in three of the states. The rest of those that are open is `working`.
    pub fn set_states(&self, idle: usize, reading: usize, sending: usize) {
        for (count, now) in self.counts.iter().zip([idle, reading, sending]) {
            count.store(now, Ordering::Relaxed);
        }
    }

    /// How many connections are in each state.
    pub fn states(&self) -> [(&'static str, usize); 4] {
        let [idle, reading, sending] = self.counts.each_ref().map(|count| count.load(Ordering::Relaxed));
        let working = self.open.load(Ordering::Relaxed).saturating_sub(idle + reading + sending);
        [("idle", idle), ("reading", reading), ("working", working), ("sending", sending)]
    }
}

/// The metrics of the archive. Their registry is created each time, because the archive counts itself and variants come and go.
fn gather_archive(archive: &Archive, now: Timestamp) -> Result<Vec<MetricFamily>> {
    let registry = Registry::new();
    let help = "Names in the hours read so far that are not segment names, each counted once.";
    counter!("archive_unparsable_names_total", help, registry)?.inc_by(archive.unparsable_names_total());
    let help = "Seconds since the newest segment of the variant ended.";
    let labels = ["stream", "variant"];
    let ages = float_gauges!("archive_newest_segment_age_seconds", help, &labels, registry)?;
    for NewestSegment { stream, variant, end } in &*archive.newest_segment_ends() {
        #[allow(clippy::cast_precision_loss, reason = "an age in seconds")]
        let age = (now - *end).micros() as f64 / 1e6;
        ages.with_label_values(&[stream, variant]).set(age);
    }
    Ok(registry.gather())
}

/// The metrics of the caches. Their registry is created each time, because caches count themselves.
fn gather_caches(caches: &[(&str, &str, CacheStats)]) -> Result<Vec<MetricFamily>> {
    let registry = Registry::new();
    for (prefix, content, cache) in caches {
        for (suffix, help, value) in [
            ("hits_total", "found in memory.", cache.hits),
            ("misses_total", "not found in memory.", cache.misses),
        ] {
            counter!(format!("{prefix}_{suffix}"), format!("Lookups of {content}, {help}"), registry)?
                .inc_by(value);
        }
        for (suffix, help, value) in
            [("entries", "Number of entries", cache.entries), ("bytes", "Size in bytes", cache.bytes)]
        {
            let help = format!("{help} of the cache of {content}.");
            gauge!(format!("{prefix}_{suffix}"), help, registry)?.set(value.cast_signed() as i64);
        }
    }
    Ok(registry.gather())
}
