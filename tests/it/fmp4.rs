//! Fragments of MP4: what is in them, their times, and how they follow one another.

use std::fs;
use std::path::{Path, PathBuf};

use restreamer::cut::CutSegment;

use crate::cut_unaligned::{self, SOUND, VIDEO, paths, shift};
use crate::cuts::file;
use crate::footage::{self, Footage, FootageKind, WIDTH, ffmpeg, luma, number, run};
use crate::harness::{Answer, Site, ask, target_of, time};
use crate::process::Served;

/// Long after all footage.
const LATER: &str = "2026-11-22T00:00:00";
const LIST: &str = "/playlist/s/v.m3u8?container=fmp4";

/// An entry of a playlist, as targets.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) init: String,
    pub(crate) fragment: String,
    /// Its wall clock in ticks of 90 kHz since 1970.
    start: i64,
}

/// The entries of a playlist of fragments.
pub(crate) fn entries(playlist: &str) -> Vec<Entry> {
    let (mut init, mut start, mut entries) = (String::new(), 0, Vec::new());
    for line in playlist.lines() {
        if let Some(uri) = line.strip_prefix("#EXT-X-MAP:URI=\"") {
            init = target_of(uri.trim_end_matches('"'));
        } else if let Some(instant) = line.strip_prefix("#EXT-X-PROGRAM-DATE-TIME:") {
            start = time(instant).micros() * 9 / 100;
        } else if !line.starts_with('#') {
            entries.push(Entry { init: init.clone(), fragment: target_of(line), start });
        }
    }
    entries
}

/// A stream as a second reader finds it.
struct Stream {
    is_video: bool,
    /// Its units a second.
    rate: i64,
    /// The PTS of its packets in this unit, in their order in the file.
    pts: Vec<i64>,
}

/// The streams of a file. The second reader must find nothing to complain of.
fn streams(file: &Path) -> Vec<Stream> {
    let file = file.to_string_lossy();
    let output = run("ffprobe", &["-v", "warning", "-show_packets", "-show_streams", "-of", "json", &file]);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{file}");
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let list = |name: &str| found[name].as_array().expect("a list").clone();
    let packets = list("packets");
    let stream = |stream: &serde_json::Value| Stream {
        is_video: stream["codec_type"] == "video",
        rate: stream["time_base"].as_str().expect("a unit")[2..].parse().expect("a number"),
        pts: packets
            .iter()
            .filter(|packet| packet["stream_index"] == stream["index"])
            .map(|packet| packet["pts"].as_i64().expect("a number"))
            .collect(),
    };
    list("streams").iter().map(stream).collect()
}

/// The boxes of MP4 in some bytes: their types and contents.
fn boxes(mut bytes: &[u8]) -> Vec<(&[u8], &[u8])> {
    let mut found = Vec::new();
    while let Some((head, _)) = bytes.split_at_checked(8) {
        let (this, later) = bytes.split_at(usize::try_from(field(head, 0)).expect("a size"));
        found.push((&this[4..8], &this[8..]));
        bytes = later;
    }
    found
}

/// The contents of the boxes of a type.
fn boxes_of<'a>(bytes: &'a [u8], name: &[u8]) -> Vec<&'a [u8]> {
    boxes(bytes).into_iter().filter(|(found, _)| *found == name).map(|(_, content)| content).collect()
}

fn field(bytes: &[u8], offset: usize) -> i64 {
    u32::from_be_bytes(bytes[offset..offset + 4].try_into().expect("four bytes")).into()
}

