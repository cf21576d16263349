//! Answers that are text: conditional, and compressed for those who can read that.

use std::io::{self, BufWriter, Write};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::conditional::Validators;
use super::reply::{Body, Reply, Sink};
use super::request::Request;
use crate::error::{Error, Result};
use crate::fnv::Fnv;

/// What is shorter is not worth compressing.
const WORTH_COMPRESSING_BYTES: usize = 1024;

/// How much a compressor is given at a time.
const FED_BYTES: usize = 32 * 1024;

/// How hard to compress: playlists and lists shrink to a third even at the fastest.
const LEVEL: Compression = Compression::fast();

/// What is known of a text before it is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct TextHead {
    /// Its type.
    pub(super) content_type: &'static str,
    /// For how long it can be kept.
    pub(super) cache_control: &'static str,
    /// A hash of everything that the text depends on.
    pub(super) tag: Fnv,
}

impl TextHead {
    /// The reply if the client has the text already, and else the one that the text is to be put into.
    pub(super) fn begin(&self, request: &Request) -> Conditional {
        let etag = format!("W/\"{:016x}\"", self.tag.finish());
        let validators = Validators { etag, last_modified: None };
        let unchanged = validators.not_modified(request);
        let reply = Reply::empty(if unchanged { 304 } else { 200 })
            .with("ETag", validators.etag)
            .with("Cache-Control", self.cache_control);
        if unchanged {
            return Conditional::Unchanged(reply);
        }
        Conditional::Wanted(reply.with("Content-Type", self.content_type))
    }

    /// The reply with the text that `render` makes, if it is wanted at all.
    pub(super) fn reply(&self, request: &Request, render: impl FnOnce() -> Result<Vec<u8>>) -> Result<Reply> {
        match self.begin(request) {
            Conditional::Unchanged(reply) => Ok(reply),
            Conditional::Wanted(reply) => with_text(request, reply, render()?),
        }
    }
}

/// Whether a client has the text already.
#[derive(Debug)]
pub(super) enum Conditional {
    /// It has: this is the answer.
    Unchanged(Reply),
    /// It has not: this is the answer but for the text.
    Wanted(Reply),
}

/// A reply with a text that is at hand, compressed where that is understood and pays.
pub(super) fn with_text(request: &Request, reply: Reply, text: Vec<u8>) -> Result<Reply> {
    if is_compressed(request, text.len()) {
        return Ok(reply.with("Content-Encoding", "gzip").with_body(Body::bytes(gzip(&text)?)));
    }
    Ok(reply.with_body(Body::bytes(text)))
}

/// Whether a text of so many bytes is compressed for the client.
pub(super) fn is_compressed(request: &Request, text_bytes: usize) -> bool {
    text_bytes >= WORTH_COMPRESSING_BYTES && accepts_gzip(request)
}

/// The text compressed.
pub(super) fn gzip(text: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 2), LEVEL);
    encoder.write_all(text).and_then(|()| encoder.finish()).map_err(Error::io("compress", "a text"))
}

/// A reply with a long text that `render` writes while it is sent, compressed where that is understood.
pub(super) fn with_long_text(
    request: &Request,
    reply: Reply,
    render: impl FnOnce(&mut dyn Write) -> Result<()> + Send + 'static,
) -> Reply {
    if !accepts_gzip(request) {
        return reply.with_body(Body::streamed(move |sink| render(sink)));
    }
    let body = Body::streamed(move |sink| {
        let sent = Error::io;
        // The encoder does not care for being fed a few bytes at a time.
        let encoder = GzEncoder::new(SinkWriter(sink), LEVEL);
        let mut buffer = BufWriter::with_capacity(FED_BYTES, encoder);
        render(&mut buffer)?;
        let encoder =
            buffer.into_inner().map_err(|error| sent("send to", "the client")(error.into_error()))?;
        encoder.finish().map_err(sent("send to", "the client"))?;
        Ok(())
    });
    reply.with("Content-Encoding", "gzip").with_body(body)
}

/// A sink as a plain writer of known size, as the encoder wants it.
struct SinkWriter<'a>(&'a mut dyn Sink);

impl Write for SinkWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Whether the client says that it can read gzip (RFC 9110, section 12.5.3).
fn accepts_gzip(request: &Request) -> bool {
    let mut any = false;
    for coding in request.header_values("Accept-Encoding").flat_map(|list| list.split(',')) {
        let mut fields = coding.split(';').map(str::trim);
        let name = fields.next().unwrap_or_default();
        let refused = fields.any(|field| {
            let weight = field.strip_prefix("q=").or_else(|| field.strip_prefix("Q="));
            weight.is_some_and(|weight| weight.trim().bytes().all(|byte| matches!(byte, b'0' | b'.')))
        });
        if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") {
            return !refused;
        }
        any |= name == "*" && !refused;
    }
    any
}

#[cfg(test)]
mod tests {
    use super::*;
    use tiny_http::{HTTPVersion, Header, Method};

    fn accepting(codings: &[&str]) -> Request {
        let header = |value: &&str| Header::from_bytes("accept-encoding", *value).expect("a header");
        Request {
            method: Method::Get,
            target: "/".to_owned(),
            version: HTTPVersion(1, 1),
            headers: codings.iter().map(header).collect(),
            client: ([127, 0, 0, 1], 1).into(),
        }
    }

    #[test]
    fn gzip_goes_to_those_who_read_it() {
        let rows: [(&[&str], bool); 12] = [
            (&[], false),
            (&[""], false),
            (&["gzip"], true),
            (&["GZIP"], true),
            (&["deflate, gzip;q=0.5"], true),
            (&["deflate", "br, x-gzip"], true),
            (&["gzip;q=0"], false),
            (&["gzip; q=0.000"], false),
            (&["*"], true),
            (&["*;q=0"], false),
            (&["*, gzip;q=0"], false),
            (&["identity, br"], false),
        ];
        for (codings, accepted) in rows {
            assert_eq!(accepts_gzip(&accepting(codings)), accepted, "{codings:?}");
        }
    }

    #[test]
    fn short_texts_stay_as_they_are() {
        let request = accepting(&["gzip"]);
        let sized = |len: usize| with_text(&request, Reply::empty(200), vec![b'x'; len]).expect("a reply");
        assert_eq!(sized(1023).header("Content-Encoding"), None);
        assert_eq!(sized(1024).header("Content-Encoding"), Some("gzip"));
    }
}
