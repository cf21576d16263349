//! The segments of a variant, one at a time: the one of a time, and the one before it.

use std::io::{self, Read as _};
use std::sync::Arc;

use crate::archive::select::TOLERANCE;
use crate::archive::selection::{Chosen, Selection};
use crate::archive::{Archive, VariantName};
use crate::cut::selected::SelectedSegments;
use crate::cut::{CutSegment, open_segment};
use crate::error::{Error, Result};
use crate::timestamp::{Hour, Span, Timestamp};

/// The shortest span of time.
const INSTANT: Span = Span::from_micros(1);

/// The segments of a variant. Files of no bytes are ignored.
#[derive(Debug)]
pub struct Recording {
    archive: Arc<Archive>,
    stream: String,
    variant: String,
    hours: Arc<[Hour]>,
    names: SelectedSegments,
}

impl Recording {
    /// The segments of the variant `name`, which has these `hours`.
    pub fn new(archive: &Arc<Archive>, name: VariantName, hours: Arc<[Hour]>) -> Self {
        Self {
            archive: Arc::clone(archive),
            stream: name.stream.to_owned(),
            variant: name.variant.to_owned(),
            hours,
            names: SelectedSegments::new(archive, name),
        }
    }

    /// The segment with which a cut from `time` on begins: `None` in a gap. Where segments lie apart as little as those without
    /// a gap may, it is the earlier one.
    ///
    /// # Errors
    /// [`Error::Io`] if an hour cannot be read.
    pub fn at(&self, time: Timestamp) -> Result<Option<CutSegment>> {
        match self.first(time, time + TOLERANCE + INSTANT)? {
            Some(segment) if segment.start > time => self.before(&segment),
            found => Ok(found),
        }
    }

    /// The segment that another one continues without a gap.
    ///
    /// # Errors
    /// [`Error::Io`] if an hour cannot be read.
    pub fn before(&self, segment: &CutSegment) -> Result<Option<CutSegment>> {
        let start = segment.start;
        let before = self.first(start - TOLERANCE - INSTANT, start - TOLERANCE)?;
        let follows = |before: &CutSegment| {
            before.complete && before.end <= start + TOLERANCE && before.end >= start - TOLERANCE
        };
        Ok(before.filter(follows))
    }

    /// The first segment of a range.
    fn first(&self, start: Timestamp, end: Timestamp) -> Result<Option<CutSegment>> {
        let name = VariantName { stream: &self.stream, variant: &self.variant };
        let mut selection = Selection::new(&self.archive, name, &self.hours, (start, end)).ignoring_empty();
        let chosen = selection.next_segment()?;
        Ok(chosen.map(|Chosen { segment, .. }| self.names.cut_segment(&segment, false)))
    }
}

/// Reads the first `len` bytes of a segment, which may have `max_bytes`.
///
/// # Errors
/// [`Error::Unsupported`] if it has more; [`Error::Io`] if it cannot be read.
pub(super) fn read(segment: &CutSegment, len: u64, max_bytes: u64) -> Result<Vec<u8>> {
    let opened = open_segment(segment)?;
    if opened.len > max_bytes {
        let name = segment.path.file_name().unwrap_or_default().to_string_lossy();
        let what = format!(
            "segment `{name}` has {} bytes, and pictures are made from at most {max_bytes}",
            opened.len
        );
        return Err(Error::Unsupported(what));
    }
    let len = len.min(opened.len);
    let failed = Error::io("read the segment", &segment.path);
    let mut bytes = Vec::new();
    let read = usize::try_from(len).map_err(io::Error::other).and_then(|room| {
        bytes.try_reserve_exact(room)?;
        opened.file.take(len).read_to_end(&mut bytes)
    });
    read.map_err(failed)?;
    Ok(bytes)
}
