//! A track of a movie: its tables, and when its samples are decoded and shown.
//!
//! Times come in on the clock of the cut's output, in ticks of 90 kHz. The media clock of a track starts with its first
//! sample; an edit list makes the presentation begin where the cut does.

use std::ops::Range;

use crate::mp4::tracks::{EditEntry, Sample, Track, TrackKind};
use crate::mpegts::pes::TICKS_PER_SECOND;

/// A track that is being built.
#[derive(Debug)]
pub(super) struct MovieTrack {
    pub(super) table: Track,
    /// The output PID of the stream that it is made of.
    pub(super) pid: u16,
    /// The sample description of the next sample, once it is known.
    pub(super) description: Option<u32>,
    timescale: i64,
    clock: MediaClock,
    /// When the first sample of the current range that is shown is shown.
    range_start_90k: Option<i64>,
}

/// How the times of samples are turned into durations.
#[derive(Debug)]
enum MediaClock {
    /// By their decoding times.
    Decoding(Option<Pictures>),
    /// By the number of PCM samples in each, as long as that agrees with their times.
    Counting(Option<Sound>),
}

/// Times of the pictures so far, in ticks of 90 kHz.
#[derive(Debug, Clone, Copy)]
struct Pictures {
    /// The decoding time of the first sample.
    base: i64,
    last_dts: i64,
    lowest_pts: i64,
}

#[derive(Debug, Clone, Copy)]
struct Sound {
    /// The time of the first sample.
    first_90k: i64,
    times: SoundTimes,
    /// Where the last sample ends on the clock of the output.
    end_90k: i64,
}

/// The media times of the samples of a sound, by the number of PCM samples in each.
#[derive(Debug, Clone, Copy)]
pub(super) struct SoundTimes {
    /// The media time of the last sample.
    last: i64,
    /// The media time after the last sample.
    next: i64,
}

impl Default for SoundTimes {
    /// Without a sample.
    fn default() -> Self {
        Self { last: -1, next: 0 }
    }
}

impl SoundTimes {
    /// The media time of the next sample, which has so many PCM samples, and `wanted` by its time stamp.
    pub(super) fn push(&mut self, wanted: i64, samples: i64) -> i64 {
        // Time stamps are rounded, to a millisecond by some sources; only what is missing or there twice moves the sound.
        let agrees = (wanted - self.next).abs() <= samples / 8;
        let start = if agrees { self.next } else { wanted.max(self.last + 1) };
        *self = Self { last: start, next: start + samples };
        start
    }

    /// The media time after the last sample.
    pub(super) fn end(self) -> i64 {
        self.next
    }
}

/// A sample that is added.
#[derive(Debug, Clone, Copy)]
pub(super) struct NewSample {
    pub(super) size: u32,
    pub(super) pts_90k: i64,
    pub(super) dts_90k: i64,
    /// PCM samples of a channel.
    pub(super) samples: u32,
    pub(super) sync: bool,
}

impl MovieTrack {
    /// A track of pictures.
    pub(super) fn video(pid: u16) -> Self {
        let timescale = u32::try_from(TICKS_PER_SECOND).unwrap_or(u32::MAX);
        Self {
            table: Track::new(TrackKind::Video, timescale, None),
            pid,
            description: None,
            timescale: TICKS_PER_SECOND,
            clock: MediaClock::Decoding(None),
            range_start_90k: None,
        }
    }

    /// A track of sound at `sample_rate`.
    pub(super) fn audio(pid: u16, sample_rate: u32, language: Option<[u8; 3]>) -> Self {
        Self {
            table: Track::new(TrackKind::Audio, sample_rate, language),
            pid,
            description: None,
            timescale: i64::from(sample_rate),
            clock: MediaClock::Counting(None),
            range_start_90k: None,
        }
    }

