//! `/frame`: which frame is shown at which time, in footage of all kinds, and what is refused.

use std::fs;
use std::thread;

use restreamer::cut::CutSegment;
use restreamer::timestamp::{Span, Timestamp};

use crate::cut_engine::times;
use crate::cut_unaligned::{VIDEO, paths, shift};
use crate::cuts::{archive, file};
use crate::footage::{self, Footage, FootageKind, HEIGHT, PLAIN, WIDTH, base, ffmpeg, number};
use crate::harness::{Answer, Site};
use crate::movie_requests;
use crate::process::is_long_run;

/// Later than all footage.
const LATER: &str = "2026-11-22T00:00:00";

/// Six seconds in three segments, of groups of three seconds: two segments begin within a group.
const KIND: FootageKind<'_> = FootageKind { name: "", seconds: 6, ..PLAIN };
const BY_TIME: &str = "-c:v libx264 -preset veryfast -sc_threshold 0 -bf 3 -x264-params b-pyramid=normal -g 75 -keyint_min 75 -c:a aac -break_non_keyframes 1";
const OPEN_HEVC: &str = "-c:v libx265 -preset ultrafast -x265-params log-level=error:open-gop=1:keyint=50:min-keyint=50:bframes=2:scenecut=0 -c:a aac";
/// The clock wraps after 95,443.7 s, in the midst of the footage.
const WRAPS: &str =
    "-c:v libx264 -preset veryfast -sc_threshold 0 -bf 2 -g 60 -c:a aac -output_ts_offset 95440";
const CLOSED: &str = "-c:v libx264 -preset veryfast -sc_threshold 0 -bf 2 -g 50 -c:a aac";
const INTERLACED: &str = "-c:v mpeg2video -q:v 4 -bf 2 -g 75 -flags +ildct+ilme -sc_threshold 1000000000 -c:a mp2 -break_non_keyframes 1";

/// A server over segments, each named to the millisecond.
fn served(segments: &[CutSegment]) -> Site {
    let site = Site::at(LATER);
    for segment in segments {
        file(site.archive.path(), segment);
    }
    site
}

fn target(extension: &str, at: &str) -> String {
    format!("/frame/s/v.{extension}?timestamp={at}")
}

/// A time in milliseconds after the start of the footage.
fn at(millis: i64) -> Timestamp {
    base() + Span::from_millis(millis)
}

fn frame(site: &Site, at: Timestamp) -> Answer {
    site.get(&target("png", &at.to_string()))
}

/// The numbers that pictures in PNG show.
fn numbers(pictures: &[Vec<u8>]) -> Vec<i64> {
    let path = footage::root().join(format!("frames-{:?}.png", thread::current().id()));
    fs::write(&path, pictures.concat()).expect("pictures");
    let path = path.to_string_lossy();
    let args = ["-v", "error", "-f", "png_pipe", "-i", &path, "-f", "rawvideo", "-pix_fmt", "gray", "-"];
    let raw = ffmpeg(&args);
    let frames: Vec<_> = raw.chunks_exact(WIDTH * HEIGHT).collect();
    assert_eq!(frames.len(), pictures.len());
    frames.into_iter().map(number).collect()
}

/// Asks for the frames at these times, and checks that each is the last that is not later.
fn check(site: &Site, frames: &[(i64, Timestamp)], asked: &[Timestamp]) {
    let (mut pictures, mut expected) = (Vec::new(), Vec::new());
    for at in asked {
        let answer = frame(site, *at);
        assert_eq!(answer.status, 200, "{at}: {}", String::from_utf8_lossy(&answer.body));
        let (number, time) = frames.iter().rfind(|(_, time)| time <= at).expect("a frame");
        assert_eq!(answer.header("x-frame-time"), time.to_string(), "at {at}");
        expected.push(*number);
        pictures.push(answer.body);
    }
    assert_eq!(numbers(&pictures), expected, "at {asked:?}");
}

/// Times that look random, the same in each run.
fn random(footage: &Footage, count: usize) -> Vec<Timestamp> {
    let [first, .., last] = &footage.segments[..] else { panic!("two segments") };
    let micros = (last.end - first.start).micros();
    let mut seed: i64 = 1;
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        first.start + Span::from_micros((seed >> 11).rem_euclid(micros))
    };
    (0..count).map(|_| next()).collect()
}

/// Checks random times and those next to the borders of segments, that there is nothing outside, and that a cut which begins
/// at the time of a frame begins with it.
fn check_all(footage: &Footage) {
    let site = served(&footage.segments);
    let frames = times(footage, &footage.segments);
    let instant = Span::from_micros(1);
    let mut asked = random(footage, if is_long_run() { 150 } else { 6 });
    for segment in &footage.segments {
        asked.extend([segment.start, segment.end - instant]);
    }
    check(&site, &frames, &asked);

    let (first, last) = (footage.segments[0].start, footage.segments[footage.segments.len() - 1].end);
    for outside in [first - instant, last] {
        assert_eq!(frame(&site, outside).status, 406, "{outside}");
    }
    let shown = frame(&site, asked[0]);
    let time = shown.header("x-frame-time").trim_end_matches('Z').to_owned();
    let cut = site.get(&format!("/cut/s/v.ts?start={time}&duration=100ms&type=full"));
    assert_eq!(cut.status, 200, "{}", String::from_utf8_lossy(&cut.body));
    let path = site.archive.path().join("cut.ts");
    fs::write(&path, cut.body).expect("a cut");
    let begins_with = footage::look(&path, 0, true).numbers[0];
    assert_eq!(numbers(&[shown.body]), [begins_with], "{time}");
}

