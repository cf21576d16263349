//! The formats of samples, which MP4 has in its sample descriptions: from the parameter sets of video, and from the headers
//! of audio frames.

use std::collections::BTreeMap;

use super::audio::{Coding, Frame};
use super::codec::Codec;
use super::nal::nal_units;
use super::video::{NalType, PictureFormat};
use super::{h264, hevc};

/// What a decoder needs to know before the first sample.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SampleFormat {
    /// H.264 or H.265.
    Video(VideoFormat),
    /// AAC.
    Aac {
        /// Its AudioSpecificConfig (ISO/IEC 14496-3, 1.6.2.1).
        config: Vec<u8>,
        /// Samples a second.
        sample_rate: u32,
        /// The number of channels.
        channels: u8,
    },
    /// MPEG audio, layer III.
    Mp3 {
        /// Samples a second.
        sample_rate: u32,
        /// The number of channels.
        channels: u8,
    },
    /// AC-3.
    Ac3 {
        /// The content of a `dac3` box (ETSI TS 102 366, F.4).
        config: Vec<u8>,
        /// Samples a second.
        sample_rate: u32,
        /// The number of channels.
        channels: u8,
    },
    /// E-AC-3.
    Eac3 {
        /// The content of a `dec3` box (ETSI TS 102 366, F.6).
        config: Vec<u8>,
        /// Samples a second.
        sample_rate: u32,
        /// The number of channels.
        channels: u8,
    },
}

/// The format of a video track.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VideoFormat {
    /// H.264 or H.265.
    pub codec: Codec,
    /// The parameter sets, as NAL units without start codes: VPS, SPS, PPS, those of a kind in the order of their ids.
    pub parameter_sets: Vec<Vec<u8>>,
    /// The format in the sequence parameter set that is in use.
    pub picture: PictureFormat,
}

impl SampleFormat {
    /// Roughly how many bytes of memory it takes.
    pub(super) fn memory_bytes(&self) -> usize {
        let sets = match self {
            Self::Video(video) => {
                video.parameter_sets.iter().map(|set| set.len() + size_of::<Vec<u8>>()).sum()
            }
            _ => 16,
        };
        size_of::<Self>() + 32 + sets
    }
}

/// The formats of a track, as its samples come.
#[derive(Debug)]
pub(super) enum Formats {
    /// Video.
    Video(ParameterSets),
    /// Audio.
    Audio(AudioFrames),
    /// None, as MP4 does not hold it: its name.
    Unsupported(&'static str),
}

impl Formats {
    pub(super) fn of(codec: Codec, stream_type: u8) -> Self {
        let name = codec.name(stream_type);
        match codec.coding() {
            _ if name == "encrypted" => Self::Unsupported(name),
            Some(coding) => Self::Audio(AudioFrames::new(coding)),
            None if matches!(codec, Codec::H264 | Codec::Hevc) => Self::Video(ParameterSets::new(codec)),
            None => Self::Unsupported(name),
        }
    }

    /// Why there is no format: the name of the codec.
    pub(super) fn unsupported(&self) -> Option<&'static str> {
        match self {
            Self::Video(_) => None,
            Self::Audio(frames) => frames.unsupported,
            Self::Unsupported(name) => Some(*name),
        }
    }
}

/// The parameter sets of a video track.
#[derive(Debug)]
pub(super) struct ParameterSets {
    codec: Codec,
    /// By kind and id.
    sets: BTreeMap<(usize, u32), Vec<u8>>,
    /// Whether one has changed since the last format.
    changed: bool,
}

impl ParameterSets {
    pub(super) fn new(codec: Codec) -> Self {
        Self { codec, sets: BTreeMap::new(), changed: false }
    }

    fn nal_type(&self, nal: &[u8]) -> NalType {
        if self.codec == Codec::Hevc { hevc::nal_type(nal) } else { h264::nal_type(nal) }
    }

    /// Takes a NAL unit, and keeps it if it is a parameter set.
    pub(super) fn push(&mut self, nal: &[u8]) {
        let NalType::ParameterSet(kind) = self.nal_type(nal) else { return };
        if self.sets.values().any(|set| set == nal) {
            return;
        }
        if let Some(id) = self.id(kind, nal) {
            self.sets.insert((kind, id), nal.to_vec());
            self.changed = true;
        }
    }

