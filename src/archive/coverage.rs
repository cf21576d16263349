//! When something was recorded of a variant: ranges of time, exactly those of the playlist of the same range.
//!
//! Hours that lie inside the range, and whose segments are old enough, are taken from their summaries, which keep what a
//! selection takes of them. The others, mostly the first and the last one, are walked through segment by segment.

use std::sync::Arc;

use super::cache::CacheValue;
use super::hour::{HourIndex, SummarizedHour};
use super::layout::{SegmentType, VariantName};
use super::ranges::{Range, RangeJoiner};
use super::select::{LOOK_BACK, Last, SegmentWalk, TOLERANCE, Verdict, WITHHELD_FOR, may_be_replaced};
use super::selection::hours_in_range;
use super::tree::Archive;
use crate::error::{Error, Result};
use crate::fnv::Fnv;
use crate::timestamp::{Hour, Timestamp};

/// More ranges than this are not kept in memory, but found again each time.
pub const MAX_KEPT_RANGES: usize = 4096;

/// What was recorded of a variant in a range.
#[derive(Debug)]
pub struct Coverage {
    archive: Arc<Archive>,
    stream: String,
    variant: String,
    hours: Arc<[Hour]>,
    walked: (Timestamp, Timestamp),
    now: Timestamp,
    /// The start of the range; if none was given, when the first recording in it starts.
    pub start: Timestamp,
    /// The end of the range; if none was given, when the last recording in it ends.
    pub end: Timestamp,
    /// How many ranges there are.
    pub count: usize,
    /// A hash of the ranges, which does not depend on the server or the build.
    pub fingerprint: u64,
    kept: Option<Vec<Range>>,
}

impl Coverage {
    /// Finds what was recorded in a range, of which both ends may be missing. `hours` are those that the variant has, sorted.
    /// Segments that may still be replaced at the time `now` are left out, and all behind them.
    ///
    /// # Errors
    /// [`Error::Io`] if an hour cannot be read; [`Error::Cancelled`] once `is_cancelled` returns true.
    pub fn read(
        archive: &Arc<Archive>,
        name: VariantName,
        hours: Arc<[Hour]>,
        (start, end): (Option<Timestamp>, Option<Timestamp>),
        now: Timestamp,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Self> {
        let first = hours.first().map_or(Timestamp::MIN, |hour| hour.start());
        let last = hours.last().map_or(Timestamp::MIN, |hour| hour.end() + LOOK_BACK);
        let walked = (start.unwrap_or(first), end.unwrap_or(last));
        let mut coverage = Self {
            archive: Arc::clone(archive),
            stream: name.stream.to_owned(),
            variant: name.variant.to_owned(),
            hours,
            walked,
            now,
            start: walked.0,
            end: walked.0,
            count: 0,
            fingerprint: 0,
            kept: None,
        };
        let (mut kept, mut count, mut state, mut span) = (Vec::new(), 0, Fnv::new(), None);
        for range in CoverageWalk::new(&coverage, is_cancelled) {
            let range = range?;
            add_to(&mut state, range);
            count += 1;
            if count <= MAX_KEPT_RANGES {
                kept.push(range);
            }
            span = Some((span.map_or(range.start, |(start, _)| start), range.end));
        }
        coverage.count = count;
        coverage.fingerprint = state.finish();
        coverage.start = start.or(span.map(|(first, _)| first)).unwrap_or(walked.0);
        coverage.end = end.or(span.map(|(_, last)| last)).unwrap_or(coverage.start);
        coverage.kept = (count <= MAX_KEPT_RANGES).then_some(kept);
        Ok(coverage)
    }

    /// The ranges, in order.
    ///
    /// Many ranges are found anew each time. They are the same each time, or the last item is [`Error::Changed`].
    pub fn ranges(&self) -> Box<dyn Iterator<Item = Result<Range>> + '_> {
        if let Some(kept) = &self.kept {
            return Box::new(kept.iter().copied().map(Ok));
        }
        let mut walk = CoverageWalk::new(self, &|| false);
        let (mut left, mut state) = (self.count, Fnv::new());
        Box::new(std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let found = walk.next().unwrap_or_else(|| Err(self.changed()));
            // New segments may have continued the last range.
            let found = found.map(|range| Range { end: range.end.min(self.end), ..range });
            if let Ok(range) = &found {
                add_to(&mut state, *range);
                if left == 0 && state.finish() != self.fingerprint {
                    return Some(Err(self.changed()));
                }
            } else {
                left = 0;
            }
            Some(found)
        }))
    }

    fn changed(&self) -> Error {
        Error::Changed(format!("variant `{}` of stream `{}`", self.variant, self.stream))
    }
}

fn add_to(state: &mut Fnv, range: Range) {
    state.write_u64(range.start.micros().cast_unsigned());
    state.write_u64(range.end.micros().cast_unsigned());
    state.write_str(range.segment_type.name());
}

