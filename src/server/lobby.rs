//! Connections that nobody works for: those that wait for a request or send its head, those that take their answer
//! slowly, and those that are on their way out.
//!
//! One thread waits for all of them at once. It never blocks on any, so a slow client costs a place here and no
//! worker. Each has a deadline, which depends on what it is at. Connections that a lane keeps come here when they have
//! been quiet for a while, and are seen to from here when all workers of their lane are busy.

mod guest;
mod lanes;

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};

use self::guest::{Guest, Interest, Next, State};
use super::census::Counts;
use super::connection::{Connection, Phase, Shared};
use super::exchange::Abort;
use super::head::MAX_HEAD_BYTES;
use super::pool::Pools;
use super::wire::Outgoing;
use crate::http::Service;
use crate::http::reply::Reply;

/// How many more connections than the limit can be here for a moment, to be told that there are too many.
pub(super) const SPARE_CONNECTIONS: usize = 128;
/// How many events are taken at a time.
const EVENTS: usize = 256;
/// How many steps a guest may take before the others have their turn.
const TURN_STEPS: usize = 32;
/// The token of the bell that is rung when somebody arrives.
const BELL: u64 = 0;
/// The longest sleep: the deadlines that come with it are looked at this often at the least.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// How often the lanes are looked after whose workers are all busy.
const LANES_SLEEP: Duration = Duration::from_millis(10);

/// A connection on its way into the lobby.
pub(super) enum Arrival {
    /// It was just accepted.
    New(Connection),
    /// It was served and may ask again.
    Waiting(Connection),
    /// Its answer is not all sent.
    Sending(Connection, Box<Outgoing>),
    /// It is done with; what it still sends is read before it is closed.
    Lingering(Connection),
}

impl Arrival {
    /// A connection that is done with, whatever it has sent already.
    pub(super) fn lingering(mut connection: Connection) -> Self {
        connection.input.clear();
        Self::Lingering(connection)
    }
}

/// The way into the lobby.
#[derive(Debug, Clone)]
pub(super) struct Mailbox {
    arrivals: Sender<Arrival>,
    bell: Arc<OwnedFd>,
}

impl Mailbox {
    /// Hands a connection over. There is room for all that can be open at once, so this does not wait.
    pub(super) fn send(&self, arrival: Arrival) {
        if self.arrivals.send(arrival).is_err() {
            log::debug!("a connection came to the lobby after it had closed");
        }
        self.ring();
    }

    /// Wakes the lobby.
    pub(super) fn ring(&self) {
        if let Err(errno) = rustix::io::write(&self.bell, &1_u64.to_ne_bytes()) {
            log::debug!("cannot wake the lobby: {errno}");
        }
    }
}

/// The lobby's own side of its mailbox, before it is opened.
#[derive(Debug)]
pub(super) struct Door {
    arrivals: Receiver<Arrival>,
    bell: Arc<OwnedFd>,
    epoll: OwnedFd,
}

/// Makes a lobby's door and the mailbox that leads to it.
pub(super) fn door(shared: &Shared) -> io::Result<(Mailbox, Door)> {
    let (sender, receiver) = bounded(shared.limits.max_connections + 2 * SPARE_CONNECTIONS);
    let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &bell, EventData::new_u64(BELL), EventFlags::IN)?;
    let mailbox = Mailbox { arrivals: sender, bell: Arc::clone(&bell) };
    Ok((mailbox, Door { arrivals: receiver, bell, epoll }))
}

/// The lobby.
pub(super) struct Lobby {
    door: Door,
    pool: Pools,
    service: Arc<dyn Service>,
    shared: Arc<Shared>,
    guests: HashMap<u64, Guest>,
    /// All guests, by when their time is over.
    deadlines: BTreeSet<(Instant, u64)>,
    /// Those of them that could be sent away at any time, for they have not begun a request.
    idle: BTreeSet<(Instant, u64)>,
    /// Those of them that keep memory busy with what they have not taken, and how much it is.
    holding: BTreeSet<(Instant, u64)>,
    held_bytes: usize,
    /// How many are sent an answer.
    sending: usize,
    /// What was said last of how many are idle, are sent an answer, and are at something else.
    published: [usize; 3],
    last_token: u64,
    /// Where bytes are read to, before a connection gets as many of its own as came.
    scratch: Box<[u8]>,
}

