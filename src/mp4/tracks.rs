//! The samples of a movie's tracks, as they are added.
//!
//! A movie of 6 hours has more than a million samples, so what is known of each takes a few bytes.

use super::compact::{Numbers, RunLengths};
use crate::mpegts::samples::{SampleFormat, VideoFormat};

/// Units a second of the times that belong to the movie and to no track.
pub const MOVIE_TIMESCALE: u32 = 90_000;

/// One sample, in units of its track's timescale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Its length in bytes.
    pub size: u32,
    /// From its decoding time to that of the next sample.
    pub duration: u32,
    /// From its decoding time to its presentation time.
    pub composition: u32,
    /// Decoding can begin here.
    pub sync: bool,
}

/// What the samples of a track are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrackKind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
    /// Text that is shown over the pictures (3GPP TS 26.245). Such a track has one sample description, `tx3g`, from the
    /// start.
    Text,
}

/// What there is to say of a track besides its samples.
#[derive(Debug, Clone)]
pub struct TrackInfo {
    /// What its samples are.
    pub kind: TrackKind,
    /// The units a second of its times.
    pub timescale: u32,
    /// A code of three letters after ISO 639-2; `None` if the language is not known.
    pub language: Option<[u8; 3]>,
    /// The sample descriptions: the first one's index is 1. A text track has none of these.
    pub formats: Vec<SampleFormat>,
    /// What of the track is presented, and when; if it is empty, the whole track from the start of the movie on.
    pub edits: Vec<EditEntry>,
}

impl TrackInfo {
    /// Whether there is a sample description, without which there can be no samples.
    pub(super) fn is_described(&self) -> bool {
        self.kind == TrackKind::Text || !self.formats.is_empty()
    }

    /// The size of the first picture on the screen.
    pub(super) fn display_size(&self) -> Option<(u32, u32)> {
        self.formats.iter().find_map(|format| match format {
            SampleFormat::Video(VideoFormat { picture, .. }) => Some(picture.display_size()),
            _ => None,
        })
    }
}

/// A part of a track's presentation (ISO/IEC 14496-12, 8.6.6). They follow one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EditEntry {
    /// How long it lasts, in ticks of 90 kHz.
    pub duration_90k: u64,
    /// The presentation time in the track's timescale that it begins with; `None` presents nothing.
    pub media_time: Option<u64>,
}

/// Samples that lie one behind another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunk {
    /// In the payload of `mdat`.
    pub(super) offset: u64,
    pub(super) samples: u32,
    pub(super) description: u32,
}

/// A track of a movie, and its samples.
#[derive(Debug, Clone)]
pub struct Track {
    pub(super) info: TrackInfo,
    pub(super) sizes: Numbers,
    pub(super) durations: RunLengths,
    pub(super) compositions: RunLengths,
    /// The distance of each sync sample from the one before; the first one's from the sample before the first.
    pub(super) sync_distances: Numbers,
    pub(super) chunks: Vec<Chunk>,
    pub(super) samples: u32,
    pub(super) sync_samples: u32,
    pub(super) duration: u64,
    last_sync: u32,
    in_chunks: u32,
}

impl Track {
    /// A track without samples and formats; see [`TrackInfo`].
    pub fn new(kind: TrackKind, timescale: u32, language: Option<[u8; 3]>) -> Self {
        let info = TrackInfo { kind, timescale, language, formats: Vec::new(), edits: Vec::new() };
        Self {
            info,
            sizes: Numbers::default(),
            durations: RunLengths::default(),
            compositions: RunLengths::default(),
            sync_distances: Numbers::default(),
            chunks: Vec::new(),
            samples: 0,
            sync_samples: 0,
            duration: 0,
            last_sync: 0,
            in_chunks: 0,
        }
    }

    /// The index of the format's sample description, from 1 on. Equal formats share one.
    pub fn add_format(&mut self, format: &SampleFormat) -> u32 {
        let formats = &mut self.info.formats;
        let index = formats.iter().position(|known| known == format).unwrap_or_else(|| {
            formats.push(format.clone());
            formats.len() - 1
        });
        super::boxes::saturating_u32(index + 1)
    }

    /// The formats so far, by the index of their sample description less one.
    pub fn formats(&self) -> &[SampleFormat] {
        &self.info.formats
    }

    /// Adds a sample behind the others, in decoding order.
    pub fn push(&mut self, sample: Sample) {
        self.samples += 1;
        self.sizes.push(sample.size);
        self.durations.push(sample.duration);
        self.compositions.push(sample.composition);
        self.duration += u64::from(sample.duration);
        if sample.sync {
            self.sync_distances.push(self.samples - self.last_sync);
            self.sync_samples += 1;
            self.last_sync = self.samples;
        }
    }

    /// Changes the duration of the sample that was pushed last.
    pub fn set_last_duration(&mut self, duration: u32) {
        if let Some(before) = self.durations.last() {
            self.durations.replace_last(duration);
            self.duration = self.duration - u64::from(before) + u64::from(duration);
        }
    }

    /// The samples since the last chunk are one. It lies at `offset` in the payload of `mdat`, and its samples have the
    /// sample description with that index.
    pub fn end_chunk(&mut self, offset: u64, description: u32) {
        let samples = self.samples - self.in_chunks;
        if samples > 0 {
            self.chunks.push(Chunk { offset, samples, description });
            self.in_chunks = self.samples;
        }
    }

    /// Sets what of the track is presented, and when.
    pub fn set_edits(&mut self, edits: Vec<EditEntry>) {
        self.info.edits = edits;
    }

    /// The number of samples.
    pub fn samples(&self) -> u32 {
        self.samples
    }

    /// The sum of the samples' durations, in the track's timescale.
    pub fn duration(&self) -> u64 {
        self.duration
    }
}
