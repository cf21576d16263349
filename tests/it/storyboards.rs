//! Storyboards: which frames their tiles show, what is decoded for them, the tracks that go with them, and what is refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use restreamer::mpegts::nal::nal_units;
use restreamer::timestamp::Span;

use crate::cut_references::rewrite_pictures;
use crate::cut_unaligned::{VIDEO, paths, shift};
use crate::cuts::{fake, file};
use crate::footage::{FootageKind, HEIGHT, PLAIN, WIDTH, base, ffmpeg, make, make_uneven, number, root};
use crate::harness::{Answer, ask};
use crate::process::Served;

/// The range of six seconds in which all footage of these tests is.
const RANGE: &str = "start=2026-11-20T10:59:57&end=2026-11-20T11:00:03";

fn kind(name: &'static str, codecs: &'static str) -> FootageKind<'static> {
    FootageKind { name, seconds: 6, sounds: 0, codecs, ..PLAIN }
}

/// Copies segments of two seconds to a variant, each at the second where it is to begin.
fn place(archive: &Path, variant: &str, segments: &[(PathBuf, i64)]) {
    for (path, second) in segments {
        let start = base() + Span::from_secs(*second);
        let directory = archive.join("s").join(variant).join(start.hour().to_string());
        fs::create_dir_all(&directory).expect("an hour");
        let text = start.to_string();
        let name =
            format!("{}-2.000000-full-{variant}{second}.ts", &text["2026-11-20T10:".len()..text.len() - 1]);
        fs::copy(path, directory.join(name)).expect("a segment");
    }
}

/// An archive of variants that differ in what their pictures are.
fn archive() -> &'static Path {
    static ARCHIVE: OnceLock<PathBuf> = OnceLock::new();
    ARCHIVE.get_or_init(|| {
        let archive = root().join("storyboards");
        let plain = make(&kind("storyboard", "-c:v libx264 -preset veryfast -sc_threshold 0 -bf 3 -g 50"));
        let open = "-c:v libx264 -preset veryfast -x264-params \
            open-gop=1:bframes=3:keyint=50:min-keyint=50:scenecut=0:repeat-headers=1";
        let sets = "-c:v libx264 -preset veryfast -x264-params open-gop=1:keyint=50:min-keyint=50:scenecut=0";
        let hevc = "-c:v libx265 -preset ultrafast -x265-params \
            open-gop=1:bframes=3:keyint=50:min-keyint=50:scenecut=0:repeat-headers=1:log-level=error";
        let long = "-c:v libx264 -preset veryfast -sc_threshold 0 -g 75 -break_non_keyframes 1";
        let mpeg2 = "-c:v mpeg2video -b:v 3M -bf 2 -g 50 -sc_threshold 1000000000";
        let larger = "-vf scale=640:360 -c:v libx264 -preset veryfast -sc_threshold 0 -g 50";
        let of = |footage: &crate::footage::Footage| paths(&footage.segments);
        let [one, two, three] = of(&plain).try_into().expect("three segments");
        place(&archive, "plain", &[(one.clone(), 0), (two.clone(), 2), (three.clone(), 4)]);
        place(&archive, "hole", &[(one.clone(), 0), (three.clone(), 4)]);
        // The counts by which decoders put pictures in order go back from each segment to the next.
        for (name, variant, codecs) in [("storyboard-open", "open", open), ("storyboard-hevc", "hevc", hevc)]
        {
            let [first, second, third] = of(&make(&kind(name, codecs))).try_into().expect("three segments");
            place(&archive, variant, &[(third, 0), (second.clone(), 2), (first, 4)]);
            if variant == "hevc" {
                place(&archive, "codecs", &[(one.clone(), 0), (second, 2)]);
            }
        }
        for (name, variant, codecs) in [
            ("storyboard-long", "long", long),
            ("storyboard-mpeg2", "mpeg2", mpeg2),
            ("storyboard-sets", "sets", sets),
        ] {
            let found = of(&make(&kind(name, codecs)));
            place(&archive, variant, &found.into_iter().zip([0, 2, 4]).collect::<Vec<_>>());
        }
        let [_, larger, _] =
            of(&make_uneven(&kind("storyboard-larger", larger))).try_into().expect("three segments");
        place(&archive, "sizes", &[(one.clone(), 0), (larger, 2), (three.clone(), 4)]);
        let segments = [one, two, three].map(|path| {
            let copy = path.with_extension("unaligned");
            fs::copy(&path, &copy).expect("a copy");
            copy
        });
        shift(&segments, VIDEO, 40);
        place(&archive, "unaligned", &segments.into_iter().zip([0, 2, 4]).collect::<Vec<_>>());
        let damaged = archive.join("damaged.ts");
        fs::copy(&plain.segments[1].path, &damaged).expect("a segment");
        rewrite_pictures(&damaged, |_, pes| {
            // An IDR picture of what is no I slice.
            let spoilt = |nal: &[u8]| {
                if nal[0] & 0x1F == 5 { [&[nal[0]][..], &[0xFF; 500]].concat() } else { nal.to_vec() }
            };
            pes.payload =
                nal_units(&pes.payload).flat_map(|nal| [&[0, 0, 0, 1][..], &spoilt(nal)].concat()).collect();
        });
        place(
            &archive,
            "damaged",
            &[(plain.segments[0].path.clone(), 0), (damaged, 2), (plain.segments[2].path.clone(), 4)],
        );
        archive
    })
}

