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

/// The type of a NAL unit, as far as access units depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NalType {
    /// A parameter set: the index of its kind. Behind a picture it begins the next access unit.
    ParameterSet(usize),
    /// An access unit delimiter.
    Delimiter,
    /// Another unit that begins the next access unit if it is behind a picture, such as SEI.
    Prefix,
    /// A slice.
    Slice {
        /// Of an IDR picture.
        idr: bool,
        /// It is the first slice of its picture, as far as it is there to tell.
        first: bool,
    },
    /// A unit that never begins an access unit.
    Other,
}

impl NalType {
    /// Whether an access unit may begin with such a unit.
    pub(super) fn may_begin_access_unit(self) -> bool {
        !matches!(self, Self::Slice { first: false, .. } | Self::Other)
    }
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
                NalType::Slice { idr, .. } => {
                    return Self { idr, parameter_sets: found == [true; N], picture: true, ..start };
                }
                NalType::Delimiter | NalType::Prefix | NalType::Other => {}
            }
        }
        Self::default()
    }
}

/// How samples of pictures stand for colours: code points of ISO/IEC 23091-2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Colour {
    /// `colour_primaries`.
    pub primaries: u8,
    /// `transfer_characteristics`.
    pub transfer: u8,
    /// `matrix_coefficients`.
    pub matrix: u8,
    /// `video_full_range_flag`.
    pub full_range: bool,
}

/// The format of pictures, from a sequence parameter set.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PictureFormat {
    /// The codec's name after RFC 6381.
    pub codecs: String,
    /// `profile_idc`.
    pub profile: u8,
    /// The width of the cropped picture, in luma samples.
    pub width: u32,
    /// The height of the cropped picture, in luma samples.
    pub height: u32,
    /// Width and height before cropping, which are those that a decoder allocates.
    pub coded: (u32, u32),
    /// Width and height of a luma sample on the screen; `None` if they are not known.
    pub sample_aspect_ratio: Option<(u32, u32)>,
    /// Whether each picture is a field, half as high as a frame (`field_seq_flag` of H.265).
    pub field_sequence: bool,
    /// `chroma_format_idc`: 0 is monochrome, 1 is 4:2:0, 2 is 4:2:2, 3 is 4:4:4.
    pub chroma: u8,
    /// The bit depth of luma samples.
    pub depth: u8,
    /// The bit depth of chroma samples.
    pub chroma_depth: u8,
    /// The colour description of the VUI.
    pub colour: Option<Colour>,
    /// Whether pictures may be fields.
    pub interlaced: bool,
    /// The frame rate, from the timing information of the VUI.
    pub rate: Option<FrameRate>,
    /// The maximum number of frames that precede any frame in decoding order and follow it in presentation order.
    pub reorder: Option<u32>,
}

/// The longer side of the largest picture that is decoded.
const MAX_LONG_SIDE: u32 = 8192;
/// The shorter side of the largest picture that is decoded.
const MAX_SHORT_SIDE: u32 = 4320;

/// Whether pictures of that width and height, upright or across, are so large that no decoder is to be started for them.
pub fn is_too_large((width, height): (u32, u32)) -> bool {
    width.max(height) > MAX_LONG_SIDE || width.min(height) > MAX_SHORT_SIDE
}

impl PictureFormat {
    /// The size of a frame on the screen, in square pixels.
    pub fn display_size(&self) -> (u32, u32) {
        let fields = if self.field_sequence { 2 } else { 1 };
        display_size(self.width, self.height * fields, self.sample_aspect_ratio)
    }
}

/// The size of a picture in square pixels. Its height stays; its width is that of its samples on the screen.
pub fn display_size(width: u32, height: u32, sample_aspect_ratio: Option<(u32, u32)>) -> (u32, u32) {
    let stretched = sample_aspect_ratio.and_then(|(x, y)| {
        let doubled = u64::from(width) * u64::from(x) * 2 / u64::from(y).max(1);
        u32::try_from(doubled.div_ceil(2)).ok().filter(|width| (1..=MAX_SIDE).contains(width))
    });
    (stretched.unwrap_or(width), height)
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

/// The largest width or height that is taken for one.
const MAX_SIDE: u32 = 65_536;

/// The width or height left of `coded` samples; `None` if that is 0 or more than 65,536.
pub(super) fn cropped_size(coded: u32, cropped: u32) -> Option<u32> {
    coded.checked_sub(cropped).filter(|size| (1..=MAX_SIDE).contains(size))
}

/// What is read of the video usability information (VUI, annex E of both).
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Vui {
    pub(super) sample_aspect_ratio: Option<(u32, u32)>,
    pub(super) colour: Option<Colour>,
    pub(super) field_sequence: bool,
    pub(super) rate: Option<FrameRate>,
    pub(super) reorder: Option<u32>,
}

/// The sample aspect ratios for values of `aspect_ratio_idc` from 1 on (table E-1 of H.264 and of H.265).
const SAMPLE_ASPECT_RATIOS: [(u32, u32); 16] = [
    (1, 1),
    (12, 11),
    (10, 11),
    (16, 11),
    (40, 33),
    (24, 11),
    (20, 11),
    (32, 11),
    (80, 33),
    (18, 11),
    (15, 11),
    (64, 33),
    (160, 99),
    (4, 3),
    (3, 2),
    (2, 1),
];
/// The `aspect_ratio_idc` that is followed by the ratio itself (`Extended_SAR`).
const EXTENDED_SAR: u32 = 255;

/// Reads the fields that the VUI parameters of H.264 and H.265 begin with, up to the chroma sample location.
pub(super) fn read_vui_start(bits: &mut BitReader<'_>, vui: &mut Vui) -> Option<()> {
    if bits.flag()? {
        vui.sample_aspect_ratio = match bits.take(8)? {
            EXTENDED_SAR => Some((bits.take(16)?, bits.take(16)?)).filter(|(x, y)| *x > 0 && *y > 0),
            idc => {
                let index = usize::try_from(idc).ok()?.checked_sub(1);
                index.and_then(|index| SAMPLE_ASPECT_RATIOS.get(index)).copied()
            }
        };
    }
    // overscan_appropriate_flag
    if bits.flag()? {
        bits.skip(1)?;
    }
    if bits.flag()? {
        read_video_signal_type(bits, vui)?;
    }
    // chroma_sample_loc_type of both fields
    if bits.flag()? { bits.skip_ue(2) } else { Some(()) }
}

/// Reads the video signal type.
fn read_video_signal_type(bits: &mut BitReader<'_>, vui: &mut Vui) -> Option<()> {
    bits.skip(3)?; // video_format
    let full_range = bits.flag()?;
    // colour_description_present_flag
    if bits.flag()? {
        let mut code = || u8::try_from(bits.take(8)?).ok();
        let (primaries, transfer, matrix) = (code()?, code()?, code()?);
        vui.colour = Some(Colour { primaries, transfer, matrix, full_range });
    }
    Some(())
}
