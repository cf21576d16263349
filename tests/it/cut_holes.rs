//! Cuts of footage with gaps, clocks that restart, truncated segments, and data beside sound.

use std::path::PathBuf;

use restreamer::cut::{CutSegment, ExactType, prepare};
use restreamer::error::Error;
use restreamer::mpegts::packet::{PACKET_BYTES, packets};
use restreamer::mpegts::pes::{Header, Pes, Ticks, write_pes};
use restreamer::mpegts::psi::{ElementaryStream, write_pmt};
use restreamer::mpegts::scan::Scan;
use restreamer::timestamp::Span;

use crate::cut_engine::{check, check_stream, check_warnings, cut, tools};
use crate::footage::{self, Footage, FootageKind, base, check_beeps, ffmpeg, look_at_packets};

const BOTH: [ExactType; 2] = [ExactType::Smart, ExactType::Full];

const KIND: FootageKind<'_> = FootageKind {
    name: "",
    codecs: "-c:v libx264 -preset veryfast -sc_threshold 0 -bf 3 -x264-params b-pyramid=normal -c:a aac -g 50",
    ..footage::PLAIN
};

/// Removes a segment.
pub(crate) fn make_gap(footage: &mut Footage, index: usize) {
    footage.segments.remove(index);
    footage.segments[index].gap_before = true;
}

/// The same segment on a clock `seconds` later.
pub(crate) fn restart(segment: &CutSegment, seconds: &str) -> PathBuf {
    let path = segment.path.with_extension("restarted.ts");
    let (from, to) = (segment.path.to_string_lossy(), path.to_string_lossy());
    let copy = [
        "-v",
        "error",
        "-y",
        "-copyts",
        "-i",
        &from,
        "-map",
        "0",
        "-c",
        "copy",
        "-output_ts_offset",
        seconds,
    ];
    let options = ["-muxdelay", "0", "-muxpreload", "0", "-mpegts_start_pid", "500", "-f", "mpegts", &to];
    ffmpeg(&[&copy[..], &options].concat());
    path
}

#[test]
fn all_frames_around_a_gap_are_shown() {
    let mut footage = footage::make(&FootageKind { name: "hole", ..KIND });
    make_gap(&mut footage, 2);
    for exact_type in BOTH {
        for (start, end) in [(2500, 9690), (3990, 6010), (0, 6040), (3000, 20_000), (4500, 7000)] {
            check(exact_type, &footage, 1, start, end);
        }
    }
}

#[test]
fn a_clock_that_restarts_is_continuous_in_the_cut() {
    let mut footage = footage::make(&FootageKind { name: "anew", ..KIND });
    for segment in footage.segments.iter_mut().skip(3) {
        // The new clock is behind the old one: the time stamps go back.
        segment.path = restart(segment, "-6.5");
    }
    for exact_type in BOTH {
        check(exact_type, &footage, 1, 2500, 9690);
    }
    make_gap(&mut footage, 2);
    for exact_type in BOTH {
        for (start, end) in [(2500, 9690), (6100, 9690), (1000, 6100)] {
            check(exact_type, &footage, 1, start, end);
        }
    }
}

#[test]
fn a_truncated_segment_gives_the_frames_it_has() {
    let mut footage = footage::make(&FootageKind { name: "short", ..KIND });
    let bytes = std::fs::read(&footage.segments[2].path).expect("a segment");
    for share in [30, 55] {
        std::fs::write(&footage.segments[2].path, &bytes[..bytes.len() * share / 100]).expect("a segment");
        footage.segments[2].complete = false;
        footage.segments[3].gap_before = true;
        for exact_type in BOTH {
            let (start, end) = (base() + Span::from_millis(2500), base() + Span::from_millis(9690));
            let path = cut(exact_type, footage.segments[1..5].to_vec(), start, end);
            let shown = look_at_packets(&path, 1, true);
            check_beeps(&shown, footage.rate);
            check_warnings(&path, &shown);
            let outside = |number: &i64| !(100..150).contains(number);
            let around: Vec<i64> = shown.numbers.iter().copied().filter(outside).collect();
            assert_eq!(around, (63..100).chain(150..243).collect::<Vec<_>>(), "{exact_type:?} {share}");
            assert!(shown.numbers.is_sorted_by(|one, next| one < next));
            let least = 50 * share / 100 / 2;
            assert!(
                shown.numbers.len() - around.len() >= least,
                "{exact_type:?} {share}: {:?}",
                shown.numbers
            );
        }
    }
}

#[test]
fn frames_that_two_segments_have_are_shown_once() {
    let codecs = "-c:v libx264 -preset ultrafast -sc_threshold 0 -g 240 -c:a aac";
    let mut footage =
        footage::make(&FootageKind { name: "twice", rate: (120, 1), seconds: 6, codecs, ..KIND });
    // By the names, the second segment repeats the last frame of the first.
    for segment in &mut footage.segments[1..] {
        (segment.start, segment.end) =
            (segment.start - Span::from_millis(9), segment.end - Span::from_millis(9));
        segment.path = restart(segment, "1000");
    }
    for exact_type in BOTH {
        let (start, end) = (base() + Span::from_millis(1500), base() + Span::from_millis(2500));
        let path = cut(exact_type, footage.segments[..2].to_vec(), start, end);
        let shown = look_at_packets(&path, 1, true);
        check_stream(&path, &shown, &shown.times, footage.rate);
        assert_eq!(shown.numbers, (180..240).chain(241..302).collect::<Vec<_>>(), "{exact_type:?}");
    }
}

