//! Live windows of archives that lose files, get them back, or have odd times: no number is negative, and none goes back.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use crate::harness::Site;

/// An archive whose variant `s/v` has segments of 10 s in the hours before 2026-11-20T15.
fn site(hours: std::ops::Range<u32>) -> Site {
    let site = Site::at("2026-11-20T15:00:00");
    for hour in hours {
        fill(&site, hour, 0..360);
    }
    site
}

fn fill(site: &Site, hour: u32, tens: std::ops::Range<u32>) {
    for ten in tens {
        let name = format!("{:02}:{:02}.0-10.0-full-x.ts", ten / 6, ten % 6 * 10);
        site.write(&format!("s/v/2026-11-20T{hour:02}/{name}"), b"");
    }
}

fn hour(site: &Site, hour: u32) -> PathBuf {
    site.archive.path().join(format!("s/v/2026-11-20T{hour:02}"))
}

/// The entries of a window by their URIs: media sequence number and discontinuity sequence number.
type Entries = BTreeMap<String, (i64, i64)>;

/// The first number and the entries of a window.
fn window(site: &Site, query: &str) -> (i64, Entries) {
    let answer = site.get(&format!("/playlist/s/v.m3u8?{query}"));
    let text = answer.text();
    assert_eq!(answer.status, 200, "{query}: {text}");
    let number = |tag: &str| -> i64 {
        let line = text.lines().find_map(|line| line.strip_prefix(tag)).expect(tag);
        line.parse().expect(tag)
    };
    let first = number("#EXT-X-MEDIA-SEQUENCE:");
    let mut next = (first, number("#EXT-X-DISCONTINUITY-SEQUENCE:"));
    assert!(next.0 >= 0 && next.1 >= 0, "{query}: a negative number in {text}");
    let mut entries = Entries::new();
    for line in text.lines() {
        next.1 += i64::from(line == "#EXT-X-DISCONTINUITY");
        if !line.starts_with('#') {
            entries.insert(line.to_owned(), next);
            next.0 += 1;
        }
    }
    (first, entries)
}

