//! A server in the test process, with a free port and a temporary archive, and a plain HTTP client that parses every byte.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use restreamer::archive::Archive;
use restreamer::clock::Clock;
use restreamer::cut::samples_cache::SamplesCache;
use restreamer::ffmpeg::LazyTools;
use restreamer::http::route::endpoints;
use restreamer::http::{App, Movies, Pictures, Service, Windows, auth};
use restreamer::metrics::Metrics;
use restreamer::pictures::templates::Templates;
use restreamer::server::{Limits, Server, Workers};
use restreamer::timestamp::Timestamp;
use tempfile::TempDir;

use crate::process::quick_ffmpeg;

/// The only time limit of tests, for anything that they wait for. It is never reached unless something is broken: no
/// test depends on the speed of the machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// The workers of a test server.
pub(crate) const WORKERS: Workers = Workers { each: 2, cut: 1 };

/// What clients may have sent behind a request when they disconnect: nothing, one byte more, half of another request, or a
/// whole one.
pub(crate) const LEFT_UNREAD: [&str; 4] = ["", "\n", "GET /fil", "GET /files HTTP/1.1\r\nHost: a\r\n\r\n"];

/// A server with its own archive.
pub(crate) struct Site {
    pub(crate) archive: TempDir,
    pub(crate) address: SocketAddr,
    pub(crate) metrics: Arc<Metrics>,
    clock: Arc<AtomicI64>,
    server: Option<Server>,
}

impl Site {
    /// A server with an empty archive, at the time `now`.
    pub(crate) fn at(now: &str) -> Self {
        Self::with(now, Limits::default())
    }

    /// The same with the given limits.
    pub(crate) fn with(now: &str, limits: Limits) -> Self {
        let archive = tempfile::tempdir().expect("a temporary directory");
        let clock = Arc::new(AtomicI64::new(time(now).micros()));
        let app = app(archive.path(), Clock::Manual(Arc::clone(&clock)));
        let metrics = Arc::clone(&app.metrics);
        let server = serve(Arc::new(app), limits);
        Self { archive, address: server.address(), metrics, clock, server: Some(server) }
    }

    /// Sets the clock.
    pub(crate) fn set_clock(&self, now: &str) {
        self.clock.store(time(now).micros(), Ordering::SeqCst);
    }

    /// Writes a file of the archive; its name appears when it is complete.
    pub(crate) fn write(&self, path: &str, bytes: &[u8]) -> PathBuf {
        write_whole(&self.archive.path().join(path), bytes)
    }

    /// Sends a GET request and reads the whole response.
    pub(crate) fn get(&self, target: &str) -> Answer {
        ask(self.address, "GET", target, &[])
    }

    /// The running server.
    pub(crate) fn server(&self) -> &Server {
        self.server.as_ref().expect("the server runs")
    }

    /// Stops the server; returns whether all requests were completed.
    pub(crate) fn stop(&mut self, grace: Duration) -> bool {
        self.server.take().is_none_or(|server| server.stop(grace))
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
    }
}

/// The handlers for an archive.
pub(crate) fn app(archive: &Path, clock: Clock) -> App {
    App {
        archive: Arc::new(Archive::new(archive, 64 * 1024 * 1024)),
        clock,
        samples: Arc::new(SamplesCache::new(16 * 1024 * 1024)),
        tools: LazyTools::new(quick_ffmpeg().into(), "ffprobe".into(), 1),
        max_cut_hours: 24,
        segments_url: None,
        windows: Windows::default(),
        first_frames: Arc::default(),
        movies: Movies::new(32 * 1024 * 1024, 64 * 1024 * 1024),
        pictures: Pictures::new(32 * 1024 * 1024),
        templates: Templates::default(),
        started: Instant::now(),
        auth: auth::everyone,
        metrics: Metrics::new(&endpoints()).expect("counters"),
    }
}

/// A server of any service on a free port.
pub(crate) fn serve(service: Arc<dyn Service>, limits: Limits) -> Server {
    Server::start(([127, 0, 0, 1], 0).into(), WORKERS, limits, service).expect("a server")
}

/// A time, in any format that a request may use.
pub(crate) fn time(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap_or_else(|| panic!("`{text}` is not a time"))
}

/// Writes a file under a temporary name and renames it, as a recorder does.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> PathBuf {
    let directory = path.parent().expect("a directory");
    fs::create_dir_all(directory).expect("make the directory");
    let hidden = directory.join(format!(".{}", path.file_name().expect("a name").display()));
    fs::write(&hidden, bytes).expect("write the file");
    fs::rename(&hidden, path).expect("name the file");
    path.to_owned()
}

