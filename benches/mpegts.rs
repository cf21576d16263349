//! Throughput of probing, scanning and rewriting a segment in memory, on one core.

use std::hint::black_box;

use divan::Bencher;
use divan::counter::BytesCount;
use restreamer::mpegts::elementary::JoinedStream;
use restreamer::mpegts::packet::pcr_packet;
use restreamer::mpegts::pes::{Pes, Ticks, write_pes};
use restreamer::mpegts::picture_size::find_too_large;
use restreamer::mpegts::probe::probe;
use restreamer::mpegts::psi::{ElementaryStream, Pmt, write_pat, write_pmt};
use restreamer::mpegts::retime::{Action, ClockMapping, Edit, Rewriter, Step};
use restreamer::mpegts::samples::{SampleIndex, write_samples};
use restreamer::mpegts::scan::Scan;
use restreamer::mpegts::writer::TsWriter;

const PMT: u16 = 0x1000;
const VIDEO: u16 = 0x100;
const AUDIO: u16 = 0x101;
/// The duration of a picture in ticks of 90 kHz.
const PICTURE_90K: i64 = 3600;

fn main() {
    divan::main();
}

/// Two seconds with 50 access units of video and 100 frames of audio, at about 6 Mbit/s.
fn segment() -> Vec<u8> {
    let stream = |(pid, stream_type)| ElementaryStream { pid, stream_type, descriptors: Vec::new() };
    let streams = [(VIDEO, 0x1B), (AUDIO, 0x0F)].map(stream).to_vec();
    let pmt = Pmt { program: 1, pcr_pid: VIDEO, descriptors: Vec::new(), streams };
    let mut bytes = [write_pat(1, PMT), write_pmt(PMT, &pmt)].concat();
    let (mut video, mut audio) = (0, 0);
    let frame: Vec<u8> = [&[0xFF, 0xF1, 0x4C, 0x80, 0x2F, 0xFF, 0xFC][..], &[0x55; 376]].concat();
    for index in 0..50 {
        let pts = Ticks::new(900_000 + index * PICTURE_90K);
        let pcr = u64::try_from(pts.plus(-9000).get()).unwrap_or(0) * 300;
        bytes.extend(pcr_packet(VIDEO, video, pcr));
        let payload = access_unit(index == 0);
        let access_unit = Pes { stream_id: 0xE0, pts, dts: pts.plus(-PICTURE_90K), payload };
        write_pes(&access_unit, VIDEO, &mut video, index == 0, &mut bytes);
        let frames = Pes { stream_id: 0xC0, pts, dts: pts, payload: frame.repeat(2) };
        write_pes(&frames, AUDIO, &mut audio, true, &mut bytes);
    }
    bytes
}

/// An access unit of H.264: a delimiter and one slice of bytes as they are after entropy coding, with emulation prevention.
fn access_unit(is_idr: bool) -> Vec<u8> {
    let slice = if is_idr { 0x65 } else { 0x41 };
    let mut bytes = vec![0, 0, 0, 1, 0x09, 0xF0, 0, 0, 0, 1, slice, 0x88];
    let mut state = 0x2545_F491_u32;
    for _ in 0..30_000 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let byte = state.to_be_bytes()[0];
        if byte <= 3 && bytes.ends_with(&[0, 0]) {
            bytes.push(3);
        }
        bytes.push(byte);
    }
    bytes.push(0x80);
    bytes
}

/// A segment in which no slice is found: the search for slices must be linear in time.
fn segment_without_slices() -> Vec<u8> {
    let mut bytes = segment();
    for packet in bytes.chunks_exact_mut(188).filter(|packet| packet[1] & 0x5F == 0x41) {
        for offset in 18..186 {
            if packet[offset..offset + 3] == [0, 0, 1] {
                packet[offset + 2] = 7;
            }
        }
    }
    bytes
}

fn bytes_of(segment: &[u8]) -> BytesCount {
    BytesCount::new(segment.len())
}

#[divan::bench]
fn probe_segment(bencher: Bencher) {
    let segment = segment();
    bencher.counter(bytes_of(&segment)).bench(|| probe(black_box(&segment)));
}

#[divan::bench]
fn scan_segment(bencher: Bencher) {
    let segment = segment();
    bencher.counter(bytes_of(&segment)).bench(|| Scan::of(black_box(&segment), true));
}

#[divan::bench]
fn scan_without_slices(bencher: Bencher) {
    let segment = segment_without_slices();
    bencher.counter(bytes_of(&segment)).bench(|| Scan::of(black_box(&segment), true));
}

#[divan::bench]
fn find_picture_size(bencher: Bencher) {
    let segment = segment();
    let scan = Scan::of(&segment, true).expect("a PMT");
    bencher.counter(bytes_of(&segment)).bench(|| find_too_large(black_box(&segment), &scan.pmt));
}

#[divan::bench]
fn join_video(bencher: Bencher) {
    let segment = segment();
    bencher.counter(bytes_of(&segment)).bench(|| JoinedStream::of(black_box(&segment), VIDEO));
}

/// All that is done before the head of a movie is written, except for reading.
#[divan::bench]
fn scan_and_index(bencher: Bencher) {
    let segment = segment();
    bencher.counter(bytes_of(&segment)).bench(|| {
        let scan = Scan::of(black_box(&segment), true)?;
        Some(SampleIndex::of(&segment, &scan))
    });
}

#[divan::bench]
fn index_samples(bencher: Bencher) {
    let segment = segment();
    let scan = Scan::of(&segment, true).expect("a PMT");
    bencher.counter(bytes_of(&segment)).bench(|| SampleIndex::of(black_box(&segment), &scan));
}

#[divan::bench]
fn write_all_samples(bencher: Bencher) {
    let segment = segment();
    let scan = Scan::of(&segment, true).expect("a PMT");
    let index = SampleIndex::of(&segment, &scan);
    let mut out = Vec::with_capacity(segment.len());
    bencher.counter(bytes_of(&segment)).bench_local(|| {
        out.clear();
        for track in &index.tracks {
            write_samples(black_box(&segment), track, 0..track.samples.len(), &mut out);
        }
        out.len()
    });
}

/// The work of a smart cut on a segment between its ends, without reading and sending it.
#[divan::bench]
fn scan_and_rewrite(bencher: Bencher) {
    let segment = segment();
    let mut out = Vec::with_capacity(segment.len() + 4096);
    bencher.counter(bytes_of(&segment)).bench_local(|| {
        out.clear();
        rewrite(black_box(&segment), &mut out)
    });
}

/// Copies a segment with other timestamps.
fn rewrite(segment: &[u8], out: &mut Vec<u8>) -> Option<usize> {
    let scan = Scan::of(segment, true)?;
    let clock = ClockMapping { input: Ticks::new(900_000), output_90k: 54_000 };
    let edit = |track: &restreamer::mpegts::scan::Track| Edit {
        input_pid: track.pid,
        output_pid: track.pid,
        clock,
        actions: vec![Action::Copy],
        keep_90k: 0..i64::MAX,
        coding: track.codec.coding(),
    };
    let edits = scan.tracks.iter().map(edit).collect();
    let mut writer = TsWriter::new(PMT, &scan.pmt);
    let mut rewriter = Rewriter::new(segment, &scan, clock, i64::MAX, edits);
    let mut buffer = Vec::new();
    while rewriter.step(&mut writer, &mut buffer) != Step::Done {
        out.append(&mut buffer);
    }
    out.append(&mut buffer);
    Some(out.len())
}
