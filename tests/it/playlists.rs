//! Media and multivariant playlists: their segments, when they are finished, and which segments are withheld.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::footage::ffmpeg;
use crate::harness::{Answer, Site, ask, target_of, wait_until};
use restreamer::timestamp::{Span, Timestamp};

const HOUR: &str = "s/v/2026-11-20T10";

/// The starts of a playlist's segments, in seconds of the hour; `|` is a discontinuity, `.` the end tag.
fn outline(playlist: &str) -> String {
    assert!(
        !playlist.contains("#EXT-X-PLAYLIST-TYPE"),
        "a playlist may change when a gap is filled: {playlist}"
    );
    let mut parts = Vec::new();
    for line in playlist.lines() {
        if line == "#EXT-X-DISCONTINUITY" {
            parts.push("|".to_owned());
        } else if line == "#EXT-X-ENDLIST" {
            parts.push(".".to_owned());
        } else if let Some((_, name)) = line.rsplit_once('/').filter(|_| !line.starts_with('#')) {
            let (minutes, rest) = name.split_once("%3A").expect("a colon");
            let seconds: u32 = rest[..2].parse().expect("seconds");
            parts.push((minutes.parse::<u32>().expect("minutes") * 60 + seconds).to_string());
        }
    }
    parts.join(" ")
}

/// Writes two-second segments at these seconds of the hour.
fn record(site: &Site, seconds: &[u32]) {
    for second in seconds {
        write(site, *second, "full");
    }
}

fn write(site: &Site, second: u32, kind: &str) {
    site.write(&format!("{HOUR}/{:02}:{:02}.000-2.000-{kind}-x.ts", second / 60, second % 60), b"");
}

fn playlist(site: &Site, query: &str) -> Answer {
    let answer = site.get(&format!("/playlist/s/v.m3u8{query}"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), "application/vnd.apple.mpegurl");
    assert_eq!(answer.header("vary"), "Accept-Encoding");
    answer
}

#[test]
fn a_past_range_is_a_finished_playlist_with_a_discontinuity_at_each_gap() {
    let site = Site::at("2026-11-22T00:00:00");
    record(&site, &[0, 2, 4, 10, 12]);
    let rows = [
        ("", "0 2 4 | 10 12 ."),
        ("?start=2026-11-20T10:00:03", "2 4 | 10 12 ."),
        ("?start=2026-11-20T10:00:03&end=2026-11-20T10:00:04", "2 ."),
        ("?start=2026-11-20T10:00:06&end=2026-11-20T10:00:12", "10 ."),
        ("?start=2026-11-20T10:00:06&end=2026-11-20T10:00:10", "."),
        ("?start=2026-11-20T10:00:04&end=2026-11-20T10:00:04", "."),
        ("?start=2026-11-20T10:00:05&end=2026-11-20T10:00:04", "."),
        ("?start=0001-01-01T00&end=9999-01-01T00", "0 2 4 | 10 12"),
        ("?start=0001-01-01T00&end=2026-11-21", "0 2 4 | 10 12 ."),
        ("?start=2026-11-20T12:00:03%2B02:00&end=2026-11-20T12:00:04+02:00", "2 ."),
    ];
    for (query, expected) in rows {
        let answer = playlist(&site, query);
        assert_eq!(outline(&answer.text()), expected, "{query}");
        let is_finished = expected.ends_with('.');
        assert_eq!(
            answer.header("cache-control"),
            if is_finished { "max-age=60" } else { "max-age=1" },
            "{query}"
        );
    }
}

#[test]
fn a_playlist_is_live_until_its_range_is_covered_or_long_past() {
    let site = Site::at("2026-11-20T10:01:00");
    record(&site, &[0, 2, 4]);
    let rows = [
        ("2026-11-20T10:01:00", "10:00:06", "0 2 4 ."),
        ("2026-11-20T10:01:00", "10:00:06.001", "0 2 4"),
        ("2026-11-20T10:05:06", "10:00:06.001", "0 2 4"),
        ("2026-11-20T10:05:06.001", "10:00:06.001", "0 2 4"),
        ("2026-11-20T10:05:06.002", "10:00:06.001", "0 2 4 ."),
    ];
    for (now, end, expected) in rows {
        site.set_clock(now);
        let query = format!("?start=2026-11-20T10&end=2026-11-20T{end}");
        assert_eq!(outline(&playlist(&site, &query).text()), expected, "{now} {end}");
    }
    // Without `end` the range ends one hour after the last hour, and five minutes later the playlist is finished.
    site.set_clock("2026-11-20T12:05:00");
    assert_eq!(outline(&playlist(&site, "").text()), "0 2 4");
    site.set_clock("2026-11-20T12:05:00.001");
    assert_eq!(outline(&playlist(&site, "").text()), "0 2 4 .");
}

