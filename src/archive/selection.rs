//! The segments that represent a range, read hour by hour as they are asked for, so that the memory used does not
//! grow with the range.

use std::sync::Arc;

use super::cache::Kept;
use super::hour::HourIndex;
use super::layout::VariantName;
use super::layout::{Segment, SegmentType};
use super::select::{LOOK_BACK, Verdict, Walk};
use super::tree::Archive;
use crate::error::Result;
use crate::timestamp::{Hour, Timestamp};

/// A walk over the segments that represent a range of a variant.
#[derive(Debug, Clone)]
pub struct Selection {
    archive: Arc<Archive>,
    stream: String,
    variant: String,
    start: Timestamp,
    walk: Walk,
    /// The hours to come, the next one last.
    hours: Vec<Hour>,
    /// The hour at hand, and which of its segments is next.
    at_hand: Option<(Arc<HourIndex>, usize)>,
    /// How much memory the hours that were read take.
    walked_bytes: usize,
}

/// A segment that was selected.
#[derive(Debug, Clone, Copy)]
pub struct Chosen<'a> {
    /// The variant that it is of.
    pub of: VariantName<'a>,
    /// The segment.
    pub segment: Segment<'a>,
    /// Whether something is missing right before it.
    pub hole_before: bool,
}

/// Those of a variant's hours, sorted, in which a range's segments are looked for.
pub fn hours_of(hours: &[Hour], (start, end): (Timestamp, Timestamp)) -> &[Hour] {
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
        let hours = hours_of(hours, (start, end));
        Self {
            archive: Arc::clone(archive),
            stream: name.stream.to_owned(),
            variant: name.variant.to_owned(),
            start,
            walk: Walk::new(start, end),
            hours: hours.iter().rev().copied().collect(),
            at_hand: None,
            walked_bytes: 0,
        }
    }

    fn name(&self) -> VariantName<'_> {
        VariantName { stream: &self.stream, variant: &self.variant }
    }

    /// The next segment of the range; `None` where there are no more.
    ///
    /// # Errors
    /// [`crate::error::Error::Io`] if an hour cannot be read.
    pub fn next_segment(&mut self) -> Result<Option<Chosen<'_>>> {
        let Some((position, hole_before)) = self.advance()? else { return Ok(None) };
        let segment = self.at_hand.as_ref().and_then(|(index, _)| index.segment(position));
        Ok(segment.map(|segment| Chosen { of: self.name(), segment, hole_before }))
    }

    /// Moves behind the next segment that is part of the range; where in its hour it is, and whether a hole is before.
    fn advance(&mut self) -> Result<Option<(usize, bool)>> {
        while !self.walk.is_covered() {
            let Some((index, position)) = &mut self.at_hand else {
                let Some(hour) = self.hours.pop() else { return Ok(None) };
                let index = self.archive.read_hour(self.name(), hour, self.walked_bytes)?;
                self.walked_bytes += index.bytes();
                let position = index.position(self.start - LOOK_BACK);
                self.at_hand = Some((index, position));
                continue;
            };
            let Some(segment) = index.segment(*position) else {
                self.at_hand = None;
                continue;
            };
            *position += 1;
            match self.walk.offer(segment.start, segment.duration, segment.kind == SegmentType::Full) {
                Verdict::Skip => {}
                Verdict::Stop => return Ok(None),
                Verdict::Take { hole_before } => return Ok(Some((*position - 1, hole_before))),
            }
        }
        Ok(None)
    }

    /// Whether, when there are no more segments, something is missing at the end of the range.
    pub fn ends_in_hole(&self) -> bool {
        self.walk.ends_in_hole()
    }
}
