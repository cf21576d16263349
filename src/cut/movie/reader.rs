//! The bytes of a movie, piece by piece.
//!
//! A client that stops reading holds one piece, so pieces are small. The part that a piece is of is made as a whole; it is
//! kept for a while for the pieces behind it, and for other clients.

use std::ops::Range;
use std::sync::Arc;

use crate::bounded_cache::BoundedCache;
use crate::error::Result;
use crate::mp4::layout::Piece;

use super::encoded::EncodedPictures;
use super::flat::Movie;

/// The most bytes of a piece, of a part of usual size.
const PIECE_BYTES: u64 = 256 * 1024;
/// The most pieces of a part. Each may take the making of the whole part.
const PIECES_PER_PART: u64 = 32;

/// The parts of movies that were made last.
#[derive(Debug)]
pub struct RecentParts(BoundedCache<PartKey, Vec<u8>>);

/// The name of a movie, and the number of a part of it.
type PartKey = ((u64, u64), usize);

impl RecentParts {
    /// Parts of at most about `limit_bytes` together.
    pub fn new(limit_bytes: usize) -> Self {
        Self(BoundedCache::new(limit_bytes))
    }
}

/// What the bytes of a movie are made from.
#[derive(Debug)]
pub struct MovieSource {
    /// The movie.
    pub movie: Arc<Movie>,
    /// Its name: no other movie has the same.
    pub name: (u64, u64),
    /// Its encoded pictures, if they are needed.
    pub encoded: Arc<EncodedPictures>,
    /// Where its parts are kept for a while.
    pub parts: Arc<RecentParts>,
}

impl MovieSource {
    /// The bytes of a range. `encoded` must be of the movie if [`Movie::needs_encoded`].
    ///
    /// # Errors
    /// [`Error::Io`](crate::error::Error::Io) for a segment that cannot be read;
    /// [`Error::Changed`](crate::error::Error::Changed) for one that is not what it was.
    pub fn read(self, range: Range<u64>) -> impl Iterator<Item = Result<Arc<Vec<u8>>>> + Send {
        let mut at = range.start;
        std::iter::from_fn(move || {
            let piece = self.movie.layout.pieces(at..range.end).next()?;
            let bytes = self.piece(piece).inspect_err(|_| self.movie.set_broken());
            // Nothing follows a failure.
            at = bytes.as_ref().map_or(range.end, |bytes| at + bytes.len() as u64);
            Some(bytes)
        })
    }

    /// The first bytes of a piece.
    fn piece(&self, piece: Piece) -> Result<Arc<Vec<u8>>> {
        match piece {
            Piece::Head(bytes) if bytes.len() == self.movie.head.len() => Ok(Arc::clone(&self.movie.head)),
            Piece::Head(bytes) => {
                let end = bytes.end.min(bytes.start + to_usize(PIECE_BYTES));
                Ok(Arc::new(self.movie.head[bytes.start..end].to_vec()))
            }
            Piece::Part { index, bytes } => {
                let part = self.part(index)?;
                let most = PIECE_BYTES.max(part.len() as u64 / PIECES_PER_PART);
                let range = to_usize(bytes.start)..to_usize(bytes.end.min(bytes.start + most));
                let piece = part.get(range).ok_or_else(|| self.movie.parts.changed(index))?;
                Ok(Arc::new(piece.to_vec()))
            }
        }
    }

    fn part(&self, index: usize) -> Result<Arc<Vec<u8>>> {
        let key = (self.name, index);
        if let Some(part) = self.parts.0.find([&key], |_, _| true) {
            return Ok(part);
        }
        let len = to_usize(self.movie.layout.part_len(index));
        let part = Arc::new(self.movie.parts.read(index, len, &self.encoded)?);
        self.parts.0.insert(key, Arc::clone(&part), part.capacity());
        Ok(part)
    }
}

fn to_usize(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}
