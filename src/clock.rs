//! The wall clock, as a value that is handed to whoever must know the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::timestamp::Timestamp;

/// A source of the present time.
#[derive(Debug, Clone)]
pub enum Clock {
    /// The system's clock.
    System,
    /// A clock that somebody else sets, in microseconds since the epoch; for tests.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// The present instant.
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => Timestamp::from_micros(micros_since_epoch(system_time())),
            Self::Manual(micros) => Timestamp::from_micros(micros.load(Ordering::SeqCst)),
        }
    }
}

/// The system's time, for what speaks in [`SystemTime`], such as HTTP's `Date`.
#[allow(clippy::disallowed_methods, reason = "this is the place all others ask")]
pub fn system_time() -> SystemTime {
    SystemTime::now()
}

/// Microseconds since the epoch, negative before it.
fn micros_since_epoch(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros),
    }
}
