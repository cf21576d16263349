//! Takes a transport stream as it arrives, holds what may be a burst, and has it cut into segments. Pure: bytes and times of
//! arrival come in.

use super::clock::{Decision, FrameTimes, ReceiveTime, RunClock, Step};
use super::cutter::{Cutter, Ending, Sink, times, unwrap};
use super::listed::{ListNeed, ListedTimes};
use crate::archive::layout::SegmentType;
use crate::mpegts::live::{PacketBytes, PacketReader, Program};
use crate::mpegts::packet::Packet;
use crate::mpegts::pes::Ticks;
use crate::mpegts::pes::to_us;
use crate::timestamp::{Span, Timestamp};

/// Bytes of frames that may be held until it is known when they were captured.
const MAX_HELD_BYTES: usize = 48 * 1024 * 1024;
/// A segment is complete if nothing arrives for so long.
const STALL_US: i64 = 20_000_000;

/// Why a source cannot be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// Its clock stands still; opening it again may help.
    FrozenClock,
    /// It is no live source, and when it begins is not given.
    TooFast,
    /// It has no program; the reason.
    NoProgram(&'static str),
}

/// Cuts one recording into segments.
#[derive(Debug)]
pub(super) struct Segmenter<S> {
    cutter: Cutter<S>,
    clock: RunClock,
    reader: PacketReader,
    /// The first bytes of a source, until its program is known.
    head: Vec<u8>,
    program: Option<Program>,
    /// Packets of frames that may be a burst.
    held: Vec<PacketBytes>,
    /// The time of the last frame.
    arrived: Option<i64>,
    other: Option<OtherStream>,
    last_received_us: i64,
}

impl<S: Sink> Segmenter<S> {
    /// Segments of about `target`. `start` is when the first frame of a file was captured; live sources have none. `end` is when
    /// the last segment of an earlier recorder ends.
    pub(super) fn new(sink: S, target: Span, start: Option<Timestamp>, end: Option<Timestamp>) -> Self {
        Self {
            cutter: Cutter::new(sink, target, start, end),
            clock: RunClock::new(start.is_some()),
            reader: PacketReader::default(),
            head: Vec::new(),
            program: None,
            held: Vec::new(),
            arrived: None,
            other: None,
            last_received_us: 0,
        }
    }

    /// Takes the next bytes of a source.
    ///
    /// # Errors
    /// Why the source cannot be recorded.
    pub(super) fn push(&mut self, bytes: &[u8], received: ReceiveTime) -> Result<(), Failure> {
        for packet in self.reader.push(bytes) {
            if self.program.is_none() {
                self.head.extend_from_slice(&packet);
                self.program = Program::find(&self.head).map_err(Failure::NoProgram)?;
                self.program.iter().for_each(|program| self.cutter.set_program(program.clone()));
            }
            self.take(packet, received)?;
        }
        self.tick(received)?;
        self.cutter.flush();
        Ok(())
    }

