//! `/frame/…`: the frame on the screen at a time, as a picture.

use std::sync::Arc;

use crate::archive::select::TOLERANCE;
use crate::cut::selected::SelectedSegments;
use crate::cut::single_frame::{encoded_frame, last_time, refusal};
use crate::cut::{CutSegment, MovieTools};
use crate::error::{Error, Result};
use crate::fnv::Fnv;
use crate::http::cuts::{
    CutRequest, hours_of_variant, preceding, preceding_segment, selection, trailing_segment,
};
use crate::http::handler::{App, Handler};
use crate::http::path::{PathNames, VariantPath};
use crate::http::picture_cache::{Picture, width};
use crate::http::query::Query;
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::pictures::{ImageFormat, frame};
use crate::timestamp::expression::TimeExpression;
use crate::timestamp::{Hour, Span, Timestamp};

/// The shortest span of time.
const INSTANT: Span = Span::from_micros(1);
/// How many segments that overlap are searched for the frame.
const MAX_OVERLAPS: usize = 32;
/// What is missing in a request without a time.
const EXPECTED: &str = "a time, as in `timestamp=2026-11-20T10:55:02.123` or `timestamp=live`";

/// `/frame/{stream}/{variant}.png`: the frame on the screen at a time.
#[derive(Debug)]
pub(crate) struct PngFrameRequest(FrameRequest);

/// `/frame/{stream}/{variant}.jpg`: the same as JPEG.
#[derive(Debug)]
pub(crate) struct JpegFrameRequest(FrameRequest);

/// What is asked for in any format.
#[derive(Debug)]
struct FrameRequest {
    time: FrameTime,
    width: Option<u32>,
}

/// A variant and a time.
#[derive(Debug)]
pub(super) struct FrameTime {
    variant: VariantPath,
    timestamp: TimeExpression,
}

/// The frame on the screen at a time, and what it may depend on.
#[derive(Debug)]
pub(super) struct FrameOnScreen {
    cut: CutRequest,
    found: Found,
    /// The segment before that of the frame, to which its pictures may refer.
    before: Option<CutSegment>,
}

/// A frame of a segment.
#[derive(Debug)]
struct Found {
    segment: CutSegment,
    /// The segment that continues it.
    trailing: Option<CutSegment>,
    time: Timestamp,
}

impl Handler for PngFrameRequest {
    fn decode(names: PathNames, query: Query) -> Result<Self> {
        FrameRequest::decode(names, query).map(Self)
    }

    fn handle(&self, app: &App, request: &Request, is_cancelled: &dyn Fn() -> bool) -> Result<Reply> {
        self.0.reply(app, request, ImageFormat::Png, is_cancelled).map_err(refusal)
    }
}

impl Handler for JpegFrameRequest {
    fn decode(names: PathNames, query: Query) -> Result<Self> {
        FrameRequest::decode(names, query).map(Self)
    }

    fn handle(&self, app: &App, request: &Request, is_cancelled: &dyn Fn() -> bool) -> Result<Reply> {
        self.0.reply(app, request, ImageFormat::Jpeg, is_cancelled).map_err(refusal)
    }
}

impl FrameRequest {
    fn decode(names: PathNames, query: Query) -> Result<Self> {
        let width = width(query)?;
        Ok(Self { time: FrameTime::decode(names, query)?, width })
    }

    fn reply(
        &self,
        app: &App,
        request: &Request,
        format: ImageFormat,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Reply> {
        let frame = self.time.find(app, is_cancelled)?;
        let mut key = frame.key("frame");
        key.write_str(format.content_type());
        key.write_u64(u64::from(self.width.unwrap_or(0)));
        let reply = app.pictures.reply(request, key, is_cancelled, || {
            let bytes = frame.picture(app, format, self.width, is_cancelled)?;
            Ok(Picture { content_type: format.content_type(), bytes: Arc::new(bytes) })
        })?;
        Ok(reply.with("X-Frame-Time", frame.time().to_string()))
    }
}

impl FrameTime {
    pub(super) fn decode(names: PathNames, query: Query) -> Result<Self> {
        let variant = names.variant()?;
        let missing = Error::MissingParameter { name: "timestamp", expected: EXPECTED };
        let (timestamp, _) = query.time("timestamp")?.ok_or(missing)?;
        Ok(Self { variant, timestamp })
    }

    /// The frame on the screen at the time that is meant now.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such variant, [`Error::RangeIsEmpty`] if nothing was recorded at that time, and those
    /// of [`last_time`].
    pub(super) fn find(&self, app: &App, is_cancelled: &dyn Fn() -> bool) -> Result<FrameOnScreen> {
        let at = self.resolve(app, &hours_of_variant(app, &self.variant)?)?;
        let cut = CutRequest { variant: self.variant.clone(), range: (at, at + INSTANT), allow_holes: true };
        let tools = app.tools.get();
        let found = find(app, &cut, MovieTools { tools: &tools, samples: &app.samples }, is_cancelled)?;
        let before = preceding_segment(app, &cut, found.segment.start)?;
        Ok(FrameOnScreen { cut, found, before })
    }

