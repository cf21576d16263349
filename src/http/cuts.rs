//! `/cut/…`: a time range as one file. Transport streams are here, movies in `movie.rs`.

mod movie;
mod segments;
mod timer;

use std::cell::RefCell;
use std::io::{self, Write};
use std::sync::Arc;

pub(super) use self::movie::MovieQuery;
use self::segments::{
    Coverage, CutRequest, for_each_segment, preceding_segment, selection, trailing_segment,
};
use self::timer::CutTimer;
use super::disposition::attachment;
use super::handler::{App, Handler, Pool};
use super::path::{PathNames, VariantPath};
use super::query::Query;
use super::reply::{Body, Piece, Reply, Sink};
use super::request::Request;
use super::time_range::TimeRange;
use crate::archive::OpenFile;
use crate::cut::selected::SelectedSegments;
use crate::cut::{self, CutSegment, ExactType, SegmentList, rough};
use crate::error::{Error, Result};
use crate::metrics::Metrics;
use crate::timestamp::{Span, Timestamp};

/// The parameters that cuts in all containers have.
#[derive(Debug)]
struct CutParameters {
    variant: VariantPath,
    range: TimeRange,
    allow_holes: bool,
}

/// `/cut/{stream}/{variant}.ts`: a time range as a transport stream.
#[derive(Debug)]
pub(super) struct CutQuery {
    cut: CutParameters,
    exact_type: Option<ExactType>,
}

impl Handler for CutQuery {
    fn decode(names: PathNames, query: Query) -> Result<Self> {
        let cut = CutParameters::decode(names, query)?;
        let default = if query.flag("experimental")? { ExactType::Smart } else { ExactType::Full };
        let cut_type = query.parsed("type", "`full`, `smart` or `rough`", |name| match name {
            "full" | "mpegts" => Some(Some(ExactType::Full)),
            "smart" | "fast" => Some(Some(ExactType::Smart)),
            "rough" => Some(None),
            _ => None,
        })?;
        Ok(Self { cut, exact_type: cut_type.unwrap_or(Some(default)) })
    }

    fn pool(&self) -> Option<Pool> {
        Some(if self.exact_type.is_some() { Pool::Cut } else { Pool::Media })
    }

    /// Every reason against a cut is found before the body is sent. This takes time in proportion to the range.
    fn handle(&self, app: &App, _: &Request, is_cancelled: &dyn Fn() -> bool) -> Result<Reply> {
        let cut = self.cut.resolve(app, self.exact_type.map(|_| app.max_cut_hours))?;
        let reply = match self.exact_type {
            Some(exact_type) => exact_cut(app, &cut, exact_type, is_cancelled),
            None => rough_cut(app, &cut, is_cancelled),
        };
        Ok(reply?.with("Cache-Control", "no-store"))
    }
}

impl CutParameters {
    fn decode(names: PathNames, query: Query) -> Result<Self> {
        let variant = names.variant()?;
        let range = TimeRange::read(query)?;
        // A request that is certainly wrong does not wait for a worker.
        if range.is_backwards() {
            return Err(Error::EndNotAfterStart);
        }
        Ok(Self { variant, range, allow_holes: query.flag("allow_holes")? })
    }

    /// The cut as it is meant now, of at most `max_hours`. Without a start it begins with the first segment, without an end it
    /// ends at the live end.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such variant; [`Error::RangeIsEmpty`] if the range depends on segments, and there
    /// are none; [`Error::EndNotAfterStart`] for two ends that the request gives; [`Error::CutTooLong`].
    fn resolve(&self, app: &App, max_hours: Option<u32>) -> Result<CutRequest> {
        let Self { variant, range, allow_holes } = self;
        let name = variant.name();
        let hours = app.archive.hours(name)?;
        if hours.is_empty() && !app.archive.has_variant(name)? {
            let VariantPath { stream, variant } = variant;
            let what = format!("there is no variant `{variant}` of a stream `{stream}`");
            return Err(Error::NotFound(what.escape_debug().to_string()));
        }
        let has_both_ends = range.start.is_some() && range.end.is_some();
        let range = range.clone().or_until_live();
        let resolved = range.resolve(&app.archive, name, &hours, app.clock.now())?;
        let (start, end) = resolved.ok_or(Error::RangeIsEmpty)?;
        let start = start.map_or_else(|| app.archive.first_start(name, &hours), |start| Ok(Some(start)))?;
        let range = start.zip(end).ok_or(Error::RangeIsEmpty)?;
        if range.1 <= range.0 {
            return Err(if has_both_ends { Error::EndNotAfterStart } else { Error::RangeIsEmpty });
        }
        match max_hours.filter(|hours| range.1 - range.0 > Span::from_secs(i64::from(*hours) * 3600)) {
            Some(max_hours) => Err(Error::CutTooLong { max_hours }),
            None => Ok(CutRequest { variant: variant.clone(), range, allow_holes: *allow_holes }),
        }
    }
}

