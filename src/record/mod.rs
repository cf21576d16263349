//! `restreamer record` and `restreamer prune`: the only code that writes to an archive.

mod directory;
mod inventory;
pub mod keep;
pub mod prune;
mod removal;
mod retention;

pub mod clock;
mod leftovers;
mod progress;
mod recorder;
pub mod segmenter;
pub mod source;
mod writer;

pub use recorder::run;
