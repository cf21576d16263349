//! The segments of a cut, and what its plan keeps of each.
//!
//! Pure. A cut may be of tens of thousands of segments, so a plan keeps only numbers, from which a [`PlannedSegment`] is made
//! when it is asked for.

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;

use crate::mpegts::pes::Ticks;
use crate::mpegts::retime::ClockMapping;
use crate::timestamp::{Span, Timestamp};

/// By how much names may overlap through rounding alone, so that no frame is there twice.
const ROUNDING: Span = Span::from_millis(4);
/// The distance of names up to which a segment may follow another without a frame missing between them.
const MAX_DISTANCE: Span = Span::from_millis(250);

/// A segment of a cut's range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutSegment {
    /// The file, or a name for messages if there is none.
    pub path: PathBuf,
    /// Its bytes, if they are not in a file.
    pub bytes: Option<Arc<Vec<u8>>>,
    /// When it starts, by its name.
    pub start: Timestamp,
    /// When it ends, by its name.
    pub end: Timestamp,
    /// Whether something is missing between the segment before and this one.
    pub gap_before: bool,
    /// Whether it is known to be complete (`full`), so that its last frame is not truncated.
    pub complete: bool,
}

impl CutSegment {
    /// Whether, by their names, `next` begins where this segment ends.
    pub(super) fn is_followed_by(&self, next: &Self) -> bool {
        self.end - ROUNDING <= next.start && next.start <= self.end + MAX_DISTANCE
    }
}

/// The segments of a cut's range, in order. A plan keeps only their numbers, so that a long cut takes little memory.
pub trait SegmentList: Debug + Send + Sync {
    /// How many there are.
    fn count(&self) -> u32;

    /// The segment of a number from 0 on; `None` beyond the last one.
    fn segment(&self, number: u32) -> Option<CutSegment>;

    /// The bytes of the segments that are in no file.
    fn held_bytes(&self) -> Vec<Arc<Vec<u8>>> {
        Vec::new()
    }
}

impl SegmentList for Vec<CutSegment> {
    fn count(&self) -> u32 {
        u32::try_from(self.len()).unwrap_or(u32::MAX)
    }

    fn segment(&self, number: u32) -> Option<CutSegment> {
        self.get(usize::try_from(number).ok()?).cloned()
    }

    fn held_bytes(&self) -> Vec<Arc<Vec<u8>>> {
        self.iter().filter_map(|segment| segment.bytes.clone()).collect()
    }
}

/// The segments of a plan, in 56 bytes each beside those of the list.
#[derive(Debug, Clone)]
pub(super) struct PlannedSegments {
    list: Arc<dyn SegmentList>,
    /// The range of the cut.
    range: (Timestamp, Timestamp),
    /// By how much the output is later than the records say.
    shift_90k: i64,
    records: Vec<Record>,
}

/// A [`PlannedSegment`], without what its number and the range of the cut tell.
#[derive(Debug, Clone, Copy)]
struct Record {
    /// Its number in the list.
    number: u32,
    gap_before: bool,
    continuous: bool,
    knows_last: bool,
    clock: ClockMapping,
    lowest_pts: Ticks,
    /// [`Timestamp::MIN`] if it repeats no frames.
    after: Timestamp,
    frame_90k: i64,
    last_90k: i64,
}

/// A segment of a plan.
#[derive(Debug, Clone)]
pub(super) struct PlannedSegment {
    pub(super) segment: CutSegment,
    /// Its clock, mapped to that of the output.
    pub(super) clock: ClockMapping,
    /// Whether its clock continues that of the segment before.
    pub(super) continuous: bool,
    /// The frames of it that are shown.
    pub(super) shown: ShownRange,
    /// The usual duration of a frame.
    pub(super) frame_90k: i64,
    /// The output PTS of its last frame that is shown, if its frames had to be read for the plan.
    pub(super) last_90k: Option<i64>,
}

/// Which frames of a segment a cut shows, by their time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ShownRange {
    pub(super) segment_start: Timestamp,
    pub(super) lowest_pts: Ticks,
    pub(super) start: Timestamp,
    /// A frame at this time is not shown.
    pub(super) end: Timestamp,
    /// The time of the last frame of the segment before, if this segment repeats frames up to it.
    pub(super) after: Option<Timestamp>,
}

impl PlannedSegments {
    /// No segments yet; those to come are on `list`.
    pub(super) fn new(list: Arc<dyn SegmentList>, range: (Timestamp, Timestamp)) -> Self {
        Self { list, range, shift_90k: 0, records: Vec::new() }
    }

