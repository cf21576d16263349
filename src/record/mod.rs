//! `restreamer record` and `restreamer prune`: the only code that writes to an archive.

mod directory;
mod inventory;
pub mod keep;
pub mod prune;
mod removal;
mod retention;

mod clock;
mod cutter;
mod hls_clock;
mod hls_list;
mod leftovers;
mod listed;
mod progress;
mod recorder;
mod segmenter;
mod source;
mod writer;

pub use recorder::run;
