//! What an HLS list (RFC 8216) tells about the times of its segments. Pure.

use crate::timestamp::{Span, Timestamp};

/// So many stretches between discontinuities are looked at, the newest ones.
const MAX_STRETCHES: usize = 3;

/// A list, as far as times are concerned.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum List {
    /// A multivariant list: the address of the first variant with a video, as the list has it.
    Multivariant(String),
    /// A media list.
    Media(MediaList),
}

/// The segments of a media list.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct MediaList {
    sequence: u64,
    is_finished: bool,
    segments: Vec<Segment>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Segment {
    uri: String,
    duration_us: i64,
    /// `EXT-X-PROGRAM-DATE-TIME`: when its first frame was captured.
    date_time: Option<Timestamp>,
    /// Whether its clock is another one than that of the segment before.
    is_discontinuous: bool,
}

/// Segments without a discontinuity between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stretch {
    /// The number of the segment in the list that is best to find their clock with.
    pub(super) index: usize,
    /// When its first frame was captured.
    pub(super) time: Timestamp,
    /// How long the segments before it are, together.
    pub(super) before_us: i64,
    /// How long it and those behind it are, together; `None` for the last stretch of a list, which grows.
    pub(super) after_us: Option<i64>,
}

impl List {
    /// Parses a list.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let mut lines = text.trim_start_matches('\u{FEFF}').lines().map(str::trim);
        if lines.next() != Some("#EXTM3U") {
            return Err("it does not begin with #EXTM3U");
        }
        let (mut media, mut next) = (MediaList::default(), Segment::default());
        let (mut variant, mut with_video): (Option<&str>, Option<&str>) = (None, None);
        let (mut attributes, mut has_duration) = (None, false);
        for line in lines {
            if let Some(tag) = line.strip_prefix("#EXT") {
                let (name, value) = tag.split_once(':').unwrap_or((tag, ""));
                match name {
                    "INF" => (next.duration_us, has_duration) = (duration_us(value)?, true),
                    "-X-PROGRAM-DATE-TIME" => {
                        let time = Timestamp::parse(value.trim());
                        next.date_time = Some(time.ok_or("an EXT-X-PROGRAM-DATE-TIME is no time")?);
                    }
                    "-X-DISCONTINUITY" => next.is_discontinuous = true,
                    "-X-MEDIA-SEQUENCE" => media.sequence = value.trim().parse().unwrap_or_default(),
                    "-X-ENDLIST" => media.is_finished = true,
                    "-X-STREAM-INF" => attributes = Some(value),
                    _ => {}
                }
            } else if !line.is_empty() && !line.starts_with('#') {
                if let Some(attributes) = attributes.take() {
                    variant = variant.or(Some(line));
                    with_video = with_video.or(has_attribute(attributes, "RESOLUTION").then_some(line));
                } else if std::mem::take(&mut has_duration) {
                    media.segments.push(Segment { uri: line.to_owned(), ..std::mem::take(&mut next) });
                }
            }
        }
        Ok(match with_video.or(variant) {
            Some(variant) => Self::Multivariant(variant.to_owned()),
            None => Self::Media(media),
        })
    }
}

impl MediaList {
    /// The newest stretches of the list whose times it gives, newest first. ffmpeg reads a list that has ended from its
    /// beginning only, so of that there is one, if it has no discontinuity.
    pub(super) fn stretches(&self) -> Vec<Stretch> {
        let starts = self.segments.iter().enumerate().skip(1);
        let mut starts: Vec<_> =
            starts.filter(|(_, segment)| segment.is_discontinuous).map(|(index, _)| index).collect();
        if self.is_finished && !starts.is_empty() {
            return Vec::new();
        }
        starts.insert(0, 0);
        let mut end = self.segments.len();
        let mut found = Vec::new();
        for start in starts.into_iter().rev().take(MAX_STRETCHES) {
            found.extend(self.stretch(start, end));
            end = start;
        }
        found
    }

    fn stretch(&self, start: usize, end: usize) -> Option<Stretch> {
        let segments = &self.segments[start..end];
        let (dated, time) = segments.iter().enumerate().rev().find_map(|(at, segment)| {
            let time = segment.date_time?;
            Some((at, time))
        })?;
        let length = |from: usize, to: usize| -> i64 {
            segments[from..to].iter().map(|segment| segment.duration_us).sum()
        };
        let at = if self.is_finished { 0 } else { dated };
        let is_last = end == self.segments.len();
        Some(Stretch {
            index: start + at,
            time: time - Span::from_micros(length(at, dated)),
            before_us: length(0, at),
            after_us: (!is_last).then(|| length(at, segments.len())),
        })
    }

    /// Whether the segment of that number is the same one in both lists.
    pub(super) fn has_same(&self, other: &Self, index: usize) -> bool {
        let segment = self.segments.get(index);
        self.sequence == other.sequence && segment.is_some() && segment == other.segments.get(index)
    }

