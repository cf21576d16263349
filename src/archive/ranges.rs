//! Ranges of time in which something was recorded: how segments join to them, and what is made from them. Pure.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use super::layout::SegmentType;
use super::select::TOLERANCE;
use crate::error::Result;
use crate::timestamp::{Span, Timestamp};

/// The types of segments that are selected, best first.
const TYPES: [SegmentType; 3] = [SegmentType::Full, SegmentType::Suspect, SegmentType::Partial];

/// A range of time in which segments of one type follow each other without a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// When it starts.
    pub start: Timestamp,
    /// The first instant after it.
    pub end: Timestamp,
    /// The type of its segments.
    pub segment_type: SegmentType,
}

/// Joins the segments of a selection, or ranges of them, to longer ranges.
#[derive(Debug, Default)]
pub struct RangeJoiner {
    /// The last range, which the next segment may continue.
    open: Option<Range>,
}

impl RangeJoiner {
    /// Adds what follows, and says whether there is a gap before it. Returns the range before if it is complete.
    ///
    /// A gap that is shorter than the tolerance is no missing time: there the ranges touch.
    pub fn push(&mut self, next: Range, gap_before: bool) -> Option<Range> {
        if let Some(open) = &mut self.open
            && !gap_before
            && open.segment_type == next.segment_type
        {
            open.end = next.end;
            return None;
        }
        let mut before = self.open.replace(next)?;
        if next.start <= before.end + TOLERANCE {
            before.end = next.start;
        }
        Some(before)
    }

    /// The last range, once nothing follows.
    pub fn finish(&mut self) -> Option<Range> {
        self.open.take()
    }
}

impl Range {
    /// The part of it inside another range; `None` if nothing is.
    pub fn clipped(self, (start, end): (Timestamp, Timestamp)) -> Option<Self> {
        let clipped = Self { start: self.start.max(start), end: self.end.min(end), ..self };
        (clipped.start < clipped.end).then_some(clipped)
    }
}

/// The ranges of `ranges`, in order, with those as one that are nearer together than `scale`: of the worst of their types.
pub fn scaled<I: Iterator<Item = Result<Range>>>(
    mut ranges: I,
    scale: Span,
) -> impl Iterator<Item = Result<Range>> {
    let mut open: Option<Range> = None;
    std::iter::from_fn(move || {
        loop {
            let next = match ranges.next() {
                Some(Ok(next)) => next,
                Some(Err(error)) => return Some(Err(error)),
                None => return open.take().map(Ok),
            };
            match &mut open {
                Some(open) if next.start - open.end < scale => {
                    open.end = next.end;
                    open.segment_type = open.segment_type.max(next.segment_type);
                }
                _ => {
                    if let Some(complete) = open.replace(next) {
                        return Some(Ok(complete));
                    }
                }
            }
        }
    })
}

/// Where at least one of several sources has something, each of which gives its ranges in order. The type is the best one
/// that is there at the time.
#[derive(Debug)]
pub struct Union<I> {
    sources: Vec<Source<I>>,
    /// When each source begins or ends its current range, the earliest first.
    events: BinaryHeap<Reverse<(Timestamp, usize)>>,
    /// How many sources are inside a range of each of [`TYPES`].
    inside: [usize; TYPES.len()],
    /// Since when it has been the case, and of which type.
    open: Option<(Timestamp, SegmentType)>,
    has_begun: bool,
}

#[derive(Debug)]
struct Source<I> {
    ranges: I,
    /// Its current range, and whether it has begun.
    current: Option<(Range, bool)>,
}

impl<I: Iterator<Item = Result<Range>>> Union<I> {
    /// The union of these sources.
    pub fn new(sources: impl IntoIterator<Item = I>) -> Self {
        let sources = sources.into_iter().map(|ranges| Source { ranges, current: None }).collect();
        Self { sources, events: BinaryHeap::new(), inside: [0; TYPES.len()], open: None, has_begun: false }
    }

    /// Goes on to the next range of a source.
    fn fetch(&mut self, source: usize) -> Result<()> {
        let next = self.sources[source].ranges.next().transpose()?;
        self.sources[source].current = next.map(|range| (range, false));
        self.events.extend(next.map(|range| Reverse((range.start, source))));
        Ok(())
    }

    /// Begins or ends the current range of a source.
    fn step(&mut self, source: usize) -> Result<()> {
        let Some((range, has_begun)) = &mut self.sources[source].current else { return Ok(()) };
        let count = &mut self.inside[TYPES.iter().position(|of| *of == range.segment_type).unwrap_or(0)];
        if *has_begun {
            *count -= 1;
            return self.fetch(source);
        }
        (*has_begun, *count) = (true, *count + 1);
        self.events.push(Reverse((range.end, source)));
        Ok(())
    }

    /// The next event, if it is at this time.
    fn pop_at(&mut self, now: Timestamp) -> Option<Reverse<(Timestamp, usize)>> {
        self.events.peek_mut().filter(|event| event.0.0 == now).map(PeekMut::pop)
    }

    fn advance(&mut self) -> Result<Option<Range>> {
        if !self.has_begun {
            self.has_begun = true;
            (0..self.sources.len()).try_for_each(|source| self.fetch(source))?;
        }
        while let Some(Reverse((now, _))) = self.events.peek().copied() {
            while let Some(Reverse((_, source))) = self.pop_at(now) {
                self.step(source)?;
            }
            let best = TYPES.into_iter().zip(self.inside).find(|(_, count)| *count > 0);
            let best = best.map(|(segment_type, _)| segment_type);
            if best != self.open.map(|(_, segment_type)| segment_type) {
                let before = std::mem::replace(&mut self.open, best.map(|best| (now, best)));
                if let Some((start, segment_type)) = before {
                    return Ok(Some(Range { start, end: now, segment_type }));
                }
            }
        }
        Ok(None)
    }
}

impl<I: Iterator<Item = Result<Range>>> Iterator for Union<I> {
    type Item = Result<Range>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance().transpose()
    }
}
