//! How a connection receives the body of a request.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use tiny_http::Method;

use super::{Connection, Next, State};
use crate::http::Routed;
use crate::http::reply::Reply;
use crate::metrics::UNKNOWN_ENDPOINT;
use crate::server::access_log::RequestContext;
use crate::server::body::BodyReader;
use crate::server::framing::After;
use crate::server::limits::Shared;
use crate::server::parser::RequestHead;
use crate::server::response::Response;

impl Connection {
    /// Receives the body of a request, as long as that of its route may be, if there are `room` bytes of memory. What is not to
    /// be received is refused.
    pub(in crate::server) fn receive_body(
        &mut self,
        head: Box<RequestHead>,
        routed: &Routed,
        begun: Instant,
        room: usize,
        shared: &Shared,
    ) {
        let body = match BodyReader::begin(head.body, routed.max_body, &shared.bodies, room) {
            Ok(body) => body,
            Err(reply) => return self.refuse_request(&head, routed.endpoint, reply, shared),
        };
        if head.expects_continue && self.input.is_empty() {
            let text = b"HTTP/1.1 100 Continue\r\n\r\n";
            // Without it the client continues all the same, but a part of it would corrupt the response.
            if self.socket.send(&[io::IoSlice::new(text)], false).is_ok_and(|sent| sent < text.len()) {
                return self.state = State::Closed;
            }
        }
        self.deadline = begun + shared.limits.head_timeout;
        self.state = State::ReadingBody(head, Box::new(body), begun);
    }

    pub(super) fn read_body(
        &mut self,
        mut head: Box<RequestHead>,
        mut body: Box<BodyReader>,
        begun: Instant,
        shared: &Shared,
        scratch: &mut [u8],
    ) -> Option<Next> {
        match body.feed(&mut self.input) {
            Ok(false) => {}
            Ok(true) => {
                let (bytes, share) = body.into_kept();
                head.request.body = Arc::new(bytes);
                head.body_share = share;
                return Some(Next::Request(head, Instant::now()));
            }
            Err(reply) => {
                self.refuse_request(&head, UNKNOWN_ENDPOINT, reply, shared);
                return None;
            }
        }
        self.deadline = begun + shared.limits.head_timeout + body.earned_time();
        self.state = State::ReadingBody(head, body, begun);
        self.receive(scratch)
    }

    /// Answers a request whose body is not received, and ends the connection.
    fn refuse_request(&mut self, head: &RequestHead, endpoint: &'static str, reply: Reply, shared: &Shared) {
        let request = &head.request;
        let context = RequestContext::begin(&shared.metrics, endpoint, request, Instant::now());
        let is_head = request.method == Method::Head;
        self.input.clear();
        self.respond(Response::new(context, reply, is_head, &request.version, After::Linger), &shared.limits);
    }
}
