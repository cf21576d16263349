//! Fixed workers on bounded queues, one pool per kind of work, so that no kind of work starves another.

use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use crossbeam_channel::{Sender, TrySendError, bounded};

use super::events::EventSender;
use super::limits::Shared;
use super::worker::{Job, Worker};
use crate::http::{Pool, Service};
use crate::metrics::PoolMetrics;

/// All pools, with their names in metrics, thread names and the console.
pub(super) const POOLS: [(Pool, &str); 6] = [
    (Pool::Quick, "quick"),
    (Pool::Playlist, "playlist"),
    (Pool::Streaming, "streaming"),
    (Pool::Media, "media"),
    (Pool::Cut, "cut"),
    (Pool::Picture, "picture"),
];

/// How many workers the pools have.
#[derive(Debug, Clone, Copy)]
pub struct Workers {
    /// In each pool but those for cuts and for pictures.
    pub each: usize,
    /// In the pool for cuts, whose queue holds twice as many jobs, and in the one for pictures, which are made faster: its
    /// queue holds 16 times as many.
    pub cut: usize,
}

/// The queues of all pools. The workers end when this is dropped.
pub(super) struct Pools(Vec<Queue>);

struct Queue {
    pool: Pool,
    jobs: Sender<Box<Job>>,
    metrics: PoolMetrics,
}

impl Pools {
    /// Starts the workers. They hand connections back through `events`.
    pub(super) fn start(
        workers: Workers,
        service: &Arc<dyn Service>,
        shared: &Arc<Shared>,
        events: &EventSender,
    ) -> io::Result<(Self, Vec<JoinHandle<()>>)> {
        let (mut queues, mut threads) = (Vec::new(), Vec::new());
        for (pool, name) in POOLS {
            let (count, waiting) = match pool {
                Pool::Cut => (workers.cut, 2 * workers.cut),
                Pool::Picture => (workers.cut, 16 * workers.cut),
                _ => (workers.each, shared.limits.queue),
            };
            let (sender, jobs) = bounded(waiting);
            let metrics = shared.metrics.pools.get(name);
            for number in 0..count {
                let worker = Worker {
                    pool,
                    jobs: jobs.clone(),
                    metrics: metrics.clone(),
                    service: Arc::clone(service),
                    shared: Arc::clone(shared),
                    events: events.clone(),
                };
                let thread = Builder::new().name(format!("{name}-{number}"));
                threads.push(thread.spawn(move || worker.run())?);
            }
            queues.push(Queue { pool, jobs: sender, metrics });
        }
        Ok((Self(queues), threads))
    }

    /// Queues a job, or returns it if the queue is full.
    pub(super) fn submit(&self, job: Box<Job>) -> Result<(), Box<Job>> {
        let Some(queue) = self.0.iter().find(|queue| queue.pool == job.task.pool()) else { return Err(job) };
        queue.metrics.queue_length.inc();
        queue.jobs.try_send(job).map_err(|error| {
            queue.metrics.queue_length.dec();
            queue.metrics.rejected.inc();
            let (TrySendError::Full(job) | TrySendError::Disconnected(job)) = error;
            job
        })
    }
}
