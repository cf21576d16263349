//! Metrics: each request changes exactly the right series, and no client can make the page grow.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use restreamer::archive::Archive;
use restreamer::http::reply::{Body, Reply};
use restreamer::http::request::Request;
use restreamer::http::{Pool, Routed, Service};
use restreamer::metrics::Metrics;
use restreamer::server::Limits;
use restreamer::timestamp::Timestamp;
use tempfile::TempDir;

use crate::cuts;
use crate::harness::{Site, ask, connect, exchange, serve, wait_until, write_whole};
use crate::process::{Program, Served, find, say, setting};

const NOW: &str = "2026-11-20T11:30";
const SEGMENT: &str = "s/v/2026-11-20T10/00:00.000-2.000-full-x.ts";

/// The values of a page, by their names with labels.
type Page = BTreeMap<String, f64>;

fn page(address: SocketAddr) -> Page {
    let answer = ask(address, "GET", "/metrics", &[]);
    assert_eq!((answer.status, answer.header("cache-control")), (200, "no-store"));
    parse(&answer.text())
}

fn parse(text: &str) -> Page {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let value = |line: &str| {
        let (name, value) = line.rsplit_once(' ').expect(line);
        (name.to_owned(), value.parse().expect(line))
    };
    lines.map(value).collect()
}

fn value(page: &Page, name: &str) -> f64 {
    page.get(name).copied().unwrap_or(0.0)
}

/// Whether a series may change between two scrapes by itself, or by the scrape.
fn is_noise(name: &str) -> bool {
    let noise = [
        "process_",
        "log_count_total",
        "http_request_latency_all_bucket",
        "http_request_latency_all_sum",
        "http_response_size_all_bucket",
        "connections{",
        "pool_",
        "ffmpeg_",
        "hour_cache_",
        "samples_cache_",
        "cut_seconds_",
    ];
    noise.iter().any(|begin| name.starts_with(begin)) || name.contains("endpoint=\"metrics\"")
}

/// The series that differ between two pages, and by how much.
fn changes(before: &Page, after: &Page) -> Vec<(String, f64)> {
    let changed = |(name, after): (&String, &f64)| {
        let change = after - value(before, name);
        (change.abs() > 1e-9 && !is_noise(name)).then(|| (name.clone(), change))
    };
    after.iter().filter_map(changed).collect()
}

/// The sum of the series whose names begin with `begin`.
fn sum(page: &Page, begin: &str) -> f64 {
    page.iter().filter(|(name, _)| name.starts_with(begin)).map(|(_, value)| value).sum()
}

fn site() -> Site {
    let site = Site::at(NOW);
    site.write(SEGMENT, &[b'x'; 1000]);
    site
}

fn same(value: f64, expected: f64) -> bool {
    (value - expected).abs() < 1e-9
}

