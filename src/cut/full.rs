//! The full cut: every frame through ffmpeg, to H.264 and AAC, or to VP8 and Opus for a preview.
//!
//! ffmpeg gets the segments as one stream on one clock, so it sees no gap, wrap or restart of the clock, and keeps what is
//! between two timestamps. What is only decoded lies between the ranges of a cut, and is left out by filters.

use std::io::Write;

use crate::error::{Error, Result};
use crate::ffmpeg::{INPUT_OPTIONS, Tools};
use crate::mpegts::codec::{Codec, is_encrypted};
use crate::mpegts::packet::NULL_PID;
use crate::mpegts::pes::TICKS_PER_SECOND;
use crate::mpegts::probe::{self, Stream};
use crate::mpegts::retime::{Action, ClockMapping, Edit};
use crate::mpegts::scan::Unit;

use super::edit::Muxer;
use super::encode::no_frame;
use super::groups;
use super::lead_in;
use super::mux::{EditedSegment, Mux, Output, send};
use super::opened::OTHER_TYPE;
use super::output_length::OutputLength;
use super::plan::{CutSegment, LeadIn, Plan, PlannedSegment};
use super::program::counterparts;
use super::segments::LoadedSegment;
use super::target::Target;
use super::transport_stream::TransportStream;

/// By how much the stream for ffmpeg is shifted, so that what precedes the first frame is not before zero.
pub(super) const SHIFT_90K: i64 = 100 * TICKS_PER_SECOND;
/// How much sound ffmpeg gets beyond the ends, to cut it at the sample.
const AUDIO_MARGIN_90K: i64 = TICKS_PER_SECOND;
/// How long before all else ffmpeg gets the frames that announce a sound which begins late. They take at most half of that
/// time.
const ANNOUNCED_90K: i64 = TICKS_PER_SECOND;

/// Checks that ffmpeg has the encoders, and the decoders of all sound.
pub(super) fn check(plan: &Plan, tools: &Tools, target: Target) -> Result<()> {
    for encoder in target.encoders() {
        tools.check_encoder(encoder)?;
    }
    let has_video = plan.program.streams.iter().any(|stream| stream.codec.is_video());
    if target == Target::Webm && !has_video {
        let why = "WebM needs video, and there is none; type=full, type=smart and type=rough keep the sound";
        return Err(Error::Unsupported(why.to_owned()));
    }
    check_sounds(plan, tools)
}

/// Checks that ffmpeg has the decoders of all sound.
pub(super) fn check_sounds(plan: &Plan, tools: &Tools) -> Result<()> {
    for (stream, found_in) in plan.program.streams.iter().zip(&plan.found_in) {
        if !stream.codec.is_audio() {
            continue;
        }
        let listed = plan.program.pmt.streams.iter().find(|listed| listed.pid == stream.pid);
        let stream_type = listed.map_or(0, |listed| listed.stream_type);
        let (codec, decoders) = decoders(stream, stream_type);
        let why = if !tools.has_decoder(decoders)? {
            "which this server's ffmpeg cannot decode"
        } else if !has_frame(stream, found_in.as_ref(), plan.max_segment_bytes)? {
            "without a frame"
        } else {
            continue;
        };
        let pid = stream.pid;
        return Err(Error::Unsupported(format!(
            "the sound on PID {pid:#x} is {codec}, {why}; type=smart and type=rough keep it"
        )));
    }
    Ok(())
}

/// Whether a sound has a frame, if its frames can be parsed. The starts of the segments need not have shown one.
fn has_frame(stream: &Stream, found_in: Option<&CutSegment>, max_segment_bytes: u64) -> Result<bool> {
    let Some(segment) = found_in.filter(|_| stream.audio.is_none() && stream.codec.coding().is_some()) else {
        return Ok(true);
    };
    let program = probe::probe(LoadedSegment::load(segment, None, max_segment_bytes)?.bytes()?);
    let mut streams = program.iter().flat_map(|program| &program.streams);
    Ok(streams.any(|other| other.codec == stream.codec && other.audio.is_some()))
}

/// The name of the codec of a sound, and ffmpeg's decoders, of which one is enough.
fn decoders(stream: &Stream, stream_type: u8) -> (String, &'static [&'static str]) {
    let is_eac3 = stream.codecs.as_deref() == Some("ec-3") && !is_encrypted(stream_type);
    let decoders: &[&str] = match (stream.codec, stream_type) {
        _ if is_encrypted(stream_type) => &[],
        (Codec::Ac3, _) if is_eac3 => &["eac3"],
        (Codec::Ac3, _) => &["ac3"],
        (Codec::MpegAudio, _) => &["mp3float", "mp3"],
        (Codec::Aac, _) | (Codec::OtherAudio, 0x1C) => &["aac"],
        (Codec::AacLatm, _) => &["aac_latm"],
        (Codec::Opus, _) => &["opus", "libopus"],
        (Codec::Dts, _) => &["dca"],
        (Codec::S302m, _) => &["s302m"],
        (_, 0x80) => &["pcm_bluray"],
        (_, 0x83) => &["truehd"],
        _ => &[],
    };
    let name = if is_eac3 { "E-AC-3" } else { stream.codec.name(stream_type) };
    (format!("{name} (stream type {stream_type:#04x})"), decoders)
}

