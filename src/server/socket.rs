//! The operations on a client's socket that the transport uses, behind a trait so that connections can be tested without
//! a socket.

use std::fs::File;
use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_keepalive, set_socket_linger, set_socket_reuseaddr, set_tcp_nodelay};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, SocketFlags, SocketType, bind, ipproto, listen,
    recv, sendmsg, socket_with,
};

/// How many connections the system queues that were not accepted yet.
const BACKLOG: i32 = 1024;

/// A client's socket, which does not block. What it cannot do at once fails with [`io::ErrorKind::WouldBlock`].
pub(super) trait Socket: Send {
    /// Reads into `buffer`. Returns 0 once the client has closed its side.
    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Sends bytes from several buffers. With `more`, the system may wait for further bytes to fill a packet.
    fn send(&self, parts: &[IoSlice], more: bool) -> io::Result<usize>;

    /// Sends `count` bytes of a file from `offset` on, and advances `offset`.
    fn send_file(&self, file: &File, offset: &mut u64, count: usize) -> io::Result<usize>;

    /// Waits until the socket is writable, or the time is up.
    fn wait_writable(&self, time: Duration) -> io::Result<()>;

    /// Whether the client has closed its side or the connection is broken.
    fn is_closed_by_peer(&self) -> bool;

    /// Tells the client that no more bytes follow.
    fn shut_writing(&self);

    /// Makes the drop of this socket reset the connection, so that the client sees that its response is incomplete.
    fn reset_on_drop(&self);
}

/// What the events of a socket have said since it was read last.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Readiness {
    /// There may be input.
    pub(super) readable: bool,
    /// There may be room for output.
    pub(super) writable: bool,
    /// The client has closed its side, or the connection failed.
    pub(super) closed: bool,
}

impl Readiness {
    pub(super) fn merge(&mut self, other: Self) {
        self.readable |= other.readable;
        self.writable |= other.writable;
        self.closed |= other.closed;
    }
}

impl Socket for TcpStream {
    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let (count, _) = rustix::io::retry_on_intr(|| recv(self, &mut *buffer, RecvFlags::empty()))?;
        Ok(count)
    }

    fn send(&self, parts: &[IoSlice], more: bool) -> io::Result<usize> {
        let flags = if more { SendFlags::NOSIGNAL | SendFlags::MORE } else { SendFlags::NOSIGNAL };
        let send = || sendmsg(self, parts, &mut SendAncillaryBuffer::default(), flags);
        Ok(rustix::io::retry_on_intr(send)?)
    }

    fn send_file(&self, file: &File, offset: &mut u64, count: usize) -> io::Result<usize> {
        let send = || rustix::fs::sendfile(self, file, Some(&mut *offset), count);
        Ok(rustix::io::retry_on_intr(send)?)
    }

    fn wait_writable(&self, time: Duration) -> io::Result<()> {
        poll_one(self, PollFlags::OUT, time).map(drop)
    }

    fn is_closed_by_peer(&self) -> bool {
        let closed = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        poll_one(self, PollFlags::RDHUP, Duration::ZERO).map_or(true, |events| events.intersects(closed))
    }

    fn shut_writing(&self) {
        // The connection may be gone already.
        let _ = self.shutdown(Shutdown::Write);
    }

    fn reset_on_drop(&self) {
        if let Err(errno) = set_socket_linger(self, Some(Duration::ZERO)) {
            log::debug!("cannot set SO_LINGER: {errno}");
        }
    }
}

/// Waits for events of a socket until the time is up. Returns the events that occurred.
pub(super) fn poll_one(stream: &TcpStream, events: PollFlags, time: Duration) -> io::Result<PollFlags> {
    let timeout = Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    };
    let mut polled = [PollFd::new(stream, events)];
    match poll(&mut polled, Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => Ok(polled[0].revents()),
        Err(errno) => Err(errno.into()),
    }
}

/// Listens at an address. Accepted sockets inherit the options: small writes are sent at once, and vanished peers are
/// detected.
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
