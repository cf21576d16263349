//! `restreamer` serves an archive of recorded live streams over HTTP: it lists what is there, makes HLS playlists for
//! any time range, serves the segments, and cuts exact ranges.
//!
//! `ARCHITECTURE.md` shows how the modules stand on each other.

pub mod cut;
pub mod error;
pub mod ffmpeg;
pub mod mpegts;
pub mod timestamp;
