//! What the times at which frames are received tell about a source: whether it bursts, how late its frames are, whether its clock moves on. Pure.

use std::collections::VecDeque;

/// A burst is over when in this time frames of no more than [`MAX_PROGRESS_US`] arrive.
const QUIET_US: i64 = 1_000_000;
const MAX_PROGRESS_US: i64 = 1_200_000;
/// How much more than real time a burst may be. Beyond that the source is a file.
const MAX_BURST_US: i64 = 120_000_000;
/// The least difference is that of the last minute, in parts of five seconds.
const PART_US: i64 = 5_000_000;
const PARTS: i64 = 12;
/// A clock is frozen if in this time, and over so many frames, it moves on by less than [`MIN_PROGRESS_US`].
const FROZEN_US: i64 = 3_000_000;
const FROZEN_FRAMES: u32 = 50;
const MIN_PROGRESS_US: i64 = 200_000;
/// It is frozen at once after so many frames in a row that are no more than [`CRAWL_US`] apart: so ffmpeg's muxer puts frames
/// whose clock was set back behind the last one.
const CRAWLING_FRAMES: u32 = 10;
const CRAWL_US: i64 = 1000;

/// Frames that may come faster than real time.
#[derive(Debug, Default)]
pub(super) struct Burst {
    /// Whether a gap or a jump of the source's clock is before it.
    pub(super) begins_clock: bool,
    pub(super) since_us: i64,
    pub(super) least_us: Option<i64>,
    /// The lowest and the highest PTS.
    lowest_us: i64,
    highest_us: i64,
    /// Times of arrival, and the highest PTS by then, within [`QUIET_US`] and one before.
    history: VecDeque<(i64, i64)>,
}

impl Burst {
    /// A burst that has not begun.
    pub(super) fn new(begins_clock: bool) -> Self {
        Self { begins_clock, ..Self::default() }
    }

    pub(super) fn observe(&mut self, now: i64, pts_us: i64) {
        if self.least_us.is_none() {
            (self.since_us, self.lowest_us, self.highest_us) = (now, pts_us, pts_us);
        }
        let difference = now - pts_us;
        self.least_us = Some(self.least_us.map_or(difference, |least| least.min(difference)));
        self.lowest_us = self.lowest_us.min(pts_us);
        self.highest_us = self.highest_us.max(pts_us);
        self.history.push_back((now, self.highest_us));
        while self.history.get(1).is_some_and(|(time, _)| *time <= now - QUIET_US) {
            self.history.pop_front();
        }
    }

    pub(super) fn is_over(&self, now: i64) -> bool {
        let before = self.history.iter().take_while(|(time, _)| *time <= now - QUIET_US).last();
        before.is_some_and(|(_, highest)| self.highest_us - highest <= MAX_PROGRESS_US)
    }

    pub(super) fn is_too_fast(&self, now: i64) -> bool {
        self.highest_us - self.lowest_us - (now - self.since_us) > MAX_BURST_US
    }
}

/// The least difference of arrival and PTS in about the last minute.
#[derive(Debug, Default)]
pub(super) struct LeastDifference(VecDeque<(i64, i64)>);

impl LeastDifference {
    pub(super) fn observe(&mut self, now: i64, difference_us: i64) {
        let part = now.div_euclid(PART_US);
        match self.0.back_mut() {
            Some((newest, least)) if *newest == part => *least = difference_us.min(*least),
            _ => self.0.push_back((part, difference_us)),
        }
        while self.0.front().is_some_and(|(first, _)| part - first >= PARTS) {
            self.0.pop_front();
        }
    }

    pub(super) fn get(&self) -> Option<i64> {
        self.0.iter().map(|(_, least)| *least).min()
    }
}

/// Whether the source's clock moves on.
#[derive(Debug, Default)]
pub(super) struct Progress {
    since: Option<(i64, i64)>,
    frames: u32,
    last: Option<i64>,
    crawling: u32,
}

impl Progress {
    pub(super) fn is_frozen(&mut self, now: i64, dts_us: i64) -> bool {
        let crawls = self.last.replace(dts_us).is_some_and(|last| (dts_us - last).abs() <= CRAWL_US);
        self.crawling = if crawls { self.crawling + 1 } else { 0 };
        if self.crawling >= CRAWLING_FRAMES {
            return true;
        }
        match self.since {
            Some((since, dts)) if (dts_us - dts).abs() < MIN_PROGRESS_US => {
                self.frames += 1;
                self.frames >= FROZEN_FRAMES && now - since > FROZEN_US
            }
            _ => {
                (self.since, self.frames) = (Some((now, dts_us)), 0);
                false
            }
        }
    }
}
