//! Tables of targets and what they ask for.

use super::*;

/// The route of a whole target.
fn route(target: &str) -> Result<Route> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Route::decode(Shape::of(path)?, Query::new(query))
}

fn of(stream: &str, variant: &str) -> VariantPath {
    VariantPath { stream: stream.to_owned(), variant: variant.to_owned() }
}

fn names(variant: VariantPath, tombstones: bool) -> Route {
    Route::Names { of: variant, hour: "2026-11-20T10".to_owned(), tombstones }
}

fn file(parts: &[&str]) -> Route {
    Route::File { parts: parts.iter().map(|part| (*part).to_owned()).collect() }
}

#[test]
fn targets_lead_to_their_routes() {
    let anything = Range::default();
    let rows = [
        ("/", Route::Home),
        ("/?x=1", Route::Home),
        ("/health", Route::Health),
        ("/metrics", Route::Metrics),
        ("/metrics/restreamer", Route::Metrics),
        ("/openapi.yaml", Route::OpenApi),
        ("/openapi.yaml?x", Route::OpenApi),
        ("/files", Route::Streams),
        ("/files/gdq", Route::Variants { stream: "gdq".to_owned() }),
        ("/files/a%20b%25", Route::Variants { stream: "a b%".to_owned() }),
        ("/files/a+b", Route::Variants { stream: "a+b".to_owned() }),
        ("/files/gdq/source", Route::Hours(of("gdq", "source"))),
        ("/files/gdq/source/2026-11-20T10", names(of("gdq", "source"), false)),
        ("/files/gdq/source/2026-11-20T10?tombstones=True", names(of("gdq", "source"), true)),
        ("/segments/a", file(&["a"])),
        ("/segments/a/b/c/d/55%3A02.ts", file(&["a", "b", "c", "d", "55:02.ts"])),
        ("/segments/a/55:02.ts", file(&["a", "55:02.ts"])),
        ("/playlist/gdq.m3u8", Route::Multivariant { stream: "gdq".to_owned(), range: anything.clone() }),
        ("/playlist/a.b.m3u8", Route::Multivariant { stream: "a.b".to_owned(), range: anything.clone() }),
        ("/playlist/gdq/source.m3u8", Route::Media { of: of("gdq", "source"), range: anything }),
    ];
    for (target, expected) in rows {
        assert_eq!(route(target).expect(target), expected, "{target}");
    }
}

#[test]
fn unknown_paths_are_unknown() {
    let rows = [
        "",
        "*",
        "files",
        "//",
        "/nope",
        "/Files",
        "/files/",
        "/files/a/",
        "/files/a/b/c/d",
        "/segments",
        "/segments/",
        "/segments/a/",
        "/playlist",
        "/playlist/a",
        "/playlist/a/b",
        "/playlist/a/b/c.m3u8",
        "/playlist/a.m3u8/",
        "/cut/a.ts",
        "/cut/a/b",
        "/cut/a/b/c.ts",
        "/health/",
        "/metrics/other",
        "/openapi",
        "/openapi.yaml/",
        "/openapi.yaml/x",
    ];
    for target in rows {
        assert!(matches!(route(target), Err(Error::NoSuchRoute)), "{target}: {:?}", route(target));
    }
}

#[test]
fn parts_that_cannot_be_names_are_refused() {
    let rows = [
        ("/files//b", "bad stream"),
        ("/files/a//c", "bad variant"),
        ("/files/a/b%2Fc", "bad variant"),
        ("/files/a%2fb", "bad stream"),
        ("/files/%2e%2e%2fetc", "bad stream"),
        ("/files/a%5Cb", "bad stream"),
        ("/files/a\\b", "bad stream"),
        ("/files/a%00", "bad stream"),
        ("/files/%ff", "bad stream"),
        ("/files/%c0%ae%c0%ae", "bad stream"),
        ("/files/%", "bad stream"),
        ("/files/%4", "bad stream"),
        ("/files/%zz", "bad stream"),
        ("/files/a%", "bad stream"),
        ("/files/..%2f..%2fetc/%zz", "bad stream"),
        ("/files/.hidden/%zz", "bad variant"),
        ("/playlist/.m3u8", "bad stream"),
        ("/playlist/a/.m3u8", "bad variant"),
        ("/cut/a/.ts", "bad variant"),
        ("/segments/a//b", "bad path"),
        ("/segments/a/%2e%2e/%00", "bad path"),
        ("/segments/a%2f..%2f..%2fetc", "bad path"),
        ("/segments//etc/passwd", "bad path"),
        ("/files/..", "Bad stream: May not start with a period"),
        ("/files/%2e%2e", "Bad stream: May not start with a period"),
        ("/files/%2E%2e/x", "Bad stream: May not start with a period"),
        ("/files/a/.b", "Bad variant: May not start with a period"),
        ("/files/a/b/.c", "Bad hour: May not start with a period"),
        ("/playlist/..m3u8", "Bad stream: May not start with a period"),
        ("/playlist/a/...m3u8", "Bad variant: May not start with a period"),
        ("/cut/a/..ts", "Bad variant: May not start with a period"),
        ("/segments/../etc/passwd", "Bad path: May not start with a period"),
        ("/segments/a/%2e%2e/%2E./b", "Bad path: May not start with a period"),
        ("/segments/a/.hidden", "Bad path: May not start with a period"),
    ];
    for (target, shown) in rows {
        let error = route(target).expect_err(target).to_string();
        assert!(error.starts_with(shown), "{target}: {error}");
    }
    // What is only encoded twice is a name with a percent sign in it, not a way up.
    assert_eq!(route("/segments/%252e%252e/x").expect("a name"), file(&["%2e%2e", "x"]));
}

#[test]
fn cuts_read_their_parameters() {
    let times = "start=2026-11-20T10:00:00&end=2026-11-20T10:00:01";
    let rows = [
        ("", Ok((false, CutType::Full))),
        ("&type=mpegts", Ok((false, CutType::Full))),
        ("&type=smart&allow_holes=TRUE", Ok((true, CutType::Smart))),
        ("&type=fast", Ok((false, CutType::Smart))),
        ("&type=rough&experimental=true", Ok((false, CutType::Rough))),
        ("&experimental=True", Ok((false, CutType::Smart))),
        ("&experimental=false", Ok((false, CutType::Full))),
        ("&experimental=1", Err("bad experimental `1`: expected `true` or `false`")),
        ("&allow_holes=", Err("bad allow_holes ``: expected `true` or `false`")),
        ("&type=mp4", Err("bad type `mp4`: expected `full`, `smart` or `rough`")),
        ("&type=", Err("bad type ``: expected `full`, `smart` or `rough`")),
    ];
    for (more, expected) in rows {
        let target = format!("/cut/s/v.ts?{times}{more}");
        let got = route(&target).map_err(|error| error.to_string()).map(|route| match route {
            Route::Cut(cut) => (cut.allow_holes, cut.kind),
            other => panic!("{target} leads to {other:?}"),
        });
        assert_eq!(got, expected.map_err(str::to_owned), "{target}");
    }
    let rows = [
        ("", "missing start"),
        ("?start=2026-11-20", "missing end"),
        ("?start=2026-11-20&end=x", "bad end `x`"),
        ("?start=2026-11-20&end=2026-11-20", "End must be after start"),
        ("?start=2026-11-20&end=2026-11-19", "End must be after start"),
    ];
    for (query, shown) in rows {
        let error = route(&format!("/cut/s/v.ts{query}")).expect_err(query).to_string();
        assert!(error.starts_with(shown), "{query}: {error}");
    }
}
