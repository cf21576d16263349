//! `/cut/…`: an exact range as one file.

use std::fmt::Write;

use super::App;
use super::reply::{Body, Piece, Reply};
use super::route::{Cut, CutKind, Variant};
use crate::cut::rough;
use crate::error::{Error, Result};
use crate::timestamp::Timestamp;

/// What a cut is made of, before it is made.
#[derive(Debug)]
struct Material {
    segments: Vec<rough::Source>,
    holes: usize,
}

/// Cuts a range.
pub(super) fn cut(app: &App, cut: &Cut) -> Result<Reply> {
    let material = gather(app, cut)?;
    match cut.kind {
        CutKind::Rough => rough_cut(cut, material),
        CutKind::Full | CutKind::Smart => Err(Error::Unsupported {
            why: "this server cannot encode yet; `type=rough` gives the segments that cover the range"
                .to_owned(),
        }),
    }
}

/// Finds the segments that cover the range, and whether they cover it well enough.
fn gather(app: &App, cut: &Cut) -> Result<Material> {
    let name = cut.of.name();
    let hours = app.archive.hours(name)?;
    if hours.is_empty() && !app.archive.has_variant(name) {
        let Variant { stream, variant } = &cut.of;
        let what = format!("there is no variant `{variant}` of a stream `{stream}`");
        return Err(Error::NotFound { what: what.escape_debug().to_string() });
    }
    let mut material = Material { segments: Vec::new(), holes: 0 };
    let selected = app.archive.select(name, &hours, (cut.start, cut.end), |segment, hole_before| {
        material.holes += usize::from(hole_before);
        let path = app.archive.segment_path(name, segment);
        material.segments.push(rough::Source { path, start: segment.start, end: segment.end() });
        Ok(true)
    })?;
    material.holes += usize::from(selected.ends_in_hole);
    if material.segments.is_empty() {
        return Err(Error::RangeIsEmpty);
    }
    if material.holes > 0 && !cut.allow_holes {
        return Err(Error::RangeHasHoles);
    }
    Ok(material)
}

/// The segments one after another, as they are.
fn rough_cut(cut: &Cut, material: Material) -> Result<Reply> {
    let start = material.segments.first().map_or(cut.start, |first| first.start);
    let end = material.segments.last().map_or(cut.end, |last| last.end);
    let reply = describe(cut, (start, end), &material);
    let rough = rough::Rough::measure(material.segments)?;
    let len = rough.len();
    let pieces = rough.map(|part| {
        let part = part?;
        Ok(Piece::File { file: part.file, offset: 0, len: part.len })
    });
    Ok(reply.with_body(Body::Known { len, pieces: Box::new(pieces) }))
}

/// The reply of a cut, but for its body. `shown` is what a viewer will see of the time range.
fn describe(cut: &Cut, shown: (Timestamp, Timestamp), material: &Material) -> Reply {
    Reply::empty(200)
        .with("Content-Type", "video/mp2t")
        .with("Content-Disposition", format!("attachment; filename=\"{}\"", file_name(cut)))
        .with("Cache-Control", "no-store")
        .with("X-Cut-Start", shown.0.to_string())
        .with("X-Cut-End", shown.1.to_string())
        .with("X-Cut-Segments", material.segments.len().to_string())
        .with("X-Cut-Holes", material.holes.to_string())
}

/// `<stream>_<variant>_<start>.ts`, in characters that every file system takes.
fn file_name(cut: &Cut) -> String {
    let mut name = String::new();
    let _ = write!(name, "{}_{}_{}", cut.of.stream, cut.of.variant, cut.start);
    let safe = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.');
    name.chars().map(|character| if safe(character) { character } else { '-' }).collect::<String>() + ".ts"
}
