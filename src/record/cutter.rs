//! Puts packets, whose times are known, into segments that begin with key frames, and names and dates them. Pure: segments go
//! to a [`Sink`].

use super::clock::{Correction, RunClock};
use crate::archive::layout::SegmentType;
use crate::mpegts::live::{Entry, LiveWriter, PacketBytes, Program, entry, may_end_unit};
use crate::mpegts::packet::Packet;
use crate::mpegts::pes::{Header, Ticks, to_us};
use crate::timestamp::{Span, Timestamp};

/// A run does not begin before the end of the one before, by more than this.
const MAX_OVERLAP_US: i64 = 10_000;
/// Frames that would overlap the run before by less than this are left out. If it is more, the clock was set back, and they
/// are recorded at their time.
const MAX_LEFT_OUT_US: i64 = 60_000_000;
/// Segments may begin with key frames that later pictures refer beyond, if no other key frame came for so long.
const OPEN_GROUPS_US: i64 = 10_000_000;
/// The duration of a frame that is the only one.
pub(super) const LONE_FRAME_90K: i64 = 3600;

/// Where segments go. It handles its failures itself: recording goes on.
pub(super) trait Sink {
    /// A run begins: whether it is the first one of all, and how long the gap before it is.
    fn begin_run(&mut self, start: Timestamp, gap: Option<Span>);
    /// A segment begins. Returns whether the one before could be written.
    fn begin(&mut self, start: Timestamp) -> bool;
    /// Bytes of the segment.
    fn write(&mut self, bytes: &[u8]);
    /// The segment is complete.
    fn end(&mut self, duration: Span, segment_type: SegmentType);
    /// Names have moved towards the wall clock by so many microseconds.
    fn slew(&mut self, us: i64);
}

/// How a source has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// ffmpeg has read all of it, or was asked to stop, and has written all frames that it had.
    Orderly,
    /// ffmpeg has failed or was killed.
    Broken,
}

/// The current run.
#[derive(Debug, Clone, Copy)]
struct Run {
    /// The PTS of its first frame on the source's clock.
    first_90k: i64,
    /// When that was captured, by the names.
    start: Timestamp,
    /// By how much names have been moved since.
    slew_us: i64,
    /// From the source's clock to the one that is written.
    shift_90k: i64,
}

impl Run {
    fn time(&self, ticks_90k: i64) -> Timestamp {
        self.start + Span::from_micros(to_us(ticks_90k - self.first_90k) + self.slew_us)
    }
}

/// The segment that is being written.
#[derive(Debug, Clone, Copy)]
struct OpenSegment {
    start: Timestamp,
    first_90k: i64,
    last_90k: i64,
    frames: i64,
    /// Whether the last packet of the reference stream may be the last one of its frame.
    is_whole: bool,
}

impl OpenSegment {
    /// The distance of its frames.
    fn frame_90k(&self) -> Option<i64> {
        (self.frames > 1).then(|| (self.last_90k - self.first_90k) / (self.frames - 1))
    }
}

/// A frame with which a segment may begin, until enough of it is there to tell.
#[derive(Debug)]
struct Candidate {
    packets: Vec<PacketBytes>,
    pts_90k: i64,
    /// The bytes of the elementary stream.
    start: Vec<u8>,
}

/// Cuts packets into segments.
#[derive(Debug)]
pub(super) struct Cutter<S> {
    sink: S,
    target_us: i64,
    /// When the first frame of the first run was captured, if that is given.
    given: Option<Timestamp>,
    program: Option<Program>,
    writer: LiveWriter,
    /// The time of the last frame.
    placed: Option<i64>,
    candidate: Option<Candidate>,
    run: Option<Run>,
    /// What PTS of a run that has not begun yet are before the wall clock.
    next_run_us: Option<i64>,
    open: Option<OpenSegment>,
    /// The end of the last segment.
    end: Option<Timestamp>,
    /// The distance of frames in the last segment that another one followed.
    frame_90k: Option<i64>,
    last_clean_us: Option<i64>,
    buffer: Vec<u8>,
}

impl<S: Sink> Cutter<S> {
    pub(super) fn new(sink: S, target: Span, given: Option<Timestamp>, end: Option<Timestamp>) -> Self {
        Self {
            sink,
            target_us: target.micros(),
            given,
            program: None,
            writer: LiveWriter::default(),
            placed: None,
            candidate: None,
            run: None,
            next_run_us: None,
            open: None,
            end,
            frame_90k: None,
            last_clean_us: None,
            buffer: Vec::new(),
        }
    }

    /// The program of the packets.
    pub(super) fn set_program(&mut self, program: Program) {
        self.program = Some(program);
    }