#[test]
fn frames_of_groups_that_begin_in_the_segment_before_are_those_on_the_screen() {
    check_all(&footage::make(&FootageKind { name: "frames-by-time", codecs: BY_TIME, ..KIND }));
    check_all(&footage::make(&FootageKind { name: "frames-open-hevc", codecs: OPEN_HEVC, ..KIND }));
}

#[test]
fn frames_of_interlaced_mpeg2_are_those_on_the_screen() {
    check_all(&footage::make(&FootageKind { name: "frames-mpeg2", codecs: INTERLACED, ..KIND }));
}

#[test]
fn frames_over_the_wrap_of_the_clock_are_those_on_the_screen() {
    let rate = (30_000, 1001);
    check_all(&footage::make(&FootageKind { name: "frames-wrap", codecs: WRAPS, rate, ..KIND }));
}

#[test]
fn frames_that_go_over_pes_packets_and_segments_are_those_on_the_screen() {
    let kind = FootageKind { name: "frames-straddle", codecs: CLOSED, options: "pes_payload_size=0", ..KIND };
    let footage = footage::make(&kind);
    shift(&paths(&footage.segments), VIDEO, 40);
    check_all(&footage);
}

/// Segments of the footage that many tests share, moved by so many milliseconds each.
fn moved(moves: &[i64]) -> Vec<CutSegment> {
    let base = archive();
    let all = movie_requests::segments(base.path());
    let from = |index: usize| at(i64::try_from(index).expect("small") * 2000);
    let segment = |(index, millis): (usize, &i64)| {
        let path = footage::root().join(format!("moved-{index}.ts"));
        fs::copy(&all[index], &path).expect("a segment");
        let (start, end) = (from(index) + Span::from_millis(*millis), from(index + 1));
        let end = end + Span::from_millis(*millis);
        CutSegment { path, bytes: None, start, end, gap_before: false, complete: true }
    };
    moves.iter().enumerate().map(segment).collect()
}

/// What is shown at times in milliseconds: the number of the frame and its time, or nothing.
fn shown(site: &Site, asked: &[i64]) -> Vec<Option<(i64, i64)>> {
    let mut pictures = Vec::new();
    let mut found = Vec::new();
    for millis in asked {
        let answer = frame(site, at(*millis));
        assert!(matches!(answer.status, 200 | 406), "{millis}: {}", answer.status);
        found.push((answer.status == 200).then(|| {
            let time = Timestamp::parse(answer.header("x-frame-time")).expect("a time");
            (time - base()).micros() / 1000
        }));
        if answer.status == 200 {
            pictures.push(answer.body);
        }
    }
    let mut numbers = numbers(&pictures).into_iter();
    found.into_iter().map(|time| time.and_then(|time| Some((numbers.next()?, time)))).collect()
}

#[test]
fn gaps_of_up_to_ten_milliseconds_are_none_and_larger_ones_show_nothing() {
    let (before, behind) = (Some((49, 1960)), Some((50, 2000)));
    let rows = [
        // By how much the second segment is moved, and what is shown when.
        (5, vec![(1999, before), (2004, before), (2005, Some((50, 2005)))]),
        (11, vec![(1999, before), (2000, None), (2010, None), (2011, Some((50, 2011)))]),
        (-8, vec![(1991, before), (1992, Some((50, 1992))), (2031, Some((50, 1992)))]),
        (0, vec![(1999, before), (2000, behind)]),
    ];
    for (millis, rows) in rows {
        let site = served(&moved(&[0, millis]));
        let (asked, expected): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
        assert_eq!(shown(&site, &asked), expected, "moved by {millis} ms");
    }
}

#[test]
fn an_empty_file_is_a_hole_and_the_last_frame_lasts_until_its_segment_ends() {
    let segments = moved(&[0, 0, 0]);
    let site = served(&segments);
    let mut names = movie_requests::segments(site.archive.path());
    fs::write(names.remove(1), "").expect("an empty file");
    let last = Some((149, 5960));
    assert_eq!(
        shown(&site, &[0, 39, 40, 1999, 2000, 3999, 4000, 5999, 6000]),
        [
            Some((0, 0)),
            Some((0, 0)),
            Some((1, 40)),
            Some((49, 1960)),
            None,
            None,
            Some((100, 4000)),
            last,
            None
        ]
    );
    // The live end is behind the last frame, and means that one.
    for (time, millis) in [("live", 5960), ("-0s", 5960), ("live-1ms", 5960), ("-100ms", 5880)] {
        let answer = site.get(&target("png", time));
        assert_eq!(answer.header("x-frame-time"), at(millis).to_string(), "{time}");
    }
    for outside in ["now", "live%2B1s", "-1h"] {
        assert_eq!(site.get(&target("png", outside)).status, 406, "{outside}");
    }
}
