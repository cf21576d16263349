//! Joins parts of recordings on one clock: new continuity counters, clock references and time stamps, units left out,
//! and units put in the place of others. All else stays as it is, byte for byte.
//!
//! A [`TsWriter`] is the stream that is being made; a [`Rewriter`] takes it through one segment.

use std::ops::Range;

use super::audio::{Coding, trim};
use super::packet::{NULL_PID, PACKET_BYTES, PCR_OFFSET, Packet, Packets, PidTable, packets, write_pcr};
use super::pes::{DTS_OFFSET, Header, PTS_OFFSET, Pes, Ticks};
use super::psi::PAT_PID;
use super::scan::Scan;
use super::writer::{TsWriter, wrapped};

/// Bytes of output after which a walk pauses, so that memory stays bounded.
const PAUSE: usize = 128 * 1024;

/// Where a segment's clock lies on the clock of the stream that is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockMapping {
    /// An instant on the segment's clock.
    pub input: Ticks,
    /// The same instant in the output, in ticks from its zero; beyond 2^33 the stamps wrap.
    pub output_90k: i64,
}

impl ClockMapping {
    /// An instant of the segment as ticks in the output.
    pub fn to_output_90k(self, ticks: Ticks) -> i64 {
        self.output_90k + ticks.since(self.input)
    }

    /// The same clock with everything `ticks` later.
    #[must_use]
    pub fn shifted(self, ticks: i64) -> Self {
        Self { output_90k: self.output_90k + ticks, ..self }
    }
}

/// What becomes of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It stays, on the new clock.
    Copy,
    /// It goes.
    Drop,
    /// It goes, and the next unit from elsewhere takes its place.
    Replace,
    /// Of its sound stay the frames that the edit keeps.
    Trim,
}

/// What becomes of a stream of a segment.
#[derive(Debug, Clone)]
pub struct Edit {
    /// The stream's PID in the segment.
    pub input_pid: u16,
    /// Its PID in the output.
    pub output_pid: u16,
    /// Its clock.
    pub clock: ClockMapping,
    /// What becomes of each unit, as [`Scan`] lists them; the last counts for any that follow.
    pub actions: Vec<Action>,
    /// Where frames of trimmed units start that stay, in ticks of the output.
    pub keep_90k: Range<i64>,
    /// How sound is framed; without it trimmed units stay whole.
    pub coding: Option<Coding>,
}

/// What a walk has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// There is enough output to be taken away.
    Full,
    /// A unit is to be put in: [`TsWriter::insert`].
    Insert,
    /// The segment is at its end.
    Done,
}

/// The way through one segment.
#[derive(Debug)]
pub struct Rewriter<'a> {
    packets: Packets<'a>,
    lanes: Vec<Lane<'a>>,
    by_pid: PidTable,
    pmt_pid: u16,
    pcr_pid: u16,
    /// The clock for the references, with what their lead is shortened by.
    pcr_clock: ClockMapping,
    /// Where the stream ends, in ticks of the output: behind it a reference alone is of no use.
    end: i64,
}

/// A stream on the way through a segment.
#[derive(Debug)]
struct Lane<'a> {
    edit: Edit,
    next: usize,
    action: Option<Action>,
    gathered: Vec<u8>,
    last: Option<Packet<'a>>,
}

impl<'a> Rewriter<'a> {
    /// Begins with a segment, its scan and what is to become of its streams; streams without an edit are left out.
    ///
    /// `clock` is that of the clock references, `end` where the output ends, in its ticks.
    pub fn new(bytes: &'a [u8], scan: &Scan, clock: ClockMapping, end: i64, edits: Vec<Edit>) -> Self {
        let by_pid = PidTable::new(edits.iter().map(|edit| edit.input_pid));
        let lane = |edit| Lane { edit, next: 0, action: None, gathered: Vec::new(), last: None };
        Self {
            packets: packets(bytes),
            lanes: edits.into_iter().map(lane).collect(),
            by_pid,
            pmt_pid: scan.pmt_pid,
            pcr_pid: scan.pmt.pcr_pid,
            pcr_clock: clock,
            end,
        }
    }

    /// Goes on, appending to `out`.
    pub fn step(&mut self, joiner: &mut TsWriter, out: &mut Vec<u8>) -> Step {
        while out.len() < PAUSE {
            let Some((_, packet)) = self.packets.next() else {
                for lane in &mut self.lanes {
                    lane.finish_unit(joiner, false, out);
                }
                return Step::Done;
            };
            if self.take(packet, joiner, out) {
                return Step::Insert;
            }
        }
        Step::Full
    }

    /// Takes one packet; says whether its unit is to be replaced.
    fn take(&mut self, packet: Packet<'a>, joiner: &mut TsWriter, out: &mut Vec<u8>) -> bool {
        let pid = packet.pid();
        if pid == PAT_PID || pid == NULL_PID {
            return false;
        }
        if pid == self.pmt_pid {
            if packet.starts_unit() && joiner.started {
                joiner.write_tables(out);
            }
            return false;
        }
        let pcr = if pid == self.pcr_pid { packet.pcr().map(|pcr| self.pcr_of(pcr)) } else { None };
        let Some(lane) = self.by_pid.get(pid).and_then(|index| self.lanes.get_mut(index)) else {
            if let Some(pcr) = pcr.filter(|pcr| *pcr < self.end.saturating_mul(300)) {
                pass_clock(joiner, pcr, out);
            }
            return false;
        };
        if lane.repeats(packet) {
            return false;
        }
        let header = lane.begin_unit(packet, joiner, out);
        match lane.action {
            Some(Action::Copy) => lane.copy(packet, header, pcr, joiner, out),
            Some(Action::Trim) => lane.gathered.extend_from_slice(packet.payload()),
            _ => {}
        }
        if let Some(pcr) = pcr.filter(|pcr| *pcr < self.end.saturating_mul(300))
            && lane.action != Some(Action::Copy)
        {
            pass_clock(joiner, pcr, out);
        }
        header.is_some() && lane.action == Some(Action::Replace)
    }

