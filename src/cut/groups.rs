//! Groups of pictures: which a cut copies, which it drops, and which must be re-encoded.
//!
//! Pure. A group begins with an IDR access unit that brings its parameter sets, so any encoder may have made what comes
//! before it.

use std::ops::Range;

use crate::mpegts::pes::Ticks;
use crate::mpegts::retime::Action;
use crate::mpegts::scan::{Track, Unit};

use super::plan::ShownRange;

/// What a smart cut does with the pictures of a segment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Splice {
    /// What is done with each unit.
    pub(super) actions: Vec<Action>,
    /// The groups that are shown in part, in order.
    pub(super) partial: Vec<PartialGroup>,
}

impl Splice {
    /// Whether the last picture is copied.
    pub(super) fn ends_copied(&self) -> bool {
        self.actions.last().is_none_or(|action| *action == Action::Copy)
    }
}

/// A group that is shown in part, and so re-encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PartialGroup {
    /// The group's units.
    pub(super) units: Range<usize>,
    /// The PTS of the pictures that are shown, sorted.
    pub(super) shown: Vec<Ticks>,
    /// The DTS that the source has at their places: they fit between those of what is copied before and behind, and are as
    /// near to the PTS as in the source, which ffmpeg needs where the frame rate varies.
    pub(super) dts: Vec<Ticks>,
}

impl PartialGroup {
    /// The group of some of the units, of which some pictures are shown.
    ///
    /// # Errors
    /// Why its pictures cannot be replaced.
    fn new(
        all: &[Unit],
        units: Range<usize>,
        is_shown: impl Fn(&Unit) -> bool,
    ) -> Result<Self, &'static str> {
        let first = &all[units.start];
        if first.pts.since(first.dts) < 0 {
            return Err("has pictures that are decoded after they are shown");
        }
        let mut pictures: Vec<&Unit> = all[units.clone()].iter().filter(|unit| unit.complete).collect();
        let dts = pictures.iter().map(|unit| unit.dts).collect::<Vec<_>>();
        pictures.sort_unstable_by_key(|unit| unit.pts.since(first.pts));
        let places = pictures.iter().zip(dts).filter(|(unit, _)| is_shown(unit));
        let (shown, dts) = places.map(|(unit, dts)| (unit.pts, dts)).unzip();
        Ok(Self { units, shown, dts })
    }

    /// By how much the DTS have to be lower if an encoder reorders the shown pictures by `reorder` of them: no picture may
    /// be decoded after it is shown.
    pub(super) fn late_90k(&self, reorder: u32) -> i64 {
        let distance = usize::try_from(reorder).unwrap_or(usize::MAX);
        let pairs = self.dts.iter().skip(distance).zip(&self.shown);
        pairs.map(|(dts, pts)| dts.since(*pts)).fold(0, i64::max)
    }
}

/// Decides what a smart cut does with the pictures of a segment.
///
/// `continuous` says that the segment continues the one before, and `copied` that the last picture of that was copied.
///
/// # Errors
/// Why the segment cannot be spliced.
pub(super) fn splice(
    track: &Track,
    range: &ShownRange,
    continuous: bool,
    copied: bool,
) -> Result<Splice, &'static str> {
    let units = &track.units;
    let is_shown = |unit: &Unit| unit.complete && range.contains(unit.pts);
    let first = units.iter().position(starts_group).unwrap_or(units.len());
    let mut splice = Splice { actions: vec![Action::Drop; units.len()], partial: Vec::new() };

    let shown = units[..first].iter().filter(|unit| is_shown(unit)).count();
    if shown > 0 {
        if !continuous || !copied || shown < first {
            return Err("does not begin with a closed group of pictures that has parameter sets");
        }
        splice.actions[..first].fill(Action::Copy);
    }

    for group in groups(units, first) {
        let pictures = &units[group.clone()];
        let complete = pictures.iter().filter(|unit| unit.complete).count();
        let shown = pictures.iter().filter(|unit| is_shown(unit)).count();
        let is_partial = 0 < shown && shown < complete;
        for (unit, action) in pictures.iter().zip(&mut splice.actions[group.clone()]) {
            if is_shown(unit) {
                *action = if is_partial { Action::Replace } else { Action::Copy };
            }
        }
        if is_partial {
            splice.partial.push(PartialGroup::new(units, group, is_shown)?);
        }
    }
    Ok(splice)
}

/// What a smart cut does with the pictures of a segment that lies within the range and continues the one before, of which
/// the last picture was copied: it copies them.
pub(super) fn copy(track: &Track) -> Splice {
    let action = |unit: &Unit| if unit.complete { Action::Copy } else { Action::Drop };
    Splice { actions: track.units.iter().map(action).collect(), partial: Vec::new() }
}