/// The time of decoding of each track's first sample in a fragment, and where its last one ends.
fn extents(fragment: &[u8]) -> Vec<(i64, i64)> {
    let extent = |track: &[u8]| {
        let (time, run) = (boxes_of(track, b"tfdt")[0], boxes_of(track, b"trun")[0]);
        assert_eq!((time[0], field(run, 0) & 0x700), (1, 0x700), "64 bits; durations, sizes and flags");
        let each = if field(run, 0) & 0x800 == 0 { 12 } else { 16 };
        let durations = run[12..].chunks_exact(each).map(|sample| field(sample, 0));
        let start = (field(time, 4) << 32) + field(time, 8);
        (start, start + durations.sum::<i64>())
    };
    let head = boxes_of(fragment, b"moof")[0];
    boxes_of(head, b"traf").into_iter().map(extent).collect()
}

/// A server over footage, each segment of which is named to the millisecond.
fn served(footage: &Footage) -> Site {
    let site = Site::at(LATER);
    for segment in &footage.segments {
        file(site.archive.path(), segment);
    }
    site
}

fn good(site: &Site, target: &str) -> Answer {
    let answer = site.get(target);
    assert_eq!(answer.status, 200, "{target}: {}", String::from_utf8_lossy(&answer.body));
    answer
}

/// Writes the bytes of answers to one file.
fn joined(site: &Site, name: &str, targets: &[&str]) -> PathBuf {
    let path = footage::root().join(format!("{name}.mp4"));
    let bytes: Vec<_> = targets.iter().flat_map(|target| good(site, target).body).collect();
    fs::write(&path, bytes).expect("a file");
    path
}

