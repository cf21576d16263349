use super::*;
use crate::mpegts::elementary::PesStart;
use proptest::prelude::*;

/// The codecs whose frames are found.
pub(in crate::mpegts) const CODECS: [Codec; 5] =
    [Codec::H264, Codec::Hevc, Codec::Aac, Codec::MpegAudio, Codec::Ac3];
/// The duration of a picture in ticks.
const PICTURE_90K: i64 = 3003;
/// The PTS of the first frame, so that the clock wraps soon.
const START_90K: i64 = (1 << 33) - 20_000;

/// What a frame is made of.
#[derive(Debug, Clone, Copy)]
pub(in crate::mpegts) struct Shape {
    /// The lengths of its parts: slices of a picture; of audio the first is that of the frame.
    parts: [usize; 3],
    slices: usize,
    pub(in crate::mpegts) is_key: bool,
    has_sei: bool,
    has_zero_byte: bool,
}

/// An elementary stream and its frames: where each begins, where it counts as commenced, and its PTS.
#[derive(Debug, Clone, Default)]
pub(in crate::mpegts) struct Stream {
    pub(in crate::mpegts) bytes: Vec<u8>,
    pub(in crate::mpegts) frames: Vec<Sample>,
}

#[derive(Debug, Clone)]
pub(in crate::mpegts) struct Sample {
    pub(in crate::mpegts) bytes: Range<usize>,
    pub(in crate::mpegts) commences: usize,
    /// Where its first slice begins.
    pub(in crate::mpegts) slice: usize,
    pub(in crate::mpegts) pts: Ticks,
}

impl Shape {
    pub(in crate::mpegts) fn plain() -> Self {
        Self { parts: [40; 3], slices: 2, is_key: false, has_sei: true, has_zero_byte: true }
    }
}

pub(in crate::mpegts) fn shapes() -> impl Strategy<Value = Vec<Shape>> {
    let shape = (any::<[u8; 3]>(), 1_usize..4, 0..4, any::<bool>(), any::<bool>()).prop_map(
        |(parts, slices, key, has_sei, has_zero_byte)| Shape {
            parts: parts.map(|len| 20 + 3 * usize::from(len)),
            slices,
            is_key: key == 0,
            has_sei,
            has_zero_byte,
        },
    );
    proptest::collection::vec(shape, 3..12)
}

/// Bytes that contain neither a start code nor a sync word.
fn filling(len: usize) -> impl Iterator<Item = u8> {
    (0..len).map(|index| u8::try_from(16 + index * 31 % 200).expect("a byte"))
}

/// An access unit and the offset of its first slice.
fn access_unit(codec: Codec, shape: Shape, delimited: bool) -> (Vec<u8>, usize) {
    let is_hevc = codec == Codec::Hevc;
    let (aud, sets, sei): (&[u8], &[&[u8]], &[u8]) = if is_hevc {
        (&[70, 1, 0x50], &[&[64, 1, 9], &[66, 1, 9], &[68, 1, 9]], &[78, 1, 5, 6])
    } else {
        (&[0x09, 0xF0], &[&[0x67, 100, 9, 9], &[0x68, 9, 9]], &[0x06, 5, 6, 7])
    };
    let mut nals: Vec<Vec<u8>> = Vec::new();
    nals.extend(delimited.then(|| aud.to_vec()));
    nals.extend(sets.iter().filter(|_| shape.is_key).map(|set| set.to_vec()));
    nals.extend(shape.has_sei.then(|| sei.to_vec()));
    let first_slice = nals.len();
    for (index, len) in shape.parts[..shape.slices].iter().enumerate() {
        let first = if index == 0 { 0x88 } else { 0x44 };
        let header = match (is_hevc, shape.is_key) {
            (true, true) => vec![38, 1, first],
            (true, false) => vec![2, 1, first],
            (false, true) => vec![0x65, first],
            (false, false) => vec![0x41, first],
        };
        nals.push(header.into_iter().chain(filling(*len)).collect());
    }
    let (mut bytes, mut slice) = (if shape.has_zero_byte { vec![0] } else { Vec::new() }, 0);
    for (index, nal) in nals.iter().enumerate() {
        if index == first_slice {
            slice = bytes.len();
        }
        bytes.extend([0, 0, 1]);
        bytes.extend(nal);
    }
    (bytes, slice)
}

