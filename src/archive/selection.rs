//! The segments that represent a range of a variant. Hours are read one by one as the caller asks for segments, so the
//! memory used does not grow with the range.

use std::sync::Arc;

use super::cache::CacheValue;
use super::file::is_empty;
use super::hour::HourIndex;
use super::layout::{Segment, SegmentType, VariantName};
use super::select::{LOOK_BACK, SegmentWalk, Verdict};
use super::tree::Archive;
use crate::error::Result;
use crate::timestamp::{Hour, Timestamp};

/// The segments of a range, in order.
#[derive(Debug, Clone)]
pub struct Selection {
    archive: Arc<Archive>,
    stream: String,
    variant: String,
    start: Timestamp,
    walk: SegmentWalk,
    /// The hours that are still to be read, the next one last.
    hours: Vec<Hour>,
    /// The hour that is being walked through, and the position of its next segment.
    current: Option<(Arc<HourIndex>, usize)>,
    /// How much memory the indexes of the hours so far take.
    walked_bytes: usize,
    /// Whether files of no bytes are ignored.
    ignores_empty: bool,
}

/// A segment that was selected.
#[derive(Debug, Clone, Copy)]
pub struct Chosen<'a> {
    /// The variant that it belongs to.
    pub variant: VariantName<'a>,
    /// The segment.
    pub segment: Segment<'a>,
    /// The index of its hour, and its position there.
    pub place: (&'a Arc<HourIndex>, usize),
    /// Whether there is a gap right before it.
    pub gap_before: bool,
}

/// Those of a variant's sorted hours that may hold segments of a range; none if it ends where it starts, or before.
pub fn hours_in_range(hours: &[Hour], (start, end): (Timestamp, Timestamp)) -> &[Hour] {
    if end <= start {
        return &[];
    }
    let first = hours.partition_point(|hour| hour.end() <= start - LOOK_BACK);
    let last = hours.partition_point(|hour| hour.start() < end);
    hours.get(first..last).unwrap_or_default()
}

impl Selection {
    /// The selection for the range from `start` to `end`; `hours` are those that the variant has, sorted.
    pub fn new(
        archive: &Arc<Archive>,
        name: VariantName,
        hours: &[Hour],
        (start, end): (Timestamp, Timestamp),
    ) -> Self {
        Self {
            archive: Arc::clone(archive),
            stream: name.stream.to_owned(),
            variant: name.variant.to_owned(),
            start,
            walk: SegmentWalk::new(start, end),
            hours: hours_in_range(hours, (start, end)).iter().rev().copied().collect(),
            current: None,
            walked_bytes: 0,
            ignores_empty: false,
        }
    }

    /// The same selection from those segments that are not empty, for what reads them.
    #[must_use]
    pub fn ignoring_empty(self) -> Self {
        Self { ignores_empty: true, ..self }
    }

    fn name(&self) -> VariantName<'_> {
        VariantName { stream: &self.stream, variant: &self.variant }
    }

    /// The next segment of the range; `None` where there are no more.
    ///
    /// # Errors
    /// [`crate::error::Error::Io`] if an hour cannot be read.
    pub fn next_segment(&mut self) -> Result<Option<Chosen<'_>>> {
        let Some((position, gap_before)) = self.advance()? else { return Ok(None) };
        let chosen = self.current.as_ref().and_then(|(index, _)| {
            let segment = index.segment(position)?;
            Some(Chosen { variant: self.name(), segment, place: (index, position), gap_before })
        });
        Ok(chosen)
    }

    /// Moves behind the next segment of the range. Returns its position in its hour, and whether a gap is before it.
    fn advance(&mut self) -> Result<Option<(usize, bool)>> {
        while !self.walk.is_covered() {
            let Some((index, position)) = &mut self.current else {
                let Some(hour) = self.hours.pop() else { return Ok(None) };
                let index = self.archive.read_hour(self.name(), hour, self.walked_bytes)?;
                self.walked_bytes += index.bytes();
                let position = index.position(self.start - LOOK_BACK);
                self.current = Some((index, position));
                continue;
            };
            let Some(segment) = index.segment(*position) else {
                self.current = None;
                continue;
            };
            let is_full = segment.name.segment_type == SegmentType::Full;
            let mut walk = self.walk;
            let verdict = walk.offer(segment.start(), segment.name.duration, is_full);
            let name = VariantName { stream: &self.stream, variant: &self.variant };
            if matches!(verdict, Verdict::Take { .. })
                && self.ignores_empty
                && is_empty(&self.archive.segment_path(name, &segment))
            {
                // Another file of the same start may take its place. The index knows only the best of each start.
                let start = segment.start();
                let others = self.archive.read_hour_without_empty(name, segment.hour)?;
                *position = others.position(start);
                *index = others;
                continue;
            }
            self.walk = walk;
            *position += 1;
            match verdict {
                Verdict::Skip => {}
                Verdict::Stop => return Ok(None),
                Verdict::Take { gap_before } => return Ok(Some((*position - 1, gap_before))),
            }
        }
        Ok(None)
    }

    /// Whether, once there are no more segments, the range ends in a gap.
    pub fn ends_in_gap(&self) -> bool {
        self.walk.ends_in_gap()
    }
}
