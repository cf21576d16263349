//! A single frame of a segment: the one that is on the screen at a time, and what a decoder needs for it.
//!
//! Frames have the times that cuts give them, and what cannot be decoded for a cut is refused here with the same words: a
//! frame is planned as a cut of one microsecond.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::mpegts::retime::Action;
use crate::mpegts::video::PictureFormat;
use crate::timestamp::{Span, Timestamp};

use super::edit::Muxer;
use super::encode::no_frame;
use super::full::{self, SHIFT_90K, blame};
use super::opened::{OTHER_TYPE, unsupported};
use super::plan::{CutSegment, ExactType, Plan, ShownRange};
use super::prepare::{self, Planning};
use super::program::Streams;
use super::segments::LoadedSegment;
use super::transport_stream::TransportStream;
use super::{MovieTools, Preceding, lead_in, presence};

/// The shortest range that holds a frame.
const INSTANT: Span = Span::from_micros(1);

/// A frame, encoded, with all the pictures that it refers to and as few others as possible.
#[derive(Debug)]
pub struct EncodedFrame {
    /// A transport stream of these pictures in the order of decoding. The frame is the last of them.
    pub input: Vec<u8>,
    /// The PTS of the frame there.
    pub pts_90k: i64,
    /// The format of its pictures, if they are H.264 or H.265.
    pub format: Option<PictureFormat>,
}

/// The time of the last frame of a segment that is shown at `at` or before; `None` if there is none. `trailing` continues the
/// segment.
///
/// # Errors
/// [`Error::Unsupported`] if it has no pictures, or they cannot be decoded for a cut; [`Error::Io`] if it cannot be read.
pub fn last_time(
    segment: &CutSegment,
    trailing: Option<&CutSegment>,
    at: Timestamp,
    tools: MovieTools<'_>,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<Option<Timestamp>> {
    let range = (segment.start, at + INSTANT);
    let max_bytes = tools.tools.max_segment_bytes();
    let loaded = LoadedSegment::indexed(Some(tools.samples), segment, None, max_bytes)?;
    let track = loaded.video_track().ok_or_else(|| no_pictures(segment))?;
    if loaded.depends_on_next() {
        let plan = match plan(segment, trailing, range, tools, is_cancelled) {
            Err(Error::RangeIsEmpty) => return Ok(None),
            result => result?,
        };
        let Some(planned) = plan.segments.first() else { return Ok(None) };
        let since_input_90k = planned.last_90k.map(|last| last - planned.clock.output_90k);
        return Ok(since_input_90k.map(|ticks| planned.shown.time(planned.clock.input.plus(ticks))));
    }
    // No more has to be read than the samples, which are in memory if frames of the segment were asked for before.
    let Some(lowest_pts) = track.lowest_pts() else { return Ok(None) };
    let (segment_start, (start, end)) = (segment.start, range);
    let shown = ShownRange { segment_start, lowest_pts, start, end, after: None };
    let pictures = track.units.iter().filter(|unit| unit.complete && shown.contains(unit.pts));
    Ok(pictures.map(|unit| shown.time(unit.pts)).max())
}

/// The frame of a segment at exactly this time. `preceding` returns the segments before it.
///
/// # Errors
/// Those of [`last_time`]; [`Error::RangeIsEmpty`] if there is no frame at that time; [`Error::Unsupported`] if it refers to
/// pictures that are not there.
pub fn encoded_frame(
    segment: &CutSegment,
    trailing: Option<&CutSegment>,
    preceding: Preceding<'_>,
    time: Timestamp,
    tools: MovieTools<'_>,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<EncodedFrame> {
    let mut plan = plan(segment, trailing, (time, time + INSTANT), tools, is_cancelled)?;
    lead_in::add(&mut plan, preceding, Some(tools.samples), is_cancelled)?;
    let video = plan.program.streams.iter().find(|stream| stream.codec.is_video()).map(|stream| stream.pid);
    presence::retain(&mut plan, |_, stream| Some(stream.pid) == video);
    input(&plan.shifted(SHIFT_90K), tools, is_cancelled)
}

/// A failure as it is told to those who ask for a frame: if ffmpeg cannot decode it that is not the server's, and no other type
/// of cut helps.
pub fn refusal(error: Error) -> Error {
    match blame(error) {
        Error::Unsupported(why) => Error::Unsupported(why.replace(OTHER_TYPE, "")),
        error => error,
    }
}

/// Plans a cut of a segment that has pictures.
fn plan(
    segment: &CutSegment,
    trailing: Option<&CutSegment>,
    range: (Timestamp, Timestamp),
    MovieTools { tools, samples }: MovieTools<'_>,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<Plan> {
    let list = vec![segment.clone()];
    let max_segment_bytes = tools.max_segment_bytes();
    let planning =
        Planning { exact_type: ExactType::Full, max_segment_bytes, samples: Some(samples), is_cancelled };
    let plan = prepare::plan(planning, Arc::new(list), trailing, range, &mut Streams::default(), None)?;
    let next = plan.next(0);
    let loaded = LoadedSegment::indexed(Some(samples), segment, next, max_segment_bytes)?;
    loaded.video_track().ok_or_else(|| no_pictures(segment))?;
    Ok(plan)
}

fn no_pictures(segment: &CutSegment) -> Error {
    let name = segment.path.file_name().unwrap_or_default().to_string_lossy();
    Error::Unsupported(format!("segment `{name}` has no pictures"))
}

/// The pictures that a decoder needs for the one that the plan shows.
fn input(
    plan: &Plan,
    MovieTools { tools, samples }: MovieTools<'_>,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<EncodedFrame> {
    let mut container = TransportStream::new(plan);
    let mut muxer = Muxer::new(plan, &mut container);
    let mut input = Vec::new();
    let mut shown = None;
    let count = plan.before().len() + 1;
    for (index, planned) in plan.written().take(count).enumerate() {
        if is_cancelled() {
            return Err(Error::Cancelled);
        }
        let next = plan.next(index);
        let loaded = LoadedSegment::indexed(Some(samples), &planned.segment, next, plan.max_segment_bytes)?;
        loaded.check_picture_size(&planned.segment)?;
        let mut actions = full::actions(plan, index, &planned, &loaded);
        let units = loaded.video_track().map_or(&[][..], |track| &track.units);
        if let Some(last) =
            units.iter().position(|unit| lead_in::is_shown(&planned, unit)).filter(|_| index + 1 == count)
        {
            shown = Some(planned.clock.to_output_90k(units[last].pts));
            actions[last + 1..].fill(Action::Drop);
        }
        muxer.segment(index, &loaded, actions, &mut no_frame, &mut |bytes| {
            input.extend_from_slice(bytes);
            Ok(())
        })?;
        if input.len() as u64 > tools.max_segment_bytes() {
            let limit = tools.max_segment_bytes();
            return Err(unsupported(
                &planned.segment,
                &format!("needs more than {limit} bytes for one of its pictures"),
            ));
        }
    }
    let format = plan.program.streams.first().and_then(|stream| stream.video.as_ref());
    Ok(EncodedFrame {
        input,
        pts_90k: shown.ok_or(Error::RangeIsEmpty)?,
        format: format.map(|video| video.picture.clone()),
    })
}
