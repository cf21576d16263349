//! From a source's clock to the wall clock. Pure: times of arrival and PTS come in as values.
//!
//! No frame is captured after it arrives, so what lies between a PTS and the wall clock is at most the least difference of
//! a time of arrival and a PTS. While a source delivers faster than real time (an RTMP server's cached pictures, an HLS
//! list's backlog, what a network held back), arrivals say too little, and frames are held until the burst is over.

use std::collections::VecDeque;

use crate::timestamp::Timestamp;

/// A run begins anew where its clock and the wall clock differ by more than this; and shorter gaps are no jumps.
const TOLERANCE_US: i64 = 1_000_000;
/// How long nothing may arrive before what comes next may be a burst.
const PAUSE_US: i64 = 1_500_000;
/// A burst is over when in this time frames of no more than [`MAX_PROGRESS_US`] arrive.
const QUIET_US: i64 = 1_000_000;
const MAX_PROGRESS_US: i64 = 1_200_000;
/// How much more than real time a burst may be. Beyond that the source is a file.
const MAX_BURST_US: i64 = 120_000_000;
/// By how much names move towards the wall clock at a segment, at most.
const MAX_SLEW_US: i64 = 1000;
/// Smaller differences from the wall clock are taken for noise.
const NOISE_US: i64 = 5000;
/// The least difference is that of the last minute, in parts of five seconds.
const PART_US: i64 = 5_000_000;
const PARTS: i64 = 12;
/// A clock is frozen if in this time, and over so many frames, it moves on by less than [`MIN_PROGRESS_US`].
const FROZEN_US: i64 = 3_000_000;
const FROZEN_FRAMES: u32 = 50;
const MIN_PROGRESS_US: i64 = 200_000;
/// The distance of two frames that is a gap, before two frames were seen.
const FIRST_GAP_US: i64 = 10_000_000;

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
    /// The same, and there is a gap or a jump of the source's clock before it.
    Break,
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

/// Microseconds in `ticks` of 90 kHz.
pub(super) fn to_us(ticks_90k: i64) -> i64 {
    (ticks_90k * 100).div_euclid(9)
}

/// The clock of the current run.
#[derive(Debug)]
pub(super) struct RunClock {
    /// Whether times are given, not measured: neither bursts nor the wall clock count.
    is_given: bool,
    /// The burst that is being held.
    burst: Option<Burst>,
    /// What the PTS of the run are before the wall clock; `None` where the next run is another one in any case.
    offset_us: Option<i64>,
    least: LeastDifference,
    last: Option<LastFrame>,
    progress: Progress,
    /// Wall clock less monotonic clock, at the last arrival.
    skew_us: i64,
}

#[derive(Debug, Clone, Copy)]
#[allow(clippy::struct_field_names, reason = "numbers have their unit in their names")]
struct LastFrame {
    monotonic_us: i64,
    dts_us: i64,
    /// The distance of the last two frames that have no gap between them.
    delta_us: Option<i64>,
}

impl RunClock {
    /// The clock of a source that is live, or of one whose times are given.
    pub(super) fn new(is_given: bool) -> Self {
        Self {
            is_given,
            burst: (!is_given).then(Burst::default),
            offset_us: None,
            least: LeastDifference::default(),
            last: None,
            progress: Progress::default(),
            skew_us: 0,
        }
    }

    /// Whether frames are held at the moment.
    pub(super) fn is_holding(&self) -> bool {
        self.burst.is_some()
    }

    /// Takes the next frame of the reference stream.
    pub(super) fn frame(&mut self, received: ReceiveTime, frame: FrameTimes) -> Step {
        let (now, dts_us, pts_us) = (received.monotonic_us, to_us(frame.dts_90k), to_us(frame.pts_90k));
        self.skew_us = received.wall.micros() - now;
        let last = self.last;
        let delta_us = last.map(|last| dts_us - last.dts_us);
        let usual_us = last.and_then(|last| last.delta_us);
        let gap_us = usual_us.map_or(FIRST_GAP_US, |usual| TOLERANCE_US + 2 * usual);
        let is_break = delta_us.is_some_and(|delta| delta < 0 || delta > gap_us && !frame.is_bridged);
        let delta_us = if is_break { usual_us } else { delta_us };
        self.last = Some(LastFrame { monotonic_us: now, dts_us, delta_us });
        if self.is_given {
            return if is_break { Step::Break } else { Step::Follow };
        }
        if self.progress.is_frozen(now, dts_us) {
            return Step::Frozen;
        }
        let is_pause = last.is_some_and(|last| now - last.monotonic_us > PAUSE_US);
        if is_break || is_pause && self.burst.is_none() {
            self.burst = Some(Burst::default());
        }
        match &mut self.burst {
            Some(burst) => burst.observe(now, pts_us),
            None => self.least.observe(now, now - pts_us),
        }
        match (is_break, self.burst.is_some()) {
            (true, _) => Step::Break,
            (false, true) => Step::Hold,
            (false, false) => Step::Follow,
        }
    }

