//! Pictures that ffmpeg re-encodes, in the codec and format of the group of pictures they belong to.

use std::collections::VecDeque;
use std::io::Write;
use std::ops::RangeInclusive;

use crate::error::{Error, Result};
use crate::ffmpeg::{Child, INPUT_OPTIONS, Tools};
use crate::mpegts::codec::Codec;
use crate::mpegts::frame_rate::FrameRate;
use crate::mpegts::pes::{Assembler, Pes, TICKS_PER_SECOND, Ticks};
use crate::mpegts::probe::Video;
use crate::mpegts::psi::Pmt;
use crate::mpegts::retime::{Action, ClockMapping, Edit};
use crate::mpegts::samples::Sample;
use crate::mpegts::scan::Track;
use crate::mpegts::{h264, hevc};

use super::groups::PartialGroup;
use super::mux::{EditedSegment, EncodedFrame, Mux};
use super::segments::LoadedSegment;
use super::transport_stream::TransportStream;

/// The PTS of the first picture of a group on the encoder's clock: high enough for the pictures shown before it.
const GROUP_PTS_90K: i64 = 100 * TICKS_PER_SECOND;
/// The PID that ffmpeg gives to the first stream it writes.
pub(super) const FFMPEG_PID: u16 = 0x100;
/// A higher frame rate in a sequence parameter set is the resolution of a clock.
const MAX_ANNOUNCED_RATE: i64 = 240;
/// `profile_idc` of the Baseline profile of H.264, which has no B pictures.
const H264_BASELINE: u8 = 66;
/// The options of libx264. Above quantizer 22 a rate factor alone ruins pictures such as confetti.
const X264_OPTIONS: &str = "-preset ultrafast -tune zerolatency -crf 18 -qmax 22 -x264-params";
/// How many times as large as the source's pictures those are that are encoded anew, roughly.
const ENCODED_GROWTH: usize = 2;
/// The options of libx265.
const X265_OPTIONS: &str = "-preset ultrafast -crf 16 -x265-params";

/// What pictures are encoded as.
#[derive(Debug, Clone)]
pub(super) struct Format {
    pub(super) codec: Codec,
    pub(super) video: Video,
}

impl Format {
    /// The name of ffmpeg's encoder.
    pub(super) fn encoder(&self) -> &'static str {
        if self.codec == Codec::Hevc { "libx265" } else { "libx264" }
    }

    /// The options that make pictures which fit between those of the source, with `reorder` of them decoded before one that
    /// is shown before them.
    pub(super) fn options(&self, reorder: u32) -> String {
        let rate = rate_option(&self.video);
        let reorder = match reorder {
            0 => "bframes=0",
            1 => "bframes=1:b-adapt=0:b-pyramid=0",
            2.. => "bframes=3:b-adapt=0:b-pyramid=1",
        };
        let (options, params) = if self.codec == Codec::Hevc {
            (X265_OPTIONS, "open-gop=0:repeat-headers=1:log-level=error")
        } else {
            // x264 announces the profile of the coding tools it uses.
            let params = match self.video.picture.profile {
                H264_BASELINE => "8x8dct=0:force-cfr=1",
                77 => "cabac=1:force-cfr=1",
                _ => "8x8dct=1:force-cfr=1",
            };
            (X264_OPTIONS, params)
        };
        format!("-c:v {} {options} {rate}{reorder}:{params}", self.encoder())
    }

    /// How many pictures are decoded before one that is shown before them, as the source announces it and as far as the
    /// encoders are told to.
    pub(super) fn announced_reorder(&self) -> u32 {
        let picture = &self.video.picture;
        let allowed = if picture.profile == H264_BASELINE { 0 } else { 2 };
        picture.reorder.or(self.video.reorder).unwrap_or(0).min(allowed)
    }

    /// How many pictures may be decoded before one that is shown before them: as many as in the source, because ffmpeg
    /// shifts its clock where PTS are far ahead of DTS for that number. There are fewer if DTS would have to be lower than
    /// in the source: some sources announce reordering that they do not use. DTS of HEVC may be `spare_90k` lower, because
    /// ffmpeg complains where its number grows.
    fn reorder(&self, group: &PartialGroup, spare_90k: i64) -> u32 {
        let spare_90k = if self.codec == Codec::Hevc { spare_90k } else { 0 };
        (1..=self.announced_reorder())
            .rev()
            .find(|reorder| group.late_90k(*reorder) <= spare_90k)
            .unwrap_or(0)
    }
}

/// An encoder at work, and the pictures that come out of it.
#[derive(Debug)]
pub(super) struct Encoder {
    child: Option<Child>,
    assembler: Assembler,
    ready: VecDeque<Pes>,
    /// The DTS of the pictures to come in the output, in order.
    dts_90k: VecDeque<i64>,
    /// The PTS of the pictures to come in the output, sorted.
    pts_90k: Vec<i64>,
    /// What to add to the encoder's ticks to get those of the output.
    offset_90k: i64,
    /// libx265 gives wrong timestamps, though at the right distances, to so few pictures that all leave it at the end.
    few_of_hevc: bool,
    codec: Codec,
}

