//! All metrics of one server, and the page that has them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus::process_collector::ProcessCollector;
use prometheus::proto::MetricFamily;
use prometheus::{
    Encoder, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Registry, Result, TextEncoder,
    histogram_opts, register_gauge_vec_with_registry, register_histogram_vec_with_registry,
    register_int_counter_vec_with_registry, register_int_counter_with_registry,
    register_int_gauge_vec_with_registry, register_int_gauge_with_registry,
};

use super::in_flight::InFlightRequests;
use super::pools::{POOLS, PoolMetrics, Pools};
use super::process;
use super::responses::Responses;
use super::variants::Variants;

const CUT_BUCKETS_SECONDS: [f64; 12] =
    [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0];

/// All metrics of one server.
pub struct Metrics {
    registry: Registry,
    pub(super) responses: Responses,
    /// The requests that are being answered.
    pub in_flight: InFlightRequests,
    /// Requests by variant.
    pub variants: Variants,
    pools: Pools,
    /// The connections.
    pub connections: Connections,
    cut_seconds: HistogramVec,
    cut_output_bytes: IntCounter,
}

/// The metrics of connections.
#[derive(Debug)]
pub struct Connections {
    /// All that are open.
    pub open: AtomicUsize,
    /// Those without a request.
    pub idle: AtomicUsize,
    /// Those whose request is incomplete, and those whose last bytes are read and dropped.
    pub reading: AtomicUsize,
    /// Those whose client takes the response slowly.
    pub sending: AtomicUsize,
    states: IntGaugeVec,
    dropped: IntCounterVec,
}

/// The state of the archive and its cache.
#[derive(Debug, Clone, Default)]
pub struct ArchiveState {
    /// Names seen so far that are not those of segments.
    pub unparsable_names: u64,
    /// Hours that were found in the cache.
    pub cache_hits: u64,
    /// Hours that were read from the disk.
    pub cache_misses: u64,
    /// Hours in the cache.
    pub cache_hours: usize,
    /// Size of the cache in bytes.
    pub cache_bytes: usize,
    /// Streams, their variants, and how many seconds ago their newest segments ended.
    pub newest: Vec<(String, String, f64)>,
}

