//! Parses the head of a request, strictly. Pure.
//!
//! Heads that servers and proxies are known to read in different ways (two lengths, a length beside a transfer coding, a
//! bare carriage return) are refused, which rules out request smuggling (RFC 9112, section 11.2).

use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use httparse::Status;
use tiny_http::{HTTPVersion, Header, Method};

use crate::http::request::Request;
use crate::quota::Share;

/// The longest head that is accepted.
pub(super) const MAX_HEAD_BYTES: usize = 16 * 1024;
/// The most headers that a head may have.
pub(super) const MAX_HEADERS: usize = 100;
/// The result of parsing the bytes received so far.
#[derive(Debug)]
pub(super) enum Parsed {
    /// The head is incomplete so far.
    Partial,
    /// A complete head, perhaps with more bytes behind it.
    Complete(RequestHead),
    /// The bytes are not the head of a request that can be served.
    Refused(Refusal),
}

/// How the body of a request is delimited (RFC 9112, section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyFraming {
    /// By its length in bytes; 0 without a body.
    Length(u64),
    /// By chunks.
    Chunked,
}

/// The head of a request, with the facts that the connection needs.
#[derive(Debug)]
pub(super) struct RequestHead {
    /// The request, as handlers see it.
    pub(super) request: Request,
    /// The length of the head in bytes.
    pub(super) len: usize,
    /// The body that follows.
    pub(super) body: BodyFraming,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub(super) expects_continue: bool,
    /// Whether the client asks for a persistent connection.
    pub(super) keep_alive: bool,
    /// The memory that its body takes of all that there is for bodies.
    pub(super) body_share: Option<Share>,
}

/// The response to a head that is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The status code.
    pub(super) status: u16,
    /// One line that says what is wrong.
    pub(super) text: &'static str,
}

const fn refusal(status: u16, text: &'static str) -> Refusal {
    Refusal { status, text }
}

/// The refusal of a head longer than [`MAX_HEAD_BYTES`].
pub(super) const HEAD_TOO_LONG: Refusal = refusal(431, "a request's head may have 16 KiB at most");
/// The refusal of a request that took longer than the head timeout to arrive.
pub(super) const REQUEST_TIMEOUT: Refusal = refusal(408, "the request took too long to come");

/// Parses the head at the beginning of `bytes`.
pub(super) fn parse(bytes: &[u8], client: SocketAddr) -> Parsed {
    let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut []);
    let len = match parsed.parse_with_uninit_headers(bytes, &mut headers) {
        Ok(Status::Complete(length)) if length <= MAX_HEAD_BYTES => length,
        Ok(Status::Partial) if bytes.len() <= MAX_HEAD_BYTES => return Parsed::Partial,
        Ok(_) => return Parsed::Refused(HEAD_TOO_LONG),
        Err(error) => return Parsed::Refused(malformed(error, bytes)),
    };
    match check(&parsed, len, client) {
        Ok(head) => Parsed::Complete(head),
        Err(refusal) => Parsed::Refused(refusal),
    }
}

/// The refusal of a head that does not parse.
fn malformed(error: httparse::Error, bytes: &[u8]) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => refusal(431, "a request may have 100 headers at most"),
        httparse::Error::Version if has_other_version(bytes) => {
            refusal(505, "this server speaks HTTP/1.1 and 1.0")
        }
        httparse::Error::Version if words(bytes).count() > 3 => {
            refusal(400, "a request line has three words; a space in the target is written as %20")
        }
        httparse::Error::HeaderName => refusal(400, "a header's name is malformed"),
        httparse::Error::HeaderValue => refusal(400, "a header's value is malformed"),
        _ => refusal(400, "this is not a request of HTTP/1.1"),
    }
}

/// Whether the request line ends in an HTTP version that this server does not speak.
fn has_other_version(bytes: &[u8]) -> bool {
    let version = words(bytes).nth(2).filter(|_| words(bytes).count() == 3);
    let version = version.and_then(|word| word.strip_prefix(b"HTTP/"));
    version.is_some_and(|version| version.first().is_some_and(u8::is_ascii_digit))
}

/// The space-separated words of the request line.
fn words(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(0);
    let line = bytes[start..].split(|byte| *byte == b'\n').next().unwrap_or_default();
    line.trim_ascii_end().split(|byte| *byte == b' ')
}

