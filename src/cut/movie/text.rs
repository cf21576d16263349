//! A text track that shows the wall clock, a sample for each second.

use crate::mp4::entries::text_sample;
use crate::mp4::tracks::{Sample, Track, TrackKind};
use crate::mpegts::pes::TICKS_PER_SECOND;
use crate::timestamp::{Span, Timestamp};

use crate::cut::plan::{PlannedSegment, to_90k};

const SECOND: Span = Span::from_secs(1);

/// The times at which the text changes: with the first picture, with each whole second, and where something is missing.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// The time that the last sample shows.
    shown: Option<Timestamp>,
}

impl Changes {
    /// The changes in the next segment of a plan: when each is shown in the output, and the time that it shows.
    pub(super) fn push(&mut self, planned: &PlannedSegment) -> Vec<(i64, Timestamp)> {
        let lowest_90k = planned.clock.to_output_90k(planned.shown.lowest_pts);
        let mut time = match self.shown.filter(|_| planned.continuous) {
            Some(shown) => shown.whole_second() + SECOND,
            None => planned.shown.time(planned.clock.input),
        };
        let mut changes = Vec::new();
        loop {
            let start_90k = lowest_90k + to_90k(time - planned.shown.segment_start);
            if start_90k >= planned.end_90k() {
                return changes;
            }
            changes.push((start_90k, time));
            self.shown = Some(time);
            time = time.whole_second() + SECOND;
        }
    }
}

/// The samples of the text track so far.
#[derive(Debug, Default)]
pub(super) struct WallClock {
    changes: Changes,
    /// When each sample begins in the output, its length in bytes, and its offset in the movie's samples.
    samples: Vec<(i64, u32, u64)>,
}

impl WallClock {
    /// What comes next is of another range.
    pub(super) fn end_range(&mut self) {
        self.changes = Changes::default();
    }

    /// Adds the samples of the next segment of a plan, whose output is that of the movie; their bytes come to lie at `offset`.
    pub(super) fn add(&mut self, planned: &PlannedSegment, offset: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (start_90k, time) in self.changes.push(planned) {
            let sample = wall_clock_sample(time);
            let at = offset + bytes.len() as u64;
            self.samples.push((start_90k, u32::try_from(sample.len()).unwrap_or(0), at));
            bytes.extend(sample);
        }
        bytes
    }

    /// The track of a movie that lasts so long.
    pub(super) fn track(&self, duration_90k: i64) -> Track {
        let timescale = u32::try_from(TICKS_PER_SECOND).unwrap_or(u32::MAX);
        let mut track = Track::new(TrackKind::Text, timescale, None);
        let ends = self.samples.iter().skip(1).map(|next| next.0).chain([duration_90k]);
        let mut begin_90k = 0;
        for ((_, size, offset), end_90k) in self.samples.iter().zip(ends) {
            let duration = u32::try_from(end_90k - begin_90k).unwrap_or(0);
            track.push(Sample { size: *size, duration, composition: 0, sync: true });
            track.end_chunk(*offset, 1);
            begin_90k += i64::from(duration);
        }
        track
    }
}

/// A sample that shows the time.
pub(super) fn wall_clock_sample(time: Timestamp) -> Vec<u8> {
    let text = time.to_string();
    text_sample(&format!("{} UTC", text.get(..19).unwrap_or(&text).replace('T', " ")))
}
