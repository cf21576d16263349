//! The metrics of `restreamer record`.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use prometheus::{
    Encoder, Gauge, IntCounter, IntCounterVec, IntGauge, Registry, Result, TextEncoder,
    register_gauge_with_registry as float_gauge, register_int_counter_vec_with_registry as counters,
    register_int_counter_with_registry as counter, register_int_gauge_with_registry as gauge,
};

use super::process;
use crate::archive::layout::SegmentType;
use crate::timestamp::Timestamp;

/// What a recorder counts.
#[derive(Debug)]
pub struct RecorderMetrics {
    registry: Registry,
    segments: IntCounterVec,
    /// Bytes of complete segments.
    pub bytes: IntCounter,
    /// Runs that have begun.
    pub runs: IntCounter,
    /// Times that the input was opened again.
    pub reconnects: IntCounter,
    /// Whether the input delivers.
    pub connected: IntGauge,
    /// Segments that could not be written.
    pub disk_failures: IntCounter,
    /// Microseconds by which names were moved towards the wall clock.
    pub slew_microseconds: IntCounter,
    last_end: Gauge,
    last_end_us: AtomicI64,
    segment_count: AtomicU64,
    short_count: AtomicU64,
}

impl RecorderMetrics {
    /// Metrics that are all zero. Fails only if two have one name, which would be a bug.
    pub fn new() -> Result<Arc<Self>> {
        let registry = Registry::new();
        let segments = counters!("recorder_segments_total", "Complete segments.", &["type"], registry)?;
        let bytes = counter!("recorder_bytes_total", "Bytes of complete segments.", registry)?;
        let runs = counter!("recorder_runs_total", "Runs that have begun.", registry)?;
        let help = "Times that the input was opened again.";
        let reconnects = counter!("recorder_reconnects_total", help, registry)?;
        let connected = gauge!("recorder_connected", "1 while the input delivers, else 0.", registry)?;
        let help = "Segments that could not be written.";
        let disk_failures = counter!("recorder_disk_failures_total", help, registry)?;
        let help = "Microseconds by which names were moved towards the wall clock.";
        let slew_microseconds = counter!("recorder_slew_microseconds_total", help, registry)?;
        let help = "When the last complete segment ends, in seconds since 1970.";
        let last_end = float_gauge!("recorder_last_segment_end_timestamp_seconds", help, registry)?;
        Ok(Arc::new(Self {
            registry,
            segments,
            bytes,
            runs,
            reconnects,
            connected,
            disk_failures,
            slew_microseconds,
            last_end,
            last_end_us: AtomicI64::new(0),
            segment_count: AtomicU64::new(0),
            short_count: AtomicU64::new(0),
        }))
    }

    /// Counts a complete segment.
    pub fn segment(&self, segment_type: SegmentType, bytes: u64, end: Timestamp) {
        self.segments.with_label_values(&[segment_type.name()]).inc();
        self.segment_count.fetch_add(1, Ordering::Relaxed);
        self.short_count.fetch_add(u64::from(segment_type != SegmentType::Full), Ordering::Relaxed);
        self.bytes.inc_by(bytes);
        self.last_end_us.store(end.micros(), Ordering::Relaxed);
        #[allow(clippy::cast_precision_loss, reason = "a gauge is a floating-point number")]
        self.last_end.set(end.micros() as f64 / 1e6);
    }

    /// The number of complete segments, and of those among them that were cut short.
    pub fn segments(&self) -> (u64, u64) {
        (self.segment_count.load(Ordering::Relaxed), self.short_count.load(Ordering::Relaxed))
    }

    /// When the last complete segment ends, if there is one.
    pub fn last_end(&self) -> Option<Timestamp> {
        let us = self.last_end_us.load(Ordering::Relaxed);
        (us != 0).then(|| Timestamp::from_micros(us))
    }

    /// The page that Prometheus reads.
    pub fn page(&self) -> Result<Vec<u8>> {
        let mut families = process::gather();
        families.extend(self.registry.gather());
        let mut text = Vec::new();
        TextEncoder::new().encode(&families, &mut text)?;
        Ok(text)
    }
}
