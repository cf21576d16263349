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

/// What is known of a request before anybody works on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admission {
    /// The kind of work that it is.
    pub lane: Lane,
    /// What it is counted as.
    pub endpoint: Endpoint,
}

/// What the transport serves.
pub trait Service: Send + Sync + 'static {
    /// What kind of work a request is. Asked before [`Service::call`], and must not block.
    fn admit(&self, request: &Request) -> Admission;

    /// The answer to a request. May block on the disk. What takes long asks now and then whether it is still `wanted`,
    /// and is given up if not.
    fn call(&self, request: &Request, wanted: &dyn Fn() -> bool) -> Reply;

    /// Where requests are counted; without, the transport has counters of its own.
    fn metrics(&self) -> Option<Arc<Metrics>> {
        None
    }

    /// How the cache of directories is doing, if there is one.
    fn cache(&self) -> Option<CacheStats> {
        None
    }
}

impl From<Lane> for Admission {
    /// A request that is counted as nothing in particular.
    fn from(lane: Lane) -> Self {
        Self { lane, endpoint: Endpoint::Unknown }
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
    fn admit(&self, request: &Request) -> Admission {
        let Ok(shape) = Shape::of(request.path()) else { return Lane::Quick.into() };
        let lane = match shape {
            Shape::File(_) => Lane::Media,
            Shape::Cut(_) if matches!(request.method, Method::Get | Method::Head) => {
                match Route::decode(shape, Query::new(request.query())) {
                    Ok(Route::Cut(cut)) if cut.kind != CutKind::Rough => Lane::Cut,
                    Ok(_) => Lane::Media,
                    Err(_) => Lane::Quick,
                }
            }
            Shape::Multivariant(_) | Shape::Media(_) => Lane::Playlist,
            _ => Lane::Quick,
        };
        Admission { lane, endpoint: metrics::endpoint(shape) }
    }

    fn call(&self, request: &Request, wanted: &dyn Fn() -> bool) -> Reply {
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
                self.answer(request, shape, wanted).unwrap_or_else(|error| Reply::of_error(&error))
            }
            _ => Reply::method_not_allowed(),
        };
        let reply = Reply { about: metrics::variant(self, shape), ..reply };
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
    fn answer(&self, request: &Request, shape: Shape, wanted: &dyn Fn() -> bool) -> Result<Reply> {
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
            Route::Cut(cut) => cut::cut(self, cut, wanted),
        }
    }
}

impl Variant {
    /// The name that the archive knows it by.
    fn name(&self) -> VariantName<'_> {
        VariantName { stream: &self.stream, variant: &self.variant }
    }
}
