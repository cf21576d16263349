//! An answer on its way: what comes of a connection when it is sent, or as much of it as goes at once; and those who
//! make long answers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crossbeam_channel::Receiver;
use tiny_http::HTTPVersion;

use super::connection::{Connection, Phase, Shared};
use super::exchange::{Abort, Exchange};
use super::lobby::{Arrival, Mailbox};
use super::made::{Made, send_made};
use super::wire::{After, Outgoing, Progress};
use crate::http::reply::{Body, HTTP_1_1, Reply};

/// What becomes of a connection that was served.
pub(super) enum Served {
    /// It can have its next request, for which it waits since then.
    Keep(Instant),
    /// It is at its end.
    Close,
    /// It is at its end, once what the client still sends is read.
    Linger,
    /// Its answer is not all sent; the client takes it slowly.
    Parked(Box<Outgoing>),
    /// Its answer is for others to make.
    Making(Box<Making>),
}

/// An answer that is made while it is sent.
pub(super) struct Making {
    pub(super) exchange: Exchange,
    pub(super) reply: Reply,
    pub(super) version: HTTPVersion,
    pub(super) after: After,
}

/// A connection that waits for somebody to make its answer, which is a long text. That has workers of its own, so that
/// whoever is slow to take one keeps nobody waiting but those who want one too.
pub(super) type LongJob = (Connection, Box<Making>);

/// One of those who make long answers, and nothing else.
pub(super) struct LongWorker {
    pub(super) jobs: Receiver<LongJob>,
    pub(super) shared: Arc<Shared>,
    pub(super) mailbox: Mailbox,
}

impl Served {
    /// What comes of a connection that has got its whole answer.
    fn whole(after: After, ended: Instant) -> Self {
        match after {
            After::KeepAlive => Self::Keep(ended),
            After::Close => Self::Close,
            After::Linger => Self::Linger,
        }
    }
}

impl LongWorker {
    /// Makes answers until nobody can ask for more.
    pub(super) fn run(self) {
        let counted = self.shared.metrics.pool("streaming");
        for (connection, making) in self.jobs {
            let _busy = counted.begin_work();
            if self.shared.phase() == Phase::Aborting {
                continue;
            }
            let arrival = match guard(&self.shared, &connection, || making.send(&connection, &self.shared)) {
                Served::Keep(_) if self.shared.phase() == Phase::Running => Arrival::Waiting(connection),
                Served::Keep(_) | Served::Linger => Arrival::lingering(connection),
                Served::Parked(outgoing) => Arrival::Sending(connection, outgoing),
                Served::Close | Served::Making(_) => continue,
            };
            self.mailbox.send(arrival);
        }
    }
}

impl Making {
    /// Makes the body and sends it.
    pub(super) fn send(self, connection: &Connection, shared: &Shared) -> Served {
        let Self { mut exchange, mut reply, version, after } = self;
        let body = std::mem::replace(&mut reply.body, Body::bytes(Vec::new()));
        let Body::Streamed(produce) = body else { return Served::Close };
        // Without chunks the end of the connection is the end of the body.
        let delimited = version != HTTPVersion(1, 0);
        let after = if delimited || after == After::Linger { after } else { After::Close };
        match send_made(connection, shared, &mut exchange, (&reply, produce), &version, after) {
            Made::Whole => Served::whole(after, exchange.finish(None)),
            Made::Unsent(error) => {
                let reply = Reply::of_error(&error);
                push(connection, Outgoing::new(exchange, reply, false, &version, after))
            }
            Made::Aborted(abort) => abandon(connection, &mut exchange, &abort),
        }
    }

    /// Says that there is nobody to make it.
    pub(super) fn refuse(self, connection: &Connection) -> Served {
        let Self { exchange, version, after, .. } = self;
        let reply = Reply::unavailable("this server makes as many long playlists as it can just now");
        push(connection, Outgoing::new(exchange, reply, false, &version, after))
    }
}

/// Does what sends an answer, and cuts it off should that panic. The handlers' own panics are answered; one that gets
/// here came while the body was being made.
pub(super) fn guard(shared: &Shared, connection: &Connection, send: impl FnOnce() -> Served) -> Served {
    catch_unwind(AssertUnwindSafe(send)).unwrap_or_else(|_| {
        shared.panics.fetch_add(1, Ordering::Relaxed);
        log::error!("a body panicked while it was being made; the response is aborted");
        connection.reset_on_drop();
        Served::Close
    })
}

/// Ends a response that cannot be finished so that the client can tell.
fn abandon(connection: &Connection, exchange: &mut Exchange, abort: &Abort) -> Served {
    exchange.finish(Some(abort));
    connection.reset_on_drop();
    Served::Close
}

/// Sends an answer whose length is known. One that fails before its first byte becomes an answer that says so.
pub(super) fn push(connection: &Connection, mut outgoing: Outgoing) -> Served {
    match outgoing.push(&connection.stream, u64::MAX) {
        Ok(Progress::Done) => Served::whole(outgoing.after, outgoing.exchange.finish(None)),
        Ok(Progress::Blocked | Progress::More) => Served::Parked(Box::new(outgoing)),
        Err(Abort::Body(error)) if outgoing.sent == 0 => {
            let reply = Reply::of_error(&error);
            push(connection, Outgoing::new(outgoing.exchange, reply, false, &HTTP_1_1, After::Linger))
        }
        Err(abort) => abandon(connection, &mut outgoing.exchange, &abort),
    }
}
