//! Conditional requests and byte ranges (RFC 9110, sections 13 and 14). Pure.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use httpdate::HttpDate;
use tiny_http::Method;

use super::request::Request;

/// The validators of a response (RFC 9110, section 8.8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validators {
    /// The entity tag, with its quotes and, if it is weak, its `W/`.
    pub etag: String,
    /// The value of `Last-Modified`.
    pub last_modified: Option<HttpDate>,
}

/// The byte range that a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteRange {
    /// The whole representation.
    Whole,
    /// A part of it.
    Part {
        /// Its first byte.
        offset: u64,
        /// Its length in bytes; at least one.
        len: u64,
    },
    /// A range behind its end: 416.
    Unsatisfiable,
}

impl Validators {
    /// Whether the client's copy is current, so that the response is a 304. `If-None-Match` takes precedence over
    /// `If-Modified-Since` (RFC 9110, section 13.2.2).
    pub fn not_modified(&self, request: &Request) -> bool {
        let mut tags = request.header_values("If-None-Match").peekable();
        if tags.peek().is_some() {
            return tags.any(|list| list_contains(list, &self.etag));
        }
        let since = request.header("If-Modified-Since").and_then(|date| date.parse().ok());
        since.is_some_and(|since| self.last_modified.is_some_and(|modified| modified <= since))
    }

    /// The range that is asked for of `len` bytes. It is the whole for methods other than GET, for several ranges at
    /// once, for a malformed range, and if `If-Range` does not match.
    pub fn range(&self, request: &Request, len: u64) -> ByteRange {
        let ranges = request.header("Range").filter(|_| request.method == Method::Get);
        match (ranges, request.header("If-Range")) {
            (Some(ranges), None) => parse_range(ranges, len),
            (Some(ranges), Some(condition)) if self.matches_strongly(condition) => parse_range(ranges, len),
            _ => ByteRange::Whole,
        }
    }

    /// Whether `If-Range` matches: by strong comparison of entity tags, or by the exact date.
    fn matches_strongly(&self, condition: &str) -> bool {
        if condition.starts_with('"') || condition.starts_with("W/") {
            return condition == self.etag && !self.etag.starts_with("W/");
        }
        let date = condition.parse().ok();
        date.is_some() && date == self.last_modified
    }
}

/// A time as an HTTP date, in whole seconds. A time before 1970 or after 9999 becomes the nearest date in between.
pub fn http_date(time: SystemTime) -> HttpDate {
    let latest = Duration::from_secs(253_402_300_799);
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    HttpDate::from(UNIX_EPOCH + since.min(latest))
}

/// Whether a list of entity tags is `*` or contains `etag` by weak comparison.
fn list_contains(list: &str, etag: &str) -> bool {
    let opaque = etag.trim_start_matches("W/").trim_matches('"');
    // A tag may contain commas, so tags are found by their quotes: each is a piece with another one behind it.
    let pieces: Vec<&str> = list.split('"').skip(1).collect();
    list.trim() == "*" || pieces.chunks_exact(2).any(|tag| tag[0] == opaque)
}

/// Parses `bytes=a-b`, `bytes=a-` or `bytes=-n`.
fn parse_range(text: &str, len: u64) -> ByteRange {
    let Some((unit, range)) = text.split_once('=') else { return ByteRange::Whole };
    let Some((first, last)) = range.trim().split_once('-') else { return ByteRange::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return ByteRange::Whole;
    }
    let (first, last) = match (number(first), number(last)) {
        (Some(first), None) if last.is_empty() => (first, u64::MAX),
        (Some(first), Some(last)) if first <= last => (first, last),
        (None, Some(count)) if first.is_empty() && count > 0 => (len.saturating_sub(count), u64::MAX),
        (None, Some(0)) if first.is_empty() => return ByteRange::Unsatisfiable,
        _ => return ByteRange::Whole,
    };
    if first >= len {
        return ByteRange::Unsatisfiable;
    }
    ByteRange::Part { offset: first, len: last.min(len - 1) - first + 1 }
}

