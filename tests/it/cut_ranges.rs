//! Cuts of several ranges: in every container and of every type, the frames of each range in the order given, on one clock.

use std::ops::Range;
use std::path::Path;

use tempfile::TempDir;

use crate::cuts::archive;
use crate::footage::{check_beeps, look, luma, packet_times, run, to_f64};
use crate::harness::{Answer, ask};
use crate::process::Served;

/// Ranges that lie backwards, repeat something, and begin and end within groups of pictures.
const RANGES: &str = "range=2026-11-20T11:00:01.1,2026-11-20T11:00:03.5&range=2026-11-20T10:59:58.3,2026-11-20T11:00:00.9\
    &range=2026-11-20T11:00:00.8,2026-11-20T11:00:01.6";
/// A frame of sound, in seconds.
const SOUND_FRAME: f64 = 1024.0 / 48_000.0;

/// The numbers of the frames in these ranges.
fn numbers() -> Vec<i64> {
    (103..163).chain(33..98).chain(95..115).collect()
}

fn served() -> (TempDir, Served) {
    let base = archive();
    let served = Served::over(base.path(), &[]);
    (base, served)
}

fn get(served: &Served, target: &str) -> Answer {
    ask(served.address, "GET", &format!("/cut/s/{target}"), &[])
}

/// Checks what of a cut is the same in all containers and of all types.
fn check(path: &Path, kind: &str) {
    let shown = look(path, 1, true);
    assert_eq!(shown.warnings, "", "{kind}");
    assert_eq!(shown.numbers, numbers(), "{kind}");
    let steps = shown.times.windows(2).map(|pair| pair[1] - pair[0]);
    // WebM has milliseconds.
    let tolerance = if kind.ends_with("webm") { 0.0011 } else { 0.0001 };
    assert!(steps.clone().all(|step| (step - 0.040).abs() < tolerance), "{kind}: {:?}", shown.times);
    assert_eq!(check_beeps(&shown, (25, 1)), 5, "{kind}: {:?}", shown.beeps);
}

#[test]
fn a_cut_has_the_frames_of_its_ranges_in_the_order_given_on_one_clock() {
    let (base, served) = served();
    for (extension, kind) in [
        ("ts", "full"),
        ("ts", "smart"),
        ("webm", "webm"),
        ("mp4", "smart"),
        ("mp4", "copy"),
        ("mp4", "full"),
    ] {
        let target = format!("v.{extension}?{RANGES}&type={kind}&timecode=true");
        let answer = get(&served, &target);
        let kind = format!("{extension} {kind}");
        assert_eq!((answer.status, answer.whole), (200, true), "{kind}: {}", answer.text());
        for (name, value) in [
            ("x-cut-start", "2026-11-20T11:00:01.100000Z"),
            ("x-cut-end", "2026-11-20T11:00:01.600000Z"),
            ("x-cut-segments", "6"),
            ("x-cut-holes", "0"),
        ] {
            assert_eq!(answer.header(name), value, "{kind} {name}");
        }
        let path = base.path().join(format!("cut.{extension}"));
        std::fs::write(&path, &answer.body).expect("write the cut");
        check(&path, &kind);
        let path = path.display().to_string();
        let entry = ["-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", &path];
        let printed = String::from_utf8(run("ffprobe", &entry).stdout).expect("text");
        let duration: f64 = printed.trim().parse().expect("a duration");
        let length = to_f64(numbers().len().try_into().expect("few")) * 0.040;
        assert!((duration - length).abs() < 0.1, "{kind}: {duration} instead of {length}");
        // Packets that an edit list hides are among those of `copy`. Those of Opus last 20 ms.
        if !kind.ends_with("copy") && !kind.ends_with("webm") {
            let sounds = packet_times(&path, "a");
            let steps = sounds.windows(2).map(|pair| pair[1] - pair[0]);
            assert!(steps.clone().all(|step| (step - SOUND_FRAME).abs() < 0.001), "{kind}: {sounds:?}");
        }
        if extension == "mp4" {
            let texts = packet_times(&path, "s");
            // Each range shows its first time, and each whole second in it.
            let firsts = [0.0, 60.0, 125.0].map(|frames| frames * 0.040);
            assert_eq!(texts.len(), 8, "{kind}: {texts:?}");
            assert!(
                firsts.iter().all(|first| texts.iter().any(|at| (at - first).abs() < 0.001)),
                "{texts:?}"
            );
        }
    }
}

