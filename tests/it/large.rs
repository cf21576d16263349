//! A month of recording: 720 hours, 1.3 million names.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use restreamer::archive::selection::Selection;
use restreamer::archive::{Archive, VariantName};
use restreamer::timestamp::Timestamp;
use tempfile::TempDir;

use crate::harness::{ask, connect, received};
use crate::process::{Running, Served, is_long_run, say};

const DAYS: usize = 30;
const HOURS: usize = DAYS * 24;
const SEGMENTS_AN_HOUR: usize = 1800;
/// The playlist of the whole archive.
const WHOLE: &str = "/playlist/month/source.m3u8?start=0001-01-01T00&end=9999-01-01T00";
/// The limit of memory for a playlist of any length.
const MEMORY_KIB: usize = 100_000;

fn hour_name(number: usize) -> String {
    format!("2026-10-{:02}T{:02}", number / 24 + 1, number % 24)
}

/// The names in an hour differ from those of the hours around it.
fn segment_name(hour: usize, number: usize) -> String {
    let (minute, second) = (number / 30, number % 30 * 2);
    let day_hour = hour % 24;
    format!(
        "{minute:02}:{second:02}.000-2.000-full-YgymESyiQJNzDMws7vAG6AsWwLPeaFlNQYrC{day_hour:02}{number:04}4.ts"
    )
}

/// Creates the archive. The segments of an hour are hard links to one file, because the number of links to a file is
/// limited. Creating all of them takes minutes, so by default only the first day consists of hard links. The hours of the
/// other days are symbolic links to it; they are read and cached like any other hour.
fn month() -> TempDir {
    let base = tempfile::tempdir().expect("a temporary directory");
    let variant = base.path().join("month/source");
    fs::create_dir_all(&variant).expect("make a directory");
    let hours_of_links = if is_long_run() { HOURS } else { 24 };
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for first in 0..4 {
            let variant = &variant;
            scope.spawn(move || (first..hours_of_links).step_by(4).for_each(|hour| link_hour(variant, hour)));
        }
    });
    for hour in hours_of_links..HOURS {
        symlink(hour_name(hour % 24), variant.join(hour_name(hour))).expect("link an hour");
    }
    say(&format!("made {HOURS} hours, {hours_of_links} of them of hard links, in {:.1?}", begun.elapsed()));
    base
}

fn link_hour(variant: &Path, hour: usize) {
    let directory = variant.join(hour_name(hour));
    fs::create_dir(&directory).expect("make a directory");
    let file = directory.join(segment_name(hour, 0));
    fs::write(&file, b"G").expect("write a file");
    for number in 1..SEGMENTS_AN_HOUR {
        fs::hard_link(&file, directory.join(segment_name(hour, number))).expect("link a file");
    }
}

