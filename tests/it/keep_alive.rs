//! Keep-alive connections: they return to the event loop after each response and belong to no pool.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use restreamer::http::reply::Reply;
use restreamer::http::request::Request;
use restreamer::http::{Pool, Routed, Service};
use restreamer::server::Limits;

use crate::harness::{PATIENCE, Site, WORKERS, connect, read_one, read_until_closed, serve, wait_until};

/// A service with two pools. `/media/wait` blocks until it is released, and sets `waits` meanwhile.
#[derive(Default)]
struct Stub {
    waits: AtomicBool,
    released: AtomicBool,
}

impl Service for Stub {
    fn route(&self, request: &Request) -> Routed {
        if request.path().starts_with("/media") { Pool::Media.into() } else { Pool::Quick.into() }
    }

    fn call(&self, request: &Request, _: Routed, _: &dyn Fn() -> bool) -> Reply {
        if request.path() == "/media/wait" {
            self.waits.store(true, Ordering::SeqCst);
            wait_until("the test releases it", || self.released.load(Ordering::SeqCst));
        }
        Reply::bytes("text/plain", request.target.clone().into_bytes())
    }
}

fn send(stream: &mut TcpStream, target: &str) {
    stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).expect("send a request");
}

/// Sends a request on a keep-alive connection and reads the body of the response.
fn get(stream: &mut TcpStream, target: &str) -> String {
    send(stream, target);
    read_one(stream).text()
}

/// Opens a keep-alive connection and sends a first request.
fn keep_alive(address: SocketAddr, target: &str) -> TcpStream {
    let mut stream = connect(address);
    assert_eq!(get(&mut stream, target), target);
    stream
}

#[test]
fn a_keep_alive_connection_can_use_other_pools_while_its_last_pool_is_busy() {
    let stub = Arc::new(Stub::default());
    let server = serve(Arc::clone(&stub) as Arc<dyn Service>, Limits::default());
    let mut connections: Vec<TcpStream> =
        (0..20).map(|_| keep_alive(server.address(), "/media/now")).collect();
    let mut busy: Vec<TcpStream> = (0..WORKERS.each).map(|_| connect(server.address())).collect();
    for stream in &mut busy {
        send(stream, "/media/wait");
    }
    wait_until("a worker waits", || stub.waits.load(Ordering::SeqCst));
    for (number, stream) in connections.iter_mut().enumerate() {
        let target = format!("/quick/{number}");
        assert_eq!(get(stream, &target), target);
    }
    stub.released.store(true, Ordering::SeqCst);
    for stream in &mut busy {
        assert_eq!(read_one(stream).text(), "/media/wait");
    }
    assert!(server.stop(PATIENCE));
}

#[test]
fn a_connection_may_change_pools_with_every_request() {
    let server = serve(Arc::new(Stub::default()), Limits::default());
    let address = server.address();
    std::thread::scope(|scope| {
        for client in 0..8 {
            scope.spawn(move || {
                let mut stream = connect(address);
                for number in 0..500 {
                    let pool = if (client + number) % 3 == 0 { "media" } else { "quick" };
                    let target = format!("/{pool}/{client}/{number}");
                    assert_eq!(get(&mut stream, &target), target);
                }
            });
        }
    });
    wait_until("all are closed", || server.connections() == 0);
    assert!(server.stop(PATIENCE));
}

#[test]
fn a_request_in_pieces_on_a_keep_alive_connection_is_answered() {
    let server = serve(Arc::new(Stub::default()), Limits::default());
    let mut stream = keep_alive(server.address(), "/quick/1");
    for piece in [&b"GET /quick/2 HT"[..], b"TP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab", b"c"] {
        stream.write_all(piece).expect("send a piece");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(read_one(&mut stream).text(), "/quick/2");
    assert_eq!(get(&mut stream, "/media/3"), "/media/3");
    stream.write_all(b"rubbish\r\n\r\n").expect("send rubbish");
    assert_eq!(read_one(&mut stream).status, 400);
    assert!(read_until_closed(&mut stream).is_empty());
    assert!(server.stop(PATIENCE));
}

#[test]
fn more_pipelined_requests_than_fit_into_one_read_are_all_answered() {
    let server = serve(Arc::new(Stub::default()), Limits::default());
    let mut stream = keep_alive(server.address(), "/quick/0");
    // Together they exceed one read of the event loop.
    let count = 3000;
    let mut writing = stream.try_clone().expect("the same connection");
    let write = move || {
        for number in 1..=count {
            send(&mut writing, &format!("/quick/{number}"));
        }
    };
    let writer = std::thread::Builder::new().name("writer".to_owned()).spawn(write).expect("a thread");
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    let last = format!("/quick/{count}");
    while !bytes.ends_with(last.as_bytes()) {
        let read = stream.read(&mut buffer).expect("read on");
        assert!(read > 0, "the connection ended after {} bytes", bytes.len());
        bytes.extend_from_slice(&buffer[..read]);
    }
    writer.join().expect("all requests were sent");
    let answers = crate::harness::take_apart(&bytes, &[]);
    let expected = (1..=count).map(|number| format!("/quick/{number}"));
    assert!(answers.iter().map(crate::harness::Answer::text).eq(expected), "the responses are out of order");
    assert!(server.stop(PATIENCE));
}

#[test]
fn clients_that_pipeline_without_end_do_not_starve_the_others() {
    let server = serve(Arc::new(Stub::default()), Limits::default());
    let address = server.address();
    let is_over = AtomicBool::new(false);
    let requests = b"GET /quick/x HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1000);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let stream = connect(address);
                let (mut writer, mut reader) = (&stream, &stream);
                std::thread::scope(|scope| {
                    scope.spawn(|| while writer.write_all(&requests).is_ok() {});
                    let mut buffer = vec![0; 1 << 20];
                    while !is_over.load(Ordering::SeqCst) {
                        assert!(reader.read(&mut buffer).expect("responses") > 0, "the connection ended");
                    }
                    let _ = stream.shutdown(std::net::Shutdown::Both);
                });
            });
        }
        let others = scope.spawn(|| {
            for number in 0..20 {
                let target = format!("/quick/{number}");
                assert_eq!(keep_alive(address, &target).peer_addr().expect("a peer"), address);
            }
        });
        let result = others.join();
        is_over.store(true, Ordering::SeqCst);
        result.expect("the other client is served");
    });
    assert!(server.stop(PATIENCE));
}

