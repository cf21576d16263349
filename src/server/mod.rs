//! The transport: sockets, connections, workers. It serves whatever is a [`Service`].
//!
//! One thread accepts connections; one, the lobby, holds all that wait; fixed workers answer whole requests, in lanes.

mod accept;
mod answer;
mod census;
mod connection;
mod console;
mod exchange;
mod head;
mod lobby;
mod made;
mod pool;
mod regulars;
mod wire;
mod worker;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use self::accept::{Acceptor, listen_at};
pub use self::connection::Limits;
use self::connection::{Phase, Shared};
use self::console::Console;
use self::lobby::{Lobby, Mailbox, door};
use self::pool::Pools;
pub use self::pool::Workers;
use crate::http::Service;
use crate::metrics::Metrics;

/// How often a server that stops looks whether all is done.
const LOOK: Duration = Duration::from_millis(5);
/// The most descriptors that are asked for.
const MOST_DESCRIPTORS: u64 = 65_536;

/// A server that is running.
pub struct Server {
    address: SocketAddr,
    listener: Arc<TcpListener>,
    shared: Arc<Shared>,
    mailbox: Mailbox,
    acceptor: JoinHandle<()>,
    lobby: JoinHandle<()>,
    pool: Pools,
    workers: Vec<JoinHandle<()>>,
    service: Arc<dyn Service>,
    console: Option<Console>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Server {
    /// Starts to serve at `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// The address cannot be listened at, or the system gives no more threads or descriptors.
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
        let (mailbox, door) = door(&shared)?;
        let (pool, workers) = Pools::start(workers, &service, &shared, &mailbox)?;
        let lobby = Lobby::new(door, pool.clone(), Arc::clone(&service), Arc::clone(&shared));
        let lobby = Builder::new().name("lobby".to_owned()).spawn(move || lobby.run())?;
        let acceptor = Acceptor::new(Arc::clone(&listener), Arc::clone(&shared), mailbox.clone());
        let acceptor = Builder::new().name("accept".to_owned()).spawn(move || acceptor.run())?;
        Ok(Self {
            address,
            listener,
            shared,
            mailbox,
            acceptor,
            lobby,
            pool,
            workers,
            service,
            console: None,
        })
    }

    /// Opens a console at a port of this machine, which only programs on it can reach; 0 takes a free one. Returns
    /// where it is.
    ///
    /// # Errors
    /// The port cannot be listened at, or the system gives no more threads.
    pub fn open_console(&mut self, port: u16) -> io::Result<SocketAddr> {
        let (service, shared) = (Arc::clone(&self.service), Arc::clone(&self.shared));
        let (console, address) = Console::open(port, service, shared, self.mailbox.clone())?;
        self.console = Some(console);
        Ok(address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it has.
    pub fn connections(&self) -> usize {
        self.shared.open()
    }

    /// How many handlers have panicked.
    pub fn panics(&self) -> u64 {
        self.shared.panics.load(Ordering::Relaxed)
    }

    /// Stops: takes no more connections, finishes for at most `grace` what has begun, and ends its threads.
    /// Returns whether all was finished.
    pub fn stop(self, grace: Duration) -> bool {
        self.stop_unless(grace, || false)
    }

    /// The same, but cuts off what is not finished as soon as `hurried` says so.
    pub fn stop_unless(self, grace: Duration, hurried: impl Fn() -> bool) -> bool {
        self.shared.enter(Phase::Draining);
        // This wakes the acceptor, and from now on the system refuses connections.
        if let Err(error) = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both) {
            log::debug!("cannot shut the listener down: {error}");
        }
        drop(self.listener);
        self.mailbox.ring();
        let end = Instant::now() + grace;
        while self.shared.open() > 0 && Instant::now() < end && !hurried() {
            std::thread::sleep(LOOK);
        }
        let finished = self.shared.open() == 0;
        self.shared.enter(Phase::Aborting);
        self.mailbox.ring();
        join(self.acceptor);
        join(self.lobby);
        self.pool.close();
        // With the last worker end those who make long answers.
        drop(self.pool);
        self.workers.into_iter().chain(self.console.map(Console::close)).for_each(join);
        finished
    }
}

/// Waits for the end of a thread.
fn join(thread: JoinHandle<()>) {
    let name = thread.thread().name().unwrap_or_default().to_owned();
    if thread.join().is_err() {
        log::error!("the thread `{name}` panicked");
    }
}

/// Raises the limit of open descriptors as far as it goes, 65,536 at most; what it is then.
pub fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(MOST_DESCRIPTORS).min(MOST_DESCRIPTORS);
    let current = limit.current.unwrap_or(MOST_DESCRIPTORS);
    if current >= most {
        return current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: limit.maximum }) {
        Ok(()) => most,
        Err(errno) => {
            log::warn!("cannot raise the limit of open descriptors from {current} to {most}: {errno}");
            current
        }
    }
}
