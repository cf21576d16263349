//! Fixed workers on bounded queues, a pool for each lane, so that no kind of work starves another.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use rustix::event::PollFlags;
use tiny_http::HTTPVersion;

use super::connection::{Connection, Phase, Received, Shared};
use super::head::{Head, MAX_HEAD_BYTES, Parsed, parse};
use super::lobby::{Arrival, Mailbox};
use super::made::{Made, send_made, wait};
use super::wire::{Abort, After, Exchange, Outgoing, Progress, is_head};
use crate::http::reply::{Body, HTTP_1_1, Reply};
use crate::http::{Lane, Service};
use crate::metrics::{LONG_LANE, Metrics};

/// All lanes, in the order of their queues.
const LANES: [Lane; 4] = [Lane::Quick, Lane::Playlist, Lane::Media, Lane::Cut];

/// How long a worker that has nothing else to do waits for its client's next request before the lobby takes over.
const NEXT_REQUEST: Duration = Duration::from_millis(1);

/// A request that waits for a worker.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) connection: Connection,
    pub(super) head: Head,
    /// When its head was complete.
    pub(super) begun: Instant,
}

/// An answer whose body is a long text that is made while it is sent. It has workers of its own, so that whoever is
/// slow to take one keeps nobody waiting but those who want one too.
struct Long {
    exchange: Exchange,
    reply: Reply,
    version: HTTPVersion,
    after: After,
}

/// The queues that lead to the workers. The workers end when the last of these is dropped.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    queues: [Sender<Job>; 4],
    metrics: Arc<Metrics>,
}

/// How many workers each lane has.
#[derive(Debug, Clone, Copy)]
pub struct Workers {
    /// In each lane but that for cuts.
    pub each: usize,
    /// In the lane for cuts, whose queue takes twice as many.
    pub cut: usize,
}

impl Pool {
    /// Starts the workers.
    pub(super) fn start(
        workers: Workers,
        service: &Arc<dyn Service>,
        shared: &Arc<Shared>,
        mailbox: &Mailbox,
    ) -> io::Result<(Self, Vec<JoinHandle<()>>)> {
        let mut threads = Vec::new();
        let mut queues = Vec::new();
        let (long, longs) = bounded(2 * workers.each);
        for lane in LANES {
            let (count, waiting) = match lane {
                Lane::Cut => (workers.cut, 2 * workers.cut),
                _ => (workers.each, shared.limits.queue),
            };
            let (queue, jobs) = bounded(waiting);
            queues.push(queue);
            for number in 0..count {
                let worker = Worker {
                    lane,
                    jobs: jobs.clone(),
                    long: (lane == Lane::Playlist).then(|| long.clone()),
                    service: Arc::clone(service),
                    shared: Arc::clone(shared),
                    mailbox: mailbox.clone(),
                };
                let name = format!("{lane:?}-{number}").to_lowercase();
                if lane == Lane::Playlist {
                    let (maker, longs) = (Worker { long: None, ..worker.clone() }, longs.clone());
                    let name = format!("long-{number}");
                    threads.push(Builder::new().name(name).spawn(move || maker.run_long(&longs))?);
                }
                threads.push(Builder::new().name(name).spawn(move || worker.run())?);
            }
        }
        let queues = queues.try_into().map_err(|_| io::Error::other("a lane has no queue"))?;
        Ok((Self { queues, metrics: Arc::clone(&shared.metrics) }, threads))
    }

    /// Hands a job to a lane, or gives it back where the lane is full.
    pub(super) fn submit(&self, lane: Lane, job: Job) -> Result<(), Box<Job>> {
        let index = LANES.iter().position(|found| *found == lane).unwrap_or_default();
        let counted = self.metrics.lane(index);
        counted.queued();
        self.queues[index].try_send(job).map_err(|refused| match refused {
            TrySendError::Full(job) | TrySendError::Disconnected(job) => {
                counted.refused();
                Box::new(job)
            }
        })
    }
}

/// One worker of a lane.
#[derive(Clone)]
struct Worker {
    lane: Lane,
    jobs: Receiver<Job>,
    /// Where long answers go that others are to make.
    long: Option<Sender<(Connection, Box<Long>)>>,
    service: Arc<dyn Service>,
    shared: Arc<Shared>,
    mailbox: Mailbox,
}

