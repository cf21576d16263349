//! A worker of a pool: it answers one request at a time, and hands the connection back to the event loop.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::Receiver;
use tiny_http::Method;

use super::access_log::{Abort, RequestContext};
use super::connection::Connection;
use super::events::EventSender;
use super::framing::After;
use super::limits::{Phase, Shared};
use super::parser::RequestHead;
use super::response::Response;
use super::stream::{StreamEnd, StreamedResponse, is_cancelled};
use crate::http::reply::{Body, Reply};
use crate::http::{Pool, Routed, Service};
use crate::metrics::PoolMetrics;

/// A connection and the work to be done for it.
pub(super) struct Job {
    pub(super) connection: Box<Connection>,
    pub(super) task: Task,
}

/// What a worker does.
pub(super) enum Task {
    /// Answer a request whose head was complete at `begun`.
    Request {
        head: Box<RequestHead>,
        routed: Routed,
        begun: Instant,
    },
    Stream(Box<StreamedResponse>),
    /// Send the rest of a response that has to be read from the disk.
    Continue(Box<Response>),
}

pub(super) struct Worker {
    pub(super) pool: Pool,
    pub(super) jobs: Receiver<Box<Job>>,
    pub(super) metrics: PoolMetrics,
    pub(super) service: Arc<dyn Service>,
    pub(super) shared: Arc<Shared>,
    pub(super) events: EventSender,
}

impl Task {
    /// The pool that works on it.
    pub(super) fn pool(&self) -> Pool {
        match self {
            Self::Request { routed, .. } => routed.pool,
            Self::Stream(_) => Pool::Streaming,
            Self::Continue(_) => Pool::Media,
        }
    }

    /// The 503 that is sent where the queue of its pool is full.
    pub(super) fn refuse(self, shared: &Shared) -> Response {
        match self {
            Self::Request { head, routed, begun } => {
                let RequestHead { request, keep_alive, .. } = *head;
                let context = RequestContext::begin(&shared.metrics, routed.endpoint, &request, begun);
                let reply = Reply::unavailable("this server has too much to do just now");
                let after = if keep_alive { After::KeepAlive } else { After::Linger };
                Response::new(context, reply, request.method == Method::Head, &request.version, after)
            }
            Self::Stream(response) => response.refuse(),
            Self::Continue(response) => *response,
        }
    }
}

impl Worker {
    /// Works until the queue is closed and empty.
    pub(super) fn run(self) {
        for job in &self.jobs {
            self.metrics.queue_length.dec();
            let Job { mut connection, task } = *job;
            if self.shared.phase() == Phase::Aborting {
                connection.abort(&Abort::Shutdown);
                continue;
            }
            self.metrics.busy_workers.inc();
            // Panics of handlers are caught below. One that arrives here happened while a body was produced.
            let worked = catch_unwind(AssertUnwindSafe(|| self.work(&mut connection, task)));
            if worked.is_err() {
                self.shared.note_panic("a response body");
                connection.reset();
            }
            self.metrics.busy_workers.dec();
            self.events.hand_back(connection);
        }
    }

    fn work(&self, connection: &mut Connection, task: Task) {
        match task {
            Task::Request { head, routed, begun } => self.answer(connection, *head, routed, begun),
            Task::Stream(response) => self.stream(connection, *response),
            Task::Continue(response) => connection.continue_response(response, &self.shared),
        }
    }

    /// Calls the service, and sends as much of the response as the socket takes.
    fn answer(&self, connection: &mut Connection, head: RequestHead, routed: Routed, begun: Instant) {
        // The share of the body ends with the request.
        let RequestHead { request, keep_alive, body_share: _body_share, .. } = head;
        let mut context = RequestContext::begin(&self.shared.metrics, routed.endpoint, &request, begun);
        let is_cancelled = || is_cancelled(&*connection.socket, &self.shared);
        let called = catch_unwind(AssertUnwindSafe(|| self.service.call(&request, routed, &is_cancelled)));
        let mut reply = called.unwrap_or_else(|_| {
            self.shared.note_panic(&format!("the handler of `{}`", request.target.escape_debug()));
            Reply::refusal(500, "something went wrong in this server; its log says what")
        });
        context.metrics.variant = reply.variant.take();
        // Unread input would turn a close into a reset, which can destroy the response.
        let after = match (keep_alive, self.shared.phase() == Phase::Running) {
            (true, true) => After::KeepAlive,
            (false, _) if !connection.has_input() => After::Close,
            _ => After::Linger,
        };
        let (is_head, version) = (request.method == Method::Head, request.version);
        match std::mem::replace(&mut reply.body, Body::bytes(Vec::new())) {
            Body::Streamed(produce) if !is_head => {
                let response = StreamedResponse { context, reply, produce, version, after };
                match self.pool {
                    // Long playlists would hold up the short ones.
                    Pool::Playlist => connection.stream_later(response),
                    _ => self.stream(connection, response),
                }
            }
            body => {
                let response = Response::new(context, reply.with_body(body), is_head, &version, after);
                connection.send_all(response, &self.shared);
            }
        }
    }

    /// Sends a streamed response to its end.
    fn stream(&self, connection: &mut Connection, response: StreamedResponse) {
        match response.send(&*connection.socket, &self.shared) {
            StreamEnd::Complete(after) => connection.end_response(after, &self.shared.limits),
            StreamEnd::Unsent(response) => connection.send_all(*response, &self.shared),
            StreamEnd::Aborted => connection.reset(),
        }
    }
}
