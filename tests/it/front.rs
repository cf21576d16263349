//! `scripts/deploy/nginx.conf` in a real nginx: segments that nginx sends itself, cached responses, refused requests, and
//! failed cuts as the client sees them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use crate::cuts::{RANGE, archive, fake};
use crate::footage::run;
use crate::harness::{ask, target_of, wait_until, write_whole};
use crate::nginx::{NOT_ROUGH, Nginx, ROUGH, certificate, free_port, peer};
use crate::process::{Program, Served};

/// A finished playlist of two segments.
const FINISHED: &str = "/playlist/s/v.m3u8?start=2026-11-20T10:59:57&end=2026-11-20T10:59:59";

const VIEWER: [&str; 2] = ["-u", "viewer:secret"];

/// An nginx with the configuration of the deploy scripts in front of a server.
struct Front {
    nginx: Nginx,
    port: u16,
    plain_port: u16,
}

/// A response as curl received it.
struct Got {
    /// Exit code of curl.
    code: i32,
    status: u16,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl std::fmt::Debug for Got {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { code, status, headers, body } = self;
        write!(f, "exit code {code}, status {status}, {headers:?}, {} bytes", body.len())
    }
}

impl Got {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

impl Front {
    /// Starts nginx; `None` without nginx or openssl.
    fn before(served: &Served, base: &Path) -> Option<Self> {
        let nginx = peer("nginx")?;
        let directory = tempfile::tempdir().expect("a directory");
        let dir = directory.path().display();
        let (key, cert) = certificate(directory.path())?;
        fs::write(directory.path().join("users"), "viewer:{PLAIN}secret\n").expect("users");
        let (port, plain_port) = (free_port(), free_port());
        // The lines that an operator adapts.
        let adapted = [
            ("127.0.0.1:8000;", format!("{};", served.address)),
            ("listen 80;", format!("listen 127.0.0.1:{plain_port};")),
            ("listen 443 ssl", format!("listen 127.0.0.1:{port} ssl")),
            ("/etc/nginx/restreamer.crt", cert),
            ("/etc/nginx/restreamer.key", key),
            ("auth_basic_user_file /etc/nginx/restreamer.users", format!("auth_basic_user_file {dir}/users")),
            ("/srv/archive/", format!("{}/", base.display())),
            ("/var/cache/nginx-restreamer levels", format!("{dir}/cache levels")),
            ("/var/cache/nginx-restreamer-fragments", format!("{dir}/fragments")),
        ];
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/deploy/nginx.conf");
        let mut config = fs::read_to_string(file).expect("the configuration");
        for (old, new) in adapted {
            assert_eq!(config.matches(old).count(), 1, "`{old}`");
            config = config.replace(old, &new);
        }
        Some(Self { nginx: Nginx::start(&nginx, directory, &config, port), port, plain_port })
    }

    fn url(&self, target: &str) -> String {
        format!("https://127.0.0.1:{}{target}", self.port)
    }

    /// Requests a target with curl, with more arguments.
    fn curl(&self, target: &str, more: &[&str]) -> Got {
        curl(&[&["-k", &self.url(target)][..], more].concat())
    }

