//! What becomes of the streams of a part: which stream of the output each goes to, and which units stay.

use crate::error::Result;
use crate::mpegts::codec::Codec;
use crate::mpegts::pes::TICKS_PER_SECOND;
use crate::mpegts::probe::{Program, Stream};
use crate::mpegts::retime::{Action, ClockMapping, Edit};
use crate::mpegts::scan::{Scan, Track};
use crate::mpegts::writer::TsWriter;

use super::plan::{Plan, Planned};
use super::source::unsupported;

/// A length for frames of sound that tell none, in ticks.
const SOUND_FRAME: i64 = TICKS_PER_SECOND / 40;

/// No unit of sound is longer, in ticks: near silence hundreds of frames go into one.
const LONG_UNIT: i64 = 20 * TICKS_PER_SECOND;

/// The streams of a cut on their way into the output, part by part.
#[derive(Debug)]
pub(super) struct Editor {
    program: Program,
    /// By how much the sound of each stream is set off against the pictures, so that it goes on without a gap.
    shifts: Vec<i64>,
}

/// What a part's video comes to.
#[derive(Debug)]
pub(super) struct Pictures {
    /// What becomes of each unit.
    pub(super) actions: Vec<Action>,
    /// Where the part's last picture ends that is shown.
    pub(super) end: i64,
}

/// What comes after a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Follows {
    /// A part on the same clock.
    Joined,
    /// A part behind a hole or on another clock.
    Break,
    /// Nothing.
    End,
}

/// Where sound may start that is kept, in ticks of the output.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    from: i64,
    to: i64,
}

impl Editor {
    /// Begins with the first part.
    pub(super) fn new(plan: &Plan) -> Self {
        Self { program: plan.program.clone(), shifts: vec![0; plan.program.streams.len()] }
    }

    /// The edits of the next part.
    ///
    /// # Errors
    /// [`crate::error::Error::Unsupported`] if its pictures or sound are of another kind than the first part's.
    pub(super) fn edits(
        &mut self,
        plan: &Plan,
        planned: &Planned,
        scan: &Scan,
        pictures: Pictures,
        follows: Follows,
        joiner: &TsWriter,
    ) -> Result<Vec<Edit>> {
        let edge = follows != Follows::Joined;
        let driver = scan.reference_track().map(|track| track.pid);
        let mut pictures = Some(pictures);
        let mut edits = Vec::new();
        let end = pictures.as_ref().map_or(0, |pictures| pictures.end);
        let streams = self.program.streams.clone();
        for (index, stream) in streams.iter().enumerate() {
            let Some(track) = counterpart(&self.program, index, scan) else { continue };
            if track.codec != stream.codec {
                return Err(unsupported(&planned.part, "is of another codec than the ones before"));
            }
            let is_driver = driver == Some(track.pid);
            let edit = if is_driver && track.codec.is_video() {
                let actions = pictures.take().map(|pictures| pictures.actions).unwrap_or_default();
                edit(track, stream, planned.clock, actions, 0..0)
            } else if is_driver {
                let from = if planned.joined { plan.start } else { planned.clock.output_90k.max(plan.start) };
                let bounds = Bounds { from, to: if edge { end } else { plan.end } };
                edit(
                    track,
                    stream,
                    planned.clock,
                    sound_actions(track, planned.clock, bounds, edge || !planned.joined),
                    bounds.from..bounds.to,
                )
            } else if track.codec.is_audio() {
                let from = self.sound_start(index, plan, planned, track, joiner);
                // The end of the cut may be in the middle of a frame, which stays. At a break it goes, so that there is
                // room for what comes.
                let to = if follows == Follows::Break { end - frame_of(stream) + 1 } else { plan.end };
                let clock = planned.clock.shifted(self.shifts[index]);
                let actions = sound_actions(track, clock, Bounds { from, to }, edge || !planned.joined);
                edit(track, stream, clock, actions, from..to)
            } else {
                let shown = |unit: &crate::mpegts::scan::Unit| {
                    let at = planned.clock.to_output_90k(unit.pts);
                    plan.start <= at && at < plan.end
                };
                let actions =
                    track.units.iter().map(|unit| if shown(unit) { Action::Copy } else { Action::Drop });
                edit(track, stream, planned.clock, actions.collect(), 0..0)
            };
            edits.push(edit);
        }
        Ok(edits)
    }

