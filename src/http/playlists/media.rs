//! The media playlist of a range: its first lines, its entity tag and its text.
//!
//! The first lines (target duration, live or finished) depend on all segments of the range. They are decided before the
//! text is rendered, because a long playlist is sent while it is rendered.

use std::io::Write;
use std::sync::Arc;

use crate::archive::Archive;
use crate::archive::hour::HourSummary;
use crate::archive::layout::{Segment, SegmentType};
use crate::archive::selection::{Chosen, Selection, hours_in_range};
use crate::error::{Error, Result};
use crate::fnv::Fnv;
use crate::hls::media::{MediaPlaylist, UNKNOWN_TARGET_SECS, target_secs};
use crate::http::path::VariantPath;
use crate::timestamp::{Hour, Span, Timestamp};

/// A range that ended longer ago than this gets no more segments.
const FINISHED_AFTER: Span = Span::from_secs(5 * 60);

/// Segments younger than this are withheld where they may still be replaced: behind a gap, because a late segment may
/// fill it, and when they are not `full`, because a better one may follow.
const WITHHELD_FOR: Span = Span::from_secs(15);

/// A playlist with more segments than this is rendered while it is sent.
const MAX_BUFFERED_SEGMENTS: usize = 4096;

/// How much of a playlist is collected before it is sent.
const CHUNK_BYTES: usize = 64 * 1024;

/// What a media playlist is rendered from.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) archive: Arc<Archive>,
    pub(super) variant: VariantPath,
    pub(super) hours: Arc<[Hour]>,
    pub(super) range: (Timestamp, Timestamp),
    pub(super) now: Timestamp,
    pub(super) uri_prefix: String,
    /// Whether players shall begin at the start (`EXT-X-START`).
    pub(super) plays_from_start: bool,
}

/// What must be known of a media playlist before its first line is written.
#[derive(Debug)]
pub(super) struct Outline {
    target_secs: i64,
    /// Whether the playlist ends with `EXT-X-ENDLIST`.
    pub(super) is_finished: bool,
    /// The number of segments. For a long playlist it is an upper bound.
    segments: usize,
    /// A hash of the hours and their segments.
    state: u64,
}

impl Outline {
    /// Whether the playlist is too long to be rendered before it is sent.
    pub(super) fn is_long(&self) -> bool {
        self.segments > MAX_BUFFERED_SEGMENTS
    }
}

/// How a walk over the segments of a playlist ended.
#[derive(Debug, Clone, Copy)]
struct WalkEnd {
    /// Whether there is a gap before the end of the range.
    in_gap: bool,
    /// Whether segments were withheld.
    is_withheld: bool,
}

impl Source {
    /// Decides the first lines. The summaries of its hours suffice for most long playlists. Otherwise the segments are
    /// walked over once without rendering them.
    pub(super) fn outline(&self) -> Result<Outline> {
        let hours = hours_in_range(&self.hours, self.range);
        let hours = self.archive.summaries(self.variant.name(), hours)?;
        let longest = hours.iter().map(|hour| hour.longest).max().unwrap_or(Span::ZERO);
        let is_past = self.range.1 < self.now - FINISHED_AFTER;
        let mut state = Fnv::new();
        for hour in &hours {
            state.write_u64(hour.hour.start().micros().cast_unsigned());
            state.write_u64(hour.fingerprint);
        }
        let mut outline = Outline {
            target_secs: target_secs(longest),
            is_finished: false,
            segments: hours.iter().map(|hour| hour.segments).sum(),
            state: state.finish(),
        };
        if let Some(is_finished) = self.finished_by_summaries(&hours, is_past) {
            return Ok(Outline { is_finished, ..outline });
        }
        outline.segments = 0;
        let end = self.walk(|_, _| {
            outline.segments += 1;
            Ok(())
        })?;
        if outline.segments == 0 {
            outline.target_secs = self.newest_target()?;
        }
        outline.is_finished = !end.is_withheld && (is_past || !end.in_gap);
        Ok(outline)
    }

