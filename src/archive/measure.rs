//! What a variant's newest segments are like: how many bits a second they take, and what is in them.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use super::directory::absent_is_none;
use super::file::open_regular;
use super::layout::VariantName;
use super::tree::Archive;
use crate::error::{Error, Result};
use crate::ffmpeg::{LazyTools, Tools};
use crate::hls::multivariant::MediaInfo;
use crate::mpegts::probe::{Program, Stream, probe};
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
    /// Measures the newest segments in `hours`, which are the variant's, sorted. What is in them is read from the
    /// newest one; ffprobe, of `tools`, is asked about streams that are not understood here.
    pub fn measure(&self, name: VariantName, hours: &[Hour], tools: &LazyTools) -> Result<Measured> {
        let (mut peak, mut bits, mut micros) = (1, 0_u128, 0_u128);
        let mut newest = None;
        let mut left = MEASURED_SEGMENTS;
        for hour in hours.iter().rev().take(MEASURED_HOURS) {
            let index = self.hour(name, *hour)?;
            for segment in index.segments().rev().take(left) {
                left -= 1;
                let path = self.segment_path(name, &segment);
                let looked = absent_is_none(std::fs::metadata(&path));
                let Some(meta) = looked.map_err(Error::io("look at", &path))? else { continue };
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
        let media = newest.map(|path| self.contents.of(&path, tools)).transpose()?.unwrap_or_default();
        Ok(Measured { peak_bandwidth: peak, average_bandwidth, media })
    }
}

impl Contents {
    /// What the segment at `path` holds; nothing known of one that has gone.
    fn of(&self, path: &Path, tools: &LazyTools) -> Result<MediaInfo> {
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
        let info = probe(&bytes).map_or_else(MediaInfo::default, |program| {
            let more = if is_understood(&program) { Value::Null } else { ask_ffprobe(path, &tools.get()) };
            describe(&program, &more)
        });
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

/// The streams that a player chooses by: not data.
fn media(program: &Program) -> impl Iterator<Item = &Stream> {
    program.streams.iter().filter(|stream| stream.codec.is_video() || stream.codec.is_audio())
}

/// Whether the beginning of a segment says all there is to say about its streams.
fn is_understood(program: &Program) -> bool {
    media(program).all(|stream| stream.codecs.is_some() && stream.codec.is_video() == stream.video.is_some())
}

/// What ffprobe has to say of a segment's streams; nothing where it fails, for a playlist can do without.
fn ask_ffprobe(path: &Path, tools: &Tools) -> Value {
    tools.probe(path).unwrap_or_else(|error| {
        log::debug!("{error}");
        Value::Null
    })
}

/// What a segment holds, by its own bytes and then by what ffprobe says.
fn describe(program: &Program, probed: &Value) -> MediaInfo {
    let of_stream = |stream: &Stream| {
        let id = format!("0x{:x}", stream.pid);
        let streams = probed["streams"].as_array().map_or(&[][..], Vec::as_slice);
        streams.iter().find(|other| other["id"] == *id).unwrap_or(&Value::Null)
    };
    let codecs: Option<Vec<String>> = media(program)
        .map(|stream| stream.codecs.clone().or_else(|| codec_name(of_stream(stream)["codec_name"].as_str()?)))
        .collect();
    let video = media(program).find(|stream| stream.codec.is_video());
    let resolution = video.and_then(|stream| {
        if let Some(video) = &stream.video {
            return Some((video.picture.width, video.picture.height));
        }
        let size = |name| u32::try_from(of_stream(stream)[name].as_u64()?).ok();
        Some((size("width")?, size("height")?))
    });
    let frame_rate = video.and_then(|stream| match stream.video.as_ref().and_then(|video| video.rate) {
        Some(rate) => Some(f64::from(rate.num) / f64::from(rate.den)),
        None => fraction(of_stream(stream)["avg_frame_rate"].as_str()?),
    });
    MediaInfo {
        codecs: codecs.filter(|codecs| !codecs.is_empty()).map(|codecs| codecs.join(",")),
        resolution,
        frame_rate,
    }
}

/// The RFC 6381 name of a codec that transport streams seldom have, by ffmpeg's name for it.
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

/// A rate such as `30000/1001`.
fn fraction(text: &str) -> Option<f64> {
    let (num, den) = text.split_once('/')?;
    let (num, den): (f64, f64) = (num.parse().ok()?, den.parse().ok()?);
    (num > 0.0 && den > 0.0).then_some(num / den)
}

/// `bits` over `micros`, in bits a second, rounded up.
fn bits_per_second(bits: u128, micros: u128) -> u64 {
    u64::try_from((bits * 1_000_000).div_ceil(micros)).unwrap_or(u64::MAX)
}
