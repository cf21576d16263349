//! What all handlers share.

use std::sync::Arc;
use std::time::Instant;

use super::auth::Policy;
use crate::archive::Archive;
use crate::clock::Clock;
use crate::ffmpeg::LazyTools;
use crate::metrics::Metrics;

/// The state of a server. Handlers read it; what changes in it (caches, counters) has locks of its own.
#[derive(Debug)]
pub struct App {
    /// The recordings.
    pub archive: Arc<Archive>,
    /// The wall clock.
    pub clock: Clock,
    /// ffmpeg and ffprobe.
    pub tools: LazyTools,
    /// The prefix of segment URIs in playlists: `/segments`, or the URL of another server.
    pub segments_url: String,
    /// When the server started.
    pub started: Instant,
    /// Who may ask.
    pub auth: Policy,
    /// The counters.
    pub metrics: Arc<Metrics>,
}
