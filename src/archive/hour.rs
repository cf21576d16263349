//! One hour directory, read into the best segment for each start time.

use std::cmp::Reverse;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use super::cache::Kept;
use super::directory::{NameKind, absent_is_none, read_names};
use super::segment::{Kind, Segment, SegmentName};
use crate::error::{Error, Result};
use crate::timestamp::{Hour, Span, Timestamp};

/// The best segments of one hour of one variant, in the order of their starts, one for each start.
///
/// Compact, because many hours are kept: the names stand one after another in a single string.
#[derive(Debug)]
pub struct HourIndex {
    hour: Hour,
    entries: Vec<Entry>,
    names: String,
    longest: Span,
    fingerprint: u64,
}

/// What is known of an hour without its segments, which is kept for longer than they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HourSummary {
    /// Which one.
    pub hour: Hour,
    /// How many segments it has.
    pub segments: usize,
    /// The greatest duration of its segments.
    pub longest: Span,
    /// When the last of them ends; of none, before all time.
    pub latest_end: Timestamp,
    /// A number that differs where the segments do: the same on every server that has the same files.
    pub fingerprint: u64,
}

/// The names in an hour's directory that say nothing about a segment.
#[derive(Debug, Default)]
pub(super) struct Unparsable {
    /// Those that are text.
    pub(super) names: Vec<String>,
    /// How many more there are that are not even that.
    pub(super) not_text: usize,
}

/// One segment of an hour.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Microseconds into the hour; an hour has fewer than 2^32.
    offset_us: u32,
    name_at: u32,
    name_len: u16,
    kind: Kind,
    duration: Span,
}

impl HourIndex {
    /// An hour with nothing in it.
    pub(super) fn empty(hour: Hour) -> Self {
        Self { hour, entries: Vec::new(), names: String::new(), longest: Span::ZERO, fingerprint: 0 }
    }

    /// Reads the directory at `path`; one that is not there is an empty hour.
    pub(super) fn read(hour: Hour, path: &Path) -> Result<(Self, Unparsable)> {
        let mut index = Self::empty(hour);
        let mut tombstones = Vec::new();
        let mut unparsable = Unparsable::default();
        let mut not_text = 0;
        let sort_name = |name: &str, kind: NameKind| {
            if let Some(dead) = name.strip_suffix(".tombstone") {
                tombstones.push(dead.to_owned());
            } else if !is_extension(name, "json") && !index.add(name, kind) {
                unparsable.names.push(name.to_owned());
            }
        };
        read_names(path, false, sort_name, || not_text += 1)?;
        unparsable.not_text = not_text;
        index.bury(tombstones);
        index.keep_best(path)?;
        Ok((index, unparsable))
    }

    /// Takes one name of the directory in, unless it says nothing about a segment.
    fn add(&mut self, name: &str, kind: NameKind) -> bool {
        let parsed = if kind == NameKind::File { SegmentName::parse(name) } else { None };
        let Some(parsed) = parsed else { return false };
        let (Ok(offset_us), Ok(name_at), Ok(name_len)) = (
            u32::try_from(parsed.offset.micros()),
            u32::try_from(self.names.len()),
            u16::try_from(name.len()),
        ) else {
            return false;
        };
        if parsed.kind != Kind::Temp {
            self.names.push_str(name);
            let (kind, duration) = (parsed.kind, parsed.duration);
            self.entries.push(Entry { offset_us, name_at, name_len, kind, duration });
        }
        true
    }

    /// Drops the segments that have a tombstone beside them.
    fn bury(&mut self, mut tombstones: Vec<String>) {
        if tombstones.is_empty() {
            return;
        }
        tombstones.sort_unstable();
        let names = &self.names;
        self.entries.retain(|entry| {
            let name = entry.name(names);
            let stem = name.strip_suffix(".ts").unwrap_or(name);
            tombstones.binary_search_by(|dead| dead.as_str().cmp(stem)).is_err()
        });
    }

