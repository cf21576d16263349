//! `/coverage/…`: requests and their responses. What is covered is tested in `coverage_model.rs`.

use std::fs;
use std::sync::Arc;

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use restreamer::archive::Archive;
use restreamer::archive::coverage::Coverage;
use serde_json::{Value, json};

use crate::harness::{Site, ask, time};
use crate::selection::NAME;

/// A stream with two variants and a chat.
fn site() -> Site {
    let site = Site::at("2026-11-22T00:00:00");
    for path in [
        "s/a/2026-11-20T10/59:50.000-5.000-full-x.ts",
        "s/a/2026-11-20T10/59:55.000-5.000-full-x.ts",
        "s/a/2026-11-20T11/00:00.000-5.000-partial-x.ts",
        "s/a/2026-11-20T11/00:05.000-5.000-full-x.ts",
        "s/a/2026-11-20T11/00:20.500-9.500-suspect-x.ts",
        "s/a/2026-11-20T11/00:40.000-5.000-temp-x.ts",
        "s/b/2026-11-20T11/00:08.000-4.000-full-x.ts",
        "s/b/2026-11-20T11/00:30.000-5.000-full-x.ts",
        "s/chat/2026-11-20T11/x.json",
    ] {
        site.write(path, b"");
    }
    fs::create_dir_all(site.archive.path().join("s/empty")).expect("a directory");
    fs::create_dir_all(site.archive.path().join("s/hollow/2026-11-20T11")).expect("a directory");
    site
}

/// The times of 2026-11-20 in full: `10:59:50` is `2026-11-20T10:59:50.000000Z`.
fn at(text: &str) -> String {
    time(&format!("2026-11-20T{text}")).to_string()
}

fn coverage(
    span: (&str, &str),
    seconds: f64,
    ranges: &[(&str, &str, &str)],
    holes: &[(&str, &str)],
) -> Value {
    let range =
        |(start, end, kind): &(&str, &str, &str)| json!({"start": at(start), "end": at(end), "type": kind});
    let hole = |(start, end): &(&str, &str)| json!({"start": at(start), "end": at(end)});
    json!({
        "start": at(span.0),
        "end": at(span.1),
        "recorded_seconds": seconds,
        "ranges": ranges.iter().map(range).collect::<Vec<_>>(),
        "holes": holes.iter().map(hole).collect::<Vec<_>>(),
    })
}

fn parsed(site: &Site, target: &str) -> Value {
    let answer = site.get(target);
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, "application/json"),
        "{target}: {answer:?}"
    );
    serde_json::from_slice(&answer.body).expect("JSON")
}

#[test]
fn the_coverage_of_a_variant_has_ranges_and_holes() {
    let site = site();
    let all = coverage(
        ("10:59:50", "11:00:30"),
        29.5,
        &[
            ("10:59:50", "11:00:00", "full"),
            ("11:00:00", "11:00:05", "partial"),
            ("11:00:05", "11:00:10", "full"),
            ("11:00:20.5", "11:00:30", "suspect"),
        ],
        &[("11:00:10", "11:00:20.5")],
    );
    let scaled = coverage(
        ("10:59:50", "11:00:30"),
        29.5,
        &[("10:59:50", "11:00:10", "partial"), ("11:00:20.5", "11:00:30", "suspect")],
        &[("11:00:10", "11:00:20.5")],
    );
    let one = coverage(("10:59:50", "11:00:30"), 29.5, &[("10:59:50", "11:00:30", "partial")], &[]);
    let clipped = coverage(
        ("11:00:08", "11:01"),
        11.5,
        &[("11:00:08", "11:00:10", "full"), ("11:00:20.5", "11:00:30", "suspect")],
        &[("11:00:10", "11:00:20.5"), ("11:00:30", "11:01")],
    );
    let missing = coverage(("12:00", "13:00"), 0.0, &[], &[("12:00", "13:00")]);
    let nothing = coverage(("12:00", "12:00"), 0.0, &[], &[]);
    let backwards = coverage(("12:00", "11:00"), 0.0, &[], &[]);
    let rows = [
        ("", &all),
        ("?start=2026-11-20T10:59:50&end=2026-11-20T11:00:30&scale=0", &all),
        ("?scale=10.5", &scaled),
        ("?scale=10501ms", &one),
        ("?scale=1d", &one),
        ("?start=2026-11-20T11:00:08&end=2026-11-20T11:01", &clipped),
        ("?end=2026-11-20T11:01&duration=52s", &clipped),
        ("?start=2026-11-20T12&end=2026-11-20T13", &missing),
        ("?start=2026-11-20T12", &nothing),
        ("?start=2026-11-20T12&end=2026-11-20T11", &backwards),
    ];
    for (query, expected) in rows {
        assert_eq!(&parsed(&site, &format!("/coverage/s/a.json{query}")), expected, "{query}");
    }
    // The text itself: order, and times and seconds with all their digits.
    assert_eq!(
        site.get("/coverage/s/a.json?start=2026-11-20T11:00:25").text(),
        "{\"start\":\"2026-11-20T11:00:25.000000Z\",\"end\":\"2026-11-20T11:00:30.000000Z\",\"recorded_seconds\":5.000,\
         \"ranges\":[{\"start\":\"2026-11-20T11:00:25.000000Z\",\"end\":\"2026-11-20T11:00:30.000000Z\",\
         \"type\":\"suspect\"}],\"holes\":[]}"
    );
    // An hour without segments is a recording in which there is nothing yet.
    let hollow = coverage(("11:00", "11:00"), 0.0, &[], &[]);
    assert_eq!(parsed(&site, "/coverage/s/hollow.json"), hollow);
}

