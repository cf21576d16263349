//! Hostile clients, and a log that nobody reads.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use crate::harness::{Site, ask, connect, read_one, read_until_closed, take_apart, wait_until};
use crate::process::{Program, RESTREAMER, Running, Served, is_long_run};

const NOW: &str = "2026-11-22T00:00:00";

/// A value of `/proc/PID/status`: KiB or a count.
pub(crate) fn status_of(running: &Running, name: &str) -> u64 {
    let status = std::fs::read_to_string(running.proc_file("status")).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).expect(name);
    line.split_whitespace().next().and_then(|number| number.parse().ok()).expect(line)
}

/// Sends the same bytes repeatedly, until `total` are sent, the server closes the connection, or it stops reading.
fn send_many(mut stream: &TcpStream, bytes: &[u8], total: usize) -> usize {
    stream.set_write_timeout(Some(Duration::from_secs(1))).expect("set a time limit");
    let mut sent = 0;
    while sent < total {
        match stream.write(bytes) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    sent
}

#[test]
fn a_log_that_nobody_reads_blocks_no_request() {
    let archive = tempfile::tempdir().expect("a temporary directory");
    let served = Served::by(Program::new(RESTREAMER).leave_stderr_unread(), archive.path(), &[]);
    let target = format!("/files?{}", "x".repeat(1000));
    // More than a pipe and the server buffer together.
    for _ in 0..3000 {
        assert_eq!(ask(served.address, "GET", &target, &[]).status, 200);
    }
}

#[test]
fn pipelined_requests_take_no_memory_if_responses_are_not_read() {
    let archive = tempfile::tempdir().expect("a temporary directory");
    let served = Served::over(archive.path(), &["--log-level", "warn"]);
    wait_until("it has looked for ffmpeg", || ask(served.address, "GET", "/health", &[]).status == 200);
    let before = status_of(&served.running, "VmHWM");
    let threads = status_of(&served.running, "Threads");
    let request = b"GET /files HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2000);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let stream = connect(served.address);
                send_many(&stream, &request, 50_000_000);
                assert_eq!(ask(served.address, "GET", "/files", &[]).status, 200);
            });
        }
    });
    let grown = status_of(&served.running, "VmHWM") - before;
    assert!(grown < 8 * 1024, "the server has grown by {grown} KiB");
    assert!(status_of(&served.running, "Threads") <= threads, "there are more threads");
}

#[test]
fn idle_connections_keep_no_memory_of_large_request_heads() {
    let archive = tempfile::tempdir().expect("a temporary directory");
    let served = Served::over(archive.path(), &["--log-level", "warn"]);
    let head = format!("GET /files HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(16_000));
    wait_until("it has looked for ffmpeg", || ask(served.address, "GET", "/health", &[]).status == 200);
    let mut idle = Vec::new();
    let mut before = 0;
    for number in 0..1100 {
        let mut stream = connect(served.address);
        stream.write_all(head.as_bytes()).expect("ask");
        assert_eq!(read_one(&mut stream).status, 200);
        idle.push(stream);
        if number == 100 {
            before = status_of(&served.running, "VmRSS");
        }
    }
    let grown = status_of(&served.running, "VmRSS").saturating_sub(before);
    assert!(grown < 4 * 1024, "a thousand idle connections take {grown} KiB");
}

#[test]
fn endless_request_heads_are_refused_and_closed() {
    let site = Site::at(NOW);
    let rows: [(&str, &[u8], u16); 4] = [
        ("GET /files HTTP/1.1\r\nHost: a\r\nX: ", b"yyyyyyyyyyyyyyyy", 431),
        ("GET /files HTTP/1.1\r\nHost: a\r\n", b"X: y\r\n", 431),
        ("GET /", b"xxxxxxxxxxxxxxxx", 431),
        ("", b"\r\n", 431),
    ];
    for (begun, more, status) in rows {
        let mut stream = connect(site.address);
        stream.write_all(begun.as_bytes()).expect("begin");
        let sent = send_many(&stream, &more.repeat(1000), 50_000_000);
        assert!(sent < 50_000_000, "{begun:?} was read to its end");
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        // A client that keeps sending may get the reset before the response.
        if let Some(answer) = take_apart(&bytes, &[]).first() {
            assert_eq!(answer.status, status, "{begun:?}");
        }
    }
    wait_until("all are closed", || site.server().connections() == 0);
}

#[test]
fn short_connections_leak_no_descriptors_or_threads() {
    let archive = tempfile::tempdir().expect("a temporary directory");
    let served = Served::over(archive.path(), &["--log-level", "warn"]);
    let descriptors = || std::fs::read_dir(served.running.proc_file("fd")).expect("descriptors").count();
    wait_until("it has looked for ffmpeg", || ask(served.address, "GET", "/health", &[]).status == 200);
    let (open, threads) = (descriptors(), status_of(&served.running, "Threads"));
    thread::scope(|scope| {
        let others = scope.spawn(|| {
            for _ in 0..20 {
                assert_eq!(ask(served.address, "GET", "/files", &[]).status, 200);
            }
        });
        connect_repeatedly(served.address, || others.is_finished());
    });
    wait_until("all descriptors are back", || descriptors() <= open);
    wait_until("the only connection is the one that asks", || {
        let page = ask(served.address, "GET", "/metrics", &[]).text();
        let counts = page.lines().filter_map(|line| line.strip_prefix("connections{")?.rsplit_once(' '));
        counts.map(|(_, count)| count.parse::<u32>().expect("a number")).sum::<u32>() <= 1
    });
    assert!(status_of(&served.running, "Threads") <= threads, "there are more threads");
    assert_eq!(ask(served.address, "GET", "/files", &[]).status, 200);
}

/// Connects and disconnects as fast as possible: a thousand times, and until `is_over`.
fn connect_repeatedly(address: SocketAddr, is_over: impl Fn() -> bool) {
    for count in 0_u64.. {
        if count >= 1000 && is_over() {
            return;
        }
        // In turns: disconnect immediately, with a reset, within a request head, after a request.
        let mut stream = connect(address);
        match count % 4 {
            0 => drop(stream),
            1 => rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).expect("a reset"),
            2 => drop(stream.write_all(b"GET /fi")),
            _ => drop(stream.write_all(b"GET /files HTTP/1.1\r\nHost: a\r\n\r\n")),
        }
    }
}

