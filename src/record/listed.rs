//! The times that an HLS list gives: which wall clock a PTS is. Pure.

use crate::mpegts::pes::{Ticks, to_us};
use crate::timestamp::Timestamp;

/// Frames may lie so far outside of the segments that a list had when it was looked at.
const SLACK_US: i64 = 2_000_000;

/// Frames of the newest segments may lie so far behind the one that was looked at. What is farther away is on another clock,
/// which the list did not have yet.
const MAX_AHEAD_US: i64 = 600_000_000;

/// Where the source's clock and the wall clock meet, in segments without a discontinuity between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Anchor {
    /// The PTS of a frame.
    pub(super) pts: Ticks,
    /// When it was captured.
    pub(super) time: Timestamp,
    /// How long the segments before it are.
    pub(super) before_us: i64,
    /// How long those from it on are; `None` where they go on.
    pub(super) after_us: Option<i64>,
}

/// What an HLS list tells about times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ListedTimes {
    /// The newest first.
    pub(super) anchors: Vec<Anchor>,
    /// How long its longest segment is.
    pub(super) longest_us: i64,
}

/// The times of an HLS list.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// What the list has told about the source's current clock; `None` if it could not be looked at since it began.
    pub(super) times: Option<ListedTimes>,
    /// What the PTS of the source's current clock are before the wall clock.
    pub(super) offset_us: Option<i64>,
    pub(super) need: ListNeed,
    /// How often frames still wait for a look, because they are late and the list does not say why.
    pub(super) doubts: u8,
}

/// Whether an HLS list must be looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum ListNeed {
    /// It has no times, or they do not count.
    #[default]
    Unused,
    /// Its times are known, and are to be compared now and then.
    Known,
    /// Frames are held until it was looked at.
    Awaited,
    /// Its times lie in the future, so they do not count.
    Future,
}

impl ListedTimes {
    /// What the PTS of a frame that arrives now is before the wall clock, in microseconds; `None` for one that no segment
    /// has. Of several segments that may have it, those of the nearest anchor do.
    pub(super) fn offset_us(&self, pts_90k: i64) -> Option<i64> {
        let found = self.anchors.iter().filter_map(|anchor| {
            let since_us = to_us(Ticks::new(pts_90k).since(anchor.pts));
            let most_us = anchor.after_us.map_or(MAX_AHEAD_US, |after| after + SLACK_US);
            let is_inside = since_us >= -anchor.before_us - SLACK_US && since_us < most_us;
            is_inside.then(|| (since_us.abs(), anchor.time.micros() + since_us - to_us(pts_90k)))
        });
        found.min().map(|(_, offset_us)| offset_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_stamp_belongs_to_the_nearest_segments_that_can_have_it() {
        let anchor = |pts, seconds: i64, after_us| Anchor {
            pts: Ticks::new(pts),
            time: Timestamp::from_micros(seconds * 1_000_000),
            before_us: 4_000_000,
            after_us,
        };
        let anchors = vec![anchor(-90_000, 500, None), anchor(9_000_000, 100, Some(6_000_000))];
        let times = ListedTimes { anchors, longest_us: 0 };
        let seconds = |pts_90k: i64| Some(times.offset_us(pts_90k)? + to_us(pts_90k));
        for (pts_90k, expected) in [
            // A clock that is about to wrap.
            ((1 << 33) - 90_000, Some(500)),
            (0, Some(501)),
            (-4 * 90_000, Some(497)),
            (-8 * 90_000, None),
            (40 * 90_000, Some(541)),
            (9_000_000, Some(100)),
            (9_000_000 + 6 * 90_000, Some(106)),
            (9_000_000 + 9 * 90_000, Some(610)),
            (9_000_000 + 5000 * 90_000, None),
        ] {
            assert_eq!(seconds(pts_90k), expected.map(|seconds| seconds * 1_000_000), "{pts_90k}");
        }
    }
}
