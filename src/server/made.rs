//! A body that is made while it is sent: chunks, or for HTTP/1.0 bytes until the end of the connection.
//!
//! The worker that makes it stays with it, so a client may not be as slow as it likes. A body that fails on its way
//! must not look whole: no last chunk is sent, and the connection is reset.

use std::io::{self, IoSlice, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, SendFlags};
use tiny_http::HTTPVersion;

use super::connection::{Connection, Phase, Shared};
use super::exchange::{Abort, Exchange};
use super::wire::{After, Framing, head, send_parts};
use crate::error::{Error, Result};
use crate::http::reply::{Reply, Sink, StreamFn};
use crate::metrics::requests::CurrentRequest;

/// How much is gathered before it is sent.
const CHUNK_BYTES: usize = 64 * 1024;
/// How much is sent at a time of what comes in large pieces.
const LONGEST_CHUNK_BYTES: usize = 1024 * 1024;
/// How often somebody who waits for a client looks whether the server stops.
const LOOK_AROUND: Duration = Duration::from_millis(250);

/// What came of a made body.
#[derive(Debug)]
pub(super) enum Made {
    /// It was sent to its end.
    Whole,
    /// It failed before its first byte: this can still be answered.
    Unsent(Error),
    /// It was cut off.
    Aborted(Abort),
}

/// Sends a reply whose body `produce` makes.
pub(super) fn send_made(
    connection: &Connection,
    shared: &Shared,
    exchange: &mut Exchange,
    (reply, produce): (&Reply, StreamFn),
    version: &HTTPVersion,
    after: After,
) -> Made {
    let chunked = *version != HTTPVersion(1, 0);
    let framing = if chunked { Framing::Chunked } else { Framing::UntilClose };
    exchange.meter.ready(reply.status.0);
    let _current = CurrentRequest::enter(exchange.meter.request());
    let head = head(reply.status, &reply.headers, framing, version, after);
    let mut body = MadeBody {
        stream: &connection.stream,
        shared,
        exchange,
        head: Some(head),
        chunked,
        buffer: Vec::with_capacity(CHUNK_BYTES),
        pace: Pace::new(),
        abort: None,
    };
    let produced = produce(&mut body);
    let sent = produced.and_then(|()| body.finish().map_err(Error::io("send to", "the client")));
    match sent {
        Ok(()) => Made::Whole,
        Err(error) => body.failed(error),
    }
}

/// Where a made body goes to.
struct MadeBody<'a> {
    stream: &'a TcpStream,
    shared: &'a Shared,
    exchange: &'a mut Exchange,
    /// The head, until it is sent with the first bytes.
    head: Option<Vec<u8>>,
    chunked: bool,
    buffer: Vec<u8>,
    pace: Pace,
    abort: Option<Abort>,
}

/// How fast a client takes what it is given, by the time that was spent waiting for it.
#[derive(Debug)]
struct Pace {
    waited: Duration,
    bytes: u64,
}

