//! The event loop: one thread that owns all connections without a worker. These are idle ones, those that receive a
//! request, and those whose client reads its response slowly.
//!
//! It blocks on no connection and on no disk, so a slow client costs memory and no worker. A complete request goes to a pool with its
//! connection, which comes back when it was answered. Every connection here has a deadline.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use super::access_log::Abort;
use super::connection::{Activity, Connection, Next};
use super::connection_table::ConnectionTable;
use super::events::{Event, EventSender};
use super::limits::{Phase, Shared};
use super::parser::{MAX_HEAD_BYTES, RequestHead};
use super::pool::Pools;
use super::response::Response;
use super::socket::Readiness;
use super::worker::{Job, Task};
use crate::http::reply::Reply;
use crate::http::{Routed, Service};

/// How many events of the system, and of other threads, are handled at a time.
const EVENTS: usize = 256;
/// How many connections beyond the limit are answered with 503. Further ones are closed.
const SPARE_CONNECTIONS: usize = 128;
/// The epoll key of the waker. Connections have keys from 1 on.
const WAKER: u64 = 0;
const MAX_WAIT: Duration = Duration::from_secs(1);
/// The events that connections are watched for. Edge-triggered, so that a connection is registered once.
const WATCHED: EventFlags =
    EventFlags::IN.union(EventFlags::OUT).union(EventFlags::RDHUP).union(EventFlags::ET);

pub(super) struct EventLoop {
    epoll: rustix::fd::OwnedFd,
    sender: EventSender,
    events: Receiver<Event>,
    pools: Pools,
    service: Arc<dyn Service>,
    shared: Arc<Shared>,
    connections: ConnectionTable,
    /// Connections that had their turn and have more to do.
    runnable: VecDeque<u64>,
    scratch: Box<[u8]>,
}

