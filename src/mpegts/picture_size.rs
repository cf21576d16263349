//! The sizes of pictures that the parameter sets anywhere in a transport stream announce, so that no decoder is started
//! for pictures that would take gigabytes.

use std::collections::BTreeMap;

use memchr::memchr;

use super::codec::Codec;
use super::packet::packets;
use super::pes::Header;
use super::psi::{ElementaryStream, Pmt};
use super::video::is_too_large;
use super::{h264, hevc};

/// Bytes of a header that are kept, as many as parameter sets are parsed of.
const MAX_HEADER_BYTES: usize = 1024;

/// The first size of pictures in `bytes`, before cropping, that is [`is_too_large`]. Streams of H.264, H.265 and MPEG-2 are
/// searched.
pub fn find_too_large(bytes: &[u8], pmt: &Pmt) -> Option<(u32, u32)> {
    let search = |stream: &ElementaryStream| Some((stream.pid, HeaderSearch::new(stream)?));
    let mut searches: BTreeMap<u16, HeaderSearch> = pmt.streams.iter().filter_map(search).collect();
    let mut find = || {
        for (_, packet) in packets(bytes) {
            let Some(search) = searches.get_mut(&packet.pid()) else { continue };
            let payload = packet.payload();
            let header = if packet.starts_unit() { Header::parse(payload) } else { None };
            let data = payload.get(header.map_or(0, |header| header.len)..).unwrap_or(&[]);
            let found = search.extend(data);
            if found.is_some() {
                return found;
            }
        }
        None
    };
    find().or_else(|| searches.values_mut().find_map(HeaderSearch::finish_header))
}

/// How a video stream announces the size of its pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    H264,
    Hevc,
    Mpeg2,
}

/// Finds headers in an elementary stream.
struct HeaderSearch {
    coding: Coding,
    /// The last bytes, of which three count.
    window: u32,
    /// The bytes so far of a header, from behind its start code.
    header: Option<Vec<u8>>,
    /// The size in the last sequence header of MPEG-2: the lower 12 bits of each side.
    sequence_size: (u32, u32),
}

impl HeaderSearch {
    fn new(stream: &ElementaryStream) -> Option<Self> {
        let coding = match (Codec::of(stream), stream.stream_type) {
            (Codec::H264, _) => Coding::H264,
            (Codec::Hevc, _) => Coding::Hevc,
            (_, 0x01 | 0x02) => Coding::Mpeg2,
            _ => return None,
        };
        Some(Self { coding, window: u32::MAX, header: None, sequence_size: (0, 0) })
    }

    /// Takes bytes; returns the size in a header that they complete, if that is too large.
    fn extend(&mut self, mut data: &[u8]) -> Option<(u32, u32)> {
        loop {
            if self.header.is_none() {
                // Only a start code matters here, and those end with 1.
                let skipped = memchr(1, data).unwrap_or(data.len());
                for byte in &data[skipped.saturating_sub(2)..skipped] {
                    self.window = self.window << 8 | u32::from(*byte);
                }
                data = &data[skipped..];
            }
            let (byte, rest) = data.split_first()?;
            let found = self.push(*byte);
            if found.is_some() {
                return found;
            }
            data = rest;
        }
    }

    /// Takes a byte; returns the size in a header that it completes, if that is too large.
    fn push(&mut self, byte: u8) -> Option<(u32, u32)> {
        self.window = self.window << 8 | u32::from(byte);
        if self.window & 0x00FF_FFFF == 1 {
            let found = self.finish_header();
            self.header = Some(Vec::new());
            return found;
        }
        let header = self.header.as_mut()?;
        header.push(byte);
        let (is_first, is_full) = (header.len() == 1, header.len() == MAX_HEADER_BYTES);
        if is_first && !self.is_header(byte) {
            self.header = None;
        }
        if is_full { self.finish_header() } else { None }
    }

    /// Whether the unit that begins with this byte tells a size.
    fn is_header(&self, byte: u8) -> bool {
        match self.coding {
            Coding::H264 => h264::is_sps(byte),
            Coding::Hevc => hevc::is_sps(byte),
            // sequence_header_code and extension_start_code (ISO/IEC 13818-2, table 6-1)
            Coding::Mpeg2 => matches!(byte, 0xB3 | 0xB5),
        }
    }

    fn finish_header(&mut self) -> Option<(u32, u32)> {
        let header = self.header.take()?;
        let size = match self.coding {
            Coding::H264 => h264::parse_sps(&header)?.coded,
            Coding::Hevc => hevc::parse_sps(&header)?.coded,
            Coding::Mpeg2 => self.mpeg2_size(&header)?,
        };
        is_too_large(size).then_some(size)
    }

