//! The wall clock, as a value that is passed to code that needs the time. Tests pass a clock that they set.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::timestamp::Timestamp;

/// A source of the current time.
#[derive(Debug, Clone)]
pub enum Clock {
    /// The system's clock.
    System,
    /// A clock that is set from outside, in microseconds since the epoch; for tests.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// The current time.
    pub fn now(&self) -> Timestamp {
        match self {
            // A clock that is set before 1970 counts as 1970.
            Self::System => {
                let since_epoch = system_time().duration_since(UNIX_EPOCH).unwrap_or_default();
                Timestamp::from_micros(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
            }
            Self::Manual(micros) => Timestamp::from_micros(micros.load(Ordering::SeqCst)),
        }
    }
}

/// The system's time as a [`SystemTime`], for HTTP's `Date` header for example.
#[allow(clippy::disallowed_methods, reason = "all other code calls this function")]
pub fn system_time() -> SystemTime {
    SystemTime::now()
}
