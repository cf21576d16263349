//! `/playlist/…`: HLS playlists of any time range.

mod media;

use std::sync::Arc;

use self::media::Source;
use super::handler::{App, Handler};
use super::path::{PathNames, VariantPath};
use super::query::Query;
use super::reply::Reply;
use super::request::Request;
use super::text::{text_reply, with_streamed_text, with_text};
use crate::archive::VariantName;
use crate::error::{Error, Result};
use crate::fnv::Fnv;
use crate::hls::{encode, multivariant};
use crate::timestamp::{Hour, Span, Timestamp};

/// How often a media playlist is begun again because an hour changes while it is rendered.
const ATTEMPTS: usize = 4;

/// The media type of playlists (RFC 8216, section 10).
const CONTENT_TYPE: &str = "application/vnd.apple.mpegurl";

/// The variant that holds the chat and has no media.
const CHAT: &str = "chat";

/// `/playlist/{stream}.m3u8`: the multivariant playlist of a stream.
#[derive(Debug)]
pub(super) struct MultivariantRequest {
    stream: String,
    range: TimeRange,
}

/// `/playlist/{stream}/{variant}.m3u8`: the media playlist of a variant.
#[derive(Debug)]
pub(super) struct MediaRequest {
    variant: VariantPath,
    range: TimeRange,
}

/// The time range of a request: each end with the text it was read from, `None` if it was not given.
#[derive(Debug)]
struct TimeRange {
    start: Option<(Timestamp, String)>,
    end: Option<(Timestamp, String)>,
}

impl Handler for MultivariantRequest {
    fn decode(names: PathNames, query: Query) -> Result<Self> {
        let [stream] = names.exactly()?;
        Ok(Self { stream, range: TimeRange::read(query)? })
    }

    fn handle(&self, app: &App, request: &Request, _: &dyn Fn() -> bool) -> Result<Reply> {
        let text = multivariant::render(variants(app, &self.stream, &self.range)?);
        let mut tag = Fnv::new();
        tag.write_str(&text);
        text_reply(request, CONTENT_TYPE, "max-age=1", tag, |reply| with_text(request, reply, text.into()))
    }
}

impl Handler for MediaRequest {
    fn decode(names: PathNames, query: Query) -> Result<Self> {
        Ok(Self { variant: names.variant()?, range: TimeRange::read(query)? })
    }

    /// A recorder may add a segment after the first lines were decided that contradicts them: then they are decided
    /// again.
    fn handle(&self, app: &App, request: &Request, _: &dyn Fn() -> bool) -> Result<Reply> {
        for _ in 1..ATTEMPTS {
            match self.reply(app, request) {
                Err(Error::Changed(_)) => {}
                reply => return reply,
            }
        }
        self.reply(app, request)
    }
}

impl MediaRequest {
    fn reply(&self, app: &App, request: &Request) -> Result<Reply> {
        let source = self.source(app)?;
        let outline = source.outline()?;
        let cache_control = if outline.is_finished { "max-age=60" } else { "max-age=1" };
        text_reply(request, CONTENT_TYPE, cache_control, source.tag(&outline), |reply| {
            if outline.is_long() {
                return Ok(with_streamed_text(request, reply, move |out| source.render(&outline, out)));
            }
            let mut text = Vec::new();
            source.render(&outline, &mut text)?;
            with_text(request, reply, text)
        })
    }

    fn source(&self, app: &App) -> Result<Source> {
        let VariantPath { stream, variant } = &self.variant;
        let hours = app.archive.hours(self.variant.name())?;
        if hours.is_empty() {
            let what = if app.archive.has_variant(self.variant.name())? {
                format!("nothing has been recorded of variant `{variant}` of stream `{stream}`")
            } else {
                format!(
                    "there is no variant `{variant}` of a stream `{stream}`; `/files/{stream}` lists what there is"
                )
            };
            return Err(Error::NotFound(what.escape_debug().to_string()));
        }
        Ok(Source {
            archive: Arc::clone(&app.archive),
            variant: self.variant.clone(),
            range: self.range.within(&hours),
            hours,
            now: app.clock.now(),
            uri_prefix: format!("{}/{}/{}", app.segments_url, encode(stream), encode(variant)),
        })
    }
}

impl TimeRange {
    fn read(query: Query) -> Result<Self> {
        Ok(Self { start: query.time("start")?, end: query.time("end")? })
    }

    /// The range with its defaults: from the first hour to one hour after the last.
    fn within(&self, hours: &[Hour]) -> (Timestamp, Timestamp) {
        let first = hours.first().map_or(Timestamp::MIN, |hour| hour.start());
        let last = hours.last().map_or(Timestamp::MIN, |hour| hour.end() + Span::from_secs(3600));
        (self.start.as_ref().map_or(first, |start| start.0), self.end.as_ref().map_or(last, |end| end.0))
    }

    /// The query that asks for the same range, with its question mark; empty for a range without ends.
    fn query(&self) -> String {
        let start = self.start.iter().map(|(_, text)| format!("start={}", encode(text)));
        let end = self.end.iter().map(|(_, text)| format!("end={}", encode(text)));
        let parameters = start.chain(end).collect::<Vec<_>>().join("&");
        if parameters.is_empty() { parameters } else { format!("?{parameters}") }
    }
}

/// The variants of a stream that have recordings in the range.
fn variants(app: &App, stream: &str, range: &TimeRange) -> Result<Vec<multivariant::VariantStream>> {
    if !app.archive.has_stream(stream)? {
        let what = format!("there is no stream `{}`; `/files` lists what there is", stream.escape_debug());
        return Err(Error::NotFound(what));
    }
    let mut variants = Vec::new();
    for variant in app.archive.variants(stream)? {
        let name = VariantName { stream, variant: &variant };
        let hours = app.archive.hours(name)?;
        let (start, end) = range.within(&hours);
        let before_end = hours.partition_point(|hour| hour.start() < end);
        let is_outside = hours.last().is_none_or(|last| last.end() <= start) || before_end == 0;
        if is_outside || variant == CHAT {
            continue;
        }
        let measured = app.archive.measure(name, &hours[..before_end], app.tools.ffprobe())?;
        variants.push(multivariant::VariantStream {
            uri: format!("/playlist/{}/{}.m3u8{}", encode(stream), encode(&variant), range.query()),
            name: variant,
            measured,
        });
    }
    Ok(variants)
}
