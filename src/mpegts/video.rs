//! What H.264 and H.265 have in common.

use super::frame_rate::FrameRate;

/// Aspects of an access unit that decide whether decoding can begin with it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AccessUnitStart {
    /// A picture that needs none before it begins here, and none after it that is shown needs one before it.
    pub idr: bool,
    /// The parameter sets that the picture needs are here too.
    pub parameter_sets: bool,
    /// A coded picture was seen; without it the other fields may not be final.
    pub picture: bool,
}

/// What a sequence parameter set says of the pictures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PictureFormat {
    /// The RFC 6381 name of the coding.
    pub codecs: String,
    /// The profile's number.
    pub profile: u8,
    /// The level's number, in the codec's own units.
    pub level: u8,
    /// Samples a row, as shown.
    pub width: u32,
    /// Rows, as shown.
    pub height: u32,
    /// The chroma format: 0 is none, 1 is 4:2:0, 2 is 4:2:2, 3 is 4:4:4.
    pub chroma: u8,
    /// Bits a sample of luma.
    pub depth: u8,
    /// Whether the pictures may be fields.
    pub interlaced: bool,
    /// The frame rate as the parameter set has it.
    pub rate: Option<FrameRate>,
    /// The most pictures that precede one in decoding and follow it when shown, as the parameter set has it.
    pub reorder: Option<u32>,
}

/// A side in samples: `units` blocks of `block`, less two crops in steps of `step`.
pub(super) fn size(units: u32, block: u32, before: u32, after: u32, step: u32) -> Option<u32> {
    let cropped = before.checked_add(after)?.checked_mul(step)?;
    units.checked_mul(block)?.checked_sub(cropped).filter(|side| (1..=65_536).contains(side))
}
