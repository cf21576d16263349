//! Playlists of fragmented MP4: the addresses of fragments and of the initialization sections that they need.

use std::collections::BTreeMap;
use std::fs;

use restreamer::mpegts::pes::{Pes, Ticks, write_pes};
use restreamer::mpegts::psi::{ElementaryStream, Pmt, write_pat, write_pmt};

use crate::fmp4::entries;
use crate::footage::{self, FootageKind};
use crate::harness::{Site, ask, time};
use crate::process::Served;

/// A segment with one video, whose first PES packet has that PTS.
fn segment(pts: i64) -> Vec<u8> {
    let video = ElementaryStream { pid: 0x100, stream_type: 0x1B, descriptors: Vec::new() };
    let pmt = Pmt { program: 1, pcr_pid: 0x100, descriptors: Vec::new(), streams: vec![video] };
    let mut bytes = [write_pat(1, 0x1000), write_pmt(0x1000, &pmt)].concat();
    let pts = Ticks::new(pts);
    let pes = Pes { stream_id: 0xE0, pts, dts: pts, payload: vec![0xAA; 20] };
    write_pes(&pes, 0x100, &mut 0, true, &mut bytes);
    bytes
}

/// Writes segments of two seconds from `start` on, whose clock is at `pts` there.
fn record(site: &Site, start: &str, count: i64, pts: i64) {
    for index in 0..count {
        let at = time(start).micros() + 2_000_000 * index;
        let instant = restreamer::timestamp::Timestamp::from_micros(at).to_string();
        let (hour, offset) = instant.trim_end_matches('Z').split_at("2026-11-20T10".len());
        let path = format!("s/v/{hour}/{}-2.000-full-x.ts", &offset[1..]);
        site.write(&path, &segment(pts + 180_000 * index));
    }
}

/// The time offset that puts a frame with that PTS at an instant.
fn offset(instant: &str, pts: i64) -> i64 {
    (time(instant).micros() * 9 / 100 - pts).rem_euclid(1 << 33)
}

/// A playlist in short: of each entry hour, minutes, seconds and time offset, `map` with those of the segment that a section
/// is of, `|` a discontinuity.
fn outline(playlist: &str) -> String {
    let short = |uri: &str| {
        let (path, query) = uri.split_once('?').expect("a query");
        let (directory, name) = path.rsplit_once('/').expect("a path");
        let offset = query.strip_prefix("v=1").expect("a version").replace("&o=", "+");
        format!("{}:{}{offset}", &directory[directory.len() - 2..], name[..7].replace("%3A", ":"))
    };
    let mut parts = Vec::new();
    for line in playlist.lines() {
        if line == "#EXT-X-DISCONTINUITY" {
            parts.push("|".to_owned());
        } else if let Some(uri) = line.strip_prefix("#EXT-X-MAP:URI=\"../../fmp4/s/v/") {
            assert!(uri.ends_with(".init.mp4?v=1\""), "{uri}");
            parts.push(format!("map {}", short(uri.trim_end_matches('"'))));
        } else if !line.starts_with('#') {
            assert!(line.starts_with("../../fmp4/s/v/") && line.contains(".m4s?"), "{line}");
            parts.push(short(line));
        }
    }
    parts.join(" ")
}

