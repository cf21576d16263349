//! The chat of a stream: batches of messages in the hours of a variant of that name.

use std::collections::HashSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::directory::read_names;
use super::file::open_regular;
use super::layout::{BatchNames, hour_name};
use super::messages::{Messages, parse_batch};
use crate::error::{Error, Result};
use crate::fnv::Fnv;
use crate::quota::{Quota, Share};
use crate::timestamp::{Span, Timestamp};

/// How long before a range the batches begin that may have messages of it: a message may have been sent much later than the
/// earliest time at which that is possible, which decides its batch.
const BEFORE: Span = Span::from_secs(120);
/// How long behind a range the last batches begin that are read.
const BEHIND: Span = Span::from_secs(60);
/// How much memory the messages of one range take at most.
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// How much the messages of all ranges that are read at a time take together.
const MAX_BYTES_OF_ALL: usize = 2 * MAX_BYTES;
/// The memory that a message takes beside its text.
const MESSAGE_BYTES: usize = 128;
/// How often a list of batches is read anew because one of them vanished.
const MAX_ATTEMPTS: usize = 10;
/// How many faults are remembered, so that each is logged once.
const MAX_NOTED: usize = 65_536;

/// Reads chat.
#[derive(Debug)]
pub(super) struct ChatReader {
    memory: Arc<Quota>,
    /// Hashes of the faults that were logged.
    noted: Mutex<HashSet<u64>>,
}

/// Where batches are read from.
trait Batches {
    /// The files of a range, in the order in which they are merged.
    fn list(&self) -> Result<Vec<PathBuf>>;

    /// Opens a file: its length and its content.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it is gone.
    fn open(&self, path: &Path) -> Result<(u64, Box<dyn Read>)>;
}

/// The files below the directory of a stream's chat.
struct Files<'a> {
    directory: &'a Path,
    range: (Timestamp, Timestamp),
}

impl Default for ChatReader {
    fn default() -> Self {
        Self { memory: Quota::new(MAX_BYTES_OF_ALL), noted: Mutex::default() }
    }
}

