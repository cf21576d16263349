//! A response of known length while it is sent. Sending can stop at any byte and continue later, on another thread.

use std::fs::File;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;

use rustix::fs::Advice;
use rustix::io::Errno;
use tiny_http::HTTPVersion;

use super::access_log::{Abort, RequestContext};
use super::framing::{After, Framing, render_head};
use super::socket::Socket;
use crate::error::Error;
use crate::http::reply::{Body, HTTP_1_1, Piece, Pieces, Reply};
use crate::metrics::Metrics;

/// The memory that pieces which are produced one by one are taken to hold: an hour's segments.
const PIECES_BYTES: usize = 128 * 1024;
/// The most that one `sendfile` is asked to send.
const SENDFILE_BYTES: u64 = 2 * 1024 * 1024;
/// The most that is read of a file at once where `sendfile` does not work.
const READ_BYTES: usize = 64 * 1024;

/// A response that is being sent, with what remains of it.
pub(super) struct Response {
    pub(super) context: RequestContext,
    pub(super) after: After,
    /// Bytes sent so far, of head and body.
    pub(super) sent: u64,
    head: Vec<u8>,
    /// How many bytes of the head were sent.
    head_sent: usize,
    /// The piece of the body that is sent next, unless a file is.
    bytes: Arc<Vec<u8>>,
    /// How many bytes of that piece were sent.
    bytes_sent: usize,
    file: Option<FileRange>,
    pieces: Option<Pieces>,
    /// Bytes of the body in pieces that were not taken yet.
    body_left: u64,
}

/// A part of a file that remains to be sent.
#[derive(Debug)]
struct FileRange {
    file: File,
    offset: u64,
    left: u64,
    /// The offset from which the next read-ahead is requested.
    read_ahead_at: u64,
}

/// How far a push came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SendProgress {
    /// All was sent.
    Done,
    /// The socket is full.
    Blocked,
    /// The byte budget is used up.
    More,
}

impl Response {
    /// The response that sends `reply`. The body is left out of a response to HEAD.
    pub(super) fn new(
        mut context: RequestContext,
        reply: Reply,
        is_head: bool,
        version: &HTTPVersion,
        after: After,
    ) -> Self {
        let Reply { status, headers, body, variant: _ } = reply;
        context.metrics.ready(status.0);
        let (length, pieces) = match body {
            Body::Known { len, pieces } => (Framing::Length(len), Some(pieces)),
            Body::Streamed(_) => (Framing::UntilClose, None),
        };
        let framing = if status.0 == 304 { Framing::None } else { length };
        let (body_left, pieces) = match framing {
            Framing::Length(len) if !is_head => (len, pieces),
            _ => (0, None),
        };
        Self {
            context,
            after,
            sent: 0,
            head: render_head(status, &headers, framing, version, after),
            head_sent: 0,
            bytes: Arc::default(),
            bytes_sent: 0,
            file: None,
            pieces,
            body_left,
        }
    }

    /// The response to bytes that are not a valid request. It ends the connection.
    pub(super) fn refusal(client: SocketAddr, reply: Reply, metrics: &Arc<Metrics>) -> Self {
        Self::new(RequestContext::invalid(metrics, client), reply, false, &HTTP_1_1, After::Linger)
    }

    /// The response that replaces one whose body failed before anything was sent.
    pub(super) fn replace(self, error: &Error) -> Self {
        Self::new(self.context, Reply::of_error(error), false, &HTTP_1_1, After::Linger)
    }

