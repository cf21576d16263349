//! What is done with the tracks of a segment: which stream of the output each continues, which units stay, and when they
//! are shown.

use std::ops::Range;

use crate::error::Result;
use crate::mpegts::pes::TICKS_PER_SECOND;
use crate::mpegts::probe::Stream;
use crate::mpegts::retime::{Action, ClockMapping, Edit};
use crate::mpegts::scan::{Track, Unit};

use super::mux::{EditedSegment, Mux, NextFrame, Output};
use super::plan::{ExactType, Plan, PlannedSegment};
use super::program::counterparts;
use super::segments::LoadedSegment;

/// The duration of an audio frame whose header does not tell it.
const AUDIO_FRAME_90K: i64 = TICKS_PER_SECOND / 40;

/// No audio unit is longer: near silence hundreds of frames fit into one.
const MAX_AUDIO_UNIT_90K: i64 = 20 * TICKS_PER_SECOND;

/// Writes a plan into a container, segment by segment.
pub(super) struct Muxer<'a> {
    plan: &'a Plan,
    mux: &'a mut dyn Mux,
    /// By how much the audio of each stream is delayed against the pictures, so that it has no gap at a discontinuity.
    audio_delays_90k: Vec<i64>,
    /// Where the audio of each stream may start, if it continues that of another range.
    audio_joins_90k: Vec<Option<i64>>,
}

impl<'a> Muxer<'a> {
    pub(super) fn new(plan: &'a Plan, mux: &'a mut dyn Mux) -> Self {
        mux.begin(plan);
        let streams = plan.program.streams.len();
        Self { plan, mux, audio_delays_90k: vec![0; streams], audio_joins_90k: vec![None; streams] }
    }

    /// Writes segment `index`. If its reference track is video, `video_actions` are done with the units of that.
    ///
    /// # Errors
    /// Those of `next_frame` and `out`.
    pub(super) fn segment(
        &mut self,
        index: usize,
        loaded: &LoadedSegment,
        video_actions: Vec<Action>,
        next_frame: NextFrame<'_>,
        out: Output<'_>,
    ) -> Result<()> {
        let Some(planned) = self.plan.written_at(index) else { return Ok(()) };
        let next = self.plan.written_at(index + 1);
        let edits = self.edits(index, &planned, next.as_ref(), loaded, video_actions);
        let segment =
            EditedSegment { index, loaded, clock: planned.clock, continuous: planned.continuous, edits };
        self.mux.write(segment, next_frame, out)
    }

    /// The edits of the segment `planned`, which is segment `written` of those that are written and followed by `next`.
    fn edits(
        &mut self,
        written: usize,
        planned: &PlannedSegment,
        next: Option<&PlannedSegment>,
        loaded: &LoadedSegment,
        mut video_actions: Vec<Action>,
    ) -> Vec<Edit> {
        let plan = self.plan;
        let reference = loaded.reference_track().map(|track| track.pid);
        let end_90k = self.end_90k(planned, loaded);
        let continues = next.is_some_and(|next| next.continuous);
        let is_whole = plan.exact_type == ExactType::Whole;
        let mut edits = Vec::new();
        let tracks = counterparts(&plan.program, &loaded.scan);
        for (index, (stream, track)) in plan.program.streams.iter().zip(tracks).enumerate() {
            let Some(track) = track else { continue };
            let is_reference = reference == Some(track.pid);
            let (mut clock, mut keep_90k) = (planned.clock, 0..0);
            let actions = if is_reference && track.codec.is_video() {
                std::mem::take(&mut video_actions)
            } else if is_whole {
                keep_90k = i64::MIN..i64::MAX;
                vec![Action::Trim; track.units.len()]
            } else if track.codec.is_audio() {
                if is_reference {
                    keep_90k = self.reference_audio_range(stream, planned, continues, end_90k);
                } else {
                    let start = self.audio_start(index, written, planned, track);
                    // A frame at the end of the cut may go beyond it; at a discontinuity it must leave room for the next.
                    let frame = audio_frame_90k(stream);
                    let breaks = next.is_some() && !continues;
                    let is_joined = joins_sound(plan) && !plan.place.is_last;
                    let last_start = plan.end_90k - if is_joined { frame - 1 } else { 0 };
                    keep_90k = start..if breaks { end_90k - frame + 1 } else { last_start };
                    clock = clock.shifted(self.audio_delays_90k[index]);
                }
                audio_actions(track, clock, &keep_90k, !continues || !planned.continuous)
            } else {
                let range = plan.start_90k..plan.end_90k;
                let stays = |unit: &Unit| range.contains(&clock.to_output_90k(unit.pts));
                track.units.iter().map(|unit| if stays(unit) { Action::Copy } else { Action::Drop }).collect()
            };
            let (input_pid, output_pid, coding) = (track.pid, stream.pid, track.codec.coding());
            edits.push(Edit { input_pid, output_pid, clock, actions, keep_90k, coding });
        }
        edits
    }

    /// Where the last frame of a segment that is shown ends in the output.
    fn end_90k(&self, planned: &PlannedSegment, loaded: &LoadedSegment) -> i64 {
        let units = loaded.reference_track().map_or(&[][..], |track| &track.units[..]);
        let shown = units.iter().filter(|unit| unit.complete && planned.shown.contains(unit.pts));
        let last = planned.last_90k.or_else(|| shown.map(|unit| planned.clock.to_output_90k(unit.pts)).max());
        last.map_or(self.plan.start_90k, |last| last + planned.frame_90k)
    }

