//! The cut that copies: the groups of pictures that cover the range, whole, or all that the segments have.

use crate::error::{Error, Result};
use crate::mpegts::retime::Action;
use crate::mpegts::scan::{Track, Unit};

use super::edit::Muxer;
use super::encode::no_frame;
use super::groups;
use super::lead_in;
use super::mux::Mux;
use super::opened::unsupported;
use super::plan::{ExactType, LeadIn, Plan, PlannedSegment};
use super::samples_cache::SamplesCache;
use super::segments::LoadedSegment;

/// Writes the frames of a plan into a container that hides what is not to be shown.
pub(super) fn run(
    plan: &Plan,
    samples: Option<&SamplesCache>,
    mux: &mut dyn Mux,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<()> {
    let mut muxer = Muxer::new(plan, mux);
    for (index, planned) in plan.written().enumerate() {
        if is_cancelled() {
            return Err(Error::Cancelled);
        }
        let loaded = LoadedSegment::written_indexed(plan, samples, index, &planned)?;
        let actions = match loaded.video_track() {
            Some(track) if plan.exact_type == ExactType::Whole => groups::copy(track).actions,
            Some(track) => actions(plan, index, &planned, track)?,
            None => Vec::new(),
        };
        muxer.segment(index, &loaded, actions, &mut no_frame, &mut |_| Ok(()))?;
    }
    Ok(())
}

/// What is done with the pictures of segment `index` of those that are written.
fn actions(plan: &Plan, index: usize, planned: &PlannedSegment, track: &Track) -> Result<Vec<Action>> {
    let units = &track.units;
    let (first, last) = match &plan.lead_in {
        Some(LeadIn { segments, first_unit }) if index < segments.len() => {
            (if index == 0 { *first_unit } else { 0 }, units.len())
        }
        _ => {
            let is_shown = |unit: &_| lead_in::is_shown(planned, unit);
            let last = units.iter().rposition(is_shown).map_or(0, |last| last + 1);
            let first = if planned.continuous { 0 } else { lead_in::first_unit(planned, track).unwrap_or(0) };
            // An edit list hides what is before and behind the range, but nothing in its midst.
            let is_first = index == plan.before().len();
            let is_hidden = |unit: &Unit| {
                unit.complete && !is_shown(unit) && planned.shown.time(unit.pts) < planned.shown.end
            };
            if !is_first && units[first..last].iter().any(is_hidden) {
                let why = "has pictures that the segment before has too, and others that refer to them: try type=smart";
                return Err(unsupported(&planned.segment, why));
            }
            (first, last)
        }
    };
    let action = |(index, unit): (usize, &Unit)| {
        if unit.complete && (first..last).contains(&index) { Action::Copy } else { Action::Drop }
    };
    Ok(units.iter().enumerate().map(action).collect())
}
