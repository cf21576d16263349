//! The requests that are being answered at this moment, for those who look in.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::COUNTED;
use super::exchange::Kind;
use super::shards::{Apart, SHARDS, shard};
use super::tallies::{Answer, Tallies};

/// How many places of each part keep memory for who comes next.
const KEPT_PLACES: usize = 64;
/// How much of it they keep for what that one asks.
const KEPT_BYTES: usize = 512;

thread_local! {
    /// The request whose body this thread makes.
    static AT_HAND: RefCell<Option<Arc<Flight>>> = const { RefCell::new(None) };
}

/// A request that is being answered.
#[derive(Debug)]
pub struct Flight {
    /// Its part of the table, and its place there.
    place: (usize, usize),
    /// What it is counted as.
    pub(super) kind: Kind,
    /// Who asks.
    pub client: SocketAddr,
    /// The method and the target, as they came, with a space between.
    pub asked: String,
    /// When the request was there.
    pub begun: Instant,
    /// Bytes of body sent so far.
    pub sent: AtomicU64,
    /// The last child that was started for it; 0 before that.
    pub child: AtomicU32,
}

/// A request that is to be answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Coming<'a> {
    pub(super) kind: Kind,
    pub(super) client: SocketAddr,
    /// The method and the target.
    pub(super) asked: [&'a str; 2],
    pub(super) begun: Instant,
}

impl Flight {
    fn new(place: (usize, usize), coming: Coming) -> Self {
        let Coming { kind, client, asked, begun } = coming;
        let (sent, child) = (AtomicU64::new(0), AtomicU32::new(0));
        Self { place, kind, client, asked: asked.join(" "), begun, sent, child }
    }

    /// One in the memory of another.
    fn replace(&mut self, place: (usize, usize), coming: Coming) {
        let Coming { kind, client, asked: [method, target], begun } = coming;
        let mut asked = std::mem::take(&mut self.asked);
        asked.clear();
        asked.shrink_to(KEPT_BYTES);
        for part in [method, " ", target] {
            asked.push_str(part);
        }
        let (sent, child) = (AtomicU64::new(0), AtomicU32::new(0));
        *self = Self { place, kind, client, asked, begun, sent, child };
    }
}

/// The table of all of them, with what was counted of those that are over; in parts, so that workers seldom want the same
/// one.
#[derive(Debug, Default)]
pub struct Flights {
    parts: [Apart<Mutex<Part>>; SHARDS],
}

/// A part of the table.
#[derive(Debug, Default)]
struct Part {
    places: Vec<Place>,
    /// The first free place; one beyond the last place if there is none.
    free: usize,
    over: Tallies,
}

/// A place in the table.
#[derive(Debug)]
enum Place {
    Taken(Arc<Flight>),
    Free {
        /// The next free one.
        next: usize,
        /// Who was here last, whose memory can be had for the next one.
        last: Option<Arc<Flight>>,
    },
}

impl Flights {
    /// Enters a request.
    pub(super) fn enter(&self, coming: Coming) -> Arc<Flight> {
        let part = shard();
        if !COUNTED {
            return Arc::new(Flight::new((part, 0), coming));
        }
        let mut held = self.part(part);
        let place = held.free;
        let mut last = None;
        if let Some(Place::Free { next, last: left }) = held.places.get_mut(place) {
            last = left.take();
            held.free = *next;
        } else {
            held.places.push(Place::Free { next: place, last: None });
            held.free = held.places.len();
        }
        // Its memory can be had if nobody looks at it any more.
        let again = last.as_mut().and_then(Arc::get_mut).map(|last| last.replace((part, place), coming));
        let flight = last.filter(|_| again.is_some());
        let flight = flight.unwrap_or_else(|| Arc::new(Flight::new((part, place), coming)));
        held.places[place] = Place::Taken(Arc::clone(&flight));
        flight
    }

    /// Strikes a request out, and counts the answer it had, if it had one.
    pub(super) fn leave(&self, flight: &Flight, answer: Option<Answer>) {
        let (part, place) = flight.place;
        let mut held = self.part(part);
        let free = Place::Free { next: held.free, last: None };
        let was = std::mem::replace(&mut held.places[place], free);
        if let (Place::Taken(was), Place::Free { last, .. }) = (was, &mut held.places[place])
            && place < KEPT_PLACES
        {
            *last = Some(was);
        }
        held.free = place;
        if let Some(answer) = answer {
            held.over.count(flight.kind, answer);
        }
    }

