//! The live windows that were asked for, with the numbers of their entries.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::path::VariantPath;
use crate::hls::window::{Counted, Entry};
use crate::timestamp::{Hour, Timestamp};

/// How many hours of all windows are remembered. The windows that were not asked for the longest are forgotten first.
const MAX_HOURS: usize = 16_384;

/// Which window: all requests for it see the same numbers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct WindowKey {
    pub(super) variant: VariantPath,
    /// The range, as the request gives it.
    pub(super) range: String,
    /// The hour from which entries are counted, if the request names one.
    pub(super) anchor: Option<Hour>,
}

/// The windows that were asked for. Their counts are kept so that entries keep their numbers when hours are deleted.
#[derive(Debug, Default)]
pub struct Windows(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    windows: HashMap<WindowKey, (Arc<Window>, u64)>,
    /// The number of uses of all windows: the clock of the eviction.
    uses: u64,
    hours: usize,
}

/// A window as it was at a request.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) counted: Counted,
    /// The first entry that is shown.
    pub(super) first: Entry,
    /// The media sequence number behind the last entry that is shown.
    pub(super) end: i64,
    /// When the last entry ends; `None` of an empty window.
    pub(super) last_end: Option<Timestamp>,
    /// The target duration, in seconds.
    pub(super) target_secs: i64,
}

impl Window {
    /// The hours that it counts, with their fingerprints.
    pub(super) fn hours(&self) -> impl Iterator<Item = (Hour, u64)> {
        self.counted.hours.iter().map(|hour| (hour.hour, hour.fingerprint))
    }

    /// Adds `number` to the numbers of all entries.
    pub(super) fn renumber(&mut self, number: i64) {
        self.counted.renumber(number);
        self.first.number += number;
        self.end += number;
    }
}

impl Windows {
    pub(super) fn get(&self, key: &WindowKey) -> Option<Arc<Window>> {
        let remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.windows.get(key).map(|(window, _)| Arc::clone(window))
    }

    pub(super) fn keep(&self, key: WindowKey, window: Arc<Window>) {
        let mut remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.uses += 1;
        remembered.hours += window.counted.hours.len();
        let uses = remembered.uses;
        if let Some((old, _)) = remembered.windows.insert(key, (window, uses)) {
            remembered.hours -= old.counted.hours.len();
        }
        while remembered.hours > MAX_HOURS {
            let oldest = remembered.windows.iter().min_by_key(|(_, (_, used))| *used);
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else { break };
            if let Some((old, _)) = remembered.windows.remove(&oldest) {
                remembered.hours -= old.counted.hours.len();
            }
        }
    }
}
