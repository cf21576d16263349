//! The plan of a cut, as data: which segments contribute to it, and where each lies on the clock of the output.
//!
//! Pure: what is known of the segments comes in as [`Facts`]. Times in the output are in ticks of 90 kHz.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::mpegts::frame_rate::FrameRate;
use crate::mpegts::pes::{TICKS_PER_SECOND, Ticks};
use crate::mpegts::probe::Program;
use crate::mpegts::retime::ClockMapping;
use crate::timestamp::Timestamp;

pub use super::planned::{CutSegment, SegmentList};
pub(super) use super::planned::{PlannedSegment, PlannedSegments, ShownRange, to_90k};

/// By how much names and timestamps may disagree on the distance of two segments with one clock.
const CLOCK_TOLERANCE_90K: i64 = TICKS_PER_SECOND / 4;

/// How an exact cut is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExactType {
    /// Everything is re-encoded.
    Full,
    /// Everything is re-encoded, quickly, for a preview in browsers.
    Webm,
    /// Only the groups of pictures at the ends are re-encoded.
    Smart,
    /// Nothing is re-encoded: the groups of pictures that cover the range are kept whole, and what is before and behind it
    /// is hidden. Only containers that can hide pictures can hold it.
    Copy,
    /// Nothing is re-encoded, left out or hidden: all there is in the segments.
    Whole,
}

impl ExactType {
    /// Whether some frames of the output are those of the source.
    pub(super) fn copies(self) -> bool {
        !matches!(self, Self::Full | Self::Webm)
    }

    /// Whether pictures of the output may be hidden: by an edit list, or because they are only decoded.
    pub(super) fn hides(self) -> bool {
        self != Self::Smart
    }

    /// Whether some frames of the source are decoded.
    pub fn decodes(self) -> bool {
        matches!(self, Self::Full | Self::Webm | Self::Smart)
    }
}

/// The plan of a cut, or of one of its ranges. The plans of all ranges have the same program.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// How the cut is made.
    pub(super) exact_type: ExactType,
    /// Where its range is among those of the cut.
    pub(super) place: Place,
    /// The segments that contribute to it; never empty.
    pub(super) segments: PlannedSegments,
    /// The segment after the last one, whose pictures are not shown: it may hold the sound of the last pictures.
    pub(super) trailing: Option<PlannedSegment>,
    /// What is decoded before the first segment, because pictures of that refer to it.
    pub(super) lead_in: Option<LeadIn>,
    /// The streams of the output.
    pub(super) program: Program,
    /// For each of them a segment that is known to have some of it in the range.
    pub(super) found_in: Vec<Option<CutSegment>>,
    /// The output PTS of the first frame that is shown.
    pub(super) start_90k: i64,
    /// Where the last frame that is shown ends in the output.
    pub(super) end_90k: i64,
    /// The size of the largest segment that may be read into memory.
    pub(super) max_segment_bytes: u64,
}

/// Where the range of a plan is among those of a cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Its number, from 0 on.
    pub(super) number: usize,
    /// Whether it is the last one.
    pub(super) is_last: bool,
    /// How much of the output between the range before and this one is not shown.
    pub(super) hidden_90k: i64,
    /// By how much earlier than by their DTS pictures are decoded, where an edit list shows several ranges.
    pub(super) earlier_90k: i64,
}

impl Place {
    /// That of the only range of a cut.
    pub(super) const ALONE: Self = Self { number: 0, is_last: true, hidden_90k: 0, earlier_90k: 0 };
}

/// Segments before the first one of a plan. None of their pictures is shown.
#[derive(Debug, Clone)]
pub(super) struct LeadIn {
    /// The segments in order; never empty. Each continues the one before, and the first one of the plan the last one.
    pub(super) segments: Vec<PlannedSegment>,
    /// The picture of the first segment that decoding begins with.
    pub(super) first_unit: usize,
}

impl Plan {
    /// All segments to be written: those before the first one, the segments, and the trailing one.
    pub(super) fn written(&self) -> impl Iterator<Item = PlannedSegment> {
        self.before().iter().cloned().chain(self.segments.iter()).chain(self.trailing.clone())
    }

    /// Segment `index` of those.
    pub(super) fn written_at(&self, index: usize) -> Option<PlannedSegment> {
        let Some(behind) = index.checked_sub(self.before().len()) else {
            return self.before().get(index).cloned();
        };
        let trailing = || self.trailing.clone().filter(|_| behind == self.segments.len());
        self.segments.get(behind).or_else(trailing)
    }

