//! Pictures of recordings, made by ffmpeg from no more bytes than they need.

mod frame;
mod output;

pub mod recording;

mod key_frame_feed;
pub mod storyboard;

pub use frame::{ImageFormat, frame};
