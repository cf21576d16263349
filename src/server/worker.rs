//! What a worker does with the requests of its lane.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::answer::{Making, Served, guard, push};
use super::connection::{Connection, Phase, Received, Shared};
use super::exchange::Exchange;
use super::head::{Head, MAX_HEAD_BYTES, Parsed, parse};
use super::lobby::{Arrival, Mailbox};
use super::made::is_cancelled;
use super::pool::{Job, Pools, pool_name};
use super::regulars::{Call, Regular, Regulars};
use super::wire::{After, Outgoing, is_head};
use crate::http::reply::{Body, Reply};
use crate::http::{Pool, Routed, Service};

/// How many requests that came at once a connection has answered before others have their turn.
const TURNS: usize = 16;
/// How much memory an answer may take that a client leaves lying here. The lobby keeps an eye on all that is more.
const LEFT_BYTES: usize = 4 * 1024;

/// How much memory a connection that waits keeps for what it will ask.
const KEPT_BYTES: usize = 1024;

/// One worker of a lane.
pub(super) struct Worker {
    pub(super) lane: Pool,
    pub(super) pool: Pools,
    pub(super) service: Arc<dyn Service>,
    pub(super) shared: Arc<Shared>,
    pub(super) mailbox: Mailbox,
}

/// A request that a worker has before it.
struct Asked {
    head: Head,
    routed: Routed,
    begun: Instant,
}

/// What a connection asks for next.
enum Next {
    /// Something.
    Asked(Asked),
    /// Nothing yet.
    Nothing,
    /// Something that is not whole yet, or is no request, or has a body: it is for the lobby to find out.
    Odd,
    /// Nothing ever again.
    End,
}

impl Worker {
    /// Serves its lane: of its queue and its regulars each in turn.
    pub(super) fn run(self) {
        let counted = self.shared.metrics.pool(pool_name(self.lane));
        let (jobs, regulars) = (self.pool.jobs(self.lane), self.pool.regulars(self.lane));
        let mut scratch = vec![0; MAX_HEAD_BYTES];
        loop {
            if let Ok(job) = jobs.try_recv() {
                let _busy = counted.begin_work();
                if !jobs.is_empty() {
                    regulars.ring();
                }
                self.call_for_help();
                if self.shared.phase() != Phase::Aborting {
                    let Job { connection, head, routed, begun } = job;
                    let asked = Asked { head, routed, begun };
                    self.turn(Regular::new(connection), Some(asked), &mut scratch);
                }
            }
            let call = regulars.wait(jobs.is_empty());
            self.call_for_help();
            match call {
                Call::Regular(regular) => {
                    counted.enqueued();
                    let _busy = counted.begin_work();
                    self.turn(regular, None, &mut scratch);
                }
                Call::Nobody => {}
                Call::Over => return,
            }
        }
    }

    /// Has the lobby look after the lane's regulars, if no worker waits for them. Each worker does so before it turns to
    /// something that may take long.
    fn call_for_help(&self) {
        if self.regulars().need_help() && self.shared.watch_lanes() {
            self.mailbox.ring();
        }
    }

    /// Serves a connection until it has to wait, and finds a place for it. What it asks first may be known already.
    fn turn(&self, mut regular: Regular, mut first: Option<Asked>, scratch: &mut [u8]) {
        for _ in 0..TURNS {
            let served = if let Some(outgoing) = regular.answer.take() {
                guard(&self.shared, &regular.connection, || push(&regular.connection, *outgoing))
            } else if let Some(asked) = first.take() {
                guard(&self.shared, &regular.connection, || self.answer(&regular.connection, asked))
            } else {
                let looked = catch_unwind(AssertUnwindSafe(|| self.next(&mut regular, scratch)));
                match looked.unwrap_or_else(|_| self.panicked()) {
                    Next::Asked(asked) if asked.routed.pool == self.lane => {
                        guard(&self.shared, &regular.connection, || self.answer(&regular.connection, asked))
                    }
                    Next::Asked(asked) => match self.hand_over(regular, asked) {
                        Some((connection, served)) => {
                            regular = Regular::new(connection);
                            served
                        }
                        None => return,
                    },
                    Next::Nothing => Served::Keep(Instant::now()),
                    Next::Odd => return self.send_away(regular, Arrival::Waiting),
                    Next::End => Served::Close,
                }
            };
            match self.part(regular, served) {
                Some(again) => regular = again,
                None => return,
            }
        }
        match regular.answer.take() {
            Some(outgoing) => self.send_away(regular, |connection| Arrival::Sending(connection, outgoing)),
            None => self.send_away(regular, Arrival::Waiting),
        }
    }

    /// Notes that something panicked over what a connection has sent, which is its end.
    fn panicked(&self) -> Next {
        self.shared.panics.fetch_add(1, Ordering::Relaxed);
        log::error!("something panicked over a connection, which is closed");
        Next::End
    }