    /// Sends until all is sent, the socket is full, or `budget` bytes were sent.
    pub(super) fn push(&mut self, socket: &dyn Socket, mut budget: u64) -> Result<SendProgress, Abort> {
        // The first piece is taken before the head is sent: if it fails, the client can still get an error status.
        if self.sent == 0 && self.needs_piece() {
            self.next_piece()?;
        }
        let sent_before = self.sent;
        loop {
            if self.head_sent == self.head.len() && self.needs_piece() {
                // A piece that has to be read ends a turn: the event loop leaves it to a worker.
                if self.sent > sent_before && self.is_on_disk() {
                    return Ok(SendProgress::More);
                }
                if !self.next_piece()? {
                    return Ok(SendProgress::Done);
                }
            }
            if budget == 0 {
                return Ok(SendProgress::More);
            }
            match self.send_some(socket) {
                Ok(sent) => budget = budget.saturating_sub(sent),
                Err(Abort::ClientClosed(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.read_ahead();
                    return Ok(SendProgress::Blocked);
                }
                Err(abort) => return Err(abort),
            }
        }
    }

    /// Whether it was begun, and what follows has to be read from the disk. A piece in memory needs no worker: while a
    /// connection waits for one, its memory is not counted.
    pub(super) fn is_on_disk(&self) -> bool {
        self.sent > 0 && (self.file.is_some() || self.body_left > 0 && self.needs_piece())
    }

    /// An estimate of the memory that only this response holds, in bytes.
    pub(super) fn held_bytes(&self) -> usize {
        let has_more = self.pieces.as_ref().is_some_and(|pieces| pieces.size_hint().1 != Some(0));
        let own_bytes = if Arc::strong_count(&self.bytes) == 1 { self.bytes.capacity() } else { 0 };
        self.head.capacity() + own_bytes + if has_more { PIECES_BYTES } else { 0 }
    }

    fn needs_piece(&self) -> bool {
        self.bytes_sent == self.bytes.len() && self.file.is_none()
    }

    /// Takes the next piece of the body. Returns whether there was one.
    fn next_piece(&mut self) -> Result<bool, Abort> {
        let mismatch = || Abort::Body(Error::Changed("the length of a response".to_owned()));
        self.set_bytes(Arc::default());
        let Some(piece) = self.pieces.as_mut().and_then(Iterator::next) else {
            self.pieces = None;
            return if self.body_left == 0 { Ok(false) } else { Err(mismatch()) };
        };
        let len = match piece.map_err(Abort::Body)? {
            Piece::Bytes(bytes) => {
                let len = bytes.len() as u64;
                self.set_bytes(bytes);
                len
            }
            Piece::File { file, offset, len } => {
                self.file = (len > 0).then_some(FileRange { file, offset, left: len, read_ahead_at: 0 });
                len
            }
        };
        self.body_left = self.body_left.checked_sub(len).ok_or_else(mismatch)?;
        Ok(true)
    }

    fn set_bytes(&mut self, bytes: Arc<Vec<u8>>) {
        (self.bytes, self.bytes_sent) = (bytes, 0);
    }

    /// Sends some bytes: the head and the bytes at hand together, or part of a file.
    fn send_some(&mut self, socket: &dyn Socket) -> Result<u64, Abort> {
        let (head, bytes) = (&self.head[self.head_sent..], &self.bytes[self.bytes_sent..]);
        let sent = if head.is_empty() && bytes.is_empty() {
            self.send_file(socket)?
        } else {
            let has_more = self.body_left > 0 || self.file.is_some();
            let parts = [IoSlice::new(head), IoSlice::new(bytes)];
            socket.send(&parts, has_more).map_err(Abort::ClientClosed)?
        };
        let of_head = sent.min(self.head.len() - self.head_sent);
        self.head_sent += of_head;
        self.bytes_sent += (sent - of_head).min(self.bytes.len() - self.bytes_sent);
        self.sent += sent as u64;
        self.context.metrics.sent((sent - of_head) as u64);
        Ok(sent as u64)
    }

    fn send_file(&mut self, socket: &dyn Socket) -> Result<usize, Abort> {
        let Some(range) = &mut self.file else { return Ok(0) };
        let count = usize::try_from(range.left.min(SENDFILE_BYTES)).unwrap_or(usize::MAX);
        let sent = match socket.send_file(&range.file, &mut range.offset, count) {
            Ok(0) => return Err(file_shrank()),
            Ok(sent) => sent,
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::INVAL | Errno::NOSYS) => return self.read_file().map(|()| 0),
                Some(Errno::AGAIN) => return Err(Abort::ClientClosed(error)),
                // The error is one of the socket or one of the file.
                _ if socket.is_closed_by_peer() => return Err(Abort::ClientClosed(error)),
                _ => return Err(file_unreadable(error)),
            },
        };
        self.advance_file(sent as u64);
        Ok(sent)
    }

    /// Reads part of the file into memory, for file systems without `sendfile`.
    fn read_file(&mut self) -> Result<(), Abort> {
        let Some(range) = &mut self.file else { return Ok(()) };
        let count = usize::try_from(range.left).unwrap_or(usize::MAX).min(READ_BYTES);
        let mut bytes = vec![0; count];
        let read = rustix::io::retry_on_intr(|| rustix::io::pread(&range.file, &mut bytes[..], range.offset));
        match read.map_err(|errno| file_unreadable(errno.into()))? {
            0 => return Err(file_shrank()),
            read => bytes.truncate(read),
        }
        range.offset += bytes.len() as u64;
        self.advance_file(bytes.len() as u64);
        self.set_bytes(bytes.into());
        Ok(())
    }

    fn advance_file(&mut self, count: u64) {
        if let Some(range) = &mut self.file {
            range.left = range.left.saturating_sub(count);
        }
        self.file.take_if(|range| range.left == 0);
    }

    /// Asks the system to read the next part of the file, so that the worker that continues the response waits less.
    fn read_ahead(&mut self) {
        let Some(range) = &mut self.file else { return };
        // The call costs time even where all is cached, and a fast client blocks often.
        if range.offset < range.read_ahead_at {
            return;
        }
        range.read_ahead_at = range.offset + SENDFILE_BYTES / 2;
        let len = std::num::NonZeroU64::new(range.left.min(SENDFILE_BYTES));
        let _ = rustix::fs::fadvise(&range.file, range.offset, len, Advice::WillNeed);
    }
}

fn file_shrank() -> Abort {
    Abort::Body(Error::Changed("a file".to_owned()))
}

fn file_unreadable(error: io::Error) -> Abort {
    Abort::Body(Error::io("read", "a file that is being sent")(error))
}
