//! How the tree is named: `BASE_DIR/<stream>/<variant>/<hour>/<segment>.ts`. Pure.
//!
//! Streams and variants are directories of any name. An hour's directory is named `2026-11-20T10`, in UTC. It holds
//! - segments, `<MM:SS.fff>-<duration>-<type>-<hash>.ts`, that start in that hour,
//! - JSON files, `<stem>.json`, that describe segments; those of the variant `chat`, `<MM:SS>-<hash>.json`, are batches of
//!   messages, and
//! - tombstones, `<stem>.tombstone`, each of which marks the other files of the same stem as deleted.
//!
//! A variant may have a directory `.keep`, in which each name, `<start>_<end>`, is a range of time whose hours are not to be
//! deleted. Names that begin with a period are hidden. Only `layout/kept.rs` knows any of this too.

mod kept;

use std::fmt;
use std::path::{Path, PathBuf};

pub use self::kept::{KEEP_DIRECTORY, KeptRange, short_time};
use crate::timestamp::{Hour, Span, Timestamp};

/// The extension of segments, with its period.
pub const SEGMENT: &str = ".ts";
/// The characters of a SHA-256 in base64 without padding.
const SHA256_CHARACTERS: usize = 43;
/// The extension of tombstones, with its period.
const TOMBSTONE: &str = ".tombstone";

/// Whether a file or directory of this name is hidden: neither listed nor read.
pub fn is_hidden(name: &[u8]) -> bool {
    name.starts_with(b".")
}

/// A variant of a stream, by the names of their directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VariantName<'a> {
    /// The stream.
    pub stream: &'a str,
    /// The variant of the stream.
    pub variant: &'a str,
}

impl VariantName<'_> {
    /// The variant's directory below `base`.
    pub fn directory(self, base: &Path) -> PathBuf {
        let mut path = base.join(self.stream);
        path.push(self.variant);
        path
    }
}

/// The name of an hour's directory.
pub fn hour_name(hour: Hour) -> String {
    hour.to_string()
}

/// The hour whose directory has this name, or `None` for any other name.
pub fn parse_hour_name(name: &str) -> Option<Hour> {
    Hour::parse(name)
}

/// The extension of a file in an hour's directory, which says what the file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extension {
    /// A segment, though perhaps not one whose name [`SegmentName::parse`] understands.
    Segment,
    /// A JSON file.
    Json,
    /// A tombstone.
    Tombstone,
}

/// Splits the name of a file in an hour's directory into its stem and its extension, or `None` where that is another one.
/// A tombstone has the stem of the files that it marks as deleted.
pub fn split_file_name(name: &str) -> Option<(&str, Extension)> {
    [(SEGMENT, Extension::Segment), (".json", Extension::Json), (TOMBSTONE, Extension::Tombstone)]
        .into_iter()
        .find_map(|(suffix, extension)| Some((name.strip_suffix(suffix)?, extension)))
}

/// The segment that a file in an hour's directory is, or describes, or marks as deleted, and which of these. `None` of any
/// other file: it is not part of the recording.
pub fn parse_file_name(name: &str) -> Option<(SegmentName<'_>, Extension)> {
    let (stem, extension) = split_file_name(name)?;
    Some((SegmentName::parse_stem(stem)?, extension))
}

/// The name of the tombstone for the files of a stem.
pub fn tombstone_name(stem: &str) -> String {
    format!("{stem}{TOMBSTONE}")
}

/// The variant of a stream that holds its chat, and no media.
pub const CHAT: &str = "chat";

/// The batches of chat in an hour's directory.
#[derive(Debug, Default)]
pub struct BatchNames {
    /// The names, and how long after the start of the hour each batch begins.
    batches: Vec<(String, Span)>,
    /// The stems of tombstones.
    deleted: Vec<String>,
}

impl BatchNames {
    /// Takes note of a name in the directory.
    pub fn add(&mut self, name: &str) {
        match split_file_name(name) {
            Some((stem, Extension::Json)) => {
                let offset = stem.split_once('-').and_then(|(offset, _)| parse_offset(offset));
                self.batches.extend(offset.map(|offset| (name.to_owned(), offset)));
            }
            Some((stem, Extension::Tombstone)) => self.deleted.push(stem.to_owned()),
            Some((_, Extension::Segment)) | None => {}
        }
    }

