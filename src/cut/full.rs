//! The full cut: every frame through ffmpeg, to H.264 and AAC.
//!
//! ffmpeg gets the segments as one stream on one clock, so it sees no gap, wrap or restart of the clock, and keeps what is
//! between two timestamps.

use std::io::Write;

use crate::error::{Error, Result};
use crate::ffmpeg::Tools;
use crate::mpegts::packet::{PACKET_BYTES, packets};
use crate::mpegts::pes::{Header, TICKS_PER_SECOND, Ticks};
use crate::mpegts::probe::Stream;
use crate::mpegts::retime::Action;

use super::edit::{Muxer, counterpart};
use super::encode::{failed, rate_option};
use super::groups;
use super::lead_in;
use super::mux::send;
use super::plan::{LeadIn, Plan, PlannedSegment};
use super::segments::LoadedSegment;
use super::transport_stream::TransportStream;

/// By how much the stream for ffmpeg is shifted, so that what precedes the first frame is not before zero.
const SHIFT_90K: i64 = 100 * TICKS_PER_SECOND;
/// How much sound ffmpeg gets beyond the ends, to cut it at the sample.
const AUDIO_MARGIN_90K: i64 = TICKS_PER_SECOND;

/// Checks that ffmpeg has the encoders.
pub(super) fn check(tools: &Tools) -> Result<()> {
    tools.check_encoder("libx264")?;
    tools.check_encoder("aac")
}

