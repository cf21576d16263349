//! A child process: started, fed, watched and reaped.
//!
//! Each child leads a process group of its own and has a named thread for each of its pipes: stdin is fed, stdout goes
//! into a bounded queue, and the end of stderr is kept for error messages. However a [`Child`] goes out of scope, its
//! process group is killed and the child reaped before the threads are joined, so none of them can wait for ever.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{self, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use rustix::io::Errno;
use rustix::pipe::{fcntl_getpipe_size, fcntl_setpipe_size};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::error::{Error, Result};
use crate::metrics::process::RunningChild;

/// How often a wait checks whether it is cancelled.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);
/// How often a process that has closed its output is checked for its exit.
const EXIT_POLL: Duration = Duration::from_millis(2);
/// Chunks of output that may be queued.
const QUEUE: usize = 16;
/// Bytes that are read from a pipe at once, at most.
const CHUNK_BYTES: usize = 64 * 1024;
/// The size of a pipe in which output gathers.
const GATHERED_BYTES: usize = 256 * 1024;
/// The shortest time in which output is left to gather.
const MIN_GATHER: Duration = Duration::from_millis(1);
/// Bytes of stderr that are kept.
const STDERR_BYTES: usize = 4096;

/// The `oom_score_adj` of a child: the maximum, so that the kernel kills children before the server if memory runs out.
const OOM_SCORE_ADJ: &str = "1000";

/// Writes the input of a child. Called once, on the child's feeder thread.
pub type Feed = Box<dyn FnOnce(&mut dyn Write) -> Result<()> + Send>;

/// What a child reads from its stdin.
pub(super) enum Input {
    /// Nothing.
    Nothing,
    /// What is written on a thread.
    Feed(Feed),
    /// An open file, from its current offset on.
    File(File),
}

/// How a child is waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waits {
    /// How long it may be without output while its output is waited for.
    pub(super) stall_limit: Duration,
    /// How long its output is left to gather at most, which saves most of what passing on many small pieces costs.
    pub(super) gather: Duration,
}

impl Waits {
    /// Output is passed on at once.
    pub(super) const fn stall(stall_limit: Duration) -> Self {
        Self { stall_limit, gather: Duration::ZERO }
    }
}

/// A running program.
#[derive(Debug)]
pub struct Child {
    program: &'static str,
    process: process::Child,
    chunks: Option<Receiver<Vec<u8>>>,
    /// The threads of its pipes.
    threads: Vec<JoinHandle<Result<()>>>,
    stderr_tail: Arc<Mutex<Vec<u8>>>,
    waits: Waits,
    reaped: bool,
    counted: RunningChild,
}

impl Child {
    /// Starts `path` with `args`, which reads `input`.
    ///
    /// # Errors
    /// [`Error::ProgramMissing`] if it is not there or not executable; [`Error::NotStarted`] if the system refuses to
    /// start it, for want of processes, threads, descriptors or memory.
    pub(super) fn start(
        program: &'static str,
        path: &Path,
        args: impl IntoIterator<Item: AsRef<OsStr>>,
        input: Input,
        waits: Waits,
    ) -> Result<Self> {
        #[allow(clippy::disallowed_methods, reason = "this is the one place where children are started")]
        let mut command = Command::new(path);
        command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let (stdin, feed) = match input {
            Input::Nothing => (Stdio::null(), None),
            Input::Feed(feed) => (Stdio::piped(), Some(feed)),
            Input::File(file) => (file.into(), None),
        };
        command.stdin(stdin);
        Self::spawn(program, &mut command, feed, waits).map_err(|error| {
            let why = format!("`{}`: {error}", path.display());
            if is_missing(&error) {
                Error::ProgramMissing { program, why }
            } else {
                Error::NotStarted { program, why }
            }
        })
    }

    fn spawn(
        program: &'static str,
        command: &mut Command,
        feed: Option<Feed>,
        waits: Waits,
    ) -> io::Result<Self> {
        let mut process = command.spawn()?;
        offer_to_oom_killer(process.id());
        let (stdin, stdout, stderr) = (process.stdin.take(), process.stdout.take(), process.stderr.take());
        let (sender, chunks) = bounded(QUEUE);
        let tail = Arc::new(Mutex::new(Vec::new()));
        let mut child = Self {
            program,
            counted: RunningChild::started(process.id()),
            process,
            chunks: Some(chunks),
            threads: Vec::new(),
            stderr_tail: Arc::clone(&tail),
            waits,
            reaped: false,
        };
        // A failure from here on drops `child`, which reaps the process and joins the threads that were started.
        if let Some((stdout, stderr)) = stdout.zip(stderr) {
            let queue = move |chunk: &[u8]| sender.send(chunk.to_vec()).is_ok();
            let pipe_bytes = if waits.gather.is_zero() { CHUNK_BYTES } else { enlarge(&stdout) };
            child.start_thread("out", move || read_pipe(program, stdout, pipe_bytes, waits.gather, queue))?;
            let keep = move |chunk: &[u8]| keep_tail(&tail, chunk);
            child.start_thread("err", move || {
                read_pipe(program, stderr, STDERR_BYTES, Duration::ZERO, keep)
            })?;
        }
        if let Some((feed, stdin)) = feed.zip(stdin) {
            child.start_thread("in", move || feed_stdin(feed, stdin))?;
        }
        Ok(child)
    }

