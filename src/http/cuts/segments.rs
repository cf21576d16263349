//! The segments that a cut is made of, and those next to them.

use crate::archive::select::TOLERANCE;
use crate::archive::selection::{Chosen, Selection};
use crate::cut::CutSegment;
use crate::cut::selected::SelectedSegments;
use crate::error::{Error, Result};
use crate::http::handler::App;
use crate::http::path::VariantPath;
use crate::timestamp::{Span, Timestamp};

/// How far behind its picture a recorder may store sound.
const MAX_AUDIO_DELAY: Span = Span::from_secs(1);

/// How many segments are selected between two checks for cancellation.
const CANCELLATION_STRIDE: usize = 256;

/// A cut whose range is resolved.
#[derive(Debug)]
pub(crate) struct CutRequest {
    pub(crate) variant: VariantPath,
    /// The first instant of the range, and the first one behind it.
    pub(crate) range: (Timestamp, Timestamp),
    /// Whether the range may have gaps.
    pub(crate) allow_holes: bool,
}

/// The segments of a range, counted.
#[derive(Debug, Default)]
pub(super) struct Coverage {
    pub(super) segments: usize,
    pub(super) gaps: usize,
    /// Where the first gap starts and ends.
    first_gap: Option<(Timestamp, Timestamp)>,
    /// The length of all gaps together.
    gap_total: Span,
    /// The start of the first segment and the end of the last.
    pub(super) span: Option<(Timestamp, Timestamp)>,
}

impl Coverage {
    /// Counts a gap. A truncated segment may claim to last until the next one starts, or longer.
    fn add_gap(&mut self, start: Timestamp, end: Timestamp) {
        let end = end.max(start);
        self.gaps += 1;
        self.gap_total = self.gap_total + (end - start);
        self.first_gap = self.first_gap.or(Some((start, end)));
    }

    /// Adds the segments of the range that comes next in a cut.
    pub(super) fn add(&mut self, next: &Self) {
        self.segments += next.segments;
        self.gaps += next.gaps;
        self.first_gap = self.first_gap.or(next.first_gap);
        self.gap_total = self.gap_total + next.gap_total;
        let start = self.span.or(next.span).map(|(start, _)| start);
        self.span = start.zip(next.span).map(|(start, (_, end))| (start, end));
    }
}

/// Calls `each` with the segments of the range; from a gap that is not allowed on, only measures the gaps.
///
/// # Errors
/// [`Error::RangeIsEmpty`], [`Error::RangeHasHoles`], [`Error::Cancelled`]; those of `each`.
pub(super) fn for_each_segment(
    cut: &CutRequest,
    mut selection: Selection,
    is_cancelled: &dyn Fn() -> bool,
    mut each: impl FnMut(&Chosen) -> Result<()>,
) -> Result<Coverage> {
    let mut coverage = Coverage::default();
    while let Some(chosen) = selection.next_segment()? {
        coverage.segments += 1;
        if coverage.segments.is_multiple_of(CANCELLATION_STRIDE) && is_cancelled() {
            return Err(Error::Cancelled);
        }
        if chosen.gap_before {
            coverage.add_gap(coverage.span.map_or(cut.range.0, |(_, end)| end), chosen.segment.start());
        }
        let start = coverage.span.map_or(chosen.segment.start(), |(start, _)| start);
        coverage.span = Some((start, chosen.segment.end()));
        if coverage.gaps == 0 || cut.allow_holes {
            each(&chosen)?;
        }
    }
    let Some((_, last_end)) = coverage.span else { return Err(Error::RangeIsEmpty) };
    if selection.ends_in_gap() {
        coverage.add_gap(last_end, cut.range.1);
    }
    match coverage.first_gap {
        Some(first) if !cut.allow_holes => Err(Error::RangeHasHoles { first, total: coverage.gap_total }),
        _ => Ok(coverage),
    }
}

/// The segment after the last one of `segments`, which ends at `end`. `None` if it does not follow without a gap, or if the
/// cut ends too early for it to hold sound of the cut.
pub(crate) fn trailing_segment(
    app: &App,
    cut: &CutRequest,
    segments: &SelectedSegments,
    end: Timestamp,
) -> Result<Option<CutSegment>> {
    if end - cut.range.1 > MAX_AUDIO_DELAY {
        return Ok(None);
    }
    let mut following = selection(app, cut, (end, end + TOLERANCE + TOLERANCE))?;
    while let Some(Chosen { segment, .. }) = following.next_segment()? {
        if segment.start() >= end - TOLERANCE {
            let follows = segment.start() <= end + TOLERANCE;
            return Ok(follows.then(|| segments.cut_segment(&segment, false)));
        }
    }
    Ok(None)
}

/// The segment that the one which starts at `start` follows without a gap, if there is one.
pub(crate) fn preceding_segment(app: &App, cut: &CutRequest, start: Timestamp) -> Result<Option<CutSegment>> {
    let before = start - TOLERANCE;
    let mut preceding = selection(app, cut, (before - Span::from_micros(1), before))?;
    let Some(Chosen { segment, .. }) = preceding.next_segment()? else { return Ok(None) };
    let segment = SelectedSegments::new(&app.archive, cut.variant.name()).cut_segment(&segment, false);
    let follows = segment.complete && segment.end <= start + TOLERANCE && segment.end >= start - TOLERANCE;
    Ok(follows.then_some(segment))
}

/// The segments of a range of the cut's variant.
pub(crate) fn selection(app: &App, cut: &CutRequest, range: (Timestamp, Timestamp)) -> Result<Selection> {
    let name = cut.variant.name();
    Ok(Selection::new(&app.archive, name, &app.archive.hours(name)?, range).ignoring_empty())
}
