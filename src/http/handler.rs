//! The interface of the handlers in the table of routes, what they share, and the worker pools.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Instant;

use super::auth::Policy;
use super::movies::Movies;
use super::path::PathNames;
use super::picture_cache::Pictures;
use super::query::Query;
use super::reply::Reply;
use super::request::Request;
use super::windows::Windows;
use crate::archive::Archive;
use crate::clock::Clock;
use crate::cut::first_frames::FirstFrames;
use crate::cut::samples_cache::SamplesCache;
use crate::error::Result;
use crate::ffmpeg::LazyTools;
use crate::metrics::Metrics;
use crate::pictures::templates::Templates;

/// The state of a server. Handlers read it; what changes in it (caches, counters) has locks of its own.
#[derive(Debug)]
pub struct App {
    /// The recordings.
    pub archive: Arc<Archive>,
    /// The wall clock.
    pub clock: Clock,
    /// The samples of segments that cuts have read.
    pub samples: Arc<SamplesCache>,
    /// ffmpeg and ffprobe.
    pub tools: LazyTools,
    /// The longest range of an exact cut, in hours.
    pub max_cut_hours: u32,
    /// The prefix of segment URIs in playlists: the URL of another server, or `None` for this one.
    pub segments_url: Option<String>,
    /// The live windows that were asked for.
    pub windows: Windows,
    /// The first frames of segments, for playlists of fragments.
    pub first_frames: Arc<FirstFrames>,
    /// The movies that were asked for last.
    pub movies: Movies,
    /// The pictures that were asked for last.
    pub pictures: Pictures,
    /// The templates for thumbnails.
    pub templates: Templates,
    /// When the server started.
    pub started: Instant,
    /// Which requests are allowed.
    pub auth: Policy,
    /// The counters.
    pub metrics: Arc<Metrics>,
}

/// The worker pools: one per kind of work, so that no kind delays another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pool {
    /// Lists, health and the like.
    Quick,
    /// Playlists.
    Playlist,
    /// Files, and cuts that concatenate files.
    Media,
    /// Cuts by ffmpeg.
    Cut,
    /// Pictures by ffmpeg.
    Picture,
    /// Playlists that are streamed because they are long, and movies that are not encoded, until their first byte.
    Streaming,
}

/// A decoded request of one route, which can produce its response.
pub trait Handler: Debug + Send {
    /// Reads the names in the path and the parameters in the query. Must not block: the event loop calls it.
    ///
    /// # Errors
    /// What is wrong with them.
    fn decode(names: PathNames, query: Query) -> Result<Self>
    where
        Self: Sized;

    /// The pool for this request, if it is not the route's.
    fn pool(&self) -> Option<Pool> {
        None
    }

    /// The response to a GET or HEAD; the transport omits the body of a response to HEAD. May block on the disk. A
    /// handler that takes long must poll `is_cancelled`, and fail with [`crate::error::Error::Cancelled`] once that
    /// returns true.
    ///
    /// # Errors
    /// [`Reply::of_error`] gives each a status.
    fn handle(&self, app: &App, request: &Request, is_cancelled: &dyn Fn() -> bool) -> Result<Reply>;
}
