//! Streamed bodies, handlers that fail, and full pools: a server with a stub service.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use restreamer::error::{Error, Result};
use restreamer::http::reply::{Body, Piece, Reply, Sink};
use restreamer::http::request::Request;
use restreamer::http::{Pool, Routed, Service};
use restreamer::server::{Limits, Server};

use crate::harness::{
    LEFT_UNREAD, PATIENCE, WORKERS, ask, connect, exchange, read_until_closed, serve, take_apart, wait_until,
};

/// A service whose paths name what they do.
#[derive(Debug, Default)]
struct Stub {
    /// Releases the handlers and bodies that block.
    released: Arc<AtomicBool>,
    /// Number of requests that have been routed. The event loop queues each before it routes the next.
    routed: AtomicUsize,
    /// Number of calls.
    calls: AtomicUsize,
    /// Set when a body has seen that it is cancelled.
    cancelled: Arc<AtomicBool>,
}

fn failure() -> Error {
    Error::Changed("a test".to_owned())
}

fn sent(result: std::io::Result<()>) -> Result<()> {
    result.map_err(Error::io("send to", "the client"))
}

/// Writes until the client disconnects.
fn endless(out: &mut dyn Sink) -> Result<()> {
    loop {
        sent(out.write_all(&[b'x'; 10_000]))?;
    }
}

impl Service for Stub {
    fn route(&self, request: &Request) -> Routed {
        let pool = match request.path() {
            path if path.starts_with("/wait") => Pool::Cut,
            path if path.starts_with("/list") => Pool::Playlist,
            _ => Pool::Media,
        };
        self.routed.fetch_add(1, Ordering::SeqCst);
        pool.into()
    }

    fn call(&self, request: &Request, _: Routed, _: &dyn Fn() -> bool) -> Reply {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let cancelled = Arc::clone(&self.cancelled);
        let body = match request.path() {
            "/whole" | "/list/whole" => Body::streamed(|out| sent(out.write_all(&vec![b'x'; 200_000]))),
            "/empty" => Body::streamed(|_| Ok(())),
            "/flushed" => Body::streamed(|out| {
                sent(out.write_all(b"first").and_then(|()| out.flush()))?;
                sent(out.write_all(b"second"))
            }),
            "/fails" | "/list/fails" => Body::streamed(|out| {
                sent(out.write_all(&vec![b'x'; 200_000]))?;
                Err(failure())
            }),
            "/fails-at-once" | "/list/fails-at-once" => Body::streamed(|_| Err(failure())),
            "/panics-late" | "/list/panics-late" => Body::streamed(|out| {
                sent(out.write_all(&vec![b'x'; 200_000]))?;
                panic!("as it should")
            }),
            "/list/held" => {
                let released = Arc::clone(&self.released);
                Body::streamed(move |out| {
                    wait_until("the test releases it", || released.load(Ordering::SeqCst));
                    sent(out.write_all(b"ready"))
                })
            }
            "/endless" | "/list/endless" => Body::streamed(endless),
            "/silent" => Body::streamed(move |out| {
                let begun = Instant::now();
                while !out.is_cancelled() && begun.elapsed() < PATIENCE {
                    std::thread::sleep(Duration::from_millis(5));
                }
                cancelled.store(out.is_cancelled(), Ordering::SeqCst);
                Err(failure())
            }),
            "/nothing" => Body::Known { len: 10, pieces: Box::new(std::iter::empty()) },
            "/short" => {
                let pieces = [Ok(Piece::Bytes(vec![b'x'; 100_000].into())), Err(failure())];
                Body::Known { len: 200_000, pieces: Box::new(pieces.into_iter()) }
            }
            "/large" => Body::bytes(vec![b'x'; 16 * 1024 * 1024]),
            "/panics" => panic!("as it should"),
            path => {
                if path.starts_with("/wait") {
                    wait_until("the test releases it", || self.released.load(Ordering::SeqCst));
                }
                Body::bytes(b"ready".to_vec())
            }
        };
        Reply::empty(200).with_body(body)
    }
}