/// What becomes of a connection that was served.
enum Served {
    /// It can have its next request.
    Keep,
    /// It is at its end.
    Close,
    /// It is at its end, once what the client still sends is read.
    Linger,
    /// Its answer is not all sent; the client takes it slowly.
    Parked(Box<Outgoing>),
    /// Its answer is for others to make.
    Long(Box<Long>),
}

impl From<After> for Served {
    fn from(after: After) -> Self {
        match after {
            After::KeepAlive => Self::Keep,
            After::Close => Self::Close,
            After::Linger => Self::Linger,
        }
    }
}

impl Worker {
    fn run(self) {
        let lane = self.shared.metrics.lane(self.lane as usize);
        while let Ok(job) = self.jobs.recv() {
            let _busy = lane.taken();
            if self.shared.phase() == Phase::Aborting {
                continue;
            }
            let mut next = Some(job);
            while let Some(job) = next {
                next = self.serve(job);
            }
        }
    }

    /// Makes long answers, and nothing else.
    fn run_long(&self, longs: &Receiver<(Connection, Box<Long>)>) {
        let lane = self.shared.metrics.lane(LONG_LANE);
        for (connection, long) in longs {
            let _busy = lane.taken();
            if self.shared.phase() == Phase::Aborting {
                continue;
            }
            let served = self.guard(&connection, || self.answer_made(&connection, *long));
            if let Some(connection) = self.part(connection, served) {
                self.mailbox.send(Arrival::Waiting(connection));
            }
        }
    }

    /// Answers one request. Returns the connection's next one if that is this worker's to answer.
    fn serve(&self, job: Job) -> Option<Job> {
        let Job { connection, head, begun } = job;
        let served = self.guard(&connection, || self.answer(&connection, head, begun));
        let connection = self.part(connection, served)?;
        self.next_job(connection)
    }

    /// Does what sends an answer, and cuts it off should that panic. The handlers' own panics are answered; one that
    /// gets here came while the body was being made.
    fn guard(&self, connection: &Connection, send: impl FnOnce() -> Served) -> Served {
        catch_unwind(AssertUnwindSafe(send)).unwrap_or_else(|_| {
            self.shared.panics.fetch_add(1, Ordering::Relaxed);
            log::error!("a body panicked while it was being made; the response is aborted");
            connection.reset_on_drop();
            Served::Close
        })
    }

    /// Does with a connection what is to be done now that it was served; gives it back if it can have its next request.
    fn part(&self, mut connection: Connection, served: Served) -> Option<Connection> {
        let arrival = match served {
            Served::Keep if self.shared.phase() == Phase::Running => return Some(connection),
            Served::Close => return None,
            Served::Keep | Served::Linger => {
                connection.input.clear();
                Arrival::Lingering(connection)
            }
            Served::Parked(outgoing) => Arrival::Sending(connection, outgoing),
            Served::Long(long) => return self.hand_on(connection, long),
        };
        self.mailbox.send(arrival);
        None
    }

    /// Makes the answer and sends as much of it as goes at once.
    fn answer(&self, connection: &Connection, head: Head, begun: Instant) -> Served {
        let Head { request, keep_alive, .. } = head;
        let subject = self.service.subject(&request);
        let exchange = Exchange::of(&request, begun, &self.shared.metrics, subject);
        let called = catch_unwind(AssertUnwindSafe(|| self.service.call(&request)));
        let reply = called.unwrap_or_else(|_| {
            self.shared.panics.fetch_add(1, Ordering::Relaxed);
            log::error!("the handler of `{}` panicked", request.target.escape_debug());
            Reply::refusal(500, "something went wrong in this server; its log says what")
        });
        // A client that meant to go on may have asked for more, which must not turn the end into a reset.
        let after = match (keep_alive, self.shared.phase() == Phase::Running) {
            (true, true) => After::KeepAlive,
            (false, _) if connection.input.is_empty() => After::Close,
            _ => After::Linger,
        };
        let (version, head_only) = (request.version.clone(), is_head(&request));
        match reply.body {
            Body::Made(_) if !head_only => {
                let long = Long { exchange, reply, version, after };
                if self.long.is_some() {
                    Served::Long(Box::new(long))
                } else {
                    self.answer_made(connection, long)
                }
            }
            _ => push(connection, Outgoing::new(exchange, reply, head_only, &version, after)),
        }
    }