    /// The segments that are decoded before the first one.
    pub(super) fn before(&self) -> &[PlannedSegment] {
        self.lead_in.as_ref().map_or(&[], |lead_in| &lead_in.segments)
    }

    /// The segment that continues segment `index` of [`Self::written`], so that frames may go on there.
    pub(super) fn next(&self, index: usize) -> Option<CutSegment> {
        let (planned, next) = self.written_at(index).zip(self.written_at(index + 1))?;
        (next.continuous && planned.segment.is_followed_by(&next.segment)).then_some(next.segment)
    }

    /// Where the range before this one ends in the output.
    pub(super) fn previous_end_90k(&self) -> i64 {
        self.start_90k - self.place.hidden_90k
    }

    /// How long the range is.
    pub(super) fn duration_90k(&self) -> i64 {
        self.end_90k - self.start_90k
    }

    /// The same plan with an output that is `ticks` later.
    pub(super) fn shifted(mut self, ticks: i64) -> Self {
        self.segments.shift(ticks);
        for planned in self.lead_in.iter_mut().flat_map(|lead_in| &mut lead_in.segments) {
            *planned = planned.clone().shifted(ticks);
        }
        self.trailing = self.trailing.map(|trailing| trailing.shifted(ticks));
        Self { start_90k: self.start_90k + ticks, end_90k: self.end_90k + ticks, ..self }
    }
}

/// What is known of a segment.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) segment: CutSegment,
    pub(super) lowest_pts: Ticks,
    /// The usual duration of a frame.
    pub(super) frame_90k: i64,
    /// The frame rate that its parameter sets announce.
    pub(super) announced_rate: Option<FrameRate>,
    /// The PTS of all frames that can be shown, sorted, if they had to be read.
    pub(super) frames: Option<Vec<Ticks>>,
}

impl Facts {
    /// Whether the segment's clock continues that of the one `before`, which has `lowest_pts`.
    pub(super) fn continues(&self, before: &CutSegment, lowest_pts: Ticks) -> bool {
        continues((&self.segment, self.lowest_pts), (before, lowest_pts))
    }
}

/// Whether a segment's clock continues that of the one before: names and timestamps agree on their distance.
fn continues((segment, pts): (&CutSegment, Ticks), (before, pts_before): (&CutSegment, Ticks)) -> bool {
    let (by_name, by_pts) = (to_90k(segment.start - before.start), pts.since(pts_before));
    !segment.gap_before && (by_name - by_pts).abs() <= CLOCK_TOLERANCE_90K
}

/// Plans a cut, segment by segment, so that no more than the facts of two of them are in memory.
pub(super) struct Planner {
    segments: PlannedSegments,
    range: (Timestamp, Timestamp),
    /// The last segment that was planned, and what is known of it.
    last: Option<(PlannedSegment, Facts)>,
}

impl Planner {
    /// A planner of segments on `list`.
    pub(super) fn new(list: Arc<dyn SegmentList>, range: (Timestamp, Timestamp)) -> Self {
        Self { segments: PlannedSegments::new(list, range), range, last: None }
    }

    /// The list of all segments.
    pub(super) fn list(&self) -> &dyn SegmentList {
        self.segments.list()
    }

    /// Plans segment `number` of the list, unless it has no frame in the range. `start_90k` is the output PTS of the first
    /// frame.
    ///
    /// The frames of the first and the last segment must be known, and of any next to a discontinuity of the clock.
    pub(super) fn push(&mut self, number: u32, fact: Facts, start_90k: i64) {
        let (start, end) = self.range;
        let last = self.last.as_ref();
        let continuous = last.is_some_and(|(_, before)| fact.continues(&before.segment, before.lowest_pts));
        let (segment_start, lowest_pts) = (fact.segment.start, fact.lowest_pts);
        let mut shown = ShownRange { segment_start, lowest_pts, start, end, after: None };
        shown.after = last.and_then(|(last, before)| repeated_until(last, before, &fact, continuous));
        let mut frames = fact.frames.iter().flatten().copied().filter(|pts| shown.contains(*pts));
        let ends = frames.next().map(|first| (first, frames.next_back().unwrap_or(first)));
        if fact.frames.is_some() && ends.is_none() {
            return;
        }
        let first = ends.map_or(lowest_pts, |ends| ends.0);
        let (input, output_90k) = match last {
            Some((last, _)) if continuous => (lowest_pts, last.clock.to_output_90k(lowest_pts)),
            Some((last, _)) => (first, last.end_90k()),
            None => (first, start_90k),
        };
        let clock = ClockMapping { input, output_90k };
        let planned = PlannedSegment {
            segment: fact.segment.clone(),
            clock,
            continuous,
            shown,
            frame_90k: fact.frame_90k,
            last_90k: ends.map(|ends| clock.to_output_90k(ends.1)),
        };
        self.segments.push(number, &planned);
        self.last = Some((planned, fact));
    }

