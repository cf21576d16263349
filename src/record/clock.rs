//! From a source's clock to the wall clock. Pure: times of arrival and PTS come in as values.
//!
//! No frame is captured after it arrives, so what lies between a PTS and the wall clock is at most the least difference of
//! a time of arrival and a PTS. While a source delivers faster than real time (an RTMP server's cached pictures, an HLS
//! list's backlog, what a network held back), arrivals say too little, and frames are held until the burst is over.
//!
//! Where an HLS list gives times, they count instead, and arrivals only show when to look at the list again.

mod timing;

use timing::{Burst, LeastDifference, Progress};

use super::listed::{ListNeed, Listed, ListedTimes};
use crate::mpegts::pes::to_us;
use crate::timestamp::Timestamp;

/// A run begins anew where its clock and the wall clock differ by more than this; and shorter gaps are no jumps.
const TOLERANCE_US: i64 = 1_000_000;
/// How long nothing may arrive before what comes next may be a burst.
const PAUSE_US: i64 = 1_500_000;
/// By how much names move towards the wall clock at a segment, at most.
const MAX_SLEW_US: i64 = 1000;
/// Smaller differences from the wall clock are taken for noise.
const NOISE_US: i64 = 5000;
/// Frames are taken for no closer than this.
const MIN_DELTA_US: i64 = 10_000;
/// The distance of two frames that is a gap, before two frames were seen.
const FIRST_GAP_US: i64 = 10_000_000;
/// How often frames that are late wait for a look at the list, if it does not say why.
const DOUBTS: u8 = 4;

/// When something arrived, on a clock that is never set and on the wall clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReceiveTime {
    /// Microseconds of a monotonic clock.
    pub(super) monotonic_us: i64,
    /// The wall clock at the same time.
    pub(super) wall: Timestamp,
}

/// The times of a frame on the source's clock, across its wraps, in ticks of 90 kHz.
#[derive(Debug, Clone, Copy)]
pub(super) struct FrameTimes {
    /// When it is decoded.
    pub(super) dts_90k: i64,
    /// When it is shown.
    pub(super) pts_90k: i64,
    /// Whether frames of another stream lie between it and the last one, so that there is no gap.
    pub(super) is_bridged: bool,
}

/// What a frame shows about the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing new.
    Follow,
    /// It may be the first one of a burst: it, and all that follows, is held until [`RunClock::decide`] says more.
    Hold,
    /// The same, and there is a gap or a jump of the source's clock before it. So what is held already must be decided on now;
    /// `None` if nothing is, or when it was captured cannot be known any more.
    Break(Option<Decision>),
    /// The source's clock stands still while frames arrive: the source must be opened again.
    Frozen,
}

/// What becomes of frames that were held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// Their clock is that of the frames before.
    Same,
    /// They are a new run.
    NewRun {
        /// What their PTS, in microseconds, are before the wall clock.
        offset_us: i64,
    },
    /// They come too fast for a live source.
    TooFast,
}

/// What a cut between two segments does to the names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Correction {
    /// They move by so many microseconds.
    Slew(i64),
    /// A new run begins; see [`Decision::NewRun`].
    NewRun {
        /// What PTS, in microseconds, are before the wall clock.
        offset_us: i64,
    },
}

/// The clock of the current run.
#[derive(Debug)]
pub(super) struct RunClock {
    /// Whether times are given, not measured: neither bursts nor the wall clock count.
    is_given: bool,
    /// The times of an HLS list, if they count.
    listed: Option<Listed>,
    /// The burst that is being held.
    burst: Option<Burst>,
    /// What the PTS of the run are before the wall clock; `None` where the next run is another one in any case.
    offset_us: Option<i64>,
    least: LeastDifference,
    last: Option<LastFrame>,
    progress: Progress,
    /// That of another stream since the last frame of the reference stream.
    other: Progress,
    /// Wall clock less monotonic clock, at the last arrival.
    skew_us: i64,
}

#[derive(Debug, Clone, Copy)]
#[allow(clippy::struct_field_names, reason = "numbers have their unit in their names")]
struct LastFrame {
    monotonic_us: i64,
    pts_90k: i64,
    dts_us: i64,
    /// The distance of the last two frames that have no gap between them.
    delta_us: Option<i64>,
}

