//! Exact cuts: a range of an archive as one transport stream.
//!
//! [`prepare`] reads what it needs to know every reason against a cut, and starts nothing; [`Cut::run`] makes it.
//! A frame's time is the start of its segment plus its PTS less the lowest video PTS in that segment, rounded to the
//! microsecond; a cut shows each frame with `start <= time < end` once, in order.

pub mod plan;

pub mod groups;

mod edit;
mod encode;
mod source;
mod weave;

mod full;
pub mod rough;
mod smart;

use std::io::{self, Write};
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::ffmpeg::Tools;
use crate::timestamp::Timestamp;

use plan::Plan;

/// An encoder of ffmpeg that cuts need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NeededEncoder {
    /// Its name, as ffmpeg has it.
    pub name: &'static str,
    /// What it makes.
    pub makes: &'static str,
    /// Whether archives are common that can do without.
    pub optional: bool,
}

/// All the encoders that cuts need.
pub const ENCODERS: [NeededEncoder; 3] = [
    NeededEncoder {
        name: "libx264",
        makes: "full cuts, and the ends of smart cuts of H.264",
        optional: false,
    },
    NeededEncoder { name: "aac", makes: "the sound of full cuts", optional: false },
    NeededEncoder { name: "libx265", makes: "the ends of smart cuts of HEVC", optional: true },
];

/// One segment of a cut's range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The file.
    pub path: PathBuf,
    /// When it starts, by its name.
    pub start: Timestamp,
    /// When it ends, by its name.
    pub end: Timestamp,
    /// Whether something is missing between the part before and this one.
    pub hole_before: bool,
    /// Whether it is known to be complete (`full`), so that its last frame cannot be cut short.
    pub whole: bool,
}

/// How a cut is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Everything is encoded anew.
    Full,
    /// Only the groups of pictures at the ends are encoded anew.
    Smart,
}

/// A cut that can be made, as far as can be known without making it.
#[derive(Debug)]
pub struct Cut {
    kind: Kind,
    plan: Plan,
    tools: Tools,
}

/// Prepares a cut of `parts`, in their order, from `start` to before `end`.
///
/// `tail` is the segment that follows on the last part, where there is one: sound is stored behind the pictures that it
/// belongs to, so the last of it may be there.
///
/// # Errors
/// [`Error::RangeIsEmpty`] if no frame lies in the range; [`Error::Unsupported`] if the parts cannot be joined or, for
/// [`Kind::Smart`], spliced; [`Error::ProgramMissing`] or [`Error::ProgramLacks`] without an ffmpeg that can make the cut, where it needs one;
/// [`Error::Io`] if a part cannot be read; [`Error::Cancelled`] if `is_cancelled` returns true; it is called once per part.
pub fn prepare(
    kind: Kind,
    parts: Vec<Part>,
    tail: Option<Part>,
    (start, end): (Timestamp, Timestamp),
    tools: &Tools,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<Cut> {
    let plan = source::plan(kind, parts, tail, (start, end), is_cancelled)?;
    match kind {
        Kind::Full => full::check(&plan, tools)?,
        Kind::Smart => smart::check(&plan, tools)?,
    }
    Ok(Cut { kind, plan, tools: tools.clone() })
}

impl Cut {
    /// Makes the cut and writes it to `out`, nothing before the first of it is there.
    ///
    /// `is_cancelled` is called several times a second, and between any two writes: once it returns true, or `out` fails, all
    /// children are ended and reaped before this returns.
    ///
    /// # Errors
    /// [`Error::Child`] if ffmpeg fails or stalls, or nobody is there any longer; [`Error::Io`] if a part cannot be
    /// read or `out` not be written; [`Error::Unsupported`] if a part is not what it was when the cut was prepared.
    pub fn run(self, out: &mut dyn Write, is_cancelled: &dyn Fn() -> bool) -> Result<()> {
        match self.kind {
            Kind::Full => full::run(self.plan, &self.tools, out, is_cancelled),
            Kind::Smart => smart::run(&self.plan, &self.tools, out, is_cancelled),
        }
    }
}

/// Hands bytes on, and empties the buffer.
fn send(buffer: &mut Vec<u8>, out: &mut dyn Write, is_cancelled: &dyn Fn() -> bool) -> Result<()> {
    if buffer.is_empty() {
        return Ok(());
    }
    if is_cancelled() {
        return Err(write_failed(io::Error::new(
            io::ErrorKind::BrokenPipe,
            "nobody waits for it any longer",
        )));
    }
    out.write_all(buffer).map_err(write_failed)?;
    buffer.clear();
    Ok(())
}

fn write_failed(source: io::Error) -> Error {
    Error::Io { action: "write", path: PathBuf::from("the cut"), source }
}