    /// The segments, and where the cut ends in the output.
    ///
    /// # Errors
    /// [`Error::RangeIsEmpty`] if no segment has a frame in the range.
    pub(super) fn finish(self) -> Result<(PlannedSegments, i64)> {
        let end_90k = self.last.map(|(last, _)| last.end_90k()).ok_or(Error::RangeIsEmpty)?;
        Ok((self.segments, end_90k))
    }
}

/// Plans the segment after the last one, if its clock continues there. The cut ends at `end_90k` in the output.
pub(super) fn plan_trailing(last: &PlannedSegment, facts: Facts, end_90k: i64) -> Option<PlannedSegment> {
    let (lowest_pts, segment_start) = (facts.lowest_pts, facts.segment.start);
    facts.continues(&last.segment, last.shown.lowest_pts).then(|| PlannedSegment {
        clock: ClockMapping { input: lowest_pts, output_90k: last.clock.to_output_90k(lowest_pts) },
        continuous: true,
        // None of its frames is shown, and its sound ends where the cut does.
        shown: ShownRange { segment_start, lowest_pts, end: last.shown.start, ..last.shown },
        last_90k: Some(end_90k - last.frame_90k),
        frame_90k: last.frame_90k,
        segment: facts.segment,
    })
}

/// Plans the segment before `next`, if its clock continues in that.
pub(super) fn plan_before(next: &PlannedSegment, facts: Facts) -> Option<PlannedSegment> {
    let (lowest_pts, segment_start) = (facts.lowest_pts, facts.segment.start);
    continues((&next.segment, next.shown.lowest_pts), (&facts.segment, lowest_pts)).then(|| PlannedSegment {
        clock: ClockMapping { input: lowest_pts, output_90k: next.clock.to_output_90k(lowest_pts) },
        continuous: false,
        shown: ShownRange { segment_start, lowest_pts, end: next.shown.start, ..next.shown },
        frame_90k: facts.frame_90k,
        last_90k: None,
        segment: facts.segment,
    })
}

