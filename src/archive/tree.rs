//! [`Archive`]: the directories and files below the base directory. Nobody else knows where that is.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::cache::{CacheStats, DirectoryCache, Kept};
use super::directory::{NameKind, is_directory, read_names};
use super::file::FoundFile;
use super::hour::{HourIndex, HourSummary, Unparsable};
use super::layout::{Segment, VariantName};
use super::listing::{HourList, Listing};
use super::{measure, newest};
use crate::error::{Error, Result};
use crate::timestamp::Hour;

/// How many unparsable names are remembered, so that each is logged once.
const NAMES_REMEMBERED: usize = 4096;

/// An archive of recordings.
#[derive(Debug)]
pub struct Archive {
    base: PathBuf,
    hours: DirectoryCache<HourList>,
    indexes: DirectoryCache<HourIndex>,
    summaries: DirectoryCache<HourSummary>,
    listings: DirectoryCache<Listing>,
    pub(super) contents: measure::Contents,
    unparsable_total: AtomicU64,
    unparsable_seen: Mutex<HashSet<String>>,
    pub(super) newest: newest::Remembered,
}

impl Archive {
    /// An archive below `base`, with at most about `cache_bytes` of memory for what was read already; 0 keeps nothing.
    pub fn new(base: impl Into<PathBuf>, cache_bytes: usize) -> Self {
        Self {
            base: base.into(),
            hours: DirectoryCache::new(cache_bytes / 16),
            indexes: DirectoryCache::new(cache_bytes / 16 * 11),
            summaries: DirectoryCache::new(cache_bytes / 8),
            listings: DirectoryCache::new(cache_bytes / 8),
            contents: measure::Contents::default(),
            unparsable_total: AtomicU64::new(0),
            unparsable_seen: Mutex::default(),
            newest: newest::Remembered::default(),
        }
    }

    /// Reads the base directory, to see whether that can be done at all.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it is not there, [`Error::Io`] if it cannot be read.
    pub fn check(&self) -> Result<()> {
        if read_names(&self.base, false, |_, _| {}, || {})? {
            return Ok(());
        }
        let what =
            if self.base.exists() { "it is not a directory" } else { "the base directory is not there" };
        Err(Error::NotFound { what: what.to_owned() })
    }

    /// The streams' names, sorted.
    pub fn streams(&self) -> Result<Vec<String>> {
        Self::directories(&self.base)
    }

    /// The names of a stream's variants, sorted; none where there is no such stream.
    pub fn variants(&self, stream: &str) -> Result<Vec<String>> {
        Self::directories(&self.base.join(stream))
    }

    /// Whether there is such a stream.
    pub fn has_stream(&self, stream: &str) -> Result<bool> {
        is_directory(&self.base.join(stream))
    }

    /// Whether there is such a variant.
    pub fn has_variant(&self, name: VariantName) -> Result<bool> {
        is_directory(&self.variant_path(name))
    }

    /// The hours that a variant has directories for, sorted; none where there is no such variant.
    pub fn hours(&self, name: VariantName) -> Result<Arc<[Hour]>> {
        let path = self.variant_path(name);
        let list = self.hours.get_alone(&path, || HourList::read(&path))?;
        Ok(list.map_or_else(|| Arc::from([]), |list| Arc::clone(&list.hours)))
    }

    /// What there is to list of an hour, as it is now; nothing where there is no such directory.
    pub fn listing(&self, name: VariantName, hour: &str) -> Result<Arc<Listing>> {
        let path = self.variant_path(name).join(hour);
        let listing = self.listings.get(&path, true, || Listing::read(&path))?;
        listing.map_or_else(|| Listing::empty().map(Arc::new), Ok)
    }

    /// The best segments of one hour, as it is now. An hour that is not there has none.
    pub fn hour(&self, name: VariantName, hour: Hour) -> Result<Arc<HourIndex>> {
        self.read_hour(name, hour, 0)
    }