/// Two ranges with a transition of 0.4 seconds between them, during which nothing beeps.
const BLENDED: &str =
    "range=2026-11-20T10:59:57.5,2026-11-20T11:00:03.5&range=2026-11-20T11:00:01.2,2026-11-20T11:00:06.9";

/// The places in that cut of the frames of the transition.
const OVERLAP: Range<usize> = 140..150;

/// The mean difference of a frame from a mixture of two, of which the second has this share.
fn difference_from_mixture(frame: &[u8], one: &[u8], other: &[u8], share: f64) -> f64 {
    let pixels = frame.iter().zip(one.iter().zip(other));
    let mixed = |one: &u8, other: &u8| f64::from(*one) * (1.0 - share) + f64::from(*other) * share;
    let sum: f64 = pixels.map(|(pixel, (one, other))| (f64::from(*pixel) - mixed(one, other)).abs()).sum();
    sum / to_f64(frame.len().try_into().expect("small"))
}

#[test]
fn a_transition_blends_the_end_of_a_range_with_the_start_of_the_next() {
    let (base, served) = served();
    let source = base.path().join("rough.ts");
    let all = "start=2026-11-20T10:59:57&end=2026-11-20T11:00:07&type=rough";
    std::fs::write(&source, get(&served, &format!("v.ts?{all}")).body).expect("write the segments");
    let source = luma(&source.display().to_string());
    // The frames before the transition, those of its first range, and those behind it.
    let numbers: Vec<i64> = (13..163).chain(115..248).collect();
    for (extension, kind) in [("ts", "smart"), ("mp4", "smart"), ("mp4", "full"), ("webm", "webm")] {
        let answer = get(&served, &format!("v.{extension}?{BLENDED}&type={kind}&transition=fade,0.4"));
        let path = base.path().join(format!("cut.{extension}"));
        std::fs::write(&path, &answer.body).expect("write the cut");
        let kind = format!("{extension} {kind}");
        assert_eq!((answer.status, answer.whole), (200, true), "{kind}: {}", answer.text());
        let mut shown = look(&path, 1, true);
        assert_eq!(shown.warnings, "", "{kind}");
        assert_eq!(shown.luma.len(), numbers.len(), "{kind}");
        for (place, share) in OVERLAP.zip(0_u8..) {
            let (one, other) = (&source[153 + usize::from(share)], &source[105 + usize::from(share)]);
            let difference = difference_from_mixture(&shown.luma[place], one, other, f64::from(share) / 10.0);
            assert!(difference < 4.0, "{kind}: frame {share} of the transition differs by {difference}");
        }
        shown.numbers[OVERLAP].copy_from_slice(&numbers[OVERLAP]);
        assert_eq!(shown.numbers, numbers, "{kind}");
        let steps = shown.times.windows(2).map(|pair| pair[1] - pair[0]);
        let tolerance = if kind.ends_with("webm") { 0.0011 } else { 0.0001 };
        assert!(steps.clone().all(|step| (step - 0.040).abs() < tolerance), "{kind}: {:?}", shown.times);
        assert_eq!(check_beeps(&shown, (25, 1)), 11, "{kind}: {:?}", shown.beeps);
        if kind.ends_with("smart") {
            // The groups that it does not touch are copied.
            for copied in [37..137, 185..235] {
                let is_copied = |place: &usize| {
                    shown.luma[*place] == source[usize::try_from(numbers[*place]).expect("a number")]
                };
                assert_eq!(copied.clone().find(|place| !is_copied(place)), None, "{kind}: {copied:?}");
            }
        }
    }
}

