//! Pictures of recordings, made by ffmpeg from no more bytes than they need.

mod frame;
mod output;

pub use frame::{ImageFormat, frame};