impl Lobby {
    pub(super) fn new(door: Door, pool: Pools, service: Arc<dyn Service>, shared: Arc<Shared>) -> Self {
        Self {
            door,
            pool,
            service,
            shared,
            guests: HashMap::new(),
            deadlines: BTreeSet::new(),
            idle: BTreeSet::new(),
            holding: BTreeSet::new(),
            held_bytes: 0,
            sending: 0,
            published: [0; 3],
            last_token: BELL,
            scratch: vec![0; MAX_HEAD_BYTES].into_boxed_slice(),
        }
    }

    /// Serves its guests until the server stops and has none left.
    pub(super) fn run(mut self) {
        let mut events: Vec<Event> = Vec::with_capacity(EVENTS);
        loop {
            self.wait(&mut events);
            for event in events.drain(..) {
                match event.data.u64() {
                    BELL => self.hush(),
                    token => self.attend(token),
                }
            }
            while let Ok(arrival) = self.door.arrivals.try_recv() {
                self.welcome(arrival, Instant::now());
            }
            self.look_after_lanes();
            self.expire();
            self.publish();
            self.shared.census.answer(|| self.count());
            match self.shared.phase() {
                Phase::Running => {}
                Phase::Draining => {
                    self.take_over_lanes();
                    self.guests_without_answer().for_each(|token| drop(self.take(token)));
                }
                Phase::Aborting => {
                    self.take_over_lanes();
                    self.abort_all();
                    return;
                }
            }
        }
    }

    /// Says how many there are, for whoever counts: by how many they have become more or fewer, for the lanes count
    /// those whom they keep with them.
    fn publish(&mut self) {
        let (idle, sending) = (self.idle.len(), self.sending);
        let now = [idle, sending, self.guests.len().saturating_sub(idle + sending)];
        let connections = &self.shared.metrics.connections;
        let counted = [&connections.idle, &connections.sending, &connections.reading];
        for ((counter, now), before) in counted.into_iter().zip(now).zip(self.published) {
            if now != before {
                counter.fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
            }
        }
        self.published = now;
    }

    /// Who has how many of the connections that are here or that lanes keep.
    fn count(&self) -> Counts {
        let mut counts = Counts::new();
        for guest in self.guests.values() {
            let count = counts.entry(guest.connection.client.ip()).or_default();
            match guest.state {
                State::Reading { begun: None } => count.idle += 1,
                State::Sending(_) => count.sending += 1,
                _ => count.reading += 1,
            }
        }
        for regulars in self.pool.all_regulars() {
            regulars.count_into(&mut counts);
        }
        counts
    }

