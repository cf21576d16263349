//! A segment, and the name of its file, which says when it starts, how long it is and how good it is. Pure.

use super::packed::{FileName, is_url_safe};
use crate::timestamp::{Hour, Span, Timestamp, parse_offset_in_hour, split_at_byte};

/// A stream's variant, by the names it has in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VariantName<'a> {
    /// The stream.
    pub stream: &'a str,
    /// The variant of the stream.
    pub variant: &'a str,
}

/// How much of what was broadcast a segment holds, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SegmentType {
    /// All of it.
    Full,
    /// Fetched whole, but perhaps cut short at its source.
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
}

/// What a segment's file name says: `<MM:SS.fff>-<duration>-<type>-<hash>.ts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentName<'a> {
    /// How far into its hour the segment starts.
    pub offset: Span,
    /// How long it plays.
    pub duration: Span,
    /// How good it is.
    pub kind: SegmentType,
    /// SHA-256 of its bytes in URL-safe base64; of a [`SegmentType::Temp`] something unique.
    pub hash: &'a str,
}

impl<'a> SegmentName<'a> {
    /// Reads a file name, or `None` where it is not a segment's.
    ///
    /// A name that parses has no characters but ASCII letters, digits, `:`, `.`, `-` and `_`, so that it can go into
    /// a URI (the colon encoded) and a header as it is.
    pub fn parse(name: &'a str) -> Option<Self> {
        let (offset, rest) = split_at_byte(name.strip_suffix(".ts")?, b'-')?;
        let (duration, rest) = split_at_byte(rest, b'-')?;
        let (kind, hash) = split_at_byte(rest, b'-')?;
        let offset = parse_offset_in_hour(offset)?;
        let duration = Span::parse_seconds(duration)?;
        let kind = match kind {
            "full" => SegmentType::Full,
            "suspect" => SegmentType::Suspect,
            "partial" => SegmentType::Partial,
            "temp" => SegmentType::Temp,
            _ => return None,
        };
        (!hash.is_empty() && is_url_safe(hash)).then_some(Self { offset, duration, kind, hash })
    }
}

/// A segment of a variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment<'a> {
    /// The hour it starts in.
    pub hour: Hour,
    /// When it starts.
    pub start: Timestamp,
    /// How long it plays.
    pub duration: Span,
    /// How good it is.
    pub kind: SegmentType,
    /// The name of its file.
    pub name: FileName<'a>,
}

impl Segment<'_> {
    /// The first instant after the segment.
    pub fn end(&self) -> Timestamp {
        self.start + self.duration
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_or_are_refused() {
        let rows = [
            ("55:02.000-2.000-full-YgymESyiQJNzDMws7vAG6AsWwLPeaFlNQYrCKsMQyQ4.ts", Some(SegmentType::Full)),
            ("55:02.000-2.000-suspect--a-b-_c.ts", Some(SegmentType::Suspect)),
            ("55:02-2-partial-x.ts", Some(SegmentType::Partial)),
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
            ("55:60.000-2.000-full-x.ts", None),
            ("60:00.000-2.000-full-x.ts", None),
            (".55:02.000-2.000-full-x.ts", None),
            (".ts", None),
            ("", None),
        ];
        for (name, kind) in rows {
            assert_eq!(SegmentName::parse(name).map(|parsed| parsed.kind), kind, "{name}");
        }
    }

    #[test]
    fn the_hash_is_all_behind_the_third_dash() {
        let parsed = SegmentName::parse("01:02.500-2.002-full--a-b.ts").expect("a good name");
        assert_eq!(parsed.hash, "-a-b");
        assert_eq!(parsed.offset, Span::from_millis(62_500));
        assert_eq!(parsed.duration, Span::from_millis(2002));
    }
}
