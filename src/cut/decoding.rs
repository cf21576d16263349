//! Where a decoder has to begin, so that it shows pictures as they are. Pure.

use crate::mpegts::pes::Ticks;
use crate::mpegts::scan::Unit;

/// The unit to begin with, so that each unit that is shown is decoded with all it refers to: the latest there is, or the
/// number of units if none is shown. `None` if decoding has to begin before these units.
pub(super) fn start(units: &[Unit], is_shown: impl Fn(&Unit) -> bool) -> Option<usize> {
    let Some(first) = units.iter().position(&is_shown) else { return Some(units.len()) };
    let shown = units[first..].iter().filter(|unit| is_shown(unit)).map(|unit| unit.pts);
    let lowest = shown.min_by_key(|pts| pts.since(units[first].pts))?;
    let points = RandomAccess::new(units);
    let point = (0..=first).rev().find(|index| {
        let right = points.right_from(*index).filter(|right| *right <= first);
        right.is_some_and(|right| units[*index].access_unit.idr || lowest.since(units[right].pts) >= 0)
    })?;
    units[..=point].iter().rposition(|unit| unit.access_unit.parameter_sets)
}

/// The PTS from which on all pictures can be shown if decoding begins within these units.
pub(super) fn shown_from(units: &[Unit]) -> Option<Ticks> {
    let points = RandomAccess::new(units);
    let sets = units.iter().position(|unit| unit.access_unit.parameter_sets)?;
    let (point, right) = (sets..units.len()).find_map(|index| Some((index, points.right_from(index)?)))?;
    let first = units.first()?.pts;
    let since = |pts: Ticks| pts.since(first);
    let before = units[..right].iter().map(|unit| since(unit.pts)).max().unwrap_or(i64::MIN);
    let least = if units[point].access_unit.idr { i64::MIN } else { since(units[right].pts) };
    let after = units[right..].iter().filter(|unit| unit.complete).map(|unit| unit.pts);
    after.filter(|pts| since(*pts) > before && since(*pts) >= least).min_by_key(|pts| since(*pts))
}

/// The units where decoding can begin.
struct RandomAccess<'a> {
    units: &'a [Unit],
    /// How many reference pictures there are before each unit, and in all.
    references: Vec<usize>,
}

impl<'a> RandomAccess<'a> {
    fn new(units: &'a [Unit]) -> Self {
        let count = |count: &mut usize, unit: &Unit| {
            *count += usize::from(unit.access_unit.reference);
            Some(*count)
        };
        let references = std::iter::once(0).chain(units.iter().scan(0, count)).collect();
        Self { units, references }
    }

    /// The first unit in the order of decoding whose picture is right if decoding begins at unit `index`.
    fn right_from(&self, index: usize) -> Option<usize> {
        let count = usize::try_from(self.units[index].access_unit.recovery?).ok()?;
        let wanted = self.references[index] + count;
        // The reference picture before which there are `wanted`.
        let counted = || self.references.partition_point(|before| *before <= wanted) - 1;
        let right = if count == 0 { index } else { counted() };
        (right < self.units.len()).then_some(right)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mpegts::video::AccessUnitStart;

    /// Units in the order of decoding: a letter and when it is shown. `I` is an IDR picture and `R` an open one, both with
    /// parameter sets; `i` and `r` the same without; `2` a recovery point after two reference pictures, with parameter
    /// sets; `P` a reference picture and `b` another one.
    fn units(shown: &str) -> Vec<Unit> {
        let unit = |word: &str| {
            let (letter, frame) = word.split_at(1);
            let pts = Ticks::new(frame.parse::<i64>().expect("a number"));
            let access_unit = AccessUnitStart {
                idr: matches!(letter, "I" | "i"),
                recovery: match letter {
                    "P" | "b" => None,
                    "2" => Some(2),
                    _ => Some(0),
                },
                reference: letter != "b",
                parameter_sets: matches!(letter, "I" | "R" | "2"),
                picture: true,
            };
            Unit { pts, dts: pts, access_unit, complete: true }
        };
        shown.split_whitespace().map(unit).collect()
    }

    #[test]
    fn decoding_begins_at_the_latest_unit_from_which_all_shown_pictures_are_right() {
        // Which pictures are shown, where decoding begins for them, and from when on all can be shown.
        let rows = [
            ("I0 P2 b1 I3 P4", 0..9, Some(0), Some(0)),
            ("I0 P2 b1 I3 P4", 3..9, Some(3), Some(0)),
            ("I0 P2 b1 R5 b3 b4 P6", 4..9, Some(0), Some(0)),
            ("I0 P2 b1 R5 b3 b4 P6", 5..9, Some(3), Some(0)),
            ("I0 P2 b1 R5 b3 b4 P6", 9..9, Some(7), Some(0)),
            ("P1 P2 I3 P4", 2..9, None, Some(3)),
            ("P1 P2 I3 P4", 3..9, Some(2), Some(3)),
            ("R2 b0 b1 P3", 0..9, None, Some(2)),
            ("R2 b0 b1 P3", 2..9, Some(0), Some(2)),
            ("I0 r3 b1 b2 P4", 3..9, Some(0), Some(0)),
            ("r0 P1 i2", 0..9, None, None),
            ("P0 P1 R2 i3", 3..9, Some(2), Some(2)),
            ("21 P2 P3 P4", 2..9, None, Some(3)),
            ("21 P2 P3 P4", 3..9, Some(0), Some(3)),
            ("21 b0 P3 b2 P5 b4 P6", 5..9, Some(0), Some(5)),
            ("21 b0 P3 b2 P5 b4 P6", 4..9, None, Some(5)),
            ("P0 21", 1..9, None, None),
        ];
        for (shown, range, begin, from) in rows {
            let units = units(shown);
            let start = start(&units, |unit| range.contains(&unit.pts.get()));
            assert_eq!(start, begin, "{shown} {range:?}");
            assert_eq!(shown_from(&units), from.map(Ticks::new), "{shown}");
        }
    }
}
