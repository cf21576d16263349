//! Pictures of recordings: one module a route.

mod frame;
mod waveform;

pub(super) use frame::{JpegFrameRequest, PngFrameRequest};
pub(super) use waveform::{WaveformLevels, WaveformPicture};
