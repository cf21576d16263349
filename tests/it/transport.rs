//! The transport, byte by byte: malformed requests, limits, timeouts, slow clients, and the end of the server.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use restreamer::server::Limits;

use crate::harness::{
    Answer, PATIENCE, Site, ask, connect, exchange, read_one, read_until_closed, take_apart, wait_until,
};

const NOW: &str = "2026-11-22T00:00:00";

/// Sends bytes and returns the statuses of the responses.
fn statuses(site: &Site, bytes: &[u8]) -> Vec<u16> {
    let mut stream = connect(site.address);
    // The server may refuse the request and close the connection before all bytes are sent.
    let _ = stream.write_all(bytes);
    take_apart(&read_until_closed(&mut stream), &[]).iter().map(|answer| answer.status).collect()
}

fn with_headers(count: usize) -> Vec<u8> {
    let more = "X: y\r\n".repeat(count - 2);
    format!("GET /files HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{more}\r\n").into_bytes()
}

#[test]
fn malformed_requests_are_refused_and_the_connection_is_closed() {
    let site = Site::at(NOW);
    let long = format!("GET /files HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(17 * 1024));
    let rows: [(&[u8], u16); 21] = [
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET / HTTP/9.9\r\n\r\n", 505),
        (b"GET /files/a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET /files HTTP/1.1\r\n\r\n", 400),
        (b"GET /files HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n", 400),
        (b"GET /files HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400),
        (b"GET /files HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n", 400),
        (b"GET /files HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET /files HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999\r\n\r\n", 413),
        (b"GET /files HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET /files HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n", 400),
        (b"POST /files HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        (b"POST /files HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"POST /files HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", 400),
        (b"POST /files HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET /files HTTP/1.1\r\nHost: a\r\nExpect: foo\r\n\r\n", 417),
        (b"GET files HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (long.as_bytes(), 431),
        (&with_headers(101), 431),
    ];
    for (bytes, status) in rows {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(100)]);
        let mut stream = connect(site.address);
        stream.write_all(bytes).expect("send");
        let answers = take_apart(&read_until_closed(&mut stream), &[]);
        assert_eq!(answers.len(), 1, "{shown:?}");
        let answer = &answers[0];
        assert_eq!(answer.status, status, "{shown:?}");
        assert_eq!(answer.header("connection"), "close", "{shown:?}");
        assert_eq!(answer.header("access-control-allow-origin"), "*", "{shown:?}");
        assert_eq!(answer.text().lines().count(), 1, "{shown:?}");
    }
    assert_eq!(statuses(&site, &with_headers(100)), [200]);
    wait_until("all connections are closed", || site.server().connections() == 0);
}

#[test]
fn a_413_arrives_while_the_client_is_still_sending() {
    let site = Site::at(NOW);
    let mut stream = connect(site.address);
    stream
        .write_all(b"POST /files HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n")
        .expect("send the head");
    thread::sleep(Duration::from_millis(50));
    // The server discards up to this many bytes. Unread bytes would turn the close into a reset.
    stream.write_all(&vec![b'x'; 200_000]).expect("send the body");
    assert_eq!(read_one(&mut stream).status, 413);
}

#[test]
fn an_incomplete_request_times_out_with_408() {
    let limits = Limits { head_timeout: Duration::from_millis(300), ..Limits::default() };
    let site = Site::with(NOW, limits);
    for begun in [
        "G",
        "GET /files HTTP/1.1\r\nHost: a\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabc",
    ] {
        let since = Instant::now();
        assert_eq!(statuses(&site, begun.as_bytes()), [408], "{begun:?}");
        assert!(since.elapsed() >= Duration::from_millis(300), "{begun:?}: 408 came too early");
    }
    // Sending single bytes does not extend the timeout.
    let mut stream = connect(site.address);
    let mut slow = stream.try_clone().expect("the same connection");
    thread::scope(|scope| {
        scope.spawn(|| {
            while slow.write_all(b"G").is_ok() {
                thread::sleep(Duration::from_millis(50));
            }
        });
        assert_eq!(take_apart(&read_until_closed(&mut stream), &[])[0].status, 408);
    });
}

#[test]
fn an_idle_connection_is_closed_without_a_response() {
    let site = Site::with(NOW, Limits { idle_timeout: Duration::from_secs(2), ..Limits::default() });
    assert_eq!(read_until_closed(&mut connect(site.address)), b"");
    let mut stream = connect(site.address);
    stream.write_all(b"GET /files HTTP/1.1\r\nHost: a\r\n\r\n").expect("send");
    assert_eq!(read_one(&mut stream).status, 200);
    assert_eq!(read_until_closed(&mut stream), b"");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let site = Site::at(NOW);
    for name in ["a", "b", "c"] {
        site.write(&format!("s/{name}.txt"), name.as_bytes());
    }
    let request_for = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
    let targets = [
        "/segments/s/a.txt",
        "/files",
        "/nope",
        "/segments/s/b.txt",
        "/playlist/s.m3u8",
        "/segments/s/c.txt",
    ];
    let requests: String = targets.iter().map(|target| request_for(target)).collect();
    let last = "GET /files/s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answers = exchange(site.address, (requests + last).as_bytes(), &[]);
    let bodies: Vec<String> = answers.iter().map(Answer::text).collect();
    assert_eq!(
        answers.iter().map(|answer| answer.status).collect::<Vec<_>>(),
        [200, 200, 404, 200, 200, 200, 200]
    );
    assert_eq!((bodies[0].as_str(), bodies[3].as_str(), bodies[5].as_str()), ("a", "b", "c"));
    assert_eq!((bodies[1].as_str(), bodies[6].as_str()), ("[\"s\"]", "[]"));
    let connections: Vec<&str> = answers.iter().map(|answer| answer.header("connection")).collect();
    assert_eq!(connections, ["", "", "", "", "", "", "close"]);
}

#[test]
fn request_bodies_are_read_and_discarded() {
    let site = Site::at(NOW);
    let body = "x".repeat(65_536);
    let first = format!("POST /files HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let last = "GET /files HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc";
    let answers = exchange(site.address, (first + last).as_bytes(), &[]);
    assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), [405, 200]);
}

