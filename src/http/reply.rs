//! What a request is answered with: status, headers, body. The transport adds what frames it on the wire.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use tiny_http::{HTTPVersion, Header, HeaderField, StatusCode};

use crate::error::{Error, Result};
use crate::metrics::variants::Variant;

/// What every response says, whatever its status: any page may read it, and which headers it may see.
pub const COMMON_HEADERS: &str = "\
    Access-Control-Allow-Origin: *\r\n\
    Access-Control-Allow-Credentials: false\r\n\
    Access-Control-Allow-Headers: *\r\n\
    Access-Control-Allow-Methods: GET,POST,HEAD\r\n\
    Access-Control-Max-Age: 86400\r\n\
    Access-Control-Expose-Headers: Content-Length,Content-Range,ETag,X-Cut-Start,X-Cut-End,X-Cut-Segments,X-Cut-Holes\r\n";

/// The version that is spoken in all answers.
pub const HTTP_1_1: HTTPVersion = HTTPVersion(1, 1);

/// The methods that every route has.
pub const ALLOW: &str = "GET, HEAD, OPTIONS";

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers, but for [`COMMON_HEADERS`] and those that frame the body.
    pub headers: Vec<Header>,
    /// The body.
    pub body: Body,
    /// The variant that the request was for, if any: a label of the metrics.
    pub variant: Option<Arc<Variant>>,
}

/// The body of an answer.
pub enum Body {
    /// Bytes whose number is known, piece by piece. It can be set aside while the client is slow.
    Known {
        /// How many bytes there are.
        len: u64,
        /// The pieces, which together are that long. One that fails makes the whole response fail.
        pieces: Pieces,
    },
    /// Bytes of unknown number, produced while they are sent.
    Streamed(StreamFn),
}

/// The pieces of a body whose length is known.
pub type Pieces = Box<dyn Iterator<Item = Result<Piece>> + Send>;

/// Writes a streamed body. It writes to the sink as it goes, and fails if the sink does. A failure before the first byte can
/// still become an answer of its own.
pub type StreamFn = Box<dyn FnOnce(&mut dyn Sink) -> Result<()> + Send>;

/// Where a streamed body is written to.
pub trait Sink: Write {
    /// Whether the body is no longer needed, because the client has gone or the server aborts. Called while there is
    /// nothing to write, so that the work can end.
    fn is_cancelled(&self) -> bool;
}

/// Some bytes of a body.
#[derive(Debug)]
pub enum Piece {
    /// Bytes in memory.
    Bytes(Bytes),
    /// Bytes of an open file.
    File {
        /// The file.
        file: File,
        /// Where they begin.
        offset: u64,
        /// How many there are.
        len: u64,
    },
}

/// Bytes in memory, which may be sent to others as well.
#[derive(Debug)]
pub enum Bytes {
    /// Bytes of this answer alone.
    Own(Vec<u8>),
    /// Bytes that are kept for others.
    Shared(Arc<[u8]>),
}

impl Bytes {
    /// About how much memory they take that would be free without them.
    pub fn held(&self) -> usize {
        match self {
            Self::Own(bytes) => bytes.capacity(),
            Self::Shared(bytes) if Arc::strong_count(bytes) == 1 => bytes.len(),
            Self::Shared(_) => 0,
        }
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

impl Default for Bytes {
    fn default() -> Self {
        Self::Own(Vec::new())
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Own(bytes)
    }
}

impl From<Arc<[u8]>> for Bytes {
    fn from(bytes: Arc<[u8]>) -> Self {
        Self::Shared(bytes)
    }
}

impl Reply {
    /// An answer without a body.
    pub fn empty(status: u16) -> Self {
        Self { status: StatusCode(status), headers: Vec::new(), body: Body::bytes(Vec::new()), variant: None }
    }

    /// An answer of some bytes.
    pub fn bytes(content_type: &'static str, bytes: Vec<u8>) -> Self {
        Self::empty(200).with("Content-Type", content_type).with_body(Body::bytes(bytes))
    }

    /// A line of text that says what was wrong, and what would be right.
    pub fn refusal(status: u16, text: &str) -> Self {
        Self::bytes("text/plain; charset=utf-8", format!("{text}\n").into_bytes())
            .with_status(status)
            .with("Cache-Control", "no-store")
    }

    /// The answer to a method that no route has.
    pub fn method_not_allowed() -> Self {
        Self::refusal(405, "only GET, HEAD and OPTIONS are answered here").with("Allow", ALLOW)
    }

    /// The answer to what was too much at this moment.
    pub fn busy(text: &str) -> Self {
        // Some of what is asked for has other answers for those who take it compressed.
        Self::refusal(503, text).with("Retry-After", "1").with("Vary", "Accept-Encoding")
    }

    /// The answer that an error comes to: the one place that gives errors a status.
    ///
    /// What a client caused is told to the client. What it did not is logged with its whole cause, and told in a few
    /// words that give nothing of the server's disk away.
    pub fn of_error(error: &Error) -> Self {
        let (status, told) = match error {
            Error::BadPart { .. }
            | Error::BadParameter { .. }
            | Error::MissingParameter { .. }
            | Error::EndNotAfterStart => (400, None),
            Error::HiddenPart { .. } => (403, None),
            Error::NoSuchRoute | Error::NotFound { .. } => (404, None),
            Error::RangeHasHoles | Error::RangeIsEmpty => (406, None),
            Error::Unsupported { .. } => (501, None),
            Error::ProgramMissing { .. } => {
                (503, Some("this needs ffmpeg, which is not installed on this server"))
            }
            Error::NotStarted { program, .. } => {
                log::warn!("{error}");
                return Self::busy(&format!("the system cannot start {program} just now"));
            }
            Error::ProgramLacks { .. } => (503, None),
            Error::Cancelled => {
                return Self::refusal(503, "not made: the client has closed its side, or the server stops");
            }
            Error::Io { .. } => (500, Some("the archive cannot be read just now")),
            Error::Changed { .. } => (500, Some("the archive changed while it was being read; try again")),
            Error::Child { .. } => (500, Some("ffmpeg failed on this range; the server's log says why")),
        };
        match status {
            500 => log::error!("{error}"),
            501.. => log::warn!("{error}"),
            _ => {}
        }
        match told {
            Some(told) => Self::refusal(status, told),
            None => Self::refusal(status, &error.to_string()),
        }
    }

    /// The answer with another status.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = StatusCode(status);
        self
    }

    /// The answer with one more header. A value that is not visible ASCII is left out: it could end the header, and
    /// begin another.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl AsRef<str>) -> Self {
        let value = value.as_ref();
        let visible = value.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        match Header::from_bytes(name, value) {
            Ok(header) if visible => self.headers.push(header),
            _ => log::error!("left out the header `{name}`: its value is not visible ASCII"),
        }
        self
    }

    /// The answer with another body.
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
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let len = bytes.as_ref().len() as u64;
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
