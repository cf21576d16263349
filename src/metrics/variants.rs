//! Requests by variant. Only variants that exist get series, and there is a bound on these: what is beyond it is
//! counted under `other`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use prometheus::{IntCounter, IntCounterVec, Opts, Registry, Result};

use super::exchange::Endpoint;
use super::{COUNTED, register};

/// How many label sets there are at the most, and how many variants are remembered.
pub const MOST_LABEL_SETS: usize = 1000;
/// What stands for stream and variant beyond that.
const OTHER: &str = "other";

/// The counters of all variants.
#[derive(Debug)]
pub struct Variants {
    requests: IntCounterVec,
    bytes: IntCounterVec,
    /// By stream, then by variant.
    known: RwLock<HashMap<String, HashMap<String, Arc<Variant>>>>,
    remembered: AtomicUsize,
    label_sets: AtomicUsize,
    other: Arc<Variant>,
}

/// A variant that has been asked for.
#[derive(Debug)]
pub struct Variant {
    stream: String,
    name: String,
    counters: RwLock<Vec<Counters>>,
}

/// What is counted of one kind of answer about a variant.
#[derive(Debug, Clone)]
struct Counters {
    of: (Endpoint, u16),
    requests: IntCounter,
    bytes: IntCounter,
}

impl Variants {
    pub(super) fn new(registry: &Registry) -> Result<Self> {
        let labels = ["endpoint", "stream", "variant", "status"];
        let requests = Opts::new("requests_total", "Requests about a variant that exists.");
        let bytes = Opts::new("response_bytes_total", "Bytes of body sent about a variant that exists.");
        Ok(Self {
            requests: register(registry, IntCounterVec::new(requests, &labels))?,
            bytes: register(registry, IntCounterVec::new(bytes, &labels))?,
            known: RwLock::default(),
            remembered: AtomicUsize::new(0),
            label_sets: AtomicUsize::new(0),
            other: Arc::new(Variant::new(OTHER, OTHER)),
        })
    }

    /// The variant of that name, if it is known already or `exists` says that it is there.
    pub fn find(&self, stream: &str, variant: &str, exists: impl FnOnce() -> bool) -> Option<Arc<Variant>> {
        if !COUNTED {
            return None;
        }
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(stream).and_then(|variants| variants.get(variant)) {
            return Some(Arc::clone(found));
        }
        drop(known);
        if !exists() {
            return None;
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if self.remembered.load(Ordering::Relaxed) >= MOST_LABEL_SETS {
            return Some(Arc::clone(&self.other));
        }
        let variants = known.entry(stream.to_owned()).or_default();
        let found = variants.entry(variant.to_owned()).or_insert_with(|| {
            self.remembered.fetch_add(1, Ordering::Relaxed);
            Arc::new(Variant::new(stream, variant))
        });
        Some(Arc::clone(found))
    }

    /// Counts an answer about a variant.
    pub(super) fn count(&self, variant: &Variant, endpoint: Endpoint, status: u16, bytes: u64) {
        let of = (endpoint, status);
        let list = variant.counters.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = list.iter().find(|counters| counters.of == of) {
            return found.add(bytes);
        }
        drop(list);
        self.add(variant, of).add(bytes);
    }

    /// Adds a kind of answer to a variant, or to the one that stands for all others.
    fn add(&self, variant: &Variant, of: (Endpoint, u16)) -> Counters {
        let mut list = variant.counters.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = list.iter().find(|counters| counters.of == of) {
            return found.clone();
        }
        let is_other = std::ptr::eq(variant, &raw const *self.other);
        let fits = is_other || self.label_sets.fetch_add(1, Ordering::Relaxed) < MOST_LABEL_SETS;
        let (stream, name) = if fits { (&*variant.stream, &*variant.name) } else { (OTHER, OTHER) };
        let status = of.1.to_string();
        let labels = [of.0.name(), stream, name, &status];
        let requests = self.requests.with_label_values(&labels);
        let counters = Counters { of, requests, bytes: self.bytes.with_label_values(&labels) };
        list.push(counters.clone());
        counters
    }
}

impl Variant {
    fn new(stream: &str, variant: &str) -> Self {
        Self { stream: stream.to_owned(), name: variant.to_owned(), counters: RwLock::default() }
    }
}

impl Counters {
    /// Counts one answer.
    fn add(&self, bytes: u64) {
        self.requests.inc();
        self.bytes.inc_by(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_no_more_label_sets_than_the_bound_and_one_for_the_rest() {
        let registry = Registry::new();
        let variants = Variants::new(&registry).expect("counters");
        for number in 0..3 * MOST_LABEL_SETS {
            let stream = format!("s{}", number / 2);
            let variant = variants.find(&stream, "v", || true).expect("it exists");
            variants.count(&variant, Endpoint::Segments, 200 + u16::try_from(number % 2).expect("small"), 3);
        }
        assert!(variants.find("not there", "v", || false).is_none());
        let families = registry.gather();
        for family in &families {
            assert_eq!(family.get_metric().len(), MOST_LABEL_SETS + 2);
            let total: f64 = family.get_metric().iter().map(|metric| metric.get_counter().get_value()).sum();
            let each = if family.name() == "requests_total" { 1.0 } else { 3.0 };
            assert!((total - each * 3.0 * 1000.0).abs() < 0.5, "{total}");
        }
        assert_eq!(families.len(), 2);
    }
}