    /// The sorted names of the batches that are not deleted, and for whose beginning `in_range` is true.
    pub fn sorted(self, in_range: impl Fn(Span) -> bool) -> Vec<String> {
        let Self { batches, deleted } = self;
        let is_deleted = |name: &str| {
            split_file_name(name).is_some_and(|(stem, _)| deleted.iter().any(|deleted| deleted == stem))
        };
        let kept = batches.into_iter().filter(|(name, offset)| in_range(*offset) && !is_deleted(name));
        let mut names: Vec<_> = kept.map(|(name, _)| name).collect();
        names.sort_unstable();
        names
    }
}

/// How complete a segment is, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SegmentType {
    /// Complete.
    Full,
    /// Downloaded completely, but its source may have cut it short.
    Suspect,
    /// Known to be cut short.
    Partial,
    /// Still being written: never part of a playlist or a cut.
    Temp,
}

impl SegmentType {
    /// The word for it in file names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Suspect => "suspect",
            Self::Partial => "partial",
            Self::Temp => "temp",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::Full, Self::Suspect, Self::Partial, Self::Temp].into_iter().find(|known| known.name() == name)
    }
}

/// What a segment's file name says. It becomes the same name again, character for character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentName<'a> {
    /// When the segment starts, from the start of its hour.
    pub offset: Span,
    /// How long it plays.
    pub duration: Span,
    /// How complete it is.
    pub segment_type: SegmentType,
    /// SHA-256 of its bytes in URL-safe base64 without padding; of a [`SegmentType::Temp`] any unique text.
    pub hash: &'a str,
    /// How its numbers are written.
    pub(super) widths: Widths,
}

/// How many characters the numbers in a segment's name have. A fraction includes its point, and may be absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Widths {
    offset_fraction: u8,
    duration_whole: u8,
    duration_fraction: u8,
}

impl<'a> SegmentName<'a> {
    /// The name of a segment to be written. Its numbers have three decimal places, or six where three are not enough.
    pub fn new(offset: Span, duration: Span, segment_type: SegmentType, hash: &'a str) -> Self {
        let fraction = |span: Span| if span.micros() % 1000 == 0 { 4 } else { 7 };
        let digits = (duration.micros() / 1_000_000).checked_ilog10().map_or(1, |log| log + 1);
        let widths = Widths {
            offset_fraction: fraction(offset),
            duration_whole: u8::try_from(digits).unwrap_or(u8::MAX),
            duration_fraction: fraction(duration),
        };
        Self { offset, duration, segment_type, hash, widths }
    }

    /// Parses a file name, or returns `None` where it is not that of a segment.
    ///
    /// A name that parses has no characters but ASCII letters, digits, `:`, `.`, `-` and `_`, so that it can stand in
    /// a URI (with its colon encoded) and in a header as it is.
    pub fn parse(name: &'a str) -> Option<Self> {
        let (stem, Extension::Segment) = split_file_name(name)? else { return None };
        Self::parse_stem(stem)
    }

    /// Parses a file name without its extension.
    fn parse_stem(stem: &'a str) -> Option<Self> {
        let mut fields = stem.splitn(4, '-');
        let (offset, duration) = (fields.next()?, fields.next()?);
        let segment_type = SegmentType::parse(fields.next()?)?;
        let hash = fields.next()?;
        let whole = duration.split_once('.').map_or(duration, |(whole, _)| whole);
        let width = |text: &str| u8::try_from(text.len()).ok();
        let parsed = Self {
            offset: parse_offset(offset)?,
            duration: Span::parse_seconds(duration)?,
            segment_type,
            hash,
            widths: Widths {
                offset_fraction: width(offset.get("MM:SS".len()..)?)?,
                duration_whole: width(whole)?,
                duration_fraction: width(&duration[whole.len()..])?,
            },
        };
        let is_url_safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        // Without an early exit this is compiled to vector instructions.
        let is_hash = hash.bytes().fold(!hash.is_empty(), |is_hash, byte| is_hash & is_url_safe(byte));
        is_hash.then_some(parsed)
    }

