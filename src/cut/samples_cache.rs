//! A cache of the samples of segments. A segment never changes, so they hold for as long as files have the same names.

use std::path::Path;
use std::sync::Arc;

use crate::archive::layout::SegmentName;
use crate::bounded_cache::{BoundedCache, CacheStats};
use crate::error::Result;
use crate::mpegts::samples::SampleIndex;
use crate::mpegts::scan::Scan;

/// What is kept of a segment.
#[derive(Debug, Clone)]
pub struct IndexedSegment {
    /// Its scan, with frames that are aligned with PES packets.
    pub scan: Scan,
    /// Its samples.
    pub index: SampleIndex,
    /// Whether frames may have been completed from the segment that follows, so that these are the samples only if that is the
    /// same: where [`Scan::is_aligned`] was false at first.
    pub depends_on_next: bool,
}

/// What the samples of a segment depend on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SegmentKey {
    /// The hash in its name.
    hash: Box<str>,
    /// Its length in bytes.
    len: u64,
    /// Whether it is known to be complete.
    complete: bool,
    /// The hash in the name of the segment that its frames may go on in.
    next: Option<Box<str>>,
}

impl SegmentKey {
    /// The key of a segment of `len` bytes and of the one that continues it, if there is one; `None` if a name has no hash.
    /// `complete` is what it is scanned with.
    pub fn of(path: &Path, len: u64, complete: bool, next: Option<&Path>) -> Option<Self> {
        let next = match next {
            Some(next) => Some(hash_of(next)?),
            None => None,
        };
        Some(Self { hash: hash_of(path)?, len, complete, next })
    }

    /// The key of samples that do not depend on the segment that follows.
    fn alone(&self) -> Self {
        Self { next: None, ..self.clone() }
    }

    fn bytes(&self) -> usize {
        self.hash.len() + self.next.as_ref().map_or(0, |next| next.len())
    }
}

/// The hash in a file name.
fn hash_of(path: &Path) -> Option<Box<str>> {
    SegmentName::parse(path.file_name()?.to_str()?)?.content_hash().map(Into::into)
}

/// Samples of segments, within a bound of memory.
#[derive(Debug)]
pub struct SamplesCache(BoundedCache<SegmentKey, IndexedSegment>);

impl SamplesCache {
    /// A cache of at most about `limit_bytes`; 0 keeps nothing.
    pub fn new(limit_bytes: usize) -> Self {
        Self(BoundedCache::new(limit_bytes))
    }

    /// The samples of a segment, cached or made. Without a key they are always made. No lock is held meanwhile, so two callers
    /// may make the same.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn get_or_insert(
        &self,
        key: Option<SegmentKey>,
        make: impl FnOnce() -> Result<IndexedSegment>,
    ) -> Result<Arc<IndexedSegment>> {
        let Some(key) = key else { return make().map(Arc::new) };
        if let Some(indexed) = self.get(&key) {
            return Ok(indexed);
        }
        let indexed = Arc::new(make()?);
        let key = if indexed.depends_on_next { key } else { key.alone() };
        let bytes = key.bytes() + indexed.scan.memory_bytes() + indexed.index.memory_bytes();
        self.0.insert(key, Arc::clone(&indexed), bytes);
        Ok(indexed)
    }

    /// The samples of a segment, if they are cached.
    pub fn get(&self, key: &SegmentKey) -> Option<Arc<IndexedSegment>> {
        let is_valid =
            |found: &SegmentKey, indexed: &IndexedSegment| found.next == key.next || !indexed.depends_on_next;
        self.0.find([key, &key.alone()], is_valid)
    }

    /// Counts and sizes.
    pub fn stats(&self) -> CacheStats {
        self.0.stats()
    }
}

#[cfg(test)]
mod tests;
