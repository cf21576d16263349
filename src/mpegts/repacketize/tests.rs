use super::*;
use crate::mpegts::codec::Codec;
use crate::mpegts::frames::tests::{CODECS, Sample, Shape, Stream, parts, shapes, stream};
use crate::mpegts::packet::PACKET_BYTES;
use crate::mpegts::pes::Ticks;
use crate::mpegts::psi::{ElementaryStream, Pmt, write_pat, write_pmt};
use proptest::prelude::*;
use proptest::sample::Index;

pub(in crate::mpegts) const PID: u16 = 0x101;
const OTHER: u16 = 0x102;

/// A PES packet as transport packets; without a PTS if there is none.
fn write(payload: &[u8], pts: Option<Ticks>, counter: &mut u8, out: &mut Vec<u8>) {
    if let Some(pts) = pts {
        let pes = Pes { stream_id: 0xE0, pts, dts: pts, payload: payload.to_vec() };
        return write_pes(&pes, PID, counter, false, out);
    }
    let bytes = [&[0, 0, 1, 0xE0, 0, 0, 0x80, 0, 0][..], payload].concat();
    for (index, part) in bytes.chunks(183).enumerate() {
        *counter = (*counter + 1) & 0x0F;
        let field = 183 - part.len();
        let start = if index == 0 { 0x41 } else { 0x01 };
        out.extend([0x47, start, 0x01, 0x30 | *counter, u8::try_from(field).expect("small")]);
        out.extend([0, 0xFF].into_iter().chain(std::iter::repeat(0xFF)).take(field.min(1)));
        out.resize(out.len() + field.saturating_sub(1), 0xFF);
        out.extend_from_slice(part);
    }
}

/// A segment with PES packets of these parts of a stream. Each comes after a PCR, and before a PES packet of another stream
/// that is aligned.
pub(in crate::mpegts) fn segment(
    codec: Codec,
    stream: &Stream,
    parts: &[Range<usize>],
    untimed: &[usize],
) -> Vec<u8> {
    let stream_type = match codec {
        Codec::H264 => 0x1B,
        Codec::Hevc => 0x24,
        Codec::Aac => 0x0F,
        Codec::MpegAudio => 0x03,
        _ => 0x81,
    };
    let streams = [(PID, stream_type), (OTHER, 0x0F)]
        .map(|(pid, stream_type)| ElementaryStream { pid, stream_type, descriptors: Vec::new() })
        .to_vec();
    let pmt = Pmt { program: 1, pcr_pid: PID, descriptors: Vec::new(), streams };
    let mut bytes = [write_pat(1, 0x1000), write_pmt(0x1000, &pmt)].concat();
    let (mut counter, mut other) = (4, 7);
    for (index, part) in parts.iter().enumerate() {
        let pts = stream.first_in(part).map(|frame| frame.pts).filter(|_| !untimed.contains(&index));
        bytes.extend(pcr_packet(PID, counter, u64::try_from(index).expect("small") * 1000));
        write(&stream.bytes[part.clone()], pts, &mut counter, &mut bytes);
        let payload = vec![0xFF, 0xF1, 0x4C, 0x80, 0x01, 0x7F, 0xFC, 1, 2, 3, 4];
        let (pts, stream_id) = (Ticks::new(i64::try_from(index).expect("small") * 1920), 0xC0);
        write_pes(&Pes { stream_id, pts, dts: pts, payload }, OTHER, &mut other, true, &mut bytes);
    }
    bytes
}

/// The PTS and the data of each PES packet with a PTS, and of those without that follow it.
fn units_of(bytes: &[u8], pid: u16) -> Vec<(Ticks, Vec<u8>)> {
    let stream = JoinedStream::of(bytes, pid);
    let timed: Vec<_> = stream.starts.iter().filter_map(|start| Some((start.offset, start.pts?))).collect();
    let ends = timed.iter().skip(1).map(|(offset, _)| *offset).chain([stream.len]);
    timed.iter().zip(ends).map(|((start, pts), end)| (*pts, stream.bytes[*start..end].to_vec())).collect()
}

fn pcrs(bytes: &[u8]) -> Vec<u64> {
    packets(bytes).filter_map(|(_, packet)| packet.pcr()).collect()
}

/// Bytes without zeros at the ends, as those between access units belong to either.
fn trimmed(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(start, |last| last + 1);
    &bytes[start..end]
}

/// How many whole frames from `first` on make up these bytes.
fn whole_frames(stream: &Stream, first: usize, bytes: &[u8]) -> Option<usize> {
    let start = stream.frames.get(first)?.bytes.start;
    let has = |frame: &Sample| trimmed(&stream.bytes[start..frame.bytes.end]) == trimmed(bytes);
    Some(stream.frames.iter().skip(first).position(has)? + 1)
}