/// What happens to an archive, and its name.
type Event = (&'static str, fn(&Site));

#[test]
fn no_number_goes_back_whatever_is_deleted_or_restored() {
    let events: [Event; 9] = [
        ("an hour in the middle is deleted", |site| fs::remove_dir_all(hour(site, 12)).expect("gone")),
        ("nothing", |_| ()),
        ("it is restored", |site| fill(site, 12, 0..360)),
        ("the newest hour is deleted", |site| fs::remove_dir_all(hour(site, 14)).expect("gone")),
        ("it is restored in part", |site| fill(site, 14, 0..100)),
        ("an hour in the middle is thinned out", |site| thin_out(site, 13, 3)),
        ("the oldest hour is thinned out", |site| thin_out(site, 10, 5)),
        ("the oldest hour is deleted", |site| fs::remove_dir_all(hour(site, 10)).expect("gone")),
        ("all but the newest hours are deleted", |site| {
            (11..14).for_each(|old| fs::remove_dir_all(hour(site, old)).expect("gone"));
        }),
    ];
    for query in ["start=-4h", "start=-6h", "start=-4h&anchor=2026-11-20T10", "start=-100000d"] {
        let site = site(10..15);
        let (mut first, mut before) = window(&site, query);
        for (name, event) in events {
            event(&site);
            let (now_first, now) = window(&site, query);
            assert!(now_first >= first, "{query}: {name}: {first} becomes {now_first}");
            for (uri, number) in &now {
                let known = before.get(uri).unwrap_or(number);
                assert!(number.0 >= known.0, "{query}: {name}: {uri} had {known:?}, now {number:?}");
                before.insert(uri.clone(), *number);
            }
            let end = |entries: &Entries| entries.values().map(|number| number.0).max();
            assert!(end(&now) >= end(&before), "{query}: {name}: the end goes back");
            first = now_first;
        }
    }
}

fn thin_out(site: &Site, of: u32, each: usize) {
    let mut files: Vec<_> =
        fs::read_dir(hour(site, of)).expect("an hour").map(|file| file.expect("a file").path()).collect();
    files.sort();
    for file in files.iter().skip(each).step_by(each) {
        fs::remove_file(file).expect("a segment");
    }
}

#[test]
fn a_late_segment_that_replaces_withheld_ones_moves_no_number() {
    let site = site(15..15);
    site.set_clock("2026-11-20T14:10:10");
    fill(&site, 14, 0..60);
    let shown = window(&site, "start=-1h");
    site.write("s/v/2026-11-20T14/10:05.0-1.0-partial-x.ts", b"");
    site.write("s/v/2026-11-20T14/10:06.0-1.0-partial-x.ts", b"");
    assert_eq!(window(&site, "start=-1h"), shown, "both are withheld");
    site.write("s/v/2026-11-20T14/10:05.0-2.0-full-x.ts", b"");
    assert_eq!(window(&site, "start=-1h"), shown, "one is withheld in their place");
}

#[test]
fn a_window_stays_long_where_an_hour_without_segments_follows_a_deleted_one() {
    let site = site(10..12);
    fs::create_dir_all(hour(&site, 12)).expect("an hour");
    fill(&site, 13, 0..360);
    let (_, before) = window(&site, "start=now-4h");
    assert_eq!(before.len(), 720);
    fs::remove_dir_all(hour(&site, 10)).expect("gone");
    fs::remove_dir_all(hour(&site, 11)).expect("gone");
    let (_, after) = window(&site, "start=now-4h");
    assert_eq!(after.len(), 360);
    assert!(after.iter().all(|(uri, number)| before.get(uri) == Some(number)), "they keep their numbers");
}

#[test]
fn numbers_of_odd_times_are_not_negative_and_not_of_the_future() {
    let now = 1_795_186_800;
    let queries = ["start=now-2h", "start=now-100000d", "start=now%2B100000d"];
    for path in [
        "1969-12-31T19/00:00.0-10.0-full-x.ts",
        "0001-01-01T00/00:00.0-10.0-full-x.ts",
        "2026-11-20T14/59:58.0-2.0-full-x.ts",
        "2026-11-20T14/unparsable",
        "2030-11-20T14/00:00.0-10.0-full-x.ts",
        "9999-12-31T23/59:59.0-4294.0-full-x.ts",
    ] {
        let site = site(15..15);
        site.write(&format!("s/v/{path}"), b"");
        for query in queries {
            let (first, _) = window(&site, query);
            assert!((0..=now).contains(&first), "{path}: {query}: {first}");
        }
    }
}

#[test]
fn a_window_is_the_same_however_its_start_is_written() {
    let site = site(10..15);
    let query = |start: &str| window(&site, &format!("start={start}"));
    let first = query("-2h");
    fill(&site, 15, 0..100);
    site.set_clock("2026-11-20T15:20:00");
    let now = query("-2h");
    assert_ne!(now, first);
    for start in ["live-2h", "-120m", "-7200", "-0000000002h", "-2.000h"] {
        assert_eq!(query(start), now, "{start}");
    }
}

#[test]
fn a_multivariant_playlist_gives_each_variant_an_anchor_that_it_has() {
    let site = site(10..15);
    site.write("s/late/2026-11-20T14/00:00.0-10.0-full-x.ts", b"");
    let anchors = |hour: &str| {
        let text = site.get(&format!("/playlist/s.m3u8?start=-4h&anchor=2026-11-20T{hour}")).text();
        let uris = text.lines().filter(|line| !line.starts_with('#'));
        for uri in uris.clone() {
            assert_eq!(site.get(&format!("/playlist/{uri}")).status, 200, "{uri}");
        }
        let mut anchors: Vec<_> =
            uris.map(|uri| uri.replace(".m3u8?start=-4h&anchor=2026-11-20T", " ")).collect();
        anchors.sort();
        anchors.join(", ")
    };
    let rows = [("10", "s/late 14, s/v 10"), ("09", "s/late 14, s/v 11"), ("14", "s/late 14, s/v 11")];
    for (hour, expected) in rows {
        assert_eq!(anchors(hour), expected, "{hour}");
    }
}
