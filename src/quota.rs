//! A quantity that all requests together may use only so much of at a time, such as memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The quantity.
#[derive(Debug)]
pub struct Quota {
    limit: usize,
    used: AtomicUsize,
}

/// What someone uses of a quota, until it is dropped.
#[derive(Debug)]
pub struct Share {
    quota: Arc<Quota>,
    count: usize,
}

impl Quota {
    /// A quota of `limit` units.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicUsize::new(0) })
    }

    /// A share of `count` units; `None` if fewer are left.
    pub fn take(self: &Arc<Self>, count: usize) -> Option<Share> {
        let add = |used: usize| used.checked_add(count).filter(|sum| *sum <= self.limit);
        self.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, add).ok()?;
        Some(Share { quota: Arc::clone(self), count })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.quota.used.fetch_sub(self.count, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_taken_than_there_is_and_what_is_dropped_can_be_taken_again() {
        let quota = Quota::new(10);
        let (one, rest) = (quota.take(1), quota.take(9));
        assert!(one.is_some() && rest.is_some());
        assert!(quota.take(1).is_none() && quota.take(usize::MAX).is_none());
        drop(one);
        assert!(quota.take(2).is_none() && quota.take(1).is_some());
    }
}
