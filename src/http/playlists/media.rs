//! The media playlist of a range: its first lines, its entity tag and its text.
//!
//! The first lines (target duration, live or finished) depend on all segments of the range. They are decided before the
//! text is rendered, because a long playlist is sent while it is rendered.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::Arc;

use super::fragments::Fragments;
use super::source::Source;
use super::window::MIN_TARGETS;
use crate::archive::hour::HourSummary;
use crate::archive::select::WITHHELD_FOR;
use crate::archive::selection::{Chosen, Selection, hours_in_range};
use crate::cut::fragment::LAYOUT_VERSION;
use crate::error::{Error, Result};
use crate::fnv::Fnv;
use crate::hls::media::{Head, MediaPlaylist, UNKNOWN_TARGET_SECS, target_secs};
use crate::http::windows::{Window, WindowKey, Windows};
use crate::timestamp::{Hour, Span};

/// A range that ended longer ago than this gets no more segments.
const FINISHED_AFTER: Span = Span::from_secs(5 * 60);

/// A playlist with more segments than this is rendered while it is sent.
const MAX_BUFFERED_SEGMENTS: usize = 4096;

/// Playlists with at most this many segments are always sent whole.
const MIN_UPDATED_SEGMENTS: usize = 200;

/// An update of a playlist repeats the entries of this many target durations before its end (RFC 8216bis, section
/// 4.4.3.8).
const REPEATED_TARGETS: i64 = 6;

/// How much of a playlist is collected before it is sent.
const CHUNK_BYTES: usize = 64 * 1024;

/// What must be known of a media playlist before its first line is written.
#[derive(Debug)]
pub(super) struct Outline {
    head: Head,
    /// The number of segments, with those that are skipped. For a long playlist it is an upper bound.
    segments: usize,
    /// A hash of the hours and their segments.
    state: u64,
    /// The numbers of the entries, if they leave the playlist.
    window: Option<Arc<Window>>,
}

impl Outline {
    /// Whether the playlist ends with `EXT-X-ENDLIST`.
    pub(super) fn is_finished(&self) -> bool {
        self.head.is_finished
    }

    /// Whether the playlist is too long to be rendered before it is sent.
    pub(super) fn is_long(&self) -> bool {
        self.segments - usize::try_from(self.head.skipped).unwrap_or(0) > MAX_BUFFERED_SEGMENTS
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
        let mut outline = Outline {
            head: Head {
                play_from_secs: self.plays_from_start.then_some(0),
                is_fragmented: self.first_frames.is_some(),
                ..Head::new(target_secs(longest), false)
            },
            segments: hours.iter().map(|hour| hour.segments).sum(),
            state: fingerprint(hours.iter().map(|hour| (hour.hour, hour.fingerprint))),
            window: None,
        };
        if let Some(is_finished) = self.finished_by_summaries(&hours, is_past) {
            outline.head.is_finished = is_finished;
        } else {
            outline.segments = 0;
            let end = self.walk(|_| {
                outline.segments += 1;
                Ok(())
            })?;
            if outline.segments == 0 {
                outline.head.target_secs = self.newest_target()?;
            }
            outline.head.is_finished = !end.is_withheld && (is_past || !end.in_gap);
        }
        if let Some(span) = outline.repeated_by_updates().filter(|_| self.wants_update) {
            outline.segments = 0;
            let mut repeated = LastEntries::new(span);
            self.walk(|chosen| {
                outline.segments += 1;
                repeated.push(chosen.segment.name.duration);
                Ok(())
            })?;
            outline.head.skipped = fit(outline.segments) - repeated.len();
        }
        Ok(outline)
    }

    /// Decides the first lines of a live window.
    ///
    /// # Errors
    /// Those of [`Source::window`].
    pub(super) fn window_outline(&self, windows: &Windows, key: WindowKey) -> Result<Outline> {
        let window = self.window(windows, key)?;
        let mut outline = Outline {
            head: Head {
                sequence: Some((window.first.number, window.first.discontinuity)),
                play_from_secs: Some(-MIN_TARGETS * window.target_secs),
                is_fragmented: self.first_frames.is_some(),
                ..Head::new(window.target_secs, false)
            },
            segments: usize::try_from(window.end - window.first.number).unwrap_or(0),
            state: fingerprint(window.hours()),
            window: None,
        };
        if let Some(span) = outline.repeated_by_updates().filter(|_| self.wants_update) {
            outline.head.skipped = (self.last_entries(&window, span)? - window.first.number).max(0);
        }
        outline.window = Some(window);
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
        let Head { target_secs, is_finished, sequence, play_from_secs, .. } = outline.head;
        let Head { can_skip_until_secs, skipped, is_fragmented, .. } = outline.head;
        let mut tag = Fnv::new();
        tag.write_str(&self.uri_prefix);
        // The start of a window changes with the time, its text only with its first entry.
        let first = sequence.unwrap_or((self.range.0.micros(), self.range.1.micros()));
        tag.write_u64(first.0.cast_unsigned());
        tag.write_u64(first.1.cast_unsigned());
        tag.write_u64(target_secs.cast_unsigned());
        tag.write_u64(is_finished.into());
        tag.write_u64(outline.segments as u64);
        tag.write_u64(outline.state);
        let layout = is_fragmented.then_some(i64::from(LAYOUT_VERSION));
        for (tag_name, value) in [
            ("start", play_from_secs),
            ("skip", can_skip_until_secs.map(|_| skipped)),
            // The time offsets follow from the names, which have the hashes of the files.
            ("fmp4", layout),
        ] {
            if let Some(value) = value {
                tag.write_str(tag_name);
                tag.write_u64(value.cast_unsigned());
            }
        }
        tag
    }

