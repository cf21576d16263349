use super::*;
use crate::mpegts::frames::tests::{CODECS, Shape, Stream, parts, shapes, stream};
use crate::mpegts::packet::PACKET_BYTES;
use crate::mpegts::repacketize::repacketize;
use crate::mpegts::repacketize::tests::{PID, segment};
use proptest::prelude::*;
use proptest::sample::Index;

/// A frame as MP4 stores it, found byte by byte.
fn stored(codec: Codec, frame: &[u8]) -> Vec<u8> {
    if !codec.is_video() {
        return frame[if codec == Codec::Aac { 7 } else { 0 }..].to_vec();
    }
    let starts: Vec<usize> = (3..frame.len()).filter(|end| frame[end - 3..*end] == [0, 0, 1]).collect();
    let ends = starts.iter().skip(1).map(|start| start - 3).chain([frame.len()]);
    let mut out = Vec::new();
    for (start, end) in starts.iter().zip(ends) {
        let mut nal = frame[*start..end].to_vec();
        while nal.last() == Some(&0) {
            nal.pop();
        }
        out.extend(u32::try_from(nal.len()).expect("short").to_be_bytes());
        out.extend(nal);
    }
    out
}

fn write(bytes: &[u8], track: &TrackSamples, range: Range<usize>) -> Vec<u8> {
    let mut out = Vec::new();
    write_samples(bytes, track, range, &mut out);
    out
}

/// PES packets with so many whole frames each.
fn aligned_parts(stream: &Stream, counts: &[usize]) -> Vec<Range<usize>> {
    let (mut parts, mut rest) = (Vec::new(), &stream.frames[..]);
    for count in counts {
        let (now, later) = rest.split_at((*count).min(rest.len()));
        parts.extend(now.first().zip(now.last()).map(|(a, b)| a.bytes.start..b.bytes.end));
        rest = later;
    }
    parts
}

/// A segment whose frames are aligned, and its scan.
fn load(segment: Vec<u8>) -> (Vec<u8>, Scan) {
    let scan = Scan::of(&segment, true).expect("a PMT");
    repacketize(&segment, &scan, true, &[]).map_or((segment, scan), |aligned| (aligned.bytes, aligned.scan))
}

proptest! {
    #[test]
    fn samples_are_the_frames_however_pes_packets_divide_them(
        codec in prop::sample::select(&CODECS[..]),
        shapes in shapes(),
        delimited: bool,
        cuts in prop::collection::vec(any::<Index>(), 0..20),
        counts in prop::option::of(prop::collection::vec(1_usize..4, 12)),
        range: (Index, Index),
    ) {
        let stream = stream(codec, &shapes, delimited);
        let parts = match &counts {
            Some(counts) => aligned_parts(&stream, counts),
            None => parts(stream.bytes.len(), &cuts),
        };
        let (bytes, scan) = load(segment(codec, &stream, &parts, &[]));
        let index = SampleIndex::of(&bytes, &scan);
        let track = &index.tracks[0];
        if codec == Codec::MpegAudio {
            prop_assert_eq!((track.samples.len(), track.unsupported), (0, Some("MPEG audio layer II")));
            return Ok(());
        }
        prop_assert_eq!((track.pid, track.codec, track.unsupported), (PID, codec, None));
        let (mut next, mut whole, mut bounds) = (0, Vec::new(), vec![0]);
        for (at, sample) in track.samples.iter().enumerate() {
            let unit = &scan.tracks[0].units[sample.unit as usize];
            let frame = &stream.frames[next];
            let data = write(&bytes, track, at..at + 1);
            prop_assert_eq!(data.len(), sample.size as usize);
            prop_assert!(sample.pts.since(frame.pts).abs() <= i64::from(codec.is_audio()));
            prop_assert_eq!(sample.complete, unit.complete);
            let mut expected = Vec::new();
            while expected.len() < data.len() {
                expected.extend(stored(codec, &stream.bytes[stream.frames[next].bytes.clone()]));
                next += 1;
            }
            prop_assert_eq!(&data, &expected);
            if let Some(coding) = codec.coding() {
                let header = coding.frame(&stream.bytes[frame.bytes.start..]).expect("a header");
                prop_assert_eq!((sample.samples, sample.dts, sample.sync), (header.samples, sample.pts, true));
            } else {
                let sync = unit.access_unit.idr;
                prop_assert_eq!((sample.samples, sample.dts, sample.sync), (0, unit.dts, sync));
                prop_assert_eq!(sample.unit as usize, at);
            }
            whole.extend(data);
            bounds.push(whole.len());
        }
        prop_assert_eq!(next, stream.frames.len());
        let [a, b] = [range.0, range.1].map(|index| index.index(bounds.len()));
        let range = a.min(b)..a.max(b);
        let expected = &whole[bounds[range.start]..bounds[range.end]];
        prop_assert_eq!(&write(&bytes, track, range)[..], expected);
    }

    #[test]
    fn samples_of_any_bytes_are_written_with_their_sizes(
        codec in prop::sample::select(&CODECS[..]),
        shapes in shapes(),
        cuts in prop::collection::vec(any::<Index>(), 1..20),
        damage in prop::collection::vec((any::<Index>(), any::<u8>()), 0..60),
        first in any::<Index>(),
    ) {
        let stream = stream(codec, &shapes, true);
        let mut bytes = segment(codec, &stream, &parts(stream.bytes.len(), &cuts), &[]);
        let len = bytes.len() - 2 * PACKET_BYTES;
        for (index, byte) in damage {
            bytes[2 * PACKET_BYTES + index.index(len)] = byte;
        }
        let scan = Scan::of(&bytes, true).expect("a PMT");
        for track in SampleIndex::of(&bytes, &scan).tracks {
            let range = first.index(track.samples.len() + 1)..track.samples.len();
            let size: usize = track.samples[range.clone()].iter().map(|sample| sample.size as usize).sum();
            prop_assert_eq!(write(&bytes, &track, range).len(), size);
        }
    }
}

