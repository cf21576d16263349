//! `scripts/deploy/nginx.conf` in a real nginx: what it sends itself, what it keeps, what it refuses, and what of a cut
//! that fails a client notices.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use crate::cuts::{RANGE, archive, fake};
use crate::footage::run;
use crate::harness::{ask, wait_until, write_whole};
use crate::nginx::{Nginx, certificate, free_port, peer};
use crate::process::{Program, Served};

/// A playlist of two segments that nothing can change.
const CLOSED: &str = "/playlist/s/v.m3u8?start=2026-11-20T10:59:57&end=2026-11-20T10:59:59";

const VIEWER: [&str; 2] = ["-u", "viewer:secret"];

/// The nginx of the deploy scripts before a server.
struct Front {
    nginx: Nginx,
    port: u16,
    plain_port: u16,
}

/// What curl has to say.
struct Got {
    /// Its exit code.
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
    /// `None` where there is no nginx or no openssl.
    fn before(served: &Served, base: &Path) -> Option<Self> {
        let nginx = peer("nginx")?;
        let directory = tempfile::tempdir().expect("a directory");
        let dir = directory.path().display();
        let (key, cert) = certificate(directory.path())?;
        fs::write(directory.path().join("users"), "viewer:{PLAIN}secret\n").expect("users");
        let (port, plain_port) = (free_port(), free_port());
        // All the lines that an operator adapts.
        let adapted = [
            ("127.0.0.1:8000;", format!("{};", served.address)),
            ("listen 80;", format!("listen 127.0.0.1:{plain_port};")),
            ("listen 443 ssl", format!("listen 127.0.0.1:{port} ssl")),
            ("/etc/nginx/restreamer.crt", cert),
            ("/etc/nginx/restreamer.key", key),
            ("auth_basic_user_file /etc/nginx/restreamer.users", format!("auth_basic_user_file {dir}/users")),
            ("/srv/archive/", format!("{}/", base.display())),
            ("/var/cache/nginx-restreamer", format!("{dir}/cache")),
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

    /// What curl gets, with more arguments to it.
    fn curl(&self, target: &str, more: &[&str]) -> Got {
        curl(&[&["-k", &self.url(target)][..], more].concat())
    }

    /// The same for somebody who knows the password.
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
        // Browsers do not accept two of those that let other pages read an answer.
        assert!(headers.insert(name, value).is_none(), "a header twice: {head}");
    }
    let code = output.status.code().expect("an exit code");
    Got { code, status, headers, body: output.stdout[end + 4..].to_vec() }
}

/// What a server was asked for, in order, once it has stopped.
fn log_of(served: Served) -> Vec<String> {
    served.running.signal(Signal::TERM);
    let stderr = served.running.wait().stderr;
    let targets = stderr.lines().filter_map(|line| line.split_once("target=\"")?.1.split_once('"'));
    targets.map(|(target, _)| target.to_owned()).collect()
}

#[test]
fn nginx_sends_segments_as_the_server_would_and_does_not_ask_it() {
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
            // What nginx cannot do as the server does, and the file says so.
            let own = match name.as_str() {
                "date" => true,
                "etag" => target != full,
                "content-type" | "content-length" => direct.status == 304 || direct.status >= 400,
                "last-modified" | "accept-ranges" => direct.status == 304 || direct.status == 206,
                "cache-control" => direct.status == 416,
                _ => false,
            };
            assert!(own || through.header(name) == value, "{target} {more:?}: {name}: {through:?}");
        }
    }
    assert_eq!(front.get(full, &["-X", "OPTIONS"]).header("allow"), "GET, HEAD, OPTIONS");
    assert_eq!(front.get(full, &["-X", "DELETE"]).status, 405);
    drop(front);
    let asked = log_of(served).iter().filter(|target| target.starts_with("/segments/")).count();
    assert_eq!(asked, rows.len() + 2, "only what was asked without nginx, and what is not GET or HEAD");
}