    /// Whether a playlist is finished that is certainly long and not empty. `None` if it may be short or empty, or if the
    /// summaries of its hours leave the question open.
    fn finished_by_summaries(&self, hours: &[HourSummary], is_past: bool) -> Option<bool> {
        let is_old = |hour: &HourSummary| hour.latest_end <= self.now - WITHHELD_FOR;
        // Of an hour inside the range at least the first segment is taken.
        let has_segment = |hour: &HourSummary| {
            let is_inside = hour.hour.start() > self.range.0 && hour.hour.end() <= self.range.1;
            is_inside && hour.segments > 0 && is_old(hour)
        };
        let segments: usize = hours.iter().map(|hour| hour.segments).sum();
        if segments <= MAX_BUFFERED_SEGMENTS || !hours.iter().any(has_segment) {
            return None;
        }
        if is_past {
            // Old segments are not withheld.
            return hours.iter().all(is_old).then_some(true);
        }
        // No segment reaches the end of the range, so a gap is there.
        hours.iter().all(|hour| hour.latest_end < self.range.1).then_some(false)
    }

    /// The entity tag: a hash of all that the text depends on.
    pub(super) fn tag(&self, outline: &Outline) -> Fnv {
        let mut tag = Fnv::new();
        tag.write_str(&self.uri_prefix);
        tag.write_u64(self.range.0.micros().cast_unsigned());
        tag.write_u64(self.range.1.micros().cast_unsigned());
        tag.write_u64(outline.target_secs.cast_unsigned());
        tag.write_u64(outline.is_finished.into());
        tag.write_u64(outline.segments as u64);
        tag.write_u64(outline.state);
        if self.plays_from_start {
            tag.write_str("EXT-X-START");
        }
        tag
    }

    /// Renders the playlist to `out`, in chunks.
    pub(super) fn render(&self, outline: &Outline, out: &mut dyn Write) -> Result<()> {
        let mut send = |text: &[u8]| out.write_all(text).map_err(Error::io("send to", "the client"));
        let mut playlist = MediaPlaylist::begin(&self.uri_prefix, outline.target_secs, outline.is_finished);
        if self.plays_from_start {
            playlist.play_from_start();
        }
        self.walk(|segment, gap_before| {
            if target_secs(segment.name.duration) > outline.target_secs {
                return Err(Error::Changed(format!("hour `{}`", segment.hour)));
            }
            playlist.segment(segment, gap_before);
            if playlist.text().len() >= CHUNK_BYTES {
                send(playlist.text())?;
                playlist.text().clear();
            }
            Ok(())
        })?;
        send(&playlist.end())
    }

    /// Calls `each` with the segments of the playlist, and whether a gap lies before them. The first segment that may
    /// still be replaced is withheld, and so are all behind it.
    fn walk(&self, mut each: impl FnMut(&Segment, bool) -> Result<()>) -> Result<WalkEnd> {
        let young = self.now - WITHHELD_FOR;
        let mut selection = Selection::new(&self.archive, self.variant.name(), &self.hours, self.range);
        while let Some(Chosen { segment, gap_before, .. }) = selection.next_segment()? {
            let is_behind_young_gap = gap_before && segment.start() > young;
            if is_behind_young_gap || segment.name.segment_type != SegmentType::Full && segment.end() > young
            {
                return Ok(WalkEnd { in_gap: true, is_withheld: true });
            }
            each(&segment, gap_before)?;
        }
        Ok(WalkEnd { in_gap: selection.ends_in_gap(), is_withheld: false })
    }

    /// The target duration of a playlist without segments: that of the variant's newest segment, so that it does not
    /// change when the playlist grows.
    fn newest_target(&self) -> Result<i64> {
        for hour in self.hours.iter().rev() {
            if let Some(newest) = self.archive.hour(self.variant.name(), *hour)?.segments().next_back() {
                return Ok(target_secs(newest.name.duration));
            }
        }
        Ok(UNKNOWN_TARGET_SECS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entity_tag_does_not_depend_on_the_build() {
        let source = Source {
            archive: Arc::new(Archive::new("/nowhere", 0)),
            variant: VariantPath { stream: "s".to_owned(), variant: "v".to_owned() },
            hours: Arc::from([]),
            range: (Timestamp::from_micros(-1), Timestamp::from_micros(1_000_000)),
            now: Timestamp::from_micros(0),
            uri_prefix: "/segments/s/v".to_owned(),
            plays_from_start: false,
        };
        let outline = Outline { target_secs: 2, is_finished: true, segments: 3, state: u64::MAX };
        // FNV-1a of the fields, computed by another program.
        assert_eq!(source.tag(&outline).finish(), 0xb2f3_19ff_e6c0_c495);
    }
}
