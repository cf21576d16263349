//! Cuts of footage whose segments begin with pictures that refer to the segment before; and of pictures that announce more
//! reordering than there is.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use restreamer::cut::{CutSegment, ExactType, prepare};
use restreamer::error::Error;
use restreamer::mpegts::nal::nal_units;
use restreamer::mpegts::packet::{packets, pcr_packet};
use restreamer::mpegts::pes::{Assembler, Pes, write_pes};
use restreamer::mpegts::scan::Scan;
use restreamer::timestamp::Span;

use crate::cut_engine::{check, check_frames, select, tools};
use crate::footage::{self, Footage, FootageKind, base, ffmpeg, run};

const BOTH: [ExactType; 2] = [ExactType::Smart, ExactType::Full];

pub(crate) const KIND: FootageKind<'_> = FootageKind { name: "", seconds: 8, codecs: "", ..footage::PLAIN };

/// Segments that are cut by time, of groups of three seconds.
const BY_TIME: &str = "-c:v libx264 -preset veryfast -sc_threshold 0 -bf 2 -g 75 -keyint_min 75 -c:a aac -break_non_keyframes 1";
/// Open groups of pictures.
const OPEN: &str =
    "-c:v libx264 -preset veryfast -sc_threshold 0 -bf 2 -g 50 -x264-params open-gop=1:keyint=50 -c:a aac";

/// The same in HEVC: the groups begin with CRA pictures.
const OPEN_HEVC: &str = "-c:v libx265 -preset ultrafast -x265-params log-level=error:open-gop=1:keyint=50:min-keyint=50:bframes=2:scenecut=0 -c:a aac";
/// One IDR picture, then a column that moves over the picture.
pub(crate) const REFRESH: &str = "-c:v libx264 -preset veryfast -x264-params intra-refresh=1:keyint=30:bframes=0 -c:a aac -break_non_keyframes 1";
/// MPEG-2 in segments that are cut by time.
const MPEG2: &str =
    "-c:v mpeg2video -q:v 4 -bf 2 -g 75 -sc_threshold 1000000000 -c:a mp2 -break_non_keyframes 1";

/// Footage in segments that are cut by time.
pub(crate) fn by_time(name: &'static str) -> Footage {
    footage::make(&FootageKind { name, codecs: BY_TIME, ..KIND })
}

/// The third segment of footage that is made in another way.
fn unusual(dir: &Path, codecs: &str) -> PathBuf {
    let pattern = dir.join("%03d.ts");
    let input = "testsrc2=s=320x180:r=25:d=8";
    let mut args = vec!["-v", "error", "-y", "-f", "lavfi", "-i", input];
    args.extend(["-f", "lavfi", "-i", "sine=d=8"]);
    args.extend(codecs.split_whitespace());
    let pattern = pattern.to_string_lossy();
    args.extend(["-f", "segment", "-segment_time", "2", "-segment_format", "mpegts", &pattern]);
    ffmpeg(&args);
    dir.join("002.ts")
}

/// The cut of a range of milliseconds, which must be refused, by its text.
fn refusal(exact_type: ExactType, segments: &[CutSegment], start: i64, end: i64) -> String {
    let (start, end) = (base() + Span::from_millis(start), base() + Span::from_millis(end));
    let selected = select(segments, start, end);
    let mut before: Vec<_> =
        segments.iter().filter(|segment| segment.end <= selected[0].start).cloned().collect();
    let result =
        prepare(exact_type, selected, None, &mut || Ok(before.pop()), (start, end), &tools(), &|| false);
    match result {
        Err(Error::Unsupported(why)) => why,
        other => panic!("{exact_type:?} {start} {end}: {other:?}"),
    }
}

