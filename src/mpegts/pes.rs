//! PES packets' headers, and the 90 kHz clock their time stamps tell (ISO/IEC 13818-1, 2.4.3.6).

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
}
