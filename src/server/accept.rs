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
use super::lobby::{Arrival, Mailbox, SPARE_CONNECTIONS};

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
            match acceptfrom_with(&self.listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok((socket, Some(address))) => match SocketAddr::try_from(address) {
                    Ok(client) => self.take(TcpStream::from(socket), client),
                    Err(errno) => self.trouble.log(&errno.into()),
                },
                Ok((_, None)) | Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(errno @ (Errno::MFILE | Errno::NFILE)) => {
                    self.trouble.log(&errno.into());
                    self.turn_one_away();
                }
                Err(_) if self.shared.phase() != Phase::Running => return,
                Err(errno) => {
                    self.trouble.log(&errno.into());
                    std::thread::sleep(PAUSE);
                }
            }
        }
    }

    /// Hands a connection on, unless there are so many that it could not even be told so.
    fn take(&mut self, stream: TcpStream, client: SocketAddr) {
        if self.shared.open() >= self.shared.limits.max_connections + SPARE_CONNECTIONS {
            self.trouble.log(&io::Error::other("far too many connections"));
            return;
        }
        self.mailbox.send(Arrival::New(Connection::new(stream, client, &self.shared)));
    }

    /// Closes one waiting connection for want of a descriptor, so that its client need not wait for nothing.
    fn turn_one_away(&mut self) {
        if self.spare.take().is_some() {
            drop(acceptfrom_with(&self.listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC));
        }
        self.spare = spare_descriptor();
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
