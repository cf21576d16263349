//! `/cut/…`: an exact range as one file.

use std::cell::RefCell;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Instant;

use super::App;
use super::reply::{Body, Piece, Reply, Sink};
use super::route::{Cut, CutKind, Variant};
use crate::archive::OpenFile;
use crate::archive::segment::{Kind, Segment};
use crate::archive::select::TOLERANCE;
use crate::archive::selection::{Chosen, Selection};
use crate::cut::{self, CutSegment, ExactType, rough};
use crate::error::{Error, Result};
use crate::metrics::Metrics;
use crate::timestamp::{Span, Timestamp};

/// How long behind its picture sound can be stored, at the most that is usual.
const SOUND_DELAY: Span = Span::from_secs(1);

/// What a range is represented by.
#[derive(Debug, Default)]
struct Material {
    segments: usize,
    holes: usize,
    /// When the first segment starts and the last one ends.
    covers: Option<(Timestamp, Timestamp)>,
}

/// How many segments are gone through before it is asked, and asked again, whether the request was cancelled.
const STRIDE: usize = 4096;

/// Cuts a range. All that can be wrong with it is found out here; only then is the reply's body made. Both take as long as
/// the range is, and are given up once `is_cancelled` returns true.
pub(super) fn cut(app: &App, cut: &Cut, is_cancelled: &dyn Fn() -> bool) -> Result<Reply> {
    match cut.kind {
        CutKind::Rough => rough_cut(app, cut, is_cancelled),
        CutKind::Full => exact_cut(app, cut, ExactType::Full, is_cancelled),
        CutKind::Smart => exact_cut(app, cut, ExactType::Smart, is_cancelled),
    }
}

/// The segments of the range.
fn selection(app: &App, cut: &Cut) -> Result<Selection> {
    let name = cut.of.name();
    let hours = app.archive.hours(name)?;
    if hours.is_empty() && !app.archive.has_variant(name)? {
        let Variant { stream, variant } = &cut.of;
        let what = format!("there is no variant `{variant}` of a stream `{stream}`");
        return Err(Error::NotFound { what: what.escape_debug().to_string() });
    }
    Ok(Selection::new(&app.archive, name, &hours, (cut.start, cut.end)))
}

/// Calls `each` with the segments of the range, and whether a hole lies before them; fails where they do not cover
/// the range well enough.
fn gather(
    cut: &Cut,
    mut selection: Selection,
    is_cancelled: &dyn Fn() -> bool,
    mut each: impl FnMut(&Segment, bool) -> Result<()>,
) -> Result<Material> {
    let mut material = Material::default();
    while let Some(Chosen { segment, hole_before, .. }) = selection.next_segment()? {
        material.segments += 1;
        if material.segments.is_multiple_of(STRIDE) && is_cancelled() {
            return Err(Error::Cancelled);
        }
        material.holes += usize::from(hole_before);
        if material.holes > 0 && !cut.allow_holes {
            return Err(Error::RangeHasHoles);
        }
        let start = material.covers.map_or(segment.start, |(start, _)| start);
        material.covers = Some((start, segment.end()));
        each(&segment, hole_before)?;
    }
    material.holes += usize::from(selection.ends_in_hole());
    match material {
        Material { segments: 0, .. } => Err(Error::RangeIsEmpty),
        Material { holes: 1.., .. } if !cut.allow_holes => Err(Error::RangeHasHoles),
        material => Ok(material),
    }
}

/// The segments one after another, as they are. They are measured first, and selected once more while they are sent.
fn rough_cut(app: &App, cut: &Cut, is_cancelled: &dyn Fn() -> bool) -> Result<Reply> {
    let selection = selection(app, cut)?;
    let mut len = 0;
    let material = gather(cut, selection.clone(), is_cancelled, |segment, _| {
        len += rough::measure(&app.archive.segment_path(cut.of.name(), segment))?;
        Ok(())
    })?;
    // What comes behind the last one meanwhile is not part of it.
    let pieces = rough::Files::new(Arc::clone(&app.archive), selection).take(material.segments);
    let pieces =
        pieces.map(|file| file.map(|OpenFile { file, len, .. }| Piece::File { file, offset: 0, len }));
    let reply = describe(cut, material.covers.unwrap_or((cut.start, cut.end)), &material);
    let pieces = CountedPieces { pieces, metrics: Arc::clone(&app.metrics), counted: None };
    Ok(reply.with_body(Body::Known { len, pieces: Box::new(pieces) }))
}

