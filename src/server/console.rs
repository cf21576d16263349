//! The console: a few plain-text commands for an administrator on this machine.
//!
//! It has a thread of its own and uses no pool, so it answers while all pools are full. It listens at 127.0.0.1 only, and
//! has a few sessions at most.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use log::LevelFilter;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::connection::{ACTIVITIES, Activity};
use super::events::{EventSender, Snapshot};
use super::limits::{Phase, Shared};
use super::pool::POOLS;
use super::socket::{listen_at, poll_one};
use crate::http::Service;
use crate::metrics::requests::InFlightRequest;
use crate::process;

const MAX_SESSIONS: usize = 4;
const IDLE_TIMEOUT: Duration = Duration::from_secs(600);
const MAX_LINE_BYTES: usize = 1024;
const POLL_INTERVAL: Duration = Duration::from_millis(250);
const WRITE_TIMEOUT: Duration = Duration::from_millis(200);
const SHOWN_REQUESTS: usize = 200;
const SHOWN_ADDRESSES: usize = 20;

const HELP: &str = "\
help         this text
requests     the requests in flight: age, client, method, target, bytes sent, process ID of their ffmpeg
threads      the threads: name, ID, state, processor time
cache        the directories in the cache
connections  the number of connections by state, the pools, and the 20 addresses with most connections
log LEVEL    changes the log level: off, error, warn, info, debug or trace
quit         ends this session
";

/// An open console.
#[derive(Debug)]
pub(super) struct Console {
    listener: Arc<TcpListener>,
    thread: JoinHandle<()>,
}

impl Console {
    /// Opens a console at a loopback port, 0 for a free one. Returns its address.
    pub(super) fn open(
        port: u16,
        service: Arc<dyn Service>,
        shared: Arc<Shared>,
        events: EventSender,
    ) -> io::Result<(Self, SocketAddr)> {
        let listener = Arc::new(listen_at((Ipv4Addr::LOCALHOST, port).into())?);
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let console =
            ConsoleLoop { listener: Arc::clone(&listener), service, shared, events, sessions: Vec::new() };
        let thread = Builder::new().name("console".to_owned()).spawn(move || console.run())?;
        Ok((Self { listener, thread }, address))
    }

    /// Wakes the thread of a server that stops. Returns it, to be joined.
    pub(super) fn close(self) -> JoinHandle<()> {
        let _ = rustix::net::shutdown(&*self.listener, rustix::net::Shutdown::Both);
        self.thread
    }
}

struct ConsoleLoop {
    listener: Arc<TcpListener>,
    service: Arc<dyn Service>,
    shared: Arc<Shared>,
    events: EventSender,
    sessions: Vec<Session>,
}

struct Session {
    stream: TcpStream,
    /// The beginning of the next line.
    line: Vec<u8>,
    last_input: Instant,
}

impl ConsoleLoop {
    fn run(mut self) {
        while self.shared.phase() == Phase::Running {
            let ready = self.wait();
            for index in (0..self.sessions.len()).rev() {
                let is_ready = ready.get(index + 1).copied().unwrap_or(false);
                if (is_ready && !self.read_commands(index))
                    || self.sessions[index].last_input.elapsed() > IDLE_TIMEOUT
                {
                    self.sessions.swap_remove(index);
                }
            }
            if ready.first().copied().unwrap_or(false) {
                self.accept();
            }
        }
    }

    /// Waits a moment for input. Returns whether the listener, and then each session, has some.
    fn wait(&self) -> Vec<bool> {
        let timeout = Timespec { tv_sec: 0, tv_nsec: POLL_INTERVAL.subsec_nanos().into() };
        let mut polled = vec![PollFd::new(&*self.listener, PollFlags::IN)];
        polled.extend(self.sessions.iter().map(|session| PollFd::new(&session.stream, PollFlags::IN)));
        if poll(&mut polled, Some(&timeout)).is_err() {
            return Vec::new();
        }
        polled.iter().map(|polled| !polled.revents().is_empty()).collect()
    }

    /// Accepts a session, or refuses it if there are too many.
    fn accept(&mut self) {
        let Ok((stream, _)) = self.listener.accept() else {
            // Perhaps no descriptor is left: do not spin while the connection waits.
            std::thread::sleep(Duration::from_millis(10));
            return;
        };
        let text = format!("restreamer {}; `help` lists the commands\n\n", env!("CARGO_PKG_VERSION"));
        let full = self.sessions.len() >= MAX_SESSIONS;
        let text = if full { format!("there are {MAX_SESSIONS} sessions already\n") } else { text };
        let mut session = Session { stream, line: Vec::new(), last_input: Instant::now() };
        if session.stream.set_nonblocking(true).is_ok() && session.write(&text) && !full {
            self.sessions.push(session);
        }
    }

