//! The text of a media playlist: the segments of one variant, in order (RFC 8216, section 4.3).

use std::fmt::Write;

use crate::archive::layout::{SEGMENT, Segment, TimeDigits, hour_name};
use crate::timestamp::{Hour, Span, Timestamp};

/// The target duration of a playlist whose segments' durations are not known, in seconds.
pub const UNKNOWN_TARGET_SECS: i64 = 6;

/// The extension of fragments of MP4, in place of that of segments.
pub const FRAGMENT: &str = ".m4s";
/// The extension of initialization sections of MP4, in place of that of segments.
pub const INIT: &str = ".init.mp4";

/// The colon in a segment's name, percent-encoded. No other character of it needs that.
const COLON: &[u8; 3] = b"%3A";

/// The target duration of segments that play at most `longest`: in whole seconds, rounded up, at least one.
pub fn target_secs(longest: Span) -> i64 {
    longest.ceil_secs().max(1)
}

/// The lines that a media playlist begins with, as data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// `EXT-X-TARGETDURATION`, in seconds.
    pub target_secs: i64,
    /// Whether no segments will be added, so that the playlist ends with `EXT-X-ENDLIST`.
    pub is_finished: bool,
    /// The media sequence number of the first entry and its discontinuity sequence number, if entries leave the playlist.
    pub sequence: Option<(i64, i64)>,
    /// Where players shall begin, in seconds after the start of the playlist, or before its end if that is negative;
    /// `None` leaves it to them.
    pub play_from_secs: Option<i64>,
    /// How far before the end of the playlist, in seconds, entries must lie that updates may skip; `None` if there are no
    /// such updates (RFC 8216bis, section 4.4.3.8).
    pub can_skip_until_secs: Option<i64>,
    /// The number of entries that this update skips; 0 if it is no update.
    pub skipped: i64,
    /// Whether the entries are fragments of MP4, which need an `EXT-X-MAP`.
    pub is_fragmented: bool,
}

/// How a segment is addressed as a fragment of MP4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment<'a> {
    /// The segment of the same hour from which the initialization section is made: the first of its run.
    pub init: Segment<'a>,
    /// The query of the initialization section's URI, with its question mark.
    pub init_query: &'a str,
    /// The query of the fragment's URI, with its question mark.
    pub query: &'a str,
}

impl Head {
    /// The head of a playlist that no entries leave and that has no updates.
    pub const fn new(target_secs: i64, is_finished: bool) -> Self {
        Self {
            target_secs,
            is_finished,
            sequence: None,
            play_from_secs: None,
            can_skip_until_secs: None,
            skipped: 0,
            is_fragmented: false,
        }
    }
}

/// A media playlist that is being written.
#[derive(Debug)]
pub struct MediaPlaylist {
    text: Vec<u8>,
    /// The start of every segment's URI, with a slash at its end.
    uri_prefix: String,
    is_finished: bool,
    is_empty: bool,
    hour: Option<HourText>,
    /// The start of the segment that the current initialization section is made from.
    init: Option<Timestamp>,
}

/// The text that all segments of an hour share.
#[derive(Debug)]
struct HourText {
    hour: Hour,
    /// The line of a segment's date and time, up to the minutes.
    date: String,
    /// A segment's URI up to the file's name.
    uri: String,
}

impl MediaPlaylist {
    /// Starts a playlist. The segments' URIs are `uri_prefix`, `/`, the hour, `/` and the file's name.
    pub fn begin(uri_prefix: &str, head: &Head) -> Self {
        // RFC 8216, section 7, and 8216bis, section 8: version 9 has EXT-X-SKIP. Version 6 would do for EXT-X-MAP, but some
        // players expect fragments of MP4 in version 7 only.
        let version = match head {
            Head { skipped: 1.., .. } => 9,
            Head { is_fragmented: true, .. } => 7,
            _ => 3,
        };
        let mut text =
            format!("#EXTM3U\n#EXT-X-VERSION:{version}\n#EXT-X-TARGETDURATION:{}\n", head.target_secs);
        if let Some((number, discontinuity)) = head.sequence {
            let lines =
                format!("#EXT-X-MEDIA-SEQUENCE:{number}\n#EXT-X-DISCONTINUITY-SEQUENCE:{discontinuity}\n");
            text.push_str(&lines);
        }
        if let Some(seconds) = head.play_from_secs {
            let _ = writeln!(text, "#EXT-X-START:TIME-OFFSET={seconds}");
        }
        if let Some(seconds) = head.can_skip_until_secs {
            let _ = writeln!(text, "#EXT-X-SERVER-CONTROL:CAN-SKIP-UNTIL={seconds}");
        }
        if head.skipped > 0 {
            let _ = writeln!(text, "#EXT-X-SKIP:SKIPPED-SEGMENTS={}", head.skipped);
        }
        let (is_finished, is_empty) = (head.is_finished, head.skipped == 0);
        Self {
            text: text.into_bytes(),
            uri_prefix: format!("{uri_prefix}/"),
            is_finished,
            is_empty,
            hour: None,
            init: None,
        }
    }

