//! `/cut/….mp4`: a time range as an MP4 movie.

use std::io::Write;
use std::ops::Range;
use std::sync::Arc;

use tiny_http::Method;

use super::parts::parts;
use super::request::{CutParameters, ExactRange, Part, describe, exact_ranges, file_name, outer, type_name};
use super::segments::{Coverage, CutRequest};
use super::streamed::streamed;
use super::timer::CutTimer;
use crate::cut::movie::{EncodedPictures, Movie, MovieOptions, MovieSource};
use crate::cut::{CutParts, ExactType, MovieTools, PreparedCut, prepare_movie};
use crate::error::Result;
use crate::fnv::Fnv;
use crate::hls::encode;
use crate::http::conditional::{ByteRange, Validators};
use crate::http::handler::{App, Handler, Pool};
use crate::http::movies::ReadyMovie;
use crate::http::path::{PathNames, VariantPath};
use crate::http::query::Query;
use crate::http::reply::{Body, Piece, Reply};
use crate::http::request::Request;
use crate::mp4::movie::MovieInfo;
use crate::timestamp::{Span, Timestamp};

/// The longest movie, in hours.
const MAX_HOURS: u32 = 6;
/// Changes when the same segments would make a movie of other bytes.
const LAYOUT_VERSION: u64 = 1;
/// How far names and frames of a segment may disagree, so that a rough cut has all frames.
const MARGIN: Span = Span::from_secs(60);

/// `/cut/{stream}/{variant}.mp4`: a time range as a movie.
#[derive(Debug)]
pub(crate) struct MovieQuery {
    cut: CutParameters,
    exact_type: ExactType,
    /// Whether browsers play the movie, rather than save it.
    inline: bool,
    /// Whether it has a text track with the wall clock.
    timecode: bool,
}

impl Handler for MovieQuery {
    fn decode(names: PathNames, query: Query) -> Result<Self> {
        let mut cut = CutParameters::decode(names, query)?;
        let exact_type = query.parsed("type", "`smart`, `copy`, `rough` or `full`", |name| match name {
            "smart" | "fast" => Some(ExactType::Smart),
            "copy" => Some(ExactType::Copy),
            "rough" => Some(ExactType::Whole),
            "full" => Some(ExactType::Full),
            _ => None,
        })?;
        let (inline, timecode) = (query.flag("inline")?, query.flag("timecode")?);
        let exact_type = exact_type.unwrap_or(ExactType::Smart);
        cut.check_transitions(!exact_type.decodes())?;
        Ok(Self { cut, exact_type, inline, timecode })
    }

    /// Hours of footage take seconds to read, which must not delay segments.
    fn pool(&self) -> Option<Pool> {
        Some(if self.exact_type.decodes() { Pool::Cut } else { Pool::Streaming })
    }

    /// The movie is built before the response begins, or was built for an earlier one.
    fn handle(&self, app: &App, request: &Request, is_cancelled: &dyn Fn() -> bool) -> Result<Reply> {
        let cut = self.cut.resolve(app, Some((MAX_HOURS.min(app.max_cut_hours), "MP4")))?;
        let is_streamed = self.exact_type == ExactType::Full;
        let has_range = !is_streamed && request.method == Method::Get && request.header("Range").is_some();
        let is_relative = self.cut.is_relative();
        let absolute_address = if is_relative { self.absolute_address(&cut) } else { String::new() };
        if is_relative && has_range {
            // The next range would be of another movie.
            let reply = Reply::empty(307).with("Location", absolute_address);
            return Ok(reply.with("Cache-Control", "no-store"));
        }
        self.cut.transitions.check_types(app)?;
        let outer = outer(&cut)?;
        let mut hash = self.hash();
        let (found, coverage) = exact_ranges(app, cut, is_cancelled, |part| hash_part(&mut hash, &part))?;
        let shown = coverage.span.filter(|_| self.exact_type == ExactType::Whole).unwrap_or(outer);
        let (start, _) = outer;
        let movie = MovieRequest { query: self, start, coverage: &coverage, shown, key: hash.finish() };
        let reply = if is_streamed {
            movie.stream(app, found, is_cancelled)?
        } else {
            movie.answer(app, request, found, is_cancelled)?
        };
        let reply = reply.with("Accept-Ranges", if is_relative || is_streamed { "none" } else { "bytes" });
        Ok(if is_relative { reply.with("Content-Location", absolute_address) } else { reply })
    }
}

