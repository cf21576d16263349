//! H.265 (HEVC) in a byte stream (ITU-T H.265): access units (7.4.2.4.4) and sequence parameter sets (7.3.2.2, annex E).

use std::fmt::Write as _;

use super::frame_rate::FrameRate;
use super::nal::{BitReader, nal_units, unescape};
use super::video::{AccessUnitStart, NalType, PictureFormat, cropped_size, read_cropping, skip_vui_start};

const BLA_W_LP: u8 = 16;
const LAST_IRAP: u8 = 23;
const IDR_W_RADL: u8 = 19;
const IDR_N_LP: u8 = 20;
const LAST_SLICE: u8 = 31;
const VPS: u8 = 32;
const SPS: u8 = 33;
const PPS: u8 = 34;

/// `nal_unit_type` (table 7-1).
fn nal_unit_type(nal: &[u8]) -> u8 {
    nal[0] >> 1 & 0x3F
}

/// Parses the start of an access unit, up to its first slice.
pub fn access_unit_start(bytes: &[u8]) -> AccessUnitStart {
    let nal_type = |nal: &[u8]| match nal_unit_type(nal) {
        set @ VPS..=PPS => NalType::ParameterSet(usize::from(set - VPS)),
        slice @ 0..=LAST_SLICE => NalType::Slice { idr: matches!(slice, IDR_W_RADL | IDR_N_LP) },
        _ => NalType::Other,
    };
    AccessUnitStart::parse::<3>(bytes, nal_type, note_random_access)
}

/// Notes whether a slice is of an intra random access point: an IDR, BLA or CRA picture.
fn note_random_access(nal: &[u8], start: &mut AccessUnitStart) {
    start.recovery = (BLA_W_LP..=LAST_IRAP).contains(&nal_unit_type(nal)).then_some(0);
    // Those that no picture refers to are not told apart.
    start.reference = true;
}

/// The picture format in the first sequence parameter set of a byte stream that can be parsed.
pub fn picture(bytes: &[u8]) -> Option<PictureFormat> {
    nal_units(bytes).filter(|nal| nal_unit_type(nal) == SPS).find_map(parse_sps)
}

fn parse_sps(nal: &[u8]) -> Option<PictureFormat> {
    let rbsp = unescape(nal);
    let mut bits = BitReader::new(rbsp.get(2..)?);
    bits.skip(4)?; // sps_video_parameter_set_id
    let max_sub_layers_minus1 = bits.take(3)?;
    bits.skip(1)?; // sps_temporal_id_nesting_flag
    let profile_tier_level: &[u8; 12] = rbsp.get(3..15)?.try_into().ok()?;
    bits.skip(96)?;
    skip_sub_layer_levels(&mut bits, max_sub_layers_minus1)?;
    bits.ue()?; // sps_seq_parameter_set_id
    let chroma = bits.ue()?;
    if chroma == 3 {
        bits.skip(1)?; // separate_colour_plane_flag
    }
    let (columns, rows) = (bits.ue()?, bits.ue()?);
    let (crop_x, crop_y) = read_cropping(&mut bits, chroma)?;
    let depth = bits.ue()?.checked_add(8)?;
    let (rate, reorder) = match parse_picture_order(&mut bits, max_sub_layers_minus1) {
        Some((order_bits, reorder)) => (parse_frame_rate(&mut bits, order_bits), Some(reorder)),
        None => (None, None),
    };
    Some(PictureFormat {
        codecs: codecs(*profile_tier_level),
        profile: profile_tier_level[0] & 0x1F,
        width: cropped_size(columns, crop_x)?,
        height: cropped_size(rows, crop_y)?,
        chroma: u8::try_from(chroma).ok().filter(|chroma| *chroma <= 3)?,
        depth: u8::try_from(depth).ok().filter(|depth| *depth <= 16)?,
        // general_progressive_source_flag is not set, general_interlaced_source_flag is.
        interlaced: profile_tier_level[5] & 0xC0 == 0x40,
        rate,
        reorder,
    })
}

