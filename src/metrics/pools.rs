//! The worker pools: how many requests wait in their queues, and how many of their workers are busy.

use prometheus::{
    IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, Result,
    register_int_counter_vec_with_registry, register_int_gauge_vec_with_registry,
};

/// The names of the pools.
pub const POOLS: [&str; 5] = ["quick", "playlist", "streaming", "media", "cut"];

/// The series of all pools.
#[derive(Debug)]
pub(super) struct Pools {
    queue_length: IntGaugeVec,
    busy_workers: IntGaugeVec,
    rejected: IntCounterVec,
}

/// The metrics of one pool.
#[derive(Debug, Clone)]
pub struct PoolMetrics {
    queue_length: IntGauge,
    busy_workers: IntGauge,
    rejected: IntCounter,
}

/// A worker that works on a request until this guard is dropped.
#[derive(Debug)]
pub struct BusyWorker(IntGauge);

impl Pools {
    pub(super) fn new(registry: &Registry) -> Result<Self> {
        let queue_length = register_int_gauge_vec_with_registry!(
            "pool_queue_length",
            "Requests that wait for a worker of the pool.",
            &["pool"],
            registry
        )?;
        let busy_workers = register_int_gauge_vec_with_registry!(
            "pool_busy_workers",
            "Workers of the pool that work on a request.",
            &["pool"],
            registry
        )?;
        let rejected = register_int_counter_vec_with_registry!(
            "pool_rejected_total",
            "Requests that found the pool's queue full.",
            &["pool"],
            registry
        )?;
        let pools = Self { queue_length, busy_workers, rejected };
        for name in POOLS {
            pools.get(name);
        }
        Ok(pools)
    }

    /// The metrics of the pool of that name, one of [`POOLS`].
    pub(super) fn get(&self, name: &'static str) -> PoolMetrics {
        PoolMetrics {
            queue_length: self.queue_length.with_label_values(&[name]),
            busy_workers: self.busy_workers.with_label_values(&[name]),
            rejected: self.rejected.with_label_values(&[name]),
        }
    }
}

impl PoolMetrics {
    /// Counts a request that is about to be put into the queue.
    pub fn enqueued(&self) {
        self.queue_length.inc();
    }

    /// Counts that the queue was full for a request, which was counted by [`Self::enqueued`] before.
    pub fn rejected(&self) {
        self.queue_length.dec();
        self.rejected.inc();
    }

    /// Counts a request that a worker has taken out of the queue, and the worker as busy.
    pub fn begin_work(&self) -> BusyWorker {
        self.queue_length.dec();
        self.busy_workers.inc();
        BusyWorker(self.busy_workers.clone())
    }

    /// How many requests wait.
    pub(super) fn queue_length(&self) -> i64 {
        self.queue_length.get()
    }

    /// How many workers are busy.
    pub(super) fn busy_workers(&self) -> i64 {
        self.busy_workers.get()
    }
}

impl Drop for BusyWorker {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_waits_then_is_worked_on_or_rejected() {
        let pools = Pools::new(&Registry::new()).expect("counters");
        let (pool, same) = (pools.get("cut"), pools.get("cut"));
        let state = || (same.queue_length(), same.busy_workers(), same.rejected.get());
        pool.enqueued();
        pool.enqueued();
        assert_eq!(state(), (2, 0, 0));
        pool.rejected();
        let worker = pool.begin_work();
        assert_eq!(state(), (0, 1, 1));
        drop(worker);
        assert_eq!(state(), (0, 0, 1));
    }
}
