//! Child processes of tests. Each has its own process group and an environment with nothing but `PATH`; the whole group is
//! killed when the test ends, also by a panic.

use std::ffi::{OsStr, OsString};
use std::fs::Permissions;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};

use crate::harness::{PATIENCE, write_whole};

/// The path of the program under test.
pub(crate) const RESTREAMER: &str = env!("CARGO_BIN_EXE_restreamer");

/// A program with its arguments, not yet started.
#[derive(Debug)]
pub(crate) struct Program {
    command: Command,
    stderr_is_unread: bool,
}

/// A running program whose output is collected.
#[derive(Debug)]
pub(crate) struct Running {
    name: String,
    child: Child,
    stdout: Option<JoinHandle<String>>,
    stderr: Option<JoinHandle<String>>,
    reaped: bool,
}

/// The exit code and the output of a program that has ended.
#[derive(Debug)]
pub(crate) struct Output {
    /// The exit code; `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The server as a child process, and the address it listens on.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) running: Running,
    pub(crate) address: SocketAddr,
    /// The first line of its stdout.
    pub(crate) first_line: String,
}

impl Program {
    /// A program by its name or path.
    #[allow(clippy::disallowed_methods, reason = "this is where tests start programs")]
    pub(crate) fn new(name: impl AsRef<OsStr>) -> Self {
        // Kills the child even if this process is killed.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(name).process_group(0);
        command.env_clear().env("PATH", setting("PATH").expect("a PATH"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { command, stderr_is_unread: false }
    }

    pub(crate) fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Lets it find the ffmpeg of [`quick_ffmpeg`], unless it has a `PATH` of its own.
    fn with_quick_ffmpeg(self) -> Self {
        let path = setting("PATH").expect("a PATH");
        if !self.command.get_envs().any(|(name, value)| name == "PATH" && value == Some(&path)) {
            return self;
        }
        let directory = quick_ffmpeg().parent().expect("a directory");
        let directories = std::iter::once(directory.to_owned()).chain(std::env::split_paths(&path));
        self.env("PATH", std::env::join_paths(directories).expect("a PATH"))
    }

    /// Does not read its stderr.
    pub(crate) fn leave_stderr_unread(mut self) -> Self {
        self.stderr_is_unread = true;
        self
    }

    /// Starts it and collects its output.
    pub(crate) fn start(self) -> Running {
        let mut running = self.start_unread();
        let stdout = running.child.stdout.take().expect("a pipe");
        running.stdout = Some(collect(BufReader::new(stdout)));
        running
    }

    /// Starts it and lets a thread read its stdout.
    pub(crate) fn start_read(self, read: impl FnOnce(ChildStdout) + Send + 'static) -> Running {
        let mut running = self.start_unread();
        let stdout = running.child.stdout.take().expect("a pipe");
        let read_all = move || {
            read(stdout);
            String::new()
        };
        running.stdout = Some(Builder::new().name("read".to_owned()).spawn(read_all).expect("a thread"));
        running
    }

    /// Starts it without reading its stdout.
    fn start_unread(mut self) -> Running {
        let name = self.command.get_args().nth(3).unwrap_or_default().display().to_string();
        let mut child = self.command.spawn().expect("start a program");
        let stderr = if self.stderr_is_unread { None } else { child.stderr.take() };
        let stderr = stderr.map(|stderr| collect(BufReader::new(stderr)));
        Running { name, child, stdout: None, stderr, reaped: false }
    }

    /// Runs it to its end.
    pub(crate) fn run(self) -> Output {
        self.start().wait()
    }
}

impl Running {
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// The path of a file of the process in `/proc`.
    pub(crate) fn proc_file(&self, name: &str) -> std::path::PathBuf {
        Path::new("/proc").join(self.child.id().to_string()).join(name)
    }

    /// Sends a signal to the program alone, not to its children.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("send a signal");
    }

    /// Whether it has ended. It is not reaped, so its process ID is not reused.
    pub(crate) fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(self.pid()), options).expect("query a program").is_some()
    }

    /// Waits until it has ended.
    pub(crate) fn wait(mut self) -> Output {
        let begun = Instant::now();
        while !self.has_ended() {
            if begun.elapsed() > PATIENCE {
                self.kill();
                let stderr = self.stderr.take().map(join).unwrap_or_default();
                panic!("{} did not end in {PATIENCE:?}; its stderr: {stderr}", self.name);
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

    /// Kills its process group and reaps it. Returns its exit status.
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
    /// Starts the server for the archive `base` on a free port, with further options, and waits until it listens.
    pub(crate) fn over(base: &Path, options: &[&str]) -> Self {
        Self::by(Program::new(RESTREAMER), base, options)
    }

    /// The same for a given program, such as a wrapper of the server.
    pub(crate) fn by(program: Program, base: &Path, options: &[&str]) -> Self {
        let all =
            [&["--host", "127.0.0.1", "--port", "0", "--base-dir"].map(OsStr::new), &[base.as_os_str()][..]];
        Self::by_itself(program.args(all.concat()).args(options))
    }

    /// The same for a program whose arguments are complete.
    pub(crate) fn by_itself(program: Program) -> Self {
        let mut running = program.with_quick_ffmpeg().start_unread();
        let mut stdout = BufReader::new(running.child.stdout.take().expect("a pipe"));
        let mut first_line = String::new();
        stdout.read_line(&mut first_line).expect("read its first line");
        running.stdout = Some(collect(stdout));
        let address =
            first_line.trim_end().strip_prefix("listening on http://").and_then(|text| text.parse().ok());
        let Some(address) = address else {
            panic!("its first line is `{first_line}`, and it ended: {:?}", running.wait());
        };
        Self { running, address, first_line }
    }
}

/// The path of a program, if it is installed.
pub(crate) fn find(name: &str) -> Option<std::path::PathBuf> {
    let path = setting("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file())
}

/// The path of a program that is the installed ffmpeg, except that it knows what that one has answered to the questions of a
/// server that looks for it. Three starts of ffmpeg take more time than many a cut.
pub(crate) fn quick_ffmpeg() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let ffmpeg = find("ffmpeg").expect("ffmpeg is installed").display().to_string();
        let path = crate::footage::root().join("programs/ffmpeg");
        for options in [&["-version"][..], &["-hide_banner", "-encoders"], &["-hide_banner", "-decoders"]] {
            let output = Program::new(&ffmpeg).args(options).run();
            assert_eq!(output.code, Some(0), "ffmpeg {options:?}: {}", output.stderr);
            let question = options[options.len() - 1];
            write_whole(Path::new(&format!("{}{question}", path.display())), output.stdout.as_bytes());
        }
        let script = format!(
            "#!/bin/sh\nfor question; do :; done\n\
             case $question in -version | -encoders | -decoders) exec cat \"$0$question\" ;; esac\n\
             exec {ffmpeg} \"$@\"\n"
        );
        write_whole(&path, script.as_bytes());
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("an executable");
        path
    })
}

/// A variable of the tests' own environment.
#[allow(clippy::disallowed_methods, reason = "this is where tests read the environment")]
pub(crate) fn setting(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// Whether to run tests that take minutes.
pub(crate) fn is_long_run() -> bool {
    setting("RESTREAMER_TEST_LONG").is_some_and(|value| value == "1")
}

/// Prints to the terminal; the test runner does not capture it.
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
    thread.join().expect("its output")
}
