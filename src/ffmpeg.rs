//! Children: ffmpeg and ffprobe, started, fed, watched and reaped. Nothing else starts a program.
//!
//! A child has three threads of its own, each named and joined: one feeds its stdin, one reads its stdout into a
//! bounded queue, one keeps the end of what it says on stderr. Whichever way a [`Child`] goes out of scope, its whole
//! process group is killed and the child reaped first, so that none of the threads can be left waiting for it.

mod lazy;
mod tools;

pub use lazy::LazyTools;
pub use tools::Tools;

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{self, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::error::{Error, Result};
use crate::metrics::process::RunningChild;

/// How often a wait looks up to see whether it is still wanted.
const LOOK_UP: Duration = Duration::from_millis(50);
/// Bytes that are read from a child at once.
const CHUNK: usize = 64 * 1024;
/// Chunks that wait to be taken, at most.
const QUEUE: usize = 64;
/// Bytes of stderr that are kept.
const TAIL: usize = 4096;

/// What goes into a child: called once, on the child's own feeder thread.
pub type Feed = Box<dyn FnOnce(&mut dyn Write) -> Result<()> + Send>;

/// A running program.
#[derive(Debug)]
pub struct Child {
    program: &'static str,
    process: process::Child,
    chunks: Option<Receiver<Vec<u8>>>,
    reader: Option<JoinHandle<io::Result<()>>>,
    feeder: Option<JoinHandle<Result<()>>>,
    listener: Option<JoinHandle<()>>,
    tail: Arc<Mutex<Vec<u8>>>,
    stall_limit: Duration,
    reaped: bool,
    counted: RunningChild,
}

impl Child {
    /// Starts `path` with `args`, fed by `feed` or with an empty stdin.
    ///
    /// `stall_limit` is how long it may keep the taker of its output waiting.
    ///
    /// # Errors
    /// [`Error::ProgramMissing`] if it cannot be started.
    pub fn start<S: AsRef<OsStr>>(
        program: &'static str,
        path: &Path,
        args: impl IntoIterator<Item = S>,
        feed: Option<Feed>,
        stall_limit: Duration,
    ) -> Result<Self> {
        let missing = |error: io::Error| Error::ProgramMissing {
            program,
            why: format!("`{}`: {error}", path.display()),
        };
        let stdin = if feed.is_some() { Stdio::piped() } else { Stdio::null() };
        let mut process = spawn(path, args, stdin).map_err(missing)?;
        let (stdin, stdout, stderr) = (process.stdin.take(), process.stdout.take(), process.stderr.take());
        let (sender, chunks) = bounded(QUEUE);
        let tail = Arc::new(Mutex::new(Vec::new()));
        let mut child = Self {
            program,
            counted: RunningChild::started(process.id()),
            process,
            chunks: Some(chunks),
            reader: None,
            feeder: None,
            listener: None,
            tail: Arc::clone(&tail),
            stall_limit,
            reaped: false,
        };
        // From here on a failure drops `child`, which reaps the process and joins the threads there are.
        if let Some(stdout) = stdout {
            child.reader = Some(named(program, "out", move || read_all(stdout, &sender)).map_err(missing)?);
        }
        if let Some(stderr) = stderr {
            child.listener = Some(named(program, "err", move || listen(stderr, &tail)).map_err(missing)?);
        }
        if let Some((feed, stdin)) = feed.zip(stdin) {
            child.feeder = Some(named(program, "in", move || feed_all(feed, stdin)).map_err(missing)?);
        }
        Ok(child)
    }

    /// The next bytes of the output; `None` once it has ended and the program has succeeded.
    ///
    /// `is_cancelled` is called several times a second while there is nothing to take.
    ///
    /// # Errors
    /// [`Error::Child`] if the program fails, says nothing for longer than the stall limit, or if `is_cancelled` says that
    /// nobody waits any longer; what the feeder failed with, if it did.
    pub fn next_chunk(&mut self, is_cancelled: &dyn Fn() -> bool) -> Result<Option<Vec<u8>>> {
        let since = Instant::now();
        loop {
            let Some(chunks) = &self.chunks else { return Ok(None) };
            match chunks.recv_timeout(LOOK_UP) {
                Ok(chunk) => return Ok(Some(chunk)),
                Err(RecvTimeoutError::Disconnected) => {
                    self.finish(is_cancelled)?;
                    return Ok(None);
                }
                Err(RecvTimeoutError::Timeout) => self.check(since, is_cancelled)?,
            }
        }
    }

    /// All that is left of the output.
    ///
    /// # Errors
    /// As [`Child::next_chunk`].
    pub fn read_to_end(mut self, is_cancelled: &dyn Fn() -> bool) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(chunk) = self.next_chunk(is_cancelled)? {
            all.extend(chunk);
        }
        Ok(all)
    }

    /// Fails if the program has kept its taker waiting for too long, or the taker is gone.
    fn check(&self, since: Instant, is_cancelled: &dyn Fn() -> bool) -> Result<()> {
        if is_cancelled() {
            return Err(self.failed("nobody waits for its output any longer"));
        }
        if since.elapsed() > self.stall_limit {
            return Err(self.failed(&format!("no output for {:.1} s", self.stall_limit.as_secs_f64())));
        }
        Ok(())
    }

    /// Waits for the exit status and the threads once the output has ended.
    fn finish(&mut self, is_cancelled: &dyn Fn() -> bool) -> Result<()> {
        self.chunks = None;
        let since = Instant::now();
        let status = loop {
            match self.process.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) => self.check(since, is_cancelled)?,
                Err(error) => return Err(self.failed(&format!("cannot be waited for: {error}"))),
            }
            thread::sleep(Duration::from_millis(2));
        };
        // What it left behind in its process group would keep the pipes open.
        self.kill_group();
        self.reaped = true;
        self.counted.ended(status.success());
        let read = self.reader.take().map_or(Ok(Ok(())), JoinHandle::join);
        let fed = self.feeder.take().map_or(Ok(Ok(())), JoinHandle::join);
        let _ = self.listener.take().map(JoinHandle::join);
        match (fed, read) {
            (Ok(Err(error)), _) => Err(error),
            (Err(_), _) | (_, Err(_)) => Err(self.failed("a thread that serves it panicked")),
            (_, Ok(Err(error))) => Err(self.failed(&format!("its output cannot be read: {error}"))),
            _ if status.success() => Ok(()),
            _ => Err(self.failed(&said(status))),
        }
    }

    fn failed(&self, what: &str) -> Error {
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&tail);
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let why = if lines.is_empty() {
            what.to_owned()
        } else {
            format!("{what}; it said: {}", lines.join(" | "))
        };
        Error::Child { program: self.program, why }
    }

    fn kill_group(&self) {
        if let Some(pid) = i32::try_from(self.process.id()).ok().and_then(rustix::process::Pid::from_raw) {
            // It may be gone already, which is what is wanted.
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.reaped {
            self.kill_group();
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
        // Without its receiver the reader cannot be stuck in a full queue.
        self.chunks = None;
        let _ = self.reader.take().map(JoinHandle::join);
        let _ = self.feeder.take().map(JoinHandle::join);
        let _ = self.listener.take().map(JoinHandle::join);
    }
}

#[allow(clippy::disallowed_methods, reason = "this is the one place where children are started")]
fn spawn<S: AsRef<OsStr>>(
    path: &Path,
    args: impl IntoIterator<Item = S>,
    stdin: Stdio,
) -> io::Result<process::Child> {
    Command::new(path)
        .args(args)
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
}

fn named<T: Send + 'static>(
    program: &str,
    what: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    thread::Builder::new().name(format!("{program}-{what}")).spawn(body)
}

