//! A response: status, headers, body. The transport adds the headers that frame the body.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use tiny_http::{HTTPVersion, Header, HeaderField, StatusCode};

use crate::error::{Error, Result};
use crate::metrics::variants::VariantCounters;

/// The CORS headers of every response, whatever its status: any page may read it and the listed headers.
pub const COMMON_HEADERS: &str = "\
    Access-Control-Allow-Origin: *\r\n\
    Access-Control-Allow-Credentials: false\r\n\
    Access-Control-Allow-Headers: *\r\n\
    Access-Control-Allow-Methods: GET,POST,HEAD\r\n\
    Access-Control-Max-Age: 86400\r\n\
    Access-Control-Expose-Headers: Content-Length,Content-Range,ETag,X-Cut-Start,X-Cut-End,X-Cut-Segments,X-Cut-Holes,X-Cut-Size-Estimate,X-Frame-Time,X-Range-Start,X-Range-End\r\n";

/// The HTTP version of all responses.
pub const HTTP_1_1: HTTPVersion = HTTPVersion(1, 1);

/// The methods of every route without bodies, for `Allow`.
pub const ALLOW: &str = "GET, HEAD, OPTIONS";

/// A response.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers without [`COMMON_HEADERS`] and those that frame the body.
    pub headers: Vec<Header>,
    /// The body.
    pub body: Body,
    /// The counters of the variant that was asked for, if any.
    pub variant: Option<Arc<VariantCounters>>,
}

/// The body of a response.
pub enum Body {
    /// A body of known length. It is sent piece by piece, and no worker waits for a slow client.
    Known {
        /// Its length in bytes.
        len: u64,
        /// The pieces, which add up to that length. If one fails, the response is aborted.
        pieces: Pieces,
    },
    /// A body of unknown length, produced while it is sent.
    Streamed(StreamFn),
}

/// The pieces of a body of known length.
pub type Pieces = Box<dyn Iterator<Item = Result<Piece>> + Send>;

/// Writes a streamed body to a sink, and fails if the sink does. A failure before the first byte becomes an error
/// response; a later one aborts the response.
pub type StreamFn = Box<dyn FnOnce(&mut dyn Sink) -> Result<()> + Send>;

/// The destination of a streamed body.
pub trait Sink: Write {
    /// Whether the body is no longer needed, because the client closed the connection or the server aborts. To be
    /// polled while there is nothing to write.
    fn is_cancelled(&self) -> bool;
}

/// A piece of a body.
#[derive(Debug)]
pub enum Piece {
    /// Bytes in memory, which a cache or other responses may share.
    Bytes(Arc<Vec<u8>>),
    /// Bytes of an open file.
    File {
        /// The file.
        file: File,
        /// The offset of the first.
        offset: u64,
        /// How many there are.
        len: u64,
    },
}

impl Reply {
    /// A response without a body.
    pub fn empty(status: u16) -> Self {
        Self { status: StatusCode(status), headers: Vec::new(), body: Body::bytes(Vec::new()), variant: None }
    }

    /// A 200 with a body in memory.
    pub fn bytes(content_type: &'static str, bytes: Vec<u8>) -> Self {
        Self::empty(200).with("Content-Type", content_type).with_body(Body::bytes(bytes))
    }

    /// An error response: one line of text that says what was wrong and what would be right.
    pub fn refusal(status: u16, text: &str) -> Self {
        Self::bytes("text/plain; charset=utf-8", format!("{text}\n").into_bytes())
            .with_status(status)
            .with("Cache-Control", "no-store")
    }

    /// 503 Service Unavailable with `Retry-After`, for a server that is overloaded.
    pub fn unavailable(text: &str) -> Self {
        // The route may have compressed responses, which caches must not mistake for this one.
        Self::refusal(503, text).with("Retry-After", "1").with("Vary", "Accept-Encoding")
    }