/// A segment with its frames aligned.
fn aligned(segment: &[u8], next: &[u8]) -> Vec<u8> {
    let scan = Scan::of(segment, true).expect("a PMT");
    let Some(aligned) = repacketize(segment, &scan, true, next) else { return segment.to_vec() };
    assert!(!aligned.needs_more);
    assert_eq!(pcrs(&aligned.bytes), pcrs(segment));
    assert_eq!(units_of(&aligned.bytes, OTHER), units_of(segment, OTHER));
    aligned.bytes
}

fn indices(untimed: &[Index], parts: &[Range<usize>]) -> Vec<usize> {
    untimed.iter().map(|index| index.index(parts.len())).collect()
}

/// Whether a border at `offset` leaves it open in which segment a frame begins: between its start and its first slice, where
/// no delimiter tells, or none of the frames behind it.
fn is_ambiguous(stream: &Stream, delimited: bool, offset: usize) -> bool {
    let later = stream.frames.iter().filter(|frame| frame.commences >= offset).count();
    let is_inside = stream.frames.iter().any(|frame| frame.commences < offset && offset <= frame.slice);
    later == 0 || (is_inside && (!delimited || later < 2))
}

proptest! {
    // Many divisions say nothing, as they leave it open where a frame begins.
    #![proptest_config(ProptestConfig { max_global_rejects: 100_000, ..ProptestConfig::default() })]

    #[test]
    fn pes_packets_get_whole_frames_also_over_the_border_of_segments(
        codec in prop::sample::select(&CODECS[..]),
        shapes in shapes(),
        delimited: bool,
        cuts in prop::collection::vec(any::<Index>(), 1..20),
        border in any::<Index>(),
        untimed in prop::collection::vec(any::<Index>(), 0..3),
    ) {
        let stream = stream(codec, &shapes, delimited);
        let parts = parts(stream.bytes.len(), &cuts);
        let (first, second) = parts.split_at(border.index(parts.len()));
        let untimed = if codec.is_video() { Vec::new() } else { indices(&untimed, &parts) };
        let offset = second[0].start;
        prop_assume!(!is_ambiguous(&stream, delimited, offset));
        let has_time = |parts: &[Range<usize>], at: usize| {
            let mut timed = parts.iter().enumerate().filter(|(index, _)| !untimed.contains(&(at + index)));
            timed.any(|(_, part)| stream.first_in(part).is_some())
        };
        prop_assume!((first.is_empty() || has_time(first, 0)) && has_time(second, first.len()));
        let later: Vec<usize> = untimed.iter().filter_map(|index| index.checked_sub(first.len())).collect();
        let segments =
            [segment(codec, &stream, first, &untimed), segment(codec, &stream, second, &later)];
        // Whether a picture goes on in the next segment shows only if PES packets are unaligned inside the first, too.
        let is_border = stream.frames.iter().any(|frame| frame.commences == offset || frame.bytes.start == offset);
        let scan = Scan::of(&segments[0], true).expect("a PMT");
        prop_assume!(is_border || first.is_empty() || !scan.is_aligned());
        let mut next_frame = 0;
        for bytes in [aligned(&segments[0], &segments[1]), aligned(&segments[1], &[])] {
            for (pts, data) in units_of(&bytes, PID) {
                let count = whole_frames(&stream, next_frame, &data);
                prop_assert!(count.is_some(), "frame {}: {:?}", next_frame, data);
                let distance = pts.since(stream.frames[next_frame].pts);
                prop_assert!(distance.abs() <= i64::from(codec.is_audio()));
                next_frame += count.unwrap_or(0);
            }
        }
        prop_assert_eq!(next_frame, stream.frames.len());
    }

    #[test]
    fn aligned_frames_are_left_alone(
        codec in prop::sample::select(&CODECS[..]),
        shapes in shapes(),
        delimited: bool,
        counts in prop::collection::vec(1_usize..4, 12),
    ) {
        let stream = stream(codec, &shapes, delimited);
        let (mut parts, mut rest) = (Vec::new(), &stream.frames[..]);
        for count in counts {
            let (now, later) = rest.split_at(count.min(rest.len()));
            parts.extend(now.first().zip(now.last()).map(|(a, b)| a.bytes.start..b.bytes.end));
            rest = later;
        }
        let bytes = segment(codec, &stream, &parts, &[]);
        let mut scan = Scan::of(&bytes, true).expect("a PMT");
        prop_assert!(!scan.tracks[0].alignment.unaligned);
        // A picture that fills its last packet may go on.
        scan.tracks[0].alignment.open_end &= codec.is_audio();
        prop_assert!(scan.is_aligned());
    }

    #[test]
    fn any_bytes_are_repacketized_to_whole_packets(
        codec in prop::sample::select(&CODECS[..]),
        shapes in shapes(),
        cuts in prop::collection::vec(any::<Index>(), 1..20),
        damage in prop::collection::vec((any::<Index>(), any::<u8>()), 0..60),
    ) {
        let stream = stream(codec, &shapes, true);
        let mut bytes = segment(codec, &stream, &parts(stream.bytes.len(), &cuts), &[]);
        let len = bytes.len() - 2 * PACKET_BYTES;
        for (index, byte) in damage {
            bytes[2 * PACKET_BYTES + index.index(len)] = byte;
        }
        let scan = Scan::of(&bytes, true).expect("a PMT");
        let aligned = repacketize(&bytes, &scan, false, &bytes);
        prop_assert!(aligned.is_none_or(|aligned| aligned.bytes.len() % PACKET_BYTES == 0));
    }
}

