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

    /// Counts again. `hours` are those that exist now from the window's first one on, sorted, with their fingerprints, and
    /// `oldest` is the oldest of all hours. If no hour was counted before, the first one begins with the count `first`.
    /// `count` adds the segments of an hour.
    ///
    /// An hour that was deleted keeps its counts. So does the oldest one if it has lost segments, because it is being
    /// deleted: what is left in it is numbered from its end.
    ///
    /// # Errors
    /// Those of `count`.
    pub fn advance(
        &self,
        first: Count,
        hours: &[(Hour, u64)],
        oldest: Hour,
        mut count: impl FnMut(Hour, Count) -> Result<Count>,
    ) -> Result<Self> {
        let mut known = self.hours.iter().peekable();
        let mut next = self.hours.first().map_or(first, |hour| hour.before);
        let mut counted = Vec::with_capacity(hours.len());
        for (hour, fingerprint) in hours {
            while let Some(deleted) = known.next_if(|known| known.hour < *hour) {
                next = deleted.after;
            }
            let before = known.next_if(|known| known.hour == *hour);
            let mut now = match before {
                Some(known) if known.before == next && known.fingerprint == *fingerprint => *known,
                _ => CountedHour {
                    hour: *hour,
                    fingerprint: *fingerprint,
                    before: next,
                    after: count(*hour, next)?,
                },
            };
            if let Some(known) = before.filter(|_| *hour == oldest) {
                now.keep_end(known);
            }
            next = now.after;
            counted.push(now);
        }
        Ok(Self { hours: counted })
    }

    /// Adds `number` to the numbers of all entries.
    pub fn renumber(&mut self, number: i64) {
        for hour in &mut self.hours {
            hour.before.entries += number;
            hour.after.entries += number;
        }
    }

    /// Forgets the hours before the one in which the entry `number` is.
    pub fn forget_before(&mut self, number: i64) {
        let first = self.hours.partition_point(|hour| hour.after.entries <= number);
        self.hours.drain(..first.min(self.hours.len().saturating_sub(1)));
    }
}

impl CountedHour {
    /// Moves the counts so that the hour ends as it was `known` to end, if it has lost segments.
    fn keep_end(&mut self, known: &Self) {
        let lost = known.after.entries - self.after.entries;
        if lost > 0 {
            let discontinuities = known.after.discontinuities - self.after.discontinuities;
            for count in [&mut self.before, &mut self.after] {
                count.entries += lost;
                count.discontinuities += discontinuities;
            }
        }
    }
}
