//! A cut as a flat MP4 movie: `ftyp`, `moov`, `mdat`.
//!
//! A movie is built once: all its segments are read for the tables in `moov`, which is kept. The samples in `mdat` lie in
//! parts, one for each segment, whose bytes are made from the segment again whenever they are needed. So a movie of hours
//! takes little memory, any byte range of it can be sent, and only the segments that the range covers are read.

mod builder;
mod part;
mod text;
mod track;

mod fragmented;
mod pieces;
mod sound_format;

use std::ops::Range;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::fnv::Fnv;
use crate::mp4::layout::{Layout, Piece};
use crate::mp4::movie::MovieInfo;

use super::PreparedCut;
use super::plan::ExactType;
use super::{copy, smart};
use builder::MovieBuilder;
use part::Parts;

/// A movie. It knows where each of its bytes comes from.
#[derive(Debug)]
pub struct Movie {
    head: Arc<Vec<u8>>,
    layout: Layout,
    parts: Parts,
    /// A hash of the encoded pictures.
    encoded_hash: u64,
}

/// The pictures of a movie that were encoded for it.
#[derive(Debug, Default)]
pub struct EncodedPictures {
    /// The pictures as MP4 stores them, one behind another.
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
}

/// How a movie is described besides its samples.
#[derive(Debug, Clone)]
pub struct MovieOptions {
    /// Its title and when it begins.
    pub info: MovieInfo,
    /// Whether it has a text track that shows the wall clock.
    pub timecode: bool,
}

impl PreparedCut {
    /// Reads all segments, and makes the movie and the pictures that are encoded for it.
    ///
    /// # Errors
    /// Those of [`PreparedCut::run`]; `Unsupported` for streams that MP4 cannot hold.
    pub fn movie(
        &self,
        options: &MovieOptions,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<(Movie, EncodedPictures)> {
        self.build(options, true, is_cancelled)
    }

    /// The length of the movie in bytes, without encoding anything: the size of pictures that would be is estimated.
    ///
    /// # Errors
    /// Those of [`PreparedCut::movie`], as far as they can be known.
    pub fn estimate_movie(&self, options: &MovieOptions, is_cancelled: &dyn Fn() -> bool) -> Result<u64> {
        Ok(self.build(options, false, is_cancelled)?.0.len())
    }

    fn build(
        &self,
        options: &MovieOptions,
        encode: bool,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<(Movie, EncodedPictures)> {
        let mut builder = MovieBuilder::new(&self.plan, options.timecode);
        match self.plan.exact_type {
            ExactType::Copy | ExactType::Whole => copy::run(&self.plan, &mut builder, is_cancelled)?,
            ExactType::Smart | ExactType::Full => {
                let tools = encode.then_some(&self.tools);
                smart::run(&self.plan, tools, &mut builder, &mut std::io::sink(), is_cancelled)?;
            }
        }
        builder.finish(&options.info)
    }
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

impl EncodedPictures {
    /// How much memory they take, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * size_of::<usize>() + size_of::<Self>()
    }

    /// Adds a picture as MP4 stores it.
    fn push(&mut self, picture: &[u8]) {
        self.bytes.extend_from_slice(picture);
        self.ends.push(self.bytes.len());
    }

    fn count(&self) -> u32 {
        u32::try_from(self.ends.len()).unwrap_or(u32::MAX)
    }

    /// The bytes of some of the pictures; `None` if there are not so many.
    fn get(&self, pictures: Range<u32>) -> Option<&[u8]> {
        let end = |count: u32| match usize::try_from(count).ok()?.checked_sub(1) {
            Some(last) => self.ends.get(last).copied(),
            None => Some(0),
        };
        self.bytes.get(end(pictures.start)?..end(pictures.end)?)
    }

    fn hash(&self) -> u64 {
        let mut hash = Fnv::new();
        hash.write_u64(u64::from(self.count()));
        hash.write(&self.bytes);
        hash.finish()
    }
}

fn to_usize(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

/// The refusal of a stream that MP4 cannot hold.
fn not_holdable(pid: u16, is_video: bool, name: &str) -> Error {
    let what = if is_video { "video" } else { "sound" };
    Error::Unsupported(format!(
        "the {what} on PID {pid:#x} is {name}, which this server does not put into MP4: type=full encodes it, \
         and a cut as .ts keeps it"
    ))
}