#[test]
fn expect_100_continue_is_answered_with_100() {
    let site = Site::at(NOW);
    let mut stream = connect(site.address);
    let head = "POST /files HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).expect("send the head");
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).expect("an interim response");
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"abc").expect("send the body");
    assert_eq!(take_apart(&read_until_closed(&mut stream), &[])[0].status, 405);
}

#[test]
fn http_1_0_connections_persist_only_with_keep_alive() {
    let site = Site::at(NOW);
    let answers = exchange(site.address, b"GET /files HTTP/1.0\r\n\r\n", &[]);
    assert_eq!((answers[0].status, answers[0].header("connection")), (200, "close"));
    let kept =
        "GET /files HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".repeat(2) + "GET /files HTTP/1.0\r\n\r\n";
    let answers = exchange(site.address, kept.as_bytes(), &[]);
    let connections: Vec<&str> = answers.iter().map(|answer| answer.header("connection")).collect();
    assert_eq!(connections, ["keep-alive", "keep-alive", "close"]);
}

#[test]
fn a_target_in_absolute_form_is_accepted() {
    let site = Site::at(NOW);
    let request = "GET http://somewhere.example:81/files HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    assert_eq!(exchange(site.address, request.as_bytes(), &[])[0].text(), "[]");
}

#[test]
fn a_hundred_concurrent_clients_are_served() {
    let site = Site::at(NOW);
    site.write("s/v/2026-11-20T10/00:00.000-2.000-full-x.ts", &vec![b'x'; 300_000]);
    let barrier = std::sync::Barrier::new(100);
    thread::scope(|scope| {
        for number in 0..100 {
            let (site, barrier) = (&site, &barrier);
            scope.spawn(move || {
                barrier.wait();
                let target =
                    ["/files", "/segments/s/v/2026-11-20T10/00:00.000-2.000-full-x.ts", "/playlist/s/v.m3u8"];
                let answer = site.get(target[number % 3]);
                assert!(answer.status == 200 && answer.whole, "{number}: {answer:?}");
            });
        }
    });
}

/// The size of a file that does not fit into the socket buffers.
const LARGE: usize = 16 * 1024 * 1024;

/// Sends a request and does not read the response.
fn request_unread(site: &Site, target: &str) -> TcpStream {
    let mut stream = connect(site.address);
    let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("send a request");
    stream
}

