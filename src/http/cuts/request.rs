//! What cuts in all containers have in common: their parameters, their segments and the head of the response.

use std::borrow::Borrow;
use std::sync::Arc;

use super::segments::{
    Coverage, CutRequest, for_each_segment, preceding_segment, selection, trailing_segment,
};
use super::transitions::Transitions;
use crate::archive::selection::Chosen;
use crate::cut::selected::SelectedSegments;
use crate::cut::{CutRange, CutSegment, ExactType, SegmentList};
use crate::error::{Error, Result};
use crate::http::disposition::attachment;
use crate::http::handler::App;
use crate::http::path::{PathNames, VariantPath};
use crate::http::query::Query;
use crate::http::reply::Reply;
use crate::http::time_range::{ResolvedRange, TimeRange};
use crate::timestamp::{Hour, Span, Timestamp};

/// How many ranges a cut may have.
const MAX_RANGES: usize = 100;

/// A range of a variant, as a request gives it.
#[derive(Debug)]
pub(crate) struct RangeParameters {
    variant: VariantPath,
    pub(crate) range: TimeRange,
}

impl RangeParameters {
    pub(crate) fn decode(names: PathNames, query: Query) -> Result<Self> {
        let (variant, range) = (names.variant()?, TimeRange::read(query)?);
        check_order(std::slice::from_ref(&range))?;
        Ok(Self { variant, range })
    }

    /// The range as it is meant now, which may have gaps.
    ///
    /// # Errors
    /// Those of [`CutParameters::resolve`].
    pub(crate) fn resolve(&self, app: &App) -> Result<CutRequest> {
        let resolved = resolve(app, &self.variant, std::slice::from_ref(&self.range))?;
        let range = resolved.into_iter().next().ok_or(Error::RangeIsEmpty)?;
        Ok(CutRequest { variant: self.variant.clone(), range, allow_holes: true })
    }
}

/// The parameters that cuts in all containers have.
#[derive(Debug)]
pub(super) struct CutParameters {
    pub(super) variant: VariantPath,
    /// Its ranges, in the order of the cut; never empty.
    ranges: Vec<TimeRange>,
    pub(super) allow_holes: bool,
    pub(super) transitions: Transitions,
}

impl CutParameters {
    pub(super) fn decode(names: PathNames, query: Query) -> Result<Self> {
        let (allow_holes, variant) = (query.flag("allow_holes")?, names.variant()?);
        let mut ranges = TimeRange::read_pairs(query)?;
        if ranges.len() > MAX_RANGES {
            return Err(Error::OutOfBounds("a cut has at most 100 ranges: make several cuts"));
        }
        if ranges.is_empty() {
            ranges.push(TimeRange::read(query)?);
        }
        check_order(&ranges)?;
        Ok(Self { variant, ranges, allow_holes, transitions: Transitions::decode(query) })
    }

    /// Checks the transitions. A cut of a type that ignores them may have any, as long as there are not too many.
    pub(super) fn check_transitions(&mut self, are_ignored: bool) -> Result<()> {
        if are_ignored {
            self.transitions.ignore();
        }
        self.transitions.check(self.ranges.len())
    }

    /// Whether the cut is of other ranges at another time.
    pub(super) fn is_relative(&self) -> bool {
        // The first segment and the live end move too.
        let moves = |range: &TimeRange| range.is_relative() || range.start.is_none() || range.end.is_none();
        self.ranges.iter().any(moves)
    }

