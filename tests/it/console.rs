//! The console, for administrators on the same machine.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use restreamer::http::reply::Reply;
use restreamer::http::request::Request;
use restreamer::http::{Pool, Routed, Service};
use restreamer::server::{Limits, Server};

use crate::cuts;
use crate::harness::{PATIENCE, WORKERS, ask, connect, read_until_closed, received, serve, wait_until};
use crate::process::{Program, Served};

/// A session of the console.
struct Session(BufReader<TcpStream>);

impl Session {
    fn at(address: SocketAddr) -> Self {
        let mut session = Self(BufReader::new(connect(address)));
        let greeting = session.read_answer();
        assert!(greeting.starts_with("restreamer ") && greeting.contains("`help`"), "{greeting}");
        session
    }

    fn run(&mut self, line: &str) -> String {
        self.0.get_mut().write_all(format!("{line}\n").as_bytes()).expect("send a request");
        self.read_answer()
    }

    /// Reads up to an empty line.
    fn read_answer(&mut self) -> String {
        let mut text = String::new();
        while !text.ends_with("\n\n") && text != "\n" {
            let count = received(self.0.read_line(&mut text), "an answer of the console");
            assert!(count > 0, "the session ended after `{text}`");
        }
        text
    }
}

/// A service that blocks its workers until it is released.
#[derive(Default)]
struct Stub {
    released: AtomicBool,
}

impl Service for Stub {
    fn route(&self, request: &Request) -> Routed {
        let pool = match request.path() {
            "/quick" => Pool::Quick,
            "/playlist" => Pool::Playlist,
            "/media" => Pool::Media,
            _ => Pool::Cut,
        };
        pool.into()
    }

    fn call(&self, _: &Request, _: Routed, _: &dyn Fn() -> bool) -> Reply {
        wait_until("the test releases it", || self.released.load(Ordering::SeqCst));
        Reply::empty(200)
    }
}

fn console_of(server: &mut Server) -> SocketAddr {
    let address = server.open_console(0).expect("a console");
    assert!(address.ip().is_loopback());
    address
}

