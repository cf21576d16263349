//! Lines that are still to be written, in the order in which they came.
//!
//! A line about a request is put together only when it is written: many of them one after another, by a thread that has
//! nothing else to do. Who answered the request leaves what is to be said.

use std::net::SocketAddr;
use std::time::Instant;

use super::answered::{Answered, Pen};

/// How many bytes a request takes beside what is said of it.
pub(super) const ENTRY_BYTES: usize = size_of::<Entry>();

/// Lines.
#[derive(Debug)]
pub(super) struct Batch {
    /// The requests that there are lines about.
    entries: Vec<Entry>,
    /// What is said, one after another: lines as they are to be written, and what was asked in requests.
    said: String,
    /// How many bytes of it are of lines that came after the last request.
    last_bytes: u32,
}

/// A request, and how many of the bytes that are said are of what.
#[derive(Debug, Clone, Copy)]
struct Entry {
    client: SocketAddr,
    begun: Instant,
    ended: Instant,
    bytes: u64,
    status: u16,
    /// Of lines that came before it.
    before_bytes: u32,
    asked_bytes: u32,
    aborted_bytes: u32,
}

/// What can be written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Line<'a> {
    /// A line that is said as it is to be written, or several.
    Text(&'a str),
    /// A request.
    Answered(Answered<'a>),
}

impl Batch {
    /// No lines.
    pub(super) const fn new() -> Self {
        Self { entries: Vec::new(), said: String::new(), last_bytes: 0 }
    }

    /// Adds a line, with its end.
    pub(super) fn push(&mut self, line: &str) {
        self.said.push_str(line);
        self.last_bytes += small(line.len());
    }

    /// Adds the line about a request.
    pub(super) fn push_answered(&mut self, answered: &Answered) {
        let Answered { client, asked, status, bytes, begun, ended, aborted } = *answered;
        self.said.push_str(asked);
        if !aborted.is_empty() {
            self.said.push_str(aborted);
        }
        self.entries.push(Entry {
            client: *client,
            begun,
            ended,
            bytes,
            status,
            before_bytes: self.last_bytes,
            asked_bytes: small(asked.len()),
            aborted_bytes: small(aborted.len()),
        });
        self.last_bytes = 0;
    }

    /// Calls `each` for all lines.
    pub(super) fn each(&self, mut each: impl FnMut(Line)) {
        let mut said = &*self.said;
        let mut take = |bytes: u32| {
            let (text, rest) = said.split_at(bytes as usize);
            said = rest;
            text
        };
        for entry in &self.entries {
            let Entry { client, begun, ended, bytes, status, before_bytes, asked_bytes, aborted_bytes } =
                entry;
            if *before_bytes > 0 {
                each(Line::Text(take(*before_bytes)));
            }
            each(Line::Answered(Answered {
                client,
                asked: take(*asked_bytes),
                status: *status,
                bytes: *bytes,
                begun: *begun,
                ended: *ended,
                aborted: take(*aborted_bytes),
            }));
        }
        if self.last_bytes > 0 {
            each(Line::Text(take(self.last_bytes)));
        }
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.said.is_empty()
    }

    /// How many bytes they take.
    pub(super) fn bytes(&self) -> usize {
        self.said.len() + self.entries.len() * ENTRY_BYTES
    }

    /// Forgets them all, and keeps room for about so many bytes.
    pub(super) fn clear(&mut self, kept_bytes: usize) {
        self.said.clear();
        self.said.shrink_to(kept_bytes);
        self.entries.clear();
        self.entries.shrink_to(kept_bytes / ENTRY_BYTES);
        self.last_bytes = 0;
    }
}

/// The length of something that is said; there is never as much here as this can count.
fn small(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

impl Line<'_> {
    /// Writes it.
    pub(super) fn write(&self, text: &mut Vec<u8>, pen: &mut Pen) {
        match self {
            Self::Text(line) => text.extend_from_slice(line.as_bytes()),
            Self::Answered(answered) => pen.write(text, answered),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn lines_come_in_their_order_and_with_all_that_was_said() {
        let begun = Instant::now();
        let clients = [SocketAddr::from(([10, 0, 0, 7], 1)), SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 2))];
        let answered = [("GET /ä", 200, ""), ("- -", 400, "gone cause=\"x\""), ("HEAD /", 304, "")];
        let of = |number: usize| {
            let (asked, status, aborted) = answered[number];
            let ended = begun + Duration::from_millis(1);
            Answered { client: &clients[number % 2], asked, status, bytes: 1 << 40, begun, ended, aborted }
        };
        let mut batch = Batch::new();
        for round in 0..2 {
            assert!(batch.is_empty() && batch.bytes() == 0, "{round}");
            batch.push("one\n");
            batch.push("two\n");
            batch.push_answered(&of(0));
            batch.push_answered(&of(1));
            batch.push("three\n");
            batch.push_answered(&of(2));
            batch.push("four\n");
            let mut found = Vec::new();
            batch.each(|line| found.push(format!("{line:?}")));
            let text = |text| format!("{:?}", Line::Text(text));
            let answered = |number| format!("{:?}", Line::Answered(of(number)));
            let expected =
                [text("one\ntwo\n"), answered(0), answered(1), text("three\n"), answered(2), text("four\n")];
            assert_eq!(found, expected, "{round}");
            assert_eq!(batch.bytes(), "one two three four ".len() + 3 * ENTRY_BYTES + 7 + 3 + 14 + 6);
            batch.clear(0);
        }
    }
}
