//! The table of requests in progress.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

thread_local! {
    /// The request that this thread works for.
    static CURRENT_REQUEST: RefCell<Option<Arc<InFlightRequest>>> = const { RefCell::new(None) };
}

/// A request in progress.
#[derive(Debug)]
pub struct InFlightRequest {
    /// The client's address.
    pub client: SocketAddr,
    /// The method, as it was sent.
    pub method: String,
    /// The target, as it was sent.
    pub target: String,
    /// When the request was complete.
    pub begun: Instant,
    /// Bytes of the response body sent so far.
    pub sent: AtomicU64,
    /// The process ID of the newest child that was started for the request; 0 if there was none.
    pub child_pid: AtomicU32,
}

/// The table of in-flight requests, by age and address in memory.
#[derive(Debug, Default)]
pub struct InFlightRequests(Mutex<BTreeMap<(Instant, usize), Arc<InFlightRequest>>>);

/// While this guard lives, children that this thread starts are noted in the request.
#[derive(Debug)]
pub struct CurrentRequest(());

impl InFlightRequests {
    /// All requests in progress, the oldest first.
    pub fn all(&self) -> Vec<Arc<InFlightRequest>> {
        self.table().values().cloned().collect()
    }

    pub(super) fn insert(
        &self,
        client: SocketAddr,
        method: &str,
        target: &str,
        begun: Instant,
    ) -> Arc<InFlightRequest> {
        let (method, target) = (method.to_owned(), target.to_owned());
        let (sent, child_pid) = (AtomicU64::new(0), AtomicU32::new(0));
        let request = Arc::new(InFlightRequest { client, method, target, begun, sent, child_pid });
        self.table().insert((request.begun, Arc::as_ptr(&request).addr()), Arc::clone(&request));
        request
    }

    pub(super) fn remove(&self, request: &Arc<InFlightRequest>) {
        self.table().remove(&(request.begun, Arc::as_ptr(request).addr()));
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<(Instant, usize), Arc<InFlightRequest>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CurrentRequest {
    /// Marks what this thread does from now on as work for `request`.
    pub fn enter(request: &Arc<InFlightRequest>) -> Self {
        CURRENT_REQUEST.set(Some(Arc::clone(request)));
        Self(())
    }
}

impl Drop for CurrentRequest {
    fn drop(&mut self) {
        CURRENT_REQUEST.set(None);
    }
}

/// Notes a child process in the request that this thread works for, if it works for one.
pub(super) fn note_child(pid: u32) {
    CURRENT_REQUEST.with_borrow(|current| {
        if let Some(request) = current {
            request.child_pid.store(pid, Ordering::Relaxed);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn requests_are_listed_oldest_first_until_they_are_removed() {
        let table = InFlightRequests::default();
        let (client, start) = (SocketAddr::from(([127, 0, 0, 1], 80)), Instant::now());
        let insert =
            |target: &str, second| table.insert(client, "GET", target, start + Duration::from_secs(second));
        let targets = || table.all().iter().map(|request| request.target.clone()).collect::<Vec<_>>();
        // Of two that began at the same time either may come first.
        let (_late, early, same) = (insert("/late", 2), insert("/early", 1), insert("/early", 1));
        assert_eq!(targets(), ["/early", "/early", "/late"]);
        table.remove(&early);
        table.remove(&early);
        assert_eq!(targets(), ["/early", "/late"]);
        table.remove(&same);
        assert_eq!(targets(), ["/late"]);
    }

    #[test]
    fn a_child_is_noted_in_the_request_that_its_thread_works_for() {
        let table = InFlightRequests::default();
        let client = SocketAddr::from(([127, 0, 0, 1], 80));
        let request = table.insert(client, "GET", "/", Instant::now());
        note_child(1);
        let current = CurrentRequest::enter(&request);
        note_child(2);
        std::thread::scope(|scope| drop(scope.spawn(|| note_child(3))));
        drop(current);
        note_child(4);
        assert_eq!(request.child_pid.load(Ordering::Relaxed), 2);
    }
}
