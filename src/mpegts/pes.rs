//! PES packets (ISO/IEC 13818-1, 2.4.3.6): their 33-bit timestamps and headers, and whole packets, parsed and written.

use super::packet::{PACKET_BYTES, SYNC, packets};

/// The modulus of timestamps: they wrap at 33 bits, every 26.5 hours.
const WRAP: i64 = 1 << 33;
/// Ticks of the 90 kHz clock in a second.
pub const TICKS_PER_SECOND: i64 = 90_000;

/// Microseconds in ticks of 90 kHz.
pub const fn to_us(ticks_90k: i64) -> i64 {
    (ticks_90k * 100).div_euclid(9)
}

/// A timestamp (PTS, DTS or the base of a PCR): 33 bits in ticks of 90 kHz.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticks(i64);

impl Ticks {
    /// The timestamp `ticks` modulo 2^33.
    pub const fn new(ticks: i64) -> Self {
        Self(ticks.rem_euclid(WRAP))
    }

    /// The value, from 0 to 2^33 - 1.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The difference `self - other` in ticks across the wrap, from -2^32 to 2^32 - 1.
    pub const fn since(self, other: Self) -> i64 {
        (self.0 - other.0 + WRAP / 2).rem_euclid(WRAP) - WRAP / 2
    }

    /// The timestamp `ticks` later, or earlier if that is negative.
    #[must_use]
    pub const fn plus(self, ticks: i64) -> Self {
        Self::new(self.0 + ticks % WRAP)
    }

    /// Parses the five bytes of a timestamp; marker bits are not checked.
    fn read(bytes: [u8; 5]) -> Self {
        let [b0, b1, b2, b3, b4] = bytes.map(i64::from);
        Self((b0 >> 1 & 7) << 30 | b1 << 22 | (b2 >> 1) << 15 | b3 << 7 | b4 >> 1)
    }

    /// The five bytes of the timestamp. `prefix` goes into the first four bits: 2 for a lone PTS, 3 for a PTS before a
    /// DTS, 1 for a DTS.
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

/// The header of a PES packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// `stream_id`: 0xE0 to 0xEF is video, 0xC0 to 0xDF is audio, 0xBD is private.
    pub stream_id: u8,
    /// The presentation timestamp (PTS).
    pub pts: Option<Ticks>,
    /// The decoding timestamp (DTS); a header leaves it out where it equals the PTS.
    pub dts: Option<Ticks>,
    /// The length of the header in bytes; data of the elementary stream follow.
    pub len: usize,
    /// The length of the whole PES packet in bytes; `None` where the header leaves it open.
    pub packet_len: Option<usize>,
}

/// The offset of the PTS in a PES packet, in bytes.
pub(super) const PTS_OFFSET: usize = 9;
/// The offset of the DTS in a PES packet, in bytes.
pub(super) const DTS_OFFSET: usize = 14;

impl Header {
    /// Parses the header at the start of `bytes`, the payload of a transport packet that starts a unit.
    ///
    /// `None` if there is no header. A header longer than `bytes` yields the timestamps that lie within them.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let [0, 0, 1, stream_id, l1, l0, rest @ ..] = bytes else { return None };
        let length = usize::from(u16::from_be_bytes([*l1, *l0]));
        let packet_len = (length > 0).then_some(length + 6);
        let short = Self { stream_id: *stream_id, pts: None, dts: None, len: 6, packet_len };
        // Headers of these streams have neither flags nor timestamps (table 2-21).
        if matches!(stream_id, 0xBC | 0xBE | 0xBF | 0xF0 | 0xF1 | 0xF2 | 0xF8 | 0xFF) {
            return Some(short);
        }
        let [marker, flags, header_length, ..] = rest else { return None };
        if marker & 0xC0 != 0x80 {
            return None;
        }
        let timestamp = |offset: usize| bytes.get(offset..offset + 5)?.try_into().ok().map(Ticks::read);
        let pts = if flags & 0x80 != 0 { timestamp(PTS_OFFSET) } else { None };
        let dts = if flags & 0xC0 == 0xC0 { timestamp(DTS_OFFSET) } else { None };
        Some(Self { pts, dts, len: 9 + usize::from(*header_length), ..short })
    }

    /// Whether `bytes` are the start of a header, but too short for [`Self::parse`].
    pub(super) fn is_cut_short(bytes: &[u8]) -> bool {
        let start = &bytes[..bytes.len().min(3)];
        (1..PTS_OFFSET).contains(&bytes.len()) && [0, 0, 1].starts_with(start)
    }
}