impl RunClock {
    /// The clock of a source that is live, or of one whose times are given.
    pub(super) fn new(is_given: bool) -> Self {
        Self {
            is_given,
            listed: None,
            burst: (!is_given).then(Burst::default),
            offset_us: None,
            least: LeastDifference::default(),
            last: None,
            progress: Progress::default(),
            other: Progress::default(),
            skew_us: 0,
        }
    }

    /// Takes what an HLS list tells about times; `None` if it could not be looked at. From then on its times count.
    pub(super) fn set_listed(&mut self, times: Option<ListedTimes>) {
        let last = self.last;
        let listed = self.listed.get_or_insert_default();
        listed.doubts = listed.doubts.saturating_sub(1);
        if let Some(times) = times {
            let found = last.and_then(|last| times.offset_us(last.pts_90k));
            listed.offset_us = found.or(listed.offset_us);
            listed.times = Some(times);
            let is_other =
                |offset_us: i64| (offset_us - self.offset_us.unwrap_or(offset_us)).abs() > TOLERANCE_US;
            if found.is_some_and(is_other) {
                listed.doubts = 0;
            }
        }
        listed.need = if listed.doubts > 0 { ListNeed::Awaited } else { ListNeed::Known };
        if self.burst.is_some() {
            self.least = LeastDifference::default();
        }
    }

    /// Whether an HLS list must be looked at.
    pub(super) fn list_need(&self) -> ListNeed {
        self.listed.as_ref().map_or(ListNeed::Unused, |listed| listed.need)
    }

    /// Whether frames are held at the moment.
    pub(super) fn is_holding(&self) -> bool {
        self.burst.is_some()
    }

    /// Takes the next frame of the reference stream.
    pub(super) fn frame(&mut self, received: ReceiveTime, frame: FrameTimes) -> Step {
        let (now, dts_us, pts_us) = (received.monotonic_us, to_us(frame.dts_90k), to_us(frame.pts_90k));
        self.skew_us = received.wall.micros() - now;
        self.other = Progress::default();
        let last = self.last;
        let delta_us = last.map(|last| dts_us - last.dts_us);
        let usual_us = last.and_then(|last| last.delta_us);
        let gap_us = usual_us.map_or(FIRST_GAP_US, |usual| TOLERANCE_US + 2 * usual);
        let is_break = delta_us.is_some_and(|delta| delta < 0 || delta > gap_us && !frame.is_bridged);
        // Frames that were lost one by one do not make a gap usual.
        let most_us = usual_us.map_or(i64::MAX, |usual| (2 * usual).max(MIN_DELTA_US));
        let delta_us = if is_break { usual_us } else { delta_us.map(|delta| delta.min(most_us)) };
        let held = if is_break { self.decide_before_break() } else { None };
        self.last = Some(LastFrame { monotonic_us: now, pts_90k: frame.pts_90k, dts_us, delta_us });
        if self.is_given {
            return if is_break { Step::Break(None) } else { Step::Follow };
        }
        if self.progress.is_frozen(now, dts_us) {
            return Step::Frozen;
        }
        let is_pause = last.is_some_and(|last| now - last.monotonic_us > PAUSE_US);
        if is_break || is_pause && self.burst.is_none() {
            self.burst = Some(Burst::new(is_break));
        }
        if is_break {
            self.await_list();
        }
        match &mut self.burst {
            Some(burst) => burst.observe(now, pts_us),
            None => self.least.observe(now, now - pts_us),
        }
        match (is_break, self.burst.is_some()) {
            (true, _) => Step::Break(held),
            (false, true) => Step::Hold,
            (false, false) => Step::Follow,
        }
    }

    /// Takes the next frame of another stream; returns whether its clock stands still while no frame of the reference
    /// stream arrives. ffmpeg holds pictures back until the sound has come as far: for hours, if its clock was set back.
    pub(super) fn other_frame(&mut self, received: ReceiveTime, pts_us: i64) -> bool {
        self.other.is_frozen(received.monotonic_us, pts_us) && !self.is_given
    }

    /// What becomes of the frames that are held, if some are, now that those behind them belong to another run.
    fn decide_before_break(&mut self) -> Option<Decision> {
        self.offset_us?;
        match (self.burst.as_ref()?.begins_clock, self.list_need()) {
            (false, _) => Some(Decision::Same),
            (true, ListNeed::Awaited) => None,
            (true, _) => self.release(false),
        }
    }

