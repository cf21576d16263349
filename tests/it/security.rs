//! The promises of `docs/security.md`: hostile files in the archive, limits on cuts, a broken environment, and the
//! nginx in front. Also the policy that decides which requests are allowed.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use restreamer::clock::Clock;
use restreamer::http::reply::Reply;
use restreamer::http::request::Request;
use restreamer::http::{App, Service};
use restreamer::server::Limits;
use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::process::Signal;

use crate::cuts::{RANGE, archive, at_rest, fake, holdings};
use crate::footage::run;
use crate::harness::{PATIENCE, Site, app, ask, connect, serve, wait_until, write_whole};
use crate::nginx::{self, Nginx};
use crate::process::{Program, RESTREAMER, Served};

/// The segments of the archive `base` of one variant, in order.
fn segments(base: &Path) -> Vec<PathBuf> {
    let hours = fs::read_dir(base.join("s/v")).expect("a variant").flatten();
    let mut paths: Vec<PathBuf> = hours
        .flat_map(|hour| fs::read_dir(hour.path()).expect("an hour").flatten())
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    paths
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).expect("a file").len()
}

fn pipe(path: &Path) {
    mkfifoat(CWD, path, Mode::from_raw_mode(0o600)).expect("a pipe");
}

/// Creates something at a path.
type Put = Box<dyn Fn(&Path)>;

#[test]
fn special_files_in_place_of_segments_block_no_request() {
    let base = archive();
    let elsewhere = tempfile::tempdir().expect("a directory");
    let (fifo, socket) = (elsewhere.path().join("fifo"), elsewhere.path().join("socket"));
    pipe(&fifo);
    let _listener = UnixListener::bind(&socket).expect("a socket");
    let link = |to: &Path| {
        let to = to.to_owned();
        Box::new(move |path: &Path| symlink(&to, path).expect("a link")) as Put
    };
    let rows: [(&str, Put); 7] = [
        ("a pipe", Box::new(pipe)),
        ("a socket", Box::new(|path| drop(UnixListener::bind(path).expect("a socket")))),
        ("a directory", Box::new(|path| fs::create_dir(path).expect("a directory"))),
        ("a link to a pipe", link(&fifo)),
        ("a link to a socket", link(&socket)),
        ("a link to a device", link(Path::new("/dev/zero"))),
        ("a link to nothing", link(Path::new("/nowhere"))),
    ];
    let (served, before) = at_rest(base.path(), &["--workers", "1", "--cut-workers", "1"]);
    let paths = segments(base.path());
    let newest = paths.last().expect("a segment");
    for (what, put) in rows {
        for path in [&paths[2], newest] {
            let kept = elsewhere.path().join("kept");
            fs::rename(path, &kept).expect("take a segment away");
            put(path);
            for kind in ["rough", "smart", "full"] {
                let range = format!("start=2026-11-20T10:59:57.5&end=2026-11-20T11:00:06.5&type={kind}");
                let answer = ask(served.address, "GET", &format!("/cut/s/v.ts?{range}"), &[]);
                assert!(answer.status >= 400 || !answer.whole, "{what}, {kind}: {}", answer.status);
                assert!(answer.status == 200 || !answer.text().contains('/'), "{what}: {}", answer.text());
            }
            for target in ["/playlist/s/v.m3u8", "/playlist/s.m3u8", "/files/s/v/2026-11-20T10"] {
                assert_eq!(ask(served.address, "GET", target, &[]).status, 200, "{what}: {target}");
            }
            if path.is_dir() && !path.is_symlink() { fs::remove_dir(path) } else { fs::remove_file(path) }
                .expect("take it away");
            fs::rename(&kept, path).expect("put the segment back");
        }
    }
    for kind in ["rough", "smart", "full"] {
        let answer = ask(served.address, "GET", &format!("/cut/s/v.ts?{RANGE}&type={kind}"), &[]);
        assert!(answer.status == 200 && answer.whole, "{kind} afterwards");
    }
    wait_until("nothing is left behind", || holdings(&served.running) == before);
}

#[test]
fn a_segment_of_a_terabyte_is_not_read_into_memory() {
    let base = tempfile::tempdir().expect("a directory");
    let path = write_whole(&base.path().join("s/v/2026-11-20T10/00:00.000-2.000-full-x.ts"), b"");
    // A sparse file.
    fs::File::options().write(true).open(&path).and_then(|file| file.set_len(1 << 40)).expect("a length");
    let (served, _) = at_rest(base.path(), &[]);
    let range = "start=2026-11-20T10:00:00&end=2026-11-20T10:00:02";
    for kind in ["full", "smart"] {
        let answer = ask(served.address, "GET", &format!("/cut/s/v.ts?{range}&type={kind}"), &[]);
        assert!(
            answer.status == 501
                && answer.text().contains("has 1099511627776 bytes, and exact cuts take at most 268435456"),
            "{}",
            answer.text()
        );
    }
    assert_eq!(ask(served.address, "GET", "/playlist/s.m3u8", &[]).status, 200);
    let peak_kib = crate::abuse::status_of(&served.running, "VmHWM");
    assert!(peak_kib < 32 * 1024, "it took {peak_kib} KiB");
}

