//! What can go wrong, as the engine says it. Nothing here knows HTTP.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// The result of anything that can fail with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure, with its subject.
///
/// Shown, it is one line without a path of the server's disk for whatever a client caused; [`Error::Io`] and
/// [`Error::Child`] name paths and commands and are for the log only.
#[derive(Debug)]
pub enum Error {
    /// A path names no route.
    NoSuchRoute,
    /// A part of a path (`stream`, `variant`, `hour` or `path`) cannot be the name of a file.
    BadPart {
        /// Which part it is.
        part: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A part of a path begins with a period, as hidden files and `..` do.
    HiddenPart {
        /// Which part it is.
        part: &'static str,
    },
    /// A parameter has a value that it cannot have.
    BadParameter {
        /// The parameter's name.
        name: &'static str,
        /// The value as it came.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
    /// A parameter that a request needs is not there.
    MissingParameter {
        /// The parameter's name.
        name: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// A cut whose end is not after its start.
    EndNotAfterStart,
    /// What a request names is not in the archive.
    NotFound {
        /// The thing that was looked for, in words and names of the request.
        what: String,
    },
    /// A cut's range has holes, and holes were not allowed.
    RangeHasHoles,
    /// A cut's range has nothing in it.
    RangeIsEmpty,
    /// A request that is understood, and that cannot be served.
    Unsupported {
        /// Why, and what would work.
        why: String,
    },
    /// Nobody waits for the answer any longer, so it was not made.
    Cancelled,
    /// Something changed or went away while it was being sent.
    Changed {
        /// What it is.
        what: String,
    },
    /// A program that a request needs is not installed.
    ProgramMissing {
        /// The program.
        program: &'static str,
        /// What was tried, and what came of it.
        why: String,
    },
    /// A program that is installed cannot do what a request needs.
    ProgramLacks {
        /// The program.
        program: &'static str,
        /// What it lacks.
        what: String,
    },
    /// The file system said no.
    Io {
        /// What was being done: `read the directory`.
        action: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// A child process failed.
    Child {
        /// The program.
        program: &'static str,
        /// How it ended, with the last of what it said.
        why: String,
    },
}

impl Error {
    /// An [`Error::Io`] about `path`, for `map_err`.
    pub fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchRoute => write!(f, "there is no such page; `/` lists what there is"),
            Self::BadPart { part, why } => write!(f, "bad {part}: {why}"),
            Self::HiddenPart { part } => write!(f, "Bad {part}: May not start with a period"),
            Self::BadParameter { name, value, expected } => {
                write!(f, "bad {name} `{}`: expected {expected}", value.escape_debug())
            }
            Self::MissingParameter { name, expected } => write!(f, "missing {name}: expected {expected}"),
            Self::EndNotAfterStart => write!(f, "End must be after start"),
            Self::NotFound { what } => write!(f, "{what}"),
            Self::RangeHasHoles => write!(f, "Requested time range contains holes or is incomplete."),
            Self::RangeIsEmpty => write!(f, "We have no content available within the requested time range."),
            Self::Unsupported { why } => write!(f, "{why}"),
            Self::Cancelled => write!(f, "nobody waits for this any longer"),
            Self::Changed { what } => write!(f, "{what} changed while it was being read"),
            Self::ProgramMissing { program, why } => write!(f, "cannot run {program}: {why}"),
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
