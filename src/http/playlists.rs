//! `/playlist/…`: HLS playlists of any time range.

mod fragments;
mod media;
mod source;
mod window;

use std::borrow::Cow;
use std::fmt::Write;
use std::sync::Arc;

use self::source::Source;
use super::handler::{App, Handler};
use super::path::{PathNames, VariantPath};
use super::query::Query;
use super::reply::Reply;
use super::request::Request;
use super::text::{text_reply, with_streamed_text, with_text};
use super::time_range::{ResolvedRange, TimeRange};
use super::windows::WindowKey;
use crate::archive::VariantName;
use crate::archive::layout::{CHAT, hour_name};
use crate::error::{Error, Result};
use crate::fnv::Fnv;
use crate::hls::{encode, multivariant};
use crate::timestamp::{Hour, Span, Timestamp};

/// How often a media playlist is begun again because an hour changes while it is rendered.
const ATTEMPTS: usize = 4;

/// The media type of playlists (RFC 8216, section 10).
const CONTENT_TYPE: &str = "application/vnd.apple.mpegurl";

/// `/playlist/{stream}.m3u8`: the multivariant playlist of a stream.
#[derive(Debug)]
pub(super) struct MultivariantRequest {
    stream: String,
    range: TimeRange,
    /// From which hour the entries of a live window are counted.
    anchor: Option<Hour>,
    /// How the segments shall be packaged.
    container: Option<Container>,
}

/// `/playlist/{stream}/{variant}.m3u8`: the media playlist of a variant.
#[derive(Debug)]
pub(super) struct MediaRequest {
    pub(super) variant: VariantPath,
    pub(super) range: TimeRange,
    /// Whether players shall begin at the start of a live playlist (`EXT-X-START`), and not near its end.
    pub(super) plays_from_start: bool,
    /// From which hour the entries of a live window are counted.
    pub(super) anchor: Option<Hour>,
    /// Whether the client asks for an update of the playlist (`_HLS_skip`).
    pub(super) wants_update: bool,
    /// How the segments are packaged.
    pub(super) container: Container,
}

/// How the segments of a playlist are packaged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Container {
    /// MPEG-TS, as they are stored.
    #[default]
    TransportStream,
    /// Fragments of MP4.
    Fragments,
}

impl Container {
    /// The parameter `container`.
    pub(super) fn read(query: Query) -> Result<Option<Self>> {
        query.parsed("container", "`ts` or `fmp4`", |text| match text {
            "ts" => Some(Self::TransportStream),
            "fmp4" => Some(Self::Fragments),
            _ => None,
        })
    }

    /// The value of the parameter.
    fn name(self) -> &'static str {
        match self {
            Self::TransportStream => "ts",
            Self::Fragments => "fmp4",
        }
    }
}

impl Handler for MultivariantRequest {
    fn decode(names: PathNames, query: Query) -> Result<Self> {
        let [stream] = names.exactly()?;
        let (range, anchor) = (TimeRange::read(query)?, read_anchor(query)?);
        Ok(Self { stream, range, anchor, container: Container::read(query)? })
    }

    fn handle(&self, app: &App, request: &Request, _: &dyn Fn() -> bool) -> Result<Reply> {
        let (variants, span) = variants(app, self)?;
        let text = multivariant::render(variants);
        let mut tag = Fnv::new();
        tag.write_str(&text);
        let body = |reply| with_text(request, reply, text.into());
        let reply = text_reply(request, CONTENT_TYPE, "max-age=1", tag, body)?;
        Ok(with_range(reply, span.filter(|_| self.range.is_relative())))
    }
}

impl Handler for MediaRequest {
    fn decode(names: PathNames, query: Query) -> Result<Self> {
        let (range, anchor) = (TimeRange::read(query)?, read_anchor(query)?);
        let (wants_update, variant) = (read_wants_update(query)?, names.variant()?);
        let container = Container::read(query)?.unwrap_or_default();
        Ok(Self { variant, range, plays_from_start: false, anchor, wants_update, container })
    }

