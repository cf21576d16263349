//! The state machine of a connection over a socket that is scripted by the test.

use std::collections::VecDeque;
use std::fs::File;
use std::io::IoSlice;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::http::reply::{Body, Piece};
use crate::http::{Pool, Routed};
use crate::metrics::Metrics;
use crate::server::access_log::RequestContext;
use crate::server::parser::MAX_HEAD_BYTES;

/// A socket whose input and room for output the test determines.
#[derive(Clone, Default)]
struct FakeSocket(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    /// What each read returns; an empty one is the end of the input.
    input: VecDeque<Vec<u8>>,
    /// How many bytes can be sent.
    room: usize,
    output: Vec<u8>,
    reads: usize,
    is_shut: bool,
    is_reset: bool,
}

impl FakeSocket {
    fn script(&self) -> std::sync::MutexGuard<'_, Script> {
        self.0.lock().expect("no panic")
    }
}

impl Socket for FakeSocket {
    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut script = self.script();
        script.reads += 1;
        let bytes = script.input.pop_front().ok_or(io::ErrorKind::WouldBlock)?;
        buffer[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }

    fn send(&self, parts: &[IoSlice], _: bool) -> io::Result<usize> {
        let mut script = self.script();
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).take(script.room).collect();
        if bytes.is_empty() && parts.iter().any(|part| !part.is_empty()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        script.room -= bytes.len();
        script.output.extend_from_slice(&bytes);
        Ok(bytes.len())
    }

    fn send_file(&self, _: &File, _: &mut u64, _: usize) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn wait_writable(&self, _: Duration) -> io::Result<()> {
        Ok(())
    }

    fn is_closed_by_peer(&self) -> bool {
        false
    }

    fn shut_writing(&self) {
        self.script().is_shut = true;
    }

    fn reset_on_drop(&self) {
        self.script().is_reset = true;
    }
}

/// A connection and its socket.
struct Peer {
    socket: FakeSocket,
    connection: Connection,
    shared: Arc<Shared>,
    /// The longest body that the route of its requests takes.
    max_body: Option<usize>,
}

impl Peer {
    fn new() -> Self {
        let shared = Shared::new(Limits::default(), Metrics::new(&[]).expect("metrics"));
        let (socket, client) = (FakeSocket::default(), ([127, 0, 0, 1], 1).into());
        socket.script().room = usize::MAX;
        let connection = Connection::new(Box::new(socket.clone()), client, 1, &shared.limits);
        Self { socket, connection, shared, max_body: None }
    }

    /// Lets reads return these bytes, and reports that to the connection.
    fn receives(&mut self, reads: &[&[u8]]) -> Next {
        self.socket.script().input.extend(reads.iter().map(|bytes| bytes.to_vec()));
        self.connection.readiness.readable = true;
        self.step()
    }

    fn step(&mut self) -> Next {
        let mut scratch = vec![0; MAX_HEAD_BYTES];
        match self.connection.step(&self.shared, &mut scratch) {
            Next::Body(head, begun) => {
                let mut routed = Routed::from(Pool::Picture);
                routed.max_body = self.max_body;
                self.connection.receive_body(head, &routed, begun, 1 << 20, &self.shared);
                self.connection.step(&self.shared, &mut scratch)
            }
            next => next,
        }
    }

    /// Responds as a worker does.
    fn respond(&mut self, body: Vec<u8>, after: After) {
        self.respond_with(Body::bytes(body), after);
    }

    fn respond_with(&mut self, body: Body, after: After) {
        let context = RequestContext::invalid(&self.shared.metrics, self.connection.client);
        let reply = Reply::empty(200).with_body(body);
        let response = Response::new(context, reply, false, &tiny_http::HTTPVersion(1, 1), after);
        self.connection.send_all(response, &self.shared);
    }

    fn output(&self) -> String {
        String::from_utf8(std::mem::take(&mut self.socket.script().output)).expect("text")
    }
}