    /// Holds frames until the list was looked at again, if its times count.
    fn await_list(&mut self) {
        if let Some(listed) = self.listed.as_mut().filter(|listed| listed.need != ListNeed::Future) {
            *listed = Listed { need: ListNeed::Awaited, ..Listed::default() };
        }
    }

    /// Whether the held frames can be released at this time; `None` if they stay.
    pub(super) fn decide(&mut self, now: ReceiveTime) -> Option<Decision> {
        let burst = self.burst.as_ref()?;
        let least_us = burst.least_us?;
        match &self.listed {
            Some(Listed { need: ListNeed::Awaited, .. }) => return None,
            Some(Listed { times: Some(times), need: ListNeed::Known, .. }) => {
                // The first frame of a segment arrives later than the last one, by the length of the segment.
                let late_us = self.least.get().map_or(0, |before| least_us - before);
                if late_us <= 2 * times.longest_us + TOLERANCE_US {
                    return self.release(false);
                }
                // The source may have paused, and its clock with it. The segment in which it has tells that only by the time
                // of the next one.
                if let Some(listed) = &mut self.listed {
                    (listed.need, listed.doubts) = (ListNeed::Awaited, DOUBTS);
                }
                return None;
            }
            _ => {}
        }
        let is_too_fast = burst.is_too_fast(now.monotonic_us);
        if is_too_fast || burst.is_over(now.monotonic_us) { self.release(is_too_fast) } else { None }
    }

    /// Decides at once, because the source has ended or there is no more memory; `None` if nothing was held.
    pub(super) fn release(&mut self, is_too_fast: bool) -> Option<Decision> {
        let burst = self.burst.take()?;
        let least_us = burst.least_us?;
        let received_us = least_us + self.skew_us;
        let listed_us = self.listed_us(received_us);
        let offset_us = listed_us.unwrap_or(received_us);
        let is_too_fast = is_too_fast && listed_us.is_none() && self.list_need() != ListNeed::Awaited;
        Some(match self.offset_us {
            // By the clock of the run before they are not in the future: the source is catching up.
            Some(_) if is_too_fast => Decision::Same,
            Some(known) if (offset_us - known).abs() <= TOLERANCE_US => Decision::Same,
            None if is_too_fast => Decision::TooFast,
            _ => {
                self.least = LeastDifference::default();
                self.least.observe(burst.since_us, least_us);
                Decision::NewRun { offset_us }
            }
        })
    }

    /// What the PTS of the source's current clock are before the wall clock by the list; `None` if it does not tell, or
    /// tells the future, for by the times of arrival it is at most `received_us`.
    fn listed_us(&mut self, received_us: i64) -> Option<i64> {
        let listed = self.listed.as_mut()?;
        if listed.offset_us.is_none() {
            listed.offset_us =
                self.last.zip(listed.times.as_ref()).and_then(|(last, times)| times.offset_us(last.pts_90k));
        }
        let offset_us = listed.offset_us?;
        if offset_us > received_us + TOLERANCE_US {
            *listed = Listed { need: ListNeed::Future, ..Listed::default() };
            return None;
        }
        Some(offset_us)
    }

    /// Notes that a run has begun, whose PTS are so far before the wall clock.
    pub(super) fn begin_run(&mut self, offset_us: i64) {
        self.offset_us = Some(offset_us);
    }

    /// Compares the run with the wall clock, where a segment ends and another begins.
    pub(super) fn correct(&mut self) -> Correction {
        let (Some(known), Some(least_us), false) = (self.offset_us, self.least.get(), self.is_given) else {
            return Correction::Slew(0);
        };
        let received_us = least_us + self.skew_us;
        let offset_us = self.listed_us(received_us).unwrap_or(received_us);
        let difference_us = offset_us - known;
        if difference_us.abs() > TOLERANCE_US {
            return Correction::NewRun { offset_us };
        }
        if difference_us.abs() <= NOISE_US {
            return Correction::Slew(0);
        }
        let slew_us = difference_us.clamp(-MAX_SLEW_US, MAX_SLEW_US);
        self.offset_us = Some(known + slew_us);
        Correction::Slew(slew_us)
    }

    /// Notes that the source was opened again: its clock has nothing to do with that before.
    pub(super) fn reopen(&mut self) {
        *self = Self::new(self.is_given);
    }

    /// Notes that the wall clock was looked at, which may have been set.
    pub(super) fn look(&mut self, now: ReceiveTime) {
        self.skew_us = now.wall.micros() - now.monotonic_us;
    }
}

#[cfg(test)]
mod tests;
