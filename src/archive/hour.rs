//! The index of one hour's directory: the best segment for each start.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::path::Path;

use super::cache::CacheValue;
use super::chains::HourChains;
use super::directory::{EntryType, absent_is_none, read_names};
use super::file::is_empty;
use super::layout::{Extension, Segment, SegmentName, SegmentType, Widths, split_file_name};
use crate::error::{Error, Result};
use crate::fnv::Fnv;
use crate::timestamp::{Hour, Span, Timestamp};

/// The best segments of one hour of one variant, in the order of their starts, one for each start.
///
/// Many hours are kept in memory, so a segment with a SHA-256 in its name takes no more than 64 bytes.
#[derive(Debug)]
pub struct HourIndex {
    hour: Hour,
    entries: Vec<Entry>,
    /// The hashes of all entries, one after another.
    hashes: String,
    fingerprint: u64,
}

/// What is known of an hour without its segments. It takes little memory, so it outlives the hour's index in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HourSummary {
    /// The hour.
    pub hour: Hour,
    /// How many segments it has.
    pub segments: usize,
    /// The greatest duration of its segments.
    pub longest: Span,
    /// When the last of them ends; [`Timestamp::MIN`] where there are none.
    pub latest_end: Timestamp,
    /// When the last `full` one of them ends, if there is one.
    pub latest_full_end: Option<Timestamp>,
    /// A hash of the segments' names: equal on all servers that have the same files, whichever build they run.
    pub fingerprint: u64,
}

/// The summary of an hour, and what selections take of it. They are kept together, because both are needed often and for
/// many hours.
#[derive(Debug)]
pub(super) struct SummarizedHour {
    pub(super) summary: HourSummary,
    pub(super) chains: HourChains,
}

/// The names in an hour's directory that do not parse.
#[derive(Debug, Default)]
pub(super) struct Unparsable {
    /// Those that are UTF-8.
    pub(super) names: Vec<String>,
    /// How many others there are.
    pub(super) not_utf8: usize,
}

/// A [`SegmentName`] without its hash.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// An hour has fewer than 2^32 microseconds.
    offset_us: u32,
    duration_secs: u32,
    /// What the duration has beyond whole seconds.
    duration_us: u32,
    /// Where its hash ends in the hour's hashes. It begins where that of the entry before ends.
    hash_end: u32,
    segment_type: SegmentType,
    widths: Widths,
}

/// A file name in the directory, and what it says.
type Named<'a> = (&'a str, SegmentName<'a>);

impl HourIndex {
    /// Reads the directory at `path`. One that does not exist is an empty hour. With `ignores_empty`, files of no bytes
    /// are ignored.
    pub(super) fn read(hour: Hour, path: &Path, ignores_empty: bool) -> Result<(Self, Unparsable)> {
        let mut unparsable = Unparsable::default();
        let mut tombstones = HashSet::new();
        // A file name holds no slash.
        let mut names = String::new();
        let each = |name: &str, entry_type| match (split_file_name(name), entry_type) {
            (Some((stem, Extension::Tombstone)), _) => {
                tombstones.insert(stem.to_owned());
            }
            (Some((_, Extension::Json)), _) => {}
            (_, EntryType::File) => names.extend([name, "/"]),
            _ => unparsable.names.push(name.to_owned()),
        };
        unparsable.not_utf8 = read_names(path, false, each)?.unwrap_or(0);
        let mut segments = Vec::new();
        for name in names.split_terminator('/') {
            let Some(parsed) = SegmentName::parse(name) else {
                unparsable.names.push(name.to_owned());
                continue;
            };
            let has_tombstone = |(stem, _): (&str, _)| tombstones.contains(stem);
            let is_deleted = !tombstones.is_empty() && split_file_name(name).is_some_and(has_tombstone);
            let is_candidate = parsed.segment_type != SegmentType::Temp && !is_deleted;
            if is_candidate && !(ignores_empty && is_empty(&path.join(name))) {
                segments.push((name, parsed));
            }
        }
        Ok((Self::new(hour, &best_of_each_start(segments, path)?), unparsable))
    }

    fn new(hour: Hour, segments: &[Named]) -> Self {
        let mut entries = Vec::with_capacity(segments.len());
        let mut hashes = String::with_capacity(segments.iter().map(|(_, segment)| segment.hash.len()).sum());
        let mut fingerprint = Fnv::new();
        // Numbers of parsed names fit; positions in `hashes` fit unless a directory has 4 GB of names.
        let fit = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
        for (name, segment) in segments {
            fingerprint.write_str(name);
            hashes.push_str(segment.hash);
            entries.push(Entry {
                offset_us: fit(segment.offset.micros()),
                duration_secs: fit(segment.duration.micros() / 1_000_000),
                duration_us: fit(segment.duration.micros() % 1_000_000),
                hash_end: u32::try_from(hashes.len()).unwrap_or(u32::MAX),
                segment_type: segment.segment_type,
                widths: segment.widths,
            });
        }
        Self { hour, entries, hashes, fingerprint: fingerprint.finish() }
    }

    /// The position of the first segment that starts at or after `start`.
    pub fn position(&self, start: Timestamp) -> usize {
        let offset = (start - self.hour.start()).micros();
        self.entries.partition_point(|entry| i64::from(entry.offset_us) < offset)
    }

