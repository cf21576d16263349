//! The log: lines on stderr with time, level and module.
//!
//! Everybody logs, also those who must never wait, and every request is logged: so a line costs little, and waits for no
//! reader. And the same trouble is not told more than once a second.

mod lines;
mod repeats;

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use env_logger::Target;
use env_logger::fmt::Formatter;
use log::{Level, LevelFilter, Record};

use self::lines::Lines;
use self::repeats::Repeats;
use crate::clock::Clock;
use crate::metrics::process::logged;
use crate::timestamp::Timestamp;

/// The lines that are still to be written.
static LINES: Lines = Lines::new();
/// Whether lines came again that are still to be named.
static HELD_BACK: AtomicBool = AtomicBool::new(false);
/// How much room for a line a thread keeps.
const KEPT_BYTES: usize = 4096;

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
    Ok(Log { writer: Some(writer.spawn(|| LINES.write_to(&mut io::stderr()))?) })
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

thread_local! {
    /// The line that this thread has logged last.
    static LINE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Writes a line, or holds it back.
fn format(out: &mut Formatter, record: &Record) -> io::Result<()> {
    let (now, level) = (Clock::System.now(), record.level());
    let module = record.target().strip_prefix("restreamer::").unwrap_or(record.target());
    logged(level, module);
    // What is said may log something itself, so what it needs is not held meanwhile.
    let mut line = LINE.take();
    line.clear();
    push_time(&mut line, now);
    let time_len = line.len();
    for part in [" ", level.as_str(), " ", module, ": "] {
        line.push_str(part);
    }
    OneLine(&mut line).write_fmt(*record.args()).map_err(io::Error::other)?;
    let mut admitted = true;
    if level <= Level::Warn || HELD_BACK.load(Ordering::Relaxed) {
        let (is_admitted, due) = look_for_repeats(level, &line[time_len..]);
        admitted = is_admitted;
        for (line, count) in due {
            writeln!(out, "{now}{line} (and {count} times more since)")?;
        }
    }
    if admitted {
        if level <= Level::Warn {
            Lines::press_next();
        }
        line.push('\n');
        out.write_all(line.as_bytes())?;
    }
    line.shrink_to(KEPT_BYTES);
    LINE.set(line);
    Ok(())
}

/// Whether a line is to be logged, and which ones that were held back are to be named now. Only warnings and errors
/// are held back; all lines are an occasion to name them.
fn look_for_repeats(level: Level, line: &str) -> (bool, Vec<(String, u64)>) {
    static REPEATS: LazyLock<Mutex<Repeats>> = LazyLock::new(Mutex::default);
    let mut repeats = REPEATS.lock().unwrap_or_else(PoisonError::into_inner);
    let now = Instant::now();
    let due = repeats.take_due(now);
    let admitted = level > Level::Warn || repeats.admit(line, now);
    HELD_BACK.store(repeats.holds_back(), Ordering::Relaxed);
    (admitted, due)
}

/// Writes a time, which each thread writes out anew once a second at most but for its fraction.
fn push_time(line: &mut String, now: Timestamp) {
    thread_local! {
        static WRITTEN: RefCell<(i64, String)> = const { RefCell::new((i64::MIN, String::new())) };
    }
    let (second, mut micros) = (now.micros().div_euclid(1_000_000), now.micros().rem_euclid(1_000_000));
    let mut fraction = *b"000000Z";
    for digit in fraction[..6].iter_mut().rev() {
        *digit += u8::try_from(micros % 10).unwrap_or(0);
        micros /= 10;
    }
    WRITTEN.with_borrow_mut(|(written, text)| {
        if *written != second {
            (*written, *text) = (second, now.to_string());
            text.truncate(text.len().saturating_sub(fraction.len()));
        }
        line.push_str(text);
    });
    line.push_str(std::str::from_utf8(&fraction).unwrap_or_default());
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
    fn the_time_is_that_of_the_line_however_it_is_written() {
        for micros in [0, 1, 999_999, 1_000_000, 1_500_000, 1_500_001, 61_000_000, 61_123_456, 61_000_000] {
            let now = Timestamp::from_micros(1_795_000_000_000_000 + micros);
            let mut line = String::new();
            push_time(&mut line, now);
            assert_eq!(line, now.to_string());
        }
    }

    #[test]
    fn what_is_said_is_one_line_whatever_it_quotes() {
        for (said, written) in
            [("", ""), ("plain, `ä`", "plain, `ä`"), ("a\nb\r\u{1b}[2J\u{85}ä", "a\\nb\\r\\u{1b}[2J\\u{85}ä")]
        {
            assert_eq!(one_line(said), written);
        }
    }
}
