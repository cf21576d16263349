//! The parts of a cut woven into one stream: what full feeds to ffmpeg, and smart to the client.

use crate::error::Result;
use crate::mpegts::pes::TICKS_PER_SECOND;
use crate::mpegts::remux::Pes;
use crate::mpegts::retime::{Action, Clock, Joiner, Step, Walk};

use super::edit::{Editor, Follows, Pictures};
use super::plan::Plan;
use super::source::Loaded;

/// Takes finished bytes away.
pub(super) type Sink<'a> = &'a mut dyn FnMut(&mut Vec<u8>) -> Result<()>;

/// The stream of a cut in the making.
#[derive(Debug)]
pub(super) struct Weaver {
    plan: Plan,
    joiner: Joiner,
    editor: Editor,
    buffer: Vec<u8>,
    /// The lead of the clock references in the output, at most.
    lead_90k: i64,
    pcr_later: i64,
}

impl Weaver {
    pub(super) fn new(plan: Plan) -> Self {
        let joiner = Joiner::new(plan.program.pmt_pid, &plan.program.pmt);
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
        let planned = &self.plan.parts[index];
        let follows = match self.plan.parts.get(index + 1) {
            Some(next) if next.joined => Follows::Joined,
            Some(_) => Follows::Break,
            None => Follows::End,
        };
        let pictures = Pictures { actions, end: self.end(index, loaded) };
        let edits = self.editor.edits(&self.plan, planned, &loaded.scan, pictures, follows, &self.joiner)?;
        let driver = loaded.scan.driver().map(|track| track.pid);
        let pid = edits.iter().find(|edit| Some(edit.from) == driver).map_or(0, |edit| edit.to);
        let clock = self.pcr_clock(index, loaded);
        let mut walk = Walk::new(&loaded.bytes, &loaded.scan, clock, edits);
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

    /// Where the last frame of a part that is shown ends in the output.
    fn end(&self, index: usize, loaded: &Loaded) -> i64 {
        let planned = &self.plan.parts[index];
        let units = loaded.scan.driver().map_or(&[][..], |track| &track.units[..]);
        let shown = units.iter().filter(|unit| unit.complete && planned.window.shows(unit.pts));
        let last = planned.last.or_else(|| shown.map(|unit| planned.clock.place(unit.pts)).max());
        last.map_or(self.plan.start, |last| last + planned.frame_90k)
    }

    /// The clock for a part's clock references, which may not lead by more than the output has room for.
    fn pcr_clock(&mut self, index: usize, loaded: &Loaded) -> Clock {
        let planned = &self.plan.parts[index];
        if !planned.joined {
            let units = loaded.scan.driver().map_or(&[][..], |track| &track.units[..]);
            let delay = units.first().map_or(0, |unit| unit.pts.since(unit.dts));
            let room = (self.plan.start - delay - 1).clamp(0, self.lead_90k);
            self.pcr_later = (loaded.scan.lead_90k - room).max(0);
        }
        planned.clock.later(self.pcr_later)
    }
}
