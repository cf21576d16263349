//! The movies that were built last, and the pictures that were encoded for them.
//!
//! Players ask for a movie range by range, and often for several at once, so a movie is built by the first request for it
//! while others wait.

use std::sync::Arc;

use crate::bounded_cache::BoundedCache;
use crate::cut::movie::{EncodedPictures, Movie, RecentParts};
use crate::error::Result;
use crate::single_build::SingleBuild;

/// Movies by a hash of all that they are made from.
#[derive(Debug)]
pub struct Movies {
    flat: BoundedCache<u64, Movie>,
    encoded: BoundedCache<u64, EncodedPictures>,
    /// Parts of movies that are being sent.
    parts: Arc<RecentParts>,
    /// The movies that are being built.
    builds: SingleBuild,
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
    /// Room for so many bytes of movies, and of encoded pictures. A quarter of the former is for parts that are being sent.
    pub fn new(movie_bytes: usize, encoded_bytes: usize) -> Self {
        let part_bytes = movie_bytes / 4;
        Self {
            flat: BoundedCache::new(movie_bytes - part_bytes),
            parts: Arc::new(RecentParts::new(part_bytes)),
            encoded: BoundedCache::new(encoded_bytes),
            builds: SingleBuild::default(),
        }
    }

    /// Where parts of movies are kept while they are sent.
    pub fn parts(&self) -> Arc<RecentParts> {
        Arc::clone(&self.parts)
    }

    /// The movie with this hash, if it is there.
    pub fn get(&self, key: u64) -> Option<ReadyMovie> {
        let movie = self.flat.find([&key], |_, movie| !movie.is_broken())?;
        // Another build may have put its pictures there meanwhile.
        let encoded = self.encoded.find([&key], |_, encoded| encoded.hash() == movie.encoded_hash());
        Some(ReadyMovie { movie, encoded })
    }

    /// The movie with this hash, if it is there and `is_enough`; else it is built. Concurrent callers share one build.
    ///
    /// # Errors
    /// Those of `build`; [`crate::error::Error::Cancelled`] once `is_cancelled` returns true.
    pub fn get_or_build(
        &self,
        key: u64,
        is_enough: impl Fn(&ReadyMovie) -> bool,
        is_cancelled: &dyn Fn() -> bool,
        build: impl FnOnce() -> Result<(Movie, EncodedPictures)>,
    ) -> Result<ReadyMovie> {
        let find = || self.get(key).filter(&is_enough);
        self.builds.get_or_build(key, find, is_cancelled, || {
            let (movie, encoded) = build()?;
            let (movie, encoded) = (Arc::new(movie), Arc::new(encoded));
            self.flat.insert(key, Arc::clone(&movie), movie.memory_bytes());
            self.encoded.insert(key, Arc::clone(&encoded), encoded.memory_bytes());
            Ok(ReadyMovie { movie, encoded: Some(encoded) })
        })
    }
}
