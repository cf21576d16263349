//! The entries of a media playlist of fragmented MP4: their addresses, and those of the initialization sections.

use std::sync::Arc;

use crate::archive::Archive;
use crate::archive::hour::HourIndex;
use crate::archive::runs::run_starts;
use crate::archive::selection::Chosen;
use crate::cut::first_frames::FirstFrames;
use crate::cut::fragment::time_offset;
use crate::error::{Error, Result};
use crate::hls::media::Fragment;
use crate::http::fmp4::{fragment_query, init_query};
use crate::mpegts::pes::Ticks;

/// How many files of a run are looked at that turn out to have no frames, or cannot be read.
const MAX_USELESS: usize = 8;

/// Finds the addresses of fragments, for segments in order.
#[derive(Debug)]
pub(super) struct Fragments<'a> {
    archive: &'a Archive,
    first_frames: &'a FirstFrames,
    init_query: String,
    hour: Option<FragmentedHour>,
}

/// The hour of the last segment.
#[derive(Debug)]
struct FragmentedHour {
    index: Arc<HourIndex>,
    /// For each segment the position of the first one of its run.
    run_starts: Vec<usize>,
    /// The position of the first segment of the last run, and the query of the fragments of that run.
    run: Option<(usize, String)>,
}

impl<'a> Fragments<'a> {
    pub(super) fn new(archive: &'a Archive, first_frames: &'a FirstFrames) -> Self {
        Self { archive, first_frames, init_query: init_query(), hour: None }
    }

    /// How a segment is addressed.
    ///
    /// # Errors
    /// [`Error::Changed`] if the segment is not in the index of its hour, which would be a bug.
    pub(super) fn fragment(&mut self, chosen: &Chosen) -> Result<Fragment<'_>> {
        let (index, position) = chosen.place;
        let known = self.hour.take().filter(|hour| Arc::ptr_eq(&hour.index, index));
        let mut hour = known.unwrap_or_else(|| FragmentedHour::new(index));
        let missing = || Error::Changed(format!("hour `{}`", chosen.segment.hour));
        let first = *hour.run_starts.get(position).ok_or_else(missing)?;
        if hour.run.as_ref().is_none_or(|(known, _)| *known != first) {
            let starts = &hour.run_starts;
            let same_run = (first..starts.len()).filter(|position| starts[*position] == first);
            let offset = find_offset(self.archive, self.first_frames, chosen, same_run);
            hour.run = Some((first, fragment_query(offset)));
        }
        let hour = self.hour.insert(hour);
        let query = hour.run.as_ref().map_or("", |(_, query)| query);
        let init = hour.index.segment(first).ok_or_else(missing)?;
        Ok(Fragment { init, init_query: &self.init_query, query })
    }
}

impl FragmentedHour {
    fn new(index: &Arc<HourIndex>) -> Self {
        Self { index: Arc::clone(index), run_starts: run_starts(index.segments()), run: None }
    }
}

/// The time offset of a run, which consists of the segments at `positions` in the hour of one that was chosen: it puts the
/// first frame of the first one that is there at the time in its name. `None` if no frame is found.
fn find_offset(
    archive: &Archive,
    first_frames: &FirstFrames,
    chosen: &Chosen,
    positions: impl Iterator<Item = usize>,
) -> Option<Ticks> {
    let mut useless = 0;
    for segment in positions.filter_map(|position| chosen.place.0.segment(position)) {
        match first_frames.find(&archive.segment_path(chosen.variant, &segment)) {
            Ok(Some(pts)) => return Some(time_offset(segment.start(), pts)),
            // Deleted since the hour was read.
            Err(Error::NotFound(_)) => continue,
            Ok(None) => {}
            // The playlist is useful all the same: by the names alone it has this segment.
            Err(error) => log::warn!("{error}"),
        }
        useless += 1;
        if useless == MAX_USELESS {
            break;
        }
    }
    None
}
