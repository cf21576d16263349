//! The text of a media playlist: the segments of one variant, in order.

use crate::archive::layout::Segment;
use crate::decimal::push_digits;
use crate::timestamp::{Hour, Span};

/// The target duration of a playlist that has nothing to measure it by, in seconds.
pub const UNKNOWN_TARGET_SECS: i64 = 6;

/// The target duration, in whole seconds, of segments that are at most `longest`: no less than any of them.
pub fn target_secs(longest: Span) -> i64 {
    longest.ceil_secs().max(1)
}

/// A media playlist that is being written.
#[derive(Debug)]
pub struct MediaPlaylist {
    text: Vec<u8>,
    /// What stands before the hour in every segment's URI, with the slash.
    uri_prefix: String,
    /// The hour that was written last, and what stands before all times and before all URIs in it.
    hour: Option<(Hour, String, String)>,
    empty: bool,
}

impl MediaPlaylist {
    /// Begins a playlist. The segments' URIs are `uri_prefix`, `/`, the hour, `/` and the file's name.
    pub fn begin(uri_prefix: &str, target_secs: i64, closed: bool) -> Self {
        let kind = if closed { "#EXT-X-PLAYLIST-TYPE:VOD\n" } else { "" };
        let text =
            format!("#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:{target_secs}\n{kind}").into_bytes();
        Self { text, uri_prefix: format!("{uri_prefix}/"), hour: None, empty: true }
    }

    /// Writes the next segment; a hole before the first one leaves no trace.
    pub fn segment(&mut self, segment: &Segment, hole_before: bool) {
        let Self { text, uri_prefix, hour, empty } = self;
        if hole_before && !*empty {
            text.extend_from_slice(b"#EXT-X-DISCONTINUITY\n");
        }
        *empty = false;
        let (_, date, place) = match hour {
            Some(known) if known.0 == segment.hour => known,
            _ => {
                let name = segment.hour;
                hour.insert((
                    name,
                    format!("#EXT-X-PROGRAM-DATE-TIME:{name}:"),
                    format!(",\n{uri_prefix}{name}/"),
                ))
            }
        };
        text.extend_from_slice(date.as_bytes());
        let micros = (segment.start - segment.hour.start()).micros().unsigned_abs();
        push_digits::<2>(text, micros / 60_000_000);
        text.push(b':');
        push_digits::<2>(text, micros / 1_000_000 % 60);
        text.push(b'.');
        push_digits::<6>(text, micros % 1_000_000);
        text.extend_from_slice(b"Z\n#EXTINF:");
        push_seconds(text, segment.duration);
        text.extend_from_slice(place.as_bytes());
        // Of all that a segment's name can hold only the colon needs encoding, and there is one.
        segment.name.append_to(text, b"%3A");
        text.push(b'\n');
    }

    /// What is written so far; who has sent it takes it out.
    pub fn text(&mut self) -> &mut Vec<u8> {
        &mut self.text
    }

    /// Ends the playlist: what is written, and not taken out.
    pub fn end(mut self, closed: bool) -> Vec<u8> {
        if closed {
            self.text.extend_from_slice(b"#EXT-X-ENDLIST\n");
        }
        self.text
    }
}

/// Writes a span as it shows itself; most have few seconds and no more than milliseconds.
fn push_seconds(text: &mut Vec<u8>, span: Span) {
    match u64::try_from(span.micros()) {
        Ok(micros) if micros < 10_000_000 && micros.is_multiple_of(1000) => {
            push_digits::<1>(text, micros / 1_000_000);
            text.push(b'.');
            push_digits::<3>(text, micros / 1000);
        }
        _ => text.extend_from_slice(span.to_string().as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::layout::SegmentType;
    use crate::archive::packed::FileName;

    #[test]
    fn a_playlist_has_dates_durations_holes_and_encoded_uris() {
        let hour = Hour::parse("2026-11-20T10").expect("an hour");
        let segment = |offset_us: i64, duration_us: i64, name| Segment {
            hour,
            start: hour.start() + Span::from_micros(offset_us),
            duration: Span::from_micros(duration_us),
            kind: SegmentType::Full,
            name: FileName::Text(name),
        };
        let mut list = MediaPlaylist::begin("/segments/a%20b/source", 3, true);
        list.segment(&segment(3_302_000_000, 2_000_000, "55:02.000-2.000-full-x.ts"), true);
        list.segment(&segment(3_304_000_001, 2_002_001, "55:04.000001-2.002001-full-y.ts"), true);
        let text = String::from_utf8(list.end(true)).unwrap();
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
    fn durations_stand_as_spans_show_themselves() {
        for micros in
            [0, 1, 999, 1000, 33_367, 999_000, 2_000_000, 9_999_000, 9_999_999, 10_000_000, 3_600_000_000]
        {
            let (mut text, span) = (Vec::new(), Span::from_micros(micros));
            push_seconds(&mut text, span);
            assert_eq!(String::from_utf8(text).unwrap(), span.to_string());
        }
    }

    #[test]
    fn the_target_is_no_less_than_any_segment_and_at_least_one() {
        for (millis, secs) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (2000, 2), (2002, 3)] {
            assert_eq!(target_secs(Span::from_millis(millis)), secs, "{millis} ms");
        }
    }
}
