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

/// The queues that lead to the workers. The workers end when the last of these is dropped.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    queues: [Sender<Job>; 4],
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
                    service: Arc::clone(service),
                    shared: Arc::clone(shared),
                    mailbox: mailbox.clone(),
                };
                let name = format!("{lane:?}-{number}").to_lowercase();
                threads.push(Builder::new().name(name).spawn(move || worker.run())?);
            }
        }
        let queues = queues.try_into().map_err(|_| io::Error::other("a lane has no queue"))?;
        Ok((Self { queues }, threads))
    }

    /// Hands a job to a lane, or gives it back where the lane is full.
    pub(super) fn submit(&self, lane: Lane, job: Job) -> Result<(), Box<Job>> {
        let index = LANES.iter().position(|found| *found == lane).unwrap_or_default();
        self.queues[index].try_send(job).map_err(|refused| match refused {
            TrySendError::Full(job) | TrySendError::Disconnected(job) => Box::new(job),
        })
    }
}

/// One worker of a lane.
struct Worker {
    lane: Lane,
    jobs: Receiver<Job>,
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
        while let Ok(job) = self.jobs.recv() {
            if self.shared.phase() == Phase::Aborting {
                continue;
            }
            let mut next = Some(job);
            while let Some(job) = next {
                next = self.serve(job);
            }
        }
    }

    /// Answers one request. Returns the connection's next one if that is this worker's to answer.
    fn serve(&self, job: Job) -> Option<Job> {
        let Job { mut connection, head, begun } = job;
        let answered = catch_unwind(AssertUnwindSafe(|| self.answer(&connection, head, begun)));
        let served = answered.unwrap_or_else(|_| {
            // The handler's own panics are answered; this one came while the body was being made.
            self.shared.panics.fetch_add(1, Ordering::Relaxed);
            log::error!("a body panicked while it was being made; the response is aborted");
            connection.reset_on_drop();
            Served::Close
        });
        match served {
            Served::Keep if self.shared.phase() == Phase::Running => self.next_job(connection),
            Served::Keep | Served::Close => None,
            Served::Linger => {
                connection.input.clear();
                self.mailbox.send(Arrival::Lingering(connection));
                None
            }
            Served::Parked(outgoing) => {
                self.mailbox.send(Arrival::Sending(connection, outgoing));
                None
            }
        }
    }

    /// Makes the answer and sends as much of it as goes at once.
    fn answer(&self, connection: &Connection, head: Head, begun: Instant) -> Served {
        let Head { request, keep_alive, .. } = head;
        let called = catch_unwind(AssertUnwindSafe(|| self.service.call(&request)));
        let reply = called.unwrap_or_else(|_| {
            self.shared.panics.fetch_add(1, Ordering::Relaxed);
            log::error!("the handler of `{}` panicked", request.target.escape_debug());
            Reply::refusal(500, "something went wrong in this server; its log says what")
        });
        let after = match keep_alive && self.shared.phase() == Phase::Running {
            true => After::KeepAlive,
            false if connection.input.is_empty() => After::Close,
            false => After::Linger,
        };
        let (version, head_only) = (request.version.clone(), is_head(&request));
        let exchange = Exchange::of(request, begun);
        match reply.body {
            Body::Made(_) if !head_only => self.answer_made(connection, exchange, reply, &version, after),
            _ => push(connection, Outgoing::new(exchange, reply, head_only, &version, after)),
        }
    }

    /// Makes an answer's body and sends it.
    fn answer_made(
        &self,
        connection: &Connection,
        mut exchange: Exchange,
        mut reply: Reply,
        version: &HTTPVersion,
        after: After,
    ) -> Served {
        let body = std::mem::replace(&mut reply.body, Body::bytes(Vec::new()));
        let Body::Made(produce) = body else { return Served::Close };
        // Without chunks the end of the connection is the end of the body.
        let delimited = *version != HTTPVersion(1, 0);
        let after = if delimited || after == After::Linger { after } else { After::Close };
        match send_made(connection, &self.shared, &mut exchange, (&reply, produce), version, after) {
            Made::Whole => {
                exchange.finish(None);
                after.into()
            }
            Made::Unsent(error) => {
                let reply = Reply::of_error(&error);
                push(connection, Outgoing::new(exchange, reply, false, version, after))
            }
            Made::Aborted(abort) => abandon(connection, &exchange, &abort),
        }
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
fn abandon(connection: &Connection, exchange: &Exchange, abort: &Abort) -> Served {
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
        Err(abort) => abandon(connection, &outgoing.exchange, &abort),
    }
}
