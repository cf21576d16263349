//! PES packets' headers, and the 90 kHz clock their time stamps tell (ISO/IEC 13818-1, 2.4.3.6).

use super::packet::{PACKET_BYTES, Packet, SYNC, packets};

/// Bits of the clock: it wraps every 26.5 hours.
const CLOCK_BITS: u32 = 33;
/// Where the clock starts anew.
const WRAP: i64 = 1 << CLOCK_BITS;
/// Ticks in a second.
pub const TICKS_PER_SECOND: i64 = 90_000;

/// An instant on a 90 kHz clock of 33 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticks(i64);

impl Ticks {
    /// The instant `ticks` after the clock's zero, modulo 2^33.
    pub const fn new(ticks: i64) -> Self {
        Self(ticks.rem_euclid(WRAP))
    }

    /// The value of the clock, from 0 to 2^33 - 1.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// How far this lies after `other` the shorter way round, from -2^32 to 2^32 - 1.
    pub const fn since(self, other: Self) -> i64 {
        (self.0 - other.0 + WRAP / 2).rem_euclid(WRAP) - WRAP / 2
    }

    /// The instant `ticks` later, or earlier where that is negative.
    #[must_use]
    pub const fn plus(self, ticks: i64) -> Self {
        Self::new(self.0 + ticks % WRAP)
    }

    /// Reads a time stamp from its five bytes, whatever their marker bits.
    fn read(bytes: [u8; 5]) -> Self {
        let [b0, b1, b2, b3, b4] = bytes.map(i64::from);
        Self((b0 >> 1 & 7) << 30 | b1 << 22 | (b2 >> 1) << 15 | b3 << 7 | b4 >> 1)
    }

    /// The five bytes of a time stamp, with `prefix` (2, 3 or 1) in the first four bits.
    pub fn write(self, prefix: u8) -> [u8; 5] {
        let byte = |shift: u32, mask: i64| u8::try_from(self.0 >> shift & mask).unwrap_or(0);
        [
            prefix << 4 | byte(30, 7) << 1 | 1,
            byte(22, 0xFF),
            byte(15, 0x7F) << 1 | 1,
            byte(7, 0xFF),
            byte(0, 0x7F) << 1 | 1,
        ]
    }
}

/// What the header of a PES packet says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What kind of stream it is: 0xE0 to 0xEF is video, 0xC0 to 0xDF sound, 0xBD private.
    pub stream_id: u8,
    /// When it is shown.
    pub pts: Option<Ticks>,
    /// When it is decoded, if the header says so; else that is when it is shown.
    pub dts: Option<Ticks>,
    /// How many bytes the header takes; the elementary stream's bytes follow.
    pub len: usize,
    /// How many bytes the whole PES packet takes, if the header says so.
    pub total: Option<usize>,
}

impl Header {
    /// Reads the header at the start of `bytes`, the payload of a packet that starts a unit.
    ///
    /// `None` where there is none. A header that goes on beyond `bytes` has only the stamps that lie within them.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let [0, 0, 1, stream_id, l1, l0, rest @ ..] = bytes else { return None };
        let length = usize::from(u16::from_be_bytes([*l1, *l0]));
        let total = (length > 0).then_some(length + 6);
        let plain = Self { stream_id: *stream_id, pts: None, dts: None, len: 6, total };
        if !has_extension(*stream_id) {
            return Some(plain);
        }
        let [marks, flags, header_length, ..] = rest else { return None };
        if marks & 0xC0 != 0x80 {
            return None;
        }
        let stamp = |at: usize| bytes.get(at..at + 5)?.try_into().ok().map(Ticks::read);
        let pts = if flags & 0x80 != 0 { stamp(PTS_AT) } else { None };
        let dts = if flags & 0xC0 == 0xC0 { stamp(DTS_AT) } else { None };
        Some(Self { pts, dts, len: 9 + usize::from(*header_length), ..plain })
    }

    /// When it is decoded.
    pub fn decode_time(&self) -> Option<Ticks> {
        self.dts.or(self.pts)
    }
}

/// Where in a PES packet the PTS stands.
pub const PTS_AT: usize = 9;
/// Where in a PES packet the DTS stands.
pub const DTS_AT: usize = 14;

/// Whether PES packets of this stream have flags, stamps and a header length (table 2-21).
fn has_extension(stream_id: u8) -> bool {
    !matches!(stream_id, 0xBC | 0xBE | 0xBF | 0xF0 | 0xF1 | 0xF2 | 0xF8 | 0xFF)
}

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
    fn time_stamps_read_as_they_were_written() {
        for ticks in [0, 1, 0x7F, 0x80, 0x7FFF, 0x8000, 126_000, 1 << 30, WRAP - 1] {
            assert_eq!(Ticks::read(Ticks::new(ticks).write(2)), Ticks(ticks));
        }
        assert_eq!(Ticks::new(126_000).write(2), [0x21, 0x00, 0x07, 0xD8, 0x61]);
    }

    #[test]
    fn distances_on_the_clock_take_the_shorter_way() {
        let (before, after) = (Ticks::new(WRAP - 10), Ticks::new(20));
        assert_eq!((after.since(before), before.since(after)), (30, -30));
        assert_eq!((before.plus(30), after.plus(-30)), (after, before));
        assert_eq!(after.plus(i64::MIN).since(after), 0);
    }

    #[test]
    fn headers_tell_stamps_and_lengths() {
        let mut bytes = vec![0, 0, 1, 0xE0, 0, 0, 0x80, 0xC0, 10];
        bytes.extend(Ticks::new(900).write(3));
        bytes.extend(Ticks::new(600).write(1));
        let header = Header::parse(&bytes).expect("a header");
        assert_eq!((header.pts, header.dts), (Some(Ticks(900)), Some(Ticks(600))));
        assert_eq!((header.len, header.total, header.decode_time()), (19, None, Some(Ticks(600))));
        let cut = Header::parse(&bytes[..16]).expect("a header");
        assert_eq!((cut.pts, cut.dts, cut.len), (Some(Ticks(900)), None, 19));
        assert_eq!(Header::parse(&[0, 0, 1, 0xBE, 0, 4, 0, 0, 0, 0]).map(|header| header.len), Some(6));
        assert_eq!(Header::parse(&[0, 0, 2, 0xE0, 0, 0, 0x80, 0, 0]), None);
        assert_eq!(Header::parse(&[0, 0, 1, 0xE0, 0, 0, 0x80]), None);
    }

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
}
