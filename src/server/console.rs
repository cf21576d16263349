//! The console: a few commands in plain text for whoever is on this machine and wants to look inside.
//!
//! It has a thread of its own and goes through no lane, so that it answers when all of them are full. It listens at
//! 127.0.0.1 only, and has no more than a few sessions at once.

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

use super::accept::listen_at;
use super::census::Counts;
use super::connection::{Phase, Shared};
use super::lobby::Mailbox;
use crate::http::Service;
use crate::metrics::requests::InFlightRequest;

/// How many sessions there can be at once.
const SESSIONS: usize = 4;
/// How long a session may say nothing.
const IDLE: Duration = Duration::from_secs(600);
/// The longest line that is read.
const LINE_BYTES: usize = 1024;
/// How often the thread looks whether the server stops, at the least.
const LOOK: Duration = Duration::from_millis(250);
/// How long a session may take no byte of an answer.
const WRITE: Duration = Duration::from_millis(200);
/// How many requests are shown.
const SHOWN: usize = 200;
/// How many addresses are shown.
const SHOWN_ADDRESSES: usize = 20;

/// What `help` says.
const HELP: &str = "\
help         this text
requests     what is being answered: age, client, method, target, bytes sent, ffmpeg's process
threads      the threads, what each is at, and the seconds of processor time they took
cache        the directories in memory
connections  how many there are, by state, what waits in the lanes, and which 20 addresses have most
log LEVEL    what is logged from now on: off, error, warn, info, debug or trace
quit         ends this session
";

/// A console that is open.
#[derive(Debug)]
pub(super) struct Console {
    listener: Arc<TcpListener>,
    thread: JoinHandle<()>,
}

impl Console {
    /// Opens a console at a port of this machine; 0 takes a free one. Returns where it is.
    pub(super) fn open(
        port: u16,
        service: Arc<dyn Service>,
        shared: Arc<Shared>,
        mailbox: Mailbox,
    ) -> io::Result<(Self, SocketAddr)> {
        let listener = Arc::new(listen_at((Ipv4Addr::LOCALHOST, port).into())?);
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let desk = Desk { listener: Arc::clone(&listener), service, shared, mailbox, sessions: Vec::new() };
        let thread = Builder::new().name("console".to_owned()).spawn(move || desk.run())?;
        Ok((Self { listener, thread }, address))
    }

    /// Lets it know that the server stops; what is left to be joined.
    pub(super) fn close(self) -> JoinHandle<()> {
        let _ = rustix::net::shutdown(&*self.listener, rustix::net::Shutdown::Both);
        self.thread
    }
}

/// What the console's thread has before it.
struct Desk {
    listener: Arc<TcpListener>,
    service: Arc<dyn Service>,
    shared: Arc<Shared>,
    mailbox: Mailbox,
    sessions: Vec<Session>,
}

/// Somebody who looks in.
struct Session {
    stream: TcpStream,
    line: Vec<u8>,
    heard: Instant,
}

impl Desk {
    fn run(mut self) {
        while self.shared.phase() == Phase::Running {
            let ready = self.wait();
            for index in (0..self.sessions.len()).rev() {
                let is_ready = ready.get(index + 1).copied().unwrap_or(false);
                if (is_ready && !self.attend(index)) || self.sessions[index].heard.elapsed() > IDLE {
                    self.sessions.swap_remove(index);
                }
            }
            if ready.first().copied().unwrap_or(false) {
                self.welcome();
            }
        }
    }

    /// Waits a moment for somebody to come or to say something: whether the listener and each session have.
    fn wait(&self) -> Vec<bool> {
        let timeout = Timespec { tv_sec: 0, tv_nsec: LOOK.subsec_nanos().into() };
        let mut polled = vec![PollFd::new(&*self.listener, PollFlags::IN)];
        polled.extend(self.sessions.iter().map(|session| PollFd::new(&session.stream, PollFlags::IN)));
        if poll(&mut polled, Some(&timeout)).is_err() {
            return Vec::new();
        }
        polled.iter().map(|polled| !polled.revents().is_empty()).collect()
    }

    /// Lets somebody in, or says that there is no room.
    fn welcome(&mut self) {
        let Ok((stream, _)) = self.listener.accept() else {
            // There may be no descriptor left: the one who waits shall not keep this thread awake.
            std::thread::sleep(Duration::from_millis(10));
            return;
        };
        let text = format!("restreamer {}; `help` lists the commands\n\n", env!("CARGO_PKG_VERSION"));
        let full = self.sessions.len() >= SESSIONS;
        let text = if full { format!("there are {SESSIONS} sessions already\n") } else { text };
        let mut session = Session { stream, line: Vec::new(), heard: Instant::now() };
        if session.stream.set_nonblocking(true).is_ok() && session.say(&text) && !full {
            self.sessions.push(session);
        }
    }

