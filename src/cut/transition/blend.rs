//! Two sides of a transition, blended and encoded by ffmpeg.

use std::collections::VecDeque;
use std::io::Write;

use super::encoding::{Encoding, refused};
use super::feed;
use crate::cut::encode::{FFMPEG_PID, failed};
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
use crate::mpegts::{h264, hevc};
use crate::timestamp::Span;

/// When the transition begins in what ffmpeg writes, and in the segment.
const START_SECONDS: i64 = 100;
const START_90K: i64 = START_SECONDS * TICKS_PER_SECOND;
/// How much sound is encoded beyond each end, so that encoders know what comes before and behind.
const MARGIN_90K: i64 = TICKS_PER_SECOND / 10;

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
        let frames = u32::try_from(delay_90k / self.frame_90k()).unwrap_or(0);
        self.encoding.format().map_or(0, |format| format.announced_reorder().min(frames))
    }

    fn arguments(&self, program: &Program, tools: &Tools, reorder: u32) -> String {
        let (threads, passthrough) = (tools.threads(), tools.passthrough_option());
        let video = program.streams.iter().find(|stream| stream.codec.is_video());
        let sounds = || program.streams.iter().filter(|stream| stream.codec.is_audio()).enumerate();
        let filters = video.map(|video| self.pictures(video)).into_iter();
        let filters: Vec<String> =
            filters.chain(sounds().map(|(index, sound)| self.sound(index, sound))).collect();
        let pictures = self.encoding.picture_options(reorder);
        let sounds: String = sounds().map(|(index, _)| self.encoding.sound_options(index)).collect();
        format!(
            "-hide_banner -v error -copyts {INPUT_OPTIONS} -threads {threads} -i pipe:0 -filter_complex_threads {threads} \
            -filter_complex {} -map [v] {pictures} -threads {threads} {passthrough} passthrough -enc_time_base:v 1:90000 \
            {sounds}{}-output_ts_offset {START_SECONDS} -muxdelay 0 -muxpreload 0 -f mpegts pipe:1",
            filters.join(";"),
            self.encoding.container_options()
        )
    }

    /// The filters that make the pictures of the transition. Those of each side come at equal distances, and the last one stays
    /// as long as there is need of more.
    fn pictures(&self, video: &Stream) -> String {
        let (count, frame_90k) = (self.count(), self.frame_90k());
        let once = "select=(isnan(prev_selected_pts)+gt(pts\\,prev_selected_pts))";
        let size = self.encoding.format().map_or_else(String::new, |format| {
            let picture = &format.video.picture;
            format!("scale={}:{},", picture.width, picture.height)
        });
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

    /// The filters that make a sound of the transition, and some before and behind. Where a side has none it is silent. Some
    /// encoders take only short frames.
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
            "{};[s{index}_0][s{index}_1]acrossfade=d={duration},asetnsamples=1024:p=0,asetpts=PTS-{margin}/TB[a{index}]",
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
        let is_sync = |payload: &[u8]| match self.encoding.format().map(|format| format.codec) {
            Some(Codec::Hevc) => hevc::access_unit_start(payload).idr,
            Some(_) => h264::access_unit_start(payload).idr,
            None => false,
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