#[test]
fn segments_above_the_limit_are_refused_by_exact_cuts_alone() {
    let base = archive();
    let largest = segments(base.path()).iter().map(|path| size(path)).max().expect("segments");
    let rows = [(largest, "full", 200), (largest, "smart", 200), (largest - 1, "full", 501)];
    for (limit, kind, status) in rows.into_iter().chain([(1, "smart", 501), (1, "rough", 200)]) {
        let served = Served::over(base.path(), &["--max-segment-bytes", &limit.to_string()]);
        let target = format!("/cut/s/v.ts?{RANGE}&type={kind}");
        for method in ["GET", "HEAD"] {
            let answer = ask(served.address, method, &target, &[]);
            assert_eq!(answer.status, status, "{method} {kind} {limit}: {:.99?}", answer.body);
        }
    }
}

#[test]
fn a_segment_takes_its_size_in_memory_and_no_more() {
    const MIB: u64 = 1024 * 1024;
    let base = archive();
    // Beyond its packets the file has a hole, which takes no room on the disk.
    let first = &segments(base.path())[0];
    fs::File::options().write(true).open(first).and_then(|file| file.set_len(32 * MIB)).expect("a length");
    let (served, _) = at_rest(base.path(), &[]);
    let range = "start=2026-11-20T10:59:57.1&end=2026-11-20T10:59:57.5";
    let answer = ask(served.address, "HEAD", &format!("/cut/s/v.ts?{range}&type=full"), &[]);
    assert_eq!(answer.status, 200, "{:?}", answer.headers);
    let peak_kib = crate::abuse::status_of(&served.running, "VmHWM");
    assert!(peak_kib < 60 * 1024, "it took {peak_kib} KiB");
}

#[test]
fn symbolic_links_may_leave_the_archive_but_paths_may_not() {
    let place = tempfile::tempdir().expect("a directory");
    write_whole(&place.path().join("outside/secret.txt"), b"secret");
    write_whole(&place.path().join("base/s/.hidden"), b"secret");
    symlink(place.path().join("outside"), place.path().join("base/link")).expect("a link");
    let served = Served::over(&place.path().join("base"), &[]);
    let status = |target: &str| ask(served.address, "GET", target, &[]).status;
    assert_eq!(status("/segments/link/secret.txt"), 200);
    for target in [
        "/segments/../outside/secret.txt",
        "/segments/s/../../outside/secret.txt",
        "/segments/%2e%2e/outside/secret.txt",
        "/segments/s/.hidden",
        "/files/..",
        "/playlist/../s.m3u8",
        "/cut/s/...ts?start=2026-11-20&end=2026-11-21",
    ] {
        assert_eq!(status(target), 403, "{target}");
    }
    for target in
        ["/segments/..%2foutside%2fsecret.txt", "/segments/%5c..%5coutside", "/segments//etc/passwd"]
    {
        assert_eq!(status(target), 400, "{target}");
    }
}

#[test]
fn a_file_is_sent_with_the_media_type_of_its_extension_only() {
    let site = Site::at("2026-11-22T00:00:00");
    let page = b"<script>alert(1)</script>";
    for (name, kind) in [
        ("a.html", "text/html; charset=utf-8"),
        ("a.svg", "application/octet-stream"),
        ("a.ts", "video/mp2t"),
    ] {
        site.write(&format!("s/{name}"), page);
        let answer = site.get(&format!("/segments/s/{name}"));
        assert_eq!(answer.header("content-type"), kind, "{name}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{name}");
        assert_eq!(answer.header("access-control-allow-credentials"), "false", "{name}");
    }
}

/// A policy that allows requests with the right token, and the preflight requests of browsers, which carry none.
fn token_needed(request: &Request) -> Result<(), Reply> {
    if request.header("Authorization") == Some("Bearer good") || request.method.as_str() == "OPTIONS" {
        return Ok(());
    }
    Err(Reply::refusal(401, "a token is needed").with("WWW-Authenticate", "Bearer"))
}

