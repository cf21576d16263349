//! One connection in the lobby: what it is at, and what it does next.

use std::os::fd::BorrowedFd;
use std::time::Instant;

use rustix::event::epoll;
use rustix::net::SendFlags;

use crate::http::Service;
use crate::http::reply::Reply;
use crate::server::connection::{Connection, Limits, Received, Shared};
use crate::server::exchange::Abort;
use crate::server::head::{Head, Parsed, Refusal, TOO_SLOW, parse};
use crate::server::pool::{Job, Pools};
use crate::server::wire::{After, Outgoing, Progress, send};

/// How many bytes one guest may be sent before the others have their turn.
const TURN_BYTES: u64 = 1024 * 1024;
/// How many bytes are read from a client that is to go.
const LINGER_BYTES: usize = 256 * 1024;

/// A connection in the lobby.
pub(super) struct Guest {
    pub(super) connection: Connection,
    pub(super) state: State,
    /// When its time is over.
    pub(super) deadline: Instant,
    /// What the system was told to watch for.
    pub(super) watched: Option<Interest>,
    /// How much memory its answer took when it was given its place.
    pub(super) held_bytes: usize,
}

/// What a connection is at.
pub(super) enum State {
    /// Its next request's head is awaited; `begun` says when the first byte of it came.
    Reading {
        /// When the head's first byte came.
        begun: Option<Instant>,
    },
    /// Its request's body is read and dropped.
    ReadingBody {
        /// The request.
        head: Box<Head>,
        /// How much of the body is still to come.
        left: u64,
    },
    /// It is sent an answer.
    Sending(Box<Outgoing>),
    /// It was sent all there is; what it still sends is read, so that the answer is not lost.
    Lingering {
        /// How much more is read.
        left: usize,
    },
}

/// What a guest waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interest {
    /// Bytes to read.
    Input,
    /// Room to write.
    Room,
}

/// What becomes of a guest after a step.
pub(super) enum Next {
    /// It takes another.
    Again(Guest),
    /// It waits.
    Stay(Guest),
    /// It is gone: closed, or handed to a worker.
    Left,
}

/// What a guest needs to take a step.
pub(super) struct Visit<'a> {
    pub(super) pool: &'a Pools,
    pub(super) service: &'a dyn Service,
    pub(super) shared: &'a Shared,
    pub(super) epoll: BorrowedFd<'a>,
    pub(super) scratch: &'a mut [u8],
}

impl State {
    pub(super) fn lingering() -> Self {
        Self::Lingering { left: LINGER_BYTES }
    }
}

impl Guest {
    pub(super) fn interest(&self) -> Interest {
        if matches!(self.state, State::Sending(_)) { Interest::Room } else { Interest::Input }
    }

    /// Whether it could be sent away without anybody missing anything.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.state, State::Reading { begun: None })
    }

    /// How much memory the answer takes that it is sent.
    pub(super) fn answer_bytes(&self) -> usize {
        match &self.state {
            State::Sending(outgoing) => outgoing.held_bytes(),
            _ => 0,
        }
    }

    /// Ends it so that the client can tell, if it is being sent an answer.
    pub(super) fn cut_off(mut self, why: &Abort) {
        if let State::Sending(outgoing) = &mut self.state {
            outgoing.exchange.finish(Some(why));
            self.connection.reset_on_drop();
        }
    }

    /// Whether it has no answer coming.
    pub(super) fn is_without_answer(&self) -> bool {
        matches!(self.state, State::Reading { .. } | State::ReadingBody { .. })
    }

    /// What comes of it when its time is over.
    pub(super) fn too_late(self, shared: &Shared) -> Next {
        let connections = &shared.metrics.connections;
        match &self.state {
            State::Reading { begun: None } | State::Lingering { .. } => Next::Left,
            State::Reading { begun: Some(_) } | State::ReadingBody { .. } => {
                connections.dropped("head_timeout");
                self.refuse(TOO_SLOW, shared)
            }
            State::Sending(_) => {
                connections.dropped("write_timeout");
                self.cut_off(&Abort::Stalled);
                Next::Left
            }
        }
    }

    /// Answers what is not a request, and ends the connection.
    fn refuse(mut self, refusal: Refusal, shared: &Shared) -> Next {
        let reply = Reply::refusal(refusal.status, refusal.text);
        let outgoing = Outgoing::refusal(self.connection.client, reply, &shared.metrics);
        self.connection.input.clear();
        self.send(outgoing, &shared.limits)
    }

    /// Begins to send an answer.
    fn send(mut self, outgoing: Outgoing, limits: &Limits) -> Next {
        self.state = State::Sending(Box::new(outgoing));
        self.deadline = Instant::now() + limits.write_timeout;
        Next::Again(self)
    }
}

