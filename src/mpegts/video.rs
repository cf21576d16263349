//! What H.264 and H.265 have in common: the start of an access unit, and the picture format in a sequence parameter set
//! (SPS).

use super::frame_rate::FrameRate;
use super::nal::{BitReader, nal_units};

/// The start of an access unit, which decides whether it is a random access point.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a property of its own of the picture")]
pub struct AccessUnitStart {
    /// The picture is an IDR picture: neither it nor any picture after it refers to one before it.
    pub idr: bool,
    /// If decoding can begin here: after how many reference pictures pictures are right, 0 if this one is. Those shown
    /// before the first right one may refer to pictures before.
    pub recovery: Option<u32>,
    /// Other pictures may refer to the picture.
    pub reference: bool,
    /// The parameter sets that the picture needs precede it in the access unit.
    pub parameter_sets: bool,
    /// A slice was found; without one the other fields are false.
    pub picture: bool,
}

/// The type of a NAL unit, as far as [`AccessUnitStart`] depends on it.
pub(super) enum NalType {
    /// A parameter set: the index of its kind.
    ParameterSet(usize),
    Slice {
        idr: bool,
    },
    Other,
}

impl AccessUnitStart {
    /// Parses `bytes` up to the first slice. `N` kinds of parameter sets are needed for decoding. `note` notes in the start
    /// what a NAL unit tells of its `recovery` and `reference`.
    pub(super) fn parse<const N: usize>(
        bytes: &[u8],
        nal_type: fn(&[u8]) -> NalType,
        note: fn(&[u8], &mut Self),
    ) -> Self {
        let mut found = [false; N];
        let mut start = Self::default();
        for nal in nal_units(bytes) {
            note(nal, &mut start);
            match nal_type(nal) {
                NalType::ParameterSet(index) => found[index] = true,
                NalType::Slice { idr } => {
                    return Self { idr, parameter_sets: found == [true; N], picture: true, ..start };
                }
                NalType::Other => {}
            }
        }
        Self::default()
    }
}

/// The format of pictures, from a sequence parameter set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PictureFormat {
    /// The codec's name after RFC 6381.
    pub codecs: String,
    /// `profile_idc`.
    pub profile: u8,
    /// The width of the cropped picture, in luma samples.
    pub width: u32,
    /// The height of the cropped picture, in luma samples.
    pub height: u32,
    /// `chroma_format_idc`: 0 is monochrome, 1 is 4:2:0, 2 is 4:2:2, 3 is 4:4:4.
    pub chroma: u8,
    /// The bit depth of luma samples.
    pub depth: u8,
    /// Whether pictures may be fields.
    pub interlaced: bool,
    /// The frame rate, from the timing information of the VUI.
    pub rate: Option<FrameRate>,
    /// The maximum number of frames that precede any frame in decoding order and follow it in presentation order.
    pub reorder: Option<u32>,
}

/// Parses the cropping rectangle (`frame_crop_*` of H.264, `conf_win_*` of H.265): the columns and rows to remove, in luma
/// samples of a frame.
pub(super) fn read_cropping(bits: &mut BitReader<'_>, chroma_format_idc: u32) -> Option<(u32, u32)> {
    if !bits.flag()? {
        return Some((0, 0));
    }
    let [left, right, top, bottom] = [bits.ue()?, bits.ue()?, bits.ue()?, bits.ue()?];
    let (unit_x, unit_y) = match chroma_format_idc {
        1 => (2, 2),
        2 => (2, 1),
        _ => (1, 1),
    };
    let columns = left.checked_add(right)?.checked_mul(unit_x)?;
    let rows = top.checked_add(bottom)?.checked_mul(unit_y)?;
    Some((columns, rows))
}

/// The width or height left of `coded` samples; `None` if that is 0 or more than 65,536.
pub(super) fn cropped_size(coded: u32, cropped: u32) -> Option<u32> {
    coded.checked_sub(cropped).filter(|size| (1..=65_536).contains(size))
}

/// Skips the fields that the VUI parameters of H.264 and H.265 begin with, up to the chroma sample location.
pub(super) fn skip_vui_start(bits: &mut BitReader<'_>) -> Option<()> {
    // aspect_ratio_idc, of which 255 is Extended_SAR
    if bits.flag()? && bits.take(8)? == 255 {
        bits.skip(32)?;
    }
    // overscan_appropriate_flag
    if bits.flag()? {
        bits.skip(1)?;
    }
    // video_format, video_full_range_flag, colour description
    if bits.flag()? {
        bits.skip(4)?;
        if bits.flag()? {
            bits.skip(24)?;
        }
    }
    // chroma_sample_loc_type of both fields
    if bits.flag()? { bits.skip_ue(2) } else { Some(()) }
}
