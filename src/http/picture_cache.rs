//! Pictures of recordings: what their routes share.
//!
//! A picture is made in memory before its response begins, so every failure has a status. It is kept there, because pages ask
//! for the same pictures again. Its key is a hash of the names of the segments that it is made from, which have the hashes of
//! their bytes, and of what was asked for.

use std::sync::Arc;

use super::conditional::Validators;
use super::query::Query;
use super::reply::{Body, Reply};
use super::request::Request;
use crate::bounded_cache::{BoundedCache, CacheStats};
use crate::error::Result;
use crate::fnv::Fnv;
use crate::pictures::levels::LevelsCache;
use crate::single_build::SingleBuild;

/// The widths that pictures may have.
const WIDTHS: std::ops::RangeInclusive<u32> = 16..=3840;

/// The pictures that were made last.
#[derive(Debug)]
pub struct Pictures {
    made: BoundedCache<u64, Picture>,
    builds: SingleBuild,
    /// The levels of sound that waveforms are made from.
    pub(super) levels: LevelsCache,
}

/// A picture.
#[derive(Debug)]
pub(super) struct Picture {
    pub(super) content_type: &'static str,
    pub(super) bytes: Arc<Vec<u8>>,
}

impl Pictures {
    /// Room for so many bytes of pictures, and of the levels of sound, which get a quarter of it.
    pub fn new(bytes: usize) -> Self {
        let levels_bytes = bytes / 4;
        let made = BoundedCache::new(bytes - levels_bytes);
        Self { made, builds: SingleBuild::default(), levels: LevelsCache::new(levels_bytes) }
    }

    /// Whether the picture of that key is in memory.
    pub(super) fn has(&self, key: Fnv) -> bool {
        self.made.contains(&key.finish())
    }

    /// Counts and sizes.
    pub fn stats(&self) -> CacheStats {
        self.made.stats()
    }

    /// The response with the picture of that key, which `make` makes unless the client or the server has it. Concurrent
    /// requests for one picture share the work.
    ///
    /// # Errors
    /// Those of `make`; [`crate::error::Error::Cancelled`] once `is_cancelled` returns true.
    pub(super) fn reply(
        &self,
        request: &Request,
        key: Fnv,
        is_cancelled: &dyn Fn() -> bool,
        make: impl FnOnce() -> Result<Picture>,
    ) -> Result<Reply> {
        let key = key.finish();
        let validators = Validators { etag: format!("\"{key:016x}\""), last_modified: None };
        let reply = Reply::empty(200).with("ETag", &validators.etag).with("Cache-Control", "no-cache");
        if validators.not_modified(request) {
            return Ok(reply.with_status(304));
        }
        let find = || self.made.find([&key], |_, _| true);
        let picture = self.builds.get_or_build(key, find, is_cancelled, || {
            let picture = Arc::new(make()?);
            self.made.insert(key, Arc::clone(&picture), picture.bytes.len());
            Ok(picture)
        })?;
        let body = Body::bytes(Arc::clone(&picture.bytes));
        Ok(reply.with("Content-Type", picture.content_type).with_body(body))
    }
}

/// The parameter `width`.
pub(super) fn width(query: Query) -> Result<Option<u32>> {
    let parse = |text: &str| text.parse().ok().filter(|width| WIDTHS.contains(width));
    query.parsed("width", "a width in pixels from 16 to 3840", parse)
}
