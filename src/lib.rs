//! `restreamer` serves an archive of recorded live streams over HTTP. It lists the archive, makes HLS playlists for any
//! time range, serves the segments, and cuts time ranges exactly.
//!
//! `ARCHITECTURE.md` describes the modules and the dependencies between them.

pub mod archive;
pub mod bounded_cache;
pub mod check;
pub mod clock;
pub mod config;
pub mod cut;
pub mod error;
pub mod ffmpeg;
pub mod fnv;
pub mod hls;
pub mod http;
pub mod logging;
pub mod metrics;
pub mod mp4;
pub mod mpegts;
pub mod pictures;
pub mod process;
pub mod quota;
pub mod record;
pub mod serve;
pub mod server;
pub mod single_build;
pub mod timestamp;
