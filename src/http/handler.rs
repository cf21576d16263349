//! The interface of the handlers in the table of routes, and the worker pools.

use std::fmt::Debug;

use super::app::App;
use super::path::PathNames;
use super::query::Query;
use super::reply::Reply;
use super::request::Request;
use crate::error::Result;

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

    /// The response to a GET or HEAD; of that to a HEAD the body is not sent. May block on the disk. A handler that
    /// takes long polls `is_cancelled`, and gives up with [`crate::error::Error::Cancelled`] once it returns true.
    ///
    /// # Errors
    /// [`Reply::of_error`] gives each a status.
    fn handle(&self, app: &App, request: &Request, is_cancelled: &dyn Fn() -> bool) -> Result<Reply>;
}
