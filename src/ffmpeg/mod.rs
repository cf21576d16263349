//! ffmpeg and ffprobe: which of them there are, what they can do, and their processes. Nothing else starts a program.

mod child;
mod pipes;
mod tools;

mod lazy;

pub use child::Child;
pub use lazy::LazyTools;
pub use pipes::Feed;
pub use tools::Tools;
