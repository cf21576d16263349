//! A reply on the wire: its head, its framing, and a body whose length is known.

use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use rustix::fs::Advice;
use rustix::io::Errno;
use rustix::net::SendFlags;
use tiny_http::{HTTPVersion, Header, Method, StatusCode};

use crate::clock::system_time;
use crate::error::Error;
use crate::http::reply::{Body, COMMON_HEADERS, HTTP_1_1, Piece, Pieces, Reply};
use crate::http::request::Request;
use crate::metrics::Metrics;
use crate::metrics::exchange::{Endpoint, Meter};
use crate::metrics::live::Flight;
use crate::metrics::variants::Variant;

/// About what each piece costs that is not even got ready: a path and what goes with it.
const PIECE_BYTES: usize = 256;
/// The most that is asked of one `sendfile`.
const SENDFILE_BYTES: u64 = 1024 * 1024;
/// The most that is read of a file at once where `sendfile` does not work.
const READ_BYTES: usize = 64 * 1024;

/// A request being answered, for the log: every answer is logged once, when it is over.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) meter: Meter,
}

/// Why a response ends before its end.
#[derive(Debug)]
pub(super) enum Abort {
    /// The client went away.
    Gone(io::Error),
    /// The client took nothing for too long.
    Stalled,
    /// The client took too little for too long.
    TooSlow,
    /// The client left too much lying here for too long while others wanted room.
    Crowded,
    /// The server stops and cannot wait.
    Stopping,
    /// The body could not be had.
    Body(Error),
}

impl Exchange {
    /// The exchange of a request whose head was read.
    pub(super) fn of(
        request: &Request,
        begun: Instant,
        metrics: &Arc<Metrics>,
        (endpoint, variant): (Endpoint, Option<Arc<Variant>>),
    ) -> Self {
        let asked = (request.method.to_string(), request.target.clone());
        Self { meter: Meter::begin(metrics, endpoint, variant, request.client, asked, begun) }
    }

    /// The exchange of something that was no request.
    pub(super) fn of_none(client: SocketAddr, metrics: &Arc<Metrics>) -> Self {
        let asked = ("-".to_owned(), "-".to_owned());
        Self { meter: Meter::begin(metrics, Endpoint::Unknown, None, client, asked, Instant::now()) }
    }

    /// Counts and logs how the exchange ended.
    pub(super) fn finish(&mut self, aborted: Option<&Abort>) {
        self.meter.end(aborted.map(Abort::name));
        let Flight { client, asked: (method, target), begun, sent, .. } = &*self.meter.flight;
        if let Some(Abort::Body(error)) = aborted {
            log::error!("aborted `{}`: {error}", target.escape_debug());
        }
        if !log::log_enabled!(log::Level::Info) {
            return;
        }
        let cause = match aborted {
            Some(Abort::Gone(error)) => format!(" cause=\"{error}\""),
            _ => String::new(),
        };
        let (status, sent) = (self.meter.status(), sent.load(Ordering::Relaxed));
        let reason = aborted.map_or("no", Abort::name);
        let millis = begun.elapsed().as_secs_f64() * 1000.0;
        let target = target.escape_debug();
        log::info!(
            "client={client} method={method} target=\"{target}\" status={status} bytes={sent} ms={millis:.1} aborted={reason}{cause}"
        );
    }
}

impl Abort {
    /// The reason in one word, for the log and for whoever counts.
    fn name(&self) -> &'static str {
        match self {
            Self::Gone(_) => "gone",
            Self::Stalled => "stalled",
            Self::TooSlow => "slow",
            Self::Crowded => "crowded",
            Self::Stopping => "stopping",
            Self::Body(_) => "body",
        }
    }
}

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
    let mut text = String::with_capacity(1024);
    let date = httpdate::fmt_http_date(system_time());
    let _ = write!(text, "HTTP/1.1 {} {}\r\nDate: {date}\r\n", status.0, status.default_reason_phrase());
    for header in headers {
        let _ = write!(text, "{}: {}\r\n", header.field, header.value);
    }
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

/// An answer that is being sent: what is left of it. It can stop at any byte and go on later, elsewhere.
pub(super) struct Outgoing {
    pub(super) exchange: Exchange,
    pub(super) after: After,
    /// Bytes that go out next, and how many of them have.
    ready: Vec<u8>,
    ready_sent: usize,
    /// How many of the next bytes are head and not body.
    head_left: usize,
    /// Bytes sent so far, of head and body.
    pub(super) sent: u64,
    file: Option<FilePart>,
    pieces: Option<Pieces>,
    /// How many bytes of the body have not even been got ready.
    body_left: u64,
}

