//! Histograms of whole numbers, which cost two additions a value. Whoever counts sees to it that nobody else does meanwhile.

use prometheus::proto::{Bucket, LabelPair, Metric, MetricFamily, MetricType};

/// How many bounds a histogram can have.
const MOST_BOUNDS: usize = 16;

/// How many values there were up to each of some bounds, and their sum.
#[derive(Debug, Clone)]
pub(super) struct Histogram {
    sum: u64,
    /// How many came under each bound and not under the one before; the next are those above all bounds.
    counts: [u64; MOST_BOUNDS + 1],
    bounds: &'static [u64],
}

impl Histogram {
    /// A histogram of nothing yet. The bounds are in order, and there are no more than [`MOST_BOUNDS`].
    pub(super) const fn new(bounds: &'static [u64]) -> Self {
        assert!(bounds.len() <= MOST_BOUNDS);
        Self { sum: 0, counts: [0; MOST_BOUNDS + 1], bounds }
    }

    /// Counts a value.
    pub(super) fn observe(&mut self, value: u64) {
        // Most values are among the first.
        let place = self.bounds.iter().position(|bound| value <= *bound).unwrap_or(self.bounds.len());
        self.counts[place] += 1;
        self.sum = self.sum.saturating_add(value);
    }

    /// Counts what another histogram of the same bounds has counted.
    pub(super) fn add(&mut self, other: &Self) {
        self.sum = self.sum.saturating_add(other.sum);
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
    }

    /// The histogram as monitors read it, where `unit` of what was counted are one.
    #[allow(clippy::cast_precision_loss, reason = "Prometheus knows no other numbers")]
    fn metric(&self, labels: Vec<LabelPair>, unit: f64) -> Metric {
        let mut count = 0;
        let mut buckets = Vec::with_capacity(self.bounds.len());
        for (bound, counted) in self.bounds.iter().zip(self.counts) {
            count += counted;
            let mut bucket = Bucket::default();
            bucket.set_cumulative_count(count);
            bucket.set_upper_bound(*bound as f64 / unit);
            buckets.push(bucket);
        }
        let mut histogram = prometheus::proto::Histogram::default();
        histogram.set_sample_count(count + self.counts[self.bounds.len()]);
        histogram.set_sample_sum(self.sum as f64 / unit);
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
        let [mut histogram, mut other] = [const { Histogram::new(&[1000, 500_000]) }; 2];
        for micros in [0, 1000, 1001] {
            histogram.observe(micros);
        }
        for micros in [500_000, 500_001, 9_000_000] {
            other.observe(micros);
        }
        histogram.add(&other);
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
