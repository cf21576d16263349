//! `/cut/…`: an exact range as one file.

use std::cell::RefCell;
use std::io::{self, Write};

use super::App;
use super::reply::{Body, Piece, Reply, Sink};
use super::route::{Cut, CutKind, Variant};
use crate::archive::segment::Kind;
use crate::cut::rough::Rough;
use crate::cut::{self, Part};
use crate::error::{Error, Result};
use crate::timestamp::Timestamp;

/// What a cut is made of, before it is made.
#[derive(Debug)]
struct Material {
    parts: Vec<Part>,
    holes: usize,
}

/// Cuts a range. All that can be wrong with it is found out here; only then is the reply's body made.
pub(super) fn cut(app: &App, cut: &Cut) -> Result<Reply> {
    let material = gather(app, cut)?;
    match cut.kind {
        CutKind::Rough => rough_cut(cut, material),
        CutKind::Full => exact_cut(app, cut, cut::Kind::Full, material),
        CutKind::Smart => exact_cut(app, cut, cut::Kind::Smart, material),
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
    let mut material = Material { parts: Vec::new(), holes: 0 };
    let selected = app.archive.select(name, &hours, (cut.start, cut.end), |segment, hole_before| {
        material.holes += usize::from(hole_before);
        material.parts.push(Part {
            path: app.archive.segment_path(name, segment),
            start: segment.start,
            end: segment.end(),
            hole_before,
            whole: segment.kind == Kind::Full,
        });
        Ok(true)
    })?;
    material.holes += usize::from(selected.ends_in_hole);
    if material.parts.is_empty() {
        return Err(Error::RangeIsEmpty);
    }
    if material.holes > 0 && !cut.allow_holes {
        return Err(Error::RangeHasHoles);
    }
    Ok(material)
}

/// The segments one after another, as they are.
fn rough_cut(cut: &Cut, material: Material) -> Result<Reply> {
    let start = material.parts.first().map_or(cut.start, |first| first.start);
    let end = material.parts.last().map_or(cut.end, |last| last.end);
    let reply = describe(cut, (start, end), &material);
    let count = material.parts.len();
    let rough = Rough::measure(material.parts)?;
    let len = rough.len();
    // The count tells the transport how many are still to come.
    let pieces = rough
        .take(count)
        .map(|file| file.map(|file| Piece::File { file: file.file, offset: 0, len: file.len }));
    Ok(reply.with_body(Body::Known { len, pieces: Box::new(pieces) }))
}

/// The frames of the range and no others.
fn exact_cut(app: &App, cut: &Cut, kind: cut::Kind, material: Material) -> Result<Reply> {
    let reply = describe(cut, (cut.start, cut.end), &material);
    let prepared = cut::prepare(kind, material.parts, cut.start, cut.end, &app.tools)?;
    Ok(reply.with_body(Body::made(move |sink| {
        let sink = RefCell::new(sink);
        prepared.run(&mut Prompt(&sink), &|| sink.borrow().is_wanted())
    })))
}

/// A sink that is asked in between whether it still wants anything, and is given every byte at once: who waits for a
/// cut waits for its first frame.
struct Prompt<'a, 'b>(&'a RefCell<&'b mut dyn Sink>);

impl Write for Prompt<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut sink = self.0.borrow_mut();
        sink.write_all(bytes)?;
        sink.flush()?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.borrow_mut().flush()
    }
}

/// The reply of a cut, but for its body. `shown` is what a viewer will see of the time range.
fn describe(cut: &Cut, shown: (Timestamp, Timestamp), material: &Material) -> Reply {
    Reply::empty(200)
        .with("Content-Type", "video/mp2t")
        .with("Content-Disposition", format!("attachment; filename=\"{}\"", file_name(cut)))
        .with("Cache-Control", "no-store")
        .with("X-Cut-Start", shown.0.to_string())
        .with("X-Cut-End", shown.1.to_string())
        .with("X-Cut-Segments", material.parts.len().to_string())
        .with("X-Cut-Holes", material.holes.to_string())
}

/// `<stream>_<variant>_<start>.ts`, in characters that every file system takes.
fn file_name(cut: &Cut) -> String {
    let name = format!("{}_{}_{}", cut.of.stream, cut.of.variant, cut.start);
    let safe = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.');
    name.chars().map(|character| if safe(character) { character } else { '-' }).collect::<String>() + ".ts"
}
