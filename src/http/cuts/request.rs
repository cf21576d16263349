//! What cuts in all containers have in common: their parameters, their segments and the head of the response.

use std::sync::Arc;

use super::segments::{Coverage, CutRequest, preceding_segment, trailing_segment};
use crate::cut::selected::SelectedSegments;
use crate::cut::{CutSegment, ExactType, SegmentList};
use crate::error::{Error, Result};
use crate::http::disposition::attachment;
use crate::http::handler::App;
use crate::http::path::{PathNames, VariantPath};
use crate::http::query::Query;
use crate::http::reply::Reply;
use crate::http::time_range::TimeRange;
use crate::timestamp::{Hour, Span, Timestamp};

/// The parameters that cuts in all containers have.
#[derive(Debug)]
pub(crate) struct CutParameters {
    pub(super) variant: VariantPath,
    pub(crate) range: TimeRange,
    pub(super) allow_holes: bool,
}

impl CutParameters {
    pub(super) fn decode(names: PathNames, query: Query) -> Result<Self> {
        Ok(Self { allow_holes: query.flag("allow_holes")?, ..Self::of_range(names, query)? })
    }

    /// Those of a range that may have gaps.
    pub(crate) fn of_range(names: PathNames, query: Query) -> Result<Self> {
        let variant = names.variant()?;
        let range = TimeRange::read(query)?;
        // A request that is certainly wrong does not wait for a worker.
        if range.is_backwards() {
            return Err(Error::EndNotAfterStart);
        }
        Ok(Self { variant, range, allow_holes: true })
    }

    /// The cut as it is meant now, of at most so many hours if it is of a kind that has a limit. Without a start it begins with the first segment, without an end it
    /// ends at the live end.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such variant; [`Error::RangeIsEmpty`] if the range depends on segments, and there
    /// are none; [`Error::EndNotAfterStart`] for two ends that the request gives; [`Error::CutTooLong`].
    pub(crate) fn resolve(&self, app: &App, limit: Option<(u32, &'static str)>) -> Result<CutRequest> {
        let Self { variant, range, allow_holes } = self;
        let name = variant.name();
        let hours = hours_of_variant(app, variant)?;
        let has_both_ends = range.start.is_some() && range.end.is_some();
        let range = range.clone().or_until_live();
        let resolved = range.resolve(&app.archive, name, &hours, app.clock.now())?;
        let (start, end) = resolved.ok_or(Error::RangeIsEmpty)?;
        let start = start.map_or_else(|| app.archive.first_start(name, &hours), |start| Ok(Some(start)))?;
        let range = start.zip(end).ok_or(Error::RangeIsEmpty)?;
        if range.1 <= range.0 {
            return Err(if has_both_ends { Error::EndNotAfterStart } else { Error::RangeIsEmpty });
        }
        let is_exceeded = |hours: u32| range.1 - range.0 > Span::from_secs(i64::from(hours) * 3600);
        match limit.filter(|(max_hours, _)| is_exceeded(*max_hours)) {
            Some((max_hours, kind)) => Err(Error::CutTooLong { kind, max_hours }),
            None => Ok(CutRequest { variant: variant.clone(), range, allow_holes: *allow_holes }),
        }
    }
}

/// The segments of an exact cut.
pub(super) struct ExactSegments {
    pub(super) segments: SelectedSegments,
    /// The one that continues the last, which may have sound of the range.
    pub(super) trailing: Option<CutSegment>,
}

impl ExactSegments {
    pub(super) fn find(app: &App, cut: &CutRequest, segments: SelectedSegments) -> Result<Self> {
        let last = segments.count().checked_sub(1).and_then(|last| segments.segment(last));
        let trailing = match last {
            Some(last) if last.complete => trailing_segment(app, cut, &segments, last.end)?,
            _ => None,
        };
        Ok(Self { segments, trailing })
    }
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
    cut: &CutRequest,
    mut start: Timestamp,
) -> impl FnMut() -> Result<Option<CutSegment>> {
    move || {
        let segment = preceding_segment(app, cut, start)?;
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
pub(super) fn file_name(cut: &CutRequest, extension: &str) -> String {
    format!("{}_{}_{}.{extension}", cut.variant.stream, cut.variant.variant, cut.range.0)
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
