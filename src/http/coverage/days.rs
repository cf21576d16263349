//! How coverage is laid out in a picture: a row for each day, and what is seen in it.
//!
//! What is too near together to be told apart is one shape, so that a picture has a bounded size. A hole is never hidden
//! by what surrounds it.

use super::covered::Stretch;
use crate::archive::layout::SegmentType;
use crate::error::Result;
use crate::timestamp::{Span, Timestamp};

/// A day.
const DAY: Span = Span::from_secs(24 * 3600);

/// What a shape stands for, in the order in which they are painted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Complete segments.
    Full,
    /// Segments that are cut short, or may be.
    Damaged,
    /// Nothing.
    Hole,
}

/// All kinds.
pub(super) const KINDS: [Kind; 3] = [Kind::Full, Kind::Damaged, Kind::Hole];

/// Stretches of one kind that are painted as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    /// How many stretches there are.
    pub(super) count: usize,
    /// How long they are together.
    pub(super) total: Span,
}

/// A day of a range.
#[derive(Debug)]
pub(super) struct Row {
    /// Midnight at its start.
    pub(super) midnight: Timestamp,
    /// The part of the day that belongs to the range.
    pub(super) inside: (Timestamp, Timestamp),
    /// The shapes of each of [`KINDS`].
    pub(super) shapes: [Vec<Shape>; KINDS.len()],
    /// How much of the day was recorded.
    pub(super) recorded: Span,
}

/// The days of a range, and what they amount to.
#[derive(Debug, Default)]
pub(super) struct Days {
    pub(super) rows: Vec<Row>,
    pub(super) recorded: Span,
    pub(super) missing: Span,
    pub(super) holes: usize,
}

/// How many days a range touches.
pub(super) fn days_in((start, end): (Timestamp, Timestamp)) -> i64 {
    if end <= start { 0 } else { day(end - Span::from_micros(1)) - day(start) + 1 }
}

/// The number of the day in which an instant lies, counted from 1970-01-01.
pub(super) fn day(time: Timestamp) -> i64 {
    time.micros().div_euclid(DAY.micros())
}

impl Days {
    /// The days of a range that consists of these stretches. Stretches of one kind that are nearer together than `resolution`
    /// are one shape. Of shapes there may be as many as are `left`; returns `None` if there are more.
    pub(super) fn new(
        stretches: impl Iterator<Item = Result<Stretch>>,
        resolution: Span,
        left: &mut usize,
    ) -> Result<Option<Self>> {
        let mut days = Self::default();
        for stretch in stretches {
            let (kind, start, end) = match stretch? {
                Stretch::Hole(start, end) => (Kind::Hole, start, end),
                Stretch::Recorded(range) => {
                    let is_full = range.segment_type == SegmentType::Full;
                    (if is_full { Kind::Full } else { Kind::Damaged }, range.start, range.end)
                }
            };
            if kind == Kind::Hole {
                days.holes += 1;
                days.missing = days.missing + (end - start);
            } else {
                days.recorded = days.recorded + (end - start);
            }
            let mut from = start;
            while from < end {
                let midnight = Timestamp::from_micros(day(from) * DAY.micros());
                let until = end.min(midnight + DAY);
                if days.row(midnight, from).add(kind, (from, until), resolution) {
                    let Some(fewer) = left.checked_sub(1) else { return Ok(None) };
                    *left = fewer;
                }
                from = until;
            }
        }
        Ok(Some(days))
    }

    /// The row of a day, which is the last one or the next.
    fn row(&mut self, midnight: Timestamp, from: Timestamp) -> &mut Row {
        if self.rows.last().is_none_or(|row| row.midnight != midnight) {
            let shapes = [const { Vec::new() }; KINDS.len()];
            self.rows.push(Row { midnight, inside: (from, from), shapes, recorded: Span::ZERO });
        }
        let last = self.rows.len() - 1;
        &mut self.rows[last]
    }
}

impl Row {
    /// Adds a stretch. Returns whether it is a shape of its own.
    fn add(&mut self, kind: Kind, (start, end): (Timestamp, Timestamp), resolution: Span) -> bool {
        self.inside.1 = end;
        if kind != Kind::Hole {
            self.recorded = self.recorded + (end - start);
        }
        let shapes = &mut self.shapes[kind as usize];
        match shapes.last_mut() {
            Some(last) if start - last.end < resolution => {
                last.end = end;
                last.count += 1;
                last.total = last.total + (end - start);
                false
            }
            _ => {
                shapes.push(Shape { start, end, count: 1, total: end - start });
                true
            }
        }
    }
}
