//! Exact cuts: ranges of an archive as one transport stream or movie.
//!
//! [`prepare_ranges`] finds every reason against a cut before anything is made; [`PreparedCut::run`] makes it. The time of a
//! frame is the start of its segment plus its PTS less the lowest video PTS in that segment, rounded to the microsecond.
//! A cut shows each frame with `start <= time < end` once, in order.

mod plan;
mod planned;

mod decoding;
mod groups;
mod program;

mod lead_in;
mod opened;
mod prepare;
mod ranges;
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
mod transition;

use std::borrow::Cow;
use std::io::Write;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::ffmpeg::Tools;
use crate::timestamp::Timestamp;

pub use lead_in::Preceding;
pub(crate) use opened::open_segment;
use plan::Plan;
pub use plan::{CutSegment, ExactType, SegmentList};
use prepare::Planning;
pub use ranges::{CutParts, CutRange, Overlap};
use samples_cache::SamplesCache;
pub(crate) use segments::align;
use target::Target;
pub use transition::MAX_SECONDS as MAX_TRANSITION_SECONDS;
use transition::Transition;
use transport_stream::TransportStream;

/// A cut that can be made, as far as that can be known before it is.
#[derive(Debug)]
pub struct PreparedCut {
    exact_type: ExactType,
    /// The plans of its ranges, in order, of what no transition shows. Never empty unless there is a transition.
    plans: Vec<Plan>,
    transitions: Vec<Transition>,
    tools: Tools,
    /// Where the samples of segments are kept, for a container that needs them.
    samples: Option<Arc<SamplesCache>>,
}

/// Prepares a cut of one range: of `segments`, in their order, from `start` to before `end`. `trailing` and `preceding` are
/// those of [`CutRange`].
///
/// # Errors
/// Those of [`prepare_ranges`].
pub fn prepare(
    exact_type: ExactType,
    segments: impl SegmentList + 'static,
    trailing: Option<&CutSegment>,
    preceding: Preceding<'_>,
    range: (Timestamp, Timestamp),
    tools: &Tools,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<PreparedCut> {
    let range = CutRange::new(segments, trailing, preceding, range);
    prepare_ranges(exact_type, CutParts { ranges: vec![range], overlaps: Vec::new() }, tools, is_cancelled)
}

/// Prepares a cut of ranges, one behind another in the order given, with transitions between them.
///
/// # Errors
/// `RangeIsEmpty` if no frame is in a range; `Unsupported` if the segments cannot be joined, decoded or, for
/// [`ExactType::Smart`], spliced; those of [`Tools::check_encoder`] if the cut needs ffmpeg; `Io` if a segment cannot be
/// read; `Cancelled` once `is_cancelled` returns true, which is called once per segment. The first two name the range if
/// there are several.
pub fn prepare_ranges(
    exact_type: ExactType,
    mut parts: CutParts<'_>,
    tools: &Tools,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<PreparedCut> {
    let planning =
        Planning { exact_type, max_segment_bytes: tools.max_segment_bytes(), samples: None, is_cancelled };
    let mut plans = ranges::plan(planning, &mut parts)?;
    presence::drop_absent_streams(&mut plans, is_cancelled)?;
    complete(plans, parts, tools, None, planning)
}

/// What movies are made with.
#[derive(Debug, Clone, Copy)]
pub struct MovieTools<'a> {
    /// ffmpeg.
    pub tools: &'a Tools,
    /// Where the samples of segments are kept.
    pub samples: &'a Arc<SamplesCache>,
}

/// Prepares a cut of ranges as an MP4 movie. Other parameters, and errors, are those of [`prepare_ranges`].
pub fn prepare_movie(
    exact_type: ExactType,
    mut parts: CutParts<'_>,
    MovieTools { tools, samples }: MovieTools<'_>,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<PreparedCut> {
    let max_segment_bytes = tools.max_segment_bytes();
    let planning = Planning { exact_type, max_segment_bytes, samples: Some(samples), is_cancelled };
    let mut plans = ranges::plan(planning, &mut parts)?;
    if exact_type == ExactType::Full {
        // Its tracks are described before their frames are made.
        presence::drop_absent_streams(&mut plans, is_cancelled)?;
    } else if let Some(first) = plans.first() {
        movie::holdable::check(first)?;
    }
    complete(plans, parts, tools, Some(samples), planning)
}

/// Prepares the rest of a cut whose ranges are planned.
fn complete(
    plans: Vec<Plan>,
    CutParts { ranges, overlaps }: CutParts<'_>,
    tools: &Tools,
    samples: Option<&Arc<SamplesCache>>,
    planning: Planning<'_>,
) -> Result<PreparedCut> {
    let mut plans = ranges::complete(plans, ranges, tools, planning)?;
    let program = plans.first().map(|first| &first.program);
    let transitions = transition::plan(overlaps, program, tools, planning)?;
    if transitions.is_empty() {
        plans = ranges::spread(plans, planning)?;
    }
    let samples = samples.map(Arc::clone);
    Ok(PreparedCut { exact_type: planning.exact_type, plans, transitions, tools: tools.clone(), samples })
}

impl PreparedCut {
    /// The plans of all that is shown, with the transitions, which are made now.
    fn all_plans(&self, is_cancelled: &dyn Fn() -> bool) -> Result<Cow<'_, [Plan]>> {
        if self.transitions.is_empty() {
            return Ok(Cow::Borrowed(&self.plans));
        }
        let planning = Planning {
            exact_type: self.exact_type,
            max_segment_bytes: self.tools.max_segment_bytes(),
            samples: self.samples.as_deref(),
            is_cancelled,
        };
        let plans = transition::insert(self.plans.clone(), &self.transitions, &self.tools, planning)?;
        Ok(Cow::Owned(ranges::spread(plans, planning)?))
    }

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
        let plans = self.all_plans(is_cancelled)?;
        match self.exact_type {
            ExactType::Full | ExactType::Webm => {
                let target = Target::of(self.exact_type);
                full::run(plans.into_owned(), &self.tools, target, out, is_cancelled)
            }
            ExactType::Smart => {
                let Some(first) = plans.first() else { return Err(Error::RangeIsEmpty) };
                let mut container = TransportStream::new(first);
                plans.iter().try_for_each(|plan| {
                    smart::run(plan, Some(&self.tools), None, &mut container, out, is_cancelled)
                })
            }
            ExactType::Copy | ExactType::Whole => {
                Err(Error::Unsupported("a transport stream cannot hide pictures: try .mp4".to_owned()))
            }
        }
    }
}
