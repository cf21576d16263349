//! A cache of what was read from directories.
//!
//! A cached value holds while the directory's version (device, inode, modification time) is the same. A directory that
//! changed moments before it was read has a racy mtime: it may change again without a change of its version. Such a
//! reading is used once and not cached, and whoever comes within the mtime's granularity waits until it is over. Concurrent
//! requests for a directory share one reading. So a change costs two readings however many want to see it.
//!
//! A walk through more hours than fit keeps the first ones it reads, up to a share of the cache, and leaves the rest to
//! the hours that others ask for: with plain least-recently-used eviction two walks in turn would find nothing of each
//! other's.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::directory::{DirectoryVersion, MTIME_GRANULARITY_US};
use crate::error::Result;

/// What a directory costs beside its value: its path, twice, and its places in the maps.
const OVERHEAD_BYTES: usize = 512;
/// How many directories with a racy mtime are remembered.
const MAX_RACY: usize = 1024;

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
    state: Mutex<State<V>>,
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
    /// Directories that are being read now.
    readings: HashMap<(PathBuf, DirectoryVersion), Arc<Reading<V>>>,
    /// Directories that were read while their mtime was racy, by the version they had.
    racy: HashMap<PathBuf, DirectoryVersion>,
}

#[derive(Debug)]
struct Cached<V> {
    version: DirectoryVersion,
    value: Arc<V>,
    used: u64,
    bytes: usize,
}

/// What all who want a version of a directory wait for; `None` where the value that was read may be used only once.
type Reading<V> = OnceLock<Option<Arc<V>>>;

/// What is known about a version of a directory.
enum Look<V> {
    Cached(Arc<V>),
    /// It was read while its mtime was racy, which it is for this much longer.
    Racy(Duration),
    NotCached(Arc<Reading<V>>),
}

/// Counts and sizes of the cache of hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheStats {
    /// Hours that were found in memory.
    pub hits: u64,
    /// Hours that were read from the disk.
    pub misses: u64,
    /// Hours in memory.
    pub hours: usize,
    /// Bytes of memory they take.
    pub bytes: usize,
}

impl<V: CacheValue> DirectoryCache<V> {
    /// A cache of at most about `limit_bytes`. With 0 every directory is read each time.
    pub(super) fn new(limit_bytes: usize) -> Self {
        Self { limit_bytes, state: Mutex::default(), hits: AtomicU64::new(0), misses: AtomicU64::new(0) }
    }

    /// How many bytes one walk may keep in the cache.
    pub(super) fn share_bytes(&self) -> usize {
        self.limit_bytes / 8 * 7
    }

    /// The value of the directory at `path`, cached or read. `None` where there is no such directory.
    pub(super) fn get(&self, path: &Path, mut read: impl FnMut() -> Result<V>) -> Result<Option<Arc<V>>> {
        if self.limit_bytes == 0 {
            return self.get_alone(path, false, read);
        }
        loop {
            let Some(version) = DirectoryVersion::of(path)? else {
                self.lock().remove(path);
                return Ok(None);
            };
            let reading = match self.look(path, version) {
                Look::Cached(value) => return Ok(Some(self.hit(value))),
                Look::Racy(moment) => {
                    std::thread::sleep(moment);
                    continue;
                }
                Look::NotCached(reading) => reading,
            };
            let mut own = None;
            let shared = reading.get_or_init(|| self.read_shared(path, version, &mut own, &mut read));
            match (own, shared) {
                (Some(own), _) => return own.map(Some),
                (None, Some(value)) => return Ok(Some(self.hit(Arc::clone(value)))),
                // It has changed meanwhile, or what the other reader found may be out of date already.
                (None, None) => {}
            }
        }
    }

    /// The same without a wait for other readers: for what is cheap to read, or not to be kept in the cache.
    pub(super) fn get_alone(
        &self,
        path: &Path,
        keep: bool,
        read: impl FnOnce() -> Result<V>,
    ) -> Result<Option<Arc<V>>> {
        let Some(version) = DirectoryVersion::of(path)? else {
            self.lock().remove(path);
            return Ok(None);
        };
        if let Some(value) = self.lock().touch(path, version) {
            return Ok(Some(self.hit(value)));
        }
        let (value, is_cacheable) = self.read(path, version, read)?;
        if keep && is_cacheable {
            self.lock().insert(path, version, &value, self.limit_bytes);
        }
        Ok(Some(value))
    }