#[test]
fn a_segment_after_a_recent_gap_is_withheld() {
    let site = Site::at("2026-11-20T10:00:14.999");
    record(&site, &[0, 2, 6, 8]);
    let query = "?start=2026-11-20T10&end=2026-11-20T10:00:10";
    let young = playlist(&site, query);
    assert_eq!(outline(&young.text()), "0 2");
    site.set_clock("2026-11-20T10:00:20.999");
    assert_eq!(outline(&playlist(&site, query).text()), "0 2");
    let unchanged = [("If-None-Match", young.header("etag"))];
    let target = format!("/playlist/s/v.m3u8{query}");
    assert_eq!(ask(site.address, "GET", &target, &unchanged).status, 304);
    // The hour has not changed, but the gap is old enough now: the withheld segments are published.
    site.set_clock("2026-11-20T10:00:21");
    assert_eq!(ask(site.address, "GET", &target, &unchanged).status, 200);
    assert_eq!(outline(&playlist(&site, query).text()), "0 2 | 6 8 .");

    // A late segment fills the gap before the segments behind it are published.
    site.set_clock("2026-11-20T10:00:18");
    write(&site, 4, "full");
    assert_eq!(outline(&playlist(&site, query).text()), "0 2 4 6 8 .");
}

#[test]
fn a_recent_gap_at_the_start_also_withholds_segments() {
    let site = Site::at("2026-11-20T10:00:10");
    record(&site, &[2, 4]);
    let query = "?start=2026-11-20T10&end=2026-11-20T10:00:06";
    assert_eq!(outline(&playlist(&site, query).text()), "");
    site.set_clock("2026-11-20T10:00:17");
    assert_eq!(outline(&playlist(&site, query).text()), "2 4 .");
}

#[test]
fn a_recent_segment_that_is_not_full_is_withheld() {
    for kind in ["suspect", "partial"] {
        let site = Site::at("2026-11-20T10:00:18.999");
        record(&site, &[0]);
        write(&site, 2, kind);
        write(&site, 4, "full");
        let query = "?start=2026-11-20T10&end=2026-11-20T10:00:06";
        assert_eq!(outline(&playlist(&site, query).text()), "0", "{kind}");
        site.set_clock("2026-11-20T10:00:19");
        assert_eq!(outline(&playlist(&site, query).text()), "0 2 | 4 .", "{kind}");
    }
    let site = Site::at("2026-11-22T00:00:00");
    write(&site, 0, "temp");
    assert_eq!(outline(&playlist(&site, "").text()), ".");
}

#[test]
fn the_target_duration_does_not_change_while_a_playlist_grows() {
    let site = Site::at("2026-11-20T10:30:00");
    site.write("s/v/2026-11-20T10/00:00.000-2.002-full-x.ts", b"");
    let target = |query: &str| {
        let text = playlist(&site, query).text();
        let line =
            text.lines().find_map(|line| line.strip_prefix("#EXT-X-TARGETDURATION:")).map(str::to_owned);
        line.expect("a target duration")
    };
    assert_eq!(target("?start=2026-11-20T10&end=2026-11-20T11"), "3");
    assert_eq!(target("?start=2026-11-20T10:15&end=2026-11-20T11"), "3", "an empty list in a visited hour");
    assert_eq!(target("?start=2026-11-20T15&end=2026-11-20T16"), "3", "an empty list of hours to come");
    std::fs::create_dir_all(site.archive.path().join("s/new/2026-11-20T10")).expect("an empty hour");
    let empty = site.get("/playlist/s/new.m3u8").text();
    assert!(empty.contains("#EXT-X-TARGETDURATION:6\n"), "{empty}");
}

#[test]
fn a_404_names_what_is_missing() {
    let site = Site::at("2026-11-22T00:00:00");
    std::fs::create_dir_all(site.archive.path().join("s/empty")).expect("a variant");
    let rows = [
        (
            "/playlist/s/nope.m3u8",
            "there is no variant `nope` of a stream `s`; `/files/s` lists what there is\n",
        ),
        ("/playlist/s/empty.m3u8", "nothing has been recorded of variant `empty` of stream `s`\n"),
        ("/playlist/nope.m3u8", "there is no stream `nope`; `/files` lists what there is\n"),
        ("/cut/s/nope.ts?start=2026-11-20&end=2026-11-21", "there is no variant `nope` of a stream `s`\n"),
    ];
    for (target, text) in rows {
        let answer = site.get(target);
        assert_eq!((answer.status, answer.text().as_str()), (404, text), "{target}");
    }
}

