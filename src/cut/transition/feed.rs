//! What ffmpeg gets for a transition: both sides in one transport stream, at the same time.

use std::collections::BTreeMap;

use crate::cut::full::{self, SHIFT_90K};
use crate::cut::plan::Plan;
use crate::error::Result;
use crate::mpegts::packet::{PACKET_BYTES, Packet, packets};
use crate::mpegts::pes::Header;
use crate::mpegts::probe::Program;
use crate::mpegts::psi::{Pmt, write_pat, write_pmt};

/// The PID of the PMT of what ffmpeg gets.
const PMT_PID: u16 = 0x20;
/// The first PID of the streams of each side.
const FIRST_PIDS: [u16; 2] = [0x100, 0x200];

/// The PID that ffmpeg gets a stream of a side with; `None` if that side has nothing of it. `side` is 0 before the transition and
/// 1 behind.
pub(super) fn input_pid(side: usize, plan: &Plan, pid: u16) -> Option<u16> {
    let position = plan.program.streams.iter().position(|stream| stream.pid == pid)?;
    Some(FIRST_PIDS[side] + u16::try_from(position).ok()?)
}

/// A transport stream with both sides of a transition, each of which begins at [`SHIFT_90K`]. They are interleaved by the time
/// of decoding, so that ffmpeg need not hold the pictures of one side until those of the other come.
pub(super) fn interleaved(sides: [&Plan; 2]) -> Result<Vec<u8>> {
    let streams = sides.map(|plan| {
        let mut bytes = Vec::new();
        let shift_90k = SHIFT_90K - plan.start_90k;
        full::feed(vec![plan.clone().shifted(shift_90k)], &mut bytes).map(|()| bytes)
    });
    let [from, to] = streams;
    let streams = [from?, to?];
    let mut runs: Vec<(i64, &[u8], usize)> = Vec::new();
    for (side, bytes) in streams.iter().enumerate() {
        runs.extend(by_time(bytes, &sides[side].program).map(|(time, run)| (time, run, side)));
    }
    runs.sort_by_key(|(time, ..)| *time);
    let pids = [0, 1].map(|side| pids(side, sides[side]));
    let mut out = tables(sides, &pids);
    for (_, run, side) in runs {
        for (_, packet) in packets(run) {
            out.extend(pids[side].get(&packet.pid()).map(|pid| with_pid(packet, *pid)).into_iter().flatten());
        }
    }
    Ok(out)
}

/// The PIDs of the streams of a side, and those that ffmpeg gets them with.
fn pids(side: usize, plan: &Plan) -> BTreeMap<u16, u16> {
    let streams = plan.program.streams.iter();
    streams.filter_map(|stream| Some((stream.pid, input_pid(side, plan, stream.pid)?))).collect()
}

/// The tables of a program with the streams of both sides.
fn tables(sides: [&Plan; 2], pids: &[BTreeMap<u16, u16>; 2]) -> Vec<u8> {
    let mut streams = Vec::new();
    for (plan, pids) in sides.iter().zip(pids) {
        streams.extend(plan.program.pmt.streams.iter().filter_map(|listed| {
            let mut listed = listed.clone();
            listed.pid = *pids.get(&listed.pid)?;
            Some(listed)
        }));
    }
    let pmt = Pmt { program: 1, pcr_pid: FIRST_PIDS[0], descriptors: Vec::new(), streams };
    let mut tables = write_pat(pmt.program, PMT_PID);
    tables.extend(write_pmt(PMT_PID, &pmt));
    tables
}

/// The parts of a transport stream that begin with a picture each, and when that is decoded.
fn by_time<'a>(bytes: &'a [u8], program: &Program) -> impl Iterator<Item = (i64, &'a [u8])> {
    let video = program.streams.iter().find(|stream| stream.codec.is_video()).map(|stream| stream.pid);
    let mut starts = vec![(0, i64::MIN)];
    for (offset, packet) in packets(bytes) {
        let header = || Header::parse(packet.payload()).filter(|_| packet.starts_unit());
        let header = if Some(packet.pid()) == video { header() } else { None };
        let time = header.and_then(|header| header.dts.or(header.pts));
        // Times are far from zero and from the wrap of the clock.
        starts.extend(time.map(|time| (offset, time.get())));
    }
    let ends: Vec<usize> = starts.iter().skip(1).map(|start| start.0).chain([bytes.len()]).collect();
    starts.into_iter().zip(ends).map(|((start, time), end)| (time, &bytes[start..end]))
}

/// The same packet on another PID.
fn with_pid(packet: Packet<'_>, pid: u16) -> [u8; PACKET_BYTES] {
    let mut bytes = *packet.bytes();
    let [high, low] = pid.to_be_bytes();
    bytes[1] = bytes[1] & 0xE0 | high & 0x1F;
    bytes[2] = low;
    bytes
}
