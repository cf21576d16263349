//! What a variant's newest segments are like: their bit rates, what is in them, and when they ended.
//!
//! Only files are known here; [`super::Archive`] says which segments are the newest.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::directory::absent_is_none;
use super::file::open_regular;
use crate::error::{Error, Result};
use crate::ffmpeg::LazyTools;
use crate::hls::multivariant::{Measured, MediaInfo};
use crate::mpegts::probe::{Program, Stream, probe};
use crate::timestamp::{Span, Timestamp};

/// How much of a segment is read to see what is in it.
const PROBED_BYTES: u64 = 1024 * 1024;
/// How many segments' contents are cached.
const MAX_CACHED: usize = 1024;
/// How long the ends of the newest segments are cached.
const NEWEST_INTERVAL: Duration = Duration::from_secs(1);

/// A variant, and the end of its newest segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewestSegment {
    /// The stream.
    pub stream: String,
    /// The variant of the stream.
    pub variant: String,
    /// When its newest segment ended.
    pub end: Timestamp,
}

/// The ends of the newest segments as one look finds them. Concurrent callers wait for it.
type NewestLook = Arc<OnceLock<Arc<[NewestSegment]>>>;

/// Looks at segments, and caches what it has seen.
#[derive(Debug, Default)]
pub(super) struct Inspector {
    media: Mutex<HashMap<PathBuf, MediaInfo>>,
    /// The latest look, and when it began.
    newest: Mutex<Option<(Instant, NewestLook)>>,
}

impl Inspector {
    /// Measures segments, given by their paths and durations, the newest first. One that is gone is left out.
    ///
    /// ffprobe, of `tools`, is asked only about streams that [`probe`] does not describe.
    pub(super) fn measure(&self, newest_first: &[(PathBuf, Span)], tools: &LazyTools) -> Result<Measured> {
        let (mut peak, mut bits, mut micros) = (1, 0_u128, 0_u128);
        let mut newest = None;
        for (path, duration) in newest_first {
            let meta = absent_is_none(std::fs::metadata(path)).map_err(Error::io("inspect", path))?;
            let (Some(meta), Ok(segment_micros @ 1..)) = (meta, u128::try_from(duration.micros())) else {
                continue;
            };
            let segment_bits = u128::from(meta.len()) * 8;
            peak = peak.max(bits_per_second(segment_bits, segment_micros));
            bits += segment_bits;
            micros += segment_micros;
            newest.get_or_insert(path);
        }
        let average_bandwidth = if micros > 0 { bits_per_second(bits, micros).max(1) } else { 1 };
        let media = newest.map(|path| self.media(path, tools)).transpose()?.unwrap_or_default();
        Ok(Measured { peak_bandwidth: peak, average_bandwidth, media })
    }

    /// What the segment at `path` holds; nothing is known of one that is gone.
    fn media(&self, path: &Path, tools: &LazyTools) -> Result<MediaInfo> {
        if let Some(cached) = lock(&self.media).get(path) {
            return Ok(cached.clone());
        }
        let mut bytes = Vec::new();
        match open_regular(path) {
            Ok(open) => {
                open.file.take(PROBED_BYTES).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
            }
            Err(Error::NotFound(_)) => return Ok(MediaInfo::default()),
            Err(error) => return Err(error),
        }
        let info = probe(&bytes).map_or_else(MediaInfo::default, |program| {
            // A playlist is useful without what ffprobe would add.
            let log = |error: &Error| log::debug!("{error}");
            let ask = || tools.get().probe(path).inspect_err(log).unwrap_or_default();
            describe(&program, &if is_complete(&program) { Value::Null } else { ask() })
        });
        let mut cached = lock(&self.media);
        if cached.len() >= MAX_CACHED {
            cached.clear();
        }
        cached.insert(path.to_owned(), info.clone());
        Ok(info)
    }

