//! What a request means, and what it is answered. Knows no socket.
//!
//! A request's target becomes a [`route::Shape`] and then a [`route::Route`]; each family of routes has a module with
//! its handlers; what goes wrong becomes a reply in [`reply::Reply::of_error`].

mod app;
pub mod conditional;
mod cuts;
mod files;
mod health;
mod metrics;
mod openapi;
mod page;
mod playlists;
pub mod query;
pub mod reply;
pub mod request;
pub mod route;
mod segments;
mod text;

use std::sync::Arc;

use tiny_http::Method;

pub use self::app::App;
use self::query::Query;
use self::reply::{ALLOW, Reply};
use self::request::Request;
use self::route::{CutType, Route, Shape, VariantPath};
use crate::archive::VariantName;
use crate::archive::cache::CacheStats;
use crate::error::{Error, Result};
use crate::metrics::Metrics;
use crate::metrics::exchange::Endpoint;

/// The worker pools: one per kind of work, so that no kind delays another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pool {
    /// Lists, health and the like.
    Quick,
    /// Playlists.
    Playlist,
    /// Files, and cuts that are files one after another.
    Media,
    /// Cuts by ffmpeg.
    Cut,
    /// Playlists that are streamed because they are long.
    Streaming,
}

/// A request that was routed: which pool handles it, its metrics label, and its decoded route.
#[derive(Debug)]
pub struct Routed {
    /// The pool that handles it.
    pub pool: Pool,
    /// The metrics label.
    pub endpoint: Endpoint,
    /// The route with its parameters, or what is wrong with the target.
    pub route: Result<Route>,
}

/// What the transport serves.
pub trait Service: Send + Sync + 'static {
    /// Routes a request. The event loop calls this before a worker runs [`Service::call`], so it must not block.
    fn route(&self, request: &Request) -> Routed;

    /// The response to a request that [`Service::route`] has routed. May block on the disk. A handler that takes long calls `is_cancelled` now and then,
    /// and gives up once it returns true.
    fn call(&self, request: &Request, routed: Routed, is_cancelled: &dyn Fn() -> bool) -> Reply;

    /// Where requests are counted; without, the transport has counters of its own.
    fn metrics(&self) -> Option<Arc<Metrics>> {
        None
    }

    /// How the cache of directories is doing, if there is one.
    fn cache(&self) -> Option<CacheStats> {
        None
    }
}

impl From<Pool> for Routed {
    /// A request without a known route, handled by `pool`.
    fn from(pool: Pool) -> Self {
        Self { pool, endpoint: Endpoint::Unknown, route: Err(Error::NoSuchRoute) }
    }
}

impl Service for App {
    fn route(&self, request: &Request) -> Routed {
        let Ok(shape) = Shape::of(request.path()) else { return Pool::Quick.into() };
        let route = Route::decode(shape, Query::new(request.query()));
        let pool = match shape {
            Shape::File(_) => Pool::Media,
            Shape::Cut(_) if matches!(request.method, Method::Get | Method::Head) => match &route {
                Ok(Route::Cut(cut)) if cut.kind != CutType::Rough => Pool::Cut,
                Ok(_) => Pool::Media,
                Err(_) => Pool::Quick,
            },
            Shape::Multivariant(_) | Shape::Media(_) => Pool::Playlist,
            _ => Pool::Quick,
        };
        Routed { pool, endpoint: metrics::endpoint(shape), route }
    }

    fn call(&self, request: &Request, routed: Routed, is_cancelled: &dyn Fn() -> bool) -> Reply {
        if request.target == "*" && request.method == Method::Options {
            return Reply::empty(200).with("Allow", ALLOW);
        }
        let shape = match Shape::of(request.path()) {
            Ok(shape) => shape,
            Err(error) => return Reply::of_error(&error),
        };
        let reply = match request.method {
            Method::Options => Reply::empty(200).with("Allow", ALLOW),
            Method::Get | Method::Head => self
                .answer(request, routed.route, is_cancelled)
                .unwrap_or_else(|error| Reply::of_error(&error)),
            _ => Reply::method_not_allowed(),
        };
        let reply = Reply { variant: metrics::variant(self, shape), ..reply };
        let compressible = !matches!(shape, Shape::File(_) | Shape::Cut(_) | Shape::Home);
        if compressible { reply.with("Vary", "Accept-Encoding") } else { reply }
    }

    fn metrics(&self) -> Option<Arc<Metrics>> {
        Some(Arc::clone(&self.metrics))
    }

    fn cache(&self) -> Option<CacheStats> {
        Some(self.archive.cache_stats())
    }
}

impl App {
    /// The answer to a GET or HEAD.
    fn answer(
        &self,
        request: &Request,
        route: Result<Route>,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Reply> {
        match &route? {
            Route::Home => Ok(page::home(self, request)),
            Route::Health => Ok(health::health(self)),
            Route::Metrics => metrics::page(self, request),
            Route::OpenApi => openapi::document(request),
            Route::Streams => files::streams(self, request),
            Route::Variants { stream } => files::variants(self, request, stream),
            Route::Hours(of) => files::hours(self, request, of),
            Route::Names { of, hour, tombstones } => files::names(self, request, of, hour, *tombstones),
            Route::File { parts } => segments::file(self, request, parts),
            Route::Multivariant { stream, range } => playlists::multivariant(self, request, stream, range),
            Route::Media { of, range } => playlists::media(self, request, of, range),
            Route::Cut(cut) => cuts::cut(self, cut, is_cancelled),
        }
    }
}

impl VariantPath {
    /// The name that the archive knows it by.
    fn name(&self) -> VariantName<'_> {
        VariantName { stream: &self.stream, variant: &self.variant }
    }
}
