//! The pictures of a movie that were encoded for it.

use std::ops::Range;

use crate::fnv::Fnv;

/// The pictures of a movie that were encoded for it.
#[derive(Debug, Default)]
pub struct EncodedPictures {
    /// The pictures as MP4 stores them, one behind another.
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
    /// A hash of them, once all are there.
    hash: u64,
}

impl EncodedPictures {
    /// How much memory they take, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * size_of::<usize>() + size_of::<Self>()
    }

    /// A hash of them.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Adds a picture as MP4 stores it.
    pub(super) fn push(&mut self, picture: &[u8]) {
        self.bytes.extend_from_slice(picture);
        self.ends.push(self.bytes.len());
    }

    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.ends.len()).unwrap_or(u32::MAX)
    }

    /// The bytes of some of the pictures; `None` if there are not so many.
    pub(super) fn get(&self, pictures: Range<u32>) -> Option<&[u8]> {
        let end = |count: u32| match usize::try_from(count).ok()?.checked_sub(1) {
            Some(last) => self.ends.get(last).copied(),
            None => Some(0),
        };
        self.bytes.get(end(pictures.start)?..end(pictures.end)?)
    }

    /// Called when all pictures are there.
    pub(super) fn finish(&mut self) {
        let mut hash = Fnv::new();
        hash.write_u64(u64::from(self.count()));
        hash.write(&self.bytes);
        self.hash = hash.finish();
    }
}
