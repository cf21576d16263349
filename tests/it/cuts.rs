//! Cuts over HTTP: the response to a good request, and what a failure leaves behind.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use restreamer::cut::CutSegment;
use tempfile::TempDir;

use crate::footage::{self, FootageKind, run};
use crate::harness::{Answer, LEFT_UNREAD, ask, connect, take_apart, wait_until, write_whole};
use crate::nginx::{self, Nginx};
use crate::process::{Program, RESTREAMER, Running, Served};

/// The range that most tests cut, which begins and ends within segments.
pub(crate) const RANGE: &str = "start=2026-11-20T10:59:57.5&end=2026-11-20T11:00:04.5";

/// More bytes than the buffers of two sockets take from a server whose client does not read.
const LARGE_SEGMENT: usize = 4 * 1024 * 1024;

/// An archive of ten seconds of footage in two hours.
pub(crate) fn archive() -> TempDir {
    static SEGMENTS: OnceLock<Vec<CutSegment>> = OnceLock::new();
    let segments = SEGMENTS.get_or_init(|| {
        let codecs = "-c:v libx264 -preset ultrafast -bf 2 -sc_threshold 0 -g 50 -c:a aac";
        let kind = FootageKind { name: "http", seconds: 10, codecs, ..footage::PLAIN };
        footage::make(&kind).segments
    });
    let base = tempfile::tempdir().expect("a directory");
    for segment in segments {
        file(base.path(), segment);
    }
    base
}

/// Copies a segment to its place in an archive.
pub(crate) fn file(base: &Path, segment: &CutSegment) -> PathBuf {
    let hour = segment.start.hour();
    let start = segment.start.to_string();
    let (offset, duration) = (&start["2026-11-20T10:".len()..start.len() - 1], segment.end - segment.start);
    let directory = base.join("s/v").join(hour.to_string());
    fs::create_dir_all(&directory).expect("an hour");
    let path = directory.join(format!("{offset}-{duration}-full-x.ts"));
    fs::copy(&segment.path, &path).expect("a segment");
    path
}

pub(crate) fn cut(served: &Served, method: &str, query: &str) -> Answer {
    ask(served.address, method, &format!("/cut/s/v.ts?{query}"), &[])
}

/// What a server holds: threads, descriptors, children.
pub(crate) fn holdings(running: &Running) -> (usize, usize, usize) {
    let count = |name: &str| fs::read_dir(running.proc_file(name)).expect("a directory of /proc").count();
    let tasks = fs::read_dir(running.proc_file("task")).expect("its threads");
    let children = tasks.flatten().map(|task| {
        let listed = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        listed.split_whitespace().count()
    });
    (count("task"), count("fd"), children.sum())
}

/// A server that has answered one request, and what it holds when idle.
pub(crate) fn at_rest(base: &Path, options: &[&str]) -> (Served, (usize, usize, usize)) {
    let served = Served::over(base, options);
    assert_eq!(ask(served.address, "GET", "/health", &[]).status, 200);
    let sockets = || {
        let links = fs::read_dir(served.running.proc_file("fd")).expect("its descriptors").flatten();
        let targets = links.filter_map(|link| fs::read_link(link.path()).ok());
        targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
    };
    wait_until("only the listening socket is open", || sockets() == 1);
    let mut held = holdings(&served.running);
    wait_until("it comes to rest", || {
        thread::sleep(Duration::from_millis(100));
        let before = std::mem::replace(&mut held, holdings(&served.running));
        before == held && held.2 == 0
    });
    (served, held)
}

/// One of the programs in `tests/data`, linked into `dir`.
pub(crate) fn fake(dir: &Path, name: &str) -> String {
    let path = dir.join(name);
    let real = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    std::os::unix::fs::symlink(real, &path).expect("a link");
    path.display().to_string()
}

#[test]
fn a_cut_has_its_headers_and_ffmpeg_reads_it_without_a_warning() {
    let base = archive();
    let served = Served::over(base.path(), &[]);
    for kind in ["type=full", "type=smart", "experimental=true", "type=mpegts", "type=fast"] {
        let query = format!("{RANGE}&{kind}");
        let answer = cut(&served, "GET", &query);
        assert_eq!((answer.status, answer.whole), (200, true), "{kind}");
        for (name, value) in [
            ("content-type", "video/mp2t"),
            ("content-disposition", "attachment; filename=\"s_v_2026-11-20T10-59-57.500000Z.ts\""),
            ("cache-control", "no-store"),
            ("x-cut-start", "2026-11-20T10:59:57.500000Z"),
            ("x-cut-end", "2026-11-20T11:00:04.500000Z"),
            ("x-cut-segments", "4"),
            ("x-cut-holes", "0"),
        ] {
            assert_eq!(answer.header(name), value, "{kind} {name}");
        }
        let path = base.path().join("cut.ts");
        fs::write(&path, &answer.body).expect("write the cut");
        let shown = footage::look(&path, 1, true);
        assert_eq!(shown.warnings, "", "{kind}");
        // Frames are 40 ms apart, and the first one here starts at 0.52 s.
        assert_eq!(shown.numbers, (13..188).collect::<Vec<i64>>(), "{kind}");
        let head = cut(&served, "HEAD", &query);
        assert_eq!((head.status, head.header("x-cut-segments"), head.body.len()), (200, "4", 0), "{kind}");
    }
}

