//! A client's connection as a state machine: it reads a request, waits for a worker, sends the response, and starts again.
//!
//! Nothing here blocks, and all input and output goes through [`Socket`], so the machine can be tested without one.
//! Sockets are watched edge-triggered: [`Readiness`] remembers what the last events said.

mod receiving;
mod sending;

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use super::access_log::Abort;
use super::body::BodyReader;
use super::framing::After;
use super::limits::{Limits, Shared};
use super::parser::{BodyFraming, Parsed, REQUEST_TIMEOUT, Refusal, RequestHead, parse};
use super::response::Response;
use super::socket::{Readiness, Socket};
use super::stream::StreamedResponse;
use crate::http::reply::Reply;

/// How many steps a connection takes before others have their turn.
const STEPS_PER_TURN: usize = 32;
/// How much input is read and discarded before a connection is closed: the longest body that a route takes, so that a client
/// that sends one sees why it is refused.
const LINGER_BYTES: usize = 8 * 1024 * 1024;

/// A client's connection.
pub(super) struct Connection {
    pub(super) socket: Box<dyn Socket>,
    pub(super) client: SocketAddr,
    /// The key of the connection in the event loop.
    pub(super) token: u64,
    /// When the present state times out.
    pub(super) deadline: Instant,
    pub(super) readiness: Readiness,
    state: State,
    /// Bytes that were received and not parsed yet.
    input: Vec<u8>,
}

/// What a connection does at present.
enum State {
    /// It waits for the head of the next request, of which the first byte came at that time.
    ReadingHead(Option<Instant>),
    /// It receives the body of its request, whose head was complete at that time.
    ReadingBody(Box<RequestHead>, Box<BodyReader>, Instant),
    Sending(Box<Response>),
    /// It has a response for the streaming pool.
    Streaming(Box<StreamedResponse>),
    /// It has sent its last response.
    Ended,
    /// The same, and it discards up to so many bytes of input before it is closed.
    Lingering(usize),
    Closed,
}

/// What the event loop does with a connection next.
pub(super) enum Next {
    /// Wait for an event or for the deadline.
    Wait,
    /// Continue after other connections have had their turn.
    Yield,
    /// Hand the request, which was complete at that time, to a pool.
    Request(Box<RequestHead>, Instant),
    /// Find out whether the request that has this head may have a body, and call [`Connection::receive_body`]. The time is when
    /// the request began.
    Body(Box<RequestHead>, Instant),
    Stream(Box<StreamedResponse>),
    /// Hand the rest of a response, which has to be read from the disk, to a pool.
    Continue(Box<Response>),
    Close,
}

/// How many kinds of [`Activity`] there are.
pub(super) const ACTIVITIES: usize = Activity::Closing as usize + 1;

/// What a connection is counted as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activity {
    Idle,
    /// It receives a request.
    Reading,
    Working,
    Sending,
    /// It has sent its last response.
    Closing,
}

impl Connection {
    pub(super) fn new(socket: Box<dyn Socket>, client: SocketAddr, token: u64, limits: &Limits) -> Self {
        let (state, deadline) = (State::ReadingHead(None), Instant::now() + limits.idle_timeout);
        let (readiness, input) = (Readiness::default(), Vec::new());
        Self { socket, client, token, deadline, readiness, state, input }
    }

    /// Does what can be done without waiting. `scratch` is memory to read into.
    pub(super) fn step(&mut self, shared: &Shared, scratch: &mut [u8]) -> Next {
        for _ in 0..STEPS_PER_TURN {
            let next = match std::mem::replace(&mut self.state, State::Closed) {
                State::ReadingHead(begun) => self.read_head(begun, shared, scratch),
                State::ReadingBody(head, body, begun) => self.read_body(head, body, begun, shared, scratch),
                State::Sending(response) if response.is_on_disk() => Some(self.await_room(response)),
                State::Sending(response) => self.send(response, shared),
                State::Streaming(response) => Some(Next::Stream(response)),
                State::Lingering(left) => self.linger_on(left, scratch),
                State::Ended if self.readiness.readable => self.linger(&shared.limits),
                State::Ended | State::Closed => Some(Next::Close),
            };
            if let Some(next) = next {
                return next;
            }
        }
        Next::Yield
    }

    fn read_head(&mut self, begun: Option<Instant>, shared: &Shared, scratch: &mut [u8]) -> Option<Next> {
        // Once `begun` is set, the bytes in `input` were already parsed.
        let mut parsed = match begun {
            None => parse(&self.input, self.client),
            Some(_) => Parsed::Partial,
        };
        let mut next = None;
        if matches!(parsed, Parsed::Partial) {
            next = self.receive(scratch);
            match next {
                None => parsed = parse(&self.input, self.client),
                Some(Next::Wait) => {}
                Some(_) => return next,
            }
        }
        match parsed {
            Parsed::Partial => {
                self.await_head(begun, shared);
                next
            }
            Parsed::Refused(refusal) => self.refuse(refusal, shared),
            Parsed::Complete(head) => Some(self.take_head(head, begun)),
        }
    }

    fn await_head(&mut self, mut begun: Option<Instant>, shared: &Shared) {
        if self.input.is_empty() {
            // An idle connection holds no memory for input.
            self.input = Vec::new();
        } else if begun.is_none() {
            let now = Instant::now();
            begun = Some(now);
            self.deadline = now + shared.limits.head_timeout;
        }
        self.state = State::ReadingHead(begun);
    }

