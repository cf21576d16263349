//! Who has how many connections, for the console. Nobody keeps count of that for each request: whoever wants to know
//! asks, and the lobby then counts its guests once.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long whoever asks waits for the lobby, which may have much to do.
const PATIENCE: Duration = Duration::from_millis(50);

/// How many connections one address has, by what they are at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Count {
    /// Those without a request.
    pub(super) idle: usize,
    /// Those whose request is not all there, and those whose last bytes are read and dropped.
    pub(super) reading: usize,
    /// Those whose answer is being made.
    pub(super) working: usize,
    /// Those that take their answer slowly.
    pub(super) sending: usize,
}

/// The counts of all addresses.
pub(super) type Counts = HashMap<IpAddr, Count>;

/// A place for the question and the answer.
#[derive(Debug, Default)]
pub(super) struct Census {
    asked: AtomicBool,
    answer: Mutex<Option<Counts>>,
    answered: Condvar,
}

impl Census {
    /// Asks; `wake` wakes the lobby. `None` where it does not come to it in time.
    pub(super) fn take(&self, wake: impl FnOnce()) -> Option<Counts> {
        *self.lock() = None;
        self.asked.store(true, Ordering::Release);
        wake();
        let waited = self.answered.wait_timeout_while(self.lock(), PATIENCE, |answer| answer.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.take()
    }

    /// Has `count` count if somebody has asked.
    pub(super) fn answer(&self, count: impl FnOnce() -> Counts) {
        if self.asked.load(Ordering::Relaxed) && self.asked.swap(false, Ordering::Acquire) {
            let counts = count();
            *self.lock() = Some(counts);
            self.answered.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Counts>> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Count {
    /// How many they are.
    pub(super) fn total(&self) -> usize {
        self.idle + self.reading + self.working + self.sending
    }
}

/// `3 connections: 2 idle, 0 reading, 0 working, 1 sending`.
impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { idle, reading, working, sending } = self;
        let total = self.total();
        write!(
            f,
            "{total:6} connections: {idle} idle, {reading} reading, {working} working, {sending} sending"
        )
    }
}