/// The codec's name: `hvc1.`, profile space and profile, compatibility flags in reverse order, tier and level, and the
/// constraint flags without trailing zero bytes (ISO/IEC 14496-15, annex E).
fn codecs(profile_tier_level: [u8; 12]) -> String {
    let [profile, f3, f2, f1, f0, constraints @ .., level] = profile_tier_level;
    let space = ["", "A", "B", "C"][usize::from(profile >> 6)];
    let tier = if profile & 0x20 == 0 { 'L' } else { 'H' };
    let compatibility = u32::from_be_bytes([f3, f2, f1, f0]).reverse_bits();
    let mut name = format!("hvc1.{space}{}.{compatibility:X}.{tier}{level}", profile & 0x1F);
    let used = constraints.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    for byte in &constraints[..used] {
        let _infallible = write!(name, ".{byte:X}");
    }
    name
}

/// Skips the profiles and levels of the sub-layers (7.3.3).
fn skip_sub_layer_levels(bits: &mut BitReader<'_>, count: u32) -> Option<()> {
    let mut length = 0;
    for _ in 0..count {
        length += if bits.flag()? { 88 } else { 0 } + if bits.flag()? { 8 } else { 0 };
    }
    if count > 0 {
        bits.skip(usize::try_from(8 - count).ok()? * 2)?;
    }
    bits.skip(length)
}

/// The number of bits of a picture order count, and `sps_max_num_reorder_pics` of the highest sub-layer.
fn parse_picture_order(bits: &mut BitReader<'_>, max_sub_layers_minus1: u32) -> Option<(usize, u32)> {
    bits.ue()?; // bit_depth_chroma_minus8
    let order_bits = bits.ue()?.checked_add(4).filter(|bits| *bits <= 16)?;
    let all_sub_layers = bits.flag()?;
    let mut reorder = 0;
    for _ in 0..if all_sub_layers { max_sub_layers_minus1 + 1 } else { 1 } {
        bits.ue()?; // sps_max_dec_pic_buffering_minus1
        reorder = bits.ue()?;
        bits.ue()?; // sps_max_latency_increase_plus1
    }
    Some((usize::try_from(order_bits).ok()?, reorder))
}

/// The frame rate in the VUI; `None` if scaling lists or predicted reference picture sets precede it, which are not
/// parsed.
fn parse_frame_rate(bits: &mut BitReader<'_>, order_bits: usize) -> Option<FrameRate> {
    bits.skip_ue(6)?; // sizes of coding and transform blocks
    if bits.flag()? && bits.flag()? {
        return None;
    }
    bits.skip(2)?; // amp_enabled_flag, sample_adaptive_offset_enabled_flag
    if bits.flag()? {
        bits.skip(8)?; // pcm_sample_bit_depth_luma_minus1 and of chroma
        bits.skip_ue(2)?;
        bits.skip(1)?; // pcm_loop_filter_disabled_flag
    }
    skip_short_term_sets(bits)?;
    if bits.flag()? {
        for _ in 0..bits.ue()?.min(33) {
            bits.skip(order_bits + 1)?; // lt_ref_pic_poc_lsb_sps, used_by_curr_pic_lt_sps_flag
        }
    }
    bits.skip(2)?; // sps_temporal_mvp_enabled_flag, strong_intra_smoothing_enabled_flag
    if bits.flag()? { parse_vui(bits) } else { None }
}

/// Skips the short-term reference picture sets (7.3.7); `None` if one is predicted from another.
fn skip_short_term_sets(bits: &mut BitReader<'_>) -> Option<()> {
    for index in 0..bits.ue()?.min(64) {
        if index > 0 && bits.flag()? {
            return None;
        }
        for _ in 0..bits.ue()?.min(16) + bits.ue()?.min(16) {
            bits.ue()?; // delta_poc_s0_minus1 or delta_poc_s1_minus1
            bits.skip(1)?; // used_by_curr_pic_s0_flag or used_by_curr_pic_s1_flag
        }
    }
    Some(())
}

/// The frame rate in the VUI, of which a frame takes one tick (E.2.1).
fn parse_vui(bits: &mut BitReader<'_>) -> Option<FrameRate> {
    skip_vui_start(bits)?;
    bits.skip(3)?; // neutral_chroma_indication_flag, field_seq_flag, frame_field_info_present_flag
    if bits.flag()? {
        bits.skip_ue(4)?; // default display window
    }
    if !bits.flag()? {
        return None;
    }
    let (num_units_in_tick, time_scale) = (bits.take(32)?, bits.take(32)?);
    FrameRate::new(time_scale.into(), num_units_in_tick.into())
}
