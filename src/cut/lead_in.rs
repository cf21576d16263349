//! Pictures that refer to pictures before the range: which segments before it a decoder needs, and what is refused because
//! they are not there.

use crate::error::{Error, Result};
use crate::mpegts::codec::Codec;
use crate::mpegts::pes::TICKS_PER_SECOND;
use crate::mpegts::probe::Program;
use crate::mpegts::scan::{Track, Unit};

use super::decoding;
use super::opened::unsupported;
use super::plan::{CutSegment, LeadIn, Plan, PlannedSegment};
use super::prepare;
use super::samples_cache::SamplesCache;
use super::segments::LoadedSegment;

/// How many segments before the first one are read to find where decoding can begin.
const MAX_SEGMENTS: usize = 30;
/// How long before the first segment decoding may begin: ffmpeg gives nothing out meanwhile.
const MAX_90K: i64 = 30 * TICKS_PER_SECOND;

/// Returns the segments before the first one of a cut, the nearest first; `None` where there is a gap.
pub type Preceding<'a> = &'a mut dyn FnMut() -> Result<Option<CutSegment>>;

/// The picture that a decoder has to begin with if it knows nothing of the segment before: none before it is needed.
/// `None` if a picture that is shown refers to earlier segments.
pub(super) fn first_unit(planned: &PlannedSegment, track: &Track) -> Option<usize> {
    if !matches!(track.codec, Codec::H264 | Codec::Hevc | Codec::Mpeg2) {
        return Some(0);
    }
    decoding::start(&track.units, |unit| is_shown(planned, unit))
}

/// Whether a cut shows the picture of a unit.
pub(super) fn is_shown(planned: &PlannedSegment, unit: &Unit) -> bool {
    unit.complete && planned.shown.contains(unit.pts)
}

/// Finds for each segment that does not continue the one before where decoding begins, and adds to the plan what has to be
/// decoded before its first segment.
///
/// # Errors
/// [`Error::Unsupported`] if pictures that are shown refer to segments that are not there.
pub(super) fn add(
    plan: &mut Plan,
    preceding: Preceding<'_>,
    samples: Option<&SamplesCache>,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<()> {
    for index in 0..plan.segments.len() {
        let Some(planned) = plan.segments.get(index).filter(|planned| !planned.continuous) else { continue };
        if is_cancelled() {
            return Err(Error::Cancelled);
        }
        let next = plan.next(plan.before().len() + index);
        let loaded = LoadedSegment::indexed(samples, &planned.segment, next, plan.max_segment_bytes)?;
        let Some(track) = loaded.video_track().filter(|track| first_unit(&planned, track).is_none()) else {
            continue;
        };
        let found = if index == 0 { find(plan, &track.units, preceding, is_cancelled)? } else { None };
        let Some((lead_in, program)) = found else { return Err(refused(plan, index)) };
        // The first segment may have no parameter sets.
        let formats = program.streams.into_iter().filter(|stream| stream.codec.is_video());
        let videos = plan.program.streams.iter_mut().filter(|stream| stream.codec.is_video());
        videos.zip(formats).for_each(|(video, before)| video.video = video.video.take().or(before.video));
        plan.segments.continue_first();
        plan.lead_in = Some(lead_in);
    }
    Ok(())
}

/// Finds the segments before the first one of a plan, whose pictures are `units`, that have to be decoded for it, and the
/// streams of the first of them.
fn find(
    plan: &Plan,
    units: &[Unit],
    preceding: Preceding<'_>,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<Option<(LeadIn, Program)>> {
    let Some(first) = plan.segments.first().filter(|first| !first.segment.gap_before) else {
        return Ok(None);
    };
    let is_near = |unit: &Unit| first.shown.lowest_pts.since(unit.pts) <= MAX_90K;
    let mut units = units.to_vec();
    let mut segments: Vec<PlannedSegment> = Vec::new();
    while segments.len() < MAX_SEGMENTS {
        if is_cancelled() {
            return Err(Error::Cancelled);
        }
        let Some(segment) = preceding()? else { break };
        let next = segments.last().unwrap_or(&first);
        let Some((planned, program)) = prepare::plan_before(plan, next, segment)? else { break };
        let loaded = LoadedSegment::load(&planned.segment, Some(&next.segment), plan.max_segment_bytes)?;
        segments.push(planned);
        let Some(track) = loaded.video_track() else { break };
        let far = track.units.iter().rposition(|unit| !is_near(unit)).map_or(0, |last| last + 1);
        units.splice(..0, track.units[far..].iter().copied());
        if let Some(start) = decoding::start(&units, |unit| is_shown(&first, unit)) {
            segments.reverse();
            segments.iter_mut().skip(1).for_each(|planned| planned.continuous = true);
            return Ok(Some((LeadIn { segments, first_unit: far + start }, program)));
        }
        if far > 0 {
            break;
        }
    }
    Ok(None)
}

/// The refusal of a cut whose segments from here on refer to pictures that are not there. It says from when on a cut is
/// possible, if that is soon.
fn refused(plan: &Plan, index: usize) -> Error {
    let from = |planned: &PlannedSegment| {
        let loaded = LoadedSegment::load(&planned.segment, None, plan.max_segment_bytes).ok()?;
        let pts = decoding::shown_from(&loaded.video_track()?.units)?;
        Some(planned.shown.time(pts)).filter(|time| *time < planned.shown.end)
    };
    let segments = || plan.segments.iter().skip(index);
    let continuing = segments().take(1).chain(segments().skip(1).take_while(|planned| planned.continuous));
    let from = continuing.take(MAX_SEGMENTS).find_map(|planned| from(&planned));
    let seconds = MAX_90K / TICKS_PER_SECOND;
    let why = format!(
        "begins with pictures that refer to others before it, which are missing or more than {seconds} s away"
    );
    let hint = from.map_or_else(String::new, |from| format!("; it can be cut from start={from} on"));
    match segments().next() {
        Some(first) => unsupported(&first.segment, &(why + &hint)),
        None => Error::RangeIsEmpty,
    }
}
