//! Groups of pictures: which a cut copies, which it leaves out, and which must be encoded anew.
//!
//! Pure. A group begins with a picture that needs none before it and brings its parameter sets (an IDR access unit), so
//! that what comes before it may be of any encoder.

use std::ops::Range;

use crate::mpegts::codec::Codec;
use crate::mpegts::pes::Ticks;
use crate::mpegts::retime::Action;
use crate::mpegts::scan::{Track, Unit};

use super::plan::Window;

/// What becomes of a part's pictures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pieces {
    /// What becomes of each unit.
    pub actions: Vec<Action>,
    /// The groups of which a part is shown, in order.
    pub encode: Vec<Encode>,
}

/// A group of which a part is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encode {
    /// The group's units.
    pub units: Range<usize>,
    /// The time stamps of the pictures that are shown, sorted.
    pub shown: Vec<Ticks>,
    /// By how much the group's first picture is decoded before it is shown, in ticks.
    pub delay_90k: i64,
}

/// Decides what becomes of a part's pictures.
///
/// `joined` says that the part goes on from the one before, and `copied` that the last picture of that was copied.
///
/// # Errors
/// Why it cannot be spliced.
pub fn pieces(track: &Track, window: &Window, joined: bool, copied: bool) -> Result<Pieces, &'static str> {
    let units = &track.units;
    let starts = |unit: &Unit| unit.access_unit.idr && unit.access_unit.parameter_sets;
    let first = units.iter().position(starts).unwrap_or(units.len());
    let mut pieces = Pieces { actions: vec![Action::Drop; units.len()], encode: Vec::new() };
    let shows = |unit: &Unit| unit.complete && window.shows(unit.pts);

    let head = units[..first].iter().filter(|unit| shows(unit)).count();
    if head > 0 && joined {
        if !copied || head < first {
            return Err("does not begin with a closed group of pictures");
        }
        pieces.actions[..first].fill(Action::Copy);
    } else if head > 0 && units[..first].iter().any(|unit| unit.access_unit.parameter_sets) {
        return Err("has open groups of pictures, or none with parameter sets");
    }

    let mut begin = first;
    while begin < units.len() {
        let end = units[begin + 1..].iter().position(starts).map_or(units.len(), |at| begin + 1 + at);
        let whole = units[begin..end].iter().filter(|unit| unit.complete).count();
        let mut stamps: Vec<Ticks> =
            units[begin..end].iter().filter(|unit| shows(unit)).map(|unit| unit.pts).collect();
        let partly = !stamps.is_empty() && stamps.len() < whole;
        for (unit, action) in units[begin..end].iter().zip(&mut pieces.actions[begin..end]) {
            if shows(unit) {
                *action = if partly { Action::Replace } else { Action::Copy };
            }
        }
        if partly {
            stamps.sort_unstable_by_key(|pts| pts.since(units[begin].pts));
            let delay_90k = units[begin].pts.since(units[begin].dts);
            pieces.encode.push(Encode { units: begin..end, shown: stamps, delay_90k });
        }
        begin = end;
    }
    Ok(pieces)
}

/// What becomes of a part's pictures when all of it is decoded: groups that are not shown go, and what cannot be decoded.
pub fn needed(track: &Track, window: &Window, decodable: usize) -> Vec<Action> {
    let units = &track.units;
    let mut actions = vec![Action::Copy; units.len()];
    actions[..decodable].fill(Action::Drop);
    if !matches!(track.codec, Codec::H264 | Codec::Hevc) {
        return actions;
    }
    let starts = |unit: &Unit| unit.access_unit.idr && unit.access_unit.parameter_sets;
    let mut begin = decodable;
    while begin < units.len() {
        let end = units[begin + 1..].iter().position(starts).map_or(units.len(), |at| begin + 1 + at);
        if !units[begin..end].iter().any(|unit| window.shows(unit.pts)) {
            actions[begin..end].fill(Action::Drop);
        }
        begin = end;
    }
    if let Some((last, action)) = units.last().zip(actions.last_mut())
        && !last.complete
    {
        *action = Action::Drop;
    }
    actions
}

#[cfg(test)]
mod tests {
    use super::*;
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
                access_unit: AccessUnitStart { idr: start, parameter_sets: start, picture: true },
                complete: true,
            }
        };
        Track { pid: 256, codec: Codec::H264, units: (0..groups * 4).map(unit).collect() }
    }

    /// Shows frames `from` to before `to`.
    fn window(from: i64, to: i64) -> Window {
        let at = |frame: i64| Timestamp::from_micros(frame * 40_000);
        Window {
            segment: at(0),
            lowest: Ticks::new(0),
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
        for (from, to, wanted, encoded) in rows {
            let pieces = pieces(&track(3), &window(from, to), false, false).expect("pieces");
            assert_eq!(letters(&pieces.actions), wanted);
            let shown = |(from, to): (i64, i64)| -> Vec<_> {
                (from..to).map(|frame| Ticks::new(frame * FRAME)).collect()
            };
            let found: Vec<_> = pieces.encode.into_iter().map(|group| group.shown).collect();
            assert_eq!(found, encoded.into_iter().map(shown).collect::<Vec<_>>(), "{from} {to}");
        }
    }

    #[test]
    fn a_group_that_goes_on_from_the_part_before_is_copied_or_refused() {
        let mut track = track(3);
        track.units[0].access_unit = AccessUnitStart { picture: true, ..AccessUnitStart::default() };
        let all = pieces(&track, &window(0, 12), true, true).expect("pieces");
        assert_eq!(letters(&all.actions), "cccccccccccc");
        assert!(pieces(&track, &window(0, 12), true, false).is_err());
        assert!(pieces(&track, &window(2, 12), true, true).is_err());
        let alone = pieces(&track, &window(0, 12), false, true).expect("pieces");
        assert_eq!(letters(&alone.actions), "----cccccccc");
        track.units[0].access_unit.parameter_sets = true;
        assert!(pieces(&track, &window(0, 12), false, true).is_err());
    }

    #[test]
    fn a_picture_that_is_cut_short_goes_and_its_group_stays() {
        let mut track = track(2);
        track.units[7].complete = false;
        let found = pieces(&track, &window(0, 8), false, false).expect("pieces");
        assert_eq!(letters(&found.actions), "ccccccc-");
        assert_eq!(letters(&needed(&track, &window(4, 8), 0)), "----ccc-");
    }
}
