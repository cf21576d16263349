//! Text responses: conditional requests, and gzip for clients that accept it.

use std::io::{BufWriter, IntoInnerError, Write};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::conditional::Validators;
use super::reply::{Body, Reply};
use super::request::Request;
use crate::error::{Error, Result};
use crate::fnv::Fnv;

/// Shorter texts are not compressed.
const MIN_GZIP_BYTES: usize = 1024;

/// How much text is collected before it is compressed.
const GZIP_BUFFER_BYTES: usize = 32 * 1024;

/// The fastest level, at which playlists and lists already shrink to a third.
const GZIP_LEVEL: Compression = Compression::fast();

/// The response to a conditional request for a text: 304 if the client has the current one, else 200, to which `add_body`
/// adds the text. `tag` is a hash of everything that the text depends on.
pub(super) fn text_reply(
    request: &Request,
    content_type: &'static str,
    cache_control: &'static str,
    tag: Fnv,
    add_body: impl FnOnce(Reply) -> Result<Reply>,
) -> Result<Reply> {
    let validators = Validators { etag: format!("W/\"{:016x}\"", tag.finish()), last_modified: None };
    let reply = Reply::empty(200).with("ETag", &validators.etag).with("Cache-Control", cache_control);
    if validators.not_modified(request) {
        return Ok(reply.with_status(304));
    }
    add_body(reply.with("Content-Type", content_type))
}

/// The response with a text, which is compressed if it is long enough and the client accepts gzip.
pub(super) fn with_text(request: &Request, reply: Reply, text: Vec<u8>) -> Result<Reply> {
    if is_compressed(request, text.len()) {
        return Ok(reply.with("Content-Encoding", "gzip").with_body(Body::bytes(gzip(&text)?)));
    }
    Ok(reply.with_body(Body::bytes(text)))
}

/// Whether a text of that length is compressed for the client.
pub(super) fn is_compressed(request: &Request, text_bytes: usize) -> bool {
    text_bytes >= MIN_GZIP_BYTES && accepts_gzip(request)
}

/// Compresses a text.
pub(super) fn gzip(text: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 2), GZIP_LEVEL);
    encoder.write_all(text).and_then(|()| encoder.finish()).map_err(Error::io("compress", "a text"))
}

/// The response with a text that `render` writes while it is sent, compressed if the client accepts gzip.
pub(super) fn with_streamed_text(
    request: &Request,
    reply: Reply,
    render: impl FnOnce(&mut dyn Write) -> Result<()> + Send + 'static,
) -> Reply {
    if !accepts_gzip(request) {
        return reply.with_body(Body::streamed(move |sink| render(sink)));
    }
    let body = Body::streamed(move |sink| {
        // The encoder is slow when it gets a few bytes at a time.
        let encoder = GzEncoder::new(sink, GZIP_LEVEL);
        let mut buffer = BufWriter::with_capacity(GZIP_BUFFER_BYTES, encoder);
        render(&mut buffer)?;
        let finished = buffer.into_inner().map_err(IntoInnerError::into_error).and_then(GzEncoder::finish);
        finished.map_err(Error::io("send to", "the client"))?;
        Ok(())
    });
    reply.with("Content-Encoding", "gzip").with_body(body)
}

/// Whether `Accept-Encoding` allows gzip (RFC 9110, section 12.5.3).
pub(super) fn accepts_gzip(request: &Request) -> bool {
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
    use std::sync::Arc;

    use super::*;
    use tiny_http::{HTTPVersion, Header, Method};

    fn accepting(codings: &[&str]) -> Request {
        let header = |value: &&str| Header::from_bytes("accept-encoding", *value).expect("a header");
        Request {
            method: Method::Get,
            target: "/".to_owned(),
            version: HTTPVersion(1, 1),
            headers: codings.iter().map(header).collect(),
            body: Arc::default(),
            client: ([127, 0, 0, 1], 1).into(),
        }
    }

    #[test]
    fn gzip_is_sent_to_clients_that_accept_it() {
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
    fn short_texts_are_not_compressed() {
        let request = accepting(&["gzip"]);
        let sized = |len: usize| with_text(&request, Reply::empty(200), vec![b'x'; len]).expect("a reply");
        assert_eq!(sized(1023).header("Content-Encoding"), None);
        assert_eq!(sized(1024).header("Content-Encoding"), Some("gzip"));
    }
}
