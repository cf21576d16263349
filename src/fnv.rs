//! FNV-1a, 64 bit: a small hash function with a published specification, for entity tags and fingerprints.
//!
//! The standard library's hasher may change from one release to the next. Servers that hold equal copies of an archive
//! must agree on their entity tags, whichever build they run, so the function and the encoding of what is hashed are
//! both fixed here. It does not resist deliberate collisions; nothing here needs that.
//!
//! Specification: <http://www.isthe.com/chongo/tech/comp/fnv/>.

/// The hash of the empty string.
const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// The hash of the bytes written so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fnv(u64);

impl Fnv {
    /// The hash of nothing.
    pub fn new() -> Self {
        Self(OFFSET_BASIS)
    }

    /// Adds bytes. Two writes are the same as one of both: fields of varying length need [`Fnv::write_str`].
    pub fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(PRIME);
        }
    }

    /// Adds an integer as eight bytes, the lowest first.
    pub fn write_u64(&mut self, value: u64) {
        self.write(&value.to_le_bytes());
    }

    /// Adds a string: its length in bytes, then the bytes. So `"ab", "c"` and `"a", "bc"` hash differently.
    pub fn write_str(&mut self, text: &str) {
        self.write_u64(text.len() as u64);
        self.write(text.as_bytes());
    }

    /// The hash.
    pub fn finish(&self) -> u64 {
        self.0
    }
}

impl Default for Fnv {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_test_vectors_hold() {
        let rows =
            [("", 0xcbf2_9ce4_8422_2325), ("a", 0xaf63_dc4c_8601_ec8c), ("foobar", 0x8594_4171_f739_67e8)];
        for (text, expected) in rows {
            let mut hash = Fnv::new();
            hash.write(text.as_bytes());
            assert_eq!(hash.finish(), expected, "{text}");
        }
    }

    #[test]
    fn integers_are_little_endian_and_strings_have_their_length_in_front() {
        let hash = |write: fn(&mut Fnv)| {
            let mut hash = Fnv::new();
            write(&mut hash);
            hash.finish()
        };
        assert_eq!(hash(|h| h.write_u64(0x0102)), hash(|h| h.write(&[2, 1, 0, 0, 0, 0, 0, 0])));
        assert_eq!(hash(|h| h.write_str("ab")), hash(|h| h.write(b"\x02\0\0\0\0\0\0\0ab")));
    }
}
