//! The plan of a cut, as data: which parts have a share in it, and where each lies on the clock of the output.
//!
//! Pure: what is known of the parts comes in as [`Facts`].

use crate::error::{Error, Result};
use crate::mpegts::pes::{TICKS_PER_SECOND, Ticks};
use crate::mpegts::probe::Program;
use crate::mpegts::retime::Clock;
use crate::timestamp::{Span, Timestamp};

use super::Part;

/// By how much names and time stamps may disagree about the distance of two segments on one clock.
const CLOCK_TOLERANCE: i64 = TICKS_PER_SECOND / 4;

/// A cut, planned.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The parts that have a share in it; never empty.
    pub parts: Vec<Planned>,
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
    pub clock: Clock,
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
            Some(last) if joined => Clock { anchor: fact.lowest, at: last.clock.place(fact.lowest) },
            Some(last) => Clock { anchor: ends.map_or(fact.lowest, |ends| ends.0), at: follows(last) },
            None => Clock { anchor: ends.map_or(fact.lowest, |ends| ends.0), at },
        };
        let last = ends.map(|ends| clock.place(ends.1));
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

/// Where the frame behind a part's last one starts.
fn follows(part: &Planned) -> i64 {
    part.last
        .map_or_else(|| part.clock.at + ticks(part.part.end - part.part.start), |last| last + part.frame_90k)
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