#[test]
fn names_are_encoded_in_playlists() {
    let site = Site::at("2026-11-22T00:00:00");
    site.write("a b/c\"d\n%/2026-11-20T10/00:00.000-2.000-full-x.ts", b"xx");
    let list = site.get("/playlist/a%20b/c%22d%0A%25.m3u8").text();
    assert!(
        list.contains("\n../../segments/a%20b/c%22d%0A%25/2026-11-20T10/00%3A00.000-2.000-full-x.ts\n"),
        "{list}"
    );
    let uri = list.lines().find(|line| !line.starts_with('#')).expect("a segment");
    assert_eq!(site.get(&target_of(uri)).text(), "xx");

    let list = site.get("/playlist/a%20b.m3u8?start=2026-11-20T10:00:00%2B00:00").text();
    assert!(list.contains("NAME=\"c%22d%0A%25\""), "{list}");
    let uri = list.lines().last().expect("a variant");
    assert_eq!(uri, "a%20b/c%22d%0A%25.m3u8?start=2026-11-20T10%3A00%3A00%2B00%3A00");
    assert_eq!(site.get(&format!("/playlist/{uri}")).status, 200);
}

#[test]
fn variants_outside_the_range_and_chat_are_omitted() {
    let site = Site::at("2026-11-22T00:00:00");
    for (variant, hour, size) in
        [("early", "09", 100), ("late", "11", 300), ("chat", "11", 1), ("both", "09", 200)]
    {
        site.write(&format!("s/{variant}/2026-11-20T{hour}/00:00.000-2.000-full-x.ts"), &vec![0; size]);
    }
    site.write("s/both/2026-11-20T11/00:00.000-1.000-full-x.ts", &[0; 200]);
    std::fs::create_dir_all(site.archive.path().join("s/none")).expect("a variant without hours");
    let variants = |query: &str| {
        let text = site.get(&format!("/playlist/s.m3u8{query}")).text();
        let names = text.lines().filter_map(|line| line.strip_prefix("s/")?.split_once(".m3u8"));
        names.map(|(name, _)| name.to_owned()).collect::<Vec<_>>().join(" ")
    };
    for (query, expected) in [
        ("", "both late early"),
        ("?start=2026-11-20T10:00", "both late"),
        ("?start=2026-11-20T09:59", "both late early"),
        ("?end=2026-11-20T11:00", "both early"),
        ("?end=2026-11-20T11:00:01", "both late early"),
        ("?start=2026-11-20T12:00", ""),
        ("?end=2026-11-20T09:00", ""),
    ] {
        assert_eq!(variants(query), expected, "{query}");
    }
    let text = site.get("/playlist/s.m3u8").text();
    assert!(text.contains("BANDWIDTH=1600,AVERAGE-BANDWIDTH=1067,VIDEO=\"both\",NAME=\"both\"\n"), "{text}");
    assert!(!text.contains("CODECS"), "zeros have no codecs: {text}");
}

#[test]
fn codecs_are_read_from_segments_or_by_ffprobe() {
    let site = Site::at("2026-11-22T00:00:00");
    let rows = [
        ("common", "-c:v libx264 -preset ultrafast -profile:v baseline -c:a aac", "avc1.42C00D,mp4a.40.2"),
        ("rare", "-c:v mpeg2video -c:a mp2", "mp4v.61,mp4a.40.33"),
    ];
    for (stream, codecs, name) in rows {
        let video = ["-v", "error", "-f", "lavfi", "-i", "testsrc2=s=320x180:r=30000/1001:d=1"];
        let sound = ["-f", "lavfi", "-i", "sine=d=1"];
        let codecs: Vec<&str> = codecs.split(' ').collect();
        let args = [&video[..], &sound, &codecs, &["-pix_fmt", "yuv420p", "-f", "mpegts", "-"]].concat();
        site.write(&format!("{stream}/v/2026-11-20T10/00:00.000-1.000-full-x.ts"), &ffmpeg(&args));
        let text = || site.get(&format!("/playlist/{stream}.m3u8")).text();
        let expected = format!(",CODECS=\"{name}\",RESOLUTION=320x180,FRAME-RATE=29.970,VIDEO=");
        wait_until(&expected, || text().contains(&expected));
    }
}

