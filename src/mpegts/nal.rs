//! NAL units of H.264 and H.265: their start codes in a byte stream (annex B of both), emulation prevention bytes, and bit
//! fields with Exp-Golomb codes (ITU-T H.264, 7.2 and 9.1; the same in H.265, 7.2 and 9.2).

use memchr::memmem;

/// The start code of a NAL unit, which a zero byte may precede.
const START_CODE: &[u8] = &[0, 0, 1];

/// Reads bits, most significant first; every method returns `None` at the end.
#[derive(Debug, Clone)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// How many bits were read.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// One bit: `u(1)`.
    pub(super) fn flag(&mut self) -> Option<bool> {
        let byte = self.bytes.get(self.position / 8)?;
        let bit = byte >> (7 - self.position % 8) & 1;
        self.position += 1;
        Some(bit == 1)
    }

    /// A number of `count` bits, at most 32: `u(n)`.
    pub(super) fn take(&mut self, count: u32) -> Option<u32> {
        (0..count).try_fold(0_u32, |value, _| Some(value << 1 | u32::from(self.flag()?)))
    }

    /// Skips `count` bits.
    pub(super) fn skip(&mut self, count: usize) -> Option<()> {
        self.position = self.position.checked_add(count)?;
        (self.position <= self.bytes.len() * 8).then_some(())
    }

    /// An unsigned Exp-Golomb code: `ue(v)`.
    pub(super) fn ue(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some((1_u32 << zeros) - 1 + self.take(zeros)?)
    }

    /// A signed Exp-Golomb code: `se(v)`.
    pub(super) fn se(&mut self) -> Option<i32> {
        let code = self.ue()?;
        let half = i32::try_from(code.div_ceil(2)).ok()?;
        Some(if code % 2 == 1 { half } else { -half })
    }

    /// Skips `count` unsigned Exp-Golomb codes.
    pub(super) fn skip_ue(&mut self, count: u32) -> Option<()> {
        (0..count).try_for_each(|_| self.ue().map(drop))
    }
}

/// The first 1024 bytes of a NAL unit, without emulation prevention bytes.
pub fn unescape(nal: &[u8]) -> Vec<u8> {
    unescape_whole(&nal[..nal.len().min(1024)])
}

/// A NAL unit without emulation prevention bytes.
pub(super) fn unescape_whole(nal: &[u8]) -> Vec<u8> {
    let mut rest = nal;
    let mut rbsp = Vec::with_capacity(rest.len());
    while let Some(zeros) = memmem::find(rest, &[0, 0, 3]) {
        rbsp.extend_from_slice(&rest[..zeros + 2]);
        rest = &rest[zeros + 3..];
    }
    rbsp.extend_from_slice(rest);
    rbsp
}

/// The NAL units in a byte stream, without start codes. The last may be truncated; trailing zeros may stay with a unit.
pub fn nal_units(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut starts = nal_starts(bytes).peekable();
    std::iter::from_fn(move || {
        let start = starts.next()?;
        let end = starts.peek().map_or(bytes.len(), |next| next - START_CODE.len());
        bytes.get(start..end)
    })
    .filter(|nal| !nal.is_empty())
}

/// The NAL units in a byte stream without the zero bytes behind them (`trailing_zero_8bits`, annex B.1.1 of both).
pub(super) fn trimmed_nal_units(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    nal_units(bytes).filter_map(|nal| {
        let last = nal.iter().rposition(|byte| *byte != 0)?;
        Some(&nal[..=last])
    })
}

/// The offsets of the NAL units in a byte stream, each behind its start code of three bytes.
pub(super) fn nal_starts(bytes: &[u8]) -> impl Iterator<Item = usize> {
    memmem::find_iter(bytes, START_CODE).map(|offset| offset + START_CODE.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_golomb_codes_are_those_of_table_9_2() {
        let mut bits = BitReader::new(&[0b1010_0110, 0b0100_0010, 0b1000_0000]);
        assert_eq!([bits.ue(), bits.ue(), bits.ue(), bits.ue(), bits.ue()], [0, 1, 2, 3, 4].map(Some));
        let mut bits = BitReader::new(&[0b1010_0110, 0b0100_0010, 0b1000_0000]);
        assert_eq!([bits.se(), bits.se(), bits.se(), bits.se(), bits.se()], [0, 1, -1, 2, -2].map(Some));
        assert_eq!(BitReader::new(&[0; 8]).ue(), None);
    }

    #[test]
    fn nal_units_are_split_at_start_codes() {
        let bytes = [9, 0, 0, 1, 5, 6, 0, 0, 0, 1, 7, 0, 0, 1, 0, 0, 1, 8];
        assert_eq!(nal_units(&bytes).collect::<Vec<_>>(), [&[5, 6, 0][..], &[7], &[8]]);
        assert_eq!(unescape(&[1, 0, 0, 3, 1, 0, 0, 3]), [1, 0, 0, 1, 0, 0]);
    }
}