fn storyboard(served: &Served, variant: &str, query: &str) -> Answer {
    ask(served.address, "GET", &format!("/storyboard/s/{variant}.{query}"), &[])
}

/// The numbers that the tiles of a JPEG show, whose width is that of frames; `None` for empty ones.
fn tiles(jpeg: &[u8], count: usize) -> Vec<Option<i64>> {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("sheet.jpg");
    fs::write(&path, jpeg).expect("a file");
    let raw =
        ffmpeg(&["-v", "error", "-i", &path.to_string_lossy(), "-f", "rawvideo", "-pix_fmt", "gray", "-"]);
    let (columns, rows) = (count.min(10), count.div_ceil(10));
    assert_eq!(raw.len(), columns * rows * WIDTH * HEIGHT);
    let tile = |tile: usize| -> Vec<u8> {
        let rows = (0..HEIGHT).map(|row| ((tile / 10 * HEIGHT + row) * columns + tile % 10) * WIDTH);
        rows.flat_map(|start| raw[start..start + WIDTH].iter().copied()).collect()
    };
    let shown = |tile: Vec<u8>| {
        let (least, most) = (tile.iter().min().copied(), tile.iter().max().copied());
        let is_empty = least.zip(most).is_some_and(|(least, most)| most - least < 16);
        (!is_empty).then(|| number(&tile))
    };
    (0..count).map(|number| shown(tile(number))).collect()
}

#[test]
fn tiles_show_the_key_frame_at_their_time_or_before() {
    let served = Served::over(archive(), &[]);
    let rows: [(&str, &str); 10] = [
        ("plain", "0 0 0 0 50 50 50 50 100 100 100 100"),
        ("hole", "0 0 0 0 - - - - 100 100 100 100"),
        ("open", "100 100 100 100 50 50 50 50 0 0 0 0"),
        ("hevc", "100 100 100 100 50 50 50 50 0 0 0 0"),
        // Parameter sets are in the first segment only.
        ("sets", "0 0 0 0 50 50 50 50 100 100 100 100"),
        ("long", "0 0 0 0 0 0 75 75 75 75 75 75"),
        ("mpeg2", "0 0 0 0 51 51 51 51 99 99 99 99"),
        ("sizes", "0 0 0 0 50 50 50 50 100 100 100 100"),
        ("unaligned", "0 0 0 0 50 50 50 50 100 100 100 100"),
        ("damaged", "0 0 0 0 - - - - 100 100 100 100"),
    ];
    for (variant, expected) in rows {
        // Segments may begin with pictures that are shown before the first key frame.
        let range = "start=2026-11-20T10:59:57.25&end=2026-11-20T11:00:03.25";
        let answer = storyboard(&served, variant, &format!("jpg?{range}&count=12&width=320"));
        assert_eq!(answer.status, 200, "{variant}: {answer:?}");
        assert_eq!(answer.header("content-type"), "image/jpeg");
        let shown = tiles(&answer.body, 12);
        let shown: Vec<_> =
            shown.iter().map(|tile| tile.map_or("-".to_owned(), |number| number.to_string())).collect();
        assert_eq!(shown.join(" "), expected, "{variant}");
    }
}

#[test]
fn one_ffmpeg_decodes_each_key_frame_once_and_an_unchanged_storyboard_is_not_made_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let program = fake(dir.path(), "ffmpeg-counts");
    let served = Served::over(archive(), &["--ffmpeg", &program]);
    let query = format!("jpg?{RANGE}&count=60&width=64");
    let decoded = || -> Vec<String> {
        let log = fs::read_to_string(format!("{program}.log")).expect("a log");
        let lines = log.lines().filter_map(|line| line.split_once(" packets read")?.1.split_once("; "));
        lines.filter_map(|(_, rest)| rest.split_once(" frames")).map(|(count, _)| count.to_owned()).collect()
    };
    let first = storyboard(&served, "long", &query);
    assert_eq!((first.status, decoded()), (200, vec!["2".to_owned()]), "{first:?}");
    let etag = first.header("etag").to_owned();
    let again = storyboard(&served, "long", &query);
    assert_eq!((again.status, again.header("etag"), &again.body), (200, &*etag, &first.body));
    let target = format!("/storyboard/s/long.{query}");
    let unchanged = ask(served.address, "GET", &target, &[("If-None-Match", &etag)]);
    assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));
    let head = ask(served.address, "HEAD", &target, &[]);
    assert_eq!(head.header("content-length"), first.body.len().to_string());
    assert_eq!(decoded().len(), 1);
    let plain = storyboard(&served, "plain", &query);
    assert_eq!((plain.status, decoded()), (200, vec!["2".to_owned(), "3".to_owned()]));
}