/// Makes a full cut.
pub(super) fn run(
    mut plan: Plan,
    tools: &Tools,
    out: &mut dyn Write,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<()> {
    for planned in plan.written_mut() {
        planned.clock = planned.clock.shifted(SHIFT_90K);
        planned.last_90k = planned.last_90k.map(|last| last + SHIFT_90K);
    }
    (plan.start_90k, plan.end_90k) = (plan.start_90k + SHIFT_90K, plan.end_90k + SHIFT_90K);
    let args = arguments(&plan, &audio_pids(&plan)?, tools);
    let expected_90k = plan.end_90k - plan.start_90k;
    let feed = Box::new(move |stdin: &mut dyn Write| feed(plan, stdin));
    let mut child = tools.ffmpeg(&args, feed)?;
    let mut length = OutputLength::default();
    while let Some(chunk) = child.next_chunk(is_cancelled)? {
        length.push(&chunk);
        send(&chunk, out, is_cancelled)?;
    }
    length.check(expected_90k)
}

/// The length of ffmpeg's output, by the stream that lasts longest. It may be too short though ffmpeg succeeded.
#[derive(Debug, Default)]
struct OutputLength {
    /// Bytes of an incomplete packet.
    rest: Vec<u8>,
    highest_pts_90k: i64,
}

impl OutputLength {
    fn push(&mut self, chunk: &[u8]) {
        self.rest.extend_from_slice(chunk);
        let whole = self.rest.len() / PACKET_BYTES * PACKET_BYTES;
        for (_, packet) in packets(&self.rest[..whole]).filter(|(_, packet)| packet.starts_unit()) {
            if let Some(pts) = Header::parse(packet.payload()).and_then(|header| header.pts) {
                // A cut may be longer than the 33 bits of the clock.
                self.highest_pts_90k += pts.since(Ticks::new(self.highest_pts_90k)).max(0);
            }
        }
        self.rest.drain(..whole);
    }

    fn check(&self, expected_90k: i64) -> Result<()> {
        if self.highest_pts_90k >= expected_90k - TICKS_PER_SECOND {
            return Ok(());
        }
        let (made, expected) = (self.highest_pts_90k / TICKS_PER_SECOND, expected_90k / TICKS_PER_SECOND);
        let why =
            format!("it ended without an error, but with less than the {expected} s asked for: {made} s");
        Err(failed(&why))
    }
}

/// Feeds all segments to ffmpeg.
fn feed(mut plan: Plan, stdin: &mut dyn Write) -> Result<()> {
    (plan.start_90k, plan.end_90k) = (plan.start_90k - AUDIO_MARGIN_90K, plan.end_90k + AUDIO_MARGIN_90K);
    if let Some(trailing) = &mut plan.trailing {
        trailing.last_90k = Some(plan.end_90k - trailing.frame_90k);
    }
    let mut container = TransportStream::new(&plan);
    let mut muxer = Muxer::new(&plan, &mut container);
    let mut write = |bytes: &[u8]| stdin.write_all(bytes).map_err(Error::io("write", "ffmpeg's input"));
    for (index, planned) in plan.written().enumerate() {
        let loaded = LoadedSegment::load(&planned.segment)?;
        let mut no_frame = || Err(failed("no picture is replaced in its input"));
        muxer.segment(index, &loaded, actions(&plan, index, planned, &loaded), &mut no_frame, &mut write)?;
    }
    Ok(())
}

/// What is done with the pictures of segment `index` of those that are written.
fn actions(plan: &Plan, index: usize, planned: &PlannedSegment, loaded: &LoadedSegment) -> Vec<Action> {
    let Some(track) = loaded.video_track() else { return Vec::new() };
    match &plan.lead_in {
        Some(LeadIn { first_unit, .. }) if index == 0 => groups::decode(track, *first_unit, |_| true),
        Some(LeadIn { segments, .. }) if index < segments.len() => groups::decode(track, 0, |_| true),
        _ => {
            let first = if planned.continuous { 0 } else { lead_in::first_unit(planned, track).unwrap_or(0) };
            groups::decode(track, first, |unit| planned.shown.contains(unit.pts))
        }
    }
}

/// The PIDs of the audio streams that are heard at one of the ends; ffmpeg fails if a stream it maps has no frames.
fn audio_pids(plan: &Plan) -> Result<Vec<u16>> {
    let mut pids = Vec::new();
    for planned in plan.segments.first().into_iter().chain(plan.segments.last()) {
        let scan = LoadedSegment::load(&planned.segment)?.scan;
        for (index, stream) in plan.program.streams.iter().enumerate() {
            let track = counterpart(&plan.program, index, &scan).filter(|track| track.codec.is_audio());
            let is_heard = track.is_some_and(|track| {
                let starts = track.units.iter().map(|unit| planned.clock.to_output_90k(unit.pts));
                // The first unit may begin before the cut and go on into it.
                let ends = starts.clone().skip(1).chain([i64::MAX]);
                starts.zip(ends).any(|(start, end)| start < plan.end_90k && end > plan.start_90k)
            });
            if is_heard && stream.audio.is_some() && !pids.contains(&stream.pid) {
                pids.push(stream.pid);
            }
        }
    }
    Ok(pids)
}

fn arguments(plan: &Plan, audio_pids: &[u16], tools: &Tools) -> String {
    let threads = tools.threads();
    let mut args = vec![format!("-hide_banner -v error -copyts -f mpegts -threads {threads} -i pipe:0")];
    let video = plan.program.streams.iter().find(|stream| stream.codec.is_video());
    args.extend(video.map(|stream| video_arguments(plan, stream, tools)));
    let seconds =
        |ticks: i64| format!("{}.{:06}", ticks / TICKS_PER_SECOND, ticks % TICKS_PER_SECOND * 100 / 9);
    let (start, end) = (seconds(plan.start_90k), seconds(plan.end_90k));
    let filter = format!("atrim=start={start}:end={end},asetpts=PTS-{start}/TB");
    let audio = |(index, pid)| format!("-map 0:i:{pid} -filter:a:{index} {filter}");
    args.extend(audio_pids.iter().enumerate().map(audio));
    args.push("-c:a aac -b:a 192k -muxdelay 0 -muxpreload 0 -f mpegts pipe:1".to_owned());
    args.join(" ")
}

fn video_arguments(plan: &Plan, stream: &Stream, tools: &Tools) -> String {
    let (pid, start, end) = (stream.pid, plan.start_90k, plan.end_90k);
    let (threads, passthrough) = (tools.threads(), tools.passthrough_option());
    // Frames that two segments have come twice, and the second time they go back.
    let once = "select=isnan(prev_selected_pts)+gt(pts\\,prev_selected_pts)";
    let mut filter = format!("trim=start_pts={start}:end_pts={end},{once},setpts=PTS-{start}");
    let mut rate = String::new();
    if let Some(video) = &stream.video {
        filter = format!("{filter},scale={}:{}", video.picture.width, video.picture.height);
        rate = rate_option(video);
    }
    format!(
        "-map 0:i:{pid} -filter:v {filter} \
        -c:v libx264 -preset veryfast -crf 18 -pix_fmt yuv420p -x264-params {rate}force-cfr=1 \
        -threads {threads} {passthrough} passthrough -enc_time_base 1:90000"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mpegts::pes::{Pes, write_pes};

    #[test]
    fn the_length_is_that_of_the_stream_that_lasts_longest() {
        let mut bytes = Vec::new();
        for (pid, seconds) in
            [(0x100, 0), (0x101, 0), (0x101, 40_000), (0x101, 80_000), (0x101, 100_000), (0x100, 1)]
        {
            let pts = Ticks::new(seconds * TICKS_PER_SECOND);
            let pes = Pes { stream_id: 0xC0, pts, dts: pts, payload: vec![0; 300] };
            write_pes(&pes, pid, &mut 0, false, &mut bytes);
        }
        let mut length = OutputLength::default();
        bytes.chunks(100).for_each(|chunk| length.push(chunk));
        assert_eq!(length.highest_pts_90k, 100_000 * TICKS_PER_SECOND, "beyond the wrap of the clock");
        assert!(length.check(100_001 * TICKS_PER_SECOND).is_ok());
        assert!(length.check(100_002 * TICKS_PER_SECOND).is_err());
    }
}