/// A whole PES packet with a PTS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pes {
    /// `stream_id`; see [`Header::stream_id`].
    pub stream_id: u8,
    /// The presentation timestamp.
    pub pts: Ticks,
    /// The decoding timestamp; the PTS where the header has none.
    pub dts: Ticks,
    /// The data of the elementary stream.
    pub payload: Vec<u8>,
}

impl Pes {
    /// Parses all bytes of a PES packet; `None` if it has no header or no PTS.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let header = Header::parse(bytes)?;
        let pts = header.pts?;
        let end = header.packet_len.unwrap_or(bytes.len()).min(bytes.len());
        let payload = bytes.get(header.len..end)?.to_vec();
        Some(Self { stream_id: header.stream_id, pts, dts: header.dts.unwrap_or(pts), payload })
    }

    fn to_bytes(&self) -> Vec<u8> {
        let with_dts = self.dts != self.pts;
        let timestamps = if with_dts { 10 } else { 5 };
        // Video always leaves the length open, and so does what is too long for the field.
        let length = u16::try_from(self.payload.len() + 3 + usize::from(timestamps)).unwrap_or(0);
        let length = if self.stream_id & 0xF0 == 0xE0 { 0 } else { length };
        let mut bytes = vec![0, 0, 1, self.stream_id];
        bytes.extend(length.to_be_bytes());
        bytes.extend([0x84, if with_dts { 0xC0 } else { 0x80 }, timestamps]);
        bytes.extend(self.pts.write(if with_dts { 3 } else { 2 }));
        if with_dts {
            bytes.extend(self.dts.write(1));
        }
        bytes.extend(&self.payload);
        bytes
    }
}

/// Appends `pes` to `out` as transport packets on `pid`.
///
/// `counter` is the continuity counter of the PID's last packet and is incremented for each packet. `random_access` sets
/// the indicator in the first packet.
pub fn write_pes(pes: &Pes, pid: u16, counter: &mut u8, random_access: bool, out: &mut Vec<u8>) {
    const MAX_PAYLOAD: usize = PACKET_BYTES - 4;
    let bytes = pes.to_bytes();
    let [p1, p0] = pid.to_be_bytes();
    let mut rest = &bytes[..];
    let mut first = true;
    while !rest.is_empty() {
        *counter = (*counter + 1) & 0x0F;
        let flagged = first && random_access;
        let room = if flagged { MAX_PAYLOAD - 2 } else { MAX_PAYLOAD };
        let (payload, later) = rest.split_at(rest.len().min(room));
        let start = if first { 0x40 } else { 0 };
        // The adaptation field, with its length byte, fills the packet up.
        let field = MAX_PAYLOAD - payload.len();
        let control = if field > 0 { 0x30 } else { 0x10 };
        out.extend([SYNC, start | p1 & 0x1F, p0, control | *counter]);
        if field > 0 {
            out.push(u8::try_from(field - 1).unwrap_or(0));
        }
        if field > 1 {
            out.push(if flagged { 0x40 } else { 0 });
            out.resize(out.len() + field - 2, 0xFF);
        }
        out.extend(payload);
        (rest, first) = (later, false);
    }
}

/// Assembles the PES packets of one PID from a transport stream that arrives in pieces.
#[derive(Debug, Default)]
pub struct Assembler {
    /// Bytes behind the last whole transport packet.
    rest: Vec<u8>,
    /// The bytes so far of the current PES packet.
    pes: Vec<u8>,
}