#[test]
fn the_coverage_of_a_stream_has_its_variants_and_where_any_has_something() {
    let site = site();
    fs::remove_dir_all(site.archive.path().join("s/hollow")).expect("remove a variant");
    let b = [("11:00:08", "11:00:12", "full"), ("11:00:30", "11:00:35", "full")];
    let expected = json!({
        "variants": {
            "a": parsed(&site, "/coverage/s/a.json"),
            "b": coverage(("11:00:08", "11:00:35"), 9.0, &b, &[("11:00:12", "11:00:30")]),
        },
        "any": coverage(
            ("10:59:50", "11:00:35"),
            36.5,
            &[
                ("10:59:50", "11:00:00", "full"),
                ("11:00:00", "11:00:05", "partial"),
                ("11:00:05", "11:00:12", "full"),
                ("11:00:20.5", "11:00:30", "suspect"),
                ("11:00:30", "11:00:35", "full"),
            ],
            &[("11:00:12", "11:00:20.5")],
        ),
    });
    assert_eq!(parsed(&site, "/coverage/s.json"), expected);
    // Of a range that is given, all variants tell what they lack.
    let given = parsed(&site, "/coverage/s.json?start=2026-11-20T11&duration=1h&scale=1h");
    for name in ["a", "b"] {
        assert_eq!(given["variants"][name]["start"], at("11:00"), "{given}");
        assert_eq!(given["variants"][name]["end"], at("12:00"), "{given}");
    }
    assert_eq!(given["any"]["ranges"].as_array().expect("ranges").len(), 1, "{given}");
}

#[test]
fn relative_ranges_are_resolved_and_named() {
    let site = site();
    site.set_clock("2026-11-20T12:00:00");
    let rows = [
        // The live end is that of the last full segment: of each variant its own.
        ("a.json?start=-5s&end=live", "11:00:05", "11:00:10"),
        ("b.json?start=-5s&duration=5s", "11:00:30", "11:00:35"),
        ("a.json?start=now-1h&end=now", "11:00", "12:00"),
        ("a.json?start=now-1h", "11:00", "11:00:30"),
        ("a.svg?end=live", "10:59:50", "11:00:10"),
    ];
    for (target, start, end) in rows {
        let answer = site.get(&format!("/coverage/s/{target}"));
        assert_eq!(answer.status, 200, "{target}");
        let shown = (answer.header("x-range-start"), answer.header("x-range-end"));
        assert_eq!(shown, (&*at(start), &*at(end)), "{target}");
        assert_eq!(answer.header("cache-control"), "max-age=1");
    }
    let of_all = site.get("/coverage/s.json?start=-5s&end=live");
    assert_eq!(of_all.header("x-range-start"), at("11:00:05"));
    assert_eq!(of_all.header("x-range-end"), at("11:00:35"));
    assert_eq!(site.get("/coverage/s/a.json").header("x-range-start"), "");
}