    /// Reads a session's input and answers its commands. Returns whether the session goes on.
    fn read_commands(&mut self, index: usize) -> bool {
        let session = &mut self.sessions[index];
        let mut bytes = [0; MAX_LINE_BYTES];
        match recv(&session.stream, &mut bytes[..], RecvFlags::DONTWAIT) {
            Ok((count @ 1.., _)) => session.line.extend_from_slice(&bytes[..count]),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return true,
            Ok(_) | Err(_) => return false,
        }
        session.last_input = Instant::now();
        while let Some(end) = self.sessions[index].line.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.sessions[index].line.drain(..=end).collect();
            let words = typed_line(&line).map(|line| line.split_whitespace().collect::<Vec<_>>());
            let Some(answer) = words.and_then(|words| self.answer(&words)) else { return false };
            if !self.sessions[index].write(&answer) {
                return false;
            }
        }
        self.sessions[index].line.len() < MAX_LINE_BYTES
    }

    /// The answer to a command, with an empty line at its end. `None` ends the session.
    fn answer(&self, words: &[&str]) -> Option<String> {
        let mut text = match words {
            [] => String::new(),
            ["quit" | "exit"] => return None,
            ["help"] => HELP.to_owned(),
            ["requests"] => self.requests(),
            ["threads"] => process::threads(),
            ["cache"] => self.cache(),
            ["connections"] => self.connections(),
            ["log", level] => set_level(level),
            _ => {
                let line = words.join(" ");
                format!("there is no command `{}`; `help` lists those there are\n", line.escape_debug())
            }
        };
        text.push('\n');
        Some(text)
    }

    fn requests(&self) -> String {
        let requests = self.shared.metrics.in_flight.all();
        let mut text = format!("{} requests are in flight\n", requests.len());
        for request in requests.iter().take(SHOWN_REQUESTS) {
            let InFlightRequest { client, method, target, begun, sent, child_pid, .. } = &**request;
            let (age, sent) = (begun.elapsed().as_secs_f64(), sent.load(Ordering::Relaxed));
            let target = target.escape_debug();
            let _ = write!(text, "{age:9.3} s  {client}  {method} {target}  {sent} bytes");
            let _ = match child_pid.load(Ordering::Relaxed) {
                0 => writeln!(text),
                pid => writeln!(text, "  ffmpeg {pid}"),
            };
        }
        if requests.len() > SHOWN_REQUESTS {
            let _ = writeln!(text, "and {} younger ones", requests.len() - SHOWN_REQUESTS);
        }
        text
    }

    fn cache(&self) -> String {
        let Some(cache) = self.service.cache() else { return "there is none\n".to_owned() };
        format!(
            "{} hours, {} bytes, {} hits, {} misses\n",
            cache.entries, cache.bytes, cache.hits, cache.misses
        )
    }

    fn connections(&self) -> String {
        let (open, most) = (self.shared.open(), self.shared.limits.max_connections);
        let mut text = format!("{open} of {most} connections\n");
        for (state, count) in self.shared.metrics.connections.states() {
            let _ = writeln!(text, "  {state:<9} {count:6}");
        }
        for (_, name) in POOLS {
            let pool = self.shared.metrics.pools.get(name);
            let (busy, queued) = (pool.busy_workers.get(), pool.queue_length.get());
            let _ = writeln!(text, "pool {name:<9} {busy:4} workers busy, {queued:4} requests queued");
        }
        match self.events.snapshot() {
            Some(snapshot) => list_addresses(snapshot, &mut text),
            None => text.push_str("the event loop is too busy to list the addresses\n"),
        }
        text
    }
}

/// Writes a line for each of the addresses with most connections.
fn list_addresses(snapshot: Snapshot, text: &mut String) {
    let mut addresses: HashMap<IpAddr, [usize; ACTIVITIES]> = HashMap::new();
    for (address, activity) in snapshot {
        addresses.entry(address).or_default()[activity as usize] += 1;
    }
    let mut addresses: Vec<_> = addresses.into_iter().collect();
    addresses.sort_unstable_by_key(|(address, counts)| (Reverse(counts.iter().sum::<usize>()), *address));
    for (address, counts) in addresses.iter().take(SHOWN_ADDRESSES) {
        let (total, count) = (counts.iter().sum::<usize>(), |activity| counts[activity as usize]);
        let (idle, reading) = (count(Activity::Idle), count(Activity::Reading) + count(Activity::Closing));
        let (working, sending) = (count(Activity::Working), count(Activity::Sending));
        let _ = writeln!(
            text,
            "{address:<39} {total:6} connections: {idle} idle, {reading} reading, {working} working, {sending} sending"
        );
    }
}

impl Session {
    /// Writes an answer. Returns whether all of it was taken.
    fn write(&mut self, text: &str) -> bool {
        let mut bytes = text.as_bytes();
        while !bytes.is_empty() {
            match send(&self.stream, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => {
                    let room = poll_one(&self.stream, PollFlags::OUT, WRITE_TIMEOUT);
                    if !room.is_ok_and(|events| events.contains(PollFlags::OUT)) {
                        return false;
                    }
                }
                Err(_) => return false,
            }
        }
        true
    }
}

/// A line that an administrator can have typed. A web page can make a browser send commands behind a request line or in a
/// TLS handshake, so `HTTP/` and bytes that are not text end the session.
fn typed_line(line: &[u8]) -> Option<&str> {
    let is_typed = |character: char| !character.is_control() || character.is_ascii_whitespace();
    let line = std::str::from_utf8(line).ok()?;
    (line.chars().all(is_typed) && !line.contains("HTTP/")).then_some(line)
}

fn set_level(level: &str) -> String {
    let Ok(level) = level.parse::<LevelFilter>() else {
        return "levels are off, error, warn, info, debug and trace\n".to_owned();
    };
    let before = log::max_level();
    log::set_max_level(level);
    format!("the log's level was {before} and is {level} now\n")
}
