//! ffmpeg and ffprobe: which of them there are, what they can do, and their processes. Nothing else starts a program.

mod child;
mod tools;

pub use child::{Child, Feed};
pub use tools::{Ffprobe, INPUT_OPTIONS, LazyTools, MAX_SEGMENT_BYTES, Tools};