    /// The ends of the newest segments as `look` finds them, or as it found them less than a second before `now`.
    /// Concurrent callers share one look.
    pub(super) fn newest_ends(
        &self,
        now: Instant,
        look: impl FnOnce() -> Vec<NewestSegment>,
    ) -> Arc<[NewestSegment]> {
        let mut latest = lock(&self.newest);
        let is_valid = |(begun, ends): &&(Instant, NewestLook)| {
            ends.get().is_none() || now.saturating_duration_since(*begun) < NEWEST_INTERVAL
        };
        let ends = match latest.as_ref().filter(is_valid) {
            Some((_, ends)) => Arc::clone(ends),
            None => Arc::clone(&latest.insert((now, Arc::default())).1),
        };
        drop(latest);
        Arc::clone(ends.get_or_init(|| look().into()))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The streams that a player can select: video and audio, not data.
fn media_streams(program: &Program) -> impl Iterator<Item = &Stream> {
    program.streams.iter().filter(|stream| stream.codec.is_video() || stream.codec.is_audio())
}

/// Whether the start of a segment describes its streams completely.
fn is_complete(program: &Program) -> bool {
    media_streams(program)
        .all(|stream| stream.codecs.is_some() && stream.codec.is_video() == stream.video.is_some())
}

/// What a segment holds: by its own bytes, and where they leave it open by the output of ffprobe.
fn describe(program: &Program, ffprobe: &Value) -> MediaInfo {
    let described = |stream: &Stream| {
        let id = format!("0x{:x}", stream.pid);
        let streams = ffprobe["streams"].as_array().map_or(&[][..], Vec::as_slice);
        streams.iter().find(|other| other["id"] == *id).unwrap_or(&Value::Null)
    };
    let codecs: Option<Vec<String>> = media_streams(program)
        .map(|stream| stream.codecs.clone().or_else(|| codec_name(described(stream)["codec_name"].as_str()?)))
        .collect();
    let video = media_streams(program).find(|stream| stream.codec.is_video());
    let resolution = video.and_then(|stream| {
        if let Some(video) = &stream.video {
            return Some((video.picture.width, video.picture.height));
        }
        let size = |name| u32::try_from(described(stream)[name].as_u64()?).ok();
        Some((size("width")?, size("height")?))
    });
    let frame_rate = video.and_then(|stream| match stream.video.as_ref().and_then(|video| video.rate) {
        Some(rate) => Some(f64::from(rate.num) / f64::from(rate.den)),
        None => parse_rate(described(stream)["avg_frame_rate"].as_str()?),
    });
    MediaInfo {
        codecs: codecs.filter(|codecs| !codecs.is_empty()).map(|codecs| codecs.join(",")),
        resolution,
        frame_rate,
    }
}

/// The RFC 6381 name of a codec that `mpegts::probe` does not describe, by ffmpeg's name for it.
fn codec_name(name: &str) -> Option<String> {
    let name = match name {
        "mpeg1video" => "mp4v.6A",
        "mpeg2video" => "mp4v.61",
        "mpeg4" => "mp4v.20.9",
        "opus" => "opus",
        "dts" => "dtsc",
        "eac3" => "ec-3",
        _ => return None,
    };
    Some(name.to_owned())
}

/// A frame rate such as `30000/1001`.
fn parse_rate(text: &str) -> Option<f64> {
    let (num, den) = text.split_once('/')?;
    let (num, den): (f64, f64) = (num.parse().ok()?, den.parse().ok()?);
    (num > 0.0 && den > 0.0).then_some(num / den)
}

/// `bits` in `micros` microseconds, in bits a second, rounded up.
fn bits_per_second(bits: u128, micros: u128) -> u64 {
    u64::try_from((bits * 1_000_000).div_ceil(micros)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn the_newest_segments_are_looked_for_once_a_second_however_many_ask() {
        let inspector = Inspector::default();
        let (asked, looks) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let begun = Instant::now();
        let ask = |millis| {
            asked.fetch_add(1, Ordering::SeqCst);
            let ends = inspector.newest_ends(begun + Duration::from_millis(millis), || {
                let look = looks.fetch_add(1, Ordering::SeqCst);
                // The others come meanwhile.
                while asked.load(Ordering::SeqCst) < 16 {
                    std::thread::yield_now();
                }
                std::thread::sleep(Duration::from_millis(50));
                let end = Timestamp::from_micros(i64::try_from(look).expect("a small number"));
                vec![NewestSegment { stream: "s".to_owned(), variant: "v".to_owned(), end }]
            });
            ends[0].end.micros()
        };
        std::thread::scope(|scope| {
            let scrapes: Vec<_> = (0..16).map(|nth| scope.spawn(move || ask(nth * 100))).collect();
            assert!(scrapes.into_iter().all(|scrape| scrape.join().expect("an answer") == 0));
        });
        let rows = [(0, 0), (999, 0), (2600, 1), (2700, 1), (3599, 1), (3600, 2), (0, 2)];
        for (millis, look) in rows {
            assert_eq!(ask(millis), look, "after {millis} ms");
        }
        assert_eq!(looks.load(Ordering::SeqCst), 3);
    }
}