/// Sends an HTTP/1.0 request. Returns the response, and whether the connection was closed without a reset.
fn get_http_1_0(address: SocketAddr, target: &str) -> (Vec<u8>, bool) {
    let mut stream = connect(address);
    stream.write_all(format!("GET {target} HTTP/1.0\r\n\r\n").as_bytes()).expect("send a request");
    let mut bytes = Vec::new();
    let ended = stream.read_to_end(&mut bytes);
    (bytes, ended.is_ok())
}

#[test]
fn a_streamed_body_is_chunked_or_ends_with_the_connection() {
    let server = serve(Arc::new(Stub::default()), Limits::default());
    let address = server.address();
    for (target, len) in [("/whole", 200_000), ("/list/whole", 200_000), ("/empty", 0), ("/flushed", 11)] {
        let answer = ask(address, "GET", target, &[]);
        assert_eq!((answer.whole, answer.body.len()), (true, len), "{target}");
        assert_eq!((answer.header("transfer-encoding"), answer.header("content-length")), ("chunked", ""));
        let (bytes, proper) = get_http_1_0(address, target);
        assert!(proper && !String::from_utf8_lossy(&bytes).contains("Transfer-Encoding"), "{target}");
        assert_eq!(take_apart(&bytes, &[])[0].body.len(), len, "{target}");
        let head = ask(address, "HEAD", target, &[]);
        assert_eq!((head.status, head.body.len()), (200, 0), "{target}");
    }
    // The connection stays open after a streamed body.
    let request = "GET /flushed HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2) + "GET /empty HTTP/1.0\r\n\r\n";
    let bodies: Vec<usize> =
        exchange(address, request.as_bytes(), &[]).iter().map(|answer| answer.body.len()).collect();
    assert_eq!(bodies, [11, 11, 0]);
    server.stop(PATIENCE);
}

#[test]
fn a_body_that_fails_does_not_look_complete() {
    let server = serve(Arc::new(Stub::default()), Limits::default());
    let address = server.address();
    for target in ["/fails", "/list/fails", "/panics-late", "/list/panics-late", "/short"] {
        let answer = ask(address, "GET", target, &[]);
        assert!(answer.status == 200 && !answer.whole, "{target}");
        let (_, proper) = get_http_1_0(address, target);
        assert!(!proper, "{target} looks complete with HTTP/1.0");
    }
    for target in ["/fails-at-once", "/list/fails-at-once", "/nothing"] {
        let answer = ask(address, "GET", target, &[]);
        assert_eq!(answer.text(), "the archive changed while it was being read; try again\n", "{target}");
        assert_eq!((answer.status, answer.whole), (500, true), "{target}");
    }
    assert_eq!(server.panics(), 4);
    assert!(server.stop(PATIENCE));
}

#[test]
fn curl_can_tell_that_a_body_failed() {
    let server = serve(Arc::new(Stub::default()), Limits::default());
    for target in ["fails", "short", "panics-late"] {
        for version in ["--http1.1", "--http1.0"] {
            let url = format!("http://{}/{target}", server.address());
            #[allow(clippy::disallowed_methods, reason = "curl is a peer of this test")]
            let output =
                std::process::Command::new("curl").args(["-sS", version, "-o", "/dev/null", &url]).output();
            let output = output.expect("curl runs");
            assert!(!output.status.success(), "{target} {version}: {output:?}");
        }
    }
    server.stop(PATIENCE);
}

#[test]
fn a_handler_that_panics_gives_a_500_and_its_worker_survives() {
    let server = serve(Arc::new(Stub::default()), Limits::default());
    for _ in 0..3 * WORKERS.each {
        let answer = ask(server.address(), "GET", "/panics", &[]);
        assert_eq!((answer.status, answer.text().lines().count()), (500, 1));
    }
    assert_eq!(ask(server.address(), "GET", "/ready", &[]).text(), "ready");
    assert_eq!(server.panics(), 3 * WORKERS.each as u64);
    assert!(server.stop(PATIENCE));
}

