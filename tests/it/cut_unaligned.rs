//! Exact cuts of footage whose PES packets do not begin and end with frames: the footage of ffmpeg, with its PES packets
//! divided at other places.

use std::path::{Path, PathBuf};

use restreamer::cut::{CutSegment, ExactType, prepare};
use restreamer::error::Error;
use restreamer::mpegts::packet::{packets, pcr_packet};
use restreamer::mpegts::pes::{Assembler, Pes, write_pes};
use restreamer::timestamp::Span;

use crate::cut_engine::{HEVC, check, check_stream, cut_with, select, tools};
use crate::footage::{self, Footage, FootageKind, base, check_beeps, look, look_at_packets, to_f64};

pub(crate) const VIDEO: u16 = 0x100;
pub(crate) const SOUND: u16 = 0x101;

/// Each PES packet of sound has one frame.
pub(crate) const KIND: FootageKind = FootageKind {
    name: "unaligned",
    seconds: 6,
    codecs: "-c:v libx264 -preset veryfast -sc_threshold 0 -bf 2 -g 50 -c:a aac",
    options: "pes_payload_size=0",
    ..footage::PLAIN
};

pub(crate) fn paths(segments: &[CutSegment]) -> Vec<PathBuf> {
    segments.iter().map(|segment| segment.path.clone()).collect()
}

fn pes_packets(bytes: &[u8], pid: u16) -> Vec<Pes> {
    let (mut assembler, mut found) = (Assembler::default(), Vec::new());
    assembler.push(bytes, pid, |pes| found.push(pes));
    found.extend(assembler.finish());
    found
}

/// Replaces the PES packets of a segment on a PID, each where the old one begins; clock references stay.
fn replace(path: &Path, pid: u16, new: Vec<Option<Pes>>) {
    let bytes = std::fs::read(path).expect("a segment");
    let (mut out, mut counter, mut new) = (Vec::new(), 0, new.into_iter());
    for (_, packet) in packets(&bytes) {
        if packet.pid() != pid {
            out.extend_from_slice(packet.bytes());
            continue;
        }
        if let Some(pcr) = packet.pcr() {
            out.extend(pcr_packet(pid, counter, pcr));
        }
        if let Some(Some(pes)) = packet.starts_unit().then(|| new.next().flatten()) {
            write_pes(&pes, pid, &mut counter, false, &mut out);
        }
    }
    std::fs::write(path, out).expect("a segment");
}

/// Moves the end of each PES packet forward by so many bytes, which begin the next one, also in the next segment.
pub(crate) fn shift(segments: &[PathBuf], pid: u16, by: usize) {
    let mut early = Vec::new();
    for path in segments {
        let mut all = pes_packets(&std::fs::read(path).expect("a segment"), pid);
        for pes in &mut all {
            pes.payload.splice(..0, early.drain(..));
            early = pes.payload.split_off(pes.payload.len() - by);
        }
        if Some(path) == segments.last() {
            all.last_mut().expect("a PES packet").payload.append(&mut early);
        }
        replace(path, pid, all.into_iter().map(Some).collect());
    }
}

/// Puts each two access units into one PES packet.
fn pair(path: &Path) {
    let mut all = pes_packets(&std::fs::read(path).expect("a segment"), VIDEO).into_iter();
    let mut new = Vec::new();
    while let Some(mut first) = all.next() {
        first.payload.extend(all.next().into_iter().flat_map(|second| second.payload));
        new.extend([Some(first), None]);
    }
    replace(path, VIDEO, new);
}

fn check_all(footage: &Footage) {
    for (start, end) in [(500, 5300), (2000, 4000), (3120, 3480)] {
        for exact_type in [ExactType::Smart, ExactType::Full] {
            check(exact_type, footage, 1, start, end);
        }
    }
}

#[test]
fn cuts_are_exact_where_sound_frames_go_over_pes_packets() {
    let footage = footage::make(&FootageKind { name: "sound-straddles", ..KIND });
    shift(&paths(&footage.segments), SOUND, 5);
    check_all(&footage);
}