    /// Adds segment `number` of the list.
    pub(super) fn push(&mut self, number: u32, planned: &PlannedSegment) {
        if self.records.is_empty() {
            // A vector that grows takes up to three times as much.
            self.records.reserve_exact(self.list.count() as usize);
        }
        self.records.push(Record {
            number,
            gap_before: planned.segment.gap_before,
            continuous: planned.continuous,
            knows_last: planned.last_90k.is_some(),
            clock: planned.clock,
            lowest_pts: planned.shown.lowest_pts,
            after: planned.shown.after.unwrap_or(Timestamp::MIN),
            frame_90k: planned.frame_90k,
            last_90k: planned.last_90k.unwrap_or_default(),
        });
    }

    /// By how much the output is later than it was planned, from now on.
    pub(super) fn shift(&mut self, ticks: i64) {
        self.shift_90k += ticks;
    }

    /// Notes that the first segment continues one before it.
    pub(super) fn continue_first(&mut self) {
        if let Some(first) = self.records.first_mut() {
            first.continuous = true;
        }
    }

    /// The list of all segments of the range.
    pub(super) fn list(&self) -> &dyn SegmentList {
        &*self.list
    }

    /// The same, to be kept longer than the plan.
    pub(super) fn shared_list(&self) -> Arc<dyn SegmentList> {
        Arc::clone(&self.list)
    }

    /// The number on the list of a segment.
    pub(super) fn number(&self, index: usize) -> Option<u32> {
        self.records.get(index).map(|record| record.number)
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn get(&self, index: usize) -> Option<PlannedSegment> {
        let record = self.records.get(index)?;
        let segment = CutSegment { gap_before: record.gap_before, ..self.list.segment(record.number)? };
        let (start, end) = self.range;
        let planned = PlannedSegment {
            clock: record.clock,
            continuous: record.continuous,
            shown: ShownRange {
                segment_start: segment.start,
                lowest_pts: record.lowest_pts,
                start,
                end,
                after: (record.after > Timestamp::MIN).then_some(record.after),
            },
            frame_90k: record.frame_90k,
            last_90k: record.knows_last.then_some(record.last_90k),
            segment,
        };
        Some(planned.shifted(self.shift_90k))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = PlannedSegment> {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    pub(super) fn first(&self) -> Option<PlannedSegment> {
        self.get(0)
    }

    pub(super) fn last(&self) -> Option<PlannedSegment> {
        self.get(self.len().checked_sub(1)?)
    }
}

impl PlannedSegment {
    /// Where the frame after the segment's last one starts in the output.
    pub(super) fn end_90k(&self) -> i64 {
        let named = || self.clock.output_90k + to_90k(self.segment.end - self.segment.start);
        self.last_90k.map_or_else(named, |last| last + self.frame_90k)
    }

    /// The same segment, `ticks` later in the output.
    pub(super) fn shifted(self, ticks: i64) -> Self {
        Self { clock: self.clock.shifted(ticks), last_90k: self.last_90k.map(|last| last + ticks), ..self }
    }
}

impl ShownRange {
    /// When a frame is shown.
    pub(super) fn time(&self, pts: Ticks) -> Timestamp {
        // A tick is 100/9 microseconds; halves cannot occur.
        self.segment_start + Span::from_micros((pts.since(self.lowest_pts) * 200 + 9).div_euclid(18))
    }

    /// When the range ends, in ticks of 90 kHz after the lowest PTS: all frames before are before the end of the range.
    pub(super) fn end_90k(&self) -> i64 {
        let ticks = to_90k(self.end - self.segment_start);
        ticks + i64::from(self.time(self.lowest_pts.plus(ticks)) < self.end)
    }

    /// Whether the cut shows a frame.
    pub(super) fn contains(&self, pts: Ticks) -> bool {
        let time = self.time(pts);
        self.start <= time && time < self.end && self.after.is_none_or(|after| time > after)
    }
}

/// A span in ticks of 90 kHz, rounded down.
pub(super) fn to_90k(span: Span) -> i64 {
    span.micros().saturating_mul(9).div_euclid(100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cut::selected::ENTRY_BYTES;

    #[test]
    fn a_segment_of_a_plan_takes_at_most_64_bytes() {
        let bytes = size_of::<Record>() + ENTRY_BYTES;
        assert!(bytes <= 64, "{bytes} bytes");
    }
}
