//! The smart cut: the groups of pictures at the ends are re-encoded, everything else is copied.

use std::collections::VecDeque;
use std::io::Write;

use crate::error::{Error, Result};
use crate::ffmpeg::Tools;
use crate::mpegts::codec::Codec;
use crate::mpegts::elementary::JoinedStream;
use crate::mpegts::frames::units_with_untimed_pictures;

use super::edit::Muxer;
use super::encode::{Encoder, Format};
use super::groups::{self, Splice};
use super::mux::{Mux, send};
use super::opened::unsupported;
use super::plan::{Plan, PlannedSegment};
use super::prepare::FIRST_PTS_90K;
use super::samples_cache::SamplesCache;
use super::segments::{LoadedSegment, check_picture_size};

/// By how much the DTS of the first pictures may be lower than the source's, at most; see [`FIRST_PTS_90K`].
const MAX_SPARE_90K: i64 = FIRST_PTS_90K / 2;

/// Checks that a smart cut can be made, as far as that can be known before it is.
pub(super) fn check(
    plan: &Plan,
    tools: &Tools,
    samples: Option<&SamplesCache>,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<()> {
    if !plan.program.streams.iter().any(|stream| stream.codec.is_video()) {
        return Ok(());
    }
    let Some(first) = plan.segments.first() else { return Err(Error::RangeIsEmpty) };
    let format = check_format(plan)?;
    if plan.lead_in.is_some() {
        return Err(refused(&first, "begins with pictures that refer to the segment before"));
    }
    let mut copied = true;
    for (index, planned) in plan.segments.iter().enumerate() {
        if copied && is_inside(&planned) {
            // All of it is copied, too.
            continue;
        }
        if is_cancelled() {
            return Err(Error::Cancelled);
        }
        let loaded =
            LoadedSegment::indexed(samples, &planned.segment, plan.next(index), plan.max_segment_bytes)?;
        let splice = splice(&planned, &loaded, copied)?;
        copied = splice.ends_copied();
        if !splice.partial.is_empty() {
            check_picture_size(&planned.segment, loaded.bytes()?, &loaded.scan.pmt)?;
            check_times(&planned, &loaded, &splice)?;
            tools.check_encoder(format.encoder())?;
        }
    }
    Ok(())
}

/// The format of the pictures.
///
/// # Errors
/// [`Error::Unsupported`] for pictures that cannot be spliced.
pub(super) fn check_format(plan: &Plan) -> Result<Format> {
    let Some(first) = plan.segments.first() else { return Err(Error::RangeIsEmpty) };
    format(plan).map_err(|why| refused(&first, why))
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
    let video = stream.video.clone().ok_or("has no parameter sets that can be read")?;
    if video.picture.interlaced {
        return Err("has interlaced pictures");
    }
    Ok(Format { codec: stream.codec, video })
}

fn refused(planned: &PlannedSegment, why: &str) -> Error {
    unsupported(&planned.segment, &format!("cannot be spliced, as it {why}: try type=full"))
}

/// Whether a segment lies within the range, by its name, and continues the one before.
fn is_inside(planned: &PlannedSegment) -> bool {
    planned.continuous && planned.last_90k.is_none() && planned.shown.after.is_none()
}

/// What is done with the pictures of a segment. `copied` says that the last picture of the segment before was copied.
fn splice(planned: &PlannedSegment, loaded: &LoadedSegment, copied: bool) -> Result<Splice> {
    let Some(track) = loaded.video_track() else { return Ok(Splice::default()) };
    if copied && is_inside(planned) {
        return Ok(groups::copy(track));
    }
    groups::splice(track, &planned.shown, planned.continuous, copied).map_err(|why| refused(planned, why))
}

/// Checks that each picture that is encoded has a time of its own.
fn check_times(planned: &PlannedSegment, loaded: &LoadedSegment, splice: &Splice) -> Result<()> {
    let Some(track) = loaded.video_track() else { return Ok(()) };
    let stream = JoinedStream::of(loaded.bytes()?, track.pid);
    let is_encoded = |unit: usize| splice.partial.iter().any(|group| group.units.contains(&unit));
    if units_with_untimed_pictures(track.codec, &stream).any(is_encoded) {
        return Err(refused(planned, "has PES packets with several pictures"));
    }
    Ok(())
}

/// Makes a smart cut. Without `tools` nothing is encoded: in place of pictures there are bytes, about as many.
pub(super) fn run(
    plan: &Plan,
    tools: Option<&Tools>,
    samples: Option<&SamplesCache>,
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
        let loaded = LoadedSegment::written_indexed(plan, samples, index, &planned)?;
        let splice = splice(&planned, &loaded, copied)?;
        copied = splice.ends_copied();
        // The first pictures may have a lower DTS than in the source, as long as it is not below the clock references.
        let is_first = index == 0 && plan.place.number == 0;
        let spare_90k = if is_first { loaded.scan.pcr_lead_90k.clamp(0, MAX_SPARE_90K) } else { 0 };
        let start = || start_encoders(format.as_ref(), tools, &planned, &loaded, &splice, spare_90k);
        let mut encoders = last_encoders.take_if(|_| is_last).map_or_else(start, Ok)?;
        if index == 0 {
            // Nothing is sent before there is a picture, so that a failure can still be answered with an error.
            encoders.front_mut().map_or(Ok(()), |encoder| encoder.wait(is_cancelled))?;
        }
        if let Some(last) = plan.segments.last().filter(|_| index == 0 && !is_last) {
            // The last segment is encoded while those in between are sent.
            let loaded = LoadedSegment::indexed(
                samples,
                &last.segment,
                plan.next(plan.segments.len() - 1),
                plan.max_segment_bytes,
            )?;
            // Which groups are encoded does not depend on what is before them.
            let splice = self::splice(&last, &loaded, true)?;
            last_encoders = Some(start_encoders(format.as_ref(), tools, &last, &loaded, &splice, 0)?);
        }
        let mut next_frame = || {
            let changed = || refused(&planned, "has changed since the cut was prepared");
            let encoder = encoders.front_mut().ok_or_else(changed)?;
            let frame = encoder.next_frame(is_cancelled);
            if encoder.is_finished() {
                encoders.pop_front();
            }
            frame
        };
        muxer.segment(index, &loaded, splice.actions, &mut next_frame, &mut out)?;
    }
    Ok(())
}

/// Starts the encoders of a segment's partial groups, in order.
fn start_encoders(
    format: Option<&Format>,
    tools: Option<&Tools>,
    planned: &PlannedSegment,
    loaded: &LoadedSegment,
    splice: &Splice,
    spare_90k: i64,
) -> Result<VecDeque<Encoder>> {
    let Some(format) = format.filter(|_| !splice.partial.is_empty()) else { return Ok(VecDeque::new()) };
    check_picture_size(&planned.segment, loaded.bytes()?, &loaded.scan.pmt)?;
    let start = |(index, group)| {
        let spare_90k = if index == 0 { spare_90k } else { 0 };
        match tools {
            Some(tools) => Encoder::start(format, tools, loaded, group, planned.clock, spare_90k),
            None => Encoder::estimate(format, loaded, group, planned.clock),
        }
    };
    splice.partial.iter().enumerate().map(start).collect()
}
