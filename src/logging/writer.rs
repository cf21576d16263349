//! The thread that writes the log.

use std::io::Write;
use std::os::fd::AsFd;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FileType;

use super::answered::Pen;
use super::batch::Batch;
use super::lines::{Lines, MANY_BYTES, PATIENCE};
use crate::clock::Clock;
use crate::timestamp::Timestamp;

/// What fits into a pipe that has room at all (`PIPE_BUF`), so that writing it does not wait.
const PIECE_BYTES: usize = 4096;

/// Writes all lines to `out`, until there will be no more.
pub(super) fn write_all(lines: &Lines, out: &mut (impl Write + AsFd)) {
    let (mut batch, mut text, mut pen) = (Batch::new(), Vec::new(), Pen::new(now()));
    while lines.take(&mut batch) {
        pen.note_time(now());
        lines.note_written(write(lines, &batch, (&mut text, &mut pen), out));
        batch.clear(2 * MANY_BYTES);
    }
    lines.note_end();
}

/// The present instant by two clocks.
fn now() -> (Instant, Timestamp) {
    (Instant::now(), Clock::System.now())
}

/// Writes lines that were taken; how many cannot be written. There is room for their text.
fn write(
    lines: &Lines,
    batch: &Batch,
    (text, pen): (&mut Vec<u8>, &mut Pen),
    out: &mut (impl Write + AsFd),
) -> u64 {
    // A file has room as long as there is any.
    let is_file = rustix::fs::fstat(&*out)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
    let piece_bytes = if is_file { usize::MAX } else { PIECE_BYTES };
    let mut lost = 0;
    let mut send = |text: &mut Vec<u8>| {
        for piece in pieces(text, piece_bytes) {
            // Who cannot be written to will not read the rest of it either.
            if lost > 0 || !wait_for_room(lines, out) || out.write_all(piece).is_err() {
                lost += piece.iter().map(|byte| u64::from(*byte == b'\n')).sum::<u64>();
            }
        }
        text.clear();
        text.shrink_to(2 * MANY_BYTES);
    };
    batch.each(|line| {
        line.write(text, pen);
        if text.len() >= MANY_BYTES {
            send(text);
        }
    });
    send(text);
    lost
}

/// Waits until a piece can be written without a wait; `false` if that is given up, in the end.
fn wait_for_room(lines: &Lines, out: &impl AsFd) -> bool {
    let timeout = Timespec { tv_sec: 0, tv_nsec: PATIENCE.subsec_nanos().into() };
    let mut closed_since = None;
    loop {
        let mut polled = [PollFd::new(out, PollFlags::OUT)];
        if rustix::io::retry_on_intr(|| poll(&mut polled, Some(&timeout))) != Ok(0) {
            return true;
        }
        let since = closed_since.or_else(|| (!lines.is_open()).then(Instant::now));
        if since.is_some_and(|since: Instant| since.elapsed() >= PATIENCE) {
            return false;
        }
        closed_since = since;
    }
}

/// Lines in pieces of no more than so many bytes, of whole lines where these are not longer.
fn pieces(mut lines: &[u8], most_bytes: usize) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let most = &lines[..lines.len().min(most_bytes)];
        let fits = most.iter().rposition(|byte| *byte == b'\n').map_or(most.len(), |at| at + 1);
        let (piece, rest) = lines.split_at(fits);
        lines = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logging::lines::MOST_BYTES;
    use std::io::{Read, pipe};

    #[test]
    fn pieces_are_whole_lines_where_lines_are_not_too_long() {
        let line = |len: usize| [vec![b'x'; len], vec![b'\n']].concat();
        let lines = [10, 4000, 95, 1, 9000, 3].map(line).concat();
        let lens: Vec<_> = pieces(&lines, PIECE_BYTES).map(<[u8]>::len).collect();
        assert_eq!(lens, [4012, 98, 4096, 4096, 813]);
        assert_eq!(pieces(&lines, PIECE_BYTES).collect::<Vec<_>>().concat(), lines);
        assert_eq!(pieces(&lines, usize::MAX).collect::<Vec<_>>(), [&lines[..]]);
        assert_eq!(pieces(b"", PIECE_BYTES).count(), 0);
    }

    #[test]
    fn a_reader_who_does_not_read_holds_nobody_up_and_is_told_what_it_missed() {
        let (mut reader, mut writer) = pipe().expect("a pipe");
        let lines = Lines::new();
        let pushed = 3 * MOST_BYTES / 1000;
        let text = std::thread::scope(|scope| {
            let lines = &lines;
            scope.spawn(move || write_all(lines, &mut writer));
            for number in 0..pushed {
                lines.push(&format!("{number} {}\n", "x".repeat(1000)));
            }
            let text = scope.spawn(move || {
                let mut text = String::new();
                reader.read_to_string(&mut text).map(|_| text)
            });
            while !lines.flush() {}
            lines.push("afterwards\n");
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
            lines.push(&"\n".repeat(1000));
        }
        std::thread::scope(|scope| {
            scope.spawn(|| write_all(&lines, &mut writer));
            assert!(lines.close());
        });
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
                let mut batch = Batch::new();
                assert!(lines.take(&mut batch));
                lines.note_written(write(
                    lines,
                    &batch,
                    (&mut Vec::new(), &mut Pen::new(now())),
                    &mut broken,
                ));
                write_all(lines, &mut writer);
            });
            lines.push("one\ntwo\n");
            lines.flush();
            lines.push("three\n");
            assert!(lines.close());
        });
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("text");
        assert!(text.ends_with(" WARN logging: 2 lines were lost, for nobody read\nthree\n"), "{text}");
    }
}
