//! `/segments/…`: the files of the archive, byte for byte.

use std::time::{SystemTime, UNIX_EPOCH};

use super::conditional::{ByteRange, Validators, http_date};
use super::handler::{App, Handler};
use super::path::PathNames;
use super::query::Query;
use super::reply::{Body, Reply};
use super::request::Request;
use crate::archive::OpenFile;
use crate::archive::layout::{SegmentName, SegmentType};
use crate::error::Result;

/// `/segments/{path...}`: a file, or a byte range of it.
#[derive(Debug)]
pub(super) struct FileRequest {
    /// The names from the base directory to the file; at least one.
    path: Vec<String>,
}

impl Handler for FileRequest {
    fn decode(names: PathNames, _: Query) -> Result<Self> {
        Ok(Self { path: names.0 })
    }

    /// The name of a `full` segment holds the hash of its bytes. The hash is a strong entity tag, and the file never
    /// changes. Other files are identified by size and modification time.
    fn handle(&self, app: &App, request: &Request, _: &dyn Fn() -> bool) -> Result<Reply> {
        let found = app.archive.find(&self.path)?;
        let name = self.path.last().map_or("", String::as_str);
        let parsed = SegmentName::parse(name);
        let hash = parsed.filter(|parsed| parsed.segment_type == SegmentType::Full).map(|parsed| parsed.hash);
        let known = validators(hash, found.len, found.modified);
        if known.not_modified(request) {
            return Ok(describe(&known, hash.is_some()).with_status(304));
        }
        // The file may have been replaced between the two calls.
        let OpenFile { file, len, modified } = found.open()?;
        let validators = validators(hash, len, modified);
        let reply = describe(&validators, hash.is_some()).with("Content-Type", content_type(name));
        let body = |offset, part_len| Body::file(file, offset, part_len);
        Ok(with_range(request, &validators, reply, len, body))
    }
}

/// The response with `len` bytes, or with the range of them that is asked for; `body` makes a body of the part of that offset
/// and length.
pub(super) fn with_range(
    request: &Request,
    validators: &Validators,
    reply: Reply,
    len: u64,
    body: impl FnOnce(u64, u64) -> Body,
) -> Reply {
    match validators.range(request, len) {
        ByteRange::Whole => reply.with_body(body(0, len)),
        ByteRange::Part { offset, len: part } => {
            let range = format!("bytes {offset}-{}/{len}", offset + part - 1);
            reply.with_status(206).with("Content-Range", range).with_body(body(offset, part))
        }
        ByteRange::Unsatisfiable => {
            let text = format!("there are no such bytes: the file has {len}");
            Reply::refusal(416, &text).with("Content-Range", format!("bytes */{len}"))
        }
    }
}

/// The entity tag and modification time of a file. `hash` is that of a `full` segment.
pub(super) fn validators(hash: Option<&str>, len: u64, modified: SystemTime) -> Validators {
    let etag = match hash {
        Some(hash) => format!("\"{hash}\""),
        None => {
            format!("\"{len:x}-{:x}\"", modified.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos())
        }
    };
    Validators { etag, last_modified: Some(http_date(modified)) }
}

/// A response with the headers that describe the whole file.
pub(super) fn describe(validators: &Validators, is_immutable: bool) -> Reply {
    let modified = validators.last_modified.map(|date| date.to_string()).unwrap_or_default();
    let cache_control = if is_immutable { "public, max-age=31536000, immutable" } else { "no-cache" };
    Reply::empty(200)
        .with("ETag", &validators.etag)
        .with("Last-Modified", modified)
        .with("Accept-Ranges", "bytes")
        .with("X-Content-Type-Options", "nosniff")
        .with("Cache-Control", cache_control)
}

/// The media type of a file, by its extension.
fn content_type(name: &str) -> &'static str {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension).to_ascii_lowercase();
    match extension.as_str() {
        "ts" => "video/mp2t",
        "json" => "application/json",
        "m3u8" => "application/vnd.apple.mpegurl",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "html" => "text/html; charset=utf-8",
        "txt" => "text/plain; charset=utf-8",
        "mp4" => "video/mp4",
        "mkv" => "video/x-matroska",
        "webm" => "video/webm",
        _ => "application/octet-stream",
    }
}
