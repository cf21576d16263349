//! Counters that threads do not take from each other: each thread adds in a place of its own, as far as there are places.
//! What many threads add to for every request would else go back and forth between cores, which costs more than all else
//! about counting.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

/// How many places there are.
pub(super) const SHARDS: usize = 8;

/// Something that shares no cache line with its neighbours; cores fetch two lines at a time.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Apart<T>(pub(super) T);

/// A number that many threads add to.
#[derive(Debug, Default)]
pub(super) struct Sharded {
    shards: [Apart<AtomicI64>; SHARDS],
}

impl Sharded {
    /// Adds to it.
    pub(super) fn add(&self, amount: i64) {
        self.shards[shard()].0.fetch_add(amount, Ordering::Relaxed);
    }

    /// What it is now. One place may be less than nothing where another thread took away what this one has added.
    pub(super) fn get(&self) -> i64 {
        self.shards.iter().map(|shard| shard.0.load(Ordering::Relaxed)).sum()
    }
}

/// The place of this thread.
pub(super) fn shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static SHARD: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
    }
    SHARD.with(|shard| *shard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_threads_add_and_take_away_comes_together() {
        let sum = Sharded::default();
        std::thread::scope(|scope| {
            for thread in 0..20 {
                let sum = &sum;
                scope.spawn(move || {
                    for _ in 0..1000 {
                        sum.add(if thread % 2 == 0 { 3 } else { -1 });
                    }
                });
            }
        });
        assert_eq!(sum.get(), 10 * 1000 * (3 - 1));
    }
}
