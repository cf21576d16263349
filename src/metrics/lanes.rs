//! What is counted of the lanes: who waits in them, and which of their workers are at work.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::IntCounter;

use super::COUNTED;
use super::shards::{Apart, Sharded};

/// What is counted of a lane.
#[derive(Debug)]
pub struct Lane {
    queue: Sharded,
    workers: Mutex<Vec<Arc<Apart<AtomicBool>>>>,
    refused: IntCounter,
}

/// A worker of a lane.
#[derive(Debug)]
pub struct LaneWorker<'a> {
    lane: &'a Lane,
    busy: Arc<Apart<AtomicBool>>,
}

/// A worker that is at work, until this is dropped.
#[derive(Debug)]
pub struct Busy<'a>(&'a AtomicBool);

impl Lane {
    pub(super) fn new(refused: IntCounter) -> Self {
        Self { queue: Sharded::default(), workers: Mutex::default(), refused }
    }

    /// A request begins to wait.
    pub fn queued(&self) {
        if COUNTED {
            self.queue.add(1);
        }
    }

    /// A request waits no longer, for there was no room for it.
    pub fn refused(&self) {
        if COUNTED {
            self.queue.add(-1);
            self.refused.inc();
        }
    }

    /// One more worker.
    pub fn worker(&self) -> LaneWorker<'_> {
        let busy = Arc::<Apart<AtomicBool>>::default();
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&busy));
        LaneWorker { lane: self, busy }
    }

    /// How many requests wait.
    pub(super) fn waiting(&self) -> i64 {
        self.queue.get()
    }

    /// How many workers have a request.
    pub(super) fn busy_workers(&self) -> i64 {
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.iter().map(|busy| i64::from(busy.0.load(Ordering::Relaxed))).sum()
    }
}

impl LaneWorker<'_> {
    /// A request waits no longer, for this worker has taken it.
    #[must_use]
    pub fn taken(&self) -> Busy<'_> {
        if COUNTED {
            self.lane.queue.add(-1);
        }
        self.busy()
    }

    /// The worker has a request that did not wait.
    #[must_use]
    pub fn busy(&self) -> Busy<'_> {
        if COUNTED {
            self.busy.0.store(true, Ordering::Relaxed);
        }
        Busy(&self.busy.0)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        if COUNTED {
            self.0.store(false, Ordering::Relaxed);
        }
    }
}
