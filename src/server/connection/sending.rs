//! How a connection sends a response: at once by a worker, and later in turns, whenever the socket accepts more.

use std::time::Instant;

use super::{Connection, Next, State};
use crate::server::access_log::Abort;
use crate::server::limits::{Phase, Shared};
use crate::server::response::{Response, SendProgress};

/// How many bytes are sent on a connection before others have their turn.
const BYTES_PER_TURN: u64 = 1024 * 1024;

impl Connection {
    /// Starts to send a response, and sends as much as the socket accepts.
    pub(in crate::server) fn send_all(&mut self, response: Response, shared: &Shared) {
        self.respond(response, &shared.limits);
        self.send_on(shared);
    }

    /// Continues a response, which was interrupted because the socket was full.
    pub(in crate::server) fn continue_response(&mut self, response: Box<Response>, shared: &Shared) {
        self.state = State::Sending(response);
        self.send_on(shared);
    }

    fn send_on(&mut self, shared: &Shared) {
        loop {
            match std::mem::replace(&mut self.state, State::Closed) {
                State::Sending(response) => match self.send(response, shared) {
                    Some(Next::Yield) if shared.phase() == Phase::Aborting => {
                        return self.abort(&Abort::Shutdown);
                    }
                    Some(Next::Yield) | None => {}
                    Some(_) => return,
                },
                state => return self.state = state,
            }
        }
    }

    /// Waits for the socket to accept more of a response that has to be read from the disk.
    pub(super) fn await_room(&mut self, response: Box<Response>) -> Next {
        if self.readiness.writable {
            return Next::Continue(response);
        }
        self.state = State::Sending(response);
        Next::Wait
    }

    /// Sends one turn's bytes of a response. Returns `None` once the state has changed.
    pub(in crate::server) fn send(&mut self, mut response: Box<Response>, shared: &Shared) -> Option<Next> {
        let before = response.sent;
        match response.push(&*self.socket, BYTES_PER_TURN) {
            Ok(SendProgress::Done) => {
                response.context.finish(None);
                self.end_response(response.after, &shared.limits);
                None
            }
            Ok(progress) => {
                if response.sent != before {
                    self.deadline = Instant::now() + shared.limits.write_timeout;
                }
                self.state = State::Sending(response);
                self.readiness.writable = progress == SendProgress::More;
                Some(if self.readiness.writable { Next::Yield } else { Next::Wait })
            }
            Err(Abort::Body(error)) if response.sent == 0 => {
                self.respond(response.replace(&error), &shared.limits);
                None
            }
            Err(abort) => {
                response.context.finish(Some(&abort));
                self.reset();
                Some(Next::Close)
            }
        }
    }

    /// Aborts a response, unless its client accepts more of it: the system reports room only once a third of its buffer is
    /// free, which a slow client may take longer for than the write timeout.
    pub(super) fn retry_send(&mut self, shared: &Shared, why: &Abort) {
        let State::Sending(response) = std::mem::replace(&mut self.state, State::Closed) else { return };
        let before = response.sent;
        let _ = self.send(response, shared);
        if matches!(&self.state, State::Sending(response) if response.sent == before) {
            shared.metrics.connections.dropped(why.reason());
            self.abort(why);
        }
    }
}
