//! What befalls a server that is short of something: descriptors, permission, its whole archive.

use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use crate::harness::{connect, read_until_closed, take_apart, wait_until, write_whole};
use crate::process::{Program, RESTREAMER, Served};

/// How many descriptors the server has open.
fn descriptors(served: &Served) -> usize {
    std::fs::read_dir(served.running.proc_file("fd")).expect("its descriptors").count()
}

/// Asks once, on a connection of its own; the status, or nothing where it was closed without an answer.
fn try_once(served: &Served, target: &str) -> Option<u16> {
    use std::io::Write;
    let mut stream = connect(served.address);
    let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    // One that is turned away at once may not even take the question.
    stream.write_all(request.as_bytes()).ok()?;
    take_apart(&read_until_closed(&mut stream), &[]).first().map(|answer| answer.status)
}

#[test]
fn a_server_short_of_descriptors_recovers_by_itself() {
    let archive = tempfile::tempdir().expect("a temporary directory");
    write_whole(&archive.path().join("s/a.txt"), b"ready");
    for most in [64, 128, 256] {
        let program = Program::new("prlimit").args([&format!("--nofile={most}"), "--", RESTREAMER]);
        let served = Served::by(program, archive.path(), &["--max-connections", "1000"]);
        wait_until("it has looked for ffmpeg", || try_once(&served, "/health") == Some(200));
        let before = descriptors(&served);
        for _ in 0..3 {
            let crowd: Vec<TcpStream> = (0..600).map(|_| connect(served.address)).collect();
            thread::sleep(Duration::from_millis(100));
            // Some of these are closed without an answer. None of them waits.
            for _ in 0..10 {
                try_once(&served, "/segments/s/a.txt");
            }
            drop(crowd);
            wait_until("all descriptors are back", || descriptors(&served) <= before);
            // Whoever comes now finds a server as it was before.
            for _ in 0..20 {
                assert_eq!(try_once(&served, "/segments/s/a.txt"), Some(200), "with {most} descriptors");
            }
        }
    }
}
