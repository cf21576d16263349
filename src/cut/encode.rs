//! A part of a group of pictures, encoded anew by ffmpeg with the codec and format of the group.

use std::collections::VecDeque;

use crate::error::{Error, Result};
use crate::ffmpeg::{Child, Tools};
use crate::mpegts::codec::Codec;
use crate::mpegts::pes::{Assembler, Pes, TICKS_PER_SECOND, Ticks};
use crate::mpegts::probe::Video;
use crate::mpegts::psi::Pmt;
use crate::mpegts::retime::{Action, ClockMapping, Edit, Rewriter, Step};
use crate::mpegts::writer::TsWriter;
use crate::mpegts::{h264, hevc};

use super::groups::Encode;
use super::source::Loaded;

/// Where the first picture of a group lies on the encoder's clock: far enough from zero for what is shown before it.
const GROUP_AT: i64 = 100 * TICKS_PER_SECOND;
/// The PID that ffmpeg gives to the first stream it writes.
const FFMPEG_PID: u16 = 0x100;

/// What is encoded, and how.
#[derive(Debug, Clone)]
pub(super) struct Format {
    codec: Codec,
    video: Video,
}

impl Format {
    pub(super) fn new(codec: Codec, video: &Video) -> Self {
        Self { codec, video: video.clone() }
    }

    /// The encoder to use.
    pub(super) fn encoder(&self) -> &'static str {
        if self.codec == Codec::Hevc { "libx265" } else { "libx264" }
    }

    /// The options that make pictures which can stand beside the source's.
    ///
    /// H.264 is made without B pictures, so that any reorder delay fits it. HEVC has to announce the source's delay:
    /// ffmpeg complains of a delay that grows.
    fn options(&self) -> Vec<String> {
        let rate = self.video.rate.map_or_else(String::new, |rate| format!("fps={}/{}:", rate.num, rate.den));
        let (fixed, params): (&[&str], _) = if self.codec == Codec::Hevc {
            let reorder = match self.video.picture.reorder.or(self.video.reorder) {
                None | Some(0) => "bframes=0",
                Some(1) => "bframes=1:b-pyramid=0",
                Some(2..) => "bframes=3:b-pyramid=1",
            };
            let params = format!("{rate}{reorder}:b-adapt=0:open-gop=0:repeat-headers=1:log-level=error");
            (&["-preset", "ultrafast", "-crf", "16", "-x265-params"], params)
        } else {
            // The profile follows from the tools that are used.
            let tools = match self.video.picture.profile {
                66 => "8x8dct=0",
                77 => "cabac=1",
                _ => "8x8dct=1",
            };
            // The greatest quantizer holds the quality of pictures that a rate factor alone lets go, such as confetti.
            let fixed = &[
                "-preset",
                "ultrafast",
                "-tune",
                "zerolatency",
                "-crf",
                "18",
                "-qmax",
                "22",
                "-bf",
                "0",
                "-x264-params",
            ];
            (fixed, format!("{rate}{tools}:force-cfr=1"))
        };
        let mut options = vec!["-c:v".to_owned(), self.encoder().to_owned()];
        options.extend(fixed.iter().map(|option| (*option).to_owned()));
        options.push(params);
        options
    }

    /// How ffmpeg is to look at its input first: not long where the parameter sets tell all it needs.
    fn look(&self) -> &'static [&'static str] {
        if self.video.picture.reorder.is_some() {
            &["-analyzeduration", "100000", "-fpsprobesize", "0"]
        } else {
            &[]
        }
    }
}

/// Pictures that come out of an encoder.
#[derive(Debug)]
pub(super) struct Encoder {
    child: Option<Child>,
    assembler: Assembler,
    ready: VecDeque<Pes>,
    /// Where each picture is decoded in the output, in order.
    decoded: VecDeque<Ticks>,
    /// Where the pictures are shown that have not come yet, sorted.
    expected: Vec<Ticks>,
    /// What to add to the encoder's ticks to get those of the output.
    later: i64,
    /// libx265 gives wrong stamps to so few pictures that none leaves it before the end, though at the right distances.
    few_of_hevc: bool,
    codec: Codec,
}