    /// The ranges of the cut as they are meant now, of at most so many hours together if it is of a kind that has a limit.
    /// Without a start it begins with the first segment, without an end it ends at the live end.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such variant; [`Error::RangeIsEmpty`] if a range depends on segments, and there
    /// are none; [`Error::EndNotAfterStart`] for two ends that the request gives; [`Error::CutTooLong`].
    pub(super) fn resolve(&self, app: &App, limit: Option<(u32, &'static str)>) -> Result<Vec<CutRequest>> {
        let resolved = resolve(app, &self.variant, &self.ranges)?;
        if let Some((max_hours, kind)) = limit {
            let max = Span::from_secs(i64::from(max_hours) * 3600);
            let mut total = Span::ZERO;
            for (start, end) in &resolved {
                total = total + (*end - *start);
                if total > max {
                    return Err(Error::CutTooLong { kind, max_hours });
                }
            }
        }
        let (variant, allow_holes) = (&self.variant, self.allow_holes);
        let request = |range| CutRequest { variant: variant.clone(), range, allow_holes };
        Ok(resolved.into_iter().map(request).collect())
    }
}

/// Refuses ranges that are certainly wrong before they wait for a worker.
fn check_order(ranges: &[TimeRange]) -> Result<()> {
    match ranges.iter().position(TimeRange::is_backwards) {
        Some(index) => Err(Error::EndNotAfterStart.in_range(index, ranges.len())),
        None => Ok(()),
    }
}

/// Ranges of a variant as they are meant now.
fn resolve(app: &App, variant: &VariantPath, ranges: &[TimeRange]) -> Result<Vec<(Timestamp, Timestamp)>> {
    let name = variant.name();
    let hours = hours_of_variant(app, variant)?;
    let until_live: Vec<TimeRange> = ranges.iter().cloned().map(TimeRange::or_until_live).collect();
    let resolved = TimeRange::resolve_all(&until_live, &app.archive, name, &hours, app.clock.now())?;
    let resolve_one = |given: &TimeRange, resolved: Option<ResolvedRange>| {
        let (start, end) = resolved.ok_or(Error::RangeIsEmpty)?;
        let start = start.map_or_else(|| app.archive.first_start(name, &hours), |start| Ok(Some(start)))?;
        let (start, end) = start.zip(end).ok_or(Error::RangeIsEmpty)?;
        if end <= start {
            let has_both_ends = given.start.is_some() && given.end.is_some();
            return Err(if has_both_ends { Error::EndNotAfterStart } else { Error::RangeIsEmpty });
        }
        Ok((start, end))
    };
    let pairs = ranges.iter().zip(resolved).enumerate();
    pairs
        .map(|(index, (given, range))| resolve_one(given, range).map_err(|e| e.in_range(index, ranges.len())))
        .collect()
}

/// A range of an exact cut, and its segments.
#[derive(Debug)]
pub(super) struct ExactRange {
    /// Which of the ranges of the cut it is or is part of, from 0 on, and how many there are.
    pub(super) place: (usize, usize),
    pub(super) request: CutRequest,
    pub(super) segments: SelectedSegments,
    /// The one that continues the last, which may have sound of the range.
    pub(super) trailing: Option<CutSegment>,
    /// The start of the first segment and the end of the last.
    pub(super) span: (Timestamp, Timestamp),
}

impl ExactRange {
    /// What the range is made from.
    pub(super) fn source(self, app: &App, range: (Timestamp, Timestamp)) -> CutRange<'_> {
        let Self { place, request, segments, trailing, .. } = self;
        let first = segments.segment(0).map_or(request.range.0, |first| first.start);
        let preceding = Box::new(preceding(app, request, first));
        CutRange { place, segments: Arc::new(segments), trailing, preceding, range }
    }
}

/// Finds the segments of the ranges of an exact cut. `each` is called with a range before its segments, with each of these,
/// and with the one that continues the last.
pub(super) fn exact_ranges(
    app: &App,
    cut: Vec<CutRequest>,
    is_cancelled: &dyn Fn() -> bool,
    mut each: impl FnMut(Part),
) -> Result<(Vec<ExactRange>, Coverage)> {
    let (mut ranges, mut coverage) = (Vec::with_capacity(cut.len()), Coverage::default());
    let count = cut.len();
    for (index, request) in cut.into_iter().enumerate() {
        let (range, covered) = exact_range(app, request, (index, count), is_cancelled, &mut each)?;
        coverage.add(&covered);
        ranges.push(range);
    }
    Ok((ranges, coverage))
}

