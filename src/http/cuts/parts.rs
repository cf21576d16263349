//! What an exact cut is made from: its ranges, and the transitions between them.

use super::request::{ExactRange, exact_range};
use super::segments::CutRequest;
use super::transitions::{Transition, Transitions, split};
use crate::cut::{CutParts, CutRange, Overlap};
use crate::error::{Error, Result};
use crate::http::handler::App;
use crate::timestamp::Timestamp;

/// What a cut of these ranges is made from.
///
/// # Errors
/// [`Error::BadTransition`] if a range is shorter than the transitions at its ends.
pub(super) fn parts<'a>(
    app: &'a App,
    ranges: Vec<ExactRange>,
    transitions: &Transitions,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<CutParts<'a>> {
    let mut parts = CutParts { ranges: Vec::new(), overlaps: Vec::new() };
    if transitions.are_hard() {
        parts.ranges.extend(ranges.into_iter().map(|range| source(app, range)));
        return Ok(parts);
    }
    // The end of the range before, if a transition shows it, and that transition.
    let mut from: Option<(CutRange<'a>, &Transition)> = None;
    for (index, range) in ranges.iter().enumerate() {
        let part = |part: (Timestamp, Timestamp)| part_of(app, range, part, is_cancelled);
        let (start, end) = range.request.range;
        let (head, tail) = (from.as_ref().map(|(_, transition)| *transition), transitions.after(index));
        let (head_end, tail_start) = split(index + 1, &range.segments, (start, end), [head, tail])?;
        if let Some((from, transition)) = from.take() {
            let (transition, before) = (transition.name.clone(), parts.ranges.len());
            parts.overlaps.push(Overlap { transition, before, from, to: part((start, head_end))? });
        }
        if head_end < tail_start {
            match part((head_end, tail_start)) {
                // Between the transitions there is a gap.
                Err(Error::InRange { .. }) => {}
                own => parts.ranges.push(own?),
            }
        }
        if let Some(tail) = tail {
            from = Some((part((tail_start, end))?, tail));
        }
    }
    Ok(parts)
}

/// What a part of a range is cut from.
fn part_of<'a>(
    app: &'a App,
    range: &ExactRange,
    part: (Timestamp, Timestamp),
    is_cancelled: &dyn Fn() -> bool,
) -> Result<CutRange<'a>> {
    let request = CutRequest { variant: range.request.variant.clone(), range: part, allow_holes: true };
    let (part, _) = exact_range(app, request, range.place, is_cancelled, &mut |_| {})?;
    Ok(source(app, part))
}

/// What a range or a part of one is cut from.
fn source(app: &App, range: ExactRange) -> CutRange<'_> {
    let asked_for = range.request.range;
    range.source(app, asked_for)
}
