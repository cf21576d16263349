//! `/waveform/…`: how loud a range is, as a picture or as numbers.

use std::sync::Arc;

use crate::archive::layout::Segment;
use crate::archive::selection::Selection;
use crate::cut::SegmentList;
use crate::cut::selected::SelectedSegments;
use crate::error::{Error, Result};
use crate::fnv::Fnv;
use crate::http::cuts::{CutRequest, hours_of_variant, preceding_segment};
use crate::http::handler::{App, Handler};
use crate::http::path::{PathNames, VariantPath};
use crate::http::picture_cache::Picture;
use crate::http::query::Query;
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::time_range::TimeRange;
use crate::pictures::waveform::{Decoder, Waveform};
use crate::timestamp::{Hour, Span, Timestamp};

/// The longest range.
const MAX_RANGE: Span = Span::from_secs(6 * 3600);
/// The greatest width and height of a picture.
const MAX_PIXELS: i64 = 4096;
/// The size of a picture if none is given.
const DEFAULT_SIZE: (u32, u32) = (1024, 64);
/// How many points a list may have.
const POINTS: std::ops::RangeInclusive<u32> = 1..=10_000;
/// The number of points if none is given.
const DEFAULT_POINTS: u32 = 400;

/// `/waveform/{stream}/{variant}.png`: a picture.
#[derive(Debug)]
pub(crate) struct WaveformPicture {
    range: WaveformRange,
    size: (u32, u32),
}

/// `/waveform/{stream}/{variant}.json`: the levels as numbers.
#[derive(Debug)]
pub(crate) struct WaveformLevels {
    range: WaveformRange,
    points: u32,
}

/// What both are asked for.
#[derive(Debug)]
struct WaveformRange {
    variant: VariantPath,
    range: TimeRange,
}

/// A range that is resolved, with its segments.
struct Segments {
    cut: CutRequest,
    list: SelectedSegments,
    /// A hash of their names.
    names: Fnv,
}

impl Handler for WaveformPicture {
    fn decode(names: PathNames, query: Query) -> Result<Self> {
        let range = WaveformRange::decode(names, query)?;
        let expected = "WIDTHxHEIGHT in pixels, such as `1024x64`";
        let size = query.parsed("size", expected, |text| {
            let (width, height) = text.split_once('x')?;
            Some((width.parse().ok()?, height.parse().ok()?))
        })?;
        let size = size.map_or(Ok(DEFAULT_SIZE), |(width, height): (i64, i64)| {
            let in_bounds = |pixels: i64| {
                let pixels = Some(pixels).filter(|pixels| (1..=MAX_PIXELS).contains(pixels));
                pixels.and_then(|pixels| u32::try_from(pixels).ok())
            };
            let bounds = "Image size must be between 1x1 and 4096x4096";
            in_bounds(width).zip(in_bounds(height)).ok_or(Error::OutOfBounds(bounds))
        })?;
        Ok(Self { range, size })
    }

    fn handle(&self, app: &App, request: &Request, is_cancelled: &dyn Fn() -> bool) -> Result<Reply> {
        let Self { range, size } = self;
        let mut tag = Fnv::new();
        tag.write_str("waveform.png");
        for pixels in [size.0, size.1] {
            tag.write_u64(pixels.into());
        }
        range.reply(
            app,
            request,
            is_cancelled,
            |_| tag,
            |waveform, _| {
                let bytes = Arc::new(waveform.png(*size)?);
                Ok(Picture { content_type: "image/png", bytes })
            },
        )
    }
}

impl Handler for WaveformLevels {
    fn decode(names: PathNames, query: Query) -> Result<Self> {
        let range = WaveformRange::decode(names, query)?;
        let parse = |text: &str| text.parse().ok().filter(|points| POINTS.contains(points));
        let points = query.parsed("points", "a number from 1 to 10000", parse)?.unwrap_or(DEFAULT_POINTS);
        Ok(Self { range, points })
    }

    fn handle(&self, app: &App, request: &Request, is_cancelled: &dyn Fn() -> bool) -> Result<Reply> {
        let Self { range, points } = self;
        let tag = |(start, end): (Timestamp, Timestamp)| {
            let mut tag = Fnv::new();
            tag.write_str("waveform.json");
            tag.write_u64((*points).into());
            for time in [start, end] {
                tag.write(&time.micros().to_le_bytes());
            }
            tag
        };
        range.reply(app, request, is_cancelled, tag, |waveform, range| {
            let bytes = Arc::new(waveform.json(range, *points).into_bytes());
            Ok(Picture { content_type: "application/json", bytes })
        })
    }
}

