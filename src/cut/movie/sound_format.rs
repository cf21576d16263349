//! The format that ffmpeg encodes a sound in, for sounds that begin late: a movie tells it before their first frame.

use std::io::Write;

use crate::cut::encode::failed;
use crate::cut::full::blame;
use crate::cut::plan::{CutSegment, Plan};
use crate::cut::program::counterparts;
use crate::cut::segments::LoadedSegment;
use crate::cut::target::{AAC_FORMAT, AAC_OPTIONS};
use crate::error::{Error, Result};
use crate::ffmpeg::{INPUT_OPTIONS, Tools};
use crate::mpegts::probe::Program;
use crate::mpegts::samples::{SampleFormat, SampleIndex};
use crate::mpegts::scan::Scan;

/// Where the sounds of a cut are found, and what encodes them.
#[derive(Debug)]
pub(super) struct SoundFormats {
    program: Program,
    found_in: Vec<Option<CutSegment>>,
    max_segment_bytes: u64,
    tools: Tools,
}

impl SoundFormats {
    /// Those of a plan.
    pub(super) fn new(plan: &Plan, tools: &Tools) -> Self {
        Self {
            program: plan.program.clone(),
            found_in: plan.found_in.clone(),
            max_segment_bytes: plan.max_segment_bytes,
            tools: tools.clone(),
        }
    }

    /// The format of the sound on PID `pid` of the program, by encoding some of it.
    ///
    /// # Errors
    /// `Unsupported` if it cannot be decoded; those of [`LoadedSegment::load`] and of [`crate::ffmpeg::Child::next_chunk`].
    pub(super) fn find(&self, pid: u16, is_cancelled: &dyn Fn() -> bool) -> Result<SampleFormat> {
        let unsupported = || {
            let why = format!("ffmpeg finds no frame in the sound on PID {pid:#x}; a cut as .ts may keep it");
            Error::Unsupported(why)
        };
        let index = self.program.streams.iter().position(|stream| stream.pid == pid);
        let segment = index.and_then(|index| self.found_in.get(index)?.as_ref()).ok_or_else(unsupported)?;
        let loaded = LoadedSegment::load(segment, None, self.max_segment_bytes)?;
        let tracks = counterparts(&self.program, &loaded.scan);
        let track = index.and_then(|index| tracks[index]).ok_or_else(unsupported)?;
        let args = format!(
            "-hide_banner -v error {INPUT_OPTIONS} -i pipe:0 -map 0:i:{} -filter:a {AAC_FORMAT} \
            {AAC_OPTIONS} -frames:a 1 -f mpegts pipe:1",
            track.pid
        );
        let bytes = loaded.into_bytes()?;
        let feed = Box::new(move |stdin: &mut dyn Write| {
            stdin.write_all(&bytes).map_err(Error::io("write", "ffmpeg's input"))
        });
        let mut child = self.tools.ffmpeg(&args, feed)?;
        let mut output = Vec::new();
        while let Some(chunk) = child.next_chunk(is_cancelled).map_err(blame)? {
            output.extend(chunk);
        }
        let scan = Scan::of(&output, true).ok_or_else(|| failed("its output has no program tables"))?;
        let samples = SampleIndex::of(&output, &scan);
        let formats = samples.tracks.first().and_then(|track| track.formats.first());
        formats.map(|(_, format)| SampleFormat::clone(format)).ok_or_else(unsupported)
    }
}