#[test]
fn sound_without_pictures_is_cut_by_its_frames() {
    let footage = footage::make(&FootageKind { name: "sound", pictures: false, codecs: "-c:a aac", ..KIND });
    for exact_type in BOTH {
        for (start, end) in [(2500, 9690), (3000, 4100)] {
            let (start, end) = (base() + Span::from_millis(start), base() + Span::from_millis(end));
            let segments =
                footage.segments.iter().filter(|segment| segment.end > start && segment.start < end);
            let path = cut(exact_type, segments.cloned().collect(), start, end);
            let shown = look_at_packets(&path, 1, false);
            let times = &shown.sound_packets[0];
            let expected = footage::to_f64((end - start).micros() / 1000) / 1000.0;
            let made = footage::to_f64(i64::try_from(times.len()).expect("few")) * 1024.0 / 48_000.0;
            assert!((made - expected).abs() < 0.065, "{exact_type:?}: {made} s of {expected} s");
            check_stream(&path, &shown, times, (48_000, 1024));
            let beeps = &shown.beeps[0];
            assert!(
                !beeps.is_empty() && beeps.windows(2).all(|pair| (pair[1] - pair[0] - 1.0).abs() < 0.022)
            );
        }
    }
}

/// A segment with timed metadata: an ID3 tag beside each twelfth picture.
fn with_id3(bytes: &[u8]) -> Vec<u8> {
    const PID: u16 = 0x155;
    let scan = Scan::of(bytes, true).expect("a scan");
    let mut pmt = scan.pmt.clone();
    let descriptors = b"\x26\x0D\xFF\xFFID3 \xFFID3 \x00\x0F".to_vec();
    pmt.streams.push(ElementaryStream { pid: PID, stream_type: 0x15, descriptors });
    let (mut out, mut counter, mut pictures) = (Vec::new(), 0x0F, 0);
    for (_, packet) in packets(bytes) {
        if packet.pid() == scan.pmt_pid {
            out.extend(write_pmt(scan.pmt_pid, &pmt));
            continue;
        }
        let header =
            Header::parse(packet.payload()).filter(|_| packet.starts_unit() && packet.pid() == pmt.pcr_pid);
        if let Some(pts) = header.and_then(|header| header.pts) {
            if pictures % 12 == 0 {
                let payload = b"ID3\x04\x00\x00\x00\x00\x00\x00".to_vec();
                write_pes(
                    &Pes { stream_id: 0xBD, pts, dts: pts, payload },
                    PID,
                    &mut counter,
                    false,
                    &mut out,
                );
            }
            pictures += 1;
        }
        out.extend(packet.bytes());
    }
    assert_eq!(out.len() % PACKET_BYTES, 0);
    out
}

#[test]
fn timed_metadata_stays_beside_its_pictures() {
    let codecs = "-c:v libx264 -preset veryfast -sc_threshold 0 -g 48 -bf 0 -c:a aac";
    let footage = footage::make(&FootageKind { name: "id3", codecs, rate: (24, 1), ..KIND });
    for segment in &footage.segments {
        let bytes = std::fs::read(&segment.path).expect("a segment");
        std::fs::write(&segment.path, with_id3(&bytes)).expect("a segment");
    }
    for exact_type in BOTH {
        check(exact_type, &footage, 1, 2500, 9690);
    }
    let (start, end) = (base() + Span::from_millis(2500), base() + Span::from_millis(9690));
    let path = cut(ExactType::Smart, footage.segments[1..5].to_vec(), start, end);
    let scan = Scan::of(&std::fs::read(&path).expect("a cut"), true).expect("a scan");
    let tags: Vec<Ticks> = scan.tracks[2].units.iter().map(|unit| unit.pts).collect();
    let pictures: Vec<Ticks> = scan.tracks[0].units.iter().map(|unit| unit.pts).collect();
    assert_eq!(tags, pictures.iter().copied().step_by(12).collect::<Vec<_>>());
}

#[test]
fn what_smart_cannot_splice_is_refused_with_a_reason() {
    let open = "-c:v libx264 -preset veryfast -sc_threshold 0 -bf 2 -g 50 -x264-params open-gop=1 -bsf:v dump_extra -c:a aac";
    let mpeg2 = "-c:v mpeg2video -g 50 -sc_threshold 1000000000 -c:a mp2";
    let interlaced = "-c:v libx264 -preset veryfast -flags +ildct+ilme -g 50 -c:a aac";
    let rows = [
        ("open", open, "group"),
        ("mpeg2", mpeg2, "neither H.264"),
        ("interlaced", interlaced, "interlaced"),
    ];
    for (name, codecs, reason) in rows {
        let footage = footage::make(&FootageKind { name, codecs, ..KIND });
        let (start, end) = (base() + Span::from_millis(2500), base() + Span::from_millis(9690));
        let result = prepare(
            ExactType::Smart,
            footage.segments[1..5].to_vec(),
            None,
            &mut || Ok(None),
            (start, end),
            &tools(),
            &|| false,
        );
        let Err(Error::Unsupported(why)) = result else { panic!("{name}: {result:?}") };
        assert!(why.contains(reason) && why.contains("type=full") && why.contains("type=rough"), "{why}");
        if name != "open" {
            check(ExactType::Full, &footage, 1, 2500, 9690);
        }
    }
}