/// Checks a head that parsed, and copies what the server needs.
fn check(parsed: &httparse::Request, len: usize, client: SocketAddr) -> Result<RequestHead, Refusal> {
    let bad = refusal(400, "this is not a request of HTTP/1.1");
    let version = HTTPVersion(1, parsed.version.ok_or(bad)?);
    let is_1_1 = version == HTTPVersion(1, 1);
    let method = Method::from_str(parsed.method.ok_or(bad)?).map_err(|()| bad)?;
    let target = origin_form(parsed.path.ok_or(bad)?, &method)?;
    check_host(parsed, is_1_1)?;
    let body = body_framing(parsed, is_1_1)?;
    let expects_continue = match values(parsed, "Expect").next() {
        Some(value) if value.eq_ignore_ascii_case(b"100-continue") => is_1_1,
        Some(_) if is_1_1 => {
            return Err(refusal(417, "the only expectation that is met here is 100-continue"));
        }
        _ => false,
    };
    let has_option = |option: &str| {
        let options = values(parsed, "Connection").flat_map(|value| value.split(|byte| *byte == b','));
        options.into_iter().any(|found| found.trim_ascii().eq_ignore_ascii_case(option.as_bytes()))
    };
    let keep_alive = !has_option("close") && (is_1_1 || has_option("keep-alive"));
    let headers = parsed.headers.iter().filter_map(visible_header).collect();
    let request = Request { method, target, version, headers, body: Arc::default(), client };
    Ok(RequestHead { request, len, body, expects_continue, keep_alive, body_share: None })
}

/// The values of all headers with this name.
fn values<'a>(parsed: &'a httparse::Request, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    let named = parsed.headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
    named.map(|header| header.value.trim_ascii())
}

/// The header if its value is visible ASCII. Handlers do not see other headers.
fn visible_header(header: &httparse::Header) -> Option<Header> {
    let visible = header.value.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
    if visible { Header::from_bytes(header.name, header.value).ok() } else { None }
}

/// The path and query of a target in origin form or absolute form (RFC 9112, section 3.2).
fn origin_form(target: &str, method: &Method) -> Result<String, Refusal> {
    let bad = refusal(400, "the request's target must begin with a slash");
    if target.contains('#') {
        return Err(refusal(400, "the request's target must not have a fragment"));
    }
    if target.starts_with('/') || target == "*" && *method == Method::Options {
        return Ok(target.to_owned());
    }
    let (scheme, rest) = target.split_once("://").ok_or(bad)?;
    if !(scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")) {
        return Err(bad);
    }
    match rest.find(['/', '?']) {
        Some(0) => Err(bad),
        Some(at) if rest[at..].starts_with('/') => Ok(rest[at..].to_owned()),
        Some(at) => Ok(format!("/{}", &rest[at..])),
        None if rest.is_empty() => Err(bad),
        None => Ok("/".to_owned()),
    }
}

/// Checks that there is exactly one well-formed `Host` header. HTTP/1.0 requests may have none.
fn check_host(parsed: &httparse::Request, is_1_1: bool) -> Result<(), Refusal> {
    let mut hosts = values(parsed, "Host");
    let Some(host) = hosts.next() else {
        return if is_1_1 { Err(refusal(400, "a request needs a Host header")) } else { Ok(()) };
    };
    if hosts.next().is_some() {
        return Err(refusal(400, "a request may have one Host header only"));
    }
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(byte);
    if host.iter().all(fits) { Ok(()) } else { Err(refusal(400, "the Host header is malformed")) }
}

/// How the request's body is delimited.
fn body_framing(parsed: &httparse::Request, is_1_1: bool) -> Result<BodyFraming, Refusal> {
    let mut lengths = values(parsed, "Content-Length");
    let length = lengths.next();
    let codings: Vec<&[u8]> = values(parsed, "Transfer-Encoding").collect();
    if !codings.is_empty() {
        if length.is_some() || !is_1_1 {
            return Err(refusal(
                400,
                "a Transfer-Encoding cannot stand beside a Content-Length or in HTTP/1.0",
            ));
        }
        return if codings.len() == 1 && codings[0].eq_ignore_ascii_case(b"chunked") {
            Ok(BodyFraming::Chunked)
        } else {
            Err(refusal(501, "no Transfer-Encoding but chunked is known"))
        };
    }
    let Some(length) = length else { return Ok(BodyFraming::Length(0)) };
    if lengths.next().is_some() {
        return Err(refusal(400, "a request may have one Content-Length only"));
    }
    if length.is_empty() || !length.iter().all(u8::is_ascii_digit) {
        return Err(refusal(400, "the Content-Length is not a number"));
    }
    let length = std::str::from_utf8(length).ok().and_then(|digits| digits.parse().ok()).unwrap_or(u64::MAX);
    Ok(BodyFraming::Length(length))
}

#[cfg(test)]
mod tests;