#[test]
fn each_endpoint_changes_its_own_series_and_nothing_else() {
    // Method, target, endpoint, status, whether it is counted for the variant.
    let rows = [
        ("GET", "/files", "list_streams", 200, false),
        ("GET", "/files/s", "list_variants", 200, false),
        ("GET", "/files/s/v", "list_hours", 200, true),
        ("GET", "/files/s/v/2026-11-20T10", "list_segments", 200, true),
        ("GET", "/files/s/none", "list_hours", 200, false),
        ("GET", "/s/chat.json?start=2026-11-20T10&end=2026-11-20T11", "get_chat_messages", 200, false),
        ("GET", "/extras/s", "list_extras", 200, false),
        ("GET", &format!("/segments/{SEGMENT}"), "segments", 200, true),
        ("GET", "/segments/%73/v/x.ts", "segments", 404, true),
        ("GET", "/segments/s/../x", "segments", 403, false),
        ("HEAD", "/playlist/s.m3u8", "generate_master_playlist", 200, false),
        ("GET", "/playlist/s/v.m3u8", "generate_media_playlist", 200, true),
        ("GET", "/playlist/s/v.m3u8?start=x", "generate_media_playlist", 400, true),
        ("GET", "/cut/s/v.ts?start=2026-11-20T10&end=2026-11-20T10:00:02&type=rough", "cut", 200, true),
        ("GET", "/cut/s/v.ts?start=2026-11-20T10&end=2026-11-20T11", "cut", 406, true),
        ("GET", "/health", "health", 200, false),
        ("GET", "/openapi.yaml", "openapi", 200, false),
        ("GET", "/", "home", 200, false),
        ("GET", "/thumbnail/s/v.png?timestamp=live", "get_thumbnail_named_template", 501, true),
        ("POST", "/thumbnail/s/v.png?timestamp=live", "get_thumbnail_uploaded_template", 400, true),
        ("OPTIONS", "/health", "health", 200, false),
        ("POST", "/health", "health", 405, false),
        ("BREW", "/health", "health", 405, false),
        ("GET", "/nothing", "unknown", 404, false),
    ];
    let site = site();
    for (method, target, endpoint, status, of_variant) in rows {
        let before = page(site.address);
        let answer = ask(site.address, method, target, &[]);
        assert_eq!(answer.status, status, "{method} {target}");
        let known = ["GET", "HEAD", "OPTIONS", "POST"].contains(&method);
        let method = if known { method } else { "other" };
        #[allow(clippy::cast_precision_loss, reason = "a small number")]
        let sent = answer.body.len() as f64;
        let labels = format!("{{endpoint=\"{endpoint}\",method=\"{method}\",status=\"{status}\"}}");
        let mut expected = vec![
            (format!("http_request_latency_all_count{labels}"), 1.0),
            (format!("http_response_size_all_count{labels}"), 1.0),
            (format!("http_response_size_all_sum{labels}"), sent),
        ];
        if of_variant {
            let labels =
                format!("{{endpoint=\"{endpoint}\",status=\"{status}\",stream=\"s\",variant=\"v\"}}");
            expected.push((format!("requests_total{labels}"), 1.0));
            expected.push((format!("response_bytes_total{labels}"), sent));
        }
        expected.retain(|(_, change)| *change > 0.0);
        expected.sort_by(|one, other| one.0.cmp(&other.0));
        // A request is counted after its last byte was sent, which the client may receive a moment before.
        let mut found = Vec::new();
        wait_until("the request is counted", || {
            found = changes(&before, &page(site.address));
            found.len() >= expected.len()
        });
        assert_eq!(found, expected, "{method} {target}");
    }
}