/// Rewrites the pictures of a segment; `edit` changes each PES packet, of which the first argument is the number.
pub(crate) fn rewrite_pictures(path: &Path, mut edit: impl FnMut(usize, &mut Pes)) {
    let bytes = std::fs::read(path).expect("a segment");
    let scan = Scan::of(&bytes, true).expect("a scan");
    let pid = scan.reference_track().expect("pictures").pid;
    let mut pictures = Vec::new();
    let mut assembler = Assembler::default();
    assembler.push(&bytes, pid, |pes| pictures.push(pes));
    pictures.extend(assembler.finish());
    let (mut out, mut counter) = (Vec::new(), 0x0F);
    let mut pictures = pictures.into_iter().enumerate();
    for (_, packet) in packets(&bytes) {
        if packet.pid() != pid {
            out.extend(packet.bytes());
            continue;
        }
        if let Some(pcr) = packet.pcr() {
            out.extend(pcr_packet(pid, counter, pcr));
        }
        if packet.starts_unit() {
            let (index, mut pes) = pictures.next().expect("a picture");
            edit(index, &mut pes);
            write_pes(&pes, pid, &mut counter, index == 0, &mut out);
        }
    }
    std::fs::write(path, out).expect("a segment");
}

/// Removes the parameter sets of H.264 from all segments but the first.
fn keep_first_parameter_sets(footage: &Footage) {
    for segment in &footage.segments[1..] {
        rewrite_pictures(&segment.path, |_, pes| {
            let kept = nal_units(&pes.payload).filter(|nal| !matches!(nal[0] & 0x1F, 7 | 8));
            pes.payload = kept.flat_map(|nal| [&[0, 0, 0, 1], nal].concat()).collect();
        });
    }
}

#[test]
fn a_cut_from_within_a_group_is_decoded_from_the_segments_before() {
    let rows = [
        ("by-time", BY_TIME, false),
        ("open-groups", OPEN, false),
        ("bare-groups", OPEN, true),
        ("open-hevc", OPEN_HEVC, false),
        ("refresh", REFRESH, false),
        ("mpeg2-by-time", MPEG2, false),
    ];
    for (name, codecs, bare) in rows {
        let footage = footage::make(&FootageKind { name, codecs, ..KIND });
        if bare {
            keep_first_parameter_sets(&footage);
        }
        for index in 1..footage.segments.len() {
            let start = (footage.segments[index].start - base()).micros() / 1000;
            check(ExactType::Full, &footage, 1, start, start + 500);
        }
    }
}

#[test]
fn pictures_without_the_ones_they_refer_to_are_refused_with_the_time_that_works() {
    let mut footage = by_time("by-time-alone");
    footage.segments.remove(0);
    let alone = &footage.segments;
    let start = (alone[0].start - base()).micros() / 1000;
    let from = base() + Span::from_secs(3);
    for exact_type in BOTH {
        let why = refusal(exact_type, alone, start, start + 1500);
        assert!(why.contains(&format!("start={from}")) && why.contains("type=rough"), "{why}");
    }
    check(ExactType::Full, &footage, 1, 3000, 6000);

    // Behind a gap in the range.
    let mut gap = footage.segments.clone();
    gap.remove(1);
    gap[1].gap_before = true;
    for exact_type in BOTH {
        let why = refusal(exact_type, &gap, 3000, 8000);
        assert!(why.contains("begins with pictures"), "{why}");
    }
}

#[test]
fn footage_without_parameter_sets_is_refused() {
    let footage = footage::make(&FootageKind { name: "no-sets", codecs: OPEN, ..KIND });
    keep_first_parameter_sets(&footage);
    for exact_type in BOTH {
        for (start, end) in [(2200, 3000), (4500, 7000)] {
            let why = refusal(exact_type, &footage.segments[1..], start, end);
            assert!(why.contains("begins with pictures") && !why.contains("start="), "{why}");
        }
    }
}

