//! Lists, files and pages: requests and their responses.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use restreamer::clock::Clock;
use restreamer::http::request::Request;
use restreamer::http::route::{ROUTES, Route, find};
use restreamer::http::{Pool, Service};
use tiny_http::{HTTPVersion, Method};

use crate::harness::{Site, app, ask};

const HOUR: &str = "gdq/source/2026-11-20T10";

fn site() -> Site {
    let site = Site::at("2026-11-22T00:00:00");
    site.write(&format!("{HOUR}/55:02.000-2.000-full-abc.ts"), b"0123456789");
    site
}

#[test]
fn lists_are_sorted_and_omit_hidden_and_invalid_names() {
    let site = site();
    for path in
        ["gdq/480p/2026-11-20T09/x.ts", "gdq/.hidden/x", ".hidden/x", "alpha/source/2026-11-20T09/x.ts"]
    {
        site.write(path, b"");
    }
    site.write("file", b"");
    site.write("gdq/file", b"");
    fs::create_dir_all(site.archive.path().join("gdq/source/2026-11-20T09")).expect("an hour");
    fs::create_dir_all(site.archive.path().join("gdq/source/not-an-hour")).expect("a directory");
    symlink(site.archive.path().join("gdq"), site.archive.path().join("linked")).expect("a link");
    symlink(site.archive.path().join("nowhere"), site.archive.path().join("dangling")).expect("a link");
    let rows = [
        ("/files", r#"["alpha","gdq","linked"]"#),
        ("/files/gdq", r#"["480p","source"]"#),
        ("/files/linked", r#"["480p","source"]"#),
        ("/files/gdq/source", r#"["2026-11-20T09","2026-11-20T10"]"#),
        ("/files/gdq/source/2026-11-20T10", r#"["55:02.000-2.000-full-abc.ts"]"#),
        ("/files/nope", "[]"),
        ("/files/gdq/nope", "[]"),
        ("/files/gdq/source/2026-11-20T23", "[]"),
        ("/files/file", "[]"),
    ];
    for (target, body) in rows {
        let answer = site.get(target);
        assert_eq!((answer.status, answer.text().as_str()), (200, body), "{target}");
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.header("cache-control"), "max-age=1");
        assert_eq!(answer.header("vary"), "Accept-Encoding");
    }
}

#[test]
fn an_hour_lists_segments_and_json_files_without_tombstone() {
    let site = Site::at("2026-11-22T00:00:00");
    for name in
        ["a.ts", "b.ts", "b.tombstone", "c.json", "d.json", "d.tombstone", "e.txt", ".f.ts", "g.tombstone"]
    {
        site.write(&format!("{HOUR}/{name}"), b"");
    }
    fs::create_dir_all(site.archive.path().join(HOUR).join("h.ts")).expect("a directory");
    let plain = r#"["a.ts","c.json"]"#;
    let with_tombstones = r#"["a.ts","b.tombstone","c.json","d.tombstone","g.tombstone"]"#;
    for (query, body) in [
        ("", plain),
        ("?tombstones=false", plain),
        ("?tombstones=TRUE", with_tombstones),
        ("?other=x", plain),
    ] {
        assert_eq!(site.get(&format!("/files/{HOUR}{query}")).text(), body, "{query}");
    }
    let answer = site.get(&format!("/files/{HOUR}?tombstones=1"));
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (400, "bad tombstones `1`: expected `true` or `false`\n")
    );
}

#[test]
fn files_support_ranges_conditional_requests_and_caching() {
    let site = site();
    let target = format!("/segments/{HOUR}/55%3A02.000-2.000-full-abc.ts");
    let answer = site.get(&target);
    assert_eq!((answer.status, answer.text().as_str()), (200, "0123456789"));
    for (name, value) in [
        ("content-type", "video/mp2t"),
        ("etag", "\"abc\""),
        ("accept-ranges", "bytes"),
        ("x-content-type-options", "nosniff"),
        ("cache-control", "public, max-age=31536000, immutable"),
        ("access-control-allow-origin", "*"),
        ("vary", ""),
    ] {
        assert_eq!(answer.header(name), value, "{name}");
    }
    assert_eq!(site.get(&target.replace("%3A", ":")).text(), "0123456789");

    let ranged = |range: &str| ask(site.address, "GET", &target, &[("Range", range)]);
    let part = ranged("bytes=2-4");
    assert_eq!((part.status, part.text().as_str()), (206, "234"));
    assert_eq!(part.header("content-range"), "bytes 2-4/10");
    let beyond = ranged("bytes=10-");
    assert_eq!((beyond.status, beyond.header("content-range")), (416, "bytes */10"));
    assert_eq!(ranged("bytes=0-1,3-4").text(), "0123456789");

    let unchanged = ask(site.address, "GET", &target, &[("If-None-Match", "\"abc\"")]);
    assert_eq!((unchanged.status, unchanged.header("etag")), (304, "\"abc\""));
    assert_eq!((unchanged.header("content-length"), unchanged.header("content-type")), ("", ""));
    let since = [("If-Modified-Since", answer.header("last-modified"))];
    assert_eq!(ask(site.address, "GET", &target, &since).status, 304);

    let head = ask(site.address, "HEAD", &target, &[("Range", "bytes=2-4")]);
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, "10", 0));
}

#[test]
fn a_file_that_was_last_written_before_1970_is_sent() {
    let site = site();
    let file = fs::File::open(site.archive.path().join(format!("{HOUR}/55:02.000-2.000-full-abc.ts")));
    file.and_then(|file| file.set_modified(UNIX_EPOCH - Duration::from_secs(1))).expect("a time");
    let answer = site.get(&format!("/segments/{HOUR}/55:02.000-2.000-full-abc.ts"));
    assert_eq!((answer.status, answer.header("last-modified")), (200, "Thu, 01 Jan 1970 00:00:00 GMT"));
}

#[test]
fn the_entity_tag_of_other_files_is_their_size_and_time() {
    let site = Site::at("2026-11-22T00:00:00");
    site.write(&format!("{HOUR}/55:02.000-2.000-suspect-abc.ts"), b"x");
    site.write("gdq/deep/er/still/notes.TXT", b"y");
    site.write("gdq/page.html", b"z");
    site.write("gdq/empty.bin", b"");
    let suspect = site.get(&format!("/segments/{HOUR}/55:02.000-2.000-suspect-abc.ts"));
    assert!(suspect.header("etag").starts_with("\"1-"), "{suspect:?}");
    assert_eq!(suspect.header("cache-control"), "no-cache");
    let rows = [
        ("/segments/gdq/deep/er/still/notes.TXT", "text/plain; charset=utf-8"),
        ("/segments/gdq/page.html", "text/html; charset=utf-8"),
        ("/segments/gdq/empty.bin", "application/octet-stream"),
    ];
    for (target, kind) in rows {
        assert_eq!(site.get(target).header("content-type"), kind, "{target}");
    }
    let empty = ask(site.address, "GET", "/segments/gdq/empty.bin", &[("Range", "bytes=0-")]);
    assert_eq!((empty.status, empty.header("content-range")), (416, "bytes */0"));
}

#[test]
fn only_regular_files_are_sent() {
    let site = site();
    symlink(site.archive.path().join("loop"), site.archive.path().join("loop")).expect("a link to itself");
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        site.archive.path().join("pipe.ts"),
        rustix::fs::Mode::from_raw_mode(0o600),
    )
    .expect("a pipe");
    std::os::unix::net::UnixListener::bind(site.archive.path().join("socket.ts")).expect("a socket");
    let long = format!("/segments/{}", "x".repeat(300));
    for target in [
        "/segments/gdq",
        "/segments/nope.ts",
        "/segments/pipe.ts",
        "/segments/socket.ts",
        "/segments/gdq/source/x/y",
        &long,
    ] {
        let answer = site.get(target);
        assert_eq!((answer.status, answer.text().as_str()), (404, "there is no such file\n"), "{target}");
    }
    symlink("/dev/zero", site.archive.path().join("device.ts")).expect("a link to a device");
    assert_eq!(site.get("/segments/device.ts").status, 404);
    assert_eq!(site.get("/segments/loop").status, 404);
}

