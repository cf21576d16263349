//! Which files a cut is made of: empty ones do not count, and those before its range only where its pictures refer to them.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cut_references::by_time;
use crate::cuts::{self, RANGE, archive, cut};
use crate::footage::look;
use crate::harness::{Answer, ask};
use crate::process::Served;

const TYPES: [&str; 3] = ["rough", "smart", "full"];

/// The segment of an archive that starts at 11:00:01.
fn middle(base: &Path) -> PathBuf {
    let names = fs::read_dir(base.join("s/v/2026-11-20T11")).expect("an hour").flatten();
    let mut paths = names.map(|entry| entry.path());
    paths.find(|path| path.to_string_lossy().contains("/00:01.")).expect("a segment")
}

/// The numbers of the frames of a cut.
fn numbers(base: &Path, answer: &Answer) -> Vec<i64> {
    let path = base.join("cut.ts");
    fs::write(&path, &answer.body).expect("a cut");
    look(&path, 0, true).numbers
}

/// A cut, after HEAD has shown the same.
fn cut_after_head(served: &Served, query: &str) -> Answer {
    let (head, got) = (cut(served, "HEAD", query), cut(served, "GET", query));
    let headers = ["x-cut-start", "x-cut-end", "x-cut-segments", "x-cut-holes"];
    let shown = |answer: &Answer| headers.map(|name| answer.header(name).to_owned());
    assert_eq!((head.status, shown(&head)), (got.status, shown(&got)), "{query}");
    got
}

#[test]
fn an_empty_segment_is_a_gap_in_cuts_but_not_in_playlists() {
    let base = archive();
    fs::write(middle(base.path()), "").expect("a segment");
    let served = Served::over(base.path(), &[]);
    for cut_type in TYPES {
        let query = format!("{RANGE}&type={cut_type}");
        assert_eq!(cut_after_head(&served, &query).status, 406, "{cut_type}");
        let answer = cut_after_head(&served, &format!("{query}&allow_holes=true"));
        let counts = ["x-cut-segments", "x-cut-holes"].map(|name| answer.header(name));
        assert_eq!((answer.status, counts), (200, ["3", "1"]), "{cut_type}");
        let first = if cut_type == "rough" { 0 } else { 13 };
        let end = if cut_type == "rough" { 200 } else { 188 };
        let expected: Vec<_> = (first..100).chain(150..end).collect();
        assert_eq!(numbers(base.path(), &answer), expected, "{cut_type}");
    }
    let playlist = ask(served.address, "GET", "/playlist/s/v.m3u8", &[]);
    assert_eq!(playlist.text().matches("-full-x.ts").count(), 5);
}

#[test]
fn an_empty_file_gives_way_to_another_of_the_same_start() {
    let base = archive();
    let middle = middle(base.path());
    fs::write(middle.with_file_name("00:01.000000-2.500000-full-y.ts"), "").expect("a segment");
    fs::write(middle.with_file_name("00:03.000000-2.000000-full-z.ts"), "").expect("a segment");
    let served = Served::over(base.path(), &[]);
    for cut_type in TYPES {
        let answer = cut_after_head(&served, &format!("{RANGE}&type={cut_type}"));
        assert_eq!((answer.status, answer.header("x-cut-segments")), (200, "4"), "{cut_type}");
        let expected: Vec<_> = if cut_type == "rough" { (0..200).collect() } else { (13..188).collect() };
        assert_eq!(numbers(base.path(), &answer), expected, "{cut_type}");
    }
}

#[test]
fn segments_before_the_range_are_decoded_but_not_counted() {
    let footage = by_time("by-time-http");
    let base = tempfile::tempdir().expect("a directory");
    let paths: Vec<_> = footage.segments.iter().map(|segment| cuts::file(base.path(), segment)).collect();
    let served = Served::over(base.path(), &[]);
    let start = footage.segments[1].start;
    let query = format!("start={start}&end=2026-11-20T11:00:00&type");
    let answer = cut_after_head(&served, &format!("{query}=full"));
    assert_eq!((answer.status, answer.header("x-cut-segments")), (200, "1"));
    assert_eq!(answer.header("x-cut-start"), start.to_string());
    let first = (start - crate::footage::base()).micros() / 40_000;
    assert_eq!(numbers(base.path(), &answer), (first..75).collect::<Vec<_>>());
    let refused = cut_after_head(&served, &format!("{query}=smart"));
    assert!(refused.status == 501 && refused.text().contains("type=full"));

    fs::remove_file(&paths[0]).expect("a segment");
    for cut_type in ["full", "smart"] {
        let refused = cut_after_head(&served, &format!("{query}={cut_type}"));
        assert_eq!(refused.status, 501, "{cut_type}");
    }
}
