//! The same warning again and again: it is logged once in a while, and counted in between.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How often at most the same line is logged.
const PAUSE: Duration = Duration::from_secs(1);
/// How many different lines are kept apart within that time; what is beyond them is one.
const MOST_LINES: usize = 512;
/// How much of a line is kept, to be named when it has come again.
const KEPT_BYTES: usize = 300;

/// The lines of the last moment.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    lines: HashMap<String, Line>,
}

/// A line that was logged.
#[derive(Debug)]
struct Line {
    logged: Instant,
    /// How often it came since.
    more: u64,
}

impl Repeats {
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

    /// Whether lines came again that have not been named yet.
    pub(super) fn holds_back(&self) -> bool {
        self.lines.values().any(|line| line.more > 0)
    }

    /// The lines whose time is over and that came again meanwhile, with how often. They begin anew.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<(String, u64)> {
        let is_over = |line: &Line| now.saturating_duration_since(line.logged) >= PAUSE;
        let over = self.lines.extract_if(|_, line| is_over(line));
        let mut due: Vec<_> =
            over.filter(|(_, line)| line.more > 0).map(|(text, line)| (text, line.more)).collect();
        due.sort_unstable();
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_logged_once_a_second_and_counted_in_between() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        let admitted = (0..100).filter(|_| repeats.admit("it fails", start)).count();
        assert_eq!(admitted, 1);
        assert!(repeats.admit("something else fails", start));
        assert_eq!(repeats.take_due(start + PAUSE / 2), []);
        assert_eq!(repeats.take_due(start + PAUSE), [("it fails".to_owned(), 99)]);
        assert!(repeats.admit("it fails", start + PAUSE));
        assert_eq!(repeats.take_due(start + 3 * PAUSE), []);
    }

    #[test]
    fn many_different_lines_take_bounded_memory() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        let lines = (0..10_000).map(|number| format!("{number}{}", "ö".repeat(1000)));
        let admitted = lines.filter(|line| repeats.admit(line, start)).count();
        assert_eq!(admitted, MOST_LINES);
        assert!(repeats.lines.len() <= MOST_LINES + 1);
        let others = 10_000 - MOST_LINES as u64;
        assert_eq!(repeats.take_due(start + PAUSE), [("other lines".to_owned(), others)]);
    }
}
