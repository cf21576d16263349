//! Programs that tests start: each in a process group of its own, with an environment that says nothing about this
//! machine but where programs are, watched, and killed with all that it has started whichever way a test ends.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};

use crate::harness::PATIENCE;

/// What is tested, as a program.
pub(crate) const RESTREAMER: &str = env!("CARGO_BIN_EXE_restreamer");

/// A program with its arguments, not yet started.
#[derive(Debug)]
pub(crate) struct Program {
    command: Command,
    patience: Duration,
    deaf: bool,
}

/// A program that runs, and what it writes.
#[derive(Debug)]
pub(crate) struct Running {
    name: String,
    child: Child,
    stdout: Option<JoinHandle<String>>,
    stderr: Option<JoinHandle<String>>,
    patience: Duration,
    reaped: bool,
}

/// How a program ended, and all that it wrote.
#[derive(Debug)]
pub(crate) struct Output {
    /// The exit code; `None` where a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The server as a program of its own, and where it listens.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) running: Running,
    pub(crate) address: SocketAddr,
    /// The first line it wrote.
    pub(crate) first_line: String,
}

impl Program {
    /// A program by its name or path.
    #[allow(clippy::disallowed_methods, reason = "this is where tests start programs")]
    pub(crate) fn new(name: impl AsRef<OsStr>) -> Self {
        // Should this process be killed, what it started goes too.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(name).process_group(0);
        command.env_clear().env("PATH", setting("PATH").expect("where programs are"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { command, patience: PATIENCE, deaf: false }
    }

    pub(crate) fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// How long it may take to end, if not as long as all else.
    pub(crate) fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Leaves what it writes to stderr unread.
    pub(crate) fn deaf(mut self) -> Self {
        self.deaf = true;
        self
    }

    /// Starts it, and keeps all that it writes.
    pub(crate) fn start(self) -> Running {
        let mut running = self.start_unread();
        let stdout = running.child.stdout.take().expect("a pipe");
        running.stdout = Some(collect(BufReader::new(stdout)));
        running
    }

    /// Starts it, and leaves its stdout to be read elsewhere.
    fn start_unread(mut self) -> Running {
        let name = self.command.get_args().nth(3).unwrap_or_default().display().to_string();
        let mut child = self.command.spawn().expect("start a program");
        let stderr = if self.deaf { None } else { child.stderr.take() };
        let stderr = stderr.map(|stderr| collect(BufReader::new(stderr)));
        Running { name, child, stdout: None, stderr, patience: self.patience, reaped: false }
    }

    /// Runs it to its end.
    pub(crate) fn run(self) -> Output {
        self.start().wait()
    }
}

impl Running {
    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// A file in which the system tells something about the process.
    pub(crate) fn proc_file(&self, name: &str) -> std::path::PathBuf {
        Path::new("/proc").join(self.child.id().to_string()).join(name)
    }

    /// Sends a signal to the program, and not to what it has started.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("send a signal");
    }

    /// Whether it has ended. It is not reaped by this, so that nothing else can have its number.
    pub(crate) fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(self.pid()), options).expect("look at a program").is_some()
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> Output {
        let begun = Instant::now();
        while !self.has_ended() {
            if begun.elapsed() > self.patience {
                self.kill();
                let stderr = self.stderr.take().map(join).unwrap_or_default();
                panic!("{} did not end in {:?}; it said: {stderr}", self.name, self.patience);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let status = self.kill();
        Output {
            code: status.and_then(|status| status.code()),
            stdout: self.stdout.take().map(join).unwrap_or_default(),
            stderr: self.stderr.take().map(join).unwrap_or_default(),
        }
    }

    /// Kills it, if it still runs, with all that it has started; how it ended.
    fn kill(&mut self) -> Option<ExitStatus> {
        if !self.reaped {
            let _ = kill_process_group(self.pid(), Signal::KILL);
        }
        self.reaped = true;
        self.child.wait().ok()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
        for thread in [self.stdout.take(), self.stderr.take()].into_iter().flatten() {
            let _ = thread.join();
        }
    }
}

impl Served {
    /// Starts the server over the archive `base` on a free port, with more options behind, and waits until it listens.
    pub(crate) fn over(base: &Path, options: &[&str]) -> Self {
        Self::by(Program::new(RESTREAMER), base, options)
    }

    /// The same, started by a program that may stand before it.
    pub(crate) fn by(program: Program, base: &Path, options: &[&str]) -> Self {
        let all =
            [&["--host", "127.0.0.1", "--port", "0", "--base-dir"].map(OsStr::new), &[base.as_os_str()][..]];
        Self::by_itself(program.args(all.concat()).args(options))
    }

    /// The server as a program with all of its options, once it listens.
    pub(crate) fn by_itself(program: Program) -> Self {
        let mut running = program.start_unread();
        let mut stdout = BufReader::new(running.child.stdout.take().expect("a pipe"));
        let mut first_line = String::new();
        stdout.read_line(&mut first_line).expect("read its first line");
        running.stdout = Some(collect(stdout));
        let address =
            first_line.trim_end().strip_prefix("listening on http://").and_then(|text| text.parse().ok());
        let Some(address) = address else {
            panic!("it said `{first_line}` and ended: {:?}", running.wait());
        };
        Self { running, address, first_line }
    }
}

/// Where a program is, if it is installed.
pub(crate) fn find(name: &str) -> Option<std::path::PathBuf> {
    let path = setting("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file())
}

/// A variable of the environment that the tests were started with.
#[allow(clippy::disallowed_methods, reason = "this is where tests read the environment")]
pub(crate) fn setting(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// Whether to run what takes minutes.
pub(crate) fn is_long_run() -> bool {
    setting("RESTREAMER_TEST_LONG").is_some_and(|value| value == "1")
}

/// Says on the terminal, past what the test runner holds back, what a test has to say.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

fn collect(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    let read_all = move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Builder::new().name("collect".to_owned()).spawn(read_all).expect("a thread")
}

fn join(thread: JoinHandle<String>) -> String {
    thread.join().expect("what it wrote")
}