impl Assembler {
    /// Takes the next bytes of the stream and passes every PES packet on `pid` that they complete to `on_pes`. PES
    /// packets without a PTS are dropped.
    pub fn push(&mut self, bytes: &[u8], pid: u16, mut on_pes: impl FnMut(Pes)) {
        self.rest.extend_from_slice(bytes);
        let whole = self.rest.len() / PACKET_BYTES * PACKET_BYTES;
        for (_, packet) in packets(&self.rest[..whole]).filter(|(_, packet)| packet.pid() == pid) {
            if packet.starts_unit() {
                Pes::parse(&self.pes).into_iter().for_each(&mut on_pes);
                self.pes.clear();
            }
            self.pes.extend_from_slice(packet.payload());
        }
        self.rest.drain(..whole);
    }

    /// The last PES packet, once the stream has ended.
    pub fn finish(self) -> Option<Pes> {
        Pes::parse(&self.pes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_timestamps_parse_to_the_same_value() {
        for ticks in [0, 1, 0x7F, 0x80, 0x7FFF, 0x8000, 126_000, 1 << 30, WRAP - 1] {
            assert_eq!(Ticks::read(Ticks::new(ticks).write(2)), Ticks(ticks));
        }
        assert_eq!(Ticks::new(126_000).write(2), [0x21, 0x00, 0x07, 0xD8, 0x61]);
    }

    #[test]
    fn differences_across_the_33_bit_wrap_are_the_shorter_ones() {
        let (before, after) = (Ticks::new(WRAP - 10), Ticks::new(20));
        assert_eq!((after.since(before), before.since(after)), (30, -30));
        assert_eq!((before.plus(30), after.plus(-30)), (after, before));
        assert_eq!(after.plus(i64::MIN).since(after), 0);
    }

    #[test]
    fn headers_are_parsed_to_timestamps_and_lengths() {
        let mut bytes = vec![0, 0, 1, 0xE0, 0, 0, 0x80, 0xC0, 10];
        bytes.extend(Ticks::new(900).write(3));
        bytes.extend(Ticks::new(600).write(1));
        let header = Header::parse(&bytes).expect("a header");
        assert_eq!((header.pts, header.dts), (Some(Ticks(900)), Some(Ticks(600))));
        assert_eq!((header.len, header.packet_len), (19, None));
        let truncated = Header::parse(&bytes[..16]).expect("a header");
        assert_eq!((truncated.pts, truncated.dts, truncated.len), (Some(Ticks(900)), None, 19));
        assert_eq!(Header::parse(&[0, 0, 1, 0xBE, 0, 4, 0, 0, 0, 0]).map(|header| header.len), Some(6));
        assert_eq!(Header::parse(&[0, 0, 2, 0xE0, 0, 0, 0x80, 0, 0]), None);
        assert_eq!(Header::parse(&[0, 0, 1, 0xE0, 0, 0, 0x80]), None);
    }

    #[test]
    fn written_pes_packets_of_any_length_parse_to_the_same_value() {
        for len in (0..600).chain([70_000]) {
            for (stream_id, delay, flag) in [(0xE0, 0, true), (0xE0, 3000, false), (0xC0, 0, false)] {
                let pts = Ticks::new(90_000);
                let payload = (0..len).map(|byte| u8::try_from(byte % 251).unwrap_or(0)).collect();
                let pes = Pes { stream_id, pts, dts: pts.plus(-delay), payload };
                let (mut out, mut counter) = (Vec::new(), 14);
                write_pes(&pes, 0x123, &mut counter, flag, &mut out);
                assert_eq!(out.len() % PACKET_BYTES, 0);
                assert_eq!(packets(&out).count(), out.len() / PACKET_BYTES);
                let mut assembler = Assembler::default();
                for chunk in out.chunks(100) {
                    assembler.push(chunk, 0x123, |_| panic!("there is only one PES packet"));
                }
                assert_eq!(assembler.finish(), Some(pes), "{len}");
                let first = packets(&out).next().expect("a packet").1;
                let is_flagged = first
                    .adaptation_field()
                    .is_some_and(|field| field.first().is_some_and(|flags| flags & 0x40 != 0));
                assert_eq!((first.continuity_counter(), is_flagged), (15, flag));
            }
        }
    }
}
