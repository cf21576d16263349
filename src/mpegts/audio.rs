//! Frames of compressed audio: ADTS (ISO/IEC 13818-7, 6.2), MPEG audio (ISO/IEC 11172-3 and 13818-3, 2.4.1.3), AC-3 and
//! E-AC-3 (ETSI TS 102 366, clause 4 and annex E).
//!
//! Frames of all of these begin with a sync word and a header that has their length, so audio can be cut between any two.

use std::ops::Range;

use super::pes::TICKS_PER_SECOND;

/// A coding whose frames can be parsed here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// AAC in ADTS.
    Adts,
    /// MPEG-1 or MPEG-2 audio, layers I to III.
    Mpeg,
    /// AC-3 or E-AC-3.
    Ac3,
}

/// The header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// The length of the frame with its header, in bytes.
    pub bytes: usize,
    /// Samples a channel.
    pub samples: u32,
    /// Samples a second.
    pub sample_rate: u32,
    /// The number of channels; 0 where the header leaves it open.
    pub channels: u8,
    /// The AAC object type, the MPEG layer, or the AC-3 bit stream identification.
    pub subtype: u8,
}

impl Frame {
    /// The duration of the frame in ticks of 90 kHz, rounded.
    pub fn duration_90k(&self) -> i64 {
        self.to_90k(self.samples.into())
    }

    /// The duration of a number of samples, in ticks of 90 kHz, rounded.
    pub(super) fn to_90k(self, samples: i64) -> i64 {
        let rate = i64::from(self.sample_rate.max(1));
        (samples * TICKS_PER_SECOND + rate / 2) / rate
    }

    /// The codec's name after RFC 6381.
    pub fn codecs(&self, coding: Coding) -> String {
        match coding {
            Coding::Adts => format!("mp4a.40.{}", self.subtype),
            Coding::Mpeg => format!("mp4a.40.{}", 31 + self.subtype),
            Coding::Ac3 if self.subtype > 10 => "ec-3".to_owned(),
            Coding::Ac3 => "ac-3".to_owned(),
        }
    }
}

impl Coding {
    /// Parses the frame header at the start of `bytes`.
    pub fn frame(self, bytes: &[u8]) -> Option<Frame> {
        match self {
            Self::Adts => adts(bytes),
            Self::Mpeg => mpeg(bytes),
            Self::Ac3 => ac3(bytes),
        }
    }

    /// The length of the header at the start of a frame, if containers other than transport streams do without it: that of
    /// ADTS, with its CRC.
    pub(super) fn removable_header_bytes(self, frame: &[u8]) -> usize {
        match (self, frame) {
            (Self::Adts, [_, b1, ..]) => adts_header_bytes(*b1),
            _ => 0,
        }
    }

    /// The offset and header of the first frame in `bytes` that another frame or the end follows.
    pub fn find(self, bytes: &[u8]) -> Option<(usize, Frame)> {
        (0..bytes.len().min(16_384)).find_map(|offset| {
            let frame = self.frame(&bytes[offset..])?;
            let next = bytes.get(offset + frame.bytes..).unwrap_or(&[]);
            (next.len() < 8 || self.frame(next).is_some()).then_some((offset, frame))
        })
    }

    /// Iterates over the frames in `payload`, the last of which may be truncated: offset, header, and the ticks of
    /// 90 kHz from the start of the first frame to the frame's start and end.
    pub fn frames(self, payload: &[u8]) -> impl Iterator<Item = (usize, Frame, Range<i64>)> {
        let mut next_offset = self.find(payload).map_or(payload.len(), |(offset, _)| offset);
        let mut next_sample = 0;
        std::iter::from_fn(move || {
            let (offset, sample) = (next_offset, next_sample);
            let frame = self.frame(payload.get(offset..)?)?;
            next_offset += frame.bytes;
            next_sample += i64::from(frame.samples);
            Some((offset, frame, frame.to_90k(sample)..frame.to_90k(next_sample)))
        })
    }

    /// Keeps the frames in the payload of a PES packet that start within `keep_90k`, in ticks after its PTS.
    ///
    /// Returns their bytes, and the ticks from the PTS to the start of the first and the end of the last; `None` if no
    /// frame is kept. A truncated last frame is kept only if it is `continued` in the next PES packet.
    pub(super) fn trim<'a>(
        self,
        payload: &'a [u8],
        keep_90k: &Range<i64>,
        continued: bool,
    ) -> Option<(&'a [u8], Range<i64>)> {
        let mut kept = self.frames(payload).filter(|(offset, frame, ticks)| {
            keep_90k.contains(&ticks.start) && (continued || offset + frame.bytes <= payload.len())
        });
        let first = kept.next()?;
        let (start, start_90k) = (first.0, first.2.start);
        let (offset, frame, ticks) = kept.last().unwrap_or(first);
        let end = (offset + frame.bytes).min(payload.len());
        Some((payload.get(start..end)?, start_90k..ticks.end))
    }
}