#[test]
fn a_cut_that_ends_where_a_segment_does_has_all_of_its_sound() {
    let base = archive();
    let served = Served::over(base.path(), &[]);
    let path = base.path().join("cut.ts");
    for kind in ["full", "smart"] {
        let query = format!("start=2026-11-20T10:59:58&end=2026-11-20T11:00:03&type={kind}");
        fs::write(&path, cut(&served, "GET", &query).body).expect("write the cut");
        let last = |stream| {
            footage::packet_times(&path.display().to_string(), stream).into_iter().fold(0.0, f64::max)
        };
        // A picture lasts 40 ms, and a frame of sound 21 ms at 48 kHz.
        let (pictures, sound) = (last("v") + 0.040, last("a") + 1024.0 / 48_000.0);
        assert!(
            sound > pictures - 1024.0 / 48_000.0,
            "{kind}: sound ends at {sound}, pictures at {pictures}"
        );
    }
}

#[test]
fn an_impossible_cut_is_refused_before_the_first_byte() {
    let base = archive();
    let served = Served::over(base.path(), &[]);
    let beyond = "start=2026-11-20T10:59:57.5&end=2026-11-20T11:00:24.5";
    let nothing = "start=2026-11-20T11:10&end=2026-11-20T11:11&allow_holes=true";
    for (query, status) in [(beyond, 406), (nothing, 406), ("start=2026-11-20T11:10", 406), ("start=x", 400)]
    {
        for method in ["GET", "HEAD"] {
            assert_eq!(cut(&served, method, query).status, status, "{method} {query}");
        }
    }
    let with_holes = cut(&served, "GET", &format!("{beyond}&allow_holes=true&type=smart"));
    assert_eq!((with_holes.status, with_holes.whole, with_holes.header("x-cut-holes")), (200, true, "1"));

    let without = Served::over(base.path(), &["--ffmpeg", "/nowhere/ffmpeg"]);
    for kind in ["full", "smart"] {
        let answer = cut(&without, "GET", &format!("{RANGE}&type={kind}"));
        assert_eq!(answer.status, 503, "{kind}");
        assert_eq!(answer.text(), "this needs ffmpeg, which is not installed on this server\n");
    }
    assert_eq!(cut(&without, "GET", &format!("{RANGE}&type=rough")).status, 200);
    let health = ask(without.address, "GET", "/health", &[]);
    assert!(health.status == 200 && health.text().contains("\"ffmpeg\":false"), "{}", health.text());

    let fake = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/ffmpeg-without");
    let program = Program::new(RESTREAMER).env("WITHOUT", "libx264");
    let lacking = Served::by(program, base.path(), &["--ffmpeg", fake]);
    let answer = cut(&lacking, "HEAD", &format!("{RANGE}&type=full"));
    assert_eq!(answer.status, 503);
    let answer = cut(&lacking, "GET", &format!("{RANGE}&type=full"));
    assert_eq!((answer.status, &*answer.text()), (503, "this server's ffmpeg lacks the encoder libx264\n"));
}

/// The exit code of curl for a URL, and the status it received.
fn curl(url: &str, version: &str) -> (i32, u16) {
    let args = ["-s", version, "-o", "/dev/null", "-w", "%{http_code}", "-m", "20", url];
    let output = run("curl", &args);
    let status = String::from_utf8_lossy(&output.stdout).parse().expect("a status");
    (output.status.code().expect("an exit code"), status)
}

/// Whether the client is told of a failure: by an aborted transfer or an error status.
fn is_failure((code, status): (i32, u16)) -> bool {
    code != 0 || status >= 500
}