#[test]
fn clients_that_never_read_occupy_no_worker() {
    let site = Site::at(NOW);
    site.write("s/large.bin", &vec![b'x'; LARGE]);
    let waiting: Vec<TcpStream> = (0..300).map(|_| request_unread(&site, "/segments/s/large.bin")).collect();
    // Two workers send files. If slow clients occupied them, these requests would get no response.
    for _ in 0..20 {
        assert_eq!(
            ask(site.address, "GET", "/segments/s/large.bin", &[("Range", "bytes=0-9")]).body.len(),
            10
        );
    }
    // The slow clients still get their complete responses.
    for mut stream in waiting.into_iter().step_by(60) {
        let answers = take_apart(&read_until_closed(&mut stream), &[]);
        assert!(answers[0].whole && answers[0].body.len() == LARGE);
    }
}

#[test]
fn a_client_that_reads_nothing_is_aborted() {
    let site = Site::with(NOW, Limits { write_timeout: Duration::from_millis(300), ..Limits::default() });
    site.write("s/large.bin", &vec![b'x'; LARGE]);
    let mut stream = request_unread(&site, "/segments/s/large.bin");
    stream.peek(&mut [0]).expect("the first byte");
    wait_until("the connection is dropped", || site.server().connections() == 0);
    let answers = take_apart(&read_until_closed(&mut stream), &[]);
    assert!(answers.iter().all(|answer| !answer.whole), "an aborted body looks complete");
}

#[test]
fn a_file_that_shrinks_while_it_is_sent_is_aborted() {
    let site = Site::at(NOW);
    let path = site.write("s/large.bin", &vec![b'x'; LARGE]);
    let mut stream = request_unread(&site, "/segments/s/large.bin");
    let mut first = [0; 1000];
    stream.read_exact(&mut first).expect("the first bytes");
    std::fs::File::options().write(true).open(&path).expect("the file").set_len(10).expect("shrink it");
    let mut rest = Vec::new();
    let ended = stream.read_to_end(&mut rest);
    assert!(ended.is_err(), "the end after {} bytes looks regular", rest.len());
}

#[test]
fn a_file_that_is_deleted_while_it_is_sent_is_sent_completely() {
    let site = Site::at(NOW);
    let path = site.write("s/large.bin", &vec![b'x'; LARGE]);
    let mut stream = request_unread(&site, "/segments/s/large.bin");
    let mut first = [0; 1000];
    stream.read_exact(&mut first).expect("the first bytes");
    std::fs::remove_file(path).expect("delete it");
    let mut bytes = first.to_vec();
    stream.read_to_end(&mut bytes).expect("the remaining bytes");
    assert!(take_apart(&bytes, &[])[0].whole);
}

#[test]
fn the_longest_idle_connection_is_evicted_for_a_new_one() {
    let eviction_age = Duration::from_secs(3600);
    let site = Site::with(NOW, Limits { max_connections: 3, eviction_age, ..Limits::default() });
    site.write("s/large.bin", &vec![b'x'; LARGE]);
    let idle = || site.metrics.connections.states()[0];
    let mut first = connect(site.address);
    wait_until("the first is open", || idle() == ("idle", 1));
    let mut second = connect(site.address);
    let busy = request_unread(&site, "/segments/s/large.bin");
    wait_until("three are open", || idle() == ("idle", 2) && site.server().connections() == 3);
    let mut third = connect(site.address);
    assert_eq!(read_until_closed(&mut first), b"", "the first is evicted");
    second.write_all(b"GET /files HTTP/1.1\r\nHost: a\r\n\r\n").expect("send a request");
    assert_eq!(read_one(&mut second).status, 200, "the second is not");
    // It is now the one that has been idle for the shortest time.
    thread::sleep(Duration::from_millis(100));
    // If none is idle and none has been without progress for long enough, a new connection gets a 503.
    let more: Vec<TcpStream> = (0..2).map(|_| request_unread(&site, "/segments/s/large.bin")).collect();
    assert_eq!((read_until_closed(&mut second), read_until_closed(&mut third)), (Vec::new(), Vec::new()));
    let answer = take_apart(&read_until_closed(&mut connect(site.address)), &[]).remove(0);
    assert_eq!((answer.status, answer.header("retry-after")), (503, "1"));
    assert_eq!(answer.header("vary"), "Accept-Encoding");
    drop((busy, more));
    wait_until("the busy ones are closed", || site.server().connections() == 0);
    assert_eq!(site.get("/files").status, 200);
}

