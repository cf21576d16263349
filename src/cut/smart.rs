//! The smart cut: the groups of pictures at the ends are encoded anew, everything else is copied.

use std::collections::VecDeque;
use std::io::Write;

use crate::error::{Error, Result};
use crate::ffmpeg::Tools;
use crate::mpegts::codec::Codec;
use crate::mpegts::retime::Action;

use super::edit::Muxer;
use super::encode::{Encoder, Format};
use super::groups::{self, Splice};
use super::mux::{EncodedFrame, Mux, send};
use super::plan::{Plan, PlannedSegment};
use super::segments::{LoadedSegment, unsupported};

/// Checks that a smart cut can be made, as far as that can be known before it is.
pub(super) fn check(plan: &Plan, tools: &Tools) -> Result<()> {
    let Some(first) = plan.segments.first() else { return Err(Error::RangeIsEmpty) };
    if !plan.program.streams.iter().any(|stream| stream.codec.is_video()) {
        return Ok(());
    }
    let format = format(plan).map_err(|why| refused(first, why))?;
    let last = plan.segments.len() - 1;
    for (index, planned) in plan.segments.iter().enumerate() {
        let is_inside = index > 1 && index < last && planned.continuous && planned.shown.after.is_none();
        if is_inside {
            continue;
        }
        let loaded = LoadedSegment::load(&planned.segment)?;
        if !splice(planned, &loaded, true)?.partial.is_empty() {
            tools.check_encoder(format.encoder())?;
        }
    }
    Ok(())
}

/// The format of the pictures, or why they cannot be spliced.
fn format(plan: &Plan) -> Result<Format, &'static str> {
    let mut videos = plan.program.streams.iter().filter(|stream| stream.codec.is_video());
    let stream = videos.next().ok_or("has no pictures")?;
    if videos.next().is_some() {
        return Err("has more than one stream of pictures");
    }
    if plan.program.programs > 1 {
        return Err("has more than one program");
    }
    if !matches!(stream.codec, Codec::H264 | Codec::Hevc) {
        return Err("has pictures that are neither H.264 nor HEVC");
    }
    let video = stream.video.as_ref().ok_or("has no parameter sets that can be read")?;
    if video.picture.interlaced {
        return Err("has interlaced pictures");
    }
    Ok(Format::new(stream.codec, video))
}

fn refused(planned: &PlannedSegment, why: &str) -> Error {
    unsupported(&planned.segment, &format!("cannot be spliced, as it {why}: try type=full"))
}

/// What is done with the pictures of a segment. `copied` says that the last picture of the segment before was copied.
fn splice(planned: &PlannedSegment, loaded: &LoadedSegment, copied: bool) -> Result<Splice> {
    let Some(track) = loaded.video_track() else { return Ok(Splice::default()) };
    groups::splice(track, &planned.shown, planned.continuous, copied).map_err(|why| refused(planned, why))
}

/// Makes a smart cut.
pub(super) fn run(
    plan: &Plan,
    tools: &Tools,
    mux: &mut dyn Mux,
    out: &mut dyn Write,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<()> {
    let mut out = |bytes: &[u8]| send(bytes, out, is_cancelled);
    let mut muxer = Muxer::new(plan, mux);
    let format = format(plan).ok();
    let mut last_encoders = None;
    let mut copied = true;
    for (index, planned) in plan.written().enumerate() {
        let is_last = index + 1 == plan.segments.len();
        let loaded = LoadedSegment::load(&planned.segment)?;
        let splice = splice(planned, &loaded, copied)?;
        copied = splice.actions.last().is_none_or(|action| *action == Action::Copy);
        let mut encoders = match last_encoders.take_if(|_| is_last) {
            Some(encoders) => encoders,
            None => Encoders::start(format.as_ref(), tools, planned, &loaded, &splice)?,
        };
        if index == 0 {
            // Nothing is sent before there is a picture, so that a failure can still be answered with an error.
            encoders.wait(is_cancelled)?;
        }
        if index == 0 && !is_last {
            // The last segment is encoded while those in between are sent.
            let start = |last| Encoders::start_last(format.as_ref(), tools, last);
            last_encoders = plan.segments.last().map(start).transpose()?;
        }
        let mut next_frame = || encoders.next_frame(planned, is_cancelled);
        muxer.segment(index, &loaded, splice.actions, &mut next_frame, &mut out)?;
    }
    Ok(())
}

/// The encoders of a segment's partial groups, in order.
struct Encoders(VecDeque<Encoder>);

impl Encoders {
    fn start(
        format: Option<&Format>,
        tools: &Tools,
        planned: &PlannedSegment,
        loaded: &LoadedSegment,
        splice: &Splice,
    ) -> Result<Self> {
        let Some(format) = format else { return Ok(Self(VecDeque::new())) };
        let encoder = |group| Encoder::start(format, tools, loaded, group, planned.clock);
        splice.partial.iter().map(encoder).collect::<Result<_>>().map(Self)
    }

    fn start_last(format: Option<&Format>, tools: &Tools, last: &PlannedSegment) -> Result<Self> {
        let loaded = LoadedSegment::load(&last.segment)?;
        let splice = splice(last, &loaded, true)?;
        Self::start(format, tools, last, &loaded, &splice)
    }

    /// Waits for the first picture, if there is one.
    fn wait(&mut self, is_cancelled: &dyn Fn() -> bool) -> Result<()> {
        self.0.front_mut().map_or(Ok(()), |encoder| encoder.wait(is_cancelled))
    }

    fn next_frame(
        &mut self,
        planned: &PlannedSegment,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<EncodedFrame> {
        let changed = || refused(planned, "has changed since the cut was prepared");
        let encoder = self.0.front_mut().ok_or_else(changed)?;
        let frame = encoder.next_frame(is_cancelled);
        if encoder.is_finished() {
            self.0.pop_front();
        }
        frame
    }
}
