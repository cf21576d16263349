//! The ranges of a cut: their plans, one behind another on one clock.
//!
//! Each range has a plan of its own, which is made as if there were no other, except that it begins where the one before has
//! ended and that all plans have one program.

use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::ffmpeg::Tools;
use crate::mpegts::pes::TICKS_PER_SECOND;
use crate::mpegts::scan::Track;
use crate::timestamp::Timestamp;

use super::lead_in::{self, Preceding};
use super::plan::{CutSegment, ExactType, Place, Plan, PlannedSegment, SegmentList};
use super::prepare::{self, Planning};
use super::program::Streams;
use super::segments::LoadedSegment;
use super::target::Target;
use super::{full, smart};

/// The distance in the output between what ranges have that is hidden: more than a sound is ahead of its pictures.
const DISTANCE_90K: i64 = 2 * TICKS_PER_SECOND;

/// By how much earlier pictures are decoded at most.
const MAX_EARLIER_90K: i64 = DISTANCE_90K / 2;

/// A range of a cut, and what there is of it.
pub struct CutRange<'a> {
    /// Which of the ranges of the cut it is or is part of, from 0 on, and how many there are. Errors name it.
    pub place: (usize, usize),
    /// The segments that cover it, in order.
    pub segments: Arc<dyn SegmentList>,
    /// The segment that continues the last one, if there is one: sound is stored behind its pictures, so the last of it may
    /// be there.
    pub trailing: Option<CutSegment>,
    /// Returns the segments before the first one, for pictures that refer to them.
    pub preceding: Box<dyn FnMut() -> Result<Option<CutSegment>> + 'a>,
    /// The first instant of the range, and the first one behind it.
    pub range: (Timestamp, Timestamp),
}

impl<'a> CutRange<'a> {
    /// A range that has these segments.
    pub fn new(
        segments: impl SegmentList + 'static,
        trailing: Option<&CutSegment>,
        preceding: Preceding<'a>,
        range: (Timestamp, Timestamp),
    ) -> Self {
        Self {
            place: (0, 1),
            segments: Arc::new(segments),
            trailing: trailing.cloned(),
            preceding: Box::new(preceding),
            range,
        }
    }

    /// The error about it, which names it if there are several.
    pub(super) fn name(&self, error: Error) -> Error {
        let (number, count) = self.place;
        error.in_range(number, count)
    }
}

impl fmt::Debug for CutRange<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CutRange").field("range", &self.range).finish_non_exhaustive()
    }
}

/// A transition of a cut, and what there is of the two ranges during it.
#[derive(Debug)]
pub struct Overlap<'a> {
    /// Its type: a transition of ffmpeg's filter `xfade`.
    pub transition: String,
    /// How many of the ranges of the cut are before it.
    pub before: usize,
    /// The end of the range before, of the same length as `to`.
    pub from: CutRange<'a>,
    /// The start of the range after.
    pub to: CutRange<'a>,
}

/// What a cut is made from.
#[derive(Debug)]
pub struct CutParts<'a> {
    /// The ranges, without what transitions show.
    pub ranges: Vec<CutRange<'a>>,
    /// The transitions, in order.
    pub overlaps: Vec<Overlap<'a>>,
}

impl CutParts<'_> {
    /// Takes out a range of which nothing is shown.
    fn remove_range(&mut self, number: usize) {
        self.ranges.remove(number);
        for overlap in self.overlaps.iter_mut().filter(|overlap| overlap.before > number) {
            overlap.before -= 1;
        }
    }
}

/// Plans ranges, each of which begins in the output where the one before ends.
pub(super) fn plan(planning: Planning<'_>, parts: &mut CutParts<'_>) -> Result<Vec<Plan>> {
    let mut plans: Vec<Plan> = Vec::with_capacity(parts.ranges.len());
    let mut streams = Streams::default();
    while let Some(source) = parts.ranges.get(plans.len()) {
        let start_90k = plans.last().map(|last| last.end_90k);
        let list = Arc::clone(&source.segments);
        let trailing = source.trailing.as_ref();
        let planned = prepare::plan(planning, list, trailing, source.range, &mut streams, start_90k);
        match planned {
            Ok(plan) => plans.push(plan),
            // Transitions show all of it.
            Err(Error::RangeIsEmpty) if !parts.overlaps.is_empty() => parts.remove_range(plans.len()),
            Err(error) => return Err(source.name(error)),
        }
    }
    let count = plans.len();
    for (number, plan) in plans.iter_mut().enumerate() {
        plan.place = Place { number, is_last: number + 1 == count, ..Place::ALONE };
    }
    // The streams of the last ranges are there from the beginning.
    if let Some((program, found_in)) = streams.found() {
        for plan in &mut plans {
            plan.program.clone_from(&program);
            plan.found_in.clone_from(&found_in);
        }
    }
    Ok(plans)
}

/// Adds to plans what is before the first segments of their ranges, and checks that the cut can be made.
pub(super) fn complete(
    mut plans: Vec<Plan>,
    mut ranges: Vec<CutRange<'_>>,
    tools: &Tools,
    planning: Planning<'_>,
) -> Result<Vec<Plan>> {
    let Planning { exact_type, samples, is_cancelled, .. } = planning;
    if exact_type != ExactType::Whole {
        for (plan, source) in plans.iter_mut().zip(&mut ranges) {
            add_lead_in(plan, source, planning).map_err(|error| source.name(error))?;
        }
    }
    share_formats(&mut plans);
    match exact_type {
        ExactType::Full | ExactType::Webm => {
            let target = Target::of(exact_type);
            plans.first().map_or(Ok(()), |first| full::check(first, tools, target))?;
        }
        ExactType::Smart => plans.iter().zip(&ranges).try_for_each(|(plan, source)| {
            smart::check(plan, tools, samples, is_cancelled).map_err(|error| source.name(error))
        })?,
        ExactType::Copy | ExactType::Whole => {}
    }
    Ok(plans)
}