    /// Requests a target with the password.
    fn get(&self, target: &str, more: &[&str]) -> Got {
        self.curl(target, &[&VIEWER[..], more].concat())
    }
}

fn curl(args: &[&str]) -> Got {
    let output = run("curl", &[&["-s", "--path-as-is", "-D", "-", "--max-time", "20"][..], args].concat());
    let end = output.stdout.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8_lossy(&output.stdout[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect("a status");
    let split =
        |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    let mut headers = BTreeMap::new();
    for (name, value) in lines.filter_map(split) {
        // Browsers reject repeated Access-Control headers.
        assert!(headers.insert(name, value).is_none(), "a repeated header: {head}");
    }
    let code = output.status.code().expect("an exit code");
    Got { code, status, headers, body: output.stdout[end + 4..].to_vec() }
}

/// Stops a server and returns the targets in its access log, in order.
fn log_of(served: Served) -> Vec<String> {
    served.running.signal(Signal::TERM);
    let stderr = served.running.wait().stderr;
    let targets = stderr.lines().filter_map(|line| line.split_once("target=\"")?.1.split_once('"'));
    targets.map(|(target, _)| target.to_owned()).collect()
}

#[test]
fn nginx_sends_segments_like_the_server_without_a_request_to_it() {
    let base = archive();
    for name in ["s/a.json", "s/a.html", "s/a.txt", "s/a.png", "s/a.bin", "s/x-full-y.ts"] {
        write_whole(&base.path().join(name), b"0123456789");
    }
    let names = fs::read_dir(base.path().join("s/v/2026-11-20T10")).expect("an hour").flatten();
    let name = names.map(|entry| entry.file_name().display().to_string()).min().expect("a segment");
    let full = &format!("/segments/s/v/2026-11-20T10/{}", name.replace(':', "%3A"));
    let served = Served::over(base.path(), &[]);
    let Some(front) = Front::before(&served, base.path()) else { return };
    let plain = "/segments/s/a.txt";
    let rows: [(&str, &[&str]); 20] = [
        (full, &[]),
        (full, &["-I", "-o", "/dev/null"]),
        (full, &["-H", "If-None-Match: \"x\""]),
        (full, &["-H", "If-None-Match: \"y\", W/\"x\""]),
        (full, &["-H", "If-None-Match: \"y\""]),
        (full, &["-H", "Range: bytes=3-5"]),
        (full, &["-H", "Range: bytes=-2", "-H", "If-Range: \"x\""]),
        (full, &["-H", "Range: bytes=3-5", "-H", "If-Range: \"y\""]),
        (full, &["-H", "Range: bytes=0-1,3-4"]),
        (full, &["-H", "If-Modified-Since: Sat, 01 Jan 2028 00:00:00 GMT"]),
        (plain, &[]),
        (plain, &["-H", "Range: bytes=100-"]),
        ("/segments/s/a.json", &[]),
        ("/segments/s/a.html", &[]),
        ("/segments/s/a.png", &[]),
        ("/segments/s/a.bin", &[]),
        ("/segments/s/x-full-y.ts", &[]),
        ("/segments/s/nothing.ts", &[]),
        ("/segments/s//a.txt", &[]),
        ("/segments/s", &[]),
    ];
    for (target, more) in rows {
        let through = front.get(target, more);
        let url = format!("http://{}{target}", served.address);
        let direct = curl(&[&[&*url][..], more].concat());
        assert_eq!(through.status, direct.status, "{target} {more:?}");
        if through.status < 400 {
            assert_eq!(through.body, direct.body, "{target} {more:?}");
            assert_eq!(through.header("content-security-policy"), "sandbox");
        }
        for (name, value) in &direct.headers {
            // Differences that nginx cannot avoid; the configuration lists them.
            let may_differ = match name.as_str() {
                "date" => true,
                "etag" => target != full,
                "content-type" | "content-length" => direct.status == 304 || direct.status >= 400,
                "last-modified" | "accept-ranges" => direct.status == 304 || direct.status == 206,
                "cache-control" => direct.status == 416,
                _ => false,
            };
            assert!(may_differ || through.header(name) == value, "{target} {more:?}: {name}: {through:?}");
        }
    }
    assert_eq!(front.get(full, &["-X", "OPTIONS"]).header("allow"), "GET, HEAD, OPTIONS");
    assert_eq!(front.get(full, &["-X", "DELETE"]).status, 405);
    drop(front);
    let asked = log_of(served).iter().filter(|target| target.starts_with("/segments/")).count();
    assert_eq!(asked, rows.len() + 2, "direct requests, and methods other than GET and HEAD");
}

#[test]
fn concurrent_requests_for_a_playlist_become_one_request() {
    let base = archive();
    for second in (0..60).step_by(2) {
        let name = format!("s/w/2026-11-20T10/00:{second:02}.000-2.000-full-{second}.ts");
        write_whole(&base.path().join(name), b"x");
    }
    let served = Served::over(base.path(), &[]);
    let Some(front) = Front::before(&served, base.path()) else { return };
    let mut many =
        vec!["-skZ", "--parallel-immediate", "--parallel-max", "50", "--http1.1", "-w", "%{http_code} "];
    many.extend(VIEWER);
    let url = front.url(FINISHED);
    many.extend(std::iter::repeat_n(["-o", "/dev/null", &url], 50).flatten());
    let statuses = String::from_utf8(run("curl", &many).stdout).expect("text");
    assert_eq!(statuses, "200 ".repeat(50));

    let second = front.get(FINISHED, &[]);
    assert_eq!((second.status, second.header("x-cache-status")), (200, "HIT"));
    let direct = ask(served.address, "GET", FINISHED, &[]);
    assert_eq!(second.body, direct.body);
    for name in ["etag", "cache-control", "vary", "content-type", "access-control-allow-origin"] {
        assert_eq!(second.header(name), direct.header(name), "{name}");
    }
    let known = front.get(FINISHED, &["-H", &format!("If-None-Match: {}", second.header("etag"))]);
    assert_eq!((known.status, known.header("x-cache-status")), (304, "HIT"));
    let part = front.get(FINISHED, &["-H", "Range: bytes=0-3"]);
    assert_eq!((part.status, part.body == direct.body), (200, true), "playlists have no ranges");

    // The query and the accepted encoding are part of the cache key.
    let longer = "/playlist/s/w.m3u8?start=2026-11-20T10&end=2026-11-20T10:01";
    let other = front.get(longer, &[]);
    assert_eq!((other.status, other.header("x-cache-status")), (200, "MISS"));
    assert_ne!(other.body, second.body);
    let compressed = front.get(longer, &["-H", "Accept-Encoding: br, gzip"]);
    assert_eq!(
        (compressed.header("content-encoding"), compressed.header("x-cache-status")),
        ("gzip", "MISS")
    );
    assert_eq!(front.get(longer, &["-H", "Accept-Encoding: gzip, br"]).header("x-cache-status"), "HIT");
    let plain = front.get(longer, &["-H", "Accept-Encoding: gzip;q=0"]);
    assert_eq!((plain.header("x-cache-status"), &plain.body), ("HIT", &other.body));
    assert_eq!(front.get("/playlist/s/nothing.m3u8", &[]).status, 404);
    drop(front);
    let asked = log_of(served);
    let count = |wanted: &str| asked.iter().filter(|target| *target == wanted).count();
    assert_eq!((count(FINISHED), count(longer)), (2, 2), "{asked:?}");
}

#[test]
fn stale_lists_are_sent_during_an_update_and_while_the_server_is_down() {
    let base = archive();
    let served = Served::over(base.path(), &[]);
    let Some(front) = Front::before(&served, base.path()) else { return };
    let list = || {
        let got = front.get("/files", &[]);
        (got.status, String::from_utf8(got.body).expect("text"))
    };
    assert_eq!(list(), (200, "[\"s\"]".to_owned()));
    fs::create_dir(base.path().join("t")).expect("a stream");
    std::thread::sleep(Duration::from_millis(2100));
    assert_eq!(list(), (200, "[\"s\"]".to_owned()), "the stale list is sent at once");
    wait_until("the list is updated", || list().1 == "[\"s\",\"t\"]");
    drop(served);
    std::thread::sleep(Duration::from_millis(2100));
    assert_eq!(list(), (200, "[\"s\",\"t\"]".to_owned()));
    assert_eq!(front.get("/files/s", &[]).status, 502, "a list that is not cached");
    assert_eq!(front.get("/health", &[]).status, 502, "health is never cached");
}

#[test]
fn a_fragment_is_made_once_for_all_viewers_behind_nginx() {
    let base = archive();
    let served = Served::over(base.path(), &[]);
    let Some(front) = Front::before(&served, base.path()) else { return };
    let list = String::from_utf8(front.get("/playlist/s/v.m3u8?container=fmp4", &[]).body).expect("text");
    let fragment = target_of(list.lines().rfind(|line| !line.starts_with('#')).expect("a fragment"));
    let whole = front.get(&fragment, &[]);
    assert_eq!((whole.status, whole.header("x-cache-status")), (200, "MISS"));
    let direct = ask(served.address, "GET", &fragment, &[]);
    assert_eq!(whole.body, direct.body);
    for name in ["content-type", "cache-control", "etag", "access-control-allow-origin"] {
        assert_eq!(whole.header(name), direct.header(name), "{name}");
    }
    let part = front.get(&fragment, &["-H", "Range: bytes=0-1"]);
    assert_eq!((part.status, part.header("x-cache-status"), &*part.body), (206, "HIT", &whole.body[..2]));
    let unchanged = format!("If-None-Match: {}", whole.header("etag"));
    assert_eq!(front.get(&fragment, &["-H", &unchanged]).status, 304);
    drop(front);
    let asked = log_of(served).iter().filter(|target| **target == fragment).count();
    assert_eq!(asked, 2, "through nginx, and directly");
}

#[test]
fn a_failed_cut_behind_nginx_fails_for_the_client() {
    let base = archive();
    let dir = tempfile::tempdir().expect("a directory");
    for name in ["ffmpeg-dies", "ffmpeg-quits"] {
        let served = Served::over(base.path(), &["--ffmpeg", &fake(dir.path(), name)]);
        let Some(front) = Front::before(&served, base.path()) else { return };
        let target = format!("/cut/s/v.ts?{RANGE}&type=full");
        for version in ["--http1.1", "--http2"] {
            let got = front.get(&target, &[version]);
            assert!(got.status == 200 && got.code != 0, "{name} {version}: {got:?}");
        }
    }
    let served = Served::over(base.path(), &[]);
    let Some(front) = Front::before(&served, base.path()) else { return };
    for kind in ["rough", "smart", "full"] {
        let target = format!("/cut/s/v.ts?{RANGE}&type={kind}");
        let got = front.get(&target, &[]);
        let cached = front.nginx.directory.path().join("cache").read_dir().expect("the cache").count();
        assert_eq!((got.code, got.status, got.body.len() % 188, cached), (0, 200, 0, 0), "{kind}");
        // An HTTP/1.0 client could not detect a truncated cut, so exact cuts are refused.
        let old = front.get(&target, &["--http1.0"]);
        assert_eq!((old.code, old.status), (0, if kind == "rough" { 200 } else { 505 }), "{kind}");
    }
}

#[test]
fn ranges_of_movies_come_through_nginx() {
    let base = archive();
    let served = Served::over(base.path(), &[]);
    let Some(front) = Front::before(&served, base.path()) else { return };
    for kind in ["smart", "copy", "rough"] {
        let target = format!("/cut/s/v.mp4?{RANGE}&type={kind}");
        for version in ["--http1.1", "--http2"] {
            let whole = front.get(&target, &[version]);
            assert_eq!((whole.code, whole.status), (0, 200), "{kind} {version}");
            let resumed = format!("If-Range: {}", whole.header("etag"));
            let part = front.get(&target, &[version, "-r", "1000-", "-H", &resumed]);
            assert_eq!(
                (part.code, part.status, &part.body[..]),
                (0, 206, &whole.body[1000..]),
                "{kind} {version}"
            );
        }
    }
}

#[test]
fn over_http_1_0_nginx_forwards_only_cuts_that_are_rough_for_the_server() {
    let base = archive();
    let served = Served::over(base.path(), &[]);
    let Some(front) = Front::before(&served, base.path()) else { return };
    let status = |query: &str| front.get(&format!("/cut/s/v.ts?{query}"), &["--http1.0"]).status;
    for query in NOT_ROUGH {
        assert_eq!(status(query), 505, "{query}");
    }
    for query in ROUGH {
        assert_eq!(status(&format!("{query}&{RANGE}")), 200, "{query}");
    }
}

#[test]
fn missing_passwords_hidden_names_and_a_third_cut_are_refused() {
    let base = archive();
    write_whole(&base.path().join("s/.hidden.ts"), b"secret");
    let dir = tempfile::tempdir().expect("a directory");
    // This ffmpeg never exits by itself.
    let served = Served::over(base.path(), &["--ffmpeg", &fake(dir.path(), "ffmpeg-stalls")]);
    let Some(front) = Front::before(&served, base.path()) else { return };
    let cut = format!("/cut/s/v.ts?{RANGE}&type=full");
    for target in ["/", "/files", FINISHED, "/segments/s/v/nothing.ts", &cut] {
        assert_eq!(front.curl(target, &[]).status, 401, "{target} without a password");
        assert_eq!(front.curl(target, &["-u", "viewer:guess"]).status, 401, "{target} with a wrong password");
    }
    assert_eq!(front.curl("/health", &[]).status, 200);
    assert_eq!(front.get("/metrics", &[]).status, 403, "metrics are for the operator");
    for target in ["/segments/s/.hidden.ts", "/segments/s/%2Ehidden.ts", "/files/.s", "/playlist/.s.m3u8"] {
        assert_eq!(front.get(target, &[]).status, 403, "{target}");
    }
    let plain = curl(&[&format!("http://127.0.0.1:{}/files?a=b", front.plain_port)]);
    assert_eq!((plain.status, plain.header("location")), (301, "https://127.0.0.1/files?a=b"));

    let url = front.url(&cut);
    let args = [&["-sk", "-o", "/dev/null", &url][..], &VIEWER].concat();
    let start = || Program::new("curl").args(&args).start();
    let cutters = [start(), start()];
    let busy = "pool_busy_workers{pool=\"cut\"} 2";
    wait_until("two cuts run", || ask(served.address, "GET", "/metrics", &[]).text().contains(busy));
    assert_eq!(front.get(&cut, &[]).status, 429);
    assert_eq!(front.get(FINISHED, &[]).status, 200, "other requests are served");
    drop(cutters);
    let idle = "pool_busy_workers{pool=\"cut\"} 0";
    wait_until("both ffmpeg processes end", || {
        ask(served.address, "GET", "/metrics", &[]).text().contains(idle)
    });
}
