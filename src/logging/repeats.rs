//! Suppresses repeated warnings and errors: the same line is written once a second at most, and counted in between.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Within this time the same line is written once.
pub(super) const REPEATS_INTERVAL: Duration = Duration::from_secs(1);
/// How many different lines are distinguished within that time. The others are counted together.
const MAX_LINES: usize = 512;
const OTHERS: &str = "WARN logging: other warnings and errors";
/// How many characters of a line are compared and repeated.
const MAX_LINE_CHARS: usize = 300;

/// The warnings and errors of the last second, without their times.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    lines: BTreeMap<String, Repeat>,
}

/// A line that was written.
#[derive(Debug)]
struct Repeat {
    written: Instant,
    /// How often it was logged since.
    suppressed: u64,
}

impl Repeats {
    /// Whether a line is to be written now; otherwise it is counted. Lines of other levels are always written.
    pub(super) fn admit(&mut self, line: &str, now: Instant) -> bool {
        let Some(line) = without_time(line) else { return true };
        if let Some(known) = self.lines.get_mut(line) {
            known.suppressed += 1;
            return false;
        }
        let fits = self.lines.len() < MAX_LINES;
        let line = if fits { line } else { OTHERS };
        let repeat = self.lines.entry(line.to_owned()).or_insert(Repeat { written: now, suppressed: 0 });
        repeat.suppressed += u64::from(!fits);
        fits
    }

    /// Takes the suppressed lines with their counts: those whose interval is over, or all of them.
    pub(super) fn take_due(&mut self, now: Instant, all: bool) -> Vec<(String, u64)> {
        let mut suppressed = Vec::new();
        self.lines.retain(|text, line| {
            let is_over = all || now.saturating_duration_since(line.written) >= REPEATS_INTERVAL;
            if is_over && line.suppressed > 0 {
                suppressed.push((text.clone(), line.suppressed));
            }
            !is_over
        });
        suppressed
    }
}

/// The part of a warning or an error that is compared: what follows the time, up to [`MAX_LINE_CHARS`].
fn without_time(line: &str) -> Option<&str> {
    let (_, rest) = line.trim_end().split_once(' ')?;
    let is_warning = rest.starts_with("WARN ") || rest.starts_with("ERROR ");
    let end = rest.char_indices().nth(MAX_LINE_CHARS).map_or(rest.len(), |(end, _)| end);
    is_warning.then_some(&rest[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_written_once_a_second_and_counted_in_between() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        let admitted = (0..100).filter(|number| repeats.admit(&format!("{number} WARN it fails\n"), start));
        assert_eq!(admitted.count(), 1);
        assert!(repeats.admit("1 ERROR it fails\n", start), "another level is another line");
        assert_eq!(repeats.take_due(start + REPEATS_INTERVAL / 2, false), []);
        assert_eq!(repeats.take_due(start + REPEATS_INTERVAL, false), [("WARN it fails".to_owned(), 99)]);
        assert!(repeats.admit("2 WARN it fails\n", start + REPEATS_INTERVAL));
        assert_eq!(repeats.take_due(start + 3 * REPEATS_INTERVAL, false), []);
    }

    #[test]
    fn other_levels_are_not_suppressed() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        for line in ["0 INFO m: WARN\n", "0 DEBUG m: x\n", "0 INFO m: WARN\n", "0\n", "\n"] {
            assert!(repeats.admit(line, start), "{line}");
        }
        assert_eq!(repeats.take_due(start, true), []);
    }

    #[test]
    fn at_the_end_all_counts_are_reported() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        for line in ["one", "two", "one", "two", "two", "three"] {
            repeats.admit(&format!("0 WARN {line}\n"), start);
        }
        let reported = repeats.take_due(start, true);
        assert_eq!(reported, [("WARN one".to_owned(), 1), ("WARN two".to_owned(), 2)]);
    }

    #[test]
    fn many_different_lines_take_bounded_memory() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        let lines = (0..10_000).map(|number| format!("0 WARN {number}{}\n", "ö".repeat(1000)));
        let admitted = lines.filter(|line| repeats.admit(line, start)).count();
        assert_eq!(admitted, MAX_LINES);
        assert!(repeats.lines.len() <= MAX_LINES + 1);
        assert!(repeats.lines.keys().all(|line| line.chars().count() <= MAX_LINE_CHARS));
        let others = 10_000 - MAX_LINES as u64;
        assert_eq!(repeats.take_due(start + REPEATS_INTERVAL, false), [(OTHERS.to_owned(), others)]);
    }
}
