//! [`Archive`]: the directories and files below the base directory. Nobody else knows where that is.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::cache::{CacheValue, DirectoryCache};
use super::chat::ChatReader;
use super::directory::{EntryType, is_directory, read_names};
use super::extras;
use super::file::FoundFile;
use super::hour::{HourIndex, HourSummary, SummarizedHour, Unparsable};
use super::inspect::{Inspector, NewestSegment};
use super::layout::{CHAT, Segment, VariantName, hour_name};
use super::listing::{HourList, Listing};
use super::select::LOOK_BACK;
use crate::bounded_cache::CacheStats;
use crate::error::{Error, Result};
use crate::ffmpeg::Ffprobe;
use crate::fnv::Fnv;
use crate::hls::multivariant::Measured;
use crate::timestamp::{Hour, Timestamp};

/// How many unparsable names are remembered, in 8 bytes each, so that each is counted and logged once.
const MAX_NOTED_NAMES: usize = 65_536;
/// How many of a variant's newest segments are measured.
const MEASURED_SEGMENTS: usize = 30;
/// In how many of a variant's newest hours its newest segments are searched.
const NEWEST_HOURS: usize = 2;
/// Of how many variants the newest segments are searched.
const MAX_NEWEST: usize = 1000;

/// An archive of recordings.
#[derive(Debug)]
pub struct Archive {
    base: PathBuf,
    hours: DirectoryCache<HourList>,
    indexes: DirectoryCache<HourIndex>,
    summaries: DirectoryCache<SummarizedHour>,
    listings: DirectoryCache<Listing>,
    inspector: Inspector,
    chat: ChatReader,
    unparsable_total: AtomicU64,
    /// Hashes of names that were counted, with their directories, and of names that were logged.
    unparsable_noted: Mutex<HashSet<u64>>,
}

impl Archive {
    /// The archive below `base`, with at most about `cache_bytes` of memory for directories that were read; 0 keeps none.
    pub fn new(base: impl Into<PathBuf>, cache_bytes: usize) -> Self {
        Self {
            base: base.into(),
            hours: DirectoryCache::new(cache_bytes / 16),
            indexes: DirectoryCache::new(cache_bytes / 16 * 11),
            summaries: DirectoryCache::new(cache_bytes / 8),
            listings: DirectoryCache::new(cache_bytes / 8),
            inspector: Inspector::default(),
            chat: ChatReader::default(),
            unparsable_total: AtomicU64::new(0),
            unparsable_noted: Mutex::default(),
        }
    }

    /// Reads the base directory, to see whether that is possible.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it does not exist, [`Error::Io`] if it cannot be read.
    pub fn check(&self) -> Result<()> {
        if read_names(&self.base, false, |_, _| {})?.is_some() {
            return Ok(());
        }
        let what =
            if self.base.exists() { "it is not a directory" } else { "the base directory is not there" };
        Err(Error::NotFound(what.to_owned()))
    }

    /// The streams' names, sorted.
    pub fn streams(&self) -> Result<Vec<String>> {
        directories(&self.base)
    }

    /// The names of a stream's variants, sorted; none where there is no such stream.
    pub fn variants(&self, stream: &str) -> Result<Vec<String>> {
        directories(&self.base.join(stream))
    }

    /// Whether there is such a stream.
    pub fn has_stream(&self, stream: &str) -> Result<bool> {
        is_directory(&self.base.join(stream))
    }

    /// Whether there is such a variant.
    pub fn has_variant(&self, name: VariantName) -> Result<bool> {
        is_directory(&name.directory(&self.base))
    }

    /// The hours that a variant has directories for, sorted; none where there is no such variant.
    pub fn hours(&self, name: VariantName) -> Result<Arc<[Hour]>> {
        let path = name.directory(&self.base);
        let list = self.hours.get_alone(&path, true, || HourList::read(&path))?;
        Ok(Arc::clone(&list.hours))
    }

    /// The names in an hour's directory; none where there is no such directory. `hour` is the directory's name.
    pub fn listing(&self, name: VariantName, hour: &str) -> Result<Arc<Listing>> {
        let path = name.directory(&self.base).join(hour);
        self.listings.get(&path, || Listing::read(&path))
    }

    /// The best segments of an hour; none where there is no such hour.
    pub fn hour(&self, name: VariantName, hour: Hour) -> Result<Arc<HourIndex>> {
        self.read_hour(name, hour, 0)
    }