    /// Writes the next segment, as a fragment of MP4 if it is given how. A gap before the first one is not written.
    pub fn segment(&mut self, segment: &Segment, gap_before: bool, fragment: Option<Fragment>) {
        let Self { text, uri_prefix, hour, is_empty, init, .. } = self;
        if gap_before && !*is_empty {
            text.extend_from_slice(b"#EXT-X-DISCONTINUITY\n");
        }
        *is_empty = false;
        let hour = match hour {
            Some(known) if known.hour == segment.hour => known,
            _ => hour.insert(HourText::new(segment.hour, uri_prefix)),
        };
        if let Some(Fragment { init: from, init_query, .. }) = fragment
            && (init.replace(from.start()) != Some(from.start()) || gap_before)
        {
            text.extend_from_slice(b"#EXT-X-MAP:URI=\"");
            text.extend_from_slice(hour.uri.as_bytes());
            from.name.append_stem_to(text, &from.name.time_digits(), COLON);
            text.extend_from_slice(INIT.as_bytes());
            text.extend_from_slice(init_query.as_bytes());
            text.extend_from_slice(b"\"\n");
        }
        text.extend_from_slice(hour.date.as_bytes());
        let digits = segment.name.time_digits();
        let TimeDigits { offset: ([m1, m0, s1, s0], micros), duration } = &digits;
        text.extend_from_slice(&[*m1, *m0, b':', *s1, *s0, b'.']);
        text.extend_from_slice(micros);
        text.extend_from_slice(b"Z\n#EXTINF:");
        push_seconds(text, duration);
        text.extend_from_slice(b",\n");
        text.extend_from_slice(hour.uri.as_bytes());
        segment.name.append_stem_to(text, &digits, COLON);
        let (extension, query) = fragment.map_or((SEGMENT, ""), |fragment| (FRAGMENT, fragment.query));
        text.extend_from_slice(extension.as_bytes());
        text.extend_from_slice(query.as_bytes());
        text.push(b'\n');
    }

    /// The text so far. The caller may drain it after sending.
    pub fn text(&mut self) -> &mut Vec<u8> {
        &mut self.text
    }

    /// Ends the playlist, and returns the text that was not drained.
    pub fn end(mut self) -> Vec<u8> {
        if self.is_finished {
            self.text.extend_from_slice(b"#EXT-X-ENDLIST\n");
        }
        self.text
    }
}

impl HourText {
    fn new(hour: Hour, uri_prefix: &str) -> Self {
        let date = format!("#EXT-X-PROGRAM-DATE-TIME:{hour}:");
        Self { hour, date, uri: format!("{uri_prefix}{}/", hour_name(hour)) }
    }
}

