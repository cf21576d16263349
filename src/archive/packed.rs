//! The names of segments in few bytes, because many hours of them are kept. Pure.
//!
//! A name of the usual form is two numbers, a kind, and the 32 bytes of a digest; written out it is 70 bytes and more.

use std::borrow::Cow;
use std::fmt;

use super::layout::{SegmentName, SegmentType};
use crate::decimal::{push_digits, push_fraction, push_number};

/// How many characters of URL-safe base64 a SHA-256 has, without padding.
const DIGEST_CHARS: usize = 43;
/// The digits of base64, in the order of what they stand for.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// What each character stands for, or [`NO_DIGIT`].
const VALUES: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let mut value = 0_u8;
    while value < 64 {
        values[ALPHABET[value as usize] as usize] = value;
        value += 1;
    }
    values
};
const NO_DIGIT: u8 = 0xff;

/// The file name of a segment that has the usual form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Packed {
    /// How far into its hour the segment starts, in microseconds.
    pub offset_us: u32,
    /// How long it plays, in microseconds.
    pub duration_us: u32,
    /// How good it is.
    pub kind: SegmentType,
    /// How many digits the fractions of offset and duration have.
    fractions: [u8; 2],
    digest: [u8; 32],
}

/// The name of a segment's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileName<'a> {
    /// One of the usual form.
    Packed(&'a Packed),
    /// One as it was found.
    Text(&'a str),
}

impl Packed {
    /// Packs a name that says `parsed`; `None` where it could not be told again from that.
    pub fn pack(name: &str, parsed: &SegmentName) -> Option<Self> {
        let mut fields = name.split('-');
        let (offset, duration) = (fields.next()?, fields.next()?);
        let duration_us = u32::try_from(parsed.duration.micros()).ok()?;
        let whole_len = (duration_us / 1_000_000).checked_ilog10().unwrap_or(0) as usize + 1;
        Some(Self {
            offset_us: u32::try_from(parsed.offset.micros()).ok()?,
            duration_us,
            kind: parsed.kind,
            fractions: [fraction_digits(offset, "MM:SS".len())?, fraction_digits(duration, whole_len)?],
            digest: decode(parsed.hash)?,
        })
    }
}

impl<'a> FileName<'a> {
    /// Writes the name, with something else in the place of its colon.
    pub fn append_to<const N: usize>(self, text: &mut Vec<u8>, colon: &[u8; N]) {
        match self {
            Self::Packed(packed) => {
                let (offset, duration) = (u64::from(packed.offset_us), u64::from(packed.duration_us));
                push_digits::<2>(text, offset / 60_000_000);
                text.extend_from_slice(colon);
                push_digits::<2>(text, offset / 1_000_000 % 60);
                push_fraction(text, offset, packed.fractions[0].into());
                text.push(b'-');
                push_number(text, duration / 1_000_000);
                push_fraction(text, duration, packed.fractions[1].into());
                match packed.kind {
                    SegmentType::Full => text.extend_from_slice(b"-full-"),
                    kind => {
                        text.push(b'-');
                        text.extend_from_slice(kind.name().as_bytes());
                        text.push(b'-');
                    }
                }
                text.extend_from_slice(&encode(&packed.digest));
                text.extend_from_slice(b".ts");
            }
            Self::Text(name) => {
                let (minute, rest) = name.split_once(':').unwrap_or(("", name));
                text.extend_from_slice(minute.as_bytes());
                text.extend_from_slice(colon);
                text.extend_from_slice(rest.as_bytes());
            }
        }
    }

    /// The name as text.
    pub fn text(self) -> Cow<'a, str> {
        match self {
            Self::Text(name) => Cow::Borrowed(name),
            Self::Packed(_) => {
                let mut text = Vec::with_capacity(80);
                self.append_to(&mut text, b":");
                Cow::Owned(String::from_utf8(text).unwrap_or_default())
            }
        }
    }
}

impl fmt::Display for FileName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text())
    }
}

/// How many digits the fraction of a number has that takes `whole_len` characters before it; `None` where that is not
/// how it would be written.
fn fraction_digits(number: &str, whole_len: usize) -> Option<u8> {
    match number.as_bytes().get(whole_len..)? {
        [] => Some(0),
        // A period alone would not be written.
        [b'.', digits @ ..] if !digits.is_empty() => u8::try_from(digits.len()).ok(),
        _ => None,
    }
}

