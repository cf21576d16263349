//! The movies that were built last, and the pictures that were encoded for them.
//!
//! Players ask for a movie range by range, and often for several at once, so a movie is built by the first request for it
//! while others wait.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::cut::movie::{EncodedPictures, Movie};
use crate::error::{Error, Result};

/// How often a request that waits for another one looks whether its client is still there.
const WAIT: Duration = Duration::from_millis(50);

/// Movies by a hash of all that they are made from.
#[derive(Debug)]
pub struct Movies {
    state: Mutex<State>,
    /// Notified when a movie has been built, or could not be.
    built: Condvar,
}

#[derive(Debug)]
struct State {
    movies: Cache<Movie>,
    encoded: Cache<EncodedPictures>,
    /// The movies that are being built.
    building: BTreeSet<u64>,
}

/// Values that were used last, up to a limit of memory.
#[derive(Debug)]
struct Cache<T> {
    max_bytes: usize,
    bytes: usize,
    /// Counts up with each use.
    clock: u64,
    entries: BTreeMap<u64, Entry<T>>,
}

#[derive(Debug)]
struct Entry<T> {
    value: Arc<T>,
    bytes: usize,
    used: u64,
}

/// A movie that is ready to be sent.
#[derive(Debug, Clone)]
pub struct ReadyMovie {
    /// The movie.
    pub movie: Arc<Movie>,
    /// Its encoded pictures, if they are there.
    pub encoded: Option<Arc<EncodedPictures>>,
}

impl Movies {
    /// Room for so many bytes of movies, and of encoded pictures.
    pub fn new(movie_bytes: usize, encoded_bytes: usize) -> Self {
        let state = State {
            movies: Cache::new(movie_bytes),
            encoded: Cache::new(encoded_bytes),
            building: BTreeSet::new(),
        };
        Self { state: Mutex::new(state), built: Condvar::new() }
    }

    /// The movie with this hash, if it is there.
    pub fn get(&self, key: u64) -> Option<ReadyMovie> {
        self.lock().get(key)
    }

    /// The movie with this hash, if it is there and `is_enough`; else it is built. Concurrent callers share one build.
    ///
    /// # Errors
    /// Those of `build`; [`Error::Cancelled`] once `is_cancelled` returns true.
    pub fn get_or_build(
        &self,
        key: u64,
        is_enough: impl Fn(&ReadyMovie) -> bool,
        is_cancelled: &dyn Fn() -> bool,
        build: impl FnOnce() -> Result<(Movie, EncodedPictures)>,
    ) -> Result<ReadyMovie> {
        let mut state = self.lock();
        loop {
            if let Some(ready) = state.get(key).filter(&is_enough) {
                return Ok(ready);
            }
            if state.building.insert(key) {
                break;
            }
            state = self.built.wait_timeout(state, WAIT).unwrap_or_else(PoisonError::into_inner).0;
            if is_cancelled() {
                return Err(Error::Cancelled);
            }
        }
        drop(state);
        let building = Building { movies: self, key };
        let (movie, encoded) = build()?;
        let (movie, encoded) = (Arc::new(movie), Arc::new(encoded));
        let mut state = self.lock();
        state.movies.insert(key, Arc::clone(&movie), movie.memory_bytes());
        state.encoded.insert(key, Arc::clone(&encoded), encoded.memory_bytes());
        drop(state);
        drop(building);
        Ok(ReadyMovie { movie, encoded: Some(encoded) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a build, however it ends.
struct Building<'a> {
    movies: &'a Movies,
    key: u64,
}

impl Drop for Building<'_> {
    fn drop(&mut self) {
        self.movies.lock().building.remove(&self.key);
        self.movies.built.notify_all();
    }
}

impl State {
    fn get(&mut self, key: u64) -> Option<ReadyMovie> {
        let movie = self.movies.get(key)?;
        Some(ReadyMovie { movie, encoded: self.encoded.get(key) })
    }
}

impl<T> Cache<T> {
    fn new(max_bytes: usize) -> Self {
        Self { max_bytes, bytes: 0, clock: 0, entries: BTreeMap::new() }
    }

    fn get(&mut self, key: u64) -> Option<Arc<T>> {
        self.clock += 1;
        let entry = self.entries.get_mut(&key)?;
        entry.used = self.clock;
        Some(Arc::clone(&entry.value))
    }

    /// Adds or replaces a value, unless it alone is beyond the limit; those that were not used for longest make room.
    fn insert(&mut self, key: u64, value: Arc<T>, bytes: usize) {
        self.remove(key);
        if bytes > self.max_bytes {
            return;
        }
        while self.bytes + bytes > self.max_bytes
            && let Some(oldest) = self.entries.iter().min_by_key(|(_, entry)| entry.used).map(|(key, _)| *key)
        {
            self.remove(oldest);
        }
        self.clock += 1;
        self.bytes += bytes;
        self.entries.insert(key, Entry { value, bytes, used: self.clock });
    }

    fn remove(&mut self, key: u64) {
        if let Some(removed) = self.entries.remove(&key) {
            self.bytes -= removed.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_longest_makes_room() {
        let mut cache = Cache::new(100);
        for key in 0..4 {
            cache.insert(key, Arc::new(key), 30);
            assert!(cache.get(1).is_some() || key == 0);
        }
        let kept: Vec<u64> = cache.entries.keys().copied().collect();
        assert_eq!((kept, cache.bytes), (vec![1, 2, 3], 90));
        cache.insert(2, Arc::new(7), 40);
        assert_eq!((cache.get(2).as_deref(), cache.bytes), (Some(&7), 100));
        cache.insert(3, Arc::new(0), 101);
        assert_eq!((cache.get(3), cache.bytes), (None, 70));
    }
}
