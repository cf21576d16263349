//! The head of a response, and how its body is delimited.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::time::UNIX_EPOCH;

use tiny_http::{HTTPVersion, Header, StatusCode};

use crate::clock::system_time;
use crate::http::reply::COMMON_HEADERS;

/// The size of the buffer for a head: most heads fit into it.
const HEAD_BYTES: usize = 1000;

/// What happens to the connection after its response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// It waits for the next request.
    KeepAlive,
    Close,
    /// Its remaining input is read before it is closed, since unread input would turn the close into a reset, which
    /// can destroy the response.
    Linger,
}

/// How a body is delimited (RFC 9112, section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// The status has no body.
    None,
    Length(u64),
    Chunked,
    /// The body ends with the connection. Also the response to HEAD where the length is unknown.
    UntilClose,
}

/// Renders a head. Every response is HTTP/1.1, whatever the version of the request (RFC 9110, section 6.2).
pub(super) fn render_head(
    status: StatusCode,
    headers: &[Header],
    framing: Framing,
    version: &HTTPVersion,
    after: After,
) -> Vec<u8> {
    let mut text = String::with_capacity(HEAD_BYTES);
    let _ = write!(text, "HTTP/1.1 {} {}\r\nDate: ", status.0, status.default_reason_phrase());
    push_date(&mut text);
    for header in headers {
        text.push_str("\r\n");
        text.push_str(header.field.as_str().as_str());
        text.push_str(": ");
        text.push_str(header.value.as_str());
    }
    text.push_str("\r\n");
    text.push_str(COMMON_HEADERS);
    match framing {
        Framing::Length(length) => {
            let _ = write!(text, "Content-Length: {length}\r\n");
        }
        Framing::Chunked => text.push_str("Transfer-Encoding: chunked\r\n"),
        Framing::None | Framing::UntilClose => {}
    }
    match after {
        After::KeepAlive if *version == HTTPVersion(1, 0) => text.push_str("Connection: keep-alive\r\n"),
        After::KeepAlive => {}
        After::Close | After::Linger => text.push_str("Connection: close\r\n"),
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// Appends the current date. Each thread formats it once a second.
fn push_date(text: &mut String) {
    thread_local! {
        static DATE: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
    }
    let now = system_time();
    let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    DATE.with_borrow_mut(|(formatted, date)| {
        if *formatted != seconds || date.is_empty() {
            (*formatted, *date) = (seconds, httpdate::fmt_http_date(now));
        }
        text.push_str(date);
    });
}
