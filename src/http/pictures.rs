//! Pictures of recordings: one module a route.

mod frame;
mod storyboard;

pub(super) use frame::{JpegFrameRequest, PngFrameRequest};
pub(super) use storyboard::{StoryboardRequest, StoryboardTrackRequest};
