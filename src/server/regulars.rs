//! Connections whose next request the workers of a lane wait for themselves.
//!
//! Who has asked for something of a lane mostly asks for more of the same. So a connection that was served stays with
//! its lane: all workers of it wait at one place, for its regulars and for the bell that says that something is in
//! the queue, and the request of a regular goes from no thread to another. A client that takes a file slowly stays as
//! well, until it has not taken anything for a while.
//!
//! What happens to a connection is told once (edge-triggered), to one worker. While a worker has it, that is noted,
//! and the worker looks again before it lets go. Where all workers are busy the lobby sees to those who wait here, so
//! that nobody is kept from the other lanes; and it takes in who has been here for long without a word.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};

use super::census::Counts;
use super::connection::Connection;
use super::wire::Outgoing;

/// The token of the bell that says that the queue has something.
const BELL: u64 = 0;
/// The token of the gong that says that it is over.
const GONG: u64 = 1;
/// What happens to a connection that is of interest where nothing is being sent.
const WORDS: EventFlags = EventFlags::IN.union(EventFlags::RDHUP).union(EventFlags::ET);
/// How many of those who could be served the lobby sees to at a time.
const SEEN_TO: usize = 64;
/// How long an error of the system is waited out.
const PAUSE: Duration = Duration::from_millis(100);

/// A lane's regulars, and where its workers wait for them.
pub(super) struct Regulars {
    epoll: OwnedFd,
    bell: OwnedFd,
    gong: OwnedFd,
    over: AtomicBool,
    /// Workers that wait.
    waiting: AtomicUsize,
    /// Connections that no worker has.
    present: AtomicUsize,
    places: Mutex<Places>,
    /// Of those that no worker has, the idle ones and those that are sent an answer.
    pub(super) idle: AtomicUsize,
    pub(super) sending: AtomicUsize,
}

/// Who is there.
#[derive(Default)]
struct Places {
    seats: HashMap<u64, Seat>,
    last_token: u64,
    /// When the seats were taken, the longest ago first; those that do not agree with their seat are of the past.
    taken: VecDeque<(Instant, u64)>,
}

/// The place of a connection that is told of here.
struct Seat {
    /// Who sits there; nobody while a worker has the connection.
    regular: Option<Regular>,
    /// Something happened while a worker had it.
    called: bool,
    since: Instant,
}

/// A connection that a lane keeps.
pub(super) struct Regular {
    pub(super) connection: Connection,
    /// What it is being sent and has not taken yet.
    pub(super) answer: Option<Box<Outgoing>>,
    /// Whether more may have come than was read.
    pub(super) may_have_more: bool,
    /// Its seat, once it has one.
    seat: Option<u64>,
    /// Whether it is told, too, when there is room to send more.
    told_of_room: bool,
}

/// What a worker waited for.
pub(super) enum Call {
    /// Something has happened to a regular.
    Regular(Regular),
    /// Nothing that this worker has to do, but perhaps the queue has something.
    Nobody,
    /// It is over.
    Over,
}

impl Regular {
    /// A connection that has no seat yet.
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection, answer: None, may_have_more: false, seat: None, told_of_room: false }
    }
}

