//! `/segments/…`: the files of the archive, byte for byte.

use std::time::{SystemTime, UNIX_EPOCH};

use super::App;
use super::conditional::{Validators, Wanted};
use super::reply::{Body, Reply};
use super::request::Request;
use crate::archive::OpenFile;
use crate::archive::layout::{SegmentName, SegmentType};
use crate::error::Result;

/// Sends a file, or a part of it.
///
/// A `full` segment's name holds the hash of its bytes, which makes it the best of tags, and a file that never
/// changes. All others are known by size and time.
pub(super) fn file(app: &App, request: &Request, parts: &[String]) -> Result<Reply> {
    let found = app.archive.find(parts)?;
    let name = parts.last().map_or("", String::as_str);
    let parsed = SegmentName::parse(name);
    let hash = parsed.filter(|parsed| parsed.segment_type == SegmentType::Full).map(|parsed| parsed.hash);
    let validators = validators(hash, found.len, found.modified);
    if validators.not_modified(request) {
        return Ok(describe(&validators, hash.is_some()).with_status(304));
    }
    // What was found may have been replaced before it was opened.
    let OpenFile { file, len, modified } = found.open()?;
    let validators = self::validators(hash, len, modified);
    let reply = describe(&validators, hash.is_some());
    let (reply, offset, part_len) = match validators.wanted(request, len) {
        Wanted::Whole => (reply, 0, len),
        Wanted::Part { offset, len: part } => {
            let range = format!("bytes {offset}-{}/{len}", offset + part - 1);
            (reply.with_status(206).with("Content-Range", range), offset, part)
        }
        Wanted::Unsatisfiable => {
            let text = format!("there are no such bytes: the file has {len}");
            return Ok(Reply::refusal(416, &text).with("Content-Range", format!("bytes */{len}")));
        }
    };
    Ok(reply.with("Content-Type", content_type(name)).with_body(Body::file(file, offset, part_len)))
}

/// What a file is known by.
fn validators(hash: Option<&str>, len: u64, modified: SystemTime) -> Validators {
    let etag = hash.map_or_else(
        || {
            let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
            format!("\"{len:x}-{:x}\"", since.as_nanos())
        },
        |hash| format!("\"{hash}\""),
    );
    Validators { etag, last_modified: Some(modified) }
}

/// The reply but for what of the file it sends.
fn describe(validators: &Validators, is_immutable: bool) -> Reply {
    let modified = validators.last_modified.map(httpdate::fmt_http_date).unwrap_or_default();
    let kept = if is_immutable { "public, max-age=31536000, immutable" } else { "no-cache" };
    Reply::empty(200)
        .with("ETag", &validators.etag)
        .with("Last-Modified", modified)
        .with("Accept-Ranges", "bytes")
        .with("X-Content-Type-Options", "nosniff")
        .with("Cache-Control", kept)
}

/// The type of a file, by its extension.
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