    /// What a connection asks for next, as far as that has come.
    fn next(&self, regular: &mut Regular, scratch: &mut [u8]) -> Next {
        let connection = &mut regular.connection;
        loop {
            match parse(&connection.input, connection.client) {
                Parsed::Whole(head) if head.body_len == 0 => {
                    connection.input.drain(..head.len);
                    let routed = self.service.route(&head.request);
                    return Next::Asked(Asked { head, routed, begun: Instant::now() });
                }
                Parsed::Partial => {}
                Parsed::Whole(_) | Parsed::Refused(_) => return Next::Odd,
            }
            let received = connection.receive(scratch);
            regular.may_have_more = received == Received::Bytes(scratch.len());
            match received {
                Received::Bytes(count) => connection.input.extend_from_slice(&scratch[..count]),
                Received::Nothing if connection.input.is_empty() => return Next::Nothing,
                Received::Nothing => return Next::Odd,
                Received::End => return Next::End,
            }
        }
    }

    /// Does with a connection what is to be done now that it was served; gives it back if it goes on at once.
    fn part(&self, mut regular: Regular, served: Served) -> Option<Regular> {
        let running = self.shared.phase() == Phase::Running;
        match served {
            Served::Keep(_) if running && self.lane == Pool::Cut => {
                self.send_away(regular, Arrival::Waiting);
                None
            }
            Served::Keep(since) if running => self.keep(regular, since),
            Served::Parked(outgoing) if running && outgoing.held_bytes() <= LEFT_BYTES => {
                regular.answer = Some(outgoing);
                self.keep(regular, Instant::now())
            }
            Served::Parked(outgoing) => {
                self.send_away(regular, |connection| Arrival::Sending(connection, outgoing));
                None
            }
            Served::Keep(_) | Served::Linger => {
                self.send_away(regular, Arrival::lingering);
                None
            }
            Served::Close => {
                drop(self.regulars().release(regular));
                None
            }
            Served::Making(making) => {
                let connection = self.regulars().release(regular).connection;
                let (connection, making) = self.pool.submit_long((connection, making)).err()?;
                let refused = making.refuse(&connection);
                self.part(Regular::new(connection), refused)
            }
        }
    }

    /// Leaves a connection, which waits since then, to all workers of the lane; gives it back if there is something to do
    /// for it already.
    fn keep(&self, mut regular: Regular, since: Instant) -> Option<Regular> {
        // What it asks next waits until it has its answer.
        let may_have_asked = !regular.connection.input.is_empty() || regular.may_have_more;
        if regular.answer.is_none() && may_have_asked {
            return Some(regular);
        }
        if regular.connection.input.capacity() > KEPT_BYTES {
            // What a large head has taken is not kept for the next one.
            regular.connection.input = Vec::new();
        }
        match self.regulars().keep(regular, since) {
            Ok(()) => {
                // The lobby may have looked for those who are to go just before.
                if self.shared.phase() != Phase::Running {
                    self.mailbox.ring();
                }
                None
            }
            Err(regular) => Some(regular),
        }
    }

    /// Hands a connection to the lobby.
    fn send_away(&self, regular: Regular, arrival: impl FnOnce(Connection) -> Arrival) {
        self.mailbox.send(arrival(self.regulars().release(regular).connection));
    }

    fn regulars(&self) -> &Regulars {
        self.pool.regulars(self.lane)
    }

    /// Makes the answer and sends as much of it as goes at once.
    fn answer(&self, connection: &Connection, asked: Asked) -> Served {
        let Asked { head: Head { request, keep_alive, .. }, routed, begun } = asked;
        let mut exchange = Exchange::of(&request, begun, &self.shared.metrics, routed.endpoint);
        let is_cancelled = || is_cancelled(&connection.stream, &self.shared);
        let called = catch_unwind(AssertUnwindSafe(|| self.service.call(&request, routed, &is_cancelled)));
        let mut reply = called.unwrap_or_else(|_| {
            self.shared.panics.fetch_add(1, Ordering::Relaxed);
            log::error!("the handler of `{}` panicked", request.target.escape_debug());
            Reply::refusal(500, "something went wrong in this server; its log says what")
        });
        exchange.meter.set_variant(reply.variant.take());
        // A client that meant to go on may have asked for more, which must not turn the end into a reset.
        let after = match (keep_alive, self.shared.phase() == Phase::Running) {
            (true, true) => After::KeepAlive,
            (false, _) if connection.input.is_empty() => After::Close,
            _ => After::Linger,
        };
        let (version, head_only) = (request.version.clone(), is_head(&request));
        match reply.body {
            Body::Streamed(_) if !head_only => {
                let making = Making { exchange, reply, version, after };
                if self.lane == Pool::Playlist {
                    Served::Making(Box::new(making))
                } else {
                    making.send(connection, &self.shared)
                }
            }
            _ => push(connection, Outgoing::new(exchange, reply, head_only, &version, after)),
        }
    }

    /// Hands a request to the workers of another lane, or says that they have too much to do.
    fn hand_over(&self, regular: Regular, asked: Asked) -> Option<(Connection, Served)> {
        let Asked { head, routed, begun } = asked;
        let connection = self.regulars().release(regular).connection;
        let refused = self.pool.submit(Job { connection, head, routed, begun }).err()?;
        let (connection, outgoing) = refused.refuse(&self.shared.metrics);
        let served = push(&connection, outgoing);
        Some((connection, served))
    }
}
