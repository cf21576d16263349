//! A transport stream in the making.

use super::packet::{PACKET_BYTES, pcr_packet};
use super::pes::{Pes, write_pes};
use super::psi::{Pmt, write_pat, write_pmt};

/// A transport stream in the making.
#[derive(Debug, Clone)]
pub struct TsWriter {
    tables: Vec<u8>,
    pub(super) counters: Vec<u8>,
    pub(super) pcr_pid: u16,
    /// The last clock reference written, or that would have been had the stream begun.
    pcr: Option<i64>,
    pub(super) started: bool,
    /// Where the last trimmed sound of each PID ended.
    pub(super) ends: Vec<(u16, i64)>,
}

impl TsWriter {
    /// A stream with this program map.
    pub fn new(pmt_pid: u16, pmt: &Pmt) -> Self {
        let mut tables = write_pat(pmt.program, pmt_pid);
        tables.extend(write_pmt(pmt_pid, pmt));
        Self {
            tables,
            counters: vec![0x0F; 1 << 13],
            pcr_pid: pmt.pcr_pid,
            pcr: None,
            started: false,
            ends: Vec::new(),
        }
    }

    /// Where the last trimmed sound on a PID of the output ended, in ticks.
    pub fn audio_end_90k(&self, pid: u16) -> Option<i64> {
        self.ends.iter().rev().find(|end| end.0 == pid).map(|end| end.1)
    }

    /// Puts a unit in, with its stamps on the output's clock.
    pub fn insert(&mut self, pes: &Pes, pid: u16, random_access: bool, out: &mut Vec<u8>) {
        self.start(out);
        if let Some(counter) = self.counters.get_mut(usize::from(pid)) {
            write_pes(pes, pid, counter, random_access, out);
        }
    }

    /// Begins the stream with its tables and clock, if it has not begun.
    pub(super) fn start(&mut self, out: &mut Vec<u8>) {
        if !self.started {
            self.started = true;
            self.write_tables(out);
            if let Some(pcr) = self.pcr {
                self.write_clock(pcr, out);
            }
        }
    }

    pub(super) fn write_tables(&mut self, out: &mut Vec<u8>) {
        for packet in self.tables.chunks_exact_mut(PACKET_BYTES) {
            let pid = usize::from(u16::from_be_bytes([packet[1] & 0x1F, packet[2]]));
            self.counters[pid] = (self.counters[pid] + 1) & 0x0F;
            packet[3] = 0x10 | self.counters[pid];
            out.extend_from_slice(packet);
        }
    }

    pub(super) fn write_clock(&mut self, pcr: i64, out: &mut Vec<u8>) {
        let counter = self.counters.get(usize::from(self.pcr_pid)).copied().unwrap_or(0);
        out.extend(pcr_packet(self.pcr_pid, counter, wrapped(pcr)));
    }

    /// The clock reference to write for `pcr`, ticks of 27 MHz in the output: never one that goes back.
    pub(super) fn next_pcr(&mut self, pcr: i64) -> i64 {
        let next = self.pcr.filter(|_| self.started).map_or(pcr, |last| pcr.max(last + 1)).max(0);
        self.pcr = Some(next);
        next
    }
}

/// A clock reference as it is written.
pub(super) fn wrapped(pcr: i64) -> u64 {
    u64::try_from(pcr.rem_euclid(300 << 33)).unwrap_or(0)
}
