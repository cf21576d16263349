//! Pictures of recordings, made by ffmpeg from no more bytes than they need.

mod frame;
mod output;

pub mod recording;

mod key_frame_feed;
pub mod storyboard;

mod feed;
pub mod levels;
mod sound;

mod bins;
mod decode_sound;
pub mod waveform;

pub mod templates;
pub mod thumbnail;

pub use frame::{ImageFormat, frame};