impl MovieQuery {
    /// A hash of all but the ranges and segments that a movie is made from.
    fn hash(&self) -> Fnv {
        let mut hash = Fnv::new();
        hash.write_u64(LAYOUT_VERSION);
        hash.write_str(type_name(self.exact_type));
        hash.write_u64(u64::from(self.timecode));
        hash.write_str(&self.cut.variant.stream);
        hash.write_str(&self.cut.variant.variant);
        hash.write_str(&self.cut.transitions.query());
        hash
    }

    /// The address of the same cut with absolute times, relative to that of the request.
    fn absolute_address(&self, cut: &[CutRequest]) -> String {
        let times = match cut {
            [CutRequest { range: (start, end), .. }] => format!("start={start}&end={end}&"),
            several => {
                let range = |cut: &CutRequest| format!("range={},{}&", cut.range.0, cut.range.1);
                several.iter().map(range).collect::<Vec<_>>().concat()
            }
        };
        let variant = encode(&self.cut.variant.variant);
        let mut address = format!("./{variant}.mp4?{times}type={}", type_name(self.exact_type));
        let allow_holes = self.cut.allow_holes;
        let flags = [("allow_holes", allow_holes), ("inline", self.inline), ("timecode", self.timecode)];
        for (name, _) in flags.iter().filter(|(_, is_set)| *is_set) {
            address = format!("{address}&{name}=true");
        }
        address + &self.cut.transitions.query()
    }
}

/// Adds to a hash what a movie is made from.
fn hash_part(hash: &mut Fnv, part: &Part) {
    match part {
        Part::Range((start, end)) => {
            hash.write_u64(start.micros().cast_unsigned());
            hash.write_u64(end.micros().cast_unsigned());
        }
        Part::Segment(chosen) => {
            hash.write_u64(u64::from(chosen.gap_before));
            hash.write_str(&chosen.segment.name.to_string());
        }
        Part::Trailing(trailing) => {
            let name = trailing.path.file_name().unwrap_or_default();
            hash.write_str(&name.to_string_lossy());
        }
    }
}

/// A movie that is asked for.
struct MovieRequest<'a> {
    query: &'a MovieQuery,
    /// Where the first range begins.
    start: Timestamp,
    coverage: &'a Coverage,
    /// Where what the movie shows begins and ends.
    shown: (Timestamp, Timestamp),
    /// A hash of all that the movie is made from.
    key: u64,
}