#[test]
fn a_failure_of_ffmpeg_fails_the_response_and_is_logged() {
    let base = archive();
    let dir = tempfile::tempdir().expect("a directory");
    for (name, reason) in
        [("ffmpeg-fails", "no such codec today"), ("ffmpeg-dies", "signal: 9"), ("ffmpeg-quits", "than")]
    {
        let ffmpeg = fake(dir.path(), name);
        let (served, before) = at_rest(base.path(), &["--ffmpeg", &ffmpeg]);
        let (target, front) = (served.address, Front::before(&served));
        for kind in ["full", "smart"] {
            for version in ["--http1.1", "--http1.0"] {
                let url = format!("http://{target}/cut/s/v.ts?{RANGE}&type={kind}");
                let seen = curl(&url, version);
                assert!(is_failure(seen), "{name} {kind} {version}: {seen:?}");
            }
            if let Some(front) = &front {
                let url = format!("http://127.0.0.1:{}/cut/s/v.ts?{RANGE}&type={kind}", front.port);
                let seen = curl(&url, "--http1.1");
                assert!(is_failure(seen), "{name} {kind} through nginx: {seen:?}");
            }
        }
        drop(front);
        wait_until("nothing is left behind", || holdings(&served.running) == before);
        served.running.signal(rustix::process::Signal::TERM);
        let stderr = served.running.wait().stderr;
        assert!(stderr.contains(reason), "{name}: {stderr}");
    }
}

#[test]
fn an_ffmpeg_that_floods_stderr_does_not_fail_the_response() {
    let base = archive();
    let dir = tempfile::tempdir().expect("a directory");
    let (served, before) = at_rest(base.path(), &["--ffmpeg", &fake(dir.path(), "ffmpeg-floods")]);
    for kind in ["full", "smart"] {
        let answer = cut(&served, "GET", &format!("{RANGE}&type={kind}"));
        assert!(answer.status == 200 && answer.whole, "{kind}");
    }
    wait_until("nothing is left behind", || holdings(&served.running) == before);
}

#[test]
fn ffmpeg_is_killed_when_its_client_disconnects() {
    let base = archive();
    let dir = tempfile::tempdir().expect("a directory");
    // This ffmpeg never ends by itself.
    let options = ["--ffmpeg", &fake(dir.path(), "ffmpeg-stalls"), "--cut-workers", "4"];
    let (served, before) = at_rest(base.path(), &options);
    for round in 0..13 {
        let clients: Vec<_> = (0..4)
            .map(|number| {
                let (kind, more) = (["full", "smart"][(round + number) % 2], LEFT_UNREAD[number]);
                let mut stream = connect(served.address);
                let request =
                    format!("GET /cut/s/v.ts?{RANGE}&type={kind} HTTP/1.1\r\nHost: a\r\n\r\n{more}");
                stream.write_all(request.as_bytes()).expect("ask");
                stream
            })
            .collect();
        wait_until("each has its ffmpeg", || holdings(&served.running).2 >= 4);
        drop(clients);
        wait_until("their ffmpegs are gone", || holdings(&served.running).2 == 0);
    }
    // Otherwise they were killed only because they produced no output.
    let cuts = |result: &str| -> u32 {
        let page = ask(served.address, "GET", "/metrics", &[]).text();
        let is_count = |line: &&str| line.starts_with("cut_seconds_count{") && line.contains(result);
        let counts = page.lines().filter(is_count).filter_map(|line| line.rsplit_once(' ')?.1.parse().ok());
        counts.map(|count: u32| count).sum()
    };
    wait_until("all cuts are counted", || cuts("result=") == 52);
    assert_eq!(cuts("result=\"cancelled\""), 52);
    wait_until("nothing is left behind", || holdings(&served.running) == before);
}