#[test]
fn an_unauthorized_request_reaches_no_handler() {
    let base = tempfile::tempdir().expect("a directory");
    write_whole(&base.path().join("s/v/2026-11-20T10/00:00.000-2.000-full-x.ts"), b"x");
    let app = Arc::new(App { auth: token_needed, ..app(base.path(), Clock::System) });
    let server = serve(Arc::clone(&app) as Arc<dyn Service>, Limits::default());
    let listing = "/files/s/v/2026-11-20T10";
    let rows = [
        ("GET", listing),
        ("HEAD", listing),
        ("POST", listing),
        ("GET", "/playlist/s/v.m3u8"),
        ("GET", "/segments/s/v/2026-11-20T10/00:00.000-2.000-full-x.ts"),
        ("GET", "/metrics"),
        ("GET", "/files/%zz"),
        ("GET", "/nope"),
    ];
    for (method, target) in rows {
        for headers in [&[][..], &[("Authorization", "Bearer bad")]] {
            let answer = ask(server.address(), method, target, headers);
            assert_eq!(
                (answer.status, answer.header("www-authenticate")),
                (401, "Bearer"),
                "{method} {target}"
            );
            assert_eq!(answer.header("access-control-allow-origin"), "*", "{method} {target}");
            assert_eq!(answer.text(), if method == "HEAD" { "" } else { "a token is needed\n" });
        }
    }
    let lookups = || app.archive.cache_stats().hits + app.archive.cache_stats().misses;
    assert_eq!(lookups(), 0, "no handler has read the archive");
    assert_eq!(ask(server.address(), "OPTIONS", listing, &[]).status, 200);
    let good = [("Authorization", "Bearer good")];
    assert_eq!(ask(server.address(), "GET", "/playlist/s/v.m3u8", &good).status, 200);
    assert!(lookups() > 0);
    assert!(server.stop(PATIENCE));
}

#[test]
fn names_from_the_disk_cannot_forge_lines_of_the_log() {
    let base = tempfile::tempdir().expect("a directory");
    let variant = base.path().join("s/v\n2026 FORGED\u{1b}[2J");
    write_whole(&variant.join("2026-11-20T10/odd\nFORGED.ts"), b"x");
    write_whole(&variant.join("2026-11-20T10/00:00.000-2.000-full-x.ts"), b"x");
    let served = Served::over(base.path(), &[]);
    for target in ["/playlist/s/v%0A2026%20FORGED%1B%5B2J.m3u8", "/files/s", "/playlist/s.m3u8"] {
        assert_eq!(ask(served.address, "GET", target, &[]).status, 200);
    }
    served.running.signal(Signal::TERM);
    let stderr = served.running.wait().stderr;
    assert!(stderr.contains("FORGED") && !stderr.contains('\u{1b}'), "{stderr}");
    for line in stderr.lines() {
        assert!(line.starts_with("20") && !line.starts_with("2026 FORGED"), "{line:?} in {stderr}");
    }
}

/// Reads the bytes that have arrived. Returns them as text once they contain a whole response head.
fn read_some(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<String> {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        bytes.extend_from_slice(&buffer[..count]);
    }
    let text = String::from_utf8_lossy(bytes).into_owned();
    text.contains("\r\n\r\n").then_some(text)
}

