//! Requests by variant. Only variants that exist get series, and the number of series is bounded: what is beyond the
//! bound is counted as `other`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use prometheus::{IntCounter, IntCounterVec, Registry, Result, register_int_counter_vec_with_registry};

/// The bound on label sets, and on variants that have counters of their own.
pub const MAX_LABEL_SETS: usize = 1000;
/// The labels of stream and variant beyond the bound.
const OTHER: &str = "other";

/// The counters of all variants.
#[derive(Debug)]
pub struct Variants {
    requests: IntCounterVec,
    bytes: IntCounterVec,
    /// By stream and variant with a slash between, which no name contains.
    known: RwLock<HashMap<String, Arc<VariantCounters>>>,
    label_sets: AtomicUsize,
    other: Arc<VariantCounters>,
}

/// The counters of a variant that has been requested.
#[derive(Debug)]
pub struct VariantCounters {
    stream: String,
    variant: String,
    /// Requests and bytes, by endpoint and status.
    counters: Mutex<HashMap<(&'static str, u16), (IntCounter, IntCounter)>>,
}

impl Variants {
    pub(super) fn new(registry: &Registry) -> Result<Self> {
        let labels = ["endpoint", "stream", "variant", "status"];
        Ok(Self {
            requests: register_int_counter_vec_with_registry!(
                "requests_total",
                "Requests for a variant that exists.",
                &labels,
                registry
            )?,
            bytes: register_int_counter_vec_with_registry!(
                "response_bytes_total",
                "Bytes of body sent for a variant that exists.",
                &labels,
                registry
            )?,
            known: RwLock::default(),
            label_sets: AtomicUsize::new(0),
            other: Arc::new(VariantCounters::new(OTHER, OTHER)),
        })
    }

    /// The counters of a variant, if it was requested before or `exists` returns true.
    pub fn find(
        &self,
        stream: &str,
        variant: &str,
        exists: impl FnOnce() -> bool,
    ) -> Option<Arc<VariantCounters>> {
        let name = format!("{stream}/{variant}");
        if let Some(found) = self.known.read().unwrap_or_else(PoisonError::into_inner).get(&name) {
            return Some(Arc::clone(found));
        }
        if !exists() {
            return None;
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_LABEL_SETS {
            return Some(Arc::clone(&self.other));
        }
        let found = known.entry(name).or_insert_with(|| Arc::new(VariantCounters::new(stream, variant)));
        Some(Arc::clone(found))
    }

    /// Counts a response.
    pub(super) fn count(
        &self,
        variant: &VariantCounters,
        endpoint: &'static str,
        status: u16,
        body_bytes: u64,
    ) {
        let mut counters = variant.counters.lock().unwrap_or_else(PoisonError::into_inner);
        let (requests, bytes) = counters
            .entry((endpoint, status))
            .or_insert_with(|| self.new_counters(variant, endpoint, status));
        requests.inc();
        bytes.inc_by(body_bytes);
    }

    fn new_counters(
        &self,
        variant: &VariantCounters,
        endpoint: &str,
        status: u16,
    ) -> (IntCounter, IntCounter) {
        let is_other = std::ptr::eq(variant, &raw const *self.other);
        let fits = is_other || self.label_sets.fetch_add(1, Ordering::Relaxed) < MAX_LABEL_SETS;
        let VariantCounters { stream, variant, .. } = if fits { variant } else { &self.other };
        let labels = [endpoint, stream, variant, &status.to_string()];
        (self.requests.with_label_values(&labels), self.bytes.with_label_values(&labels))
    }
}

impl VariantCounters {
    fn new(stream: &str, variant: &str) -> Self {
        Self { stream: stream.to_owned(), variant: variant.to_owned(), counters: Mutex::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_sets_are_bounded_and_the_rest_is_counted_as_other() {
        let registry = Registry::new();
        let variants = Variants::new(&registry).expect("counters");
        for number in 0..3 * MAX_LABEL_SETS {
            let stream = format!("s{}", number / 2);
            let variant = variants.find(&stream, "v", || true).expect("it exists");
            variants.count(&variant, "segments", 200 + u16::try_from(number % 2).expect("small"), 3);
        }
        assert!(variants.find("not there", "v", || false).is_none());
        let families = registry.gather();
        for family in &families {
            assert_eq!(family.get_metric().len(), MAX_LABEL_SETS + 2);
            let total: f64 = family.get_metric().iter().map(|metric| metric.get_counter().get_value()).sum();
            let each = if family.name() == "requests_total" { 1.0 } else { 3.0 };
            assert!((total - each * 3.0 * 1000.0).abs() < 0.5, "{total}");
        }
        assert_eq!(families.len(), 2);
    }
}
