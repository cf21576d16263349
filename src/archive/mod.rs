//! What is on disk: `BASE_DIR/<stream>/<variant>/<hour>/<segment>.ts`.
//!
//! [`Archive`] is the only one who knows where the base directory is. It is read-only, and other programs write to the
//! tree at any time: a directory that is not there, or no longer, is an empty one.

pub mod cache;
mod directory;
pub mod hour;
pub mod listing;
pub mod measure;
pub mod newest;
pub mod packed;
pub mod segment;
pub mod select;
pub mod selection;

use std::collections::HashSet;
use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustix::fs::{Mode, OFlags};

use self::cache::{CacheStats, DirectoryCache, Kept};
use self::directory::{NameKind, absent_is_none, is_directory, read_names};
use self::hour::{HourIndex, HourSummary, Unparsable};
use self::listing::{HourList, Listing};
use self::segment::Segment;
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
    contents: measure::Contents,
    unparsable_total: AtomicU64,
    unparsable_seen: Mutex<HashSet<String>>,
    newest: newest::Remembered,
}

/// A regular file of the archive that is there, and what the system says about it.
#[derive(Debug)]
pub struct FoundFile {
    path: PathBuf,
    /// Its length in bytes.
    pub len: u64,
    /// When it was last written.
    pub modified: SystemTime,
}

/// A file of the archive, open, with what the system says about it.
#[derive(Debug)]
pub struct OpenFile {
    /// The file.
    pub file: File,
    /// Its length in bytes when it was opened.
    pub len: u64,
    /// When it was last written.
    pub modified: SystemTime,
}

/// A stream's variant, by the names it has in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VariantName<'a> {
    /// The stream.
    pub stream: &'a str,
    /// The variant of the stream.
    pub variant: &'a str,
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
    fn read_hour(&self, name: VariantName, hour: Hour, walked_bytes: usize) -> Result<Arc<HourIndex>> {
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

/// Opens the regular file at `path` for reading.
///
/// # Errors
/// [`Error::NotFound`] if there is no such file or it is not a regular one.
pub fn open_regular(path: &Path) -> Result<OpenFile> {
    FoundFile::at(path.to_owned())?.open()
}

impl FoundFile {
    fn at(path: PathBuf) -> Result<Self> {
        let looked = absent_is_none(std::fs::metadata(&path)).map_err(Error::io("look at", &path))?;
        let meta = looked.filter(Metadata::is_file).ok_or_else(no_file)?;
        let modified = meta.modified().map_err(Error::io("look at", &path))?;
        Ok(Self { len: meta.len(), modified, path })
    }

    /// Opens it for reading. Nothing that could block or answer for something else, such as a pipe, a socket or a
    /// device, is opened.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it has gone, or something else is in its place.
    pub fn open(self) -> Result<OpenFile> {
        open_found(&self.path)
    }
}

/// Opens the file at `path` for reading, which was found to be a regular one before.
///
/// # Errors
/// [`Error::NotFound`] if it has gone, or something else is in its place.
pub fn open_found(path: &Path) -> Result<OpenFile> {
    // It may have been replaced since: what a pipe does to an opening reader is kept off by NONBLOCK.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = absent_is_none(rustix::fs::open(path, flags, Mode::empty()));
    let file = File::from(opened.map_err(Error::io("open", path))?.ok_or_else(no_file)?);
    let meta = file.metadata().map_err(Error::io("look at", path))?;
    if !meta.is_file() {
        return Err(no_file());
    }
    Ok(OpenFile { len: meta.len(), modified: meta.modified().map_err(Error::io("look at", path))?, file })
}

fn no_file() -> Error {
    Error::NotFound { what: "there is no such file".to_owned() }
}