#[test]
fn duplicate_packets_change_no_sample() {
    let shapes = [Shape::plain(); 4];
    for codec in [Codec::H264, Codec::Hevc, Codec::Aac, Codec::Ac3] {
        let stream = stream(codec, &shapes, true);
        let bytes = segment(codec, &stream, &aligned_parts(&stream, &[1; 4]), &[]);
        let twice: Vec<u8> = bytes.chunks(PACKET_BYTES).flat_map(|packet| packet.repeat(2)).collect();
        let scans = [&bytes, &twice].map(|bytes| Scan::of(bytes, true).expect("a PMT"));
        assert_eq!(scans[0].tracks[0].units, scans[1].tracks[0].units, "{codec:?}");
        let [once, twice] = [(&bytes, &scans[0]), (&twice, &scans[1])].map(|(bytes, scan)| {
            let track = SampleIndex::of(bytes, scan).tracks.remove(0);
            let data = write(bytes, &track, 1..track.samples.len());
            (track.samples, data)
        });
        assert_eq!(once, twice, "{codec:?}");
        assert_eq!(once.0.len(), 4, "{codec:?}");
    }
}

#[test]
fn zero_bytes_around_nal_units_are_left_out_of_access_units() {
    for (byte_stream, expected) in [
        (&[][..], &[][..]),
        (&[0, 0, 1], &[]),
        (&[0, 0, 1, 0, 0], &[]),
        (&[0, 0, 0, 1, 9, 0xF0, 0, 0, 1, 0x65, 7, 0, 0], &[0, 0, 0, 2, 9, 0xF0, 0, 0, 0, 2, 0x65, 7]),
        (&[5, 0, 0, 1, 9, 0, 0, 0, 0, 1, 0x41], &[0, 0, 0, 1, 9, 0, 0, 0, 1, 0x41]),
    ] {
        let mut out = Vec::new();
        write_access_unit(byte_stream, &mut out);
        assert_eq!(out, expected, "{byte_stream:?}");
        assert_eq!(access_unit_size(byte_stream) as usize, expected.len());
    }
}

#[test]
fn the_index_takes_less_than_fifty_bytes_a_sample() {
    let stream = stream(Codec::H264, &[Shape::plain(); 200], true);
    let (bytes, scan) = load(segment(Codec::H264, &stream, &aligned_parts(&stream, &[1; 200]), &[]));
    let index = SampleIndex::of(&bytes, &scan);
    let samples: usize = index.tracks.iter().map(|track| track.samples.len()).sum();
    assert_eq!(samples, 400);
    assert!(index.memory_bytes() < 50 * samples, "{}", index.memory_bytes());
}