impl EventLoop {
    pub(super) fn new(
        sender: EventSender,
        events: Receiver<Event>,
        pools: Pools,
        service: Arc<dyn Service>,
        shared: Arc<Shared>,
    ) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let waker = EventData::new_u64(WAKER);
        epoll::add(&epoll, &sender.waker, waker, EventFlags::IN | EventFlags::ET)?;
        Ok(Self {
            epoll,
            sender,
            events,
            pools,
            service,
            shared,
            connections: ConnectionTable::default(),
            runnable: VecDeque::new(),
            scratch: vec![0; MAX_HEAD_BYTES].into_boxed_slice(),
        })
    }

    /// Runs until the server aborts. The pools' queues are closed with it.
    pub(super) fn run(mut self) {
        let mut ready = Vec::with_capacity(EVENTS);
        loop {
            self.wait(&mut ready);
            // From now on a new event wakes the loop again.
            self.sender.is_woken.store(false, Ordering::SeqCst);
            for event in ready.drain(..) {
                self.note_ready(event.data.u64(), event.flags);
            }
            // A bounded number, for busy workers may send events as fast as they are handled.
            for _ in 0..EVENTS {
                let Ok(event) = self.events.try_recv() else { break };
                self.handle(event);
            }
            for token in std::mem::take(&mut self.runnable) {
                self.resume(token);
            }
            self.expire();
            self.connections.publish_counts(&self.shared.metrics.connections);
            match self.shared.phase() {
                Phase::Running => {}
                Phase::Draining => self.connections.remove_without_response(),
                Phase::Aborting => return self.abort_all(),
            }
        }
    }

    fn wait(&self, ready: &mut Vec<epoll::Event>) {
        let until = |(deadline, _): (Instant, u64)| deadline.saturating_duration_since(Instant::now());
        let wait = match self.connections.next_deadline() {
            _ if !self.runnable.is_empty() || !self.events.is_empty() => Duration::ZERO,
            next => next.map_or(MAX_WAIT, until).min(MAX_WAIT),
        };
        // Rounded up to milliseconds, so that the last fraction of one is not spent spinning.
        let millis = i64::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(1000);
        let timeout = Timespec { tv_sec: millis / 1000, tv_nsec: millis % 1000 * 1_000_000 };
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(ready), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => {
                log::error!("cannot wait for events: {errno}");
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }

    /// Handles an event of a socket. If a worker has the connection, the event is remembered.
    fn note_ready(&mut self, token: u64, flags: EventFlags) {
        let closed = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        let readable = closed || flags.contains(EventFlags::IN);
        let writable = closed || flags.contains(EventFlags::OUT);
        if self.connections.note_ready(token, Readiness { readable, writable, closed }) {
            self.resume(token);
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Accepted(stream, client) => self.add(stream, client),
            Event::HandedBack(mut connection) => {
                // Its client was told to expect no more, or the server began to stop after that.
                if self.shared.phase() != Phase::Running && connection.is_before_response() {
                    connection.linger(&self.shared.limits);
                }
                self.step(connection);
            }
            // The console may have given up.
            Event::Snapshot(sender) => drop(sender.try_send(self.connections.snapshot())),
        }
    }

    fn add(&mut self, stream: TcpStream, client: SocketAddr) {
        let (shared, open) = (&self.shared, self.connections.len());
        if open >= shared.limits.max_connections + SPARE_CONNECTIONS {
            shared.metrics.connections.dropped("connection_limit_closed");
            return log::warn!("closed a connection without a response: there are far too many");
        }
        let token = self.connections.reserve(client.ip());
        // A worker may answer before this turn ends, and the server be stopped meanwhile: it waits for those that are counted.
        self.connections.publish_counts(&shared.metrics.connections);
        if let Err(errno) = epoll::add(&self.epoll, &stream, EventData::new_u64(token), WATCHED) {
            log::error!("cannot watch a connection: {errno}");
            self.connections.forget(token);
            return;
        }
        let mut connection = Box::new(Connection::new(Box::new(stream), client, token, &shared.limits));
        // Its request may have arrived already, and then it is not idle.
        connection.readiness.readable = true;
        // Connections that linger after their last response, such as a refusal, take no place from others.
        let is_over = open - self.connections.count(Activity::Closing) >= shared.limits.max_connections;
        let is_refused = is_over && !self.evict();
        let shared = &self.shared;
        shared.lacks_room.store(is_refused, Ordering::SeqCst);
        if is_refused {
            shared.metrics.connections.dropped("connection_limit");
            let reply = Reply::unavailable("there are too many connections to this server just now");
            connection.respond(Response::refusal(client, reply, &shared.metrics), &shared.limits);
        }
        self.step(connection);
    }

    /// Closes a connection in favour of a new one: the one that has been idle for longest, else the one that has been
    /// without progress for longest. Returns whether there was one.
    fn evict(&mut self) -> bool {
        let (open, limits, now) = (self.connections.len(), self.shared.limits, Instant::now());
        let stalled = |timeout: Duration| now + timeout.saturating_sub(limits.eviction_age);
        for (activity, deadline) in [
            (Activity::Idle, now + limits.idle_timeout),
            (Activity::Sending, stalled(limits.write_timeout)),
            (Activity::Reading, stalled(limits.head_timeout)),
        ] {
            while let Some(mut connection) = self.connections.unpark_first(activity, deadline) {
                connection.give_way(&self.shared);
                self.step(connection);
                if self.connections.len() < open {
                    return true;
                }
            }
        }
        false
    }

    fn resume(&mut self, token: u64) {
        if let Some(connection) = self.connections.unpark(token) {
            self.step(connection);
        }
    }

    /// Steps a connection until it waits for something, is with a pool, or is closed.
    fn step(&mut self, mut connection: Box<Connection>) {
        let token = connection.token;
        connection.readiness.merge(self.connections.take_readiness(token));
        let stepped = catch_unwind(AssertUnwindSafe(|| connection.step(&self.shared, &mut self.scratch)));
        let next = stepped.unwrap_or_else(|_| {
            self.shared.note_panic("the event loop");
            connection.reset();
            Next::Close
        });
        match next {
            Next::Wait => self.park(connection),
            Next::Yield => {
                self.park(connection);
                self.runnable.push_back(token);
            }
            Next::Body(head, begun) => {
                let Some(routed) = self.route(&head, token) else { return };
                let room = self.shared.limits.held_bytes.saturating_sub(self.connections.held_bytes);
                connection.receive_body(head, &routed, begun, room, &self.shared);
                self.runnable.push_back(token);
                self.park(connection);
            }
            Next::Request(head, begun) => {
                let Some(routed) = self.route(&head, token) else { return };
                self.dispatch(connection, Task::Request { head, routed, begun });
            }
            Next::Stream(response) => self.dispatch(connection, Task::Stream(response)),
            Next::Continue(response) => self.dispatch(connection, Task::Continue(response)),
            Next::Close => self.connections.forget(token),
        }
    }

    /// Routes the request of a connection. If that panics, the connection is closed.
    fn route(&mut self, head: &RequestHead, token: u64) -> Option<Routed> {
        let routed = catch_unwind(AssertUnwindSafe(|| self.service.route(&head.request)));
        routed
            .inspect_err(|_| {
                self.shared.note_panic("the router");
                self.connections.forget(token);
            })
            .ok()
    }

    /// Hands a connection to a pool. If the pool's queue is full, the response is 503, or is continued here.
    fn dispatch(&mut self, connection: Box<Connection>, task: Task) {
        let Err(job) = self.pools.submit(Box::new(Job { connection, task })) else { return };
        let Job { mut connection, task } = *job;
        match task {
            Task::Continue(response) => drop(connection.send(response, &self.shared)),
            task => connection.respond(task.refuse(&self.shared), &self.shared.limits),
        }
        self.runnable.push_back(connection.token);
        self.park(connection);
    }

    /// Keeps a connection here until its next event or its deadline.
    fn park(&mut self, connection: Box<Connection>) {
        self.connections.park(connection);
        while self.connections.held_bytes > self.shared.limits.held_bytes {
            let Some(mut connection) = self.connections.remove_longest_sending() else { return };
            self.shared.metrics.connections.dropped("memory_limit");
            connection.abort(&Abort::MemoryLimit);
        }
    }

    fn expire(&mut self) {
        let now = Instant::now();
        while let Some((deadline, token)) = self.connections.next_deadline() {
            if deadline > now {
                return;
            }
            let Some(mut connection) = self.connections.unpark(token) else { return };
            connection.time_out(&self.shared);
            self.step(connection);
        }
    }

    fn abort_all(mut self) {
        self.connections.parked().for_each(|connection| connection.abort(&Abort::Shutdown));
        while let Ok(event) = self.events.try_recv() {
            if let Event::HandedBack(mut connection) = event {
                connection.abort(&Abort::Shutdown);
            }
        }
    }
}