impl Encoder {
    /// Starts to encode what is shown of a group. `clock` maps that of the segment to that of the output. DTS may be
    /// `spare_90k` lower than the source's.
    pub(super) fn start(
        format: &Format,
        tools: &Tools,
        loaded: &LoadedSegment,
        group: &PartialGroup,
        clock: ClockMapping,
        spare_90k: i64,
    ) -> Result<Self> {
        let nothing = || failed("there is nothing to encode");
        let track = loaded.reference_track().ok_or_else(nothing)?;
        let (first, last) = group.shown.first().zip(group.shown.last()).ok_or_else(nothing)?;
        let group_pts = track.units[group.units.start].pts;
        let input_clock = ClockMapping { input: group_pts, output_90k: GROUP_PTS_90K };
        let input = group_alone(loaded, group, input_clock)?;
        let shown = input_clock.to_output_90k(*first)..=input_clock.to_output_90k(*last);
        let reorder = format.reorder(group, spare_90k);
        let late_90k = group.late_90k(reorder);
        let args = arguments(&format.options(reorder), format, tools, shown);
        let feed = Box::new(move |stdin: &mut dyn Write| {
            stdin.write_all(&input).map_err(Error::io("write", "ffmpeg's input"))
        });
        let pts_90k: Vec<i64> = group.shown.iter().map(|pts| clock.to_output_90k(*pts)).collect();
        Ok(Self {
            child: Some(tools.ffmpeg(&args, feed)?),
            assembler: Assembler::default(),
            ready: VecDeque::new(),
            dts_90k: group.dts.iter().map(|dts| clock.to_output_90k(*dts) - late_90k).collect(),
            few_of_hevc: format.codec == Codec::Hevc && pts_90k.len() <= 2,
            pts_90k,
            offset_90k: clock.to_output_90k(group_pts) - GROUP_PTS_90K,
            codec: format.codec,
        })
    }

    /// An encoder that does nothing: its pictures have about as many bytes as if the group were encoded.
    pub(super) fn estimate(
        format: &Format,
        loaded: &LoadedSegment,
        group: &PartialGroup,
        clock: ClockMapping,
    ) -> Result<Self> {
        let nothing = || failed("there is nothing to encode");
        let track = loaded.reference_track().ok_or_else(nothing)?;
        let group_pts = track.units[group.units.start].pts;
        let bytes = estimated_picture_bytes(loaded, track, group)?;
        let payload = [&[0, 0, 1][..], &vec![1; bytes]].concat();
        let pes = |pts: &Ticks| Pes { stream_id: 0, pts: *pts, dts: *pts, payload: payload.clone() };
        Ok(Self {
            child: None,
            assembler: Assembler::default(),
            ready: group.shown.iter().map(pes).collect(),
            dts_90k: group.dts.iter().map(|dts| clock.to_output_90k(*dts)).collect(),
            pts_90k: group.shown.iter().map(|pts| clock.to_output_90k(*pts)).collect(),
            offset_90k: clock.to_output_90k(group_pts) - group_pts.get(),
            few_of_hevc: false,
            codec: format.codec,
        })
    }

    /// Waits for a picture or the end of the encoder.
    pub(super) fn wait(&mut self, is_cancelled: &dyn Fn() -> bool) -> Result<()> {
        while self.ready.is_empty() {
            let Some(child) = &mut self.child else { return Ok(()) };
            if let Some(bytes) = child.next_chunk(is_cancelled)? {
                self.assembler.push(&bytes, FFMPEG_PID, |pes| self.ready.push_back(pes));
            } else {
                self.child = None;
                self.ready.extend(std::mem::take(&mut self.assembler).finish());
            }
        }
        Ok(())
    }

    /// Whether all pictures were returned.
    pub(super) fn is_finished(&self) -> bool {
        self.pts_90k.is_empty()
    }

    /// The next picture, with its timestamps in the output. With the last one the encoder has ended successfully.
    pub(super) fn next_frame(&mut self, is_cancelled: &dyn Fn() -> bool) -> Result<EncodedFrame> {
        self.wait(is_cancelled)?;
        let dts_90k = self
            .dts_90k
            .pop_front()
            .ok_or_else(|| failed("more pictures are asked for than were planned"))?;
        let pes = self.ready.pop_front().ok_or_else(|| failed("it made fewer pictures than it was given"))?;
        if self.few_of_hevc {
            self.offset_90k =
                self.pts_90k.first().map_or(self.offset_90k, |pts| Ticks::new(*pts).since(pes.pts));
        }
        let pts = pes.pts.plus(self.offset_90k);
        let found = self.pts_90k.iter().position(|planned| Ticks::new(*planned).since(pts).abs() <= 1);
        let found = found.ok_or_else(|| failed("it made a picture with a PTS that it was not given"))?;
        let pts_90k = self.pts_90k.remove(found);
        if dts_90k > pts_90k {
            return Err(failed("it reordered pictures more than the source does"));
        }
        if self.is_finished() {
            self.wait(is_cancelled)?;
            if !self.ready.is_empty() {
                return Err(failed("it made more pictures than it was given"));
            }
        }
        let start = if self.codec == Codec::Hevc { hevc::access_unit_start } else { h264::access_unit_start };
        Ok(EncodedFrame { pts_90k, dts_90k, sync: start(&pes.payload).idr, data: pes.payload })
    }
}

