//! What a transport stream holds, from its bytes: streams, codecs, picture sizes and rates, reorder delay, sound formats.
//!
//! Made for the first part of a segment, of any length: what the bytes do not tell is `None`.

use std::collections::BTreeMap;

use super::codec::Codec;
use super::frame_rate::{FrameRate, estimate};
use super::packet::{Packet, packets};
use super::pes::{Header, TICKS_PER_SECOND, Ticks};
use super::psi::{ElementaryStream, Pmt, find_pmt};
use super::video::PictureFormat;
use super::{h264, hevc};

/// Bytes of an elementary stream that are kept to look for its headers.
const LOOK: usize = 256 * 1024;
/// Time stamps of a stream that are kept to measure its rate.
const STAMPS: usize = 4096;

/// A program: its PMT and its streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The PID of the program map.
    pub pmt_pid: u16,
    /// The program map.
    pub pmt: Pmt,
    /// How many programs there are in all.
    pub programs: usize,
    /// The streams, in the map's order.
    pub streams: Vec<Stream>,
}

/// An elementary stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// Its PID.
    pub pid: u16,
    /// Its `stream_type` in the map.
    pub stream_type: u8,
    /// What it is.
    pub codec: Codec,
    /// Its RFC 6381 name; `None` for data, for what has none, and where the headers were not seen.
    pub codecs: Option<String>,
    /// Its pictures, if it is H.264 or HEVC and a sequence parameter set was seen.
    pub video: Option<Video>,
    /// Its sound, if it is of a coding that is known and a frame was seen.
    pub audio: Option<AudioFormat>,
    /// Whether a packet of it was encrypted.
    pub scrambled: bool,
}

/// A video stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Video {
    /// What the parameter set says.
    pub picture: PictureFormat,
    /// Frames a second, from the time stamps where there are some.
    pub rate: Option<FrameRate>,
    /// By how much the first frame's DTS lies before its PTS, in ticks of 90 kHz: the reorder delay.
    pub delay_90k: i64,
    /// The reorder delay in frames, where the rate is known.
    pub reorder: Option<u32>,
}

/// A sound stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioFormat {
    /// Samples a second.
    pub sample_rate: u32,
    /// Channels; 0 where the headers do not tell.
    pub channels: u8,
    /// Samples a frame and channel.
    pub samples: u32,
}

/// Describes the first program in `bytes`, which may begin and end anywhere.
///
/// `None` where there is no PMT.
pub fn probe(bytes: &[u8]) -> Option<Program> {
    let (programs, pmt_pid, pmt) = find_pmt(bytes)?;
    let mut gathered: BTreeMap<u16, Gathered> =
        pmt.streams.iter().map(|stream| (stream.pid, Gathered::default())).collect();
    for (_, packet) in packets(bytes) {
        if let Some(stream) = gathered.get_mut(&packet.pid()) {
            stream.push(packet);
        }
    }
    let streams =
        pmt.streams.iter().filter_map(|stream| Some(gathered.get(&stream.pid)?.describe(stream))).collect();
    Some(Program { pmt_pid, pmt, programs, streams })
}

/// What was seen of a stream.
#[derive(Debug, Default)]
struct Gathered {
    bytes: Vec<u8>,
    stamps: Vec<Ticks>,
    delay_90k: Option<i64>,
    scrambled: bool,
}

impl Gathered {
    fn push(&mut self, packet: Packet<'_>) {
        if packet.scrambled() {
            self.scrambled = true;
            return;
        }
        let mut payload = packet.payload();
        if packet.starts_unit() {
            let Some(header) = Header::parse(payload) else { return };
            payload = payload.get(header.len..).unwrap_or(&[]);
            if let Some(pts) = header.pts.filter(|_| self.stamps.len() < STAMPS) {
                self.stamps.push(pts);
                self.delay_90k.get_or_insert_with(|| header.dts.map_or(0, |dts| pts.since(dts)));
            }
        } else if self.stamps.is_empty() {
            return;
        }
        let room = LOOK.saturating_sub(self.bytes.len());
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
            stream_type: stream.stream_type,
            codec,
            codecs: match (&picture, frame) {
                (Some(picture), _) => Some(picture.codecs.clone()),
                (None, Some((coding, frame))) => Some(frame.codecs(coding)),
                (None, None) => None,
            },
            video: picture.map(|picture| self.video(picture)),
            audio: frame.map(|(_, frame)| AudioFormat {
                sample_rate: frame.sample_rate,
                channels: frame.channels,
                samples: frame.samples,
            }),
            scrambled: self.scrambled,
        }
    }

    fn video(&self, picture: PictureFormat) -> Video {
        let rate = estimate(&self.stamps, picture.rate);
        let delay_90k = self.delay_90k.unwrap_or(0).clamp(0, 16 * TICKS_PER_SECOND);
        let reorder =
            rate.and_then(|rate| u32::try_from((delay_90k + rate.frame_90k() / 2) / rate.frame_90k()).ok());
        Video { picture, rate, delay_90k, reorder }
    }
}

#[cfg(test)]
mod tests;