/// Plays a list with ffmpeg; returns the numbers of the frames, which must be the only thing that it says something about.
///
/// ffmpeg takes each further initialization section for one too many, and goes on.
fn play(site: &Site, target: &str) -> Vec<i64> {
    let url = format!("http://{}{target}", site.address);
    let output = run("ffmpeg", &["-v", "warning", "-i", &url, "-f", "null", "-"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let maps = good(site, target).text().matches("#EXT-X-MAP").count();
    let (known, other): (Vec<_>, Vec<_>) =
        said.lines().partition(|line| line.contains("Found duplicated MOOV Atom. Skipped it"));
    assert!(other.is_empty() && known.len() < maps, "{said}");
    luma(&url).iter().map(|luma| number(luma)).collect()
}

/// Checks each fragment of a list, and how they follow one another; returns the numbers of packets of the streams.
fn check_joins(site: &Site, name: &str) -> Vec<usize> {
    let entries = entries(&good(site, LIST).text());
    let (mut ends, mut totals): (Vec<i64>, Vec<usize>) = (Vec::new(), Vec::new());
    let mut init = "";
    for Entry { init: own_init, fragment, start: named } in &entries {
        let streams = streams(&joined(site, name, &[own_init, fragment]));
        let is_first = init != own_init;
        init = own_init;
        ends.resize(streams.len(), 0);
        totals.resize(streams.len(), 0);
        let extents = extents(&good(site, fragment).body);
        for (track, (stream, (start, end))) in streams.iter().zip(extents).enumerate() {
            // At the border of an hour the time line may move by the rounding of a name.
            let rounding = if is_first { 46 * stream.rate / 90_000 } else { 0 };
            let tolerance = rounding + i64::from(!stream.is_video);
            let join = (start - ends[track]).abs();
            let is_joined = totals[track] == 0 || join <= tolerance;
            assert!(is_joined, "{name}: {join} of {} before {fragment}", stream.rate);
            if stream.is_video {
                let off = (stream.pts.iter().min().expect("packets") - named).abs();
                assert!(off <= if is_first { 0 } else { 90 }, "{name}: {off} ticks off in {fragment}");
            }
            ends[track] = end;
            totals[track] += stream.pts.len();
        }
    }
    totals
}

#[test]
fn fragments_follow_one_another_without_a_gap_on_the_wall_clock() {
    let h264 = "-c:v libx264 -preset veryfast -sc_threshold 0 -bf 2 -g 60 -c:a aac";
    let hevc =
        "-c:v libx265 -preset ultrafast -g 50 -x265-params log-level=error:bframes=2:scenecut=0 -c:a aac";
    let ac3 = "-c:v libx264 -preset veryfast -bf 0 -g 50 -c:a:0 ac3 -c:a:1 eac3";
    let mp3 = "-c:v libx264 -preset veryfast -bf 0 -g 50 -c:a libmp3lame";
    // The clock of 33 bits wraps after 95,443.7 s: in the midst of this footage.
    let wraps = "-c:v libx264 -preset veryfast -sc_threshold 0 -bf 2 -g 60 -c:a aac -output_ts_offset 95440";
    let rows = [
        FootageKind {
            name: "fmp4-h264",
            rate: (30_000, 1001),
            codecs: h264,
            seconds: 6,
            sounds: 2,
            ..footage::PLAIN
        },
        FootageKind { name: "fmp4-hevc", rate: (60_000, 1001), codecs: hevc, seconds: 5, ..footage::PLAIN },
        FootageKind { name: "fmp4-ac3", seconds: 4, codecs: ac3, sounds: 2, ..footage::PLAIN },
        FootageKind { name: "fmp4-mp3", seconds: 4, codecs: mp3, sounds: 2, ..footage::PLAIN },
        FootageKind { name: "fmp4-wraps", codecs: wraps, seconds: 6, ..footage::PLAIN },
    ];
    for kind in rows {
        let footage = footage::make(&kind);
        let site = served(&footage);
        let totals = check_joins(&site, kind.name);
        assert_eq!(totals.len(), 1 + kind.sounds, "{}", kind.name);
        let all: Vec<i64> = (0..footage.frames).collect();
        assert_eq!(i64::try_from(totals[0]).expect("few"), footage.frames, "{}", kind.name);
        for (sound, total) in totals[1..].iter().enumerate() {
            let originals = footage.segments.iter().map(|segment| packets(segment, sound)).sum::<usize>();
            assert_eq!(*total, originals, "{}", kind.name);
        }
        assert_eq!(play(&site, LIST), all, "{}", kind.name);
        assert!(!good(&site, "/metrics").text().contains("fmp4_frames_left_out_total 1"));
    }
}

/// How many frames a sound of a segment has.
fn packets(segment: &CutSegment, sound: usize) -> usize {
    footage::packet_times(&segment.path.to_string_lossy(), &format!("a:{sound}")).len()
}

#[test]
fn a_frame_that_goes_on_in_the_next_file_is_left_out_and_counted() {
    let footage = footage::make(&FootageKind { name: "fmp4-split", ..cut_unaligned::KIND });
    let sounds: usize = footage.segments.iter().map(|segment| packets(segment, 0)).sum();
    shift(&paths(&footage.segments), VIDEO, 40);
    shift(&paths(&footage.segments), SOUND, 5);
    let site = served(&footage);
    let segments = footage.segments.len();
    let entries = entries(&good(&site, LIST).text());
    let (mut shown, mut heard) = (Vec::new(), 0);
    for Entry { init, fragment, .. } in &entries {
        let path = joined(&site, "fmp4-split", &[init, fragment]);
        // A decoder would complain of half a picture.
        let said = run("ffmpeg", &["-v", "warning", "-i", &path.to_string_lossy(), "-f", "null", "-"]).stderr;
        assert_eq!(String::from_utf8_lossy(&said), "");
        let pictures = luma(&path.to_string_lossy());
        assert!(pictures.iter().all(|luma| luma.len() % WIDTH == 0));
        shown.extend(pictures.iter().map(|luma| number(luma)));
        heard += streams(&path)[1].pts.len();
    }
    // One of each segment, and no picture twice.
    assert_eq!(i64::try_from(shown.len() + segments).expect("few"), footage.frames);
    assert!(shown.is_sorted_by(|one, next| one < next), "{shown:?}");
    assert_eq!(heard, sounds - (segments - 1));
    let metrics = good(&site, "/metrics").text();
    let left_out = format!("\nfmp4_frames_left_out_total {}\n", segments + segments - 1);
    assert!(metrics.contains(&left_out), "{metrics}");
}

/// Footage of three segments in the hour from 10:00 on, and the list of it.
fn small(name: &'static str) -> (Site, Vec<Entry>, Vec<PathBuf>) {
    let kind = FootageKind { name, seconds: 6, ..footage::PLAIN };
    let footage = footage::make(&kind);
    let site = Site::at(LATER);
    let files = footage.segments.iter().enumerate().map(|(index, segment)| {
        let bytes = fs::read(&segment.path).expect("a segment");
        site.write(&format!("s/v/2026-11-20T10/00:{:02}-2-full-x{index}.ts", 2 * index), &bytes)
    });
    let files = files.collect();
    let list = good(&site, LIST).text();
    (site, entries(&list), files)
}

#[test]
fn fragments_are_answered_as_segments_are() {
    let (site, entries, _) = small("fmp4-answers");
    let immutable = "public, max-age=31536000, immutable";
    let Entry { init, fragment, .. } = &entries[1];
    for target in [init, fragment] {
        let whole = good(&site, target);
        assert_eq!(whole.header("content-type"), "video/mp4");
        assert_eq!(whole.header("cache-control"), immutable);
        assert_eq!(whole.header("accept-ranges"), "bytes");
        assert_eq!(whole.header("access-control-allow-origin"), "*");
        let etag = whole.header("etag");
        assert!(etag.starts_with("\"x"), "{etag}");
        let ask = |method, headers: &[(&str, &str)]| ask(site.address, method, target, headers);
        let head = ask("HEAD", &[]);
        assert_eq!((head.status, &head.headers), (200, &whole.headers));
        assert_eq!(head.header("content-length"), whole.body.len().to_string());
        let unchanged = ask("GET", &[("If-None-Match", etag)]);
        assert_eq!((unchanged.status, unchanged.header("cache-control")), (304, immutable));
        let len = whole.body.len();
        for (range, part) in [("bytes=0-1", 0..2), ("bytes=100-299", 100..300), ("bytes=-7", len - 7..len)] {
            let answer = ask("GET", &[("Range", range), ("If-Range", etag)]);
            let content_range = format!("bytes {}-{}/{len}", part.start, part.end - 1);
            assert_eq!((answer.status, answer.header("content-range")), (206, &*content_range));
            assert_eq!(answer.body, whole.body[part], "{range}");
        }
        assert_eq!(ask("GET", &[("Range", "bytes=0-1"), ("If-Range", "\"other\"")]).body, whole.body);
        assert_eq!(ask("GET", &[("Range", &format!("bytes={len}-"))]).status, 416);
    }
}

#[test]
fn fragments_that_cannot_be_made_are_refused_with_the_reason() {
    let (site, entries, files) = small("fmp4-refused");
    let (path, _) = entries[1].fragment.split_once('?').expect("a query");
    // Other offsets and versions are other bytes.
    let by_itself = good(&site, path);
    assert_eq!(by_itself.header("cache-control"), "no-cache");
    let moved = good(&site, &format!("{path}?v=1&o=7"));
    assert_ne!(by_itself.header("etag"), moved.header("etag"));
    assert_ne!(by_itself.body, moved.body);
    let odd = |name: &str, bytes: &[u8]| site.write(&format!("s/v/2026-11-20T10/{name}"), bytes);
    let segment = fs::read(&files[0]).expect("a segment");
    odd("10:00-2-temp-x.ts", &segment);
    odd("11:00-2-suspect-x.ts", &segment);
    odd("12:00-2-full-text.ts", b"no transport stream");
    odd("13:00-2-full-empty.ts", b"");
    let mpeg2 = ["-v", "error", "-f", "lavfi", "-i", "testsrc2=s=64x64:d=1", "-c:v", "mpeg2video"];
    odd("14:00-1-full-mpeg2.ts", &ffmpeg(&[&mpeg2[..], &["-f", "mpegts", "-"]].concat()));
    let rows = [
        (path.replace("00%3A02", "00%3A03"), 404, "there is no such file"),
        (format!("{path}?v=2"), 404, "this server writes layout version 1, not 2: load the playlist again"),
        (path.replace("-full-", "-whole-"), 404, "that is not the address of a segment"),
        (path.replace("T10", "T1"), 404, "that is not the address of a segment"),
        ("/fmp4/s/v/2026-11-20T10/10:00-2-temp-x.m4s".to_owned(), 404, "that is not the address"),
        ("/fmp4/s/v/2026-11-20T10/12:00-2-full-text.m4s".to_owned(), 501, "has no program tables"),
        ("/fmp4/s/v/2026-11-20T10/13:00-2-full-empty.m4s".to_owned(), 501, "has no program tables"),
        ("/fmp4/s/v/2026-11-20T10/14:00-1-full-mpeg2.m4s".to_owned(), 501, "has MPEG-2 video"),
        ("/fmp4/s/v/2026-11-20T10/14:00-1-full-mpeg2.init.mp4".to_owned(), 501, "has MPEG-2 video"),
        (format!("{path}?o=1x"), 400, "bad o `1x`"),
    ];
    for (target, status, text) in rows {
        let answer = site.get(&target);
        assert_eq!(answer.status, status, "{target}: {answer:?}");
        assert!(answer.text().contains(text), "{target}: {}", answer.text());
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    let suspect = good(&site, "/fmp4/s/v/2026-11-20T10/11:00-2-suspect-x.m4s?v=1&o=7");
    assert_eq!(suspect.header("cache-control"), "no-cache");
}

#[test]
fn a_segment_beyond_the_limit_is_refused_before_it_is_read() {
    let base = tempfile::tempdir().expect("a directory");
    let hour = base.path().join("s/v/2026-11-20T10");
    fs::create_dir_all(&hour).expect("an hour");
    fs::write(hour.join("00:00-2-full-x.ts"), vec![0x47; 1000]).expect("a segment");
    let served = Served::over(base.path(), &["--max-segment-bytes", "999"]);
    let target = "/fmp4/s/v/2026-11-20T10/00:00-2-full-x";
    for extension in ["m4s", "init.mp4"] {
        let answer = ask(served.address, "GET", &format!("{target}.{extension}"), &[]);
        assert_eq!(answer.status, 501);
        assert!(answer.text().contains("has 1000 bytes, and fragments are made of at most 999"));
    }
}

#[test]
fn the_section_of_a_deleted_segment_is_that_of_the_next_one_of_the_run() {
    let (site, before, files) = small("fmp4-deleted");
    let first = before[0].init.clone();
    assert!(before.iter().all(|entry| entry.init == first), "{before:?}");
    let own = good(&site, &first);
    let next = good(&site, &first.replace("00%3A00", "00%3A02").replace("x0", "x1"));
    fs::remove_file(&files[0]).expect("delete it");
    let instead = good(&site, &first);
    assert_eq!(instead.body, next.body);
    assert_eq!(instead.header("etag"), next.header("etag"));
    assert_ne!(instead.header("etag"), own.header("etag"));
    assert_eq!(instead.header("cache-control"), "no-cache", "the deleted one may come back");
    // Fragments whose addresses are known go on.
    let path = joined(&site, "fmp4-deleted", &[&first, &before[1].fragment, &before[2].fragment]);
    assert_eq!(streams(&path)[0].pts.len(), 100);
    let after = entries(&good(&site, LIST).text());
    assert_eq!(after[0].init, first.replace("00%3A00", "00%3A02").replace("x0", "x1"));
    for file in &files[1..] {
        fs::remove_file(file).expect("delete it");
    }
    let answer = site.get(&first);
    assert_eq!(
        (answer.status, &*answer.text()),
        (404, "neither this segment is there, nor one that continues it\n")
    );
}
