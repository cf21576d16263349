//! The program on its command line: options, exit codes, output and signals.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::cuts;
use crate::harness::{ask, connect, read_one, read_until_closed, take_apart, wait_until, write_whole};
use crate::process::{Output, Program, RESTREAMER, Running, Served};

const HOUR: &str = "gdq/source/2026-11-20T10";
const SEGMENT: &str = "55:02.000-2.000-full-abc.ts";
/// More than the socket buffers between the server and a client that does not read.
const LARGE_BYTES: usize = 16 * 1024 * 1024;

/// An archive with one segment and one large file.
fn archive() -> TempDir {
    let base = tempfile::tempdir().expect("a temporary directory");
    write_whole(&base.path().join(HOUR).join(SEGMENT), b"0123456789");
    write_whole(&base.path().join("gdq/large.bin"), &large());
    base
}

fn large() -> Vec<u8> {
    (0..LARGE_BYTES).map(|index| u8::try_from(index % 251).expect("a byte")).collect()
}

/// Runs the program to its end.
fn run<S: AsRef<std::ffi::OsStr>>(args: &[S]) -> Output {
    Program::new(RESTREAMER).args(args).run()
}

/// Checks that the output is only `line` on stderr.
fn assert_one_line(output: &Output, code: i32, line: &str) {
    let Output { code: found, stdout, stderr } = output;
    assert_eq!((*found, stdout.as_str()), (Some(code), ""), "{stderr}");
    assert_eq!(stderr, &format!("{line}\n"));
}

#[test]
fn bad_usage_is_one_line_and_exit_code_2() {
    let rows: [(&[&str], &str); 5] = [
        (&["--port=1\n2"], "restreamer: bad --port: `1\\n2` is not a number from 0 to 65535; try --help"),
        (&["--nope"], "restreamer: invalid option '--nope'; try --help"),
        (&["serve", "archive"], "restreamer: unexpected argument \"archive\"; try --help"),
        (&["--port"], "restreamer: missing argument for option '--port'; try --help"),
        (
            &["--check", "--port", "x"],
            "restreamer: bad --port: `x` is not a number from 0 to 65535; try --help",
        ),
    ];
    for (args, line) in rows {
        assert_one_line(&run(args), 2, line);
    }
    let output = Program::new(RESTREAMER).env("RESTREAMER_WORKERS", "0").run();
    assert_one_line(
        &output,
        2,
        "restreamer: bad RESTREAMER_WORKERS: `0` is not a number from 1 to 1024; try --help",
    );
}

#[test]
fn a_missing_base_directory_is_one_line_and_exit_code_1() {
    let base = archive();
    let missing = base.path().join("missing\nas yet");
    let file = base.path().join("gdq/large.bin");
    for (path, why) in [(missing, "the base directory is not there"), (file, "it is not a directory")] {
        let path = path.to_str().expect("text");
        let line = format!("restreamer: cannot serve `{}`: {why}", path.escape_debug());
        assert_one_line(&run(&["--base-dir", path, "--port", "0"]), 1, &line);
    }
}

#[test]
fn a_port_in_use_is_one_line_and_exit_code_1() {
    let base = archive();
    let taken = TcpListener::bind(("127.0.0.1", 0)).expect("a listener");
    let port = taken.local_addr().expect("an address").port();
    let args =
        ["--base-dir", base.path().to_str().expect("text"), "--host", "127.0.0.1", "--log-level", "warn"];
    let output = Program::new(RESTREAMER).args(args).args(["--port", &port.to_string()]).run();
    let why = "Address already in use (os error 98)";
    assert_one_line(&output, 1, &format!("restreamer: cannot listen at 127.0.0.1:{port}: {why}"));
}