#[test]
fn a_server_that_stops_at_once_reaps_its_children() {
    let base = archive();
    let dir = tempfile::tempdir().expect("a directory");
    let ffmpeg = fake(dir.path(), "ffmpeg-stalls");
    let (served, _) = at_rest(base.path(), &["--ffmpeg", &ffmpeg]);
    let mut stream = connect(served.address);
    let request = format!("GET /cut/s/v.ts?{RANGE} HTTP/1.1\r\nHost: a\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("ask");
    wait_until("it has its ffmpeg", || holdings(&served.running).2 == 1);
    let pid = || fs::read_to_string(format!("{ffmpeg}.pid")).unwrap_or_default();
    wait_until("ffmpeg has left its number", || !pid().is_empty());
    served.running.signal(rustix::process::Signal::TERM);
    wait_until("it accepts no more connections", || TcpStream::connect(served.address).is_err());
    assert!(!served.running.has_ended(), "it waits for what it has begun");
    served.running.signal(rustix::process::Signal::TERM);
    assert_eq!(served.running.wait().code, Some(1));
    assert!(!Path::new("/proc").join(pid().trim()).exists(), "its ffmpeg is left");
    assert!(stream.read_to_end(&mut Vec::new()).is_err(), "the end looks like a proper one");
}

#[test]
fn a_segment_that_is_deleted_during_a_rough_cut_aborts_it() {
    let base = archive();
    // Null packets make the segments larger than the buffers of the sockets.
    let mut paths: Vec<PathBuf> = Vec::new();
    for hour in ["10", "11"] {
        let directory = base.path().join(format!("s/v/2026-11-20T{hour}"));
        paths.extend(fs::read_dir(directory).expect("an hour").map(|entry| entry.expect("an entry").path()));
    }
    paths.sort();
    let mut null = [0xff; 188];
    null[..4].copy_from_slice(&[0x47, 0x1f, 0xff, 0x10]);
    for path in &paths {
        let bytes = fs::read(path).expect("a segment");
        let padding = null.repeat(LARGE_SEGMENT / 188);
        fs::write(path, [bytes, padding].concat()).expect("a larger segment");
    }
    let (served, before) = at_rest(base.path(), &[]);
    let mut stream = connect(served.address);
    let request = format!("GET /cut/s/v.ts?{RANGE}&type=rough HTTP/1.1\r\nHost: a\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("ask");
    let mut first = [0; 1000];
    stream.read_exact(&mut first).expect("the beginning");
    fs::remove_file(&paths[3]).expect("delete one of the last");
    let ended = stream.read_to_end(&mut Vec::new());
    assert!(ended.is_err(), "the end looks like a proper one");
    wait_until("nothing is left behind", || holdings(&served.running) == before);
    served.running.signal(rustix::process::Signal::TERM);
    let stderr = served.running.wait().stderr;
    assert!(stderr.contains("changed while it was being read"), "{stderr}");
}

#[test]
fn segments_recorded_after_a_rough_cut_during_it_are_left_out() {
    let base = tempfile::tempdir().expect("a directory");
    let name = |second: u8| base.path().join(format!("s/v/2026-11-20T10/00:{second:02}.000-2.000-full-x.ts"));
    // Larger than the buffers of the sockets.
    let bytes = vec![b'x'; 2 * LARGE_SEGMENT];
    for second in [0, 2] {
        write_whole(&name(second), &bytes);
    }
    let served = Served::over(base.path(), &["--no-cache"]);
    let mut stream = connect(served.address);
    let range = "start=2026-11-20T10:00:00&end=2026-11-20T10:00:30&type=rough&allow_holes=true";
    let request = format!("GET /cut/s/v.ts?{range} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("ask");
    let mut seen = vec![0; 1000];
    stream.read_exact(&mut seen).expect("the beginning");
    write_whole(&name(4), &bytes);
    stream.read_to_end(&mut seen).expect("the rest");
    let answer = &take_apart(&seen, &[])[0];
    assert!(answer.whole && answer.body.len() == 2 * bytes.len(), "{}", answer.body.len());
}

/// An nginx that proxies to a server.
struct Front {
    port: u16,
    _nginx: Nginx,
}

impl Front {
    /// An nginx that proxies to `served`; `None` if nginx is not installed.
    fn before(served: &Served) -> Option<Self> {
        let (nginx, port, upstream) = (nginx::peer("nginx")?, nginx::free_port(), served.address);
        let config = format!(
            "server {{ listen 127.0.0.1:{port};\n\
             location / {{ proxy_pass http://{upstream}; proxy_http_version 1.1; proxy_buffering off;\n\
             proxy_set_header Connection \"\"; }} }}\n"
        );
        let directory = tempfile::tempdir().expect("a directory");
        Some(Self { port, _nginx: Nginx::start(&nginx, directory, &config, port) })
    }
}

#[test]
fn a_cut_is_complete_through_nginx() {
    let base = archive();
    let served = Served::over(base.path(), &[]);
    let Some(front) = Front::before(&served) else { return };
    for kind in ["rough", "smart", "full"] {
        let url = format!("http://127.0.0.1:{}/cut/s/v.ts?{RANGE}&type={kind}", front.port);
        assert_eq!(curl(&url, "--http1.1"), (0, 200), "{kind}");
    }
}

#[test]
fn an_exact_cut_is_of_at_most_max_cut_hours() {
    let base = tempfile::tempdir().expect("a directory");
    crate::harness::write_whole(&base.path().join("s/v/2026-11-20T09/00:00.000-2.000-full-x.ts"), b"x");
    for (options, hours, limit) in
        [(&[][..], 24, "at most 24 hours"), (&["--max-cut-hours", "1"], 1, "at most 1 hour ")]
    {
        let served = Served::over(base.path(), options);
        let start = crate::harness::time("2026-11-20T10:00:00");
        // The gaps of a range that is too long are not looked for.
        for (cut_type, more_us, status) in
            [("smart", 0, 406), ("smart", 1, 400), ("full", 0, 406), ("full", 1, 400), ("rough", 1, 406)]
        {
            let end = start + restreamer::timestamp::Span::from_micros(hours * 3_600_000_000 + more_us);
            let query = format!("start={start}&end={end}&type={cut_type}");
            let got = cut(&served, "GET", &query);
            assert_eq!(got.status, status, "{query}: {}", got.text());
            assert!(status != 400 || got.text().contains(limit), "{}", got.text());
            assert_eq!(cut(&served, "HEAD", &query).status, status, "{query}");
        }
    }
}
