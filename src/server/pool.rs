//! Fixed workers on bounded queues, a pool for each lane, so that no kind of work starves another.

use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::answer::{LongJob, LongWorker};
use super::connection::{Connection, Shared};
use super::exchange::Exchange;
use super::head::Head;
use super::lobby::Mailbox;
use super::regulars::Regulars;
use super::wire::{After, Outgoing, is_head};
use super::worker::Worker;
use crate::http::reply::Reply;
use crate::http::{Pool, Routed, Service};
use crate::metrics::Metrics;

/// All lanes, in the order of their queues.
const LANES: [Pool; 4] = [Pool::Quick, Pool::Playlist, Pool::Media, Pool::Cut];

/// A request that waits for a worker.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) connection: Connection,
    pub(super) head: Head,
    /// What kind of work it is.
    pub(super) routed: Routed,
    /// When its head was complete.
    pub(super) begun: Instant,
}

/// The label of a pool.
pub(super) fn pool_name(pool: Pool) -> &'static str {
    match pool {
        Pool::Quick => "quick",
        Pool::Playlist => "playlist",
        Pool::Streaming => "streaming",
        Pool::Media => "media",
        Pool::Cut => "cut",
    }
}

impl Job {
    /// The answer to a job that found no room, to be sent to its connection.
    pub(super) fn refuse(self, metrics: &Arc<Metrics>) -> (Connection, Outgoing) {
        let Self { connection, head: Head { request, keep_alive, .. }, routed, begun } = self;
        let reply = Reply::unavailable("this server has too much to do just now");
        let after = if keep_alive { After::KeepAlive } else { After::Linger };
        let exchange = Exchange::of(&request, begun, metrics, routed.endpoint);
        (connection, Outgoing::new(exchange, reply, is_head(&request), &request.version, after))
    }
}

/// How many workers each lane has.
#[derive(Debug, Clone, Copy)]
pub struct Workers {
    /// In each lane but that for cuts.
    pub each: usize,
    /// In the lane for cuts, whose queue takes twice as many.
    pub cut: usize,
}

/// The ways to the workers.
#[derive(Clone)]
pub(super) struct Pools {
    lanes: Arc<[LaneEntry]>,
    longs: Sender<LongJob>,
    metrics: Arc<Metrics>,
}

/// The way to the workers of one lane.
struct LaneEntry {
    queue: Sender<Job>,
    jobs: Receiver<Job>,
    regulars: Regulars,
}

impl Pools {
    /// Starts the workers.
    pub(super) fn start(
        workers: Workers,
        service: &Arc<dyn Service>,
        shared: &Arc<Shared>,
        mailbox: &Mailbox,
    ) -> io::Result<(Self, Vec<JoinHandle<()>>)> {
        let count = |lane| if lane == Pool::Cut { workers.cut } else { workers.each };
        let entry = |lane: Pool| {
            let waiting = if lane == Pool::Cut { 2 * workers.cut } else { shared.limits.queue };
            let (queue, jobs) = bounded(waiting);
            Ok(LaneEntry { queue, jobs, regulars: Regulars::new(&shared.metrics)? })
        };
        let lanes: io::Result<Vec<LaneEntry>> = LANES.into_iter().map(entry).collect();
        let (longs, long_jobs) = bounded(2 * workers.each);
        let pool = Self { lanes: lanes?.into(), longs, metrics: Arc::clone(&shared.metrics) };
        let worker = |lane| Worker {
            lane,
            pool: pool.clone(),
            service: Arc::clone(service),
            shared: Arc::clone(shared),
            mailbox: mailbox.clone(),
        };
        let mut threads = Vec::new();
        for lane in LANES {
            for number in 0..count(lane) {
                let (name, worker) = (format!("{lane:?}-{number}").to_lowercase(), worker(lane));
                threads.push(Builder::new().name(name).spawn(move || worker.run())?);
            }
        }
        for number in 0..workers.each {
            let (jobs, shared, mailbox) = (long_jobs.clone(), Arc::clone(shared), mailbox.clone());
            let worker = LongWorker { jobs, shared, mailbox };
            threads.push(Builder::new().name(format!("long-{number}")).spawn(move || worker.run())?);
        }
        Ok((pool, threads))
    }

    /// Hands a job to a lane, or gives it back where the lane is full.
    pub(super) fn submit(&self, job: Job) -> Result<(), Box<Job>> {
        let lane = job.routed.pool;
        let (entry, counted) = (self.entry(lane), self.metrics.pool(pool_name(lane)));
        counted.enqueued();
        match entry.queue.try_send(job) {
            Ok(()) => {
                entry.regulars.ring();
                Ok(())
            }
            Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => {
                counted.rejected();
                Err(Box::new(job))
            }
        }
    }

    /// The same with a job for those who make long answers.
    pub(super) fn submit_long(&self, job: LongJob) -> Result<(), LongJob> {
        let counted = self.metrics.pool(pool_name(Pool::Streaming));
        counted.enqueued();
        self.longs.try_send(job).map_err(|refused| {
            counted.rejected();
            refused.into_inner()
        })
    }

    /// The queue of a lane.
    pub(super) fn jobs(&self, lane: Pool) -> &Receiver<Job> {
        &self.entry(lane).jobs
    }

    /// The connections that a lane keeps.
    pub(super) fn regulars(&self, lane: Pool) -> &Regulars {
        &self.entry(lane).regulars
    }

    /// The connections that the lanes keep.
    pub(super) fn all_regulars(&self) -> impl Iterator<Item = &Regulars> {
        self.lanes.iter().map(|entry| &entry.regulars)
    }

    /// Tells the workers that it is over.
    pub(super) fn close(&self) {
        self.all_regulars().for_each(Regulars::close);
    }

    fn entry(&self, lane: Pool) -> &LaneEntry {
        &self.lanes[LANES.iter().position(|found| *found == lane).unwrap_or_default()]
    }
}