/// The frames of the range and no others.
fn exact_cut(app: &App, cut: &Cut, exact_type: ExactType, is_cancelled: &dyn Fn() -> bool) -> Result<Reply> {
    let mut segments = Vec::new();
    let material = gather(cut, selection(app, cut)?, is_cancelled, |segment, hole_before| {
        segments.push(cut_segment(app, cut, segment, hole_before));
        Ok(())
    })?;
    let trailing = match segments.last() {
        Some(last) if last.complete => trailing_segment(app, cut, last.end)?,
        _ => None,
    };
    let reply = describe(cut, (cut.start, cut.end), &material);
    let (range, tools) = ((cut.start, cut.end), app.tools.get());
    let prepared = cut::prepare(exact_type, segments, trailing, range, &tools, is_cancelled)?;
    let kind = match exact_type {
        ExactType::Full => "full",
        ExactType::Smart => "smart",
    };
    let counted = Counted { metrics: Arc::clone(&app.metrics), kind, begun: Instant::now(), result: "panic" };
    Ok(reply.with_body(Body::streamed(move |sink| {
        let mut counted = counted;
        let sink = RefCell::new(sink);
        let made = prepared.run(&mut Prompt(&sink, &counted.metrics), &|| sink.borrow().is_cancelled());
        counted.result = match &made {
            Ok(()) => "ok",
            Err(_) if sink.borrow().is_cancelled() => "cancelled",
            Err(_) => "failed",
        };
        made
    })))
}

/// A segment of the archive as a segment of a cut.
fn cut_segment(app: &App, cut: &Cut, segment: &Segment, gap_before: bool) -> CutSegment {
    CutSegment {
        path: app.archive.segment_path(cut.of.name(), segment),
        start: segment.start,
        end: segment.end(),
        gap_before,
        complete: segment.kind == Kind::Full,
    }
}

/// The segment that continues the last one of a cut, which ends at `end`, if the cut ends so near to it that it may hold
/// some of the cut's sound.
fn trailing_segment(app: &App, cut: &Cut, end: Timestamp) -> Result<Option<CutSegment>> {
    if end - cut.end > SOUND_DELAY {
        return Ok(None);
    }
    let name = cut.of.name();
    let mut after =
        Selection::new(&app.archive, name, &app.archive.hours(name)?, (end, end + TOLERANCE + TOLERANCE));
    while let Some(Chosen { segment, .. }) = after.next_segment()? {
        if segment.start >= end - TOLERANCE {
            let follows = segment.start <= end + TOLERANCE;
            return Ok(follows.then(|| cut_segment(app, cut, &segment, false)));
        }
    }
    Ok(None)
}

/// A sink that is asked in between whether it still wants anything, and is given every byte at once: who waits for a
/// cut waits for its first frame.
struct Prompt<'a, 'b>(&'a RefCell<&'b mut dyn Sink>, &'a Metrics);

/// A cut that is counted when it is over.
struct Counted {
    metrics: Arc<Metrics>,
    kind: &'static str,
    begun: Instant,
    result: &'static str,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.metrics.cut_ended(self.kind, self.result, self.begun.elapsed().as_secs_f64());
    }
}

/// The pieces of a rough cut, which is counted from when the first is wanted until the last is sent, or the response has
/// ended before that. Whoever sends it holds the pieces, so no worker waits for its end.
struct CountedPieces<P> {
    pieces: P,
    metrics: Arc<Metrics>,
    counted: Option<Counted>,
}

impl<P: Iterator<Item = Result<Piece>>> Iterator for CountedPieces<P> {
    type Item = Result<Piece>;

    fn next(&mut self) -> Option<Self::Item> {
        let metrics = &self.metrics;
        let counted = self.counted.get_or_insert_with(|| {
            let metrics = Arc::clone(metrics);
            Counted { metrics, kind: "rough", begun: Instant::now(), result: "aborted" }
        });
        let next = self.pieces.next();
        if next.is_none() {
            counted.result = "ok";
        }
        next
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.pieces.size_hint()
    }
}

impl Write for Prompt<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut sink = self.0.borrow_mut();
        sink.write_all(bytes)?;
        sink.flush()?;
        self.1.cut_wrote(bytes.len());
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
        .with("X-Cut-Segments", material.segments.to_string())
        .with("X-Cut-Holes", material.holes.to_string())
}

/// `<stream>_<variant>_<start>.ts`, in characters that every file system takes.
fn file_name(cut: &Cut) -> String {
    let name = format!("{}_{}_{}", cut.of.stream, cut.of.variant, cut.start);
    let safe = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.');
    name.chars().map(|character| if safe(character) { character } else { '-' }).collect::<String>() + ".ts"
}
