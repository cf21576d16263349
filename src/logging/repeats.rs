//! The same warning again and again: it is logged once in a while, and counted in between.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How often at most the same line is logged.
const PAUSE: Duration = Duration::from_secs(1);
/// How many different lines are kept apart within that time; what is beyond them is one.
const MOST_LINES: usize = 512;
/// How much of a line is kept, to be named when it has come again.
const KEPT_BYTES: usize = 300;

/// The lines of the last moment.
#[derive(Debug)]
pub(super) struct Repeats {
    lines: BTreeMap<String, Line>,
}

/// A line that was logged.
#[derive(Debug)]
struct Line {
    logged: Instant,
    /// How often it came since.
    more: u64,
}

impl Repeats {
    /// No lines.
    pub(super) const fn new() -> Self {
        Self { lines: BTreeMap::new() }
    }

    /// Whether a line is to be logged now, or only to be counted.
    pub(super) fn admit(&mut self, line: &str, now: Instant) -> bool {
        let mut end = line.len().min(KEPT_BYTES);
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        let kept = &line[..end];
        if let Some(known) = self.lines.get_mut(kept) {
            known.more += 1;
            return false;
        }
        let fits = self.lines.len() < MOST_LINES;
        let kept = if fits { kept } else { "other lines" };
        let others = self.lines.entry(kept.to_owned()).or_insert(Line { logged: now, more: 0 });
        others.more += u64::from(!fits);
        fits
    }

    /// When the next of the lines that came again is due to be named, if there are such.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.lines.values().filter(|line| line.more > 0).map(|line| line.logged + PAUSE).min()
    }

    /// The lines whose time is over, or all of them, that came again meanwhile, with how often. They begin anew.
    pub(super) fn take_due(&mut self, now: Instant, all: bool) -> Vec<(String, u64)> {
        let mut due = Vec::new();
        self.lines.retain(|text, line| {
            let is_over = all || now.saturating_duration_since(line.logged) >= PAUSE;
            if is_over && line.more > 0 {
                due.push((text.clone(), line.more));
            }
            !is_over
        });
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_logged_once_a_second_and_counted_in_between() {
        let (mut repeats, start) = (Repeats::new(), Instant::now());
        let admitted = (0..100).filter(|_| repeats.admit("it fails", start)).count();
        assert_eq!(admitted, 1);
        assert!(repeats.admit("something else fails", start));
        assert_eq!(repeats.next_due(), Some(start + PAUSE));
        assert_eq!(repeats.take_due(start + PAUSE / 2, false), []);
        assert_eq!(repeats.take_due(start + PAUSE, false), [("it fails".to_owned(), 99)]);
        assert_eq!(repeats.next_due(), None);
        assert!(repeats.admit("it fails", start + PAUSE));
        assert_eq!(repeats.take_due(start + 3 * PAUSE, false), []);
    }

    #[test]
    fn in_the_end_all_that_was_held_back_is_named() {
        let (mut repeats, start) = (Repeats::new(), Instant::now());
        for line in ["one", "two", "one", "two", "two", "three"] {
            repeats.admit(line, start);
        }
        assert_eq!(repeats.take_due(start, true), [("one".to_owned(), 1), ("two".to_owned(), 2)]);
    }

    #[test]
    fn many_different_lines_take_bounded_memory() {
        let (mut repeats, start) = (Repeats::new(), Instant::now());
        let lines = (0..10_000).map(|number| format!("{number}{}", "ö".repeat(1000)));
        let admitted = lines.filter(|line| repeats.admit(line, start)).count();
        assert_eq!(admitted, MOST_LINES);
        assert!(repeats.lines.len() <= MOST_LINES + 1);
        let others = 10_000 - MOST_LINES as u64;
        assert_eq!(repeats.take_due(start + PAUSE, false), [("other lines".to_owned(), others)]);
    }
}
