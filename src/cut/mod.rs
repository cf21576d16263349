//! Exact cuts: a range of an archive as one transport stream.
//!
//! [`prepare`] finds every reason against a cut before anything is made; [`PreparedCut::run`] makes it. The time of a
//! frame is the start of its segment plus its PTS less the lowest video PTS in that segment, rounded to the microsecond.
//! A cut shows each frame with `start <= time < end` once, in order.

mod plan;
mod planned;

mod decoding;
mod groups;
mod program;

mod lead_in;
mod prepare;
pub mod samples_cache;
mod segments;

mod mux;
mod transport_stream;

mod edit;
mod encode;
mod target;
mod webm_times;

mod output_length;

pub mod movie;

mod presence;

pub mod first_frames;
pub mod fragment;
mod fragment_times;

mod copy;
mod full;
pub mod rough;
pub mod selected;
pub mod single_frame;
mod smart;

use std::io::Write;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::ffmpeg::Tools;
use crate::timestamp::Timestamp;

pub use lead_in::Preceding;
use plan::Plan;
pub use plan::{CutSegment, ExactType, SegmentList};
use samples_cache::SamplesCache;
pub(crate) use segments::{align, open_segment};
use target::Target;
use transport_stream::TransportStream;

/// What a full cut is encoded as unless it is a preview.
const TRANSPORT_STREAM: Target = Target::TransportStream { start_seconds: 0 };

/// A cut that can be made, as far as that can be known before it is.
#[derive(Debug)]
pub struct PreparedCut {
    plan: Plan,
    tools: Tools,
    /// Where the samples of segments are kept, for a container that needs them.
    samples: Option<Arc<SamplesCache>>,
}

/// Prepares a cut of `segments`, in their order, from `start` to before `end`.
///
/// `trailing` is the segment that continues the last one, if there is one: sound is stored behind its pictures, so the
/// last of it may be there. `preceding` returns the segments before the first one, for pictures that refer to them.
///
/// # Errors
/// `RangeIsEmpty` if no frame is in the range; `Unsupported` if the segments cannot be joined, decoded or, for
/// [`ExactType::Smart`], spliced; those of [`Tools::check_encoder`] if the cut needs ffmpeg; `Io` if a segment cannot be
/// read; `Cancelled` once `is_cancelled` returns true, which is called once per segment.
pub fn prepare(
    exact_type: ExactType,
    segments: impl SegmentList + 'static,
    trailing: Option<&CutSegment>,
    preceding: Preceding<'_>,
    range: (Timestamp, Timestamp),
    tools: &Tools,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<PreparedCut> {
    let mut plan = plan(exact_type, segments, trailing, range, tools, None, is_cancelled)?;
    presence::drop_absent_streams(&mut plan, is_cancelled)?;
    complete(plan, preceding, tools, None, is_cancelled)
}

/// What movies are made with.
#[derive(Debug, Clone, Copy)]
pub struct MovieTools<'a> {
    /// ffmpeg.
    pub tools: &'a Tools,
    /// Where the samples of segments are kept.
    pub samples: &'a Arc<SamplesCache>,
}

/// Prepares a cut as an MP4 movie. Other parameters, and errors, are those of [`prepare`].
pub fn prepare_movie(
    exact_type: ExactType,
    segments: impl SegmentList + 'static,
    trailing: Option<&CutSegment>,
    preceding: Preceding<'_>,
    range: (Timestamp, Timestamp),
    MovieTools { tools, samples }: MovieTools<'_>,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<PreparedCut> {
    let mut plan = plan(exact_type, segments, trailing, range, tools, Some(samples), is_cancelled)?;
    if exact_type == ExactType::Full {
        // Its tracks are described before their frames are made.
        presence::drop_absent_streams(&mut plan, is_cancelled)?;
    }
    complete(plan, preceding, tools, Some(Arc::clone(samples)), is_cancelled)
}

fn plan(
    exact_type: ExactType,
    segments: impl SegmentList + 'static,
    trailing: Option<&CutSegment>,
    range: (Timestamp, Timestamp),
    tools: &Tools,
    samples: Option<&SamplesCache>,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<Plan> {
    let list = Arc::new(segments);
    prepare::plan(exact_type, list, trailing, range, tools.max_segment_bytes(), samples, is_cancelled)
}

/// Adds to a plan what is before its first segment, and checks that the cut can be made.
fn complete(
    mut plan: Plan,
    preceding: Preceding<'_>,
    tools: &Tools,
    samples: Option<Arc<SamplesCache>>,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<PreparedCut> {
    if samples.is_some() && plan.exact_type != ExactType::Full {
        movie::holdable::check(&plan)?;
    }
    // The range may begin behind the last frame of the first segment.
    let first = plan.segments.list().segment(0);
    let planned = plan.segments.first().map(|planned| planned.segment);
    let mut unused = first.filter(|first| planned.as_ref() != Some(first));
    let mut preceding = || unused.take().map_or_else(&mut *preceding, |first| Ok(Some(first)));
    if plan.exact_type != ExactType::Whole {
        lead_in::add(&mut plan, &mut preceding, samples.as_deref(), is_cancelled)?;
    }
    match plan.exact_type {
        ExactType::Full => full::check(&plan, tools, TRANSPORT_STREAM)?,
        ExactType::Webm => full::check(&plan, tools, Target::Webm)?,
        ExactType::Smart => smart::check(&plan, tools, samples.as_deref(), is_cancelled)?,
        ExactType::Copy | ExactType::Whole => {}
    }
    Ok(PreparedCut { plan, tools: tools.clone(), samples })
}

impl PreparedCut {
    /// Makes the cut and writes it to `out`, beginning when there is a first frame.
    ///
    /// `is_cancelled` is called several times a second, and before each write. Once it returns true or `out` fails, all
    /// children are killed and reaped before this returns.
    ///
    /// # Errors
    /// `Child` if ffmpeg fails or stalls, `NotStarted` if the system cannot start it, `Cancelled` if the cut was cancelled,
    /// `Io` if a segment cannot be read or `out` not be written, `Unsupported` if a segment has changed since the cut was
    /// prepared.
    pub fn run(self, out: &mut dyn Write, is_cancelled: &dyn Fn() -> bool) -> Result<()> {
        match self.plan.exact_type {
            ExactType::Full => full::run(self.plan, &self.tools, TRANSPORT_STREAM, out, is_cancelled),
            ExactType::Webm => full::run(self.plan, &self.tools, Target::Webm, out, is_cancelled),
            ExactType::Smart => {
                let mut container = TransportStream::new(&self.plan);
                smart::run(&self.plan, Some(&self.tools), None, &mut container, out, is_cancelled)
            }
            ExactType::Copy | ExactType::Whole => {
                Err(Error::Unsupported("a transport stream cannot hide pictures: try .mp4".to_owned()))
            }
        }
    }
}