    /// A clock reference of the segment on the output's clock, in ticks of 27 MHz.
    fn pcr_of(&self, pcr: u64) -> i64 {
        let pcr = i64::try_from(pcr).unwrap_or(0);
        self.pcr_clock.to_output_90k(Ticks::new(pcr / 300)) * 300 + pcr % 300
    }
}

/// Writes a clock reference whose packet is left out.
fn pass_clock(joiner: &mut TsWriter, pcr: i64, out: &mut Vec<u8>) {
    let pcr = joiner.next_pcr(pcr);
    if joiner.started {
        joiner.write_clock(pcr, out);
    }
}

impl<'a> Lane<'a> {
    /// Whether the packet is one sent twice, which 13818-1 allows.
    fn repeats(&mut self, packet: Packet<'a>) -> bool {
        let last = self.last.replace(packet);
        last.is_some_and(|last| {
            packet.has_payload()
                && last.bytes()[1..4] == packet.bytes()[1..4]
                && last.payload() == packet.payload()
        })
    }

    /// Turns to the next unit if the packet starts one; returns the header of one with a time stamp.
    fn begin_unit(&mut self, packet: Packet<'_>, joiner: &mut TsWriter, out: &mut Vec<u8>) -> Option<Header> {
        if !packet.starts_unit() {
            return None;
        }
        let Some(header) = Header::parse(packet.payload()) else {
            // Sections have no units: they pass once the stream has begun.
            if self.next == 0 && self.edit.coding.is_none() {
                self.action = joiner.started.then_some(Action::Copy);
            }
            return None;
        };
        header.pts?;
        let action = self.edit.actions.get(self.next).or(self.edit.actions.last()).copied();
        self.next += 1;
        let continued = matches!(action, Some(Action::Copy | Action::Trim));
        self.finish_unit(joiner, continued, out);
        self.action = action;
        Some(header)
    }

    fn copy(
        &mut self,
        packet: Packet<'_>,
        header: Option<Header>,
        pcr: Option<i64>,
        joiner: &mut TsWriter,
        out: &mut Vec<u8>,
    ) {
        joiner.start(out);
        let mut bytes = *packet.bytes();
        let [p1, p0] = self.edit.output_pid.to_be_bytes();
        bytes[1] = bytes[1] & 0xE0 | p1 & 0x1F;
        bytes[2] = p0;
        let counter = &mut joiner.counters[usize::from(self.edit.output_pid & NULL_PID)];
        *counter = (*counter + u8::from(packet.has_payload())) & 0x0F;
        bytes[3] = bytes[3] & 0xF0 | *counter;
        if !packet.adaptation_field().is_empty() {
            // No clock of the output is ever interrupted.
            bytes[5] &= 0x7F;
        }
        if let Some(pcr) = pcr {
            let pcr = joiner.next_pcr(pcr);
            bytes[PCR_OFFSET..PCR_OFFSET + 6].copy_from_slice(&write_pcr(wrapped(pcr)));
        }
        if let Some(header) = header {
            let start = PACKET_BYTES - packet.payload().len();
            self.stamp(&mut bytes, start + PTS_OFFSET, header.pts, if header.dts.is_some() { 3 } else { 2 });
            self.stamp(&mut bytes, start + DTS_OFFSET, header.dts, 1);
        }
        out.extend_from_slice(&bytes);
    }

    fn stamp(&self, bytes: &mut [u8; PACKET_BYTES], at: usize, ticks: Option<Ticks>, prefix: u8) {
        if let Some((ticks, place)) = ticks.zip(bytes.get_mut(at..at + 5)) {
            place.copy_from_slice(&Ticks::new(self.edit.clock.to_output_90k(ticks)).write(prefix));
        }
    }

    /// Writes what is gathered of a trimmed unit. `continued` says that the next unit stays too.
    fn finish_unit(&mut self, joiner: &mut TsWriter, continued: bool, out: &mut Vec<u8>) {
        if self.gathered.is_empty() {
            return;
        }
        let Some(pes) = Pes::parse(&std::mem::take(&mut self.gathered)) else { return };
        let at = self.edit.clock.to_output_90k(pes.pts);
        let Edit { output_pid: to, coding, keep_90k: keep, .. } = &self.edit;
        let (from_90k, end, payload) = match coding {
            Some(coding) => {
                let keep = keep.start.saturating_sub(at)..keep.end.saturating_sub(at);
                let Some((kept, bytes)) = trim(*coding, &pes.payload, keep, continued) else { return };
                (kept.start, Some(at + kept.end), bytes.to_vec())
            }
            None => (0, None, pes.payload),
        };
        let stamp = Ticks::new(at + from_90k);
        joiner.insert(&Pes { stream_id: pes.stream_id, pts: stamp, dts: stamp, payload }, *to, true, out);
        if let Some(end) = end {
            joiner.ends.retain(|end| end.0 != *to);
            joiner.ends.push((*to, end));
        }
    }
}

#[cfg(test)]
mod tests;
