//! What a segment holds, as a multivariant playlist describes it: from the segment's own bytes, and where those do not
//! suffice, from the output of ffprobe. Pure.

use serde_json::Value;

use crate::hls::multivariant::MediaInfo;
use crate::mpegts::codec::Codec;
use crate::mpegts::frame_rate::FrameRate;
use crate::mpegts::probe::{Program, Stream};
use crate::mpegts::scan::{Scan, Unit};
use crate::mpegts::video::display_size;

/// The streams that a player can select: video and audio, not data.
fn media_streams(program: &Program) -> impl Iterator<Item = &Stream> {
    program.streams.iter().filter(|stream| stream.codec.is_video() || stream.codec.is_audio())
}

/// Whether ffprobe could add to what the start of a segment says.
pub(super) fn needs_ffprobe(program: &Program) -> bool {
    let is_complete =
        |stream: &Stream| stream.codecs.is_some() && stream.codec.is_video() == stream.video.is_some();
    !media_streams(program).all(is_complete)
}

/// Whether a segment, of which `scan` is the start, can be decoded without those before it: it is audio only, or begins
/// with an IDR picture and its parameter sets.
pub(super) fn is_independent(scan: &Scan) -> bool {
    scan.reference_track().is_some_and(|track| {
        let starts_alone = |unit: &Unit| unit.access_unit.idr && unit.access_unit.parameter_sets;
        track.codec.is_audio() || track.units.first().is_some_and(starts_alone)
    })
}

/// What a segment holds. `ffprobe` is the output of ffprobe, or null.
pub(super) fn describe(program: &Program, is_independent: bool, ffprobe: &Value) -> MediaInfo {
    let described = |stream: &Stream| {
        let id = format!("0x{:x}", stream.pid);
        let streams = ffprobe["streams"].as_array().map_or(&[][..], Vec::as_slice);
        streams.iter().find(|other| other["id"] == *id).unwrap_or(&Value::Null)
    };
    let codecs: Option<Vec<String>> = media_streams(program)
        .map(|stream| stream.codecs.clone().or_else(|| codec_name(described(stream)["codec_name"].as_str()?)))
        .collect();
    let video = media_streams(program).find(|stream| stream.codec.is_video());
    let resolution = video.and_then(|stream| match &stream.video {
        Some(video) => Some(video.picture.display_size()),
        None => probed_size(described(stream)),
    });
    let frame_rate = video.and_then(|stream| match stream.codec {
        Codec::Mpeg2 | Codec::OtherVideo => probed_rate(described(stream), stream.mean_rate),
        _ => stream.mean_rate.map(to_f64),
    });
    MediaInfo {
        codecs: codecs.filter(|codecs| !codecs.is_empty()).map(|codecs| codecs.join(",")),
        resolution,
        frame_rate,
        is_independent,
    }
}

/// The size on the screen of a stream that ffprobe describes. It says 0 where it does not know.
fn probed_size(stream: &Value) -> Option<(u32, u32)> {
    let size = |name| u32::try_from(stream[name].as_u64()?).ok().filter(|size| *size > 0);
    let ratio = stream["sample_aspect_ratio"].as_str().and_then(|text| {
        let (x, y) = text.split_once(':')?;
        Some((x.parse().ok()?, y.parse().ok()?)).filter(|(x, y)| *x > 0 && *y > 0)
    });
    Some(display_size(size("width")?, size("height")?, ratio))
}

/// The frame rate of a stream that ffprobe describes. ffprobe rounds the timestamps of a coarse clock, so `measured` is more
/// exact where both mean the same; they do not if a PES packet holds several frames.
fn probed_rate(stream: &Value, measured: Option<FrameRate>) -> Option<f64> {
    let (num, den) = stream["avg_frame_rate"].as_str()?.split_once('/')?;
    let probed = FrameRate::new(num.parse().ok()?, den.parse().ok()?).map(to_f64)?;
    let measured = measured.map(to_f64).filter(|measured| (measured - probed).abs() < probed / 50.0);
    Some(measured.unwrap_or(probed))
}

fn to_f64(rate: FrameRate) -> f64 {
    f64::from(rate.num) / f64::from(rate.den)
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_ffprobe_does_not_know_is_unknown() {
        let rows = [
            (json!({"width": 720, "height": 576, "sample_aspect_ratio": "64:45"}), Some((1024, 576))),
            (json!({"width": 720, "height": 480, "sample_aspect_ratio": "8:9"}), Some((640, 480))),
            (json!({"width": 720, "height": 480, "sample_aspect_ratio": "0:1"}), Some((720, 480))),
            (json!({"width": 720, "height": 480, "sample_aspect_ratio": "N/A"}), Some((720, 480))),
            (json!({"width": 720, "height": 480}), Some((720, 480))),
            (json!({"width": 0, "height": 0, "sample_aspect_ratio": "0:1"}), None),
            (json!({"height": 480}), None),
            (Value::Null, None),
        ];
        for (stream, size) in rows {
            assert_eq!(probed_size(&stream), size, "{stream}");
        }
        let rows = [
            ("25/1", None, Some(25.0)),
            ("0/0", None, None),
            ("0/0", FrameRate::new(25, 1), None),
            ("1000/33", FrameRate::new(30, 1), Some(30.0)),
            ("25/1", FrameRate::new(25, 2), Some(25.0)),
        ];
        for (average, measured, rate) in rows {
            assert_eq!(probed_rate(&json!({"avg_frame_rate": average}), measured), rate, "{average}");
        }
    }
}
