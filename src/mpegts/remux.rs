//! PES packets taken apart and put together again, where rewriting in place is not enough.

use super::audio::Coding;
use super::packet::{PACKET_BYTES, Packet, SYNC, packets, write_pcr};
use super::pes::{Header, Ticks};

/// The payload of a packet without an adaptation field.
const FULL_PAYLOAD: usize = PACKET_BYTES - 4;

/// A PES packet to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pes {
    /// What kind of stream it is.
    pub stream_id: u8,
    /// When it is shown.
    pub pts: Ticks,
    /// When it is decoded.
    pub dts: Ticks,
    /// The elementary stream's bytes.
    pub payload: Vec<u8>,
}

/// Appends the packets of `pes` on `pid`, and counts `continuity` on.
pub fn write_pes(pes: &Pes, pid: u16, continuity: &mut u8, random_access: bool, out: &mut Vec<u8>) {
    let unit = pes_bytes(pes);
    let [p1, p0] = pid.to_be_bytes();
    let mut rest = &unit[..];
    let mut first = true;
    while !rest.is_empty() {
        *continuity = (*continuity + 1) & 0x0F;
        let flagged = first && random_access;
        let room = if flagged { FULL_PAYLOAD - 2 } else { FULL_PAYLOAD };
        let (now, later) = rest.split_at(rest.len().min(room));
        let start = if first { 0x40 } else { 0 };
        let filling = FULL_PAYLOAD - now.len();
        let adaptation = if filling > 0 { 0x20 } else { 0 };
        out.extend([SYNC, start | p1 & 0x1F, p0, 0x10 | adaptation | *continuity]);
        if filling > 0 {
            out.push(u8::try_from(filling - 1).unwrap_or(0));
        }
        if filling > 1 {
            out.push(if flagged { 0x40 } else { 0 });
            out.resize(out.len() + filling - 2, 0xFF);
        }
        out.extend(now);
        (rest, first) = (later, false);
    }
}

fn pes_bytes(pes: &Pes) -> Vec<u8> {
    let with_dts = pes.dts != pes.pts;
    let stamps = if with_dts { 10 } else { 5 };
    let length = u16::try_from(pes.payload.len() + 3 + usize::from(stamps)).unwrap_or(0);
    // Only video may leave its length open; what is too long for the field is left open all the same.
    let length = if pes.stream_id & 0xF0 == 0xE0 { 0 } else { length };
    let mut unit = vec![0, 0, 1, pes.stream_id];
    unit.extend(length.to_be_bytes());
    unit.extend([0x84, if with_dts { 0xC0 } else { 0x80 }, stamps]);
    if with_dts {
        unit.extend(pes.pts.write(3));
        unit.extend(pes.dts.write(1));
    } else {
        unit.extend(pes.pts.write(2));
    }
    unit.extend(&pes.payload);
    unit
}

/// A packet that carries a clock reference and nothing else; such packets do not count the continuity on.
pub fn pcr_packet(pid: u16, continuity: u8, pcr: u64) -> [u8; PACKET_BYTES] {
    let [p1, p0] = pid.to_be_bytes();
    let mut packet = [0xFF; PACKET_BYTES];
    packet[..6].copy_from_slice(&[SYNC, p1 & 0x1F, p0, 0x20 | continuity, 183, 0x10]);
    packet[6..12].copy_from_slice(&write_pcr(pcr));
    packet
}

/// Sound that a trim keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trimmed<'a> {
    /// How far behind the unit's time stamp the first frame starts that is kept, in ticks.
    pub from_90k: i64,
    /// How far behind the unit's time stamp the last frame ends that is kept, in ticks.
    pub to_90k: i64,
    /// The frames.
    pub bytes: &'a [u8],
}

/// Keeps of the frames in `payload` those that start in `keep`, ticks behind the unit's time stamp.
///
/// A frame that goes on in the next unit stays only if `open`. `None` where nothing is left.
pub fn trim(coding: Coding, payload: &[u8], keep: std::ops::Range<i64>, open: bool) -> Option<Trimmed<'_>> {
    let (mut at, _) = coding.find(payload)?;
    let mut samples: i64 = 0;
    let mut kept: Option<(usize, i64)> = None;
    let mut end = (0, 0);
    while let Some(frame) = payload.get(at..).and_then(|rest| coding.frame(rest)) {
        let rate = i64::from(frame.sample_rate.max(1));
        let ticks = |samples: i64| (samples * 90_000 + rate / 2) / rate;
        let next = at + frame.bytes;
        let here = ticks(samples);
        samples += i64::from(frame.samples);
        if keep.contains(&here) && (next <= payload.len() || open) {
            kept.get_or_insert((at, here));
            end = (next.min(payload.len()), ticks(samples));
        }
        at = next;
    }
    let (start, from_90k) = kept?;
    Some(Trimmed { from_90k, to_90k: end.1, bytes: payload.get(start..end.0)? })
}