fn audio_frame(codec: Codec, shape: Shape) -> Vec<u8> {
    let len = shape.parts[0];
    let (header, len) = match codec {
        Codec::Aac => {
            let [high, low] = u16::try_from(len << 5).expect("short").to_be_bytes();
            (vec![0xFF, 0xF1, 0x4C, 0x80, high, low | 0x1F, 0xFC], len)
        }
        Codec::MpegAudio => (vec![0xFF, 0xFD, 0xA4, 0xC4], 576),
        _ if shape.is_key => (vec![0x0B, 0x77, 0, 0, 0x14, 0x40, 0x43, 0xE0], 768),
        _ => (vec![0x0B, 0x77, 0x01, 0x7F, 0x34, 0x87, 0xC0, 0x10], 768),
    };
    let rest = len - header.len();
    header.into_iter().chain(filling(rest)).collect()
}

/// The stream of these frames. Of `delimited` video every access unit has a delimiter, else none has.
pub(in crate::mpegts) fn stream(codec: Codec, shapes: &[Shape], delimited: bool) -> Stream {
    let mut stream = Stream::default();
    let mut samples = 0;
    for (index, shape) in shapes.iter().enumerate() {
        let start = stream.bytes.len();
        let (bytes, slice, ticks) = if let Some(coding) = codec.coding() {
            let bytes = audio_frame(codec, *shape);
            let header = coding.frame(&bytes).expect("a header");
            assert_eq!(header.bytes, bytes.len());
            let ticks = header.to_90k(samples);
            samples += i64::from(header.samples);
            (bytes, 0, ticks)
        } else {
            let (bytes, slice) = access_unit(codec, *shape, delimited);
            (bytes, slice, i64::try_from(index).expect("few") * PICTURE_90K)
        };
        let zero_byte = usize::from(codec.is_video() && shape.has_zero_byte);
        stream.bytes.extend(&bytes);
        stream.frames.push(Sample {
            bytes: start..stream.bytes.len(),
            commences: start + zero_byte,
            slice: start + slice,
            pts: Ticks::new(START_90K + ticks),
        });
    }
    stream
}

impl Stream {
    /// The first frame that commences in each part of the stream.
    pub(in crate::mpegts) fn first_in(&self, part: &Range<usize>) -> Option<&Sample> {
        self.frames.iter().find(|frame| part.contains(&frame.commences))
    }
}

/// Divides a length at these places.
pub(in crate::mpegts) fn parts(len: usize, cuts: &[prop::sample::Index]) -> Vec<Range<usize>> {
    let mut bounds: Vec<usize> = cuts.iter().map(|cut| cut.index(len)).chain([0, len]).collect();
    bounds.sort_unstable();
    bounds.dedup();
    bounds.windows(2).map(|pair| pair[0]..pair[1]).collect()
}

/// The joined stream of PES packets with these payloads. Each in which a frame commences has the PTS of the first, unless
/// it is one of `untimed`.
fn joined(stream: &Stream, parts: &[Range<usize>], untimed: &[prop::sample::Index]) -> JoinedStream {
    let untimed: Vec<usize> = untimed.iter().map(|index| index.index(parts.len())).collect();
    let start = |(index, part): (usize, &Range<usize>)| {
        let pts = stream.first_in(part).map(|frame| frame.pts).filter(|_| !untimed.contains(&index));
        PesStart { offset: part.start, packet_offset: 0, stream_id: 0, pts, dts: pts }
    };
    JoinedStream {
        bytes: stream.bytes.clone(),
        starts: parts.iter().enumerate().map(start).collect(),
        len: stream.bytes.len(),
    }
}

fn found(codec: Codec, stream: &JoinedStream) -> Vec<Frame> {
    frames(codec, stream).expect("frames can be found")
}

