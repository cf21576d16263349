//! The seam between cuts and containers: coded frames go into a [`Mux`], segment by segment, and bytes come out.
//!
//! A new container is a file that implements [`Mux`], and a line in [`super::PreparedCut::run`], which creates the container
//! and can write what comes after the last segment.

use std::io::Write;

use crate::error::{Error, Result};
use crate::mpegts::retime::{ClockMapping, Edit};

use super::plan::Plan;
use super::segments::LoadedSegment;

/// Takes finished bytes away.
pub(super) type Output<'a> = &'a mut dyn FnMut(&[u8]) -> Result<()>;

/// Returns the next frame that was re-encoded.
pub(super) type NextFrame<'a> = &'a mut dyn FnMut() -> Result<EncodedFrame>;

/// A container that is being written.
pub(super) trait Mux {
    /// The segments to come are those of this plan.
    fn begin(&mut self, _plan: &Plan) {}

    /// Writes the frames of a segment that stay, each track in the order of decoding. `next_frame` returns those that
    /// take the place of replaced frames of the reference track, in order.
    fn write(&mut self, segment: EditedSegment<'_>, next_frame: NextFrame<'_>, out: Output<'_>)
    -> Result<()>;

    /// Where the last trimmed sound on an output PID ended, in ticks of 90 kHz; `None` if there was none.
    fn audio_end_90k(&self, pid: u16) -> Option<i64>;

    /// How many frames of sound before the cut the container takes and hides.
    fn hidden_audio_frames(&self) -> i64 {
        0
    }
}

/// A segment and what stays of it. Frames are the units of its tracks.
#[derive(Debug)]
pub(super) struct EditedSegment<'a> {
    /// Which of the plan's segments it is, counted as [`super::plan::Plan::written`] does.
    pub(super) index: usize,
    pub(super) loaded: &'a LoadedSegment,
    /// The segment's clock, mapped to that of the output.
    pub(super) clock: ClockMapping,
    /// Whether its clock continues that of the segment before.
    pub(super) continuous: bool,
    /// What is done with each track; tracks without an edit are left out.
    pub(super) edits: Vec<Edit>,
}

/// A picture that was re-encoded.
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
mod tests {
    use super::*;

    #[test]
    fn nothing_is_sent_once_a_cut_is_cancelled() {
        let mut out = Vec::new();
        send(b"one", &mut out, &|| false).expect("bytes");
        assert!(matches!(send(b"two", &mut out, &|| true), Err(Error::Cancelled)));
        assert_eq!(out, b"one");
    }
}
