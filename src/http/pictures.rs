//! Pictures of recordings: one module a route.

mod frame;
mod storyboard;
mod thumbnail;
mod waveform;

pub(super) use frame::{JpegFrameRequest, PngFrameRequest};
pub(super) use storyboard::{StoryboardRequest, StoryboardTrackRequest};
pub(super) use thumbnail::ThumbnailRequest;
pub(super) use waveform::{WaveformLevels, WaveformPicture};
