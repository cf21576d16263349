//! The sound of segments as one transport stream for ffmpeg, and where each segment is in it.
//!
//! The clock of the stream goes on where segments continue each other, and by some seconds where they do not, so ffmpeg sees
//! neither gaps nor jumps that it would correct. A decoder needs some frames before the first one whose samples are right: the
//! stream begins with the last ones of the segment before, if there is no gap.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::cut::CutSegment;
use crate::error::{Error, Result};
use crate::mpegts::pes::{TICKS_PER_SECOND, Ticks};
use crate::mpegts::retime::{Action, ClockMapping, Edit, Rewriter, Step};
use crate::mpegts::writer::TsWriter;
use crate::timestamp::Span;

use super::sound::Sound;

/// Where the first segment is on the clock of the stream, and how far one is behind the last that it does not continue.
const FIRST_90K: i64 = 100 * TICKS_PER_SECOND;
pub(super) const JUMP_90K: i64 = 4 * TICKS_PER_SECOND;
/// How much of the segment before is decoded.
const PRE_ROLL_90K: i64 = TICKS_PER_SECOND / 5;
/// How far names and timestamps may disagree on the distance of segments on one clock.
const CLOCK_TOLERANCE_90K: i64 = TICKS_PER_SECOND / 2;

/// A segment that is fed.
#[derive(Debug)]
pub(super) struct Fed {
    /// Its number in the list of segments.
    pub(super) number: u32,
    /// Its sound on the clock of the stream; `None` if it has none that is usable.
    pub(super) sound: Option<FedSound>,
    /// Whether it lists a sound.
    pub(super) has_sound: bool,
}

/// Where a sound is on the clock of the stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct FedSound {
    /// Where it begins.
    pub(super) first_90k: i64,
    /// Where its segment begins.
    pub(super) start_90k: i64,
    pub(super) duration: Span,
    pub(super) depends_on_next: bool,
}

/// What the feeding thread tells the one that measures. Each segment is here before ffmpeg gets its first byte.
#[derive(Debug, Default, Clone)]
pub(super) struct FedSegments(Arc<Mutex<VecDeque<Fed>>>);

impl FedSegments {
    pub(super) fn lock(&self) -> MutexGuard<'_, VecDeque<Fed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes the stream.
pub(super) struct Feeder<'a> {
    stdin: &'a mut dyn Write,
    writer: TsWriter,
    pid: u16,
    last: Option<Last>,
    buffer: Vec<u8>,
}

/// The segment that was written last.
#[derive(Debug, Clone)]
struct Last {
    segment: CutSegment,
    start: Ticks,
    clock: ClockMapping,
    /// Where its last PES packet is on the clock of the stream.
    end_90k: i64,
}

impl<'a> Feeder<'a> {
    /// A stream of sounds like `sound`.
    pub(super) fn new(stdin: &'a mut dyn Write, sound: &Sound) -> Self {
        let (pid, writer) = (sound.pid(), TsWriter::new(sound.scan.pmt_pid, &sound.scan.pmt));
        Self { stdin, writer, pid, last: None, buffer: Vec::new() }
    }

    /// Writes the end of a segment, for the decoding of the one that continues it.
    pub(super) fn pre_roll(&mut self, segment: &CutSegment, sound: &Sound) -> Result<()> {
        let Some((first, last)) = sound.units().first().zip(sound.units().last()) else { return Ok(()) };
        let clock = ClockMapping { input: first.pts, output_90k: FIRST_90K };
        let is_needed = |pts: Ticks| last.pts.since(pts) <= PRE_ROLL_90K;
        let actions = sound.units().iter().map(|unit| action(is_needed(unit.pts))).collect();
        self.note(segment, sound, clock);
        self.write(sound, clock, actions)
    }

    /// Writes the sound of a segment. `tell` learns before where it is.
    pub(super) fn segment(
        &mut self,
        segment: &CutSegment,
        sound: &Sound,
        tell: impl FnOnce(FedSound),
    ) -> Result<()> {
        let Some(first) = sound.units().first() else { return Ok(()) };
        let continued = self.last.clone().filter(|last| last.is_continued(segment, sound));
        let clock = continued.as_ref().map_or_else(
            || {
                let output_90k = self.last.as_ref().map_or(FIRST_90K, |last| last.end_90k + JUMP_90K);
                ClockMapping { input: first.pts, output_90k }
            },
            |last| ClockMapping { input: first.pts, output_90k: last.clock.to_output_90k(first.pts) },
        );
        tell(FedSound {
            first_90k: clock.output_90k,
            start_90k: clock.to_output_90k(sound.start),
            duration: segment.end - segment.start,
            depends_on_next: sound.depends_on_next,
        });
        self.note(segment, sound, clock);
        self.write(sound, clock, vec![Action::Copy])
    }

    fn note(&mut self, segment: &CutSegment, sound: &Sound, clock: ClockMapping) {
        let end_90k = sound.units().last().map_or(clock.output_90k, |unit| clock.to_output_90k(unit.pts));
        self.last = Some(Last { segment: segment.clone(), start: sound.start, clock, end_90k });
    }

    /// Writes PES packets of a sound.
    fn write(&mut self, sound: &Sound, clock: ClockMapping, actions: Vec<Action>) -> Result<()> {
        let (input_pid, output_pid) = (sound.pid(), self.pid);
        let edit = Edit { input_pid, output_pid, clock, actions, keep_90k: 0..0, coding: None };
        let mut rewriter = Rewriter::new(&sound.bytes, &sound.scan, clock, i64::MAX, vec![edit]);
        loop {
            let step = rewriter.step(&mut self.writer, &mut self.buffer);
            self.stdin.write_all(&self.buffer).map_err(Error::io("write", "ffmpeg's input"))?;
            self.buffer.clear();
            if step == Step::Done {
                return Ok(());
            }
        }
    }
}

impl Last {
    /// Whether a segment goes on with the clock of this one: names and timestamps agree on their distance.
    fn is_continued(&self, segment: &CutSegment, sound: &Sound) -> bool {
        let by_name = (segment.start - self.segment.start).micros() * 9 / 100;
        let distance = by_name - sound.start.since(self.start);
        !segment.gap_before && distance.abs() <= CLOCK_TOLERANCE_90K
    }
}

fn action(is_kept: bool) -> Action {
    if is_kept { Action::Copy } else { Action::Drop }
}
