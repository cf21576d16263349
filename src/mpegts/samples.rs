//! The formats of samples as MP4 describes them.

use super::codec::Codec;
use super::video::PictureFormat;

/// What a decoder needs to know before the first sample.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SampleFormat {
    /// H.264 or H.265.
    Video(VideoFormat),
    /// AAC.
    Aac {
        /// The `AudioSpecificConfig` (ISO/IEC 14496-3, 1.6.2.1).
        config: Vec<u8>,
        /// The sampling rate in Hz.
        sample_rate: u32,
        /// The number of channels.
        channels: u8,
    },
    /// MPEG audio, layer III.
    Mp3 {
        /// The sampling rate in Hz.
        sample_rate: u32,
        /// The number of channels.
        channels: u8,
    },
    /// AC-3.
    Ac3 {
        /// The content of `dac3` (ETSI TS 102 366, annex F).
        config: Vec<u8>,
        /// The sampling rate in Hz.
        sample_rate: u32,
        /// The number of channels.
        channels: u8,
    },
    /// E-AC-3.
    Eac3 {
        /// The content of `dec3` (ETSI TS 102 366, annex F).
        config: Vec<u8>,
        /// The sampling rate in Hz.
        sample_rate: u32,
        /// The number of channels.
        channels: u8,
    },
}

/// The format of video.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VideoFormat {
    /// H.264 or H.265.
    pub codec: Codec,
    /// NAL units without start codes: VPS, SPS, PPS, each kind in the order of ids.
    pub parameter_sets: Vec<Vec<u8>>,
    /// The pictures.
    pub picture: PictureFormat,
}