    /// All requests that are being answered, the oldest first.
    pub fn all(&self) -> Vec<Arc<Flight>> {
        let mut all = Vec::new();
        for part in 0..SHARDS {
            all.extend(self.part(part).places.iter().filter_map(|place| match place {
                Place::Taken(flight) => Some(Arc::clone(flight)),
                Place::Free { .. } => None,
            }));
        }
        all.sort_unstable_by_key(|flight| flight.begun);
        all
    }

    /// What was counted of those that are over.
    pub(super) fn over(&self) -> Tallies {
        let mut over = Tallies::default();
        (0..SHARDS).for_each(|part| over.add(&self.part(part).over));
        over
    }

    fn part(&self, part: usize) -> MutexGuard<'_, Part> {
        self.parts[part].0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Marks what this thread does as done for a request, until it is dropped.
#[derive(Debug)]
pub struct AtHand(());

impl AtHand {
    /// Begins work for a request.
    pub fn begin(flight: &Arc<Flight>) -> Self {
        AT_HAND.with_borrow_mut(|at_hand| *at_hand = Some(Arc::clone(flight)));
        Self(())
    }
}

impl Drop for AtHand {
    fn drop(&mut self) {
        AT_HAND.with_borrow_mut(|at_hand| *at_hand = None);
    }
}

/// Notes a child that was started for the request at hand, if there is one.
pub(super) fn note_child(pid: u32) {
    AT_HAND.with_borrow(|at_hand| {
        if let Some(flight) = at_hand {
            flight.child.store(pid, Ordering::Relaxed);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::exchange::Endpoint;

    #[test]
    fn places_are_taken_again_and_hold_who_is_there() {
        let flights = Flights::default();
        let enter = |number: usize| {
            let client = SocketAddr::from(([127, 0, 0, 1], 80));
            let kind = Kind { endpoint: Endpoint::Home, method: 0 };
            let (asked, begun) = (["GET", &*number.to_string()], Instant::now());
            flights.enter(Coming { kind, client, asked, begun })
        };
        let mut there: Vec<_> = (0..10).map(enter).collect();
        for round in 0..10 {
            for _ in 0..=round % 4 {
                flights.leave(&there.remove(round * 7 % there.len()), None);
            }
            there.extend((0..=round % 4).map(|number| enter(10 * round + number)));
            let asked = |flights: &[Arc<Flight>]| {
                let mut asked: Vec<_> = flights.iter().map(|flight| flight.asked.clone()).collect();
                asked.sort();
                asked
            };
            assert_eq!(asked(&flights.all()), asked(&there));
        }
        assert_eq!(flights.part(shard()).places.len(), 10, "all of this thread's part");
    }
    #[test]
    fn whoever_looks_at_a_request_sees_that_one_though_its_place_is_taken_again() {
        let flights = Flights::default();
        let client = SocketAddr::from(([127, 0, 0, 1], 80));
        let enter = |target: &str| {
            let kind = Kind { endpoint: Endpoint::Home, method: 0 };
            flights.enter(Coming { kind, client, asked: ["GET", target], begun: Instant::now() })
        };
        let (first, long) = (enter("/first"), format!("/{}", "x".repeat(16 * 1024)));
        first.sent.store(7, Ordering::Relaxed);
        let memory = Arc::as_ptr(&first);
        flights.leave(&first, None);
        let second = enter(&long);
        assert_eq!((&*first.asked, first.sent.load(Ordering::Relaxed)), ("GET /first", 7));
        assert_eq!(second.asked, format!("GET {long}"));
        assert_ne!(Arc::as_ptr(&second), memory);
        let memory = Arc::as_ptr(&second);
        flights.leave(&second, None);
        drop(second);
        let third = enter("/third");
        assert_eq!((&*third.asked, third.sent.load(Ordering::Relaxed)), ("GET /third", 0));
        assert_eq!(Arc::as_ptr(&third), memory, "memory that nobody looks at is used again");
        assert!(third.asked.capacity() <= KEPT_BYTES, "but not all of it");
    }
}
