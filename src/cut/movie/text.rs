//! A text track that shows the wall clock, a sample for each second.

use crate::error::Result;
use crate::mp4::entries::text_sample;
use crate::mp4::tracks::{Sample, Track, TrackKind};
use crate::mpegts::pes::TICKS_PER_SECOND;
use crate::timestamp::{Span, Timestamp};

use crate::cut::plan::{PlannedSegment, to_90k};
use crate::cut::segments::LoadedSegment;

const SECOND: Span = Span::from_secs(1);

/// The samples of the text track so far.
#[derive(Debug, Default)]
pub(super) struct WallClock {
    /// When each sample begins in the output, its length in bytes, and its offset in the movie's samples.
    samples: Vec<(i64, u32, u64)>,
    /// The time that the last sample shows.
    shown: Option<Timestamp>,
}

impl WallClock {
    /// Adds the samples of a segment; their bytes come to lie at `offset`.
    pub(super) fn add(
        &mut self,
        planned: &PlannedSegment,
        loaded: &LoadedSegment,
        offset: u64,
    ) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let times: Vec<Timestamp> = loaded
            .frames()?
            .0
            .into_iter()
            .filter(|pts| planned.shown.contains(*pts))
            .map(|pts| planned.shown.time(pts))
            .collect();
        let Some((first, last)) = times.first().zip(times.last()) else { return Ok(bytes) };
        let lowest_90k = planned.clock.to_output_90k(planned.shown.lowest_pts);
        // A sample begins with the first picture, and with each whole second.
        let mut time = match self.shown.filter(|_| planned.continuous) {
            Some(shown) => shown.whole_second() + SECOND,
            None => *first,
        };
        while time <= *last {
            let start_90k = lowest_90k + to_90k(time - planned.shown.segment_start);
            let sample = text_sample(&text(time));
            let at = offset + bytes.len() as u64;
            self.samples.push((start_90k, u32::try_from(sample.len()).unwrap_or(0), at));
            bytes.extend(sample);
            self.shown = Some(time);
            time = time.whole_second() + SECOND;
        }
        Ok(bytes)
    }

    /// The track, from `start_90k` to `end_90k` in the output.
    pub(super) fn track(&self, start_90k: i64, end_90k: i64) -> Track {
        let timescale = u32::try_from(TICKS_PER_SECOND).unwrap_or(u32::MAX);
        let mut track = Track::new(TrackKind::Text, timescale, None);
        let ends = self.samples.iter().skip(1).map(|next| next.0).chain([end_90k]);
        let mut begin_90k = start_90k;
        for ((_, size, offset), end_90k) in self.samples.iter().zip(ends) {
            let duration = u32::try_from(end_90k - begin_90k).unwrap_or(0);
            track.push(Sample { size: *size, duration, composition: 0, sync: true });
            track.end_chunk(*offset, 1);
            begin_90k += i64::from(duration);
        }
        track
    }
}

/// The time as it is shown.
fn text(time: Timestamp) -> String {
    let text = time.to_string();
    format!("{} UTC", text.get(..19).unwrap_or(&text).replace('T', " "))
}
