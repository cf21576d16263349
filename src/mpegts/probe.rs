//! What a transport stream holds, from its bytes: streams, codecs, picture sizes and rates, reorder delay, sound formats.
//!
//! Made for the first part of a segment, of any length: what the bytes do not tell is `None`.

use std::collections::BTreeMap;

use super::audio::Coding;
use super::packet::{Packet, packets};
use super::pes::{Header, TICKS_PER_SECOND, Ticks};
use super::psi::{self, ElementaryStream, Pmt, Sections};
use super::{h264, hevc};

/// Bytes of an elementary stream that are kept to look for its headers.
const LOOK: usize = 256 * 1024;
/// Time stamps of a stream that are kept to measure its rate.
const STAMPS: usize = 4096;

/// A program: its tables and its streams.
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

/// What an elementary stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// H.264 in a byte stream.
    H264,
    /// HEVC in a byte stream.
    Hevc,
    /// Video of another kind.
    OtherVideo,
    /// AAC in ADTS.
    Aac,
    /// MPEG audio, layers I to III.
    MpegAudio,
    /// AC-3 or E-AC-3.
    Ac3,
    /// Sound of another kind.
    OtherAudio,
    /// Anything else: timed metadata, subtitles, sections.
    Data,
}

/// What a sequence parameter set says of the pictures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PictureFormat {
    /// The RFC 6381 name of the coding.
    pub codecs: String,
    /// The profile's number.
    pub profile: u8,
    /// The level's number, in the codec's own units.
    pub level: u8,
    /// Samples a row, as shown.
    pub width: u32,
    /// Rows, as shown.
    pub height: u32,
    /// The chroma format: 0 is none, 1 is 4:2:0, 2 is 4:2:2, 3 is 4:4:4.
    pub chroma: u8,
    /// Bits a sample of luma.
    pub depth: u8,
    /// Whether the pictures may be fields.
    pub interlaced: bool,
    /// The frame rate as the parameter set has it.
    pub rate: Option<Rate>,
    /// The most pictures that precede one in decoding and follow it when shown, as the parameter set has it.
    pub reorder: Option<u32>,
}

/// A video stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Video {
    /// What the parameter set says.
    pub picture: PictureFormat,
    /// Frames a second, from the time stamps where there are some.
    pub rate: Option<Rate>,
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

/// Frames a second, as a fraction in lowest terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    /// The numerator.
    pub num: u32,
    /// The denominator.
    pub den: u32,
}

impl Rate {
    /// The rate `num / den` in lowest terms; `None` for one that no footage has (not within 1 to 1000).
    pub fn new(num: u64, den: u64) -> Option<Self> {
        let (mut a, mut b) = (num, den);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        let (num, den) = (u32::try_from(num.checked_div(a)?).ok()?, u32::try_from(den.checked_div(a)?).ok()?);
        (den > 0 && num >= den && u64::from(num) <= u64::from(den) * 1000).then_some(Self { num, den })
    }

    /// The length of a frame in ticks of 90 kHz, rounded.
    pub fn frame_90k(self) -> i64 {
        let (num, den) = (i64::from(self.num), i64::from(self.den));
        (TICKS_PER_SECOND * den + num / 2) / num
    }

    /// Whether a frame of this rate is `ticks` long, to within one part in 2000.
    fn fits(self, ticks: f64) -> bool {
        let frame = 90_000.0 * f64::from(self.den) / f64::from(self.num);
        (frame - ticks).abs() <= frame / 2000.0
    }
}

impl Codec {
    /// Whether it is video.
    pub fn is_video(self) -> bool {
        matches!(self, Self::H264 | Self::Hevc | Self::OtherVideo)
    }

    /// Whether it is sound.
    pub fn is_audio(self) -> bool {
        matches!(self, Self::Aac | Self::MpegAudio | Self::Ac3 | Self::OtherAudio)
    }

    /// How its sound is framed, if that is known.
    pub fn coding(self) -> Option<Coding> {
        match self {
            Self::Aac => Some(Coding::Adts),
            Self::MpegAudio => Some(Coding::Mpeg),
            Self::Ac3 => Some(Coding::Ac3),
            _ => None,
        }
    }

    /// What a stream of the map is, by its type and descriptors (13818-1, table 2-34; ETSI EN 300 468; RP 214001).
    pub fn of(stream: &ElementaryStream) -> Self {
        match stream.stream_type {
            0x1B => Self::H264,
            0x24 => Self::Hevc,
            0x01 | 0x02 | 0x10 | 0x1E | 0x1F | 0x20 | 0x21 | 0x25 | 0x33 | 0x42 | 0xD1 | 0xEA | 0xDB => {
                Self::OtherVideo
            }
            0x0F => Self::Aac,
            0x03 | 0x04 => Self::MpegAudio,
            0x81 | 0x87 | 0xC1 | 0xC2 => Self::Ac3,
            0x11 | 0x1C | 0x80 | 0x82..=0x85 | 0x8A | 0xCF => Self::OtherAudio,
            0x06 => Self::of_private(stream),
            _ => Self::Data,
        }
    }

