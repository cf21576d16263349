//! A reply on the wire: its head, its framing, and a body whose length is known.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, IoSlice};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use rustix::fs::Advice;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags};
use tiny_http::{HTTPVersion, Header, Method, StatusCode};

use super::access_log::{Abort, Exchange};
use crate::clock::system_time;
use crate::error::Error;
use crate::http::reply::{Body, Bytes, COMMON_HEADERS, HTTP_1_1, Piece, Pieces, Reply};
use crate::http::request::Request;
use crate::metrics::Metrics;

/// What most heads fit into; the C library keeps no more than this at hand for each thread.
const HEAD_BYTES: usize = 1000;
/// What pieces may hold that have not been got ready yet: they are got one by one, with an hour's segments at hand.
const PIECES_BYTES: usize = 128 * 1024;
/// The most that is asked of one `sendfile`.
const SENDFILE_BYTES: u64 = 2 * 1024 * 1024;
/// What is longer goes out in whole packets, which saves a third of the work on it; on a segment it costs a fifth more.
const CORKED_BYTES: u64 = 4 * 1024 * 1024;
/// The most that is read of a file at once where `sendfile` does not work.
const READ_BYTES: usize = 64 * 1024;

/// What becomes of a connection when its answer is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// It waits for the next request.
    KeepAlive,
    /// It is closed.
    Close,
    /// It is closed, but what the client still sends is read first, or it might lose the answer.
    Linger,
}

/// How a body is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none, by the status.
    None,
    /// It has so many bytes.
    Length(u64),
    /// It comes in chunks.
    Chunked,
    /// It ends with the connection; also where a HEAD is told of a body of unknown length.
    UntilClose,
}

