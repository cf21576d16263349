//! The worker pools: how many requests wait in their queues, and how many of their workers are busy.

use prometheus::{
    IntCounter, IntGauge, Registry, Result, register_int_counter_vec_with_registry as counters,
    register_int_gauge_vec_with_registry as gauges,
};

/// The names of the pools.
pub const POOLS: [&str; 5] = ["quick", "playlist", "streaming", "media", "cut"];

/// The metrics of one pool.
#[derive(Debug, Clone)]
pub struct PoolMetrics {
    pub(super) queue_length: IntGauge,
    pub(super) busy_workers: IntGauge,
    rejected: IntCounter,
}

/// A worker that works on a request until this guard is dropped.
#[derive(Debug)]
pub struct BusyWorker(IntGauge);

/// Registers the metrics of all pools.
pub(super) fn register_pools(registry: &Registry) -> Result<Vec<(&'static str, PoolMetrics)>> {
    let help = "Requests that wait for a worker.";
    let queue_length = gauges!("pool_queue_length", help, &["pool"], registry)?;
    let help = "Workers that are working on a request.";
    let busy_workers = gauges!("pool_busy_workers", help, &["pool"], registry)?;
    let help = "Requests that were rejected because the queue was full.";
    let rejected = counters!("pool_rejected_total", help, &["pool"], registry)?;
    let pool = |name| PoolMetrics {
        queue_length: queue_length.with_label_values(&[name]),
        busy_workers: busy_workers.with_label_values(&[name]),
        rejected: rejected.with_label_values(&[name]),
    };
    Ok(POOLS.map(|name| (name, pool(name))).into())
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
        let pools = register_pools(&Registry::new()).expect("counters");
        let (_, pool) = &pools[0];
        let same = pool.clone();
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