#[test]
fn a_young_segment_behind_a_gap_is_not_there_yet() {
    let site = site();
    for (now, end) in [("11:00:30", "11:00:12"), ("11:00:44.999999", "11:00:12"), ("11:00:45", "11:00:35")] {
        site.set_clock(&at(now));
        assert_eq!(parsed(&site, "/coverage/s/b.json")["end"], at(end), "{now}");
    }
}

#[test]
fn errors_say_what_would_be_right() {
    let site = site();
    let rows = [
        ("/coverage/s/a.json?scale=x", 400, "bad scale `x`: expected a length of time such as `30s`"),
        ("/coverage/s/a.svg?scale=-1", 400, "bad scale `-1`: expected a length of time such as `30s`"),
        ("/coverage/s/a.json?start=x", 400, "bad start `x`: expected a time such as"),
        ("/coverage/s/a.json?duration=5s", 400, "missing start or end"),
        ("/coverage/s/none.json", 404, "there is no variant `none` of a stream `s`"),
        ("/coverage/s/empty.json", 404, "nothing has been recorded of variant `empty` of stream `s`"),
        ("/coverage/s/hollow.json?start=-5s", 404, "nothing has been recorded of variant `hollow`"),
        ("/coverage/none.json", 404, "there is no stream `none`; `/files` lists what there is"),
        ("/coverage/none.svg", 404, "there is no stream `none`; `/files` lists what there is"),
        ("/coverage/t.json", 404, "nothing has been recorded of stream `t`"),
        ("/coverage/s/a", 404, "there is no such page; `/coverage/s/a.json` was probably meant"),
        ("/coverage/s/.a.json", 403, "Bad variant: May not start with a period"),
        (
            "/coverage/s/a.svg?start=2025-01-01&end=2026-02-05T00:00:01",
            400,
            "bad range `2025-01-01T00:00:00.000000Z to 2026-02-05T00:00:01.000000Z`: expected at most 400 days",
        ),
    ];
    fs::create_dir_all(site.archive.path().join("t/empty")).expect("a directory");
    for (target, status, text) in rows {
        let answer = site.get(target);
        assert_eq!(answer.status, status, "{target}: {answer:?}");
        assert!(answer.text().starts_with(text) && answer.text().lines().count() == 1, "{}", answer.text());
        assert_eq!(answer.header("access-control-allow-origin"), "*");
    }
    assert_eq!(site.get("/coverage/s/a.svg?start=2025-01-01&end=2026-02-05").status, 200);
}

#[test]
fn answers_are_conditional_compressed_and_have_heads() {
    let site = site();
    for hour in 12..22 {
        for minute in 0..5 {
            site.write(&format!("s/a/2026-11-20T{hour}/{minute:02}:00.000-5.000-full-x.ts"), b"");
        }
    }
    let targets = ["/coverage/s.json", "/coverage/s/a.json", "/coverage/s.svg", "/coverage/s/a.svg"];
    let mut tags = Vec::new();
    for target in targets {
        let answer = site.get(target);
        let tag = answer.header("etag").to_owned();
        assert!(tag.starts_with("W/\""), "{answer:?}");
        assert_eq!((answer.header("vary"), answer.header("cache-control")), ("Accept-Encoding", "max-age=1"));
        let unchanged = ask(site.address, "GET", target, &[("If-None-Match", &tag)]);
        assert_eq!((unchanged.status, unchanged.body.len()), (304, 0), "{target}");
        let head = ask(site.address, "HEAD", target, &[]);
        assert_eq!((head.status, head.body.len()), (200, 0), "{target}");
        assert_eq!(head.header("content-length"), answer.body.len().to_string(), "{target}");
        let compressed = ask(site.address, "GET", target, &[("Accept-Encoding", "gzip")]);
        assert_eq!(compressed.header("content-encoding"), "gzip", "{target}");
        assert!(compressed.body.len() < answer.body.len() / 2, "{target}");
        tags.push(tag);
    }
    // What the answer depends on changes its tag.
    tags.push(site.get("/coverage/s/a.json?scale=1").header("etag").to_owned());
    tags.push(site.get("/coverage/s/a.json?end=2026-11-23").header("etag").to_owned());
    site.write("s/a/2026-11-20T21/05:00.000-5.000-full-x.ts", b"");
    tags.push(site.get("/coverage/s/a.json").header("etag").to_owned());
    let distinct: std::collections::BTreeSet<_> = tags.iter().collect();
    assert_eq!(distinct.len(), tags.len(), "{tags:?}");
    // The same files give the same tags on every server and in every build: FNV-1a, computed by another program.
    let other = Site::at("2026-11-22T00:00:00");
    other.write("s/v/2026-11-20T10/00:00.000-5.000-full-x.ts", b"");
    assert_eq!(other.get("/coverage/s/v.json").header("etag"), "W/\"8a63d5b9f5903b19\"");
}

