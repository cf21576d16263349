//! Two sides of a transition, blended and encoded by ffmpeg.

use std::collections::VecDeque;
use std::io::Write;

use super::feed;
use crate::cut::encode::{FFMPEG_PID, Format, failed};
use crate::cut::full::{self, SHIFT_90K, blame};
use crate::cut::mux::{EditedSegment, EncodedFrame, Mux};
use crate::cut::plan::Plan;
use crate::cut::segments::LoadedSegment;
use crate::cut::transport_stream::TransportStream;
use crate::error::{Error, Result};
use crate::ffmpeg::{INPUT_OPTIONS, Tools};
use crate::mpegts::codec::Codec;
use crate::mpegts::pes::{Assembler, Pes, TICKS_PER_SECOND, Ticks};
use crate::mpegts::probe::{Program, Stream};
use crate::mpegts::retime::{Action, ClockMapping, Edit};
use crate::mpegts::scan::Scan;
use crate::mpegts::video::PictureFormat;
use crate::mpegts::{h264, hevc};
use crate::timestamp::Span;

/// When the transition begins in what ffmpeg writes, and in the segment.
const START_SECONDS: i64 = 100;
const START_90K: i64 = START_SECONDS * TICKS_PER_SECOND;
/// How much sound is encoded beyond each end, so that encoders know what comes before and behind.
const MARGIN_90K: i64 = TICKS_PER_SECOND / 10;

/// How a transition is encoded: as the footage is.
#[derive(Debug)]
pub(super) struct Encoding {
    video: Video,
    /// For each sound the encoder and its options.
    sounds: Vec<(&'static str, String)>,
}

/// How its pictures are encoded.
#[derive(Debug)]
enum Video {
    /// In the codec and format of the pictures next to it.
    Like(Format, &'static str),
    /// As MPEG-2, which is only decoded again.
    Mpeg2,
}

impl Encoding {
    /// The encoding of a program's pictures and sounds, of which `from` and `to` are the sides of the transition.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for what ffmpeg cannot encode as it is.
    pub(super) fn of(program: &Program, from: &Plan, to: &Plan) -> Result<Self> {
        let video = program.streams.iter().find(|stream| stream.codec.is_video());
        let video = video.ok_or_else(|| refused("there are no pictures to be blended"))?;
        let formats = [from, to].map(|plan| {
            let mut streams = plan.program.streams.iter().filter(|stream| stream.codec.is_video());
            streams.next().and_then(|stream| stream.video.clone())
        });
        let format = video.video.clone().or_else(|| formats.into_iter().flatten().next());
        let video = match (video.codec, format) {
            (Codec::H264 | Codec::Hevc, Some(format)) => {
                let pixels = pixel_format(&format.picture)
                    .ok_or_else(|| refused("the pictures are in a format that ffmpeg does not encode"))?;
                Video::Like(Format { codec: video.codec, video: format }, pixels)
            }
            (Codec::Mpeg2, _) => Video::Mpeg2,
            (Codec::H264 | Codec::Hevc, None) => {
                return Err(refused("the pictures have no parameter sets that can be read"));
            }
            _ => return Err(refused("the pictures are of a codec that ffmpeg does not encode")),
        };
        let sounds = program.streams.iter().filter(|stream| stream.codec.is_audio());
        let sounds = sounds.map(|stream| {
            let listed = program.pmt.streams.iter().find(|listed| listed.pid == stream.pid);
            let name = stream.codec.name(listed.map_or(0, |listed| listed.stream_type));
            let why =
                || refused(&format!("the sound on PID {:#x} is {name}, which cannot be encoded", stream.pid));
            sound_options(stream).ok_or_else(why)
        });
        Ok(Self { video, sounds: sounds.collect::<Result<_>>()? })
    }

