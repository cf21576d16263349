//! Lines on their way to whoever reads the log. Who logs puts a line down here and goes on; a thread of its own writes
//! them, many at a time where there are many.
//!
//! So nobody waits for a reader who does not read, such as a pipe that is full: what has no room here is dropped and
//! counted, and the count comes where the lines would have been. And what is held back for it came again and again is
//! named when its time has come, whether or not anybody logs anything then.

use std::cell::Cell;
use std::fmt::Display;
use std::io::{self, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use log::Level;

use super::answered::{Answered, MODULE};
use super::batch::{Batch, ENTRY_BYTES};
use super::repeats::Repeats;
use crate::clock::Clock;
use crate::metrics::process::count_log_line;

/// How long lines that nobody is in need of lie here, so that others can go with them.
const GATHERED: Duration = Duration::from_millis(20);
/// How many bytes are reason enough to write at once.
pub(super) const MANY_BYTES: usize = 64 * 1024;
/// How many bytes lie here at the most.
pub(super) const MOST_BYTES: usize = 1024 * 1024;
/// How long is waited, in the end, for a reader who does not read.
pub(super) const PATIENCE: Duration = Duration::from_millis(100);

thread_local! {
    /// Whether the next line of this thread is not to wait for others.
    static PRESSING: Cell<bool> = const { Cell::new(false) };
}

/// Lines that wait to be written.
#[derive(Debug)]
pub(super) struct Lines {
    state: Mutex<State>,
    /// The writer is to look.
    called: Condvar,
    /// The writer has written what it had.
    written: Condvar,
}

#[derive(Debug)]
struct State {
    waiting: Batch,
    /// How many lines had no room since the last one that had.
    lost: u64,
    /// How many lines about requests have come since the writer took some.
    answered: u64,
    /// What came again and again.
    repeats: Repeats,
    /// Lines are not to wait for others.
    pressing: bool,
    /// The writer is to be woken for the first line.
    sleeping: bool,
    /// The writer has lines in hand.
    writing: bool,
    phase: Phase,
}

/// Whether more lines come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// They may.
    Open,
    /// There will be no more than are here.
    Closed,
    /// The writer has ended.
    Ended,
}

impl Lines {
    /// No lines.
    pub(super) const fn new() -> Self {
        let state = State {
            waiting: Batch::new(),
            lost: 0,
            answered: 0,
            repeats: Repeats::new(),
            pressing: false,
            sleeping: false,
            writing: false,
            phase: Phase::Open,
        };
        Self { state: Mutex::new(state), called: Condvar::new(), written: Condvar::new() }
    }

    /// Puts a line down, with its end.
    pub(super) fn push(&self, line: &str) {
        let presses = PRESSING.take();
        self.put(self.state(), line.len(), presses, |waiting| waiting.push(line));
    }

    /// Puts down what is to be said of a request.
    pub(super) fn push_answered(&self, answered: &Answered) {
        let mut state = self.state();
        state.answered += 1;
        let bytes = ENTRY_BYTES + answered.asked.len() + answered.aborted.len();
        self.put(state, bytes, false, |waiting| waiting.push_answered(answered));
    }

    /// Puts a line down that takes so many bytes.
    fn put(&self, mut state: MutexGuard<State>, bytes: usize, presses: bool, push: impl FnOnce(&mut Batch)) {
        let before = state.waiting.bytes();
        let after = before + bytes;
        if after > MOST_BYTES {
            state.lost += 1;
            return;
        }
        if state.lost > 0 {
            state.note_lost();
        }
        push(&mut state.waiting);
        state.pressing |= presses;
        let are_many = before < MANY_BYTES && after >= MANY_BYTES;
        if std::mem::take(&mut state.sleeping) || presses || are_many {
            self.called.notify_one();
        }
    }

    /// Whether a line is to be put down; else it is counted, and named in a while.
    pub(super) fn admit(&self, line: &str) -> bool {
        let mut state = self.state();
        let was_due = state.repeats.next_due();
        let admitted = state.repeats.admit(line, Instant::now());
        if was_due.is_none() && !admitted {
            self.called.notify_one();
        }
        admitted
    }

    /// Has the next line of this thread written at once, and all before it.
    pub(super) fn press_next() {
        PRESSING.set(true);
    }