/// The frame rate of a video as an option of x264 and x265; empty if it is not known.
///
/// Decoders take the distance of frames from it, so it is the one that the source announces unless that is far too high:
/// where the rate varies, the usual distance of frames is not the smallest one.
pub(super) fn rate_option(video: &Video) -> String {
    let is_plausible = |rate: &FrameRate| rate.frame_90k() >= TICKS_PER_SECOND / MAX_ANNOUNCED_RATE;
    let announced = video.picture.rate.filter(is_plausible);
    let rate = announced.into_iter().chain(video.rate).min_by_key(|rate| rate.frame_90k());
    rate.map_or_else(String::new, |rate| format!("fps={}/{}:", rate.num, rate.den))
}

/// About how many bytes a picture of a group takes when it is encoded anew, at a quality at which that is not seen.
fn estimated_picture_bytes(loaded: &LoadedSegment, track: &Track, group: &PartialGroup) -> Result<usize> {
    let indexed = loaded.samples()?;
    let samples = indexed.index.tracks.iter().find(|samples| samples.pid == track.pid);
    let in_group = |sample: &&Sample| group.units.contains(&(sample.unit as usize));
    let sizes = samples.into_iter().flat_map(|samples| samples.samples.iter().filter(in_group));
    let bytes: usize = sizes.map(|sample| sample.size as usize).sum();
    Ok(bytes * ENCODED_GROWTH / group.units.len().max(1))
}

/// A failure of ffmpeg that it did not report itself.
pub(super) fn failed(why: &str) -> Error {
    Error::Child { program: "ffmpeg", why: why.to_owned() }
}

/// The next encoded picture where none is replaced.
pub(super) fn no_frame() -> Result<EncodedFrame> {
    Err(failed("no picture is replaced"))
}

/// A transport stream of nothing but the pictures of one group.
fn group_alone(loaded: &LoadedSegment, group: &PartialGroup, clock: ClockMapping) -> Result<Vec<u8>> {
    let Some(track) = loaded.reference_track() else { return Ok(Vec::new()) };
    let streams = loaded.scan.pmt.streams.iter().filter(|stream| stream.pid == track.pid).cloned().collect();
    let pmt = Pmt { pcr_pid: track.pid, streams, ..loaded.scan.pmt.clone() };
    let stays = |index: usize| group.units.contains(&index) && track.units[index].complete;
    let actions = (0..track.units.len()).map(|index| if stays(index) { Action::Copy } else { Action::Drop });
    let edit = Edit {
        input_pid: track.pid,
        output_pid: track.pid,
        clock,
        actions: actions.collect(),
        keep_90k: 0..0,
        coding: None,
    };
    let mut input = Vec::new();
    let mut append = |bytes: &[u8]| {
        input.extend_from_slice(bytes);
        Ok(())
    };
    let segment = EditedSegment { index: 0, loaded, clock, continuous: false, edits: vec![edit] };
    let mut mux = TransportStream::with_program(loaded.scan.pmt_pid, &pmt, GROUP_PTS_90K, i64::MAX);
    mux.write(segment, &mut no_frame, &mut append)?;
    Ok(input)
}

fn arguments(options: &str, format: &Format, tools: &Tools, shown_90k: RangeInclusive<i64>) -> String {
    let (threads, passthrough) = (tools.threads(), tools.passthrough_option());
    let (first_90k, end_90k) = (shown_90k.start(), shown_90k.end() + 1);
    // ffmpeg's own probe of its input can be short if the parameter sets tell all it needs.
    let has_reorder = format.video.picture.reorder.is_some();
    let probe = if has_reorder { " -analyzeduration 100000 -fpsprobesize 0" } else { "" };
    format!(
        "-hide_banner -v error -threads {threads} -copyts{probe} {INPUT_OPTIONS} -i pipe:0 \
        -map 0:v:0 -vf trim=start_pts={first_90k}:end_pts={end_90k} -threads {threads} {options} \
        {passthrough} passthrough -enc_time_base 1:90000 \
        -mpegts_copyts 1 -muxdelay 0 -muxpreload 0 -flush_packets 1 -f mpegts pipe:1"
    )
}
