//! ffmpeg and ffprobe: which of them there are, what they can do, and their processes. Nothing else starts a program.

mod child;
mod tools;

mod lazy_tools;

pub use child::{Child, Feed};
pub use lazy_tools::LazyTools;
pub use tools::{Ffprobe, INPUT_OPTIONS, MAX_SEGMENT_BYTES, Tools};
