//! `/storyboard/…`: key frames of a range as tiles of one picture, and as a track of `WebVTT` that tells players where each is.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::archive::hour::HourIndex;
use crate::archive::select::{LOOK_BACK, TOLERANCE};
use crate::archive::selection::hours_in_range;
use crate::error::{Error, Result};
use crate::fnv::Fnv;
use crate::hls::encode;
use crate::http::cuts::{CutRequest, RangeParameters, hours_of_variant};
use crate::http::handler::{App, Handler};
use crate::http::path::PathNames;
use crate::http::picture_cache::{Picture, width};
use crate::http::query::Query;
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::pictures::recording::Recording;
use crate::pictures::storyboard::{MAX_AGE, MAX_TILES, Storyboard, tile_times};
use crate::timestamp::{Hour, Span, Timestamp};

/// The width of a tile, unless the request gives one.
const DEFAULT_WIDTH: u32 = 160;
/// What `count` may be.
const EXPECTED: &str = "a number of tiles from 1 to 200, as in `count=100`";
/// Changes when the same segments would make another storyboard.
const LAYOUT_VERSION: u64 = 1;

/// `/storyboard/{stream}/{variant}.jpg`: the picture.
#[derive(Debug)]
pub(crate) struct StoryboardRequest(Parameters);

/// `/storyboard/{stream}/{variant}.vtt`: the track.
#[derive(Debug)]
pub(crate) struct StoryboardTrackRequest(Parameters);

/// What both are asked with.
#[derive(Debug)]
struct Parameters {
    cut: RangeParameters,
    count: u32,
    width: u32,
}

impl Handler for StoryboardRequest {
    fn decode(names: PathNames, query: Query) -> Result<Self> {
        Parameters::decode(names, query).map(Self)
    }

    fn handle(&self, app: &App, request: &Request, is_cancelled: &dyn Fn() -> bool) -> Result<Reply> {
        self.0.reply(app, request, "jpg", is_cancelled, |_, storyboard| {
            let bytes = Arc::new(storyboard.jpeg(&app.tools.get(), is_cancelled)?);
            Ok(Picture { content_type: "image/jpeg", bytes })
        })
    }
}

impl Handler for StoryboardTrackRequest {
    fn decode(names: PathNames, query: Query) -> Result<Self> {
        Parameters::decode(names, query).map(Self)
    }

    fn handle(&self, app: &App, request: &Request, is_cancelled: &dyn Fn() -> bool) -> Result<Reply> {
        self.0.reply(app, request, "vtt", is_cancelled, |cut, storyboard| {
            let bytes = Arc::new(track(cut, &storyboard).into_bytes());
            Ok(Picture { content_type: "text/vtt; charset=utf-8", bytes })
        })
    }
}

impl Parameters {
    fn decode(names: PathNames, query: Query) -> Result<Self> {
        let cut = RangeParameters::decode(names, query)?;
        let parse = |text: &str| text.parse().ok().filter(|count| (1..=MAX_TILES).contains(count));
        let count = query.parsed("count", EXPECTED, parse)?;
        let width = width(query)?.unwrap_or(DEFAULT_WIDTH);
        let count = count.ok_or(Error::MissingParameter { name: "count", expected: EXPECTED })?;
        Ok(Self { cut, count, width })
    }

    /// The response with what `make` makes of the storyboard, unless that is in memory.
    fn reply(
        &self,
        app: &App,
        request: &Request,
        extension: &str,
        is_cancelled: &dyn Fn() -> bool,
        make: impl FnOnce(&CutRequest, Storyboard) -> Result<Picture>,
    ) -> Result<Reply> {
        let cut = self.cut.resolve(app)?;
        let hours = hours_of_variant(app, &cut.variant)?;
        let reply =
            app.pictures.reply(request, self.key(app, &cut, &hours, extension)?, is_cancelled, || {
                let recording = Recording::new(&app.archive, cut.variant.name(), Arc::clone(&hours));
                let max_segment_bytes = app.tools.max_segment_bytes();
                make(
                    &cut,
                    Storyboard::prepare(recording, cut.range, self.count, self.width, max_segment_bytes)?,
                )
            })?;
        let range = &self.cut.range;
        if !range.is_relative() && range.start.is_some() && range.end.is_some() {
            return Ok(reply);
        }
        let (start, end) = cut.range;
        Ok(reply.with("X-Range-Start", start.to_string()).with("X-Range-End", end.to_string()))
    }