    /// The same on a walk through hours, whose indexes so far take `walked_bytes`: the walk keeps no more in the cache than
    /// its share.
    pub(super) fn read_hour(
        &self,
        name: VariantName,
        hour: Hour,
        walked_bytes: usize,
    ) -> Result<Arc<HourIndex>> {
        let path = self.hour_path(name, hour);
        let read = || {
            let (index, unparsable) = HourIndex::read(hour, &path, false)?;
            self.note_unparsable(&unparsable, &path);
            Ok(index)
        };
        if walked_bytes <= self.indexes.share_bytes() {
            self.indexes.get(&path, read)
        } else {
            self.indexes.get_alone(&path, false, read)
        }
    }

    /// The best segments of an hour that are not empty. It is read anew.
    pub(super) fn read_hour_without_empty(&self, name: VariantName, hour: Hour) -> Result<Arc<HourIndex>> {
        Ok(Arc::new(HourIndex::read(hour, &self.hour_path(name, hour), true)?.0))
    }

    /// The summaries of hours.
    pub fn summaries(&self, name: VariantName, hours: &[Hour]) -> Result<Vec<HourSummary>> {
        let mut walked_bytes = 0;
        let summary = |hour: &Hour| Ok(self.summarized_hour(name, *hour, &mut walked_bytes)?.summary);
        hours.iter().map(summary).collect()
    }

    /// What is kept of an hour on a walk through hours, whose indexes so far take `walked_bytes`.
    pub(super) fn summarized_hour(
        &self,
        name: VariantName,
        hour: Hour,
        walked_bytes: &mut usize,
    ) -> Result<Arc<SummarizedHour>> {
        self.summaries.get(&self.hour_path(name, hour), || {
            let index = self.read_hour(name, hour, *walked_bytes)?;
            *walked_bytes += index.bytes();
            Ok(index.summarized())
        })
    }

    /// The live end of a variant, which has these sorted `hours`: when the last of its `full` segments ends, whenever that
    /// was. `None` if it has none.
    pub fn live_end(&self, name: VariantName, hours: &[Hour]) -> Result<Option<Timestamp>> {
        let mut latest = None;
        for hour in hours.iter().rev() {
            // A long segment of the hour before may end last; none of an earlier hour that selections find.
            if latest.is_some_and(|latest| latest >= hour.end() + LOOK_BACK) {
                break;
            }
            let summaries = self.summaries(name, std::slice::from_ref(hour))?;
            latest = latest.max(summaries.iter().filter_map(|summary| summary.latest_full_end).max());
        }
        Ok(latest)
    }

    /// The start of the first segment of a variant, which has these sorted `hours`.
    pub fn first_start(&self, name: VariantName, hours: &[Hour]) -> Result<Option<Timestamp>> {
        for hour in hours {
            if let Some(first) = self.hour(name, *hour)?.segment(0) {
                return Ok(Some(first.start()));
            }
        }
        Ok(None)
    }

    /// Finds a regular file, following symbolic links. `parts` are the names that lead to it: none may hold `/` or begin
    /// with a period.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such file or it is not a regular one.
    pub fn find<S: AsRef<str>>(&self, parts: &[S]) -> Result<FoundFile> {
        let mut path = self.base.clone();
        path.extend(parts.iter().map(AsRef::as_ref));
        FoundFile::at(path)
    }

    /// The paths of all files below a directory of the archive, relative to it, sorted.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if there are more than 100,000; [`Error::Cancelled`] once `is_cancelled` returns true.
    pub fn extras(&self, directory: &str, is_cancelled: &dyn Fn() -> bool) -> Result<Vec<String>> {
        extras::list(self.base.join(directory), is_cancelled)
    }

