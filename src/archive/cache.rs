//! What was read of directories already, so that one that has not changed is not read again.
//!
//! A directory is as it was while its device, inode and modification time are. One that changed a moment before it was
//! read may change again within the same tick of the file system's clock, so what is read then is used once and not
//! trusted later. Of several that want one directory at a time one reads it and the others wait for what it finds; and
//! where it was read within the tick already, they wait for the end of the tick, so that a change costs two readings
//! however many want to see it. The lock is held for look-ups only, never while the disk is read.
//!
//! Who walks through more hours than there is room for keeps as many as leave some room for those that others ask for
//! again and again, and these are the first ones: each new one would else drive out one that the next such walk wants
//! before it.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::directory::{Stamp, TICK_US};
use crate::error::Result;

/// What a directory costs beside what is kept of it: its path and its places in the maps.
const ENTRY_BYTES: usize = 512;
/// How many directories are remembered that were read within their tick.
const MOST_FRESH: usize = 1024;

/// What can be kept of a directory.
pub(super) trait Kept {
    /// Roughly how many bytes of memory it takes.
    fn bytes(&self) -> usize;

    /// Whether it stays true for as long as the directory does not change.
    fn is_lasting(&self) -> bool {
        true
    }
}

/// What was read of directories so far, within a bound of memory; the least recently used go first.
#[derive(Debug)]
pub(super) struct DirectoryCache<V> {
    limit_bytes: usize,
    state: Mutex<State<V>>,
    finished: Condvar,
    hits: AtomicU64,
    misses: AtomicU64,
}

#[derive(Debug)]
struct State<V> {
    directories: HashMap<PathBuf, Cached<V>>,
    /// Paths by when they were last used.
    by_use: BTreeMap<u64, PathBuf>,
    uses: u64,
    bytes: usize,
    /// Directories that somebody is reading now.
    readings: HashMap<PathBuf, Arc<Reading<V>>>,
    /// Directories that were read within the tick of their last change, as they were then.
    fresh: HashMap<PathBuf, Stamp>,
}

#[derive(Debug)]
struct Cached<V> {
    stamp: Stamp,
    value: Arc<V>,
    used: u64,
    bytes: usize,
}

/// A directory that is being read.
#[derive(Debug)]
struct Reading<V> {
    /// What the directory was like before the reading began.
    stamp: Stamp,
    /// What was read, once that is over; nothing where it failed or cannot be trusted later.
    result: OnceLock<Option<Arc<V>>>,
}

/// The turn of the one that reads a directory. Whatever becomes of it, the others are told when it is over.
struct Turn<'a, V: Kept> {
    cache: &'a DirectoryCache<V>,
    path: &'a Path,
    reading: Arc<Reading<V>>,
    found: Option<Arc<V>>,
}

/// What there is to know about a directory that somebody wants.
enum Look<'a, V: Kept> {
    Known(Arc<V>),
    YourTurn(Turn<'a, V>),
    /// It was read within this tick, which is over in a moment.
    TooSoon(Duration),
}

/// How the cache of hours is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheStats {
    /// Hours that were answered from memory.
    pub hits: u64,
    /// Hours that were read from the disk.
    pub misses: u64,
    /// Hours in memory.
    pub hours: usize,
    /// Bytes of memory they take.
    pub bytes: usize,
}