/// Whether a text has no characters but those of URL-safe base64.
pub(super) fn is_url_safe(text: &str) -> bool {
    // Looked at to its end in any case, which is the quicker way where it is good.
    text.bytes().fold(0, |seen, byte| seen | VALUES[usize::from(byte)]) != NO_DIGIT
}

/// The digest that a hash in URL-safe base64 stands for, if it does, and can be written in no other way.
fn decode(hash: &str) -> Option<[u8; 32]> {
    let chars: &[u8; DIGEST_CHARS] = hash.as_bytes().try_into().ok()?;
    let values = chars.map(|char| VALUES[usize::from(char)]);
    let join =
        |values: [u8; 4]| values.iter().fold(0, |bits, value| bits << 6 | u32::from(*value)).to_be_bytes();
    let mut digest = [0; 32];
    let (triples, end) = digest.as_chunks_mut::<3>();
    let (quads, rest) = values.as_chunks::<4>();
    for (triple, quad) in triples.iter_mut().zip(quads) {
        let [_, bytes @ ..] = join(*quad);
        *triple = bytes;
    }
    let (&[a, b, c], [first, second]) = (rest, end) else { return None };
    let excess;
    [_, *first, *second, excess] = join([a, b, c, 0]);
    // What the last character says beyond the digest is nothing.
    (excess == 0 && values.iter().fold(0, |seen, value| seen | value) != NO_DIGIT).then_some(digest)
}

/// A digest in URL-safe base64.
fn encode(digest: &[u8; 32]) -> [u8; DIGEST_CHARS] {
    let split = |[a, b, c]: [u8; 3]| {
        let bits = u32::from_be_bytes([0, a, b, c]);
        [18, 12, 6, 0].map(|shift| ALPHABET[(bits >> shift & 0x3f) as usize])
    };
    let mut chars = [0; DIGEST_CHARS];
    let (triples, end) = digest.as_chunks::<3>();
    let (quads, rest) = chars.as_chunks_mut::<4>();
    for (quad, triple) in quads.iter_mut().zip(triples) {
        *quad = split(*triple);
    }
    if let [a, b] = end {
        rest.copy_from_slice(&split([*a, *b, 0])[..rest.len()]);
    }
    chars
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HASH: &str = "YgymESyiQJNzDMws7vAG6AsWwLPeaFlNQYrCKsMQyQ4";

    fn packed(name: &str) -> Option<Packed> {
        Packed::pack(name, &SegmentName::parse(name).expect("a name"))
    }

    #[test]
    fn names_of_the_usual_form_are_packed_and_others_are_not() {
        let all_bits = format!("{}8", "_".repeat(42));
        for (times, hash, fits) in [
            ("55:02.000-2.000-full", HASH, true),
            ("00:00-0-suspect", HASH, true),
            ("59:59.999999-4294.9-partial", &all_bits, true),
            ("55:02.000-2.000-temp", "-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_A", true),
            ("55:02.-2.000-full", HASH, false),
            ("55:02.000-2.-full", HASH, false),
            ("55:02.000-02.000-full", HASH, false),
            ("55:02.000-4294.967296-full", HASH, false),
            ("55:02.000-2.000-full", "x", false),
            ("55:02.000-2.000-full", &HASH[1..], false),
            // The last character has bits that a digest has not.
            ("55:02.000-2.000-full", &format!("{}B", "A".repeat(42)), false),
        ] {
            let name = format!("{times}-{hash}.ts");
            let packed = packed(&name);
            assert_eq!(packed.is_some(), fits, "{name}");
            if let Some(packed) = packed {
                assert_eq!(FileName::Packed(&packed).to_string(), name);
            }
            for name in
                [Some(FileName::Text(&name)), packed.as_ref().map(FileName::Packed)].into_iter().flatten()
            {
                let mut text = Vec::new();
                name.append_to(&mut text, b"%3A");
                assert_eq!(String::from_utf8(text).expect("text"), name.text().replace(':', "%3A"));
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_packed_is_told_again_to_the_letter(
            name in "[0-5][0-9]:[0-5][0-9](\\.[0-9]{0,6})?-[0-9]{1,5}(\\.[0-9]{0,6})?-(full|suspect|partial|temp)-[-_0-9A-Za-z]{42,43}",
        ) {
            let name = name + ".ts";
            if let Some(packed) = packed(&name) {
                prop_assert_eq!(FileName::Packed(&packed).to_string(), name);
            }
        }
    }
}