/// A parsed response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// By lower-case name; the last of repeated headers.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
    /// Whether the body is complete by its `Content-Length` or last chunk.
    pub(crate) whole: bool,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("text")
    }
}

/// Sends one request on a new connection and reads the whole response.
/// The target of a segment's URI in a playlist, which is relative to the playlist's.
pub(crate) fn target_of(uri: &str) -> String {
    format!("/{}", uri.trim_start_matches("../"))
}

pub(crate) fn ask(address: SocketAddr, method: &str, target: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = format!("{method} {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n");
    for (name, value) in headers {
        request.extend([name, ": ", value, "\r\n"]);
    }
    let mut answers = exchange(address, format!("{request}\r\n").as_bytes(), &[method]);
    assert_eq!(answers.len(), 1, "responses to {method} {target}: {answers:?}");
    answers.remove(0)
}

/// Sends bytes, reads until the server closes, and parses the responses. `methods` are those of the requests, because a
/// response to HEAD has no body.
pub(crate) fn exchange(address: SocketAddr, bytes: &[u8], methods: &[&str]) -> Vec<Answer> {
    let mut stream = connect(address);
    stream.write_all(bytes).expect("send the request");
    take_apart(&read_until_closed(&mut stream), methods)
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connect");
    stream.set_read_timeout(Some(PATIENCE)).expect("set a time limit");
    stream
}

/// Reads until the connection is closed or reset.
pub(crate) fn read_until_closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        result => {
            received(result, "the end of the connection");
        }
    }
    bytes
}

/// The result of a read from a stream of [`connect`]. Panics with what was waited for.
pub(crate) fn received<T>(result: std::io::Result<T>, what: &str) -> T {
    result.unwrap_or_else(|error| match error.kind() {
        ErrorKind::WouldBlock => panic!("timed out after {PATIENCE:?} waiting for {what}"),
        _ => panic!("waiting for {what}: {error}"),
    })
}

/// Reads one response from a connection that stays open.
pub(crate) fn read_one(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let answers = take_apart(&bytes, &["GET"]);
        if let Some(answer) = answers.into_iter().next().filter(|answer| answer.whole) {
            return answer;
        }
        let count = received(stream.read(&mut buffer), "a response");
        assert!(count > 0, "the connection ended after {bytes:?}");
        bytes.extend_from_slice(&buffer[..count]);
    }
}

/// Parses consecutive responses.
pub(crate) fn take_apart(mut bytes: &[u8], methods: &[&str]) -> Vec<Answer> {
    let mut answers = Vec::new();
    let mut methods = methods.iter();
    while let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
        let head = std::str::from_utf8(&bytes[..end]).expect("a head is text");
        bytes = &bytes[end + 4..];
        let mut lines = head.split("\r\n");
        let status_line = lines.next().unwrap_or_default();
        let status: u16 =
            status_line.split(' ').nth(1).and_then(|code| code.parse().ok()).expect(status_line);
        let header = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("`{line}` is no header"));
            (name.to_ascii_lowercase(), value.to_owned())
        };
        let headers: BTreeMap<_, _> = lines.map(header).collect();
        let mut answer = Answer { status, headers, body: Vec::new(), whole: true };
        if status >= 200 && status != 304 && methods.next().is_none_or(|method| *method != "HEAD") {
            bytes = read_body(&mut answer, bytes);
        }
        answers.push(answer);
    }
    assert!(bytes.is_empty(), "after the responses: {:?}", String::from_utf8_lossy(bytes));
    answers
}

/// Parses the body that follows a response head; returns the bytes after it.
fn read_body<'a>(answer: &mut Answer, bytes: &'a [u8]) -> &'a [u8] {
    if answer.header("transfer-encoding") == "chunked" {
        let mut rest = bytes;
        answer.whole = false;
        while let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
            let size = std::str::from_utf8(&rest[..end]).expect("a chunk's size is text");
            let size = usize::from_str_radix(size, 16).expect("a chunk's size is a number");
            rest = &rest[end + 2..];
            if rest.len() < size + 2 {
                return &[];
            }
            assert_eq!(&rest[size..size + 2], b"\r\n", "after a chunk");
            answer.body.extend_from_slice(&rest[..size]);
            rest = &rest[size + 2..];
            if size == 0 {
                answer.whole = true;
                return rest;
            }
        }
        return &[];
    }
    let announced = answer.headers.get("content-length").map(|length| length.parse().expect("a length"));
    let length = announced.unwrap_or(bytes.len());
    answer.whole = bytes.len() >= length;
    let (body, rest) = bytes.split_at(length.min(bytes.len()));
    answer.body = body.to_vec();
    rest
}

/// Waits until a condition holds.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "timed out after {PATIENCE:?} waiting for this: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
