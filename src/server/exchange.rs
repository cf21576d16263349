//! A request and its answer, from when somebody begins to work on it until it is over, in whichever way.

use std::cell::RefCell;
use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::http::request::Request;
use crate::metrics::Metrics;
use crate::metrics::exchange::{Endpoint, Meter};
use crate::metrics::live::Flight;

/// A request being answered, for the log: every answer is logged once, when it is over.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) meter: Meter,
}

/// Why a response ends before its end.
#[derive(Debug)]
pub(super) enum Abort {
    /// The client went away.
    Gone(io::Error),
    /// The client took nothing for too long.
    Stalled,
    /// The client took too little for too long.
    TooSlow,
    /// The client left too much lying here for too long while others wanted room.
    Crowded,
    /// The server stops and cannot wait.
    Stopping,
    /// The body could not be had.
    Body(Error),
}

impl Exchange {
    /// The exchange of a request whose head was read.
    pub(super) fn of(request: &Request, begun: Instant, metrics: &Arc<Metrics>, endpoint: Endpoint) -> Self {
        let asked = (request.method.to_string(), request.target.clone());
        Self { meter: Meter::begin(metrics, endpoint, request.client, asked, begun) }
    }

    /// The exchange of something that was no request.
    pub(super) fn of_none(client: SocketAddr, metrics: &Arc<Metrics>) -> Self {
        let asked = ("-".to_owned(), "-".to_owned());
        Self { meter: Meter::begin(metrics, Endpoint::Unknown, client, asked, Instant::now()) }
    }

    /// Counts and logs how the exchange ended.
    pub(super) fn finish(&mut self, aborted: Option<&Abort>) {
        self.meter.end(aborted.map(Abort::name));
        let Flight { client, asked: (method, target), begun, sent, .. } = &*self.meter.flight;
        if let Some(Abort::Body(error)) = aborted {
            log::error!("aborted `{}`: {error}", target.escape_debug());
        }
        if !log::log_enabled!(log::Level::Info) {
            return;
        }
        LINE.with_borrow_mut(|line| {
            line.clear();
            line.push_str("client=");
            push_address(line, *client);
            line.push_str(" method=");
            line.push_str(method);
            line.push_str(" target=\"");
            push_escaped(line, target);
            line.push_str("\" status=");
            push_number(line, self.meter.status().into());
            line.push_str(" bytes=");
            push_number(line, sent.load(Ordering::Relaxed));
            line.push_str(" ms=");
            push_millis(line, begun.elapsed());
            line.push_str(" aborted=");
            line.push_str(aborted.map_or("no", Abort::name));
            if let Some(Abort::Gone(error)) = aborted {
                let _ = write!(line, " cause=\"{error}\"");
            }
            log::info!("{line}");
        });
    }
}

thread_local! {
    /// The line that this thread has logged last. As this is said of every request, it is put together without much ado:
    /// the standard formatter would take longer for it than for all else that is done for the log.
    static LINE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Writes what a client sent so that it cannot break a line or the quotes that it stands in.
fn push_escaped(line: &mut String, text: &str) {
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\'' | b'\\');
    // Looked at to its end in any case, which is the quicker way where it is plain.
    if text.bytes().fold(true, |plain, byte| plain & is_plain(byte)) {
        line.push_str(text);
    } else {
        line.extend(text.escape_debug());
    }
}

fn push_address(line: &mut String, address: SocketAddr) {
    let SocketAddr::V4(address) = address else {
        let _ = write!(line, "{address}");
        return;
    };
    for (octet, end) in address.ip().octets().into_iter().zip(['.', '.', '.', ':']) {
        push_number(line, octet.into());
        line.push(end);
    }
    push_number(line, address.port().into());
}

/// Writes a time in milliseconds, rounded to tenths.
fn push_millis(line: &mut String, time: Duration) {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let tenths = micros.saturating_add(50) / 100;
    push_number(line, tenths / 10);
    line.push('.');
    push_number(line, tenths % 10);
}

fn push_number(line: &mut String, number: u64) {
    let mut unit = 1;
    while number / unit >= 10 {
        unit *= 10;
    }
    while unit > 0 {
        line.push(char::from(b'0' + u8::try_from(number / unit % 10).unwrap_or(0)));
        unit /= 10;
    }
}

impl Abort {
    /// The reason in one word, for the log and for whoever counts.
    fn name(&self) -> &'static str {
        match self {
            Self::Gone(_) => "gone",
            Self::Stalled => "stalled",
            Self::TooSlow => "slow",
            Self::Crowded => "crowded",
            Self::Stopping => "stopping",
            Self::Body(_) => "body",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pushed(push: impl FnOnce(&mut String)) -> String {
        let mut line = String::new();
        push(&mut line);
        line
    }

    #[test]
    fn what_is_logged_of_a_request_reads_as_the_standard_formatter_writes_it() {
        for number in [0, 1, 9, 10, 99, 100, 12_345, u64::MAX] {
            assert_eq!(pushed(|line| push_number(line, number)), number.to_string());
        }
        for address in ["0.0.0.0:0", "127.0.0.1:80", "255.254.100.9:65535", "[::1]:8000"] {
            assert_eq!(pushed(|line| push_address(line, address.parse().expect("an address"))), address);
        }
        for (micros, millis) in
            [(0, "0.0"), (49, "0.0"), (50, "0.1"), (949, "0.9"), (950, "1.0"), (60_012_345, "60012.3")]
        {
            assert_eq!(pushed(|line| push_millis(line, Duration::from_micros(micros))), millis);
        }
        for (target, quoted) in [
            ("/files/a%20b?x=~", "/files/a%20b?x=~"),
            ("a\"b\\c\nd\u{1b}\u{85}ä", r#"a\"b\\c\nd\u{1b}\u{85}ä"#),
        ] {
            assert_eq!(pushed(|line| push_escaped(line, target)), quoted);
        }
    }
}