    /// The encoders.
    pub(super) fn encoders(&self) -> impl Iterator<Item = &'static str> {
        let video = match &self.video {
            Video::Like(format, _) => format.encoder(),
            Video::Mpeg2 => "mpeg2video",
        };
        [video].into_iter().chain(self.sounds.iter().map(|(encoder, _)| *encoder))
    }
}

fn refused(why: &str) -> Error {
    Error::Unsupported(format!("there can be no transition: {why}; without `transition` it is a hard cut"))
}

/// The name of a format of pixels.
fn pixel_format(picture: &PictureFormat) -> Option<&'static str> {
    match (picture.chroma, picture.depth, picture.chroma_depth) {
        (0, 8, _) => Some("gray"),
        (1, 8, 8) => Some("yuv420p"),
        (2, 8, 8) => Some("yuv422p"),
        (3, 8, 8) => Some("yuv444p"),
        (1, 10, 10) => Some("yuv420p10le"),
        (2, 10, 10) => Some("yuv422p10le"),
        (3, 10, 10) => Some("yuv444p10le"),
        _ => None,
    }
}

/// The encoder of a sound and its options, so that it continues what is next to the transition; `None` if there is none.
fn sound_options(stream: &Stream) -> Option<(&'static str, String)> {
    let audio = stream.audio;
    let is_stereo = audio.is_none_or(|audio| audio.channels >= 2);
    let is_surround = audio.is_some_and(|audio| audio.channels > 2);
    let is_slow = audio.is_some_and(|audio| audio.sample_rate < 32_000);
    let (encoder, bit_rate) = match (stream.codec, stream.codecs.as_deref()) {
        (Codec::Aac, _) => ("aac", if is_surround { "448k" } else { "192k" }),
        (Codec::MpegAudio, Some("mp4a.40.34")) => {
            ("libmp3lame", if is_stereo && !is_slow { "192k" } else { "96k" })
        }
        (Codec::MpegAudio, _) => ("mp2", if is_stereo && !is_slow { "192k" } else { "96k" }),
        (Codec::Ac3, Some("ec-3")) => ("eac3", if is_surround { "448k" } else { "224k" }),
        (Codec::Ac3, _) => ("ac3", if is_surround { "448k" } else { "224k" }),
        (Codec::Opus, _) => ("libopus", "192k"),
        _ => return None,
    };
    let rate = audio.map_or_else(String::new, |audio| format!(" -ar {}", audio.sample_rate));
    let channels = audio.map_or(0, |audio| audio.channels);
    let channels = if channels > 0 { format!(" -ac {channels}") } else { String::new() };
    Some((encoder, format!("{encoder} -b:a {bit_rate}{rate}{channels}")))
}

/// A transition to be made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Blend<'a> {
    /// Its type.
    pub(super) name: &'a str,
    /// Its sides.
    pub(super) from: &'a Plan,
    pub(super) to: &'a Plan,
    pub(super) encoding: &'a Encoding,
}