/// The target of a request that is ready for a pool.
fn target(next: Next) -> String {
    match next {
        Next::Request(head, _) => head.request.target,
        Next::Body(..) => "body".to_owned(),
        Next::Wait => "wait".to_owned(),
        Next::Yield => "yield".to_owned(),
        Next::Stream(_) => "stream".to_owned(),
        Next::Continue(_) => "continue".to_owned(),
        Next::Close => "close".to_owned(),
    }
}

const HEAD: &[u8] = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n";

#[test]
fn a_head_may_come_in_any_pieces() {
    for at in 1..HEAD.len() {
        let mut peer = Peer::new();
        let idle_until = peer.connection.deadline;
        assert_eq!(target(peer.receives(&[&HEAD[..at]])), "wait");
        assert!(peer.connection.deadline < idle_until, "the head timeout is the shorter one");
        assert_eq!(peer.connection.activity(), Activity::Reading);
        let head_until = peer.connection.deadline;
        assert_eq!(target(peer.step()), "wait");
        assert_eq!(peer.connection.deadline, head_until, "more time needs more than an event");
        assert_eq!(target(peer.receives(&[&HEAD[at..]])), "/a");
    }
}

#[test]
fn pipelined_requests_are_dispatched_one_at_a_time() {
    let mut peer = Peer::new();
    let both = [HEAD, b"GET /b HTTP/1.1\r\nHost: x\r\n\r\n"].concat();
    assert_eq!(target(peer.receives(&[&both])), "/a");
    let reads = peer.socket.script().reads;
    peer.respond(b"one".to_vec(), After::KeepAlive);
    assert_eq!(target(peer.step()), "/b");
    peer.respond(b"two".to_vec(), After::KeepAlive);
    assert_eq!(target(peer.step()), "wait");
    assert_eq!(peer.connection.activity(), Activity::Idle);
    assert_eq!(peer.socket.script().reads, reads, "a socket that was read empty is not read again");
    let output = peer.output();
    assert!(output.contains("\r\n\r\noneHTTP/1.1 200 OK\r\n") && output.ends_with("\r\n\r\ntwo"), "{output}");
}