/// Adds to the plan of a range what is before its first segment.
pub(super) fn add_lead_in(plan: &mut Plan, source: &mut CutRange<'_>, planning: Planning<'_>) -> Result<()> {
    // The range may begin behind the last frame of the first segment.
    let first = plan.segments.list().segment(0);
    let planned = plan.segments.first().map(|planned| planned.segment);
    let mut unused = first.filter(|first| planned.as_ref() != Some(first));
    let mut preceding = || unused.take().map_or_else(&mut *source.preceding, |first| Ok(Some(first)));
    lead_in::add(plan, &mut preceding, planning.samples, planning.is_cancelled)
}

/// Gives all plans the format of the pictures, which segments before the first one of a range may have told.
fn share_formats(plans: &mut [Plan]) {
    let is_video = |plan: &Plan| plan.program.streams.iter().position(|stream| stream.codec.is_video());
    let Some(index) = plans.first().and_then(is_video) else { return };
    let known = plans.iter().find_map(|plan| plan.program.streams[index].video.clone());
    for plan in plans {
        let video = &mut plan.program.streams[index].video;
        *video = video.take().or_else(|| known.clone());
    }
}

/// Moves plans of which something is hidden apart in the output, so that what is hidden behind the end of one range ends before what is hidden before the
/// start of the next begins.
pub(super) fn spread(plans: Vec<Plan>, planning: Planning<'_>) -> Result<Vec<Plan>> {
    if !planning.exact_type.hides() || plans.len() < 2 {
        return Ok(plans);
    }
    let mut spread: Vec<Plan> = Vec::with_capacity(plans.len());
    // Where the range before ends, and where all that it has ends.
    let mut before = None;
    for plan in plans {
        if (planning.is_cancelled)() {
            return Err(Error::Cancelled);
        }
        let (begin_90k, end_90k) = extent(&plan, planning)?;
        let shift_90k = before.map_or(0, |(_, last_90k): (i64, i64)| last_90k + DISTANCE_90K - begin_90k);
        let mut plan = plan.shifted(shift_90k);
        plan.place.hidden_90k = before.map_or(0, |(range_end_90k, _)| plan.start_90k - range_end_90k);
        if plan.exact_type == ExactType::Copy {
            plan.place.earlier_90k = -lead_90k(&plan, planning)?;
        }
        before = Some((plan.end_90k, end_90k + shift_90k));
        spread.push(plan);
    }
    // Some players count from the first picture that is decoded of those that an edit shows: in all edits it is decoded
    // as long before the first one that is shown. It is so by a tick at least: where times of decoding and of showing are
    // equal, ffmpeg checks their order, and warns of pictures that an edit hides.
    let longest = spread.iter().map(|plan| -plan.place.earlier_90k).fold(1, i64::max);
    for plan in &mut spread {
        plan.place.earlier_90k = (plan.place.earlier_90k + longest).min(MAX_EARLIER_90K);
    }
    Ok(spread)
}

/// How long before the range begins the first picture that is decoded of those that it shows is decoded.
fn lead_90k(plan: &Plan, Planning { samples, max_segment_bytes, .. }: Planning<'_>) -> Result<i64> {
    let index = plan.before().len();
    let Some(planned) = plan.written_at(index) else { return Ok(0) };
    let loaded = LoadedSegment::indexed(samples, &planned.segment, plan.next(index), max_segment_bytes)?;
    let units = loaded.video_track().map_or(&[][..], |track| &track.units);
    let first = units.iter().find(|unit| lead_in::is_shown(&planned, unit));
    Ok(first.map_or(0, |unit| plan.start_90k - planned.clock.to_output_90k(unit.dts)))
}

/// Where what a plan writes begins and ends in the output, with all that is hidden.
fn extent(plan: &Plan, Planning { samples, max_segment_bytes, .. }: Planning<'_>) -> Result<(i64, i64)> {
    let (mut begin_90k, mut end_90k) = (plan.start_90k, plan.end_90k);
    let first = plan.written_at(0).map(|planned| (0, planned));
    let last = plan.before().len() + plan.segments.len() - 1;
    let last = plan.written_at(last).map(|planned| (last, planned));
    for (index, planned) in first.into_iter().chain(last) {
        let PlannedSegment { segment, clock, .. } = &planned;
        let loaded = LoadedSegment::indexed(samples, segment, plan.next(index), max_segment_bytes)?;
        let is_whole = plan.exact_type == ExactType::Whole;
        let all = loaded.scan.tracks.iter().filter(|_| is_whole);
        let tracks: Vec<&Track> = loaded.reference_track().into_iter().chain(all).collect();
        for unit in tracks.iter().flat_map(|track| &track.units) {
            begin_90k = begin_90k.min(clock.to_output_90k(unit.dts));
            end_90k = end_90k.max(clock.to_output_90k(unit.pts) + planned.frame_90k);
        }
    }
    Ok((begin_90k, end_90k))
}
