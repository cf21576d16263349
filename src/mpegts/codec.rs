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
    /// AAC in LATM.
    AacLatm,
    /// Opus.
    Opus,
    /// DTS, in all its versions.
    Dts,
    /// SMPTE 302M: PCM.
    S302m,
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
        self.coding().is_some()
            || matches!(self, Self::AacLatm | Self::Opus | Self::Dts | Self::S302m | Self::OtherAudio)
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
            0x81 | 0x84 | 0x87 | 0xC1 | 0xC2 => Self::Ac3,
            0x11 => Self::AacLatm,
            0x82 | 0x85 | 0x8A => Self::Dts,
            0x1C | 0x80 | 0x83 | 0xCF => Self::OtherAudio,
            0x06 => Self::of_private(stream),
            _ => Self::Data,
        }
    }

    /// The codec's name for people. `stream_type` is that of the PMT.
    pub fn name(self, stream_type: u8) -> &'static str {
        match (self, stream_type) {
            _ if is_encrypted(stream_type) => "encrypted",
            (Self::H264, _) => "H.264",
            (Self::Hevc, _) => "H.265",
            (Self::Mpeg2, 0x01) => "MPEG-1 video",
            (Self::Mpeg2, _) => "MPEG-2 video",
            (Self::Ac3, _) => "AC-3",
            (Self::MpegAudio, _) => "MPEG audio",
            (Self::Aac, _) | (Self::OtherAudio, 0x1C) => "AAC",
            (Self::AacLatm, _) => "AAC in LATM",
            (Self::Opus, _) => "Opus",
            (Self::Dts, _) => "DTS",
            (Self::S302m, _) => "SMPTE 302M",
            (_, 0x80) => "PCM",
            (_, 0x83) => "TrueHD",
            (Self::Data, _) => "data",
            (Self::OtherVideo | Self::OtherAudio, _) => "of an unknown codec",
        }
    }

    /// The codec of a stream of private PES packets, by its registration descriptor or those of DVB (ETSI EN 300 468, tables
    /// 12 and 109) for AC-3, E-AC-3, DTS, AAC and AC-4.
    fn of_private(stream: &ElementaryStream) -> Self {
        let registered = stream.descriptors_with(0x05).find_map(|body| match body.get(..4)? {
            b"AC-3" | b"EAC3" => Some(Self::Ac3),
            b"HEVC" => Some(Self::Hevc),
            b"Opus" => Some(Self::Opus),
            b"DTS1" | b"DTS2" | b"DTS3" => Some(Self::Dts),
            b"BSSD" => Some(Self::S302m),
            b"AC-4" | b"mlpa" => Some(Self::OtherAudio),
            b"AV01" | b"VC-1" | b"drac" => Some(Self::OtherVideo),
            _ => None,
        });
        let has = |tag| stream.descriptors_with(tag).next().is_some();
        let extends = |tag| stream.descriptors_with(0x7F).any(|body| body.first() == Some(&tag));
        match registered {
            Some(codec) => codec,
            None if has(0x6A) || has(0x7A) => Self::Ac3,
            None if has(0x7B) || extends(0x0E) => Self::Dts,
            None if has(0x7C) || extends(0x15) => Self::OtherAudio,
            None => Self::Data,
        }
    }
}

/// Whether frames of that stream type are encrypted, as SAMPLE-AES (HLS) does it: H.264, AC-3, E-AC-3 or AAC.
pub fn is_encrypted(stream_type: u8) -> bool {
    matches!(stream_type, 0xDB | 0xC1 | 0xC2 | 0xCF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codecs_are_told_by_stream_type_and_descriptors() {
        for (stream_type, descriptors, expected) in [
            (0x1B, &[][..], Codec::H264),
            (0x11, &[], Codec::AacLatm),
            (0x06, b"\x05\x04Opus\x7F\x02\x80\x02", Codec::Opus),
            (0x06, b"\x05\x04BSSD", Codec::S302m),
            (0x06, b"\x05\x04DTS2", Codec::Dts),
            (0x06, b"\x7B\x05\0\0\0\0\0", Codec::Dts),
            (0x06, b"\x0A\x04eng\0\x7F\x01\x0E", Codec::Dts),
            (0x06, b"\x6A\x01\0", Codec::Ac3),
            (0x06, b"\x7F\x01\x15", Codec::OtherAudio),
            (0x06, b"\x59\x00", Codec::Data),
            (0x06, b"\x05\x04KLVA", Codec::Data),
            (0x15, b"", Codec::Data),
            (0x8A, b"", Codec::Dts),
        ] {
            let stream = ElementaryStream { pid: 0x100, stream_type, descriptors: descriptors.to_vec() };
            assert_eq!(Codec::of(&stream), expected, "{stream_type:#x} {descriptors:?}");
        }
        let sound = [Codec::Aac, Codec::MpegAudio, Codec::Ac3, Codec::Opus, Codec::S302m, Codec::OtherAudio];
        assert!(sound.into_iter().all(Codec::is_audio));
        assert!(!Codec::Data.is_audio() && !Codec::H264.is_audio());
    }
}