    /// Makes an answer's body and sends it.
    fn answer_made(&self, connection: &Connection, made: Long) -> Served {
        let Long { mut exchange, mut reply, version, after } = made;
        let body = std::mem::replace(&mut reply.body, Body::bytes(Vec::new()));
        let Body::Made(produce) = body else { return Served::Close };
        // Without chunks the end of the connection is the end of the body.
        let delimited = version != HTTPVersion(1, 0);
        let after = if delimited || after == After::Linger { after } else { After::Close };
        match send_made(connection, &self.shared, &mut exchange, (&reply, produce), &version, after) {
            Made::Whole => {
                exchange.finish(None);
                after.into()
            }
            Made::Unsent(error) => {
                let reply = Reply::of_error(&error);
                push(connection, Outgoing::new(exchange, reply, false, &version, after))
            }
            Made::Aborted(abort) => abandon(connection, &mut exchange, &abort),
        }
    }

    /// Hands an answer to those who make long ones, or says that they have too much to do.
    fn hand_on(&self, connection: Connection, long: Box<Long>) -> Option<Connection> {
        let refused = match &self.long {
            Some(longs) => {
                let lane = self.shared.metrics.lane(LONG_LANE);
                lane.queued();
                let refused = longs.try_send((connection, long)).err()?;
                lane.refused();
                refused.into_inner()
            }
            None => (connection, long),
        };
        let (connection, long) = refused;
        let Long { exchange, version, after, .. } = *long;
        let reply = Reply::busy("this server makes as many long playlists as it can just now");
        let served = push(&connection, Outgoing::new(exchange, reply, false, &version, after));
        self.part(connection, served)
    }

    /// The connection's next request, if it is there or comes at once, is for this lane, and nobody waits for a
    /// worker. Else the connection goes back to the lobby.
    fn next_job(&self, mut connection: Connection) -> Option<Job> {
        let mut waited = false;
        while self.jobs.is_empty() {
            match parse(&connection.input, connection.client) {
                Parsed::Whole(head)
                    if head.body_len == 0 && self.service.lane(&head.request) == self.lane =>
                {
                    connection.input.drain(..head.len);
                    return Some(Job { connection, head, begun: Instant::now() });
                }
                Parsed::Partial if !waited => {}
                _ => break,
            }
            waited = true;
            let mut buffer = [0; MAX_HEAD_BYTES];
            let _ = wait(&connection.stream, PollFlags::IN, NEXT_REQUEST);
            match connection.receive(&mut buffer) {
                Received::Bytes(count) => connection.input.extend_from_slice(&buffer[..count]),
                Received::Nothing => break,
                Received::End => return None,
            }
        }
        self.mailbox.send(Arrival::Waiting(connection));
        None
    }
}

/// Ends a response that cannot be finished so that the client can tell.
fn abandon(connection: &Connection, exchange: &mut Exchange, abort: &Abort) -> Served {
    exchange.finish(Some(abort));
    connection.reset_on_drop();
    Served::Close
}

/// Sends an answer whose length is known. One that fails before its first byte becomes an answer that says so.
fn push(connection: &Connection, mut outgoing: Outgoing) -> Served {
    match outgoing.push(&connection.stream, u64::MAX) {
        Ok(Progress::Done) => {
            outgoing.exchange.finish(None);
            outgoing.after.into()
        }
        Ok(Progress::Blocked | Progress::More) => Served::Parked(Box::new(outgoing)),
        Err(Abort::Body(error)) if outgoing.sent == 0 => {
            let reply = Reply::of_error(&error);
            push(connection, Outgoing::new(outgoing.exchange, reply, false, &HTTP_1_1, After::Linger))
        }
        Err(abort) => abandon(connection, &mut outgoing.exchange, &abort),
    }
}