    /// Where audio frames start that stay, if there is no video.
    fn reference_audio_range(
        &self,
        stream: &Stream,
        planned: &PlannedSegment,
        continues: bool,
        end_90k: i64,
    ) -> Range<i64> {
        let hidden = if self.continues_range() { 0 } else { self.mux.hidden_audio_frames() };
        let first = self.plan.start_90k - hidden * audio_frame_90k(stream);
        let begins = !planned.continuous && planned.clock.output_90k > self.plan.start_90k;
        let start = if begins { planned.clock.output_90k } else { first };
        start..if continues { self.plan.end_90k } else { end_90k }
    }

    /// Whether the sound of the plan continues that of the range before.
    fn continues_range(&self) -> bool {
        joins_sound(self.plan) && self.plan.place.number > 0
    }

    /// Where the audio of segment `written` of those that are written may start, at the earliest. At a discontinuity, and
    /// where ranges are joined, it also decides by how much the audio is delayed, so that it begins where that before it has
    /// ended.
    fn audio_start(&mut self, index: usize, written: usize, planned: &PlannedSegment, track: &Track) -> i64 {
        let stream = &self.plan.program.streams[index];
        let frame = audio_frame_90k(stream);
        let is_join = self.continues_range() && self.audio_joins_90k[index].is_none();
        let first = self.plan.start_90k - (1 + self.mux.hidden_audio_frames()) * frame + 1;
        if planned.continuous && !is_join {
            return self.audio_joins_90k[index].unwrap_or(first);
        }
        self.audio_delays_90k[index] = 0;
        let end = self.audio_end_90k(stream.pid, frame);
        let starts = || track.units.iter().map(|unit| planned.clock.to_output_90k(unit.pts));
        let start = match end {
            None if is_join => self.plan.start_90k,
            None => return first,
            // It was silent there.
            Some(end) if is_join && end < self.plan.start_90k - frame => self.plan.start_90k - frame / 2,
            // The sound of the range begins behind what is decoded before it.
            Some(end) if written < self.plan.before().len() && starts().all(|start| start < end - frame) => {
                return i64::MAX;
            }
            Some(end) => {
                // The first frame that stays starts within half a frame of that end.
                if let Some(unit_start) = starts().filter(|start| *start <= end + frame / 2).max() {
                    let frames = (end - frame / 2 - unit_start + frame - 1).div_euclid(frame).max(0);
                    let frame_start = unit_start + frames * frame;
                    if (frame_start - end).abs() <= frame / 2 + 1 {
                        self.audio_delays_90k[index] = end - frame_start;
                    }
                }
                // The delay is rounded, which must not cost a frame.
                end - frame / 4
            }
        };
        if is_join {
            self.audio_joins_90k[index] = Some(start);
        }
        start
    }

    /// Where the audio before ends, as if nothing were hidden between the range before and this one.
    fn audio_end_90k(&self, pid: u16, frame: i64) -> Option<i64> {
        let end = self.mux.audio_end_90k(pid)?;
        if self.plan.place.number == 0 || end > self.plan.previous_end_90k() + frame {
            return Some(end);
        }
        joins_sound(self.plan).then_some(end + self.plan.place.hidden_90k)
    }
}

/// Whether sound goes on from one range to the next, rather than being hidden at the ends of both.
fn joins_sound(plan: &Plan) -> bool {
    matches!(plan.exact_type, ExactType::Smart | ExactType::Full | ExactType::Webm)
}

/// The duration of a frame of an audio stream.
fn audio_frame_90k(stream: &Stream) -> i64 {
    stream.audio.map_or(AUDIO_FRAME_90K, |audio| {
        i64::from(audio.samples) * TICKS_PER_SECOND / i64::from(audio.sample_rate.max(1))
    })
}

/// What is done with the units of an audio track, of which the frames that start in `keep` stay. `at_edge` says that a
/// discontinuity or an end of the cut is next to the segment: then the outer units are cut between frames, so that no
/// part of a frame stays.
fn audio_actions(track: &Track, clock: ClockMapping, keep: &Range<i64>, at_edge: bool) -> Vec<Action> {
    let starts: Vec<i64> = track.units.iter().map(|unit| clock.to_output_90k(unit.pts)).collect();
    let can_trim = track.codec.coding().is_some();
    let action = |(index, start): (usize, &i64)| {
        let next = starts.get(index + 1).copied();
        let begins_before = *start < keep.start;
        let ends_after =
            next.map_or(at_edge || keep.end - start < MAX_AUDIO_UNIT_90K, |next| next > keep.end);
        if *start >= keep.end || next.is_some_and(|next| next <= keep.start) {
            Action::Drop
        } else if can_trim && (begins_before || ends_after) {
            Action::Trim
        } else if begins_before {
            Action::Drop
        } else {
            Action::Copy
        }
    };
    let mut actions: Vec<Action> = starts.iter().enumerate().map(action).collect();
    if at_edge && can_trim {
        let stays = |action: &Action| *action != Action::Drop;
        for outer in [actions.iter().position(stays), actions.iter().rposition(stays)].into_iter().flatten() {
            actions[outer] = Action::Trim;
        }
    }
    actions
}

#[cfg(test)]
mod tests;