    /// A recorder may add a segment after the first lines were decided that contradicts them: then they are decided
    /// again.
    fn handle(&self, app: &App, request: &Request, _: &dyn Fn() -> bool) -> Result<Reply> {
        let now = app.clock.now();
        for _ in 1..ATTEMPTS {
            match self.reply(app, request, now) {
                Err(Error::Changed(_)) => {}
                reply => return reply,
            }
        }
        self.reply(app, request, now)
    }
}

impl MediaRequest {
    fn reply(&self, app: &App, request: &Request, now: Timestamp) -> Result<Reply> {
        let source = self.source(app, request, now)?;
        let outline = if self.range.is_window() {
            let (variant, start) = (self.variant.clone(), self.range.start);
            source.window_outline(&app.windows, WindowKey { variant, start, anchor: self.anchor })?
        } else {
            source.outline()?
        };
        // A relative time soon means another range.
        let is_relative = self.range.is_relative();
        let cache_control = if outline.is_finished() && !is_relative { "max-age=60" } else { "max-age=1" };
        let span = is_relative.then_some(source.range);
        let reply = text_reply(request, CONTENT_TYPE, cache_control, source.tag(&outline), |reply| {
            if outline.is_long() {
                return Ok(with_streamed_text(request, reply, move |out| source.render(&outline, out)));
            }
            let mut text = Vec::new();
            source.render(&outline, &mut text)?;
            with_text(request, reply, text)
        })?;
        Ok(with_range(reply, span))
    }

    fn source(&self, app: &App, request: &Request, now: Timestamp) -> Result<Source> {
        let VariantPath { stream, variant } = &self.variant;
        let name = self.variant.name();
        let hours = app.archive.hours(name)?;
        let range = self.range.resolve(&app.archive, name, &hours, now)?.filter(|_| !hours.is_empty());
        let Some(range) = range else { return Err(nothing_recorded(app, name)?) };
        Ok(Source {
            archive: Arc::clone(&app.archive),
            variant: self.variant.clone(),
            range: within(range, &hours),
            hours,
            now,
            uri_prefix: format!("{}/{}/{}", self.base_url(app, request), encode(stream), encode(variant)),
            plays_from_start: self.plays_from_start,
            wants_update: self.wants_update,
            first_frames: self.is_fragmented().then(|| Arc::clone(&app.first_frames)),
        })
    }
}

impl MediaRequest {
    fn is_fragmented(&self) -> bool {
        self.container == Container::Fragments
    }

    /// The prefix of the URIs of segments: relative to the playlist, so that a proxy may serve both below any path. Fragments
    /// are made by this server only.
    fn base_url<'a>(&self, app: &'a App, request: &Request) -> Cow<'a, str> {
        let depth = request.path().matches('/').count().saturating_sub(1);
        let relative = |name| Cow::from(format!("{}{name}", "../".repeat(depth)));
        match &app.segments_url {
            _ if self.is_fragmented() => relative("fmp4"),
            Some(url) => url.into(),
            None => relative("segments"),
        }
    }
}

/// Whether the client asks for an update of a playlist that it has, by the parameter `_HLS_skip` (RFC 8216bis, section
/// 6.2.5.1).
pub(super) fn read_wants_update(query: Query) -> Result<bool> {
    let parse = |text: &str| matches!(text, "YES" | "v2").then_some(true);
    Ok(query.parsed("_HLS_skip", "`YES` or `v2`", parse)?.unwrap_or(false))
}

/// The error that nothing has been recorded of a variant, or that there is no such variant.
pub(super) fn nothing_recorded(app: &App, name: VariantName) -> Result<Error> {
    let VariantName { stream, variant } = name;
    let what = if app.archive.has_variant(name)? {
        format!("nothing has been recorded of variant `{variant}` of stream `{stream}`")
    } else {
        format!(
            "there is no variant `{variant}` of a stream `{stream}`; `/files/{stream}` lists what there is"
        )
    };
    Ok(Error::NotFound(what.escape_debug().to_string()))
}