#[test]
fn of_a_thousand_concurrent_cuts_those_beyond_the_queue_are_refused_at_once() {
    let base = archive();
    let dir = tempfile::tempdir().expect("a directory");
    // This ffmpeg never ends by itself.
    let options =
        ["--ffmpeg", &fake(dir.path(), "ffmpeg-stalls"), "--cut-workers", "2", "--log-level", "warn"];
    let (served, before) = at_rest(base.path(), &options);
    let request = format!("GET /cut/s/v.ts?{RANGE}&type=full HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut clients: Vec<(TcpStream, Vec<u8>)> = Vec::new();
    for _ in 0..1000 {
        let mut stream = connect(served.address);
        stream.write_all(request.as_bytes()).expect("ask");
        stream.set_nonblocking(true).expect("a mode");
        clients.push((stream, Vec::new()));
    }
    // Two cuts run, and four wait in the queue.
    let mut refused = 0;
    wait_until("all but six are refused", || {
        clients.retain_mut(|(stream, bytes)| match read_some(stream, bytes) {
            Some(answer) => {
                assert!(
                    answer.starts_with("HTTP/1.1 503 ") && answer.contains("\r\nRetry-After: "),
                    "{answer}"
                );
                refused += 1;
                false
            }
            None => true,
        });
        refused >= 994
    });
    assert_eq!((refused, clients.len()), (994, 6));
    assert_eq!(ask(served.address, "GET", "/files", &[]).status, 200);
    wait_until("each of two has its ffmpeg", || holdings(&served.running).2 == 2);
    drop(clients);
    wait_until("nothing is left behind", || holdings(&served.running) == before);
}

#[test]
fn a_server_whose_output_cannot_be_written_keeps_serving() {
    let base = tempfile::tempdir().expect("a directory");
    write_whole(&base.path().join("s/a.txt"), b"ready");
    let through_shell = |redirections: &str| {
        Program::new("bash").args(["-c", &format!("exec \"$0\" \"$@\" {redirections}"), RESTREAMER])
    };
    let asks = |address: SocketAddr| {
        for _ in 0..100 {
            assert_eq!(ask(address, "GET", "/segments/s/a.txt", &[]).text(), "ready");
        }
    };
    // The log is a pipe without a reader, or closed, or full.
    for redirections in ["2> >(exec true)", "2>&-", "<&- 2>&-", "2>/dev/full"] {
        let served = Served::by(through_shell(redirections), base.path(), &["--log-level", "debug"]);
        asks(served.address);
        served.running.signal(Signal::PIPE);
        asks(served.address);
        served.running.signal(Signal::TERM);
        assert_eq!(served.running.wait().code, Some(0), "{redirections}");
    }
    // The address cannot be printed.
    for redirections in [">&-", "> >(exec true)", ">/dev/full", "<&- >&- 2>&-"] {
        let free = TcpListener::bind(("127.0.0.9", 0)).expect("a free port");
        let address = free.local_addr().expect("an address");
        drop(free);
        let options = ["--host", "127.0.0.9", "--port", &address.port().to_string(), "--base-dir"];
        let running = through_shell(redirections).args(options).args([base.path()]).start();
        wait_until("it listens", || TcpStream::connect(address).is_ok());
        asks(address);
        running.signal(Signal::TERM);
        assert_eq!(running.wait().code, Some(0), "{redirections}");
    }
}

/// The nginx configuration of the security page, with replacements.
fn example(replacements: &[(&str, &str)]) -> String {
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/security.md")).expect("the page");
    let (_, rest) = page.split_once("```nginx\n").expect("an example");
    let (text, _) = rest.split_once("```").expect("its end");
    let replace = |text: String, (old, new): &(&str, &str)| {
        assert!(text.contains(old), "`{old}` is not in the example");
        text.replace(old, new)
    };
    replacements.iter().fold(text.to_owned(), replace)
}

/// The nginx of the security page in front of a server, and its port; `None` if nginx is not installed.
fn front(served: &Served) -> Option<(Nginx, u16)> {
    let (nginx, port) = (nginx::peer("nginx")?, nginx::free_port());
    let directory = tempfile::tempdir().expect("a directory");
    let users = directory.path().join("users");
    fs::write(&users, "viewer:{PLAIN}secret\n").expect("users");
    let (key, cert) = nginx::certificate(directory.path())?;
    let config = example(&[
        ("listen 443 ssl;", &format!("listen 127.0.0.1:{port} ssl;")),
        ("/etc/nginx/archive.crt", &cert),
        ("/etc/nginx/archive.key", &key),
        ("/etc/nginx/archive.users", &users.display().to_string()),
        ("http://127.0.0.1:8000", &format!("http://{}", served.address)),
    ]);
    Some((Nginx::start(&nginx, directory, &config, port), port))
}

#[test]
fn the_nginx_of_the_security_page_requires_a_password() {
    let base = archive();
    write_whole(&base.path().join("s/page.html"), b"<p>");
    let served = Served::over(base.path(), &[]);
    let Some((_front, port)) = front(&served) else { return };
    let curl = |target: &str, more: &[&str]| {
        let url = format!("https://127.0.0.1:{port}{target}");
        let output = run("curl", &[&["-sk", "-D", "-", "-o", "/dev/null", &url], more].concat());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0), text)
    };
    let viewer = ["-u", "viewer:secret"];
    let cut = format!("/cut/s/v.ts?{RANGE}&type=smart");
    for target in ["/files", "/playlist/s.m3u8", "/segments/s/page.html", &cut] {
        assert_eq!(curl(target, &[]).0, 401, "{target} without a password");
        assert_eq!(curl(target, &["-u", "viewer:guess"]).0, 401, "{target} with a wrong password");
        assert_eq!(curl(target, &viewer).0, 200, "{target} with the password");
    }
    let (_, page) = curl("/segments/s/page.html", &viewer);
    assert!(page.to_lowercase().contains("content-security-policy: sandbox"), "{page}");
    assert_eq!(curl("/files", &["-u", "viewer:secret", "-X", "POST"]).0, 403, "POST");
    assert_eq!(curl("/metrics", &viewer).0, 403, "metrics are for the operator only");
}

#[test]
fn every_test_that_the_security_page_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/security.md")).expect("the page");
    let files = fs::read_dir(root.join("tests/it")).expect("the tests").flatten();
    let tests: String = files.map(|file| fs::read_to_string(file.path()).expect("tests")).collect();
    let is_test = |word: &&str| {
        word.matches('_').count() > 3
            && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    let named: Vec<&str> = page.split('`').filter(is_test).collect();
    assert!(named.len() > 25, "only {} are named", named.len());
    for name in named {
        assert!(tests.contains(&format!("fn {name}()")), "there is no test `{name}`");
    }
}