fn read_all(mut stdout: impl Read, chunks: &Sender<Vec<u8>>) -> io::Result<()> {
    loop {
        let mut chunk = vec![0; CHUNK];
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

fn listen(mut stderr: impl Read, tail: &Mutex<Vec<u8>>) {
    let mut bytes = [0; 4096];
    while let Ok(len @ 1..) = stderr.read(&mut bytes) {
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.extend_from_slice(&bytes[..len]);
        let excess = tail.len().saturating_sub(TAIL);
        tail.drain(..excess);
    }
}

fn feed_all(feed: Feed, stdin: impl Write) -> Result<()> {
    let mut pipe = Pipe { stdin, broken: false };
    match feed(&mut pipe) {
        // A program that has all it needs may stop reading.
        Err(_) if pipe.broken => Ok(()),
        other => other,
    }
}

/// A pipe that remembers that its reader is gone.
struct Pipe<W> {
    stdin: W,
    broken: bool,
}

impl<W: Write> Write for Pipe<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stdin.write(bytes).inspect_err(|error| self.broken |= error.kind() == io::ErrorKind::BrokenPipe)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stdin.flush()
    }
}

fn said(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it ended with status {code}"),
        (None, Some(signal)) => format!("it was ended by signal {signal}"),
        (None, None) => "it ended without a status".to_owned(),
    }
}