#[test]
fn clients_without_progress_give_way_to_new_ones() {
    for (state, request) in
        [("sending", "GET /segments/s/large.bin HTTP/1.1\r\nHost: a\r\n\r\n"), ("reading", "GET /fi")]
    {
        let eviction_age = Duration::from_millis(100);
        let site = Site::with(NOW, Limits { max_connections: 4, eviction_age, ..Limits::default() });
        site.write("s/large.bin", &vec![b'x'; LARGE]);
        let mut stalled = Vec::new();
        for _ in 0..5 {
            wait_until("all connections are taken", || {
                let mut client = connect(site.address);
                // It may have been refused already.
                let _ = client.write_all(request.as_bytes());
                stalled.push(client);
                site.metrics.connections.states().iter().any(|(name, count)| *name == state && *count >= 4)
            });
            wait_until("a new client is served", || {
                let answers = exchange(site.address, b"GET /files HTTP/1.0\r\n\r\n", &[]);
                answers[0].status == 200
            });
            // There is room for one client at a time now.
            for _ in 0..10 {
                assert_eq!(site.get("/files").status, 200, "{state}");
            }
        }
        let page = site.get("/metrics").text();
        let count = |metric: &str| {
            let found = page.lines().find_map(|line| line.strip_prefix(metric)?.parse::<f64>().ok());
            found.unwrap_or_default()
        };
        let evicted = count("connections_dropped_total{reason=\"evicted\"} ");
        let aborted = count("aborted_responses_total{endpoint=\"segments\",reason=\"evicted\"} ");
        assert!(evicted >= 5.0, "{state}: {page}");
        assert_eq!(aborted.to_bits(), if state == "sending" { evicted } else { 0.0 }.to_bits(), "{page}");
        let first = read_until_closed(&mut stalled[0]);
        assert!(take_apart(&first, &[]).iter().all(|answer| !answer.whole), "{state}: the first was evicted");
    }
}

#[test]
fn a_stopping_server_finishes_responses_in_progress() {
    let mut site = Site::at(NOW);
    site.write("s/large.bin", &vec![b'x'; LARGE]);
    let mut slow = request_unread(&site, "/segments/s/large.bin");
    let mut idle = connect(site.address);
    let mut halfway = connect(site.address);
    halfway.write_all(b"GET /files HTT").expect("half a head");
    let mut first = [0; 1000];
    slow.read_exact(&mut first).expect("the first bytes");
    wait_until("all are open", || site.server().connections() == 3);
    let address = site.address;
    thread::scope(|scope| {
        let stopping = scope.spawn(|| site.stop(PATIENCE));
        assert_eq!(read_until_closed(&mut idle), b"");
        assert_eq!(read_until_closed(&mut halfway), b"");
        wait_until("new connections are refused", || TcpStream::connect(address).is_err());
        let mut bytes = first.to_vec();
        slow.read_to_end(&mut bytes).expect("the remaining bytes");
        assert!(take_apart(&bytes, &[])[0].whole);
        assert!(stopping.join().expect("it stops"), "a response was aborted");
    });
}

#[test]
fn responses_in_progress_are_aborted_when_the_grace_period_ends() {
    let mut site = Site::at(NOW);
    site.write("s/large.bin", &vec![b'x'; LARGE]);
    let mut slow = request_unread(&site, "/segments/s/large.bin");
    let mut first = [0; 1000];
    slow.read_exact(&mut first).expect("the first bytes");
    assert!(!site.stop(Duration::from_millis(100)), "it claims that all responses were completed");
    assert!(slow.read_to_end(&mut Vec::new()).is_err(), "the aborted response looks complete");
}

#[test]
fn a_half_closed_connection_still_gets_its_response() {
    let site = Site::at(NOW);
    let mut stream = connect(site.address);
    stream.write_all(b"GET /files HTTP/1.1\r\nHost: a\r\n\r\n").expect("send a request");
    stream.shutdown(Shutdown::Write).expect("close one side");
    assert_eq!(take_apart(&read_until_closed(&mut stream), &[])[0].status, 200);
}
