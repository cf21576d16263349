//! The full cut: every frame through ffmpeg, to H.264 and AAC.
//!
//! ffmpeg gets the parts as one stream on one clock, so that holes, wraps and restarts are nothing to it, and shows of
//! it what lies between two time stamps.

use std::io::Write;

use crate::error::{Error, Result};
use crate::ffmpeg::Tools;
use crate::mpegts::packet::{PACKET_BYTES, packets};
use crate::mpegts::pes::{Header, TICKS_PER_SECOND, Ticks};
use crate::mpegts::retime::Action;

use super::plan::{Plan, Planned};
use super::source::{self, Loaded};
use super::weave::Weaver;
use super::{edit, groups, send};

/// How far the stream for ffmpeg is moved, so that what comes before the first frame is not before zero.
const LATER: i64 = 100 * TICKS_PER_SECOND;
/// How much sound ffmpeg gets beyond the ends, to cut it at the sample.
const SOUND_MARGIN: i64 = TICKS_PER_SECOND;

/// Finds every reason against a full cut that can be known beforehand.
pub(super) fn check(_plan: &Plan, tools: &Tools) -> Result<()> {
    tools.check_encoder("libx264")?;
    tools.check_encoder("aac")
}

/// Makes a full cut.
pub(super) fn run(
    plan: Plan,
    tools: &Tools,
    out: &mut dyn Write,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<()> {
    let mut moved = plan;
    for part in moved.parts.iter_mut().chain(&mut moved.tail) {
        part.clock = part.clock.shifted(LATER);
        part.last = part.last.map(|last| last + LATER);
    }
    (moved.start, moved.end) = (moved.start + LATER, moved.end + LATER);
    let sounds = sounds(&moved)?;
    let args = arguments(&moved, &sounds, tools);
    let mut progress = Progress::new(&moved);
    let feed = Box::new(move |stdin: &mut dyn Write| feed(moved, stdin));
    let mut child = tools.ffmpeg(&args, Some(feed))?;
    while let Some(mut chunk) = child.next_chunk(is_cancelled)? {
        progress.push(&chunk);
        send(&mut chunk, out, is_cancelled)?;
    }
    progress.finish()
}

/// How far ffmpeg's output has come. That it ends without an error does not say that it has done all of its work.
struct Progress {
    rest: Vec<u8>,
    highest: i64,
    wanted: i64,
}

impl Progress {
    fn new(plan: &Plan) -> Self {
        Self { rest: Vec::new(), highest: 0, wanted: plan.end - plan.start - TICKS_PER_SECOND }
    }

    fn push(&mut self, chunk: &[u8]) {
        self.rest.extend_from_slice(chunk);
        let whole = self.rest.len() / PACKET_BYTES * PACKET_BYTES;
        for (_, packet) in packets(&self.rest[..whole]) {
            if packet.starts_unit()
                && let Some(pts) = Header::parse(packet.payload()).and_then(|header| header.pts)
            {
                // A cut may be longer than the clock goes.
                self.highest += pts.since(Ticks::new(self.highest)).max(0);
            }
        }
        self.rest.drain(..whole);
    }

    fn finish(&self) -> Result<()> {
        if self.highest >= self.wanted {
            return Ok(());
        }
        let seconds = |ticks: i64| ticks / TICKS_PER_SECOND;
        let (made, wanted) = (seconds(self.highest), seconds(self.wanted) + 1);
        let why = format!("it ended without an error after {made} s, earlier than was asked ({wanted} s)");
        Err(Error::Child { program: "ffmpeg", why })
    }
}

/// Feeds all parts to ffmpeg.
fn feed(mut plan: Plan, stdin: &mut dyn Write) -> Result<()> {
    (plan.start, plan.end) = (plan.start - SOUND_MARGIN, plan.end + SOUND_MARGIN);
    if let Some(tail) = &mut plan.tail {
        tail.last = Some(plan.end - tail.frame_90k);
    }
    let parts = plan.parts.clone();
    let mut weaver = Weaver::new(plan);
    let mut write = |buffer: &mut Vec<u8>| {
        stdin.write_all(buffer).map_err(Error::io("write", "ffmpeg's input"))?;
        buffer.clear();
        Ok(())
    };
    for (index, planned) in parts.iter().enumerate() {
        let loaded = source::load(&planned.part)?;
        let actions = actions(planned, &loaded);
        let mut nothing =
            || Err(Error::Child { program: "ffmpeg", why: "nothing is to be put in".to_owned() });
        weaver.part(index, &loaded, actions, &mut nothing, &mut write)?;
    }
    weaver.tail(&mut write)
}

fn actions(planned: &Planned, loaded: &Loaded) -> Vec<Action> {
    let video = loaded.scan.reference_track().filter(|track| track.codec.is_video());
    video.map_or_else(Vec::new, |track| {
        groups::needed(track, &planned.window, source::decodable(track, planned.joined))
    })
}

/// The PIDs of the sounds that are heard at one of the ends; ffmpeg fails if there is nothing of a stream it maps.
fn sounds(plan: &Plan) -> Result<Vec<u16>> {
    let mut heard = Vec::new();
    for planned in plan.parts.first().into_iter().chain(plan.parts.last()) {
        let scan = source::load(&planned.part)?.scan;
        for (index, stream) in plan.program.streams.iter().enumerate() {
            let track = edit::counterpart(&plan.program, index, &scan).filter(|track| track.codec.is_audio());
            let in_range = track.is_some_and(|track| {
                let places = track.units.iter().map(|unit| planned.clock.to_output_90k(unit.pts));
                // The first unit may begin before the cut and go on into it.
                let next = places.clone().skip(1).chain([i64::MAX]);
                places.zip(next).any(|(from, to)| from < plan.end && to > plan.start)
            });
            if in_range && stream.audio.is_some() && !heard.contains(&stream.pid) {
                heard.push(stream.pid);
            }
        }
    }
    Ok(heard)
}

fn arguments(plan: &Plan, sounds: &[u16], tools: &Tools) -> Vec<String> {
    let threads = tools.threads().to_string();
    let words =
        ["-hide_banner", "-v", "error", "-threads", &threads, "-copyts", "-f", "mpegts", "-i", "pipe:0"];
    let mut args: Vec<String> = words.map(str::to_owned).to_vec();
    let video = plan.program.streams.iter().find(|stream| stream.codec.is_video());
    if let Some(stream) = video {
        args.extend(["-map".to_owned(), format!("0:i:{}", stream.pid)]);
        // Frames that two segments have come twice, and the second time they go back.
        let once = "select=isnan(prev_selected_pts)+gt(pts\\,prev_selected_pts)";
        let (start, end) = (plan.start, plan.end);
        let mut filter = format!("trim=start_pts={start}:end_pts={end},{once},setpts=PTS-{start}");
        let mut rate = String::new();
        if let Some(video) = &stream.video {
            filter = format!("{filter},scale={}:{}", video.picture.width, video.picture.height);
            rate = video.rate.map_or_else(String::new, |rate| format!("fps={}/{}:", rate.num, rate.den));
        }
        args.extend(["-filter:v".to_owned(), filter]);
        let words = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "18", "-pix_fmt", "yuv420p"];
        args.extend(words.map(str::to_owned));
        args.extend([
            "-x264-params".to_owned(),
            format!("{rate}force-cfr=1"),
            "-threads".to_owned(),
            threads,
        ]);
        let words = [tools.passthrough_option(), "passthrough", "-enc_time_base", "1:90000"];
        args.extend(words.map(str::to_owned));
    }
    for (index, pid) in sounds.iter().enumerate() {
        let seconds =
            |ticks: i64| format!("{}.{:06}", ticks / TICKS_PER_SECOND, ticks % TICKS_PER_SECOND * 100 / 9);
        let (start, end) = (seconds(plan.start), seconds(plan.end));
        args.extend(["-map".to_owned(), format!("0:i:{pid}")]);
        args.extend([
            format!("-filter:a:{index}"),
            format!("atrim=start={start}:end={end},asetpts=PTS-{start}/TB"),
        ]);
    }
    let words =
        ["-c:a", "aac", "-b:a", "192k", "-muxdelay", "0", "-muxpreload", "0", "-f", "mpegts", "pipe:1"];
    args.extend(words.map(str::to_owned));
    args
}