#[test]
fn a_long_playlist_is_streamed_with_the_same_text() {
    let site = Site::at("2026-11-22T00:00:00");
    let mut expected = 0;
    for hour in ["08", "09", "10"] {
        for index in 0..1800 {
            let (minute, second) = (index / 30, index % 30 * 2);
            let name = format!("{minute:02}:{second:02}.000-2.000-full-x.ts");
            let path = site.archive.path().join(format!("s/v/2026-11-20T{hour}/{name}"));
            std::fs::create_dir_all(path.parent().expect("an hour")).expect("an hour");
            std::fs::write(path, b"").expect("a segment");
            expected += 1;
        }
    }
    let long = playlist(&site, "");
    assert_eq!((long.header("transfer-encoding"), long.whole), ("chunked", true));
    let text = long.text();
    assert_eq!(text.lines().filter(|line| line.starts_with("../../segments/")).count(), expected);
    assert!(text.ends_with("#EXT-X-ENDLIST\n") && !text.contains("DISCONTINUITY"), "{text:.300}");
    let short = playlist(&site, "?end=2026-11-20T09:00");
    assert!(
        !short.header("content-length").is_empty()
            && text.contains(short.text().lines().nth(6).expect("a line"))
    );
    let zipped = ask(site.address, "GET", "/playlist/s/v.m3u8", &[("Accept-Encoding", "gzip")]);
    assert!(zipped.header("content-encoding") == "gzip" && zipped.body.len() < text.len() / 2);
    let mut decoder = flate2::read::GzDecoder::new(&zipped.body[..]);
    assert_eq!(std::io::read_to_string(&mut decoder).expect("gzip"), text);
    assert_eq!(ask(site.address, "HEAD", "/playlist/s/v.m3u8", &[]).header("etag"), long.header("etag"));
    let unchanged = [("If-None-Match", long.header("etag"))];
    assert_eq!(ask(site.address, "GET", "/playlist/s/v.m3u8", &unchanged).status, 304);
}

#[test]
fn equal_archives_have_equal_entity_tags() {
    let sites = [Site::at("2026-11-22T00:00:00"), Site::at("2026-11-22T00:00:00")];
    for site in &sites {
        record(site, &[0, 2, 4]);
    }
    for target in
        ["/files", "/files/s/v", "/files/s/v/2026-11-20T10", "/playlist/s.m3u8", "/playlist/s/v.m3u8"]
    {
        let [one, other] = sites.each_ref().map(|site| site.get(target).header("etag").to_owned());
        assert!(one.starts_with("W/\"") && one == other, "{target}: {one} and {other}");
    }
}

#[test]
fn a_live_playlist_never_removes_an_entry() {
    let site = Site::at("2026-11-20T10:00:00");
    std::fs::create_dir_all(site.archive.path().join(HOUR)).expect("an hour");
    let (done, polls) = (AtomicBool::new(false), AtomicUsize::new(0));
    let query = "?start=2026-11-20T10&end=2026-11-20T10:10";
    thread::scope(|scope| {
        scope.spawn(|| {
            // A recorder whose segments are late and out of order: each block of five is written backwards, within the
            // time for which segments behind a gap are withheld. Some are `suspect` first, some are missing.
            for block in 0..40_u32 {
                // The reader polls at least once in between, however slow the machine is.
                if block % 8 == 7 {
                    let before = polls.load(Ordering::SeqCst);
                    wait_until("the reader polls", || polls.load(Ordering::SeqCst) > before);
                }
                for step in (0..5).rev() {
                    let second = block * 10 + step * 2;
                    let now = Timestamp::parse("2026-11-20T10").expect("a time")
                        + Span::from_secs(i64::from(block) * 10 + 12);
                    site.set_clock(&now.to_string());
                    if second % 14 == 4 {
                        write(&site, second, "suspect");
                    }
                    if second % 46 != 6 {
                        write(&site, second, "full");
                    }
                }
                // Lets the reader see more than the first and the last state.
                thread::sleep(Duration::from_millis(5));
            }
            site.set_clock("2026-11-20T10:07:30");
            done.store(true, Ordering::SeqCst);
        });
        let mut seen: Vec<String> = Vec::new();
        loop {
            let last = done.load(Ordering::SeqCst);
            let text = playlist(&site, query).text();
            assert!(!text.contains("#EXT-X-ENDLIST"), "{text}");
            let lines: Vec<String> = text.lines().map(str::to_owned).collect();
            assert!(lines.starts_with(&seen), "{seen:#?} became {lines:#?}");
            seen = lines;
            polls.fetch_add(1, Ordering::SeqCst);
            if last {
                break;
            }
        }
        let segments = seen.iter().filter(|line| line.starts_with("../../segments/")).count();
        let polls = polls.load(Ordering::SeqCst);
        assert!(segments > 180 && polls > 3, "{segments} segments in {polls} polls");
    });
}