proptest! {
    #[test]
    fn frames_and_their_times_do_not_depend_on_pes_packets(
        codec in prop::sample::select(&CODECS[..]),
        shapes in shapes(),
        delimited: bool,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        untimed in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let stream = stream(codec, &shapes, delimited);
        let parts = parts(stream.bytes.len(), &cuts);
        let joined = joined(&stream, &parts, &untimed);
        let frames = found(codec, &joined);
        let is_timed = joined.starts.iter().any(|start| start.pts.is_some());
        prop_assert_eq!(frames.len(), stream.frames.len());
        for (index, (frame, sample)) in frames.iter().zip(&stream.frames).enumerate() {
            prop_assert_eq!(&frame.bytes, &sample.bytes);
            prop_assert_eq!(frame.complete, codec.is_audio() || index + 1 < frames.len());
            let pes = parts.iter().position(|part| part.contains(&sample.commences)).expect("a part");
            prop_assert_eq!(frame.pes, Some(pes));
            if codec.is_audio() {
                prop_assert_eq!(frame.pts.is_some(), is_timed);
                // Times that follow from others are rounded.
                prop_assert!(frame.pts.is_none_or(|pts| pts.since(sample.pts).abs() <= 1));
            } else {
                let is_first = stream.first_in(&parts[pes]).map(|first| first.pts) == Some(sample.pts);
                prop_assert_eq!(frame.pts, joined.starts[pes].pts.filter(|_| is_first));
                prop_assert_eq!(frame.access_unit.idr, shapes[index].is_key);
                prop_assert_eq!(frame.access_unit.parameter_sets, shapes[index].is_key);
            }
        }
    }

    #[test]
    fn frames_of_any_bytes_lie_within_them_in_order(
        codec in prop::sample::select(&CODECS[..]),
        shapes in shapes(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..60),
        offsets in prop::collection::vec(0_usize..9000, 0..9),
        len in any::<prop::sample::Index>(),
    ) {
        let mut bytes = stream(codec, &shapes, true).bytes;
        let count = bytes.len();
        for (index, byte) in damage {
            bytes[index.index(count)] = byte;
        }
        let mut offsets = offsets;
        offsets.sort_unstable();
        let pts = Some(Ticks::new(0));
        let start = |offset| PesStart { offset, packet_offset: 0, stream_id: 0, pts, dts: pts };
        let len = len.index(count + 1);
        let joined = JoinedStream { starts: offsets.into_iter().map(start).collect(), len, bytes };
        let frames = found(codec, &joined);
        let mut end = 0;
        for frame in &frames {
            prop_assert!(end <= frame.bytes.start && frame.bytes.start < frame.bytes.end);
            prop_assert!(frame.bytes.end <= count && frame.bytes.start < len);
            end = frame.bytes.end;
        }
        prop_assert!(frames.iter().rev().skip(1).all(|frame| frame.complete));
    }
}

#[test]
fn bytes_full_of_start_codes_and_sync_words_take_linear_time() {
    for (codec, pattern) in [
        (Codec::H264, &[0, 0, 1][..]),
        (Codec::H264, &[0, 0, 1, 0x41, 0x88]),
        (Codec::Hevc, &[0, 0, 1, 70]),
        (Codec::Aac, &[0xFF, 0xF1, 0x4C, 0x80, 0, 0xFF, 0xFC, 1]),
        (Codec::Aac, &[0xFF, 0xF1]),
        (Codec::MpegAudio, &[0xFF, 0xFD, 0xA4]),
        (Codec::Ac3, &[0x0B, 0x77, 0, 0, 0x14, 0x40, 0x43, 0xE0]),
    ] {
        let bytes = pattern.repeat(4_000_000 / pattern.len());
        let joined = JoinedStream { len: bytes.len(), bytes, starts: Vec::new() };
        // In quadratic time this would take days.
        assert!(found(codec, &joined).len() <= joined.len);
    }
}

#[test]
fn units_with_several_pictures_are_told() {
    let stream = stream(Codec::H264, &[Shape::plain(); 6], true);
    let starts = |count: usize| stream.frames[count].bytes.start;
    let parts = [0..starts(1), starts(1)..starts(3), starts(3)..starts(4), starts(4)..stream.bytes.len()];
    let units = |untimed: &[usize]| -> Vec<usize> {
        let mut joined = joined(&stream, &parts, &[]);
        for index in untimed {
            joined.starts[*index].pts = None;
        }
        units_with_untimed_pictures(Codec::H264, &joined).collect()
    };
    assert_eq!(units(&[]), [1, 3]);
    assert_eq!(units(&[2]), [1, 1, 2]);
    assert_eq!(units(&[0]), [0, 2]);
}

#[test]
fn a_frame_that_goes_on_in_the_next_segment_is_found_whole() {
    for codec in CODECS {
        let stream = stream(codec, &[Shape::plain(); 4], true);
        let border = stream.frames[2].bytes.end - 12;
        let mut first =
            joined(&Stream { bytes: stream.bytes[..border].to_vec(), ..stream.clone() }, &[], &[]);
        let alone = found(codec, &first);
        assert_eq!((alone.len(), alone[2].complete), (3, false), "{codec:?}");
        assert_eq!(alone[2].bytes, stream.frames[2].bytes.start..border, "{codec:?}");
        let next = JoinedStream { bytes: stream.bytes[border..].to_vec(), ..JoinedStream::default() };
        first.append_next(&next);
        let frames = found(codec, &first);
        assert_eq!((frames.len(), frames[2].complete), (3, true), "{codec:?}");
        assert_eq!(frames[2].bytes, stream.frames[2].bytes, "{codec:?}");
    }
}