    /// Notes that time has passed.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub(super) fn tick(&mut self, now: ReceiveTime) -> Result<(), Failure> {
        self.clock.look(now);
        let is_full = self.held.len() * size_of::<PacketBytes>() > MAX_HELD_BYTES;
        let decision = if is_full { self.clock.release(true) } else { self.clock.decide(now) };
        if let Some(decision) = decision {
            self.release(decision)?;
        }
        if self.cutter.is_open() && now.monotonic_us - self.last_received_us > STALL_US {
            self.cutter.break_off(SegmentType::Suspect, &mut self.clock);
        }
        Ok(())
    }

    /// Takes what an HLS list tells about times; `None` if it could not be looked at. From then on its times count, until
    /// the source ends.
    pub(super) fn set_listed(&mut self, times: Option<ListedTimes>) {
        self.clock.set_listed(times);
    }

    /// Whether an HLS list must be looked at.
    pub(super) fn list_need(&self) -> ListNeed {
        self.clock.list_need()
    }

    /// Ends a source; another one, with a clock of its own, may follow.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub(super) fn finish(&mut self, ending: Ending) -> Result<(), Failure> {
        let released = self.clock.release(false).map_or(Ok(()), |decision| self.release(decision));
        self.cutter.finish(ending, &mut self.clock);
        self.clock.reopen();
        (self.reader, self.program) = (PacketReader::default(), None);
        (self.arrived, self.other) = (None, None);
        self.head.clear();
        self.held.clear();
        released
    }

    fn take(&mut self, packet: PacketBytes, received: ReceiveTime) -> Result<(), Failure> {
        let (Some(program), Some(parsed)) = (&self.program, Packet::new(&packet)) else { return Ok(()) };
        if !program.has(parsed) {
            return Ok(());
        }
        if let Some((pts, dts)) = times(parsed) {
            if parsed.pid() == program.reference_pid {
                self.take_frame(pts, dts, received)?;
            } else {
                let other = self.other.get_or_insert(OtherStream::new(parsed.pid(), pts));
                if other.note(parsed.pid(), pts) && self.clock.other_frame(received, to_us(pts.get())) {
                    return Err(Failure::FrozenClock);
                }
            }
        }
        if self.clock.is_holding() {
            self.held.push(packet);
            let decision = self.clock.decide(received);
            decision.map_or(Ok(()), |decision| self.release(decision))
        } else {
            self.cutter.place(packet, &mut self.clock);
            Ok(())
        }
    }

    fn take_frame(&mut self, pts: Ticks, dts: Ticks, received: ReceiveTime) -> Result<(), Failure> {
        let before = self.arrived;
        let dts_90k = unwrap(before, dts);
        self.arrived = Some(dts_90k);
        let gap_90k = before.map_or(0, |before| dts_90k - before);
        let is_bridged = self.other.as_mut().is_some_and(|other| other.bridges(gap_90k, dts));
        let pts_90k = dts_90k + pts.since(dts);
        let step = self.clock.frame(received, FrameTimes { dts_90k, pts_90k, is_bridged });
        self.last_received_us = received.monotonic_us;
        match step {
            Step::Follow | Step::Hold => Ok(()),
            Step::Frozen => Err(Failure::FrozenClock),
            Step::Break(held) => {
                let released = held.map_or(Ok(()), |decision| self.release(decision));
                self.held.clear();
                self.cutter.break_off(SegmentType::Suspect, &mut self.clock);
                released
            }
        }
    }

    fn release(&mut self, decision: Decision) -> Result<(), Failure> {
        match decision {
            Decision::TooFast => return Err(Failure::TooFast),
            Decision::Same => {}
            Decision::NewRun { offset_us } => self.cutter.begin_run(offset_us, &mut self.clock),
        }
        self.place_held();
        Ok(())
    }

    fn place_held(&mut self) {
        for packet in std::mem::take(&mut self.held) {
            self.cutter.place(packet, &mut self.clock);
        }
    }
}

/// Another stream than the reference, by which a gap is told from a picture that is shown for long.
#[derive(Debug)]
struct OtherStream {
    pid: u16,
    last: Ticks,
    /// The longest distance of its frames since the last frame of the reference stream; `None` if there were none.
    longest_90k: Option<i64>,
}

impl OtherStream {
    fn new(pid: u16, first: Ticks) -> Self {
        Self { pid, last: first, longest_90k: None }
    }

    /// Takes a frame; returns whether it is one of this stream.
    fn note(&mut self, pid: u16, pts: Ticks) -> bool {
        if pid != self.pid {
            return false;
        }
        self.longest_90k = Some(self.longest_90k.unwrap_or_default().max(pts.since(self.last).abs()));
        self.last = pts;
        true
    }

    /// Whether its frames fill a gap of the reference stream that ends at this time: they are near to each other, and the
    /// last one is near to the end. If all streams have the gap, their frames behind it may come in any order.
    fn bridges(&mut self, gap_90k: i64, end: Ticks) -> bool {
        let is_filled = self.longest_90k.take().is_some_and(|longest| longest < gap_90k / 2);
        is_filled && end.since(self.last) < gap_90k / 2
    }
}
