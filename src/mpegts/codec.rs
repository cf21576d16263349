//! The codec of an elementary stream, by its `stream_type` and descriptors.

use super::audio::Coding;
use super::psi::ElementaryStream;

/// The codec of an elementary stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// H.264 in a byte stream.
    H264,
    /// H.265 (HEVC) in a byte stream.
    Hevc,
    /// MPEG-1 or MPEG-2 video.
    Mpeg2,
    /// Another video codec.
    OtherVideo,
    /// AAC in ADTS.
    Aac,
    /// MPEG audio, layers I to III.
    MpegAudio,
    /// AC-3 or E-AC-3.
    Ac3,
    /// Another audio codec.
    OtherAudio,
    /// Anything else: timed metadata, subtitles, sections.
    Data,
}

impl Codec {
    /// Whether it is a video codec.
    pub fn is_video(self) -> bool {
        matches!(self, Self::H264 | Self::Hevc | Self::Mpeg2 | Self::OtherVideo)
    }

    /// Whether it is an audio codec.
    pub fn is_audio(self) -> bool {
        matches!(self, Self::Aac | Self::MpegAudio | Self::Ac3 | Self::OtherAudio)
    }

    /// The coding of its audio frames, if they can be parsed.
    pub fn coding(self) -> Option<Coding> {
        match self {
            Self::Aac => Some(Coding::Adts),
            Self::MpegAudio => Some(Coding::Mpeg),
            Self::Ac3 => Some(Coding::Ac3),
            _ => None,
        }
    }

    /// The codec of a stream of the PMT (ISO/IEC 13818-1, table 2-34; ETSI EN 300 468; SMPTE RA registry).
    pub fn of(stream: &ElementaryStream) -> Self {
        match stream.stream_type {
            0x1B => Self::H264,
            0x24 => Self::Hevc,
            0x01 | 0x02 => Self::Mpeg2,
            0x10 | 0x1E | 0x1F | 0x20 | 0x21 | 0x25 | 0x33 | 0x42 | 0xD1 | 0xEA | 0xDB => Self::OtherVideo,
            0x0F => Self::Aac,
            0x03 | 0x04 => Self::MpegAudio,
            0x81 | 0x87 | 0xC1 | 0xC2 => Self::Ac3,
            0x11 | 0x1C | 0x80 | 0x82..=0x85 | 0x8A | 0xCF => Self::OtherAudio,
            0x06 => Self::of_private(stream),
            _ => Self::Data,
        }
    }

    /// The codec of a stream of private PES packets, by its registration descriptor or those of DVB for AC-3, E-AC-3, DTS
    /// and AAC.
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