impl MovieRequest<'_> {
    /// A movie in fragments, which is made while it is sent.
    fn stream(&self, app: &App, ranges: Vec<ExactRange>, is_cancelled: &dyn Fn() -> bool) -> Result<Reply> {
        let prepared = self.prepare(app, ranges, is_cancelled)?;
        let options = self.options();
        let run = move |out: &mut dyn Write, is_cancelled: &dyn Fn() -> bool| {
            prepared.stream_movie(options, out, is_cancelled)
        };
        let body = streamed(app, type_name(self.query.exact_type), run);
        Ok(self.describe("no-store").with_body(body))
    }

    /// A flat movie, or the part of it that is asked for.
    fn answer(
        &self,
        app: &App,
        request: &Request,
        ranges: Vec<ExactRange>,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Reply> {
        let prepare = || self.prepare(app, ranges, is_cancelled);
        let is_enough = |ready: &ReadyMovie| {
            let (validators, range) = self.range(request, &ready.movie);
            let needs_encoded = range.is_some_and(|range| ready.movie.needs_encoded(range));
            ready.encoded.is_some() || !needs_encoded || validators.not_modified(request)
        };
        let known = app.movies.get(self.key);
        let may_encode = self.query.exact_type != ExactType::Smart || request.method != Method::Head;
        let ready = match known {
            Some(ready) if is_enough(&ready) => ready,
            _ if may_encode => {
                let build = || prepare()?.movie(&self.options(), is_cancelled);
                app.movies.get_or_build(self.key, is_enough, is_cancelled, build)?
            }
            known => {
                let estimate = || prepare()?.estimate_movie(&self.options(), is_cancelled);
                let len = known.map_or_else(estimate, |ready| Ok(ready.movie.len()))?;
                // A body of unknown length, which HEAD leaves out.
                let reply = self.describe("no-cache").with("X-Cut-Size-Estimate", len.to_string());
                return Ok(reply.with_body(Body::streamed(|_| Ok(()))));
            }
        };
        let (validators, range) = self.range(request, &ready.movie);
        let len = ready.movie.len();
        let reply = self.describe("no-cache").with("ETag", &validators.etag);
        if validators.not_modified(request) {
            return Ok(reply.with_status(304));
        }
        let Some(range) = range else {
            let text = format!("there are no such bytes: the movie has {len}");
            return Ok(Reply::refusal(416, &text).with("Content-Range", format!("bytes */{len}")));
        };
        let reply = if validators.range(request, len) == ByteRange::Whole {
            reply
        } else {
            let content_range = format!("bytes {}-{}/{len}", range.start, range.end - 1);
            reply.with_status(206).with("Content-Range", content_range)
        };
        Ok(reply.with_body(self.body(app, ready, range)))
    }

    /// The entity tag of a movie, and the bytes of it that are asked for; `None` if it has none of them.
    fn range(&self, request: &Request, movie: &Movie) -> (Validators, Option<Range<u64>>) {
        let etag = format!("\"{:016x}{:016x}\"", self.key, movie.hash());
        let validators = Validators { etag, last_modified: None };
        let range = match validators.range(request, movie.len()) {
            ByteRange::Whole => Some(0..movie.len()),
            ByteRange::Part { offset, len } => Some(offset..offset + len),
            ByteRange::Unsatisfiable => None,
        };
        (validators, range)
    }

    fn prepare(
        &self,
        app: &App,
        ranges: Vec<ExactRange>,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<PreparedCut> {
        let exact_type = self.query.exact_type;
        let whole = |range: ExactRange| {
            let (start, end) = range.span;
            ExactRange { trailing: None, ..range }.source(app, (start - MARGIN, end + MARGIN))
        };
        let parts = if exact_type == ExactType::Whole {
            CutParts { ranges: ranges.into_iter().map(whole).collect(), overlaps: Vec::new() }
        } else {
            parts(app, ranges, &self.query.cut.transitions, is_cancelled)?
        };
        let tools = if exact_type.decodes() { app.tools.get() } else { app.tools.unused() };
        let tools = MovieTools { tools: &tools, samples: &app.samples };
        prepare_movie(exact_type, parts, tools, is_cancelled)
    }

    fn options(&self) -> MovieOptions {
        let VariantPath { stream, variant } = &self.query.cut.variant;
        let (created, _) = self.shown;
        let title = format!("{stream} {variant} {created}");
        MovieOptions { info: MovieInfo { created, title }, timecode: self.query.timecode }
    }

    /// The response without its body.
    fn describe(&self, cache_control: &'static str) -> Reply {
        let name = (!self.query.inline).then(|| file_name(&self.query.cut.variant, self.start, "mp4"));
        describe("video/mp4", name.as_deref(), self.shown, self.coverage).with("Cache-Control", cache_control)
    }

    fn body(&self, app: &App, ready: ReadyMovie, range: Range<u64>) -> Body {
        let len = range.end - range.start;
        let encoded = ready.encoded.unwrap_or_else(|| Arc::new(EncodedPictures::default()));
        let name = (self.key, ready.movie.hash());
        let mut pieces =
            MovieSource { movie: ready.movie, name, encoded, parts: app.movies.parts() }.read(range);
        let (metrics, mut timer) = (Arc::clone(&app.metrics), None);
        let label = type_name(self.query.exact_type);
        // The duration of a cut begins with its first byte. The response may end before the last.
        let pieces = std::iter::from_fn(move || {
            let timer = timer.get_or_insert_with(|| CutTimer::start(&metrics, label, "aborted"));
            let Some(piece) = pieces.next() else {
                timer.result = "ok";
                return None;
            };
            Some(piece.map(|bytes| {
                metrics.cut_wrote(bytes.len());
                Piece::Bytes(bytes)
            }))
        });
        Body::Known { len, pieces: Box::new(pieces) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::path::Captures;

    #[test]
    fn movies_are_built_where_they_delay_neither_segments_nor_each_other() {
        for (cut_type, pool) in
            [("smart", Pool::Cut), ("full", Pool::Cut), ("copy", Pool::Streaming), ("rough", Pool::Streaming)]
        {
            let captures = Captures::of("/cut/{stream}/{variant}.mp4", "/cut/s/v.mp4").expect("a cut");
            let query = format!("start=2026-11-20T10&end=2026-11-20T11&type={cut_type}");
            let names = captures.names().expect("names");
            let decoded = MovieQuery::decode(names, Query::new(&query)).expect("a query");
            assert_eq!(decoded.pool(), Some(pool), "{cut_type}");
        }
    }
}
