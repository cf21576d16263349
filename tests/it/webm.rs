//! Cuts as WebM: which frames they show and when, where their sound is, and what is answered where they cannot be made.

use std::path::{Path, PathBuf};

use restreamer::cut::ExactType;

use crate::cut_engine::{PYRAMID, Range, cut_with};
use crate::cut_streams::rewrite;
use crate::cuts::{RANGE, archive, file};
use crate::footage::{self, Footage, FootageKind, PLAIN, check_beeps, look, run, to_f64};
use crate::harness::{Answer, ask};
use crate::process::{Program, RESTREAMER, Served};

fn webm(range: &Range) -> PathBuf {
    let (segments, before) = (range.segments.clone(), range.before.clone());
    cut_with(ExactType::Webm, segments, range.trailing.as_ref(), before, range.start, range.end)
}

fn probe(path: &Path, entries: &str) -> String {
    let path = path.to_string_lossy();
    let output = run("ffprobe", &["-v", "warning", "-show_entries", entries, "-of", "csv=p=0", &path]);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{path}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Checks the frames of a range of footage, their times, and where its beeps are. Returns the number of beeps.
fn check(footage: &Footage, sounds: usize, start_ms: i64, end_ms: i64) -> usize {
    let range = Range::of(footage, start_ms, end_ms);
    let path = webm(&range);
    let probed = probe(&path, "stream=codec_name:format=duration");
    let mut lines: Vec<_> = probed.lines().collect();
    let duration: f64 = lines.pop().and_then(|line| line.parse().ok()).expect("a duration");
    let expected = [&["vp8"][..], &vec!["opus"; sounds]].concat();
    assert_eq!(lines, expected);
    let shown = look(&path, sounds, true);
    assert_eq!(shown.warnings, "", "{start_ms} {end_ms}");
    assert_eq!(shown.numbers, range.numbers(footage), "{start_ms} {end_ms}");
    assert!(shown.times[0].abs() < 0.001, "it begins at {}", shown.times[0]);
    let frame = to_f64(footage.rate.1) / to_f64(footage.rate.0);
    for pair in shown.times.windows(2) {
        assert!((pair[1] - pair[0] - frame).abs() < 0.0015, "a step from {} to {}", pair[0], pair[1]);
    }
    let length = to_f64(i64::try_from(shown.times.len()).expect("few frames")) * frame;
    assert!((duration - length).abs() < 0.002, "{duration} and not {length}");
    let beeps = check_beeps(&shown, footage.rate);
    std::fs::remove_file(&path).expect("a cut");
    beeps
}

#[test]
fn cuts_as_webm_show_exactly_the_frames_of_the_range_with_their_sound() {
    let codecs = &format!("{PYRAMID} 60");
    let rate = (30_000, 1001);
    let kind = FootageKind { name: "webm", rate, codecs, sounds: 2, seconds: 6, ..PLAIN };
    let mut footage = footage::make(&kind);
    assert_eq!(check(&footage, 2, 2510, 4690), 4);
    footage.segments.remove(1);
    footage.segments[1].gap_before = true;
    assert!(check(&footage, 2, 1100, 5300) >= 2, "the frames around a hole are shown one after the other");
}

#[test]
fn sound_that_begins_late_is_in_its_place_in_webm() {
    let codecs = "-c:v libx264 -preset ultrafast -g 50 -c:a aac";
    let footage = footage::make(&FootageKind { name: "webm-late", codecs, seconds: 6, ..PLAIN });
    for segment in &footage.segments[..2] {
        rewrite(&segment.path, &[0x101], |pmt| pmt.streams.retain(|stream| stream.pid != 0x101));
    }
    assert!(check(&footage, 1, 480, 5600) >= 1);
}

/// The answers to GET and HEAD, which have the same status.
fn both(served: &Served, target: &str) -> Answer {
    let [get, head] = ["GET", "HEAD"].map(|method| ask(served.address, method, target, &[]));
    assert_eq!(
        (get.status, get.header("content-type")),
        (head.status, head.header("content-type")),
        "{target}"
    );
    get
}

#[test]
fn cuts_as_webm_have_their_headers_and_every_refusal_comes_before_the_first_byte() {
    let base = archive();
    let served = Served::over(base.path(), &["--max-cut-hours", "1"]);
    let short = "start=2026-11-20T10:59:59.8&end=2026-11-20T11:00:00.2";
    for (target, name) in [
        (format!("/cut/s/v.webm?{short}"), "s_v_2026-11-20T10-59-59.800000Z.webm"),
        (format!("/cut/s/v.ts?type=webm&{short}"), "s_v_2026-11-20T10-59-59.800000Z.webm"),
        (format!("/cut/s/v.webm?type=webm&inline=true&{short}"), ""),
    ] {
        let answer = both(&served, &target);
        assert_eq!((answer.status, answer.whole), (200, true), "{target}");
        assert!(answer.body.starts_with(&[0x1A, 0x45, 0xDF, 0xA3]), "{target}");
        let disposition =
            if name.is_empty() { String::new() } else { format!("attachment; filename=\"{name}\"") };
        for (name, value) in [
            ("content-type", "video/webm"),
            ("content-disposition", &*disposition),
            ("content-length", ""),
            ("transfer-encoding", "chunked"),
            ("cache-control", "no-store"),
            ("x-cut-start", "2026-11-20T10:59:59.800000Z"),
            ("x-cut-end", "2026-11-20T11:00:00.200000Z"),
            ("x-cut-segments", "1"),
            ("x-cut-holes", "0"),
        ] {
            assert_eq!(answer.header(name), value, "{name} {target}");
        }
    }
    for (query, status, text) in [
        (format!("{RANGE}&type=smart"), 400, "bad type `smart`: expected `webm`"),
        ("start=2026-11-20T10:00:00&end=2026-11-20T11:00:01".to_owned(), 400, "1 hour"),
        ("start=2026-11-20T10:59:57&end=2026-11-20T10:59:57".to_owned(), 400, "End must be after start"),
        ("start=2026-11-20T11:00:00&end=2026-11-20T11:00:30".to_owned(), 406, "contains holes"),
        ("start=2026-11-20T08:00:00&end=2026-11-20T08:00:01&allow_holes=true".to_owned(), 406, "no content"),
    ] {
        let answer = both(&served, &format!("/cut/s/v.webm?{query}"));
        assert_eq!(answer.status, status, "{query}");
        assert!(answer.text().contains(text), "{query}: {}", answer.text());
    }
    let fake = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/ffmpeg-without");
    for (without, ffmpeg, text) in [
        ("libvpx", fake, "this server's ffmpeg lacks the encoder libvpx\n"),
        ("", "/nowhere/ffmpeg", "this needs ffmpeg, which is not installed on this server\n"),
    ] {
        let program = Program::new(RESTREAMER).env("WITHOUT", without);
        let served = Served::by(program, base.path(), &["--ffmpeg", ffmpeg]);
        let answer = both(&served, &format!("/cut/s/v.webm?{RANGE}"));
        assert_eq!((answer.status, &*answer.text()), (503, text));
    }
}

#[test]
fn there_is_no_webm_of_sound_alone_and_a_failure_aborts_it() {
    let kind = FootageKind { name: "webm-radio", codecs: "-c:a aac", pictures: false, seconds: 2, ..PLAIN };
    let base = tempfile::tempdir().expect("a directory");
    for segment in &footage::make(&kind).segments {
        file(base.path(), segment);
    }
    let served = Served::over(base.path(), &[]);
    let answer = both(&served, "/cut/s/v.webm?start=2026-11-20T10:59:57.5&end=2026-11-20T10:59:59");
    assert_eq!(answer.status, 501);
    let text = "WebM needs video, and there is none; type=full, type=smart and type=rough keep the sound\n";
    assert_eq!(answer.text(), text);

    let base = archive();
    // ffmpeg ends without an error, but too early.
    let fake = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/ffmpeg-quits");
    let served = Served::over(base.path(), &["--ffmpeg", fake]);
    let answer = ask(served.address, "GET", &format!("/cut/s/v.webm?{RANGE}"), &[]);
    assert_eq!((answer.status, answer.whole), (200, false));
}
