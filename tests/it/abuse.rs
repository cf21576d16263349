//! What a client can do to the server that wishes it ill, and what befalls a server whose log nobody reads.

use crate::harness::ask;
use crate::process::{Program, RESTREAMER, Served};

#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    let archive = tempfile::tempdir().expect("a temporary directory");
    let served = Served::by(Program::new(RESTREAMER).deaf(), archive.path(), &[]);
    let target = format!("/files?{}", "x".repeat(1000));
    // More than any pipe takes.
    for _ in 0..1000 {
        assert_eq!(ask(served.address, "GET", &target, &[]).status, 200);
    }
}
