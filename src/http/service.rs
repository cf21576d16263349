//! The interface between the transport and what it serves.

use std::sync::Arc;

use super::handler::Pool;
use super::reply::Reply;
use super::request::Request;
use super::route::Match;
use crate::bounded_cache::CacheStats;
use crate::metrics::{Metrics, UNKNOWN_ENDPOINT};

/// What the transport serves.
pub trait Service: Send + Sync + 'static {
    /// Routes a request. The event loop calls this before a worker runs [`Service::call`], so it must not block.
    fn route(&self, request: &Request) -> Routed;

    /// The response to a request that [`Service::route`] has routed. May block on the disk. The work is abandoned once
    /// `is_cancelled` returns true.
    fn call(&self, request: &Request, routed: Routed, is_cancelled: &dyn Fn() -> bool) -> Reply;

    /// The counters of requests; the transport has its own for a service that has none.
    fn metrics(&self) -> Option<Arc<Metrics>> {
        None
    }

    /// The state of the cache of directories, if there is one.
    fn cache(&self) -> Option<CacheStats> {
        None
    }
}

/// A request that was routed: which pool handles it, its metrics label, and its decoded route.
#[derive(Debug)]
pub struct Routed {
    /// The pool that handles it.
    pub pool: Pool,
    /// The metrics label.
    pub endpoint: &'static str,
    /// How long the body may be that the route takes with this method; `None` if it takes none.
    pub max_body: Option<usize>,
    /// The route and the decoded request; `None` if the path has no route.
    pub(super) found: Option<Match>,
}

impl From<Pool> for Routed {
    /// A request without a known route, handled by `pool`.
    fn from(pool: Pool) -> Self {
        Self { pool, endpoint: UNKNOWN_ENDPOINT, max_body: None, found: None }
    }
}
