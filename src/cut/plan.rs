//! The plan of a cut, as data: which parts have a share in it, and where each lies on the clock of the output.
//!
//! Pure: what is known of the parts comes in as [`Facts`].

use crate::error::{Error, Result};
use crate::mpegts::pes::{TICKS_PER_SECOND, Ticks};
use crate::mpegts::probe::Program;
use crate::mpegts::retime::ClockMapping;
use crate::timestamp::{Span, Timestamp};

use super::Part;

/// By how much names and time stamps may disagree about the distance of two segments on one clock.
const CLOCK_TOLERANCE: i64 = TICKS_PER_SECOND / 4;

/// A cut, planned.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The parts that have a share in it; never empty.
    pub parts: Vec<Planned>,
    /// The segment behind the last part, of which nothing is shown: it can hold the sound of the last pictures.
    pub tail: Option<Planned>,
    /// What the first part holds: the streams of the output.
    pub program: Program,
    /// Where the first frame starts that is shown, in ticks of the output.
    pub start: i64,
    /// Where the last frame ends that is shown.
    pub end: i64,
    /// By how much the clock references of the first part lead, in ticks.
    pub lead_90k: i64,
}

/// A part of a cut, planned.
#[derive(Debug, Clone)]
pub struct Planned {
    /// The segment.
    pub part: Part,
    /// Its clock on that of the output.
    pub clock: ClockMapping,
    /// Whether its clock goes on from the part before, so that both are on one.
    pub joined: bool,
    /// The frames of it that are shown.
    pub window: Window,
    /// The usual length of a frame, in ticks.
    pub frame_90k: i64,
    /// The last of its frames that is shown, in ticks of the output, where that had to be found out.
    pub last: Option<i64>,
}

/// Which of a segment's frames a cut shows, by their time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// When the segment starts.
    pub segment: Timestamp,
    /// The lowest time stamp in it.
    pub lowest: Ticks,
    /// The first instant of the cut.
    pub start: Timestamp,
    /// The first instant behind the cut.
    pub end: Timestamp,
    /// The last frame of the part before, if frames up to it are there twice.
    pub after: Option<Timestamp>,
}

impl Plan {
    /// Part `index`, of which the tail is the last.
    pub fn part(&self, index: usize) -> Option<&Planned> {
        if index == self.parts.len() { self.tail.as_ref() } else { self.parts.get(index) }
    }
}

impl Window {
    /// When a frame is shown.
    pub fn time(&self, pts: Ticks) -> Timestamp {
        // A tick is 100/9 microseconds; halves cannot occur.
        self.segment + Span::from_micros((pts.since(self.lowest) * 200 + 9).div_euclid(18))
    }

    /// Whether the cut shows a frame.
    pub fn shows(&self, pts: Ticks) -> bool {
        let time = self.time(pts);
        self.start <= time && time < self.end && self.after.is_none_or(|after| time > after)
    }
}

/// What is known of a part.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The part.
    pub part: Part,
    /// The lowest time stamp of its frames.
    pub lowest: Ticks,
    /// The usual length of a frame, in ticks.
    pub frame_90k: i64,
    /// The time stamps of all frames that can be shown, sorted, where they had to be found out.
    pub frames: Option<Vec<Ticks>>,
}

impl Facts {
    /// Whether the part's clock goes on from that of `before`.
    pub fn joins(&self, before: &Self) -> bool {
        let named = ticks(self.part.start - before.part.start);
        let stamped = self.lowest.since(before.lowest);
        !self.part.hole_before && (named - stamped).abs() <= CLOCK_TOLERANCE
    }
}

/// A span in ticks of 90 kHz, rounded down.
fn ticks(span: Span) -> i64 {
    span.micros().saturating_mul(9).div_euclid(100)
}

/// Plans the cut from `start` to before `end`.
///
/// The frames of the first and the last part must be known, and of any beside a break of the clock. `at` is where the
/// first frame goes.
///
/// # Errors
/// [`Error::RangeIsEmpty`] if no part shows a frame.
pub fn plan(facts: Vec<Facts>, start: Timestamp, end: Timestamp, at: i64) -> Result<(Vec<Planned>, i64)> {
    let mut planned: Vec<Planned> = Vec::new();
    let mut before: Option<Facts> = None;
    for mut fact in facts {
        let joined = before.as_ref().is_some_and(|before| fact.joins(before));
        let mut window = Window { segment: fact.part.start, lowest: fact.lowest, start, end, after: None };
        if let (Some(before), Some(last)) = (before.as_ref(), planned.last()) {
            window.after = repeated(last, before, &fact, joined);
        }
        let frames = fact.frames.take();
        let mut shown = frames.iter().flatten().copied().filter(|pts| window.shows(*pts));
        let ends = shown.next().map(|first| (first, shown.next_back().unwrap_or(first)));
        if frames.is_some() && ends.is_none() {
            continue;
        }
        let clock = match planned.last() {
            Some(last) if joined => {
                ClockMapping { input: fact.lowest, output_90k: last.clock.to_output_90k(fact.lowest) }
            }
            Some(last) => {
                ClockMapping { input: ends.map_or(fact.lowest, |ends| ends.0), output_90k: follows(last) }
            }
            None => ClockMapping { input: ends.map_or(fact.lowest, |ends| ends.0), output_90k: at },
        };
        let last = ends.map(|ends| clock.to_output_90k(ends.1));
        planned.push(Planned {
            part: fact.part.clone(),
            clock,
            joined,
            window,
            frame_90k: fact.frame_90k,
            last,
        });
        fact.frames = frames;
        before = Some(fact);
    }
    let end = planned.last().map(follows).ok_or(Error::RangeIsEmpty)?;
    Ok((planned, end))
}

