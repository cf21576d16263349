//! Lines on their way to whoever reads the log. Who logs puts a line down here and goes on; a thread of its own writes
//! them, many at a time where there are many.
//!
//! So nobody waits for a reader who does not read, such as a pipe that is full: what has no room here is dropped and
//! counted, and the count comes where the lines would have been.

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
    /// There will be no more.
    closed: bool,
}

impl Lines {
    /// No lines.
    pub(super) const fn new() -> Self {
        let state = State { text: Vec::new(), lost: 0, pressing: false, writing: false, closed: false };
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
        if state.lost > 0 {
            let (now, lost) = (Clock::System.now(), std::mem::take(&mut state.lost));
            let _ = writeln!(state.text, "{now} WARN logging: {lost} lines were lost, for nobody read");
        }
        state.text.extend_from_slice(line);
        if was_empty || had_few && state.text.len() >= MANY_BYTES {
            self.called.notify_one();
        }
    }

    /// Has the lines that are there, or else the next one, written at once.
    pub(super) fn press(&self) {
        self.state().pressing = true;
        self.called.notify_one();
    }

    /// Waits for all lines to be written, but not for long.
    pub(super) fn flush(&self) {
        self.press();
        let busy = |state: &mut State| state.writing || !state.text.is_empty();
        drop(self.written.wait_timeout_while(self.state(), PATIENCE, busy));
    }

    /// Says that there will be no more lines.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.called.notify_one();
    }

    /// Writes all lines to `out`, until there will be no more.
    pub(super) fn write_to(&self, out: &mut (impl Write + AsFd)) {
        let mut batch = Vec::new();
        while self.take(&mut batch) {
            for piece in pieces(&batch) {
                // Who cannot be written to will not read the rest of it either.
                if !self.wait_for_room(out) || out.write_all(piece).is_err() {
                    break;
                }
            }
            batch.clear();
            batch.shrink_to(MANY_BYTES);
            self.state().writing = false;
            self.written.notify_all();
        }
    }

    /// Waits for lines and takes them all; `false` when there are no more.
    fn take(&self, batch: &mut Vec<u8>) -> bool {
        let nothing = |state: &mut State| state.text.is_empty() && !state.closed;
        let state = self.called.wait_while(self.state(), nothing).unwrap_or_else(PoisonError::into_inner);
        let few = |state: &mut State| !state.pressing && !state.closed && state.text.len() < MANY_BYTES;
        let waited = self.called.wait_timeout_while(state, GATHERED, few);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
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
            let since = closed_since.or_else(|| self.state().closed.then(Instant::now));
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
        lines.close();
        lines.write_to(&mut writer);
    }

    #[test]
    fn lines_that_press_do_not_wait_for_others() {
        let (reader, mut writer) = pipe().expect("a pipe");
        let lines = Lines::new();
        std::thread::scope(|scope| {
            let lines = &lines;
            scope.spawn(move || lines.write_to(&mut writer));
            lines.push(b"one\n");
            lines.flush();
            assert!(lines.state().text.is_empty() && !lines.state().writing);
            lines.close();
        });
        assert_eq!(std::io::read_to_string(reader).expect("text"), "one\n");
    }
}