/// Checks that a text is XML: elements are closed, attributes are quoted, and there are no other markup and no control
/// characters.
fn check_xml(text: &str) {
    assert!(
        text.chars().all(|character| character == '\n' || !character.is_control()),
        "a control character"
    );
    let mut open = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('<') {
        assert!(!before.contains('>') || before.trim().is_empty(), "{before}");
        let (tag, after) = after.split_once('>').expect("the end of a tag");
        rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "closed");
            continue;
        }
        let name = tag.split([' ', '/']).next().expect("a name");
        assert!(!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase()), "<{tag}>");
        assert_ne!(name, "script");
        assert!(tag.matches('"').count().is_multiple_of(2), "<{tag}>");
        if !tag.ends_with('/') {
            open.push(name);
        }
    }
    assert!(open.is_empty() && rest.trim().is_empty(), "{open:?}");
    for entity in text.split('&').skip(1) {
        assert!(
            ["amp;", "lt;", "gt;", "quot;", "#39;"].iter().any(|name| entity.starts_with(name)),
            "&{entity:.9}"
        );
    }
}

#[test]
fn pictures_are_well_formed_whatever_the_names_are() {
    let site = Site::at("2026-11-22T00:00:00");
    let long = "x".repeat(250);
    let names = [
        "<script>alert(1)</script>"[..8].to_owned(),
        "a&b\"c'd".to_owned(),
        "\u{1}\u{7f}\n".to_owned(),
        "🎬 ]]>".to_owned(),
        long,
        "%00".to_owned(),
    ];
    let encoded = |name: &str| percent_encode(name.as_bytes(), NON_ALPHANUMERIC).to_string();
    for name in &names {
        for variant in &names {
            site.write(&format!("{name}/{variant}/2026-11-20T10/00:00.000-5.000-full-x.ts"), b"");
            site.write(&format!("{name}/{variant}/2026-11-20T10/01:00.000-5.000-full-x.ts"), b"");
        }
    }
    for name in &names {
        for target in
            [format!("/coverage/{}.svg", encoded(name)), format!("/coverage/{0}/{0}.svg", encoded(name))]
        {
            let answer = site.get(&target);
            assert_eq!((answer.status, answer.header("content-type")), (200, "image/svg+xml"), "{target}");
            assert_eq!(answer.header("x-content-type-options"), "nosniff");
            assert!(
                answer.header("content-security-policy").starts_with("default-src 'none';"),
                "{answer:?}"
            );
            check_xml(&answer.text());
        }
    }
}