    /// The chat messages of a stream in a range, as a JSON array; none where there is no such stream.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if there are too many; [`Error::Busy`] if those of other requests take the memory for them;
    /// [`Error::Cancelled`] once `is_cancelled` returns true.
    pub fn chat(
        &self,
        stream: &str,
        range: (Timestamp, Timestamp),
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Vec<u8>> {
        self.chat.read(&VariantName { stream, variant: CHAT }.directory(&self.base), range, is_cancelled)
    }

    /// The path of a segment's file.
    pub fn segment_path(&self, name: VariantName, segment: &Segment) -> PathBuf {
        let mut path = self.hour_path(name, segment.hour);
        path.push(segment.name.to_string());
        path
    }

    fn hour_path(&self, name: VariantName, hour: Hour) -> PathBuf {
        let mut path = name.directory(&self.base);
        path.push(hour_name(hour));
        path
    }

    /// Measures the newest segments in `hours`, which are sorted hours of the variant: 30 segments in two hours at most.
    /// What is in the newest one is read from it.
    pub fn measure(&self, name: VariantName, hours: &[Hour], ffprobe: &Ffprobe) -> Result<Measured> {
        let mut segments = Vec::new();
        for hour in hours.iter().rev().take(NEWEST_HOURS) {
            let index = self.hour(name, *hour)?;
            let newest = index.segments().rev().take(MEASURED_SEGMENTS - segments.len());
            segments.extend(newest.map(|segment| (self.segment_path(name, &segment), segment.name.duration)));
        }
        self.inspector.measure(&segments, ffprobe)
    }

    /// When the newest segments of the first 1,000 variants ended. A variant without segments, or that cannot be read, is
    /// left out. The disk is read at most once a second, however often and concurrently this is called.
    pub fn newest_segment_ends(&self) -> Arc<[NewestSegment]> {
        self.inspector.newest_ends(Instant::now(), || self.find_newest())
    }

    fn find_newest(&self) -> Vec<NewestSegment> {
        let log = |error: &Error| log::warn!("cannot look for the newest segments: {error}");
        let mut found = Vec::new();
        let mut left = MAX_NEWEST;
        for stream in self.streams().inspect_err(log).unwrap_or_default() {
            let variants = self.variants(&stream).inspect_err(log).unwrap_or_default();
            for variant in variants.into_iter().take(left) {
                left -= 1;
                let end = self.newest_end(VariantName { stream: &stream, variant: &variant });
                if let Some(end) = end.inspect_err(log).ok().flatten() {
                    found.push(NewestSegment { stream: stream.clone(), variant, end });
                }
            }
        }
        found
    }

    fn newest_end(&self, name: VariantName) -> Result<Option<Timestamp>> {
        for hour in self.hours(name)?.iter().rev().take(NEWEST_HOURS) {
            if let Some(segment) = self.hour(name, *hour)?.segments().next_back() {
                return Ok(Some(segment.end()));
            }
        }
        Ok(None)
    }

    /// How many different unparsable names have been met; the same name in two directories counts twice.
    pub fn unparsable_names_total(&self) -> u64 {
        self.unparsable_total.load(Ordering::Relaxed)
    }

    /// Counts and sizes of the cache of hours.
    pub fn cache_stats(&self) -> CacheStats {
        self.indexes.stats()
    }

    /// Counts the names of an hour that did not parse, each the first time. Logs a name the first time it is met anywhere.
    fn note_unparsable(&self, unparsable: &Unparsable, path: &Path) {
        let mut noted = self.unparsable_noted.lock().unwrap_or_else(PoisonError::into_inner);
        let mut is_new = |hash| noted.len() < MAX_NOTED_NAMES && noted.insert(hash);
        let directory = path.to_string_lossy();
        // Names that are not UTF-8 are told apart by their number.
        let mut count =
            (0..unparsable.not_utf8).filter(|number| is_new(hash(&directory, &number.to_string()))).count();
        let mut unlogged = Vec::new();
        for name in &unparsable.names {
            count += usize::from(is_new(hash(&format!("{directory}/"), name)));
            unlogged.extend(is_new(hash("", name)).then_some(name));
        }
        drop(noted);
        self.unparsable_total.fetch_add(count as u64, Ordering::Relaxed);
        for name in unlogged {
            log::warn!(
                "skipped `{}` in `{}`: not the name of a segment",
                name.escape_debug(),
                path.display()
            );
        }
    }
}

fn hash(directory: &str, name: &str) -> u64 {
    let mut hash = Fnv::new();
    hash.write_str(directory);
    hash.write_str(name);
    hash.finish()
}

/// The names of the directories in `path` that are not hidden, sorted.
fn directories(path: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let each = |name: &str, entry_type| match entry_type {
        EntryType::Directory | EntryType::Link { to_directory: true } => names.push(name.to_owned()),
        // The list is useful without it.
        EntryType::Unreadable(errno) => log::warn!("cannot look at `{}`: {errno}", path.join(name).display()),
        EntryType::File | EntryType::Link { to_directory: false } | EntryType::Other => {}
    };
    read_names(path, true, each)?;
    names.sort_unstable();
    Ok(names)
}
