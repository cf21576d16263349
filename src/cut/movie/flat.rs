//! A movie whose bytes are made when they are asked for.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::part::Parts;
use crate::mp4::layout::{Layout, Piece};

/// A movie. It knows where each of its bytes comes from.
#[derive(Debug)]
pub struct Movie {
    pub(super) head: Arc<Vec<u8>>,
    pub(super) layout: Layout,
    pub(super) parts: Parts,
    /// A hash of the encoded pictures.
    pub(super) encoded_hash: u64,
    /// A hash of these, and of the names of segments outside the range.
    pub(super) hash: u64,
    /// Whether a segment that it is made from could not be read any more.
    is_broken: AtomicBool,
}

impl Movie {
    pub(super) fn new(head: Vec<u8>, part_ends: Vec<u64>, parts: Parts, encoded_hash: u64) -> Self {
        Self {
            layout: Layout::new(head.len(), part_ends),
            head: Arc::new(head),
            encoded_hash,
            hash: parts.hash_outside(encoded_hash),
            parts,
            is_broken: AtomicBool::new(false),
        }
    }

    /// Whether some of its bytes could not be made: it has to be built anew from what there is.
    pub fn is_broken(&self) -> bool {
        self.is_broken.load(Ordering::Relaxed)
    }

    pub(super) fn set_broken(&self) {
        self.is_broken.store(true, Ordering::Relaxed);
    }

    /// Its length in bytes.
    #[allow(clippy::len_without_is_empty, reason = "a movie is never empty")]
    pub fn len(&self) -> u64 {
        self.layout.len()
    }

    /// A hash of the pictures that were encoded for it.
    pub fn encoded_hash(&self) -> u64 {
        self.encoded_hash
    }

    /// A hash of all that it is made from beside the segments of its range. Movies of the same range and segments are equal
    /// if it is.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// About how much memory it takes, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.head.len() + self.parts.memory_bytes() + size_of::<Self>()
    }

    /// Whether a byte range has pictures that were encoded.
    pub fn needs_encoded(&self, range: Range<u64>) -> bool {
        self.layout.pieces(range).any(|piece| match piece {
            Piece::Head(_) => false,
            Piece::Part { index, .. } => self.parts.has_encoded(index),
        })
    }
}