    /// The hash, if it is one of its bytes and not just any text.
    pub fn content_hash(&self) -> Option<&'a str> {
        let is_whole = self.segment_type != SegmentType::Temp && self.hash.len() == SHA256_CHARACTERS;
        is_whole.then_some(self.hash)
    }

    /// The digits of its times.
    pub fn time_digits(&self) -> TimeDigits {
        TimeDigits::new(self.offset, self.duration)
    }

    /// Writes the name without its extension, with `colon` for the colon in it. `digits` are those of its times.
    pub fn append_stem_to<const N: usize>(&self, text: &mut Vec<u8>, digits: &TimeDigits, colon: &[u8; N]) {
        let Widths { offset_fraction, duration_whole, duration_fraction } = self.widths;
        let TimeDigits { offset: ([m1, m0, s1, s0], offset_micros), duration: (seconds, micros) } = digits;
        text.extend_from_slice(&[*m1, *m0]);
        text.extend_from_slice(colon);
        text.extend_from_slice(&[*s1, *s0]);
        push_fraction(text, offset_micros, offset_fraction);
        text.push(b'-');
        text.extend_from_slice(&seconds[seconds.len() - usize::from(duration_whole)..]);
        push_fraction(text, micros, duration_fraction);
        text.push(b'-');
        text.extend_from_slice(self.segment_type.name().as_bytes());
        text.push(b'-');
        text.extend_from_slice(self.hash.as_bytes());
    }
}

impl fmt::Display for SegmentName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(80);
        self.append_stem_to(&mut text, &self.time_digits(), b":");
        text.extend_from_slice(SEGMENT.as_bytes());
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

/// A segment of a variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment<'a> {
    /// The hour it starts in.
    pub hour: Hour,
    /// The name of its file.
    pub name: SegmentName<'a>,
}

impl Segment<'_> {
    /// When it starts.
    pub fn start(&self) -> Timestamp {
        self.hour.start() + self.name.offset
    }

    /// The first instant after it.
    pub fn end(&self) -> Timestamp {
        self.start() + self.name.duration
    }
}

/// Parses `MM:SS`, perhaps followed by a point and up to six digits.
fn parse_offset(text: &str) -> Option<Span> {
    let &[m1 @ b'0'..=b'5', m0 @ b'0'..=b'9', b':', b'0'..=b'5', b'0'..=b'9', ref fraction @ ..] =
        text.as_bytes()
    else {
        return None;
    };
    let seconds = Span::parse_seconds(text.get("MM:".len()..)?)?;
    let minutes = i64::from((m1 - b'0') * 10 + (m0 - b'0'));
    matches!(fraction, [] | [b'.', ..]).then(|| Span::from_micros(minutes * 60_000_000 + seconds.micros()))
}

/// The decimal digits of the times in a segment's name, with leading zeros.
#[derive(Debug, Clone, Copy)]
pub struct TimeDigits {
    /// Minutes and seconds of the offset, and its microseconds.
    pub offset: ([u8; 4], [u8; 6]),
    /// Seconds of the duration, as many digits as a name can have, and its microseconds.
    pub duration: ([u8; 9], [u8; 6]),
}

impl TimeDigits {
    fn new(offset: Span, duration: Span) -> Self {
        let split = |micros: i64| (micros / 1_000_000, digits(micros % 1_000_000));
        let (offset_seconds, offset_micros) = split(offset.micros());
        let (seconds, micros) = split(duration.micros());
        let minutes_and_seconds = digits(offset_seconds / 60 * 100 + offset_seconds % 60);
        Self { offset: (minutes_and_seconds, offset_micros), duration: (digits(seconds), micros) }
    }
}

