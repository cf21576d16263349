//! Groups of pictures: which a cut copies, which it leaves out, and which must be encoded anew.
//!
//! Pure. A group begins with a picture that needs none before it and brings its parameter sets (an IDR access unit), so
//! that what comes before it may be of any encoder.

use std::ops::Range;

use crate::mpegts::pes::Ticks;
use crate::mpegts::probe::Codec;
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
    let starts = |unit: &Unit| unit.access.idr && unit.access.parameter_sets;
    let first = units.iter().position(starts).unwrap_or(units.len());
    let mut pieces = Pieces { actions: vec![Action::Drop; units.len()], encode: Vec::new() };
    let shows = |unit: &Unit| unit.complete && window.shows(unit.pts);

    let head = units[..first].iter().filter(|unit| shows(unit)).count();
    if head > 0 && joined {
        if !copied || head < first {
            return Err("does not begin with a group of pictures of its own");
        }
        pieces.actions[..first].fill(Action::Copy);
    } else if head > 0 && units[..first].iter().any(|unit| unit.access.parameter_sets) {
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
    let starts = |unit: &Unit| unit.access.idr && unit.access.parameter_sets;
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
