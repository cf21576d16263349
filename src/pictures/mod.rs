//! Pictures of recordings, made by ffmpeg from no more bytes than they need.

mod frame;
mod output;

mod feed;
pub mod levels;
mod sound;

mod bins;
mod decode_sound;
pub mod waveform;

pub use frame::{ImageFormat, frame};
