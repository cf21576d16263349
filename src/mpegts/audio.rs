//! Frames of compressed sound: ADTS (ISO/IEC 13818-7, 6.2), MPEG audio (11172-3, 2.4.1.3), AC-3 and E-AC-3 (ETSI TS 102 366).
//!
//! Frames of all of these begin with a sync word and tell their own length, so that sound can be cut between any two.

/// Codecs whose frames can be told apart here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// AAC in ADTS.
    Adts,
    /// MPEG-1 or MPEG-2 audio, layers I to III.
    Mpeg,
    /// AC-3 or E-AC-3.
    Ac3,
}

/// What a frame's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// The length of the frame with its header, in bytes.
    pub bytes: usize,
    /// How many samples a channel it holds.
    pub samples: u32,
    /// Samples a second.
    pub sample_rate: u32,
    /// Channels; 0 where the header does not tell.
    pub channels: u8,
    /// The kind of content: the AAC object type, the MPEG layer, or the AC-3 bit stream id.
    pub kind: u8,
}

impl Frame {
    /// How long the frame sounds, in ticks of 90 kHz, rounded.
    pub fn duration_90k(&self) -> i64 {
        let rate = i64::from(self.sample_rate.max(1));
        (i64::from(self.samples) * 90_000 + rate / 2) / rate
    }

    /// The RFC 6381 name of the coding.
    pub fn codecs(&self, coding: Coding) -> String {
        match coding {
            Coding::Adts => format!("mp4a.40.{}", self.kind),
            Coding::Mpeg => format!("mp4a.40.{}", 31 + self.kind),
            Coding::Ac3 if self.kind > 10 => "ec-3".to_owned(),
            Coding::Ac3 => "ac-3".to_owned(),
        }
    }
}

impl Coding {
    /// Reads the header at the start of `bytes`.
    pub fn frame(self, bytes: &[u8]) -> Option<Frame> {
        match self {
            Self::Adts => adts(bytes),
            Self::Mpeg => mpeg(bytes),
            Self::Ac3 => ac3(bytes),
        }
    }

    /// The offset and header of the first frame that begins in `bytes`, and is followed by another or the end.
    pub fn find(self, bytes: &[u8]) -> Option<(usize, Frame)> {
        (0..bytes.len().min(16_384)).find_map(|at| {
            let frame = self.frame(&bytes[at..])?;
            let next = bytes.get(at + frame.bytes..).unwrap_or(&[]);
            (next.len() < 8 || self.frame(next).is_some()).then_some((at, frame))
        })
    }
}

const AAC_RATES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8000, 7350];

fn adts(bytes: &[u8]) -> Option<Frame> {
    let [0xFF, b1, b2, b3, b4, b5, b6, ..] = *bytes else { return None };
    if b1 & 0xF6 != 0xF0 {
        return None;
    }
    let length = usize::from(b3 & 3) << 11 | usize::from(b4) << 3 | usize::from(b5 >> 5);
    let header = if b1 & 1 == 1 { 7 } else { 9 };
    let configuration = (b2 & 1) << 2 | b3 >> 6;
    (length >= header).then_some(Frame {
        bytes: length,
        samples: 1024 * (u32::from(b6 & 3) + 1),
        sample_rate: *AAC_RATES.get(usize::from(b2 >> 2 & 0x0F))?,
        channels: if configuration == 7 { 8 } else { configuration },
        kind: (b2 >> 6) + 1,
    })
}

/// Kilobits a second by version (MPEG-1 or a later one), layer and index (11172-3, 2.4.2.3).
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
    let low_rate = version != 3;
    let index = usize::from(b2 >> 4).checked_sub(1)?;
    let kilobits = *BIT_RATES[usize::from(low_rate)][usize::from(layer - 1)].get(index)?;
    let base = *[44_100, 48_000, 32_000].get(usize::from(b2 >> 2 & 3))?;
    let sample_rate = match version {
        3 => base,
        2 => base / 2,
        _ => base / 4,
    };
    let samples = match (layer, low_rate) {
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
    Some(Frame { bytes: usize::try_from(length).ok()?, samples, sample_rate, channels, kind: layer })
}

/// Kilobits a second of AC-3 by half the frame size code (table 4.13).
const AC3_RATES: [u32; 19] =
    [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640];
/// Channels by audio coding mode (table 4.3).
const AC3_CHANNELS: [u8; 8] = [2, 1, 2, 3, 3, 4, 4, 5];

fn ac3(bytes: &[u8]) -> Option<Frame> {
    let [0x0B, 0x77, b2, b3, b4, b5, b6, ..] = *bytes else { return None };
    let kind = b5 >> 3;
    if kind > 16 {
        return None;
    }
    if kind > 10 {
        return eac3([b2, b3, b4], kind);
    }
    let sample_rate = *[48_000, 44_100, 32_000].get(usize::from(b4 >> 6))?;
    let kilobits = *AC3_RATES.get(usize::from(b4 >> 1 & 0x1F))?;
    let words = match sample_rate {
        44_100 => kilobits * 1000 * 96 / 44_100 + u32::from(b4 & 1),
        rate => kilobits * 96_000 / rate,
    };
    // The LFE flag stands behind the mixing levels that the coding mode calls for.
    let mode = b6 >> 5;
    let mut skip = 3;
    if mode & 1 == 1 && mode != 1 {
        skip += 2;
    }
    if mode & 4 != 0 {
        skip += 2;
    }
    if mode == 2 {
        skip += 2;
    }
    let lfe = u16::from_be_bytes([b6, bytes.get(7).copied().unwrap_or(0)]) >> (15 - skip) & 1;
    let channels = AC3_CHANNELS[usize::from(mode)] + u8::from(lfe == 1);
    Some(Frame { bytes: usize::try_from(words).ok()? * 2, samples: 1536, sample_rate, channels, kind })
}