/// Gathers the PES packets of one PID from a stream that arrives bit by bit.
#[derive(Debug, Default)]
pub struct Assembler {
    /// Bytes that are not a whole packet yet.
    rest: Vec<u8>,
    /// The unit that is being gathered.
    unit: Vec<u8>,
}

impl Assembler {
    /// Takes the next bytes; every unit on `pid` that they complete is handed to `done`.
    pub fn push(&mut self, bytes: &[u8], pid: u16, mut done: impl FnMut(Pes)) {
        self.rest.extend_from_slice(bytes);
        let whole = self.rest.len() / PACKET_BYTES * PACKET_BYTES;
        for (_, packet) in packets(&self.rest[..whole]) {
            if packet.pid() == pid
                && let Some(pes) = take_packet(&mut self.unit, packet)
            {
                done(pes);
            }
        }
        self.rest.drain(..whole);
    }

    /// The last unit, once the stream has ended.
    pub fn finish(self) -> Option<Pes> {
        read_pes(&self.unit)
    }
}

/// Adds a packet to the unit that is being gathered; returns the one before if the packet starts another.
fn take_packet(unit: &mut Vec<u8>, packet: Packet<'_>) -> Option<Pes> {
    let done = if packet.starts_unit() { read_pes(unit) } else { None };
    if packet.starts_unit() {
        unit.clear();
    }
    unit.extend_from_slice(packet.payload());
    done
}

/// A PES packet from all its bytes; `None` if it has no time stamp.
pub fn read_pes(unit: &[u8]) -> Option<Pes> {
    let header = Header::parse(unit)?;
    let pts = header.pts?;
    let end = header.total.unwrap_or(unit.len()).min(unit.len());
    let payload = unit.get(header.len..end)?.to_vec();
    Some(Pes { stream_id: header.stream_id, pts, dts: header.dts.unwrap_or(pts), payload })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_of_any_length_read_as_they_were_written() {
        for len in (0..600).chain([70_000]) {
            for (stream_id, delay, flag) in [(0xE0, 0, true), (0xE0, 3000, false), (0xC0, 0, false)] {
                let pts = Ticks::new(90_000);
                let payload = (0..len).map(|byte| u8::try_from(byte % 251).unwrap_or(0)).collect();
                let pes = Pes { stream_id, pts, dts: pts.plus(-delay), payload };
                let (mut out, mut continuity) = (Vec::new(), 14);
                write_pes(&pes, 0x123, &mut continuity, flag, &mut out);
                assert_eq!(out.len() % PACKET_BYTES, 0);
                assert_eq!(packets(&out).count(), out.len() / PACKET_BYTES);
                let mut assembler = Assembler::default();
                for chunk in out.chunks(100) {
                    assembler.push(chunk, 0x123, |_| panic!("there is one unit only"));
                }
                assert_eq!(assembler.finish(), Some(pes), "{len}");
                let first = packets(&out).next().expect("a packet").1;
                assert_eq!((first.continuity_counter(), first.random_access()), (15, flag));
            }
        }
    }

    #[test]
    fn a_clock_packet_has_a_clock_and_no_payload() {
        let bytes = pcr_packet(0x100, 5, 27_000_123);
        let packet = Packet::new(&bytes).expect("a packet");
        assert_eq!(
            (packet.pcr(), packet.has_payload(), packet.continuity_counter()),
            (Some(27_000_123), false, 5)
        );
    }

    #[test]
    fn sound_is_cut_between_frames() {
        let frame = [0xFF, 0xF1, 0x4C, 0x80, 0x01, 0x7F, 0xFC, 1, 2, 3, 4];
        let payload = [&frame[5..], &frame, &frame, &frame, &frame[..8]].concat();
        let keep = |range, open| {
            trim(Coding::Adts, &payload, range, open)
                .map(|kept| (kept.from_90k, kept.to_90k, kept.bytes.len()))
        };
        assert_eq!(keep(0..100_000, false), Some((0, 5760, 33)));
        assert_eq!(keep(0..100_000, true), Some((0, 7680, 41)));
        assert_eq!(keep(1..1921, false), Some((1920, 3840, 11)));
        assert_eq!(keep(9000..10_000, true), None);
    }
}
