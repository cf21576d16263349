//! The log: lines on stderr with time, level and module.
//!
//! Logging puts a line into a bounded queue and never waits; one thread writes the lines. While stderr is not read, lines
//! that do not fit are dropped, and the next line that fits is preceded by their number. The same warning or error is
//! written once a second at most and counted in between.

mod repeats;

use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use env_logger::Target;
use env_logger::fmt::Formatter;
use log::{LevelFilter, Record};

use self::repeats::{REPEATS_INTERVAL, Repeats};
use crate::clock::Clock;
use crate::metrics::process::count_log_line;

const MAX_QUEUED_LINES: usize = 8192;
const MAX_QUEUED_BYTES: usize = 1024 * 1024;
/// About how many bytes are written at once.
const WRITE_BYTES: usize = 64 * 1024;
/// How long lines are gathered, so that a busy server does not wake the writer for each of them.
const GATHER_TIME: Duration = Duration::from_millis(10);
/// How long flushing waits for a reader that does not read.
const MAX_WAIT: Duration = Duration::from_millis(500);

/// The log of this process. The lines that were logged before this is dropped are written.
#[derive(Debug)]
pub struct Log {
    queue: Queue,
    writer: Option<JoinHandle<()>>,
}

/// The sender's side of the queue of lines.
#[derive(Debug, Clone)]
struct Queue {
    messages: Sender<Message>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    queued_bytes: AtomicUsize,
    /// Lost lines that were not reported yet.
    lost: AtomicU64,
}

#[derive(Debug)]
enum Message {
    /// A line with its line feed, and how many lines were lost just before it.
    Line { text: String, lost_before: u64 },
    /// Write what was sent before with all counts, then confirm it, and end if it is the last message.
    Flush { confirm: Sender<()>, is_last: bool },
}

/// The writer's side of the queue of lines.
struct Writer<W> {
    messages: Receiver<Message>,
    counts: Arc<Counts>,
    repeats: Repeats,
    /// What is to be written next.
    text: String,
    out: W,
}

/// Begins to log lines of `level` and above, and panics. May be called once.
/// Fails if the thread that writes the lines cannot be started.
pub fn start(level: LevelFilter) -> io::Result<Log> {
    let log = Log::to(io::stderr())?;
    let started = env_logger::Builder::new()
        .filter_level(LevelFilter::Trace)
        .target(Target::Pipe(Box::new(log.queue.clone())))
        .format(format)
        .try_init();
    debug_assert!(started.is_ok(), "the log was started before");
    // The console can change this filter later, but not that of the builder.
    log::set_max_level(level);
    std::panic::set_hook(Box::new(|panic| log::error!("{}", panic.to_string().replace('\n', " "))));
    Ok(log)
}

impl Log {
    fn to(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (sender, messages) = bounded(MAX_QUEUED_LINES);
        let counts = Arc::<Counts>::default();
        let queue = Queue { messages: sender, counts: Arc::clone(&counts) };
        let writer = Writer { messages, counts, repeats: Repeats::default(), text: String::new(), out };
        let writer = Builder::new().name("log".to_owned()).spawn(|| writer.run())?;
        Ok(Self { queue, writer: Some(writer) })
    }

    /// Waits until the lines that were logged before are written, for at most half a second. Returns whether they are.
    pub fn flush(&self) -> bool {
        self.write_queued(false)
    }

    fn write_queued(&self, is_last: bool) -> bool {
        let (confirm, confirmed) = bounded(1);
        let deadline = Instant::now() + MAX_WAIT;
        self.queue.messages.send_deadline(Message::Flush { confirm, is_last }, deadline).is_ok()
            && confirmed.recv_deadline(deadline).is_ok()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // A writer that is blocked by a reader that does not read cannot be joined: it ends with the process.
        if self.write_queued(true) {
            let _ = self.writer.take().map(JoinHandle::join);
        }
    }
}

impl Queue {
    /// Adds a line with its line feed, or counts it as lost where there is no room.
    fn push(&self, text: String) {
        let Counts { queued_bytes, lost } = &*self.counts;
        let bytes = text.len();
        if queued_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes <= MAX_QUEUED_BYTES {
            let lost_before = lost.swap(0, Ordering::Relaxed);
            if self.messages.try_send(Message::Line { text, lost_before }).is_ok() {
                return;
            }
            lost.fetch_add(lost_before, Ordering::Relaxed);
        }
        queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        lost.fetch_add(1, Ordering::Relaxed);
    }
}

/// The target of `env_logger`, which writes each line with one call.
impl Write for Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(String::from_utf8_lossy(line).into_owned());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write> Writer<W> {
    /// Writes lines until the last message.
    fn run(mut self) {
        loop {
            let mut next = match self.messages.recv_timeout(REPEATS_INTERVAL) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if self.messages.is_empty() {
                std::thread::sleep(GATHER_TIME);
            }
            self.add_repeats(false);
            while let Some(message) = next {
                match message {
                    Message::Line { text, lost_before } => self.add(&text, lost_before),
                    Message::Flush { confirm, is_last } => {
                        self.add_repeats(true);
                        let lost = self.counts.lost.swap(0, Ordering::Relaxed);
                        self.add_lost(lost);
                        self.write();
                        let _ = confirm.send(());
                        if is_last {
                            return;
                        }
                    }
                }
                next = if self.text.len() < WRITE_BYTES { self.messages.try_recv().ok() } else { None };
            }
            self.write();
        }
    }

    /// Adds a line to what is to be written, unless it repeats an earlier one.
    fn add(&mut self, line: &str, lost_before: u64) {
        self.counts.queued_bytes.fetch_sub(line.len(), Ordering::Relaxed);
        self.add_lost(lost_before);
        if self.repeats.admit(line, Instant::now()) {
            self.text.push_str(line);
        }
    }

    /// Reports lost lines, where they would have been.
    fn add_lost(&mut self, lost: u64) {
        if lost > 0 {
            let why = "lines were lost because the log was not read fast enough";
            let _ = writeln!(self.text, "{} WARN logging: {lost} {why}", Clock::System.now());
        }
    }

    /// Reports suppressed lines: those whose interval is over, or all of them.
    fn add_repeats(&mut self, all: bool) {
        for (line, count) in self.repeats.take_due(Instant::now(), all) {
            let _ = writeln!(self.text, "{} {line} (and {count} times more since)", Clock::System.now());
        }
    }

    /// Writes the lines that were added; those that cannot be written are lost.
    fn write(&mut self) {
        if self.out.write_all(self.text.as_bytes()).is_err() {
            let lines = self.text.bytes().filter(|byte| *byte == b'\n').count();
            self.counts.lost.fetch_add(lines as u64, Ordering::Relaxed);
        }
        self.text.clear();
    }
}

fn format(out: &mut Formatter, record: &Record) -> io::Result<()> {
    let module = record.target().strip_prefix("restreamer::").unwrap_or(record.target());
    count_log_line(record.level(), module, record.line());
    let message = one_line(&record.args().to_string());
    writeln!(out, "{} {} {module}: {message}", Clock::System.now(), record.level())
}

/// Escapes control characters. A message may quote file names, which may hold any.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}

#[cfg(test)]
mod tests;