fn list(site: &Site, query: &str) -> String {
    let answer = site.get(&format!("/playlist/s/v.m3u8?container=fmp4{query}"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text()
}

#[test]
fn the_fragments_of_a_run_have_one_offset_in_each_hour_whatever_the_range() {
    let site = Site::at("2026-11-22T00:00:00");
    record(&site, "2026-11-20T10:59:50", 7, 1000);
    record(&site, "2026-11-20T11:00:10", 2, 5_000_000);
    let ten = offset("2026-11-20T10:59:50", 1000);
    let restarted = offset("2026-11-20T11:00:10", 5_000_000);
    let all = list(&site, "");
    assert!(all.starts_with("#EXTM3U\n#EXT-X-VERSION:7\n"), "{all}");
    assert_eq!(
        outline(&all),
        format!(
            "map 10:59:50 10:59:50+{ten} 10:59:52+{ten} 10:59:54+{ten} 10:59:56+{ten} 10:59:58+{ten} \
             map 11:00:00 11:00:00+{ten} 11:00:02+{ten} | map 11:00:10 11:00:10+{restarted} 11:00:12+{restarted}"
        )
    );
    // The clock goes on over the border of the hour, and the names are exact here.
    let part = list(&site, "&start=2026-11-20T10:59:57&end=2026-11-20T11:00:02");
    assert_eq!(
        outline(&part),
        format!("map 10:59:50 10:59:56+{ten} 10:59:58+{ten} map 11:00:00 11:00:00+{ten}")
    );
    // Without an offset a fragment is put in its place by itself: of a file without frames.
    site.write("s/v/2026-11-20T12/00:00-2-full-x.ts", b"");
    assert!(outline(&list(&site, "")).ends_with("| map 12:00:00 12:00:00"), "{}", list(&site, ""));
    let names = ["archive-1795172390-10", "timeshift_abs-1795172390", "playlist_dvr_range-1795172390-now"];
    for name in names {
        let answer = site.get(&format!("/playlist/s/v/{name}.m3u8?container=fmp4"));
        let text = answer.text().replace("../../../fmp4/", "../../fmp4/");
        assert!(outline(&text).starts_with(&format!("map 10:59:50 10:59:50+{ten}")), "{text}");
    }
}

#[test]
fn the_offset_is_that_of_the_next_segment_if_the_first_one_has_no_frames_or_is_gone() {
    let site = Site::at("2026-11-22T00:00:00");
    record(&site, "2026-11-20T10:00:00", 4, 90_000);
    // Rounded otherwise than its clock.
    let exact = site.archive.path().join("s/v/2026-11-20T10/00:02.000000-2.000-full-x.ts");
    fs::rename(&exact, exact.with_file_name("00:02.001-2.000-full-x.ts")).expect("another name");
    let (first, second) = (offset("2026-11-20T10:00:00", 90_000), offset("2026-11-20T10:00:02.001", 270_000));
    assert_ne!(first, second);
    let offsets = |text: &str| -> Vec<String> {
        let fragments = entries(text).into_iter().map(|entry| entry.fragment);
        fragments.filter_map(|uri| Some(uri.split_once("&o=")?.1.to_owned())).collect()
    };
    assert_eq!(offsets(&list(&site, "")), vec![first.to_string(); 4]);
    let whole = site.archive.path().join("s/v/2026-11-20T10/00:00.000000-2.000-full-x.ts");
    let served = |bytes: Option<&[u8]>| {
        let served = Site::at("2026-11-22T00:00:00");
        for file in fs::read_dir(whole.parent().expect("an hour")).expect("files").flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            let own = fs::read(file.path()).expect("a segment");
            let bytes = if file.path() == whole { bytes } else { Some(&*own) };
            let path = format!("s/v/2026-11-20T10/{name}");
            if let Some(bytes) = bytes {
                served.write(&path, bytes);
            } else {
                // It is listed, and cannot be opened any more.
                served.write(&path, b"");
                let path = served.archive.path().join(&path);
                fs::remove_file(&path).expect("delete it");
                std::os::unix::fs::symlink("/nowhere/at/all", &path).expect("a link");
            }
        }
        list(&served, "")
    };
    for bytes in [Some(&b"no transport stream"[..]), Some(b""), None] {
        let text = served(bytes);
        let count = if bytes.is_some() { 4 } else { 3.max(offsets(&text).len()) };
        assert_eq!(offsets(&text), vec![second.to_string(); count], "{text}");
    }
}

#[test]
fn each_of_two_staggered_recorders_keeps_its_offset() {
    let site = Site::at("2026-11-22T00:00:00");
    record(&site, "2026-11-20T10:00:00", 4, 0);
    record(&site, "2026-11-20T10:00:01", 4, 700_000);
    let (one, other) = (offset("2026-11-20T10:00:00", 0), offset("2026-11-20T10:00:01", 700_000));
    let rows = [
        ("&end=2026-11-20T10:00:04", format!("map 10:00:00 10:00:00+{one} 10:00:02+{one}")),
        // A range that begins with a segment of the other one.
        (
            "&start=2026-11-20T10:00:04&end=2026-11-20T10:00:07",
            format!("map 10:00:01 10:00:03+{other} 10:00:05+{other}"),
        ),
    ];
    for (range, expected) in rows {
        assert_eq!(outline(&list(&site, range)), expected, "{range}");
    }
}

#[test]
fn a_window_begins_with_the_section_of_a_segment_before_it_and_updates_repeat_it() {
    let site = Site::at("2026-11-20T10:30:00");
    record(&site, "2026-11-20T10:00:00", 900, 12_345);
    let ten = offset("2026-11-20T10:00:00", 12_345);
    let whole = list(&site, "&start=-20m");
    assert!(whole.contains("#EXT-X-SERVER-CONTROL:CAN-SKIP-UNTIL=12\n"), "{whole}");
    assert!(outline(&whole).starts_with(&format!("map 10:00:00 10:10:00+{ten} ")), "{whole}");
    assert_eq!(whole.matches("#EXT-X-MAP").count(), 1);
    for query in ["&start=-20m&_HLS_skip=YES", "&start=2026-11-20T10:10:00&_HLS_skip=YES"] {
        let update = list(&site, query);
        assert!(update.contains("#EXT-X-VERSION:9\n"), "{update}");
        let skipped = update.split_once("SKIPPED-SEGMENTS=").expect("a tag").1;
        let skipped: usize = skipped.lines().next().expect("a number").parse().expect("a number");
        let (all, repeated) = (entries(&whole), entries(&update));
        assert_eq!(skipped + repeated.len(), 600);
        for (entry, other) in all[skipped..].iter().zip(&repeated) {
            assert_eq!((&entry.init, &entry.fragment), (&other.init, &other.fragment));
        }
    }
    // Later the window has left these entries; those that stay keep their addresses.
    let before: BTreeMap<_, _> =
        entries(&whole).into_iter().map(|entry| (entry.fragment, entry.init)).collect();
    record(&site, "2026-11-20T10:30:00", 30, 12_345 + 900 * 180_000);
    site.set_clock("2026-11-20T10:31:00");
    let later = entries(&list(&site, "&start=-20m"));
    assert_eq!(later.iter().filter(|entry| before.get(&entry.fragment) == Some(&entry.init)).count(), 570);
}

#[test]
fn a_list_of_hevc_is_of_fragments_by_itself_and_others_are_when_asked_for() {
    let site = Site::at("2026-11-22T00:00:00");
    let hevc = "-c:v libx265 -preset ultrafast -x265-params log-level=error -c:a aac";
    for (name, stream, codecs) in
        [("fmp4-list-hevc", "h", hevc), ("fmp4-list-h264", "s", footage::PLAIN.codecs)]
    {
        let footage = footage::make(&FootageKind { name, seconds: 2, codecs, ..footage::PLAIN });
        let bytes = fs::read(&footage.segments[0].path).expect("a segment");
        site.write(&format!("{stream}/v/2026-11-20T10/00:00-2-full-x.ts"), &bytes);
    }
    let rows = [
        ("s", "", "v.m3u8"),
        ("s", "?container=fmp4", "v.m3u8?container=fmp4"),
        ("s", "?container=ts", "v.m3u8?container=ts"),
        ("s", "?start=2026-11-20&container=fmp4", "v.m3u8?start=2026-11-20&container=fmp4"),
        ("s", "?start=now-3d&container=fmp4", "v.m3u8?start=now-3d&anchor=2026-11-20T10&container=fmp4"),
        ("h", "", "v.m3u8?container=fmp4"),
        ("h", "?start=2026-11-20", "v.m3u8?start=2026-11-20&container=fmp4"),
        ("h", "?container=ts", "v.m3u8?container=ts"),
    ];
    for (stream, query, uri) in rows {
        let answer = site.get(&format!("/playlist/{stream}.m3u8{query}"));
        assert_eq!(answer.text().lines().next_back(), Some(&*format!("{stream}/{uri}")), "{query}");
        let media = site.get(&format!("/playlist/{stream}/{uri}"));
        assert_eq!(media.status, 200, "{}", media.text());
        assert_eq!(media.text().contains("#EXT-X-MAP"), uri.contains("fmp4"), "{uri}");
    }
    let (plain, fragments) = (site.get("/playlist/s/v.m3u8"), site.get("/playlist/s/v.m3u8?container=fmp4"));
    assert_ne!(plain.header("etag"), fragments.header("etag"));
    for target in ["/playlist/s.m3u8?container=mp4", "/playlist/s/v.m3u8?container="] {
        let answer = site.get(target);
        assert_eq!(answer.status, 400);
        assert!(answer.text().contains("expected `ts` or `fmp4`"), "{}", answer.text());
    }
}

#[test]
fn fragments_stay_on_this_server_when_another_one_has_the_segments() {
    let base = tempfile::tempdir().expect("a directory");
    let hour = base.path().join("s/v/2026-11-20T10");
    fs::create_dir_all(&hour).expect("an hour");
    fs::write(hour.join("00:00-2-full-x.ts"), segment(0)).expect("a segment");
    let served = Served::over(base.path(), &["--segments-url", "https://example.org/segments"]);
    let get = |query: &str| ask(served.address, "GET", &format!("/playlist/s/v.m3u8{query}"), &[]).text();
    assert!(get("").contains("\nhttps://example.org/segments/s/v/"));
    let fragments = get("?container=fmp4");
    assert!(!fragments.contains("example.org") && fragments.contains("\n../../fmp4/s/v/"), "{fragments}");
}