/// Finds the segments of a range of an exact cut, or of a part of one.
pub(super) fn exact_range(
    app: &App,
    request: CutRequest,
    place: (usize, usize),
    is_cancelled: &dyn Fn() -> bool,
    each: &mut dyn FnMut(Part),
) -> Result<(ExactRange, Coverage)> {
    let mut segments = SelectedSegments::new(&app.archive, request.variant.name());
    each(Part::Range(request.range));
    let selection = selection(app, &request, request.range)?;
    let covered = for_each_segment(&request, selection, is_cancelled, |chosen| {
        each(Part::Segment(chosen));
        segments.push(chosen)
    });
    let covered = covered.map_err(|error| error.in_range(place.0, place.1))?;
    let last = segments.count().checked_sub(1).and_then(|last| segments.segment(last));
    let trailing = match last {
        Some(last) if last.complete => trailing_segment(app, &request, &segments, last.end)?,
        _ => None,
    };
    if let Some(trailing) = &trailing {
        each(Part::Trailing(trailing));
    }
    let span = covered.span.unwrap_or(request.range);
    Ok((ExactRange { place, request, segments, trailing, span }, covered))
}

/// What an exact cut is made of.
pub(super) enum Part<'a> {
    Range((Timestamp, Timestamp)),
    Segment(&'a Chosen<'a>),
    Trailing(&'a CutSegment),
}

/// The hours of a variant.
///
/// # Errors
/// [`Error::NotFound`] if there is no such variant.
pub(crate) fn hours_of_variant(app: &App, path: &VariantPath) -> Result<Arc<[Hour]>> {
    let hours = app.archive.hours(path.name())?;
    if hours.is_empty() && !app.archive.has_variant(path.name())? {
        let VariantPath { stream, variant } = path;
        let what = format!("there is no variant `{variant}` of a stream `{stream}`");
        return Err(Error::NotFound(what.escape_debug().to_string()));
    }
    Ok(hours)
}

/// Returns the segments before the one that starts at `start`, the nearest first.
pub(crate) fn preceding(
    app: &App,
    cut: impl Borrow<CutRequest>,
    mut start: Timestamp,
) -> impl FnMut() -> Result<Option<CutSegment>> {
    move || {
        let segment = preceding_segment(app, cut.borrow(), start)?;
        start = segment.as_ref().map_or(start, |segment| segment.start);
        Ok(segment)
    }
}

/// The response to a cut without its body, to be saved as `file_name`. `shown` is the range that the body covers.
pub(super) fn describe(
    content_type: &'static str,
    file_name: Option<&str>,
    shown: (Timestamp, Timestamp),
    coverage: &Coverage,
) -> Reply {
    let mut reply = Reply::empty(200).with("Content-Type", content_type);
    if let Some(file_name) = file_name {
        reply = reply.with("Content-Disposition", attachment(file_name));
    }
    reply
        .with("X-Cut-Start", shown.0.to_string())
        .with("X-Cut-End", shown.1.to_string())
        .with("X-Cut-Segments", coverage.segments.to_string())
        .with("X-Cut-Holes", coverage.gaps.to_string())
}

/// `<stream>_<variant>_<start>.<extension>`
pub(super) fn file_name(variant: &VariantPath, start: Timestamp, extension: &str) -> String {
    format!("{}_{}_{start}.{extension}", variant.stream, variant.variant)
}

/// Where the first range of a cut begins, and where the last one ends.
pub(super) fn outer(cut: &[CutRequest]) -> Result<(Timestamp, Timestamp)> {
    let (first, last) = cut.first().zip(cut.last()).ok_or(Error::RangeIsEmpty)?;
    Ok((first.range.0, last.range.1))
}

/// The name of a type, as requests give it and as metrics have it.
pub(super) fn type_name(exact_type: ExactType) -> &'static str {
    match exact_type {
        ExactType::Full => "full",
        ExactType::Webm => "webm",
        ExactType::Smart => "smart",
        ExactType::Copy => "copy",
        ExactType::Whole => "rough",
    }
}