    /// Takes a complete head from the input.
    fn take_head(&mut self, head: RequestHead, begun: Option<Instant>) -> Next {
        self.input.drain(..head.len);
        let now = Instant::now();
        match head.body {
            BodyFraming::Length(0) => Next::Request(Box::new(head), now),
            _ => Next::Body(Box::new(head), begun.unwrap_or(now)),
        }
    }

    fn linger_on(&mut self, left: usize, scratch: &mut [u8]) -> Option<Next> {
        let next = self.receive(scratch);
        let Some(left @ 1..) = left.checked_sub(self.input.len()) else { return Some(Next::Close) };
        self.input.clear();
        self.state = State::Lingering(left);
        next
    }

    /// Appends bytes from the socket to the input. Returns what to do if there are none. The socket is not read if the last
    /// read emptied it and no event came since.
    fn receive(&mut self, scratch: &mut [u8]) -> Option<Next> {
        if !self.readiness.readable {
            return Some(Next::Wait);
        }
        match self.socket.receive(scratch) {
            Ok(count @ 1..) => {
                self.input.extend_from_slice(&scratch[..count]);
                self.readiness.readable = count == scratch.len() || self.readiness.closed;
                None
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readiness.readable = false;
                Some(Next::Wait)
            }
            Ok(_) | Err(_) => Some(Next::Close),
        }
    }

    pub(super) fn respond(&mut self, response: Response, limits: &Limits) {
        self.deadline = Instant::now() + limits.write_timeout;
        self.state = State::Sending(Box::new(response));
    }

    pub(super) fn stream_later(&mut self, response: StreamedResponse) {
        self.state = State::Streaming(Box::new(response));
    }

    /// Moves on after the last byte of a response.
    pub(super) fn end_response(&mut self, after: After, limits: &Limits) {
        match after {
            After::Close => self.state = State::Ended,
            After::Linger => drop(self.linger(limits)),
            After::KeepAlive => {
                self.state = State::ReadingHead(None);
                self.deadline = Instant::now() + limits.idle_timeout;
            }
        }
    }

    /// Ends the connection once the client has received all that was sent.
    pub(super) fn linger(&mut self, limits: &Limits) -> Option<Next> {
        self.socket.shut_writing();
        self.input.clear();
        self.readiness.readable = true;
        self.state = State::Lingering(LINGER_BYTES);
        self.deadline = Instant::now() + limits.linger_timeout;
        None
    }

    /// Closes the connection with a reset, so that the client sees that its response is incomplete.
    pub(super) fn reset(&mut self) {
        self.socket.reset_on_drop();
        self.state = State::Closed;
    }

    /// Answers input that is not a valid request, and ends the connection.
    fn refuse(&mut self, refusal: Refusal, shared: &Shared) -> Option<Next> {
        let reply = Reply::refusal(refusal.status, refusal.text);
        self.input.clear();
        self.respond(Response::refusal(self.client, reply, &shared.metrics), &shared.limits);
        None
    }

    /// Handles the end of the present state's time.
    pub(super) fn time_out(&mut self, shared: &Shared) {
        let connections = &shared.metrics.connections;
        match self.activity() {
            Activity::Sending => self.retry_send(shared, &Abort::WriteTimeout),
            Activity::Reading => {
                connections.dropped("head_timeout");
                self.refuse(REQUEST_TIMEOUT, shared);
            }
            _ => self.state = State::Closed,
        }
    }

    /// Ends the connection in favour of a new one, unless its client accepts more of its response.
    pub(super) fn give_way(&mut self, shared: &Shared) {
        if self.activity() == Activity::Sending {
            return self.retry_send(shared, &Abort::Evicted);
        }
        shared.metrics.connections.dropped(Abort::Evicted.reason());
        self.state = State::Closed;
    }

    /// Ends the connection. If it sends a response, that is cut off so that the client sees it.
    pub(super) fn abort(&mut self, why: &Abort) {
        match &mut self.state {
            State::Sending(response) => response.context.finish(Some(why)),
            State::Streaming(response) => response.context.finish(Some(why)),
            _ => return self.state = State::Closed,
        }
        self.reset();
    }

    pub(super) fn activity(&self) -> Activity {
        match &self.state {
            State::ReadingHead(None) => Activity::Idle,
            State::ReadingHead(Some(_)) | State::ReadingBody(..) => Activity::Reading,
            State::Sending(_) | State::Streaming(_) => Activity::Sending,
            State::Ended | State::Lingering(_) | State::Closed => Activity::Closing,
        }
    }

    /// Whether it waits for a request or receives one.
    pub(super) fn is_before_response(&self) -> bool {
        matches!(self.activity(), Activity::Idle | Activity::Reading)
    }

    /// The memory that its unsent response, or the body of its request, holds, in bytes.
    pub(super) fn held_bytes(&self) -> usize {
        match &self.state {
            State::Sending(response) => response.held_bytes(),
            State::ReadingBody(_, body, _) => body.held_bytes(),
            _ => 0,
        }
    }

    pub(super) fn has_input(&self) -> bool {
        !self.input.is_empty()
    }
}

#[cfg(test)]
mod tests;
