//! What is counted, for a monitor to read.
//!
//! A server has its own [`Metrics`]; what a process has but one of, its log and its children, is counted in
//! [`process`]. No client can make the number of series grow: of what clients choose, only variants that exist become
//! labels, and of these no more than a bound. What is counted for every request is counted by each thread apart, or is
//! looked up once and then kept.

pub mod exchange;
mod histogram;
pub mod lanes;
pub mod live;
pub mod process;
mod shards;
mod tallies;
pub mod variants;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::MetricFamily;
use prometheus::{
    Encoder, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, Result, TextEncoder,
};

use self::exchange::Exchanges;
use self::lanes::Lane;
use self::live::Flights;
use self::variants::Variants;

/// The type of the page that is read by monitors.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Whether requests are counted. They are not in a program that is built to measure what that costs
/// (`--cfg uncounted`).
const COUNTED: bool = !cfg!(uncounted);

/// The names of the lanes, in the order of their numbers; the last one is of those that make long playlists.
const LANE_NAMES: [&str; 5] = ["quick", "playlist", "media", "cut", "long"];
/// The number of the lane of long playlists.
pub const LONG_LANE: usize = 4;
/// The upper bounds of the times that cuts take, in seconds.
const CUT_BUCKETS: [f64; 12] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0];

/// All that one server counts.
pub struct Metrics {
    registry: Registry,
    pub(crate) exchanges: Exchanges,
    /// The requests that are being answered.
    pub flights: Flights,
    /// Requests by variant.
    pub variants: Variants,
    lanes: Vec<Lane>,
    /// The connections.
    pub connections: Connections,
    cut_seconds: HistogramVec,
    cut_output_bytes: IntCounter,
}

/// What is counted of connections.
#[derive(Debug)]
pub struct Connections {
    /// All that are open.
    pub open: AtomicUsize,
    /// Those without a request.
    pub idle: AtomicUsize,
    /// Those whose request is not all there, and those whose last bytes are read and dropped.
    pub reading: AtomicUsize,
    /// Those that take their answer slowly.
    pub sending: AtomicUsize,
    dropped: IntCounterVec,
}

/// How the archive is, as far as monitors are told.
#[derive(Debug, Clone, Default)]
pub struct ArchiveState {
    /// Names that were met and say nothing about a segment.
    pub unparsable_names: u64,
    /// Hours that were answered from memory.
    pub cache_hits: u64,
    /// Hours that were read from the disk.
    pub cache_misses: u64,
    /// Hours in memory.
    pub cache_hours: usize,
    /// Bytes of memory they take.
    pub cache_bytes: usize,
    /// Streams, their variants, and how many seconds ago their newest segments ended.
    pub newest: Vec<(String, String, f64)>,
}

impl Metrics {
    /// Counters that all stand at zero.
    ///
    /// # Errors
    /// Two of them have one name, which would be a mistake here.
    pub fn new() -> Result<Arc<Self>> {
        let registry = Registry::new();
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let counters = |name: &str, help: &str, labels: &[&str]| {
            register(&registry, IntCounterVec::new(Opts::new(name, help), labels))
        };
        let refused =
            counters("lane_refused_total", "Requests that found the lane's queue full.", &["lane"])?;
        let lane = |name: &&str| Lane::new(refused.with_label_values(&[name]));
        let dropped = "Connections that were refused or sent away, by the reason.";
        let cut_seconds = HistogramOpts::new("cut_seconds", "How long cuts took, from first to last.");
        let cut_bytes = "Bytes that exact cuts have made.";
        Ok(Arc::new(Self {
            exchanges: Exchanges::new(&registry)?,
            flights: Flights::default(),
            variants: Variants::new(&registry)?,
            lanes: LANE_NAMES.iter().map(lane).collect(),
            connections: Connections {
                open: AtomicUsize::new(0),
                idle: AtomicUsize::new(0),
                reading: AtomicUsize::new(0),
                sending: AtomicUsize::new(0),
                dropped: counters("connections_dropped_total", dropped, &["reason"])?,
            },
            cut_seconds: register(
                &registry,
                HistogramVec::new(cut_seconds.buckets(CUT_BUCKETS.to_vec()), &["type", "result"]),
            )?,
            cut_output_bytes: register(&registry, IntCounter::new("cut_output_bytes_total", cut_bytes))?,
            registry,
        }))
    }