    /// Waits for all lines to be written, but not for long; whether they are.
    pub(super) fn flush(&self) -> bool {
        let mut state = self.state();
        state.pressing = true;
        self.called.notify_one();
        let busy = |state: &mut State| state.writing || !state.waiting.is_empty();
        let waited = self.written.wait_timeout_while(state, PATIENCE, busy);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Says that there will be no more lines, and waits for the writer to end; whether it has. One that is held up by
    /// whoever reads is not waited for.
    pub(super) fn close(&self) -> bool {
        let mut state = self.state();
        state.phase = Phase::Closed;
        self.called.notify_one();
        let waited =
            self.written.wait_timeout_while(state, 5 * PATIENCE, |state| state.phase != Phase::Ended);
        waited.unwrap_or_else(PoisonError::into_inner).0.phase == Phase::Ended
    }

    /// Waits for lines and takes them all; `false` when there are no more.
    pub(super) fn take(&self, batch: &mut Batch) -> bool {
        let mut state = self.gather(self.state());
        while state.waiting.is_empty() && state.phase == Phase::Open {
            state.sleeping = true;
            state.pressing = false;
            let due = state.repeats.next_due().map(|due| due.saturating_duration_since(Instant::now()));
            state = match due {
                None => self.called.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) => self.called.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
            };
            state = self.gather(state);
        }
        if state.phase != Phase::Open {
            state.note_lost();
        }
        std::mem::swap(&mut state.waiting, batch);
        state.pressing = false;
        state.writing = !batch.is_empty();
        let (writing, answered) = (state.writing, std::mem::take(&mut state.answered));
        drop(state);
        (0..answered).for_each(|_| count_log_line(Level::Info, MODULE));
        writing
    }

    /// Waits for a while, unless what is here is not to wait, and notes what is due.
    fn gather<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let few = |state: &mut State| {
            !state.pressing && state.phase == Phase::Open && state.waiting.bytes() < MANY_BYTES
        };
        let waited = self.called.wait_timeout_while(state, GATHERED, few);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.note_repeats(Instant::now());
        state
    }

    /// Says that what was taken is written, but for so many lines.
    pub(super) fn note_written(&self, lost: u64) {
        let mut state = self.state();
        state.writing = false;
        // In the end there is nobody left to tell.
        state.lost += if state.phase == Phase::Open { lost } else { 0 };
        self.written.notify_all();
    }

    /// Says that the writer has ended.
    pub(super) fn note_end(&self) {
        self.state().phase = Phase::Ended;
        self.written.notify_all();
    }

    /// Whether more lines may come.
    pub(super) fn is_open(&self) -> bool {
        self.state().phase == Phase::Open
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Says how many lines had no room, where there were such.
    fn note_lost(&mut self) {
        if self.lost > 0 {
            let lost = std::mem::take(&mut self.lost);
            self.note(&format_args!(" WARN logging: {lost} lines were lost, for nobody read"));
        }
    }

    /// Names what came again and again and whose time has come, or all of it where there will be no more lines.
    fn note_repeats(&mut self, now: Instant) {
        for (line, count) in self.repeats.take_due(now, self.phase != Phase::Open) {
            self.note(&format_args!("{line} (and {count} times more since)"));
        }
    }

    /// Puts a line down that nobody has logged. There is always room for it.
    fn note(&mut self, said: &dyn Display) {
        self.waiting.push(&format!("{}{said}\n", Clock::System.now()));
    }
}

/// Where the text of each line goes.
impl Write for &Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(&String::from_utf8_lossy(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logging::batch::Line;

    /// Waits for lines; those that came, and how long that took.
    fn taken(lines: &Lines) -> (Vec<String>, Duration) {
        let (mut batch, begun) = (Batch::new(), Instant::now());
        assert!(lines.take(&mut batch));
        let waited = begun.elapsed();
        let mut lines = Vec::new();
        batch.each(|line| match line {
            Line::Text(text) => lines.push(text.to_owned()),
            Line::Answered(answered) => lines.push(answered.asked.to_owned()),
        });
        (lines, waited)
    }

    #[test]
    fn a_line_that_presses_does_not_wait_and_others_do() {
        let lines = Lines::new();
        lines.push("one\n");
        assert!(taken(&lines).1 >= GATHERED);
        // Nothing is left of an earlier press, nor does it count for another thread's lines.
        Lines::press_next();
        std::thread::scope(|scope| drop(scope.spawn(|| lines.push("two\n"))));
        assert!(!lines.state().pressing);
        lines.push("three\n");
        assert!(lines.state().pressing);
        assert_eq!(taken(&lines).0, ["two\nthree\n"]);
        assert!(!lines.state().pressing);
    }

    #[test]
    fn what_is_held_back_is_named_when_it_is_time_though_nobody_logs_anything() {
        let lines = Lines::new();
        let fails = |count| (0..count).filter(|_| lines.admit(" WARN it fails")).count();
        assert_eq!(fails(1), 1);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| taken(&lines));
            // Whether it waits already or comes to wait only then.
            assert_eq!(fails(4), 0);
            let (named, waited) = waiting.join().expect("no panic");
            assert!(named[0].ends_with("Z WARN it fails (and 4 times more since)\n"), "{named:?}");
            assert!(waited >= Duration::from_millis(900), "{waited:?}");
        });
    }

    #[test]
    fn what_is_held_back_is_named_in_the_end() {
        let lines = Lines::new();
        let fails = (0..5).filter(|_| lines.admit(" WARN it fails")).count();
        assert_eq!(fails, 1);
        lines.state().phase = Phase::Closed;
        let (named, waited) = taken(&lines);
        assert!(named[0].ends_with("Z WARN it fails (and 4 times more since)\n"), "{named:?}");
        assert!(waited < Duration::from_millis(900), "{waited:?}");
    }
}