impl Metrics {
    /// Metrics that are all zero, among them the concurrency of each of `endpoints` and of
    /// [`UNKNOWN_ENDPOINT`](super::UNKNOWN_ENDPOINT).
    ///
    /// # Errors
    /// Two metrics have one name, which would be a bug.
    pub fn new(endpoints: &[&'static str]) -> Result<Arc<Self>> {
        let registry = Registry::new();
        registry.register(Box::new(ProcessCollector::for_self()))?;
        process::register(&registry)?;
        let help = "How long cuts took, from first to last.";
        let cut_seconds = histogram_opts!("cut_seconds", help, CUT_BUCKETS_SECONDS.to_vec());
        Ok(Arc::new(Self {
            responses: Responses::new(&registry, endpoints)?,
            in_flight: InFlightRequests::default(),
            variants: Variants::new(&registry)?,
            pools: Pools::new(&registry)?,
            connections: Connections::new(&registry)?,
            cut_seconds: register_histogram_vec_with_registry!(cut_seconds, &["type", "result"], registry)?,
            cut_output_bytes: register_int_counter_with_registry!(
                "cut_output_bytes_total",
                "Bytes that exact cuts have made.",
                registry
            )?,
            registry,
        }))
    }

    /// The metrics of a pool, which is one of [`POOLS`].
    pub fn pool(&self, name: &'static str) -> PoolMetrics {
        self.pools.get(name)
    }

    /// The pools, with the number of waiting requests and of busy workers of each.
    pub fn pools(&self) -> Vec<(&'static str, i64, i64)> {
        let state = |name| {
            let pool = self.pool(name);
            (name, pool.queue_length(), pool.busy_workers())
        };
        POOLS.into_iter().map(state).collect()
    }

    /// Counts a cut, by its type and its result.
    pub fn cut_ended(&self, kind: &str, result: &str, seconds: f64) {
        self.cut_seconds.with_label_values(&[kind, result]).observe(seconds);
    }

    /// Counts bytes that an exact cut has made.
    pub fn cut_wrote(&self, bytes: usize) {
        self.cut_output_bytes.inc_by(bytes as u64);
    }

    /// The page in Prometheus's text format.
    ///
    /// # Errors
    /// A metric cannot be written, which would be a bug.
    pub fn page(&self, archive: &ArchiveState) -> Result<Vec<u8>> {
        self.connections.update_gauges();
        let mut families = self.registry.gather();
        families.extend(archive.gather()?);
        let mut page = Vec::with_capacity(64 * 1024);
        TextEncoder::new().encode(&families, &mut page)?;
        Ok(page)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Connections {
    fn new(registry: &Registry) -> Result<Self> {
        Ok(Self {
            open: AtomicUsize::new(0),
            idle: AtomicUsize::new(0),
            reading: AtomicUsize::new(0),
            sending: AtomicUsize::new(0),
            states: register_int_gauge_vec_with_registry!(
                "connections",
                "Open connections by state.",
                &["state"],
                registry
            )?,
            dropped: register_int_counter_vec_with_registry!(
                "connections_dropped_total",
                "Connections that were refused or closed by the server, by the reason.",
                &["reason"],
                registry
            )?,
        })
    }

    /// Counts a connection that was refused or closed by the server.
    pub fn dropped(&self, reason: &'static str) {
        self.dropped.with_label_values(&[reason]).inc();
    }

    /// Sets how many connections are in each state but `working`, in which are the rest of those that are open.
    pub fn set_states(&self, idle: usize, reading: usize, sending: usize) {
        self.idle.store(idle, Ordering::Relaxed);
        self.reading.store(reading, Ordering::Relaxed);
        self.sending.store(sending, Ordering::Relaxed);
    }

    /// How many connections are in each state.
    pub fn states(&self) -> [(&'static str, usize); 4] {
        let [open, idle, reading, sending] =
            [&self.open, &self.idle, &self.reading, &self.sending].map(|count| count.load(Ordering::Relaxed));
        let working = open.saturating_sub(idle + reading + sending);
        [("idle", idle), ("reading", reading), ("working", working), ("sending", sending)]
    }

    fn update_gauges(&self) {
        for (state, count) in self.states() {
            self.states.with_label_values(&[state]).set(as_gauge(count));
        }
    }
}

impl ArchiveState {
    fn gather(&self) -> Result<Vec<MetricFamily>> {
        // The archive counts these itself, and variants come and go: so each page has its own registry of them.
        let registry = Registry::new();
        let unparsable = "Names in the archive that were seen and are not those of segments.";
        for (name, help, value) in [
            ("archive_unparsable_names_total", unparsable, self.unparsable_names),
            ("hour_cache_hits_total", "Hours that were found in the cache.", self.cache_hits),
            ("hour_cache_misses_total", "Hours that were read from the disk.", self.cache_misses),
        ] {
            register_int_counter_with_registry!(name, help, registry)?.inc_by(value);
        }
        for (name, help, value) in [
            ("hour_cache_entries", "Hours in the cache.", self.cache_hours),
            ("hour_cache_bytes", "Size of the cache in bytes.", self.cache_bytes),
        ] {
            register_int_gauge_with_registry!(name, help, registry)?.set(as_gauge(value));
        }
        let ages = register_gauge_vec_with_registry!(
            "archive_newest_segment_age_seconds",
            "Seconds since the end of the variant's newest segment.",
            &["stream", "variant"],
            registry
        )?;
        for (stream, variant, age) in &self.newest {
            ages.with_label_values(&[stream, variant]).set(*age);
        }
        Ok(registry.gather())
    }
}

fn as_gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
