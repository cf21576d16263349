//! Heads and fragments as readers see them: a small one that is written here, and the crate `mp4-atom`.

mod descriptions;
mod fragments;
mod movies;

use proptest::prelude::*;

use super::movie::MovieInfo;
use super::tracks::Sample;
use crate::mpegts::codec::Codec;
use crate::mpegts::samples::{SampleFormat, VideoFormat};
use crate::mpegts::{h264, hevc};
use crate::timestamp::Timestamp;

/// Parameter sets of x264, 720x576 with samples of 16:11 and the colours of PAL.
const H264: &[&str] = &["6764001eacd940b4126c11a828282a000003000200000300641e2c5b2c", "68eae3cb22c0"];
/// Parameter sets of x265, 320x180, Main 10.
const HEVC: &[&str] = &[
    "40010c01ffff02200000030090000003000003003c959809",
    "42010102200000030090000003000003003ca00a080b9f6d96566924caf016e020202080000003008000000c84",
    "4401c172b46240",
];

fn bytes(hex: &str) -> Vec<u8> {
    let digits = |index| u8::from_str_radix(&hex[index..index + 2], 16).expect("hexadecimal digits");
    (0..hex.len()).step_by(2).map(digits).collect()
}

fn video(codec: Codec) -> SampleFormat {
    let parameter_sets: Vec<_> =
        if codec == Codec::H264 { H264 } else { HEVC }.iter().map(|set| bytes(set)).collect();
    let stream: Vec<u8> = parameter_sets.iter().flat_map(|set| [&[0, 0, 1], &set[..]].concat()).collect();
    let picture = if codec == Codec::H264 { h264::picture(&stream) } else { hevc::picture(&stream) };
    SampleFormat::Video(VideoFormat { codec, parameter_sets, picture: picture.expect("a picture format") })
}

fn aac() -> SampleFormat {
    SampleFormat::Aac { config: vec![0x11, 0x90], sample_rate: 48_000, channels: 2 }
}

fn info() -> MovieInfo {
    let created = Timestamp::parse("2026-11-20T21:05:02").expect("a time");
    MovieInfo { created, title: "größe source 2026-11-20T21:05:02".to_owned() }
}

/// A box: where it begins, and its content.
struct Found<'a> {
    start: usize,
    content: &'a [u8],
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).expect("a 64-bit machine")
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn index(bytes: &[u8]) -> usize {
    to_usize(number(bytes))
}

/// The boxes with that name; the last may be longer than the bytes.
fn boxes(bytes: &[u8], name: [u8; 4]) -> Vec<Found<'_>> {
    let (mut found, mut start) = (Vec::new(), 0);
    while start < bytes.len() {
        let (size, header) = match index(&bytes[start..start + 4]) {
            1 => (index(&bytes[start + 8..start + 16]), 16),
            size => (size, 8),
        };
        assert!(size >= header, "a box of {size} bytes");
        let end = (start + size).min(bytes.len());
        if bytes[start + 4..start + 8] == name {
            found.push(Found { start, content: &bytes[start + header..end] });
        }
        start += size;
    }
    found
}

/// The content of the first box at a path of names, such as `moov/mvhd`.
fn content<'a>(bytes: &'a [u8], path: &str) -> Option<&'a [u8]> {
    path.split('/').try_fold(bytes, |bytes, name| {
        boxes(bytes, name.as_bytes().try_into().expect("four letters")).first().map(|found| found.content)
    })
}

/// The entries of a table behind version, flags and `skip` further bytes, each with fields of that width in bytes.
fn entries<const FIELDS: usize>(table: &[u8], skip: usize, width: usize) -> Vec<[u64; FIELDS]> {
    let body = &table[4 + skip..];
    let (count, entries) = (index(&body[..4]), body[4..].chunks(width * FIELDS));
    let fields = |entry: &[u8]| std::array::from_fn(|field| number(&entry[field * width..][..width]));
    assert_eq!(entries.len(), count, "entries of a table");
    entries.map(fields).collect()
}

/// A sample as a reader of the tables sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    offset: u64,
    description: u32,
    sample: Sample,
}

/// The samples of a track, from its `stbl`.
fn samples(stbl: &[u8]) -> Vec<Seen> {
    let table = |name| content(stbl, name);
    let runs = |table: &[u8]| -> Vec<u64> {
        entries::<2>(table, 0, 4)
            .iter()
            .flat_map(|[count, value]| vec![*value; usize::try_from(*count).unwrap()])
            .collect()
    };
    let durations = runs(table("stts").expect("stts"));
    let compositions = table("ctts").map_or(vec![0; durations.len()], runs);
    let sync = table("stss").map(|table| entries::<1>(table, 0, 4));
    let stsz = table("stsz").expect("stsz");
    let sizes: Vec<u64> = match number(&stsz[4..8]) {
        0 => entries::<1>(stsz, 4, 4).iter().map(|[size]| *size).collect(),
        size => vec![size; index(&stsz[8..12])],
    };
    let offsets = table("stco").map(|table| entries::<1>(table, 0, 4));
    let offsets = offsets.unwrap_or_else(|| entries::<1>(table("co64").expect("stco or co64"), 0, 8));
    let chunks = entries::<3>(table("stsc").expect("stsc"), 0, 4);
    let mut seen = Vec::new();
    for (chunk, [mut offset]) in (1..).zip(offsets) {
        let [_, count, description] = *chunks.iter().rfind(|[first, ..]| *first <= chunk).expect("an entry");
        for _ in 0..count {
            let at = seen.len();
            let as_u32 = |number: u64| u32::try_from(number).expect("32 bits");
            let sample = Sample {
                size: as_u32(sizes[at]),
                duration: as_u32(durations[at]),
                composition: as_u32(compositions[at]),
                sync: sync.as_ref().is_none_or(|sync| sync.contains(&[at as u64 + 1])),
            };
            seen.push(Seen { offset, description: as_u32(description), sample });
            offset += sizes[at];
        }
    }
    assert_eq!([durations.len(), compositions.len(), sizes.len()], [seen.len(); 3], "samples in tables");
    seen
}

fn stbl(movie: &[u8], track: usize) -> &[u8] {
    let traks = boxes(content(movie, "moov").expect("moov"), *b"trak");
    content(traks[track].content, "mdia/minf/stbl").expect("stbl")
}

/// Any sample of such a size.
fn sample(
    size: impl Strategy<Value = u32>,
    sync: impl Strategy<Value = bool>,
) -> impl Strategy<Value = Sample> {
    let duration = prop_oneof![Just(1501_u32), Just(1502), any::<u32>()];
    let composition = prop_oneof![3 => Just(0_u32), 1 => Just(3003), 1 => 0..u32::MAX];
    (size, duration, composition, sync).prop_map(|(size, duration, composition, sync)| Sample {
        size,
        duration,
        composition,
        sync,
    })
}
