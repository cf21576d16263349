//! Rewriting segments for the output stream of a [`TsWriter`]: new PIDs, continuity counters, timestamps and PCR; PES packets
//! dropped, replaced or trimmed. All other bytes are copied.

use std::ops::Range;

use super::audio::Coding;
use super::packet::{NULL_PID, PACKET_BYTES, PCR_OFFSET, Packet, Packets, packets, write_pcr};
use super::pes::{DTS_OFFSET, Header, PTS_OFFSET, Pes, Ticks};
use super::psi::PAT_PID;
use super::scan::Scan;
use super::writer::TsWriter;

/// Bytes of output after which [`Rewriter::step`] returns, so that memory stays bounded.
const STEP_BYTES: usize = 128 * 1024;

/// The linear mapping of a segment's clock to the clock of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockMapping {
    /// A time on the segment's clock.
    pub input: Ticks,
    /// The same time in the output, in ticks from 0; written timestamps wrap at 2^33.
    pub output_90k: i64,
}

impl ClockMapping {
    /// A time of the segment in ticks of the output. It must be less than 2^32 ticks from `input`.
    pub fn to_output_90k(self, time: Ticks) -> i64 {
        self.output_90k + time.since(self.input)
    }

    /// The mapping to times that are `ticks` later.
    #[must_use]
    pub fn shifted(self, ticks: i64) -> Self {
        Self { output_90k: self.output_90k + ticks, ..self }
    }
}

/// What is done with a PES packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is copied with new timestamps.
    Copy,
    /// It is left out.
    Drop,
    /// It is left out, and the caller inserts another.
    Replace,
    /// Only the audio frames within [`Edit::keep_90k`] are copied.
    Trim,
}

/// What is done with an elementary stream of a segment.
#[derive(Debug, Clone)]
pub struct Edit {
    /// The stream's PID in the segment.
    pub input_pid: u16,
    /// Its PID in the output.
    pub output_pid: u16,
    /// The mapping of its timestamps.
    pub clock: ClockMapping,
    /// The action for each PES packet with a PTS, in the order of [`Scan`]; the last one is for all that follow, too.
    pub actions: Vec<Action>,
    /// Trimmed PES packets keep the frames that start within this range, in ticks of the output.
    pub keep_90k: Range<i64>,
    /// The coding of its audio; without it trimmed PES packets stay whole.
    pub coding: Option<Coding>,
}

/// Why [`Rewriter::step`] has returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The buffer is full: the caller drains it.
    Full,
    /// A PES packet is to be replaced: the caller calls [`TsWriter::insert`].
    Insert,
    /// The segment has ended.
    Done,
}

/// Rewrites one segment.
#[derive(Debug)]
pub struct Rewriter<'a> {
    packets: Packets<'a>,
    streams: Vec<StreamRewriter<'a>>,
    pmt_pid: u16,
    pcr_pid: u16,
    pcr_clock: ClockMapping,
    /// The end of the output in ticks of 27 MHz.
    end_27m: i64,
}

/// Rewrites one elementary stream of a segment.
#[derive(Debug)]
struct StreamRewriter<'a> {
    edit: Edit,
    /// The number of PES packets with a PTS so far.
    units: usize,
    /// The action for the current PES packet.
    action: Option<Action>,
    /// The bytes so far of a PES packet to be trimmed.
    pes: Vec<u8>,
    last_packet: Option<Packet<'a>>,
}

impl<'a> Rewriter<'a> {
    /// Starts to rewrite the segment `bytes`; elementary streams without an edit are left out.
    ///
    /// `clock` maps the PCR. `end_90k` is where the output ends: no PCR is inserted at or after it.
    pub fn new(bytes: &'a [u8], scan: &Scan, clock: ClockMapping, end_90k: i64, edits: Vec<Edit>) -> Self {
        let rewriter =
            |edit| StreamRewriter { edit, units: 0, action: None, pes: Vec::new(), last_packet: None };
        Self {
            packets: packets(bytes),
            streams: edits.into_iter().map(rewriter).collect(),
            pmt_pid: scan.pmt_pid,
            pcr_pid: scan.pmt.pcr_pid,
            pcr_clock: clock,
            end_27m: end_90k.saturating_mul(300),
        }
    }

    /// Appends output to `out` until the caller has something to do.
    pub fn step(&mut self, writer: &mut TsWriter, out: &mut Vec<u8>) -> Step {
        while out.len() < STEP_BYTES {
            let Some((_, packet)) = self.packets.next() else {
                for stream in &mut self.streams {
                    stream.finish_trimmed(writer, false, out);
                }
                return Step::Done;
            };
            if self.rewrite(packet, writer, out) {
                return Step::Insert;
            }
        }
        Step::Full
    }

    /// Rewrites one packet; returns whether it starts a PES packet to be replaced.
    fn rewrite(&mut self, packet: Packet<'a>, writer: &mut TsWriter, out: &mut Vec<u8>) -> bool {
        let pid = packet.pid();
        if pid == PAT_PID || pid == NULL_PID {
            return false;
        }
        if pid == self.pmt_pid {
            if packet.starts_unit() {
                writer.repeat_tables(out);
            }
            return false;
        }
        let pcr = packet.pcr().filter(|_| pid == self.pcr_pid).and_then(|pcr| i64::try_from(pcr).ok());
        // On the clock of the output, in ticks of 27 MHz.
        let pcr = pcr.map(|pcr| self.pcr_clock.to_output_90k(Ticks::new(pcr / 300)) * 300 + pcr % 300);
        let mut is_replaced = false;
        if let Some(stream) = self.streams.iter_mut().rfind(|stream| stream.edit.input_pid == pid) {
            if stream.is_duplicate(packet) {
                return false;
            }
            let header = stream.start_pes(packet, writer, out);
            match stream.action {
                Some(Action::Copy) => {
                    if stream.edit.output_pid != writer.pcr_pid
                        && let Some(pcr) = pcr.filter(|pcr| *pcr < self.end_27m)
                    {
                        writer.insert_pcr(pcr, out);
                    }
                    stream.copy(packet, header, pcr, writer, out);
                    return false;
                }
                Some(Action::Trim) => stream.pes.extend_from_slice(packet.payload()),
                action => is_replaced = header.is_some() && action == Some(Action::Replace),
            }
        }
        if let Some(pcr) = pcr.filter(|pcr| *pcr < self.end_27m) {
            writer.insert_pcr(pcr, out);
        }
        is_replaced
    }
}