    fn start_thread(
        &mut self,
        pipe: &str,
        body: impl FnOnce() -> Result<()> + Send + 'static,
    ) -> io::Result<()> {
        let name = format!("{}-{pipe}", self.program);
        self.threads.push(thread::Builder::new().name(name).spawn(body)?);
        Ok(())
    }

    /// The next bytes of the output; `None` once it has ended and the program has succeeded.
    ///
    /// `is_cancelled` is called several times a second while there is no output.
    ///
    /// # Errors
    /// [`Error::Cancelled`] once `is_cancelled` returns true; [`Error::Child`] if the program fails or has no output for
    /// longer than the stall limit; the feeder's error, if it had one.
    pub fn next_chunk(&mut self, is_cancelled: &dyn Fn() -> bool) -> Result<Option<Vec<u8>>> {
        let since = Instant::now();
        let interval = CHECK_INTERVAL.max(2 * self.waits.gather);
        loop {
            let Some(chunks) = &self.chunks else { return Ok(None) };
            match chunks.recv_timeout(interval) {
                Ok(chunk) => return Ok(Some(chunk)),
                Err(RecvTimeoutError::Disconnected) => {
                    self.finish(is_cancelled)?;
                    return Ok(None);
                }
                Err(RecvTimeoutError::Timeout) => self.check(since, is_cancelled)?,
            }
        }
    }

    /// Asks the program to end by itself (SIGTERM). Its output is to be read to the end.
    pub fn terminate(&self) {
        if !self.reaped {
            let _ = kill_process_group(Pid::from_child(&self.process), Signal::TERM);
        }
    }

    /// Fails if a wait that began at `since` is cancelled or takes too long.
    fn check(&self, since: Instant, is_cancelled: &dyn Fn() -> bool) -> Result<()> {
        if is_cancelled() {
            return Err(Error::Cancelled);
        }
        let Waits { stall_limit, .. } = self.waits;
        if since.elapsed() > stall_limit {
            return Err(self.failed(&format!("no output for {:.1} s", stall_limit.as_secs_f64())));
        }
        Ok(())
    }

    /// Waits for the exit status and the threads once the output has ended.
    fn finish(&mut self, is_cancelled: &dyn Fn() -> bool) -> Result<()> {
        self.chunks = None;
        let since = Instant::now();
        let cannot_wait = |error: io::Error| self.failed(&format!("cannot be waited for: {error}"));
        while !self.has_exited().map_err(cannot_wait)? {
            self.check(since, is_cancelled)?;
            thread::sleep(EXIT_POLL);
        }
        let status =
            self.kill_and_reap().map_err(|error| self.failed(&format!("cannot be reaped: {error}")))?;
        self.counted.ended(status.success());
        for ended in self.join() {
            ended.unwrap_or_else(|_| Err(self.failed("a thread of its pipes panicked")))?;
        }
        if status.success() { Ok(()) } else { Err(self.failed(&status.to_string())) }
    }

    fn join(&mut self) -> Vec<thread::Result<Result<()>>> {
        self.threads.drain(..).map(JoinHandle::join).collect()
    }

    /// A failure of the program, with the end of its stderr.
    fn failed(&self, what: &str) -> Error {
        let tail = self.stderr_tail.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&tail);
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let stderr =
            if lines.is_empty() { String::new() } else { format!("; stderr: {}", lines.join(" | ")) };
        Error::Child { program: self.program, why: format!("{what}{stderr}") }
    }

    /// Whether the process has exited. It is not reaped, so its id, which is that of its group, is not reused yet.
    fn has_exited(&self) -> io::Result<bool> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Ok(waitid(WaitId::Pid(Pid::from_child(&self.process)), options)?.is_some())
    }

    /// Kills what is left of the process group, which would keep the pipes open, and then reaps the process.
    fn kill_and_reap(&mut self) -> io::Result<ExitStatus> {
        let _ = kill_process_group(Pid::from_child(&self.process), Signal::KILL);
        let status = self.process.wait()?;
        self.reaped = true;
        Ok(status)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.reaped {
            let _ = self.kill_and_reap();
        }
        // Without its receiver the reader cannot be stuck in a full queue.
        self.chunks = None;
        self.join();
    }
}

/// Asks the kernel to kill a child first where memory runs out. A process may always ask that of its children.
///
/// The child has been running for some microseconds by then, in which it cannot have allocated much. Without unsafe code it
/// cannot be done in the child before it runs.
fn offer_to_oom_killer(pid: u32) {
    if let Err(error) = std::fs::write(format!("/proc/{pid}/oom_score_adj"), OOM_SCORE_ADJ) {
        log::debug!("cannot set the OOM score of process {pid}: {error}");
    }
}