/// The last `N` decimal digits of a number, with leading zeros.
fn digits<const N: usize>(number: i64) -> [u8; N] {
    // In 32 bits, and in parts that do not depend on each other, the divisions take a fraction of the time.
    let mut rest = u32::try_from(number).unwrap_or(u32::MAX);
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        *digit += u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
    }
    digits
}

/// Writes a point and digits of a fraction, `width` characters in all.
fn push_fraction(text: &mut Vec<u8>, digits: &[u8], width: u8) {
    if let Some(count) = width.checked_sub(1) {
        text.push(b'.');
        text.extend_from_slice(&digits[..usize::from(count)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_of_segments_parse_or_are_refused() {
        let rows = [
            ("55:02.000-2.000-full-YgymESyiQJNzDMws7vAG6AsWwLPeaFlNQYrCKsMQyQ4.ts", Some(SegmentType::Full)),
            ("55:02.000-2.000-suspect--a-b-_c.ts", Some(SegmentType::Suspect)),
            ("55:02-2-partial-x.ts", Some(SegmentType::Partial)),
            ("55:02.-02.-partial-x.ts", Some(SegmentType::Partial)),
            ("59:59.999999-999999999.999999-full-x.ts", Some(SegmentType::Full)),
            ("55:02.123456-0.033367-temp-3f0c8b1e-0000-4000-8000-1234567890ab.ts", Some(SegmentType::Temp)),
            ("55:02.000-2.000-full-.ts", None),
            ("55:02.000-2.000-full.ts", None),
            ("55:02.000-2.000-FULL-x.ts", None),
            ("55:02.000-2.000-full-x.mp4", None),
            ("55:02.000-2.000-full-x", None),
            ("55:02.000-2.000-full-x y.ts", None),
            ("55:02.000-2.000-full-x.bak.ts", None),
            ("55:02.000-2.000-full-é.ts", None),
            ("55:02.000--2.000-full-x.ts", None),
            ("55:02.000-2.0000000-full-x.ts", None),
            ("55:02.0000000-2.000-full-x.ts", None),
            ("55:02.-1-2.000-full-x.ts", None),
            ("55:60.000-2.000-full-x.ts", None),
            ("60:00.000-2.000-full-x.ts", None),
            ("00:60-2.000-full-x.ts", None),
            ("1:00-2.000-full-x.ts", None),
            ("01:020-2.000-full-x.ts", None),
            ("0102-2.000-full-x.ts", None),
            (".55:02.000-2.000-full-x.ts", None),
            (".ts", None),
            ("", None),
        ];
        for (name, segment_type) in rows {
            let parsed = SegmentName::parse(name);
            assert_eq!(parsed.map(|parsed| parsed.segment_type), segment_type, "{name}");
            let Some(parsed) = parsed else { continue };
            assert_eq!(parsed.to_string(), name);
            let mut encoded = Vec::new();
            parsed.append_stem_to(&mut encoded, &parsed.time_digits(), b"%3A");
            assert_eq!(String::from_utf8(encoded).expect("ASCII") + ".ts", name.replace(':', "%3A"));
        }
    }

    #[test]
    fn names_to_be_written_have_as_many_digits_as_they_need() {
        for (offset_us, duration_us, expected) in [
            (62_500_000, 2_000_000, "01:02.500-2.000-full-x.ts"),
            (0, 33_367, "00:00.000-0.033367-full-x.ts"),
            (3_599_999_999, 12_345_000, "59:59.999999-12.345-full-x.ts"),
        ] {
            let (offset, duration) = (Span::from_micros(offset_us), Span::from_micros(duration_us));
            let name = SegmentName::new(offset, duration, SegmentType::Full, "x");
            assert_eq!(name.to_string(), expected);
            assert_eq!(SegmentName::parse(expected), Some(name));
        }
    }

    #[test]
    fn a_name_says_start_duration_and_hash() {
        for (name, offset_us, duration_us, hash) in [
            ("01:02.500-2.002-full--a-b.ts", 62_500_000, 2_002_000, "-a-b"),
            ("00:00-0-full-x.ts", 0, 0, "x"),
            ("00:00.000001-4294.967296-full-x.ts", 1, 4_294_967_296, "x"),
            ("59:59.9-02.5-full-x.ts", 3_599_900_000, 2_500_000, "x"),
        ] {
            let parsed = SegmentName::parse(name).expect(name);
            assert_eq!(
                (parsed.offset.micros(), parsed.duration.micros()),
                (offset_us, duration_us),
                "{name}"
            );
            assert_eq!(parsed.hash, hash, "{name}");
        }
    }

    proptest! {
        #[test]
        fn a_name_that_parses_is_written_again_to_the_letter(
            name in "[0-5][0-9]:[0-5][0-9](\\.[0-9]{0,6})?-[0-9]{1,9}(\\.[0-9]{0,6})?-(full|suspect|partial|temp)-[-_0-9A-Za-z]{1,60}\\.ts",
        ) {
            prop_assert_eq!(SegmentName::parse(&name).map(|parsed| parsed.to_string()), Some(name));
        }
    }

    #[test]
    fn files_have_a_type_by_their_extension_and_hours_by_their_name() {
        for (name, split) in [
            ("a.b.ts", Some(("a.b", Extension::Segment))),
            ("a.json", Some(("a", Extension::Json))),
            ("a.ts.tombstone", Some(("a.ts", Extension::Tombstone))),
            ("a.TS", None),
            ("ts", None),
            ("", None),
        ] {
            assert_eq!(split_file_name(name), split, "{name}");
        }
        assert_eq!(split_file_name(&tombstone_name("a")), Some(("a", Extension::Tombstone)));
        assert_eq!(parse_hour_name("2026-11-20T10").map(hour_name).as_deref(), Some("2026-11-20T10"));
        assert_eq!(parse_hour_name("2026-11-20"), None);
        assert!(is_hidden(b".x") && is_hidden(b"..") && !is_hidden(b"x."));
    }

    #[test]
    fn batches_of_chat_are_found_by_the_time_in_their_names() {
        let mut names = BatchNames::default();
        for name in [
            "01:00-b.json",
            "01:00-a.json",
            "00:00-x.json",
            "59:00-x.json",
            "02:00-x.json",
            "02:00-x.tombstone",
            "01:00.json",
            "1:00-x.json",
            "60:00-x.json",
            "x-01:00.json",
            "01:00-x.ts",
            "01:00-x.json.1.temp",
        ] {
            names.add(name);
        }
        let found = names.sorted(|offset| (Span::from_secs(60)..Span::from_secs(3540)).contains(&offset));
        assert_eq!(found, ["01:00-a.json", "01:00-b.json"]);
    }

    #[test]
    fn files_of_a_segment_are_told_from_others() {
        for (name, extension) in [
            ("55:02.000-2.000-full-abc.ts", Some(Extension::Segment)),
            ("55:02.000-2.000-temp-abc.ts", Some(Extension::Segment)),
            ("55:02.000-2.000-full-abc.json", Some(Extension::Json)),
            ("55:02.000-2.000-full-abc.tombstone", Some(Extension::Tombstone)),
            ("55:02.000-2.000-full-abc.ts.bak", None),
            ("55:02.000-2.000-full-abc", None),
            ("notes.json", None),
            ("odd.ts", None),
        ] {
            let parsed = parse_file_name(name);
            assert_eq!(parsed.map(|(_, extension)| extension), extension, "{name}");
            assert!(parsed.is_none_or(|(segment, _)| segment.hash == "abc"), "{name}");
        }
    }

    #[test]
    fn a_segment_starts_in_its_hour_and_a_variant_is_below_its_stream() {
        let hour = parse_hour_name("2026-11-20T10").expect("an hour");
        let name = SegmentName::parse("55:02.5-2-full-x.ts").expect("a name");
        let segment = Segment { hour, name };
        assert_eq!(segment.start().to_string(), "2026-11-20T10:55:02.500000Z");
        assert_eq!(segment.end().to_string(), "2026-11-20T10:55:04.500000Z");
        let name = VariantName { stream: "s", variant: "v" };
        assert_eq!(name.directory(Path::new("/base")), Path::new("/base/s/v"));
    }
}
