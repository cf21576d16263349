//! Which segments represent a range of time. Pure.
//!
//! The rules are those of `get_best_segments` in the service that this one replaces, with a tolerance of 10 ms where one
//! segment ends and the next starts. `docs/api.md` has them in words.

use crate::timestamp::{Span, Timestamp};

/// How far two segments may overlap or lie apart and still be continuous.
pub const TOLERANCE: Span = Span::from_millis(10);

/// How long before a range the segment that covers its start may begin.
pub const LOOK_BACK: Span = Span::from_secs(3600);

/// Segments younger than this are withheld where they may still be replaced: see [`may_be_replaced`].
pub const WITHHELD_FOR: Span = Span::from_secs(15);

/// A walk over segments in the order of their starts, which decides of each whether it belongs to a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentWalk {
    start: Timestamp,
    end: Timestamp,
    last: Option<Last>,
}

/// The segment that was taken last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Last {
    /// When it ends.
    pub end: Timestamp,
    /// Whether it is complete.
    pub is_full: bool,
}

/// What to do with an offered segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is not part of the range; a later one may be.
    Skip,
    /// It is the next segment of the range.
    Take {
        /// Whether there is a gap right before it.
        gap_before: bool,
    },
    /// Neither it nor any later segment is part of the range.
    Stop,
}

impl SegmentWalk {
    /// A walk over the half-open range from `start` to `end`.
    pub fn new(start: Timestamp, end: Timestamp) -> Self {
        Self { start, end, last: None }
    }

    /// Judges the next segment. Segments are offered in the order of their starts, one for each start.
    pub fn offer(&mut self, start: Timestamp, duration: Span, is_full: bool) -> Verdict {
        if self.is_covered() || start >= self.end {
            return Verdict::Stop;
        }
        let end = start + duration;
        let gap_before = match self.last {
            None if start <= self.start && self.start < end && start >= self.start - LOOK_BACK => false,
            None if start > self.start => true,
            None => return Verdict::Skip,
            Some(last) if start < last.end - TOLERANCE => return Verdict::Skip,
            Some(last) => !last.is_full || start > last.end + TOLERANCE,
        };
        self.last = Some(Last { end, is_full });
        Verdict::Take { gap_before }
    }

    /// The segment that was taken last.
    pub fn last(&self) -> Option<Last> {
        self.last
    }

    /// Goes on behind segments that would have been taken if they had been offered, the last of which is `last`.
    pub fn continue_behind(&mut self, last: Last) {
        self.last = Some(last);
    }

    /// When the segment that was taken last ends.
    pub fn last_end(&self) -> Option<Timestamp> {
        self.last.map(|last| last.end)
    }

    /// Whether the segments that were taken reach the end of the range, so that no later one belongs to it.
    pub fn is_covered(&self) -> bool {
        self.last.is_some_and(|last| last.end >= self.end)
    }

    /// Whether the range ends in a gap if no more segments are offered.
    pub fn ends_in_gap(&self) -> bool {
        self.last.is_none_or(|last| !last.is_full || last.end < self.end)
    }
}

/// Whether a segment may still be replaced at the time `now`, so that it is withheld, and all behind it: behind a gap,
/// because a late segment may fill it, and if it is not `full`, because a better one may follow.
pub fn may_be_replaced(
    (start, end): (Timestamp, Timestamp),
    is_full: bool,
    gap_before: bool,
    now: Timestamp,
) -> bool {
    let young = now - WITHHELD_FOR;
    gap_before && start > young || !is_full && end > young
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A segment's start and duration in milliseconds, and whether it is `full`.
    type Given = (i64, i64, bool);

    /// Walks segments. `1000` shows one that was taken, by its start; `|` shows a gap.
    fn walk(range: (i64, i64), segments: &[Given]) -> String {
        let at = |millis: i64| Timestamp::from_micros(millis * 1000);
        let mut walk = SegmentWalk::new(at(range.0), at(range.1));
        let mut shown = String::new();
        for &(start, duration, full) in segments {
            match walk.offer(at(start), Span::from_millis(duration), full) {
                Verdict::Skip => {}
                Verdict::Take { gap_before } => {
                    shown.push_str(if gap_before { "| " } else { "" });
                    shown.push_str(&start.to_string());
                    shown.push(' ');
                }
                Verdict::Stop => break,
            }
        }
        shown += if walk.ends_in_gap() { "|" } else { "" };
        shown.trim_end().to_owned()
    }

    #[test]
    fn ranges_are_represented_by_the_right_segments() {
        let run = [(0, 2000, true), (2000, 2000, true), (4000, 2000, true)];
        let rows: &[((i64, i64), &[Given], &str)] = &[
            ((0, 6000), &run, "0 2000 4000"),
            ((0, 6001), &run, "0 2000 4000 |"),
            ((1999, 2001), &run, "0 2000"),
            ((2000, 4000), &run, "2000"),
            ((1999, 2000), &run, "0"),
            ((-1, 2000), &run, "| 0"),
            ((7000, 8000), &run, "|"),
            ((-9000, -8000), &run, "|"),
            ((0, 6000), &[(0, 2000, true), (2010, 1990, true), (3990, 2010, true)], "0 2010 3990"),
            ((0, 6000), &[(0, 2000, true), (2011, 1990, true)], "0 | 2011 |"),
            ((0, 6000), &[(0, 2000, true), (1989, 2000, true), (2000, 4000, true)], "0 2000"),
            ((0, 6000), &[(0, 2000, false), (2000, 4000, true)], "0 | 2000"),
            ((0, 6000), &[(0, 2000, true), (2000, 4000, false)], "0 2000 |"),
            ((0, 2000), &[(-3_600_001, 3_700_000, true), (0, 2000, true)], "0"),
            ((100, 2000), &[(-3_600_000, 3_700_000, true)], "|"),
            ((0, 2000), &[(-3_600_000, 3_700_000, true)], "-3600000"),
            ((0, 2000), &[(0, 0, true), (1, 2000, true)], "| 1"),
        ];
        for (range, segments, shown) in rows {
            assert_eq!(walk(*range, segments), *shown, "{range:?} over {segments:?}");
        }
    }
}
