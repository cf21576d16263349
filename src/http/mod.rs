//! Requests and their responses. Knows no socket.
//!
//! A request's target is looked up in the table of [`route`], which names its handler. Each family of routes has a module
//! with its handlers. Errors become responses in [`reply::Reply::of_error`].

mod address;
mod aliases;
mod assets;
pub mod auth;
mod channels;
mod chat;
pub mod conditional;
mod coverage;
mod cuts;
mod disposition;
mod files;
mod fmp4;
mod handler;
mod health;
mod metrics;
mod movies;
mod openapi;
mod page;
pub mod path;
mod picture_cache;
mod pictures;
mod playlists;
pub mod query;
mod recorder_metrics;
pub mod reply;
pub mod request;
pub mod route;
mod segments;
mod service;
mod text;
mod time_range;
mod windows;

use std::sync::Arc;

use tiny_http::Method;

pub use self::handler::{App, Handler, Pool};
pub use self::movies::Movies;
pub use self::picture_cache::Pictures;
pub use self::recorder_metrics::RecorderPage;
use self::reply::{ALLOW, Reply};
use self::request::Request;
pub use self::service::{Routed, Service};
pub use self::windows::Windows;
use crate::bounded_cache::CacheStats;
use crate::error::Error;
use crate::metrics::Metrics;

impl Service for App {
    fn route(&self, request: &Request) -> Routed {
        let Some(found) = route::find(request.path(), request.query()) else { return Pool::Quick.into() };
        let post = found.route.post.filter(|_| request.method == Method::Post);
        let is_answered = is_get_or_head(&request.method) || post.is_some();
        let handler = found.handler.as_ref().ok().filter(|_| is_answered);
        let pool = handler.and_then(|handler| handler.pool()).unwrap_or(found.route.pool);
        let endpoint = post.map_or(found.route.endpoint, |post| post.endpoint);
        Routed { pool, endpoint, max_body: post.map(|post| post.max_body), found: Some(found) }
    }

    fn call(&self, request: &Request, routed: Routed, is_cancelled: &dyn Fn() -> bool) -> Reply {
        if let Err(refusal) = (self.auth)(request) {
            return refusal;
        }
        if request.target == "*" && request.method == Method::Options {
            return Reply::empty(200).with("Allow", ALLOW);
        }
        let Some(found) = routed.found else {
            return Reply::of_error(&Error::NoSuchRoute(route::similar_path(request.path())));
        };
        let methods = found.route.methods();
        let is_post = found.route.post.is_some() && request.method == Method::Post;
        let reply = match &request.method {
            Method::Options => Reply::empty(200).with("Allow", methods),
            method if is_get_or_head(method) || is_post => found
                .handler
                .and_then(|handler| handler.handle(self, request, is_cancelled))
                .unwrap_or_else(|error| Reply::of_error(&error)),
            _ => Reply::refusal(405, &format!("these methods are answered here: {methods}"))
                .with("Allow", methods),
        };
        let variant = found.variant.and_then(|path| metrics::variant_counters(self, &path));
        let reply = Reply { variant, ..reply };
        if found.route.is_compressible { reply.with("Vary", "Accept-Encoding") } else { reply }
    }

    fn metrics(&self) -> Option<Arc<Metrics>> {
        Some(Arc::clone(&self.metrics))
    }

    fn cache(&self) -> Option<CacheStats> {
        Some(self.archive.cache_stats())
    }
}

/// Whether a handler is called for the method.
fn is_get_or_head(method: &Method) -> bool {
    matches!(method, Method::Get | Method::Head)
}