    /// Where the sound of a part may start, and by how much it is set off so that it goes on from the part before.
    fn sound_start(
        &mut self,
        index: usize,
        plan: &Plan,
        planned: &Planned,
        track: &Track,
        joiner: &TsWriter,
    ) -> i64 {
        let Some(stream) = self.program.streams.get(index) else { return plan.start };
        let frame = frame_of(stream);
        let first = plan.start - frame + 1;
        if planned.joined {
            return first;
        }
        self.shifts[index] = 0;
        let Some(end) = joiner.audio_end_90k(stream.pid) else { return first };
        // The first frame that is kept starts within half a frame of where the sound before ended.
        let from = end - frame / 2;
        let frames = track.units.iter().map(|unit| planned.clock.to_output_90k(unit.pts));
        let before = frames.filter(|at| *at <= end + frame / 2).max();
        if let Some(at) = before {
            let whole = (from - at + frame - 1).div_euclid(frame).max(0);
            let natural = at + whole * frame;
            if (natural - end).abs() <= frame / 2 + 1 {
                self.shifts[index] = end - natural;
            }
        }
        // From here on the shift counts, and rounding must not cost a frame.
        end - frame / 4
    }
}

fn edit(
    track: &Track,
    stream: &Stream,
    clock: ClockMapping,
    actions: Vec<Action>,
    keep: std::ops::Range<i64>,
) -> Edit {
    Edit {
        input_pid: track.pid,
        output_pid: stream.pid,
        clock,
        actions,
        keep_90k: keep,
        coding: track.codec.coding(),
    }
}

/// The length of a frame of a sound, in ticks.
fn frame_of(stream: &Stream) -> i64 {
    stream.audio.map_or(SOUND_FRAME, |sound| {
        i64::from(sound.samples) * TICKS_PER_SECOND / i64::from(sound.sample_rate.max(1))
    })
}

/// The stream of a part that goes where stream `index` of the first part went: the one with its PID if that is of the
/// same kind in both, else the one that has as many of its kind before it.
pub(super) fn counterpart<'a>(program: &Program, index: usize, scan: &'a Scan) -> Option<&'a Track> {
    let stream = program.streams.get(index)?;
    let kind = |codec: Codec| (codec.is_video(), codec.is_audio());
    let same = |track: &&Track| kind(track.codec) == kind(stream.codec);
    let ordinal =
        program.streams[..index].iter().filter(|other| kind(other.codec) == kind(stream.codec)).count();
    scan.tracks
        .iter()
        .find(|track| track.pid == stream.pid && track.codec == stream.codec)
        .or_else(|| scan.tracks.iter().filter(same).nth(ordinal))
}

/// What becomes of each unit of a sound. At an edge frames are cut apart, so that nothing of a frame is left alone.
fn sound_actions(track: &Track, clock: ClockMapping, bounds: Bounds, edges: bool) -> Vec<Action> {
    let starts: Vec<i64> = track.units.iter().map(|unit| clock.to_output_90k(unit.pts)).collect();
    let mut actions = vec![Action::Copy; starts.len()];
    for (index, start) in starts.iter().enumerate() {
        let next = starts.get(index + 1).copied();
        actions[index] = if *start >= bounds.to || next.is_some_and(|next| next <= bounds.from) {
            Action::Drop
        } else if *start < bounds.from
            || next.map_or(edges || bounds.to - start < LONG_UNIT, |next| next > bounds.to)
        {
            Action::Trim
        } else {
            Action::Copy
        };
        if actions[index] == Action::Trim && track.codec.coding().is_none() {
            actions[index] = if *start < bounds.from { Action::Drop } else { Action::Copy };
        }
    }
    if edges && track.codec.coding().is_some() {
        let kept = |action: &Action| *action != Action::Drop;
        for found in [actions.iter().position(kept), actions.iter().rposition(kept)].into_iter().flatten() {
            actions[found] = Action::Trim;
        }
    }
    actions
}