#[test]
fn transitions_may_leave_nothing_of_a_range() {
    let (base, served) = served();
    let ranges = "range=2026-11-20T10:59:57.1,2026-11-20T10:59:57.5&range=2026-11-20T10:59:58.3,2026-11-20T10:59:58.7\
        &range=2026-11-20T11:00:01.3,2026-11-20T11:00:01.7";
    // A transition between the first two ranges shows all of both; before the last range there is a hard cut.
    for extension in ["ts", "mp4"] {
        let target = format!("/cut/s/v.{extension}?{ranges}&transition=wipeleft,0.4&type=smart");
        let answer = ask(served.address, "GET", &target, &[]);
        assert_eq!((answer.status, answer.whole), (200, true), "{}", answer.text());
        let path = base.path().join(format!("cut.{extension}"));
        std::fs::write(&path, &answer.body).expect("write the cut");
        let shown = look(&path, 1, true);
        assert_eq!((&*shown.warnings, shown.luma.len()), ("", 20), "{extension}");
        assert_eq!(shown.numbers[10..], (108..118).collect::<Vec<i64>>(), "{extension}");
        assert_eq!(shown.numbers[0], 3, "{extension}");
        if extension == "mp4" {
            let etag = answer.header("etag").to_owned();
            let range = [("Range", "bytes=1000-"), ("If-Range", &etag)];
            let part = ask(served.address, "GET", &target, &range);
            assert!((part.status, part.header("etag")) == (206, &*etag) && part.body == answer.body[1000..]);
            let other = ask(served.address, "HEAD", &target.replace("wipeleft,0.4", "fade,0.2"), &[]);
            let estimate: f64 = other.header("x-cut-size-estimate").parse().expect("an estimate");
            let ratio = estimate / to_f64(answer.body.len().try_into().expect("small"));
            assert!(other.status == 200 && (0.4..2.5).contains(&ratio), "{ratio}");
        }
    }
    let copy = format!("/cut/s/v.mp4?{ranges}&transition=any,9&type=copy");
    assert_eq!(ask(served.address, "GET", &copy, &[]).status, 200);
}

#[test]
fn as_many_ranges_as_a_cut_may_have_are_encoded() {
    let (base, served) = served();
    // A frame each, with which a segment begins.
    let ranges = ["range=2026-11-20T11:00:00,2026-11-20T11:00:00.04"; 100].join("&");
    let answer = get(&served, &format!("v.ts?type=full&{ranges}"));
    assert_eq!((answer.status, answer.whole), (200, true), "{}", answer.text());
    let path = base.path().join("cut.ts");
    std::fs::write(&path, &answer.body).expect("write the cut");
    assert_eq!(look(&path, 1, true).numbers, vec![75; 100]);
}

#[test]
fn a_rough_cut_has_the_segments_of_its_ranges_one_after_another() {
    let (base, served) = served();
    let one = |start: &str, end: &str| get(&served, &format!("v.ts?start={start}&end={end}&type=rough")).body;
    let mut expected = one("2026-11-20T11:00:01.1", "2026-11-20T11:00:03.5");
    expected.extend(one("2026-11-20T10:59:58.3", "2026-11-20T11:00:00.9"));
    expected.extend(one("2026-11-20T11:00:00.8", "2026-11-20T11:00:01.6"));
    let answer = get(&served, &format!("v.ts?{RANGES}&type=rough&transition=a+transition"));
    assert!(answer.body == expected, "{} instead of {} bytes", answer.body.len(), expected.len());
    assert_eq!(answer.header("x-cut-segments"), "6");
    let answer = get(&served, &format!("v.mp4?{RANGES}&type=rough"));
    let path = base.path().join("cut.mp4");
    std::fs::write(&path, &answer.body).expect("write the movie");
    let numbers = look(&path, 1, true).numbers;
    assert_eq!(numbers, (100..200).chain(0..100).chain(50..150).collect::<Vec<i64>>());
}