/// A walk through the hours of a variant that finds the ranges, clipped to the range that is walked through.
struct CoverageWalk<'a> {
    archive: &'a Archive,
    name: VariantName<'a>,
    /// The hours that are still to be read.
    hours: std::slice::Iter<'a, Hour>,
    range: (Timestamp, Timestamp),
    now: Timestamp,
    walk: SegmentWalk,
    joiner: RangeJoiner,
    current: Option<Current>,
    /// How much memory the indexes of the hours so far take.
    walked_bytes: usize,
    is_cancelled: &'a dyn Fn() -> bool,
}

/// What is left of the hour that is being walked through.
enum Current {
    /// Ranges of a chain: its number, and the position of the next one.
    Chain(Arc<SummarizedHour>, usize, usize),
    /// Segments: the position of the next one.
    Index(Arc<HourIndex>, usize),
}

impl<'a> CoverageWalk<'a> {
    fn new(coverage: &'a Coverage, is_cancelled: &'a dyn Fn() -> bool) -> Self {
        let Coverage { archive, stream, variant, hours, walked, now, .. } = coverage;
        Self {
            archive,
            name: VariantName { stream, variant },
            hours: hours_in_range(hours, *walked).iter(),
            range: *walked,
            now: *now,
            walk: SegmentWalk::new(walked.0, walked.1),
            joiner: RangeJoiner::default(),
            current: None,
            walked_bytes: 0,
            is_cancelled,
        }
    }

    /// The next range; `None` when there are no more.
    fn advance(&mut self) -> Result<Option<Range>> {
        loop {
            let complete = match self.current.take() {
                None => {
                    let Some(hour) = self.next_hour() else {
                        return Ok(self.joiner.finish().and_then(|range| range.clipped(self.range)));
                    };
                    self.enter(hour)?;
                    continue;
                }
                Some(Current::Chain(hour, chain, position)) => self.next_of_chain(hour, chain, position),
                Some(Current::Index(index, position)) => self.next_of_index(index, position),
            };
            if let Some(range) = complete.and_then(|range| range.clipped(self.range)) {
                return Ok(Some(range));
            }
        }
    }

    fn next_hour(&mut self) -> Option<Hour> {
        if self.walk.is_covered() { None } else { self.hours.next().copied() }
    }

    /// Begins an hour: from its summary, if the selection takes what that has.
    fn enter(&mut self, hour: Hour) -> Result<()> {
        if (self.is_cancelled)() {
            return Err(Error::Cancelled);
        }
        let summarized = self.archive.summarized_hour(self.name, hour, &mut self.walked_bytes)?;
        let summary = &summarized.summary;
        if summary.segments == 0 {
            return Ok(());
        }
        // Nothing of it is withheld, or lies behind the end.
        let is_whole = summary.latest_end < self.range.1 && summary.latest_end <= self.now - WITHHELD_FOR;
        let chain = summarized.chains.entered(self.walk.last()).filter(|_| is_whole);
        // The first segment of all may have to cover the start.
        let is_first = self.walk.last().is_none();
        let chain = chain.filter(|chain| !is_first || summarized.chains.starts_after(*chain, self.range.0));
        self.current = Some(if let Some(chain) = chain {
            Current::Chain(summarized, chain, 0)
        } else {
            let index = self.archive.read_hour(self.name, hour, self.walked_bytes)?;
            self.walked_bytes += index.bytes();
            let position = index.position(self.range.0 - LOOK_BACK);
            Current::Index(index, position)
        });
        Ok(())
    }

    fn next_of_chain(&mut self, hour: Arc<SummarizedHour>, chain: usize, position: usize) -> Option<Range> {
        let Some(range) = hour.chains.range(chain, position) else {
            if let Some(last) = hour.chains.last(chain) {
                self.walk.continue_behind(last);
            }
            return None;
        };
        let is_continued = |last: Last| last.is_full && range.start <= last.end + TOLERANCE;
        let gap_before = position > 0 || !self.walk.last().is_some_and(is_continued);
        self.current = Some(Current::Chain(hour, chain, position + 1));
        self.joiner.push(range, gap_before)
    }

    fn next_of_index(&mut self, index: Arc<HourIndex>, position: usize) -> Option<Range> {
        let segment = index.segment(position)?;
        let (start, end, segment_type) = (segment.start(), segment.end(), segment.name.segment_type);
        let is_full = segment_type == SegmentType::Full;
        let verdict = self.walk.offer(start, segment.name.duration, is_full);
        match verdict {
            Verdict::Take { gap_before } if !may_be_replaced((start, end), is_full, gap_before, self.now) => {
                self.current = Some(Current::Index(index, position + 1));
                self.joiner.push(Range { start, end, segment_type }, gap_before)
            }
            Verdict::Skip => {
                self.current = Some(Current::Index(index, position + 1));
                None
            }
            Verdict::Take { .. } | Verdict::Stop => {
                self.hours = [].iter();
                None
            }
        }
    }
}

impl Iterator for CoverageWalk<'_> {
    type Item = Result<Range>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance().transpose()
    }
}
