//! A response whose body is produced while it is sent: in chunks, or for HTTP/1.0 until the connection is closed.
//!
//! The worker that produces the body stays with it, so clients must keep up a minimum rate. A body that fails must not
//! look complete: the last chunk is not sent, and the connection is reset.

use std::io::{self, IoSlice, Write};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tiny_http::HTTPVersion;

use super::access_log::{Abort, RequestContext};
use super::framing::{After, Framing, render_head};
use super::limits::{Phase, Shared};
use super::response::Response;
use super::socket::Socket;
use crate::error::Error;
use crate::http::reply::{Reply, Sink, StreamFn};
use crate::metrics::requests::CurrentRequest;

/// How much is buffered before it is sent as a chunk.
const CHUNK_BYTES: usize = 64 * 1024;
/// The longest chunk, where the body is written in larger pieces.
const MAX_CHUNK_BYTES: usize = 1024 * 1024;
/// How often a wait for the client is interrupted to see whether the server aborts.
const WAIT_SLICE: Duration = Duration::from_millis(250);

/// A response with a streamed body, before it is begun.
pub(super) struct StreamedResponse {
    pub(super) context: RequestContext,
    /// The status and the headers.
    pub(super) reply: Reply,
    pub(super) produce: StreamFn,
    pub(super) version: HTTPVersion,
    pub(super) after: After,
}

/// How a streamed response ended.
pub(super) enum StreamEnd {
    Complete(After),
    /// The body failed before its first byte, so this response can be sent instead.
    Unsent(Box<Response>),
    Aborted,
}

impl StreamedResponse {
    /// Produces the body and sends it.
    pub(super) fn send(self, socket: &dyn Socket, shared: &Shared) -> StreamEnd {
        let Self { mut context, reply, produce, version, after } = self;
        let chunked = version != HTTPVersion(1, 0);
        let framing = if chunked { Framing::Chunked } else { Framing::UntilClose };
        let after = if chunked || after == After::Linger { after } else { After::Close };
        context.metrics.ready(reply.status.0);
        let current = CurrentRequest::enter(context.metrics.request());
        let mut body = StreamedBody {
            socket,
            shared,
            context: &mut context,
            head: Some(render_head(reply.status, &reply.headers, framing, &version, after)),
            chunked,
            buffer: Vec::with_capacity(CHUNK_BYTES),
            pace: Pace::default(),
            abort: None,
        };
        let produced = produce(&mut body);
        let sent = produced.and_then(|()| body.finish().map_err(Error::io("send to", "the client")));
        let end = sent.map_err(|error| (body.head.is_some(), body.abort_reason(error)));
        drop(current);
        match end {
            Ok(()) => {
                context.finish(None);
                StreamEnd::Complete(after)
            }
            Err((true, Abort::Body(error))) => {
                let reply = Reply::of_error(&error);
                StreamEnd::Unsent(Box::new(Response::new(context, reply, false, &version, after)))
            }
            Err((_, abort)) => {
                context.finish(Some(&abort));
                StreamEnd::Aborted
            }
        }
    }

    /// The response that is sent instead where the streaming pool's queue is full.
    pub(super) fn refuse(self) -> Response {
        let Self { context, version, after, .. } = self;
        let reply = Reply::unavailable("this server makes as many long playlists as it can just now");
        Response::new(context, reply, false, &version, after)
    }
}

/// The sink that a streamed body is written to.
struct StreamedBody<'a> {
    socket: &'a dyn Socket,
    shared: &'a Shared,
    context: &'a mut RequestContext,
    /// The head, until it is sent together with the first bytes.
    head: Option<Vec<u8>>,
    chunked: bool,
    buffer: Vec<u8>,
    pace: Pace,
    abort: Option<Abort>,
}

/// The rate at which a client takes bytes, measured over the time spent waiting for it.
#[derive(Debug, Default)]
struct Pace {
    waited: Duration,
    bytes: u64,
}

