//! A cache of values within a bound of memory. The least recently used are evicted first.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The memory that a cached value takes beside itself and its key.
const OVERHEAD_BYTES: usize = 256;

/// Counts and sizes of a cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Values that were found in memory.
    pub hits: u64,
    /// Values that had to be made.
    pub misses: u64,
    /// Values in memory.
    pub entries: usize,
    /// Bytes of memory they take.
    pub bytes: usize,
}

/// Values by key. It is locked for look-ups only, never while a value is made.
#[derive(Debug)]
pub struct BoundedCache<K, V> {
    limit_bytes: usize,
    state: Mutex<State<K, V>>,
    hits: AtomicU64,
    misses: AtomicU64,
}

#[derive(Debug)]
struct State<K, V> {
    entries: HashMap<Arc<K>, Entry<V>>,
    /// The keys by the number of their last use.
    by_use: BTreeMap<u64, Arc<K>>,
    /// The number of uses of all entries.
    uses: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Entry<V> {
    value: Arc<V>,
    used: u64,
    bytes: usize,
}

impl<K: Hash + Eq, V> BoundedCache<K, V> {
    /// A cache of at most about `limit_bytes`; 0 keeps nothing.
    pub fn new(limit_bytes: usize) -> Self {
        let state = State { entries: HashMap::new(), by_use: BTreeMap::new(), uses: 0, bytes: 0 };
        Self { limit_bytes, state: Mutex::new(state), hits: AtomicU64::new(0), misses: AtomicU64::new(0) }
    }

    /// The value of the first of these keys that has one for which `is_valid` is true. Counts a hit or a miss.
    pub fn find<'a>(
        &self,
        keys: impl IntoIterator<Item = &'a K>,
        is_valid: impl Fn(&K, &V) -> bool,
    ) -> Option<Arc<V>>
    where
        K: 'a,
    {
        let mut state = self.lock();
        let found = keys.into_iter().find_map(|key| state.touch(key, &is_valid));
        drop(state);
        let count = if found.is_some() { &self.hits } else { &self.misses };
        count.fetch_add(1, Ordering::Relaxed);
        found
    }

    /// Whether there is a value of that key. Counts nothing.
    pub fn contains(&self, key: &K) -> bool {
        self.lock().entries.contains_key(key)
    }

    /// Caches a value of about `bytes`, and evicts the least recently used ones beyond the bound.
    pub fn insert(&self, key: K, value: Arc<V>, bytes: usize) {
        let bytes = bytes + size_of::<K>() + OVERHEAD_BYTES;
        let mut state = self.lock();
        state.remove(&key);
        if bytes > self.limit_bytes {
            return;
        }
        while state.bytes + bytes > self.limit_bytes {
            let Some(oldest) = state.by_use.first_key_value().map(|(_, key)| Arc::clone(key)) else { break };
            state.remove(&oldest);
        }
        let (key, used) = (Arc::new(key), state.next_use());
        state.bytes += bytes;
        state.by_use.insert(used, Arc::clone(&key));
        state.entries.insert(key, Entry { value, used, bytes });
    }

    /// Counts and sizes.
    pub fn stats(&self) -> CacheStats {
        let state = self.lock();
        CacheStats {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            entries: state.entries.len(),
            bytes: state.bytes,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<K, V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq, V> State<K, V> {
    fn next_use(&mut self) -> u64 {
        self.uses += 1;
        self.uses
    }

    /// The value of a key if it is valid, which is now the most recently used one.
    fn touch(&mut self, key: &K, is_valid: impl Fn(&K, &V) -> bool) -> Option<Arc<V>> {
        let now = self.next_use();
        let entry = self.entries.get_mut(key).filter(|entry| is_valid(key, &entry.value))?;
        let last_use = std::mem::replace(&mut entry.used, now);
        let key = self.by_use.remove(&last_use)?;
        self.by_use.insert(now, key);
        Some(Arc::clone(&entry.value))
    }

    fn remove(&mut self, key: &K) {
        if let Some(entry) = self.entries.remove(key) {
            self.by_use.remove(&entry.used);
            self.bytes -= entry.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(cache: &BoundedCache<u32, u32>, key: u32) -> Option<u32> {
        cache.find([&key], |_, _| true).map(|value| *value)
    }

    #[test]
    fn the_least_recently_used_values_are_evicted_beyond_the_bound() {
        let value_bytes = 1000 - size_of::<u32>() - OVERHEAD_BYTES;
        let cache = BoundedCache::new(3000);
        for key in 0..3 {
            cache.insert(key, Arc::new(key * 10), value_bytes);
        }
        assert_eq!(get(&cache, 0), Some(0));
        cache.insert(3, Arc::new(30), value_bytes);
        assert_eq!([0, 1, 2, 3].map(|key| cache.contains(&key)), [true, false, true, true]);
        assert_eq!([0, 1, 2, 3].map(|key| get(&cache, key)), [Some(0), None, Some(20), Some(30)]);
        // A value replaces that of the same key.
        cache.insert(3, Arc::new(31), 2 * value_bytes);
        assert_eq!([0, 2, 3].map(|key| get(&cache, key)), [None, Some(20), Some(31)]);
        assert_eq!(
            cache.stats(),
            CacheStats { hits: 6, misses: 2, entries: 2, bytes: 1000 + 1000 + value_bytes }
        );
        // One that is too large evicts nothing but its predecessor.
        cache.insert(3, Arc::new(32), 3000);
        assert_eq!([2, 3].map(|key| get(&cache, key)), [Some(20), None]);
    }

    #[test]
    fn a_cache_of_no_bytes_keeps_nothing() {
        let cache = BoundedCache::new(0);
        cache.insert(1, Arc::new(1), 0);
        assert_eq!((get(&cache, 1), cache.stats().entries), (None, 0));
    }
}
