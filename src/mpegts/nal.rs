//! Bits of parameter sets: fixed-length and Exp-Golomb codes, and NAL units in a byte stream (ITU-T H.264, 7.2, 9.1, annex B).

/// Reads bits from the first to the last; `None` once they run out.
#[derive(Debug, Clone)]
pub struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> BitReader<'a> {
    /// Starts at the first bit of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next bit.
    pub fn flag(&mut self) -> Option<bool> {
        let byte = self.bytes.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(bit == 1)
    }

    /// The next `count` bits, at most 32, as a number: `u(n)`.
    pub fn take(&mut self, count: u32) -> Option<u32> {
        (0..count).try_fold(0_u32, |value, _| Some(value << 1 | u32::from(self.flag()?)))
    }

    /// Passes over `count` bits.
    pub fn skip(&mut self, count: usize) -> Option<()> {
        self.at = self.at.checked_add(count)?;
        (self.at <= self.bytes.len() * 8).then_some(())
    }

    /// An unsigned Exp-Golomb code: `ue(v)`.
    pub fn ue(&mut self) -> Option<u32> {
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
    pub fn se(&mut self) -> Option<i32> {
        let code = self.ue()?;
        let half = i32::try_from(code.div_ceil(2)).ok()?;
        Some(if code % 2 == 1 { half } else { -half })
    }
}

/// The bytes of a NAL unit without the emulation prevention bytes, at most the first 1024.
pub fn unescape(nal: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(nal.len().min(1024));
    let mut zeros = 0;
    for byte in nal.iter().take(1024) {
        if zeros >= 2 && *byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        plain.push(*byte);
    }
    plain
}

/// The NAL units in a byte stream, without start codes; the last may be cut off. Zeros behind a unit may stay with it.
pub fn nal_units(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut next = after_start_code(bytes, 0);
    std::iter::from_fn(move || {
        let start = next?;
        next = after_start_code(bytes, start);
        let end = next.map_or(bytes.len(), |next| next - 3);
        bytes.get(start..end)
    })
    .filter(|nal| !nal.is_empty())
}

/// Where the first start code at or after `from` ends.
fn after_start_code(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        match bytes.get(at..)? {
            [0, 0, 1, ..] => return Some(at + 3),
            [_, _, 2..=255, ..] => at += 3,
            [_, _, _, ..] => at += 1,
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_golomb_codes_read_as_the_table_says() {
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
