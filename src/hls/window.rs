//! The numbers of the entries in a live window: a playlist whose oldest entries leave while new ones come (RFC 8216, section
//! 6.2.2). Pure.
//!
//! An entry's media sequence number is how many entries the selection of segments has chosen before it, since a point that
//! stays fixed: the anchor. So the selection must go on from there, whatever the window shows at the moment. [`Counted`]
//! keeps the counts at the borders of hours, so that a reload reads only the hours that have changed, and so that entries
//! keep their numbers when hours before them are deleted.

use crate::archive::layout::{Segment, SegmentType};
use crate::archive::select::{SegmentWalk, Verdict};
use crate::error::Result;
use crate::timestamp::{Hour, Timestamp};

/// How many entries were chosen before a point in time, and how the selection goes on there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// The selection at this point.
    pub walk: SegmentWalk,
    /// The media sequence number of the next entry.
    pub entries: i64,
    /// The discontinuities before the next entry, without one right before it.
    pub discontinuities: i64,
}

/// An entry of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its media sequence number.
    pub number: i64,
    /// Its discontinuity sequence number.
    pub discontinuity: i64,
    /// Whether there is a gap right before it.
    pub gap_before: bool,
}

/// How far numbers are moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shift {
    /// The media sequence numbers.
    pub entries: i64,
    /// The discontinuity sequence numbers.
    pub discontinuities: i64,
}

/// An hour with the counts at its borders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CountedHour {
    /// The hour.
    pub hour: Hour,
    /// The hash of its segments' names when they were counted.
    pub fingerprint: u64,
    /// The count at its beginning.
    pub before: Count,
    /// The count at its end.
    pub after: Count,
}

/// The hours of a window, as they were last counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counted {
    /// The hours in order; only those that had a directory.
    pub hours: Vec<CountedHour>,
}

impl Count {
    /// The count at the beginning of an hour, from which the selection chooses all that follows.
    pub fn from(hour: Hour, entries: i64) -> Self {
        Self { walk: SegmentWalk::new(hour.start(), Timestamp::MAX), entries, discontinuities: 0 }
    }

    /// How many more entries and discontinuities than `earlier` it has counted.
    pub fn since(self, earlier: Self) -> Shift {
        Shift {
            entries: self.entries - earlier.entries,
            discontinuities: self.discontinuities - earlier.discontinuities,
        }
    }

    fn moved(self, by: Shift) -> Self {
        Self {
            entries: self.entries + by.entries,
            discontinuities: self.discontinuities + by.discontinuities,
            ..self
        }
    }

    /// Counts the next segment if it is chosen.
    pub fn add(&mut self, segment: &Segment) {
        let _ = self.offer(segment);
    }

    /// Offers the next segment in the order of starts; returns its entry if it is chosen.
    pub fn offer(&mut self, segment: &Segment) -> Option<Entry> {
        let is_full = segment.name.segment_type == SegmentType::Full;
        let verdict = self.walk.offer(segment.start(), segment.name.duration, is_full);
        let Verdict::Take { gap_before } = verdict else { return None };
        self.discontinuities += i64::from(gap_before);
        self.entries += 1;
        Some(Entry { number: self.entries - 1, discontinuity: self.discontinuities, gap_before })
    }
}

impl Counted {
    /// Whether counting can continue: the last hour that was counted still exists, so no later hour was deleted before it
    /// was counted. `existing` are the hours with a directory, sorted.
    pub fn can_go_on(&self, existing: &[Hour]) -> bool {
        self.hours.last().is_some_and(|last| existing.binary_search(&last.hour).is_ok())
    }

    /// Counts again. `hours` are those that exist now from the window's first one on, sorted, with their fingerprints. If no
    /// hour was counted before, the first one begins with the count `first`. `count` adds the segments of an hour.
    ///
    /// The first hours keep their counts if they were deleted. Other losses move the numbers of what comes after them, so
    /// the caller must move all of them back.
    ///
    /// # Errors
    /// Those of `count`.
    pub fn advance(
        &self,
        first: Count,
        hours: &[(Hour, u64)],
        mut count: impl FnMut(Hour, Count) -> Result<Count>,
    ) -> Result<Self> {
        let mut known = self.hours.iter().peekable();
        let mut next = self.hours.first().map_or(first, |hour| hour.before);
        let mut counted = Vec::with_capacity(hours.len());
        for (hour, fingerprint) in hours {
            while let Some(deleted) = known.next_if(|known| known.hour < *hour) {
                next = if counted.is_empty() { deleted.after } else { next };
            }
            let same = known.next_if(|known| known.hour == *hour);
            let same = same.filter(|same| same.fingerprint == *fingerprint && same.before.walk == next.walk);
            let after = match same {
                // The same segments make the same entries, whatever their numbers.
                Some(same) => same.after.moved(next.since(same.before)),
                None => count(*hour, next)?,
            };
            counted.push(CountedHour { hour: *hour, fingerprint: *fingerprint, before: next, after });
            next = after;
        }
        Ok(Self { hours: counted })
    }

    /// Moves the numbers of all entries.
    pub fn renumber(&mut self, by: Shift) {
        for hour in &mut self.hours {
            hour.before = hour.before.moved(by);
            hour.after = hour.after.moved(by);
        }
    }

    /// Forgets the hours before the one in which the entry `number` is.
    pub fn forget_before(&mut self, number: i64) {
        let first = self.hours.partition_point(|hour| hour.after.entries <= number);
        self.hours.drain(..first.min(self.hours.len().saturating_sub(1)));
    }
}