    /// Reads what a session says, and answers its lines; whether it goes on.
    fn attend(&mut self, index: usize) -> bool {
        let session = &mut self.sessions[index];
        let mut bytes = [0; LINE_BYTES];
        match recv(&session.stream, &mut bytes[..], RecvFlags::DONTWAIT) {
            Ok((count @ 1.., _)) => session.line.extend_from_slice(&bytes[..count]),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return true,
            Ok(_) | Err(_) => return false,
        }
        session.heard = Instant::now();
        while let Some(end) = self.sessions[index].line.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.sessions[index].line.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let Some(answer) = self.answer(&mut line.split_whitespace()) else { return false };
            if !self.sessions[index].say(&answer) {
                return false;
            }
        }
        self.sessions[index].line.len() < LINE_BYTES
    }

    /// The answer to a command, with an empty line at its end; `None` to one that ends the session.
    fn answer(&self, words: &mut dyn Iterator<Item = &str>) -> Option<String> {
        let mut text = match (words.next(), words.next()) {
            (None, _) => String::new(),
            (Some("quit" | "exit"), None) => return None,
            (Some("help"), None) => HELP.to_owned(),
            (Some("requests"), None) => self.requests(),
            (Some("threads"), None) => threads(),
            (Some("cache"), None) => self.cache(),
            (Some("connections"), None) => self.connections(),
            (Some("log"), level) => set_level(level),
            (Some(word), _) => {
                format!("there is no command `{}`; `help` lists those there are\n", word.escape_debug())
            }
        };
        text.push('\n');
        Some(text)
    }

    fn requests(&self) -> String {
        let flights = self.shared.metrics.in_flight.all();
        let mut text = format!("{} requests are being answered\n", flights.len());
        for flight in flights.iter().take(SHOWN) {
            let InFlightRequest { client, method, target, begun, sent, child_pid, .. } = &**flight;
            let (age, sent) = (begun.elapsed().as_secs_f64(), sent.load(Ordering::Relaxed));
            let target = target.escape_debug();
            let _ = write!(text, "{age:9.3} s  {client}  {method} {target}  {sent} bytes");
            let _ = match child_pid.load(Ordering::Relaxed) {
                0 => writeln!(text),
                pid => writeln!(text, "  ffmpeg {pid}"),
            };
        }
        if flights.len() > SHOWN {
            let _ = writeln!(text, "and {} younger ones", flights.len() - SHOWN);
        }
        text
    }

    fn cache(&self) -> String {
        let Some(cache) = self.service.cache() else { return "there is none\n".to_owned() };
        format!(
            "{} hours, {} bytes, {} hits, {} misses\n",
            cache.hours, cache.bytes, cache.hits, cache.misses
        )
    }

    fn connections(&self) -> String {
        let (open, most) = (self.shared.open(), self.shared.limits.max_connections);
        let mut text = format!("{open} of {most} connections\n");
        for (state, count) in self.shared.metrics.connections.states() {
            let _ = writeln!(text, "  {state:<9} {count:6}");
        }
        for (lane, queued, busy) in self.shared.metrics.pools() {
            let _ = writeln!(text, "lane {lane:<9} {busy:4} workers busy, {queued:4} requests wait");
        }
        match self.shared.census.take(|| self.mailbox.ring()) {
            Some(counts) => self.addresses(counts, &mut text),
            None => text.push_str("the lobby has too much to do to say whose they are\n"),
        }
        text
    }

    /// Writes a line for each of the addresses that have most connections. `counts` has those in the lobby; what is being
    /// answered beside these is with a worker.
    fn addresses(&self, mut counts: Counts, text: &mut String) {
        let mut answered: HashMap<IpAddr, usize> = HashMap::new();
        for flight in self.shared.metrics.in_flight.all() {
            *answered.entry(flight.client.ip()).or_default() += 1;
        }
        for (address, answered) in answered {
            let count = counts.entry(address).or_default();
            count.working = answered.saturating_sub(count.sending);
        }
        let mut counts: Vec<_> = counts.into_iter().filter(|(_, count)| count.total() > 0).collect();
        counts.sort_unstable_by_key(|(address, count)| (Reverse(count.total()), *address));
        for (address, count) in counts.iter().take(SHOWN_ADDRESSES) {
            let _ = writeln!(text, "{address:<39} {count}");
        }
    }
}

impl Session {
    /// Writes; whether all of it went.
    fn say(&mut self, text: &str) -> bool {
        let mut bytes = text.as_bytes();
        while !bytes.is_empty() {
            match send(&self.stream, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => {
                    let room = super::made::wait(&self.stream, PollFlags::OUT, WRITE);
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

/// The threads of this process, by what the system says of them.
fn threads() -> String {
    let mut lines = Vec::new();
    for task in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let Ok(stat) = std::fs::read_to_string(task.path().join("stat")) else { continue };
        // The name stands in parentheses, and may hold some itself.
        let Some((number, rest)) = stat.split_once(" (") else { continue };
        let Some((name, rest)) = rest.rsplit_once(") ") else { continue };
        let fields: Vec<&str> = rest.split(' ').collect();
        let ticks = |index: usize| fields.get(index).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        let millis = (ticks(11) + ticks(12)) * 1000 / rustix::param::clock_ticks_per_second().max(1);
        let state = fields.first().copied().unwrap_or("?");
        let (whole, part) = (millis / 1000, millis % 1000);
        lines.push(format!("{name:<15}  {number:>7}  {state}  {whole:6}.{part:03} s\n"));
    }
    lines.sort_unstable();
    lines.concat()
}

/// Changes what is logged.
fn set_level(level: Option<&str>) -> String {
    let Some(level) = level.and_then(|level| level.parse::<LevelFilter>().ok()) else {
        return "levels are off, error, warn, info, debug and trace\n".to_owned();
    };
    let before = log::max_level();
    log::set_max_level(level);
    format!("the log's level was {before} and is {level} now\n")
}