#[test]
fn a_smart_cut_that_would_fail_later_is_refused() {
    let footage = by_time("by-time-edge");
    // The end of the first segment is encoded, and the second one continues its group.
    let why = refusal(ExactType::Smart, &footage.segments, 1600, 3300);
    assert!(why.contains("closed group") && why.contains("type=full"), "{why}");

    let plain = "-c:v libx264 -preset veryfast -sc_threshold 0 -bf 2 -g 50 -c:a aac";
    let rows = [
        ("other-size", &*format!("{plain} -s 160x90"), "pictures of another format", false),
        ("other-codec", "-c:v mpeg2video -c:a aac", "pictures of another kind", true),
    ];
    let footage = footage::make(&FootageKind { name: "usual", codecs: plain, ..KIND });
    for (name, codecs, reason, full_too) in rows {
        let dir = footage::root().join(name);
        std::fs::create_dir_all(&dir).expect("a directory");
        let other = unusual(&dir, codecs);
        let mut segments = footage.segments.clone();
        segments[2].path = other;
        for exact_type in if full_too { &BOTH[..] } else { &BOTH[..1] } {
            let why = refusal(*exact_type, &segments, 500, 7500);
            assert!(why.contains(reason), "{name}: {why}");
        }
    }
}

#[test]
fn a_segment_with_other_parameter_sets_is_copied_and_spliced() {
    let high = "-c:v libx264 -preset veryfast -bf 0 -sc_threshold 0 -g 50 -c:a aac";
    let baseline = "-c:v libx264 -preset veryfast -profile:v baseline -sc_threshold 0 -g 50 -c:a aac";
    let mut footage = footage::make(&FootageKind { name: "high", codecs: high, ..KIND });
    let other = footage::make(&FootageKind { name: "baseline", codecs: baseline, ..KIND });
    footage.segments[2].path = other.segments[2].path.clone();
    for (start, end) in [(500, 7500), (2500, 5500), (4500, 7000)] {
        check(ExactType::Smart, &footage, 1, start, end);
    }
}

/// Copies the DTS of no picture, as if pictures were shown in the order in which they are decoded.
fn drop_dts(footage: &Footage) {
    for segment in &footage.segments {
        rewrite_pictures(&segment.path, |_, pes| pes.dts = pes.pts);
    }
}

/// What ffmpeg warns of while it decodes a file, without numbers.
fn warnings(path: &str) -> BTreeSet<String> {
    let output =
        run("ffmpeg", &["-hide_banner", "-v", "warning", "-i", path, "-map", "0", "-f", "null", "-"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let without_address = |line: &str| line.split_once("] ").map_or(line, |(_, rest)| rest).to_owned();
    text.lines().map(|line| without_address(line).replace(|c: char| c.is_ascii_digit(), "")).collect()
}

#[test]
fn announced_reordering_that_no_picture_uses_is_not_used_for_others() {
    let types = footage::root().join("types.txt");
    let letter = |frame: i64| if frame % 50 == 0 { 'I' } else { 'P' };
    let lines: Vec<_> = (0..150).map(|frame| format!("{frame} {} -1\n", letter(frame))).collect();
    std::fs::write(&types, lines.concat()).expect("the types of all pictures");
    let types = types.to_string_lossy();
    let hevc = &format!(
        "-c:v libx265 -preset ultrafast -x265-params log-level=error:keyint=50:open-gop=0:scenecut=0:bframes=3:qpfile={types} -c:a aac"
    );
    let h264 = &format!("-c:v libx264 -preset veryfast -g 50 -bf 3 -x264-params qpfile={types} -c:a aac");
    for (name, codecs) in [("ordered-hevc", hevc), ("ordered-h264", h264)] {
        let footage = footage::make(&FootageKind { name, codecs, seconds: 6, ..KIND });
        drop_dts(&footage);
        let paths: Vec<_> =
            footage.segments.iter().map(|segment| segment.path.to_string_lossy().into_owned()).collect();
        let source = warnings(&format!("concat:{}", paths.join("|")));
        for (start, end) in [(500, 5500), (1000, 1800), (1000, 4100), (3000, 6000)] {
            let (path, _) = check_frames(ExactType::Smart, &footage, 1, start, end).expect("a cut");
            let more: Vec<_> = warnings(&path.to_string_lossy()).difference(&source).cloned().collect();
            assert!(more.is_empty(), "{name} {start} {end}: {more:?}");
        }
    }
}