    /// Whether the held frames can be released at this time; `None` if they stay.
    pub(super) fn decide(&mut self, now: ReceiveTime) -> Option<Decision> {
        let burst = self.burst.as_ref()?;
        let is_too_fast = burst.is_too_fast(now.monotonic_us);
        if is_too_fast || burst.is_over(now.monotonic_us) { self.release(is_too_fast) } else { None }
    }

    /// Decides at once, because the source has ended or there is no more memory; `None` if nothing was held.
    pub(super) fn release(&mut self, is_too_fast: bool) -> Option<Decision> {
        let burst = self.burst.take()?;
        let least_us = burst.least_us?;
        let offset_us = least_us + self.skew_us;
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

    /// Notes that a run has begun, whose PTS are so far before the wall clock.
    pub(super) fn begin_run(&mut self, offset_us: i64) {
        self.offset_us = Some(offset_us);
    }

    /// Compares the run with the wall clock, where a segment ends and another begins.
    pub(super) fn correct(&mut self) -> Correction {
        let (Some(known), Some(least_us), false) = (self.offset_us, self.least.get(), self.is_given) else {
            return Correction::Slew(0);
        };
        let offset_us = least_us + self.skew_us;
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

/// Frames that may come faster than real time.
#[derive(Debug, Default)]
struct Burst {
    since_us: i64,
    least_us: Option<i64>,
    /// The lowest and the highest PTS.
    lowest_us: i64,
    highest_us: i64,
    /// Times of arrival, and the highest PTS by then, within [`QUIET_US`] and one before.
    history: VecDeque<(i64, i64)>,
}

impl Burst {
    fn observe(&mut self, now: i64, pts_us: i64) {
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

    fn is_over(&self, now: i64) -> bool {
        let before = self.history.iter().take_while(|(time, _)| *time <= now - QUIET_US).last();
        before.is_some_and(|(_, highest)| self.highest_us - highest <= MAX_PROGRESS_US)
    }

    fn is_too_fast(&self, now: i64) -> bool {
        self.highest_us - self.lowest_us - (now - self.since_us) > MAX_BURST_US
    }
}

/// The least difference of arrival and PTS in about the last minute.
#[derive(Debug, Default)]
struct LeastDifference(VecDeque<(i64, i64)>);

impl LeastDifference {
    fn observe(&mut self, now: i64, difference_us: i64) {
        let part = now.div_euclid(PART_US);
        match self.0.back_mut() {
            Some((newest, least)) if *newest == part => *least = difference_us.min(*least),
            _ => self.0.push_back((part, difference_us)),
        }
        while self.0.front().is_some_and(|(first, _)| part - first >= PARTS) {
            self.0.pop_front();
        }
    }

    fn get(&self) -> Option<i64> {
        self.0.iter().map(|(_, least)| *least).min()
    }
}

/// Whether the source's clock moves on.
#[derive(Debug, Default)]
struct Progress {
    since: Option<(i64, i64)>,
    frames: u32,
}

impl Progress {
    fn is_frozen(&mut self, now: i64, dts_us: i64) -> bool {
        match self.since {
            Some((since, dts)) if (dts_us - dts).abs() < MIN_PROGRESS_US => {
                self.frames += 1;
                self.frames >= FROZEN_FRAMES && now - since > FROZEN_US
            }
            _ => {
                *self = Self { since: Some((now, dts_us)), frames: 0 };
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;
    const FRAME: i64 = 40_000;

    /// A source that sends 25 frames a second, and the clocks around it.
    struct Simulation {
        clock: RunClock,
        /// The monotonic clock.
        now: i64,
        /// What the wall clock is ahead of it.
        skew: i64,
        /// The PTS of the next frame.
        pts: i64,
        log: Vec<String>,
    }

    impl Simulation {
        fn new() -> Self {
            let clock = RunClock::new(false);
            Self { clock, now: 7 * SECOND, skew: 1_000_000 * SECOND, pts: 500 * SECOND, log: Vec::new() }
        }

        fn received(&self) -> ReceiveTime {
            ReceiveTime { monotonic_us: self.now, wall: Timestamp::from_micros(self.now + self.skew) }
        }

        /// Frames of `media` microseconds arrive within `time`. Segments are cut every two seconds.
        fn send(&mut self, media: i64, time: i64) {
            let count = media / FRAME;
            for frame in 0..count {
                self.now += time / count;
                let times = FrameTimes {
                    dts_90k: self.pts * 9 / 100,
                    pts_90k: self.pts * 9 / 100,
                    is_bridged: false,
                };
                let step = self.clock.frame(self.received(), times);
                if matches!(step, Step::Break | Step::Frozen) {
                    self.log.push(format!("{step:?}"));
                }
                self.decide();
                if frame % 50 == 49 && !self.clock.is_holding() {
                    match self.clock.correct() {
                        Correction::Slew(0) => {}
                        Correction::Slew(us) => self.log.push(format!("slew {us}")),
                        Correction::NewRun { offset_us } => self.begin("corrected", offset_us),
                    }
                }
                self.pts += FRAME;
            }
        }

        fn wait(&mut self, time: i64) {
            for _ in 0..time / 100_000 {
                self.now += 100_000;
                self.clock.look(self.received());
                self.decide();
            }
        }

        fn decide(&mut self) {
            match self.clock.decide(self.received()) {
                Some(Decision::NewRun { offset_us }) => self.begin("new", offset_us),
                Some(decision) => self.log.push(format!("{decision:?}")),
                None => {}
            }
        }

        fn begin(&mut self, what: &str, offset_us: i64) {
            // How late the names are, in milliseconds, for a source whose first frame was captured when it arrived.
            let truth = 1_000_000 * SECOND - 493 * SECOND;
            self.log.push(format!("{what} {}", (offset_us - truth) / 1000));
            self.clock.begin_run(offset_us);
        }
    }

    type Row = (&'static str, fn(&mut Simulation), &'static [&'static str]);

    /// What happens, and where runs begin: how late their names are, in milliseconds.
    const CASES: &[Row] = &[
        ("a live source", |s| s.send(30 * SECOND, 30 * SECOND), &["new 40"]),
        (
            "the cached pictures of an RTMP server come first",
            |s| {
                s.send(4 * SECOND, SECOND / 10);
                s.send(30 * SECOND, 30 * SECOND);
            },
            // The newest of them was captured just now.
            &["new -3860"],
        ),
        (
            "an HLS list: a backlog of 18 s, then 6 s every 6 s",
            |s| {
                s.send(18 * SECOND, SECOND);
                for _ in 0..5 {
                    s.wait(11 * SECOND / 2);
                    s.send(6 * SECOND, SECOND / 2);
                }
                s.wait(2 * SECOND);
            },
            &["new -16960", "Same", "Same", "Same", "Same", "Same"],
        ),
        (
            "a pause of 20 s in which the source's clock stands still",
            |s| {
                s.send(4 * SECOND, 4 * SECOND);
                s.wait(20 * SECOND);
                s.send(10 * SECOND, 10 * SECOND);
            },
            &["new 40", "new 20040"],
        ),
        (
            "a network that holds frames back for 5 s, and delivers them then",
            |s| {
                s.send(4 * SECOND, 4 * SECOND);
                s.wait(5 * SECOND);
                s.send(5 * SECOND, SECOND / 10);
                s.send(10 * SECOND, 10 * SECOND);
            },
            &["new 40", "Same"],
        ),
        (
            "a network that loses 5 s",
            |s| {
                s.send(4 * SECOND, 4 * SECOND);
                s.wait(5 * SECOND);
                s.pts += 5 * SECOND;
                s.send(10 * SECOND, 10 * SECOND);
            },
            &["new 40", "Break", "Same"],
        ),
        (
            "a source whose clock jumps forward",
            |s| {
                s.send(4 * SECOND, 4 * SECOND);
                s.pts += 5000 * SECOND;
                s.send(10 * SECOND, 10 * SECOND);
            },
            &["new 40", "Break", "new -4999960"],
        ),
        (
            "a source whose clock jumps back",
            |s| {
                s.send(4 * SECOND, 4 * SECOND);
                s.pts -= 400 * SECOND;
                s.send(10 * SECOND, 10 * SECOND);
            },
            &["new 40", "Break", "new 400040"],
        ),
        (
            "a wall clock that is set by 5 s",
            |s| {
                s.send(4 * SECOND, 4 * SECOND);
                s.skew += 5 * SECOND;
                s.send(4 * SECOND, 4 * SECOND);
            },
            &["new 40", "corrected 5040"],
        ),
        (
            "a wall clock that is set back by 0.1 s",
            |s| {
                s.send(4 * SECOND, 4 * SECOND);
                s.skew -= SECOND / 10;
                s.send(4 * SECOND, 4 * SECOND);
            },
            &["new 40", "slew -1000", "slew -1000"],
        ),
        (
            "delays that come and go",
            |s| {
                for _ in 0..20 {
                    s.send(3 * SECOND, 3 * SECOND);
                    s.wait(SECOND * 9 / 10);
                    s.send(SECOND, SECOND / 10);
                }
            },
            &["new 40"],
        ),
        ("a file", |s| s.send(200 * SECOND, 10 * SECOND), &["TooFast"]),
        (
            "a source that is opened again",
            |s| {
                s.send(4 * SECOND, 4 * SECOND);
                s.wait(3 * SECOND);
                s.clock.reopen();
                s.pts = 0;
                s.send(4 * SECOND, 4 * SECOND);
            },
            &["new 40", "new 507040"],
        ),
    ];

    #[test]
    fn runs_begin_where_the_clocks_disagree() {
        for (what, act, expected) in CASES {
            let mut simulation = Simulation::new();
            act(&mut simulation);
            assert_eq!(simulation.log, *expected, "{what}");
        }
    }

    #[test]
    fn names_follow_a_clock_that_drifts_by_at_most_a_millisecond_a_segment() {
        let mut simulation = Simulation::new();
        // 100 ppm too slow: 0.2 ms a segment.
        simulation.send(900 * SECOND, 900 * SECOND + SECOND * 9 / 100);
        let slews: Vec<i64> =
            simulation.log[1..].iter().map(|line| line[5..].parse().expect("a slew")).collect();
        assert!(slews.iter().all(|slew| (1..=1000).contains(slew)), "{slews:?}");
        let total: i64 = slews.iter().sum();
        assert!((70_000..=90_000).contains(&total), "{total}");
    }

    #[test]
    fn a_clock_that_stands_still_is_found() {
        let mut clock = RunClock::new(false);
        let frozen = (0..200).find(|frame| {
            let now = frame * FRAME;
            let received = ReceiveTime { monotonic_us: now, wall: Timestamp::from_micros(now) };
            let times = FrameTimes { dts_90k: *frame, pts_90k: *frame, is_bridged: false };
            clock.frame(received, times) == Step::Frozen
        });
        assert_eq!(frozen, Some(76));
    }

    #[test]
    fn given_times_have_gaps_but_no_bursts() {
        let mut clock = RunClock::new(true);
        let mut step = |time_us: i64, pts_us: i64, is_bridged: bool| {
            let received = ReceiveTime { monotonic_us: time_us, wall: Timestamp::from_micros(time_us) };
            let pts_90k = pts_us * 9 / 100;
            clock.frame(received, FrameTimes { dts_90k: pts_90k, pts_90k, is_bridged })
        };
        assert_eq!(step(0, 0, false), Step::Follow);
        assert_eq!(step(0, FRAME, false), Step::Follow);
        assert_eq!(step(90 * SECOND, 2 * FRAME, false), Step::Follow);
        assert_eq!(step(90 * SECOND, 4 * SECOND, true), Step::Follow);
        assert_eq!(step(90 * SECOND, 4 * SECOND + FRAME, false), Step::Follow);
        assert_eq!(step(90 * SECOND, 9 * SECOND, false), Step::Break);
    }
}
