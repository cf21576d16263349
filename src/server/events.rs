//! The events that other threads send to the event loop, and the eventfd that wakes it.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::event::{EventfdFlags, eventfd};

use super::access_log::Abort;
use super::connection::{Activity, Connection};

/// The length of the event queue. A full one makes the acceptor and the workers wait for the event loop, which waits for
/// none of them.
const QUEUE: usize = 1024;
/// How long the console waits for a snapshot.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_millis(50);

/// An event for the event loop.
pub(super) enum Event {
    Accepted(TcpStream, SocketAddr),
    /// A worker has answered the request of a connection.
    HandedBack(Box<Connection>),
    /// The console asks for a list of the connections.
    Snapshot(Sender<Snapshot>),
}

/// The address of each connection, and what it does.
pub(super) type Snapshot = Vec<(IpAddr, Activity)>;

/// Sends events to the event loop and wakes it.
#[derive(Debug, Clone)]
pub(super) struct EventSender {
    events: Sender<Event>,
    /// The eventfd that the event loop waits for. It is never read, so it must be watched edge-triggered.
    pub(super) waker: Arc<OwnedFd>,
    /// Whether the eventfd was written since the event loop last checked for events.
    pub(super) is_woken: Arc<AtomicBool>,
}

/// The two ends of the event queue.
pub(super) fn event_queue() -> io::Result<(EventSender, Receiver<Event>)> {
    let (events, receiver) = bounded(QUEUE);
    let waker = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
    Ok((EventSender { events, waker, is_woken: Arc::default() }, receiver))
}

impl EventSender {
    pub(super) fn accepted(&self, stream: TcpStream, client: SocketAddr) {
        // After the event loop has ended, the connection is closed by being dropped.
        let _ = self.events.send(Event::Accepted(stream, client));
        self.wake();
    }

    /// Hands a connection back after its request was answered.
    pub(super) fn hand_back(&self, connection: Box<Connection>) {
        if let Err(error) = self.events.send(Event::HandedBack(connection))
            && let Event::HandedBack(mut connection) = error.into_inner()
        {
            connection.abort(&Abort::Shutdown);
        }
        self.wake();
    }

    /// Asks for a list of the connections. `None` if the event loop does not answer in time.
    pub(super) fn snapshot(&self) -> Option<Snapshot> {
        let (sender, receiver) = bounded(1);
        self.events.send_timeout(Event::Snapshot(sender), SNAPSHOT_TIMEOUT).ok()?;
        self.wake();
        receiver.recv_timeout(SNAPSHOT_TIMEOUT).ok()
    }

    pub(super) fn wake(&self) {
        if !self.is_woken.swap(true, Ordering::SeqCst)
            && let Err(errno) = rustix::io::write(&self.waker, &1_u64.to_ne_bytes())
        {
            log::debug!("cannot wake the event loop: {errno}");
        }
    }
}
