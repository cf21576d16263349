//! Tables of targets and the requests they decode to.

use super::*;
use crate::error::Error;
use crate::metrics::UNKNOWN_ENDPOINT;

/// The decoded request of a whole target.
fn decode(target: &str) -> Result<Box<dyn Handler>> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    find(path, query).ok_or(Error::NoSuchRoute(None))?.handler
}

#[test]
fn targets_decode_to_their_requests() {
    let variant = |stream: &str, variant: &str| {
        format!("{:?}", VariantPath { stream: stream.to_owned(), variant: variant.to_owned() })
    };
    let names = |variant: &str, tombstones: bool| {
        format!("NamesRequest {{ variant: {variant}, hour: \"2026-11-20T10\", tombstones: {tombstones} }}")
    };
    let file = |path: &[&str]| format!("FileRequest {{ path: {path:?} }}");
    let always = "range: TimeRange { start: None, end: None, given: [] }";
    let media = "plays_from_start: false, anchor: None, wants_update: false, container: TransportStream";
    let gdq_source = variant("gdq", "source");
    let coverage = |what: &str, variant: &str, scale: i64| {
        format!(
            "Coverage{what}Request(CoverageRequest {{ stream: \"gdq\", variant: {variant}, {always}, scale: Span({scale}) }})"
        )
    };
    let rows = [
        ("/", "FrontPageRequest".to_owned()),
        ("/?x=1", "FrontPageRequest".to_owned()),
        ("/health", "HealthRequest".to_owned()),
        ("/metrics", "MetricsRequest".to_owned()),
        ("/metrics/restreamer", "MetricsRequest".to_owned()),
        ("/openapi.yaml", "OpenApiRequest".to_owned()),
        ("/openapi.yaml?x", "OpenApiRequest".to_owned()),
        ("/files", "StreamsRequest".to_owned()),
        ("/files/gdq", "VariantsRequest { stream: \"gdq\" }".to_owned()),
        ("/files/a%20b%25", "VariantsRequest { stream: \"a b%\" }".to_owned()),
        ("/files/a+b", "VariantsRequest { stream: \"a+b\" }".to_owned()),
        ("/files/gdq/source", format!("HoursRequest {{ variant: {gdq_source} }}")),
        ("/files/gdq/source/2026-11-20T10", names(&gdq_source, false)),
        ("/files/gdq/source/2026-11-20T10?tombstones=True", names(&gdq_source, true)),
        ("/files/chat.json", "VariantsRequest { stream: \"chat.json\" }".to_owned()),
        ("/extras/media", "ExtrasRequest { directory: \"media\" }".to_owned()),
        ("/segments/a", file(&["a"])),
        ("/segments/a/b/c/d/55%3A02.ts", file(&["a", "b", "c", "d", "55:02.ts"])),
        ("/segments/a/55:02.ts", file(&["a", "55:02.ts"])),
        // A percent sign that was encoded twice is part of a name, not a way up.
        ("/segments/%252e%252e/x", file(&["%2e%2e", "x"])),
        (
            "/playlist/gdq.m3u8",
            format!("MultivariantRequest {{ stream: \"gdq\", {always}, anchor: None, container: None }}"),
        ),
        (
            "/playlist/a.b.m3u8",
            format!("MultivariantRequest {{ stream: \"a.b\", {always}, anchor: None, container: None }}"),
        ),
        ("/playlist/gdq/source.m3u8", format!("MediaRequest {{ variant: {gdq_source}, {always}, {media} }}")),
        ("/playlist/gdq/source/timeshift_rel-60.m3u8", "Ago(Span(60000000))".to_owned()),
        ("/coverage/gdq.json?scale=60", coverage("Json", "None", 60_000_000)),
        ("/coverage/gdq/source.json", coverage("Json", "Some(\"source\")", 0)),
        ("/coverage/gdq.svg?scale=500ms", coverage("Picture", "None", 500_000)),
        ("/coverage/gdq/source.svg", coverage("Picture", "Some(\"source\")", 0)),
        ("/channels.m3u?x", "ChannelsRequest".to_owned()),
    ];
    for (target, expected) in rows {
        assert_eq!(format!("{:?}", decode(target).expect(target)), expected, "{target}");
    }
}

#[test]
fn targets_of_fragments_decode_to_their_requests() {
    let variant = VariantPath { stream: "gdq".to_owned(), variant: "source".to_owned() };
    let address =
        format!("variant: {variant:?}, hour: \"2026-11-20T10\", file: \"55:02-2-full-x.ts\", version");
    let rows = [
        (
            "/playlist/gdq/source.m3u8?container=fmp4",
            format!(
                "MediaRequest {{ variant: {variant:?}, range: {:?}, plays_from_start: false, anchor: None, \
                 wants_update: false, container: Fragments }}",
                crate::http::time_range::TimeRange::default()
            ),
        ),
        (
            "/fmp4/gdq/source/2026-11-20T10/55%3A02-2-full-x.m4s?v=1&o=90000",
            format!(
                "FragmentRequest {{ address: Address {{ {address}: Some(1) }}, offset: Some(Ticks(90000)) }}"
            ),
        ),
        (
            "/fmp4/gdq/source/2026-11-20T10/55:02-2-full-x.init.mp4",
            format!("InitRequest(Address {{ {address}: None }})"),
        ),
    ];
    for (target, expected) in rows {
        assert_eq!(format!("{:?}", decode(target).expect(target)), expected, "{target}");
    }
}

