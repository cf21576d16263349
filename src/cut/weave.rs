//! The parts of a cut woven into one stream: what full feeds to ffmpeg, and smart to the client.

use crate::error::Result;
use crate::mpegts::pes::{Pes, TICKS_PER_SECOND};
use crate::mpegts::retime::{Action, Rewriter, Step};
use crate::mpegts::writer::TsWriter;

use super::edit::{Editor, Follows, Pictures};
use super::plan::{Plan, Planned};
use super::source::{self, Loaded};

/// Takes finished bytes away.
pub(super) type Sink<'a> = &'a mut dyn FnMut(&mut Vec<u8>) -> Result<()>;

/// The stream of a cut in the making.
#[derive(Debug)]
pub(super) struct Weaver {
    plan: Plan,
    joiner: TsWriter,
    editor: Editor,
    buffer: Vec<u8>,
    /// The lead of the clock references in the output, at most.
    lead_90k: i64,
    pcr_later: i64,
}

impl Weaver {
    pub(super) fn new(plan: Plan) -> Self {
        let joiner = TsWriter::new(plan.program.pmt_pid, &plan.program.pmt);
        let editor = Editor::new(&plan);
        Self { joiner, editor, buffer: Vec::new(), lead_90k: TICKS_PER_SECOND / 2, pcr_later: 0, plan }
    }

    /// Takes part `index` into the stream. `insert` gives the units that replace others, in order.
    pub(super) fn part(
        &mut self,
        index: usize,
        loaded: &Loaded,
        actions: Vec<Action>,
        insert: &mut dyn FnMut() -> Result<(Pes, bool)>,
        sink: Sink<'_>,
    ) -> Result<()> {
        let Some(planned) = self.plan.part(index) else { return Ok(()) };
        let follows = match self.plan.part(index + 1) {
            Some(next) if next.joined => Follows::Joined,
            Some(_) => Follows::Break,
            None => Follows::End,
        };
        let pictures = Pictures { actions, end: self.end(planned, loaded) };
        let edits = self.editor.edits(&self.plan, planned, &loaded.scan, pictures, follows, &self.joiner)?;
        let driver = loaded.scan.reference_track().map(|track| track.pid);
        let pid = edits.iter().find(|edit| Some(edit.input_pid) == driver).map_or(0, |edit| edit.output_pid);
        self.shorten_lead(index, loaded);
        let Some(clock) = self.plan.part(index).map(|planned| planned.clock.shifted(self.pcr_later)) else {
            return Ok(());
        };
        let mut walk = Rewriter::new(&loaded.bytes, &loaded.scan, clock, self.plan.end, edits);
        loop {
            let step = walk.step(&mut self.joiner, &mut self.buffer);
            if step == Step::Insert {
                let (pes, random_access) = insert()?;
                self.joiner.insert(&pes, pid, random_access, &mut self.buffer);
            }
            sink(&mut self.buffer)?;
            if step == Step::Done {
                return Ok(());
            }
        }
    }

    /// Takes the sound in that the segment behind the last part has of the last pictures.
    pub(super) fn tail(&mut self, sink: Sink<'_>) -> Result<()> {
        let Some(Planned { part, .. }) = self.plan.tail.clone() else { return Ok(()) };
        let loaded = source::load(&part)?;
        let pictures = loaded.scan.reference_track().map_or(0, |track| track.units.len());
        let mut nothing = || Err(source::unsupported(&part, "is not what it was"));
        let index = self.plan.parts.len();
        self.part(index, &loaded, vec![Action::Drop; pictures.max(1)], &mut nothing, sink)
    }

    /// Where the last frame of a part that is shown ends in the output.
    fn end(&self, planned: &Planned, loaded: &Loaded) -> i64 {
        let units = loaded.scan.reference_track().map_or(&[][..], |track| &track.units[..]);
        let shown = units.iter().filter(|unit| unit.complete && planned.window.shows(unit.pts));
        let last = planned.last.or_else(|| shown.map(|unit| planned.clock.to_output_90k(unit.pts)).max());
        last.map_or(self.plan.start, |last| last + planned.frame_90k)
    }

    /// Sees to it that the clock references of a part do not lead by more than the output has room for.
    fn shorten_lead(&mut self, index: usize, loaded: &Loaded) {
        if self.plan.part(index).is_some_and(|planned| !planned.joined) {
            let units = loaded.scan.reference_track().map_or(&[][..], |track| &track.units[..]);
            let delay = units.first().map_or(0, |unit| unit.pts.since(unit.dts));
            let room = (self.plan.start - delay - 1).clamp(0, self.lead_90k);
            self.pcr_later = (loaded.scan.pcr_lead_90k - room).max(0);
        }
    }
}
