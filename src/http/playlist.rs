//! `/playlist/…`: HLS playlists for any time range.

use std::sync::Arc;

use super::App;
use super::reply::Reply;
use super::request::Request;
use super::route::{Range, Variant};
use super::text::{Conditional, TextHead, tag_of, with_long_text, with_text};
use crate::archive::hour::HourSummary;
use crate::archive::layout::{Segment, SegmentType};
use crate::archive::selection::{Chosen, Selection, hours_in_range};
use crate::archive::{Archive, VariantName};
use crate::error::{Error, Result};
use crate::hls::media::{MediaPlaylist, UNKNOWN_TARGET_SECS, target_secs};
use crate::hls::{encode, multivariant};
use crate::timestamp::{Hour, Span, Timestamp};

/// How often a list is begun whose hours change while it is made.
const ATTEMPTS: usize = 4;
/// The type of a playlist (RFC 8216, section 10).
const CONTENT_TYPE: &str = "application/vnd.apple.mpegurl";

/// How long after the end of a range nothing new is due in it.
const SETTLED_AFTER: Span = Span::from_secs(5 * 60);

/// How long what may still turn out otherwise is held back: a segment behind a young hole, which a late one may
/// fill, and one that is not full, which a better one may replace.
const HELD_BACK: Span = Span::from_secs(15);

/// How many segments a playlist may have to be made in memory. A longer one is made while it is sent.
const IN_MEMORY_SEGMENTS: usize = 4096;

/// How much of a long playlist is gathered before it is sent.
const SENT_BYTES: usize = 64 * 1024;

/// The variant that holds a chat and has no pictures.
const CHAT: &str = "chat";

/// A media playlist that was asked for, and all that it takes to write it.
#[derive(Debug)]
struct MediaList {
    archive: Arc<Archive>,
    of: Variant,
    hours: Arc<[Hour]>,
    range: (Timestamp, Timestamp),
    now: Timestamp,
    uri_prefix: String,
}

/// How a walk over the segments of a list ended.
#[derive(Debug, Clone, Copy)]
struct Walked {
    /// Whether something is missing at the end.
    ends_in_hole: bool,
    /// Whether something was held back.
    held_back: bool,
}

/// What must be known of a media playlist before its first line.
#[derive(Debug, Hash)]
struct Outline {
    target_secs: i64,
    closed: bool,
    /// How many segments the list has; of a long one, how many at the most.
    segments: usize,
    /// The hours and what is in them, as a number.
    state: u64,
}

/// The playlist of one variant's segments. An hour that is recorded into may get what its head has not foreseen, such as
/// its first segment, between two looks at it; then it is looked at anew.
pub(super) fn media(app: &App, request: &Request, of: &Variant, range: &Range) -> Result<Reply> {
    for _ in 1..ATTEMPTS {
        match media_as_it_is(app, request, of, range) {
            Err(Error::Changed { .. }) => {}
            made => return made,
        }
    }
    media_as_it_is(app, request, of, range)
}

fn media_as_it_is(app: &App, request: &Request, of: &Variant, range: &Range) -> Result<Reply> {
    let hours = app.archive.hours(of.name())?;
    if hours.is_empty() {
        return Err(nothing_of(app, of)?);
    }
    let list = MediaList {
        archive: Arc::clone(&app.archive),
        of: of.clone(),
        range: limits(range, &hours),
        hours,
        now: app.clock.now(),
        uri_prefix: format!("{}/{}/{}", app.segments_url, encode(&of.stream), encode(&of.variant)),
    };
    let outline = list.outline()?;
    let head = TextHead {
        content_type: CONTENT_TYPE,
        cache_control: if outline.closed { "max-age=60" } else { "max-age=1" },
        tag: tag_of(&(request.path(), &list.uri_prefix, list.range, &outline)),
    };
    let reply = match head.begin(request) {
        Conditional::Unchanged(reply) => return Ok(reply),
        Conditional::Wanted(reply) => reply,
    };
    if outline.segments > IN_MEMORY_SEGMENTS {
        return Ok(with_long_text(request, reply, move |out| {
            let mut send = |text: &mut Vec<u8>| {
                out.write_all(text).map_err(Error::io("send to", "the client"))?;
                text.clear();
                Ok(())
            };
            let mut rest =
                list.render(&outline, |text| if text.len() < SENT_BYTES { Ok(()) } else { send(text) })?;
            send(&mut rest)
        }));
    }
    let text = list.render(&outline, |_| Ok(()))?;
    with_text(request, reply, text)
}

