//! Opens segments, which are in files or in memory.

use std::io::{self, Read};
use std::sync::Arc;

use crate::archive::{OpenFile, open_regular};
use crate::error::{Error, Result};

use super::plan::CutSegment;

/// The bytes of a segment, which are to be read.
#[derive(Debug)]
pub(super) enum OpenSegment {
    /// In a file.
    File(OpenFile),
    /// In memory.
    Held(Arc<Vec<u8>>),
}

impl OpenSegment {
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::File(opened) => opened.len,
            Self::Held(bytes) => bytes.len() as u64,
        }
    }

    /// Reads the bytes, one after another.
    pub(super) fn reader(&self) -> Box<dyn Read + '_> {
        match self {
            Self::File(opened) => Box::new(&opened.file),
            Self::Held(bytes) => Box::new(bytes.as_slice()),
        }
    }

    pub(super) fn read_whole(self, segment: &CutSegment) -> Result<Vec<u8>> {
        match self {
            Self::File(opened) => read_whole(opened).map_err(Error::io("read the segment", &segment.path)),
            Self::Held(bytes) => Ok(Vec::clone(&bytes)),
        }
    }
}

/// Opens a segment of at most `max_bytes`.
pub(super) fn open(segment: &CutSegment, max_bytes: u64) -> Result<OpenSegment> {
    match &segment.bytes {
        Some(bytes) => Ok(OpenSegment::Held(Arc::clone(bytes))),
        None => open_file(segment, max_bytes).map(OpenSegment::File),
    }
}

/// Opens the file of a segment of at most `max_bytes`.
pub(super) fn open_file(segment: &CutSegment, max_bytes: u64) -> Result<OpenFile> {
    let opened = open_segment(segment)?;
    if opened.len > max_bytes {
        let why = format!("has {} bytes, and exact cuts take at most {max_bytes}", opened.len);
        return Err(unsupported(segment, &why));
    }
    Ok(opened)
}

/// Opens a segment if it is a regular file: opening a pipe would block.
///
/// # Errors
/// [`Error::Io`], also if it is not there any more: it was when its name was read.
pub(crate) fn open_segment(segment: &CutSegment) -> Result<OpenFile> {
    open_regular(&segment.path).map_err(|error| match error {
        Error::NotFound(_) => Error::io("open the segment", &segment.path)(io::ErrorKind::NotFound.into()),
        error => error,
    })
}

/// The room for a segment or a part of a movie of `len` bytes. Segments of a stream differ little in length: with a little
/// to spare, the memory of one that is freed is enough for the next.
pub(super) fn room_for(len: usize) -> usize {
    len.next_multiple_of(512 * 1024)
}

/// Reads a file up to the length that it had when it was opened, into a buffer of about that length: one that grows as it
/// fills would take twice as much.
pub(super) fn read_whole(opened: OpenFile) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(room_for(usize::try_from(opened.len).map_err(io::Error::other)?))?;
    opened.file.take(opened.len).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What a refusal says of the type of cut that always works.
pub(super) const OTHER_TYPE: &str = "; type=rough works with any";

/// A refusal that names the segment, and the type of cut that always works.
pub(super) fn unsupported(segment: &CutSegment, why: &str) -> Error {
    let name = segment.path.file_name().unwrap_or_default().to_string_lossy();
    Error::Unsupported(format!("segment `{name}` {why}{OTHER_TYPE}"))
}
