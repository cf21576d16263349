//! The three pipes of a child, each served by a thread of its own: stdin is fed, stdout goes into a bounded queue, and
//! the end of stderr is kept for error messages.

use std::io::{self, Read, Write};
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};

/// Bytes that are read from a pipe at once, at most.
const CHUNK_BYTES: usize = 64 * 1024;
/// Bytes of stderr that are kept.
const STDERR_BYTES: usize = 4096;

/// Writes the input of a child. Called once, on the child's feeder thread.
pub type Feed = Box<dyn FnOnce(&mut dyn Write) -> Result<()> + Send>;

/// Runs `feed`. A program that closes its stdin early has all it needs, so that is no failure.
pub(super) fn feed_stdin(feed: Feed, mut stdin: impl Write) -> Result<()> {
    match feed(&mut stdin) {
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Reads a pipe in chunks until it is closed or `take` returns false.
pub(super) fn read_pipe(
    program: &'static str,
    mut pipe: impl Read,
    mut take: impl FnMut(Vec<u8>) -> bool,
) -> Result<()> {
    loop {
        let mut chunk = vec![0; CHUNK_BYTES];
        match pipe.read(&mut chunk) {
            Ok(len) => chunk.truncate(len),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                return Err(Error::Child { program, why: format!("its output cannot be read: {error}") });
            }
        }
        if chunk.is_empty() || !take(chunk) {
            return Ok(());
        }
    }
}

/// Appends a chunk of stderr to `tail`, which keeps the last [`STDERR_BYTES`]. Returns true: all of it is read.
pub(super) fn keep_tail(tail: &Mutex<Vec<u8>>, chunk: &[u8]) -> bool {
    let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
    tail.extend_from_slice(chunk);
    let excess = tail.len().saturating_sub(STDERR_BYTES);
    tail.drain(..excess);
    true
}