impl Blend<'_> {
    /// The usual duration of a frame.
    fn frame_90k(&self) -> i64 {
        self.from.segments.last().map_or(TICKS_PER_SECOND / 25, |last| last.frame_90k).max(1)
    }

    /// How many pictures it has.
    fn count(&self) -> i64 {
        let shorter_90k = self.from.duration_90k().min(self.to.duration_90k());
        ((shorter_90k + self.frame_90k() / 2) / self.frame_90k()).max(1)
    }

    fn duration_90k(&self) -> i64 {
        self.count() * self.frame_90k()
    }

    /// How long it is.
    pub(super) fn duration(&self) -> Span {
        Span::from_micros(self.duration_90k() * 100 / 9)
    }

    /// A transport stream with these streams, in which both sides are blended.
    pub(super) fn run(
        &self,
        program: &Program,
        tools: &Tools,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Vec<u8>> {
        let delay_90k = self.delay_90k()?;
        let reorder = self.reorder(delay_90k);
        let input = feed::interleaved([self.from, self.to])?;
        let feed = Box::new(move |stdin: &mut dyn Write| {
            stdin.write_all(&input).map_err(Error::io("write", "ffmpeg's input"))
        });
        let mut child = tools.ffmpeg(&self.arguments(program, tools, reorder), feed)?;
        let mut bytes = Vec::new();
        while let Some(chunk) = child.next_chunk(is_cancelled).map_err(blame)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 > tools.max_segment_bytes() {
                return Err(refused(&format!("it takes more than {} bytes", tools.max_segment_bytes())));
            }
        }
        self.with_times(&bytes, program, delay_90k.max(i64::from(reorder) * self.frame_90k()))
    }

    /// How long before they are shown the first pictures of groups are decoded in the footage.
    fn delay_90k(&self) -> Result<i64> {
        let Some(first) = self.to.segments.first() else { return Ok(0) };
        let loaded = LoadedSegment::load(&first.segment, None, self.to.max_segment_bytes)?;
        let units = loaded.video_track().map_or(&[][..], |track| &track.units);
        let first = units.iter().find(|unit| unit.access_unit.idr);
        Ok(first.map_or(0, |unit| unit.pts.since(unit.dts).max(0)))
    }

    /// How many pictures are decoded before one that is shown before them.
    fn reorder(&self, delay_90k: i64) -> u32 {
        let Video::Like(format, _) = &self.encoding.video else { return 0 };
        let frames = u32::try_from(delay_90k / self.frame_90k()).unwrap_or(0);
        format.announced_reorder().min(frames)
    }

    fn arguments(&self, program: &Program, tools: &Tools, reorder: u32) -> String {
        let mut streams = program.streams.iter();
        let (threads, passthrough) = (tools.threads(), tools.passthrough_option());
        let mut graph = Vec::new();
        let mut maps = String::new();
        if let Some(video) = streams.clone().find(|stream| stream.codec.is_video()) {
            graph.push(self.pictures(video));
            let options = match &self.encoding.video {
                Video::Like(format, pixels) => format!("{} -pix_fmt {pixels}", format.options(reorder)),
                Video::Mpeg2 => "-c:v mpeg2video -q:v 2 -bf 0 -strict unofficial -pix_fmt yuv420p".to_owned(),
            };
            maps = format!(
                "-map [v] {options} -threads {threads} {passthrough} passthrough -enc_time_base:v 1:90000"
            );
        }
        let sounds = streams.by_ref().filter(|stream| stream.codec.is_audio());
        for (index, (stream, (_, options))) in sounds.zip(&self.encoding.sounds).enumerate() {
            graph.push(self.sound(index, stream));
            maps = format!(
                "{maps} -map [a{index}] -c:a:{index} {}",
                options.replace(":a ", &format!(":a:{index} "))
            );
        }
        format!(
            "-hide_banner -v error -copyts {INPUT_OPTIONS} -threads {threads} -i pipe:0 -filter_complex_threads {threads} \
            -filter_complex {} {maps} -output_ts_offset {START_SECONDS} -muxdelay 0 -muxpreload 0 -f mpegts pipe:1",
            graph.join(";")
        )
    }

    /// The filters that make the pictures of the transition. Those of each side come at equal distances, and the last one stays
    /// as long as there is need of more.
    fn pictures(&self, video: &Stream) -> String {
        let (count, frame_90k) = (self.count(), self.frame_90k());
        let once = "select=(isnan(prev_selected_pts)+gt(pts\\,prev_selected_pts))";
        let size = match &self.encoding.video {
            Video::Like(format, _) => {
                let picture = &format.video.picture;
                format!("scale={}:{},", picture.width, picture.height)
            }
            Video::Mpeg2 => String::new(),
        };
        let sides = [self.from, self.to];
        let branches = [0, 1].map(|side| {
            let pid = feed::input_pid(side, sides[side], video.pid).unwrap_or(video.pid);
            let end_90k = SHIFT_90K - sides[side].start_90k + full::range_end_90k(sides[side]);
            format!(
                "[0:i:{pid}]trim=start_pts={SHIFT_90K}:end_pts={end_90k},{once},setpts=PTS-{SHIFT_90K},{size}\
                fps={TICKS_PER_SECOND}/{frame_90k},tpad=stop=-1:stop_mode=clone[v{side}]"
            )
        });
        let duration = full::seconds(self.duration_90k());
        format!(
            "{};[v0][v1]xfade=transition={}:duration={duration}:offset=0,trim=end_frame={count}[v]",
            branches.join(";"),
            self.name
        )
    }

    /// The filters that make a sound of the transition, and some before and behind. Where a side has none it is silent.
    fn sound(&self, index: usize, stream: &Stream) -> String {
        let length_90k = self.duration_90k() + MARGIN_90K;
        let (length, margin) = (full::seconds(length_90k), full::seconds(MARGIN_90K));
        let sides = [(self.from, SHIFT_90K - MARGIN_90K), (self.to, SHIFT_90K)];
        let branches = [0, 1].map(|side| {
            let (plan, start_90k) = sides[side];
            let (start, end) = (full::seconds(start_90k), full::seconds(start_90k + length_90k));
            let input = feed::input_pid(side, plan, stream.pid).map_or_else(
                || "anullsrc".to_owned(),
                |pid| format!("[0:i:{pid}]atrim=start={start}:end={end},asetpts=PTS-{start}/TB"),
            );
            format!("{input},aresample=async=1:first_pts=0,apad,atrim=end={length}[s{index}_{side}]")
        });
        let duration = full::seconds(self.duration_90k());
        format!(
            "{};[s{index}_0][s{index}_1]acrossfade=d={duration},asetpts=PTS-{margin}/TB[a{index}]",
            branches.join(";")
        )
    }

    /// What ffmpeg has written, with the PIDs of the footage, and with pictures that are shown at equal distances and are
    /// decoded as long before as those of the footage.
    fn with_times(&self, bytes: &[u8], program: &Program, delay_90k: i64) -> Result<Vec<u8>> {
        let frame_90k = self.frame_90k();
        let mut frames = self.frames(bytes, delay_90k)?;
        let no_tables = || failed("its output has no program tables");
        let scan = Scan::of(bytes, true).ok_or_else(no_tables)?;
        let clock = ClockMapping { input: Ticks::new(0), output_90k: 0 };
        let streams = program.streams.iter().filter(|stream| stream.codec.is_video());
        let streams = streams.chain(program.streams.iter().filter(|stream| stream.codec.is_audio()));
        let edits = (FFMPEG_PID..).zip(streams).map(|(input_pid, stream)| {
            let action = if stream.codec.is_video() { Action::Replace } else { Action::Copy };
            let actions = vec![action];
            Edit { input_pid, output_pid: stream.pid, clock, actions, keep_90k: 0..0, coding: None }
        });
        let edits = edits.collect();
        let loaded = LoadedSegment::new(bytes.to_vec(), scan);
        // Clock references come before what is decoded.
        let clock = clock.shifted(-delay_90k - frame_90k);
        let segment = EditedSegment { index: 0, loaded: &loaded, clock, continuous: false, edits };
        let mut out = Vec::with_capacity(bytes.len());
        let mut next_frame =
            || frames.pop_front().ok_or_else(|| failed("it made more pictures than it was asked for"));
        let mut mux = TransportStream::with_program(program.pmt_pid, &program.pmt, START_90K, i64::MAX);
        mux.write(segment, &mut next_frame, &mut |bytes| {
            out.extend_from_slice(bytes);
            Ok(())
        })?;
        Ok(out)
    }

    /// The pictures that ffmpeg has written, in the order of decoding.
    fn frames(&self, bytes: &[u8], delay_90k: i64) -> Result<VecDeque<EncodedFrame>> {
        let mut pictures: Vec<Pes> = Vec::new();
        let mut assembler = Assembler::default();
        assembler.push(bytes, FFMPEG_PID, |pes| pictures.push(pes));
        pictures.extend(assembler.finish());
        let count = usize::try_from(self.count()).unwrap_or(0);
        if pictures.len() != count {
            return Err(failed(&format!("it made {} pictures of a transition of {count}", pictures.len())));
        }
        let mut times: Vec<Ticks> = pictures.iter().map(|pes| pes.pts).collect();
        let first = times.first().copied().unwrap_or(Ticks::new(0));
        times.sort_unstable_by_key(|pts| pts.since(first));
        let is_sync = |payload: &[u8]| match &self.encoding.video {
            Video::Like(Format { codec: Codec::Hevc, .. }, _) => hevc::access_unit_start(payload).idr,
            Video::Like(..) => h264::access_unit_start(payload).idr,
            Video::Mpeg2 => false,
        };
        let frame = |(decoded, pes): (i64, Pes)| {
            let shown = times.iter().position(|pts| *pts == pes.pts).unwrap_or(0);
            let at = |place: i64| START_90K + place * self.frame_90k();
            EncodedFrame {
                pts_90k: at(i64::try_from(shown).unwrap_or(0)),
                dts_90k: at(decoded) - delay_90k,
                sync: is_sync(&pes.payload),
                data: pes.payload,
            }
        };
        Ok((0..).zip(pictures).map(frame).collect())
    }
}