/// Refuses a stream that is not there.
pub(super) fn require_stream(app: &App, stream: &str) -> Result<()> {
    if app.archive.has_stream(stream)? {
        return Ok(());
    }
    let what = format!("there is no stream `{}`; `/files` lists what there is", stream.escape_debug());
    Err(Error::NotFound(what))
}

/// The parameter `anchor`, an hour.
fn read_anchor(query: Query) -> Result<Option<Hour>> {
    query.parsed("anchor", "an hour such as `2026-11-20T10`", Hour::parse)
}

/// The range with its defaults: from the first hour to one hour after the last.
fn within((start, end): ResolvedRange, hours: &[Hour]) -> (Timestamp, Timestamp) {
    let first = hours.first().map_or(Timestamp::MIN, |hour| hour.start());
    let last = hours.last().map_or(Timestamp::MIN, |hour| hour.end() + Span::from_secs(3600));
    (start.unwrap_or(first), end.unwrap_or(last))
}

/// The response with the range that relative times were resolved to, if there is one.
pub(super) fn with_range(reply: Reply, range: Option<(Timestamp, Timestamp)>) -> Reply {
    let Some((start, end)) = range else { return reply };
    reply.with("X-Range-Start", start.to_string()).with("X-Range-End", end.to_string())
}

/// Variants, and the span from the earliest start to the latest end of their ranges.
type VariantsInRange = (Vec<multivariant::VariantStream>, Option<(Timestamp, Timestamp)>);

/// The variants of a stream that have recordings in the range. A time relative to the live end is relative to that of each.
fn variants(app: &App, request: &MultivariantRequest) -> Result<VariantsInRange> {
    let MultivariantRequest { stream, range, anchor: request_anchor, container } = request;
    require_stream(app, stream)?;
    let now = app.clock.now();
    let (mut variants, mut span) = (Vec::new(), None);
    for variant in app.archive.variants(stream)?.into_iter().filter(|variant| variant != CHAT) {
        let name = VariantName { stream, variant: &variant };
        let hours = app.archive.hours(name)?;
        let Some(resolved) = range.resolve(&app.archive, name, &hours, now)? else { continue };
        let (start, end) = within(resolved, &hours);
        let before_end = hours.partition_point(|hour| hour.start() < end);
        let is_outside = hours.last().is_none_or(|last| last.end() <= start) || before_end == 0;
        if is_outside {
            continue;
        }
        let (first, last) = span.unwrap_or((start, end));
        span = Some((start.min(first), end.max(last)));
        let measured = app.archive.measure(name, &hours[..before_end], app.tools.ffprobe())?;
        let latest = window::anchor(&hours, start);
        // An anchor that this variant has not, or no longer, would be refused for ever.
        let requested =
            request_anchor.filter(|hour| Some(*hour) <= latest && hours.binary_search(hour).is_ok());
        let anchor = requested.or(latest).filter(|_| range.is_window());
        let query =
            range.query() + &anchor.map(|hour| format!("&anchor={}", hour_name(hour))).unwrap_or_default();
        variants.push(multivariant::VariantStream {
            uri: format!("{}/{}.m3u8{}", encode(stream), encode(&variant), query),
            name: variant,
            measured,
        });
    }
    // The variants have one time line, so all are packaged alike.
    let by_itself = variants.iter().any(is_hevc).then_some(Container::Fragments);
    if let Some(container) = container.or(by_itself) {
        for variant in &mut variants {
            let separator = if variant.uri.contains('?') { '&' } else { '?' };
            let _ = write!(variant.uri, "{separator}container={}", container.name());
        }
    }
    Ok((variants, span))
}

/// Whether the video is HEVC, which players do not play in MPEG-TS over HLS.
fn is_hevc(variant: &multivariant::VariantStream) -> bool {
    let codecs = variant.measured.media.codecs.as_deref().unwrap_or_default();
    codecs.split(',').any(|codec| codec.starts_with("hvc1."))
}
