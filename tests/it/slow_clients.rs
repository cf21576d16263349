//! Clients that read slowly and disks that read slowly: each delays only itself.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use restreamer::http::reply::{Body, Piece, Reply};
use restreamer::http::request::Request;
use restreamer::http::{Pool, Routed, Service};
use restreamer::server::Limits;

use crate::harness::{PATIENCE, ask, connect, serve, take_apart, wait_until};

const MIB: usize = 1024 * 1024;

/// A service whose paths name what they do.
#[derive(Default)]
struct Stub {
    /// Releases the disk that blocks.
    released: Arc<AtomicBool>,
    /// Set while the disk blocks.
    is_blocked: Arc<AtomicBool>,
}

impl Service for Stub {
    fn route(&self, request: &Request) -> Routed {
        assert_ne!(request.path(), "/panics", "as it should");
        if request.path() == "/holds" {
            self.is_blocked.store(true, Ordering::SeqCst);
            wait_until("the test releases the event loop", || self.released.load(Ordering::SeqCst));
        }
        if request.path().starts_with("/file") { Pool::Media.into() } else { Pool::Quick.into() }
    }

    fn call(&self, request: &Request, _: Routed, _: &dyn Fn() -> bool) -> Reply {
        let (released, is_blocked) = (Arc::clone(&self.released), Arc::clone(&self.is_blocked));
        let body = match request.path() {
            "/file/large" => Body::bytes(vec![b'x'; 16 * MIB]),
            // More than a socket holds, then a disk that blocks.
            "/file/blocks" => {
                let pieces = (0..20).map(move |number| {
                    if number == 12 {
                        is_blocked.store(true, Ordering::SeqCst);
                        wait_until("the test releases the disk", || released.load(Ordering::SeqCst));
                    }
                    Ok(Piece::Bytes(Arc::new(vec![b'x'; MIB])))
                });
                Body::Known { len: 20 * MIB as u64, pieces: Box::new(pieces) }
            }
            // A disk that is slower than the client, so that the socket is never full.
            "/file/slow-disk" => {
                let pieces = (0..100_000).map(|_| {
                    std::thread::sleep(Duration::from_millis(5));
                    Ok(Piece::Bytes(Arc::new(vec![b'x'; 100_000])))
                });
                Body::Known { len: 10_000_000_000, pieces: Box::new(pieces) }
            }
            _ => Body::bytes(b"ready".to_vec()),
        };
        Reply::empty(200).with_body(body)
    }
}

fn begin(address: SocketAddr, target: &str) -> TcpStream {
    let mut stream = connect(address);
    let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("send the request");
    stream
}

#[test]
fn a_slow_client_that_keeps_reading_is_not_aborted() {
    let limits = Limits { write_timeout: Duration::from_secs(2), ..Limits::default() };
    let server = serve(Arc::new(Stub::default()), limits);
    let mut stream = begin(server.address(), "/file/large");
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 16 * 1024]);
    let begun = Instant::now();
    // Too slowly for the system to report room within the write timeout.
    while begun.elapsed() < 3 * limits.write_timeout {
        let count = stream.read(&mut buffer).expect("the response goes on");
        bytes.extend_from_slice(&buffer[..count]);
        std::thread::sleep(Duration::from_millis(50));
    }
    stream.read_to_end(&mut bytes).expect("the rest of the response");
    assert_eq!(take_apart(&bytes, &[])[0].body.len(), 16 * MIB);
    assert!(server.stop(PATIENCE));
}

#[test]
fn a_disk_that_blocks_delays_only_the_response_that_waits_for_it() {
    let stub = Arc::new(Stub::default());
    let server = serve(Arc::clone(&stub) as Arc<dyn Service>, Limits::default());
    let mut stream = begin(server.address(), "/file/blocks");
    let reading = std::thread::scope(|scope| {
        // The client begins to read when the socket is full, so that the response is continued.
        let reading = scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(300));
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).map(|_| bytes)
        });
        wait_until("the disk blocks", || stub.is_blocked.load(Ordering::SeqCst));
        for _ in 0..20 {
            assert_eq!(ask(server.address(), "GET", "/quick", &[]).text(), "ready");
        }
        assert!(!stub.released.load(Ordering::SeqCst) && !reading.is_finished());
        stub.released.store(true, Ordering::SeqCst);
        reading.join().expect("no panic").expect("the response")
    });
    assert_eq!(take_apart(&reading, &[])[0].body.len(), 20 * MIB);
    assert!(server.stop(PATIENCE));
}

#[test]
fn an_abort_ends_a_response_whose_disk_is_slower_than_the_client() {
    let server = serve(Arc::new(Stub::default()), Limits::default());
    let mut stream = begin(server.address(), "/file/slow-disk");
    stream.read_exact(&mut [0; 1000]).expect("the beginning");
    let reader = std::thread::Builder::new().name("reader".to_owned());
    let reader = reader.spawn(move || stream.read_to_end(&mut Vec::new())).expect("a thread");
    assert!(!server.stop(Duration::ZERO), "it was not finished");
    assert!(reader.join().expect("no panic").is_err(), "the end looks like a proper one");
}

#[test]
fn a_panic_in_the_router_closes_one_connection() {
    let server = serve(Arc::new(Stub::default()), Limits::default());
    let mut rest = Vec::new();
    let _ = begin(server.address(), "/panics").read_to_end(&mut rest);
    assert_eq!((rest.len(), server.panics()), (0, 1));
    assert_eq!(ask(server.address(), "GET", "/quick", &[]).text(), "ready");
    wait_until("all connections are closed", || server.connections() == 0);
    assert!(server.stop(PATIENCE));
}

#[test]
fn a_burst_beyond_the_limit_gets_a_response_for_each_connection() {
    let limits = Limits { max_connections: 50, ..Limits::default() };
    let stub = Arc::new(Stub::default());
    let server = serve(Arc::clone(&stub) as Arc<dyn Service>, limits);
    // While the event loop is held up, all requests arrive.
    let _held = begin(server.address(), "/holds");
    wait_until("the event loop is held up", || stub.is_blocked.load(Ordering::SeqCst));
    let mut clients: Vec<_> = (0..100).map(|_| begin(server.address(), "/quick")).collect();
    std::thread::sleep(Duration::from_millis(100));
    stub.released.store(true, Ordering::SeqCst);
    let statuses = clients.iter_mut().map(|client| {
        let mut bytes = Vec::new();
        client.read_to_end(&mut bytes).expect("a response");
        take_apart(&bytes, &[])[0].status
    });
    let statuses: Vec<u16> = statuses.collect();
    assert!(statuses.iter().all(|status| [200, 503].contains(status)), "{statuses:?}");
    let answered = statuses.iter().filter(|status| **status == 200).count();
    assert!(answered >= limits.max_connections - 1, "only {answered} of 100 were answered: {statuses:?}");
    assert!(server.stop(PATIENCE));
}