#[test]
fn every_pattern_finds_its_own_route_and_labels_are_unique() {
    let mut labels = BTreeSet::new();
    for route in &ROUTES {
        let path: String =
            route.pattern.replace('}', "{").split('{').map(|part| part.trim_end_matches("...")).collect();
        let path = path.replace("/alias.", "/timeshift_abs-1795171502.");
        let times = "start=2026-11-20T10&end=2026-11-20T11&timestamp=live&count=3";
        let found = find(&path, times).expect(route.pattern);
        assert_eq!(found.route.pattern, route.pattern);
        // The handler takes as many names as the pattern has.
        assert!(found.handler.is_ok(), "{path}: {found:?}");
        let is_new = labels.insert(route.endpoint);
        let of_other_formats = ["/metrics/", "/cut/", "/coverage/", "/frame/", "/waveform/"];
        let shares = of_other_formats.iter().any(|family| route.pattern.starts_with(family));
        assert!(is_new || shares, "{} has the label of another", route.pattern);
    }
    for post in ROUTES.iter().filter_map(|route| route.post) {
        assert!(labels.insert(post.endpoint), "{} is the label of another route", post.endpoint);
    }
    assert!(!labels.contains(UNKNOWN_ENDPOINT));
    assert_eq!(endpoints(), labels.into_iter().collect::<Vec<_>>());
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
        "/playlist/a/b/archive.m3u8",
        "/playlist/a/b/archive-1795171502-60",
        "/playlist/a/b/c/timeshift_rel-60.m3u8",
        "/channels",
        "/channels.m3u8",
        "/playlist/a.m3u8/",
        "/fmp4/a/b/2026-11-20T10/55:02-2-full-x.ts",
        "/fmp4/a/b/2026-11-20T10/55:02-2-full-x.mp4",
        "/fmp4/a/b/55:02-2-full-x.m4s",
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
        assert!(matches!(decode(target), Err(Error::NoSuchRoute(_))), "{target}: {:?}", decode(target));
    }
}

#[test]
fn malformed_and_hidden_names_are_refused() {
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
        ("/cut/a/.mp4", "bad variant"),
        ("/fmp4/a/b//c.m4s", "bad hour"),
        ("/fmp4/a/b/c/.init.mp4", "bad name"),
        ("/fmp4/a/b/c/..m4s", "Bad name: May not start with a period"),
        ("/fmp4/a/b/c/d.m4s?v=x", "bad v `x`: expected the number in the playlist's addresses"),
        ("/fmp4/a/b/c/d.m4s?o=-1", "bad o `-1`: expected the number in the playlist's addresses"),
        ("/fmp4/a/b/c/d.m4s?o=8589934592", "bad o `8589934592`"),
        ("/playlist/a.m3u8?container=mp4", "bad container `mp4`: expected `ts` or `fmp4`"),
        ("/playlist/a/b.m3u8?container=", "bad container ``: expected `ts` or `fmp4`"),
        ("/playlist/a/b/timeshift_abs-1795171502.m3u8?container=TS", "bad container `TS`"),
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
        let error = decode(target).expect_err(target).to_string();
        assert!(error.starts_with(shown), "{target}: {error}");
    }
}

#[test]
fn a_path_without_a_route_is_answered_with_the_path_that_was_probably_meant() {
    let rows = [
        ("/files/", Some("/files")),
        ("/files/s/v//", Some("/files/s/v")),
        ("/health/", Some("/health")),
        ("/playlist/s", Some("/playlist/s.m3u8")),
        ("/playlist/s/", Some("/playlist/s.m3u8")),
        ("/playlist/s/v", Some("/playlist/s/v.m3u8")),
        ("/playlist/s/v.m3u", Some("/playlist/s/v.m3u8")),
        ("/playlist/s/v.m3u8/", Some("/playlist/s/v.m3u8")),
        ("/playlist/s/v.ts", Some("/playlist/s/v.m3u8")),
        ("/cut/s/v", Some("/cut/s/v.ts")),
        ("/cut/s/v1.5", Some("/cut/s/v1.5.ts")),
        ("/cut/s/v.m3u8", Some("/cut/s/v.ts")),
        ("/cut/s/v.mp4/", Some("/cut/s/v.mp4")),
        ("/cut/s/v.m4v", Some("/cut/s/v.mp4")),
        ("/cut/s/v.mov", Some("/cut/s/v.mp4")),
        ("/playlist/s/v.mp4", Some("/playlist/s/v.m3u8")),
        ("/frame/s/v", Some("/frame/s/v.png")),
        ("/frame/s/v.jpeg", Some("/frame/s/v.png")),
        ("/storyboard/s/v.png", Some("/storyboard/s/v.jpg")),
        ("/waveform/s/v", Some("/waveform/s/v.png")),
        ("/coverage/s/v.png", Some("/coverage/s/v.json")),
        ("/segments/s/v/", Some("/segments/s/v")),
        ("/playlist/", None),
        ("/cut/s", None),
        ("/files//v/", None),
        ("/files/../", None),
        ("/nothing/", None),
        ("//", None),
    ];
    for (path, meant) in rows {
        assert!(find(path, "").is_none(), "{path} has a route");
        assert_eq!(similar_path(path).as_deref(), meant, "{path}");
    }
}