#[test]
fn the_page_has_an_age_for_each_variant_and_escapes_unusual_names() {
    let site = site();
    site.write(r#"a"b\/v/2026-11-20T11/29:00.000-2.000-full-x.ts"#, b"x");
    assert_eq!(site.get("/files/a%22b%5C/v").status, 400, "a backslash is not allowed in a request");
    site.write("a\"b\n/v/2026-11-20T11/29:00.000-2.000-full-x.ts", b"x");
    assert_eq!(site.get("/files/a%22b%0A/v").status, 200);
    let mut found = Page::new();
    let counted = r#"requests_total{endpoint="list_hours",status="200",stream="a\"b\n",variant="v"}"#;
    wait_until("the request is counted", || {
        found = page(site.address);
        found.contains_key(counted)
    });
    let ages = [(r#"stream="a\"b\\",variant="v""#, 58.0), (r#"stream="s",variant="v""#, 5398.0)];
    for (labels, age) in ages {
        let name = format!("archive_newest_segment_age_seconds{{{labels}}}");
        assert!(same(value(&found, &name), age), "{name}: {found:?}");
    }
    let zipped = ask(site.address, "GET", "/metrics/restreamer", &[("Accept-Encoding", "gzip")]);
    assert_eq!(zipped.header("content-encoding"), "gzip");
    assert_eq!(zipped.header("vary"), "Accept-Encoding");
    assert_eq!(zipped.header("content-type"), "text/plain; version=0.0.4");
}

#[test]
fn ten_thousand_random_names_leave_the_page_as_large_as_it_was() {
    let site = site();
    let targets = |number: u64| {
        let name = format!("{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        [
            format!("/files/{name}/v"),
            format!("/files/s/{name}"),
            format!("/segments/{name}/v/x.ts"),
            format!("/playlist/{name}/v.m3u8"),
            format!("/{name}"),
        ]
    };
    let ask_for = |numbers: std::ops::Range<u64>| {
        let mut stream = connect(site.address);
        let mut requests = String::new();
        for target in numbers.flat_map(targets) {
            requests.extend(["GET ", &target, " HTTP/1.1\r\nHost: x\r\n\r\n"]);
        }
        let mut writer = stream.try_clone().expect("another handle");
        let sent = std::thread::Builder::new().name("asker".to_owned()).spawn(move || {
            writer.write_all(requests.as_bytes()).expect("ask");
            writer.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("ask");
        });
        let mut answers = Vec::new();
        stream.read_to_end(&mut answers).expect("the answers");
        sent.expect("a thread").join().expect("the requests were sent");
    };
    ask_for(0..2);
    page(site.address);
    let before = page(site.address);
    ask_for(2..2002);
    let after = page(site.address);
    let lists = "http_request_latency_all_count{endpoint=\"list_hours\",method=\"GET\",status=\"200\"}";
    assert!(same(value(&after, lists), 2.0 * 2002.0), "{after:?}");
    let names: Vec<_> = before.keys().collect();
    assert_eq!(names, after.keys().collect::<Vec<_>>());
}

#[test]
fn no_request_stays_in_progress_after_its_client_disconnects_or_is_refused() {
    let limits = Limits { write_timeout: Duration::from_secs(2), ..Limits::default() };
    let mut site = Site::with(NOW, limits);
    let large = "s/v/2026-11-20T10/00:00.000-2.000-full-large.ts";
    site.write(large, &vec![b'x'; 32 * 1024 * 1024]);
    let request = format!("GET /segments/{large} HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut leaving = connect(site.address);
    leaving.write_all(request.as_bytes()).expect("ask");
    leaving.read_exact(&mut [0; 1000]).expect("the beginning");
    let in_progress = "http_request_concurrency_all{endpoint=\"segments\",method=\"GET\"}";
    wait_until("it is sent slowly", || {
        let page = page(site.address);
        same(value(&page, in_progress), 1.0) && same(value(&page, "connections{state=\"sending\"}"), 1.0)
    });
    drop(leaving);
    let mut stalled = connect(site.address);
    stalled.write_all(request.as_bytes()).expect("ask");
    let mut refused = connect(site.address);
    refused.write_all(b"not a request\r\n\r\n").expect("ask");
    let mut answer = Vec::new();
    refused.read_to_end(&mut answer).expect("an answer");
    assert!(answer.starts_with(b"HTTP/1.1 400"));
    let mut found = Page::new();
    // A request is counted a moment before it is no longer in progress; the scrape before may still be, too.
    wait_until("both are counted, and only the scrape itself is in progress", || {
        found = page(site.address);
        same(sum(&found, "aborted_responses_total{endpoint=\"segments\""), 2.0)
            && same(sum(&found, "http_request_concurrency_all{"), 1.0)
            && same(sum(&found, "pool_busy_workers{"), 1.0)
            && same(sum(&found, "pool_queue_length{"), 0.0)
    });
    for (name, expected) in [
        ("aborted_responses_total{endpoint=\"segments\",reason=\"write_timeout\"}", 1.0),
        ("connections_dropped_total{reason=\"write_timeout\"}", 1.0),
        ("http_request_latency_all_count{endpoint=\"unknown\",method=\"other\",status=\"400\"}", 1.0),
        ("http_request_concurrency_all{endpoint=\"metrics\",method=\"GET\"}", 1.0),
    ] {
        assert!(same(value(&found, name), expected), "{name}: {found:?}");
    }
    site.stop(Duration::ZERO);
}

/// A program of Debian's package `prometheus`; `None` if the test is to be skipped.
fn peer(name: &str) -> Option<std::path::PathBuf> {
    let found = find(name);
    let wanted = setting("RESTREAMER_TEST_PEERS").is_some_and(|value| value == "1");
    assert!(found.is_some() || !wanted, "{name} is not installed");
    if found.is_none() {
        say(&format!("skipped: {name} is not installed"));
    }
    found.filter(|_| setting("RESTREAMER_TEST_PEERS").is_none_or(|value| value != "0"))
}

#[test]
fn promtool_accepts_the_page_and_the_alert_rules() {
    let Some(promtool) = peer("promtool") else { return };
    let site = site();
    let targets = ["/files", "/files/s/v", "/nothing", "/cut/s/v.ts?start=x", "/metrics"];
    for target in targets {
        site.get(target);
    }
    let text = site.get("/metrics").text();
    let directory = tempfile::tempdir().expect("a directory");
    let file = write_whole(&directory.path().join("page"), text.as_bytes());
    let check = ["-c", r#"exec "$0" check metrics < "$1""#];
    let checked = Program::new("sh").args(check).args([promtool.as_path(), &file]).run();
    assert_eq!((checked.code, checked.stderr.as_str()), (Some(0), ""), "{}", checked.stdout);
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/monitoring/alerts.yml");
    let checked = Program::new(&promtool).args(["check", "rules", rules]).run();
    assert_eq!(checked.code, Some(0), "{}{}", checked.stdout, checked.stderr);
}

#[test]
fn metrics_in_the_dashboard_and_the_alert_rules_are_documented() {
    let file = |name: &str| {
        let path = format!("{}/docs/monitoring/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).expect("a file")
    };
    let (dashboard, rules, readme) = (file("dashboard.json"), file("alerts.yml"), file("README.md"));
    let api = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/api.md")).expect("a file");
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).expect("JSON");
    let mut expressions =
        rules.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).collect::<Vec<_>>();
    for panel in dashboard["panels"].as_array().expect("panels") {
        let line =
            format!("| {} | {} |", panel["title"].as_str().unwrap(), panel["description"].as_str().unwrap());
        assert!(readme.contains(&line), "{line}");
        expressions.extend(
            panel["targets"].as_array().expect("targets").iter().filter_map(|one| one["expr"].as_str()),
        );
    }
    for name in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(readme.contains(&format!("| `{name}` | ")), "{name}");
    }
    assert!(expressions.len() > 20, "{expressions:?}");
    let kinds = ["http", "archive", "requests", "pool", "connections", "aborted", "cut", "ffmpeg", "log"];
    for word in
        expressions.iter().flat_map(|text| text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'))
    {
        let is_metric =
            kinds.iter().any(|kind| word.strip_prefix(kind).is_some_and(|rest| rest.starts_with('_')));
        let plain =
            ["_bucket", "_count", "_sum"].iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word);
        assert!(!is_metric || api.contains(&format!("`{plain}`")), "{word} is not in docs/api.md");
    }
}

#[test]
fn prometheus_scrapes_the_page() {
    let Some(prometheus) = peer("prometheus") else { return };
    let archive = TempDir::new().expect("a directory");
    write_whole(&archive.path().join(SEGMENT), b"x");
    let served = Served::over(archive.path(), &[]);
    let directory = TempDir::new().expect("a directory");
    let config = format!(
        "scrape_configs:\n- job_name: restreamer\n  scrape_interval: 1s\n  scrape_timeout: 1s\n  static_configs:\n  - targets: ['{}']\n",
        served.address
    );
    let file = write_whole(&directory.path().join("prometheus.yml"), config.as_bytes());
    let listen = free_address();
    let _running = Program::new(&prometheus)
        .args([
            format!("--config.file={}", file.display()),
            format!("--storage.tsdb.path={}", directory.path().join("data").display()),
            format!("--web.listen-address={listen}"),
        ])
        .start();
    wait_until("it listens", || std::net::TcpStream::connect(listen).is_ok());
    let query =
        "/api/v1/query?query=count(archive_newest_segment_age_seconds%20and%20on(instance)%20up%3D%3D1)";
    let mut response = String::new();
    wait_until("a scrape has a result", || {
        response = ask(listen, "GET", query, &[]).text();
        response.contains("\"value\":[")
    });
    assert!(response.contains(",\"1\"]"), "{response}");
}

/// An unused local address.
fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("its address")
}

#[test]
fn a_cut_and_its_ffmpeg_are_counted() {
    let archive = cuts::archive();
    let served = Served::over(archive.path(), &[]);
    assert_eq!(ask(served.address, "GET", "/health", &[]).status, 200, "the search for ffmpeg has ended");
    let before = page(served.address);
    let ended = value(&before, "ffmpeg_exits_total{result=\"ok\"}");
    assert!(ended > 0.0 && same(value(&before, "ffmpeg_running"), 0.0), "{before:?}");
    let target = format!("/cut/s/v.ts?{}", cuts::RANGE);
    assert_eq!(ask(served.address, "HEAD", &target, &[]).status, 200);
    let answer = ask(served.address, "GET", &target, &[]);
    assert_eq!(answer.status, 200);
    let counted = "cut_seconds_count{result=\"ok\",type=\"full\"}";
    let mut after = Page::new();
    wait_until("the cut is counted", || {
        after = page(served.address);
        same(value(&after, counted), 1.0)
    });
    #[allow(clippy::cast_precision_loss, reason = "a small number")]
    let sent = answer.body.len() as f64;
    assert!(same(value(&after, "cut_output_bytes_total"), sent), "{after:?}");
    assert!(
        same(sum(&after, "cut_seconds_count{"), 1.0),
        "a HEAD request is not counted as a cut: {after:?}"
    );
    assert!(same(value(&after, "ffmpeg_exits_total{result=\"ok\"}"), ended + 1.0), "{after:?}");
    assert!(same(value(&after, "ffmpeg_running"), 0.0), "{after:?}");
    assert!(sum(&after, "log_count_total{function=\"line ") > 0.0, "{after:?}");
    for name in ["process_start_time_seconds", "process_open_fds", "process_resident_memory_bytes"] {
        assert!(value(&after, name) > 0.0, "{name}: {after:?}");
    }
}

#[test]
fn a_rough_cut_is_counted_after_its_last_byte_or_when_its_client_disconnects() {
    const LARGE: usize = 16 * 1024 * 1024;
    let site = site();
    site.write("s/v/2026-11-20T10/00:02.000-2.000-full-y.ts", &vec![b'y'; LARGE]);
    let count = |result: &str| {
        value(&page(site.address), &format!("cut_seconds_count{{result=\"{result}\",type=\"rough\"}}"))
    };
    let target = "/cut/s/v.ts?start=2026-11-20T10&end=2026-11-20T10:00:04&type=rough";
    assert_eq!(ask(site.address, "HEAD", target, &[]).status, 200);
    assert_eq!(ask(site.address, "GET", target, &[]).body.len(), LARGE + 1000);
    wait_until("it is counted", || same(count("ok"), 1.0));
    let mut slow = connect(site.address);
    write!(slow, "GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").expect("ask");
    slow.read_exact(&mut [0; 5000]).expect("some of it");
    // The cut waits for its client without a worker, and has not ended.
    wait_until("the workers are free", || {
        let page = page(site.address);
        same(value(&page, "pool_busy_workers{pool=\"media\"}"), 0.0) && same(count("ok"), 1.0)
    });
    assert!(same(count("aborted"), 0.0));
    drop(slow);
    wait_until("it is counted", || same(count("aborted"), 1.0));
    assert!(same(count("ok"), 1.0), "a HEAD request is not counted as a cut");
}

/// A service with metrics of its own, some of whose paths panic.
struct Stub(Arc<Metrics>);

impl Service for Stub {
    fn route(&self, _: &Request) -> Routed {
        Pool::Media.into()
    }

    fn call(&self, request: &Request, _: Routed, _: &dyn Fn() -> bool) -> Reply {
        match request.path() {
            "/panics" => panic!("as it should"),
            "/panics-late" => Reply::empty(200).with_body(Body::streamed(|_| panic!("as it should"))),
            _ => Reply::empty(200),
        }
    }

    fn metrics(&self) -> Option<Arc<Metrics>> {
        Some(Arc::clone(&self.0))
    }
}

#[test]
fn no_request_stays_in_progress_after_a_panic() {
    let metrics = Metrics::new(&[]).expect("counters");
    let server = serve(Arc::new(Stub(Arc::clone(&metrics))), Limits::default());
    assert_eq!(ask(server.address(), "GET", "/panics", &[]).status, 500);
    exchange(server.address(), b"GET /panics-late HTTP/1.1\r\nHost: x\r\n\r\n", &["GET"]);
    assert_eq!(ask(server.address(), "GET", "/", &[]).status, 200);
    let own_page = || {
        let text = metrics.page(&Archive::new("/nowhere", 0), &[], Timestamp::MIN).expect("a page");
        parse(std::str::from_utf8(&text).expect("text"))
    };
    let mut found = Page::new();
    wait_until("all three are counted", || {
        found = own_page();
        same(sum(&found, "http_request_latency_all_count"), 3.0)
    });
    let aborted = "aborted_responses_total{endpoint=\"unknown\",reason=\"panic\"}";
    assert!(same(value(&found, aborted), 1.0), "{found:?}");
    assert!(same(sum(&found, "http_request_concurrency_all{"), 0.0) && metrics.in_flight.all().is_empty());
    wait_until("the workers are idle", || {
        let found = own_page();
        same(sum(&found, "pool_queue_length{") + sum(&found, "pool_busy_workers{"), 0.0)
    });
    server.stop(Duration::ZERO);
}