/// Three pictures of two slices, in PES packets that begin 30 bytes early, but for the first.
fn early(codec: Codec) -> (Stream, Vec<Range<usize>>) {
    let stream = stream(codec, &[Shape::plain(); 3], true);
    let starts: Vec<usize> = stream.frames.iter().map(|frame| frame.bytes.start.saturating_sub(30)).collect();
    let ends = starts.iter().skip(1).copied().chain([stream.bytes.len()]);
    let parts = starts.iter().zip(ends).map(|(start, end)| *start..end).collect();
    (stream, parts)
}

#[test]
fn what_cannot_be_completed_is_dropped_of_audio_and_kept_of_video() {
    for (codec, count, complete) in [(Codec::H264, 3, false), (Codec::Hevc, 3, false), (Codec::Aac, 2, true)]
    {
        let (stream, mut parts) = early(codec);
        parts[2].end -= 10;
        let bytes = segment(codec, &stream, &parts, &[]);
        let mut scan = Scan::of(&bytes, false).expect("a PMT");
        if let Some(last) = scan.tracks[0].units.last_mut() {
            last.complete = false;
        }
        let aligned = repacketize(&bytes, &scan, false, &[]).expect("it is unaligned");
        let units = &aligned.scan.tracks[0].units;
        assert_eq!((units.len(), aligned.needs_more), (count, false), "{codec:?}");
        assert_eq!(units.last().map(|unit| unit.complete), Some(complete), "{codec:?}");
    }
}

#[test]
fn more_of_the_next_segment_is_asked_for_until_the_last_frame_is_whole() {
    for codec in [Codec::H264, Codec::Aac] {
        let (stream, parts) = early(codec);
        let bytes = segment(codec, &stream, &parts[..2], &[]);
        let next = segment(codec, &stream, &parts[2..], &[]);
        let scan = Scan::of(&bytes, true).expect("a PMT");
        let needs_more =
            |next: &[u8]| repacketize(&bytes, &scan, true, next).map(|aligned| aligned.needs_more);
        assert_eq!(needs_more(&next[..2 * PACKET_BYTES]), Some(true), "{codec:?}");
        assert_eq!(needs_more(&next), Some(false), "{codec:?}");
    }
}

#[test]
fn a_pes_header_that_goes_over_two_packets_is_joined() {
    let stream = stream(Codec::H264, &[Shape::plain(); 3], true);
    let parts: Vec<_> = stream.frames.iter().map(|frame| frame.bytes.clone()).collect();
    let bytes = segment(Codec::H264, &stream, &parts, &[]);
    let (mut split, mut is_first) = (Vec::new(), true);
    for (_, packet) in packets(&bytes) {
        if packet.pid() != PID || !packet.starts_unit() || !std::mem::take(&mut is_first) {
            split.extend_from_slice(packet.bytes());
            continue;
        }
        let (counter, (header, rest)) = (packet.continuity_counter(), packet.payload().split_at(11));
        for (start, counter, part) in [(0x41, counter.wrapping_sub(1) & 0x0F, header), (0x01, counter, rest)]
        {
            let field = 183 - part.len();
            split.extend([0x47, start, 0x01, 0x30 | counter, u8::try_from(field).expect("small"), 0]);
            split.resize(split.len() + field - 1, 0xFF);
            split.extend_from_slice(part);
        }
    }
    let scan = Scan::of(&split, true).expect("a PMT");
    assert!(scan.split_header);
    let aligned = repacketize(&split, &scan, true, &[]).expect("it is written anew");
    assert!(!aligned.scan.split_header && aligned.scan.is_aligned());
    assert_eq!(units_of(&aligned.bytes, PID), units_of(&bytes, PID));
}
