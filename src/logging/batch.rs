//! Lines that are still to be written, in the order in which they came.
//!
//! A line about a request is put together only when it is written: many of them one after another, by a thread that has
//! nothing else to do. Who answered the request leaves what is to be said.

use super::answered::{Answered, Moment, Outcome};

/// Lines.
#[derive(Debug)]
pub(super) struct Batch {
    entries: Vec<Entry>,
    /// What the entries say, one after another.
    said: String,
}

/// One line, or several that came at once; and how much of what is said is of it.
#[derive(Debug, Clone, Copy)]
enum Entry {
    /// It is said as it is to be written.
    Text { len: usize },
    /// A method, a target, and a cause are said.
    Answered { outcome: Outcome, lens: [usize; 3] },
}

/// A line that can be written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Line<'a> {
    Text(&'a str),
    Answered(Answered<'a>),
}

impl Batch {
    /// No lines.
    pub(super) const fn new() -> Self {
        Self { entries: Vec::new(), said: String::new() }
    }

    /// Adds a line.
    pub(super) fn push(&mut self, line: &Line) {
        let entry = match line {
            Line::Text(line) => {
                self.said.push_str(line);
                Entry::Text { len: line.len() }
            }
            Line::Answered(Answered { method, target, cause, outcome }) => {
                let texts = [method, target, cause].map(|text| {
                    self.said.push_str(text);
                    text.len()
                });
                Entry::Answered { outcome: *outcome, lens: texts }
            }
        };
        self.entries.push(entry);
    }

    /// All lines.
    pub(super) fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        let mut said = &*self.said;
        let mut take = move |len| {
            let (text, rest) = said.split_at(len);
            said = rest;
            text
        };
        self.entries.iter().map(move |entry| match *entry {
            Entry::Text { len } => Line::Text(take(len)),
            Entry::Answered { outcome, lens } => {
                let [method, target, cause] = lens.map(&mut take);
                Line::Answered(Answered { method, target, outcome, cause })
            }
        })
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many bytes they take.
    pub(super) fn bytes(&self) -> usize {
        self.said.len() + self.entries.len() * size_of::<Entry>()
    }

    /// Forgets them all, and keeps room for about so many bytes.
    pub(super) fn clear(&mut self, kept_bytes: usize) {
        self.said.clear();
        self.said.shrink_to(kept_bytes);
        self.entries.clear();
        self.entries.shrink_to(kept_bytes / size_of::<Entry>());
    }
}

impl Line<'_> {
    /// How many bytes it takes in a batch.
    pub(super) fn bytes(&self) -> usize {
        let said = match self {
            Self::Text(line) => line.len(),
            Self::Answered(Answered { method, target, cause, .. }) => {
                method.len() + target.len() + cause.len()
            }
        };
        said + size_of::<Entry>()
    }

    /// Writes it.
    pub(super) fn write(&self, text: &mut Vec<u8>, now: Moment) {
        match self {
            Self::Text(line) => text.extend_from_slice(line.as_bytes()),
            Self::Answered(answered) => answered.push_line(text, now),
        }
    }
}