    /// Adds a sample. Its duration is that of its PCM samples, or of a picture `frame_90k`, until the next one is added.
    pub(super) fn push(&mut self, sample: NewSample, frame_90k: i64) {
        let range_start = self.range_start_90k.unwrap_or(sample.pts_90k);
        self.range_start_90k = Some(range_start.min(sample.pts_90k));
        match &mut self.clock {
            MediaClock::Decoding(pictures) => {
                let mut dts_90k = sample.dts_90k.min(sample.pts_90k);
                if let Some(last) = pictures {
                    // Tables hold no step back: at a join the reordering may grow.
                    dts_90k = dts_90k.max(last.last_dts);
                    self.table.set_last_duration(to_u32(dts_90k - last.last_dts));
                }
                let first = Pictures { base: dts_90k, last_dts: dts_90k, lowest_pts: sample.pts_90k };
                let pictures = pictures.get_or_insert(first);
                pictures.last_dts = dts_90k;
                pictures.lowest_pts = pictures.lowest_pts.min(sample.pts_90k);
                self.table.push(Sample {
                    size: sample.size,
                    duration: to_u32(frame_90k),
                    composition: to_u32(sample.pts_90k - dts_90k),
                    sync: sample.sync,
                });
            }
            MediaClock::Counting(sound) => {
                let samples = i64::from(sample.samples);
                let first_90k = sound.map_or(sample.pts_90k, |sound| sound.first_90k);
                let mut times = sound.map(|sound| sound.times).unwrap_or_default();
                let last = times.last;
                let start = times.push(scale(sample.pts_90k - first_90k, self.timescale), samples);
                if sound.is_some() {
                    self.table.set_last_duration(to_u32(start - last));
                }
                let end_90k = sample.pts_90k + samples * TICKS_PER_SECOND / self.timescale.max(1);
                *sound = Some(Sound { first_90k, times, end_90k });
                let duration = sample.samples;
                self.table.push(Sample { size: sample.size, duration, composition: 0, sync: true });
            }
        }
    }

    /// The units a second of its times.
    pub(super) fn timescale(&self) -> i64 {
        self.timescale
    }

    /// Where the last sample of a sound ends on the clock of the output.
    pub(super) fn audio_end_90k(&self) -> Option<i64> {
        match &self.clock {
            MediaClock::Counting(sound) => sound.map(|sound| sound.end_90k),
            MediaClock::Decoding(_) => None,
        }
    }

    /// When the first sample of the current range that is shown is shown, if there is one.
    pub(super) fn range_start_90k(&self) -> Option<i64> {
        self.range_start_90k
    }

    /// The samples to come are of another range.
    pub(super) fn end_range(&mut self) {
        self.range_start_90k = None;
    }

    /// When the first sample that is shown is shown, if there is one.
    fn start_90k(&self) -> Option<i64> {
        match &self.clock {
            MediaClock::Decoding(pictures) => pictures.map(|pictures| pictures.lowest_pts),
            MediaClock::Counting(sound) => sound.map(|sound| sound.first_90k),
        }
    }

    /// Shows these ranges of the output, one after another.
    pub(super) fn show(&mut self, ranges: &[Range<i64>]) {
        let Some(first_90k) = self.start_90k() else { return };
        let mut edits = Vec::new();
        for range in ranges {
            // Nothing is presented before the first sample.
            let start_90k = range.start.max(first_90k).min(range.end);
            if start_90k > range.start {
                edits.push(EditEntry { duration_90k: to_u64(start_90k - range.start), media_time: None });
            }
            if start_90k < range.end {
                let media_time = Some(to_u64(self.media_time(start_90k - first_90k)));
                edits.push(EditEntry { duration_90k: to_u64(range.end - start_90k), media_time });
            }
        }
        // A sound may end before the pictures.
        if let (MediaClock::Counting(Some(sound)), Some(last)) = (&self.clock, ranges.last())
            && let Some(edit) = edits.last_mut().filter(|edit| edit.media_time.is_some())
        {
            edit.duration_90k = to_u64(edit.duration_90k.cast_signed() - (last.end - sound.end_90k).max(0));
        }
        self.table.set_edits(edits);
    }

    /// The media time of what is shown so long after the first sample that is shown.
    fn media_time(&self, since_first_90k: i64) -> i64 {
        match &self.clock {
            MediaClock::Decoding(pictures) => {
                since_first_90k + pictures.map_or(0, |pictures| pictures.lowest_pts - pictures.base)
            }
            MediaClock::Counting(_) => scale(since_first_90k, self.timescale),
        }
    }
}

/// Ticks of 90 kHz in units of `timescale`, rounded to the nearest.
pub(super) fn scale(ticks: i64, timescale: i64) -> i64 {
    (ticks * timescale * 2 + TICKS_PER_SECOND).div_euclid(2 * TICKS_PER_SECOND)
}

pub(super) fn to_u32(ticks: i64) -> u32 {
    u32::try_from(ticks.max(0)).unwrap_or(u32::MAX)
}

pub(super) fn to_u64(ticks: i64) -> u64 {
    u64::try_from(ticks).unwrap_or(0)
}
