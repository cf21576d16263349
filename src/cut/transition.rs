//! Transitions: where the end of one range and the start of the next are shown at once.
//!
//! What a transition shows is planned as two ranges of their own. ffmpeg blends them into a segment, in the codecs and formats
//! of the footage, which is held in memory. The cut then has one more range, of that segment, and no transition. So pictures
//! and sound outside of transitions are what they are without, of each type and in each container.

mod blend;
mod encoding;
mod feed;

use std::slice;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::ffmpeg::Tools;
use crate::mpegts::codec::Codec;
use crate::mpegts::probe::{Program, Stream};

use self::encoding::Encoding;
use super::opened::open;
use super::plan::{CutSegment, ExactType, Place, Plan, to_90k};
use super::prepare::{self, Planning};
use super::program::Streams;
use super::ranges::{self, CutRange, Overlap};
use super::{full, presence, smart};

/// The longest transition that the filter makes, in seconds.
pub const MAX_SECONDS: i64 = 60;

/// A transition that can be made, as far as that can be known before it is.
#[derive(Debug)]
pub(super) struct Transition {
    name: String,
    /// How many of the plans of the cut are before it.
    before: usize,
    from: Plan,
    to: Plan,
    /// The streams that it has: the pictures, and the sounds of which either side has some.
    program: Program,
    encoding: Encoding,
}

/// Plans transitions between ranges, whose streams are those of `program`, if there are any.
///
/// # Errors
/// [`Error::BadTransition`] for one that is shorter than a frame; [`Error::Unsupported`] for one that cannot be encoded, and if they
/// would take too much memory; those of planning a range and of [`Tools::check_encoder`].
pub(super) fn plan(
    overlaps: Vec<Overlap<'_>>,
    program: Option<&Program>,
    tools: &Tools,
    planning: Planning<'_>,
) -> Result<Vec<Transition>> {
    let mut total = 0;
    let plan = |overlap| {
        let transition = Transition::plan(overlap, program, tools, planning)?;
        total += transition.estimate_bytes()?;
        let most = planning.max_segment_bytes;
        if total > most {
            let why =
                format!("the transitions of a cut take at most {most} bytes together: make them shorter");
            return Err(Error::Unsupported(why));
        }
        Ok(transition)
    };
    overlaps.into_iter().map(plan).collect()
}

impl Transition {
    fn plan(
        overlap: Overlap<'_>,
        program: Option<&Program>,
        tools: &Tools,
        planning: Planning<'_>,
    ) -> Result<Self> {
        let Overlap { transition: name, before, mut from, mut to } = overlap;
        let mut streams = program.cloned().map_or_else(Streams::default, Streams::of);
        let mut plan = |source: &CutRange<'_>| {
            let list = Arc::clone(&source.segments);
            let trailing = source.trailing.as_ref();
            prepare::plan(planning, list, trailing, source.range, &mut streams, None).map_err(|error| {
                match error {
                    Error::RangeIsEmpty => {
                        Error::BadTransition(format!("the transition {name} is shorter than a frame"))
                    }
                    error => source.name(error),
                }
            })
        };
        let mut plans = [plan(&from)?, plan(&to)?];
        let Some((found, _)) = streams.found() else { return Err(Error::RangeIsEmpty) };
        for (plan, source) in plans.iter_mut().zip([&mut from, &mut to]) {
            plan.program.clone_from(&found);
            plan.found_in = vec![None; found.streams.len()];
            ranges::add_lead_in(plan, source, planning).map_err(|error| source.name(error))?;
            if planning.exact_type == ExactType::Smart {
                smart::check_format(plan).map_err(|error| source.name(error))?;
            }
            plan.exact_type = ExactType::Full;
            presence::drop_absent_streams(slice::from_mut(plan), planning.is_cancelled)?;
            full::check_sounds(plan, tools).map_err(|error| source.name(error))?;
        }
        let [from, to] = plans;
        let is_known =
            |pid: u16| program.is_none_or(|program| program.streams.iter().any(|stream| stream.pid == pid));
        let has = |plan: &Plan, pid: u16| plan.program.streams.iter().any(|stream| stream.pid == pid);
        let program = restricted(found, |stream| {
            let pid = stream.pid;
            stream.codec.is_video() || is_known(pid) && (has(&from, pid) || has(&to, pid))
        });
        let encoding = Encoding::of(&program, &from, &to)?;
        encoding.encoders().try_for_each(|encoder| tools.check_encoder(encoder))?;
        Ok(Self { name, before, from, to, program, encoding })
    }
}