    /// The segment at a position, if there is one.
    pub fn segment(&self, position: usize) -> Option<Segment<'_>> {
        let entry = self.entries.get(position)?;
        let hash_start = position.checked_sub(1).map_or(0, |before| self.entries[before].hash_end);
        let duration_us = i64::from(entry.duration_secs) * 1_000_000 + i64::from(entry.duration_us);
        let name = SegmentName {
            offset: Span::from_micros(entry.offset_us.into()),
            duration: Span::from_micros(duration_us),
            segment_type: entry.segment_type,
            hash: self.hashes.get(hash_start as usize..entry.hash_end as usize)?,
            widths: entry.widths,
        };
        Some(Segment { hour: self.hour, name })
    }

    /// All segments of the hour.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = Segment<'_>> {
        (0..self.entries.len()).filter_map(|position| self.segment(position))
    }

    /// All that is kept of the hour when its segments are forgotten.
    pub(super) fn summarized(&self) -> SummarizedHour {
        let from = |first| (first..self.entries.len()).filter_map(|position| self.segment(position));
        SummarizedHour { summary: self.summary(), chains: HourChains::new(self.hour, from) }
    }

    /// The summary of the hour.
    fn summary(&self) -> HourSummary {
        let is_full = |segment: &Segment| segment.name.segment_type == SegmentType::Full;
        HourSummary {
            hour: self.hour,
            segments: self.entries.len(),
            longest: self.segments().map(|segment| segment.name.duration).max().unwrap_or(Span::ZERO),
            latest_end: self.segments().map(|segment| segment.end()).max().unwrap_or(Timestamp::MIN),
            latest_full_end: self.segments().filter(is_full).map(|segment| segment.end()).max(),
            fingerprint: self.fingerprint,
        }
    }
}

impl CacheValue for HourIndex {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.entries.capacity() * size_of::<Entry>() + self.hashes.capacity()
    }
}

impl CacheValue for SummarizedHour {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.chains.heap_bytes()
    }
}

/// The best segment of each start, in the order of their starts.
///
/// `full` segments come before `suspect` and these before `partial` ones. Of several `full` segments the longest is the
/// best. Files are inspected only where that leaves two or more. One that was deleted meanwhile does not count.
fn best_of_each_start<'a>(mut segments: Vec<Named<'a>>, path: &Path) -> Result<Vec<Named<'a>>> {
    let rank = |(_, segment): &Named| {
        let is_full = segment.segment_type == SegmentType::Full;
        let longest_first = Reverse(if is_full { segment.duration } else { Span::ZERO });
        (segment.offset, segment.segment_type, longest_first)
    };
    segments.sort_unstable_by_key(rank);
    let mut best = Vec::with_capacity(segments.len());
    for same_start in segments.chunk_by(|(_, a), (_, b)| a.offset == b.offset) {
        for equals in same_start.chunk_by(|a, b| rank(a) == rank(b)) {
            let winner = if let [only] = equals { Some(*only) } else { largest(equals, path)? };
            if winner.is_some() {
                best.extend(winner);
                break;
            }
        }
    }
    Ok(best)
}

/// The segment with the largest file; of several the longest; of several the one with the greatest hash.
///
/// # Errors
/// [`Error::Io`] if a file's size cannot be read: the index would be cached with what may be the wrong segment.
fn largest<'a>(segments: &[Named<'a>], path: &Path) -> Result<Option<Named<'a>>> {
    let mut existing = Vec::with_capacity(segments.len());
    for (name, segment) in segments {
        let file = path.join(name);
        let meta = absent_is_none(std::fs::metadata(&file)).map_err(Error::io("inspect", &file))?;
        existing.extend(meta.map(|meta| (meta.len(), (*name, *segment))));
    }
    let key = |(bytes, (name, segment)): &(u64, Named<'a>)| (*bytes, segment.duration, segment.hash, *name);
    Ok(existing.into_iter().max_by_key(key).map(|(_, named)| named))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "YgymESyiQJNzDMws7vAG6AsWwLPeaFlNQYrCKsMQyQ4";

    fn index(names: &[String]) -> HourIndex {
        let parsed = |name| (name, SegmentName::parse(name).expect("a segment's name"));
        let segments: Vec<_> = names.iter().map(|name| parsed(name.as_str())).collect();
        HourIndex::new(Timestamp::from_micros(0).hour(), &segments)
    }

    #[test]
    fn a_segment_takes_at_most_64_bytes() {
        let name = |second: usize| format!("{:02}:{:02}.000-2.000-full-{HASH}.ts", second / 60, second % 60);
        let index = index(&(0..3600).map(name).collect::<Vec<_>>());
        let bytes = (index.bytes() - size_of::<HourIndex>()) / index.entries.len();
        assert!(bytes <= 64, "{bytes} bytes");
    }

    #[test]
    fn segments_keep_their_names_and_equal_hours_their_fingerprints() {
        let names = ["00:00-2-full-x", "00:02.000000-2.00-suspect--long-", "00:04-4294.967296-full-y"];
        let names = names.map(|name| name.to_owned() + ".ts");
        let index = self::index(&names);
        let kept: Vec<_> = index.segments().map(|segment| segment.name.to_string()).collect();
        assert_eq!(kept, names);
        assert_eq!(index.segment(3), None);
        // A fixed value: servers of different builds must agree on it.
        assert_eq!(format!("{:016x}", index.summary().fingerprint), "0f41afe650c54546");
        assert_ne!(self::index(&names[..2]).fingerprint, index.fingerprint);
    }
}
