//! The numbers of the entries in a live window: a list without an end, whose oldest entries leave (RFC 8216, section
//! 6.2.2).

use std::sync::Arc;

use super::source::Source;
use crate::archive::hour::HourSummary;
use crate::archive::layout::Segment;
use crate::archive::select::WITHHELD_FOR;
use crate::archive::selection::Chosen;
use crate::error::{Error, Result};
use crate::hls::media::target_secs;
use crate::hls::window::{Count, Counted, CountedHour, Entry, Shift};
use crate::http::windows::{Window, WindowKey, Windows};
use crate::timestamp::{Hour, Span, Timestamp};

/// How many target durations a window is long, at least: players begin as many before its end.
pub(super) const MIN_TARGETS: i64 = 3;

/// The hour from which a window's entries are counted: the one in which it starts, or the last one before that. If the
/// recording begins later, it is the first hour there is.
pub(super) fn anchor(hours: &[Hour], start: Timestamp) -> Option<Hour> {
    let behind = hours.partition_point(|hour| hour.start() <= start);
    hours.get(behind.saturating_sub(1)).copied()
}

impl Source {
    /// The window that begins at the start of the range, with the numbers that its entries had before.
    ///
    /// # Errors
    /// [`Error::Gone`] if the hours from the anchor on were deleted before this process counted them;
    /// [`Error::BadParameter`] if the anchor is later than the window's start.
    pub(super) fn window(&self, windows: &Windows, key: WindowKey) -> Result<Arc<Window>> {
        let remembered = windows.get(&key);
        let known = remembered.as_ref().filter(|known| known.counted.can_go_on(&self.hours));
        let first_hour = match known {
            Some(known) => known.counted.hours.first().map(|hour| hour.hour),
            None => self.first_hour(key.anchor)?,
        };
        let Some(first_hour) = first_hour else {
            return Err(Error::Changed("the hours of a variant".to_owned()));
        };
        let hours = &self.hours[self.hours.partition_point(|hour| *hour < first_hour)..];
        let summaries = self.archive.summaries(self.variant.name(), hours)?;
        let state: Vec<_> = summaries.iter().map(|hour| (hour.hour, hour.fingerprint)).collect();
        let none = Counted::default();
        let before = known.map_or(&none, |known| &known.counted);
        let count = |hour, mut count: Count| {
            let index = self.archive.hour(self.variant.name(), hour)?;
            index.segments().for_each(|segment| count.add(&segment));
            Ok(count)
        };
        let counted = before.advance(Count::from(first_hour, 0), &state, count)?;
        let longest = summaries.iter().map(|hour| hour.longest).max().unwrap_or(Span::ZERO);
        let known_target = remembered.as_ref().map_or(0, |known| known.target_secs);
        let mut window = Window {
            first: Entry { number: 0, discontinuity: 0, gap_before: false },
            end: 0,
            last: None,
            target_secs: target_secs(longest).max(known_target),
            counted,
        };
        if let Some(known) = known {
            window.renumber(self.lost(&window.counted, known)?);
        }
        self.find_end(&mut window, &summaries)?;
        let first_start = self.find_first(&mut window, known.map(Arc::as_ref))?;
        if known.is_none() {
            if key.anchor.is_none() {
                let entries = self.first_number(first_start) - window.first.number;
                window.renumber(Shift { entries, ..Shift::default() });
            }
            if let Some(remembered) = &remembered {
                window.renumber(self.lost(&window.counted, remembered)?);
            }
        }
        let least = known.map_or(0, |known| known.first.discontinuity);
        let discontinuities = (least - window.first.discontinuity).max(0);
        window.renumber(Shift { discontinuities, ..Shift::default() });
        window.counted.forget_before(window.first.number);
        let window = Arc::new(window);
        if !windows.keep(key, Arc::clone(&window), known.is_none(), remembered.as_ref()) {
            return Err(Error::Changed("the numbers of a window".to_owned()));
        }
        Ok(window)
    }

    /// How far the numbers must be moved so that none is below that which the window `known` has shown: further entries
    /// keep the numbers that they would have if no entry had been lost, and what was before a loss moves towards them.
    fn lost(&self, counted: &Counted, known: &Window) -> Result<Shift> {
        let Some(first) = counted.hours.first() else { return Ok(Shift::default()) };
        let Some((last_start, discontinuity)) = known.last else {
            let entries = (known.end - first.before.entries).max(0);
            return Ok(Shift { entries, ..Shift::default() });
        };
        let mut now = (first.before.entries, first.before.discontinuities);
        if let Some(hour) = counted.hours.iter().rev().find(|hour| hour.hour.start() <= last_start) {
            let next = self.find_entry(hour, |segment, _| segment.start() > last_start)?;
            let before =
                |(entry, _): (Entry, _)| (entry.number, entry.discontinuity - i64::from(entry.gap_before));
            now = next.map_or((hour.after.entries, hour.after.discontinuities), before);
        }
        let (entries, discontinuities) = (known.end - now.0, discontinuity - now.1);
        let discontinuities = if entries > 0 { discontinuities } else { discontinuities.max(0) };
        Ok(Shift { entries: entries.max(0), discontinuities })
    }

    /// The number of the first entry, which starts at `start`, where nothing else says one: not negative, and no higher than
    /// what a later process will begin with.
    fn first_number(&self, start: Timestamp) -> i64 {
        start.min(self.now).micros().div_euclid(1_000_000).max(0)
    }

