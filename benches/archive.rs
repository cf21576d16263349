//! How fast an hour's names become a playlist: parsed, read from a directory, selected, written. Each time is that of one
//! hour of 1,800 segments, unless a day is said.

use std::hint::black_box;
use std::sync::Arc;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use restreamer::archive::layout::{Segment, SegmentName, hour_name};
use restreamer::archive::select::{SegmentWalk, Verdict};
use restreamer::archive::{Archive, VariantName};
use restreamer::hls::media::{Head, MediaPlaylist};
use restreamer::timestamp::{Hour, Span, Timestamp};

const SEGMENTS: u32 = 1800;
const DURATION: Span = Span::from_secs(2);
const HASH: &str = "YgymESyiQJNzDMws7vAG6AsWwLPeaFlNQYrCKsMQyQ4";
const NAME: VariantName = VariantName { stream: "s", variant: "v" };

fn main() {
    divan::main();
}

fn hour(number: i64) -> Hour {
    Timestamp::from_micros(1_795_168_800_000_000 + number * 3_600_000_000).hour()
}

fn names() -> Vec<String> {
    let name = |index: u32| format!("{:02}:{:02}.000-2.000-full-{HASH}.ts", index / 30, index % 30 * 2);
    (0..SEGMENTS).map(name).collect()
}

fn segments<'a>(names: &'a [String], hours: i64) -> Vec<Segment<'a>> {
    let parse = |name: &'a String| SegmentName::parse(name).expect("a segment's name");
    let segments = |number| names.iter().map(move |name| Segment { hour: hour(number), name: parse(name) });
    (0..hours).flat_map(segments).collect()
}

fn playlist(segments: &[Segment]) -> Vec<u8> {
    let head = Head::new(2, true);
    let mut playlist = MediaPlaylist::begin("../../segments/gdq/source", &head);
    for segment in segments {
        playlist.segment(segment, false, None);
    }
    playlist.end()
}

#[divan::bench]
fn parse_names(bencher: Bencher) {
    let names = names();
    bencher
        .counter(ItemsCount::new(SEGMENTS))
        .bench(|| names.iter().filter(|name| SegmentName::parse(black_box(name)).is_some()).count());
}

#[divan::bench]
fn write_names(bencher: Bencher) {
    let names = names();
    let segments = segments(&names, 1);
    bencher.counter(ItemsCount::new(SEGMENTS)).bench(|| {
        let mut text = Vec::with_capacity(SEGMENTS as usize * 80);
        for segment in &segments {
            segment.name.append_stem_to(&mut text, &segment.name.time_digits(), b":");
        }
        text
    });
}

#[divan::bench]
fn read_directory(bencher: Bencher) {
    let base = tempfile::tempdir().expect("a directory");
    let path = base.path().join("s/v").join(hour_name(hour(0)));
    std::fs::create_dir_all(&path).expect("an hour");
    for name in names() {
        std::fs::write(path.join(name), b"").expect("a segment");
    }
    let archive = Arc::new(Archive::new(base.path(), 0));
    bencher
        .counter(ItemsCount::new(SEGMENTS))
        .bench(|| archive.hour(NAME, hour(0)).expect("an hour").segments().count());
}

#[divan::bench]
fn select_segments(bencher: Bencher) {
    let (start, end) = (hour(0).start(), hour(0).end());
    bencher.counter(ItemsCount::new(SEGMENTS)).bench(|| {
        let mut walk = SegmentWalk::new(black_box(start), end);
        let starts = (0..SEGMENTS).map(|index| start + Span::from_secs(i64::from(index) * 2));
        starts.filter(|start| matches!(walk.offer(*start, DURATION, true), Verdict::Take { .. })).count()
    });
}

#[divan::bench]
fn write_playlist(bencher: Bencher) {
    let names = names();
    let segments = segments(&names, 1);
    bencher.counter(BytesCount::new(playlist(&segments).len())).bench(|| playlist(black_box(&segments)));
}

#[divan::bench]
fn write_playlist_of_a_day(bencher: Bencher) {
    let names = names();
    let segments = segments(&names, 24);
    bencher.counter(BytesCount::new(playlist(&segments).len())).bench(|| playlist(black_box(&segments)));
}

/// What `write_playlist_of_a_day` is measured by.
#[divan::bench]
fn copy_playlist_of_a_day(bencher: Bencher) {
    let names = names();
    let text = playlist(&segments(&names, 24));
    bencher.counter(BytesCount::new(text.len())).bench(|| black_box(&text).clone());
}