    /// The time that is meant now. The live end itself is behind the last frame: it stands for that frame.
    ///
    /// # Errors
    /// [`Error::RangeIsEmpty`] if it depends on the live end, and there is none.
    fn resolve(&self, app: &App, hours: &[Hour]) -> Result<Timestamp> {
        let TimeExpression::Live(offset) = self.timestamp else {
            return self.timestamp.resolve(app.clock.now(), None).ok_or(Error::RangeIsEmpty);
        };
        let live_end = app.archive.live_end(self.variant.name(), hours)?;
        let time = self.timestamp.resolve(app.clock.now(), live_end).ok_or(Error::RangeIsEmpty)?;
        Ok(if offset == Span::ZERO { time - INSTANT } else { time })
    }
}

impl FrameOnScreen {
    /// When it is shown first.
    pub(super) fn time(&self) -> Timestamp {
        self.found.time
    }

    /// What a picture of it follows from: `what` is made of it. Its pictures may refer to the segment before, and go on in the
    /// next.
    pub(super) fn key(&self, what: &str) -> Fnv {
        let Found { segment, trailing, time } = &self.found;
        let mut key = Fnv::new();
        key.write_str(what);
        for segment in [self.before.as_ref(), Some(segment), trailing.as_ref()] {
            let path = segment.map(|segment| segment.path.to_string_lossy());
            key.write_str(path.as_deref().unwrap_or_default());
        }
        key.write_u64(time.micros().cast_unsigned());
        key
    }

    /// The frame as a picture, of its own size or of a width.
    ///
    /// # Errors
    /// Those of [`encoded_frame`] and [`frame`].
    pub(super) fn picture(
        &self,
        app: &App,
        format: ImageFormat,
        width: Option<u32>,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Vec<u8>> {
        let Found { segment, trailing, time } = &self.found;
        let tools = app.tools.get();
        let movie_tools = MovieTools { tools: &tools, samples: &app.samples };
        let mut preceding = preceding(app, &self.cut, segment.start);
        let encoded =
            encoded_frame(segment, trailing.as_ref(), &mut preceding, *time, movie_tools, is_cancelled)?;
        frame(encoded, format, width, &tools, is_cancelled)
    }
}

/// The frame on the screen at the time with which `cut` begins: of the frames that are the first of the cut which begins at
/// their time, the last one that is not later.
///
/// # Errors
/// [`Error::RangeIsEmpty`] if nothing was recorded at that time; those of [`last_time`].
fn find(
    app: &App,
    cut: &CutRequest,
    tools: MovieTools<'_>,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<Found> {
    let (mut at, _) = cut.range;
    for _ in 0..MAX_OVERLAPS {
        let segments = segments_at(app, cut, at)?;
        let mut last: Option<Found> = None;
        for segment in &segments {
            let trailing = trailing(app, cut, segment)?;
            let end = at.min(segment.end - INSTANT);
            let time = last_time(segment, trailing.as_ref(), end, tools, is_cancelled)?;
            if let Some(time) = time.filter(|time| last.as_ref().is_none_or(|last| last.time < *time)) {
                last = Some(Found { segment: segment.clone(), trailing, time });
            }
        }
        let Some(last) = last else {
            at = segments.first().map_or(at, |first| first.start) - INSTANT;
            continue;
        };
        // Where segments overlap, as those of two recorders do, a cut that begins at that time may begin with another one.
        let begins_with = segments_at(app, cut, last.time)?;
        match begins_with.first() {
            Some(first) if !begins_with.contains(&last.segment) => at = at.min(first.end) - INSTANT,
            _ => return Ok(last),
        }
    }
    Err(Error::RangeIsEmpty)
}

/// The segments that may have the frame on the screen at a time: the one that a cut from there on begins with, and one that
/// begins before that ends. Where the end of a segment and the start of the next lie apart as little as segments without a gap
/// may, it is the former.
///
/// # Errors
/// [`Error::RangeIsEmpty`] if there are none.
fn segments_at(app: &App, cut: &CutRequest, at: Timestamp) -> Result<Vec<CutSegment>> {
    let names = SelectedSegments::new(&app.archive, cut.variant.name());
    let mut selection = selection(app, cut, (at, at + TOLERANCE + INSTANT))?;
    let mut found = Vec::new();
    while let Some(chosen) = selection.next_segment()? {
        let segment = names.cut_segment(&chosen.segment, false);
        if segment.start > at {
            if found.is_empty() {
                found.extend(preceding_segment(app, cut, segment.start)?);
            }
            break;
        }
        found.push(segment);
    }
    if found.is_empty() { Err(Error::RangeIsEmpty) } else { Ok(found) }
}

/// The segment that continues another one, if frames of the latter may go on in it.
fn trailing(app: &App, cut: &CutRequest, segment: &CutSegment) -> Result<Option<CutSegment>> {
    if !segment.complete {
        return Ok(None);
    }
    trailing_segment(app, cut, &SelectedSegments::new(&app.archive, cut.variant.name()), segment.end)
}