/// Writes a duration as [`Span`] displays it, but faster.
fn push_seconds(text: &mut Vec<u8>, (whole, fraction): &([u8; 9], [u8; 6])) {
    let zeros = whole[..8].iter().take_while(|digit| **digit == b'0').count();
    text.extend_from_slice(&whole[zeros..]);
    text.push(b'.');
    text.extend_from_slice(fraction.strip_suffix(b"000").unwrap_or(fraction));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::layout::SegmentName;

    #[test]
    fn a_playlist_has_dates_durations_gaps_and_encoded_uris() {
        let hour = Hour::parse("2026-11-20T10").expect("an hour");
        let segment = |name| Segment { hour, name: SegmentName::parse(name).expect(name) };
        let mut list = MediaPlaylist::begin("../../segments/a%20b/source", &Head::new(3, true));
        list.segment(&segment("55:02.000-2.000-full-x.ts"), true, None);
        list.segment(&segment("55:04.000001-2.002001-full-y.ts"), true, None);
        list.segment(&segment("55:06.0022-10-full-z.ts"), false, None);
        let text = String::from_utf8(list.end()).unwrap();
        let expected = "\
            #EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:3\n\
            #EXT-X-PROGRAM-DATE-TIME:2026-11-20T10:55:02.000000Z\n#EXTINF:2.000,\n\
            ../../segments/a%20b/source/2026-11-20T10/55%3A02.000-2.000-full-x.ts\n\
            #EXT-X-DISCONTINUITY\n\
            #EXT-X-PROGRAM-DATE-TIME:2026-11-20T10:55:04.000001Z\n#EXTINF:2.002001,\n\
            ../../segments/a%20b/source/2026-11-20T10/55%3A04.000001-2.002001-full-y.ts\n\
            #EXT-X-PROGRAM-DATE-TIME:2026-11-20T10:55:06.002200Z\n#EXTINF:10.000,\n\
            ../../segments/a%20b/source/2026-11-20T10/55%3A06.0022-10-full-z.ts\n\
            #EXT-X-ENDLIST\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn an_update_says_what_it_skips_and_has_the_gap_behind_that() {
        let hour = Hour::parse("2026-11-20T10").expect("an hour");
        let sequence = Some((1_795_171_502, 7));
        let head = Head {
            sequence,
            play_from_secs: Some(-9),
            can_skip_until_secs: Some(18),
            skipped: 400,
            ..Head::new(3, false)
        };
        let mut list = MediaPlaylist::begin("x", &head);
        let name = SegmentName::parse("55:02-2-full-x.ts").expect("a name");
        list.segment(&Segment { hour, name }, true, None);
        let text = String::from_utf8(list.end()).unwrap();
        let expected = "\
            #EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:3\n#EXT-X-MEDIA-SEQUENCE:1795171502\n\
            #EXT-X-DISCONTINUITY-SEQUENCE:7\n#EXT-X-START:TIME-OFFSET=-9\n\
            #EXT-X-SERVER-CONTROL:CAN-SKIP-UNTIL=18\n#EXT-X-SKIP:SKIPPED-SEGMENTS=400\n\
            #EXT-X-DISCONTINUITY\n#EXT-X-PROGRAM-DATE-TIME:2026-11-20T10:55:02.000000Z\n#EXTINF:2.000,\n\
            x/2026-11-20T10/55%3A02-2-full-x.ts\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn fragments_have_the_initialization_section_of_their_run_in_their_hour() {
        let segment = |hour, name| {
            let hour = Hour::parse(hour).expect("an hour");
            Segment { hour, name: SegmentName::parse(name).expect(name) }
        };
        let (ten, eleven) = ("2026-11-20T10", "2026-11-20T11");
        let a = segment(ten, "55:02-2-full-a.ts");
        let b = segment(ten, "55:04-2-full-b.ts");
        let c = segment(ten, "59:58-2-full-c.ts");
        let d = segment(eleven, "00:00-2-full-d.ts");
        // `b` continues `a`, which lies before the playlist; `d` continues `c`.
        let rows = [(b, a, false), (c, c, true), (d, d, false)];
        for skipped in [0, 1] {
            let head = Head { is_fragmented: true, skipped, ..Head::new(2, true) };
            let mut list = MediaPlaylist::begin("../../fmp4/s/v", &head);
            for (segment, init, gap_before) in rows {
                let fragment = Fragment { init, init_query: "?v=1", query: "?v=1&o=90" };
                list.segment(&segment, gap_before, Some(fragment));
            }
            let skip = if skipped > 0 { "#EXT-X-SKIP:SKIPPED-SEGMENTS=1\n" } else { "" };
            let expected = format!(
                "\
                #EXTM3U\n#EXT-X-VERSION:{}\n#EXT-X-TARGETDURATION:2\n{skip}\
                #EXT-X-MAP:URI=\"../../fmp4/s/v/2026-11-20T10/55%3A02-2-full-a.init.mp4?v=1\"\n\
                #EXT-X-PROGRAM-DATE-TIME:2026-11-20T10:55:04.000000Z\n#EXTINF:2.000,\n\
                ../../fmp4/s/v/2026-11-20T10/55%3A04-2-full-b.m4s?v=1&o=90\n\
                #EXT-X-DISCONTINUITY\n\
                #EXT-X-MAP:URI=\"../../fmp4/s/v/2026-11-20T10/59%3A58-2-full-c.init.mp4?v=1\"\n\
                #EXT-X-PROGRAM-DATE-TIME:2026-11-20T10:59:58.000000Z\n#EXTINF:2.000,\n\
                ../../fmp4/s/v/2026-11-20T10/59%3A58-2-full-c.m4s?v=1&o=90\n\
                #EXT-X-MAP:URI=\"../../fmp4/s/v/2026-11-20T11/00%3A00-2-full-d.init.mp4?v=1\"\n\
                #EXT-X-PROGRAM-DATE-TIME:2026-11-20T11:00:00.000000Z\n#EXTINF:2.000,\n\
                ../../fmp4/s/v/2026-11-20T11/00%3A00-2-full-d.m4s?v=1&o=90\n\
                #EXT-X-ENDLIST\n",
                if skipped > 0 { 9 } else { 7 }
            );
            assert_eq!(String::from_utf8(list.end()).unwrap(), expected);
        }
    }

    #[test]
    fn durations_are_written_as_spans_display_them() {
        for duration in
            ["0", "0.000001", "0.000999", "0.001", "0.033367", "0.999", "2", "9.999999", "999999999.999999"]
        {
            let name = format!("00:00-{duration}-full-x.ts");
            let name = SegmentName::parse(&name).expect("a name");
            let mut text = Vec::new();
            push_seconds(&mut text, &name.time_digits().duration);
            assert_eq!(String::from_utf8(text).unwrap(), name.duration.to_string());
        }
    }

    #[test]
    fn the_target_is_no_less_than_any_segment_and_at_least_one() {
        for (millis, secs) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (2000, 2), (2002, 3)] {
            assert_eq!(target_secs(Span::from_millis(millis)), secs, "{millis} ms");
        }
    }
}
