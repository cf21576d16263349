//! How many requests of each kind there were, how long they took and how much was sent.

use super::exchange::Kind;
use super::histogram::Histogram;

/// The upper bounds of latencies, in microseconds.
const LATENCY_BOUNDS_US: [u64; 14] = [
    1000,
    5000,
    10_000,
    50_000,
    100_000,
    500_000,
    1_000_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    120_000_000,
    300_000_000,
    600_000_000,
];
/// The upper bounds of sizes, in bytes: the powers of 4.
const SIZE_BOUNDS_BYTES: [u64; 16] = {
    let mut bounds = [1; 16];
    let mut power = 1;
    while power < bounds.len() {
        bounds[power] = 4 * bounds[power - 1];
        power += 1;
    }
    bounds
};

/// How an answer is counted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    /// Its status.
    pub(super) status: u16,
    /// How long it took until it was ready, in microseconds.
    pub(super) latency_us: u64,
    /// How many bytes of its body were sent.
    pub(super) size_bytes: u64,
}

/// What was counted, by kind of request and by status. There are but a few of these.
#[derive(Debug, Default)]
pub(super) struct Tallies {
    kinds: Vec<(Kind, u16)>,
    /// In the order of the kinds.
    tallies: Vec<Tally>,
}

/// What was counted of one kind of answer.
#[derive(Debug, Clone)]
pub(super) struct Tally {
    pub(super) latency_us: Histogram,
    pub(super) size_bytes: Histogram,
}

impl Tallies {
    /// Counts an answer.
    pub(super) fn count(&mut self, kind: Kind, answer: Answer) {
        let tally = self.of((kind, answer.status));
        tally.latency_us.observe(answer.latency_us);
        tally.size_bytes.observe(answer.size_bytes);
    }

    /// Counts all that others have counted.
    pub(super) fn add(&mut self, others: &Self) {
        for (kind, other) in others.kinds.iter().zip(&others.tallies) {
            let tally = self.of(*kind);
            tally.latency_us.add(&other.latency_us);
            tally.size_bytes.add(&other.size_bytes);
        }
    }

    /// What was counted, with the kind and the status.
    pub(super) fn all(&self) -> impl Iterator<Item = ((Kind, u16), &Tally)> {
        self.kinds.iter().copied().zip(&self.tallies)
    }

    fn of(&mut self, kind: (Kind, u16)) -> &mut Tally {
        let place = self.kinds.iter().position(|known| *known == kind).unwrap_or_else(|| {
            self.kinds.push(kind);
            self.tallies.push(const { Tally::new() });
            self.kinds.len() - 1
        });
        &mut self.tallies[place]
    }
}

impl Tally {
    const fn new() -> Self {
        Self {
            latency_us: Histogram::new(&LATENCY_BOUNDS_US),
            size_bytes: Histogram::new(&SIZE_BOUNDS_BYTES),
        }
    }
}
