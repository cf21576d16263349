//! Levels of segments that are not known yet: ffmpeg decodes the sound of consecutive segments in one run.
//!
//! ffmpeg gives samples of 16 bits at 48 kHz, as PES packets of at most 20 ms in a transport stream, so each piece has its
//! time, and a frame that cannot be decoded is missing at its place.

use std::io::Write;
use std::ops::Range;
use std::sync::Arc;

use crate::cut::{CutSegment, SegmentList};
use crate::error::{Error, Result};
use crate::ffmpeg::{INPUT_OPTIONS, Tools};
use crate::mpegts::pes::{Assembler, Pes, TICKS_PER_SECOND, Ticks};

use super::feed::{Fed, FedSegments, FedSound, Feeder, JUMP_90K};
use super::levels::{LevelsBuilder, SAMPLE_RATE, SegmentLevels};
use super::sound::{Found, Sound, read};

/// The PID that ffmpeg is told to give to its output.
const OUTPUT_PID: u16 = 0x100;
/// Samples a channel in a PES packet of the output: 20 ms.
const PACKET_SAMPLES: usize = 960;
/// The bytes of a sample.
const SAMPLE_BYTES: usize = 2;

/// What ffmpeg says if it cannot decode its input.
const UNDECODABLE: [&str; 6] = [
    "Cannot determine format of input stream",
    "not found for input stream",
    "Could not find codec parameters",
    "Invalid data found when processing input",
    "matches no streams",
    "does not contain any stream",
];

/// Segments that are decoded in one run.
pub(super) struct Run<'a> {
    /// All segments of a waveform.
    pub(super) list: &'a Arc<dyn SegmentList>,
    /// The number of the first one.
    pub(super) first: u32,
    /// Its sound.
    pub(super) sound: Box<Sound>,
    /// The segment before it, if there is no gap, with its sound.
    pub(super) before: Option<(CutSegment, Box<Sound>)>,
    /// The number behind the last one. The run ends earlier where the format changes.
    pub(super) end: u32,
}

/// Decodes a run, and calls `each` with the levels of its segments in their order. Returns the number behind the last one,
/// and how many seconds were decoded.
///
/// # Errors
/// Those of [`Tools::ffmpeg`]; [`Error::Child`] if ffmpeg fails otherwise than because it cannot decode anything,
/// [`Error::Io`] if a segment cannot be read, [`Error::Cancelled`] once `is_cancelled` returns true.
pub(super) fn decode(
    run: Run<'_>,
    tools: &Tools,
    is_cancelled: &dyn Fn() -> bool,
    each: &mut dyn FnMut(u32, SegmentLevels),
) -> Result<(u32, f64)> {
    let queue = FedSegments::default();
    let first = run.first;
    let mut child = {
        let (list, fed, max_bytes) = (Arc::clone(run.list), queue.clone(), tools.max_segment_bytes());
        let Run { first, sound, before, end, .. } = run;
        let write = move |stdin: &mut dyn Write| {
            let feeder = Feeder::new(stdin, &sound);
            feed(feeder, &*list, first..end, (sound, before), &fed, max_bytes)
        };
        tools.ffmpeg(&arguments(tools), Box::new(write))?
    };
    let mut measuring = Measuring {
        fed: &queue,
        current: None,
        channels: 0,
        time_90k: 0,
        held: None,
        samples: 0,
        next: first + 1,
        each,
    };
    let mut assembler = Assembler::default();
    loop {
        match child.next_chunk(is_cancelled) {
            Ok(Some(chunk)) => assembler.push(&chunk, OUTPUT_PID, |pes| measuring.push(&pes)),
            Ok(None) => break,
            Err(Error::Child { why, .. })
                if measuring.samples == 0 && UNDECODABLE.iter().any(|text| why.contains(text)) =>
            {
                log::debug!("ffmpeg cannot decode the sound: {why}");
                break;
            }
            Err(error) => return Err(error),
        }
    }
    assembler.finish().iter().for_each(|pes| measuring.push(pes));
    Ok(measuring.finish())
}

/// Feeds the segments, up to one of another format.
fn feed(
    mut feeder: Feeder<'_>,
    list: &dyn SegmentList,
    numbers: Range<u32>,
    (first_sound, before): (Box<Sound>, Option<(CutSegment, Box<Sound>)>),
    fed: &FedSegments,
    max_bytes: u64,
) -> Result<()> {
    let format = first_sound.format.clone();
    if let Some((segment, sound)) = before.filter(|(_, sound)| sound.format == format) {
        feeder.pre_roll(&segment, &sound)?;
    }
    let mut first_sound = Some(first_sound);
    for number in numbers {
        let Some(segment) = list.segment(number) else { return Ok(()) };
        let next = list.segment(number + 1).filter(|next| !next.gap_before);
        let found = match first_sound.take() {
            Some(sound) => Found::Sound(sound),
            None => read(&segment, next.as_ref(), max_bytes)?,
        };
        match found {
            Found::Sound(sound) if sound.format != format => return Ok(()),
            Found::Sound(sound) => {
                feeder.segment(&segment, &sound, |sound| {
                    fed.lock().push_back(Fed { number, sound: Some(sound), has_sound: true });
                })?;
            }
            found => {
                let has_sound = found.is_listed();
                fed.lock().push_back(Fed { number, sound: None, has_sound });
            }
        }
    }
    Ok(())
}

