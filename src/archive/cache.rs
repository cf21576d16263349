//! A cache of what was read from directories.
//!
//! A cached value holds while the directory's version (device, inode, mtime, ctime) is the same. A directory that
//! changed moments before it was read has a racy ctime: it may change again without a change of its version. What was read
//! then is used once and not cached, and later readers wait until the ctime's granularity has passed. Concurrent requests
//! for a directory share one reading. So a change costs at most two readings, however many requests need it.
//!
//! A walk through more hours than fit caches the first ones, up to a share of the cache, and leaves the rest of it to other
//! requests. With plain least-recently-used eviction a second walk would find nothing that the first one read.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::directory::{CTIME_GRANULARITY_US, DirectoryVersion};
use crate::bounded_cache::CacheStats;
use crate::error::Result;

/// The memory that a cached directory takes beside its value and its path.
const OVERHEAD_BYTES: usize = 512;

/// A value that can be cached for a directory.
pub(super) trait CacheValue {
    /// Roughly how many bytes of memory it takes.
    fn bytes(&self) -> usize;

    /// Whether it depends on nothing but the directory's own entries.
    fn is_cacheable(&self) -> bool {
        true
    }
}

/// Values by the paths of directories, within a bound of memory. The least recently used are evicted first.
#[derive(Debug)]
pub(super) struct DirectoryCache<V> {
    limit_bytes: usize,
    /// Locked for look-ups only, never while the disk is read.
    state: Mutex<CacheState<V>>,
    hits: AtomicU64,
    misses: AtomicU64,
}

#[derive(Debug)]
struct CacheState<V> {
    directories: HashMap<PathBuf, Cached<V>>,
    /// The number of uses of all entries: the clock of the eviction.
    uses: u64,
    bytes: usize,
    /// Directories that are being read now.
    readings: HashMap<(PathBuf, DirectoryVersion), Arc<Reading<V>>>,
}

#[derive(Debug)]
struct Cached<V> {
    version: DirectoryVersion,
    /// `None` of a directory that was read while its ctime was racy.
    value: Option<Arc<V>>,
    used: u64,
    bytes: usize,
}

/// A reading that concurrent requests wait for; `None` if its value may be used only once.
type Reading<V> = OnceLock<Option<Arc<V>>>;

impl<V: CacheValue> DirectoryCache<V> {
    /// A cache of at most about `limit_bytes`; 0 keeps nothing.
    pub(super) fn new(limit_bytes: usize) -> Self {
        let state = CacheState { directories: HashMap::new(), uses: 0, bytes: 0, readings: HashMap::new() };
        Self { limit_bytes, state: Mutex::new(state), hits: AtomicU64::new(0), misses: AtomicU64::new(0) }
    }

    /// How many bytes one walk may keep in the cache.
    pub(super) fn share_bytes(&self) -> usize {
        self.limit_bytes / 8 * 7
    }

    /// The value of the directory at `path`, cached or read. What `read` returns is not cached where there is no such
    /// directory.
    pub(super) fn get(&self, path: &Path, mut read: impl FnMut() -> Result<V>) -> Result<Arc<V>> {
        loop {
            let Some(version) = DirectoryVersion::of(path)? else {
                self.lock().remove(path);
                return read().map(Arc::new);
            };
            let racy_for_us = version.racy_for_us();
            let mut state = self.lock();
            let reading = match state.touch(path, version).map(|cached| cached.value.clone()) {
                Some(Some(value)) => return Ok(self.hit(value)),
                Some(None) if (0..=CTIME_GRANULARITY_US).contains(&racy_for_us) => None,
                _ => Some(Arc::clone(state.readings.entry((path.to_owned(), version)).or_default())),
            };
            drop(state);
            let Some(reading) = reading else {
                std::thread::sleep(Duration::from_micros(racy_for_us.unsigned_abs() + 1));
                continue;
            };
            let mut own = None;
            let shared = reading.get_or_init(|| self.read_shared(path, version, &mut own, &mut read));
            match (own, shared) {
                (Some(own), _) => return own,
                (None, Some(value)) => return Ok(self.hit(Arc::clone(value))),
                // The directory has changed, or the other reader's value may be out of date already.
                (None, None) => {}
            }
        }
    }

    /// The same without sharing a reading: for directories that are cheap to read, or not to be cached.
    pub(super) fn get_alone(
        &self,
        path: &Path,
        keep: bool,
        read: impl FnOnce() -> Result<V>,
    ) -> Result<Arc<V>> {
        let Some(version) = DirectoryVersion::of(path)? else {
            self.lock().remove(path);
            return read().map(Arc::new);
        };
        if let Some(value) = self.lock().touch(path, version).and_then(|cached| cached.value.clone()) {
            return Ok(self.hit(value));
        }
        let (value, is_cacheable) = self.read(path, version, read)?;
        if keep && is_cacheable {
            self.lock().insert(path, version, Some(Arc::clone(&value)), self.limit_bytes);
        }
        Ok(value)
    }

