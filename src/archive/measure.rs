//! What a variant's newest segments are like: how many bits a second they take, and what is in them.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::{Archive, VariantName, open_regular};
use crate::error::{Error, Result};
use crate::hls::multivariant::MediaInfo;
use crate::mpegts::probe::{Stream, probe};
use crate::timestamp::Hour;

/// How many of the newest segments are measured.
const MEASURED_SEGMENTS: usize = 30;
/// How many hours are looked through for them.
const MEASURED_HOURS: usize = 2;
/// How much of a segment is read to see what is in it.
const PROBED_BYTES: u64 = 1024 * 1024;
/// How many segments' contents are remembered.
const REMEMBERED: usize = 1024;

/// What a variant is like.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// The greatest bit rate of one of its newest segments, in bits a second; 1 where nothing could be measured.
    pub peak_bandwidth: u64,
    /// Their mean bit rate, in bits a second; 1 where nothing could be measured.
    pub average_bandwidth: u64,
    /// What is in the newest of them.
    pub media: MediaInfo,
}

/// What segments that were read once hold, by their paths.
#[derive(Debug, Default)]
pub(super) struct Contents(Mutex<HashMap<PathBuf, MediaInfo>>);

impl Archive {
    /// Measures the newest segments in `hours`, which are the variant's, sorted.
    pub fn measure(&self, name: VariantName, hours: &[Hour]) -> Result<Measured> {
        let (mut peak, mut bits, mut micros) = (1, 0_u128, 0_u128);
        let mut newest = None;
        let mut left = MEASURED_SEGMENTS;
        for hour in hours.iter().rev().take(MEASURED_HOURS) {
            let index = self.hour(name, *hour)?;
            for segment in index.segments().rev().take(left) {
                left -= 1;
                let path = self.segment_path(name, &segment);
                let Ok(meta) = std::fs::metadata(&path) else { continue };
                let Some(length) = u128::try_from(segment.duration.micros()).ok().filter(|us| *us > 0) else {
                    continue;
                };
                let size = u128::from(meta.len()) * 8;
                peak = peak.max(bits_per_second(size, length));
                bits += size;
                micros += length;
                newest.get_or_insert(path);
            }
        }
        let average_bandwidth = if micros > 0 { bits_per_second(bits, micros).max(1) } else { 1 };
        let media = newest.map(|path| self.contents.of(&path)).transpose()?.unwrap_or_default();
        Ok(Measured { peak_bandwidth: peak, average_bandwidth, media })
    }
}

impl Contents {
    /// What the segment at `path` holds; nothing known of one that has gone.
    fn of(&self, path: &Path) -> Result<MediaInfo> {
        if let Some(known) = self.lock().get(path) {
            return Ok(known.clone());
        }
        let mut bytes = Vec::new();
        match open_regular(path) {
            Ok(open) => {
                open.file.take(PROBED_BYTES).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
            }
            Err(Error::NotFound { .. }) => return Ok(MediaInfo::default()),
            Err(error) => return Err(error),
        }
        let info = describe(&bytes);
        let mut known = self.lock();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(path.to_owned(), info.clone());
        Ok(info)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<PathBuf, MediaInfo>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the beginning of a segment says about it. Its data streams count for nothing: no player chooses by them.
fn describe(bytes: &[u8]) -> MediaInfo {
    let Some(program) = probe(bytes) else { return MediaInfo::default() };
    let is_media = |stream: &&Stream| stream.codec.is_video() || stream.codec.is_audio();
    let codecs: Option<Vec<String>> =
        program.streams.iter().filter(is_media).map(|stream| stream.codecs.clone()).collect();
    let video = program.streams.iter().find_map(|stream| stream.video.as_ref());
    MediaInfo {
        codecs: codecs.filter(|codecs| !codecs.is_empty()).map(|codecs| codecs.join(",")),
        resolution: video.map(|video| (video.picture.width, video.picture.height)),
        frame_rate: video.and_then(|video| video.rate).map(|rate| f64::from(rate.num) / f64::from(rate.den)),
    }
}

/// `bits` over `micros`, in bits a second, rounded up.
fn bits_per_second(bits: u128, micros: u128) -> u64 {
    u64::try_from((bits * 1_000_000).div_ceil(micros)).unwrap_or(u64::MAX)
}