    /// Sleeps until something comes or a deadline is over.
    fn wait(&self, events: &mut Vec<Event>) {
        let until = self.deadlines.first().map_or(LONGEST_SLEEP, |(deadline, _)| {
            deadline.saturating_duration_since(Instant::now()).min(LONGEST_SLEEP)
        });
        let until = if self.shared.are_lanes_watched() { until.min(LANES_SLEEP) } else { until };
        // Rounded up, or the last fraction of a millisecond would be spent spinning.
        let millis = i64::try_from(until.as_micros().div_ceil(1000)).unwrap_or(1000);
        let timeout = Timespec { tv_sec: millis / 1000, tv_nsec: millis % 1000 * 1_000_000 };
        let buffer = rustix::buffer::spare_capacity(events);
        match epoll::wait(&self.door.epoll, buffer, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => {
                log::error!("cannot wait for connections: {errno}");
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }

    /// Stops the bell.
    fn hush(&self) {
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.door.bell, &mut count);
    }

    /// Takes a connection in, to which nothing has happened since `now`.
    fn welcome(&mut self, arrival: Arrival, now: Instant) {
        self.last_token += 1;
        let token = self.last_token;
        let limits = self.shared.limits;
        let (connection, state, deadline) = match arrival {
            Arrival::New(connection) => {
                if self.shared.open() > limits.max_connections && !self.evict() {
                    let reply = Reply::unavailable("there are too many connections to this server just now");
                    let metrics = &self.shared.metrics;
                    metrics.connections.dropped("too_many");
                    let outgoing = Box::new(Outgoing::refusal(connection.client, reply, metrics));
                    (connection, State::Sending(outgoing), now + limits.write_timeout)
                } else {
                    (connection, State::Reading { begun: None }, now + limits.idle_timeout)
                }
            }
            Arrival::Waiting(connection) => {
                (connection, State::Reading { begun: None }, now + limits.idle_timeout)
            }
            Arrival::Sending(connection, outgoing) => {
                (connection, State::Sending(outgoing), now + limits.write_timeout)
            }
            Arrival::Lingering(connection) => {
                let _ = connection.shut_writing();
                (connection, State::lingering(), now + limits.linger_timeout)
            }
        };
        let guest = Guest { connection, state, deadline, watched: None, held_bytes: 0 };
        // A new connection's request is often there already, and so is one that was sent with the one before.
        self.settle(token, Next::Again(guest));
    }

    /// Looks after a guest whom something has happened to.
    fn attend(&mut self, token: u64) {
        if let Some(guest) = self.take(token) {
            self.settle(token, Next::Again(guest));
        }
    }

    /// Lets a guest take steps until it has to wait for something, and gives it a place to wait, or is rid of it.
    fn settle(&mut self, token: u64, mut next: Next) {
        let mut visit = guest::Visit {
            pool: &self.pool,
            service: &*self.service,
            shared: &self.shared,
            epoll: self.door.epoll.as_fd(),
            scratch: &mut self.scratch,
        };
        let mut steps = 0;
        let mut guest = loop {
            match next {
                Next::Again(guest) if steps == TURN_STEPS => break guest,
                Next::Again(guest) => {
                    steps += 1;
                    let stepped = catch_unwind(AssertUnwindSafe(|| visit.step(guest)));
                    next = stepped.unwrap_or_else(|_| {
                        self.shared.panics.fetch_add(1, Ordering::Relaxed);
                        log::error!("something panicked over a connection, which is closed");
                        Next::Left
                    });
                }
                Next::Stay(guest) => break guest,
                Next::Left => return,
            }
        };
        // One that could do more comes back as soon as it can be answered, which is mostly at once.
        let interest = if steps == TURN_STEPS { Interest::Room } else { guest.interest() };
        if guest.watched != Some(interest) {
            let flags = match interest {
                Interest::Input => EventFlags::IN | EventFlags::RDHUP,
                Interest::Room => EventFlags::OUT,
            };
            let (epoll, stream) = (&self.door.epoll, &guest.connection.stream);
            let data = EventData::new_u64(token);
            let watched = match guest.watched {
                None => epoll::add(epoll, stream, data, flags),
                Some(_) => epoll::modify(epoll, stream, data, flags),
            };
            if let Err(errno) = watched {
                log::error!("cannot watch a connection: {errno}");
                return;
            }
            guest.watched = Some(interest);
        }
        self.deadlines.insert((guest.deadline, token));
        if guest.is_idle() {
            self.idle.insert((guest.deadline, token));
        }
        self.sending += usize::from(matches!(guest.state, State::Sending(_)));
        guest.held_bytes = guest.answer_bytes();
        if guest.held_bytes > 0 {
            self.holding.insert((guest.deadline, token));
            self.held_bytes += guest.held_bytes;
        }
        self.guests.insert(token, guest);
        self.make_room();
    }

    /// Cuts off those who have gone longest without taking anything, until what the others left lying is not too much.
    /// One may stay, however much it is.
    fn make_room(&mut self) {
        while self.held_bytes > self.shared.limits.held_bytes && self.holding.len() > 1 {
            let Some((_, token)) = self.holding.first().copied() else { return };
            let Some(guest) = self.take(token) else { return };
            self.shared.metrics.connections.dropped("crowded");
            guest.cut_off(&Abort::Crowded);
        }
    }

    /// Takes a guest out of the books.
    fn take(&mut self, token: u64) -> Option<Guest> {
        let guest = self.guests.remove(&token)?;
        self.deadlines.remove(&(guest.deadline, token));
        self.idle.remove(&(guest.deadline, token));
        self.holding.remove(&(guest.deadline, token));
        self.held_bytes -= guest.held_bytes;
        self.sending -= usize::from(matches!(guest.state, State::Sending(_)));
        Some(guest)
    }

    /// Ends what has taken too long.
    fn expire(&mut self) {
        let now = Instant::now();
        while let Some((deadline, token)) = self.deadlines.first().copied() {
            if deadline > now {
                return;
            }
            let Some(guest) = self.take(token) else { continue };
            let next = guest.too_late(&self.shared);
            self.settle(token, next);
        }
    }

    /// Those who have not got anything yet that would have to be finished.
    fn guests_without_answer(&self) -> impl Iterator<Item = u64> + use<> {
        let waiting = self.guests.iter().filter(|(_, guest)| guest.is_without_answer());
        waiting.map(|(token, _)| *token).collect::<Vec<_>>().into_iter()
    }

    /// Cuts off whatever is not finished.
    fn abort_all(&mut self) {
        for (_, guest) in self.guests.drain() {
            guest.cut_off(&Abort::Stopping);
        }
    }
}
