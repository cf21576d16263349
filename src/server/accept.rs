//! The blocking accept loop. No error ends it.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};

use super::events::EventSender;
use super::limits::{Phase, Shared};

/// How long the loop pauses after an error that would come again at once.
const PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections until the server stops.
pub(super) struct Acceptor {
    listener: Arc<TcpListener>,
    shared: Arc<Shared>,
    events: EventSender,
    /// A descriptor that is given up when no others are left, so that a waiting connection can be accepted and closed.
    spare: Option<OwnedFd>,
}

impl Acceptor {
    pub(super) fn new(listener: Arc<TcpListener>, shared: Arc<Shared>, events: EventSender) -> Self {
        Self { listener, shared, events, spare: spare_descriptor() }
    }

    pub(super) fn run(mut self) {
        while self.shared.phase() == Phase::Running {
            match self.accept() {
                Ok(Some((stream, client))) => self.events.accepted(stream, client),
                Ok(None) | Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(errno @ (Errno::MFILE | Errno::NFILE)) => {
                    log::warn!("cannot accept a connection: {errno}");
                    self.use_spare_descriptor();
                }
                Err(_) if self.shared.phase() != Phase::Running => return,
                Err(errno) => {
                    log::warn!("cannot accept a connection: {errno}");
                    std::thread::sleep(PAUSE);
                }
            }
        }
    }

    /// Waits for a connection. `None` is a connection whose client has no address.
    fn accept(&self) -> rustix::io::Result<Option<(TcpStream, SocketAddr)>> {
        let (socket, address) =
            acceptfrom_with(&self.listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
        let client = address.map(SocketAddr::try_from).transpose()?;
        Ok(client.map(|client| (TcpStream::from(socket), client)))
    }

    /// Frees the spare descriptor to accept a connection with it. Unless another descriptor has become free meanwhile,
    /// that connection is closed, so that its client does not wait for nothing.
    fn use_spare_descriptor(&mut self) {
        let accepted = if self.spare.take().is_some() { self.accept().ok().flatten() } else { None };
        self.spare = spare_descriptor();
        match accepted {
            Some((stream, client)) if self.spare.is_some() => self.events.accepted(stream, client),
            Some(unanswered) => {
                self.shared.metrics.connections.dropped("descriptor_limit");
                drop(unanswered);
                self.spare = spare_descriptor();
            }
            None => {}
        }
        if self.spare.is_none() {
            std::thread::sleep(PAUSE);
        }
    }
}

fn spare_descriptor() -> Option<OwnedFd> {
    rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()
}