#[test]
fn cuts_are_exact_where_pictures_go_over_pes_packets() {
    for (name, codecs) in [("pictures-straddle", KIND.codecs), ("hevc-straddles", HEVC)] {
        let footage = footage::make(&FootageKind { name, codecs, ..KIND });
        shift(&paths(&footage.segments), VIDEO, 40);
        shift(&paths(&footage.segments), SOUND, 5);
        check_all(&footage);
    }
}

#[test]
fn sound_alone_is_cut_by_its_frames_though_all_go_over_pes_packets() {
    let footage =
        footage::make(&FootageKind { name: "sound-alone", pictures: false, codecs: "-c:a aac", ..KIND });
    shift(&paths(&footage.segments), VIDEO, 5);
    for exact_type in [ExactType::Smart, ExactType::Full] {
        for (start_ms, end_ms) in [(500, 5300), (2100, 2900), (0, 2000)] {
            let (start, end) = (base() + Span::from_millis(start_ms), base() + Span::from_millis(end_ms));
            let segments = select(&footage.segments, start, end);
            let trailing = footage.segments.get(segments.len()).filter(|next| next.start >= end);
            let path = cut_with(exact_type, segments, trailing, Vec::new(), start, end);
            let shown = look_at_packets(&path, 1, false);
            let times = &shown.sound_packets[0];
            let (made, expected) =
                (i64::try_from(times.len()).expect("few") * 1024 * 1000 / 48_000, end_ms - start_ms);
            assert!((made - expected).abs() < 65, "{exact_type:?}: {made} ms of {expected} ms");
            check_stream(&path, &shown, times, (48_000, 1024));
            let beeps = &shown.beeps[0];
            let first = (start_ms + 999) / 1000 * 1000 - start_ms;
            let start = times[0];
            assert_eq!(beeps.len(), usize::try_from((end_ms - start_ms - first + 999) / 1000).expect("few"));
            for (second, beep) in (0..).zip(beeps) {
                let off = beep - start - to_f64(first) / 1000.0 - to_f64(second);
                assert!(off.abs() < 3.0 * 1024.0 / 48_000.0, "{exact_type:?}: beep {second} is {off} s off");
            }
        }
    }
}

#[test]
fn pictures_without_times_are_only_cut_where_none_is_encoded() {
    let codecs = "-c:v libx264 -preset veryfast -sc_threshold 0 -bf 0 -g 50 -c:a aac";
    let footage = footage::make(&FootageKind { name: "pairs", codecs, ..KIND });
    footage.segments.iter().for_each(|segment| pair(&segment.path));
    let prepared = |exact_type, start_ms, end_ms| {
        let range = (base() + Span::from_millis(start_ms), base() + Span::from_millis(end_ms));
        let segments = select(&footage.segments, range.0, range.1);
        prepare(exact_type, segments, None, &mut || Ok(None), range, &tools(), &|| false).map(drop)
    };
    for (start, end) in [(480, 4000), (2000, 4800), (2480, 2960)] {
        let smart = prepared(ExactType::Smart, start, end);
        assert!(matches!(&smart, Err(Error::Unsupported(_))), "{start} {end}: {smart:?}");
        assert!(prepared(ExactType::Full, start, end).is_ok(), "{start} {end}");
    }
    assert!(prepared(ExactType::Smart, 2000, 4000).is_ok());
    for (exact_type, start_ms) in [(ExactType::Smart, 2000), (ExactType::Full, 480), (ExactType::Full, 2000)]
    {
        let (start, end) = (base() + Span::from_millis(start_ms), base() + Span::from_millis(4000));
        let segments = select(&footage.segments, start, end);
        let trailing = footage.segments.last();
        let shown = look(&cut_with(exact_type, segments, trailing, Vec::new(), start, end), 1, true);
        assert_eq!(shown.numbers, (start_ms / 40..100).collect::<Vec<_>>(), "{exact_type:?}");
        if exact_type == ExactType::Full {
            check_beeps(&shown, footage.rate);
        }
    }
}
