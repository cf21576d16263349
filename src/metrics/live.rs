//! The requests that are being answered at this moment, for those who look in.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::COUNTED;
use super::exchange::Endpoint;
use super::shards::{Apart, SHARDS, shard};

thread_local! {
    /// The request whose body this thread makes.
    static AT_HAND: RefCell<Option<Arc<Flight>>> = const { RefCell::new(None) };
}

/// A request that is being answered.
#[derive(Debug)]
pub struct Flight {
    /// Its part of the table, and its place there.
    place: (usize, usize),
    /// What it is counted as, and the number of its method.
    pub(super) kind: (Endpoint, usize),
    /// Who asks.
    pub client: SocketAddr,
    /// The method and the target, as they came.
    pub asked: (String, String),
    /// When the request was there.
    pub begun: Instant,
    /// Bytes of body sent so far.
    pub sent: AtomicU64,
    /// The last child that was started for it; 0 before that.
    pub child: AtomicU32,
}

/// The table of all of them, in parts, so that workers seldom want the same one.
#[derive(Debug, Default)]
pub struct Flights {
    parts: [Apart<Mutex<Part>>; SHARDS],
}

/// A part of the table: places, of which some are free.
#[derive(Debug, Default)]
struct Part {
    places: Vec<Option<Arc<Flight>>>,
    free: Vec<usize>,
}

impl Flights {
    /// Enters a request.
    pub(super) fn enter(
        &self,
        kind: (Endpoint, usize),
        client: SocketAddr,
        asked: (String, String),
        begun: Instant,
    ) -> Arc<Flight> {
        let part = shard();
        let (sent, child) = (AtomicU64::new(0), AtomicU32::new(0));
        let flight =
            |place| Arc::new(Flight { place: (part, place), kind, client, asked, begun, sent, child });
        if !COUNTED {
            return flight(0);
        }
        let mut held = self.part(part);
        let place = held.free.pop().unwrap_or(held.places.len());
        let flight = flight(place);
        if place == held.places.len() {
            held.places.push(None);
        }
        held.places[place] = Some(Arc::clone(&flight));
        flight
    }

    /// Strikes a request out.
    pub(super) fn leave(&self, flight: &Flight) {
        let (part, place) = flight.place;
        let mut held = self.part(part);
        held.places[place] = None;
        held.free.push(place);
    }

    /// All requests that are being answered, the oldest first.
    pub fn all(&self) -> Vec<Arc<Flight>> {
        let flights = |part| self.part(part).places.iter().flatten().cloned().collect::<Vec<_>>();
        let mut all: Vec<_> = (0..SHARDS).flat_map(flights).collect();
        all.sort_unstable_by_key(|flight| flight.begun);
        all
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