#[test]
fn a_movie_of_several_ranges_can_be_asked_for_in_parts() {
    let (_base, served) = served();
    let target = format!("/cut/s/v.mp4?{RANGES}");
    let estimate = |target: &str| -> f64 {
        let head = ask(served.address, "HEAD", target, &[]);
        head.header("x-cut-size-estimate").parse().unwrap_or_else(|_| panic!("an estimate: {head:?}"))
    };
    // Each has a head of its own.
    let sum: f64 = RANGES.split('&').map(|range| estimate(&format!("/cut/s/v.mp4?{range}"))).sum();
    let all = estimate(&target);
    assert!((all / sum - 1.0).abs() < 0.02, "{all} of ranges that have {sum}");
    let whole = ask(served.address, "GET", &target, &[]);
    let ratio = all / to_f64(whole.body.len().try_into().expect("small"));
    assert!((0.5..2.0).contains(&ratio), "{ratio}");
    let etag = whole.header("etag").to_owned();
    let half = whole.body.len() / 2;
    let range = format!("bytes={half}-");
    let part = ask(served.address, "GET", &target, &[("Range", &range), ("If-Range", &etag)]);
    assert_eq!((part.status, part.header("etag")), (206, &*etag));
    assert!(part.body == whole.body[half..], "{} bytes", part.body.len());
    let known = ask(served.address, "HEAD", &target, &[]);
    assert_eq!(known.header("content-length"), whole.body.len().to_string());
    let not_modified = ask(served.address, "GET", &target, &[("If-None-Match", &etag)]);
    assert_eq!(not_modified.status, 304);
    let mut ranges: Vec<&str> = RANGES.split('&').collect();
    ranges.rotate_left(1);
    let other = ask(served.address, "GET", &format!("/cut/s/v.mp4?{}", ranges.join("&")), &[]);
    assert!(other.status == 200 && other.header("etag") != etag);
}

#[test]
fn relative_times_of_ranges_become_absolute() {
    let (_base, served) = served();
    let relative = "v.mp4?range=-5s,live-3s&range=2026-11-20T10:59:58,-8s&type=copy&start=x";
    let answer = get(&served, relative);
    let address = answer.header("content-location").to_owned();
    assert_eq!((answer.status, answer.header("accept-ranges")), (200, "none"));
    assert!(address.starts_with("./v.mp4?range=2026-11-20T11:00:0"), "{address}");
    assert_eq!(address.matches("range=").count(), 2, "{address}");
    let absolute = get(&served, address.trim_start_matches("./"));
    assert!(absolute.status == 200 && absolute.body == answer.body);
    let part = ask(served.address, "GET", &format!("/cut/s/{relative}"), &[("Range", "bytes=0-1")]);
    assert_eq!((part.status, part.header("location")), (307, &*address));
}

#[test]
fn what_is_wrong_with_a_range_names_it() {
    let base = archive();
    let hour = std::fs::read_dir(base.path().join("s/v/2026-11-20T11")).expect("an hour");
    let mut paths = hour.map(|entry| entry.expect("a segment").path());
    let is_second = |path: &std::path::PathBuf| path.display().to_string().contains("/00:01");
    std::fs::remove_file(paths.find(is_second).expect("a segment")).expect("remove it");
    let served = Served::over(base.path(), &[]);
    let (good, first, hours) = (
        "range=2026-11-20T10:59:57.1,2026-11-20T10:59:57.5",
        "2026-11-20T10:59:57",
        "range=2026-11-20T10,2026-11-20T14",
    );
    let many = vec![good; 101].join("&");
    let rows = [
        (
            format!("ts?range={first}"),
            400,
            "bad range `2026-11-20T10:59:57`: expected a start and an end, as in",
        ),
        (format!("ts?{good}&range={first},"), 400, "bad range `2026-11-20T10:59:57,`"),
        (format!("ts?range={first},{first}"), 400, "End must be after start\n"),
        (format!("ts?{good}&range={first},{first}&type=rough"), 400, "Ends must be after starts (range 2)\n"),
        (format!("mp4?{good}&range=live,-1s"), 400, "Ends must be after starts (range 2)\n"),
        (
            format!("ts?{good}&range=2026-11-20T12,2026-11-20T13&allow_holes=true"),
            406,
            "We have no content available within the requested time range. (range 2)\n",
        ),
        (
            format!("mp4?{good}&range=2026-11-20T10:59:59,2026-11-20T11:00:04"),
            406,
            "Requested time range contains holes or is incomplete.",
        ),
        (many, 400, "a cut has at most 100 ranges"),
        (format!("mp4?{hours}&{hours}&allow_holes=true"), 400, "the range of an MP4 cut is at most 6 hours"),
    ];
    for (query, status, text) in rows {
        let query = if query.starts_with("range") { format!("ts?{query}") } else { query };
        let answer = get(&served, &format!("v.{query}"));
        assert_eq!(answer.status, status, "{query}: {}", answer.text());
        assert!(answer.text().starts_with(text), "{query}: {}", answer.text());
        assert!(
            !text.starts_with("Requested") || answer.text().ends_with("(range 2)\n"),
            "{}",
            answer.text()
        );
    }
}

