//! `/cut/….ts`: a time range as a transport stream, or as WebM, which is also `/cut/….webm`.

use std::io::Write;
use std::sync::Arc;

use super::parts::parts;
use super::request::{CutParameters, describe, exact_ranges, file_name, outer, type_name};
use super::segments::{Coverage, CutRequest, for_each_segment, selection};
use super::streamed::streamed;
use super::timer::CutTimer;
use super::transitions::Transitions;
use crate::archive::OpenFile;
use crate::cut::{self, ExactType, rough};
use crate::error::Result;
use crate::http::handler::{App, Handler, Pool};
use crate::http::path::PathNames;
use crate::http::query::Query;
use crate::http::reply::{Body, Piece, Reply};
use crate::http::request::Request;

/// `/cut/{stream}/{variant}.ts`: a time range as a transport stream, or as WebM.
#[derive(Debug)]
pub(crate) struct CutQuery {
    cut: CutParameters,
    exact_type: Option<ExactType>,
    /// Whether browsers play WebM, rather than save it.
    inline: bool,
}

/// `/cut/{stream}/{variant}.webm`: the same as WebM.
#[derive(Debug)]
pub(crate) struct WebmQuery(CutQuery);

impl Handler for CutQuery {
    fn decode(names: PathNames, query: Query) -> Result<Self> {
        let mut cut = CutParameters::decode(names, query)?;
        let default = if query.flag("experimental")? { ExactType::Smart } else { ExactType::Full };
        let cut_type = query.parsed("type", "`full`, `smart`, `rough` or `webm`", |name| match name {
            "full" | "mpegts" => Some(Some(ExactType::Full)),
            "smart" | "fast" => Some(Some(ExactType::Smart)),
            "rough" => Some(None),
            "webm" => Some(Some(ExactType::Webm)),
            _ => None,
        })?;
        let exact_type = cut_type.unwrap_or(Some(default));
        cut.check_transitions(exact_type.is_none())?;
        Ok(Self { cut, exact_type, inline: query.flag("inline")? })
    }

    fn pool(&self) -> Option<Pool> {
        Some(if self.exact_type.is_some() { Pool::Cut } else { Pool::Media })
    }

    /// Every reason against a cut is found before the body is sent. This takes time in proportion to the range.
    fn handle(&self, app: &App, _: &Request, is_cancelled: &dyn Fn() -> bool) -> Result<Reply> {
        let cut = self.cut.resolve(app, self.exact_type.map(|_| (app.max_cut_hours, "exact")))?;
        let shown = outer(&cut)?;
        let (start, _) = shown;
        let (body, shown, coverage) = if let Some(exact_type) = self.exact_type {
            let (body, coverage) = exact_cut(app, cut, &self.cut.transitions, exact_type, is_cancelled)?;
            (body, shown, coverage)
        } else {
            let (body, coverage) = rough_cut(app, &cut, is_cancelled)?;
            (body, coverage.span.unwrap_or(shown), coverage)
        };
        // The range that was asked for names the file.
        let is_webm = self.exact_type == Some(ExactType::Webm);
        let (content_type, extension) = if is_webm { ("video/webm", "webm") } else { ("video/mp2t", "ts") };
        let name = (!(is_webm && self.inline)).then(|| file_name(&self.cut.variant, start, extension));
        let reply =
            describe(content_type, name.as_deref(), shown, &coverage).with("Cache-Control", "no-store");
        Ok(reply.with_body(body))
    }
}

impl Handler for WebmQuery {
    fn decode(names: PathNames, query: Query) -> Result<Self> {
        let mut cut = CutParameters::decode(names, query)?;
        cut.check_transitions(false)?;
        query.parsed("type", "`webm`", |name| (name == "webm").then_some(()))?;
        Ok(Self(CutQuery { cut, exact_type: Some(ExactType::Webm), inline: query.flag("inline")? }))
    }

    fn pool(&self) -> Option<Pool> {
        self.0.pool()
    }

    fn handle(&self, app: &App, request: &Request, is_cancelled: &dyn Fn() -> bool) -> Result<Reply> {
        self.0.handle(app, request, is_cancelled)
    }
}

/// Concatenates the segments. They are selected twice: to add up their lengths, and while they are sent.
fn rough_cut(app: &App, cut: &[CutRequest], is_cancelled: &dyn Fn() -> bool) -> Result<(Body, Coverage)> {
    let (mut len, mut coverage, mut selections) = (0, Coverage::default(), Vec::with_capacity(cut.len()));
    for (index, range) in cut.iter().enumerate() {
        let selection = selection(app, range, range.range)?;
        let covered = for_each_segment(range, selection.clone(), is_cancelled, |chosen| {
            len += rough::measure(&app.archive.segment_path(chosen.variant, &chosen.segment))?;
            Ok(())
        });
        let covered = covered.map_err(|error| error.in_range(index, cut.len()))?;
        selections.push((selection, covered.segments));
        coverage.add(&covered);
    }
    let archive = Arc::clone(&app.archive);
    let mut files = selections.into_iter().flat_map(move |(selection, segments)| {
        // Segments that were added after the last one meanwhile are not sent.
        rough::files(Arc::clone(&archive), selection).take(segments)
    });
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
    Ok((Body::Known { len, pieces: Box::new(pieces) }, coverage))
}

/// Cuts exactly the frames of the ranges.
fn exact_cut(
    app: &App,
    cut: Vec<CutRequest>,
    transitions: &Transitions,
    exact_type: ExactType,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<(Body, Coverage)> {
    transitions.check_types(app)?;
    let (ranges, coverage) = exact_ranges(app, cut, is_cancelled, |_| {})?;
    let parts = parts(app, ranges, transitions, is_cancelled)?;
    let prepared = cut::prepare_ranges(exact_type, parts, &app.tools.get(), is_cancelled)?;
    let run = move |out: &mut dyn Write, is_cancelled: &dyn Fn() -> bool| prepared.run(out, is_cancelled);
    Ok((streamed(app, type_name(exact_type), run), coverage))
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
            ("&type=webm", Ok((false, Some(ExactType::Webm)))),
            ("&type=mp4", Err("bad type `mp4`: expected `full`, `smart`, `rough` or `webm`")),
            ("&type=", Err("bad type ``: expected `full`, `smart`, `rough` or `webm`")),
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
        for (cut_type, pool) in
            [("full", Pool::Cut), ("smart", Pool::Cut), ("webm", Pool::Cut), ("rough", Pool::Media)]
        {
            let cut = decode(&format!("start=2026-11-20T10&end=2026-11-20T11&type={cut_type}"));
            assert_eq!(cut.expect(cut_type).pool(), Some(pool), "{cut_type}");
        }
    }
}