    /// The id of a parameter set.
    fn id(&self, kind: usize, nal: &[u8]) -> Option<u32> {
        if self.codec == Codec::Hevc {
            hevc::parameter_set_id(kind, nal)
        } else {
            h264::parameter_set_id(kind, nal)
        }
    }

    /// The format from a sync sample on, given as a byte stream, if the parameter sets have changed and all are there.
    pub(super) fn changed_format(&mut self, _byte_stream: &[u8]) -> Option<SampleFormat> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        let (sps_kind, pps_kind) = if self.codec == Codec::Hevc { (1, 2) } else { (0, 1) };
        let parse = if self.codec == Codec::Hevc { hevc::parse_sps } else { h264::parse_sps };
        let mut sps = self.sets.range((sps_kind, 0)..(pps_kind, 0)).map(|(_, set)| set);
        let picture = sps.find_map(|sps| parse(sps))?;
        self.sets.range((pps_kind, 0)..).next()?;
        let parameter_sets = self.sets.values().cloned().collect();
        Some(SampleFormat::Video(VideoFormat { codec: self.codec, parameter_sets, picture }))
    }
}

/// The format in the parameter sets of access units that are given as byte streams.
pub fn video_format(codec: Codec, byte_stream: &[u8]) -> Option<SampleFormat> {
    let mut sets = ParameterSets::new(codec);
    nal_units(byte_stream).for_each(|nal| sets.push(nal));
    sets.changed_format(byte_stream)
}

/// The bytes in front of the data of an audio frame that MP4 leaves out: its ADTS header.
pub(super) fn header_bytes(codec: Codec, frame: &[u8]) -> usize {
    match (codec, frame) {
        (Codec::Aac, [_, b1, ..]) => {
            if b1 & 1 == 1 {
                7
            } else {
                9
            }
        }
        _ => 0,
    }
}

/// The frames of an audio track.
#[derive(Debug)]
pub(super) struct AudioFrames {
    pub(super) coding: Coding,
    unsupported: Option<&'static str>,
}

impl AudioFrames {
    fn new(coding: Coding) -> Self {
        Self { coding, unsupported: None }
    }

    pub(super) fn header_bytes(&self, frame: &[u8]) -> usize {
        if self.coding == Coding::Adts { header_bytes(Codec::Aac, frame) } else { 0 }
    }

    /// The format of a frame.
    pub(super) fn changed_format(&mut self, bytes: &[u8], frame: &Frame) -> Option<SampleFormat> {
        match audio_format(self.coding, bytes, frame) {
            Ok(format) => Some(format),
            Err(name) => {
                self.unsupported.get_or_insert(name);
                None
            }
        }
    }
}

/// The format of an audio frame, or the name of a codec that MP4 does not hold here.
fn audio_format(coding: Coding, bytes: &[u8], frame: &Frame) -> Result<SampleFormat, &'static str> {
    let (sample_rate, channels) = (frame.sample_rate, frame.channels);
    match coding {
        Coding::Adts => {
            let [_, _, b2, b3, _, _, b6, ..] = *bytes else { return Err("AAC") };
            if channels == 0 {
                return Err("AAC with a program config element");
            }
            if b6 & 3 != 0 {
                return Err("AAC with several raw data blocks a frame");
            }
            let frequency_index = b2 >> 2 & 0x0F;
            let channel_configuration = (b2 & 1) << 2 | b3 >> 6;
            let config = u16::from(frame.subtype) << 11
                | u16::from(frequency_index) << 7
                | u16::from(channel_configuration) << 3;
            Ok(SampleFormat::Aac { config: config.to_be_bytes().to_vec(), sample_rate, channels })
        }
        Coding::Mpeg => match frame.subtype {
            1 => Err("MPEG audio layer I"),
            2 => Err("MPEG audio layer II"),
            _ => Ok(SampleFormat::Mp3 { sample_rate, channels }),
        },
        Coding::Ac3 => Err("AC-3"),
    }
}