impl<'a> StreamRewriter<'a> {
    /// Whether the packet is a duplicate of the last one.
    fn is_duplicate(&mut self, packet: Packet<'a>) -> bool {
        self.last_packet.replace(packet).is_some_and(|last| packet.is_duplicate_of(last))
    }

    /// Sets the action if the packet starts a PES packet; returns the header of one with a PTS.
    fn start_pes(&mut self, packet: Packet<'_>, writer: &mut TsWriter, out: &mut Vec<u8>) -> Option<Header> {
        if !packet.starts_unit() {
            return None;
        }
        let Some(header) = Header::parse(packet.payload()) else {
            // A stream of sections has no PES packets: it is copied once the output has started.
            if self.units == 0 && self.edit.coding.is_none() {
                self.action = writer.has_started.then_some(Action::Copy);
            }
            return None;
        };
        header.pts?;
        let action = self.edit.actions.get(self.units).or(self.edit.actions.last()).copied();
        self.units += 1;
        let continued = matches!(action, Some(Action::Copy | Action::Trim));
        self.finish_trimmed(writer, continued, out);
        self.action = action;
        Some(header)
    }

    /// Copies a packet with new PID, continuity counter, PCR and timestamps. It keeps a PCR only on the PID for that.
    fn copy(
        &mut self,
        packet: Packet<'_>,
        header: Option<Header>,
        pcr: Option<i64>,
        writer: &mut TsWriter,
        out: &mut Vec<u8>,
    ) {
        writer.start(out);
        let mut bytes = *packet.bytes();
        let [p1, p0] = self.edit.output_pid.to_be_bytes();
        bytes[1] = bytes[1] & 0xE0 | p1 & 0x1F;
        bytes[2] = p0;
        bytes[3] = bytes[3] & 0xF0 | writer.next_counter(self.edit.output_pid, packet.has_payload());
        if packet.adaptation_field().is_some_and(|field| !field.is_empty()) {
            // Neither counters nor clock of the output are discontinuous: clear discontinuity_indicator.
            bytes[5] &= 0x7F;
        }
        match pcr {
            Some(pcr) if writer.pcr_pid == self.edit.output_pid => {
                bytes[PCR_OFFSET..PCR_OFFSET + 6].copy_from_slice(&write_pcr(writer.next_pcr(pcr)));
            }
            _ => remove_pcr(&mut bytes),
        }
        if let Some(header) = header {
            let start = PACKET_BYTES - packet.payload().len();
            let prefix = if header.dts.is_some() { 3 } else { 2 };
            self.write_timestamp(&mut bytes, start + PTS_OFFSET, header.pts, prefix);
            self.write_timestamp(&mut bytes, start + DTS_OFFSET, header.dts, 1);
        }
        out.extend_from_slice(&bytes);
    }

    fn write_timestamp(&self, bytes: &mut [u8], offset: usize, input: Option<Ticks>, prefix: u8) {
        if let Some((input, field)) = input.zip(bytes.get_mut(offset..offset + 5)) {
            field.copy_from_slice(&Ticks::new(self.edit.clock.to_output_90k(input)).write(prefix));
        }
    }

    /// Writes what is kept of a trimmed PES packet. If the next one is not dropped, a frame may be `continued` in it.
    fn finish_trimmed(&mut self, writer: &mut TsWriter, continued: bool, out: &mut Vec<u8>) {
        if self.pes.is_empty() {
            return;
        }
        let Some(mut pes) = Pes::parse(&std::mem::take(&mut self.pes)) else { return };
        let Edit { output_pid, coding, keep_90k, .. } = &self.edit;
        let mut pts_90k = self.edit.clock.to_output_90k(pes.pts);
        if let Some(coding) = coding {
            let keep = keep_90k.start.saturating_sub(pts_90k)..keep_90k.end.saturating_sub(pts_90k);
            let Some((bytes, kept)) = coding.trim(&pes.payload, &keep, continued) else { return };
            pes.payload = bytes.to_vec();
            writer.audio_ends_90k.insert(*output_pid, pts_90k + kept.end);
            pts_90k += kept.start;
        }
        pes.pts = Ticks::new(pts_90k);
        pes.dts = pes.pts;
        writer.insert(&pes, *output_pid, true, out);
    }
}

/// Removes the PCR from a packet. Its place becomes stuffing, so the length stays.
fn remove_pcr(packet: &mut [u8; PACKET_BYTES]) {
    let end = 5 + usize::from(packet[4]);
    let has_field = packet[3] & 0x20 != 0 && (PCR_OFFSET + 6..=PACKET_BYTES).contains(&end);
    if has_field && packet[5] & 0x10 != 0 {
        packet[5] &= !0x10;
        packet.copy_within(PCR_OFFSET + 6..end, PCR_OFFSET);
        packet[end - 6..end].fill(0xFF);
    }
}

#[cfg(test)]
mod tests;
