//! Lets one of several callers who want the same value build it, while the others wait for it.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::{Error, Result};

/// How often a caller that waits for another one checks whether it is cancelled.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// The values that are being built, by key. The values themselves are kept elsewhere.
#[derive(Debug, Default)]
pub struct SingleBuild {
    building: Mutex<BTreeSet<u64>>,
    /// Notified when a build has ended, whether it has succeeded or not.
    ended: Condvar,
}

impl SingleBuild {
    /// What `find` returns, if that is something; else `build` is called, which must leave its value where `find` finds it.
    /// Of concurrent callers with the same key one builds. If it fails, the next one tries.
    ///
    /// # Errors
    /// Those of `build`; [`Error::Cancelled`] once `is_cancelled` returns true, which is called several times a second.
    pub fn get_or_build<T>(
        &self,
        key: u64,
        find: impl Fn() -> Option<T>,
        is_cancelled: &dyn Fn() -> bool,
        build: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        loop {
            // A build ends while this is locked, so none is missed.
            let mut building = self.lock();
            if let Some(found) = find() {
                return Ok(found);
            }
            if building.insert(key) {
                break;
            }
            drop(self.ended.wait_timeout(building, CHECK_INTERVAL));
            if is_cancelled() {
                return Err(Error::Cancelled);
            }
        }
        let _running = Running { builds: self, key };
        build()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.building.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a build, however it ends.
struct Running<'a> {
    builds: &'a SingleBuild,
    key: u64,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.builds.lock().remove(&self.key);
        self.builds.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn one_of_several_callers_builds_and_a_failure_leaves_it_to_the_next_one() {
        let (builds, value, calls) = (SingleBuild::default(), Mutex::new(None), AtomicUsize::new(0));
        let find = || *value.lock().expect("a value");
        let build = || {
            let number = calls.fetch_add(1, Ordering::SeqCst);
            // The others come meanwhile.
            std::thread::sleep(Duration::from_millis(20));
            if number == 0 {
                return Err(Error::RangeIsEmpty);
            }
            *value.lock().expect("a value") = Some(7);
            Ok(7)
        };
        let call = || builds.get_or_build(1, find, &|| false, build).ok();
        let results: Vec<_> = std::thread::scope(|scope| {
            let callers: Vec<_> = (0..4).map(|_| scope.spawn(call)).collect();
            callers.into_iter().map(|caller| caller.join().expect("no panic")).collect()
        });
        assert_eq!(results.iter().filter(|result| result.is_none()).count(), 1, "{results:?}");
        assert_eq!(calls.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn a_caller_that_waits_can_be_cancelled() {
        let builds = SingleBuild::default();
        let waits = || builds.get_or_build(1, || None::<()>, &|| true, || Ok(()));
        let built = builds.get_or_build(1, || None, &|| false, || Ok(waits().is_err()));
        assert!(built.expect("a value"), "a build waits for itself");
    }
}