fn arguments(tools: &Tools) -> String {
    let threads = tools.threads();
    format!(
        "-hide_banner -v error -threads {threads} -copyts {INPUT_OPTIONS} -i pipe:0 -map 0:a:0 \
        -af aresample={SAMPLE_RATE},asetnsamples=n={PACKET_SAMPLES}:p=0 -c:a pcm_s16le \
        -mpegts_copyts 1 -mpegts_start_pid {OUTPUT_PID} -pes_payload_size 0 \
        -muxdelay 0 -muxpreload 0 -f mpegts pipe:1"
    )
}

/// Measures samples as they come out of ffmpeg.
struct Measuring<'a> {
    fed: &'a FedSegments,
    /// The segment that is being measured.
    current: Option<Current>,
    /// The number of channels; 0 before the first packet.
    channels: usize,
    /// The time of the last packet on the clock of the stream.
    time_90k: i64,
    /// That packet: its time and its samples.
    held: Option<(i64, Vec<i16>)>,
    /// The samples of a channel so far.
    samples: usize,
    /// The number behind the last segment whose levels are known.
    next: u32,
    each: &'a mut dyn FnMut(u32, SegmentLevels),
}

struct Current {
    number: u32,
    sound: FedSound,
    levels: LevelsBuilder,
}

impl Measuring<'_> {
    fn push(&mut self, pes: &Pes) {
        if self.channels == 0 {
            // All packets but the last have the same number of samples.
            self.channels = (pes.payload.len() / (PACKET_SAMPLES * SAMPLE_BYTES)).max(1);
        }
        self.time_90k += pes.pts.since(Ticks::new(self.time_90k));
        let samples = pes.payload.as_chunks::<SAMPLE_BYTES>().0.iter().copied().map(i16::from_le_bytes);
        let samples: Vec<i16> = samples.collect();
        self.samples += samples.len() / self.channels;
        let spilt = self.held.as_ref().map_or(0, |held| self.spilt(held));
        if let Some((time_90k, mut held)) = self.held.replace((self.time_90k, samples)) {
            let behind = held.split_off(held.len() - spilt);
            self.measure(time_90k, &held);
            self.measure(self.time_90k - ticks_of(behind.len() / self.channels), &behind);
        }
    }

    /// How many of the last samples of a packet belong to the segment of the packet that has come behind it. Where the clock
    /// jumps, a packet has samples from both sides, with the time of the first.
    fn spilt(&self, (time_90k, samples): &(i64, Vec<i16>)) -> usize {
        let is_behind = self.time_90k - time_90k > JUMP_90K / 2;
        let fed = self.fed.lock();
        let begun = fed.iter().filter_map(|fed| fed.sound).map(|sound| sound.first_90k);
        let Some(begins) = begun.take_while(|begins| *begins < self.time_90k).last() else { return 0 };
        let spilt = samples_in(self.time_90k - begins).saturating_mul(self.channels);
        if is_behind && spilt <= samples.len() { spilt } else { 0 }
    }

    /// Measures samples from a time on.
    fn measure(&mut self, mut time_90k: i64, mut rest: &[i16]) {
        while !rest.is_empty() {
            while self.next_90k().is_some_and(|next| time_90k >= next) {
                self.begin_next();
            }
            let frames = self.next_90k().map_or(usize::MAX, |next| samples_in(next - time_90k));
            let (now, later) = rest.split_at(frames.saturating_mul(self.channels).min(rest.len()));
            // What is before the first segment is there for the decoder alone.
            if let Some(Current { sound, levels, .. }) = &mut self.current {
                levels.push(time_90k - sound.start_90k, now, self.channels);
            }
            time_90k += ticks_of(now.len() / self.channels);
            rest = later;
        }
    }

    /// Where the next segment begins; `None` as long as the current one is the last that was fed.
    fn next_90k(&self) -> Option<i64> {
        self.fed.lock().iter().find_map(|fed| fed.sound.map(|sound| sound.first_90k))
    }

    /// Goes on to the next segment with sound.
    fn begin_next(&mut self) {
        self.end_current();
        while let Some(Fed { number, sound, has_sound }) = self.take() {
            if let Some(sound) = sound {
                self.current = Some(Current { number, sound, levels: LevelsBuilder::new(sound.duration) });
                return;
            }
            self.pass(number, SegmentLevels::none(has_sound));
        }
    }

    fn take(&self) -> Option<Fed> {
        self.fed.lock().pop_front()
    }

    fn end_current(&mut self) {
        if let Some(Current { number, sound, levels }) = self.current.take() {
            let depends_on_next = sound.depends_on_next;
            self.pass(number, SegmentLevels { depends_on_next, ..levels.finish() });
        }
    }

    fn pass(&mut self, number: u32, levels: SegmentLevels) {
        self.next = self.next.max(number + 1);
        (self.each)(number, levels);
    }

    /// The number behind the last segment, and the seconds that were decoded.
    fn finish(mut self) -> (u32, f64) {
        if let Some((time_90k, samples)) = self.held.take() {
            self.measure(time_90k, &samples);
        }
        self.end_current();
        while let Some(Fed { number, has_sound, .. }) = self.take() {
            self.pass(number, SegmentLevels::none(has_sound));
        }
        let samples = u32::try_from(self.samples).unwrap_or(u32::MAX);
        (self.next, f64::from(samples) / 48_000.0)
    }
}

/// How long so many samples are, in ticks.
fn ticks_of(samples: usize) -> i64 {
    i64::try_from(samples).unwrap_or(0) * TICKS_PER_SECOND / SAMPLE_RATE
}

/// How many samples begin within so many ticks; at least one.
fn samples_in(ticks: i64) -> usize {
    usize::try_from((ticks * SAMPLE_RATE + TICKS_PER_SECOND - 1) / TICKS_PER_SECOND).unwrap_or(1).max(1)
}
