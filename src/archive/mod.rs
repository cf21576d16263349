//! What is on disk: a tree of segments, read-only. Other programs write to it at any time, so a directory that does not
//! exist, or no longer does, counts as an empty one.

pub mod cache;
mod chains;
mod chat;
pub mod coverage;
mod directory;
mod extras;
mod file;
pub mod hour;
mod inspect;
pub mod layout;
pub mod listing;
mod media_info;
mod messages;
mod probing;
pub mod ranges;
pub mod runs;
pub mod select;
pub mod selection;
mod tree;

pub use self::file::{FoundFile, OpenFile, open_regular};
pub use self::inspect::NewestSegment;
pub use self::layout::VariantName;
pub use self::tree::Archive;