#[test]
fn players_that_ask_for_one_playlist_are_one_request() {
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
    let url = front.url(CLOSED);
    many.extend(std::iter::repeat_n(["-o", "/dev/null", &url], 50).flatten());
    let statuses = String::from_utf8(run("curl", &many).stdout).expect("text");
    assert_eq!(statuses, "200 ".repeat(50));

    let second = front.get(CLOSED, &[]);
    assert_eq!((second.status, second.header("x-cache-status")), (200, "HIT"));
    let direct = ask(served.address, "GET", CLOSED, &[]);
    assert_eq!(second.body, direct.body);
    for name in ["etag", "cache-control", "vary", "content-type", "access-control-allow-origin"] {
        assert_eq!(second.header(name), direct.header(name), "{name}");
    }
    let known = front.get(CLOSED, &["-H", &format!("If-None-Match: {}", second.header("etag"))]);
    assert_eq!((known.status, known.header("x-cache-status")), (304, "HIT"));
    let part = front.get(CLOSED, &["-H", "Range: bytes=0-3"]);
    assert_eq!((part.status, part.body == direct.body), (200, true), "playlists have no ranges");

    // What differs is kept apart: the query, and what the client can read.
    let longer = "/playlist/s/w.m3u8?start=2026-11-20T10&end=2026-11-20T10:01";
    let other = front.get(longer, &[]);
    assert_eq!((other.status, other.header("x-cache-status")), (200, "MISS"));
    assert_ne!(other.body, second.body);
    let squeezed = front.get(longer, &["-H", "Accept-Encoding: br, gzip"]);
    assert_eq!((squeezed.header("content-encoding"), squeezed.header("x-cache-status")), ("gzip", "MISS"));
    assert_eq!(front.get(longer, &["-H", "Accept-Encoding: gzip, br"]).header("x-cache-status"), "HIT");
    let plain = front.get(longer, &["-H", "Accept-Encoding: gzip;q=0"]);
    assert_eq!((plain.header("x-cache-status"), &plain.body), ("HIT", &other.body));
    assert_eq!(front.get("/playlist/s/nothing.m3u8", &[]).status, 404);
    drop(front);
    let asked = log_of(served);
    let count = |wanted: &str| asked.iter().filter(|target| *target == wanted).count();
    assert_eq!((count(CLOSED), count(longer)), (2, 2), "{asked:?}");
}

#[test]
fn what_has_run_out_is_sent_while_it_is_fetched_anew_and_while_there_is_no_server() {
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
    assert_eq!(list(), (200, "[\"s\"]".to_owned()), "nobody waits for the server");
    wait_until("what is new has been fetched", || list().1 == "[\"s\",\"t\"]");
    drop(served);
    std::thread::sleep(Duration::from_millis(2100));
    assert_eq!(list(), (200, "[\"s\",\"t\"]".to_owned()));
    assert_eq!(front.get("/files/s", &[]).status, 502, "what nobody has asked for");
    assert_eq!(front.get("/health", &[]).status, 502, "what is never kept");
}

#[test]
fn a_cut_that_fails_behind_nginx_is_broken_for_the_client_too() {
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
        // What a client cannot know to be whole it is not sent.
        let old = front.get(&target, &["--http1.0"]);
        assert_eq!((old.code, old.status), (0, if kind == "rough" { 200 } else { 505 }), "{kind}");
    }
}

#[test]
fn strangers_hidden_names_and_a_third_cut_are_refused() {
    let base = archive();
    write_whole(&base.path().join("s/.hidden.ts"), b"secret");
    let dir = tempfile::tempdir().expect("a directory");
    // This ffmpeg would never end by itself.
    let served = Served::over(base.path(), &["--ffmpeg", &fake(dir.path(), "ffmpeg-stalls")]);
    let Some(front) = Front::before(&served, base.path()) else { return };
    let cut = format!("/cut/s/v.ts?{RANGE}&type=full");
    for target in ["/", "/files", CLOSED, "/segments/s/v/nothing.ts", &cut] {
        assert_eq!(front.curl(target, &[]).status, 401, "{target} for a stranger");
        assert_eq!(front.curl(target, &["-u", "viewer:guess"]).status, 401, "{target} for one who guesses");
    }
    assert_eq!(front.curl("/health", &[]).status, 200);
    assert_eq!(front.get("/metrics", &[]).status, 403, "what is for the operator");
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
    wait_until("two are cut", || ask(served.address, "GET", "/metrics", &[]).text().contains(busy));
    assert_eq!(front.get(&cut, &[]).status, 429);
    assert_eq!(front.get(CLOSED, &[]).status, 200, "all else goes on");
    drop(cutters);
    let idle = "pool_busy_workers{pool=\"cut\"} 0";
    wait_until("their ffmpegs end", || ask(served.address, "GET", "/metrics", &[]).text().contains(idle));
}
