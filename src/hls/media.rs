//! The text of a media playlist: the segments of one variant, in order.

use std::io::{self, Write};

use crate::archive::segment::Segment;
use crate::timestamp::{Hour, Span};

/// The target duration of a playlist that has nothing to measure it by, in seconds.
pub const UNKNOWN_TARGET_SECS: i64 = 6;

/// The target duration, in whole seconds, of segments that are at most `longest`: no less than any of them.
pub fn target_secs(longest: Span) -> i64 {
    longest.ceil_secs().max(1)
}

/// A media playlist that is being written.
#[derive(Debug)]
pub struct MediaPlaylist<W> {
    out: W,
    /// What stands before the hour in every segment's URI.
    uri_prefix: String,
    /// The hour that was written last, as it stands in a URI and in a date.
    hour: Option<(Hour, String)>,
    empty: bool,
}

impl<W: Write> MediaPlaylist<W> {
    /// Begins a playlist. The segments' URIs are `uri_prefix`, `/`, the hour, `/` and the file's name.
    pub fn begin(mut out: W, uri_prefix: String, target_secs: i64, closed: bool) -> io::Result<Self> {
        write!(out, "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:{target_secs}\n")?;
        if closed {
            out.write_all(b"#EXT-X-PLAYLIST-TYPE:VOD\n")?;
        }
        Ok(Self { out, uri_prefix, hour: None, empty: true })
    }

    /// Writes the next segment; a hole before the first one leaves no trace.
    pub fn segment(&mut self, segment: &Segment, hole_before: bool) -> io::Result<()> {
        if hole_before && !self.empty {
            self.out.write_all(b"#EXT-X-DISCONTINUITY\n")?;
        }
        self.empty = false;
        let Self { out, uri_prefix, .. } = self;
        let hour = match &self.hour {
            Some((hour, text)) if *hour == segment.hour => text,
            _ => &self.hour.insert((segment.hour, segment.hour.to_string())).1,
        };
        let micros = (segment.start - segment.hour.start()).micros();
        let (minute, second, fraction) = (micros / 60_000_000, micros / 1_000_000 % 60, micros % 1_000_000);
        write!(
            out,
            "#EXT-X-PROGRAM-DATE-TIME:{hour}:{minute:02}:{second:02}.{fraction:06}Z\n#EXTINF:{},\n{uri_prefix}/{hour}/",
            segment.duration,
        )?;
        // Of all that a segment's name can hold only the colon needs encoding.
        for (index, piece) in segment.name.split(':').enumerate() {
            out.write_all(if index == 0 { b"" } else { b"%3A" })?;
            out.write_all(piece.as_bytes())?;
        }
        out.write_all(b"\n")
    }

    /// Ends the playlist, and gives back what it was written to.
    pub fn end(mut self, closed: bool) -> io::Result<W> {
        if closed {
            self.out.write_all(b"#EXT-X-ENDLIST\n")?;
        }
        Ok(self.out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::segment::Kind;

    #[test]
    fn a_playlist_has_dates_durations_holes_and_encoded_uris() {
        let hour = Hour::parse("2026-11-20T10").expect("an hour");
        let segment = |offset_us: i64, duration_us: i64, name| Segment {
            hour,
            start: hour.start() + Span::from_micros(offset_us),
            duration: Span::from_micros(duration_us),
            kind: Kind::Full,
            name,
        };
        let mut list =
            MediaPlaylist::begin(Vec::new(), "/segments/a%20b/source".to_owned(), 3, true).unwrap();
        list.segment(&segment(3_302_000_000, 2_000_000, "55:02.000-2.000-full-x.ts"), true).unwrap();
        list.segment(&segment(3_304_000_001, 2_002_001, "55:04.000001-2.002001-full-y.ts"), true).unwrap();
        let text = String::from_utf8(list.end(true).unwrap()).unwrap();
        let expected = "\
            #EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:3\n#EXT-X-PLAYLIST-TYPE:VOD\n\
            #EXT-X-PROGRAM-DATE-TIME:2026-11-20T10:55:02.000000Z\n#EXTINF:2.000,\n\
            /segments/a%20b/source/2026-11-20T10/55%3A02.000-2.000-full-x.ts\n\
            #EXT-X-DISCONTINUITY\n\
            #EXT-X-PROGRAM-DATE-TIME:2026-11-20T10:55:04.000001Z\n#EXTINF:2.002001,\n\
            /segments/a%20b/source/2026-11-20T10/55%3A04.000001-2.002001-full-y.ts\n\
            #EXT-X-ENDLIST\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn the_target_is_no_less_than_any_segment_and_at_least_one() {
        for (millis, secs) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (2000, 2), (2002, 3)] {
            assert_eq!(target_secs(Span::from_millis(millis)), secs, "{millis} ms");
        }
    }
}
