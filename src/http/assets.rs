//! The web page, embedded by the build: `/` for browsers, and the files that it loads below `/page/`.

use super::conditional::Validators;
use super::handler::{App, Handler};
use super::path::PathNames;
use super::query::Query;
use super::reply::{Body, Reply};
use super::request::Request;
use super::text::accepts_gzip;
use crate::error::{Error, Result};

include!(concat!(env!("OUT_DIR"), "/page.rs"));

/// What the page may do: load and ask this server, and nothing else. Its player reads from memory (`blob:`).
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; \
    media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'";

/// A file of the page.
#[derive(Debug)]
struct File {
    name: &'static str,
    plain: &'static [u8],
    gzip: &'static [u8],
}

/// `/page/{hash}/{name}`.
#[derive(Debug)]
pub(super) struct AssetRequest {
    hash: String,
    name: String,
}

impl Handler for AssetRequest {
    fn decode(names: PathNames, _: Query) -> Result<Self> {
        let [hash, name] = names.exactly()?;
        Ok(Self { hash, name })
    }

    fn handle(&self, _: &App, request: &Request, _: &dyn Fn() -> bool) -> Result<Reply> {
        let found = FILES.iter().find(|file| file.name == self.name && self.hash == HASH);
        // The page itself is at `/`, where its references lead here.
        let file = found.filter(|file| file.name != "index.html");
        let missing =
            || Error::NotFound("the page has no such file any more: load the page again".to_owned());
        let file = file.ok_or_else(missing)?;
        let reply = Reply::empty(200).with("Cache-Control", "public, max-age=31536000, immutable");
        Ok(with_file(request, reply, file))
    }
}

/// The page, for a browser.
pub(super) fn page(request: &Request) -> Reply {
    let validators = Validators { etag: format!("W/\"{HASH}\""), last_modified: None };
    let reply = Reply::empty(200)
        .with("ETag", &validators.etag)
        .with("Cache-Control", "no-cache")
        .with("Content-Security-Policy", POLICY)
        .with("Referrer-Policy", "no-referrer");
    if validators.not_modified(request) {
        return reply.with_status(304);
    }
    match FILES.iter().find(|file| file.name == "index.html") {
        Some(file) => with_file(request, reply, file),
        None => Reply::of_error(&Error::NoSuchRoute(None)),
    }
}

/// Whether a client asks for a page: `Accept` names `text/html`, which only browsers do.
pub(super) fn accepts_html(request: &Request) -> bool {
    request.header_values("Accept").flat_map(|list| list.split(',')).any(|range| {
        let mut fields = range.split(';').map(str::trim);
        let is_html = fields.next().is_some_and(|name| name.eq_ignore_ascii_case("text/html"));
        is_html && !fields.any(|field| matches!(field, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}

/// The response with a file, compressed if the client takes that.
fn with_file(request: &Request, reply: Reply, file: &File) -> Reply {
    let (_, extension) = file.name.rsplit_once('.').unwrap_or_default();
    let content_type = match extension {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        _ => "application/octet-stream",
    };
    let reply = reply.with("Content-Type", content_type).with("X-Content-Type-Options", "nosniff");
    if accepts_gzip(request) {
        return reply.with("Content-Encoding", "gzip").with_body(Body::bytes(file.gzip.to_vec()));
    }
    reply.with_body(Body::bytes(file.plain.to_vec()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use tiny_http::{HTTPVersion, Header, Method};

    #[test]
    fn browsers_ask_for_html_and_other_clients_do_not() {
        let rows: [(&[&str], bool); 8] = [
            (&[], false),
            (&["*/*"], false),
            (&["text/*"], false),
            (&["application/json, text/plain"], false),
            (&["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"], true),
            (&["application/xml", "TEXT/HTML;q=0.1"], true),
            (&["text/html;q=0"], false),
            (&["text/html; q=0.000, */*"], false),
        ];
        for (values, expected) in rows {
            let header = |value: &&str| Header::from_bytes("Accept", *value).expect("a header");
            let request = Request {
                method: Method::Get,
                target: "/".to_owned(),
                version: HTTPVersion(1, 1),
                headers: values.iter().map(header).collect(),
                body: Arc::default(),
                client: ([127, 0, 0, 1], 1).into(),
            };
            assert_eq!(accepts_html(&request), expected, "{values:?}");
        }
    }
}