#[test]
fn the_track_says_where_each_tile_that_shows_something_is() {
    let served = Served::over(archive(), &[]);
    let answer = storyboard(&served, "hole", &format!("vtt?{RANGE}&count=12&width=320"));
    assert_eq!(answer.header("content-type"), "text/vtt; charset=utf-8");
    let text = answer.text();
    let mut blocks = text.split("\n\n");
    assert_eq!(blocks.next(), Some("WEBVTT"));
    let cues: Vec<(&str, &str)> = blocks.filter_map(|block| block.trim_end().split_once('\n')).collect();
    assert_eq!(cues.len(), 8, "{text}");
    let address =
        "./hole.jpg?start=2026-11-20T10:59:57.000000Z&end=2026-11-20T11:00:03.000000Z&count=12&width=320";
    let cue = |time: &str, place: &str| (time.to_owned(), format!("{address}#xywh={place}"));
    let owned = |(time, payload): (&str, &str)| (time.to_owned(), payload.to_owned());
    assert_eq!(owned(cues[0]), cue("00:00:00.000 --> 00:00:00.500", "0,0,320,180"));
    assert_eq!(owned(cues[4]), cue("00:00:04.000 --> 00:00:04.500", "2560,0,320,180"));
    assert_eq!(owned(cues[7]), cue("00:00:05.500 --> 00:00:06.000", "320,180,320,180"));
    // The address that it names is that of the picture, with tiles of that size.
    let query = address.split_once(".jpg").expect("an address").1;
    assert_eq!(tiles(&storyboard(&served, "hole", &format!("jpg{query}")).body, 12)[11], Some(100));
}

#[test]
fn a_storyboard_has_the_defaults_of_cuts_and_says_what_a_relative_range_means() {
    let served = Served::over(archive(), &[]);
    for query in ["jpg?count=3", "vtt?start=-6s&count=3", "jpg?end=live&duration=6s&count=3"] {
        let answer = storyboard(&served, "plain", query);
        let said = (answer.header("x-range-start"), answer.header("x-range-end"));
        assert_eq!(said, ("2026-11-20T10:59:57.000000Z", "2026-11-20T11:00:03.000000Z"), "{query}");
        assert_eq!((answer.status, answer.header("cache-control")), (200, "no-cache"), "{query}");
    }
    let absolute = storyboard(&served, "plain", &format!("vtt?{RANGE}&count=3"));
    assert_eq!(absolute.header("x-range-start"), "");
}

#[test]
fn what_cannot_be_made_is_refused_with_the_reason() {
    let served = Served::over(archive(), &[]);
    let sound =
        FootageKind { name: "storyboard-sound", pictures: false, codecs: "-c:a aac", seconds: 2, ..PLAIN };
    for segment in make_uneven(&sound).segments {
        file(archive(), &segment);
    }
    let rows = [
        ("plain", format!("jpg?{RANGE}"), 400, "missing count: expected a number of tiles from 1 to 200"),
        ("plain", format!("jpg?{RANGE}&count=0"), 400, "bad count `0`"),
        ("plain", format!("vtt?{RANGE}&count=201"), 400, "bad count `201`"),
        ("plain", format!("jpg?{RANGE}&count=3&width=15"), 400, "bad width `15`"),
        (
            "plain",
            format!("jpg?{RANGE}&count=200&width=3840"),
            400,
            "ask for `width` of at most 594, or for fewer",
        ),
        (
            "plain",
            "jpg?start=2026-11-20T11&end=2026-11-20T10&count=3".to_owned(),
            400,
            "End must be after start",
        ),
        (
            "plain",
            "jpg?start=2026-11-20T12&end=2026-11-20T13&count=3".to_owned(),
            406,
            "no content available",
        ),
        ("none", format!("vtt?{RANGE}&count=3"), 404, "no variant `none`"),
        ("v", format!("vtt?{RANGE}&count=3"), 501, "has no pictures that can be decoded"),
        ("codecs", format!("jpg?{RANGE}&count=4"), 501, "has pictures of another codec than the first"),
    ];
    for (variant, query, status, why) in rows {
        let answer = storyboard(&served, variant, &query);
        assert_eq!(answer.status, status, "{variant} {query}: {answer:?}");
        assert!(answer.text().contains(why), "{variant} {query}: {}", answer.text());
    }
}
