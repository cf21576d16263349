//! The requests that are being answered at this moment, for those who look in.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::COUNTED;

/// Into how many parts the table is divided, so that workers seldom want the same one.
const PARTS: usize = 16;

thread_local! {
    /// The request whose body this thread makes.
    static AT_HAND: RefCell<Option<Arc<Flight>>> = const { RefCell::new(None) };
}

/// A request that is being answered.
#[derive(Debug)]
pub struct Flight {
    number: u64,
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

/// The table of all of them.
#[derive(Debug, Default)]
pub struct Flights {
    numbers: AtomicU64,
    parts: [Mutex<HashMap<u64, Arc<Flight>>>; PARTS],
}

impl Flights {
    /// Enters a request.
    pub(super) fn enter(&self, client: SocketAddr, asked: (String, String), begun: Instant) -> Arc<Flight> {
        let number = if COUNTED { self.numbers.fetch_add(1, Ordering::Relaxed) } else { 0 };
        let (sent, child) = (AtomicU64::new(0), AtomicU32::new(0));
        let flight = Arc::new(Flight { number, client, asked, begun, sent, child });
        if COUNTED {
            self.part(number).insert(number, Arc::clone(&flight));
        }
        flight
    }

    /// Strikes a request out.
    pub(super) fn leave(&self, flight: &Flight) {
        self.part(flight.number).remove(&flight.number);
    }

    /// All requests that are being answered, the oldest first.
    pub fn all(&self) -> Vec<Arc<Flight>> {
        let parts = 0..PARTS as u64;
        let mut all: Vec<_> =
            parts.flat_map(|part| self.part(part).values().cloned().collect::<Vec<_>>()).collect();
        all.sort_unstable_by_key(|flight| flight.begun);
        all
    }

    fn part(&self, number: u64) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Flight>>> {
        let index = usize::try_from(number % PARTS as u64).unwrap_or(0);
        self.parts[index].lock().unwrap_or_else(PoisonError::into_inner)
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