impl Encoder {
    /// Starts to encode what is shown of a group. `clock` is that of the part in the output.
    pub(super) fn start(
        format: &Format,
        tools: &Tools,
        loaded: &Loaded,
        group: &Encode,
        clock: ClockMapping,
    ) -> Result<Self> {
        let track = loaded.scan.reference_track().ok_or_else(no_pictures)?;
        let (first, last) = group.shown.first().zip(group.shown.last()).ok_or_else(no_pictures)?;
        let anchor = track.units[group.units.start].pts;
        let input_clock = ClockMapping { input: anchor, output_90k: GROUP_AT };
        let input = group_alone(loaded, group, input_clock);
        let args =
            arguments(format, tools, input_clock.to_output_90k(*first), input_clock.to_output_90k(*last));
        let feed = Box::new(move |stdin: &mut dyn std::io::Write| {
            stdin.write_all(&input).map_err(Error::io("write", "ffmpeg's input"))
        });
        Ok(Self {
            child: Some(tools.ffmpeg(&args, Some(feed))?),
            assembler: Assembler::default(),
            ready: VecDeque::new(),
            decoded: group
                .shown
                .iter()
                .map(|pts| Ticks::new(clock.to_output_90k(*pts) - group.delay_90k))
                .collect(),
            expected: group.shown.iter().map(|pts| Ticks::new(clock.to_output_90k(*pts))).collect(),
            later: clock.to_output_90k(anchor) - GROUP_AT,
            few_of_hevc: format.codec == Codec::Hevc && group.shown.len() <= 2,
            codec: format.codec,
        })
    }

    /// Waits until there is a picture, or the encoder has failed.
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

    /// The next picture, with its stamps in the output, and whether decoding can begin with it. With the last picture
    /// the encoder has ended, and succeeded.
    pub(super) fn next(&mut self, is_cancelled: &dyn Fn() -> bool) -> Result<(Pes, bool)> {
        self.wait(is_cancelled)?;
        let dts =
            self.decoded.pop_front().ok_or_else(|| amiss("more pictures are wanted than were planned"))?;
        let mut pes =
            self.ready.pop_front().ok_or_else(|| amiss("it made fewer pictures than it was given"))?;
        if self.few_of_hevc {
            self.later = self.expected.first().map_or(self.later, |pts| pts.since(pes.pts));
        }
        let stamp = pes.pts.plus(self.later);
        let found = self.expected.iter().position(|pts| pts.since(stamp).abs() <= 1);
        let pts =
            self.expected.remove(found.ok_or_else(|| amiss("it made a picture of none that it was given"))?);
        if dts.since(pts) > 0 {
            return Err(amiss("it reordered pictures more than the source does"));
        }
        (pes.pts, pes.dts, pes.stream_id) = (pts, dts, 0xE0);
        if self.expected.is_empty() {
            self.wait(is_cancelled)?;
            if !self.ready.is_empty() {
                return Err(amiss("it made more pictures than it was given"));
            }
        }
        let access = if self.codec == Codec::Hevc {
            hevc::access_unit_start(&pes.payload)
        } else {
            h264::access_unit_start(&pes.payload)
        };
        Ok((pes, access.idr))
    }
}

fn amiss(why: &str) -> Error {
    Error::Child { program: "ffmpeg", why: why.to_owned() }
}

fn no_pictures() -> Error {
    amiss("there is nothing to encode")
}

/// A stream with nothing in it but one group's pictures.
fn group_alone(loaded: &Loaded, group: &Encode, clock: ClockMapping) -> Vec<u8> {
    let Some(track) = loaded.scan.reference_track() else { return Vec::new() };
    let streams = loaded.scan.pmt.streams.iter().filter(|stream| stream.pid == track.pid).cloned().collect();
    let pmt = Pmt { pcr_pid: track.pid, streams, ..loaded.scan.pmt.clone() };
    let mut actions = vec![Action::Drop; track.units.len()];
    for (unit, action) in track.units.iter().zip(&mut actions).take(group.units.end).skip(group.units.start) {
        if unit.complete {
            *action = Action::Copy;
        }
    }
    let edit =
        Edit { input_pid: track.pid, output_pid: track.pid, clock, actions, keep_90k: 0..0, coding: None };
    let mut joiner = TsWriter::new(loaded.scan.pmt_pid, &pmt);
    let mut walk = Rewriter::new(&loaded.bytes, &loaded.scan, clock, i64::MAX, vec![edit]);
    let (mut input, mut buffer) = (Vec::new(), Vec::new());
    loop {
        let step = walk.step(&mut joiner, &mut buffer);
        input.append(&mut buffer);
        if step == Step::Done {
            return input;
        }
    }
}

fn arguments(format: &Format, tools: &Tools, first: i64, last: i64) -> Vec<String> {
    let threads = tools.threads().to_string();
    let trim = format!("trim=start_pts={first}:end_pts={}", last + 1);
    let options = format.options();
    let mut words = vec!["-hide_banner", "-v", "error", "-threads", &threads, "-copyts"];
    words.extend(format.look());
    words.extend(["-f", "mpegts", "-i", "pipe:0", "-map", "0:v:0", "-vf", &trim, "-threads", &threads]);
    words.extend(options.iter().map(String::as_str));
    words.extend([tools.passthrough_option(), "passthrough", "-enc_time_base", "1:90000"]);
    words.extend(["-mpegts_copyts", "1", "-muxdelay", "0", "-muxpreload", "0", "-flush_packets", "1"]);
    words.extend(["-f", "mpegts", "pipe:1"]);
    words.into_iter().map(str::to_owned).collect()
}
