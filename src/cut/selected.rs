//! The segments of a cut as the archive selected them, in 8 bytes each: their names stay in the indexes of their hours, which
//! all requests share.

use std::sync::Arc;

use crate::archive::hour::HourIndex;
use crate::archive::layout::{Segment, SegmentType};
use crate::archive::selection::Chosen;
use crate::archive::{Archive, VariantName};
use crate::error::{Error, Result};

use super::plan::{CutSegment, SegmentList};

/// Segments that were selected from one variant.
#[derive(Debug)]
pub struct SelectedSegments {
    archive: Arc<Archive>,
    stream: String,
    variant: String,
    /// The indexes of the hours that the segments are from.
    hours: Vec<Arc<HourIndex>>,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// The position in the index of its hour.
    position: u32,
    /// Which of the hours it is.
    hour: u16,
    gap_before: bool,
}

/// How much memory a segment takes.
#[cfg(test)]
pub(super) const ENTRY_BYTES: usize = size_of::<Entry>();

impl SelectedSegments {
    /// No segments yet; those to come are from the variant `name`.
    pub fn new(archive: &Arc<Archive>, name: VariantName) -> Self {
        Self {
            archive: Arc::clone(archive),
            stream: name.stream.to_owned(),
            variant: name.variant.to_owned(),
            hours: Vec::new(),
            entries: Vec::new(),
        }
    }

    /// Adds a segment, as the last one.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the segments are of more than 65,535 hours.
    pub fn push(&mut self, chosen: &Chosen) -> Result<()> {
        let (index, position) = chosen.place;
        if !self.hours.last().is_some_and(|last| Arc::ptr_eq(last, index)) {
            self.hours.push(Arc::clone(index));
        }
        let too_many = |_| Error::Unsupported("an exact cut cannot be of so many hours".to_owned());
        let hour = u16::try_from(self.hours.len() - 1).map_err(too_many)?;
        let position = u32::try_from(position).map_err(too_many)?;
        self.entries.push(Entry { position, hour, gap_before: chosen.gap_before });
        Ok(())
    }

    /// A segment of the variant as a cut takes it.
    pub fn cut_segment(&self, segment: &Segment, gap_before: bool) -> CutSegment {
        let name = VariantName { stream: &self.stream, variant: &self.variant };
        CutSegment {
            path: self.archive.segment_path(name, segment),
            bytes: None,
            start: segment.start(),
            end: segment.end(),
            gap_before,
            complete: segment.name.segment_type == SegmentType::Full,
        }
    }
}

impl SegmentList for SelectedSegments {
    fn count(&self) -> u32 {
        u32::try_from(self.entries.len()).unwrap_or(u32::MAX)
    }

    fn segment(&self, number: u32) -> Option<CutSegment> {
        let entry = self.entries.get(usize::try_from(number).ok()?)?;
        let index = self.hours.get(usize::from(entry.hour))?;
        let segment = index.segment(usize::try_from(entry.position).ok()?)?;
        Some(self.cut_segment(&segment, entry.gap_before))
    }
}
