//! Throughput of writing movies and fragments as MP4 in memory, on one core.

use std::hint::black_box;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use restreamer::mp4::fragment::{Run, fragment};
use restreamer::mp4::layout::Layout;
use restreamer::mp4::movie::{MovieInfo, head};
use restreamer::mp4::tracks::{Sample, Track, TrackKind};
use restreamer::timestamp::Timestamp;

const SECONDS: u32 = 6 * 3600;

fn main() {
    divan::main();
}

/// Pictures of 2 s: 60 a second, whose timestamps are rounded, with B-frames.
fn pictures() -> Vec<Sample> {
    let composition = |index: u32| [3003, 7508, 3003, 0][index as usize % 4];
    let picture = |index: u32| Sample {
        size: if index == 0 { 150_000 } else { 8000 + index * 37 % 4000 },
        duration: 1501 + index % 2,
        composition: composition(index),
        sync: index == 0,
    };
    (0..120).map(picture).collect()
}

/// AAC of 2 s.
fn sound() -> Vec<Sample> {
    let frame = |index: u32| Sample { size: 340 + index % 50, duration: 1024, composition: 0, sync: true };
    (0..94).map(frame).collect()
}

fn bytes_of(samples: &[Sample]) -> u64 {
    samples.iter().map(|sample| u64::from(sample.size)).sum()
}

/// The tracks of 6 hours, and the length of their samples.
fn six_hours() -> (Vec<Track>, u64) {
    let mut tracks =
        vec![Track::new(TrackKind::Video, 90_000, None), Track::new(TrackKind::Audio, 48_000, None)];
    let segment = [pictures(), sound()];
    let mut end = 0;
    for _ in 0..SECONDS / 2 {
        for (track, samples) in tracks.iter_mut().zip(&segment) {
            for sample in samples {
                track.push(*sample);
            }
            track.end_chunk(end, 1);
            end += bytes_of(samples);
        }
    }
    (tracks, end)
}

fn samples_of(tracks: &[Track]) -> u32 {
    tracks.iter().map(Track::samples).sum()
}

#[divan::bench]
fn push_samples_of_six_hours(bencher: Bencher) {
    bencher.counter(ItemsCount::new(samples_of(&six_hours().0))).bench(six_hours);
}

#[divan::bench]
fn head_of_six_hours(bencher: Bencher) {
    let (tracks, mdat_len) = six_hours();
    let info = MovieInfo { created: Timestamp::from_micros(0), title: "title".to_owned() };
    let count = ItemsCount::new(samples_of(&tracks));
    bencher.counter(count).bench(|| head(&info, black_box(&tracks), mdat_len));
}

/// A range of 1 MiB in the middle of 6 hours.
#[divan::bench]
fn pieces_of_a_range(bencher: Bencher) {
    let ends: Vec<u64> = (1..=u64::from(SECONDS / 2)).map(|part| part * 1_500_000).collect();
    let layout = Layout::new(30_000_000, ends);
    let middle = layout.len() / 2;
    bencher.bench(|| layout.pieces(black_box(middle)..middle + (1 << 20)).count());
}

#[divan::bench]
fn fragment_of_two_seconds(bencher: Bencher) {
    let tracks = [pictures(), sound()];
    let data = tracks.each_ref().map(|samples| (0..bytes_of(samples)).map(|_| 0x55).collect::<Vec<u8>>());
    let run = |track: usize| Run {
        track,
        description: 1,
        decode_time: 160_000_000_000_000,
        composition_shift: 0,
        samples: &tracks[track],
    };
    let bytes = BytesCount::new(data[0].len() + data[1].len());
    bencher
        .counter(bytes)
        .bench(|| fragment(1, black_box(&[run(0), run(1)]), |run, out| out.extend_from_slice(&data[run])));
}
