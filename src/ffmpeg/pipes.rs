//! The three pipes of a child, each served by a thread of its own: stdin is fed, stdout goes into a bounded queue, and
//! the end of stderr is kept.

use std::io::{self, Read, Write};
use std::sync::{Mutex, PoisonError};

use crossbeam_channel::Sender;

use crate::error::{Error, Result};

/// Bytes that are read from stdout at once.
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

/// Reads stdout into `chunks` until either end is closed.
pub(super) fn read_stdout(mut stdout: impl Read, chunks: &Sender<Vec<u8>>) -> io::Result<()> {
    loop {
        let mut chunk = vec![0; CHUNK_BYTES];
        let len = match stdout.read(&mut chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        chunk.truncate(len);
        if len == 0 || chunks.send(chunk).is_err() {
            return Ok(());
        }
    }
}

/// Reads stderr to its end and keeps the last [`STDERR_BYTES`] in `tail`.
pub(super) fn read_stderr(mut stderr: impl Read, tail: &Mutex<Vec<u8>>) {
    let mut bytes = [0; STDERR_BYTES];
    while let Ok(len @ 1..) = stderr.read(&mut bytes) {
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.extend_from_slice(&bytes[..len]);
        let excess = tail.len().saturating_sub(STDERR_BYTES);
        tail.drain(..excess);
    }
}
