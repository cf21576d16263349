//! The transport: sockets, connections and worker pools. It serves any [`Service`].
//!
//! One thread accepts connections. One thread, the event loop, owns all connections without a worker. Fixed pools of
//! workers answer complete requests.

mod accept;
mod access_log;
mod body;
mod connection;
mod connection_table;
mod console;
mod event_loop;
mod events;
mod framing;
mod limits;
mod parser;
mod pool;
mod response;
mod socket;
mod stream;
mod worker;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use self::accept::Acceptor;
use self::console::Console;
use self::event_loop::EventLoop;
use self::events::{EventSender, event_queue};
pub use self::limits::Limits;
use self::limits::{Phase, Shared};
use self::pool::Pools;
pub use self::pool::Workers;
use self::socket::listen_at;
use crate::http::Service;
use crate::metrics::Metrics;

/// How often a stopping server checks whether all connections are closed.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A running server.
pub struct Server {
    address: SocketAddr,
    listener: Arc<TcpListener>,
    shared: Arc<Shared>,
    events: EventSender,
    acceptor: JoinHandle<()>,
    event_loop: JoinHandle<()>,
    workers: Vec<JoinHandle<()>>,
    service: Arc<dyn Service>,
    console: Option<Console>,
}

impl Server {
    /// Starts to serve at `address`. Port 0 takes a free one.
    ///
    /// # Errors
    /// The address cannot be bound, or the system refuses a thread or a descriptor.
    pub fn start(
        address: SocketAddr,
        workers: Workers,
        limits: Limits,
        service: Arc<dyn Service>,
    ) -> io::Result<Self> {
        let listener = Arc::new(listen_at(address)?);
        let address = listener.local_addr()?;
        let metrics = service.metrics().map_or_else(|| Metrics::new(&[]), Ok).map_err(io::Error::other)?;
        let shared = Shared::new(limits, metrics);
        let (events, receiver) = event_queue()?;
        let (pools, workers) = Pools::start(workers, &service, &shared, &events)?;
        let event_loop =
            EventLoop::new(events.clone(), receiver, pools, Arc::clone(&service), Arc::clone(&shared))?;
        let event_loop = Builder::new().name("event-loop".to_owned()).spawn(move || event_loop.run())?;
        let acceptor = Acceptor::new(Arc::clone(&listener), Arc::clone(&shared), events.clone());
        let acceptor = Builder::new().name("accept".to_owned()).spawn(move || acceptor.run())?;
        Ok(Self { address, listener, shared, events, acceptor, event_loop, workers, service, console: None })
    }

    /// Opens the console at a port of the loopback interface. Port 0 takes a free one. Returns its address.
    ///
    /// # Errors
    /// The port cannot be bound, or the system refuses a thread.
    pub fn open_console(&mut self, port: u16) -> io::Result<SocketAddr> {
        let (service, shared) = (Arc::clone(&self.service), Arc::clone(&self.shared));
        let (console, address) = Console::open(port, service, shared, self.events.clone())?;
        self.console = Some(console);
        Ok(address)
    }

    /// The address at which it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The number of open connections.
    pub fn connections(&self) -> usize {
        self.shared.open()
    }

    /// How many handlers and bodies have panicked.
    pub fn panics(&self) -> u64 {
        self.shared.panics.load(Ordering::Relaxed)
    }

    /// Stops: accepts nothing more, finishes requests for at most `grace`, aborts the rest, and joins all threads.
    /// Returns whether every request was finished.
    pub fn stop(self, grace: Duration) -> bool {
        self.stop_unless(grace, || false)
    }

    /// Like [`Server::stop`], but aborts unfinished responses as soon as `is_hurried` returns true.
    pub fn stop_unless(self, grace: Duration, is_hurried: impl Fn() -> bool) -> bool {
        self.shared.enter(Phase::Draining);
        // This wakes the acceptor, and makes the system refuse further connections.
        if let Err(error) = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both) {
            log::debug!("cannot shut the listener down: {error}");
        }
        drop(self.listener);
        self.events.wake();
        let end = Instant::now() + grace;
        while self.shared.open() > 0 && Instant::now() < end && !is_hurried() {
            std::thread::sleep(POLL_INTERVAL);
        }
        let finished = self.shared.open() == 0;
        self.shared.enter(Phase::Aborting);
        self.events.wake();
        // The event loop closes the queues of the pools when it ends.
        let threads = [self.acceptor, self.event_loop].into_iter().chain(self.workers);
        threads.chain(self.console.map(Console::close)).for_each(join);
        finished
    }
}

fn join(thread: JoinHandle<()>) {
    let name = thread.thread().name().unwrap_or_default().to_owned();
    if thread.join().is_err() {
        log::error!("the thread `{name}` panicked");
    }
}
