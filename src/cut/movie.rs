//! A cut as a flat MP4 movie: `ftyp`, `moov`, `mdat`.
//!
//! A movie is built once: all its segments are read for the tables in `moov`, which is kept. The samples in `mdat` lie in
//! parts, one for each segment, whose bytes are made from the segment again whenever they are needed. So a movie of hours
//! takes little memory, any byte range of it can be sent, and only the segments that the range covers are read.

mod encoded;
pub(super) mod holdable;
mod part;
mod reader;
mod text;
mod track;

mod fragmented;
mod pieces;
mod sound_format;

mod flat;

mod builder;

use crate::error::{Error, Result};
use crate::mp4::movie::MovieInfo;

use super::PreparedCut;
use super::plan::{ExactType, Plan};
use super::transition::Transition;
use super::{copy, smart};
use builder::MovieBuilder;
pub use encoded::EncodedPictures;
pub use flat::Movie;
pub use reader::{MovieSource, RecentParts};

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
        let plans = self.all_plans(is_cancelled)?;
        self.build(&plans, options, true, is_cancelled)
    }

    /// The length of the movie in bytes, without encoding anything: the size of pictures that would be is estimated.
    ///
    /// # Errors
    /// Those of [`PreparedCut::movie`], as far as they can be known.
    pub fn estimate_movie(&self, options: &MovieOptions, is_cancelled: &dyn Fn() -> bool) -> Result<u64> {
        let transitions = self.transitions.iter().map(Transition::estimate_bytes).sum::<Result<u64>>()?;
        if self.plans.is_empty() {
            return Ok(transitions);
        }
        Ok(self.build(&self.plans, options, false, is_cancelled)?.0.len() + transitions)
    }

    fn build(
        &self,
        plans: &[Plan],
        options: &MovieOptions,
        encode: bool,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<(Movie, EncodedPictures)> {
        let samples = self.samples.as_deref();
        let Some(first) = plans.first() else { return Err(Error::RangeIsEmpty) };
        let mut builder = MovieBuilder::new(first, plans, options.timecode);
        for plan in plans {
            match plan.exact_type {
                ExactType::Copy | ExactType::Whole => copy::run(plan, samples, &mut builder, is_cancelled)?,
                ExactType::Smart | ExactType::Full | ExactType::Webm => {
                    let tools = encode.then_some(&self.tools);
                    smart::run(plan, tools, samples, &mut builder, &mut std::io::sink(), is_cancelled)?;
                }
            }
        }
        builder.finish(&options.info, self.samples.clone())
    }
}