#[test]
fn help_and_version_go_to_stdout() {
    let Output { code, stdout, stderr } = run(&["--help"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(
        stdout.contains("Usage: restreamer [serve] [OPTIONS]") && stdout.contains("--base-dir DIR"),
        "{stdout}"
    );
    let Output { code, stdout, stderr } = run(&["--version"]);
    let version = concat!("restreamer ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (Some(0), version, ""));
}

#[test]
fn the_first_line_is_the_address_and_a_signal_ends_it() {
    let base = archive();
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let served = Served::over(base.path(), &[]);
        assert_eq!(served.first_line, format!("listening on http://{}\n", served.address));
        assert_eq!(ask(served.address, "GET", "/files", &[]).text(), "[\"gdq\"]");
        // A connection without a request does not delay the end.
        let _idle = connect(served.address);
        served.running.signal(signal);
        let Output { code, stdout, .. } = served.running.wait();
        assert_eq!((code, stdout.as_str()), (Some(0), ""), "{signal:?}");
    }
}

/// Requests the large file and reads the first part of the response. It is small, because the kernel enlarges the receive
/// buffer the more a client reads.
fn begin_large(served: &Served) -> (TcpStream, Vec<u8>) {
    let mut client = connect(served.address);
    client.write_all(b"GET /segments/gdq/large.bin HTTP/1.1\r\nHost: test\r\n\r\n").expect("ask");
    let mut begun = vec![0; 64 * 1024];
    client.read_exact(&mut begun).expect("the first part");
    (client, begun)
}

/// Waits until a server that got a signal accepts no more connections.
fn wait_until_stopping(served: &Served) {
    wait_until("the server stops listening", || TcpStream::connect(served.address).is_err());
}

#[test]
fn a_response_in_progress_is_completed_before_it_ends() {
    let base = archive();
    let served = Served::over(base.path(), &[]);
    let (mut client, mut bytes) = begin_large(&served);
    served.running.signal(Signal::TERM);
    wait_until_stopping(&served);
    assert!(!served.running.has_ended(), "it waits for its client");
    bytes.extend(read_until_closed(&mut client));
    let answers = take_apart(&bytes, &["GET"]);
    assert!(answers.len() == 1 && answers[0].whole && answers[0].body == large(), "all of the file");
    assert_eq!(served.running.wait().code, Some(0));
}

#[test]
fn running_and_queued_cuts_and_downloads_are_completed_before_it_ends() {
    let base = cuts::archive();
    write_whole(&base.path().join("gdq/large.bin"), &large());
    let served = Served::over(base.path(), &["--cut-workers", "1"]);
    assert_eq!(ask(served.address, "GET", "/health", &[]).status, 200);
    let (mut download, mut bytes) = begin_large(&served);
    // One runs, two are queued.
    let cutter = |begun: &str| {
        let mut cutter = connect(served.address);
        let target = format!("/cut/s/v.ts?{}&type=full", cuts::RANGE);
        write!(cutter, "GET {target} HTTP/1.1\r\nHost: test\r\n\r\n").expect("ask");
        wait_until("it has reached its pool", || {
            ask(served.address, "GET", "/metrics", &[]).text().contains(&format!("\npool_{begun}\n"))
        });
        cutter
    };
    let states =
        ["busy_workers{pool=\"cut\"} 1", "queue_length{pool=\"cut\"} 1", "queue_length{pool=\"cut\"} 2"];
    let mut cutters = states.map(cutter);
    served.running.signal(Signal::TERM);
    wait_until_stopping(&served);
    for cutter in &mut cutters {
        let answers = take_apart(&read_until_closed(cutter), &["GET"]);
        assert!(
            answers.len() == 1 && answers[0].status == 200 && answers[0].whole,
            "{:?}",
            answers[0].headers
        );
    }
    assert!(!served.running.has_ended(), "it waits for the download");
    bytes.extend(read_until_closed(&mut download));
    assert!(take_apart(&bytes, &["GET"])[0].whole, "all of the file");
    assert_eq!(served.running.wait().code, Some(0));
}

#[test]
fn a_second_signal_ends_it_immediately() {
    let base = archive();
    let served = Served::over(base.path(), &[]);
    let (mut client, mut bytes) = begin_large(&served);
    served.running.signal(Signal::TERM);
    wait_until_stopping(&served);
    served.running.signal(Signal::INT);
    let Output { code, stderr, .. } = served.running.wait();
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("stopped at once"), "{stderr}");
    bytes.extend(read_until_closed(&mut client));
    assert!(!take_apart(&bytes, &["GET"])[0].whole, "the client was disconnected");
}

/// The sorted names of a program's threads.
fn threads(running: &Running) -> Vec<String> {
    let tasks = fs::read_dir(running.proc_file("task")).expect("its threads");
    // A thread may end before its name is read.
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    let mut names: Vec<_> = names.map(|name| name.trim_end().to_owned()).collect();
    names.sort_unstable();
    names
}

#[test]
fn the_number_of_threads_does_not_depend_on_that_of_connections() {
    let base = archive();
    let served = Served::over(base.path(), &["--workers", "2", "--cut-workers", "1"]);
    let expected = [
        "accept",
        "ctrl-c",
        "cut-0",
        "event-loop",
        "log",
        "media-0",
        "media-1",
        "picture-0",
        "playlist-0",
        "playlist-1",
        "quick-0",
        "quick-1",
        "restreamer",
        "streaming-0",
        "streaming-1",
    ];
    // At the start another thread looks for ffmpeg.
    let check =
        |when: &str| wait_until(&format!("its threads {when}"), || threads(&served.running) == expected);
    check("are those it needs");
    let mut clients: Vec<_> = (0..300).map(|_| connect(served.address)).collect();
    for client in &mut clients {
        client.write_all(b"GET /files HTTP/1.1\r\nHost: test\r\n\r\n").expect("ask");
    }
    for client in &mut clients {
        assert_eq!(read_one(client).status, 200);
    }
    check("are the same with 300 connections");
    // Half of them leave a large response unread.
    for client in clients.iter_mut().step_by(2) {
        client.write_all(b"GET /segments/gdq/large.bin HTTP/1.1\r\nHost: test\r\n\r\n").expect("ask");
        client.read_exact(&mut [0; 100]).expect("its beginning");
    }
    check("are the same with clients that do not read");
    assert_eq!(ask(served.address, "GET", "/files", &[]).status, 200);
}

#[test]
fn it_can_restart_on_the_same_port_immediately() {
    let base = archive();
    // On this address no other test can take the port in between.
    let host = ["--host", "127.0.0.7"];
    let first = Served::over(base.path(), &host);
    let address = first.address;
    assert_eq!(address.ip().to_string(), "127.0.0.7");
    // The server closes first, so the connection is in TIME_WAIT.
    assert_eq!(ask(address, "GET", "/files", &[]).status, 200);
    let unfinished = connect(address);
    first.running.signal(Signal::TERM);
    assert_eq!(first.running.wait().code, Some(0));

    let again = Served::over(base.path(), &["--host", "127.0.0.7", "--port", &address.port().to_string()]);
    assert_eq!(again.address, address);
    assert_eq!(ask(address, "GET", "/files", &[]).status, 200);
    drop(unfinished);
    again.running.signal(Signal::TERM);
    assert_eq!(again.running.wait().code, Some(0));
}
