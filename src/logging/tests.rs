use std::io::{BufRead, BufReader, PipeReader, Read, pipe};

use super::*;

/// A log, and the reader of its lines.
fn log() -> (Log, BufReader<PipeReader>) {
    let (reader, writer) = pipe().expect("a pipe");
    (Log::to(writer).expect("a log"), BufReader::new(reader))
}

fn line(reader: &mut impl BufRead) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).expect("a line");
    line
}

#[test]
fn a_message_is_one_line_whatever_it_quotes() {
    for (message, written) in
        [("", ""), ("plain, `ä`", "plain, `ä`"), ("a\nb\r\u{1b}[2J\u{85}ä", "a\\nb\\r\\u{1b}[2J\\u{85}ä")]
    {
        assert_eq!(one_line(message), written);
    }
}

#[test]
fn flushed_lines_are_written_in_order() {
    let (log, mut reader) = log();
    for text in ["0 INFO one\n", "0 INFO two\n", "0 WARN three\n"] {
        log.queue.push(text.to_owned());
    }
    log.flush();
    let written = reader.fill_buf().expect("lines");
    assert_eq!(std::str::from_utf8(written), Ok("0 INFO one\n0 INFO two\n0 WARN three\n"));
}

#[test]
fn repeats_are_reported_after_a_second_even_if_nothing_else_is_logged() {
    let (log, mut reader) = log();
    let begun = Instant::now();
    for _ in 0..5 {
        log.queue.push("0 WARN it fails\n".to_owned());
    }
    assert_eq!(line(&mut reader), "0 WARN it fails\n");
    let reported = line(&mut reader);
    assert!(reported.ends_with("Z WARN it fails (and 4 times more since)\n"), "{reported:?}");
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

#[test]
fn repeats_are_reported_at_the_end() {
    let (log, mut reader) = log();
    for _ in 0..5 {
        log.queue.push("0 ERROR it fails\n".to_owned());
    }
    drop(log);
    assert_eq!(line(&mut reader), "0 ERROR it fails\n");
    let reported = line(&mut reader);
    assert!(reported.ends_with("Z ERROR it fails (and 4 times more since)\n"), "{reported:?}");
}

#[test]
fn a_stalled_reader_delays_no_logger_and_lost_lines_are_reported() {
    let (log, mut reader) = log();
    let pushed = 3 * MAX_QUEUED_BYTES / 1000;
    for number in 0..pushed {
        log.queue.push(format!("{number} INFO {}\n", "x".repeat(1000)));
    }
    assert!(log.queue.counts.queued_bytes.load(Ordering::Relaxed) <= MAX_QUEUED_BYTES);
    let text = std::thread::scope(|scope| {
        let text = scope.spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).map(|_| text)
        });
        while !log.flush() {}
        log.queue.push("afterwards\n".to_owned());
        drop(log);
        text.join().expect("no panic").expect("text")
    });
    // A line reports how many lines are missing, where they would have been.
    let (mut next, mut lost) = (0, 0);
    let number = |text: &str| text.split(' ').next().and_then(|word| word.parse::<usize>().ok());
    for line in text.lines() {
        if let Some((_, count)) = line.split_once(" WARN logging: ") {
            assert!(line.ends_with(" lines were lost because the log was not read fast enough"), "{line}");
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
    assert_eq!(next, pushed + 1, "all lines are accounted for");
    assert!((1000..pushed - 900).contains(&lost), "{lost} of {pushed}");
}

#[test]
fn many_short_lines_take_bounded_memory() {
    let (log, _reader) = log();
    // Nobody reads, so a line is lost once the pipe, the writer and the queue are full.
    while log.queue.counts.lost.load(Ordering::Relaxed) == 0 {
        log.queue.push("\n".to_owned());
    }
    assert!(log.queue.messages.len() <= MAX_QUEUED_LINES);
}

#[test]
fn closing_does_not_wait_long_for_a_stalled_reader() {
    let (log, _reader) = log();
    for _ in 0..1000 {
        log.queue.push("\n".repeat(1000));
    }
    let begun = Instant::now();
    drop(log);
    assert!((MAX_WAIT..40 * MAX_WAIT).contains(&begun.elapsed()), "{:?}", begun.elapsed());
}

/// A writer that fails while `fails` is not 0.
struct Failing {
    fails: Arc<AtomicUsize>,
    out: std::io::PipeWriter,
}

impl Write for Failing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.fails.load(Ordering::SeqCst) > 0 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn lines_that_cannot_be_written_are_reported_once_others_can() {
    let (mut reader, out) = pipe().expect("a pipe");
    let fails = Arc::new(AtomicUsize::new(1));
    let log = Log::to(Failing { fails: Arc::clone(&fails), out }).expect("a log");
    log.queue.push("one\n".to_owned());
    log.queue.push("two\n".to_owned());
    log.flush();
    fails.store(0, Ordering::SeqCst);
    log.queue.push("three\n".to_owned());
    drop(log);
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("text");
    let (time, rest) = text.split_once(' ').expect("a note");
    assert!(time.ends_with('Z'), "{text}");
    let note = "WARN logging: 2 lines were lost because the log was not read fast enough";
    assert_eq!(rest, format!("{note}\nthree\n"));
}
