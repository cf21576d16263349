//! Pictures of recordings: one module a route.

mod frame;

pub(super) use frame::{JpegFrameRequest, PngFrameRequest};