/// The plan of the segment behind the last part, if its clock goes on from there. The cut ends at `end` in the output.
pub fn tail(last: &Planned, tail: Part, lowest: Ticks, end: i64) -> Option<Planned> {
    let known = |part: &Part, lowest| Facts { part: part.clone(), lowest, frame_90k: 0, frames: None };
    if !known(&tail, lowest).joins(&known(&last.part, last.window.lowest)) {
        return None;
    }
    Some(Planned {
        clock: ClockMapping { input: lowest, output_90k: last.clock.to_output_90k(lowest) },
        joined: true,
        window: Window { segment: tail.start, lowest, after: None, ..last.window },
        frame_90k: last.frame_90k,
        // Nothing of it is shown, and its sound ends where that of the cut does.
        last: Some(end - last.frame_90k),
        part: tail,
    })
}

/// Where the frame behind a part's last one starts.
fn follows(part: &Planned) -> i64 {
    part.last.map_or_else(
        || part.clock.output_90k + ticks(part.part.end - part.part.start),
        |last| last + part.frame_90k,
    )
}

/// The time of the last frame of the part before, on this part's scale, if this part has frames up to it.
fn repeated(last: &Planned, before: &Facts, fact: &Facts, joined: bool) -> Option<Timestamp> {
    let highest = *before.frames.as_ref()?.iter().rfind(|pts| last.window.shows(**pts))?;
    if joined {
        let over = highest.since(fact.lowest);
        let scale = Window { after: None, segment: fact.part.start, lowest: fact.lowest, ..last.window };
        (over >= 0).then(|| scale.time(highest))
    } else {
        let time = last.window.time(highest);
        (time >= fact.part.start).then_some(time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: i64 = 3600;

    /// A part of two seconds at 25 frames a second, `start` seconds into the footage, its clock at `ticks`.
    fn fact(start: i64, ticks: i64, hole_before: bool, known: bool) -> Facts {
        let start = Timestamp::from_micros(start * 1_000_000);
        let end = start + Span::from_secs(2);
        let part = Part { path: "x.ts".into(), start, end, hole_before, whole: true };
        let frames = known.then(|| (0..50).map(|frame| Ticks::new(ticks + frame * FRAME)).collect());
        Facts { part, lowest: Ticks::new(ticks), frame_90k: FRAME, frames }
    }

    fn millis(millis: i64) -> Timestamp {
        Timestamp::from_micros(millis * 1000)
    }

    #[test]
    fn times_are_rounded_to_the_microsecond() {
        let window = Window {
            segment: millis(0),
            lowest: Ticks::new((1 << 33) - 10),
            start: Timestamp::from_micros(33_367),
            end: millis(100),
            after: None,
        };
        let time = |ticks: i64| window.time(Ticks::new(ticks - 10)).micros();
        assert_eq!(
            [time(0), time(3003), time(6006), time(9009), time(-1)],
            [0, 33_367, 66_733, 100_100, -11]
        );
        let shows = |ticks: i64| window.shows(Ticks::new(ticks - 10));
        assert_eq!([shows(0), shows(3003), shows(6006), shows(9009)], [false, true, true, false]);
    }

    #[test]
    fn parts_on_one_clock_keep_their_distance_also_over_its_wrap() {
        let wrap = 1 << 33;
        let facts = vec![
            fact(0, wrap - 200_000, false, true),
            fact(2, wrap - 20_000, false, false),
            fact(4, 160_000, false, true),
        ];
        let (parts, end) = plan(facts, millis(1000), millis(5000), 54_000).expect("a plan");
        assert_eq!(parts.iter().map(|part| part.joined).collect::<Vec<_>>(), [false, true, true]);
        let at = |index: usize, ticks: i64| parts[index].clock.to_output_90k(Ticks::new(ticks));
        assert_eq!((at(0, wrap - 110_000), at(1, -20_000), at(2, 160_000)), (54_000, 144_000, 324_000));
        assert_eq!(end, 54_000 + 100 * FRAME);
    }

    #[test]
    fn a_hole_and_a_clock_that_starts_anew_add_nothing() {
        for second in [fact(4, 500, true, true), fact(2, 0, false, true), fact(9, 900_000, true, true)] {
            let facts = vec![fact(0, 180_000, false, true), second.clone()];
            let (parts, end) = plan(facts, millis(0), millis(20_000), 0).expect("a plan");
            assert!(!parts[1].joined);
            assert_eq!(parts[1].clock, ClockMapping { input: second.lowest, output_90k: 50 * FRAME });
            assert_eq!(end, 100 * FRAME);
        }
    }

    #[test]
    fn a_part_without_a_frame_in_the_range_has_no_share() {
        let facts = vec![fact(0, 0, false, true), fact(2, 180_000, false, true)];
        let (parts, _) = plan(facts.clone(), millis(1990), millis(2500), 0).expect("a plan");
        assert_eq!(parts.len(), 1);
        assert_eq!(parts[0].clock, ClockMapping { input: Ticks::new(180_000), output_90k: 0 });
        assert!(matches!(plan(facts, millis(1961), millis(1999), 0), Err(Error::RangeIsEmpty)));
    }

    #[test]
    fn frames_that_were_shown_are_not_shown_again() {
        let mut second = fact(2, 7_000_000, false, true);
        second.part.start = millis(1955);
        let facts = vec![fact(0, 0, false, true), second];
        let (parts, end) = plan(facts, millis(0), millis(9000), 0).expect("a plan");
        assert_eq!(parts[1].window.after, Some(millis(1960)));
        assert_eq!(
            parts[1].clock,
            ClockMapping { input: Ticks::new(7_000_000 + FRAME), output_90k: 50 * FRAME }
        );
        assert_eq!(end, 99 * FRAME);
    }
}