/// The range that is meant: from the first hour there is, to an hour after the last one there is.
fn limits(range: &Range, hours: &[Hour]) -> (Timestamp, Timestamp) {
    let first = hours.first().map_or(Timestamp::MIN, |hour| hour.start());
    let last = hours.last().map_or(Timestamp::MIN, |hour| hour.end() + Span::from_secs(3600));
    (range.start.as_ref().map_or(first, |start| start.0), range.end.as_ref().map_or(last, |end| end.0))
}

/// The error for a variant without hours.
fn nothing_of(app: &App, of: &Variant) -> Result<Error> {
    let Variant { stream, variant } = of;
    let what = if app.archive.has_variant(of.name())? {
        format!("nothing has been recorded of variant `{variant}` of stream `{stream}`")
    } else {
        format!(
            "there is no variant `{variant}` of a stream `{stream}`; `/files/{stream}` lists what there is"
        )
    };
    Ok(Error::NotFound { what: what.escape_debug().to_string() })
}

impl MediaList {
    /// What the first lines must say. A long list is known by its hours; through one that is not, or that they leave
    /// in doubt, goes a walk without a word.
    fn outline(&self) -> Result<Outline> {
        let hours = if self.is_empty() { &[] } else { hours_in_range(&self.hours, self.range) };
        let hours = self.archive.summaries(self.of.name(), hours)?;
        let longest = hours.iter().map(|hour| hour.longest).max().unwrap_or(Span::ZERO);
        let settled = self.range.1 < self.now - SETTLED_AFTER;
        let state = hours.iter().map(|hour| (hour.hour, hour.fingerprint)).collect::<Vec<_>>();
        let outline =
            |segments, closed, target_secs| Outline { target_secs, closed, segments, state: tag_of(&state) };
        if let Some(closed) = self.is_long_and_closed(&hours, settled) {
            let segments = hours.iter().map(|hour| hour.segments).sum();
            return Ok(outline(segments, closed, target_secs(longest)));
        }
        let mut segments = 0;
        let walked = self.walk(|_, _| {
            segments += 1;
            Ok(())
        })?;
        let target_secs = if segments == 0 { self.newest_target()? } else { target_secs(longest) };
        let closed = !walked.held_back && (settled || !walked.ends_in_hole);
        Ok(outline(segments, closed, target_secs))
    }

    /// Of a list that is long for certain, and has something in it, whether it is closed, if the hours alone say so.
    fn is_long_and_closed(&self, hours: &[HourSummary], settled: bool) -> Option<bool> {
        let is_old = |hour: &HourSummary| hour.latest_end <= self.now - HELD_BACK;
        // Of an hour in the midst of the range at least the first segment is taken, if no other is.
        let has_one = |hour: &HourSummary| {
            let inside = hour.hour.start() > self.range.0 && hour.hour.end() <= self.range.1;
            inside && hour.segments > 0 && is_old(hour)
        };
        let segments: usize = hours.iter().map(|hour| hour.segments).sum();
        if segments <= IN_MEMORY_SEGMENTS || !hours.iter().any(has_one) {
            return None;
        }
        if settled {
            // What is old enough is not held back.
            return hours.iter().all(is_old).then_some(true);
        }
        // What nothing reaches ends in a hole.
        hours.iter().all(|hour| hour.latest_end < self.range.1).then_some(false)
    }