#[test]
fn a_body_is_discarded_and_asked_for_where_the_client_waits() {
    let mut peer = Peer::new();
    let head = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    assert_eq!(target(peer.receives(&[head])), "wait");
    assert_eq!(peer.output(), "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(target(peer.receives(&[b"12"])), "wait");
    assert_eq!(target(peer.receives(&[b"345GET /b HTTP/1.1\r\nHost: x\r\n\r\n"])), "/a");
    peer.respond(Vec::new(), After::KeepAlive);
    assert_eq!(target(peer.step()), "/b");
}

#[test]
fn a_body_is_kept_where_the_route_takes_one() {
    let head = |lines: &str| format!("POST /a HTTP/1.1\r\nHost: x\r\n{lines}\r\n\r\n").into_bytes();
    let mut peer = Peer::new();
    peer.max_body = Some(10);
    assert_eq!(target(peer.receives(&[&head("Transfer-Encoding: chunked\r\nExpect: 100-continue")])), "wait");
    assert_eq!(peer.output(), "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(target(peer.receives(&[b"3\r\nab"])), "wait");
    assert!(peer.connection.held_bytes() > 0);
    let Next::Request(kept, _) = peer.receives(&[b"c\r\n0\r\n\r\nGET "]) else { panic!("no request") };
    assert_eq!((&**kept.request.body, peer.connection.held_bytes()), (&b"abc"[..], 0));
    let others: Vec<_> = (1..4).map(|_| peer.shared.bodies.take(1).expect("a share")).collect();

    // One more is refused before it is asked for, and so is one that is too long.
    for (lines, status) in [("Content-Length: 3", "503 "), ("Content-Length: 11", "413 ")] {
        let mut late = Peer::new();
        (late.max_body, late.shared) = (Some(10), Arc::clone(&peer.shared));
        assert_eq!(target(late.receives(&[&head(&format!("{lines}\r\nExpect: 100-continue"))])), "wait");
        let output = late.output();
        assert!(output.starts_with(&format!("HTTP/1.1 {status}")), "{output}");
        assert_eq!(late.connection.activity(), Activity::Closing);
    }
    drop((kept, others));
    assert!(peer.shared.bodies.take(4).is_some());
}

#[test]
fn a_body_has_time_for_what_has_come_of_it() {
    let mut peer = Peer::new();
    peer.max_body = Some(1 << 20);
    peer.receives(&[b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\n\r\n"]);
    let deadline = peer.connection.deadline;
    assert_eq!(target(peer.step()), "wait");
    assert_eq!(peer.connection.deadline, deadline, "no byte has come");
    let block = vec![0; MAX_HEAD_BYTES];
    assert_eq!(target(peer.receives(&vec![&block[..]; 16])), "wait");
    assert_eq!(peer.connection.deadline, deadline + Duration::from_secs(1), "for 256 KiB");
    peer.connection.time_out(&peer.shared);
    assert_eq!(target(peer.step()), "wait");
    assert!(peer.output().starts_with("HTTP/1.1 408 "));
    assert!(peer.shared.bodies.take(4).is_some());
}

#[test]
fn a_response_stops_and_goes_on_at_any_byte() {
    let mut whole = Peer::new();
    whole.respond(b"0123456789".to_vec(), After::Close);
    let expected = whole.output();
    for room in 0..expected.len() {
        let mut peer = Peer::new();
        peer.socket.script().room = room;
        peer.respond(b"0123456789".to_vec(), After::Close);
        assert_eq!(target(peer.step()), "wait", "{room}");
        assert_eq!(peer.connection.activity(), Activity::Sending);
        assert!(peer.connection.held_bytes() > 0);
        peer.socket.script().room = usize::MAX;
        assert_eq!(target(peer.step()), "close", "{room}");
        // The dates may differ.
        assert_eq!(peer.output().len(), expected.len(), "{room}");
    }
}

#[test]
fn a_refusal_is_sent_and_lingers_until_the_client_closes() {
    let mut peer = Peer::new();
    assert_eq!(target(peer.receives(&[b"nonsense\r\n\r\n"])), "wait");
    assert!(peer.output().starts_with("HTTP/1.1 400 Bad Request\r\n"));
    assert!(peer.socket.script().is_shut && !peer.socket.script().is_reset);
    assert_eq!(target(peer.receives(&[b"more nonsense"])), "wait");
    assert_eq!(target(peer.receives(&[b""])), "close");
}

#[test]
fn lingering_reads_a_limited_number_of_bytes() {
    let mut peer = Peer::new();
    peer.connection.linger(&Limits::default());
    let block = vec![b'x'; MAX_HEAD_BYTES];
    let mut steps = 0;
    while target(peer.receives(&[&block])) != "close" {
        steps += 1;
    }
    assert_eq!(steps, LINGER_BYTES / MAX_HEAD_BYTES - 1);
}

#[test]
fn each_state_times_out_in_its_own_way() {
    let mut idle = Peer::new();
    idle.connection.time_out(&idle.shared);
    assert_eq!((target(idle.step()), idle.output().as_str()), ("close".to_owned(), ""));
    let mut reading = Peer::new();
    reading.receives(&[b"GET /"]);
    reading.connection.time_out(&reading.shared);
    assert_eq!(target(reading.step()), "wait");
    assert!(reading.output().starts_with("HTTP/1.1 408 Request Timeout\r\n"));
    let mut sending = Peer::new();
    sending.socket.script().room = 10;
    sending.respond(b"0123456789".to_vec(), After::KeepAlive);
    sending.connection.time_out(&sending.shared);
    assert_eq!(target(sending.step()), "close");
    assert!(sending.socket.script().is_reset, "the client sees that its response is incomplete");
}

#[test]
fn a_slow_client_that_took_something_is_not_timed_out() {
    let mut peer = Peer::new();
    peer.socket.script().room = 10;
    peer.respond(b"0123456789".to_vec(), After::Close);
    // The system reports no room before a third of its buffer is free, but takes a little.
    peer.socket.script().room = 1;
    let deadline = peer.connection.deadline;
    peer.connection.time_out(&peer.shared);
    assert_eq!(target(peer.step()), "wait");
    assert!(peer.connection.deadline > deadline && !peer.socket.script().is_reset);
    peer.connection.time_out(&peer.shared);
    assert_eq!(target(peer.step()), "close");
    assert!(peer.socket.script().is_reset);
}

#[test]
fn only_a_connection_whose_client_accepts_nothing_more_gives_way() {
    let rows: [&[&[u8]]; 2] = [&[], &[b"GET /"]];
    for begun in rows {
        let mut peer = Peer::new();
        peer.receives(begun);
        peer.connection.give_way(&peer.shared);
        assert_eq!(target(peer.step()), "close", "{begun:?}");
    }
    // The system reports no room before a third of its buffer is free, but takes a little.
    for (room, next) in [(0, "close"), (1, "wait")] {
        let mut peer = Peer::new();
        peer.socket.script().room = 10;
        peer.respond(b"0123456789".to_vec(), After::Close);
        peer.socket.script().room = room;
        peer.connection.give_way(&peer.shared);
        assert_eq!((target(peer.step()).as_str(), peer.socket.script().is_reset), (next, room == 0));
    }
}

#[test]
fn the_rest_of_a_response_from_the_disk_is_left_to_a_pool() {
    let mut peer = Peer::new();
    peer.socket.script().room = 1000;
    let pieces = (0..10).map(|_| Ok(Piece::Bytes(Arc::new(vec![b'x'; 1000]))));
    peer.respond_with(Body::Known { len: 10_000, pieces: Box::new(pieces) }, After::KeepAlive);
    assert_eq!(target(peer.step()), "wait");
    peer.socket.script().room = usize::MAX;
    peer.connection.readiness.writable = true;
    assert_eq!(target(peer.step()), "yield", "what is in memory is sent at once");
    assert!(peer.output().ends_with(&format!("\r\n\r\n{}", "x".repeat(1000))));
    let Next::Continue(response) = peer.step() else { panic!("it is not for a pool") };
    peer.connection.continue_response(response, &peer.shared);
    assert_eq!(target(peer.step()), "wait");
    assert_eq!(peer.connection.activity(), Activity::Idle);
    assert!(peer.output().ends_with(&"x".repeat(9000)));
}

#[test]
fn input_behind_the_last_request_does_not_reset_its_response() {
    let mut peer = Peer::new();
    assert_eq!(target(peer.receives(&[HEAD])), "/a");
    peer.respond(b"ready".to_vec(), After::Close);
    assert_eq!(target(peer.receives(&[b"\r\n"])), "wait");
    assert!(peer.socket.script().is_shut && !peer.socket.script().is_reset);
    assert_eq!(target(peer.receives(&[b""])), "close");
}

#[test]
fn a_partly_sent_100_continue_closes_the_connection() {
    let head = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    for (room, next) in [(0, "wait"), (10, "close"), (100, "wait")] {
        let mut peer = Peer::new();
        peer.socket.script().room = room;
        assert_eq!(target(peer.receives(&[head])), next, "{room}");
    }
}

#[test]
fn a_closed_connection_is_noticed_in_every_state() {
    for bytes in [&b""[..], b"GET /", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n1"] {
        let mut peer = Peer::new();
        if !bytes.is_empty() {
            assert_eq!(target(peer.receives(&[bytes])), "wait");
        }
        assert_eq!(target(peer.receives(&[b""])), "close");
    }
    // The end may have been announced together with the request.
    let mut peer = Peer::new();
    peer.connection.readiness.closed = true;
    assert_eq!(target(peer.receives(&[HEAD, b""])), "/a");
    peer.respond(Vec::new(), After::KeepAlive);
    assert_eq!(target(peer.step()), "close");
}