impl Visit<'_> {
    /// Lets a guest do what it can without waiting.
    pub(super) fn step(&mut self, mut guest: Guest) -> Next {
        match guest.state {
            State::Reading { begun } => self.read_head(guest, begun),
            State::ReadingBody { head, left } => {
                guest.state = State::Reading { begun: None };
                self.read_body(guest, head, left)
            }
            State::Sending(outgoing) => {
                guest.state = State::Reading { begun: None };
                self.send_on(guest, outgoing)
            }
            State::Lingering { left } => self.drain(guest, left),
        }
    }

    /// Reads on in a head, and hands a whole one on.
    fn read_head(&mut self, mut guest: Guest, begun: Option<Instant>) -> Next {
        let limits = &self.shared.limits;
        // What came before was looked at when it came.
        let mut parsed = match begun {
            None => parse(&guest.connection.input, guest.connection.client),
            Some(_) => Parsed::Partial,
        };
        let mut waits = false;
        if matches!(parsed, Parsed::Partial) {
            match guest.connection.receive(self.scratch) {
                Received::Bytes(count) => guest.connection.input.extend_from_slice(&self.scratch[..count]),
                Received::Nothing => waits = true,
                Received::End => return Next::Left,
            }
            parsed = parse(&guest.connection.input, guest.connection.client);
        }
        match parsed {
            Parsed::Partial => {
                if begun.is_none() && !guest.connection.input.is_empty() {
                    let now = Instant::now();
                    guest.state = State::Reading { begun: Some(now) };
                    guest.deadline = now + limits.head_timeout;
                }
                if waits && guest.connection.input.is_empty() {
                    // What a large head has taken is not kept for the next one.
                    guest.connection.input = Vec::new();
                }
                if waits { Next::Stay(guest) } else { Next::Again(guest) }
            }
            Parsed::Refused(refusal) => guest.refuse(refusal, self.shared),
            Parsed::Whole(head) => {
                guest.connection.input.drain(..head.len);
                if head.body_len == 0 {
                    return self.hand_on(guest, head);
                }
                if head.expects_continue && guest.connection.input.is_empty() {
                    let _ =
                        send(&guest.connection.stream, b"HTTP/1.1 100 Continue\r\n\r\n", SendFlags::empty());
                }
                let left = head.body_len;
                guest.deadline = begun.unwrap_or_else(Instant::now) + limits.head_timeout;
                guest.state = State::ReadingBody { head: Box::new(head), left };
                Next::Again(guest)
            }
        }
    }

    /// Reads on in a body, which nobody wants.
    fn read_body(&mut self, mut guest: Guest, head: Box<Head>, mut left: u64) -> Next {
        let input = &mut guest.connection.input;
        let taken = input.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        input.drain(..taken);
        left -= taken as u64;
        if left == 0 {
            return self.hand_on(guest, *head);
        }
        guest.state = State::ReadingBody { head, left };
        match guest.connection.receive(self.scratch) {
            Received::Bytes(count) => {
                guest.connection.input.extend_from_slice(&self.scratch[..count]);
                Next::Again(guest)
            }
            Received::Nothing => Next::Stay(guest),
            Received::End => Next::Left,
        }
    }

    /// Hands a request to the workers of its lane, or says that they have too much to do.
    fn hand_on(&mut self, guest: Guest, head: Head) -> Next {
        let routed = self.service.route(&head.request);
        if guest.watched.is_some()
            && let Err(errno) = epoll::delete(self.epoll, &guest.connection.stream)
        {
            log::error!("cannot leave off watching a connection: {errno}");
        }
        let job = Job { connection: guest.connection, head, routed, begun: Instant::now() };
        let Err(job) = self.pool.submit(job) else { return Next::Left };
        let (connection, outgoing) = job.refuse(&self.shared.metrics);
        let state = State::Reading { begun: None };
        let guest = Guest { connection, state, deadline: guest.deadline, watched: None, held_bytes: 0 };
        guest.send(outgoing, &self.shared.limits)
    }

    /// Sends on, as much as the client takes.
    fn send_on(&mut self, mut guest: Guest, mut outgoing: Box<Outgoing>) -> Next {
        let limits = &self.shared.limits;
        let before = outgoing.sent;
        match outgoing.push(&guest.connection.stream, TURN_BYTES) {
            Ok(Progress::Blocked | Progress::More) => {
                if outgoing.sent != before {
                    guest.deadline = Instant::now() + limits.write_timeout;
                }
                guest.state = State::Sending(outgoing);
                Next::Stay(guest)
            }
            Ok(Progress::Done) => {
                outgoing.exchange.finish(None);
                match outgoing.after {
                    After::Close => Next::Left,
                    After::Linger => {
                        let _ = guest.connection.shut_writing();
                        guest.state = State::lingering();
                        guest.deadline = Instant::now() + limits.linger_timeout;
                        Next::Again(guest)
                    }
                    After::KeepAlive => {
                        guest.state = State::Reading { begun: None };
                        guest.deadline = Instant::now() + limits.idle_timeout;
                        Next::Again(guest)
                    }
                }
            }
            Err(abort) => {
                outgoing.exchange.finish(Some(&abort));
                guest.connection.reset_on_drop();
                Next::Left
            }
        }
    }

    /// Reads and drops what a client still sends.
    fn drain(&mut self, mut guest: Guest, left: usize) -> Next {
        match guest.connection.receive(self.scratch) {
            Received::Bytes(count) if count < left => {
                guest.state = State::Lingering { left: left - count };
                Next::Again(guest)
            }
            Received::Nothing => {
                guest.state = State::Lingering { left };
                Next::Stay(guest)
            }
            Received::Bytes(_) | Received::End => Next::Left,
        }
    }
}