    /// Renders the playlist to `out`, in chunks.
    pub(super) fn render(&self, outline: &Outline, out: &mut dyn Write) -> Result<()> {
        let mut send = |text: &[u8]| out.write_all(text).map_err(Error::io("send to", "the client"));
        let mut playlist = MediaPlaylist::begin(&self.uri_prefix, &outline.head);
        let mut fragments = self.first_frames.as_deref().map(|cache| Fragments::new(&self.archive, cache));
        let mut add = |chosen: &Chosen| {
            let Chosen { segment, gap_before, .. } = chosen;
            if target_secs(segment.name.duration) > outline.head.target_secs {
                return Err(Error::Changed(format!("hour `{}`", segment.hour)));
            }
            let fragment = fragments.as_mut().map(|fragments| fragments.fragment(chosen)).transpose()?;
            playlist.segment(segment, *gap_before, fragment);
            if playlist.text().len() >= CHUNK_BYTES {
                send(playlist.text())?;
                playlist.text().clear();
            }
            Ok(())
        };
        let skipped = outline.head.skipped;
        if let Some(window) = &outline.window {
            let from = window.first.number + skipped;
            self.each_shown(window, from, |chosen, _| add(chosen))?;
        } else {
            let mut number = 0;
            self.walk(|chosen| {
                number += 1;
                if number > skipped { add(chosen) } else { Ok(()) }
            })?;
        }
        send(&playlist.end())
    }

    /// Calls `each` with the segments of the playlist. The first segment that may still be replaced is withheld, and so are
    /// all behind it.
    fn walk(&self, mut each: impl FnMut(&Chosen) -> Result<()>) -> Result<WalkEnd> {
        let mut selection = Selection::new(&self.archive, self.variant.name(), &self.hours, self.range);
        while let Some(chosen) = selection.next_segment()? {
            if self.is_withheld(&chosen.segment, chosen.gap_before) {
                return Ok(WalkEnd { in_gap: true, is_withheld: true });
            }
            each(&chosen)?;
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

impl Outline {
    /// How much of the end of the playlist updates repeat, if the playlist is long enough to have updates; writes that to
    /// the head.
    fn repeated_by_updates(&mut self) -> Option<Span> {
        if self.head.is_finished || self.segments <= MIN_UPDATED_SEGMENTS {
            return None;
        }
        let seconds = REPEATED_TARGETS * self.head.target_secs;
        self.head.can_skip_until_secs = Some(seconds);
        Some(Span::from_secs(seconds))
    }
}

/// The durations of the last entries of a playlist, as many as it takes to be at least a span long.
struct LastEntries {
    least: Span,
    total: Span,
    durations: VecDeque<Span>,
}

impl LastEntries {
    fn new(least: Span) -> Self {
        Self { least, total: Span::ZERO, durations: VecDeque::new() }
    }

    fn push(&mut self, duration: Span) {
        self.durations.push_back(duration);
        self.total = self.total + duration;
        while let Some(first) = self.durations.front().filter(|first| self.total - **first >= self.least) {
            self.total = self.total - *first;
            self.durations.pop_front();
        }
    }

    fn len(&self) -> i64 {
        fit(self.durations.len())
    }
}

fn fit(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A hash of hours and of what is in them.
fn fingerprint(hours: impl Iterator<Item = (Hour, u64)>) -> u64 {
    let mut state = Fnv::new();
    for (hour, fingerprint) in hours {
        state.write_u64(hour.start().micros().cast_unsigned());
        state.write_u64(fingerprint);
    }
    state.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::Archive;
    use crate::http::path::VariantPath;
    use crate::timestamp::Timestamp;

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
            wants_update: false,
            first_frames: None,
        };
        let head = Head::new(2, true);
        let outline = Outline { head, segments: 3, state: u64::MAX, window: None };
        // FNV-1a of the fields, computed by another program.
        assert_eq!(source.tag(&outline).finish(), 0xb2f3_19ff_e6c0_c495);
    }
}