/// The segments of an exact cut.
struct ExactSegments {
    segments: SelectedSegments,
    /// The one that continues the last, which may have sound of the range.
    trailing: Option<CutSegment>,
}

impl ExactSegments {
    fn find(app: &App, cut: &CutRequest, segments: SelectedSegments) -> Result<Self> {
        let last = segments.count().checked_sub(1).and_then(|last| segments.segment(last));
        let trailing = match last {
            Some(last) if last.complete => trailing_segment(app, cut, &segments, last.end)?,
            _ => None,
        };
        Ok(Self { segments, trailing })
    }
}

/// Returns the segments before the one that starts at `start`, the nearest first.
fn preceding(
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

/// Concatenates the segments. They are selected twice: to add up their lengths, and while they are sent.
fn rough_cut(app: &App, cut: &CutRequest, is_cancelled: &dyn Fn() -> bool) -> Result<Reply> {
    let selection = selection(app, cut, cut.range)?;
    let mut len = 0;
    let coverage = for_each_segment(cut, selection.clone(), is_cancelled, |chosen| {
        len += rough::measure(&app.archive.segment_path(chosen.variant, &chosen.segment))?;
        Ok(())
    })?;
    // Segments that were added after the last one meanwhile are not sent.
    let mut files = rough::files(Arc::clone(&app.archive), selection).take(coverage.segments);
    let (metrics, mut timer) = (Arc::clone(&app.metrics), None);
    // The duration of a cut begins with its first file. The response may end before the last.
    let pieces = std::iter::from_fn(move || {
        let timer = timer.get_or_insert_with(|| CutTimer::start(&metrics, "rough", "aborted"));
        let Some(file) = files.next() else {
            timer.result = "ok";
            return None;
        };
        Some(file.map(|OpenFile { file, len, .. }| Piece::File { file, offset: 0, len }))
    });
    let reply = describe_stream(cut, coverage.span.unwrap_or(cut.range), &coverage);
    Ok(reply.with_body(Body::Known { len, pieces: Box::new(pieces) }))
}

/// Cuts exactly the frames of the range.
fn exact_cut(
    app: &App,
    cut: &CutRequest,
    exact_type: ExactType,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<Reply> {
    let mut segments = SelectedSegments::new(&app.archive, cut.variant.name());
    let coverage =
        for_each_segment(cut, selection(app, cut, cut.range)?, is_cancelled, |chosen| segments.push(chosen))?;
    let ExactSegments { segments, trailing } = ExactSegments::find(app, cut, segments)?;
    let reply = describe_stream(cut, cut.range, &coverage);
    let first = segments.segment(0).map_or(cut.range.0, |first| first.start);
    let mut preceding = preceding(app, cut, first);
    let tools = app.tools.get();
    let prepared = cut::prepare(
        exact_type,
        segments,
        trailing.as_ref(),
        &mut preceding,
        cut.range,
        &tools,
        is_cancelled,
    )?;
    let label = match exact_type {
        ExactType::Full => "full",
        _ => "smart",
    };
    Ok(reply.with_body(streamed(app, label, move |out, is_cancelled| prepared.run(out, is_cancelled))))
}

/// The body of a cut that `run` writes while it is sent.
fn streamed(
    app: &App,
    label: &'static str,
    run: impl FnOnce(&mut dyn Write, &dyn Fn() -> bool) -> Result<()> + Send + 'static,
) -> Body {
    let timer = CutTimer::start(&app.metrics, label, "panic");
    Body::streamed(move |sink| {
        // Moves the timer into the closure as a whole, to be dropped with it.
        let mut timer = timer;
        let sink = RefCell::new(sink);
        let mut out = FlushingSink { sink: &sink, metrics: &timer.metrics };
        let result = run(&mut out, &|| sink.borrow().is_cancelled());
        timer.result = match &result {
            Ok(()) => "ok",
            Err(_) if sink.borrow().is_cancelled() => "cancelled",
            Err(_) => "failed",
        };
        result
    })
}

/// A sink that sends each write at once, so that the client gets the first frames early. It counts the bytes. The cell
/// lets the cut poll for cancellation between writes.
struct FlushingSink<'a, 'b> {
    sink: &'a RefCell<&'b mut dyn Sink>,
    metrics: &'a Metrics,
}

impl Write for FlushingSink<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut sink = self.sink.borrow_mut();
        sink.write_all(bytes)?;
        sink.flush()?;
        self.metrics.cut_wrote(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.borrow_mut().flush()
    }
}

/// The response to a cut as a transport stream, without its body.
fn describe_stream(cut: &CutRequest, shown: (Timestamp, Timestamp), coverage: &Coverage) -> Reply {
    describe("video/mp2t", Some(&file_name(cut, "ts")), shown, coverage)
}

/// The response to a cut without its body, to be saved as `file_name`. `shown` is the range that the body covers.
fn describe(
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
fn file_name(cut: &CutRequest, extension: &str) -> String {
    format!("{}_{}_{}.{extension}", cut.variant.stream, cut.variant.variant, cut.range.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::path::Captures;

    fn decode(query: &str) -> Result<CutQuery, String> {
        let captures = Captures::of("/cut/{stream}/{variant}.ts", "/cut/s/v.ts").expect("a cut");
        let decoded = captures.names().and_then(|names| CutQuery::decode(names, Query::new(query)));
        decoded.map_err(|error| error.to_string())
    }

    #[test]
    fn cuts_read_their_parameters() {
        let times = "start=2026-11-20T10:00:00&end=2026-11-20T10:00:01";
        let rows = [
            ("", Ok((false, Some(ExactType::Full)))),
            ("&type=mpegts", Ok((false, Some(ExactType::Full)))),
            ("&type=smart&allow_holes=TRUE", Ok((true, Some(ExactType::Smart)))),
            ("&type=fast", Ok((false, Some(ExactType::Smart)))),
            ("&type=rough&experimental=true", Ok((false, None))),
            ("&experimental=True", Ok((false, Some(ExactType::Smart)))),
            ("&experimental=false", Ok((false, Some(ExactType::Full)))),
            ("&experimental=1", Err("bad experimental `1`: expected `true` or `false`")),
            ("&allow_holes=", Err("bad allow_holes ``: expected `true` or `false`")),
            ("&type=mp4", Err("bad type `mp4`: expected `full`, `smart` or `rough`")),
            ("&type=", Err("bad type ``: expected `full`, `smart` or `rough`")),
        ];
        for (more, expected) in rows {
            let decoded = decode(&format!("{times}{more}")).map(|cut| (cut.cut.allow_holes, cut.exact_type));
            assert_eq!(decoded, expected.map_err(str::to_owned), "{more}");
        }
        let rows = [
            ("duration=30s", "missing start or end: expected one of them beside `duration`"),
            ("start=2026-11-20&end=x", "bad end `x`"),
            ("start=2026-11-20&end=2026-11-20", "End must be after start"),
            ("start=2026-11-20&end=2026-11-19", "End must be after start"),
        ];
        for (query, shown) in rows {
            let error = decode(query).expect_err(query);
            assert!(error.starts_with(shown), "{query}: {error}");
        }
    }

    #[test]
    fn exact_and_rough_cuts_have_pools_of_their_own() {
        for (cut_type, pool) in [("full", Pool::Cut), ("smart", Pool::Cut), ("rough", Pool::Media)] {
            let cut = decode(&format!("start=2026-11-20T10&end=2026-11-20T11&type={cut_type}"));
            assert_eq!(cut.expect(cut_type).pool(), Some(pool), "{cut_type}");
        }
    }
}