    /// Whether a segment has begun.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// What follows is a new run, whose PTS are so far before the wall clock.
    pub(super) fn begin_run(&mut self, offset_us: i64, clock: &mut RunClock) {
        self.break_off(SegmentType::Suspect, clock);
        (self.run, self.next_run_us) = (None, Some(offset_us));
    }

    /// Ends the open segment, because nothing continues it.
    pub(super) fn break_off(&mut self, segment_type: SegmentType, clock: &mut RunClock) {
        self.decide_candidate(true, clock);
        self.close(segment_type);
    }

    /// Ends the last segment of a source; another source may follow.
    pub(super) fn finish(&mut self, ending: Ending, clock: &mut RunClock) {
        self.decide_candidate(true, clock);
        let is_whole = self.open.is_some_and(|open| open.is_whole);
        self.close(match (ending, is_whole) {
            (Ending::Orderly, _) => SegmentType::Full,
            (Ending::Broken, true) => SegmentType::Suspect,
            (Ending::Broken, false) => SegmentType::Partial,
        });
        (self.program, self.run, self.placed) = (None, None, None);
        (self.next_run_us, self.frame_90k, self.last_clean_us) = (None, None, None);
    }

    /// Puts a packet, whose time is known now, into a segment.
    pub(super) fn place(&mut self, packet: PacketBytes, clock: &mut RunClock) {
        let (Some(program), Some(parsed)) = (&self.program, Packet::new(&packet)) else { return };
        let (codec, is_reference) = (program.codec, parsed.pid() == program.reference_pid);
        if let Some((pts, dts)) = times(parsed).filter(|_| is_reference) {
            self.decide_candidate(true, clock);
            let dts_90k = unwrap(self.placed, dts);
            self.placed = Some(dts_90k);
            let pts_90k = dts_90k + pts.since(dts);
            if self.may_cut(pts_90k) && entry(codec, &[], parsed.is_random_access(), false) != Entry::None {
                self.candidate = Some(Candidate { packets: Vec::new(), pts_90k, start: Vec::new() });
            } else if let Some(open) = &mut self.open {
                open.frames += 1;
                open.last_90k = open.last_90k.max(pts_90k);
            }
        }
        match &mut self.candidate {
            Some(candidate) => {
                candidate.packets.push(packet);
                if is_reference {
                    candidate.start.extend_from_slice(elementary(parsed));
                    self.decide_candidate(false, clock);
                }
            }
            None => self.write(packet, is_reference),
        }
    }

    /// Whether the open segment is long enough. A frame of the same segment may be up to a frame early.
    fn may_cut(&self, pts_90k: i64) -> bool {
        let early_us = to_us(self.frame_90k.unwrap_or_default()) / 2;
        self.open.is_none_or(|open| to_us(pts_90k - open.first_90k) + early_us >= self.target_us)
    }

    /// Begins a segment with the candidate, or not, once enough of it is there or nothing more `is_to_come`.
    fn decide_candidate(&mut self, is_whole: bool, clock: &mut RunClock) {
        let (Some(candidate), Some(program)) = (&self.candidate, &self.program) else { return };
        let Some(first) = candidate.packets.first() else { return };
        let pts_90k = candidate.pts_90k;
        let is_marked = Packet::new(first).is_some_and(Packet::is_random_access);
        let begins = match entry(program.codec, &candidate.start, is_marked, is_whole) {
            Entry::Unknown => return,
            Entry::None => false,
            Entry::Clean => {
                self.last_clean_us = Some(to_us(pts_90k));
                true
            }
            Entry::Open => self.last_clean_us.is_none_or(|last| to_us(pts_90k) - last > OPEN_GROUPS_US),
        };
        let packets = self.candidate.take().map(|candidate| candidate.packets).unwrap_or_default();
        if begins {
            self.cut(pts_90k, clock);
        } else if let Some(open) = &mut self.open {
            open.frames += 1;
            open.last_90k = open.last_90k.max(pts_90k);
        }
        let reference = self.program.as_ref().map(|program| program.reference_pid);
        for packet in packets {
            let is_reference = Packet::new(&packet).map(Packet::pid) == reference;
            self.write(packet, is_reference);
        }
    }

