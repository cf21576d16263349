//! The log: lines on stderr with time, level and module.
//!
//! Everybody logs, also those who must never wait, and every request is logged: so a line costs little, and waits for no
//! reader. And the same trouble is not told more than once a second.

mod answered;
mod batch;
mod lines;
mod repeats;
mod writer;

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::thread::JoinHandle;

use env_logger::Target;
use env_logger::fmt::Formatter;
use log::{Level, LevelFilter, Record};

pub use self::answered::Answered;
use self::lines::Lines;
use crate::clock::Clock;
use crate::metrics::process::count_log_line;

/// The lines that are still to be written.
static LINES: Lines = Lines::new();

/// The log of this process. It ends when this is dropped, with all that was logged before.
#[derive(Debug)]
pub struct Log {
    writer: Option<JoinHandle<()>>,
}

/// Begins to log what is at least as grave as `level`, panics among it. Called once.
///
/// # Errors
/// There can be no thread that writes the lines.
pub fn start(level: LevelFilter) -> io::Result<Log> {
    let begun = env_logger::Builder::new()
        .filter_level(LevelFilter::Trace)
        .target(Target::Pipe(Box::new(&LINES)))
        .format(format)
        .try_init();
    debug_assert!(begun.is_ok(), "the log was begun already");
    // This is what decides, so that it can be changed later.
    log::set_max_level(level);
    std::panic::set_hook(Box::new(|panic| log::error!("{}", panic.to_string().replace('\n', " "))));
    let writer = std::thread::Builder::new().name("log".to_owned());
    Ok(Log { writer: Some(writer.spawn(|| writer::write_all(&LINES, &mut io::stderr()))?) })
}

impl Log {
    /// Waits until what was logged is written, but not for long.
    pub fn flush(&self) {
        LINES.flush();
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // A writer that somebody holds up all the same is left behind.
        if LINES.close() {
            let _ = self.writer.take().map(JoinHandle::join);
        }
    }
}

/// Logs that a request is over, at `info`. What is said here is said of every request, so this takes a way of its own to
/// where all lines lie.
pub fn answered(answered: &Answered) {
    LINES.push_answered(answered);
}

/// Writes a line, or holds it back.
fn format(out: &mut Formatter, record: &Record) -> io::Result<()> {
    let (now, level) = (Clock::System.now(), record.level());
    let module = record.target().strip_prefix("restreamer::").unwrap_or(record.target());
    count_log_line(level, module);
    // What is said may log something itself, so nothing that this needs is held meanwhile.
    let mut line = format!(" {level} {module}: ");
    OneLine(&mut line).write_fmt(*record.args()).map_err(io::Error::other)?;
    if level <= Level::Warn {
        if !LINES.admit(&line) {
            return Ok(());
        }
        Lines::press_next();
    }
    writeln!(out, "{now}{line}")
}

/// What is said, as one line that moves no cursor.
pub fn one_line(said: &str) -> String {
    let mut line = String::with_capacity(said.len());
    let _ = OneLine(&mut line).write_str(said);
    line
}

/// Writes what is said as one line that moves no cursor: it may quote names from the disk, and those may hold anything.
struct OneLine<'a>(&'a mut String);

impl fmt::Write for OneLine<'_> {
    fn write_str(&mut self, said: &str) -> fmt::Result {
        // Looked at to its end in any case, which is the quicker way where it is plain.
        if said.bytes().fold(true, |plain, byte| plain & matches!(byte, b' '..=b'~')) {
            self.0.push_str(said);
            return Ok(());
        }
        for character in said.chars() {
            if character.is_control() {
                self.0.extend(character.escape_default());
            } else {
                self.0.push(character);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_one_line_whatever_it_quotes() {
        for (said, written) in
            [("", ""), ("plain, `ä`", "plain, `ä`"), ("a\nb\r\u{1b}[2J\u{85}ä", "a\\nb\\r\\u{1b}[2J\\u{85}ä")]
        {
            assert_eq!(one_line(said), written);
        }
    }
}