/// Makes a full cut.
pub(super) fn run(
    plans: Vec<Plan>,
    tools: &Tools,
    target: Target,
    out: &mut dyn Write,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<()> {
    encode(plans, tools, target, &mut |chunk| send(chunk, out, is_cancelled), is_cancelled)
}

/// Encodes all frames of plans.
pub(super) fn encode(
    plans: Vec<Plan>,
    tools: &Tools,
    target: Target,
    out: Output<'_>,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<()> {
    let plans: Vec<Plan> = plans.into_iter().map(|plan| plan.shifted(SHIFT_90K)).collect();
    let args = arguments(&plans, tools, target);
    let expected_90k = target.start_90k() + duration_90k(&plans);
    let feed = Box::new(move |stdin: &mut dyn Write| feed(plans, stdin));
    let mut child = tools.ffmpeg(&args, feed)?;
    let mut length = OutputLength::new(target);
    loop {
        let next = child.next_chunk(is_cancelled);
        let Some(chunk) = next.map_err(|error| if length.has_begun { error } else { blame(error) })? else {
            return length.check(expected_90k);
        };
        length.push(&chunk);
        out(&chunk)?;
    }
}

/// What ffmpeg says before its first output if the footage cannot be decoded.
const UNDECODABLE: [&str; 4] = [
    "Cannot determine format of input stream",
    "not found for input stream",
    "Could not find codec parameters",
    "Invalid data found when processing input",
];

/// A failure before the first output is not the server's if ffmpeg says that it cannot decode its input.
pub(super) fn blame(error: Error) -> Error {
    let Error::Child { why, .. } = &error else { return error };
    match UNDECODABLE.iter().find(|text| why.contains(**text)) {
        Some(reason) => {
            Error::Unsupported(format!("ffmpeg cannot decode the segments (`{reason}`){OTHER_TYPE}"))
        }
        None => error,
    }
}

/// Feeds all segments to ffmpeg.
pub(super) fn feed(mut plans: Vec<Plan>, stdin: &mut dyn Write) -> Result<()> {
    if let Some(first) = plans.first_mut() {
        first.start_90k -= AUDIO_MARGIN_90K;
    }
    if let Some(last) = plans.last_mut() {
        last.end_90k += AUDIO_MARGIN_90K;
        if let Some(trailing) = &mut last.trailing {
            trailing.last_90k = Some(last.end_90k - trailing.frame_90k);
        }
    }
    let Some(first) = plans.first() else { return Ok(()) };
    let mut container = TransportStream::new(first);
    let mut write = |bytes: &[u8]| stdin.write_all(bytes).map_err(Error::io("write", "ffmpeg's input"));
    announce_late_sound(first, &mut container, &mut write)?;
    for plan in &plans {
        let mut muxer = Muxer::new(plan, &mut container);
        for (index, planned) in plan.written().enumerate() {
            let loaded = LoadedSegment::written(plan, index, &planned)?;
            let actions = actions(plan, index, &planned, &loaded);
            muxer.segment(index, &loaded, actions, &mut no_frame, &mut write)?;
        }
    }
    Ok(())
}

/// Writes the start of each sound that begins later than the cut before all else, where none of it is heard.
///
/// ffmpeg neither knows the format of a sound before its first frame nor writes anything before it knows all formats.
fn announce_late_sound(plan: &Plan, container: &mut TransportStream, write: Output<'_>) -> Result<()> {
    let Some(first) = plan.segments.first() else { return Ok(()) };
    let begins_with = LoadedSegment::written(plan, plan.before().len(), &first)?;
    let tracks = counterparts(&plan.program, &begins_with.scan);
    let is_soon = |unit: &Unit| {
        let start = first.clock.to_output_90k(unit.pts);
        (plan.start_90k..plan.start_90k + 2 * AUDIO_MARGIN_90K).contains(&start)
    };
    for (index, (stream, track)) in plan.program.streams.iter().zip(tracks).enumerate() {
        if !stream.codec.is_audio() || track.is_some_and(|track| track.units.iter().any(is_soon)) {
            continue;
        }
        let Some(found_in) = plan.found_in.get(index).and_then(Option::as_ref) else { continue };
        let mut loaded = LoadedSegment::load(found_in, None, plan.max_segment_bytes)?;
        // Its clock references say nothing here.
        loaded.scan.pmt.pcr_pid = NULL_PID;
        let tracks = counterparts(&plan.program, &loaded.scan);
        let Some((track, unit)) = tracks[index].and_then(|track| Some((track, track.units.first()?))) else {
            continue;
        };
        let clock = ClockMapping { input: unit.pts, output_90k: plan.start_90k - ANNOUNCED_90K };
        let is_first = |unit: &Unit| (0..ANNOUNCED_90K / 2).contains(&unit.pts.since(clock.input));
        let action = |unit: &Unit| if is_first(unit) { Action::Copy } else { Action::Drop };
        let actions = track.units.iter().map(action).collect();
        let (input_pid, output_pid) = (track.pid, stream.pid);
        let edit = Edit { input_pid, output_pid, clock, actions, keep_90k: 0..0, coding: None };
        let segment = EditedSegment { index: 0, loaded: &loaded, clock, continuous: true, edits: vec![edit] };
        container.write(segment, &mut no_frame, write)?;
    }
    Ok(())
}

/// What is done with the pictures of segment `index` of those that are written.
pub(super) fn actions(
    plan: &Plan,
    index: usize,
    planned: &PlannedSegment,
    loaded: &LoadedSegment,
) -> Vec<Action> {
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

fn arguments(plans: &[Plan], tools: &Tools, target: Target) -> String {
    let threads = tools.threads();
    let Some((plan, last)) = plans.first().zip(plans.last()) else { return String::new() };
    let mut args =
        vec![format!("-hide_banner -v error -copyts {INPUT_OPTIONS} -threads {threads} -i pipe:0")];
    let video = plan.program.streams.iter().find(|stream| stream.codec.is_video());
    args.extend(video.map(|stream| video_arguments(plans, stream, tools, target)));
    let (start, end) = (seconds(plan.start_90k), seconds(last.end_90k));
    // A range's first frame of sound may begin a little before the range.
    let join = |plan: &Plan| {
        let (hidden, middle) = (plan.place.hidden_90k, plan.start_90k - plan.place.hidden_90k / 2);
        format!("gte(T\\,{})*{}/TB", seconds(middle), seconds(hidden))
    };
    let joins: Vec<String> = plans.iter().skip(1).map(join).collect();
    let trim = format!("atrim=start={start}:end={end},asetpts=PTS-{start}/TB-{}", sum(&joins));
    let sounds = plan.program.streams.iter().filter(|stream| stream.codec.is_audio());
    args.extend(sounds.enumerate().map(|(index, stream)| {
        let pid = stream.pid;
        format!("-map 0:i:{pid} -filter:a:{index} {trim},{}", target.sound_filter(tools))
    }));
    args.push(target.output_options(duration_90k(plans)));
    args.join(" ")
}

/// A time as ffmpeg takes it.
pub(super) fn seconds(ticks: i64) -> String {
    format!("{}.{:06}", ticks / TICKS_PER_SECOND, ticks % TICKS_PER_SECOND * 100 / 9)
}

/// How long the output is.
fn duration_90k(plans: &[Plan]) -> i64 {
    plans.iter().map(Plan::duration_90k).sum()
}

/// Where the last segment of a range has its first frame that is not shown, or a later one would be.
pub(super) fn range_end_90k(plan: &Plan) -> i64 {
    // Where the frame rate varies, the next frame may come before the last one's usual end.
    let range_end =
        |last: PlannedSegment| last.clock.to_output_90k(last.shown.lowest_pts) + last.shown.end_90k();
    plan.segments.last().map_or(plan.end_90k, range_end)
}

fn video_arguments(plans: &[Plan], stream: &Stream, tools: &Tools, target: Target) -> String {
    let pid = stream.pid;
    let start = plans.first().map_or(0, |first| first.start_90k);
    let end = plans.last().map_or(0, range_end_90k);
    let (threads, passthrough) = (tools.threads(), tools.passthrough_option());
    // Frames that two segments have come twice, and the second time they go back.
    let once = "(isnan(prev_selected_pts)+gt(pts\\,prev_selected_pts))";
    let joins = plans.windows(2).map(|pair| (range_end_90k(&pair[0]), &pair[1]));
    let (hidden, shifts): (Vec<_>, Vec<_>) = joins
        .map(|(hidden_from, next)| {
            let (start, last_hidden) = (next.start_90k, next.start_90k - 1);
            let hidden = format!("between(pts\\,{hidden_from}\\,{last_hidden})");
            (hidden, format!("gte(PTS\\,{start})*{}", next.place.hidden_90k))
        })
        .unzip();
    let (select, times) =
        (format!("select={once}*not({})", sum(&hidden)), format!("setpts=PTS-{start}-{}", sum(&shifts)));
    let mut filter = format!("trim=start_pts={start}:end_pts={end},{select},{times}");
    if let Some(video) = &stream.video {
        filter = format!("{filter},scale={}:{}", video.picture.width, video.picture.height);
    }
    format!(
        "-map 0:i:{pid} -filter:v {filter} {} -threads {threads} {passthrough} passthrough -enc_time_base 1:90000",
        target.video_options(stream.video.as_ref())
    )
}

/// The sum of expressions. ffmpeg evaluates no expression that is nested more than about 100 deep, and a long sum or product
/// without parentheses is.
fn sum(terms: &[String]) -> String {
    match terms {
        [] => "0".to_owned(),
        [term] => term.clone(),
        _ => {
            let (first, second) = terms.split_at(terms.len() / 2);
            format!("({}+{})", sum(first), sum(second))
        }
    }
}