/// The bytes of a head. All answers are of HTTP/1.1, whatever the request was, as RFC 9110 (section 6.2) wants it.
pub(super) fn head(
    status: StatusCode,
    headers: &[Header],
    framing: Framing,
    version: &HTTPVersion,
    after: After,
) -> Vec<u8> {
    let mut text = String::with_capacity(HEAD_BYTES);
    let _ = write!(text, "HTTP/1.1 {} {}\r\nDate: ", status.0, status.default_reason_phrase());
    push_date(&mut text);
    for header in headers {
        text.push_str("\r\n");
        text.push_str(header.field.as_str().as_str());
        text.push_str(": ");
        text.push_str(header.value.as_str());
    }
    text.push_str("\r\n");
    text.push_str(COMMON_HEADERS);
    match framing {
        Framing::Length(length) => {
            let _ = write!(text, "Content-Length: {length}\r\n");
        }
        Framing::Chunked => text.push_str("Transfer-Encoding: chunked\r\n"),
        Framing::None | Framing::UntilClose => {}
    }
    match after {
        After::KeepAlive if *version == HTTPVersion(1, 0) => text.push_str("Connection: keep-alive\r\n"),
        After::KeepAlive => {}
        After::Close | After::Linger => text.push_str("Connection: close\r\n"),
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// Writes the date, which each thread writes out anew once a second at most.
fn push_date(text: &mut String) {
    thread_local! {
        static DATE: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
    }
    let now = system_time();
    let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    DATE.with_borrow_mut(|(written, date)| {
        if *written != seconds || date.is_empty() {
            (*written, *date) = (seconds, httpdate::fmt_http_date(now));
        }
        text.push_str(date);
    });
}

/// An answer that is being sent: what is left of it. It can stop at any byte and go on later, elsewhere.
pub(super) struct Outgoing {
    pub(super) exchange: Exchange,
    pub(super) after: After,
    /// Bytes sent so far, of head and body.
    pub(super) sent: u64,
    head: Part<Vec<u8>>,
    /// The bytes of the body that go out next, unless a file does.
    text: Part<Bytes>,
    file: Option<FilePart>,
    pieces: Option<Pieces>,
    /// How many bytes of the body have not even been got ready.
    body_left: u64,
    /// Whether packets are to be whole, until its end.
    is_corked: bool,
}

/// Bytes that go out, and how many of them have.
#[derive(Debug, Default)]
struct Part<B> {
    bytes: B,
    sent: usize,
}

impl<B: AsRef<[u8]>> Part<B> {
    fn new(bytes: B) -> Self {
        Self { bytes, sent: 0 }
    }

    fn left(&self) -> &[u8] {
        &self.bytes.as_ref()[self.sent..]
    }

    /// Takes note that up to `count` bytes have gone; how many were of this part.
    fn advance(&mut self, count: usize) -> usize {
        let gone = count.min(self.left().len());
        self.sent += gone;
        gone
    }
}

#[derive(Debug)]
struct FilePart {
    file: File,
    offset: u64,
    left: u64,
    /// Up to where what is sent next was asked for, less a margin.
    ahead: u64,
}

/// How far a push came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// All is sent.
    Done,
    /// The socket can take no more for now.
    Blocked,
    /// It could, but others want their turn.
    More,
}

impl Outgoing {
    /// An answer with a body of known length; `method` HEAD leaves that out.
    pub(super) fn new(
        mut exchange: Exchange,
        reply: Reply,
        is_head: bool,
        version: &HTTPVersion,
        after: After,
    ) -> Self {
        let Reply { status, headers, body, variant: _ } = reply;
        exchange.meter.ready(status.0);
        let (length, pieces) = match body {
            Body::Known { len, pieces } => (Framing::Length(len), Some(pieces)),
            Body::Streamed(_) => (Framing::UntilClose, None),
        };
        let framing = if status.0 == 304 { Framing::None } else { length };
        let (body_left, pieces) = match framing {
            Framing::Length(len) if !is_head => (len, pieces),
            _ => (0, None),
        };
        let head = Part::new(head(status, &headers, framing, version, after));
        Self {
            exchange,
            after,
            sent: 0,
            head,
            text: Part::default(),
            file: None,
            pieces,
            body_left,
            is_corked: false,
        }
    }

    /// A short answer that ends the connection, to something that was no request.
    pub(super) fn refusal(client: SocketAddr, reply: Reply, metrics: &Arc<Metrics>) -> Self {
        Self::new(Exchange::of_none(client, metrics), reply, false, &HTTP_1_1, After::Linger)
    }

    /// Sends until all is sent, the socket is full, or `budget` bytes have gone.
    pub(super) fn push(&mut self, stream: &TcpStream, mut budget: u64) -> Result<Progress, Abort> {
        // A body that cannot even begin can still be answered for.
        if self.sent == 0 && self.has_body_to_get() {
            self.next_piece()?;
            self.is_corked = self.file.as_ref().is_some_and(|part| part.left + self.body_left > CORKED_BYTES);
            self.cork(stream, self.is_corked);
        }
        loop {
            if self.head.left().is_empty() && self.has_body_to_get() && !self.next_piece()? {
                self.cork(stream, false);
                return Ok(Progress::Done);
            }
            if budget == 0 {
                return Ok(Progress::More);
            }
            let sent = match self.send_some(stream) {
                Ok(sent) => sent,
                Err(Abort::Gone(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.read_ahead();
                    return Ok(Progress::Blocked);
                }
                Err(abort) => return Err(abort),
            };
            budget = budget.saturating_sub(sent);
        }
    }

    /// Has the system gather what comes of one `sendfile` and the next into whole packets, or no longer.
    fn cork(&self, stream: &TcpStream, cork: bool) {
        if self.is_corked
            && let Err(errno) = rustix::net::sockopt::set_tcp_cork(stream, cork)
        {
            log::debug!("cannot cork a connection: {errno}");
        }
    }

    /// About how much memory it takes that others do not have anyway.
    pub(super) fn held_bytes(&self) -> usize {
        let more = self.pieces.as_ref().is_some_and(|pieces| pieces.size_hint().1 != Some(0));
        self.head.bytes.capacity() + self.text.bytes.held() + if more { PIECES_BYTES } else { 0 }
    }

    /// Whether nothing of the body is ready to be sent.
    fn has_body_to_get(&self) -> bool {
        self.text.left().is_empty() && self.file.is_none()
    }

    /// Gets the next piece of the body ready; whether there was one.
    fn next_piece(&mut self) -> Result<bool, Abort> {
        let odd = |what: &str| Abort::Body(Error::Changed { what: what.to_owned() });
        self.text = Part::default();
        let Some(piece) = self.pieces.as_mut().and_then(Iterator::next) else {
            self.pieces = None;
            return if self.body_left == 0 { Ok(false) } else { Err(odd("the length of what is sent")) };
        };
        let len = match piece.map_err(Abort::Body)? {
            Piece::Bytes(bytes) => {
                let len = bytes.as_ref().len() as u64;
                self.text = Part::new(bytes);
                len
            }
            Piece::File { file, offset, len } => {
                self.file = (len > 0).then_some(FilePart { file, offset, left: len, ahead: 0 });
                len
            }
        };
        self.body_left = self.body_left.checked_sub(len).ok_or_else(|| odd("the length of what is sent"))?;
        Ok(true)
    }

    /// Sends some of what is ready: the head and what is there of a text at once.
    fn send_some(&mut self, stream: &TcpStream) -> Result<u64, Abort> {
        let (head, text) = (self.head.left(), self.text.left());
        let sent = if head.is_empty() && text.is_empty() {
            self.send_file(stream)?
        } else {
            let is_all = self.body_left == 0 && self.file.is_none();
            let more = if is_all { SendFlags::empty() } else { SendFlags::MORE };
            send_parts(stream, &[IoSlice::new(head), IoSlice::new(text)], more)?
        };
        let of_head = self.head.advance(sent);
        self.text.advance(sent - of_head);
        self.sent += sent as u64;
        self.exchange.meter.sent((sent - of_head) as u64);
        Ok(sent as u64)
    }

    /// Sends some of the file without taking it through this process.
    fn send_file(&mut self, stream: &TcpStream) -> Result<usize, Abort> {
        let Some(part) = &mut self.file else { return Ok(0) };
        let count = usize::try_from(part.left.min(SENDFILE_BYTES)).unwrap_or(usize::MAX);
        let sent = match rustix::fs::sendfile(stream, &part.file, Some(&mut part.offset), count) {
            Ok(0) => return Err(shrunk()),
            Ok(sent) => sent,
            Err(Errno::INTR) => 0,
            Err(Errno::INVAL | Errno::NOSYS) => return self.read_file().map(|()| 0),
            Err(errno) if is_of_socket(errno) => return Err(Abort::Gone(errno.into())),
            Err(errno) => return Err(unreadable(errno)),
        };
        part.left -= sent as u64;
        if part.left == 0 {
            self.file = None;
        }
        Ok(sent)
    }

    /// Reads some of the file into memory, to be sent from there: not every file system knows `sendfile`.
    fn read_file(&mut self) -> Result<(), Abort> {
        let Some(part) = &mut self.file else { return Ok(()) };
        let count = usize::try_from(part.left).unwrap_or(usize::MAX).min(READ_BYTES);
        let mut bytes = vec![0; count];
        let read = rustix::io::retry_on_intr(|| rustix::io::pread(&part.file, &mut bytes[..], part.offset));
        match read.map_err(unreadable)? {
            0 => return Err(shrunk()),
            read => bytes.truncate(read),
        }
        part.offset += bytes.len() as u64;
        part.left -= bytes.len() as u64;
        if part.left == 0 {
            self.file = None;
        }
        self.text = Part::new(bytes.into());
        Ok(())
    }

    /// Asks for what will be sent next to be brought into memory, so that whoever sends it does not wait for the disk.
    fn read_ahead(&mut self) {
        let Some(part) = &mut self.file else { return };
        // It takes its time even where all is in memory, and a client that is nearly fast enough blocks often.
        if part.offset < part.ahead {
            return;
        }
        part.ahead = part.offset + SENDFILE_BYTES / 2;
        let len = std::num::NonZeroU64::new(part.left.min(SENDFILE_BYTES));
        let _ = rustix::fs::fadvise(&part.file, part.offset, len, Advice::WillNeed);
    }
}

/// Whether an error of sending a file is one of the connection; else it is one of the file.
fn is_of_socket(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::AGAIN
            | Errno::PIPE
            | Errno::CONNRESET
            | Errno::CONNABORTED
            | Errno::NOTCONN
            | Errno::TIMEDOUT
            | Errno::HOSTUNREACH
            | Errno::NETUNREACH
            | Errno::NETDOWN
            | Errno::NOBUFS
    )
}

/// The end of a response whose file has become shorter than was announced.
fn shrunk() -> Abort {
    Abort::Body(Error::Changed { what: "a file".to_owned() })
}

/// The end of a response whose file cannot be read on.
fn unreadable(errno: Errno) -> Abort {
    Abort::Body(Error::io("read", "a file that is being sent")(errno.into()))
}

/// Sends some bytes; nothing is sent where the socket is full, which is [`io::ErrorKind::WouldBlock`].
pub(super) fn send(stream: &TcpStream, bytes: &[u8], more: SendFlags) -> Result<usize, Abort> {
    sent(|| rustix::net::send(stream, bytes, SendFlags::NOSIGNAL | more))
}

/// The same with the bytes in several places.
pub(super) fn send_parts(stream: &TcpStream, parts: &[IoSlice], more: SendFlags) -> Result<usize, Abort> {
    let flags = SendFlags::NOSIGNAL | more;
    sent(|| rustix::net::sendmsg(stream, parts, &mut SendAncillaryBuffer::default(), flags))
}

fn sent(send: impl FnMut() -> rustix::io::Result<usize>) -> Result<usize, Abort> {
    rustix::io::retry_on_intr(send).map_err(|errno| Abort::Gone(errno.into()))
}

/// Whether a request wants a head only.
pub(super) fn is_head(request: &Request) -> bool {
    request.method == Method::Head
}