fn eac3([b2, b3, b4]: [u8; 3], kind: u8) -> Option<Frame> {
    let bytes = (usize::from(b2 & 7) << 8 | usize::from(b3)) * 2 + 2;
    let reduced = b4 >> 6 == 3;
    let code = usize::from(if reduced { b4 >> 4 & 3 } else { b4 >> 6 });
    let sample_rate = *if reduced { [24_000, 22_050, 16_000] } else { [48_000, 44_100, 32_000] }.get(code)?;
    let blocks = if reduced { 6 } else { [1, 2, 3, 6][usize::from(b4 >> 4 & 3)] };
    let channels = AC3_CHANNELS[usize::from(b4 >> 1 & 7)] + (b4 & 1);
    Some(Frame { bytes, samples: blocks * 256, sample_rate, channels, kind })
}

/// Sound that a trim keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trimmed<'a> {
    /// How far behind the unit's time stamp the first frame starts that is kept, in ticks.
    pub from_90k: i64,
    /// How far behind the unit's time stamp the last frame ends that is kept, in ticks.
    pub to_90k: i64,
    /// The frames.
    pub bytes: &'a [u8],
}

/// Keeps of the frames in `payload` those that start in `keep`, ticks behind the unit's time stamp.
///
/// A frame that goes on in the next unit stays only if `open`. `None` where nothing is left.
pub fn trim(coding: Coding, payload: &[u8], keep: std::ops::Range<i64>, open: bool) -> Option<Trimmed<'_>> {
    let (mut at, _) = coding.find(payload)?;
    let mut samples: i64 = 0;
    let mut kept: Option<(usize, i64)> = None;
    let mut end = (0, 0);
    while let Some(frame) = payload.get(at..).and_then(|rest| coding.frame(rest)) {
        let rate = i64::from(frame.sample_rate.max(1));
        let ticks = |samples: i64| (samples * 90_000 + rate / 2) / rate;
        let next = at + frame.bytes;
        let here = ticks(samples);
        samples += i64::from(frame.samples);
        if keep.contains(&here) && (next <= payload.len() || open) {
            kept.get_or_insert((at, here));
            end = (next.min(payload.len()), ticks(samples));
        }
        at = next;
    }
    let (start, from_90k) = kept?;
    Some(Trimmed { from_90k, to_90k: end.1, bytes: payload.get(start..end.0)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_each_coding_tell_length_rate_and_channels() {
        let rows: [(Coding, &[u8], Frame, &str); 5] = [
            (
                Coding::Adts,
                &[0xFF, 0xF1, 0x4C, 0x80, 0x2E, 0x7F, 0xFC],
                Frame { bytes: 371, samples: 1024, sample_rate: 48_000, channels: 2, kind: 2 },
                "mp4a.40.2",
            ),
            (
                Coding::Mpeg,
                &[0xFF, 0xFB, 0x90, 0x64],
                Frame { bytes: 417, samples: 1152, sample_rate: 44_100, channels: 2, kind: 3 },
                "mp4a.40.34",
            ),
            (
                Coding::Mpeg,
                &[0xFF, 0xFD, 0xA4, 0xC4],
                Frame { bytes: 576, samples: 1152, sample_rate: 48_000, channels: 1, kind: 2 },
                "mp4a.40.33",
            ),
            (
                Coding::Ac3,
                &[0x0B, 0x77, 0, 0, 0x14, 0x40, 0x43, 0xE0],
                Frame { bytes: 768, samples: 1536, sample_rate: 48_000, channels: 2, kind: 8 },
                "ac-3",
            ),
            (
                Coding::Ac3,
                &[0x0B, 0x77, 0x01, 0x7F, 0x34, 0x87, 0xC0, 0],
                Frame { bytes: 768, samples: 1536, sample_rate: 48_000, channels: 2, kind: 16 },
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
    fn a_frame_is_found_behind_rubbish() {
        let mut bytes = vec![0xFF, 0xFB, 0x90];
        let frame = [0xFF, 0xF1, 0x4C, 0x80, 0x01, 0x7F, 0xFC, 1, 2, 3, 4];
        bytes.extend(frame);
        bytes.extend(frame);
        assert_eq!(Coding::Adts.find(&bytes).map(|(at, frame)| (at, frame.bytes)), Some((3, 11)));
    }

    #[test]
    fn sound_is_cut_between_frames() {
        let frame = [0xFF, 0xF1, 0x4C, 0x80, 0x01, 0x7F, 0xFC, 1, 2, 3, 4];
        let payload = [&frame[5..], &frame, &frame, &frame, &frame[..8]].concat();
        let keep = |range, open| {
            trim(Coding::Adts, &payload, range, open)
                .map(|kept| (kept.from_90k, kept.to_90k, kept.bytes.len()))
        };
        assert_eq!(keep(0..100_000, false), Some((0, 5760, 33)));
        assert_eq!(keep(0..100_000, true), Some((0, 7680, 41)));
        assert_eq!(keep(1..1921, false), Some((1920, 3840, 11)));
        assert_eq!(keep(9000..10_000, true), None);
    }
}