#[derive(Debug)]
struct FilePart {
    file: File,
    offset: u64,
    left: u64,
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
        let Reply { status, headers, body } = reply;
        exchange.meter.ready(status.0);
        let (length, pieces) = match body {
            Body::Known { len, pieces } => (Framing::Length(len), Some(pieces)),
            Body::Made(_) => (Framing::UntilClose, None),
        };
        let framing = if status.0 == 304 { Framing::None } else { length };
        let ready = head(status, &headers, framing, version, after);
        let mut outgoing = Self {
            exchange,
            after,
            head_left: ready.len(),
            sent: 0,
            ready,
            ready_sent: 0,
            file: None,
            pieces: None,
            body_left: 0,
        };
        if let (Framing::Length(len), false) = (framing, is_head) {
            outgoing.body_left = len;
            outgoing.pieces = pieces;
        }
        outgoing
    }

    /// A short answer that ends the connection, to something that was no request.
    pub(super) fn refusal(client: SocketAddr, reply: Reply, metrics: &Arc<Metrics>) -> Self {
        Self::new(Exchange::of_none(client, metrics), reply, false, &HTTP_1_1, After::Linger)
    }

    /// Sends until all is sent, the socket is full, or `budget` bytes have gone.
    pub(super) fn push(&mut self, stream: &TcpStream, mut budget: u64) -> Result<Progress, Abort> {
        loop {
            if self.ready_sent == self.ready.len() {
                (self.ready, self.ready_sent) = (Vec::new(), 0);
                if self.file.is_none() && !self.next_piece()? {
                    return Ok(Progress::Done);
                }
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

    /// About how much memory it takes.
    pub(super) fn held_bytes(&self) -> usize {
        let pieces = self.pieces.as_ref().and_then(|pieces| pieces.size_hint().1).unwrap_or(0);
        self.ready.capacity() + pieces.saturating_mul(PIECE_BYTES)
    }

    /// Gets the next piece of the body ready; whether there was one.
    fn next_piece(&mut self) -> Result<bool, Abort> {
        let odd = |what: &str| Abort::Body(Error::Changed { what: what.to_owned() });
        let Some(piece) = self.pieces.as_mut().and_then(Iterator::next) else {
            self.pieces = None;
            return if self.body_left == 0 { Ok(false) } else { Err(odd("the length of what is sent")) };
        };
        let len = match piece.map_err(Abort::Body)? {
            Piece::Bytes(bytes) => {
                let len = bytes.len() as u64;
                (self.ready, self.ready_sent) = (bytes, 0);
                len
            }
            Piece::File { file, offset, len } => {
                self.file = (len > 0).then_some(FilePart { file, offset, left: len });
                len
            }
        };
        self.body_left = self.body_left.checked_sub(len).ok_or_else(|| odd("the length of what is sent"))?;
        Ok(true)
    }

    /// Sends some of what is ready.
    fn send_some(&mut self, stream: &TcpStream) -> Result<u64, Abort> {
        self.join_first_piece()?;
        let sent = if self.ready_sent < self.ready.len() {
            let more =
                if self.body_left > 0 || self.file.is_some() { SendFlags::MORE } else { SendFlags::empty() };
            let sent = send(stream, &self.ready[self.ready_sent..], more)?;
            self.ready_sent += sent;
            sent as u64
        } else {
            self.send_file(stream)?
        };
        let of_head = self.head_left.min(usize::try_from(sent).unwrap_or(usize::MAX));
        self.head_left -= of_head;
        self.sent += sent;
        self.exchange.meter.sent(sent - of_head as u64);
        Ok(sent)
    }

    /// Puts the beginning of the body behind the head: a text goes out at once with it, and a body that cannot even
    /// begin can still be answered for.
    fn join_first_piece(&mut self) -> Result<(), Abort> {
        if self.ready_sent > 0 || self.head_left == 0 || self.body_left == 0 || self.file.is_some() {
            return Ok(());
        }
        let head = std::mem::take(&mut self.ready);
        let found = self.next_piece();
        let body = std::mem::replace(&mut self.ready, head);
        self.ready.extend_from_slice(&body);
        found.map(|_| ())
    }

    /// Sends some of the file without taking it through this process.
    fn send_file(&mut self, stream: &TcpStream) -> Result<u64, Abort> {
        let Some(part) = &mut self.file else { return Ok(0) };
        let count = usize::try_from(part.left.min(SENDFILE_BYTES)).unwrap_or(usize::MAX);
        let sent = match rustix::fs::sendfile(stream, &part.file, Some(&mut part.offset), count) {
            Ok(0) => return Err(shrunk()),
            Ok(sent) => sent as u64,
            Err(Errno::INTR) => 0,
            Err(Errno::INVAL | Errno::NOSYS) => return self.read_file().map(|()| 0),
            Err(Errno::IO) => return Err(unreadable(Errno::IO)),
            Err(errno) => return Err(Abort::Gone(errno.into())),
        };
        part.left -= sent;
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
        (self.ready, self.ready_sent) = (bytes, 0);
        Ok(())
    }

    /// Asks for what will be sent next to be brought into memory, so that whoever sends it does not wait for the disk.
    fn read_ahead(&self) {
        if let Some(part) = &self.file {
            let _ = rustix::fs::fadvise(
                &part.file,
                part.offset,
                std::num::NonZeroU64::new(part.left.min(SENDFILE_BYTES)),
                Advice::WillNeed,
            );
        }
    }
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
    loop {
        match rustix::net::send(stream, bytes, SendFlags::NOSIGNAL | more) {
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Abort::Gone(errno.into())),
            Ok(sent) => return Ok(sent),
        }
    }
}

/// Whether a request wants a head only.
pub(super) fn is_head(request: &Request) -> bool {
    request.method == Method::Head
}