    /// The counters of a lane, by its number; a number too high is that of the last one.
    pub fn lane(&self, number: usize) -> &Lane {
        &self.lanes[number.min(self.lanes.len() - 1)]
    }

    /// The lanes' names, with how many requests wait in each and how many workers of each are busy.
    pub fn lanes(&self) -> impl Iterator<Item = (&'static str, i64, i64)> {
        LANE_NAMES
            .into_iter()
            .zip(&self.lanes)
            .map(|(name, lane)| (name, lane.waiting(), lane.busy_workers()))
    }

    fn gather_lanes(&self) -> Result<Vec<MetricFamily>> {
        let fresh = Registry::new();
        let queue = Opts::new("lane_queue_length", "Requests that wait for a worker of the lane.");
        let queue = register(&fresh, IntGaugeVec::new(queue, &["lane"]))?;
        let busy = Opts::new("lane_busy_workers", "Workers of the lane that have a request.");
        let busy = register(&fresh, IntGaugeVec::new(busy, &["lane"]))?;
        for (name, waiting, working) in self.lanes() {
            queue.with_label_values(&[name]).set(waiting);
            busy.with_label_values(&[name]).set(working);
        }
        Ok(fresh.gather())
    }

    /// Notes how a cut went.
    pub fn cut_ended(&self, kind: &str, result: &str, seconds: f64) {
        self.cut_seconds.with_label_values(&[kind, result]).observe(seconds);
    }

    /// Notes bytes that a cut has made.
    pub fn cut_wrote(&self, bytes: usize) {
        self.cut_output_bytes.inc_by(bytes as u64);
    }

    /// The page, in Prometheus's text format.
    ///
    /// # Errors
    /// It cannot be written, which would be a mistake here.
    pub fn page(&self, archive: &ArchiveState) -> Result<Vec<u8>> {
        let mut families = self.registry.gather();
        families.extend(exchange::gather(&self.flights)?);
        families.extend(process::gather()?);
        families.extend(archive.gather()?);
        families.extend(self.connections.gather()?);
        families.extend(self.gather_lanes()?);
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
    /// Notes that a connection was refused or sent away.
    pub fn dropped(&self, reason: &str) {
        self.dropped.with_label_values(&[reason]).inc();
    }

    /// How many connections are in each state.
    pub fn states(&self) -> [(&'static str, usize); 4] {
        let [open, idle, reading, sending] =
            [&self.open, &self.idle, &self.reading, &self.sending].map(|count| count.load(Ordering::Relaxed));
        let working = open.saturating_sub(idle + reading + sending);
        [("idle", idle), ("reading", reading), ("working", working), ("sending", sending)]
    }

    fn gather(&self) -> Result<Vec<MetricFamily>> {
        let fresh = Registry::new();
        let help = "Open connections, by what they are at.";
        let states = register(&fresh, IntGaugeVec::new(Opts::new("connections", help), &["state"]))?;
        for (state, count) in self.states() {
            states.with_label_values(&[state]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        Ok(fresh.gather())
    }
}

impl ArchiveState {
    fn gather(&self) -> Result<Vec<MetricFamily>> {
        let fresh = Registry::new();
        let unparsable = "Names in the archive that were met and say nothing about a segment.";
        for (name, help, value) in [
            ("archive_unparsable_names_total", unparsable, self.unparsable_names),
            ("hour_cache_hits_total", "Hours that were answered from memory.", self.cache_hits),
            ("hour_cache_misses_total", "Hours that were read from the disk.", self.cache_misses),
        ] {
            register(&fresh, IntCounter::new(name, help))?.inc_by(value);
        }
        for (name, help, value) in [
            ("hour_cache_entries", "Hours in memory.", self.cache_hours),
            ("hour_cache_bytes", "Memory that hours take.", self.cache_bytes),
        ] {
            register(&fresh, IntGauge::new(name, help))?.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
        let help = "Seconds since the end of the variant's newest segment.";
        let opts = Opts::new("archive_newest_segment_age_seconds", help);
        let ages = register(&fresh, GaugeVec::new(opts, &["stream", "variant"]))?;
        for (stream, variant, age) in &self.newest {
            ages.with_label_values(&[stream, variant]).set(*age);
        }
        Ok(fresh.gather())
    }
}

/// What was made, once it is in the registry.
fn register<C: Collector + Clone + 'static>(registry: &Registry, made: Result<C>) -> Result<C> {
    let made = made?;
    registry.register(Box::new(made.clone()))?;
    Ok(made)
}