    /// How long the longest segment is.
    pub(super) fn longest_us(&self) -> i64 {
        self.segments.iter().map(|segment| segment.duration_us).max().unwrap_or_default()
    }
}

/// The duration in the value of `EXTINF`, which a comma and a title may follow.
fn duration_us(value: &str) -> Result<i64, &'static str> {
    let seconds = value.split(',').next().unwrap_or_default().trim();
    let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
    let fraction = fraction.get(..6).unwrap_or(fraction);
    let span = Span::parse_seconds(&format!("{whole}.{fraction}"));
    span.map(Span::micros).ok_or("an EXTINF has no duration")
}

/// Whether an attribute list has an attribute. Commas and names in quoted strings do not count.
fn has_attribute(list: &str, name: &str) -> bool {
    let outside = list.split('"').step_by(2);
    outside.flat_map(|text| text.split(',')).any(|text| text.trim().split('=').next() == Some(name))
}

/// The address that `reference` means in a list at `base` (RFC 3986, section 5); `None` if it leads from a network
/// elsewhere, or from a file into a network.
pub(super) fn absolute(base: &str, reference: &str) -> Option<String> {
    let base = base.split('#').next().unwrap_or_default();
    let Some((scheme, rest)) = base.split_once("://") else {
        let directory = base.rfind('/').map_or("", |at| &base[..=at]);
        let is_path = !reference.contains(':');
        return is_path.then(|| {
            if reference.starts_with('/') { reference.to_owned() } else { format!("{directory}{reference}") }
        });
    };
    if let Some((other, _)) = reference.split_once("://").filter(|(other, _)| !other.contains(['/', '?'])) {
        let is_http = ["http", "https"].iter().any(|known| other.eq_ignore_ascii_case(known));
        return is_http.then(|| reference.to_owned());
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let path = path.split('?').next().unwrap_or_default();
    if let Some(host_and_path) = reference.strip_prefix("//") {
        return Some(format!("{scheme}://{host_and_path}"));
    }
    let (reference, query) = reference.split_at(reference.find('?').unwrap_or(reference.len()));
    let directory = path.rfind('/').map_or("/", |at| &path[..=at]);
    let path = match reference {
        "" => path.to_owned(),
        _ if reference.starts_with('/') => without_dots(reference),
        _ => without_dots(&format!("{directory}{reference}")),
    };
    Some(format!("{scheme}://{authority}{path}{query}"))
}

/// A path without `.` and `..`.
fn without_dots(path: &str) -> String {
    let mut kept = Vec::new();
    let parts: Vec<_> = path.split('/').skip(1).collect();
    for (at, part) in parts.iter().enumerate() {
        let is_last = at + 1 == parts.len();
        match *part {
            ".." => drop(kept.pop()),
            "." => {}
            part => kept.push(part),
        }
        if is_last && [".", ".."].contains(part) {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        Timestamp::parse(text).expect("a time")
    }

    fn media(text: &str) -> MediaList {
        match List::parse(&format!("#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:7\n{text}")) {
            Ok(List::Media(media)) => media,
            other => panic!("{other:?}"),
        }
    }

    const DATED: &str = "#EXT-X-PROGRAM-DATE-TIME:2026-11-20T10:00:00Z\n";

    #[test]
    fn stretches_between_discontinuities_have_times() {
        let plain = |index, seconds, before: i64, after: Option<i64>| Stretch {
            index,
            time: time("2026-11-20T10:00:00") + Span::from_secs(seconds),
            before_us: before * 1_000_000,
            after_us: after.map(|after| after * 1_000_000),
        };
        let segment = "#EXTINF:2,\na.ts\n";
        let later = "#EXT-X-PROGRAM-DATE-TIME:2026-11-20T10:00:30Z\n";
        let (gap, end) = ("#EXT-X-DISCONTINUITY\n", "#EXT-X-ENDLIST\n");
        for (parts, expected) in [
            (vec![], vec![]),
            (vec![segment, segment], vec![]),
            (vec![DATED, segment, segment], vec![plain(0, 0, 0, None)]),
            (vec![segment, DATED, segment, segment], vec![plain(1, 0, 2, None)]),
            (vec![DATED, segment, later, segment, segment], vec![plain(1, 30, 2, None)]),
            (
                vec![segment, DATED, segment, segment, gap, later, segment],
                vec![plain(3, 30, 0, None), plain(1, 0, 2, Some(4))],
            ),
            (vec![DATED, segment, segment, gap, segment], vec![plain(0, 0, 0, Some(4))]),
            // Only its first segment can be found.
            (vec![segment, segment, DATED, segment, end], vec![plain(0, -4, 0, None)]),
            (vec![DATED, segment, gap, DATED, segment, end], vec![]),
        ] {
            assert_eq!(media(&parts.concat()).stretches(), expected, "{parts:?}");
        }
        let many = format!("{DATED}{segment}{gap}").repeat(9);
        assert_eq!(
            media(&many).stretches().iter().map(|stretch| stretch.index).collect::<Vec<_>>(),
            [8, 7, 6]
        );
    }

    #[test]
    fn date_times_have_zones_and_any_number_of_digits() {
        for (text, expected) in [
            ("2026-11-20T10:00:00.5Z", Some("2026-11-20T10:00:00.5Z")),
            ("2026-11-20T12:00:00.123456789+02:00", Some("2026-11-20T10:00:00.123456Z")),
            ("2026-11-20T10:00:00.031+0000", Some("2026-11-20T10:00:00.031Z")),
            ("2026-11-20T05:30:00-04:30 ", Some("2026-11-20T10:00:00Z")),
            ("2026-11-20T10:00:00", Some("2026-11-20T10:00:00Z")),
            ("tomorrow", None),
        ] {
            let list =
                format!("#EXTM3U\r\n#EXTINF:2.0000001,x\r\n#EXT-X-PROGRAM-DATE-TIME:{text}\r\na.ts\r\n");
            let found = match List::parse(&list) {
                Ok(List::Media(media)) => media.stretches().first().map(|stretch| stretch.time),
                _ => None,
            };
            assert_eq!(found, expected.map(time), "{text}");
        }
    }

    #[test]
    fn what_is_no_list_is_refused_and_unknown_tags_are_not() {
        assert!(List::parse("<html>").is_err());
        assert!(List::parse("#EXTM3U\n#EXTINF:x,\na.ts\n").is_err());
        let ranges = "#EXT-X-MAP:URI=\"i.mp4\",BYTERANGE=\"9@0\"\n#EXTINF:2.5, a, \"b\"\n#EXT-X-BYTERANGE:5@9\n# x\na.mp4\n\
                      #EXT-X-PART:DURATION=1,URI=\"p\"\n";
        let found = media(&format!("{DATED}{ranges}"));
        assert_eq!((found.segments.len(), found.longest_us(), found.stretches().len()), (1, 2_500_000, 1));
    }

    #[test]
    fn a_segment_is_known_again() {
        let list = |sequence: &str, names: &[&str]| {
            let segments: Vec<_> = names.iter().map(|name| format!("#EXTINF:2,\n{name}\n")).collect();
            media(&format!("#EXT-X-MEDIA-SEQUENCE:{sequence}\n{}", segments.concat()))
        };
        let before = list("7", &["a", "b"]);
        for (after, index, expected) in [
            (list("7", &["a", "b", "c"]), 1, true),
            (list("7", &["a", "b"]), 2, false),
            (list("8", &["b", "c"]), 1, false),
            (list("7", &["b", "c"]), 1, false),
        ] {
            assert_eq!(before.has_same(&after, index), expected, "{after:?}");
        }
    }

    #[test]
    fn the_first_variant_with_a_video_is_taken() {
        let audio =
            "#EXT-X-STREAM-INF:BANDWIDTH=1,CODECS=\"mp4a.40.2\",NAME=\"no, RESOLUTION=1\"\naudio.m3u8\n";
        let video = "#EXT-X-STREAM-INF:BANDWIDTH=1,CODECS=\"avc1,mp4a\",RESOLUTION=1x1\n";
        let frames = "#EXT-X-I-FRAME-STREAM-INF:URI=\"frames.m3u8\",RESOLUTION=1x1\n";
        for (text, expected) in [
            (format!("#EXTM3U\n{audio}{frames}{video}a/b.m3u8?x=1\n{video}c.m3u8\n"), "a/b.m3u8?x=1"),
            (format!("\u{FEFF}#EXTM3U\n{audio}"), "audio.m3u8"),
        ] {
            assert_eq!(List::parse(&text), Ok(List::Multivariant(expected.to_owned())));
        }
    }

    #[test]
    fn addresses_are_relative_to_the_list() {
        for (base, reference, expected) in [
            ("https://h:1/a/b.m3u8?t=x/y#z", "c.m3u8", Some("https://h:1/a/c.m3u8")),
            ("https://h/a/b.m3u8", "c/d.m3u8?e=http://x", Some("https://h/a/c/d.m3u8?e=http://x")),
            ("https://h/a/b/c.m3u8", "../d/./e.m3u8", Some("https://h/a/d/e.m3u8")),
            ("https://h/a", "../../..", Some("https://h/")),
            ("https://h/a/b.m3u8", "/c.m3u8", Some("https://h/c.m3u8")),
            ("https://h/a/b.m3u8?t=1", "?t=2", Some("https://h/a/b.m3u8?t=2")),
            ("https://h?a/b", "c", Some("https://h/c")),
            ("https://u:p@h/a", "//i/b", Some("https://i/b")),
            ("https://h/a", "HTTP://i/b", Some("HTTP://i/b")),
            ("https://h/a", "file:///etc/passwd", None),
            ("/a/b.m3u8", "c.m3u8", Some("/a/c.m3u8")),
            ("b.m3u8", "c.m3u8", Some("c.m3u8")),
            ("/a/b.m3u8", "https://h/c", None),
        ] {
            assert_eq!(absolute(base, reference).as_deref(), expected, "{base} {reference}");
        }
    }
}