/// Pseudorandom numbers that are the same in every run.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % bound as u64).expect("a small number")
    }

    /// A request with up to two bytes changed, inserted or removed.
    fn request(&mut self) -> Vec<u8> {
        const TARGETS: [&str; 9] = [
            "/",
            "/files/%2e%2e/a",
            "/files/s/v/2026-11-20T10?tombstones=x",
            "/segments/s/a.txt",
            "/playlist/s.m3u8?start=2026-11-20T10:00",
            "/playlist/s/v.m3u8?start=0001-01-01&end=9999-12-31T23:59:59.999999",
            "/cut/s/v.ts?start=2026-11-20T10&end=2026-11-20T11&type=rough",
            "/health",
            "//?&=&%",
        ];
        const METHODS: [&str; 5] = ["GET", "GET", "HEAD", "OPTIONS", "POST"];
        const HEADERS: [&str; 5] = [
            "Range: bytes=1-2,-",
            "If-None-Match: W/\"x\", \"y",
            "Accept-Encoding: *;q=0.",
            "Content-Length: 3",
            "Connection: keep-alive",
        ];
        let version = self.below(2);
        let mut bytes = format!(
            "{} {} HTTP/1.{version}\r\nHost: a\r\n{}\r\n\r\nabc",
            METHODS[self.below(METHODS.len())],
            TARGETS[self.below(TARGETS.len())],
            HEADERS[self.below(HEADERS.len())]
        )
        .into_bytes();
        for _ in 0..self.below(3) {
            let at = self.below(bytes.len());
            match self.below(3) {
                0 => drop(bytes.remove(at)),
                1 => bytes.insert(at, b"\r\n \0:/%?=&\xff"[self.below(11)]),
                _ => bytes[at] ^= 1 << self.below(8),
            }
        }
        bytes
    }
}

/// Sends bytes, shuts down the sending side, and reads until the server closes.
fn send_and_read(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(address);
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    read_until_closed(&mut stream)
}

#[test]
fn any_bytes_get_a_response_or_a_closed_connection() {
    let site = Site::at(NOW);
    site.write("s/a.txt", b"ready");
    site.write("s/v/2026-11-20T10/00:00.000-2.000-full-x.ts", &[b'x'; 188]);
    let (mut seeded, mut answered) = (Seeded(20_261_122), 0);
    let rounds = if is_long_run() { 100_000 } else { 4000 };
    for _ in 0..rounds {
        let request = seeded.request();
        let bytes = send_and_read(site.address, &request);
        let shown = String::from_utf8_lossy(&request);
        if !bytes.is_empty() {
            answered += 1;
            assert!(bytes.starts_with(b"HTTP/1.1 "), "{shown:?}: {bytes:?}");
            assert!(!bytes.starts_with(b"HTTP/1.1 500"), "{shown:?}: {}", String::from_utf8_lossy(&bytes));
        }
    }
    assert!(answered > rounds / 4 * 3, "only {answered} were answered");
    assert_eq!(site.server().panics(), 0);
    wait_until("all are closed", || site.server().connections() == 0);
    assert_eq!(site.get("/segments/s/a.txt").text(), "ready");
}
