//! A line of progress on a terminal.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::metrics::recorder::RecorderMetrics;
use crate::timestamp::Timestamp;

const INTERVAL: Duration = Duration::from_secs(1);

/// Shows how a recording goes, once a second, if stdout is a terminal.
#[derive(Debug)]
pub(super) struct Progress {
    is_shown: bool,
    since: Instant,
    /// Bytes that have arrived since then.
    bytes: u64,
    /// Whether the cursor is in the line.
    is_drawn: bool,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { is_shown: io::stdout().is_terminal(), since: Instant::now(), bytes: 0, is_drawn: false }
    }

    /// Notes that bytes have arrived, or none, and shows the line if it is time.
    pub(super) fn update(&mut self, bytes: usize, now: Timestamp, metrics: &RecorderMetrics) {
        self.bytes += bytes as u64;
        let elapsed = self.since.elapsed();
        if self.is_shown && elapsed >= INTERVAL {
            let kilobits = self.bytes * 8 / u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
            (self.since, self.bytes) = (Instant::now(), 0);
            // The cursor stays at the beginning, so that a log line replaces this one. Without auto-wrap (DECAWM), a terminal
            // that is too narrow shows its beginning.
            let text = line(kilobits, now, metrics);
            let _ = write!(io::stdout(), "\x1b[K\x1b[?7l{text}\x1b[?7h\r");
            let _ = io::stdout().flush();
            self.is_drawn = true;
        }
    }

    /// Leaves the line as it is, for what comes next.
    pub(super) fn end(&mut self) {
        if std::mem::take(&mut self.is_drawn) {
            let _ = writeln!(io::stdout());
        }
    }
}

fn line(kilobits: u64, now: Timestamp, metrics: &RecorderMetrics) -> String {
    let age = metrics.last_end().map_or("none yet".to_owned(), |end| {
        format!("the last one ended {} s ago", (now - end).micros().max(0) / 1_000_000)
    });
    let (count, short) = metrics.segments();
    let short = if short == 0 { String::new() } else { format!(", {short} of them cut short") };
    format!(
        "{}.{:03} Mbit/s; {count} segments{short}, {age}; opened again {} times",
        kilobits / 1000,
        kilobits % 1000,
        metrics.reconnects.get()
    )
}