/// The time of the last frame of the segment before, on this segment's time line, if this segment repeats frames up to
/// it.
fn repeated_until(
    last: &PlannedSegment,
    before: &Facts,
    fact: &Facts,
    continuous: bool,
) -> Option<Timestamp> {
    let highest = *before.frames.as_ref()?.iter().rfind(|pts| last.shown.contains(**pts))?;
    if continuous {
        let (segment_start, lowest_pts) = (fact.segment.start, fact.lowest_pts);
        let time_line = ShownRange { after: None, segment_start, lowest_pts, ..last.shown };
        (highest.since(lowest_pts) >= 0).then(|| time_line.time(highest))
    } else {
        let time = last.shown.time(highest);
        (time >= fact.segment.start).then_some(time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timestamp::Span;

    const FRAME: i64 = 3600;

    /// A segment of two seconds at 25 frames a second, `start` seconds into the footage, its clock at `ticks`.
    fn fact(start: i64, ticks: i64, gap_before: bool, known: bool) -> Facts {
        let start = Timestamp::from_micros(start * 1_000_000);
        let end = start + Span::from_secs(2);
        let segment = CutSegment { path: "x.ts".into(), bytes: None, start, end, gap_before, complete: true };
        let frames = known.then(|| (0..50).map(|frame| Ticks::new(ticks + frame * FRAME)).collect());
        Facts { segment, lowest_pts: Ticks::new(ticks), frame_90k: FRAME, announced_rate: None, frames }
    }

    fn millis(millis: i64) -> Timestamp {
        Timestamp::from_micros(millis * 1000)
    }

    fn plan(
        facts: Vec<Facts>,
        range: (Timestamp, Timestamp),
        start_90k: i64,
    ) -> Result<(Vec<PlannedSegment>, i64)> {
        let list: Vec<CutSegment> = facts.iter().map(|fact| fact.segment.clone()).collect();
        let mut planner = Planner::new(Arc::new(list), range);
        for (number, fact) in (0..).zip(facts) {
            planner.push(number, fact, start_90k);
        }
        let (segments, end_90k) = planner.finish()?;
        Ok((segments.iter().collect(), end_90k))
    }

    #[test]
    fn planned_segments_come_back_as_they_were() {
        let mut second = fact(2, 7_000_000, false, true);
        second.segment.start = millis(1955);
        let third = fact(4, 7_180_000, true, false);
        let facts = [fact(0, 0, false, true), second, third, fact(9, 900, false, true)];
        let list: Vec<CutSegment> = facts.iter().map(|fact| fact.segment.clone()).collect();
        let mut planner = Planner::new(Arc::new(list), (millis(100), millis(20_000)));
        let mut given = Vec::new();
        for (number, fact) in (0..).zip(facts) {
            planner.push(number, fact, 54_000);
            given.extend(planner.last.as_ref().map(|(planned, _)| format!("{planned:?}")));
        }
        let (segments, _) = planner.finish().expect("a plan");
        assert_eq!(segments.len(), 4);
        let kept: Vec<_> = segments.iter().map(|planned| format!("{planned:?}")).collect();
        assert_eq!(kept, given);
    }

    #[test]
    fn times_are_rounded_to_the_microsecond() {
        let shown = ShownRange {
            segment_start: millis(0),
            lowest_pts: Ticks::new((1 << 33) - 10),
            start: Timestamp::from_micros(33_367),
            end: millis(100),
            after: None,
        };
        let time = |ticks: i64| shown.time(Ticks::new(ticks - 10)).micros();
        assert_eq!(
            [time(0), time(3003), time(6006), time(9009), time(-1)],
            [0, 33_367, 66_733, 100_100, -11]
        );
        let is_shown = |ticks: i64| shown.contains(Ticks::new(ticks - 10));
        assert_eq!([is_shown(0), is_shown(3003), is_shown(6006), is_shown(9009)], [false, true, true, false]);
    }

    #[test]
    fn segments_on_one_clock_keep_their_distance_also_over_its_wrap() {
        let wrap = 1 << 33;
        let facts = vec![
            fact(0, wrap - 200_000, false, true),
            fact(2, wrap - 20_000, false, false),
            fact(4, 160_000, false, true),
        ];
        let (segments, end) = plan(facts, (millis(1000), millis(5000)), 54_000).expect("a plan");
        assert_eq!(
            segments.iter().map(|planned| planned.continuous).collect::<Vec<_>>(),
            [false, true, true]
        );
        let at = |index: usize, ticks: i64| segments[index].clock.to_output_90k(Ticks::new(ticks));
        assert_eq!((at(0, wrap - 110_000), at(1, -20_000), at(2, 160_000)), (54_000, 144_000, 324_000));
        assert_eq!(end, 54_000 + 100 * FRAME);
    }

    #[test]
    fn a_gap_and_a_clock_that_restarts_add_no_time() {
        for second in [fact(4, 500, true, true), fact(2, 0, false, true), fact(9, 900_000, true, true)] {
            let facts = vec![fact(0, 180_000, false, true), second.clone()];
            let (segments, end) = plan(facts, (millis(0), millis(20_000)), 0).expect("a plan");
            assert!(!segments[1].continuous);
            assert_eq!(segments[1].clock, ClockMapping { input: second.lowest_pts, output_90k: 50 * FRAME });
            assert_eq!(end, 100 * FRAME);
        }
    }

    #[test]
    fn a_segment_without_a_frame_in_the_range_is_left_out() {
        let facts = vec![fact(0, 0, false, true), fact(2, 180_000, false, true)];
        let (segments, _) = plan(facts.clone(), (millis(1990), millis(2500)), 0).expect("a plan");
        assert_eq!(segments.len(), 1);
        assert_eq!(segments[0].clock, ClockMapping { input: Ticks::new(180_000), output_90k: 0 });
        assert!(matches!(plan(facts, (millis(1961), millis(1999)), 0), Err(Error::RangeIsEmpty)));
    }

    #[test]
    fn frames_that_two_segments_have_are_shown_once() {
        let mut second = fact(2, 7_000_000, false, true);
        second.segment.start = millis(1955);
        let facts = vec![fact(0, 0, false, true), second];
        let (segments, end) = plan(facts, (millis(0), millis(9000)), 0).expect("a plan");
        assert_eq!(segments[1].shown.after, Some(millis(1960)));
        assert_eq!(
            segments[1].clock,
            ClockMapping { input: Ticks::new(7_000_000 + FRAME), output_90k: 50 * FRAME }
        );
        assert_eq!(end, 99 * FRAME);
    }
}