    /// The size in a sequence header or its extension (ISO/IEC 13818-2, 6.2.2.1 and 6.2.2.3), which has two more bits of
    /// each side.
    fn mpeg2_size(&mut self, header: &[u8]) -> Option<(u32, u32)> {
        match *header {
            [0xB3, w, wh, h, ..] => {
                let [w, wh, h] = [w, wh, h].map(u32::from);
                self.sequence_size = (w << 4 | wh >> 4, (wh & 0x0F) << 8 | h);
                Some(self.sequence_size)
            }
            // sequence extension: extension_start_code_identifier 1
            [0xB5, 0x10..=0x1F, progressive, sizes, ..] => {
                let bits = u32::from(progressive & 1) << 3 | u32::from(sizes >> 5);
                Some((self.sequence_size.0 | bits >> 2 << 12, self.sequence_size.1 | (bits & 3) << 12))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mpegts::pes::{Pes, Ticks, write_pes};

    /// Bits, for headers.
    #[derive(Default)]
    struct Bits(Vec<bool>);

    impl Bits {
        fn put(mut self, value: u32, count: u32) -> Self {
            self.0.extend((0..count).rev().map(|bit| value >> bit & 1 == 1));
            self
        }

        fn ue(self, value: u32) -> Self {
            let length = (value + 1).ilog2();
            self.put(0, length).put(value + 1, length + 1)
        }

        fn bytes(&self) -> Vec<u8> {
            let byte = |bits: &[bool]| {
                bits.iter().enumerate().fold(0, |byte, (at, bit)| byte | u8::from(*bit) << (7 - at))
            };
            self.0.chunks(8).map(byte).collect()
        }
    }

    /// An SPS of H.264, Baseline, with pictures of that many macroblocks.
    fn h264_sps(columns: u32, rows: u32) -> Vec<u8> {
        let bits = Bits::default().put(0x6742_C01E, 32).ue(0).ue(0).ue(2).ue(1).put(0, 1);
        bits.ue(columns - 1).ue(rows - 1).put(0b1_1_0_0_1, 5).bytes()
    }

    /// An SPS of H.265, Main, with pictures of that size.
    fn hevc_sps(width: u32, height: u32) -> Vec<u8> {
        let bits = Bits::default()
            .put(0x4201, 16)
            .put(0x01, 8)
            .put(0x0160_0000, 32)
            .put(0, 32)
            .put(0x00_00_00_5A, 32);
        bits.ue(0).ue(1).ue(width).ue(height).put(0, 1).ue(0).ue(0).ue(4).put(1, 1).bytes()
    }

    /// A sequence header of MPEG-2 and its extension.
    fn mpeg2_sequence(width: u32, height: u32) -> Vec<u8> {
        let start =
            Bits::default().put(0xB3, 8).put(width & 0xFFF, 12).put(height & 0xFFF, 12).put(0x13FF_FFE0, 32);
        let extension = start.put(0x0000_01B5, 32).put(0x148, 12).put(0b1_01, 3);
        extension.put(width >> 12, 2).put(height >> 12, 2).put(0x0004_0000, 32).bytes()
    }

    #[test]
    fn too_large_pictures_are_found_wherever_they_are_announced() {
        type Header = fn(u32, u32) -> Vec<u8>;
        let h264: Header = |width, height| h264_sps(width / 16, height / 16);
        for (stream_type, header) in [(0x1B, h264), (0x24, hevc_sps), (0x02, mpeg2_sequence)] {
            let rows = [
                ((320, 176), None),
                ((8192, 4320), None),
                ((4320, 8192), None),
                ((8208, 16), Some((8208, 16))),
                ((16, 8208), Some((16, 8208))),
                ((4336, 4336), Some((4336, 4336))),
                ((16_368, 16_368), Some((16_368, 16_368))),
            ];
            for ((width, height), found) in rows {
                // Behind a small one, other units and zeros that are no start code, over the borders of packets.
                for padding in 0..200 {
                    let start = [0, 0, 1];
                    let small = header(320, 176);
                    let units = [
                        &start[..],
                        &small,
                        &start,
                        &vec![0x55; padding],
                        &[0, 0, 0, 1],
                        &header(width, height),
                    ];
                    let mut payload = units.concat();
                    payload.extend([0, 0, 1, 9, 0xF0]);
                    let pts = Ticks::new(900_000);
                    let mut bytes = Vec::new();
                    let pes = Pes { stream_id: 0xE0, pts, dts: pts, payload };
                    write_pes(&pes, 0x100, &mut 0, false, &mut bytes);
                    let stream = ElementaryStream { pid: 0x100, stream_type, descriptors: Vec::new() };
                    let pmt =
                        Pmt { program: 1, pcr_pid: 0x100, descriptors: Vec::new(), streams: vec![stream] };
                    assert_eq!(
                        find_too_large(&bytes, &pmt),
                        found,
                        "{stream_type} {width}x{height} {padding}"
                    );
                }
            }
        }
    }
}
