//! Which segments represent a range of time. Pure.
//!
//! The rules are those of `get_best_segments` in the service that this one replaces, with a tolerance of 10 ms where
//! one segment should end and the next begin.

use crate::timestamp::{Span, Timestamp};

/// How far two segments may overlap or lie apart and still follow on.
pub const TOLERANCE: Span = Span::from_millis(10);

/// How long before a range a segment may start and still be looked at.
pub const LOOK_BACK: Span = Span::from_secs(3600);

/// A walk over segments in the order of their starts, which says of each whether it belongs to a range.
#[derive(Debug, Clone)]
pub struct Walk {
    start: Timestamp,
    end: Timestamp,
    last: Option<Last>,
}

/// The segment that was taken last.
#[derive(Debug, Clone, Copy)]
struct Last {
    end: Timestamp,
    full: bool,
}

/// What to do with an offered segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is not part of the range; the walk goes on.
    Skip,
    /// It is the range's next segment, perhaps behind a hole.
    Take {
        /// Whether something is missing right before it.
        hole_before: bool,
    },
    /// Neither it nor any segment after it is part of the range.
    Stop,
}

impl Walk {
    /// A walk over the half-open range from `start` to `end`.
    pub fn new(start: Timestamp, end: Timestamp) -> Self {
        Self { start, end, last: None }
    }

    /// Judges the next segment. Segments are offered in the order of their starts, one for each start.
    pub fn offer(&mut self, start: Timestamp, duration: Span, full: bool) -> Verdict {
        if self.is_covered() || start >= self.end {
            return Verdict::Stop;
        }
        let end = start + duration;
        let hole_before = match self.last {
            None if start <= self.start && self.start < end && start >= self.start - LOOK_BACK => false,
            None if start > self.start => true,
            None => return Verdict::Skip,
            Some(last) if start < last.end - TOLERANCE => return Verdict::Skip,
            Some(last) => !last.full || start > last.end + TOLERANCE,
        };
        self.last = Some(Last { end, full });
        Verdict::Take { hole_before }
    }

    /// Whether what was taken reaches the end of the range, so that nothing more can belong to it.
    pub fn is_covered(&self) -> bool {
        self.last.is_some_and(|last| last.end >= self.end)
    }

    /// Whether, with nothing more to offer, the range ends in a hole.
    pub fn ends_in_hole(&self) -> bool {
        self.last.is_none_or(|last| !last.full || last.end < self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A segment's start and duration in milliseconds, and whether it is full.
    type Given = (i64, i64, bool);

    /// Walks segments: `1000` is one that was taken, by its start; `|` is a hole.
    fn walk(range: (i64, i64), segments: &[Given]) -> String {
        let at = |millis: i64| Timestamp::from_micros(millis * 1000);
        let mut walk = Walk::new(at(range.0), at(range.1));
        let mut shown = String::new();
        for &(start, duration, full) in segments {
            match walk.offer(at(start), Span::from_millis(duration), full) {
                Verdict::Skip => {}
                Verdict::Take { hole_before } => {
                    shown.push_str(if hole_before { "| " } else { "" });
                    shown.push_str(&start.to_string());
                    shown.push(' ');
                }
                Verdict::Stop => break,
            }
        }
        shown += if walk.ends_in_hole() { "|" } else { "" };
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