    /// Reads a directory for all who wait for this version of it, unless it has another by now. The caller's own outcome,
    /// also an error, is left in `own`; the others get the value only if it may be cached.
    fn read_shared(
        &self,
        path: &Path,
        version: DirectoryVersion,
        own: &mut Option<Result<Arc<V>>>,
        read: impl FnOnce() -> Result<V>,
    ) -> Option<Arc<V>> {
        let mut shared = None;
        if is_current(path, version) {
            let outcome = self.read(path, version, read);
            if let Ok((value, true)) = &outcome {
                shared = Some(Arc::clone(value));
            }
            *own = Some(outcome.map(|(value, _)| value));
        }
        // A slow reader must not replace what was cached of a later version.
        let is_latest = shared.is_some() || is_current(path, version);
        let mut state = self.lock();
        state.readings.remove(&(path.to_owned(), version));
        if is_latest {
            state.insert(path, version, shared.clone(), self.limit_bytes);
        }
        shared
    }

    /// Reads a directory. Returns the value, and whether it will hold for as long as the version does: not if the ctime
    /// was racy, or if the directory was moved away meanwhile.
    fn read(
        &self,
        path: &Path,
        version: DirectoryVersion,
        read: impl FnOnce() -> Result<V>,
    ) -> Result<(Arc<V>, bool)> {
        self.misses.fetch_add(1, Ordering::Relaxed);
        let is_racy = version.racy_for_us() >= 0;
        let value = read()?;
        let is_cacheable = !is_racy && value.is_cacheable() && is_current(path, version);
        Ok((Arc::new(value), is_cacheable))
    }

    fn hit(&self, value: Arc<V>) -> Arc<V> {
        self.hits.fetch_add(1, Ordering::Relaxed);
        value
    }

    /// Counts and sizes.
    pub(super) fn stats(&self) -> CacheStats {
        let state = self.lock();
        CacheStats {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            entries: state.directories.values().filter(|cached| cached.value.is_some()).count(),
            bytes: state.bytes,
        }
    }

    fn lock(&self) -> MutexGuard<'_, CacheState<V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the directory at `path` has this version.
fn is_current(path: &Path, version: DirectoryVersion) -> bool {
    DirectoryVersion::of(path).is_ok_and(|now| now == Some(version))
}

impl<V: CacheValue> CacheState<V> {
    /// The entry of this version of a directory, which is now the most recently used one.
    fn touch(&mut self, path: &Path, version: DirectoryVersion) -> Option<&Cached<V>> {
        let cached = self.directories.get_mut(path).filter(|cached| cached.version == version)?;
        self.uses += 1;
        cached.used = self.uses;
        Some(cached)
    }

    /// Caches a value, or that the directory has a racy ctime, and evicts the least recently used entries beyond the bound.
    fn insert(&mut self, path: &Path, version: DirectoryVersion, value: Option<Arc<V>>, limit_bytes: usize) {
        self.remove(path);
        let value_bytes = value.as_ref().map_or(0, |value| value.bytes());
        let bytes = value_bytes + OVERHEAD_BYTES + path.as_os_str().len();
        if bytes > limit_bytes {
            return;
        }
        while self.bytes + bytes > limit_bytes {
            let oldest = self.directories.iter().min_by_key(|(_, cached)| cached.used);
            let Some(oldest) = oldest.map(|(path, _)| path.clone()) else { break };
            self.remove(&oldest);
        }
        self.uses += 1;
        self.bytes += bytes;
        self.directories.insert(path.to_owned(), Cached { version, value, used: self.uses, bytes });
    }

    fn remove(&mut self, path: &Path) {
        if let Some(cached) = self.directories.remove(path) {
            self.bytes -= cached.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    impl CacheValue for usize {
        fn bytes(&self) -> usize {
            size_of::<Self>()
        }
    }

    #[test]
    fn a_directory_that_was_moved_away_while_it_was_read_is_not_cached() {
        let base = tempfile::tempdir().expect("a directory");
        let (path, away) = (base.path().join("hour"), base.path().join("away"));
        fs::create_dir(&path).expect("an hour");
        fs::write(path.join("segment"), b"x").expect("a segment");
        // A racy version is not cached anyway.
        std::thread::sleep(Duration::from_micros(CTIME_GRANULARITY_US.unsigned_abs() * 2));
        let cache = DirectoryCache::new(1 << 20);
        let count = || Ok(fs::read_dir(&path).map_or(0, Iterator::count));
        let moved = cache.get(&path, || {
            fs::rename(&path, &away).expect("move it away");
            count()
        });
        assert_eq!(*moved.expect("no error"), 0);
        assert_eq!(*cache.get(&path, count).expect("no error"), 0, "it is away");
        fs::rename(&away, &path).expect("move it back");
        std::thread::sleep(Duration::from_micros(CTIME_GRANULARITY_US.unsigned_abs() * 2));
        for _ in 0..2 {
            assert_eq!(*cache.get(&path, count).expect("no error"), 1);
        }
        assert_eq!(cache.stats().hits, 1, "now it is cached");
    }

    #[test]
    fn a_reader_that_fails_or_panics_leaves_the_next_one_to_read() {
        let base = tempfile::tempdir().expect("a directory");
        std::thread::sleep(Duration::from_micros(CTIME_GRANULARITY_US.unsigned_abs() * 2));
        let cache = DirectoryCache::<usize>::new(1 << 20);
        let failed = cache.get(base.path(), || Err(crate::error::Error::Cancelled));
        assert!(failed.is_err());
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _ = cache.get(base.path(), || panic!("a reader that panics"));
        }));
        assert!(panicked.is_err());
        assert_eq!(*cache.get(base.path(), || Ok(7)).expect("no error"), 7);
        assert_eq!(cache.stats().entries, 1);
    }
}
