//! A transport stream that is written from several segments: its PAT and PMT, continuity counters and PCR.

use std::collections::BTreeMap;

use super::packet::{PACKET_BYTES, PID_COUNT, pcr_packet};
use super::pes::{Pes, write_pes};
use super::psi::{Pmt, write_pat, write_pmt};

/// The state of an output transport stream. It appends packets to a buffer of the caller.
#[derive(Debug, Clone)]
pub struct TsWriter {
    /// The packets of the PAT and the PMT.
    tables: Vec<u8>,
    /// The continuity counter of the last packet, by PID.
    counters: Vec<u8>,
    /// The PID that carries the PCR.
    pub(super) pcr_pid: u16,
    /// The last PCR in ticks of 27 MHz, which never goes back; before the first packet, the one to start with.
    pcr: Option<u64>,
    pub(super) has_started: bool,
    /// The end of the last trimmed audio, by PID.
    pub(super) audio_ends_90k: BTreeMap<u16, i64>,
}

impl TsWriter {
    /// A stream with this PMT, which is written before the first packet.
    pub fn new(pmt_pid: u16, pmt: &Pmt) -> Self {
        let mut tables = write_pat(pmt.program, pmt_pid);
        tables.extend(write_pmt(pmt_pid, pmt));
        Self {
            tables,
            counters: vec![0x0F; PID_COUNT],
            pcr_pid: pmt.pcr_pid,
            pcr: None,
            has_started: false,
            audio_ends_90k: BTreeMap::new(),
        }
    }

    /// The end of the last trimmed audio on an output PID, in ticks of the output.
    pub fn audio_end_90k(&self, pid: u16) -> Option<i64> {
        self.audio_ends_90k.get(&pid).copied()
    }

    /// Appends a PES packet, whose timestamps are those of the output. `random_access` sets the indicator.
    pub fn insert(&mut self, pes: &Pes, pid: u16, random_access: bool, out: &mut Vec<u8>) {
        self.start(out);
        if let Some(counter) = self.counters.get_mut(usize::from(pid)) {
            write_pes(pes, pid, counter, random_access, out);
        }
    }

    /// Writes the tables and the first PCR, if nothing has been written yet.
    pub(super) fn start(&mut self, out: &mut Vec<u8>) {
        if !self.has_started {
            self.has_started = true;
            self.write_tables(out);
            if let Some(pcr) = self.pcr {
                self.write_pcr_packet(pcr, out);
            }
        }
    }

    /// Writes the PAT and the PMT again, if the stream has started.
    pub(super) fn repeat_tables(&mut self, out: &mut Vec<u8>) {
        if self.has_started {
            self.write_tables(out);
        }
    }

    fn write_tables(&mut self, out: &mut Vec<u8>) {
        for packet in self.tables.chunks_exact_mut(PACKET_BYTES) {
            let pid = usize::from(u16::from_be_bytes([packet[1] & 0x1F, packet[2]]));
            self.counters[pid] = (self.counters[pid] + 1) & 0x0F;
            packet[3] = 0x10 | self.counters[pid];
            out.extend_from_slice(packet);
        }
    }

    /// The continuity counter of the next packet on `pid`; only packets with payload increment it (2.4.3.3).
    pub(super) fn next_counter(&mut self, pid: u16, has_payload: bool) -> u8 {
        let counter = &mut self.counters[usize::from(pid) % PID_COUNT];
        *counter = (*counter + u8::from(has_payload)) & 0x0F;
        *counter
    }

    /// The PCR to write for `pcr`, in ticks of 27 MHz of the output: `pcr`, or the lowest that does not go back.
    pub(super) fn next_pcr(&mut self, pcr: i64) -> u64 {
        let pcr = u64::try_from(pcr).unwrap_or(0);
        let next = self.pcr.filter(|_| self.has_started).map_or(pcr, |last| pcr.max(last + 1));
        self.pcr = Some(next);
        next
    }

    /// Writes a PCR in a packet of its own, if the stream has started. One that would go back is left out.
    pub(super) fn insert_pcr(&mut self, pcr: i64, out: &mut Vec<u8>) {
        let goes_back = self.pcr.is_some_and(|last| u64::try_from(pcr).unwrap_or(0) <= last);
        if self.has_started && goes_back {
            return;
        }
        let pcr = self.next_pcr(pcr);
        if self.has_started {
            self.write_pcr_packet(pcr, out);
        }
    }

    fn write_pcr_packet(&self, pcr: u64, out: &mut Vec<u8>) {
        let counter = self.counters.get(usize::from(self.pcr_pid)).copied().unwrap_or(0);
        out.extend(pcr_packet(self.pcr_pid, counter, pcr));
    }
}