/// A program with the first stream of pictures, and the sounds that stay.
fn restricted(mut program: Program, stays: impl Fn(&Stream) -> bool) -> Program {
    let video = program.streams.iter().find(|stream| stream.codec.is_video()).map(|stream| stream.pid);
    let is_kept = |codec: Codec, pid: u16| Some(pid) == video || codec.is_audio();
    program.streams.retain(|stream| is_kept(stream.codec, stream.pid) && stays(stream));
    let streams = &program.streams;
    program.pmt.streams.retain(|listed| streams.iter().any(|stream| stream.pid == listed.pid));
    program.pmt.pcr_pid = video.unwrap_or(program.pmt.pcr_pid);
    program
}

/// Makes transitions, and puts each between the plans of the ranges that it is between.
///
/// # Errors
/// `Child` if ffmpeg fails; `Unsupported` if it cannot decode the footage; `Cancelled`.
pub(super) fn insert(
    plans: Vec<Plan>,
    transitions: &[Transition],
    tools: &Tools,
    planning: Planning<'_>,
) -> Result<Vec<Plan>> {
    let shared = plans.first().map(|first| (first.program.clone(), first.found_in.clone()));
    let mut streams = shared.clone().map_or_else(Streams::default, |(program, _)| Streams::of(program));
    let mut joined: Vec<Plan> = Vec::with_capacity(plans.len() + transitions.len());
    let mut transitions = transitions.iter().peekable();
    let mut add_transitions = |before: usize, joined: &mut Vec<Plan>| {
        while let Some(transition) = transitions.next_if(|transition| transition.before == before) {
            let segment = transition.make(tools, planning.is_cancelled)?;
            let range = (segment.start, segment.end);
            let start_90k = joined.last().map(|last| last.end_90k);
            let list = Arc::new(vec![segment]);
            joined.push(prepare::plan(planning, list, None, range, &mut streams, start_90k)?);
        }
        Ok::<(), Error>(())
    };
    let count = plans.len();
    for (index, plan) in plans.into_iter().enumerate() {
        add_transitions(index, &mut joined)?;
        let start_90k = joined.last().map_or(plan.start_90k, |last| last.end_90k);
        let shift_90k = start_90k - plan.start_90k;
        joined.push(plan.shifted(shift_90k));
    }
    add_transitions(count, &mut joined)?;
    let Some((program, found_in)) = shared.or_else(|| streams.found()) else {
        return Err(Error::RangeIsEmpty);
    };
    let count = joined.len();
    for (number, plan) in joined.iter_mut().enumerate() {
        plan.program.clone_from(&program);
        plan.found_in.clone_from(&found_in);
        plan.place = Place { number, is_last: number + 1 == count, ..Place::ALONE };
    }
    Ok(joined)
}

impl Transition {
    /// Blends the two sides into a segment, which begins with the time of the first frame of the side before.
    fn make(&self, tools: &Tools, is_cancelled: &dyn Fn() -> bool) -> Result<CutSegment> {
        let blend =
            blend::Blend { name: &self.name, from: &self.from, to: &self.to, encoding: &self.encoding };
        let bytes = blend.run(&self.program, tools, is_cancelled)?;
        let start = self.from.segments.first().map(|first| first.shown.start).ok_or(Error::RangeIsEmpty)?;
        Ok(CutSegment {
            path: format!("the transition {} from {start} on", self.name).into(),
            bytes: Some(Arc::new(bytes)),
            start,
            end: start + blend.duration(),
            gap_before: true,
            complete: true,
        })
    }

    /// About how many bytes its segment will have: as many as both sides together, as what is encoded anew takes about twice
    /// as many.
    pub(super) fn estimate_bytes(&self) -> Result<u64> {
        let mut estimate = 0;
        for plan in [&self.from, &self.to] {
            let (mut bytes, mut ticks) = (0, 0);
            for planned in plan.segments.iter() {
                bytes += open(&planned.segment, plan.max_segment_bytes)?.len();
                ticks += to_90k(planned.segment.end - planned.segment.start);
            }
            let share = plan.duration_90k().min(ticks).cast_unsigned();
            estimate += bytes * share / ticks.max(1).cast_unsigned();
        }
        Ok(estimate)
    }
}
