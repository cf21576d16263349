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
    /// Requests that were rejected because the queue was full.
    pub rejected: IntCounter,
}

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