#[test]
fn a_client_that_reads_a_streamed_body_too_slowly_is_aborted() {
    let stalled = Limits { write_timeout: Duration::from_millis(300), ..Limits::default() };
    let slow = Limits { rate_window: Duration::from_millis(300), min_rate: 1 << 40, ..Limits::default() };
    for limits in [stalled, slow] {
        let server = serve(Arc::new(Stub::default()), limits);
        let mut stream = connect(server.address());
        stream.write_all(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n").expect("send a request");
        stream.peek(&mut [0]).expect("the first byte");
        wait_until("it is aborted", || server.connections() == 0);
        assert!(!take_apart(&read_until_closed(&mut stream), &[])[0].whole);
        assert!(server.stop(PATIENCE));
    }
}

#[test]
fn a_body_is_cancelled_when_its_client_disconnects() {
    // What the client has sent behind its request stays unread.
    for more in LEFT_UNREAD {
        for is_sent_later in [false, true] {
            let stub = Arc::new(Stub::default());
            let server = serve(Arc::clone(&stub) as Arc<dyn Service>, Limits::default());
            let mut stream = connect(server.address());
            let request = "GET /silent HTTP/1.1\r\nHost: a\r\n\r\n".to_owned();
            let (first, later) = if is_sent_later { (request, more) } else { (request + more, "") };
            stream.write_all(first.as_bytes()).expect("send a request");
            wait_until("a worker has it", || stub.calls.load(Ordering::SeqCst) == 1);
            stream.write_all(later.as_bytes()).expect("send more");
            drop(stream);
            wait_until("it is cancelled", || stub.cancelled.load(Ordering::SeqCst));
            wait_until("it is closed", || server.connections() == 0);
            assert!(server.stop(PATIENCE), "{more:?}");
        }
    }
}

#[test]
fn streamed_bodies_without_progress_give_way_to_new_clients() {
    let eviction_age = Duration::from_millis(100);
    let limits = Limits { max_connections: 2, eviction_age, ..Limits::default() };
    let server = serve(Arc::new(Stub::default()), limits);
    let mut stalled: Vec<TcpStream> = (0..2).map(|_| connect(server.address())).collect();
    for stream in &mut stalled {
        stream.write_all(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n").expect("send a request");
        stream.peek(&mut [0]).expect("the first byte");
    }
    wait_until("a new client is served", || {
        let answer = exchange(server.address(), b"GET /list/short HTTP/1.0\r\n\r\n", &[]).remove(0);
        answer.status == 200
    });
    wait_until("one of them has given way", || server.connections() < 2);
    server.stop(Duration::ZERO);
    for mut stream in stalled {
        assert!(!take_apart(&read_until_closed(&mut stream), &[])[0].whole, "an aborted body looks complete");
    }
}

#[test]
fn sixteen_long_playlists_at_once_wait_for_their_turn() {
    let stub = Arc::new(Stub::default());
    let server = serve(Arc::clone(&stub) as Arc<dyn Service>, Limits::default());
    let request = b"GET /list/held HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let mut clients: Vec<TcpStream> = (0..16).map(|_| connect(server.address())).collect();
    for client in &mut clients {
        client.write_all(request).expect("send a request");
    }
    wait_until("all have been routed", || stub.calls.load(Ordering::SeqCst) == 16);
    stub.released.store(true, Ordering::SeqCst);
    for mut client in clients {
        assert_eq!(take_apart(&read_until_closed(&mut client), &[])[0].text(), "ready");
    }
    assert!(server.stop(PATIENCE));
}

#[test]
fn the_end_of_the_grace_period_aborts_streamed_bodies() {
    for target in ["/endless", "/list/endless", "/silent"] {
        let stub = Arc::new(Stub::default());
        let server = serve(Arc::clone(&stub) as Arc<dyn Service>, Limits::default());
        let mut stream = connect(server.address());
        stream
            .write_all(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())
            .expect("send a request");
        wait_until("it is in progress", || stub.calls.load(Ordering::SeqCst) == 1);
        assert!(!server.stop(Duration::from_millis(50)), "{target}");
    }
}

#[test]
fn a_full_pool_responds_503_at_once_and_other_pools_keep_serving() {
    let stub = Arc::new(Stub::default());
    let server = serve(Arc::clone(&stub) as Arc<dyn Service>, Limits::default());
    let address = server.address();
    let waiting = fill_cut_pool(&server, &stub);
    for _ in 0..10 {
        let refused = ask(address, "GET", "/wait", &[]);
        assert_eq!((refused.status, refused.header("retry-after")), (503, "1"));
        assert_eq!(ask(address, "GET", "/ready", &[]).text(), "ready");
    }
    // A client that gets a 503 can send further requests on the same connection.
    let both = "GET /wait HTTP/1.1\r\nHost: a\r\n\r\nGET /ready HTTP/1.0\r\n\r\n";
    let statuses: Vec<u16> =
        exchange(address, both.as_bytes(), &[]).iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [503, 200]);
    stub.released.store(true, Ordering::SeqCst);
    for mut stream in waiting {
        assert_eq!(take_apart(&read_until_closed(&mut stream), &[])[0].text(), "ready");
    }
    assert!(server.stop(PATIENCE));
}

/// Fills the pool for cuts: one request is in progress and two are queued.
fn fill_cut_pool(server: &Server, stub: &Stub) -> Vec<TcpStream> {
    let mut waiting = Vec::new();
    for number in 1..=3 {
        let mut stream = connect(server.address());
        stream
            .write_all(b"GET /wait HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .expect("send a request");
        wait_until("it is routed", || stub.routed.load(Ordering::SeqCst) == number);
        wait_until("one request is in progress", || stub.calls.load(Ordering::SeqCst) == 1);
        waiting.push(stream);
    }
    waiting
}

#[test]
fn a_client_that_floods_a_full_pool_does_not_starve_other_clients() {
    let stub = Arc::new(Stub::default());
    let server = serve(Arc::clone(&stub) as Arc<dyn Service>, Limits::default());
    let waiting = fill_cut_pool(&server, &stub);
    let over = AtomicBool::new(false);
    let request = b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n";
    let stream = connect(server.address());
    let (mut writer, mut reader) = (&stream, &stream);
    let refused = std::thread::scope(|scope| {
        scope.spawn(|| {
            let many = request.repeat(1000);
            let is_running = || !over.load(Ordering::SeqCst);
            let _ = std::iter::repeat(())
                .take_while(|()| is_running())
                .try_for_each(|()| writer.write_all(&many));
        });
        let reading = scope.spawn(|| {
            let (mut buffer, mut bytes) = (vec![0; 1 << 20], 0);
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                bytes += count;
            }
            bytes
        });
        let others = scope.spawn(|| {
            for _ in 0..500 {
                assert_eq!(ask(server.address(), "GET", "/ready", &[]).text(), "ready");
            }
        });
        let others = others.join();
        over.store(true, Ordering::SeqCst);
        stub.released.store(true, Ordering::SeqCst);
        let _ = stream.shutdown(std::net::Shutdown::Both);
        others.expect("the other client is served");
        reading.join().expect("a reader")
    });
    assert!(refused > 100_000, "only {refused} bytes of 503 responses came");
    drop(waiting);
    assert!(server.stop(PATIENCE));
}

#[test]
fn queued_requests_are_not_started_after_the_grace_period() {
    let stub = Arc::new(Stub::default());
    let server = serve(Arc::clone(&stub) as Arc<dyn Service>, Limits::default());
    let waiting = fill_cut_pool(&server, &stub);
    let address = server.address();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Without a grace period the responses are aborted as soon as no more connections are accepted.
            wait_until("it stops", || TcpStream::connect(address).is_err());
            std::thread::sleep(Duration::from_millis(300));
            stub.released.store(true, Ordering::SeqCst);
        });
        assert!(!server.stop(Duration::ZERO));
    });
    assert_eq!(stub.calls.load(Ordering::SeqCst), 1, "a queued request was started");
    drop(waiting);
}

