//! The log: lines on stderr with time, level and module.

use std::io::Write;

use log::LevelFilter;

use crate::clock::Clock;

/// Begins to log what is at least as grave as `level`. Called once; a second call changes nothing.
pub fn start(level: LevelFilter) {
    let begun = env_logger::Builder::new()
        .filter_level(level)
        .format(|out, record| {
            let module = record.target().strip_prefix("restreamer::").unwrap_or(record.target());
            writeln!(out, "{} {} {module}: {}", Clock::System.now(), record.level(), record.args())
        })
        .try_init();
    if begun.is_err() {
        log::debug!("the log was begun already");
    }
}