    /// A hash of what the storyboard follows from: the request, and the names of all segments that may be chosen for a tile or
    /// have its key frame.
    fn key(&self, app: &App, cut: &CutRequest, hours: &[Hour], extension: &str) -> Result<Fnv> {
        let mut key = Fnv::new();
        key.write_u64(LAYOUT_VERSION);
        key.write_str("storyboard");
        key.write_str(extension);
        key.write_str(&cut.variant.stream);
        key.write_str(&cut.variant.variant);
        for number in [cut.range.0.micros(), cut.range.1.micros(), self.count.into(), self.width.into()] {
            key.write_u64(number.cast_unsigned());
        }
        let mut read: Vec<(Hour, Arc<HourIndex>, Span)> = Vec::new();
        for time in tile_times(cut.range, self.count) {
            let near = hours_in_range(hours, (time, time + TOLERANCE));
            read.retain(|(hour, ..)| near.contains(hour));
            for hour in near {
                if !read.iter().any(|(known, ..)| known == hour) {
                    let name = cut.variant.name();
                    let summaries = app.archive.summaries(name, std::slice::from_ref(hour))?;
                    let longest = summaries.iter().map(|summary| summary.longest).max();
                    let longest = longest.unwrap_or(Span::ZERO).min(LOOK_BACK);
                    read.push((*hour, app.archive.hour(name, *hour)?, longest));
                }
            }
            // The segment of that time, and that before which the search for key frames ends, may be the longest ones.
            let longest = read.iter().map(|(.., longest)| *longest).max().unwrap_or(Span::ZERO);
            let earliest = time - MAX_AGE - longest - longest;
            for (hour, index, _) in &read {
                key.write_u64(hour.start().micros().cast_unsigned());
                let segments = (index.position(earliest)..).map_while(|position| index.segment(position));
                for segment in segments.take_while(|segment| segment.start() <= time + TOLERANCE) {
                    key.write_u64(segment.start().micros().cast_unsigned());
                    key.write_u64(segment.name.duration.micros().cast_unsigned());
                    key.write_u64(segment.name.segment_type as u64);
                    key.write_str(segment.name.hash);
                }
            }
        }
        Ok(key)
    }
}

/// A track of `WebVTT` with the place of each tile that shows something. Its times begin with the range.
fn track(cut: &CutRequest, storyboard: &Storyboard) -> String {
    let sheet = storyboard.sheet;
    let (start, end) = cut.range;
    let variant = encode(&cut.variant.variant);
    let times: Vec<Timestamp> = tile_times(cut.range, sheet.count).chain([end]).collect();
    let mut text = "WEBVTT\n".to_owned();
    for number in storyboard.recorded() {
        let index = number as usize;
        let Some([from, to]) = times.get(index..index + 2) else { continue };
        let (from, to) = (cue_time(*from - start), cue_time(*to - start));
        let ((x, y), width, height) = (sheet.corner(number), sheet.width, sheet.height);
        // Nothing of the address depends on the time of the request, so it shows the same later.
        let _ = write!(
            text,
            "\n{from} --> {to}\n./{variant}.jpg?start={start}&end={end}&count={}&width={width}#xywh={x},{y},{width},{height}\n",
            sheet.count
        );
    }
    text
}

/// A time as `WebVTT` has it: `HH:MM:SS.mmm`.
fn cue_time(time: Span) -> String {
    let millis = time.micros().div_euclid(1000);
    let (seconds, minutes, hours) = (millis / 1000 % 60, millis / 60_000 % 60, millis / 3_600_000);
    format!("{hours:02}:{minutes:02}:{seconds:02}.{:03}", millis % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cue_times_have_at_least_two_digits_of_hours() {
        let rows = [
            (0, "00:00:00.000"),
            (1_999, "00:00:00.001"),
            (3_723_004_000, "01:02:03.004"),
            (360_000_000_000, "100:00:00.000"),
        ];
        for (micros, expected) in rows {
            assert_eq!(cue_time(Span::from_micros(micros)), expected);
        }
    }
}
