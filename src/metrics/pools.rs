//! The worker pools: how many requests wait in their queues, and how many of their workers are busy.

use prometheus::{
    IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, Result,
    register_int_counter_vec_with_registry as counters, register_int_gauge_vec_with_registry as gauges,
};

/// The metrics of all pools, by the name of the pool.
#[derive(Debug)]
pub struct Pools {
    queue_length: IntGaugeVec,
    busy_workers: IntGaugeVec,
    rejected: IntCounterVec,
}

/// The metrics of one pool.
#[derive(Debug, Clone)]
pub struct PoolMetrics {
    /// Requests that wait for a worker.
    pub queue_length: IntGauge,
    /// Workers that are working on a request.
    pub busy_workers: IntGauge,
    rejected: IntCounter,
}

/// A worker that works on a request until this guard is dropped.
#[derive(Debug)]
pub struct BusyWorker(IntGauge);

impl Pools {
    pub(super) fn new(registry: &Registry) -> Result<Self> {
        let queue_help = "Requests that wait for a worker.";
        let busy_help = "Workers that are working on a request.";
        let rejected_help = "Requests that were rejected because the queue was full.";
        Ok(Self {
            queue_length: gauges!("pool_queue_length", queue_help, &["pool"], registry)?,
            busy_workers: gauges!("pool_busy_workers", busy_help, &["pool"], registry)?,
            rejected: counters!("pool_rejected_total", rejected_help, &["pool"], registry)?,
        })
    }

    /// The metrics of the pool with this name.
    pub fn get(&self, name: &str) -> PoolMetrics {
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
        let (pool, same) = (pools.get("quick"), pools.get("quick"));
        let state = || (same.queue_length.get(), same.busy_workers.get(), same.rejected.get());
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
