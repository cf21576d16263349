//! The runs of an hour: segments without a gap between them. Pure.
//!
//! Which run a segment belongs to depends on the names in its hour only, and not on the range for which it was selected, so
//! that it is the same in every playlist and on every server.

use super::layout::{Segment, SegmentType};
use super::select::TOLERANCE;
use crate::timestamp::Timestamp;

/// What is known of a segment.
#[derive(Debug, Clone, Copy)]
struct Extent {
    start: Timestamp,
    end: Timestamp,
    is_full: bool,
}

/// For each segment of an hour the position of the first one of its run. The segments are the best ones of each start, in
/// the order of their starts.
///
/// Where segments overlap, as those of two recorders do, a selection leaves some out. If a segment continues two others, it
/// is in the run of the one that a selection takes which begins with the first segment of the hour.
pub fn run_starts<'a>(segments: impl Iterator<Item = Segment<'a>>) -> Vec<usize> {
    let extent = |segment: Segment| Extent {
        start: segment.start(),
        end: segment.end(),
        is_full: segment.name.segment_type == SegmentType::Full,
    };
    let extents: Vec<_> = segments.map(extent).collect();
    let mut is_selected = vec![false; extents.len()];
    let mut position = 0;
    while let Some(selected) = is_selected.get_mut(position) {
        *selected = true;
        position = next_selected(&extents, position).0;
    }
    let mut continued: Vec<Option<usize>> = vec![None; extents.len()];
    let mut starts = Vec::with_capacity(extents.len());
    for position in 0..extents.len() {
        // All that it may continue are before it.
        starts.push(continued[position].map_or(position, |before| starts[before]));
        let (next, is_continuous) = next_selected(&extents, position);
        if is_continuous && (continued[next].is_none() || is_selected[position]) {
            continued[next] = Some(position);
        }
    }
    starts
}

/// The position of the segment that a selection takes after the one at `position`, and whether there is no gap between them.
/// It is the number of segments if there is none.
fn next_selected(extents: &[Extent], position: usize) -> (usize, bool) {
    let Extent { end, is_full, .. } = extents[position];
    let later = &extents[position + 1..];
    let next = position + 1 + later.partition_point(|segment| segment.start < end - TOLERANCE);
    let is_continuous = extents.get(next).is_some_and(|next| is_full && next.start <= end + TOLERANCE);
    (next, is_continuous)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::layout::SegmentName;
    use crate::timestamp::Hour;

    fn starts(names: &[&str]) -> Vec<usize> {
        let hour = Hour::parse("2026-11-20T10").expect("an hour");
        let names: Vec<_> = names.iter().map(|name| format!("{name}-x.ts")).collect();
        run_starts(names.iter().map(|name| Segment { hour, name: SegmentName::parse(name).expect("a name") }))
    }

    #[test]
    fn a_run_ends_at_a_gap_and_behind_a_segment_that_is_not_full() {
        let rows: [(&[&str], &[usize]); 6] = [
            (&[], &[]),
            (&["00:00-2-full", "00:02-2-full", "00:04-2-full"], &[0, 0, 0]),
            (&["00:00-2-full", "00:02.010-2-full", "00:04.021-2-full"], &[0, 0, 2]),
            (&["00:00-2-full", "00:01.990-2-full", "00:03.990-2-full"], &[0, 0, 0]),
            (&["00:00-2-full", "00:02-2-partial", "00:04-2-full"], &[0, 0, 2]),
            (&["00:01-2-suspect", "00:03-2-full", "00:08-2-full", "00:10-2-full"], &[0, 1, 2, 2]),
        ];
        for (names, expected) in rows {
            assert_eq!(starts(names), expected, "{names:?}");
        }
    }

    #[test]
    fn each_of_two_recorders_has_runs_of_its_own() {
        let rows: [(&[&str], &[usize]); 4] = [
            (&["00:00-2-full", "00:01-2-full", "00:02-2-full", "00:03-2-full"], &[0, 1, 0, 1]),
            // The first recorder fails: a selection goes on with the other one, behind a gap.
            (&["00:00-2-full", "00:01-2-full", "00:03-2-full", "00:05-2-full"], &[0, 1, 1, 1]),
            // A segment that leads to one of a run that a selection takes leaves it there.
            (&["00:00-2-full", "00:01-3-full", "00:02-2-full", "00:04-2-full"], &[0, 1, 0, 0]),
            (&["00:00-0-full", "00:00.001-2-full"], &[0, 0]),
        ];
        for (names, expected) in rows {
            assert_eq!(starts(names), expected, "{names:?}");
        }
    }
}