#[test]
fn every_response_has_cors_headers_and_errors_are_one_line() {
    let site = site();
    let rows = [
        ("GET", "/nope", 404),
        ("POST", "/nope", 404),
        ("POST", "/files", 405),
        ("DELETE", "/segments/x", 405),
        ("BREW", "/files", 405),
        ("GET", "/files/..", 403),
        ("GET", "/files/%2e%2e%2f", 400),
        ("GET", "/playlist/nope.m3u8", 404),
        ("GET", "/playlist/gdq/nope.m3u8", 404),
        ("GET", "/playlist/gdq/source.m3u8?start=x", 400),
        ("GET", "/cut/gdq/source.ts?duration=5s", 400),
        ("OPTIONS", "/files", 200),
        ("OPTIONS", "*", 200),
        ("OPTIONS", "/nope", 404),
        ("OPTIONS", "/files/", 404),
        ("OPTIONS", "/cut/gdq/source.ts?start=x", 200),
        ("OPTIONS", "/files/%zz", 200),
        ("POST", "/cut/gdq/source.ts?start=x", 405),
        ("POST", "/files/..", 405),
        ("GET", "/health", 200),
        ("GET", "/metrics", 200),
        ("GET", "/openapi.yaml", 200),
        ("POST", "/openapi.yaml", 405),
        ("HEAD", "/", 200),
    ];
    for (method, target, status) in rows {
        let answer = ask(site.address, method, target, &[]);
        assert_eq!(answer.status, status, "{method} {target}");
        assert_eq!(answer.header("access-control-allow-origin"), "*", "{method} {target}");
        assert!(answer.header("access-control-expose-headers").contains("X-Cut-Start"), "{method} {target}");
        if status >= 400 {
            assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
            assert_eq!(answer.header("cache-control"), "no-store");
            let text = answer.text();
            assert!(text.ends_with('\n') && text.lines().count() == 1, "{method} {target}: {text:?}");
            assert!(!text.contains(&site.archive.path().display().to_string()), "{text}");
        }
        if status == 405 || method == "OPTIONS" && status == 200 {
            assert_eq!(answer.header("allow"), "GET, HEAD, OPTIONS", "{method} {target}");
        }
    }
}