impl<V: Kept> DirectoryCache<V> {
    /// A cache of at most about `limit_bytes`; with 0 every directory is read each time.
    pub(super) fn new(limit_bytes: usize) -> Self {
        Self {
            limit_bytes,
            state: Mutex::default(),
            finished: Condvar::new(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// How many bytes one walk may keep.
    pub(super) fn share_bytes(&self) -> usize {
        self.limit_bytes / 8 * 7
    }

    /// What there is in the directory at `path`, from memory where that is still true, else by `read`, and then only
    /// kept in memory if `keep` says so. `None` where there is no such directory.
    pub(super) fn get(
        &self,
        path: &Path,
        keep: bool,
        read: impl FnOnce() -> Result<V>,
    ) -> Result<Option<Arc<V>>> {
        let Some(mut stamp) = Stamp::of(path)? else {
            self.lock().remove(path);
            return Ok(None);
        };
        if self.limit_bytes == 0 || !keep {
            let known = self.lock().touch(path, stamp);
            let counter = if known.is_some() { &self.hits } else { &self.misses };
            counter.fetch_add(1, Ordering::Relaxed);
            return known.map_or_else(|| read().map(Arc::new), Ok).map(Some);
        }
        let mut turn = loop {
            match self.look(path, stamp) {
                Look::Known(value) => {
                    self.hits.fetch_add(1, Ordering::Relaxed);
                    return Ok(Some(value));
                }
                Look::YourTurn(turn) => match Stamp::of(path)? {
                    Some(again) if again == stamp => break turn,
                    // Who was slow to come here would read for a state that is of the past.
                    Some(again) => stamp = again,
                    None => return Ok(None),
                },
                Look::TooSoon(moment) => {
                    std::thread::sleep(moment);
                    let Some(again) = Stamp::of(path)? else { return Ok(None) };
                    stamp = again;
                }
            }
        };
        self.misses.fetch_add(1, Ordering::Relaxed);
        let is_settled = stamp.age_us() > stamp.tick_us();
        let value = read().map(Arc::new)?;
        if is_settled && is_still(path, stamp) {
            turn.found = Some(Arc::clone(&value));
        }
        Ok(Some(value))
    }

    /// The same for what costs so little to read that nobody waits for another who reads it.
    pub(super) fn get_alone(&self, path: &Path, read: impl FnOnce() -> Result<V>) -> Result<Option<Arc<V>>> {
        let Some(stamp) = Stamp::of(path)? else {
            self.lock().remove(path);
            return Ok(None);
        };
        if let Some(known) = self.lock().touch(path, stamp) {
            return Ok(Some(known));
        }
        let is_settled = stamp.age_us() > stamp.tick_us();
        let value = Arc::new(read()?);
        if self.limit_bytes > 0 && is_settled && value.is_lasting() && is_still(path, stamp) {
            self.lock().insert(path, stamp, &value, self.limit_bytes);
        }
        Ok(Some(value))
    }

    /// What is known of the directory, or what another reader finds; else it is the caller's turn to read.
    ///
    /// The finding of another reader serves only if that one saw the directory in the same state and can trust its
    /// time; else it may have missed what this caller has seen.
    fn look<'a>(&'a self, path: &'a Path, stamp: Stamp) -> Look<'a, V> {
        let mut state = self.lock();
        loop {
            if let Some(value) = state.touch(path, stamp) {
                return Look::Known(value);
            }
            let Some(reading) = state.readings.get(path).map(Arc::clone) else {
                let left_us = stamp.tick_us() - stamp.age_us();
                if state.fresh.get(path) == Some(&stamp) && (0..=TICK_US).contains(&left_us) {
                    return Look::TooSoon(Duration::from_micros(left_us.unsigned_abs() + 1));
                }
                let reading = Arc::new(Reading { stamp, result: OnceLock::new() });
                state.readings.insert(path.to_owned(), Arc::clone(&reading));
                return Look::YourTurn(Turn { cache: self, path, reading, found: None });
            };
            while reading.result.get().is_none() {
                state = self.finished.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if let (true, Some(Some(value))) = (reading.stamp == stamp, reading.result.get()) {
                return Look::Known(Arc::clone(value));
            }
        }
    }

    /// Counts and sizes.
    pub(super) fn stats(&self) -> CacheStats {
        let state = self.lock();
        CacheStats {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            hours: state.directories.len(),
            bytes: state.bytes,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a directory is as it was before it was read. One that has been away meanwhile may have been read as empty.
fn is_still(path: &Path, stamp: Stamp) -> bool {
    Stamp::of(path).is_ok_and(|again| again == Some(stamp))
}

impl<V> Default for State<V> {
    fn default() -> Self {
        Self {
            directories: HashMap::new(),
            by_use: BTreeMap::new(),
            uses: 0,
            bytes: 0,
            readings: HashMap::new(),
            fresh: HashMap::new(),
        }
    }
}

impl<V: Kept> State<V> {
    /// The directory if it is known as `stamp` says it is, now the most recently used.
    fn touch(&mut self, path: &Path, stamp: Stamp) -> Option<Arc<V>> {
        let cached = self.directories.get_mut(path)?;
        if cached.stamp != stamp {
            return None;
        }
        self.uses += 1;
        if let Some(path) = self.by_use.remove(&cached.used) {
            self.by_use.insert(self.uses, path);
        }
        cached.used = self.uses;
        Some(Arc::clone(&cached.value))
    }

    /// Keeps a directory, and lets go of the least recently used ones beyond the bound.
    fn insert(&mut self, path: &Path, stamp: Stamp, value: &Arc<V>, limit_bytes: usize) {
        self.remove(path);
        let bytes = value.bytes() + ENTRY_BYTES + 2 * path.as_os_str().len();
        if bytes > limit_bytes {
            return;
        }
        self.uses += 1;
        self.bytes += bytes;
        self.by_use.insert(self.uses, path.to_owned());
        let cached = Cached { stamp, value: Arc::clone(value), used: self.uses, bytes };
        self.directories.insert(path.to_owned(), cached);
        while self.bytes > limit_bytes {
            let Some((_, oldest)) = self.by_use.pop_first() else { break };
            self.remove(&oldest);
        }
    }

    /// Notes that a directory was read and cannot be trusted to be the same later, though it may look the same.
    fn note_fresh(&mut self, path: &Path, stamp: Stamp) {
        if self.fresh.len() >= MOST_FRESH {
            self.fresh.clear();
        }
        self.fresh.insert(path.to_owned(), stamp);
    }

    fn remove(&mut self, path: &Path) {
        self.fresh.remove(path);
        if let Some(cached) = self.directories.remove(path) {
            self.by_use.remove(&cached.used);
            self.bytes -= cached.bytes;
        }
    }
}

impl<V: Kept> Drop for Turn<'_, V> {
    fn drop(&mut self) {
        let found = self.found.take();
        let mut state = self.cache.lock();
        state.readings.remove(self.path);
        if let Some(value) = &found {
            state.insert(self.path, self.reading.stamp, value, self.cache.limit_bytes);
        } else {
            state.note_fresh(self.path, self.reading.stamp);
        }
        // Set under the lock, so that nobody checks before and waits after.
        let _ = self.reading.result.set(found);
        drop(state);
        self.cache.finished.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    impl Kept for usize {
        fn bytes(&self) -> usize {
            size_of::<Self>()
        }
    }

    #[test]
    fn a_directory_that_was_away_while_it_was_read_is_not_remembered() {
        let base = tempfile::tempdir().expect("a directory");
        let (path, away) = (base.path().join("hour"), base.path().join("away"));
        fs::create_dir(&path).expect("an hour");
        fs::write(path.join("segment"), b"x").expect("a segment");
        // What changed just now is not remembered anyway.
        std::thread::sleep(Duration::from_micros(TICK_US.unsigned_abs() * 2));
        let cache = DirectoryCache::new(1 << 20);
        let count = || Ok(fs::read_dir(&path).map_or(0, Iterator::count));
        let moved = cache.get(&path, true, || {
            fs::rename(&path, &away).expect("move it away");
            count()
        });
        assert_eq!(moved.expect("no error").as_deref(), Some(&0));
        assert_eq!(cache.get(&path, true, count).expect("no error"), None, "it is away");
        fs::rename(&away, &path).expect("move it back");
        for _ in 0..2 {
            assert_eq!(cache.get(&path, true, count).expect("no error").as_deref(), Some(&1));
        }
        assert_eq!(cache.stats().hits, 1, "now it is remembered");
    }
}