impl StreamedBody<'_> {
    /// Sends the buffer and then `bytes` as one chunk; if it is the last one, the end of the body too.
    fn send_chunk(&mut self, bytes: &[u8], last: bool) -> io::Result<()> {
        let mut head = self.head.take().unwrap_or_default();
        let buffer = std::mem::take(&mut self.buffer);
        let len = buffer.len() + bytes.len();
        if self.chunked && len > 0 {
            write!(head, "{len:x}\r\n")?;
        }
        let trailer: &[u8] = match (self.chunked, len > 0, last) {
            (true, true, true) => b"\r\n0\r\n\r\n",
            (true, true, false) => b"\r\n",
            (true, false, true) => b"0\r\n\r\n",
            _ => b"",
        };
        let parts = [&head[..], &buffer, bytes, trailer];
        self.send_all(&mut parts.map(IoSlice::new)).map_err(|abort| {
            self.abort = Some(abort);
            io::Error::from(io::ErrorKind::BrokenPipe)
        })?;
        self.context.metrics.sent(len as u64);
        self.buffer = buffer;
        self.buffer.clear();
        Ok(())
    }

    /// Sends bytes, and waits for the client where the socket is full.
    fn send_all(&mut self, mut parts: &mut [IoSlice]) -> Result<(), Abort> {
        let limits = &self.shared.limits;
        let mut stalled = Duration::ZERO;
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            match self.socket.send(parts, false) {
                Ok(sent) => {
                    IoSlice::advance_slices(&mut parts, sent);
                    self.pace.bytes += sent as u64;
                    stalled = Duration::ZERO;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let begun = Instant::now();
                    self.socket.wait_writable(WAIT_SLICE).map_err(Abort::ClientClosed)?;
                    let waited = begun.elapsed();
                    stalled += waited;
                    if self.shared.phase() == Phase::Aborting {
                        return Err(Abort::Shutdown);
                    }
                    if stalled >= limits.write_timeout {
                        return Err(Abort::WriteTimeout);
                    }
                    if stalled >= limits.eviction_age && self.shared.lacks_room.swap(false, Ordering::SeqCst)
                    {
                        return Err(Abort::Evicted);
                    }
                    self.pace.wait(waited, limits.rate_window, limits.min_rate)?;
                }
                Err(error) => return Err(Abort::ClientClosed(error)),
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.send_chunk(b"", true)
    }

    /// Why the response is aborted: because of the client, of the shutdown, or of the body's error.
    fn abort_reason(self, error: Error) -> Abort {
        if let Some(abort) = self.abort {
            abort
        } else if self.shared.phase() == Phase::Aborting {
            Abort::Shutdown
        } else if self.socket.is_closed_by_peer() {
            Abort::ClientClosed(io::ErrorKind::ConnectionAborted.into())
        } else {
            Abort::Body(error)
        }
    }
}

impl Pace {
    /// Adds time spent waiting. Once a window of it is full, checks the rate and starts over.
    fn wait(&mut self, waited: Duration, window: Duration, min_rate: u64) -> Result<(), Abort> {
        self.waited += waited;
        if self.waited < window {
            return Ok(());
        }
        let least = u128::from(min_rate) * self.waited.as_millis() / 1000;
        let Self { bytes, .. } = std::mem::take(self);
        if u128::from(bytes) < least { Err(Abort::LowRate) } else { Ok(()) }
    }
}

impl Write for StreamedBody<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.abort.is_some() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if self.buffer.len() + bytes.len() < CHUNK_BYTES {
            self.buffer.extend_from_slice(bytes);
            return Ok(bytes.len());
        }
        let taken = &bytes[..bytes.len().min(MAX_CHUNK_BYTES)];
        self.send_chunk(taken, false)?;
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() { Ok(()) } else { self.send_chunk(b"", false) }
    }
}

impl Sink for StreamedBody<'_> {
    fn is_cancelled(&self) -> bool {
        self.abort.is_some() || is_cancelled(self.socket, self.shared)
    }
}

/// Whether a response is no longer needed: the client has closed its side, or the server aborts. A client that waits for
/// a cut does not half-close its connection, so a closed side means that it is gone.
pub(super) fn is_cancelled(socket: &dyn Socket, shared: &Shared) -> bool {
    shared.phase() == Phase::Aborting || socket.is_closed_by_peer()
}
