//! One hour directory, read into the best segment for each start time.

use std::cmp::Reverse;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use super::cache::Kept;
use super::directory::{NameKind, absent_is_none, read_names};
use super::layout::{Segment, SegmentName, SegmentType};
use super::packed::{FileName, Packed};
use crate::error::{Error, Result};
use crate::timestamp::{Hour, Span, Timestamp};

/// The best segments of one hour of one variant, in the order of their starts, one for each start.
///
/// Compact, because many hours are kept.
#[derive(Debug)]
pub struct HourIndex {
    hour: Hour,
    entries: Vec<Entry>,
    /// What the entries of unusual names stand for.
    unusual: Vec<Unusual>,
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
enum Entry {
    /// One with a name of the usual form.
    Packed(Packed),
    /// Another one, and where it is among the unusual. An hour has fewer than 2^32 microseconds.
    Unusual { offset_us: u32, at: u32 },
}

/// A segment whose name cannot be packed.
#[derive(Debug)]
struct Unusual {
    name: Box<str>,
    kind: SegmentType,
    duration: Span,
}

impl HourIndex {
    /// An hour with nothing in it.
    pub(super) fn empty(hour: Hour) -> Self {
        Self { hour, entries: Vec::new(), unusual: Vec::new(), longest: Span::ZERO, fingerprint: 0 }
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
        if parsed.kind == SegmentType::Temp {
            return true;
        }
        let entry = Packed::pack(name, &parsed).map(Entry::Packed).or_else(|| {
            let offset_us = u32::try_from(parsed.offset.micros()).ok()?;
            let at = u32::try_from(self.unusual.len()).ok()?;
            self.unusual.push(Unusual { name: name.into(), kind: parsed.kind, duration: parsed.duration });
            Some(Entry::Unusual { offset_us, at })
        });
        self.entries.extend(entry);
        entry.is_some()
    }

    /// Drops the segments that have a tombstone beside them.
    fn bury(&mut self, mut tombstones: Vec<String>) {
        if tombstones.is_empty() {
            return;
        }
        tombstones.sort_unstable();
        let unusual = &self.unusual;
        self.entries.retain(|entry| {
            let (.., name) = entry.look(unusual);
            let name = name.text();
            let stem = name.strip_suffix(".ts").unwrap_or(&name);
            tombstones.binary_search_by(|dead| dead.as_str().cmp(stem)).is_err()
        });
    }

    /// Sorts the entries and leaves the best one for each start.
    ///
    /// A `full` segment is the better the longer it is, then the larger its file; a `suspect` or `partial` one is the
    /// better the larger its file. Files are measured only where their names leave the matter open, and one that
    /// has gone by then is out of the running.
    fn keep_best(&mut self, path: &Path) -> Result<()> {
        let unusual = &self.unusual;
        let rank = |entry: &Entry| {
            let (kind, duration, _) = entry.look(unusual);
            let longest_first = match kind {
                SegmentType::Full => Reverse(duration),
                SegmentType::Suspect | SegmentType::Partial | SegmentType::Temp => Reverse(Span::ZERO),
            };
            (entry.offset_us(), kind, longest_first)
        };
        self.entries.sort_unstable_by_key(rank);
        let mut best: Vec<Entry> = Vec::with_capacity(self.entries.len());
        let mut state = DefaultHasher::new();
        for same_start in self.entries.chunk_by(|a, b| a.offset_us() == b.offset_us()) {
            let mut equals = same_start.chunk_by(|a, b| rank(a) == rank(b));
            let winner = equals.find_map(|equals| match equals {
                [only] => Some(Ok(*only)),
                several => largest(several, unusual, path).transpose(),
            });
            if let Some(winner) = winner.transpose()? {
                match winner.look(unusual) {
                    (.., FileName::Packed(packed)) => packed.hash(&mut state),
                    (.., FileName::Text(name)) => name.hash(&mut state),
                }
                best.push(winner);
            }
        }
        self.longest = best.iter().map(|entry| entry.look(unusual).1).max().unwrap_or(Span::ZERO);
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
        self.entries.partition_point(|entry| i64::from(entry.offset_us()) < offset)
    }

    /// The segment at a position, if there are so many.
    pub fn segment(&self, position: usize) -> Option<Segment<'_>> {
        let entry = self.entries.get(position)?;
        let (kind, duration, name) = entry.look(&self.unusual);
        let start = self.hour.start() + Span::from_micros(entry.offset_us().into());
        Some(Segment { hour: self.hour, start, duration, kind, name })
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
        let unusual = self.unusual.iter().map(|segment| size_of::<Unusual>() + segment.name.len());
        size_of::<Self>() + self.entries.capacity() * size_of::<Entry>() + unusual.sum::<usize>()
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
    fn offset_us(&self) -> u32 {
        match self {
            Self::Packed(Packed { offset_us, .. }) | Self::Unusual { offset_us, .. } => *offset_us,
        }
    }

    /// How good the segment is, how long it plays, and its name.
    fn look<'a>(&'a self, unusual: &'a [Unusual]) -> (SegmentType, Span, FileName<'a>) {
        match self {
            Self::Packed(packed) => {
                let duration = Span::from_micros(packed.duration_us.into());
                (packed.kind, duration, FileName::Packed(packed))
            }
            Self::Unusual { at, .. } => {
                let Unusual { name, kind, duration } = &unusual[*at as usize];
                (*kind, *duration, FileName::Text(name))
            }
        }
    }
}

/// Of several equally good segments with one start, the one with the largest file, then the longest, then the one
/// with the greatest hash.
///
/// # Errors
/// [`Error::Io`] if the disk does not say how large one is: an hour is remembered, and the loser might be with it.
fn largest(several: &[Entry], unusual: &[Unusual], path: &Path) -> Result<Option<Entry>> {
    let mut sized = Vec::with_capacity(several.len());
    for entry in several {
        let (_, duration, name) = entry.look(unusual);
        let file = path.join(&*name.text());
        let meta = absent_is_none(std::fs::metadata(&file)).map_err(Error::io("look at", &file))?;
        let hash = SegmentName::parse(&name.text()).map(|name| name.hash.to_owned());
        sized.extend(meta.map(|meta| ((meta.len(), duration, hash), *entry)));
    }
    Ok(sized.into_iter().max_by(|(a, _), (b, _)| a.cmp(b)).map(|(_, entry)| entry))
}

/// Whether a file name ends in `.extension`.
pub(super) fn is_extension(name: &str, extension: &str) -> bool {
    let stem = name.strip_suffix(extension).and_then(|rest| rest.strip_suffix('.'));
    stem.is_some_and(|stem| !stem.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_takes_no_more_room_than_a_packed_name() {
        assert_eq!(size_of::<Entry>(), size_of::<Packed>());
        assert_eq!(size_of::<Packed>(), 44);
    }
}