#[test]
fn an_idle_keep_alive_connection_is_closed_after_the_idle_timeout() {
    let limits = Limits { idle_timeout: Duration::from_secs(2), ..Limits::default() };
    let server = serve(Arc::new(Stub::default()), limits);
    let begun = Instant::now();
    let mut stream = keep_alive(server.address(), "/quick/1");
    assert!(read_until_closed(&mut stream).is_empty());
    assert!(begun.elapsed() >= limits.idle_timeout, "{:?}", begun.elapsed());
    wait_until("it is closed", || server.connections() == 0);
    assert!(server.stop(PATIENCE));
}

#[test]
fn connections_are_evicted_in_the_order_in_which_they_became_idle() {
    let limits = Limits { max_connections: 4, ..Limits::default() };
    let server = serve(Arc::new(Stub::default()), limits);
    let quiet = |target: &str| {
        let stream = keep_alive(server.address(), target);
        std::thread::sleep(Duration::from_millis(20));
        stream
    };
    // A connection counts as idle both before its first request and between requests.
    let mut oldest = quiet("/media/1");
    let mut next = connect(server.address());
    std::thread::sleep(Duration::from_millis(50));
    let mut others = [quiet("/quick/2"), quiet("/media/3")];
    let mut new = [keep_alive(server.address(), "/quick/4"), keep_alive(server.address(), "/quick/5")];
    assert!(read_until_closed(&mut oldest).is_empty());
    assert!(read_until_closed(&mut next).is_empty());
    for stream in others.iter_mut().chain(&mut new) {
        assert_eq!(get(stream, "/quick/again"), "/quick/again");
    }
    assert!(server.stop(PATIENCE));
}

#[test]
fn idle_keep_alive_connections_do_not_delay_a_stop() {
    let limits = Limits { idle_timeout: 2 * PATIENCE, ..Limits::default() };
    let server = serve(Arc::new(Stub::default()), limits);
    let mut connections =
        [keep_alive(server.address(), "/quick/1"), keep_alive(server.address(), "/media/2")];
    assert!(server.stop(PATIENCE));
    for stream in &mut connections {
        assert!(read_until_closed(stream).is_empty());
    }
}

#[test]
fn a_file_is_sent_to_a_slow_client_and_aborted_for_a_stalled_one() {
    let limits = Limits { write_timeout: Duration::from_secs(3), ..Limits::default() };
    let site = Site::with("2026-11-22T00:00:00", limits);
    // Parts that are mixed up would show.
    let mix = |index: u32| u8::try_from(index.wrapping_mul(2_654_435_761) >> 24).unwrap_or(0);
    let bytes: Vec<u8> = (0..16 * 1024 * 1024).map(mix).collect();
    site.write("s/v/large.bin", &bytes);
    let mut slow = connect(site.address);
    send(&mut slow, "/segments/s/v/large.bin");
    // The client reads in steps, and its pauses are much shorter than the write timeout.
    let mut taken = vec![0; 2 * 1024 * 1024];
    let mut all = Vec::new();
    for _ in 0..4 {
        std::thread::sleep(Duration::from_secs(1));
        slow.read_exact(&mut taken).expect("a part");
        all.extend_from_slice(&taken);
    }
    let head = all.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4;
    while all.len() < head + bytes.len() {
        let count = slow.read(&mut taken).expect("read on");
        assert!(count > 0, "{} bytes came", all.len() - head);
        all.extend_from_slice(&taken[..count]);
    }
    assert!(all[head..] == bytes[..], "{} bytes came", all.len() - head);
    let mut stalled = connect(site.address);
    send(&mut stalled, "/segments/s/v/large.bin");
    stalled.peek(&mut [0]).expect("the first byte");
    drop(slow);
    wait_until("it is aborted", || site.server().connections() == 0);
    let mut rest = Vec::new();
    let _ = stalled.read_to_end(&mut rest);
    assert!(rest.len() < bytes.len(), "the stalled client got the whole body");
}

#[test]
fn a_keep_alive_connection_is_counted_as_idle_until_it_is_closed() {
    let site = Site::at("2026-11-22T00:00:00");
    let states = || {
        let page = site.get("/metrics").text();
        let state = |name: &str| {
            let line =
                page.lines().find(|line| line.starts_with(&format!("connections{{state=\"{name}\"}}")));
            line.and_then(|line| line.split(' ').nth(1)).expect("the state").to_owned()
        };
        (state("idle"), state("sending"))
    };
    let stream = {
        let mut stream = connect(site.address);
        send(&mut stream, "/files");
        assert_eq!(read_one(&mut stream).text(), "[]");
        stream
    };
    wait_until("it is idle", || states() == ("1".to_owned(), "0".to_owned()));
    drop(stream);
    wait_until("it is closed", || states() == ("0".to_owned(), "0".to_owned()));
}