/// What a full cut does with the pictures of a segment: it decodes the groups that are shown, from unit `first` on, and
/// drops all others.
pub(super) fn decode(track: &Track, first: usize, is_shown: impl Fn(&Unit) -> bool) -> Vec<Action> {
    let units = &track.units;
    let first = first.min(units.len());
    let mut actions = vec![Action::Copy; units.len()];
    actions[..first].fill(Action::Drop);
    for group in groups(units, first) {
        if !units[group.clone()].iter().any(&is_shown) {
            actions[group].fill(Action::Drop);
        }
    }
    if let Some((last, action)) = units.last().zip(actions.last_mut())
        && !last.complete
    {
        *action = Action::Drop;
    }
    actions
}

fn starts_group(unit: &Unit) -> bool {
    unit.access_unit.idr && unit.access_unit.parameter_sets
}

/// The groups of pictures from unit `first` on.
fn groups(units: &[Unit], first: usize) -> impl Iterator<Item = Range<usize>> {
    let mut begin = first;
    std::iter::from_fn(move || {
        let rest = units.get(begin + 1..)?;
        let end = rest.iter().position(starts_group).map_or(units.len(), |next| begin + 1 + next);
        Some(std::mem::replace(&mut begin, end)..end)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mpegts::alignment::Alignment;
    use crate::mpegts::codec::Codec;
    use crate::mpegts::video::AccessUnitStart;
    use crate::timestamp::{Span, Timestamp};

    const FRAME: i64 = 3600;

    /// Groups of four: I0 P3 B1 B2, as they are decoded.
    fn track(groups: i64) -> Track {
        let unit = |index: i64| {
            let (group, place) = (index / 4, usize::try_from(index % 4).expect("small"));
            let start = place == 0;
            Unit {
                pts: Ticks::new((group * 4 + [0, 3, 1, 2][place]) * FRAME),
                dts: Ticks::new((index - 1) * FRAME),
                access_unit: AccessUnitStart {
                    idr: start,
                    recovery: start.then_some(0),
                    reference: place < 2,
                    parameter_sets: start,
                    picture: true,
                },
                complete: true,
            }
        };
        Track {
            pid: 256,
            codec: Codec::H264,
            units: (0..groups * 4).map(unit).collect(),
            alignment: Alignment::default(),
        }
    }

    /// Shows frames `from` to before `to`.
    fn range(from: i64, to: i64) -> ShownRange {
        let at = |frame: i64| Timestamp::from_micros(frame * 40_000);
        ShownRange {
            segment_start: at(0),
            lowest_pts: Ticks::new(0),
            start: at(from),
            end: at(to) - Span::from_micros(1),
            after: None,
        }
    }

    fn letters(actions: &[Action]) -> String {
        let letter = |action: &Action| match action {
            Action::Copy => 'c',
            Action::Drop => '-',
            Action::Replace => 'r',
            Action::Trim => 't',
        };
        actions.iter().map(letter).collect()
    }

    #[test]
    fn only_groups_at_the_ends_are_encoded() {
        let rows = [
            (0, 12, "cccccccccccc", vec![]),
            (2, 12, "-r-rcccccccc", vec![(2, 4)]),
            (4, 8, "----cccc----", vec![]),
            (1, 9, "-rrrccccr---", vec![(1, 4), (8, 9)]),
            (5, 7, "------rr----", vec![(5, 7)]),
            (12, 13, "------------", vec![]),
        ];
        for (from, to, expected, encoded) in rows {
            let found = splice(&track(3), &range(from, to), false, false).expect("a splice");
            assert_eq!(letters(&found.actions), expected);
            let shown = |(from, to): (i64, i64)| -> Vec<_> {
                (from..to).map(|frame| Ticks::new(frame * FRAME)).collect()
            };
            let groups: Vec<_> = found.partial.into_iter().map(|group| group.shown).collect();
            assert_eq!(groups, encoded.into_iter().map(shown).collect::<Vec<_>>(), "{from} {to}");
        }
    }

    #[test]
    fn a_group_that_began_in_the_segment_before_is_copied_or_refused() {
        let mut track = track(3);
        track.units[0].access_unit = AccessUnitStart { picture: true, ..AccessUnitStart::default() };
        let all = splice(&track, &range(0, 12), true, true).expect("a splice");
        assert_eq!(letters(&all.actions), "cccccccccccc");
        assert!(splice(&track, &range(0, 12), true, false).is_err());
        assert!(splice(&track, &range(2, 12), true, true).is_err());
        assert!(splice(&track, &range(0, 12), false, true).is_err());
        assert!(splice(&track, &range(4, 12), false, true).is_ok());
    }

    #[test]
    fn a_truncated_picture_is_dropped_and_its_group_kept() {
        let mut track = track(2);
        track.units[7].complete = false;
        let found = splice(&track, &range(0, 8), false, false).expect("a splice");
        assert_eq!(letters(&found.actions), "ccccccc-");
        assert_eq!(letters(&decode(&track, 0, |unit| range(4, 8).contains(unit.pts))), "----ccc-");
    }
}