    /// The text of the playlist, or what is left of it: after each segment `spill` may take what there is.
    fn render(
        &self,
        outline: &Outline,
        mut spill: impl FnMut(&mut Vec<u8>) -> Result<()>,
    ) -> Result<Vec<u8>> {
        let mut playlist = MediaPlaylist::begin(&self.uri_prefix, outline.target_secs, outline.closed);
        self.walk(|segment, gap_before| {
            if target_secs(segment.name.duration) > outline.target_secs {
                return Err(Error::Changed { what: format!("hour `{}`", segment.hour) });
            }
            playlist.segment(segment, gap_before);
            spill(playlist.text())
        })?;
        Ok(playlist.end())
    }

    /// Whether the range has no time in it.
    fn is_empty(&self) -> bool {
        self.range.1 <= self.range.0
    }

    /// Calls `each` with the segments of the list and whether a hole lies before them. What might soon have to be
    /// taken back is held back, and so is all behind it.
    fn walk(&self, mut each: impl FnMut(&Segment, bool) -> Result<()>) -> Result<Walked> {
        let young = self.now - HELD_BACK;
        if self.is_empty() {
            return Ok(Walked { ends_in_hole: true, held_back: false });
        }
        let mut selection = Selection::new(&self.archive, self.of.name(), &self.hours, self.range);
        let mut held_back = false;
        while let Some(Chosen { segment, gap_before, .. }) = selection.next_segment()? {
            let behind_young_hole = gap_before && segment.start() > young;
            held_back =
                behind_young_hole || segment.name.segment_type != SegmentType::Full && segment.end() > young;
            if held_back {
                break;
            }
            each(&segment, gap_before)?;
        }
        let ends_in_hole = held_back || selection.ends_in_gap();
        Ok(Walked { ends_in_hole, held_back })
    }

    /// What the variant's newest segment makes the target duration of a list that has none, so that it stays what it
    /// is when the list grows.
    fn newest_target(&self) -> Result<i64> {
        for hour in self.hours.iter().rev() {
            if let Some(newest) = self.archive.hour(self.of.name(), *hour)?.segments().next_back() {
                return Ok(target_secs(newest.name.duration));
            }
        }
        Ok(UNKNOWN_TARGET_SECS)
    }
}

/// The playlist of a stream's variants.
pub(super) fn multivariant(app: &App, request: &Request, stream: &str, range: &Range) -> Result<Reply> {
    if !app.archive.has_stream(stream)? {
        let what = format!("there is no stream `{}`; `/files` lists what there is", stream.escape_debug());
        return Err(Error::NotFound { what });
    }
    let mut variants = Vec::new();
    for variant in app.archive.variants(stream)? {
        let name = VariantName { stream, variant: &variant };
        let hours = app.archive.hours(name)?;
        let (start, end) = limits(range, &hours);
        let wanted = hours.partition_point(|hour| hour.start() < end);
        let outside = hours.last().is_none_or(|last| last.end() <= start) || wanted == 0;
        if outside || variant == CHAT {
            continue;
        }
        let measured = app.archive.measure(name, &hours[..wanted], &app.tools)?;
        let uri = format!("/playlist/{}/{}.m3u8{}", encode(stream), encode(&variant), range_query(range));
        variants.push(multivariant::VariantStream {
            name: variant,
            uri,
            peak_bandwidth: measured.peak_bandwidth,
            average_bandwidth: measured.average_bandwidth,
            media: measured.media,
        });
    }
    let text = multivariant::render(variants);
    let head = TextHead { content_type: CONTENT_TYPE, cache_control: "max-age=1", tag: tag_of(&text) };
    head.reply(request, || Ok(text.into_bytes()))
}

/// The query that asks for the same range again.
fn range_query(range: &Range) -> String {
    let given = [("start", &range.start), ("end", &range.end)];
    let pairs = given.into_iter().filter_map(|(name, time)| {
        let (_, text) = time.as_ref()?;
        Some(format!("{name}={}", encode(text)))
    });
    let query = pairs.collect::<Vec<_>>().join("&");
    if query.is_empty() { query } else { format!("?{query}") }
}
