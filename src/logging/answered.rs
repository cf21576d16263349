//! The line of the log about a request that is over.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::push_time;
use crate::decimal::push_number;
use crate::timestamp::{Span, Timestamp};

/// Where these lines come from, as the log names it and monitors count it.
pub(super) const MODULE: &str = "server::exchange";

/// A request that is over.
#[derive(Debug, Clone, Copy)]
pub struct Answered<'a> {
    /// The method, as it came.
    pub method: &'a str,
    /// The target, as it came.
    pub target: &'a str,
    /// How it went.
    pub outcome: Outcome,
    /// What the system said where the response ended before its end; empty if nothing.
    pub cause: &'a str,
}

/// How a request went.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// Who asked.
    pub client: SocketAddr,
    /// The status of the response.
    pub status: u16,
    /// Bytes of its body that were sent.
    pub bytes: u64,
    /// When the request was there.
    pub begun: Instant,
    /// When all was over.
    pub ended: Instant,
    /// In a word why the response ended before its end, if it did.
    pub aborted: Option<&'static str>,
}

/// The same instant by two clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) instant: Instant,
    pub(super) time: Timestamp,
}

impl Answered<'_> {
    /// Writes the line with its end. It is put together without much ado: the standard formatter would take longer for
    /// it than for all else that is done for the log.
    pub(super) fn push_line(&self, text: &mut Vec<u8>, now: Moment) {
        let Outcome { client, status, bytes, begun, ended, aborted } = self.outcome;
        let ago = now.instant.saturating_duration_since(ended);
        push_time(text, now.time - Span::from_micros(i64::try_from(ago.as_micros()).unwrap_or(i64::MAX)));
        text.extend_from_slice(b" INFO ");
        text.extend_from_slice(MODULE.as_bytes());
        text.extend_from_slice(b": client=");
        push_address(text, client);
        text.extend_from_slice(b" method=");
        text.extend_from_slice(self.method.as_bytes());
        text.extend_from_slice(b" target=\"");
        push_escaped(text, self.target);
        text.extend_from_slice(b"\" status=");
        push_number(text, status.into());
        text.extend_from_slice(b" bytes=");
        push_number(text, bytes);
        text.extend_from_slice(b" ms=");
        push_millis(text, ended.saturating_duration_since(begun));
        text.extend_from_slice(b" aborted=");
        text.extend_from_slice(aborted.unwrap_or("no").as_bytes());
        if !self.cause.is_empty() {
            text.extend_from_slice(b" cause=\"");
            push_escaped(text, self.cause);
            text.push(b'"');
        }
        text.push(b'\n');
    }
}

/// Writes what others have chosen so that it cannot break a line or the quotes that it stands in.
fn push_escaped(text: &mut Vec<u8>, said: &str) {
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\'' | b'\\');
    // Looked at to its end in any case, which is the quicker way where it is plain.
    if said.bytes().fold(true, |plain, byte| plain & is_plain(byte)) {
        text.extend_from_slice(said.as_bytes());
    } else {
        text.extend_from_slice(said.escape_debug().to_string().as_bytes());
    }
}

fn push_address(text: &mut Vec<u8>, address: SocketAddr) {
    let SocketAddr::V4(address) = address else {
        return text.extend_from_slice(address.to_string().as_bytes());
    };
    for (octet, end) in address.ip().octets().into_iter().zip(*b"...:") {
        push_number(text, octet.into());
        text.push(end);
    }
    push_number(text, address.port().into());
}

/// Writes a time in milliseconds, rounded to tenths.
fn push_millis(text: &mut Vec<u8>, time: Duration) {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let tenths = micros.saturating_add(50) / 100;
    push_number(text, tenths / 10);
    text.push(b'.');
    push_number(text, tenths % 10);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pushed(push: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut text = Vec::new();
        push(&mut text);
        String::from_utf8(text).expect("text")
    }

    #[test]
    fn parts_read_as_the_standard_formatter_writes_them() {
        for address in ["0.0.0.0:0", "127.0.0.1:80", "255.254.100.9:65535", "[::1]:8000"] {
            assert_eq!(pushed(|text| push_address(text, address.parse().expect("an address"))), address);
        }
        for (micros, millis) in
            [(0, "0.0"), (49, "0.0"), (50, "0.1"), (949, "0.9"), (950, "1.0"), (60_012_345, "60012.3")]
        {
            assert_eq!(pushed(|text| push_millis(text, Duration::from_micros(micros))), millis);
        }
        for (target, quoted) in [
            ("/files/a%20b?x=~", "/files/a%20b?x=~"),
            ("a\"b\\c\nd\u{1b}\u{85}ä", r#"a\"b\\c\nd\u{1b}\u{85}ä"#),
        ] {
            assert_eq!(pushed(|text| push_escaped(text, target)), quoted);
        }
    }

    #[test]
    fn the_line_has_the_time_when_all_was_over_however_late_it_is_written() {
        let begun = Instant::now();
        let ended = begun + Duration::from_micros(12_345);
        let client = SocketAddr::from(([10, 0, 0, 7], 4711));
        let outcome = Outcome { client, status: 200, bytes: 17, begun, ended, aborted: None };
        let answered = Answered { method: "GET", target: "/files", outcome, cause: "" };
        let now = Moment {
            instant: ended + Duration::from_millis(1500),
            time: Timestamp::from_micros(1_795_000_001_000_000),
        };
        let at = Timestamp::from_micros(1_794_999_999_500_000);
        let line = |what: &str| format!("{at} INFO server::exchange: client=10.0.0.7:4711 {what}\n");
        assert_eq!(
            pushed(|text| answered.push_line(text, now)),
            line(r#"method=GET target="/files" status=200 bytes=17 ms=12.3 aborted=no"#)
        );
        let outcome = Outcome { aborted: Some("gone"), ..outcome };
        let gone = Answered { target: "/a\"\n", outcome, cause: "it's away", ..answered };
        assert_eq!(
            pushed(|text| gone.push_line(text, now)),
            line(r#"method=GET target="/a\"\n" status=200 bytes=17 ms=12.3 aborted=gone cause="it\'s away""#)
        );
    }
}