/// The peak resident memory of a process, in KiB.
fn peak_memory_kib(running: &Running) -> usize {
    let status = fs::read_to_string(running.proc_file("status")).expect("read its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Reads the playlist over HTTP/1.0 and checks that it has every segment, in order.
fn check_whole_playlist(served: &Served) {
    let begun = Instant::now();
    let mut client = connect(served.address);
    client.write_all(format!("GET {WHOLE} HTTP/1.0\r\n\r\n").as_bytes()).expect("ask");
    let mut lines = BufReader::with_capacity(256 * 1024, client).lines();
    let mut next = || lines.next().map(|line| received(line, "the next line of the playlist"));
    assert_eq!(next().as_deref(), Some("HTTP/1.1 200 OK"));
    let first_byte = begun.elapsed();
    while next().is_some_and(|line| !line.is_empty()) {}
    for line in
        ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:2", "#EXT-X-SERVER-CONTROL:CAN-SKIP-UNTIL=12"]
    {
        assert_eq!(next().as_deref(), Some(line));
    }
    for hour in 0..HOURS {
        let hour_name = hour_name(hour);
        for number in 0..SEGMENTS_AN_HOUR {
            let (minute, second) = (number / 30, number % 30 * 2);
            let date = format!("#EXT-X-PROGRAM-DATE-TIME:{hour_name}:{minute:02}:{second:02}.000000Z");
            assert_eq!(next(), Some(date));
            assert_eq!(next().as_deref(), Some("#EXTINF:2.000,"));
            let name = segment_name(hour, number).replace(':', "%3A");
            assert_eq!(next(), Some(format!("../../segments/month/source/{hour_name}/{name}")));
        }
    }
    // The range ends in the future, so the playlist is live and has no end tag.
    assert_eq!(next(), None);
    say(&format!(
        "the playlist of {} segments: first byte after {first_byte:.1?}, all after {:.1?}",
        HOURS * SEGMENTS_AN_HOUR,
        begun.elapsed()
    ));
}

#[test]
fn a_month_is_listed_and_played_in_bounded_memory() {
    let base = month();
    let served = Served::over(base.path(), &["--log-level", "warn"]);
    let begun = Instant::now();
    let hours = ask(served.address, "GET", "/files/month/source", &[]).text();
    let expected: Vec<_> = (0..HOURS).map(|hour| format!("\"{}\"", hour_name(hour))).collect();
    assert_eq!(hours, format!("[{}]", expected.join(",")));
    say(&format!("{HOURS} hours listed in {:.1?}", begun.elapsed()));

    for hour in [0, HOURS / 2 + 7, HOURS - 1] {
        let begun = Instant::now();
        let names =
            ask(served.address, "GET", &format!("/files/month/source/{}", hour_name(hour)), &[]).text();
        let expected: Vec<_> =
            (0..SEGMENTS_AN_HOUR).map(|number| format!("\"{}\"", segment_name(hour, number))).collect();
        assert_eq!(names, format!("[{}]", expected.join(",")));
        say(&format!("one hour listed in {:.1?}", begun.elapsed()));
    }

    check_whole_playlist(&served);
    let memory = peak_memory_kib(&served.running);
    say(&format!("the server had {memory} KiB of memory at most"));
    assert!(memory < MEMORY_KIB, "{memory} KiB");
}

#[test]
fn a_selection_over_many_hours_does_not_evict_other_hours() {
    let base = tempfile::tempdir().expect("a temporary directory");
    let variant = base.path().join("month/source");
    fs::create_dir_all(&variant).expect("make a directory");
    link_hour(&variant, 0);
    for hour in 1..48 {
        symlink(hour_name(0), variant.join(hour_name(hour))).expect("link an hour");
    }
    // Directories that changed just now are not cached.
    std::thread::sleep(Duration::from_millis(50));
    let name = VariantName { stream: "month", variant: "source" };
    let limit_bytes = 4 * 1024 * 1024;
    // The share for hours.
    let room_bytes = limit_bytes / 16 * 11;
    let archive = Arc::new(Archive::new(base.path(), limit_bytes));
    let hours = archive.hours(name).expect("the hours");
    let one_hour = archive.hour(name, hours[47]).expect("an hour");
    let hour_bytes = archive.cache_stats().bytes;
    assert!(one_hour.segments().count() == SEGMENTS_AN_HOUR && hour_bytes > 0, "one hour is in memory");
    for walk in 1..=2 {
        let all_time = (Timestamp::MIN, Timestamp::MAX);
        let mut selection = Selection::new(&archive, name, &hours[..47], all_time);
        let mut segments = 0;
        while selection.next_segment().expect("a segment or none").is_some() {
            segments += 1;
        }
        assert_eq!(segments, 47 * SEGMENTS_AN_HOUR);
        let stats = archive.cache_stats();
        assert!(stats.bytes + hour_bytes <= room_bytes, "walk {walk}: {stats:?}");
        assert!(stats.entries > 2, "walk {walk}: {stats:?}");
    }
    let hits = archive.cache_stats().hits;
    assert!(hits > 1, "the second walk finds what the first has left");
    archive.hour(name, hours[47]).expect("an hour");
    assert_eq!(archive.cache_stats().hits, hits + 1, "the other hour is still in memory");
}
