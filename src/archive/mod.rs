//! What is on disk: `BASE_DIR/<stream>/<variant>/<hour>/<segment>.ts`.
//!
//! [`Archive`] is the only one who knows where the base directory is. It is read-only, and other programs write to the
//! tree at any time: a directory that is not there, or no longer, is an empty one.

pub mod cache;
mod directory;
pub mod hour;
pub mod measure;
pub mod newest;
pub mod segment;
pub mod select;
pub mod selection;

use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustix::fs::{FileType, Mode, OFlags};

use self::cache::{CacheStats, HourCache};
use self::directory::{NameKind, absent_is_none, is_directory, read_names};
use self::hour::{HourIndex, Unparsable, is_extension};
use self::segment::Segment;
use crate::error::{Error, Result};
use crate::timestamp::Hour;

/// How many unparsable names are remembered, so that each is logged once.
const NAMES_REMEMBERED: usize = 4096;

/// An archive of recordings.
#[derive(Debug)]
pub struct Archive {
    base: PathBuf,
    cache: HourCache,
    contents: measure::Contents,
    unparsable_total: AtomicU64,
    unparsable_seen: Mutex<HashSet<String>>,
    newest: newest::Remembered,
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
    /// An archive below `base`, with at most about `cache_bytes` of memory for hours read already; 0 keeps none.
    pub fn new(base: impl Into<PathBuf>, cache_bytes: usize) -> Self {
        Self {
            base: base.into(),
            cache: HourCache::new(cache_bytes),
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
        Err(Error::NotFound { what: "the base directory is not there".to_owned() })
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
    pub fn hours(&self, name: VariantName) -> Result<Vec<Hour>> {
        let (mut hours, mut lost) = (Vec::new(), None);
        let path = self.variant_path(name);
        let keep = |name: &str, kind| match (kind, Hour::parse(name)) {
            (NameKind::Directory, Some(hour)) => hours.push(hour),
            (NameKind::Lost(errno), Some(_)) => {
                lost = Some(Error::io("look at", path.join(name))(errno.into()));
            }
            _ => {}
        };
        read_names(&path, true, keep, || {})?;
        hours.sort_unstable();
        // A list without one that may be there would pass for whole.
        lost.map_or(Ok(hours), Err)
    }

    /// The names of an hour's segments (of every kind) and `.json` files, sorted, without those that have a
    /// tombstone; with `tombstones` the tombstones' names too. None where there is no such directory.
    pub fn names(&self, name: VariantName, hour: &str, tombstones: bool) -> Result<Vec<String>> {
        let mut names = Vec::new();
        let mut dead = HashSet::new();
        let keep = |name: &str, kind| {
            if let Some(stem) = name.strip_suffix(".tombstone") {
                dead.insert(stem.to_owned());
            } else if kind == NameKind::File && (is_extension(name, "ts") || is_extension(name, "json")) {
                names.push(name.to_owned());
            }
        };
        read_names(&self.variant_path(name).join(hour), false, keep, || {})?;
        if !dead.is_empty() {
            names.retain(|name| name.rsplit_once('.').is_none_or(|(stem, _)| !dead.contains(stem)));
        }
        if tombstones {
            names.extend(dead.into_iter().map(|stem| stem + ".tombstone"));
        }
        names.sort_unstable();
        Ok(names)
    }

    /// The best segments of one hour, as it is now. An hour that is not there has none.
    pub fn hour(&self, name: VariantName, hour: Hour) -> Result<Arc<HourIndex>> {
        self.read_hour(name, hour, true)
    }

    /// The same on a walk that has gone through hours of `walked_bytes` before, and keeps no more in memory than its
    /// share.
    fn hour_of_walk(&self, name: VariantName, hour: Hour, walked_bytes: usize) -> Result<Arc<HourIndex>> {
        self.read_hour(name, hour, walked_bytes <= self.cache.share_bytes())
    }

    fn read_hour(&self, name: VariantName, hour: Hour, keep: bool) -> Result<Arc<HourIndex>> {
        let path = self.variant_path(name).join(hour.to_string());
        self.cache.get(hour, &path, keep, || {
            let (index, unparsable) = HourIndex::read(hour, &path)?;
            self.note_unparsable(unparsable, &path);
            Ok(index)
        })
    }

    /// Opens a regular file of the archive; `parts` are the names that lead to it.
    ///
    /// Symbolic links are followed. Nothing that could block or answer for something else, such as a pipe, a socket
    /// or a device, is opened. The parts must not hold `/` or begin with a period.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such file or it is not a regular one.
    pub fn open<S: AsRef<str>>(&self, parts: &[S]) -> Result<OpenFile> {
        let mut path = self.base.clone();
        path.extend(parts.iter().map(AsRef::as_ref));
        open_regular(&path)
    }

    /// Where a segment's file is.
    pub fn segment_path(&self, name: VariantName, segment: &Segment) -> PathBuf {
        let mut path = self.variant_path(name);
        path.push(segment.hour.to_string());
        path.push(segment.name);
        path
    }

    /// How many names have been met that say nothing about a segment.
    pub fn unparsable_names_total(&self) -> u64 {
        self.unparsable_total.load(Ordering::Relaxed)
    }

    /// How the cache of hours is doing.
    pub fn cache_stats(&self) -> CacheStats {
        self.cache.stats()
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
            NameKind::Directory => names.push(name.to_owned()),
            // The others are there all the same.
            NameKind::Lost(errno) => log::warn!("cannot look at `{}`: {errno}", path.join(name).display()),
            NameKind::File | NameKind::Other => {}
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

/// Opens the regular file at `path` for reading, as [`Archive::open`] says.
pub fn open_regular(path: &Path) -> Result<OpenFile> {
    let missing = || Error::NotFound { what: "there is no such file".to_owned() };
    let looked = absent_is_none(rustix::fs::stat(path)).map_err(Error::io("look at", path))?;
    if looked.is_none_or(|stat| !FileType::from_raw_mode(stat.st_mode).is_file()) {
        return Err(missing());
    }
    // It may have been replaced since: what a pipe does to an opening reader is kept off by NONBLOCK.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = absent_is_none(rustix::fs::open(path, flags, Mode::empty()));
    let file = File::from(opened.map_err(Error::io("open", path))?.ok_or_else(missing)?);
    let meta = file.metadata().map_err(Error::io("look at", path))?;
    if !meta.is_file() {
        return Err(missing());
    }
    Ok(OpenFile { len: meta.len(), modified: meta.modified().map_err(Error::io("look at", path))?, file })
}