#[test]
fn a_rough_cut_concatenates_the_segments() {
    let site = Site::at("2026-11-22T00:00:00");
    for (second, byte) in [(0, b'a'), (2, b'b'), (4, b'c'), (10, b'd')] {
        site.write(&format!("{HOUR}/00:{second:02}.000-2.000-full-x.ts"), &[byte; 3]);
    }
    let cut = |query: &str| site.get(&format!("/cut/s/v.ts?type=rough&{query}"));
    let answer = cut("start=2026-11-20T10:00:01&end=2026-11-20T10:00:06");
    assert_eq!((answer.status, answer.text().as_str()), (200, "aaabbbccc"));
    for (name, value) in [
        ("content-type", "video/mp2t"),
        ("content-length", "9"),
        ("content-disposition", "attachment; filename=\"s_v_2026-11-20T10-00-01.000000Z.ts\""),
        ("cache-control", "no-store"),
        ("x-cut-start", "2026-11-20T10:00:00.000000Z"),
        ("x-cut-end", "2026-11-20T10:00:06.000000Z"),
        ("x-cut-segments", "3"),
        ("x-cut-holes", "0"),
    ] {
        assert_eq!(answer.header(name), value, "{name}");
    }
    let nothing = "We have no content available within the requested time range.\n";
    for (query, status, text) in [
        ("start=2026-11-20T10:00:06&end=2026-11-20T10:00:10&allow_holes=true", 406, nothing),
        ("start=2026-11-20T10:00:05&end=2026-11-20T10:00:11&allow_holes=true", 200, "cccddd"),
    ] {
        let answer = cut(query);
        assert_eq!((answer.status, answer.text().as_str()), (status, text), "{query}");
    }
    let head =
        ask(site.address, "HEAD", "/cut/s/v.ts?type=rough&start=2026-11-20T10&end=2026-11-20T10:00:06", &[]);
    assert_eq!((head.status, head.header("content-length"), head.header("x-cut-segments")), (200, "9", "3"));
}

#[test]
fn a_cut_with_holes_says_where_the_first_is_and_how_long_all_are() {
    let site = Site::at("2026-11-20T12:00:00");
    for name in ["00:00.000-2.000-full-x", "00:02.000-2.000-full-x", "00:10.000-2.000-full-x"] {
        site.write(&format!("{HOUR}/{name}.ts"), b"x");
    }
    for name in ["00:00.000-2.000-partial-x", "00:01.500-2.000-full-x", "00:05.000-1.000-suspect-x"] {
        site.write(&format!("s/truncated/2026-11-20T10/{name}.ts"), b"x");
    }
    let rows = [
        ("v", ("10:00:01", "10:00:07"), ("10:00:04.000000", "10:00:07.000000"), "3.000"),
        ("v", ("09:59:59", "10:00:04"), ("09:59:59.000000", "10:00:00.000000"), "1.000"),
        ("v", ("10:00:01", "10:00:11"), ("10:00:04.000000", "10:00:10.000000"), "6.000"),
        ("v", ("09:59:59.5", "10:00:12.25"), ("09:59:59.500000", "10:00:00.000000"), "6.750"),
        // What a truncated segment lacks is unknown.
        ("truncated", ("10:00:00", "10:00:02"), ("10:00:02.000000", "10:00:02.000000"), "0.000"),
        ("truncated", ("10:00:02", "10:00:06"), ("10:00:03.500000", "10:00:05.000000"), "1.500"),
    ];
    for (variant, (start, end), first, total) in rows {
        let range = format!("start=2026-11-20T{start}&end=2026-11-20T{end}");
        let text = format!(
            "Requested time range contains holes or is incomplete. The first hole is from 2026-11-20T{}Z to \
             2026-11-20T{}Z, all holes together last {total} s. With `allow_holes=true` the range is cut all the \
             same.\n",
            first.0, first.1
        );
        for cut_type in ["rough", "smart", "full"] {
            let target = format!("/cut/s/{variant}.ts?{range}&type={cut_type}");
            let answer = site.get(&target);
            assert_eq!((answer.status, answer.text()), (406, text.clone()), "{target}");
            assert_eq!(ask(site.address, "HEAD", &target, &[]).status, 406, "{target}");
        }
    }
}
