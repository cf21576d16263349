//! The live windows that were asked for, with the numbers of their entries.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::path::VariantPath;
use crate::hls::window::{Counted, Entry, Shift};
use crate::timestamp::expression::TimeExpression;
use crate::timestamp::{Hour, Timestamp};

/// How many hours of all windows are remembered. The windows that were not asked for the longest are forgotten first.
const MAX_HOURS: usize = 16_384;

/// Which window: all requests for it see the same numbers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct WindowKey {
    pub(super) variant: VariantPath,
    /// Where it starts. Not as the request writes it, which may be long.
    pub(super) start: Option<TimeExpression>,
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
    /// When the last entry that is shown starts, and its discontinuity sequence number; `None` of an empty window.
    pub(super) last: Option<(Timestamp, i64)>,
    /// The target duration, in seconds.
    pub(super) target_secs: i64,
}

impl Window {
    /// The hours that it counts, with their fingerprints.
    pub(super) fn hours(&self) -> impl Iterator<Item = (Hour, u64)> {
        self.counted.hours.iter().map(|hour| (hour.hour, hour.fingerprint))
    }

    /// Moves the numbers of all entries.
    pub(super) fn renumber(&mut self, by: Shift) {
        self.counted.renumber(by);
        self.first.number += by.entries;
        self.first.discontinuity += by.discontinuities;
        self.end += by.entries;
        self.last = self.last.map(|(start, number)| (start, number + by.discontinuities));
    }
}

impl Windows {
    pub(super) fn get(&self, key: &WindowKey) -> Option<Arc<Window>> {
        let remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.windows.get(key).map(|(window, _)| Arc::clone(window))
    }

    /// Keeps a window, unless its numbers were begun anew `instead_of` what another request has replaced meanwhile; returns
    /// whether it was kept.
    pub(super) fn keep(
        &self,
        key: WindowKey,
        window: Arc<Window>,
        is_new: bool,
        instead_of: Option<&Arc<Window>>,
    ) -> bool {
        let mut remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let current = remembered.windows.get(&key).map(|(window, _)| window);
        let is_current = match (current, instead_of) {
            (Some(current), Some(window)) => Arc::ptr_eq(current, window),
            (current, _) => current.is_none(),
        };
        if is_new && !is_current {
            return false;
        }
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
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timestamp::Span;

    #[test]
    fn of_windows_that_are_begun_at_once_one_is_kept() {
        let key = WindowKey {
            variant: VariantPath { stream: "s".to_owned(), variant: "v".to_owned() },
            start: Some(TimeExpression::Live(Span::ZERO)),
            anchor: None,
        };
        let window = || {
            Arc::new(Window {
                counted: Counted::default(),
                first: Entry { number: 0, discontinuity: 0, gap_before: false },
                end: 0,
                last: None,
                target_secs: 1,
            })
        };
        let (windows, one, other) = (Windows::default(), window(), window());
        assert!(windows.keep(key.clone(), Arc::clone(&one), true, None));
        assert!(!windows.keep(key.clone(), Arc::clone(&other), true, None), "there is one");
        assert!(windows.keep(key.clone(), Arc::clone(&other), false, Some(&one)), "it goes on");
        assert!(!windows.keep(key.clone(), window(), true, Some(&one)), "it was replaced meanwhile");
        assert!(windows.keep(key.clone(), window(), true, Some(&other)));
    }
}
