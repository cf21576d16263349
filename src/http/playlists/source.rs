//! What a media playlist is rendered from.

use std::sync::Arc;

use crate::archive::Archive;
use crate::archive::layout::{Segment, SegmentType};
use crate::archive::select::may_be_replaced;
use crate::cut::first_frames::FirstFrames;
use crate::http::path::VariantPath;
use crate::timestamp::{Hour, Timestamp};

/// What a media playlist is rendered from.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) archive: Arc<Archive>,
    pub(super) variant: VariantPath,
    pub(super) hours: Arc<[Hour]>,
    pub(super) range: (Timestamp, Timestamp),
    pub(super) now: Timestamp,
    pub(super) uri_prefix: String,
    /// Whether players shall begin at the start (`EXT-X-START`).
    pub(super) plays_from_start: bool,
    /// Whether the client has the playlist already and asks for an update of it (`_HLS_skip`).
    pub(super) wants_update: bool,
    /// When the first frames of segments are shown, if the entries are fragments of MP4: their addresses say by how much
    /// times are moved.
    pub(super) first_frames: Option<Arc<FirstFrames>>,
}

impl Source {
    /// Whether a segment may still be replaced, so that it is withheld, and all behind it.
    pub(super) fn is_withheld(&self, segment: &Segment, gap_before: bool) -> bool {
        let is_full = segment.name.segment_type == SegmentType::Full;
        may_be_replaced((segment.start(), segment.end()), is_full, gap_before, self.now)
    }
}
