//! The log: one line per response, whatever its target, and suppression of repeated lines.

use std::io::Write;
use std::time::Duration;

use crate::harness::{ask, connect, read_until_closed, wait_until, write_whole};
use crate::process::Served;

/// The log of a server during `drive`.
fn logged(drive: impl FnOnce(&Served)) -> String {
    let archive = tempfile::tempdir().expect("a directory");
    write_whole(&archive.path().join("s/v/2026-11-20T10/00:00.000-2.000-full-x.ts"), b"x");
    let served = Served::over(archive.path(), &[]);
    drive(&served);
    served.running.signal(rustix::process::Signal::TERM);
    let output = served.running.wait();
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    output.stderr
}

#[test]
fn each_response_is_logged_as_one_line_of_keys_and_values() {
    let log = logged(|served| {
        ask(served.address, "GET", "/files/s", &[]);
        ask(served.address, "GET", "/files/%0aa%22b\"c\\d?x=\"%00", &[]);
        let mut stream = connect(served.address);
        stream.write_all(b"nonsense\r\n\r\n").expect("send");
        read_until_closed(&mut stream);
    });
    let lines: Vec<_> = log.lines().filter(|line| line.contains(" client=127.0.0.1:")).collect();
    assert_eq!(lines.len(), 3, "{log}");
    let keys = ["client", "method", "target", "status", "bytes", "ms", "aborted"];
    for (line, shown) in lines.iter().zip([
        r#" method=GET target="/files/s" status=200 bytes=5 ms="#,
        r#" method=GET target="/files/%0aa%22b\"c\\d?x=\"%00" status="#,
        r#" method=- target="-" status=400 bytes="#,
    ]) {
        assert!(line.contains(shown) && line.ends_with(" aborted=no"), "{line}");
        let mut rest = *line;
        for key in keys {
            rest = rest.split_once(&format!(" {key}=")).unwrap_or_else(|| panic!("no {key} in {line}")).1;
        }
    }
    assert!(log.lines().any(|line| line.contains(" INFO serve: started with ")), "{log}");
}

#[test]
fn a_repeated_error_is_logged_once_a_second_with_a_count() {
    let archive = tempfile::tempdir().expect("a directory");
    let base = archive.path().join("base");
    std::fs::create_dir(&base).expect("a directory");
    // At this level requests are not logged.
    let served = Served::over(&base, &["--log-level", "warn"]);
    std::fs::remove_dir(&base).expect("remove it");
    let mut requests: u64 = 0;
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_millis(2500) || requests < 100 {
        assert_eq!(ask(served.address, "GET", "/health", &[]).status, 503);
        requests += 1;
    }
    let counted = || {
        let page = ask(served.address, "GET", "/metrics", &[]).text();
        let line = page.lines().find(|line| {
            line.starts_with("log_count_total{") && line.contains("level=\"ERROR\",module=\"http::health\"}")
        });
        line.and_then(|line| line.rsplit_once(' ')?.1.parse().ok()).unwrap_or(0_u64)
    };
    wait_until("all are counted", || counted() == requests);
    served.running.signal(rustix::process::Signal::TERM);
    let log = served.running.wait().stderr;
    assert!(!log.contains(" client="), "a request was logged below the level");
    let lines: Vec<_> = log.lines().filter(|line| line.contains("the archive cannot be read")).collect();
    let count = |line: &&str| line.strip_suffix(" times more since)")?.rsplit_once(' ')?.1.parse().ok();
    let repeats: Vec<u64> = lines.iter().filter_map(count).collect();
    let single = lines.len() - repeats.len();
    // Under load the requests take longer than planned.
    let seconds = usize::try_from(begun.elapsed().as_secs()).expect("few");
    assert!((2..=seconds + 1).contains(&single), "{requests} in {seconds} s: {lines:#?}");
    assert!((1..=single).contains(&repeats.len()), "{requests}: {lines:#?}");
    assert_eq!(single as u64 + repeats.iter().sum::<u64>(), requests, "all are accounted for: {lines:#?}");
}
