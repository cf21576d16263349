//! What a selection takes from an hour, as ranges that take little memory. Pure.
//!
//! Where segments overlap, as those of two recorders do, what a selection takes of an hour depends on where the hour before
//! ended. It takes the first segment that does not overlap that one, and from there on the *chain* that begins with it. An
//! hour of one recorder has one chain. An hour of two recorders that are staggered has two, and so on.

use super::layout::{Segment, SegmentType};
use super::ranges::{Range, RangeJoiner};
use super::select::{Last, SegmentWalk, TOLERANCE, Verdict};
use crate::timestamp::{Hour, Span, Timestamp};

/// How many chains of an hour are kept.
const MAX_CHAINS: usize = 4;
/// An hour whose chains have more ranges than this keeps none of them.
const MAX_RANGES: usize = 1024;

/// The chains of an hour that begin with its first segments: with the first one, and with those after it that are not in an
/// earlier chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HourChains {
    hour: Hour,
    chains: Box<[Chain]>,
}

/// The segments that a selection takes which begins with a certain one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Chain {
    /// When its first segment starts.
    start: Timestamp,
    ranges: Box<[CompactRange]>,
    last: Last,
}

/// A [`Range`] in an hour. The last one of an hour may end any time later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CompactRange {
    /// From the start of the hour. An hour has fewer than 2^32 microseconds.
    start_us: u32,
    end_us: u32,
    segment_type: SegmentType,
}

impl HourChains {
    /// The chains of an hour. `from` gives its segments from a position on, in the order of their starts, one for each start.
    pub(super) fn new<'a, I: Iterator<Item = Segment<'a>>>(hour: Hour, from: impl Fn(usize) -> I) -> Self {
        let mut chains = Vec::new();
        let mut is_taken = [false; MAX_CHAINS];
        for first in 0..MAX_CHAINS {
            if is_taken[first] {
                break;
            }
            let taken = |position: usize| {
                if let Some(taken) = is_taken.get_mut(first + position) {
                    *taken = true;
                }
            };
            let Some(chain) = Chain::new(hour, from(first), taken) else { break };
            chains.push(chain);
        }
        if chains.iter().map(|chain| chain.ranges.len()).sum::<usize>() > MAX_RANGES {
            chains.clear();
        }
        Self { hour, chains: chains.into() }
    }

    /// The chain that is taken by a selection whose last segment before the hour is `last`. `None` if it is not known.
    pub(super) fn entered(&self, last: Option<Last>) -> Option<usize> {
        // The chains begin with consecutive segments.
        let earliest = last.map_or(Timestamp::MIN, |last| last.end - TOLERANCE);
        self.chains.iter().position(|chain| chain.start >= earliest)
    }

    /// Whether the first segment of a chain starts after a time.
    pub(super) fn starts_after(&self, chain: usize, time: Timestamp) -> bool {
        self.chains.get(chain).is_some_and(|chain| chain.start > time)
    }

    /// The last segment of a chain.
    pub(super) fn last(&self, chain: usize) -> Option<Last> {
        self.chains.get(chain).map(|chain| chain.last)
    }

    /// The range of a chain at a position.
    pub(super) fn range(&self, chain: usize, position: usize) -> Option<Range> {
        let Chain { ranges, last, .. } = self.chains.get(chain)?;
        let CompactRange { start_us, end_us, segment_type } = *ranges.get(position)?;
        let time = |offset_us: u32| self.hour.start() + Span::from_micros(offset_us.into());
        let end = if position + 1 == ranges.len() { last.end } else { time(end_us) };
        Some(Range { start: time(start_us), end, segment_type })
    }

    /// How many bytes of memory they take beside `self`.
    pub(super) fn heap_bytes(&self) -> usize {
        let ranges: usize = self.chains.iter().map(|chain| size_of_val(&*chain.ranges)).sum();
        ranges + size_of_val(&*self.chains)
    }
}

impl Chain {
    /// The chain that begins with the first of some segments; `None` if there are none. Calls `taken` with the position of
    /// each that is in it.
    fn new<'a>(
        hour: Hour,
        segments: impl Iterator<Item = Segment<'a>>,
        mut taken: impl FnMut(usize),
    ) -> Option<Self> {
        let mut walk = SegmentWalk::new(Timestamp::MIN, Timestamp::MAX);
        let mut joiner = RangeJoiner::default();
        let (mut ranges, mut start) = (Vec::new(), None);
        for (position, segment) in segments.enumerate() {
            let segment_type = segment.name.segment_type;
            let is_full = segment_type == SegmentType::Full;
            let offered = walk.offer(segment.start(), segment.name.duration, is_full);
            let Verdict::Take { gap_before } = offered else { continue };
            taken(position);
            start = start.or(Some(segment.start()));
            let range = Range { start: segment.start(), end: segment.end(), segment_type };
            ranges.extend(joiner.push(range, gap_before).map(|range| CompactRange::new(hour, range)));
        }
        ranges.extend(joiner.finish().map(|range| CompactRange::new(hour, range)));
        Some(Self { start: start?, ranges: ranges.into(), last: walk.last()? })
    }
}

impl CompactRange {
    fn new(hour: Hour, range: Range) -> Self {
        let offset = |time: Timestamp| u32::try_from((time - hour.start()).micros()).unwrap_or(u32::MAX);
        Self { start_us: offset(range.start), end_us: offset(range.end), segment_type: range.segment_type }
    }
}