impl ChatReader {
    /// The messages of a range as a JSON array. `directory` holds the hours.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if there are too many; [`Error::Busy`] if those of other ranges take the memory;
    /// [`Error::Cancelled`] once `is_cancelled` returns true.
    pub(super) fn read(
        &self,
        directory: &Path,
        range: (Timestamp, Timestamp),
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Vec<u8>> {
        #[allow(clippy::cast_precision_loss, reason = "53 bits hold the microseconds of 285 years")]
        let seconds = |time: Timestamp| time.micros() as f64 / 1e6;
        let (messages, _shares) = self.merge(&Files { directory, range }, is_cancelled)?;
        Ok(messages.into_json((seconds(range.0), seconds(range.1))))
    }

    /// The messages of all batches. An archiver replaces batches by one that has the messages of all: if one is gone, the list
    /// is read again.
    fn merge(
        &self,
        batches: &dyn Batches,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<(Messages, Vec<Share>)> {
        let mut attempts_left = MAX_ATTEMPTS;
        'attempts: loop {
            attempts_left -= 1;
            let (mut messages, mut shares, mut bytes) = (Messages::default(), Vec::new(), 0);
            for path in batches.list()? {
                if is_cancelled() {
                    return Err(Error::Cancelled);
                }
                match self.add(batches, &path, &mut messages, &mut bytes, is_cancelled) {
                    Ok(added) => shares.extend(added),
                    Err(Error::NotFound(_)) if attempts_left > 0 => continue 'attempts,
                    Err(Error::NotFound(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            return Ok((messages, shares));
        }
    }

    /// Adds the messages of a batch, to those that take `bytes` so far.
    fn add(
        &self,
        batches: &dyn Batches,
        path: &Path,
        messages: &mut Messages,
        bytes: &mut usize,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<[Share; 2]> {
        let mut take = |count: usize| {
            *bytes = bytes.saturating_add(count);
            if *bytes > MAX_BYTES {
                return Err(Error::TooLarge(
                    "there are too many chat messages in this range: ask for a shorter one".to_owned(),
                ));
            }
            let busy = "other requests for chat take the memory that there is for it just now";
            self.memory.take(count).ok_or(Error::Busy(busy))
        };
        let (len, file) = batches.open(path)?;
        let of_text = take(usize::try_from(len).unwrap_or(usize::MAX))?;
        let mut text = Vec::new();
        file.take(len).read_to_end(&mut text).map_err(Error::io("read", path))?;
        let (batch, broken) = parse_batch(&text);
        let of_messages = take(batch.len() * MESSAGE_BYTES)?;
        if broken > 0 && self.is_new(&path.to_string_lossy()) {
            log::warn!("skipped {broken} lines of `{}` that are no chat messages", path.display());
        }
        for id in messages.add(batch, is_cancelled)? {
            if self.is_new(&id) {
                let id = id.escape_debug();
                log::warn!("two chat messages have the id `{id}` and differ, one in `{}`", path.display());
            }
        }
        Ok([of_text, of_messages])
    }

    /// Whether a fault is met for the first time.
    fn is_new(&self, subject: &str) -> bool {
        let mut hash = Fnv::new();
        hash.write_str(subject);
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        noted.len() < MAX_NOTED && noted.insert(hash.finish())
    }
}

impl Batches for Files<'_> {
    fn list(&self) -> Result<Vec<PathBuf>> {
        let start = (self.range.0 - BEFORE).max(Timestamp::MIN);
        let end = (self.range.1 + BEHIND).min(Timestamp::MAX);
        let mut found = Vec::new();
        let mut hour = start.hour();
        while hour.start() < end {
            let directory = self.directory.join(hour_name(hour));
            let mut names = BatchNames::default();
            read_names(&directory, false, |name, _| names.add(name))?;
            let in_range = |offset: Span| (start..end).contains(&(hour.start() + offset));
            found.extend(names.sorted(in_range).into_iter().map(|name| directory.join(name)));
            hour = hour.end().hour();
        }
        Ok(found)
    }

    fn open(&self, path: &Path) -> Result<(u64, Box<dyn Read>)> {
        let opened = open_regular(path)?;
        Ok((opened.len, Box::new(opened.file)))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    /// Batches that an archiver merges while they are read.
    struct Replaced<'a> {
        lists: RefCell<Vec<Vec<&'a str>>>,
        opened: Cell<usize>,
    }

    impl Batches for Replaced<'_> {
        fn list(&self) -> Result<Vec<PathBuf>> {
            let mut lists = self.lists.borrow_mut();
            let list = if lists.len() > 1 { lists.remove(0) } else { lists[0].clone() };
            Ok(list.into_iter().map(PathBuf::from).collect())
        }

        fn open(&self, path: &Path) -> Result<(u64, Box<dyn Read>)> {
            self.opened.set(self.opened.get() + 1);
            let name = path.to_string_lossy().into_owned();
            if name == "gone" {
                return Err(Error::NotFound(name));
            }
            let text = format!("{{\"time\":1,\"time_range\":0,\"text\":\"{name}\"}}").into_bytes();
            Ok((text.len() as u64, Box::new(std::io::Cursor::new(text))))
        }
    }

    #[test]
    fn a_batch_that_vanishes_makes_the_list_be_read_again() {
        // The lists one after the other, the names in the answer, how often a batch is opened.
        type Row = (&'static [&'static [&'static str]], &'static [&'static str], usize);
        let rows: [Row; 3] = [
            (&[&["a", "b"]], &["a", "b"], 2),
            (&[&["a", "gone", "b"], &["gone"], &["merged"]], &["merged"], 4),
            (&[&["a", "gone", "b"]], &["a", "b"], 2 * MAX_ATTEMPTS + 1),
        ];
        for (lists, names, opened) in rows {
            let lists = lists.iter().map(|list| list.to_vec()).collect();
            let batches = Replaced { lists: RefCell::new(lists), opened: Cell::default() };
            let reader = ChatReader::default();
            let (messages, shares) = reader.merge(&batches, &|| false).expect("messages");
            let json = String::from_utf8(messages.into_json((0.0, 2.0))).expect("text");
            let line = |name: &&str| format!("{{\"time\":1,\"time_range\":0,\"text\":\"{name}\"}}");
            let expected: Vec<_> = names.iter().map(line).collect();
            assert_eq!((json, batches.opened.get()), (format!("[{}]", expected.join(",")), opened));
            drop(shares);
            assert!(reader.memory.take(MAX_BYTES_OF_ALL).is_some(), "all memory is given back");
            assert!(matches!(reader.merge(&batches, &|| true), Err(Error::Cancelled)));
        }
    }
}