/// Runs `feed`. A program that closes its stdin early has all it needs, so that is no failure.
fn feed_stdin(feed: Feed, mut stdin: impl Write) -> Result<()> {
    match feed(&mut stdin) {
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Gives a pipe the size in which output gathers, if the system allows it; returns its size.
fn enlarge(pipe: impl AsFd) -> usize {
    fcntl_setpipe_size(&pipe, GATHERED_BYTES).or_else(|_| fcntl_getpipe_size(&pipe)).unwrap_or(CHUNK_BYTES)
}

/// Reads a pipe in chunks of its size, at most, until it is closed or `take` returns false. What comes next is left to
/// gather, up to a limit, but never so long that the pipe would be full and the program had to wait.
fn read_pipe(
    program: &'static str,
    mut pipe: impl Read,
    pipe_bytes: usize,
    gather_limit: Duration,
    mut take: impl FnMut(&[u8]) -> bool,
) -> Result<()> {
    let mut buffer = vec![0; pipe_bytes];
    let mut gather = Duration::ZERO;
    loop {
        let len = match pipe.read(&mut buffer) {
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                return Err(Error::Child { program, why: format!("its output cannot be read: {error}") });
            }
        };
        if len == 0 || !take(&buffer[..len]) {
            return Ok(());
        }
        // A pipe is full with half of its size if each write takes a page of its own.
        if len >= pipe_bytes / 2 {
            gather /= 2;
        } else if len < pipe_bytes / 4 {
            gather = (gather * 2).max(MIN_GATHER).min(gather_limit);
        }
        if !gather.is_zero() {
            thread::sleep(gather);
        }
    }
}

/// Appends a chunk of stderr to `tail`, which keeps the last [`STDERR_BYTES`]. Returns true: all of it is read.
fn keep_tail(tail: &Mutex<Vec<u8>>, chunk: &[u8]) -> bool {
    let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
    tail.extend_from_slice(chunk);
    let excess = tail.len().saturating_sub(STDERR_BYTES);
    tail.drain(..excess);
    true
}

/// Whether a program cannot be started because it is not there or cannot be executed.
fn is_missing(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    matches!(error.kind(), NotFound | NotADirectory | PermissionDenied)
        || error.raw_os_error() == Some(Errno::NOEXEC.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_program_that_cannot_be_executed_counts_as_missing() {
        let missing = [Errno::NOENT, Errno::NOTDIR, Errno::ACCESS, Errno::NOEXEC];
        let refused = [Errno::AGAIN, Errno::NOMEM, Errno::MFILE, Errno::NFILE, Errno::TXTBSY];
        assert!(missing.into_iter().all(|errno| is_missing(&errno.into())));
        assert!(!refused.into_iter().any(|errno| is_missing(&errno.into())));
        for path in ["/nowhere/ffmpeg", "/dev/null", "/dev/null/ffmpeg"] {
            let started = Child::start(
                "ffmpeg",
                Path::new(path),
                [""; 0],
                Input::Nothing,
                Waits::stall(Duration::ZERO),
            );
            assert!(matches!(started, Err(Error::ProgramMissing { .. })), "{path}: {started:?}");
        }
    }

    /// The state of a process in `/proc`, such as `S` or `Z`; `None` if there is none of that id.
    fn state(pid: &str) -> Option<String> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit(')').next()?.split_whitespace().next().map(str::to_owned)
    }

    #[test]
    fn a_process_is_reaped_only_after_its_group_was_killed() {
        // Its own child keeps stderr open and outlives it.
        let script = "sleep 1000 > /dev/null & echo $!";
        let limit = Duration::from_secs(180);
        let mut child =
            Child::start("sh", Path::new("/bin/sh"), ["-c", script], Input::Nothing, Waits::stall(limit))
                .expect("a child");
        let orphan = child.next_chunk(&|| false).expect("output").expect("the orphan's pid");
        let orphan = String::from_utf8(orphan).expect("text");
        while !child.has_exited().expect("a child") {
            thread::sleep(EXIT_POLL);
        }
        let pid = child.process.id().to_string();
        let score = std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).expect("a score");
        assert_eq!(score.trim(), OOM_SCORE_ADJ);
        assert_eq!(state(&pid).as_deref(), Some("Z"));
        assert!(state(orphan.trim()).is_some_and(|state| state != "Z"), "the orphan has exited by itself");
        assert!(child.next_chunk(&|| false).expect("success").is_none());
        assert_eq!(state(&pid), None, "it is not reaped");
        // A killed process takes a moment to exit, and init one to reap it.
        let since = Instant::now();
        while state(orphan.trim()).is_some_and(|state| state != "Z") {
            assert!(since.elapsed() < limit, "the orphan still runs");
            thread::sleep(EXIT_POLL);
        }
    }
}