#[test]
fn each_route_has_its_pool_and_its_label() {
    let app = app(Path::new("/nowhere"), Clock::System);
    let times = "start=2026-11-20T10&end=2026-11-20T11";
    let rows = [
        (Method::Get, "/".to_owned(), Pool::Quick, "home"),
        (Method::Get, "/page/a/b.js".to_owned(), Pool::Quick, "page"),
        (Method::Get, "/files/a/b".to_owned(), Pool::Quick, "list_hours"),
        (Method::Get, "/metrics/restreamer".to_owned(), Pool::Quick, "metrics"),
        (Method::Get, "/segments/a/%zz".to_owned(), Pool::Media, "segments"),
        (Method::Get, "/playlist/a.m3u8".to_owned(), Pool::Playlist, "generate_master_playlist"),
        (Method::Get, "/playlist/a/b.m3u8?start=x".to_owned(), Pool::Playlist, "generate_media_playlist"),
        (Method::Get, format!("/cut/a/b.ts?{times}"), Pool::Cut, "cut"),
        (Method::Head, format!("/cut/a/b.ts?{times}&type=smart"), Pool::Cut, "cut"),
        (Method::Get, format!("/cut/a/b.ts?{times}&type=rough"), Pool::Media, "cut"),
        (Method::Get, "/cut/a/b.ts?start=x".to_owned(), Pool::Quick, "cut"),
        (Method::Options, format!("/cut/a/b.ts?{times}"), Pool::Quick, "cut"),
        (Method::Post, format!("/cut/a/b.ts?{times}"), Pool::Quick, "cut"),
        (Method::Get, "/thumbnail/a/b.png".to_owned(), Pool::Picture, "get_thumbnail_named_template"),
        (Method::Post, "/thumbnail/a/b.png".to_owned(), Pool::Picture, "get_thumbnail_uploaded_template"),
        (Method::Get, "/nope".to_owned(), Pool::Quick, "unknown"),
        (Method::Options, "*".to_owned(), Pool::Quick, "unknown"),
    ];
    for (method, target, pool, endpoint) in rows {
        let client = ([127, 0, 0, 1], 1).into();
        let request = Request {
            method,
            target,
            version: HTTPVersion(1, 1),
            headers: Vec::new(),
            body: Arc::default(),
            client,
        };
        let routed = app.route(&request);
        assert_eq!((routed.pool, routed.endpoint), (pool, endpoint), "{request:?}");
    }
}

