//! What a transport stream holds: elementary streams with their codecs, picture formats, frame rates and audio formats.
//!
//! The first part of a segment is enough, of any length: what its bytes do not say is `None`.

use std::collections::BTreeMap;

use super::codec::Codec;
use super::frame_rate::{FrameRate, estimate, mean};
use super::packet::{Packet, packets};
use super::pes::{Header, TICKS_PER_SECOND, Ticks};
use super::psi::{ElementaryStream, Pmt, find_pmt};
use super::video::PictureFormat;
use super::{h264, hevc};

/// Bytes of an elementary stream that are searched for headers.
const MAX_STREAM_BYTES: usize = 256 * 1024;
/// Timestamps of an elementary stream that its frame rate is estimated from.
const MAX_TIMESTAMPS: usize = 4096;

/// A program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The PID of the PMT.
    pub pmt_pid: u16,
    /// The PMT.
    pub pmt: Pmt,
    /// The number of programs in the transport stream.
    pub programs: usize,
    /// The elementary streams, in the order of the PMT.
    pub streams: Vec<Stream>,
}

/// An elementary stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// The PID of its packets.
    pub pid: u16,
    /// Its codec.
    pub codec: Codec,
    /// The codec's name after RFC 6381; `None` if it has none or no header was found.
    pub codecs: Option<String>,
    /// Its video format, if it is H.264 or H.265 and a sequence parameter set was found.
    pub video: Option<Video>,
    /// The mean frame rate of video by the timestamps of complete pictures, else by the sequence parameter set; `None` if
    /// that is not known, as where PES packets have no timestamps.
    pub mean_rate: Option<FrameRate>,
    /// Its audio format, if frames of its codec can be parsed and one was found.
    pub audio: Option<AudioFormat>,
}

/// The format of a video stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Video {
    /// The format in the sequence parameter set.
    pub picture: PictureFormat,
    /// The frame rate by the timestamps, else by the sequence parameter set.
    pub rate: Option<FrameRate>,
    /// The time from the first DTS to its PTS, in frames; `None` if the rate is not known.
    pub reorder: Option<u32>,
}

/// The format of an audio stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioFormat {
    /// Samples a second.
    pub sample_rate: u32,
    /// The number of channels; 0 where the headers leave it open.
    pub channels: u8,
    /// Samples a frame and channel.
    pub samples: u32,
}

/// Describes the first program in `bytes`, which may begin and end anywhere; `None` if there is no PMT.
pub fn probe(bytes: &[u8]) -> Option<Program> {
    let (programs, pmt_pid, pmt) = find_pmt(bytes)?;
    let mut probes: BTreeMap<u16, StreamProbe> =
        pmt.streams.iter().map(|stream| (stream.pid, StreamProbe::default())).collect();
    for (_, packet) in packets(bytes) {
        if let Some(probe) = probes.get_mut(&packet.pid()) {
            probe.push(packet);
        }
    }
    let streams =
        pmt.streams.iter().filter_map(|stream| Some(probes.get(&stream.pid)?.describe(stream))).collect();
    Some(Program { pmt_pid, pmt, programs, streams })
}

/// The first bytes and timestamps of an elementary stream.
#[derive(Debug, Default)]
struct StreamProbe {
    bytes: Vec<u8>,
    timestamps: Vec<Ticks>,
    /// The last DTS.
    last_dts: Option<Ticks>,
    /// Whether a PES packet has no timestamp.
    has_untimed: bool,
    /// The time from the first DTS to its PTS.
    delay_90k: i64,
}

impl StreamProbe {
    fn push(&mut self, packet: Packet<'_>) {
        if packet.scrambled() {
            return;
        }
        let mut payload = packet.payload();
        if packet.starts_unit() {
            let Some(header) = Header::parse(payload) else { return };
            payload = payload.get(header.len..).unwrap_or(&[]);
            self.has_untimed |= header.pts.is_none();
            if let Some(pts) = header.pts.filter(|_| self.timestamps.len() < MAX_TIMESTAMPS) {
                self.last_dts = header.dts.or(header.pts);
                if self.timestamps.is_empty() {
                    self.delay_90k = header.dts.map_or(0, |dts| pts.since(dts));
                }
                self.timestamps.push(pts);
            }
        } else if self.timestamps.is_empty() {
            return;
        }
        let room = MAX_STREAM_BYTES.saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(&payload[..payload.len().min(room)]);
    }

    fn describe(&self, stream: &ElementaryStream) -> Stream {
        let codec = Codec::of(stream);
        let picture = match codec {
            Codec::H264 => h264::picture(&self.bytes),
            Codec::Hevc => hevc::picture(&self.bytes),
            _ => None,
        };
        let frame = codec.coding().and_then(|coding| Some((coding, coding.find(&self.bytes)?.1)));
        Stream {
            pid: stream.pid,
            codec,
            codecs: match (&picture, frame) {
                (Some(picture), _) => Some(picture.codecs.clone()),
                (None, Some((coding, frame))) => Some(frame.codecs(coding)),
                (None, None) => None,
            },
            mean_rate: if codec.is_video() { self.mean_rate(picture.as_ref()) } else { None },
            video: picture.map(|picture| self.video(picture)),
            audio: frame.map(|(_, frame)| AudioFormat {
                sample_rate: frame.sample_rate,
                channels: frame.channels,
                samples: frame.samples,
            }),
        }
    }

    fn mean_rate(&self, picture: Option<&PictureFormat>) -> Option<FrameRate> {
        let declared = picture.and_then(|picture| picture.rate);
        // Pictures up to the last DTS are all there: a later one is shown at its own DTS or after that.
        let is_behind = |pts: &&Ticks| self.last_dts.is_some_and(|dts| dts.since(**pts) >= 0);
        let complete: Vec<Ticks> = self.timestamps.iter().filter(is_behind).copied().collect();
        let measured = if self.has_untimed { declared } else { mean(&complete, declared) };
        let of_pairs = |rate: FrameRate| FrameRate::new(rate.num.into(), u64::from(rate.den) * 2);
        let halved = measured.and_then(of_pairs);
        match picture {
            // Each field is a picture.
            Some(picture) if picture.field_sequence => halved,
            // Each field may have a PES packet of its own; the declared rate is that of frames.
            Some(picture) if picture.interlaced && halved == declared => declared,
            _ => measured,
        }
    }

    fn video(&self, picture: PictureFormat) -> Video {
        let rate = estimate(&self.timestamps, picture.rate);
        let delay_90k = self.delay_90k.clamp(0, 16 * TICKS_PER_SECOND);
        let reorder =
            rate.and_then(|rate| u32::try_from((delay_90k + rate.frame_90k() / 2) / rate.frame_90k()).ok());
        Video { picture, rate, reorder }
    }
}

#[cfg(test)]
mod tests;