    fn of_private(stream: &ElementaryStream) -> Self {
        let registered = stream.descriptors_with(0x05).find_map(|body| match body.get(..4)? {
            b"AC-3" | b"EAC3" => Some(Self::Ac3),
            b"HEVC" => Some(Self::Hevc),
            b"Opus" | b"DTS1" | b"DTS2" | b"DTS3" | b"BSSD" => Some(Self::OtherAudio),
            b"AV01" | b"VC-1" | b"drac" => Some(Self::OtherVideo),
            _ => None,
        });
        let has = |tag| stream.descriptors_with(tag).next().is_some();
        match registered {
            Some(codec) => codec,
            None if has(0x6A) || has(0x7A) => Self::Ac3,
            None if has(0x7B) || has(0x7C) => Self::OtherAudio,
            None => Self::Data,
        }
    }
}

/// Describes the first program in `bytes`, which may begin and end anywhere.
///
/// `None` where there are no tables.
pub fn probe(bytes: &[u8]) -> Option<Program> {
    let (programs, pmt_pid, pmt) = tables(bytes)?;
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

/// The number of programs, and the PID and body of the first map there is.
pub fn tables(bytes: &[u8]) -> Option<(usize, u16, Pmt)> {
    let mut pat = Sections::default();
    let mut programs: Vec<(u16, Sections)> = Vec::new();
    for (_, packet) in packets(bytes) {
        if packet.pid() == psi::PAT_PID && programs.is_empty() {
            let found = pat.push(packet).and_then(|section| psi::parse_pat(&section)).unwrap_or_default();
            programs = found.into_iter().map(|(_, pid)| (pid, Sections::default())).collect();
        } else if let Some((pid, sections)) = programs.iter_mut().find(|(pid, _)| *pid == packet.pid())
            && let Some(pmt) = sections.push(packet).and_then(|section| psi::parse_pmt(&section))
        {
            let pid = *pid;
            return Some((programs.len(), pid, pmt));
        }
    }
    None
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
        let rate = frame_rate(&self.stamps, picture.rate);
        let delay_90k = self.delay_90k.unwrap_or(0).clamp(0, 16 * TICKS_PER_SECOND);
        let reorder =
            rate.and_then(|rate| u32::try_from((delay_90k + rate.frame_90k() / 2) / rate.frame_90k()).ok());
        Video { picture, rate, delay_90k, reorder }
    }
}

/// The rates that footage usually has.
const USUAL: [(u64, u64); 15] = [
    (24_000, 1001),
    (24, 1),
    (25, 1),
    (30_000, 1001),
    (30, 1),
    (48, 1),
    (50, 1),
    (60_000, 1001),
    (60, 1),
    (100, 1),
    (120_000, 1001),
    (120, 1),
    (15, 1),
    (12, 1),
    (10, 1),
];

/// Frames a second by the distances of time stamps; `announced` is preferred where it agrees, and stands alone where
/// there are fewer than three stamps.
pub fn frame_rate(stamps: &[Ticks], announced: Option<Rate>) -> Option<Rate> {
    let Some((first, _)) = stamps.split_first().filter(|_| stamps.len() >= 3) else { return announced };
    let mut sorted: Vec<i64> = stamps.iter().map(|stamp| stamp.since(*first)).collect();
    sorted.sort_unstable();
    let mut steps: Vec<i64> =
        sorted.windows(2).map(|pair| pair[1] - pair[0]).filter(|step| *step > 0).collect();
    steps.sort_unstable();
    let median = *steps.get(steps.len() / 2)?;
    let near: Vec<i64> = steps.into_iter().filter(|step| (step - median).abs() <= 2).collect();
    let (sum, count) = (u64::try_from(near.iter().sum::<i64>()).ok()?, u64::try_from(near.len()).ok()?);
    let mean = f64::from(u32::try_from(sum).ok()?) / f64::from(u32::try_from(count).ok()?);
    if let Some(rate) = announced.filter(|rate| rate.fits(mean)) {
        return Some(rate);
    }
    let usual = USUAL.iter().filter_map(|(num, den)| Rate::new(*num, *den));
    usual.into_iter().find(|rate| rate.fits(mean)).or_else(|| Rate::new(90_000 * count, sum))
}

#[cfg(test)]
mod tests;
