//! The log: lines on stderr with time, level and module.
//!
//! Everybody logs, also those who must never wait. So a log that nobody reads, such as a pipe that is full, stops
//! nothing: after a moment's patience lines are dropped and counted until somebody reads again. And the same trouble is
//! not told more than once a second.

mod repeats;

use std::cell::RefCell;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use env_logger::Target;
use log::{Level, LevelFilter};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use self::repeats::Repeats;
use crate::clock::Clock;
use crate::metrics::process::logged;
use crate::timestamp::Timestamp;

/// Whether lines came again that are still to be named.
static HELD_BACK: AtomicBool = AtomicBool::new(false);

/// How long a reader who has kept up so far is waited for.
const PATIENCE: Duration = Duration::from_millis(100);
/// What fits into a pipe that has room at all (`PIPE_BUF`), so that writing it does not wait.
const PIECE_BYTES: usize = 4096;

/// Begins to log what is at least as grave as `level`, panics among it. Called once; a second call changes nothing.
pub fn start(level: LevelFilter) {
    let begun = env_logger::Builder::new()
        .filter_level(LevelFilter::Trace)
        .target(Target::Pipe(Box::new(Unhurried::over(io::stderr()))))
        .format(|out, record| {
            let module = record.target().strip_prefix("restreamer::").unwrap_or(record.target());
            logged(record.level(), module);
            let (now, level) = (Clock::System.now(), record.level());
            let said = one_line(record.args().to_string());
            if level > Level::Warn && !HELD_BACK.load(Ordering::Relaxed) {
                return with_time(now, |now| {
                    for part in [now, " ", level.as_str(), " ", module, ": ", &said, "\n"] {
                        out.write_all(part.as_bytes())?;
                    }
                    Ok(())
                });
            }
            let line = format!("{level} {module}: {said}");
            let (admitted, due) = look_for_repeats(level, &line);
            for (line, count) in due {
                writeln!(out, "{now} {line} (and {count} times more since)")?;
            }
            if admitted { writeln!(out, "{now} {line}") } else { Ok(()) }
        })
        .try_init();
    if begun.is_err() {
        log::debug!("the log was begun already");
        return;
    }
    // This is what decides, so that it can be changed later.
    log::set_max_level(level);
    std::panic::set_hook(Box::new(|panic| log::error!("{}", panic.to_string().replace('\n', " "))));
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

/// Calls `use_it` with a time as text, which each thread writes out anew once a second at most but for its fraction.
fn with_time<T>(now: Timestamp, use_it: impl FnOnce(&str) -> T) -> T {
    thread_local! {
        static WRITTEN: RefCell<(i64, String)> = const { RefCell::new((0, String::new())) };
    }
    let (second, mut micros) = (now.micros().div_euclid(1_000_000), now.micros().rem_euclid(1_000_000));
    WRITTEN.with_borrow_mut(|(written, text)| {
        let behind = text.len().saturating_sub("000000Z".len());
        if *written != second || behind == 0 {
            (*written, *text) = (second, now.to_string());
            return use_it(text);
        }
        let mut digits = *b"000000Z";
        for digit in digits[..6].iter_mut().rev() {
            *digit += u8::try_from(micros % 10).unwrap_or(0);
            micros /= 10;
        }
        text.truncate(behind);
        text.extend(digits.map(char::from));
        use_it(text)
    })
}

/// What is said, as one line that moves no cursor: it may quote names from the disk, and those may hold anything.
fn one_line(said: String) -> String {
    let is_plain = |byte: &u8| (b' '..=b'~').contains(byte);
    if said.as_bytes().iter().all(is_plain) || !said.contains(char::is_control) {
        return said;
    }
    let shown = |character: char| {
        if character.is_control() { character.escape_default().to_string() } else { character.to_string() }
    };
    said.chars().map(shown).collect()
}

/// A writer of lines that does not wait for a reader who does not read. Each line comes in one write.
struct Unhurried<W> {
    out: W,
    /// The reader has used up its patience, and gets none until it reads again.
    stuck: bool,
    /// How many lines were dropped, or cut short, since the last one that was written.
    lost: u64,
}

impl<W: Write + AsFd> Unhurried<W> {
    fn over(out: W) -> Self {
        Self { out, stuck: false, lost: 0 }
    }

    /// Whether a piece can be written at once, perhaps after a moment.
    fn has_room(&mut self) -> bool {
        let patience = if self.stuck { Duration::ZERO } else { PATIENCE };
        let timeout = Timespec { tv_sec: 0, tv_nsec: patience.subsec_nanos().into() };
        let mut polled = [PollFd::new(&self.out, PollFlags::OUT)];
        let ready = rustix::io::retry_on_intr(|| poll(&mut polled, Some(&timeout)));
        self.stuck = ready == Ok(0);
        !self.stuck
    }

    /// Writes a line as far as there is room; whether that was to its end.
    fn write_line(&mut self, line: &[u8]) -> io::Result<bool> {
        for piece in line.chunks(PIECE_BYTES) {
            if !self.has_room() {
                return Ok(false);
            }
            self.out.write_all(piece)?;
        }
        Ok(true)
    }
}

impl<W: Write + AsFd> Write for Unhurried<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.lost > 0 {
            // The first line break ends the line that was perhaps cut short.
            let lost = self.lost;
            let note =
                format!("\n{} WARN logging: {lost} lines were lost, for nobody read\n", Clock::System.now());
            if !self.write_line(note.as_bytes())? {
                self.lost += 1;
                return Ok(line.len());
            }
            self.lost = 0;
        }
        if !self.write_line(line)? {
            self.lost += 1;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, pipe};

    #[test]
    fn the_time_is_that_of_the_line_however_it_is_written() {
        for micros in [0, 1, 999_999, 1_000_000, 1_500_000, 1_500_001, 61_000_000, 61_123_456, 61_000_000] {
            let now = Timestamp::from_micros(1_795_000_000_000_000 + micros);
            assert_eq!(with_time(now, ToOwned::to_owned), now.to_string());
        }
    }

    #[test]
    fn what_is_said_is_one_line_whatever_it_quotes() {
        assert_eq!(one_line("plain, `ä`".to_owned()), "plain, `ä`");
        assert_eq!(one_line("a\nb\r\u{1b}[2J\u{85}ä".to_owned()), "a\\nb\\r\\u{1b}[2J\\u{85}ä");
    }

    #[test]
    fn a_reader_who_does_not_read_holds_nobody_up_and_is_told_later() {
        let (mut reader, writer) = pipe().expect("a pipe");
        let mut log = Unhurried::over(writer);
        let begun = Instant::now();
        for number in 0..2000 {
            log.write_all(format!("{number} {}\n", "x".repeat(number * 5)).as_bytes()).expect("write");
        }
        assert!(begun.elapsed() < 10 * PATIENCE, "it waited for {:?}", begun.elapsed());
        assert!(log.lost > 1000, "nothing was lost: the pipe holds more than it should");
        let mut read = vec![0; 1 << 20];
        let count = reader.read(&mut read).expect("read");
        log.write_all(b"afterwards\n").expect("write");
        let again = reader.read(&mut read[count..]).expect("read on");
        let text = String::from_utf8(read[..count + again].to_vec()).expect("text");
        assert!(text.starts_with("0 \n1 xxxxx\n"), "the first lines");
        assert!(text.ends_with(" lines were lost, for nobody read\nafterwards\n"), "the last lines");
        assert!(!log.stuck && log.lost == 0);
    }
}