impl WaveformRange {
    fn decode(names: PathNames, query: Query) -> Result<Self> {
        let variant = names.variant()?;
        let range = TimeRange::read(query)?;
        for (name, time) in [("start", range.start), ("end", range.end)] {
            if time.is_none() {
                let expected = "both ends of the range, as in `start=2026-11-20T10:55:02&end=2026-11-20T11:55:02` or `start=-1h&end=now`";
                return Err(Error::MissingParameter { name, expected });
            }
        }
        if range.is_backwards() {
            return Err(Error::EndNotAfterStart);
        }
        Ok(Self { variant, range })
    }

    /// The response with what `draw` makes of the waveform. `tag` is a hash of what else it depends on than the segments.
    fn reply(
        &self,
        app: &App,
        request: &Request,
        is_cancelled: &dyn Fn() -> bool,
        tag: impl FnOnce((Timestamp, Timestamp)) -> Fnv,
        draw: impl FnOnce(&Waveform, (Timestamp, Timestamp)) -> Result<Picture>,
    ) -> Result<Reply> {
        let hours = hours_of_variant(app, &self.variant)?;
        let range = self.resolve(app, &hours)?;
        let tag = tag(range);
        // Whether files are empty is looked up only if that picture is not known.
        let mut segments = Segments::select(app, &self.variant, &hours, range, false)?;
        if !app.pictures.has(segments.key(tag)) {
            segments = Segments::select(app, &self.variant, &hours, range, true)?;
        }
        if segments.list.count() == 0 {
            return Err(Error::RangeIsEmpty);
        }
        let key = segments.key(tag);
        let reply = app
            .pictures
            .reply(request, key, is_cancelled, || draw(&segments.waveform(app, is_cancelled)?, range))?;
        if !self.range.is_relative() {
            return Ok(reply);
        }
        Ok(reply.with("X-Range-Start", range.0.to_string()).with("X-Range-End", range.1.to_string()))
    }

    fn resolve(&self, app: &App, hours: &[Hour]) -> Result<(Timestamp, Timestamp)> {
        let resolved = self.range.resolve(&app.archive, self.variant.name(), hours, app.clock.now())?;
        let (start, end) = resolved.and_then(|(start, end)| start.zip(end)).ok_or(Error::RangeIsEmpty)?;
        if end <= start {
            return Err(Error::EndNotAfterStart);
        }
        if end - start > MAX_RANGE {
            return Err(Error::OutOfBounds("Range may not be longer than 6 hours"));
        }
        Ok((start, end))
    }
}

impl Segments {
    fn select(
        app: &App,
        variant: &VariantPath,
        hours: &[Hour],
        range: (Timestamp, Timestamp),
        ignores_empty: bool,
    ) -> Result<Self> {
        let name = variant.name();
        let selection = Selection::new(&app.archive, name, hours, range);
        let mut selection = if ignores_empty { selection.ignoring_empty() } else { selection };
        let (mut list, mut names) = (SelectedSegments::new(&app.archive, name), Fnv::new());
        while let Some(chosen) = selection.next_segment()? {
            let Segment { hour, name } = chosen.segment;
            for time in [hour.start() + name.offset, hour.start() + name.duration] {
                names.write(&time.micros().to_le_bytes());
            }
            names.write_str(name.hash);
            list.push(&chosen)?;
        }
        let cut = CutRequest { variant: variant.clone(), range, allow_holes: true };
        Ok(Self { cut, list, names })
    }

    /// A hash of the segments and of what is made from them.
    fn key(&self, mut tag: Fnv) -> Fnv {
        tag.write_str(&self.cut.variant.stream);
        tag.write_str(&self.cut.variant.variant);
        tag.write_u64(self.names.finish());
        tag
    }

    fn waveform(self, app: &App, is_cancelled: &dyn Fn() -> bool) -> Result<Waveform> {
        let Self { cut, list, .. } = self;
        let first = list.segment(0).ok_or(Error::RangeIsEmpty)?;
        let before = preceding_segment(app, &cut, first.start)?;
        let list: Arc<dyn SegmentList> = Arc::new(list);
        let decoder = Decoder {
            tools: &|| app.tools.get(),
            cache: &app.pictures.levels,
            is_cancelled,
            on_decoded: &|seconds| app.metrics.decoded_for_waveform(seconds),
        };
        Waveform::of(&list, before.as_ref(), &decoder)
    }
}
