//! The blocking accept loop: take a connection, hand it on, and never end for an error.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_keepalive, set_socket_reuseaddr, set_tcp_nodelay};
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, acceptfrom_with, bind, ipproto, listen, socket_with,
};

use super::connection::{Connection, Phase, Shared};
use super::event_loop::{Arrival, Mailbox, SPARE_CONNECTIONS};

/// How many connections the system keeps for us that we have not accepted yet.
const BACKLOG: i32 = 1024;
/// How long an error is waited out.
const PAUSE: Duration = Duration::from_millis(50);
/// How often at most the same trouble is logged.
const LOG_PAUSE: Duration = Duration::from_secs(1);

/// Listens at an address. What is set here holds for the connections that come of it as well: small writes are sent
/// at once, and peers that vanish without a word are found out.
pub(super) fn listen_at(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, Some(ipproto::TCP))?;
    set_socket_reuseaddr(&socket, true)?;
    set_tcp_nodelay(&socket, true)?;
    set_socket_keepalive(&socket, true)?;
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

/// Accepts connections until the server stops.
pub(super) struct Acceptor {
    listener: Arc<TcpListener>,
    shared: Arc<Shared>,
    mailbox: Mailbox,
    /// A descriptor to give up when there are no others, so that a waiting connection can at least be closed.
    spare: Option<OwnedFd>,
    trouble: Trouble,
}

/// Trouble that comes again and again, logged now and then.
#[derive(Debug, Default)]
struct Trouble {
    logged: Option<Instant>,
    unlogged: u64,
}

impl Acceptor {
    pub(super) fn new(listener: Arc<TcpListener>, shared: Arc<Shared>, mailbox: Mailbox) -> Self {
        Self { listener, shared, mailbox, spare: spare_descriptor(), trouble: Trouble::default() }
    }

    pub(super) fn run(mut self) {
        while self.shared.phase() == Phase::Running {
            match self.accept() {
                Ok(Some((stream, client))) => self.take(stream, client),
                Ok(None) | Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(errno @ (Errno::MFILE | Errno::NFILE)) => {
                    self.trouble.log(&errno.into());
                    self.take_or_turn_away();
                }
                Err(_) if self.shared.phase() != Phase::Running => return,
                Err(errno) => {
                    self.trouble.log(&errno.into());
                    std::thread::sleep(PAUSE);
                }
            }
        }
    }

    /// Waits for a connection; `None` for one of a client that has no address.
    fn accept(&self) -> rustix::io::Result<Option<(TcpStream, SocketAddr)>> {
        let (socket, address) =
            acceptfrom_with(&self.listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
        let client = address.map(SocketAddr::try_from).transpose()?;
        Ok(client.map(|client| (TcpStream::from(socket), client)))
    }

    /// Hands a connection on, unless there are so many that it could not even be told so.
    fn take(&mut self, stream: TcpStream, client: SocketAddr) {
        if self.shared.open() >= self.shared.limits.max_connections + SPARE_CONNECTIONS {
            self.shared.metrics.connections.dropped("far_too_many");
            self.trouble.log(&io::Error::other("far too many connections"));
            return;
        }
        self.mailbox.send(Arrival::New(Connection::new(stream, client, &self.shared)));
    }

    /// Accepts with the spare descriptor, and closes that connection for want of another, so that its client need not
    /// wait for nothing. But the system wants the descriptor before it waits: by the time somebody comes there may be
    /// others again, and then the connection is as good as any.
    fn take_or_turn_away(&mut self) {
        let accepted = if self.spare.take().is_some() { self.accept().ok().flatten() } else { None };
        self.spare = spare_descriptor();
        match accepted {
            Some((stream, client)) if self.spare.is_some() => self.take(stream, client),
            Some(turned_away) => {
                self.shared.metrics.connections.dropped("no_descriptor");
                drop(turned_away);
                self.spare = spare_descriptor();
            }
            None => {}
        }
        if self.spare.is_none() {
            std::thread::sleep(PAUSE);
        }
    }
}

impl Trouble {
    /// Logs what went wrong, at most once in a while, and then how often it did.
    fn log(&mut self, error: &io::Error) {
        if self.logged.is_some_and(|logged| logged.elapsed() < LOG_PAUSE) {
            self.unlogged += 1;
            return;
        }
        let repeats = std::mem::take(&mut self.unlogged);
        log::warn!("cannot take a connection: {error} ({repeats} more since the last of these lines)");
        self.logged = Some(Instant::now());
    }
}

fn spare_descriptor() -> Option<OwnedFd> {
    rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()
}
