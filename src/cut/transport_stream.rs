//! The MPEG transport stream as the container of a cut. Frames that stay are copied packet by packet.

use crate::error::Result;
use crate::mpegts::pes::{Pes, TICKS_PER_SECOND, Ticks};
use crate::mpegts::psi::Pmt;
use crate::mpegts::retime::{Rewriter, Step};
use crate::mpegts::writer::TsWriter;

use super::mux::{EditedSegment, Mux, NextFrame, Output};
use super::plan::Plan;
use super::segments::LoadedSegment;

/// By how much clock references (PCR) are ahead of the decoding of what they come with, at most.
const MAX_PCR_LEAD_90K: i64 = TICKS_PER_SECOND / 2;
/// The `stream_id` of the first video stream (ISO/IEC 13818-1, table 2-22).
const VIDEO_STREAM_ID: u8 = 0xE0;

/// A transport stream that is being written.
#[derive(Debug)]
pub(super) struct TransportStream {
    writer: TsWriter,
    buffer: Vec<u8>,
    start_90k: i64,
    end_90k: i64,
    /// By how much the clock references of the current segment are delayed.
    pcr_delay_90k: i64,
}

impl TransportStream {
    /// A stream for the program of a plan.
    pub(super) fn new(plan: &Plan) -> Self {
        Self::with_program(plan.program.pmt_pid, &plan.program.pmt, plan.start_90k, plan.end_90k)
    }

    /// A stream for a program, from `start_90k` to `end_90k`.
    pub(super) fn with_program(pmt_pid: u16, pmt: &Pmt, start_90k: i64, end_90k: i64) -> Self {
        let writer = TsWriter::new(pmt_pid, pmt);
        Self { writer, buffer: Vec::new(), start_90k, end_90k, pcr_delay_90k: 0 }
    }

    /// How much a segment's clock references must be delayed, so that they neither begin below zero nor lead by too much.
    fn pcr_delay_90k(&self, loaded: &LoadedSegment) -> i64 {
        let first = loaded.reference_track().and_then(|track| track.units.first());
        let reorder_delay = first.map_or(0, |unit| unit.pts.since(unit.dts));
        let room = (self.start_90k - reorder_delay - 1).clamp(0, MAX_PCR_LEAD_90K);
        (loaded.scan.pcr_lead_90k - room).max(0)
    }
}

impl Mux for TransportStream {
    fn begin(&mut self, plan: &Plan) {
        self.end_90k = plan.end_90k;
    }

    fn write(
        &mut self,
        segment: EditedSegment<'_>,
        next_frame: NextFrame<'_>,
        out: Output<'_>,
    ) -> Result<()> {
        let EditedSegment { loaded, clock, continuous, edits, .. } = segment;
        if !continuous {
            self.pcr_delay_90k = self.pcr_delay_90k(loaded);
        }
        let video = loaded.reference_track().map(|track| track.pid);
        let pid = edits.iter().find(|edit| Some(edit.input_pid) == video).map_or(0, |edit| edit.output_pid);
        let pcr_clock = clock.shifted(self.pcr_delay_90k);
        let mut rewriter = Rewriter::new(loaded.bytes()?, &loaded.scan, pcr_clock, self.end_90k, edits);
        loop {
            let step = rewriter.step(&mut self.writer, &mut self.buffer);
            if step == Step::Insert {
                let frame = next_frame()?;
                let (pts, dts) = (Ticks::new(frame.pts_90k), Ticks::new(frame.dts_90k));
                let pes = Pes { stream_id: VIDEO_STREAM_ID, pts, dts, payload: frame.data };
                self.writer.insert(&pes, pid, frame.sync, &mut self.buffer);
            }
            if !self.buffer.is_empty() {
                out(&self.buffer)?;
                self.buffer.clear();
            }
            if step == Step::Done {
                return Ok(());
            }
        }
    }

    fn audio_end_90k(&self, pid: u16) -> Option<i64> {
        self.writer.audio_end_90k(pid)
    }
}