    /// Ends the open segment, if there is one, and begins the next one with a frame of that PTS.
    fn cut(&mut self, pts_90k: i64, clock: &mut RunClock) {
        if self.open.is_some() {
            match clock.correct() {
                Correction::Slew(us) => {
                    self.sink.slew(us);
                    self.run.iter_mut().for_each(|run| run.slew_us += us);
                    self.close_at(self.run.map(|run| run.time(pts_90k)));
                }
                Correction::NewRun { offset_us } => {
                    self.close(SegmentType::Full);
                    (self.run, self.next_run_us) = (None, Some(offset_us));
                }
            }
        }
        let had_run = self.run.is_some();
        let Some(start) = self.start_of(pts_90k, clock) else { return };
        self.open =
            Some(OpenSegment { start, first_90k: pts_90k, last_90k: pts_90k, frames: 1, is_whole: true });
        let goes_on = self.sink.begin(start) && had_run;
        if let Some(program) = &self.program {
            self.writer.begin_segment(program, goes_on, &mut self.buffer);
        }
    }

    /// When the next segment starts, which begins a run if there is none; `None` if it would overlap the last one.
    fn start_of(&mut self, pts_90k: i64, clock: &mut RunClock) -> Option<Timestamp> {
        let wanted = if let Some(run) = self.run {
            run.time(pts_90k)
        } else {
            let measured = self.next_run_us.map(|offset_us| to_us(pts_90k) + offset_us);
            let to_millisecond = |us: i64| Timestamp::from_micros(us - us.rem_euclid(1000));
            self.given.take().or(measured.map(to_millisecond)).or(self.end)?
        };
        let overlap_us = self.end.map_or(0, |end| (end - wanted).micros());
        if (MAX_OVERLAP_US + 1..=MAX_LEFT_OUT_US).contains(&overlap_us) {
            return None;
        }
        let is_next = overlap_us.abs() <= MAX_OVERLAP_US;
        let start = self.end.filter(|_| is_next).unwrap_or(wanted);
        if self.run.is_none() {
            let ticks = (start.micros() / 100) * 9 + start.micros() % 100 * 9 / 100;
            let shift_90k = ticks - pts_90k;
            self.run = Some(Run { first_90k: pts_90k, start, slew_us: 0, shift_90k });
            clock.begin_run(start.micros() - to_us(pts_90k));
            self.sink.begin_run(start, self.end.map(|end| start - end));
        }
        Some(start)
    }

    /// Ends the open segment with its last frame.
    fn close(&mut self, segment_type: SegmentType) {
        let Some(open) = self.open else { return };
        // The last frames may lack those that are shown between them.
        let frame_90k = self.frame_90k.or(open.frame_90k()).unwrap_or(LONE_FRAME_90K);
        let length_us = to_us(open.last_90k - open.first_90k + frame_90k);
        self.end_at(open, open.start + Span::from_micros(length_us), segment_type);
    }

    /// Ends the open segment where the next one starts.
    fn close_at(&mut self, end: Option<Timestamp>) {
        let Some((open, end)) = self.open.zip(end) else { return };
        self.frame_90k = open.frame_90k().or(self.frame_90k);
        self.end_at(open, end, SegmentType::Full);
    }

    fn end_at(&mut self, open: OpenSegment, end: Timestamp, segment_type: SegmentType) {
        self.flush();
        self.open = None;
        self.end = Some(end);
        self.sink.end(end - open.start, segment_type);
    }

    fn write(&mut self, packet: PacketBytes, is_reference: bool) {
        let (Some(open), Some(run)) = (&mut self.open, self.run) else { return };
        if is_reference && let Some(parsed) = Packet::new(&packet).filter(|parsed| parsed.has_payload()) {
            open.is_whole = may_end_unit(parsed);
        }
        self.writer.write(packet, run.shift_90k, &mut self.buffer);
        if self.buffer.len() >= 64 * 1024 {
            self.flush();
        }
    }

    /// Passes on what has been written.
    pub(super) fn flush(&mut self) {
        if !self.buffer.is_empty() {
            if self.open.is_some() {
                self.sink.write(&self.buffer);
            }
            self.buffer.clear();
        }
    }
}

/// The PTS and the DTS of the PES packet that begins in a packet.
pub(super) fn times(packet: Packet<'_>) -> Option<(Ticks, Ticks)> {
    let header = packet.starts_unit().then(|| Header::parse(packet.payload())).flatten()?;
    let pts = header.pts?;
    Some((pts, header.dts.unwrap_or(pts)))
}

/// The bytes of the elementary stream in a packet.
fn elementary(packet: Packet<'_>) -> &[u8] {
    let payload = packet.payload();
    let header = if packet.starts_unit() { Header::parse(payload).map_or(0, |header| header.len) } else { 0 };
    payload.get(header..).unwrap_or(&[])
}

/// A time stamp across the wrap: the one nearest to the last.
pub(super) fn unwrap(last: Option<i64>, time: Ticks) -> i64 {
    last.map_or(time.get(), |last| last + time.since(Ticks::new(last)))
}