impl Regulars {
    pub(super) fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let gong = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        // Each stroke of the bell is for one worker; the gong is for all of them.
        epoll::add(&epoll, &bell, EventData::new_u64(BELL), EventFlags::IN | EventFlags::ET)?;
        epoll::add(&epoll, &gong, EventData::new_u64(GONG), EventFlags::IN)?;
        Ok(Self {
            epoll,
            bell,
            gong,
            over: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            present: AtomicUsize::new(0),
            places: Mutex::new(Places { last_token: GONG, ..Places::default() }),
            idle: AtomicUsize::new(0),
            sending: AtomicUsize::new(0),
        })
    }

    /// Wakes a worker for the queue.
    pub(super) fn ring(&self) {
        strike(&self.bell);
    }

    /// Tells all workers that it is over.
    pub(super) fn close(&self) {
        self.over.store(true, Ordering::SeqCst);
        strike(&self.gong);
    }

    /// Waits for something to do; does not wait if not `patient`.
    pub(super) fn wait(&self, patient: bool) -> Call {
        let mut token = None;
        self.waiting.fetch_add(1, Ordering::SeqCst);
        self.happened::<1>(patient, |happened| token = Some(happened));
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        if self.over.load(Ordering::SeqCst) {
            return Call::Over;
        }
        token.and_then(|token| self.take(token)).map_or(Call::Nobody, Call::Regular)
    }

    /// Whether somebody is there for whom no worker waits.
    pub(super) fn need_help(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) == 0 && self.present.load(Ordering::SeqCst) > 0
    }

    /// Calls `each` with the tokens of up to `N` that something has happened to, once there is one if `patient`.
    fn happened<const N: usize>(&self, patient: bool, mut each: impl FnMut(u64)) {
        let mut buffer = [const { MaybeUninit::uninit() }; N];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        match epoll::wait(&self.epoll, &mut buffer, (!patient).then_some(&at_once)) {
            Ok((events, _)) => events.iter().for_each(|event| each(event.data.u64())),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => {
                log::error!("cannot wait for the connections of a lane: {errno}");
                std::thread::sleep(PAUSE);
            }
        }
    }

    /// Gives a connection, which waits since then, its seat, or its old one again. Gives it back if something has happened
    /// to it meanwhile, or if it cannot have one: then it has none.
    pub(super) fn keep(&self, mut regular: Regular, since: Instant) -> Result<(), Regular> {
        if let Err(errno) = self.watch(&mut regular) {
            log::error!("cannot watch a connection: {errno}");
            return Err(self.release(regular));
        }
        let Some(token) = regular.seat else { return Err(regular) };
        let mut places = self.places();
        let Some(seat) = places.seats.get_mut(&token) else { return Err(regular) };
        if std::mem::take(&mut seat.called) {
            return Err(regular);
        }
        self.count(&regular, 1);
        (seat.since, seat.regular) = (since, Some(regular));
        places.taken.push_back((since, token));
        places.forget_the_past();
        Ok(())
    }

    /// Has a connection told of here, if it is not yet, and of all that it is to be told.
    fn watch(&self, regular: &mut Regular) -> rustix::io::Result<()> {
        let room = regular.answer.is_some();
        let flags = if room { WORDS | EventFlags::OUT } else { WORDS };
        match regular.seat {
            None => {
                let mut places = self.places();
                places.last_token += 1;
                let token = places.last_token;
                places.seats.insert(token, Seat { regular: None, called: false, since: Instant::now() });
                drop(places);
                regular.seat = Some(token);
                epoll::add(&self.epoll, &regular.connection.stream, EventData::new_u64(token), flags)?;
            }
            // That it goes on being told of room does no harm: it hears of it only where there had been none.
            Some(token) if room && !regular.told_of_room => {
                epoll::modify(&self.epoll, &regular.connection.stream, EventData::new_u64(token), flags)?;
            }
            Some(_) => return Ok(()),
        }
        regular.told_of_room = room;
        Ok(())
    }

    /// Takes its seat from a connection that a worker has, so that it can go elsewhere or be closed.
    pub(super) fn release(&self, mut regular: Regular) -> Regular {
        if let Some(token) = regular.seat.take() {
            self.places().seats.remove(&token);
            let _ = epoll::delete(&self.epoll, &regular.connection.stream);
            regular.told_of_room = false;
        }
        regular
    }

    /// Those to whom something has happened, for somebody else to see to.
    pub(super) fn take_called(&self) -> Vec<Regular> {
        let mut called = Vec::new();
        self.happened::<SEEN_TO>(false, |token| match token {
            // That was for a worker.
            BELL => self.ring(),
            token => called.extend(self.take(token).map(|regular| self.release(regular))),
        });
        called
    }

    /// Who has been here longest without a word, if that is since before `moment`, and since when.
    pub(super) fn take_longest(&self, moment: Instant) -> Option<(Regular, Instant)> {
        loop {
            let (since, token) = self.places().longest()?;
            if since >= moment {
                return None;
            }
            // A worker may have been quicker.
            if let Some(regular) = self.take(token) {
                return Some((self.release(regular), since));
            }
        }
    }

    /// Counts those that no worker has by their addresses.
    pub(super) fn count_into(&self, counts: &mut Counts) {
        for regular in self.places().seats.values().filter_map(|seat| seat.regular.as_ref()) {
            let count = counts.entry(regular.connection.client.ip()).or_default();
            match regular.answer {
                Some(_) => count.sending += 1,
                None => count.idle += 1,
            }
        }
    }

    /// All that no worker has.
    pub(super) fn take_all(&self) -> Vec<Regular> {
        let tokens: Vec<u64> = self.places().seats.keys().copied().collect();
        tokens.into_iter().filter_map(|token| self.take(token)).map(|regular| self.release(regular)).collect()
    }

    /// Takes a connection from its seat, which it keeps; where a worker has it, that one is told.
    fn take(&self, token: u64) -> Option<Regular> {
        let mut places = self.places();
        let seat = places.seats.get_mut(&token)?;
        let regular = seat.regular.take();
        seat.called = regular.is_none();
        drop(places);
        if let Some(regular) = &regular {
            self.count(regular, usize::MAX);
        }
        regular
    }

    /// Counts a connection that comes (1) or goes (`usize::MAX`, which is one less).
    fn count(&self, regular: &Regular, change: usize) {
        self.present.fetch_add(change, Ordering::SeqCst);
        let same = if regular.answer.is_some() { &self.sending } else { &self.idle };
        same.fetch_add(change, Ordering::Relaxed);
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Places {
    /// Who has sat there longest, and since when.
    fn longest(&mut self) -> Option<(Instant, u64)> {
        while let Some((since, token)) = self.taken.front().copied() {
            if self.is_so(since, token) {
                return Some((since, token));
            }
            self.taken.pop_front();
        }
        None
    }

    fn is_so(&self, since: Instant, token: u64) -> bool {
        self.seats.get(&token).is_some_and(|seat| seat.regular.is_some() && seat.since == since)
    }

    /// Keeps the list of when seats were taken from growing with the number of requests.
    fn forget_the_past(&mut self) {
        if self.taken.len() > 2 * self.seats.len() + 64 {
            let mut taken = std::mem::take(&mut self.taken);
            taken.retain(|(since, token)| self.is_so(*since, *token));
            self.taken = taken;
        }
    }
}

/// Strikes a bell.
fn strike(bell: &OwnedFd) {
    if let Err(errno) = rustix::io::write(bell, &1_u64.to_ne_bytes()) {
        log::debug!("cannot wake a worker: {errno}");
    }
}