/// Sampling rates by `sampling_frequency_index`.
const AAC_RATES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8000, 7350];

/// The length of an ADTS header, whose second byte tells whether it has a CRC (`protection_absent`).
fn adts_header_bytes(b1: u8) -> usize {
    if b1 & 1 == 1 { 7 } else { 9 }
}

fn adts(bytes: &[u8]) -> Option<Frame> {
    let [0xFF, b1, b2, b3, b4, b5, b6, ..] = *bytes else { return None };
    if b1 & 0xF6 != 0xF0 {
        return None;
    }
    let length = usize::from(b3 & 3) << 11 | usize::from(b4) << 3 | usize::from(b5 >> 5);
    let header = adts_header_bytes(b1);
    let channel_configuration = (b2 & 1) << 2 | b3 >> 6;
    (length >= header).then_some(Frame {
        bytes: length,
        samples: 1024 * (u32::from(b6 & 3) + 1),
        sample_rate: *AAC_RATES.get(usize::from(b2 >> 2 & 0x0F))?,
        channels: if channel_configuration == 7 { 8 } else { channel_configuration },
        subtype: (b2 >> 6) + 1,
    })
}

/// Bit rates in kbit/s by version (MPEG-1, or MPEG-2 and 2.5), layer and index (11172-3 and 13818-3, 2.4.2.3).
const BIT_RATES: [[[u32; 14]; 3]; 2] = [
    [
        [32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448],
        [32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
        [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
    ],
    [
        [32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
        [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
        [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
    ],
];

fn mpeg(bytes: &[u8]) -> Option<Frame> {
    let [0xFF, b1, b2, b3, ..] = *bytes else { return None };
    let (version, layer) = (b1 >> 3 & 3, 4 - (b1 >> 1 & 3));
    if b1 & 0xE0 != 0xE0 || version == 1 || layer == 4 {
        return None;
    }
    let is_mpeg2 = version != 3;
    let index = usize::from(b2 >> 4).checked_sub(1)?;
    let kilobits = *BIT_RATES[usize::from(is_mpeg2)][usize::from(layer - 1)].get(index)?;
    let base = *[44_100, 48_000, 32_000].get(usize::from(b2 >> 2 & 3))?;
    let sample_rate = match version {
        3 => base,
        2 => base / 2,
        _ => base / 4,
    };
    let samples = match (layer, is_mpeg2) {
        (1, _) => 384,
        (3, true) => 576,
        _ => 1152,
    };
    let padding = u32::from(b2 >> 1 & 1);
    let length = if layer == 1 {
        (12_000 * kilobits / sample_rate + padding) * 4
    } else {
        samples / 8 * 1000 * kilobits / sample_rate + padding
    };
    let channels = if b3 >> 6 == 3 { 1 } else { 2 };
    Some(Frame { bytes: usize::try_from(length).ok()?, samples, sample_rate, channels, subtype: layer })
}

/// Bit rates of AC-3 in kbit/s by half of `frmsizecod` (ETSI TS 102 366, table 4.13).
const AC3_RATES: [u32; 19] =
    [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640];
/// Full-bandwidth channels by `acmod` (table 4.3).
const AC3_CHANNELS: [u8; 8] = [2, 1, 2, 3, 3, 4, 4, 5];

fn ac3(bytes: &[u8]) -> Option<Frame> {
    let [0x0B, 0x77, b2, b3, b4, b5, b6, ..] = *bytes else { return None };
    let bsid = b5 >> 3;
    if bsid > 16 {
        return None;
    }
    if bsid > 10 {
        return eac3([b2, b3, b4], bsid);
    }
    let sample_rate = *[48_000, 44_100, 32_000].get(usize::from(b4 >> 6))?;
    let kilobits = *AC3_RATES.get(usize::from(b4 >> 1 & 0x1F))?;
    let words = match sample_rate {
        44_100 => kilobits * 1000 * 96 / 44_100 + u32::from(b4 & 1),
        rate => kilobits * 96_000 / rate,
    };
    let channels = AC3_CHANNELS[usize::from(b6 >> 5)] + ac3_lfeon([b6, bytes.get(7).copied().unwrap_or(0)]);
    Some(Frame {
        bytes: usize::try_from(words).ok()? * 2,
        samples: 1536,
        sample_rate,
        channels,
        subtype: bsid,
    })
}

/// `lfeon` of AC-3, which follows the mix levels that are present for `acmod`: centre, surround, Dolby Surround.
pub(super) fn ac3_lfeon([b6, b7]: [u8; 2]) -> u8 {
    let acmod = b6 >> 5;
    let mix_levels = [acmod & 1 == 1 && acmod != 1, acmod & 4 != 0, acmod == 2];
    let skipped = 3 + 2 * mix_levels.into_iter().filter(|is_present| *is_present).count();
    u8::from(u16::from_be_bytes([b6, b7]) >> (15 - skipped) & 1 == 1)
}

fn eac3([b2, b3, b4]: [u8; 3], bsid: u8) -> Option<Frame> {
    let bytes = (usize::from(b2 & 7) << 8 | usize::from(b3)) * 2 + 2;
    let reduced = b4 >> 6 == 3;
    let code = usize::from(if reduced { b4 >> 4 & 3 } else { b4 >> 6 });
    let sample_rate = *if reduced { [24_000, 22_050, 16_000] } else { [48_000, 44_100, 32_000] }.get(code)?;
    let blocks = if reduced { 6 } else { [1, 2, 3, 6][usize::from(b4 >> 4 & 3)] };
    let channels = AC3_CHANNELS[usize::from(b4 >> 1 & 7)] + (b4 & 1);
    Some(Frame { bytes, samples: blocks * 256, sample_rate, channels, subtype: bsid })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_each_coding_are_parsed() {
        let rows: [(Coding, &[u8], Frame, &str); 5] = [
            (
                Coding::Adts,
                &[0xFF, 0xF1, 0x4C, 0x80, 0x2E, 0x7F, 0xFC],
                Frame { bytes: 371, samples: 1024, sample_rate: 48_000, channels: 2, subtype: 2 },
                "mp4a.40.2",
            ),
            (
                Coding::Mpeg,
                &[0xFF, 0xFB, 0x90, 0x64],
                Frame { bytes: 417, samples: 1152, sample_rate: 44_100, channels: 2, subtype: 3 },
                "mp4a.40.34",
            ),
            (
                Coding::Mpeg,
                &[0xFF, 0xFD, 0xA4, 0xC4],
                Frame { bytes: 576, samples: 1152, sample_rate: 48_000, channels: 1, subtype: 2 },
                "mp4a.40.33",
            ),
            (
                Coding::Ac3,
                &[0x0B, 0x77, 0, 0, 0x14, 0x40, 0x43, 0xE0],
                Frame { bytes: 768, samples: 1536, sample_rate: 48_000, channels: 2, subtype: 8 },
                "ac-3",
            ),
            (
                Coding::Ac3,
                &[0x0B, 0x77, 0x01, 0x7F, 0x34, 0x87, 0xC0, 0],
                Frame { bytes: 768, samples: 1536, sample_rate: 48_000, channels: 2, subtype: 16 },
                "ec-3",
            ),
        ];
        for (coding, bytes, frame, codecs) in rows {
            assert_eq!(coding.frame(bytes), Some(frame), "{codecs}");
            assert_eq!(frame.codecs(coding), codecs);
        }
        assert_eq!(Coding::Adts.frame(&[0xFF, 0xF1, 0x4C, 0x80, 0, 0, 0]), None);
    }

    #[test]
    fn a_frame_is_found_after_other_bytes() {
        let mut bytes = vec![0xFF, 0xFB, 0x90];
        let frame = [0xFF, 0xF1, 0x4C, 0x80, 0x01, 0x7F, 0xFC, 1, 2, 3, 4];
        bytes.extend(frame);
        bytes.extend(frame);
        assert_eq!(Coding::Adts.find(&bytes).map(|(at, frame)| (at, frame.bytes)), Some((3, 11)));
    }

    #[test]
    fn audio_is_cut_between_frames() {
        let frame = [0xFF, 0xF1, 0x4C, 0x80, 0x01, 0x7F, 0xFC, 1, 2, 3, 4];
        let payload = [&frame[5..], &frame, &frame, &frame, &frame[..8]].concat();
        let keep = |range, continued| {
            Coding::Adts
                .trim(&payload, &range, continued)
                .map(|(bytes, ticks)| (ticks.start, ticks.end, bytes.len()))
        };
        assert_eq!(keep(0..100_000, false), Some((0, 5760, 33)));
        assert_eq!(keep(0..100_000, true), Some((0, 7680, 41)));
        assert_eq!(keep(1..1921, false), Some((1920, 3840, 11)));
        assert_eq!(keep(9000..10_000, true), None);
    }
}
