//! The one error type of the library. It knows nothing of HTTP.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::timestamp::{Span, Timestamp};

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure, with its subject.
///
/// Its `Display` is one line. What a client caused can be shown to the client; [`Error::Io`], [`Error::Changed`],
/// [`Error::Child`], [`Error::NotStarted`] and [`Error::ProgramMissing`] may name paths of the server and are for the log
/// only.
#[derive(Debug)]
pub enum Error {
    /// A path names no route. Holds the path that was probably meant, percent-encoded.
    NoSuchRoute(Option<String>),
    /// A part of a path (`stream`, `variant`, `hour` or `path`) cannot be the name of a file.
    BadPart {
        /// Which part it is.
        part: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The named part of a path begins with a period, like hidden files and `..`.
    HiddenPart(&'static str),
    /// A parameter has an invalid value.
    BadParameter {
        /// The parameter's name.
        name: &'static str,
        /// The value as received.
        value: String,
        /// What is valid.
        expected: &'static str,
    },
    /// A required parameter is missing.
    MissingParameter {
        /// The parameter's name.
        name: &'static str,
        /// What is valid.
        expected: &'static str,
    },
    /// A cut whose end is not after its start.
    EndNotAfterStart,
    /// A cut of several ranges, of which the one of this number, from 1 on, does not end after its start.
    EndsNotAfterStarts(usize),
    /// What is wrong with one of several ranges.
    InRange {
        /// Its number, from 1 on.
        number: usize,
        /// What it is.
        error: Box<Error>,
    },
    /// Parameters that are valid by themselves, but not here. The message says what is.
    OutOfBounds(&'static str),
    /// A storyboard of more pixels than are held in memory.
    SheetTooLarge {
        /// How many tiles it would have.
        count: u32,
        /// Their width.
        width: u32,
        /// The largest width that so many tiles may have, if there is one.
        largest: Option<u32>,
    },
    /// A template for a thumbnail that cannot be used, or a part of a picture that is outside of it. The message says why.
    BadTemplate(String),
    /// A transition between two ranges that cannot be made of them. The message says why.
    BadTransition(String),
    /// A cut of more hours than the server allows.
    CutTooLong {
        /// Which cuts have the limit: `exact` or `MP4`.
        kind: &'static str,
        /// How many it allows.
        max_hours: u32,
    },
    /// What a request names is not in the archive. The message names it as the request did.
    NotFound(String),
    /// What a request names was there, and will not be again. The message says what to do.
    Gone(&'static str),
    /// The range of a cut has gaps, which the request does not allow.
    RangeHasHoles {
        /// Where the first gap starts and ends. Both are the same where a truncated segment is followed by another.
        first: (Timestamp, Timestamp),
        /// The length of all gaps together.
        total: Span,
    },
    /// The range of a cut has no content.
    RangeIsEmpty,
    /// There is more of what a request names, or sends, than the server takes. The message says what it takes.
    TooLarge(String),
    /// Other requests take what this one needs just now. The message says what.
    Busy(&'static str),
    /// A valid request that cannot be served. The message says why, and what would work.
    Unsupported(String),
    /// The client has gone or the server is stopping, so the work was given up.
    Cancelled,
    /// The named thing changed or was deleted while it was being read.
    Changed(String),
    /// A program that a request needs is not installed.
    ProgramMissing {
        /// The program.
        program: &'static str,
        /// What was tried, and the system's answer.
        why: String,
    },
    /// The system refuses to start a program at the moment: too many processes, threads or open files, or no memory.
    NotStarted {
        /// The program.
        program: &'static str,
        /// What was tried, and the system's answer.
        why: String,
    },
    /// A program that is installed cannot do what a request needs.
    ProgramLacks {
        /// The program.
        program: &'static str,
        /// What it lacks.
        what: String,
    },
    /// A file operation failed.
    Io {
        /// What was being done: `read the directory`.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A child process failed.
    Child {
        /// The program.
        program: &'static str,
        /// How it ended, with the end of its stderr.
        why: String,
    },
}

impl Error {
    /// An [`Error::Io`] about `path`, for `map_err`.
    pub fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    /// The same error, about range `index` of `count`. If there are several, the text of what is told to clients names it.
    #[must_use]
    pub fn in_range(self, index: usize, count: usize) -> Self {
        let number = index + 1;
        match self {
            Self::EndNotAfterStart if count > 1 => Self::EndsNotAfterStarts(number),
            Self::RangeHasHoles { .. } | Self::RangeIsEmpty | Self::Unsupported(_) if count > 1 => {
                Self::InRange { number, error: Box::new(self) }
            }
            other => other,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchRoute(None) => write!(f, "there is no such page; `/` lists what there is"),
            Self::NoSuchRoute(Some(path)) => {
                write!(f, "there is no such page; `{}` was probably meant", path.escape_debug())
            }
            Self::BadPart { part, why } => write!(f, "bad {part}: {why}"),
            Self::HiddenPart(part) => write!(f, "Bad {part}: May not start with a period"),
            Self::BadParameter { name, value, expected } => {
                write!(f, "bad {name} `{}`: expected {expected}", value.escape_debug())
            }
            Self::MissingParameter { name, expected } => write!(f, "missing {name}: expected {expected}"),
            Self::EndNotAfterStart => write!(f, "End must be after start"),
            Self::EndsNotAfterStarts(number) => write!(f, "Ends must be after starts (range {number})"),
            Self::InRange { number, error } => write!(f, "{error} (range {number})"),
            Self::SheetTooLarge { count, width, largest } => {
                let hint = largest
                    .map_or_else(String::new, |largest| format!("`width` of at most {largest}, or for "));
                write!(f, "{count} tiles of width {width} are too large a picture: ask for {hint}fewer tiles")
            }
            Self::CutTooLong { kind, max_hours } => {
                let hours = if *max_hours == 1 { "hour" } else { "hours" };
                write!(
                    f,
                    "the range of an {kind} cut is at most {max_hours} {hours} on this server: cut shorter ranges, or use .ts with type=rough"
                )
            }
            Self::Busy(message) | Self::Gone(message) | Self::OutOfBounds(message) => write!(f, "{message}"),
            Self::BadTemplate(message)
            | Self::BadTransition(message)
            | Self::NotFound(message)
            | Self::TooLarge(message)
            | Self::Unsupported(message) => {
                write!(f, "{message}")
            }
            Self::RangeHasHoles { first: (start, end), total } => write!(
                f,
                "Requested time range contains holes or is incomplete. The first hole is from {start} to {end}, all \
                 holes together last {total} s. With `allow_holes=true` the range is cut all the same."
            ),
            Self::RangeIsEmpty => write!(f, "We have no content available within the requested time range."),
            Self::Cancelled => write!(f, "the request was cancelled"),
            Self::Changed(what) => write!(f, "{what} changed while it was being read"),
            Self::ProgramMissing { program, why } => write!(f, "cannot run {program}: {why}"),
            Self::NotStarted { program, why } => {
                write!(f, "the system cannot start {program} just now: {why}")
            }
            Self::ProgramLacks { program, what } => write!(f, "this server's {program} lacks {what}"),
            Self::Io { action, path, source } => write!(f, "cannot {action} `{}`: {source}", path.display()),
            Self::Child { program, why } => write!(f, "{program} failed: {why}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
