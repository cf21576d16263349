//! A movie whose bytes are made when they are asked for.

use std::ops::Range;
use std::sync::Arc;

use super::encoded::EncodedPictures;
use super::part::Parts;
use crate::error::Result;
use crate::mp4::layout::{Layout, Piece};

/// A movie. It knows where each of its bytes comes from.
#[derive(Debug)]
pub struct Movie {
    pub(super) head: Arc<Vec<u8>>,
    pub(super) layout: Layout,
    pub(super) parts: Parts,
    /// A hash of the encoded pictures.
    pub(super) encoded_hash: u64,
}

impl Movie {
    /// Its length in bytes.
    #[allow(clippy::len_without_is_empty, reason = "a movie is never empty")]
    pub fn len(&self) -> u64 {
        self.layout.len()
    }

    /// A hash of the pictures that were encoded for it. Movies of the same segments and range are equal if it is.
    pub fn encoded_hash(&self) -> u64 {
        self.encoded_hash
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

    /// The bytes of a range, piece by piece. `encoded` must be of this movie if [`Movie::needs_encoded`].
    ///
    /// # Errors
    /// [`Error::Io`] for a segment that cannot be read; [`Error::Changed`] for one that is not what it was.
    pub fn read(
        self: Arc<Self>,
        range: Range<u64>,
        encoded: Arc<EncodedPictures>,
    ) -> impl Iterator<Item = Result<Arc<Vec<u8>>>> + Send {
        let pieces: Vec<Piece> = self.layout.pieces(range).collect();
        pieces.into_iter().map(move |piece| match piece {
            Piece::Head(bytes) if bytes.len() == self.head.len() => Ok(Arc::clone(&self.head)),
            Piece::Head(bytes) => Ok(Arc::new(self.head[bytes].to_vec())),
            Piece::Part { index, bytes } => {
                let mut part = self.parts.read(index, &encoded)?;
                let range = to_usize(bytes.start)..to_usize(bytes.end);
                if part.len() < range.end {
                    return Err(self.parts.changed(index));
                }
                part.truncate(range.end);
                part.drain(..range.start);
                Ok(Arc::new(part))
            }
        })
    }
}

fn to_usize(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}