#[test]
fn a_picture_shows_every_hole_at_least_as_a_hairline() {
    let site = Site::at("2026-11-22T00:00:00");
    site.write("s/v/2026-11-20T23/58:00.000-119.989-full-x.ts", b"");
    site.write("s/v/2026-11-21T00/00:00.001-120.000-full-x.ts", b"");
    site.write("s/v/2026-11-21T00/30:00.000-60.000-partial-x.ts", b"");
    let picture = site.get("/coverage/s/v.svg").text();
    let shapes = |class: &str| {
        let tags = picture.split("<rect ").filter(|tag| tag.starts_with(&format!("class=\"{class}\" ")));
        let row = |tag: &&str| tag.contains("height=\"16\"");
        tags.filter(row)
            .map(|tag| tag.split(['<', '>']).nth(3).expect("a title").to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        shapes("hole"),
        [
            "missing 23:59:59.989 to 00:00:00.000 (11 ms)",
            "missing 00:00:00.000 to 00:00:00.001 (1 ms)",
            "missing 00:02:00.001 to 00:30:00.000 (27 min 59 s)",
        ]
    );
    assert_eq!(shapes("damaged"), ["suspect or partial 00:30:00.000 to 00:31:00.000 (1 min)"]);
    assert_eq!(shapes("full").len(), 2);
    for tag in picture.split("<rect class=\"hole\" x=").skip(1) {
        let width = tag.split("width=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a width");
        assert!(width.parse::<f64>().expect("a number") >= 1.0, "{tag}");
    }
    assert!(!picture.contains("not shown"), "{picture}");
    let scaled = site.get("/coverage/s/v.svg?scale=1m30s").text();
    assert!(scaled.contains(" UTC; holes shorter than 1 min 30 s are not shown<"), "{scaled}");
    // 100 % is all of a day.
    assert!(picture.contains(">Fri 2026-11-20<") && picture.contains(">99.9 %<"), "{picture}");
}

#[test]
fn a_second_request_reads_no_directory() {
    let base = tempfile::tempdir().expect("a directory");
    for hour in 0..6 {
        let directory = base.path().join(format!("s/v/2026-11-20T{hour:02}"));
        fs::create_dir_all(&directory).expect("an hour");
        for second in 1..400 {
            let name = format!("{:02}:{:02}.000-1.000-full-{second:043}.ts", second / 60, second % 60);
            fs::write(directory.join(name), b"").expect("a segment");
        }
    }
    // Directories with a racy ctime are not cached.
    std::thread::sleep(std::time::Duration::from_millis(50));
    // The indexes of two hours fit.
    let archive = Arc::new(Archive::new(base.path(), 80 * 1024));
    let hours = archive.hours(NAME).expect("the hours");
    let read = || {
        let now = time("2026-11-22");
        let coverage = Coverage::read(&archive, NAME, Arc::clone(&hours), (None, None), now, &|| false);
        (coverage.expect("a coverage").fingerprint, archive.cache_stats().misses)
    };
    let (fingerprint, misses) = read();
    assert_eq!((misses, read()), (6, (fingerprint, 6)));
    // Neither do playlists read what coverage has read.
    archive.summaries(NAME, &hours).expect("summaries");
    assert_eq!(archive.cache_stats().misses, 6);
}

#[test]
fn an_answer_of_very_many_ranges_is_written_while_it_is_sent() {
    let site = Site::at("2026-11-22T00:00:00");
    let empty = site.write("s/.empty", b"");
    for hour in 10..12 {
        let directory = site.archive.path().join(format!("s/v/2026-11-20T{hour}"));
        fs::create_dir_all(&directory).expect("an hour");
        for second in 0..3600 {
            let name = format!("{:02}:{:02}.000-0.500-partial-x.ts", second / 60, second % 60);
            // A new link takes less time than a new file.
            fs::hard_link(&empty, directory.join(name)).expect("a segment");
        }
    }
    let answer = site.get("/coverage/s/v.json");
    assert_eq!((answer.status, answer.header("transfer-encoding"), answer.whole), (200, "chunked", true));
    let json: Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(json["recorded_seconds"], 3600.0);
    let count = |name: &str| json[name].as_array().expect(name).len();
    assert_eq!((count("ranges"), count("holes")), (7200, 7199));
    let of_all = parsed(&site, "/coverage/s.json?scale=1");
    assert_eq!(of_all["variants"]["v"], of_all["any"]);
    assert_eq!(of_all["any"]["ranges"].as_array().expect("ranges").len(), 1);
    // A picture of it stays small.
    let picture = site.get("/coverage/s/v.svg");
    assert!(picture.status == 200 && picture.body.len() < 20_000, "{} bytes", picture.body.len());
}