#[test]
fn the_console_responds_at_once_while_every_pool_is_full() {
    let stub = Arc::new(Stub::default());
    let limits = Limits { queue: 2, ..Limits::default() };
    let mut server = serve(Arc::clone(&stub) as Arc<dyn Service>, limits);
    let console = console_of(&mut server);
    let mut session = Session::at(console);
    let mut waiting = Vec::new();
    let pools = ["quick", "playlist", "media", "cut"];
    wait_until("all pools are full", || {
        for pool in pools {
            let mut client = connect(server.address());
            client
                .write_all(format!("GET /{pool}?x HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
                .expect("send a request");
            waiting.push(client);
        }
        let text = session.run("connections");
        pools.iter().all(|pool| {
            let workers = if *pool == "cut" { WORKERS.cut } else { WORKERS.each };
            text.contains(&format!("pool {pool:<9} {workers:4} workers busy,    2 requests queued"))
        })
    });
    let refused = ask(server.address(), "GET", "/quick", &[]);
    assert_eq!(refused.status, 503);
    for command in ["requests", "threads", "cache", "connections", "help", "nonsense", "log", ""] {
        session.run(command);
    }
    let text = session.run("requests");
    assert!(text.starts_with("7 requests are in flight\n"), "{text}");
    assert!(text.contains("  GET /media?x  0 bytes\n") && text.contains(" s  127.0.0.1:"), "{text}");
    let text = session.run("connections");
    let line = text.lines().find(|line| line.starts_with("127.0.0.1 ")).expect("the addresses");
    assert!(line.contains(", 15 working, "), "{text}");
    let text = session.run("threads");
    assert!(
        ["quick-0", "cut-0", "event-loop", "accept", "console"].iter().all(|name| text.contains(name)),
        "{text}"
    );
    assert!(session.run("non\u{200b}sense").contains("no command `non\\u{200b}sense`"));
    stub.released.store(true, Ordering::SeqCst);
    drop(waiting);
    wait_until("no request is in progress", || session.run("requests").starts_with("0 requests"));
    assert!(server.stop(PATIENCE));
    assert_eq!(read_until_closed(session.0.get_mut()), b"");
}

#[test]
fn the_console_does_nothing_for_web_pages() {
    let mut server = serve(Arc::new(Stub::default()), Limits::default());
    let console = console_of(&mut server);
    let level = log::max_level();
    // What a browser sends for a page, in one or several packets. Each must end the session before the command in it.
    let rows: [&[&[u8]]; 9] = [
        &[b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10\r\n\r\nlog trace\n"],
        &[b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10\r\n\r\n", b"log trace\n"],
        &[b"POST / HT", b"TP/1.1\r", b"\nHost: 127.0.0.1\r\n\r\nlog trace\n"],
        &[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nlog trace\n"],
        &[b"POST / HTTP/1.1\nlog trace\n"],
        &[b"log trace HTTP/1.1\nlog trace\n"],
        &[b"POST / HTTP/1.1\rlog trace\n"],
        // TLS and STUN, whose messages may hold bytes that a page or its server has chosen.
        &[b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\nlog trace\n"],
        &[b"\x00\x03\x00\x24\x21\x12\xa4\x42", b"\nlog trace\n"],
    ];
    for packets in rows {
        let shown = String::from_utf8_lossy(&packets.concat()).into_owned();
        let mut stream = Session::at(console).0.into_inner();
        for packet in packets {
            // The session may have ended already.
            let _ = stream.write_all(packet);
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(read_until_closed(&mut stream), b"", "{shown:?}");
        assert_eq!(log::max_level(), level, "{shown:?}");
    }
    let mut session = Session::at(console);
    for line in ["log", "log trace now", "please log trace", "LOG trace"] {
        assert!(session.run(line).starts_with("there is no command `"), "{line}");
    }
    assert_eq!(log::max_level(), level);
    server.stop(Duration::ZERO);
}

#[test]
fn the_console_accepts_four_sessions_and_survives_bad_clients() {
    let mut server = serve(Arc::new(Stub::default()), Limits::default());
    let console = console_of(&mut server);
    let mut sessions: Vec<Session> = (0..4).map(|_| Session::at(console)).collect();
    let fifth = read_until_closed(&mut connect(console));
    assert_eq!(fifth, b"there are 4 sessions already\n");
    // One client quits, one sends an endless line, one never reads.
    sessions.pop();
    sessions[0].0.get_mut().write_all(&[b'x'; 5000]).expect("a long line");
    let _ = read_until_closed(sessions[0].0.get_mut());
    let unread = sessions.remove(1);
    unread.0.get_ref().set_write_timeout(Some(Duration::from_secs(1))).expect("a limit");
    while unread.0.get_ref().write_all(&b"threads\n".repeat(1000)).is_ok() {}
    wait_until("a session is free", || {
        let mut stream = connect(console);
        stream.write_all(b"quit\n").expect("send a request");
        read_until_closed(&mut stream).starts_with(b"restreamer ")
    });
    assert!(sessions[1].run("help").contains("connections"));
    server.stop(Duration::ZERO);
}

#[test]
fn the_console_changes_the_log_level_and_shows_the_ffmpeg_of_a_cut() {
    let port =
        TcpListener::bind(("127.0.0.1", 0)).and_then(|socket| socket.local_addr()).expect("a port").port();
    let archive = cuts::archive();
    let fake = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/ffmpeg-stalls");
    let programs = tempfile::tempdir().expect("a directory");
    let stalls = programs.path().join("ffmpeg");
    std::os::unix::fs::symlink(fake, &stalls).expect("a link");
    let stalls = stalls.to_str().expect("a path in UTF-8");
    let served = Served::over(archive.path(), &["--backdoor-port", &port.to_string(), "--ffmpeg", stalls]);
    let mut session = Session::at(([127, 0, 0, 1], port).into());
    assert_eq!(session.run("log loud"), "levels are off, error, warn, info, debug and trace\n\n");
    assert_eq!(session.run("log warn"), "the log's level was INFO and is WARN now\n\n");
    ask(served.address, "GET", "/nothing/quiet", &[]);
    assert_eq!(session.run("log debug"), "the log's level was WARN and is DEBUG now\n\n");
    ask(served.address, "GET", "/nothing/loud", &[]);
    assert!(session.run("cache").ends_with(" misses\n\n"));
    let mut client = connect(served.address);
    let request = format!("GET /cut/s/v.ts?{} HTTP/1.1\r\nHost: x\r\n\r\n", cuts::RANGE);
    client.write_all(request.as_bytes()).expect("send a request");
    wait_until("its ffmpeg is shown", || {
        let text = session.run("requests");
        let pid = text.split_once("  ffmpeg ").and_then(|(_, rest)| rest.split('\n').next());
        pid.is_some_and(|pid| std::fs::metadata(format!("/proc/{pid}")).is_ok())
    });
    drop(client);
    wait_until("the cut has ended", || session.run("requests").starts_with("0 requests"));
    served.running.signal(rustix::process::Signal::TERM);
    let output = served.running.wait();
    assert_eq!(output.code, Some(0));
    assert!(output.stderr.contains("/nothing/loud") && !output.stderr.contains("/nothing/quiet"));
    assert!(output.stderr.contains("the console listens on 127.0.0.1:"), "{}", output.stderr);
}

#[test]
fn a_port_in_use_is_reported_in_one_line() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = taken.local_addr().expect("its address").port().to_string();
    let archive = tempfile::tempdir().expect("a directory");
    let arguments = ["--port", "0", "--host", "127.0.0.1", "--backdoor-port", &port, "--base-dir"];
    let program = Program::new(crate::process::RESTREAMER).args(arguments).args([archive.path()]);
    let output = program.run();
    assert_eq!((output.code, output.stdout.as_str()), (Some(1), ""));
    let last = output.stderr.lines().last().unwrap_or_default();
    assert!(last.starts_with(&format!("restreamer: cannot open a console at 127.0.0.1:{port}: ")), "{last}");
}