#[test]
fn what_is_wrong_with_a_transition_is_told_before_the_first_byte() {
    let (_base, served) = served();
    let good = "range=2026-11-20T10:59:57.1,2026-11-20T10:59:57.5";
    let rows = [
        ("ts", "transition=1", "bad transition `1`: expected a type and up to 60 seconds, such as"),
        ("ts", "transition=fade,0", "bad transition `fade,0`: expected"),
        ("webm", "transition=fade,60.1", "bad transition `fade,60.1`: expected"),
        ("mp4", "transition=fade,1s", "bad transition `fade,1s`: expected"),
        ("ts", "transition=custom,0.1", "there is no transition `custom`: this server has "),
        ("mp4", "transition=fade,0.5", "a transition of range 1 would take 0.500 s of its 0.400 s\n"),
        (
            "ts",
            "transition=fade,0.3&transition=fade,0.2",
            "the transitions at both ends of range 2 would take 0.500 s of its 0.400 s\n",
        ),
        ("ts", "transition=fade,0.01", "the transition fade is shorter than a frame\n"),
        ("ts", "transition=&transition=&transition=", "Too many transitions\n"),
        ("mp4", "transition=x&type=copy&transition=&transition=y", "Too many transitions\n"),
    ];
    for (extension, query, text) in rows {
        let answer = get(&served, &format!("v.{extension}?{good}&{good}&{good}&{query}"));
        assert_eq!(answer.status, 400, "{query}: {}", answer.text());
        assert!(answer.text().starts_with(text), "{query}: {}", answer.text());
    }
    let hard = get(&served, &format!("v.ts?{good}&{good}&transition=&type=smart"));
    assert_eq!(hard.status, 200, "{}", hard.text());
}

#[test]
fn transitions_that_would_take_much_memory_are_refused() {
    let base = archive();
    let sizes = std::fs::read_dir(base.path().join("s/v/2026-11-20T11")).expect("an hour");
    let largest = sizes.map(|entry| entry.expect("a segment").metadata().expect("a file").len()).max();
    // Two transitions show two seconds of each of their sides: four segments.
    let limit = (largest.expect("segments") * 2).to_string();
    let served = Served::over(base.path(), &["--max-segment-bytes", &limit]);
    let range = "range=2026-11-20T10:59:59,2026-11-20T11:00:03";
    let target = |length: &str| {
        format!("/cut/s/v.ts?{range}&{range}&{range}&transition=fade,{length}&transition=fade,{length}")
    };
    let refused = ask(served.address, "GET", &target("2"), &[]);
    assert_eq!(refused.status, 501, "{}", refused.text());
    assert!(
        refused.text().starts_with(&format!("the transitions of a cut take at most {limit} bytes")),
        "{}",
        refused.text()
    );
    assert_eq!(ask(served.address, "HEAD", &target("0.4"), &[]).status, 200);
}