#[test]
fn memory_for_slow_clients_is_bounded() {
    let limits = Limits { held_bytes: 40 * 1024 * 1024, ..Limits::default() };
    let server = serve(Arc::new(Stub::default()), limits);
    let request = b"GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let waiting: Vec<TcpStream> = (0..10)
        .map(|_| {
            let mut stream = connect(server.address());
            stream.write_all(request).expect("send a request");
            stream.peek(&mut [0]).expect("an answer");
            stream
        })
        .collect();
    // Two responses fit.
    wait_until("the others are aborted", || server.connections() == 2);
    let whole = |mut stream: TcpStream| take_apart(&read_until_closed(&mut stream), &[])[0].whole;
    assert_eq!(waiting.into_iter().map(whole).filter(|whole| *whole).count(), 2);
    assert_eq!(ask(server.address(), "GET", "/ready", &[]).text(), "ready");
    assert!(server.stop(PATIENCE));
}

#[test]
fn slow_readers_of_long_playlists_do_not_delay_short_playlists() {
    let server = serve(Arc::new(Stub::default()), Limits { queue: 4, ..Limits::default() });
    let begin = |number: usize| {
        let mut stream = connect(server.address());
        stream.write_all(b"GET /list/endless HTTP/1.1\r\nHost: a\r\n\r\n").expect("send a request");
        wait_until("it is open", || server.connections() == number);
        stream
    };
    // Two responses are in progress and four requests are queued.
    let mut slow: Vec<TcpStream> = (1..=2).map(begin).collect();
    for stream in &mut slow {
        stream.read_exact(&mut [0]).expect("the first byte");
    }
    slow.extend((3..=6).map(begin));
    for _ in 0..10 {
        assert_eq!(ask(server.address(), "GET", "/list/short", &[]).text(), "ready");
    }
    let both = "GET /list/endless HTTP/1.1\r\nHost: a\r\n\r\nGET /list/short HTTP/1.0\r\n\r\n";
    let answers = exchange(server.address(), both.as_bytes(), &[]);
    assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), [503, 200]);
    assert_eq!(answers[0].header("retry-after"), "1");
    drop(slow);
    wait_until("they are closed", || server.connections() == 0);
    assert_eq!(ask(server.address(), "GET", "/list/whole", &[]).body.len(), 200_000);
    assert!(server.stop(PATIENCE));
}

#[test]
fn a_pipelined_request_during_a_stop_does_not_reset_the_response_before_it() {
    let stub = Arc::new(Stub::default());
    let server = serve(Arc::clone(&stub) as Arc<dyn Service>, Limits::default());
    let mut stream = connect(server.address());
    stream.write_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").expect("send a request");
    wait_until("one request is in progress", || stub.calls.load(Ordering::SeqCst) == 1);
    stream.write_all(b"GET /ready HTTP/1.1\r\nHost: a\r\n\r\n").expect("send another request");
    let address = server.address();
    std::thread::scope(|scope| {
        let stopping = scope.spawn(|| server.stop(PATIENCE));
        wait_until("it stops", || TcpStream::connect(address).is_err());
        stub.released.store(true, Ordering::SeqCst);
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("a regular end, not a reset");
        let answers = take_apart(&bytes, &[]);
        assert_eq!((answers.len(), answers[0].header("connection")), (1, "close"));
        drop(stream);
        assert!(stopping.join().expect("it stops"), "a response was aborted");
    });
}
