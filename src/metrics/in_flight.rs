//! The requests that are being answered at this moment.

use std::borrow::Cow;
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

/// A request that is being answered.
#[derive(Debug)]
pub struct InFlightRequest {
    id: u64,
    /// The client's address.
    pub client: SocketAddr,
    /// The method, as it was sent.
    pub method: Cow<'static, str>,
    /// The target, as it was sent.
    pub target: String,
    /// When the request was complete.
    pub begun: Instant,
    /// Bytes of the response body sent so far.
    pub sent: AtomicU64,
    /// The process of the newest child that was started for the request; 0 if there was none.
    pub child_pid: AtomicU32,
}

/// The table of in-flight requests.
#[derive(Debug, Default)]
pub struct InFlightRequests {
    /// By the time when they were complete; the number tells apart those of the same instant.
    requests: Mutex<BTreeMap<(Instant, u64), Arc<InFlightRequest>>>,
    last_id: AtomicU64,
}

impl InFlightRequests {
    /// All requests that are being answered, the oldest first.
    pub fn all(&self) -> Vec<Arc<InFlightRequest>> {
        self.requests().values().cloned().collect()
    }

    pub(super) fn insert(
        &self,
        client: SocketAddr,
        method: Cow<'static, str>,
        target: &str,
        begun: Instant,
    ) -> Arc<InFlightRequest> {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed);
        let (sent, child_pid) = (AtomicU64::new(0), AtomicU32::new(0));
        let request =
            InFlightRequest { id, client, method, target: target.to_owned(), begun, sent, child_pid };
        let request = Arc::new(request);
        self.requests().insert((begun, id), Arc::clone(&request));
        request
    }

    pub(super) fn remove(&self, request: &InFlightRequest) {
        self.requests().remove(&(request.begun, request.id));
    }

    fn requests(&self) -> MutexGuard<'_, BTreeMap<(Instant, u64), Arc<InFlightRequest>>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// While this guard lives, children that this thread starts are noted in the request.
#[derive(Debug)]
pub struct CurrentRequest(());

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
        let insert = |target: &str, second| {
            table.insert(client, Cow::Borrowed("GET"), target, start + Duration::from_secs(second))
        };
        let targets = || table.all().iter().map(|request| request.target.clone()).collect::<Vec<_>>();
        let (_late, early, same) = (insert("/late", 2), insert("/early", 1), insert("/same", 1));
        assert_eq!(targets(), ["/early", "/same", "/late"]);
        table.remove(&early);
        table.remove(&early);
        assert_eq!(targets(), ["/same", "/late"]);
        table.remove(&same);
        assert_eq!(targets(), ["/late"]);
    }

    #[test]
    fn a_child_is_noted_in_the_request_that_its_thread_works_for() {
        let table = InFlightRequests::default();
        let request = table.insert(([127, 0, 0, 1], 80).into(), Cow::Borrowed("GET"), "/", Instant::now());
        note_child(1);
        let current = CurrentRequest::enter(&request);
        note_child(2);
        std::thread::scope(|scope| drop(scope.spawn(|| note_child(3))));
        drop(current);
        note_child(4);
        assert_eq!(request.child_pid.load(Ordering::Relaxed), 2);
    }
}
