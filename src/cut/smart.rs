//! The smart cut: the groups of pictures at the ends are encoded anew, all else is copied.

use std::collections::VecDeque;
use std::io::Write;

use crate::error::{Error, Result};
use crate::ffmpeg::Tools;
use crate::mpegts::codec::Codec;
use crate::mpegts::retime::Action;

use super::encode::{Encoder, Format};
use super::groups::{self, Pieces};
use super::plan::{Plan, Planned};
use super::source::{self, Loaded};
use super::weave::Weaver;
use super::{send, source::unsupported};

/// Finds every reason against a smart cut that can be known beforehand.
pub(super) fn check(plan: &Plan, tools: &Tools) -> Result<()> {
    let Some(first) = plan.parts.first() else { return Err(Error::RangeIsEmpty) };
    if !plan.program.streams.iter().any(|stream| stream.codec.is_video()) {
        return Ok(());
    }
    let format = format(plan).map_err(|why| refused(first, why))?;
    let last = plan.parts.len() - 1;
    for (index, planned) in plan.parts.iter().enumerate() {
        if index == 0 || index == last || index == 1 || !planned.joined || planned.window.after.is_some() {
            let loaded = source::load(&planned.part)?;
            let pieces = pieces(planned, &loaded, true)?;
            if !pieces.encode.is_empty() {
                tools.check_encoder(format.encoder())?;
            }
        }
    }
    Ok(())
}

/// What the ends are to be encoded as; why that cannot be done otherwise.
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

fn refused(planned: &Planned, why: &str) -> Error {
    unsupported(&planned.part, &format!("cannot be spliced, as it {why}: try type=full"))
}

fn pieces(planned: &Planned, loaded: &Loaded, copied: bool) -> Result<Pieces> {
    let Some(track) = loaded.scan.reference_track().filter(|track| track.codec.is_video()) else {
        return Ok(Pieces { actions: Vec::new(), encode: Vec::new() });
    };
    groups::pieces(track, &planned.window, planned.joined, copied).map_err(|why| refused(planned, why))
}

/// Makes a smart cut.
pub(super) fn run(
    plan: &Plan,
    tools: &Tools,
    out: &mut dyn Write,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<()> {
    let format = format(plan).ok();
    let start = |planned: &Planned, loaded: &Loaded, pieces: &Pieces| -> Result<VecDeque<Encoder>> {
        let Some(format) = &format else { return Ok(VecDeque::new()) };
        let encoder = |group| Encoder::start(format, tools, loaded, group, planned.clock);
        pieces.encode.iter().map(encoder).collect()
    };
    let mut weaver = Weaver::new(plan.clone());
    let mut far: Option<VecDeque<Encoder>> = None;
    let mut copied = true;
    for (index, planned) in plan.parts.iter().enumerate() {
        let loaded = source::load(&planned.part)?;
        let pieces = pieces(planned, &loaded, copied)?;
        copied = pieces.actions.last().is_none_or(|action| *action == Action::Copy);
        let is_last = index + 1 == plan.parts.len();
        let mut encoders = match far.take_if(|_| is_last) {
            Some(encoders) => encoders,
            None => start(planned, &loaded, &pieces)?,
        };
        if index == 0
            && let Some(encoder) = encoders.front_mut()
        {
            // Until there is a first picture nothing is sent, so that a failure can still be told.
            encoder.wait(is_cancelled)?;
        }
        if index == 0 && !is_last {
            // The far end is encoded while the middle is sent, but not before the near end has something to show.
            far = plan.parts.last().map(|last| start_far(last, start)).transpose()?;
        }
        let mut lengths = pieces.encode.iter().map(|group| group.shown.len()).collect::<VecDeque<_>>();
        let mut insert = || {
            if let Some(left) = lengths.front_mut() {
                *left -= 1;
            }
            let encoder = encoders.front_mut().ok_or_else(|| refused(planned, "is not what it was"))?;
            let picture = encoder.next(is_cancelled);
            if lengths.front() == Some(&0) {
                lengths.pop_front();
                encoders.pop_front();
            }
            picture
        };
        weaver.part(index, &loaded, pieces.actions, &mut insert, &mut |buffer| {
            send(buffer, out, is_cancelled)
        })?;
    }
    weaver.tail(&mut |buffer| send(buffer, out, is_cancelled))
}

/// Starts the encoders of the last part.
fn start_far(
    last: &Planned,
    start: impl Fn(&Planned, &Loaded, &Pieces) -> Result<VecDeque<Encoder>>,
) -> Result<VecDeque<Encoder>> {
    let loaded = source::load(&last.part)?;
    let pieces = pieces(last, &loaded, true)?;
    start(last, &loaded, &pieces)
}
