use super::*;
use crate::mpegts::audio::Coding;
use crate::mpegts::packet::PACKET_BYTES;
use crate::mpegts::pes::Ticks;
use crate::mpegts::psi::{write_pat, write_pmt};
use proptest::prelude::*;

/// An SPS of x264: High profile, 320x180, 30000/1001 frames a second, reordered frames.
const SPS: [u8; 28] = [
    0x67, 0x64, 0x00, 0x0D, 0xAC, 0xD9, 0x41, 0x41, 0x9F, 0x9F, 0x01, 0x6C, 0x80, 0x00, 0x01, 0xF4, 0x80,
    0x00, 0x75, 0x30, 0x07, 0x8A, 0x14, 0xCB, 0, 0, 0, 1,
];

/// A segment with four access units of H.264 and a frame of ADTS.
fn segment() -> Vec<u8> {
    let streams = [(0x100, 0x1B), (0x101, 0x0F)]
        .map(|(pid, stream_type)| ElementaryStream { pid, stream_type, descriptors: Vec::new() })
        .to_vec();
    let mut bytes = write_pat(1, 0x1000);
    bytes.extend(write_pmt(0x1000, &Pmt { program: 1, pcr_pid: 0x100, descriptors: Vec::new(), streams }));
    for index in 0..4 {
        let mut packet = vec![0x47, 0x41, 0, 0x10, 0, 0, 1, 0xE0, 0, 0, 0x80, 0xC0, 10];
        packet.extend(Ticks::new(9000 + 3003 * index).write(3));
        packet.extend(Ticks::new(9000 - 3003 + 3003 * index).write(1));
        packet.extend([0, 0, 0, 1]);
        packet.extend(SPS);
        packet.resize(PACKET_BYTES, 0x55);
        bytes.extend(packet);
    }
    let mut packet = vec![0x47, 0x41, 1, 0x10, 0, 0, 1, 0xC0, 0, 0, 0x80, 0x80, 5];
    packet.extend(Ticks::new(9000).write(2));
    packet.extend([0xFF, 0xF1, 0x50, 0x80, 0x15, 0x3F, 0xFC]);
    packet.resize(PACKET_BYTES, 0x55);
    bytes.extend(packet);
    bytes
}

#[test]
fn a_program_is_described_with_its_formats() {
    let program = probe(&segment()).expect("a program");
    let video = program.streams[0].video.clone().expect("video");
    assert_eq!(program.streams[0].codecs.as_deref(), Some("avc1.64000D"));
    assert_eq!((video.picture.width, video.picture.height), (320, 180));
    assert_eq!((video.rate, video.reorder), (FrameRate::new(30_000, 1001), Some(1)));
    let audio = program.streams[1].audio.expect("audio");
    assert_eq!((audio.sample_rate, audio.channels), (44_100, 2));
    assert_eq!(program.streams[1].codecs.as_deref(), Some("mp4a.40.2"));
}

proptest! {
    #[test]
    fn any_bytes_are_probed_without_a_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..2000),
        offset in 0_usize..1316,
        len in 0_usize..300,
    ) {
        let _ = (probe(&bytes), h264::picture(&bytes), hevc::picture(&bytes), Coding::Adts.find(&bytes));
        let mut damaged = segment();
        let end = (offset + len).min(damaged.len()).min(offset + bytes.len());
        if offset < end {
            damaged[offset..end].copy_from_slice(&bytes[..end - offset]);
        }
        let _ = probe(&damaged);
        let _ = probe(&damaged[..offset.min(damaged.len())]);
    }

    #[test]
    fn damaged_parameter_sets_are_parsed_without_a_panic(
        damage in proptest::collection::vec((0_usize..28, any::<u8>()), 1..6),
    ) {
        let mut nal = [&[0, 0, 1][..], &SPS, &[0x55; 60]].concat();
        for (offset, byte) in damage {
            nal[3 + offset] ^= byte;
        }
        let _ = (h264::picture(&nal), hevc::picture(&nal));
        nal[3] = 0x42;
        let _ = (hevc::picture(&nal), hevc::access_unit_start(&nal), h264::access_unit_start(&nal));
    }
}