    /// The hour in which the count begins, if nothing was counted before.
    fn first_hour(&self, requested: Option<Hour>) -> Result<Option<Hour>> {
        let latest = anchor(&self.hours, self.range.0);
        let Some(hour) = requested else { return Ok(latest) };
        if latest.is_some_and(|latest| latest < hour) {
            let expected = "an hour that is not later than the window's start";
            return Err(Error::BadParameter { name: "anchor", value: hour.to_string(), expected });
        }
        if self.hours.binary_search(&hour).is_err() {
            return Err(Error::Gone("the anchor was deleted: load the multivariant playlist again"));
        }
        Ok(Some(hour))
    }

    /// Finds the end of what is shown: the first segment that is withheld, or the last that there is.
    fn find_end(&self, window: &mut Window, summaries: &[HourSummary]) -> Result<()> {
        let hours = &window.counted.hours;
        let young = self.now - WITHHELD_FOR;
        // All entries before the young ones are shown.
        let first_young = summaries.iter().position(|summary| summary.latest_end > young);
        let old = &hours[..first_young.unwrap_or(hours.len())];
        let from = old.iter().rposition(|hour| hour.after.entries > hour.before.entries).unwrap_or(0);
        let (mut end, mut last) = (hours.first().map_or(0, |hour| hour.before.entries), None);
        let mut is_withheld = false;
        for hour in &hours[from..] {
            self.each_entry(hour, |Chosen { segment, .. }, entry| {
                is_withheld = self.is_withheld(segment, entry.gap_before);
                if !is_withheld {
                    (end, last) = (entry.number + 1, Some((segment.start(), entry.discontinuity)));
                }
                Ok(!is_withheld)
            })?;
            if is_withheld {
                break;
            }
        }
        (window.end, window.last) = (end, last);
        Ok(())
    }

    /// Finds the first entry that is shown, and returns its start: the one on screen at the window's start, or an earlier one
    /// so that the window is long enough; but no entry comes back that was left out before.
    fn find_first(&self, window: &mut Window, known: Option<&Window>) -> Result<Timestamp> {
        let start = self.range.0;
        let is_over = |hour: &&CountedHour| hour.after.walk.last_end().is_none_or(|end| end <= start);
        let mut on_screen = window.end;
        // An hour that is not over may have no entries, where the one before was deleted.
        for hour in window.counted.hours.iter().filter(|hour| !is_over(hour)) {
            if let Some((entry, _)) = self.find_entry(hour, |segment, _| segment.end() > start)? {
                on_screen = entry.number;
                break;
            }
        }
        let least = Span::from_secs(MIN_TARGETS * window.target_secs);
        let known_first = known.map_or(i64::MIN, |known| known.first.number);
        let number = on_screen.min(self.last_entries(window, least)?).max(known_first).min(window.end);
        let hour = window.counted.hours.iter().find(|hour| hour.after.entries > number);
        let found = hour.map(|hour| self.find_entry(hour, |_, entry| entry.number == number));
        let discontinuity = window.counted.hours.last().map_or(0, |hour| hour.after.discontinuities);
        let nothing = (Entry { number, discontinuity, gap_before: false }, start);
        let (first, first_start) = found.transpose()?.flatten().unwrap_or(nothing);
        window.first = first;
        Ok(first_start)
    }

    /// The number of the first of the last entries, as many as it takes to be `span` long by their durations.
    pub(super) fn last_entries(&self, window: &Window, span: Span) -> Result<i64> {
        let mut left = span;
        for hour in window.counted.hours.iter().rev() {
            let mut entries = Vec::new();
            self.each_entry(hour, |chosen, entry| {
                entries.push((entry.number, chosen.segment.name.duration));
                Ok(entry.number + 1 < window.end)
            })?;
            for (number, duration) in entries.into_iter().rev().filter(|entry| entry.0 < window.end) {
                left = left - duration;
                if left <= Span::ZERO {
                    return Ok(number);
                }
            }
        }
        Ok(window.counted.hours.first().map_or(window.end, |hour| hour.before.entries))
    }

    /// The first entry of an hour for which `is_it` returns true, and its start.
    fn find_entry(
        &self,
        hour: &CountedHour,
        is_it: impl Fn(&Segment, Entry) -> bool,
    ) -> Result<Option<(Entry, Timestamp)>> {
        let mut found = None;
        self.each_entry(hour, |Chosen { segment, .. }, entry| {
            found = is_it(segment, entry).then(|| (entry, segment.start()));
            Ok(found.is_none())
        })?;
        Ok(found)
    }

    /// Calls `each` with the entries that are shown, from number `from` on.
    pub(super) fn each_shown(
        &self,
        window: &Window,
        from: i64,
        mut each: impl FnMut(&Chosen, Entry) -> Result<()>,
    ) -> Result<()> {
        let is_shown = |hour: &&CountedHour| hour.after.entries > from && hour.before.entries < window.end;
        for hour in window.counted.hours.iter().filter(is_shown) {
            self.each_entry(hour, |chosen, entry| {
                if (from..window.end).contains(&entry.number) {
                    each(chosen, entry)?;
                }
                Ok(entry.number < window.end)
            })?;
        }
        Ok(())
    }

    /// Calls `each` with the entries of an hour, until that returns false.
    ///
    /// # Errors
    /// [`Error::Changed`] if there are others than were counted.
    fn each_entry(
        &self,
        hour: &CountedHour,
        mut each: impl FnMut(&Chosen, Entry) -> Result<bool>,
    ) -> Result<()> {
        let variant = self.variant.name();
        let index = self.archive.hour(variant, hour.hour)?;
        let mut count = hour.before;
        for (position, segment) in index.segments().enumerate() {
            let Some(entry) = count.offer(&segment) else { continue };
            let chosen = Chosen { variant, segment, place: (&index, position), gap_before: entry.gap_before };
            if !each(&chosen, entry)? {
                return Ok(());
            }
        }
        if count == hour.after { Ok(()) } else { Err(Error::Changed(format!("hour `{}`", hour.hour))) }
    }
}
