//! What a request means, and what it is answered. Knows no socket.
//!
//! A request's target becomes a [`route::Shape`] and then a [`route::Route`]; each family of routes has a module with
//! its handlers; what goes wrong becomes a reply in [`reply::Reply::of_error`].

pub mod conditional;
mod cut;
mod files;
mod health;
mod home;
mod metrics;
mod openapi;
mod playlist;
pub mod query;
pub mod reply;
pub mod request;
pub mod route;
mod segments;
mod text;

use std::sync::Arc;
use std::time::Instant;

use tiny_http::Method;

use self::query::Query;
use self::reply::{ALLOW, Reply};
use self::request::Request;
use self::route::{CutKind, Route, Shape, Variant};
use crate::archive::cache::CacheStats;
use crate::archive::{Archive, VariantName};
use crate::clock::Clock;
use crate::error::Result;
use crate::ffmpeg::LazyTools;
use crate::metrics::Metrics;
use crate::metrics::exchange::Endpoint;
use crate::metrics::variants;

/// Kinds of work that must not wait for each other; each has workers of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Lists, health and the like.
    Quick,
    /// Playlists.
    Playlist,
    /// Files, and cuts that are files one after another.
    Media,
    /// Cuts by ffmpeg.
    Cut,
}

/// What the transport serves.
pub trait Service: Send + Sync + 'static {
    /// The kind of work that a request is. Asked before [`Service::call`], and must not block.
    fn lane(&self, request: &Request) -> Lane;

    /// The answer to a request. May block on the disk.
    fn call(&self, request: &Request) -> Reply;

    /// Where requests are counted; without, the transport has counters of its own.
    fn metrics(&self) -> Option<Arc<Metrics>> {
        None
    }

    /// How the cache of directories is doing, if there is one.
    fn cache(&self) -> Option<CacheStats> {
        None
    }

    /// What a request is counted as. Must not block.
    fn endpoint(&self, _request: &Request) -> Endpoint {
        Endpoint::Unknown
    }

    /// The same, with the variant that a request is about, if there is one. May block on the disk.
    fn subject(&self, request: &Request) -> (Endpoint, Option<Arc<variants::Variant>>) {
        (self.endpoint(request), None)
    }
}

/// All that the handlers share.
#[derive(Debug)]
pub struct App {
    /// The recordings.
    pub archive: Arc<Archive>,
    /// The time.
    pub clock: Clock,
    /// The programs that cut.
    pub tools: LazyTools,
    /// What segments' URIs in playlists begin with: `/segments`, or the address of another server.
    pub segments_url: String,
    /// When the server started.
    pub started: Instant,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

impl Service for App {
    fn lane(&self, request: &Request) -> Lane {
        match Shape::of(request.path()) {
            Ok(Shape::File(_)) => Lane::Media,
            Ok(Shape::Cut(parts)) if request.method == Method::Get => {
                match Route::decode(Shape::Cut(parts), Query::new(request.query())) {
                    Ok(Route::Cut(cut)) if cut.kind != CutKind::Rough => Lane::Cut,
                    Ok(_) => Lane::Media,
                    Err(_) => Lane::Quick,
                }
            }
            // Nothing is cut for a HEAD, but its range is looked through as for a playlist.
            Ok(Shape::Multivariant(_) | Shape::Media(_) | Shape::Cut(_)) => Lane::Playlist,
            _ => Lane::Quick,
        }
    }

    fn call(&self, request: &Request) -> Reply {
        if request.target == "*" && request.method == Method::Options {
            return Reply::empty(200).with("Allow", ALLOW);
        }
        let shape = match Shape::of(request.path()) {
            Ok(shape) => shape,
            Err(error) => return Reply::of_error(&error),
        };
        let reply = match request.method {
            Method::Options => Reply::empty(200).with("Allow", ALLOW),
            Method::Get | Method::Head => {
                self.answer(request, shape).unwrap_or_else(|error| Reply::of_error(&error))
            }
            _ => Reply::method_not_allowed(),
        };
        let compressible = !matches!(shape, Shape::File(_) | Shape::Cut(_) | Shape::Home);
        if compressible { reply.with("Vary", "Accept-Encoding") } else { reply }
    }

    fn metrics(&self) -> Option<Arc<Metrics>> {
        Some(Arc::clone(&self.metrics))
    }

    fn cache(&self) -> Option<CacheStats> {
        Some(self.archive.cache_stats())
    }

    fn endpoint(&self, request: &Request) -> Endpoint {
        Shape::of(request.path()).map_or(Endpoint::Unknown, metrics::endpoint)
    }

    fn subject(&self, request: &Request) -> (Endpoint, Option<Arc<variants::Variant>>) {
        let Ok(shape) = Shape::of(request.path()) else { return (Endpoint::Unknown, None) };
        (metrics::endpoint(shape), metrics::variant(self, shape))
    }
}

impl App {
    /// The answer to a GET or HEAD.
    fn answer(&self, request: &Request, shape: Shape) -> Result<Reply> {
        match &Route::decode(shape, Query::new(request.query()))? {
            Route::Home => Ok(home::home(self, request)),
            Route::Health => Ok(health::health(self)),
            Route::Metrics => metrics::page(self, request),
            Route::OpenApi => openapi::document(request),
            Route::Streams => files::streams(self, request),
            Route::Variants { stream } => files::variants(self, request, stream),
            Route::Hours(of) => files::hours(self, request, of),
            Route::Names { of, hour, tombstones } => files::names(self, request, of, hour, *tombstones),
            Route::File { parts } => segments::file(self, request, parts),
            Route::Multivariant { stream, range } => playlist::multivariant(self, request, stream, range),
            Route::Media { of, range } => playlist::media(self, request, of, range),
            Route::Cut(cut) => cut::cut(self, cut),
        }
    }
}

impl Variant {
    /// The name that the archive knows it by.
    fn name(&self) -> VariantName<'_> {
        VariantName { stream: &self.stream, variant: &self.variant }
    }
}
