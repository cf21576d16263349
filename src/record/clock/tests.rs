use super::*;
use crate::mpegts::pes::Ticks;
use crate::record::listed::Anchor;

const SECOND: i64 = 1_000_000;
const FRAME: i64 = 40_000;
/// What the first PTS is before the wall clock.
const TRUTH: i64 = 1_000_000 * SECOND - 493 * SECOND;

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
            let times =
                FrameTimes { dts_90k: self.pts * 9 / 100, pts_90k: self.pts * 9 / 100, is_bridged: false };
            let step = self.clock.frame(self.received(), times);
            match step {
                Step::Break(None) => self.log.push("Break".to_owned()),
                Step::Break(Some(_)) | Step::Frozen => self.log.push(format!("{step:?}")),
                Step::Follow | Step::Hold => {}
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

    /// An HLS list is looked at. Its segments are so much later than those of a live source that has no delay.
    fn look(&mut self, late: i64) {
        let anchor = Anchor {
            pts: Ticks::new(self.pts * 9 / 100),
            time: Timestamp::from_micros(self.pts + TRUTH - late),
            before_us: 20 * SECOND,
            after_us: None,
        };
        self.clock.set_listed(Some(ListedTimes { anchors: vec![anchor], longest_us: 2 * SECOND }));
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
        self.log.push(format!("{what} {}", (offset_us - TRUTH) / 1000));
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
        "a network that loses more and more frames, and then 3 s",
        |s| {
            s.send(4 * SECOND, 4 * SECOND);
            for lost in [SECOND * 9 / 10, 3 * SECOND] {
                s.wait(lost);
                s.pts += lost;
                s.send(FRAME, FRAME);
            }
            s.send(4 * SECOND, 4 * SECOND);
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

/// The same for lists that give times.
const LISTED: &[Row] = &[
    (
        "sound is before the first picture, and segments of 2 s arrive early and late",
        |s| {
            s.look(300 * SECOND);
            s.decide();
            s.send(6 * SECOND, SECOND / 10);
            for late in [5, 25, 0, 0] {
                s.wait(SECOND * 8 / 5 + late * SECOND / 10);
                s.send(2 * SECOND, SECOND / 10);
            }
        },
        &["new -300000", "Same", "Same", "Same", "Same"],
    ),
    (
        "a finished list comes at once",
        |s| {
            s.look(1000 * SECOND);
            s.send(900 * SECOND, SECOND);
        },
        &["new -1000000"],
    ),
    (
        "the source's clock jumps",
        |s| {
            s.look(300 * SECOND);
            s.send(4 * SECOND, 4 * SECOND);
            s.pts += 5000 * SECOND;
            s.send(2 * SECOND, 2 * SECOND);
            s.look(5297 * SECOND);
            s.send(2 * SECOND, 2 * SECOND);
        },
        &["new -300000", "Break", "new -5297000"],
    ),
    (
        "frames are lost",
        |s| {
            s.look(300 * SECOND);
            s.send(4 * SECOND, 4 * SECOND);
            s.wait(4 * SECOND);
            s.pts += 4 * SECOND;
            s.send(SECOND, SECOND);
            s.look(300 * SECOND);
            s.send(SECOND, SECOND);
        },
        &["new -300000", "Break", "Same"],
    ),
    (
        "the source pauses, and its clock with it",
        |s| {
            s.look(300 * SECOND);
            s.send(4 * SECOND, 4 * SECOND);
            s.wait(20 * SECOND);
            s.send(SECOND, SECOND);
            s.look(280 * SECOND);
            s.send(20 * SECOND, 20 * SECOND);
        },
        &["new -300000", "new -280000"],
    ),
    (
        "the list is late, and its times are the same",
        |s| {
            s.look(300 * SECOND);
            s.send(4 * SECOND, 4 * SECOND);
            s.wait(20 * SECOND);
            for _ in 0..DOUBTS {
                s.send(SECOND, SECOND);
                assert!(s.clock.is_holding());
                s.look(300 * SECOND);
            }
            s.send(20 * SECOND, 20 * SECOND);
        },
        &["new -300000", "Same"],
    ),
    (
        "the list has the old time for the segment in which the source pauses, and its clock with it",
        |s| {
            s.look(300 * SECOND);
            s.send(4 * SECOND, 4 * SECOND);
            s.wait(20 * SECOND);
            s.send(SECOND, SECOND);
            s.look(300 * SECOND);
            s.send(2 * SECOND, 2 * SECOND);
            assert_eq!(s.clock.list_need(), ListNeed::Awaited);
            s.look(280 * SECOND);
            assert_eq!(s.clock.list_need(), ListNeed::Known);
            s.send(4 * SECOND, 4 * SECOND);
        },
        &["new -300000", "new -280000"],
    ),
    (
        "a list that cannot be read behind a jump",
        |s| {
            s.look(300 * SECOND);
            s.send(4 * SECOND, 4 * SECOND);
            s.pts += 5000 * SECOND;
            s.send(SECOND, SECOND);
            s.clock.set_listed(None);
            s.send(4 * SECOND, 4 * SECOND);
            s.look(5300 * SECOND);
            s.send(4 * SECOND, 4 * SECOND);
        },
        &["new -300000", "Break", "new -4999960", "corrected -5300000"],
    ),
    (
        "the list is looked at now and then, once in vain, and its clock is set",
        |s| {
            s.look(300 * SECOND);
            s.send(2 * SECOND, 2 * SECOND);
            s.look(300 * SECOND + 1500);
            s.send(2 * SECOND, 2 * SECOND);
            s.look(299 * SECOND + SECOND / 2);
            s.send(4 * SECOND, 4 * SECOND);
            s.clock.set_listed(None);
            s.send(2 * SECOND, 2 * SECOND);
            s.look(200 * SECOND);
            s.send(2 * SECOND, 2 * SECOND);
        },
        &["new -300000", "slew 1000", "slew 1000", "slew 1000", "corrected -200000"],
    ),
    (
        "times in the future",
        |s| {
            s.look(-100 * SECOND);
            s.send(4 * SECOND, 4 * SECOND);
            s.look(-100 * SECOND);
            s.send(4 * SECOND, 4 * SECOND);
        },
        &["new 40"],
    ),
    (
        "the clock of this machine is set",
        |s| {
            s.look(300 * SECOND);
            s.send(4 * SECOND, 4 * SECOND);
            s.skew += 50 * SECOND;
            s.send(4 * SECOND, 4 * SECOND);
        },
        &["new -300000"],
    ),
];

#[test]
fn runs_begin_where_the_clocks_disagree() {
    for (what, act, expected) in CASES.iter().chain(LISTED) {
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
    let slews: Vec<i64> = simulation.log[1..].iter().map(|line| line[5..].parse().expect("a slew")).collect();
    assert!(slews.iter().all(|slew| (1..=1000).contains(slew)), "{slews:?}");
    let total: i64 = slews.iter().sum();
    assert!((70_000..=90_000).contains(&total), "{total}");
}

#[test]
fn a_clock_that_stands_still_is_found() {
    // By how many ticks the clock moves with each frame, and at which frame that is found.
    for (step, expected) in [(0, 10), (1, 10), (120, 76), (1000, 200)] {
        let mut clock = RunClock::new(false);
        let frozen = (0..200).find(|frame| {
            let now = frame * FRAME;
            let received = ReceiveTime { monotonic_us: now, wall: Timestamp::from_micros(now) };
            let times = FrameTimes { dts_90k: frame * step, pts_90k: frame * step, is_bridged: false };
            clock.frame(received, times) == Step::Frozen
        });
        assert_eq!(frozen.unwrap_or(200), expected, "{step}");
    }
}

#[test]
fn sound_whose_clock_stands_still_while_no_picture_comes_is_found() {
    // By how much it moves with each frame, and after how many frames a picture comes.
    for (step_us, picture, expected) in [(11, 100, true), (21_333, 100, false), (11, 8, false)] {
        let mut clock = RunClock::new(false);
        let is_frozen = (0..100).any(|frame| {
            let now = frame * 21_333;
            let received = ReceiveTime { monotonic_us: now, wall: Timestamp::from_micros(now) };
            if frame % picture == 0 {
                let time_90k = frame * 1920;
                clock.frame(received, FrameTimes { dts_90k: time_90k, pts_90k: time_90k, is_bridged: false });
            }
            clock.other_frame(received, frame * step_us)
        });
        assert_eq!(is_frozen, expected, "{step_us} {picture}");
    }
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
    assert_eq!(step(90 * SECOND, 9 * SECOND, false), Step::Break(None));
}