    /// The value if it is cached or being read, else a reading that nobody has begun.
    fn look(&self, path: &Path, version: DirectoryVersion) -> Look<V> {
        let mut state = self.lock();
        if let Some(value) = state.touch(path, version) {
            return Look::Cached(value);
        }
        let racy_for_us = version.racy_for_us();
        if state.racy.get(path) == Some(&version) && (0..=MTIME_GRANULARITY_US).contains(&racy_for_us) {
            return Look::Racy(Duration::from_micros(racy_for_us.unsigned_abs() + 1));
        }
        Look::NotCached(Arc::clone(state.readings.entry((path.to_owned(), version)).or_default()))
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
            shared = outcome
                .as_ref()
                .ok()
                .filter(|(_, is_cacheable)| *is_cacheable)
                .map(|(value, _)| Arc::clone(value));
            *own = Some(outcome.map(|(value, _)| value));
        }
        let mut state = self.lock();
        state.readings.remove(&(path.to_owned(), version));
        match &shared {
            Some(value) => state.insert(path, version, value, self.limit_bytes),
            None => state.note_racy(path, version),
        }
        shared
    }

    /// Reads a directory. Returns the value, and whether it will hold for as long as the version does: not if the mtime
    /// was racy, or if the directory was away meanwhile.
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
            hours: state.directories.len(),
            bytes: state.bytes,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the directory at `path` has this version.
fn is_current(path: &Path, version: DirectoryVersion) -> bool {
    DirectoryVersion::of(path).is_ok_and(|now| now == Some(version))
}

impl<V> Default for State<V> {
    fn default() -> Self {
        Self {
            directories: HashMap::new(),
            by_use: BTreeMap::new(),
            uses: 0,
            bytes: 0,
            readings: HashMap::new(),
            racy: HashMap::new(),
        }
    }
}

impl<V: CacheValue> State<V> {
    /// The value of this version of a directory if it is cached; it is now the most recently used one.
    fn touch(&mut self, path: &Path, version: DirectoryVersion) -> Option<Arc<V>> {
        let cached = self.directories.get_mut(path).filter(|cached| cached.version == version)?;
        self.uses += 1;
        if let Some(path) = self.by_use.remove(&cached.used) {
            self.by_use.insert(self.uses, path);
        }
        cached.used = self.uses;
        Some(Arc::clone(&cached.value))
    }

    /// Caches a value, and evicts the least recently used ones beyond the bound.
    fn insert(&mut self, path: &Path, version: DirectoryVersion, value: &Arc<V>, limit_bytes: usize) {
        self.remove(path);
        let bytes = value.bytes() + OVERHEAD_BYTES + 2 * path.as_os_str().len();
        if bytes > limit_bytes {
            return;
        }
        self.uses += 1;
        self.bytes += bytes;
        self.by_use.insert(self.uses, path.to_owned());
        let cached = Cached { version, value: Arc::clone(value), used: self.uses, bytes };
        self.directories.insert(path.to_owned(), cached);
        while self.bytes > limit_bytes {
            let Some((_, oldest)) = self.by_use.pop_first() else { break };
            self.remove(&oldest);
        }
    }

    /// Notes that a reading of this version may miss later changes.
    fn note_racy(&mut self, path: &Path, version: DirectoryVersion) {
        if self.racy.len() >= MAX_RACY {
            self.racy.clear();
        }
        self.racy.insert(path.to_owned(), version);
    }

    fn remove(&mut self, path: &Path) {
        self.racy.remove(path);
        if let Some(cached) = self.directories.remove(path) {
            self.by_use.remove(&cached.used);
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
        std::thread::sleep(Duration::from_micros(MTIME_GRANULARITY_US.unsigned_abs() * 2));
        let cache = DirectoryCache::new(1 << 20);
        let count = || Ok(fs::read_dir(&path).map_or(0, Iterator::count));
        let moved = cache.get(&path, || {
            fs::rename(&path, &away).expect("move it away");
            count()
        });
        assert_eq!(moved.expect("no error").as_deref(), Some(&0));
        assert_eq!(cache.get(&path, count).expect("no error"), None, "it is away");
        fs::rename(&away, &path).expect("move it back");
        for _ in 0..2 {
            assert_eq!(cache.get(&path, count).expect("no error").as_deref(), Some(&1));
        }
        assert_eq!(cache.stats().hits, 1, "now it is cached");
    }

    #[test]
    fn a_reader_that_fails_or_panics_leaves_the_next_one_to_read() {
        let base = tempfile::tempdir().expect("a directory");
        std::thread::sleep(Duration::from_micros(MTIME_GRANULARITY_US.unsigned_abs() * 2));
        let cache = DirectoryCache::<usize>::new(1 << 20);
        let failed = cache.get(base.path(), || Err(crate::error::Error::Cancelled));
        assert!(failed.is_err());
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _ = cache.get(base.path(), || panic!("a reader that panics"));
        }));
        assert!(panicked.is_err());
        assert_eq!(cache.get(base.path(), || Ok(7)).expect("no error").as_deref(), Some(&7));
        assert_eq!(cache.stats().hours, 1);
    }
}
