//! The limits of the transport, and the state that all of its threads share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use crate::metrics::Metrics;
use crate::quota::Quota;

/// Limits on what a client may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The most connections at once.
    pub max_connections: usize,
    /// How long a client must have been without progress to be evicted for a new connection.
    pub eviction_age: Duration,
    /// The time from the first byte of a request to the last one, its body included.
    pub head_timeout: Duration,
    /// How long a connection may be idle between two requests.
    pub idle_timeout: Duration,
    /// How long a client may go without accepting a byte of its response.
    pub write_timeout: Duration,
    /// The time spent waiting for a client over which its rate is averaged while it reads a streamed body.
    pub rate_window: Duration,
    /// The lowest such rate, in bytes a second.
    pub min_rate: u64,
    /// How long a closed connection's remaining input is read and discarded.
    pub linger_timeout: Duration,
    /// The most memory that unsent responses of slow clients may take together.
    pub held_bytes: usize,
    /// How many bodies of requests are kept at once.
    pub bodies: usize,
    /// The length of each pool's queue, except that of the pool for cuts.
    pub queue: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            eviction_age: Duration::from_secs(5),
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(60),
            rate_window: Duration::from_secs(60),
            min_rate: 16 * 1024,
            linger_timeout: Duration::from_secs(1),
            held_bytes: 128 * 1024 * 1024,
            bodies: 4,
            queue: 2048,
        }
    }
}

/// The state that the threads of a server share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) limits: Limits,
    pub(super) metrics: Arc<Metrics>,
    /// The bodies of requests that are kept.
    pub(super) bodies: Arc<Quota>,
    /// How many handlers and bodies have panicked.
    pub(super) panics: AtomicU64,
    /// Whether the last connection was refused for want of room. A worker whose client is stalled then drops it.
    pub(super) lacks_room: AtomicBool,
    phase: AtomicU8,
}

/// The phases of a server's life, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// The server accepts connections and requests.
    Running,
    /// The server accepts nothing new and finishes the requests that it has.
    Draining,
    /// The server aborts unfinished responses.
    Aborting,
}

impl Shared {
    pub(super) fn new(limits: Limits, metrics: Arc<Metrics>) -> Arc<Self> {
        let phase = AtomicU8::new(Phase::Running as u8);
        Arc::new(Self {
            bodies: Quota::new(limits.bodies),
            limits,
            metrics,
            panics: AtomicU64::new(0),
            lacks_room: AtomicBool::new(false),
            phase,
        })
    }

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

    /// Counts and logs a panic that was caught, and `what` panicked.
    pub(super) fn note_panic(&self, what: &str) {
        self.panics.fetch_add(1, Ordering::Relaxed);
        log::error!("{what} panicked");
    }
}
