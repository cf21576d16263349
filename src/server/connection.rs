//! A client's connection, and what everybody in the transport shares.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use rustix::net::RecvFlags;

use super::census::Census;
use crate::metrics::Metrics;

/// Bounds of what a client may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once.
    pub max_connections: usize,
    /// From the first byte of a request's head to its last, and to that of a body.
    pub head_timeout: Duration,
    /// A connection without a request.
    pub idle_timeout: Duration,
    /// A client that takes no byte of its answer.
    pub write_timeout: Duration,
    /// Over how much waiting for a client the rate is averaged at which it takes a body that is being made.
    pub rate_window: Duration,
    /// The least such rate, in bytes a second.
    pub min_rate: u64,
    /// How long what a refused client still sends is read and dropped.
    pub linger_timeout: Duration,
    /// How much memory the unsent parts of answers may take, of all clients that are slow to take them.
    pub held_bytes: usize,
    /// How many requests wait in each lane but that for cuts.
    pub queue: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(60),
            rate_window: Duration::from_secs(60),
            min_rate: 16 * 1024,
            linger_timeout: Duration::from_secs(1),
            held_bytes: 128 * 1024 * 1024,
            queue: 2048,
        }
    }
}

/// What the threads of a server share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) limits: Limits,
    pub(super) metrics: Arc<Metrics>,
    /// Where somebody can ask who has how many connections.
    pub(super) census: Census,
    phase: AtomicU8,
    /// Handlers that panicked.
    pub(super) panics: AtomicU64,
    /// Whether the lobby looks after the lanes whose workers are all busy.
    lanes_watched: AtomicBool,
}

/// How far a server is on its way to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// It serves.
    Running,
    /// It finishes what it has begun.
    Draining,
    /// It drops what it has not finished.
    Aborting,
}

impl Shared {
    pub(super) fn new(limits: Limits, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            limits,
            metrics,
            census: Census::default(),
            phase: AtomicU8::new(Phase::Running as u8),
            panics: AtomicU64::new(0),
            lanes_watched: AtomicBool::new(false),
        })
    }

    /// Has the lobby look after the lanes whose workers are all busy; whether it does not yet.
    pub(super) fn watch_lanes(&self) -> bool {
        !self.lanes_watched.load(Ordering::Relaxed) && !self.lanes_watched.swap(true, Ordering::SeqCst)
    }

    /// Whether it does.
    pub(super) fn are_lanes_watched(&self) -> bool {
        self.lanes_watched.load(Ordering::SeqCst)
    }

    /// Says that no lane needs it any more.
    pub(super) fn leave_lanes(&self) {
        self.lanes_watched.store(false, Ordering::SeqCst);
    }

    /// How many connections are open.
    pub(super) fn open(&self) -> usize {
        self.metrics.connections.open.load(Ordering::SeqCst)
    }

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::SeqCst) {
            0 => Phase::Running,
            1 => Phase::Draining,
            _ => Phase::Aborting,
        }
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::SeqCst);
    }
}

/// A client's connection. Its socket does not block.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) client: SocketAddr,
    /// What was read and not yet understood.
    pub(super) input: Vec<u8>,
    shared: Arc<Shared>,
}

/// What came of an attempt to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Received {
    /// So many bytes.
    Bytes(usize),
    /// Nothing for now.
    Nothing,
    /// Nothing ever again.
    End,
}

impl Connection {
    /// Takes a connection in, and counts it until it is dropped.
    pub(super) fn new(stream: TcpStream, client: SocketAddr, shared: &Arc<Shared>) -> Self {
        shared.metrics.connections.open.fetch_add(1, Ordering::SeqCst);
        Self { stream, client, input: Vec::new(), shared: Arc::clone(shared) }
    }

    /// Reads what there is into `buffer`.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> Received {
        match rustix::net::recv(&self.stream, buffer, RecvFlags::empty()) {
            Ok((0, _)) => Received::End,
            Ok((count, _)) => Received::Bytes(count),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Received::Nothing,
            Err(_) => Received::End,
        }
    }

    /// Makes sure that the client learns, when this connection is dropped, that it has not got all: a reset comes
    /// instead of an ordinary end.
    pub(super) fn reset_on_drop(&self) {
        if let Err(error) = rustix::net::sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO)) {
            log::debug!("cannot reset a connection: {error}");
        }
    }

    /// Says that no more will be sent.
    pub(super) fn shut_writing(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.metrics.connections.open.fetch_sub(1, Ordering::SeqCst);
    }
}
