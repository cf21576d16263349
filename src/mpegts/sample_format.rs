//! The formats of samples, which MP4 has in its sample descriptions: from the parameter sets of video, and from the headers
//! of audio frames.

use std::collections::BTreeMap;

use super::audio::{Coding, Frame, ac3_lfeon};
use super::codec::{Codec, is_encrypted};
use super::nal::trimmed_nal_units;
use super::video::{NalType, PictureFormat};
use super::{h264, hevc};

/// How much memory the formats of a track in one segment may take: a thousand usual ones of video. Each has all parameter
/// sets, so a small segment could make them take gigabytes.
const MAX_FORMAT_BYTES: usize = 256 * 1024;

/// What a decoder needs to know before the first sample.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SampleFormat {
    /// H.264 or H.265.
    Video(VideoFormat),
    /// AAC.
    Aac {
        /// Its `AudioSpecificConfig` (ISO/IEC 14496-3, 1.6.2.1).
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
    /// Samples a second of sound; `None` for video.
    pub fn sample_rate(&self) -> Option<u32> {
        match self {
            Self::Video(_) => None,
            Self::Aac { sample_rate, .. }
            | Self::Mp3 { sample_rate, .. }
            | Self::Ac3 { sample_rate, .. }
            | Self::Eac3 { sample_rate, .. } => Some(*sample_rate),
        }
    }

    /// Roughly how many bytes of memory it takes.
    pub fn memory_bytes(&self) -> usize {
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
            _ if is_encrypted(stream_type) => Self::Unsupported(name),
            Some(coding) => Self::Audio(AudioFrames::new(coding)),
            None if matches!(codec, Codec::H264 | Codec::Hevc) => Self::Video(ParameterSets::new(codec)),
            None => Self::Unsupported(name),
        }
    }

    /// Why there is no format: the name of the codec.
    pub(super) fn unsupported(&self) -> Option<&'static str> {
        match self {
            Self::Video(sets) => sets.unsupported(),
            Self::Audio(frames) => frames.unsupported,
            Self::Unsupported(name) => Some(*name),
        }
    }
}

/// How the parameter sets of a codec are found and parsed.
#[derive(Debug, Clone, Copy)]
struct ParameterSetSyntax {
    nal_type: fn(&[u8]) -> NalType,
    /// The index of the kind SPS, which that of PPS follows.
    sps: usize,
    id: fn(&[u8]) -> Option<(u32, u32)>,
    slice_pps_id: fn(&[u8]) -> Option<u32>,
    parse_sps: fn(&[u8]) -> Option<PictureFormat>,
}

impl ParameterSetSyntax {
    fn of(codec: Codec) -> Self {
        let h264 = Self {
            nal_type: h264::nal_type,
            sps: 0,
            id: h264::parameter_set_id,
            slice_pps_id: h264::slice_pps_id,
            parse_sps: h264::parse_sps,
        };
        let hevc = Self {
            nal_type: hevc::nal_type,
            sps: 1,
            id: hevc::parameter_set_id,
            slice_pps_id: hevc::slice_pps_id,
            parse_sps: hevc::parse_sps,
        };
        if codec == Codec::Hevc { hevc } else { h264 }
    }
}

/// The parameter sets of a video track.
#[derive(Debug)]
pub(super) struct ParameterSets {
    codec: Codec,
    syntax: ParameterSetSyntax,
    /// By kind and id.
    sets: BTreeMap<(usize, u32), Vec<u8>>,
    /// Whether one has changed since the last format.
    changed: bool,
    /// The id of the PPS of the current access unit.
    pps_id: Option<u32>,
    /// That of the last format.
    format_pps_id: Option<u32>,
    /// How much memory all formats so far take.
    format_bytes: usize,
}

impl ParameterSets {
    pub(super) fn new(codec: Codec) -> Self {
        Self {
            codec,
            syntax: ParameterSetSyntax::of(codec),
            sets: BTreeMap::new(),
            changed: false,
            pps_id: None,
            format_pps_id: None,
            format_bytes: 0,
        }
    }

    /// Takes the next NAL unit of an access unit.
    pub(super) fn push(&mut self, nal: &[u8]) {
        match (self.syntax.nal_type)(nal) {
            NalType::ParameterSet(kind) => self.insert(kind, nal),
            NalType::Slice { first: true, .. } if self.pps_id.is_none() => {
                self.pps_id = (self.syntax.slice_pps_id)(nal);
            }
            _ => {}
        }
    }

    fn insert(&mut self, kind: usize, nal: &[u8]) {
        let Some((id, _)) = (self.syntax.id)(nal) else { return };
        if self.sets.get(&(kind, id)).is_none_or(|set| set != nal) {
            self.sets.insert((kind, id), nal.to_vec());
            self.changed = true;
        }
    }

    /// Ends an access unit. Returns the format from it on if it is a sync sample with all parameter sets that it needs, and they
    /// are others than those of the last format.
    pub(super) fn end_access_unit(&mut self, sync: bool) -> Option<SampleFormat> {
        let pps_id = self.pps_id.take()?;
        if !sync || !self.changed && self.format_pps_id == Some(pps_id) || self.unsupported().is_some() {
            return None;
        }
        let pps = self.sets.get(&(self.syntax.sps + 1, pps_id))?;
        let (_, sps_id) = (self.syntax.id)(pps)?;
        let picture = (self.syntax.parse_sps)(self.sets.get(&(self.syntax.sps, sps_id))?)?;
        (self.changed, self.format_pps_id) = (false, Some(pps_id));
        let parameter_sets = self.sets.values().cloned().collect();
        let format = SampleFormat::Video(VideoFormat { codec: self.codec, parameter_sets, picture });
        self.format_bytes += format.memory_bytes();
        Some(format).filter(|_| self.unsupported().is_none())
    }

