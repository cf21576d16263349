//! Histograms of whole numbers that cost two additions a value, for what is counted of every request.

use std::sync::atomic::{AtomicU64, Ordering};

use super::shards::{Apart, SHARDS, shard};
use prometheus::proto::{Bucket, LabelPair, Metric, MetricFamily, MetricType};

/// How many bounds a histogram can have.
const MOST_BOUNDS: usize = 16;

/// How many values there were up to each of some bounds, and their sum.
#[derive(Debug)]
pub(super) struct Histogram {
    bounds: &'static [u64],
    shards: Box<[Apart<Shard>]>,
}

/// What some threads have counted.
#[derive(Debug, Default)]
struct Shard {
    /// How many came under each bound and not under the one before; the next are those above all bounds.
    counts: [AtomicU64; MOST_BOUNDS + 1],
    sum: AtomicU64,
}

impl Histogram {
    /// A histogram of nothing yet. The bounds are in order, and there are no more than [`MOST_BOUNDS`].
    pub(super) fn new(bounds: &'static [u64]) -> Self {
        debug_assert!(bounds.len() <= MOST_BOUNDS);
        Self { bounds, shards: (0..SHARDS).map(|_| Apart::default()).collect() }
    }

    /// Counts a value.
    pub(super) fn observe(&self, value: u64) {
        let place = self.bounds.partition_point(|bound| *bound < value);
        let shard = &self.shards[shard()].0;
        shard.counts[place].fetch_add(1, Ordering::Relaxed);
        shard.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// The histogram as monitors read it, where `unit` of what was counted are one.
    #[allow(clippy::cast_precision_loss, reason = "Prometheus knows no other numbers")]
    fn metric(&self, labels: Vec<LabelPair>, unit: f64) -> Metric {
        let shards = || self.shards.iter().map(|shard| &shard.0);
        let counted =
            |place: usize| shards().map(|shard| shard.counts[place].load(Ordering::Relaxed)).sum::<u64>();
        let mut count = 0;
        let mut buckets = Vec::with_capacity(self.bounds.len());
        for (place, bound) in self.bounds.iter().enumerate() {
            count += counted(place);
            let mut bucket = Bucket::default();
            bucket.set_cumulative_count(count);
            bucket.set_upper_bound(*bound as f64 / unit);
            buckets.push(bucket);
        }
        let sum: u64 = shards().map(|shard| shard.sum.load(Ordering::Relaxed)).sum();
        let mut histogram = prometheus::proto::Histogram::default();
        histogram.set_sample_count(count + counted(self.bounds.len()));
        histogram.set_sample_sum(sum as f64 / unit);
        histogram.set_bucket(buckets);
        let mut metric = Metric::from_label(labels);
        metric.set_histogram(histogram);
        metric
    }
}

/// Histograms of one name as monitors read them; none where there are none. `unit` of what was counted are one.
pub(super) fn family<'a>(
    (name, help, unit): (&str, &str, f64),
    histograms: impl Iterator<Item = (Vec<(&'static str, String)>, &'a Histogram)>,
) -> Option<MetricFamily> {
    let metrics: Vec<Metric> =
        histograms.map(|(labels, histogram)| histogram.metric(pairs(labels), unit)).collect();
    if metrics.is_empty() {
        return None;
    }
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(MetricType::HISTOGRAM);
    family.set_metric(metrics);
    Some(family)
}

fn pairs(labels: Vec<(&'static str, String)>) -> Vec<LabelPair> {
    let pair = |(name, value): (&str, String)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value);
        pair
    };
    labels.into_iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::{Encoder, TextEncoder};

    #[test]
    fn values_count_up_to_and_with_each_bound() {
        let histogram = Histogram::new(&[1000, 500_000]);
        for micros in [0, 1000, 1001, 500_000, 500_001, 9_000_000] {
            histogram.observe(micros);
        }
        let labels = vec![("a", "\"x\\".to_owned())];
        let family = family(("t", "A time.", 1e6), std::iter::once((labels, &histogram))).expect("a family");
        let mut page = Vec::new();
        TextEncoder::new().encode(&[family], &mut page).expect("a page");
        let expected = "# HELP t A time.\n# TYPE t histogram\n\
            t_bucket{a=\"\\\"x\\\\\",le=\"0.001\"} 2\nt_bucket{a=\"\\\"x\\\\\",le=\"0.5\"} 4\n\
            t_bucket{a=\"\\\"x\\\\\",le=\"+Inf\"} 6\nt_sum{a=\"\\\"x\\\\\"} 10.002002\nt_count{a=\"\\\"x\\\\\"} 6\n";
        assert_eq!(String::from_utf8(page).expect("text"), expected);
    }

    #[test]
    fn nothing_makes_no_family() {
        assert!(family(("t", "A time.", 1.0), std::iter::empty()).is_none());
    }
}
