//! How fast an hour's names become a playlist: parsed, read from a directory, chosen from, written. Each time is that of
//! one hour of 1,800 segments.

use std::hint::black_box;
use std::sync::Arc;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use restreamer::archive::layout::{Segment, SegmentName, SegmentType};
use restreamer::archive::packed::{FileName, Packed};
use restreamer::archive::select::{Verdict, Walk};
use restreamer::archive::{Archive, VariantName};
use restreamer::hls::media::MediaPlaylist;
use restreamer::timestamp::{Hour, Span, Timestamp};

const SEGMENTS: u32 = 1800;
const LENGTH: Span = Span::from_secs(2);
const HASH: &str = "YgymESyiQJNzDMws7vAG6AsWwLPeaFlNQYrCKsMQyQ4";

fn main() {
    divan::main();
}

fn hour() -> Hour {
    Timestamp::from_micros(1_795_168_800_000_000).hour()
}

fn names() -> Vec<String> {
    let name = |index: u32| format!("{:02}:{:02}.000-2.000-full-{HASH}.ts", index / 30, index % 30 * 2);
    (0..SEGMENTS).map(name).collect()
}

#[divan::bench]
fn parse_names(bencher: Bencher) {
    let names = names();
    bencher
        .counter(ItemsCount::new(SEGMENTS))
        .bench(|| names.iter().filter(|name| SegmentName::parse(black_box(name)).is_some()).count());
}

fn packed() -> Vec<Packed> {
    let pack = |name: String| Packed::pack(&name, &SegmentName::parse(&name)?);
    names().into_iter().map(pack).collect::<Option<_>>().expect("names of the usual form")
}

#[divan::bench]
fn pack_names(bencher: Bencher) {
    let names = names();
    let parsed: Vec<_> = names.iter().map(|name| SegmentName::parse(name).expect("a name")).collect();
    bencher
        .counter(ItemsCount::new(SEGMENTS))
        .bench(|| names.iter().zip(&parsed).filter_map(|(name, parsed)| Packed::pack(name, parsed)).count());
}

#[divan::bench]
fn unpack_names(bencher: Bencher) {
    let packed = packed();
    bencher.counter(ItemsCount::new(SEGMENTS)).bench(|| {
        let mut text = Vec::with_capacity(SEGMENTS as usize * 80);
        for packed in &packed {
            FileName::Packed(packed).append_to(&mut text, b":");
        }
        text
    });
}

#[divan::bench]
fn read_directory(bencher: Bencher) {
    let base = tempfile::tempdir().expect("a directory");
    let path = base.path().join(format!("s/v/{}", hour()));
    std::fs::create_dir_all(&path).expect("an hour");
    for name in names() {
        std::fs::write(path.join(name), b"").expect("a segment");
    }
    let archive = Arc::new(Archive::new(base.path(), 0));
    let of = VariantName { stream: "s", variant: "v" };
    bencher.counter(ItemsCount::new(SEGMENTS)).bench(|| archive.hour(of, hour()).expect("an hour").len());
}

#[divan::bench]
fn select_segments(bencher: Bencher) {
    let (start, end) = (hour().start(), hour().end());
    bencher.counter(ItemsCount::new(SEGMENTS)).bench(|| {
        let mut walk = Walk::new(black_box(start), end);
        let starts = (0..SEGMENTS).map(|index| start + Span::from_secs(i64::from(index) * 2));
        starts.filter(|start| matches!(walk.offer(*start, LENGTH, true), Verdict::Take { .. })).count()
    });
}

#[divan::bench]
fn write_playlist(bencher: Bencher) {
    let packed = packed();
    let segment = |(index, packed): (i64, _)| Segment {
        hour: hour(),
        start: hour().start() + Span::from_secs(index * 2),
        duration: LENGTH,
        kind: SegmentType::Full,
        name: FileName::Packed(packed),
    };
    let segments: Vec<Segment> = (0..).zip(&packed).map(segment).collect();
    let write = |segments: &[Segment]| {
        let mut playlist = MediaPlaylist::begin("/segments/gdq/source", 2, true);
        for segment in segments {
            playlist.segment(segment, false);
        }
        playlist.end(true)
    };
    bencher.counter(BytesCount::new(write(&segments).len())).bench(|| write(black_box(&segments)));
}