    /// The response for an error. No other place gives errors a status.
    ///
    /// The text of a 4xx is the error's. A 5xx is logged with its cause, and its text reveals no path of the server's
    /// disk.
    pub fn of_error(error: &Error) -> Self {
        let shown = error.to_string();
        let (status, text) = match error {
            Error::BadPart { .. }
            | Error::BadParameter { .. }
            | Error::MissingParameter { .. }
            | Error::EndNotAfterStart
            | Error::EndsNotAfterStarts(_)
            | Error::OutOfBounds(_)
            | Error::BadTransition(_)
            | Error::BadTemplate(_)
            | Error::SheetTooLarge { .. }
            | Error::CutTooLong { .. } => (400, &*shown),
            Error::HiddenPart(_) => (403, &*shown),
            Error::NoSuchRoute(_) | Error::NotFound(_) => (404, &*shown),
            Error::TooLarge(_) => (413, &*shown),
            Error::Gone(_) => (410, &*shown),
            Error::RangeHasHoles { .. } | Error::RangeIsEmpty => (406, &*shown),
            Error::Unsupported(_) => (501, &*shown),
            Error::Busy(_) => return Self::unavailable(&shown),
            Error::ProgramMissing { .. } => (503, "this needs ffmpeg, which is not installed on this server"),
            Error::NotStarted { program, .. } => {
                log::warn!("{error}");
                return Self::unavailable(&format!("the system cannot start {program} just now"));
            }
            Error::ProgramLacks { .. } => (503, &*shown),
            Error::Cancelled => {
                return Self::refusal(
                    503,
                    "cancelled: the client closed the connection, or the server is stopping",
                );
            }
            Error::Io { .. } => (500, "the archive cannot be read just now"),
            Error::Changed(_) => (500, "the archive changed while it was being read; try again"),
            Error::Child { .. } => (500, "ffmpeg failed on this range; the server's log says why"),
            Error::InRange { error, .. } => return Self::refusal(Self::of_error(error).status.0, &shown),
        };
        match status {
            500 => log::error!("{error}"),
            501.. => log::warn!("{error}"),
            _ => {}
        }
        Self::refusal(status, text)
    }

    /// The response with another status.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = StatusCode(status);
        self
    }

    /// The response with one more header. A header whose value is not visible ASCII is omitted and logged: it could
    /// inject another header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl AsRef<str>) -> Self {
        let value = value.as_ref();
        let visible = value.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        match Header::from_bytes(name, value) {
            Ok(header) if visible => self.headers.push(header),
            _ => log::error!("omitted the header `{name}`: its value is not visible ASCII"),
        }
        self
    }

    /// The response with another body.
    #[must_use]
    pub fn with_body(mut self, body: Body) -> Self {
        self.body = body;
        self
    }

    /// The value of the first header of that name.
    pub fn header(&self, name: &'static str) -> Option<&str> {
        let same = |field: &HeaderField| field.equiv(name);
        self.headers.iter().find(|header| same(&header.field)).map(|header| header.value.as_str())
    }
}

impl Body {
    /// A body of bytes in memory.
    pub fn bytes(bytes: impl Into<Arc<Vec<u8>>>) -> Self {
        let bytes = bytes.into();
        let len = bytes.len() as u64;
        Self::Known { len, pieces: Box::new(std::iter::once(Ok(Piece::Bytes(bytes)))) }
    }

    /// A body of `len` bytes of an open file from `offset` on.
    pub fn file(file: File, offset: u64, len: u64) -> Self {
        Self::Known { len, pieces: Box::new(std::iter::once(Ok(Piece::File { file, offset, len }))) }
    }

    /// A body that is produced while it is sent.
    pub fn streamed(producer: impl FnOnce(&mut dyn Sink) -> Result<()> + Send + 'static) -> Self {
        Self::Streamed(Box::new(producer))
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Known { len, .. } => write!(f, "Known({len} bytes)"),
            Self::Streamed(_) => write!(f, "Streamed"),
        }
    }
}