    /// The same on a walk that has gone through hours of `walked_bytes` before, and keeps no more in memory than its
    /// share.
    pub(super) fn read_hour(
        &self,
        name: VariantName,
        hour: Hour,
        walked_bytes: usize,
    ) -> Result<Arc<HourIndex>> {
        let path = self.variant_path(name).join(hour.to_string());
        let keep = walked_bytes <= self.indexes.share_bytes();
        let read = || {
            let (index, unparsable) = HourIndex::read(hour, &path)?;
            self.note_unparsable(unparsable, &path);
            Ok(index)
        };
        let index = self.indexes.get(&path, keep, read)?;
        Ok(index.unwrap_or_else(|| Arc::new(HourIndex::empty(hour))))
    }

    /// What there is to know of hours without their segments, as they are now.
    pub fn summaries(&self, name: VariantName, hours: &[Hour]) -> Result<Vec<HourSummary>> {
        let mut walked_bytes = 0;
        let mut summaries = Vec::with_capacity(hours.len());
        for hour in hours {
            let path = self.variant_path(name).join(hour.to_string());
            let read = || {
                let index = self.read_hour(name, *hour, walked_bytes)?;
                walked_bytes += index.bytes();
                Ok(index.summary())
            };
            let summary = self.summaries.get(&path, true, read)?;
            summaries.push(summary.map_or_else(|| HourSummary::empty(*hour), |summary| *summary));
        }
        Ok(summaries)
    }

    /// Finds a regular file of the archive; `parts` are the names that lead to it.
    ///
    /// Symbolic links are followed. The parts must not hold `/` or begin with a period.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such file or it is not a regular one.
    pub fn find<S: AsRef<str>>(&self, parts: &[S]) -> Result<FoundFile> {
        let mut path = self.base.clone();
        path.extend(parts.iter().map(AsRef::as_ref));
        FoundFile::at(path)
    }

    /// Where a segment's file is.
    pub fn segment_path(&self, name: VariantName, segment: &Segment) -> PathBuf {
        let mut path = self.variant_path(name);
        path.push(segment.hour.to_string());
        path.push(&*segment.name.text());
        path
    }

    /// How many names have been met that say nothing about a segment.
    pub fn unparsable_names_total(&self) -> u64 {
        self.unparsable_total.load(Ordering::Relaxed)
    }

    /// How the cache of hours is doing.
    pub fn cache_stats(&self) -> CacheStats {
        self.indexes.stats()
    }

    fn variant_path(&self, name: VariantName) -> PathBuf {
        let mut path = self.base.join(name.stream);
        path.push(name.variant);
        path
    }

    /// The visible directories in `path`, sorted.
    fn directories(path: &Path) -> Result<Vec<String>> {
        let mut names = Vec::new();
        let keep = |name: &str, kind| match kind {
            NameKind::Directory | NameKind::Link { to_directory: true } => names.push(name.to_owned()),
            // The others are there all the same.
            NameKind::Lost(errno) => log::warn!("cannot look at `{}`: {errno}", path.join(name).display()),
            NameKind::File | NameKind::Link { to_directory: false } | NameKind::Other => {}
        };
        read_names(path, true, keep, || {})?;
        names.sort_unstable();
        Ok(names)
    }

    /// Counts the names of an hour that did not parse, and logs each the first time.
    fn note_unparsable(&self, mut unparsable: Unparsable, path: &Path) {
        let count = unparsable.names.len() + unparsable.not_text;
        if count == 0 {
            return;
        }
        self.unparsable_total.fetch_add(count as u64, Ordering::Relaxed);
        let mut seen = self.unparsable_seen.lock().unwrap_or_else(PoisonError::into_inner);
        unparsable.names.retain(|name| seen.len() < NAMES_REMEMBERED && seen.insert(name.clone()));
        drop(seen);
        for name in unparsable.names {
            log::warn!(
                "skipped `{}` in `{}`: not the name of a segment",
                name.escape_debug(),
                path.display()
            );
        }
    }
}