#[test]
fn lists_are_compressed_and_answer_conditional_requests() {
    let site = Site::at("2026-11-22T00:00:00");
    for second in 0..40 {
        site.write(&format!("{HOUR}/00:{second:02}.000-1.000-full-abc.ts"), b"");
    }
    let target = format!("/files/{HOUR}");
    let plain = site.get(&target);
    let gzipped = ask(site.address, "GET", &target, &[("Accept-Encoding", "gzip, deflate")]);
    assert_eq!((plain.header("content-encoding"), gzipped.header("content-encoding")), ("", "gzip"));
    assert!(gzipped.body.starts_with(&[0x1f, 0x8b]) && gzipped.body.len() < plain.body.len() / 2);
    let etag = plain.header("etag").to_owned();
    assert!(etag.starts_with("W/\""), "{etag}");
    let again = || ask(site.address, "GET", &target, &[("If-None-Match", &etag)]);
    assert_eq!((again().status, again().header("vary")), (304, "Accept-Encoding"));
    site.write(&format!("{HOUR}/00:59.000-1.000-full-abc.ts"), b"");
    assert_eq!(again().status, 200);
}

#[test]
fn the_front_page_has_an_example_of_each_route() {
    let site = site();
    let page = ask(site.address, "GET", "/", &[]).text();
    for line in [
        "curl http://test/files\n",
        "curl http://test/files/gdq/source/2026-11-20T10\n",
        "http://test/segments/gdq/source/2026-11-20T10/55%3A02.000-2.000-full-abc.ts",
        "'http://test/playlist/gdq/source.m3u8?start=2026-11-20T10:54:54.000&end=2026-11-20T10:55:04.000'",
        "&type=smart",
        "&type=rough",
    ] {
        assert!(page.contains(line), "{line} in {page}");
    }
    let paths =
        page.split("http://test").skip(1).map(|url| url.split(['?', '\'', '\n']).next().expect("a path"));
    let shown: BTreeSet<&str> = paths.map(|path| find(path, "").expect(path).route.pattern).collect();
    for Route { pattern, .. } in &ROUTES {
        let is_shown =
            shown.contains(pattern) || ["/", "/page/{hash}/{name}", "/metrics/restreamer"].contains(pattern);
        assert!(is_shown, "the front page does not show {pattern}");
    }
    let empty = Site::at("2026-11-22T00:00:00");
    assert!(empty.get("/").text().contains("Nothing has been recorded yet"));
}

#[test]
fn health_reports_whether_the_archive_is_readable() {
    let site = site();
    let healthy = site.get("/health");
    assert_eq!(healthy.status, 200);
    let body: serde_json::Value = serde_json::from_slice(&healthy.body).expect("JSON");
    assert_eq!((&body["archive"], &body["version"]), (&true.into(), &env!("CARGO_PKG_VERSION").into()));
    fs::remove_dir_all(site.archive.path()).expect("remove the archive");
    let unhealthy = site.get("/health");
    assert_eq!(unhealthy.status, 503);
    let body: serde_json::Value = serde_json::from_slice(&unhealthy.body).expect("JSON");
    assert_eq!(body["archive"], false);
    assert_eq!(site.get("/files").text(), "[]");
    fs::create_dir(site.archive.path()).expect("restore the archive");
    assert_eq!(site.get("/health").status, 200);
}