    /// Why there are no formats.
    fn unsupported(&self) -> Option<&'static str> {
        let are_too_large = self.format_bytes > MAX_FORMAT_BYTES;
        are_too_large.then_some("a stream of too large parameter sets, or ones that change too often")
    }
}

/// The format in the parameter sets of access units that are given as a byte stream, by the first picture.
pub fn video_format(codec: Codec, byte_stream: &[u8]) -> Option<SampleFormat> {
    let mut sets = ParameterSets::new(codec);
    trimmed_nal_units(byte_stream).for_each(|nal| sets.push(nal));
    sets.end_access_unit(true)
}

/// The frames of an audio track.
#[derive(Debug)]
pub(super) struct AudioFrames {
    pub(super) coding: Coding,
    unsupported: Option<&'static str>,
    /// The bit rate of E-AC-3 in kbit/s, by the first frame.
    data_rate: Option<u16>,
}

impl AudioFrames {
    fn new(coding: Coding) -> Self {
        Self { coding, unsupported: None, data_rate: None }
    }

    /// The format of a frame; `None` if MP4 does not hold it here.
    pub(super) fn format(&mut self, bytes: &[u8], frame: &Frame) -> Option<SampleFormat> {
        let format = match self.coding {
            Coding::Adts => aac_format(bytes, frame),
            Coding::Mpeg => mp3_format(frame),
            Coding::Ac3 if frame.subtype > 10 => {
                let bits = u32::try_from(frame.bytes * 8).unwrap_or(u32::MAX);
                let rate = (u64::from(bits) * u64::from(frame.sample_rate) / u64::from(frame.samples.max(1))
                    + 500)
                    / 1000;
                let data_rate =
                    *self.data_rate.get_or_insert(u16::try_from(rate).unwrap_or(u16::MAX).min(0x1FFF));
                eac3_format(bytes, frame, data_rate)
            }
            Coding::Ac3 => ac3_format(bytes, frame),
        };
        format.map_err(|name| self.unsupported = self.unsupported.or(Some(name))).ok()
    }
}

/// The format of an ADTS frame, or why it has none.
fn aac_format(bytes: &[u8], frame: &Frame) -> Result<SampleFormat, &'static str> {
    let [_, _, b2, b3, _, _, b6, ..] = *bytes else { return Err("AAC") };
    let Frame { sample_rate, channels, .. } = *frame;
    if channels == 0 {
        return Err("AAC with a program config element");
    }
    if b6 & 3 != 0 {
        return Err("AAC with several raw data blocks in a frame");
    }
    let [object_type, frequency_index, channel_configuration] =
        [frame.subtype, b2 >> 2 & 0x0F, (b2 & 1) << 2 | b3 >> 6].map(u16::from);
    let config = object_type << 11 | frequency_index << 7 | channel_configuration << 3;
    Ok(SampleFormat::Aac { config: config.to_be_bytes().to_vec(), sample_rate, channels })
}

/// The format of a frame of MPEG audio, or why it has none.
fn mp3_format(frame: &Frame) -> Result<SampleFormat, &'static str> {
    match frame.subtype {
        1 => Err("MPEG audio layer I"),
        2 => Err("MPEG audio layer II"),
        _ => Ok(SampleFormat::Mp3 { sample_rate: frame.sample_rate, channels: frame.channels }),
    }
}

/// The format of a frame of AC-3 (ETSI TS 102 366, 4.3 and F.4), or why it has none.
fn ac3_format(bytes: &[u8], frame: &Frame) -> Result<SampleFormat, &'static str> {
    let [_, _, _, _, b4, b5, b6, b7, ..] = *bytes else { return Err("AC-3") };
    let lfeon = ac3_lfeon([b6, b7]);
    // fscod, bsid and bsmod, acmod, lfeon, bit_rate_code
    let [fscod, bsid_bsmod, acmod, lfeon, bit_rate_code] =
        [b4 >> 6, b5, b6 >> 5, lfeon, b4 >> 1 & 0x1F].map(u32::from);
    let bits = fscod << 22 | bsid_bsmod << 14 | acmod << 11 | lfeon << 10 | bit_rate_code << 5;
    let config = bits.to_be_bytes()[1..].to_vec();
    Ok(SampleFormat::Ac3 { config, sample_rate: frame.sample_rate, channels: frame.channels })
}

/// The format of a frame of E-AC-3 (ETSI TS 102 366, E.1.2 and F.6), or why it has none.
fn eac3_format(bytes: &[u8], frame: &Frame, data_rate: u16) -> Result<SampleFormat, &'static str> {
    let [_, _, b2, _, b4, b5, ..] = *bytes else { return Err("E-AC-3") };
    // strmtyp and substreamid: only the first independent substream is one of its own.
    if b2 >> 6 == 1 || b2 >> 3 & 7 != 0 {
        return Err("E-AC-3 with several substreams");
    }
    if frame.samples != 1536 {
        return Err("E-AC-3 with fewer than six blocks in a frame");
    }
    let [rate_high, rate_low] = (data_rate << 3).to_be_bytes();
    // fscod, bsid, 2 bits that are 0, bsmod (0: the main service), acmod and lfeon, 8 bits that are 0
    let config = vec![rate_high, rate_low, b4 & 0xC0 | b5 >> 3 << 1, b4 & 0x0F, 0];
    Ok(SampleFormat::Eac3 { config, sample_rate: frame.sample_rate, channels: frame.channels })
}

#[cfg(test)]
mod tests;