/// Parses a decimal number; one that exceeds 64 bits becomes `u64::MAX`.
fn number(text: &str) -> Option<u64> {
    let all_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    all_digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use tiny_http::{HTTPVersion, Header};

    fn request(method: Method, headers: &[(&str, &str)]) -> Request {
        let header = |(name, value): &(&str, &str)| Header::from_bytes(*name, *value).expect("a header");
        Request {
            method,
            target: "/".to_owned(),
            version: HTTPVersion(1, 1),
            headers: headers.iter().map(header).collect(),
            body: Arc::default(),
            client: ([127, 0, 0, 1], 1).into(),
        }
    }

    fn strong() -> Validators {
        let modified = UNIX_EPOCH + Duration::from_millis(784_111_777_500);
        Validators { etag: "\"abc\"".to_owned(), last_modified: Some(http_date(modified)) }
    }

    #[test]
    fn a_time_outside_the_range_of_http_dates_becomes_the_nearest_date() {
        let second = Duration::from_secs(1);
        assert_eq!(http_date(UNIX_EPOCH - second).to_string(), "Thu, 01 Jan 1970 00:00:00 GMT");
        let late = UNIX_EPOCH + second * u32::MAX * 100;
        assert_eq!(http_date(late).to_string(), "Fri, 31 Dec 9999 23:59:59 GMT");
    }

    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const DAY_BEFORE: &str = "Sat, 05 Nov 1994 08:49:37 GMT";

    #[test]
    fn byte_ranges_are_parsed() {
        let part = |offset, len| ByteRange::Part { offset, len };
        let rows = [
            ("bytes=0-", 10, part(0, 10)),
            ("bytes=0-0", 10, part(0, 1)),
            ("bytes=2-4", 10, part(2, 3)),
            ("bytes=2-400", 10, part(2, 8)),
            ("bytes=9-", 10, part(9, 1)),
            ("bytes=-1", 10, part(9, 1)),
            ("bytes=-10", 10, part(0, 10)),
            ("bytes=-11", 10, part(0, 10)),
            ("BYTES=1-1", 10, part(1, 1)),
            ("bytes= 1-1", 10, part(1, 1)),
            ("bytes=0-99999999999999999999999", 10, part(0, 10)),
            ("bytes=10-", 10, ByteRange::Unsatisfiable),
            ("bytes=99999999999999999999999-", 10, ByteRange::Unsatisfiable),
            ("bytes=-0", 10, ByteRange::Unsatisfiable),
            ("bytes=0-", 0, ByteRange::Unsatisfiable),
            ("bytes=-5", 0, ByteRange::Unsatisfiable),
            ("bytes=4-2", 10, ByteRange::Whole),
            ("bytes=0-1,3-4", 10, ByteRange::Whole),
            ("bytes=-", 10, ByteRange::Whole),
            ("bytes=", 10, ByteRange::Whole),
            ("bytes=a-b", 10, ByteRange::Whole),
            ("bytes=+1-2", 10, ByteRange::Whole),
            ("bytes=1 - 2", 10, ByteRange::Whole),
            ("bytes 0-1", 10, ByteRange::Whole),
            ("items=0-1", 10, ByteRange::Whole),
            ("", 10, ByteRange::Whole),
        ];
        for (range, len, expected) in rows {
            assert_eq!(
                strong().range(&request(Method::Get, &[("Range", range)]), len),
                expected,
                "{range} of {len}"
            );
        }
        assert_eq!(strong().range(&request(Method::Head, &[("Range", "bytes=0-0")]), 10), ByteRange::Whole);
    }

    #[test]
    fn if_range_must_match_strongly_or_the_whole_is_sent() {
        let part = ByteRange::Part { offset: 0, len: 1 };
        let rows = [
            ("\"abc\"", part),
            ("\"xyz\"", ByteRange::Whole),
            ("W/\"abc\"", ByteRange::Whole),
            (DATE, part),
            (DAY_BEFORE, ByteRange::Whole),
            ("Mon, 07 Nov 1994 08:49:37 GMT", ByteRange::Whole),
            ("rubbish", ByteRange::Whole),
        ];
        for (condition, expected) in rows {
            let headers = [("Range", "bytes=0-0"), ("If-Range", condition)];
            assert_eq!(strong().range(&request(Method::Get, &headers), 10), expected, "{condition}");
        }
        let weak = Validators { etag: "W/\"abc\"".to_owned(), last_modified: None };
        let headers = [("Range", "bytes=0-0"), ("If-Range", "W/\"abc\"")];
        assert_eq!(weak.range(&request(Method::Get, &headers), 10), ByteRange::Whole);
    }

    #[test]
    fn if_none_match_takes_precedence_over_if_modified_since() {
        let rows: [(&[(&str, &str)], bool); 15] = [
            (&[], false),
            (&[("If-None-Match", "\"abc\"")], true),
            (&[("If-None-Match", "W/\"abc\"")], true),
            (&[("If-None-Match", "\"x\", \"abc\"")], true),
            (&[("If-None-Match", "\"x,\",\"abc\"")], true),
            (&[("If-None-Match", "\"x\""), ("If-None-Match", "\"abc\"")], true),
            (&[("If-None-Match", "*")], true),
            (&[("If-None-Match", "\"x\"")], false),
            (&[("If-None-Match", "abc")], false),
            (&[("If-None-Match", "\"abc")], false),
            (&[("If-None-Match", "\"x\""), ("If-Modified-Since", DATE)], false),
            (&[("If-Modified-Since", DATE)], true),
            (&[("If-Modified-Since", DAY_BEFORE)], false),
            (&[("If-Modified-Since", "yesterday")], false),
            (&[("If-None-Match", "\"abc\""), ("If-Modified-Since", DAY_BEFORE)], true),
        ];
        for (headers, unchanged) in rows {
            assert_eq!(strong().not_modified(&request(Method::Get, headers)), unchanged, "{headers:?}");
        }
    }
}
