//! The line of the log about a request that is over.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::timestamp::{Span, Timestamp};

/// Where these lines come from, as they say themselves and as monitors count them.
pub(super) const MODULE: &str = "server::exchange";

/// A request that is over, and how it went.
#[derive(Debug, Clone, Copy)]
pub struct Answered<'a> {
    /// Who asked.
    pub client: &'a SocketAddr,
    /// The method and the target, as they came, with a space between.
    pub asked: &'a str,
    /// The status of the response.
    pub status: u16,
    /// Bytes of its body that were sent.
    pub bytes: u64,
    /// When the request was there.
    pub begun: Instant,
    /// When all was over.
    pub ended: Instant,
    /// Why the response ended before its end, in a word, with what else there is to say to that, as it is to be written;
    /// empty if it did not.
    pub aborted: &'a str,
}

/// Writes these lines. They are put together without much ado: the standard formatter would take longer for one than for
/// all else that is done for the log. What mostly stands in the line before as well is not put together again.
#[derive(Debug)]
pub(super) struct Pen {
    /// The same instant by two clocks.
    now: (Instant, Timestamp),
    /// A time, but for the fraction of its second.
    second: Kept<i64>,
    address: Kept<Option<IpAddr>>,
}

/// What was written of something.
#[derive(Debug)]
struct Kept<T> {
    of: T,
    text: String,
}

impl Pen {
    /// A pen that has written nothing yet.
    pub(super) fn new(now: (Instant, Timestamp)) -> Self {
        let second = Kept { of: i64::MIN, text: String::new() };
        Self { now, second, address: Kept { of: None, text: String::new() } }
    }

    /// What is written now is of before this.
    pub(super) fn note_time(&mut self, now: (Instant, Timestamp)) {
        self.now = now;
    }

    /// Writes a line with its end.
    pub(super) fn write(&mut self, text: &mut Vec<u8>, answered: &Answered) {
        let Answered { client, asked, status, bytes, begun, ended, aborted } = *answered;
        let (method, target) = asked.split_once(' ').unwrap_or((asked, ""));
        self.push_time(text, ended);
        text.extend_from_slice(b"Z INFO server::exchange: client=");
        self.push_address(text, client);
        text.extend_from_slice(b" method=");
        text.extend_from_slice(method.as_bytes());
        text.extend_from_slice(b" target=\"");
        push_escaped(text, target);
        text.extend_from_slice(b"\" status=");
        push_number(text, status.into());
        text.extend_from_slice(b" bytes=");
        push_number(text, bytes);
        text.extend_from_slice(b" ms=");
        push_millis(text, ended.saturating_duration_since(begun));
        text.extend_from_slice(b" aborted=");
        text.extend_from_slice(if aborted.is_empty() { b"no" } else { aborted.as_bytes() });
        text.push(b'\n');
    }

    fn push_time(&mut self, text: &mut Vec<u8>, at: Instant) {
        let ago = self.now.0.saturating_duration_since(at);
        let time = self.now.1 - Span::from_micros(i64::try_from(ago.as_micros()).unwrap_or(i64::MAX));
        let (second, micros) = (time.micros().div_euclid(1_000_000), time.micros().rem_euclid(1_000_000));
        let whole = self.second.text(second, || {
            let mut text = time.to_string();
            text.truncate(text.len().saturating_sub("000000Z".len()));
            text
        });
        text.extend_from_slice(whole.as_bytes());
        for unit in [10_000, 100, 1] {
            push_pair(text, micros.unsigned_abs() / unit);
        }
    }

    fn push_address(&mut self, text: &mut Vec<u8>, address: &SocketAddr) {
        let ip = self.address.text(Some(address.ip()), || {
            let mut text = SocketAddr::new(address.ip(), 0).to_string();
            text.pop();
            text
        });
        text.extend_from_slice(ip.as_bytes());
        push_number(text, address.port().into());
    }
}

impl<T: PartialEq> Kept<T> {
    /// What is written of something, which `make` makes of it if it is another thing than before.
    fn text(&mut self, of: T, make: impl FnOnce() -> String) -> &str {
        if self.of != of {
            (self.of, self.text) = (of, make());
        }
        &self.text
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

/// Writes a time in milliseconds, rounded to tenths.
fn push_millis(text: &mut Vec<u8>, time: Duration) {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let tenths = micros.saturating_add(50) / 100;
    push_number(text, tenths / 10);
    text.push(b'.');
    push_number(text, tenths % 10);
}

/// Writes a number.
fn push_number(text: &mut Vec<u8>, number: u64) {
    text.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Writes the last two digits of a number.
fn push_pair(text: &mut Vec<u8>, number: u64) {
    text.extend_from_slice(&itoa::Buffer::new().format(100 + number % 100).as_bytes()[1..]);
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
        let (instant, time) = (Instant::now(), Timestamp::from_micros(1_795_000_100_000_000));
        let late = instant + Duration::from_secs(100);
        let mut pen = Pen::new((late, time));
        let addresses = ["0.0.0.0:0", "127.0.0.1:80", "127.0.0.1:81", "255.254.100.9:65535", "[::1]:8000"];
        for address in addresses {
            let text = pushed(|text| pen.push_address(text, &address.parse().expect("an address")));
            assert_eq!(text, address);
        }
        let start = time - Span::from_secs(100);
        for after in [0, 1, 999_999, 1_000_000, 1_500_000, 1_500_001, 61_000_000, 61_123_456, 61_000_000] {
            let text = pushed(|text| pen.push_time(text, instant + Duration::from_micros(after)));
            assert_eq!(
                text + "Z",
                (start + Span::from_micros(i64::try_from(after).expect("small"))).to_string()
            );
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
        let answered = Answered {
            client: &SocketAddr::from(([10, 0, 0, 7], 4711)),
            asked: "GET /files",
            status: 200,
            bytes: 17,
            begun,
            ended,
            aborted: "",
        };
        let now = (ended + Duration::from_millis(1500), Timestamp::from_micros(1_795_000_001_000_000));
        let at = Timestamp::from_micros(1_794_999_999_500_000);
        let line = |what: &str| format!("{at} INFO {MODULE}: client=10.0.0.7:4711 {what}\n");
        let mut pen = Pen::new((begun, at));
        pen.note_time(now);
        assert_eq!(
            pushed(|text| pen.write(text, &answered)),
            line(r#"method=GET target="/files" status=200 bytes=17 ms=12.3 aborted=no"#)
        );
        let gone = Answered { asked: "GET /a\"\n", aborted: "gone cause=\"it is away\"", ..answered };
        assert_eq!(
            pushed(|text| pen.write(text, &gone)),
            line(r#"method=GET target="/a\"\n" status=200 bytes=17 ms=12.3 aborted=gone cause="it is away""#)
        );
    }
}