    /// Sorts the entries and leaves the best one for each start.
    ///
    /// A `full` segment is the better the longer it is, then the larger its file; a `suspect` or `partial` one is the
    /// better the larger its file. Files are measured only where their names leave the matter open, and one that
    /// has gone by then is out of the running.
    fn keep_best(&mut self, path: &Path) -> Result<()> {
        let names = &self.names;
        let longest_first = |entry: &Entry| match entry.kind {
            Kind::Full => Reverse(entry.duration),
            Kind::Suspect | Kind::Partial | Kind::Temp => Reverse(Span::ZERO),
        };
        let rank = |entry: &Entry| (entry.offset_us, entry.kind, longest_first(entry));
        self.entries.sort_unstable_by_key(rank);
        let mut best: Vec<Entry> = Vec::with_capacity(self.entries.len());
        let mut state = DefaultHasher::new();
        for same_start in self.entries.chunk_by(|a, b| a.offset_us == b.offset_us) {
            let mut equals = same_start.chunk_by(|a, b| rank(a) == rank(b));
            let winner = equals.find_map(|equals| match equals {
                [only] => Some(Ok(*only)),
                several => largest(several, names, path).transpose(),
            });
            if let Some(winner) = winner.transpose()? {
                winner.name(names).hash(&mut state);
                best.push(winner);
            }
        }
        self.longest = best.iter().map(|entry| entry.duration).max().unwrap_or(Span::ZERO);
        self.entries = best;
        self.fingerprint = state.finish();
        Ok(())
    }

    /// The hour this is.
    pub fn hour(&self) -> Hour {
        self.hour
    }

    /// Where the first segment is that starts at or after `start`.
    pub fn position(&self, start: Timestamp) -> usize {
        let offset = (start - self.hour.start()).micros();
        self.entries.partition_point(|entry| i64::from(entry.offset_us) < offset)
    }

    /// The segment at a position, if there are so many.
    pub fn segment(&self, position: usize) -> Option<Segment<'_>> {
        let entry = self.entries.get(position)?;
        Some(Segment {
            hour: self.hour,
            start: self.hour.start() + Span::from_micros(i64::from(entry.offset_us)),
            duration: entry.duration,
            kind: entry.kind,
            name: entry.name(&self.names),
        })
    }

    /// All segments of the hour.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = Segment<'_>> {
        (0..self.entries.len()).filter_map(|position| self.segment(position))
    }

    /// How many segments the hour has.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the hour has no segment.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The hour in a few words.
    pub(super) fn summary(&self) -> HourSummary {
        HourSummary {
            hour: self.hour,
            segments: self.entries.len(),
            longest: self.longest,
            latest_end: self.segments().map(|segment| segment.end()).max().unwrap_or(Timestamp::MIN),
            fingerprint: self.fingerprint,
        }
    }
}

impl Kept for HourIndex {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.entries.capacity() * size_of::<Entry>() + self.names.capacity()
    }
}

impl HourSummary {
    /// That of an hour with nothing in it.
    pub(super) fn empty(hour: Hour) -> Self {
        HourIndex::empty(hour).summary()
    }
}

impl Kept for HourSummary {
    fn bytes(&self) -> usize {
        size_of::<Self>()
    }
}

impl Entry {
    fn name<'a>(&self, names: &'a str) -> &'a str {
        let at = self.name_at as usize;
        &names[at..at + usize::from(self.name_len)]
    }
}

/// Of several equally good segments with one start, the one with the largest file, then the longest, then the one
/// with the greatest hash.
///
/// # Errors
/// [`Error::Io`] if the disk does not say how large one is: an hour is remembered, and the loser might be with it.
fn largest(several: &[Entry], names: &str, path: &Path) -> Result<Option<Entry>> {
    let mut sized = Vec::with_capacity(several.len());
    for entry in several {
        let file = path.join(entry.name(names));
        let meta = absent_is_none(std::fs::metadata(&file)).map_err(Error::io("look at", &file))?;
        sized.extend(meta.map(|meta| (meta.len(), entry)));
    }
    let hash = |entry: &Entry| SegmentName::parse(entry.name(names)).map(|name| name.hash);
    let best = sized.into_iter().max_by_key(|(size, entry)| (*size, entry.duration, hash(entry)));
    Ok(best.map(|(_, entry)| *entry))
}

/// Whether a file name ends in `.extension`.
pub(super) fn is_extension(name: &str, extension: &str) -> bool {
    let stem = name.strip_suffix(extension).and_then(|rest| rest.strip_suffix('.'));
    stem.is_some_and(|stem| !stem.is_empty())
}