impl MadeBody<'_> {
    /// Sends what has gathered and then `bytes`; with `last`, and the end of the body.
    fn send_on(&mut self, bytes: &[u8], last: bool) -> io::Result<()> {
        let mut before = self.head.take().unwrap_or_default();
        let gathered = std::mem::take(&mut self.buffer);
        let len = gathered.len() + bytes.len();
        let mut behind: &[u8] = b"";
        if self.chunked && len > 0 {
            write!(before, "{len:x}\r\n")?;
            behind = b"\r\n";
        }
        if self.chunked && last {
            behind = if len > 0 { b"\r\n0\r\n\r\n" } else { b"0\r\n\r\n" };
        }
        let parts = [&before[..], &gathered, bytes, behind];
        self.send_all(&mut parts.map(IoSlice::new)).map_err(|abort| {
            self.abort = Some(abort);
            io::Error::from(io::ErrorKind::BrokenPipe)
        })?;
        self.exchange.meter.sent(len as u64);
        self.buffer = gathered;
        self.buffer.clear();
        Ok(())
    }

    /// Sends bytes, and waits for the client where it must.
    fn send_all(&mut self, mut parts: &mut [IoSlice]) -> Result<(), Abort> {
        let limits = &self.shared.limits;
        let mut stalled = Duration::ZERO;
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            match send_parts(self.stream, parts, SendFlags::empty()) {
                Ok(sent) => {
                    IoSlice::advance_slices(&mut parts, sent);
                    self.pace.bytes += sent as u64;
                    stalled = Duration::ZERO;
                }
                Err(Abort::Gone(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    let waited = wait_writable(self.stream)?;
                    stalled += waited;
                    self.pace.waited += waited;
                    if self.shared.phase() == Phase::Aborting {
                        return Err(Abort::Stopping);
                    }
                    if stalled >= limits.write_timeout {
                        return Err(Abort::Stalled);
                    }
                    self.pace.check(limits.rate_window, limits.min_rate)?;
                }
                Err(abort) => return Err(abort),
            }
        }
        Ok(())
    }

    /// What a failure comes to: the client's doing, the server's end, or the body's own.
    fn failed(mut self, error: Error) -> Made {
        if let Some(abort) = self.abort.take() {
            return Made::Aborted(abort);
        }
        if self.shared.phase() == Phase::Aborting {
            return Made::Aborted(Abort::Stopping);
        }
        if self.is_cancelled() {
            return Made::Aborted(Abort::Gone(io::ErrorKind::ConnectionAborted.into()));
        }
        if self.head.is_some() { Made::Unsent(error) } else { Made::Aborted(Abort::Body(error)) }
    }

    /// Sends what is left, and the end.
    fn finish(&mut self) -> io::Result<()> {
        self.send_on(b"", true)
    }
}

impl Pace {
    fn new() -> Self {
        Self { waited: Duration::ZERO, bytes: 0 }
    }

    /// Judges the client once enough waiting has gathered, and begins anew.
    fn check(&mut self, window: Duration, min_rate: u64) -> Result<(), Abort> {
        if self.waited < window {
            return Ok(());
        }
        let wanted = u128::from(min_rate) * self.waited.as_millis() / 1000;
        let slow = u128::from(self.bytes) < wanted;
        *self = Self::new();
        if slow { Err(Abort::TooSlow) } else { Ok(()) }
    }
}

/// Waits a moment for room in the socket; how long it was.
fn wait_writable(stream: &TcpStream) -> Result<Duration, Abort> {
    let begun = Instant::now();
    wait(stream, PollFlags::OUT, LOOK_AROUND).map_err(|error| Abort::Gone(error.into()))?;
    Ok(begun.elapsed())
}

/// Waits for an event of the socket, or until the time is over; what came.
pub(super) fn wait(stream: &TcpStream, events: PollFlags, time: Duration) -> rustix::io::Result<PollFlags> {
    let timeout = Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    };
    let mut polled = [PollFd::new(stream, events)];
    match poll(&mut polled, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(polled[0].revents()),
        Err(errno) => Err(errno),
    }
}

impl Write for MadeBody<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.abort.is_some() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if self.buffer.len() + bytes.len() < CHUNK_BYTES {
            self.buffer.extend_from_slice(bytes);
            return Ok(bytes.len());
        }
        let taken = &bytes[..bytes.len().min(LONGEST_CHUNK_BYTES)];
        self.send_on(taken, false)?;
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() { Ok(()) } else { self.send_on(b"", false) }
    }
}

impl Sink for MadeBody<'_> {
    fn is_cancelled(&self) -> bool {
        self.abort.is_some() || is_cancelled(self.stream, self.shared)
    }
}

/// Whether the client has closed its side or the server aborts. A client that waits for a cut does not half-close its
/// connection, so a closed side means that it is gone.
pub(super) fn is_cancelled(stream: &TcpStream, shared: &Shared) -> bool {
    if shared.phase() == Phase::Aborting {
        return true;
    }
    match rustix::net::recv(stream, &mut [0], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        Ok((0, _)) => true,
        Ok(_) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => false,
        Err(_) => true,
    }
}
