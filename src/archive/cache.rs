//! Hours that were read already, so that an hour that has not changed is not read again.
//!
//! An hour is as it was while its directory's device, inode and modification time are. A directory that changed a
//! moment before it was read may change again within the same tick of the file system's clock, so what is read then
//! is used once and not trusted later. Of several that want one hour at a time one reads it and the others wait for
//! what it finds. The lock is held for look-ups only, never while the disk is read.
//!
//! Who walks through many hours keeps but a share of them. More would drive out what others ask for again and again,
//! and so much memory as the cache may take would be taken once for each thread that walks: what one thread has
//! allocated and another lets go of is there for the first one only.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use super::directory::Stamp;
use super::hour::HourIndex;
use crate::clock::Clock;
use crate::error::Result;
use crate::timestamp::Hour;

/// How long a changed directory's time stays open to another change that it would not show: more than a tick.
const TICK_US: i64 = 20_000;
/// The same where the file system seems to keep whole seconds, or pairs of them.
const COARSE_TICK_US: i64 = 2_100_000;
/// What an hour costs beside its index: its path and its places in the maps.
const ENTRY_BYTES: usize = 512;

/// The hours read so far, within a bound of memory; the least recently used go first.
#[derive(Debug)]
pub(super) struct HourCache {
    limit_bytes: usize,
    state: Mutex<State>,
    finished: Condvar,
    hits: AtomicU64,
    misses: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    hours: HashMap<PathBuf, Cached>,
    /// Paths by when they were last used.
    by_use: BTreeMap<u64, PathBuf>,
    uses: u64,
    bytes: usize,
    /// Hours that somebody is reading now.
    readings: HashMap<PathBuf, Arc<Reading>>,
}

#[derive(Debug)]
struct Cached {
    stamp: Stamp,
    index: Arc<HourIndex>,
    used: u64,
    bytes: usize,
}

/// An hour that is being read.
#[derive(Debug)]
struct Reading {
    /// What the directory was like before the reading began.
    stamp: Stamp,
    /// What was read, once that is over; nothing where it failed or cannot be trusted later.
    result: OnceLock<Option<Arc<HourIndex>>>,
}

/// The turn of the one that reads an hour. Whatever becomes of it, the others are told when it is over.
struct Turn<'a> {
    cache: &'a HourCache,
    path: &'a Path,
    reading: Arc<Reading>,
    found: Option<Arc<HourIndex>>,
}

/// What there is to know about an hour that somebody wants.
enum Look<'a> {
    Known(Arc<HourIndex>),
    YourTurn(Turn<'a>),
}

/// How the cache is doing.
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

impl HourCache {
    /// A cache of at most about `limit_bytes`; with 0 every hour is read each time.
    pub(super) fn new(limit_bytes: usize) -> Self {
        Self {
            limit_bytes,
            state: Mutex::default(),
            finished: Condvar::new(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// How many bytes of hours one walk may keep.
    pub(super) fn share_bytes(&self) -> usize {
        self.limit_bytes / 2
    }

    /// The hour whose directory is `path`, from memory where that is still true, else by `read`, and then only kept
    /// in memory if `keep` says so.
    pub(super) fn get(
        &self,
        hour: Hour,
        path: &Path,
        keep: bool,
        read: impl FnOnce() -> Result<HourIndex>,
    ) -> Result<Arc<HourIndex>> {
        let Some(stamp) = Stamp::of(path)? else {
            self.lock().remove(path);
            return Ok(Arc::new(HourIndex::empty(hour)));
        };
        if self.limit_bytes == 0 || !keep {
            let known = self.lock().touch(path, stamp);
            let counter = if known.is_some() { &self.hits } else { &self.misses };
            counter.fetch_add(1, Ordering::Relaxed);
            return known.map_or_else(|| read().map(Arc::new), Ok);
        }
        let mut turn = match self.look(path, stamp) {
            Look::Known(index) => {
                self.hits.fetch_add(1, Ordering::Relaxed);
                return Ok(index);
            }
            Look::YourTurn(turn) => turn,
        };
        self.misses.fetch_add(1, Ordering::Relaxed);
        let started_us = Clock::System.now().micros();
        let index = read().map(Arc::new)?;
        let tick_us = if stamp.is_coarse() { COARSE_TICK_US } else { TICK_US };
        if started_us.saturating_sub(stamp.mtime_us()) > tick_us {
            turn.found = Some(Arc::clone(&index));
        }
        Ok(index)
    }

    /// What is known of the hour, or what another reader finds; else it is the caller's turn to read.
    ///
    /// The finding of another reader serves only if that one saw the directory in the same state and can trust its
    /// time; else it may have missed what this caller has seen.
    fn look<'a>(&'a self, path: &'a Path, stamp: Stamp) -> Look<'a> {
        let mut state = self.lock();
        loop {
            if let Some(index) = state.touch(path, stamp) {
                return Look::Known(index);
            }
            let Some(reading) = state.readings.get(path).map(Arc::clone) else {
                let reading = Arc::new(Reading { stamp, result: OnceLock::new() });
                state.readings.insert(path.to_owned(), Arc::clone(&reading));
                return Look::YourTurn(Turn { cache: self, path, reading, found: None });
            };
            while reading.result.get().is_none() {
                state = self.finished.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if let (true, Some(Some(index))) = (reading.stamp == stamp, reading.result.get()) {
                return Look::Known(Arc::clone(index));
            }
        }
    }

    /// Counts and sizes.
    pub(super) fn stats(&self) -> CacheStats {
        let state = self.lock();
        CacheStats {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            hours: state.hours.len(),
            bytes: state.bytes,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The hour if it is known as `stamp` says it is, now the most recently used.
    fn touch(&mut self, path: &Path, stamp: Stamp) -> Option<Arc<HourIndex>> {
        let cached = self.hours.get_mut(path)?;
        if cached.stamp != stamp {
            return None;
        }
        self.uses += 1;
        if let Some(path) = self.by_use.remove(&cached.used) {
            self.by_use.insert(self.uses, path);
        }
        cached.used = self.uses;
        Some(Arc::clone(&cached.index))
    }

    /// Keeps an hour, and lets go of the least recently used ones beyond the bound.
    fn insert(&mut self, path: &Path, stamp: Stamp, index: &Arc<HourIndex>, limit_bytes: usize) {
        self.remove(path);
        let bytes = index.bytes() + ENTRY_BYTES + 2 * path.as_os_str().len();
        if bytes > limit_bytes {
            return;
        }
        self.uses += 1;
        self.bytes += bytes;
        self.by_use.insert(self.uses, path.to_owned());
        let cached = Cached { stamp, index: Arc::clone(index), used: self.uses, bytes };
        self.hours.insert(path.to_owned(), cached);
        while self.bytes > limit_bytes {
            let Some((_, oldest)) = self.by_use.pop_first() else { break };
            self.remove(&oldest);
        }
    }

    fn remove(&mut self, path: &Path) {
        if let Some(cached) = self.hours.remove(path) {
            self.by_use.remove(&cached.used);
            self.bytes -= cached.bytes;
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let found = self.found.take();
        let mut state = self.cache.lock();
        state.readings.remove(self.path);
        if let Some(index) = &found {
            state.insert(self.path, self.reading.stamp, index, self.cache.limit_bytes);
        }
        // Set under the lock, so that nobody checks before and waits after.
        let _ = self.reading.result.set(found);
        drop(state);
        self.cache.finished.notify_all();
    }
}
