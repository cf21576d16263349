//! The seam between cuts and containers: coded frames go into a [`Mux`], segment by segment, and bytes come out.
//!
//! [`Muxer`] decides which frames of each segment of a plan stay, and when they are shown. A [`Mux`] writes them. A new
//! container is a file that implements [`Mux`], and a line where a cut chooses it.

use std::fmt::Debug;
use std::io::Write;

use crate::error::{Error, Result};
use crate::mpegts::retime::{Action, ClockMapping, Edit};

use super::edit::Editor;
use super::plan::{Plan, PlannedSegment};
use super::segments::LoadedSegment;

/// Takes finished bytes away.
pub(super) type Output<'a> = &'a mut dyn FnMut(&[u8]) -> Result<()>;

/// Returns the next frame that was encoded anew.
pub(super) type NextFrame<'a> = &'a mut dyn FnMut() -> Result<EncodedFrame>;

/// A container that is being written.
pub(super) trait Mux: Debug {
    /// Writes the frames of a segment that stay, each track in the order of decoding. `next_frame` returns those that
    /// take the place of replaced frames of the reference track, in order.
    fn write(&mut self, segment: EditedSegment<'_>, next_frame: NextFrame<'_>, out: Output<'_>)
    -> Result<()>;

    /// Where the last trimmed sound on an output PID ended, in ticks of 90 kHz; `None` if there was none.
    fn audio_end_90k(&self, pid: u16) -> Option<i64>;
}

/// A segment and what stays of it. Frames are the units of its tracks.
#[derive(Debug)]
pub(super) struct EditedSegment<'a> {
    pub(super) loaded: &'a LoadedSegment,
    /// The segment's clock, mapped to that of the output.
    pub(super) clock: ClockMapping,
    /// Whether its clock continues that of the segment before.
    pub(super) continuous: bool,
    /// What is done with each track; tracks without an edit are left out.
    pub(super) edits: Vec<Edit>,
}

/// A picture that was encoded anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EncodedFrame {
    /// When it is shown, in ticks of the output.
    pub(super) pts_90k: i64,
    /// When it is decoded, in ticks of the output.
    pub(super) dts_90k: i64,
    /// Whether decoding can begin with it.
    pub(super) sync: bool,
    /// The access unit, as a byte stream with start codes.
    pub(super) data: Vec<u8>,
}

/// Writes a plan into a container, segment by segment.
#[derive(Debug)]
pub(super) struct Muxer<'a> {
    plan: &'a Plan,
    editor: Editor<'a>,
    mux: Box<dyn Mux>,
}

impl<'a> Muxer<'a> {
    pub(super) fn new(plan: &'a Plan, mux: Box<dyn Mux>) -> Self {
        Self { plan, editor: Editor::new(plan), mux }
    }

    /// Writes segment `index`, of whose reference video track `actions` are done with the units.
    pub(super) fn segment(
        &mut self,
        index: usize,
        loaded: &LoadedSegment,
        actions: Vec<Action>,
        next_frame: NextFrame<'_>,
        out: Output<'_>,
    ) -> Result<()> {
        let mut planned = self.plan.written().skip(index);
        let Some((planned, next)) = planned.next().map(|first| (first, planned.next())) else {
            return Ok(());
        };
        let video = (actions, self.end_90k(planned, loaded));
        let mux = &self.mux;
        let edits = self.editor.edits(planned, next, &loaded.scan, video, &|pid| mux.audio_end_90k(pid))?;
        let segment = EditedSegment { loaded, clock: planned.clock, continuous: planned.continuous, edits };
        self.mux.write(segment, next_frame, out)
    }

    /// Where the last frame of a segment that is shown ends in the output.
    fn end_90k(&self, planned: &PlannedSegment, loaded: &LoadedSegment) -> i64 {
        let units = loaded.reference_track().map_or(&[][..], |track| &track.units[..]);
        let shown = units.iter().filter(|unit| unit.complete && planned.shown.contains(unit.pts));
        let last = planned.last_90k.or_else(|| shown.map(|unit| planned.clock.to_output_90k(unit.pts)).max());
        last.map_or(self.plan.start_90k, |last| last + planned.frame_90k)
    }
}

/// Sends bytes to the client.
///
/// # Errors
/// [`Error::Cancelled`] once `is_cancelled` returns true; [`Error::Io`] if they cannot be sent.
pub(super) fn send(bytes: &[u8], out: &mut dyn Write, is_cancelled: &dyn Fn() -> bool) -> Result<()> {
    if is_cancelled() {
        return Err(Error::Cancelled);
    }
    out.write_all(bytes).map_err(Error::io("write", "the cut"))
}

#[cfg(test)]
mod tests;
