//! Lines on their way to whoever reads the log. Who logs puts a line down here and goes on; a thread of its own writes
//! them, many at a time where there are many.
//!
//! So nobody waits for a reader who does not read, such as a pipe that is full: what has no room here is dropped and
//! counted, and the count comes where the lines would have been.

use std::cell::Cell;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::clock::Clock;

/// How long lines that nobody is in need of lie here, so that others can go with them.
const GATHERED: Duration = Duration::from_millis(20);
/// How many bytes are reason enough to write at once.
const MANY_BYTES: usize = 64 * 1024;
/// How many bytes lie here at the most.
const MOST_BYTES: usize = 1024 * 1024;
/// What fits into a pipe that has room at all (`PIPE_BUF`), so that writing it does not wait.
const PIECE_BYTES: usize = 4096;
/// How long a reader who does not read is waited for in the end.
const PATIENCE: Duration = Duration::from_millis(100);

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
    text: Vec<u8>,
    /// How many lines had no room since the last one that had.
    lost: u64,
    /// Lines are not to wait for others.
    pressing: bool,
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
        let state = State { text: Vec::new(), lost: 0, pressing: false, writing: false, phase: Phase::Open };
        Self { state: Mutex::new(state), called: Condvar::new(), written: Condvar::new() }
    }

    /// Puts a line down, with its end.
    pub(super) fn push(&self, line: &[u8]) {
        let mut state = self.state();
        if state.text.len() + line.len() > MOST_BYTES {
            state.lost += 1;
            return;
        }
        let (was_empty, had_few) = (state.text.is_empty(), state.text.len() < MANY_BYTES);
        state.note_lost();
        state.text.extend_from_slice(line);
        let presses = PRESSING.take();
        state.pressing |= presses;
        if was_empty || presses || had_few && state.text.len() >= MANY_BYTES {
            self.called.notify_one();
        }
    }

    /// Has the next line of this thread written at once, and all before it.
    pub(super) fn press_next() {
        PRESSING.set(true);
    }

    /// Waits for all lines to be written, but not for long.
    pub(super) fn flush(&self) {
        let mut state = self.state();
        state.pressing = true;
        self.called.notify_one();
        let busy = |state: &mut State| state.writing || !state.text.is_empty();
        drop(self.written.wait_timeout_while(state, PATIENCE, busy));
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

    /// Writes all lines to `out`, until there will be no more.
    pub(super) fn write_to(&self, out: &mut (impl Write + AsFd)) {
        let mut batch = Vec::new();
        while self.take(&mut batch) {
            self.write(&batch, out);
            batch.clear();
            batch.shrink_to(MANY_BYTES);
        }
        self.state().phase = Phase::Ended;
        self.written.notify_all();
    }

    /// Writes lines that were taken, and counts those that cannot be written.
    fn write(&self, batch: &[u8], out: &mut (impl Write + AsFd)) {
        let mut lost = 0;
        for piece in pieces(batch) {
            // Who cannot be written to will not read the rest of it either.
            if lost > 0 || !self.wait_for_room(out) || out.write_all(piece).is_err() {
                lost += piece.iter().map(|byte| u64::from(*byte == b'\n')).sum::<u64>();
            }
        }
        let mut state = self.state();
        state.writing = false;
        // In the end there is nobody left to tell.
        state.lost += if state.phase == Phase::Open { lost } else { 0 };
        self.written.notify_all();
    }

    /// Waits for lines and takes them all; `false` when there are no more.
    fn take(&self, batch: &mut Vec<u8>) -> bool {
        let nothing = |state: &mut State| state.text.is_empty() && state.phase == Phase::Open;
        let state = self.called.wait_while(self.state(), nothing).unwrap_or_else(PoisonError::into_inner);
        let few = |state: &mut State| {
            !state.pressing && state.phase == Phase::Open && state.text.len() < MANY_BYTES
        };
        let waited = self.called.wait_timeout_while(state, GATHERED, few);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if state.phase != Phase::Open {
            state.note_lost();
        }
        std::mem::swap(&mut state.text, batch);
        state.pressing = false;
        state.writing = !batch.is_empty();
        state.writing
    }

    /// Waits until a piece can be written without a wait; `false` if that is given up, in the end.
    fn wait_for_room(&self, out: &impl AsFd) -> bool {
        let timeout = Timespec { tv_sec: 0, tv_nsec: PATIENCE.subsec_nanos().into() };
        let mut closed_since = None;
        loop {
            let mut polled = [PollFd::new(out, PollFlags::OUT)];
            if rustix::io::retry_on_intr(|| poll(&mut polled, Some(&timeout))) != Ok(0) {
                return true;
            }
            let since = closed_since.or_else(|| (self.state().phase != Phase::Open).then(Instant::now));
            if since.is_some_and(|since: Instant| since.elapsed() >= PATIENCE) {
                return false;
            }
            closed_since = since;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Says how many lines had no room, where there were such.
    fn note_lost(&mut self) {
        if self.lost > 0 {
            let (now, lost) = (Clock::System.now(), std::mem::take(&mut self.lost));
            let _ = writeln!(self.text, "{now} WARN logging: {lost} lines were lost, for nobody read");
        }
    }
}

/// Where the text of each line goes.
impl Write for &Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lines in pieces that fit into a pipe, of whole lines where these are not longer.
fn pieces(mut lines: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let most = &lines[..lines.len().min(PIECE_BYTES)];
        let fits = most.iter().rposition(|byte| *byte == b'\n').map_or(most.len(), |at| at + 1);
        let (piece, rest) = lines.split_at(fits);
        lines = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, pipe};

    #[test]
    fn pieces_are_whole_lines_where_lines_are_not_too_long() {
        let line = |len: usize| [vec![b'x'; len], vec![b'\n']].concat();
        let lines = [10, 4000, 95, 1, 9000, 3].map(line).concat();
        let lens: Vec<_> = pieces(&lines).map(<[u8]>::len).collect();
        assert_eq!(lens, [4012, 98, 4096, 4096, 813]);
        assert_eq!(pieces(&lines).collect::<Vec<_>>().concat(), lines);
        assert_eq!(pieces(b"").count(), 0);
    }

    #[test]
    fn a_reader_who_does_not_read_holds_nobody_up_and_is_told_what_it_missed() {
        let (mut reader, mut writer) = pipe().expect("a pipe");
        let lines = Lines::new();
        let pushed = 3 * MOST_BYTES / 1000;
        let text = std::thread::scope(|scope| {
            let lines = &lines;
            scope.spawn(move || lines.write_to(&mut writer));
            for number in 0..pushed {
                lines.push(format!("{number} {}\n", "x".repeat(1000)).as_bytes());
            }
            let text = scope.spawn(move || {
                let mut text = String::new();
                reader.read_to_string(&mut text).map(|_| text)
            });
            while !lines.state().text.is_empty() {
                lines.flush();
            }
            lines.push(b"afterwards\n");
            lines.close();
            text.join().expect("no panic").expect("text")
        });
        // Where lines were lost a note says how many.
        let (mut next, mut lost) = (0, 0);
        let number = |text: &str| text.split(' ').next().and_then(|word| word.parse::<usize>().ok());
        for line in text.lines() {
            if let Some((_, count)) = line.split_once(" WARN logging: ") {
                assert!(line.ends_with(" lines were lost, for nobody read"), "{line}");
                next += number(count).expect("a number");
                lost += number(count).expect("a number");
            } else if next < pushed {
                assert_eq!(number(line), Some(next), "{line}");
                next += 1;
            } else {
                assert_eq!(line, "afterwards");
                next += 1;
            }
        }
        assert_eq!(next, pushed + 1, "all are told of");
        assert!((1000..pushed - 900).contains(&lost), "{lost} of {pushed}");
    }

    #[test]
    fn the_end_does_not_wait_long_for_a_reader_who_does_not_read() {
        let (_reader, mut writer) = pipe().expect("a pipe");
        let lines = Lines::new();
        for _ in 0..1000 {
            lines.push(&[b'\n'; 1000]);
        }
        std::thread::scope(|scope| {
            scope.spawn(|| lines.write_to(&mut writer));
            assert!(lines.close());
        });
    }

    #[test]
    fn a_line_that_presses_does_not_wait_and_others_do() {
        let lines = Lines::new();
        let mut batch = Vec::new();
        let waited = |batch: &mut Vec<u8>| {
            let begun = Instant::now();
            assert!(lines.take(batch));
            begun.elapsed()
        };
        lines.push(b"one\n");
        assert!(waited(&mut batch) >= GATHERED);
        // Nothing is left of an earlier press, nor does it count for another thread's lines.
        Lines::press_next();
        std::thread::scope(|scope| drop(scope.spawn(|| lines.push(b"two\n"))));
        assert!(!lines.state().pressing);
        lines.push(b"three\n");
        assert!(lines.state().pressing);
        batch.clear();
        waited(&mut batch);
        assert_eq!(batch, b"two\nthree\n");
        assert!(!lines.state().pressing);
    }

    #[test]
    fn lines_that_cannot_be_written_are_told_of_when_others_can() {
        // Whoever reads it has gone.
        let (reader, mut broken) = pipe().expect("a pipe");
        drop(reader);
        let (mut reader, mut writer) = pipe().expect("a pipe");
        let lines = Lines::new();
        std::thread::scope(|scope| {
            let lines = &lines;
            scope.spawn(move || {
                let mut batch = Vec::new();
                assert!(lines.take(&mut batch));
                lines.write(&batch, &mut broken);
                lines.write_to(&mut writer);
            });
            lines.push(b"one\ntwo\n");
            lines.flush();
            lines.push(b"three\n");
            assert!(lines.close());
        });
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("text");
        assert!(text.ends_with(" WARN logging: 2 lines were lost, for nobody read\nthree\n"), "{text}");
    }
}
