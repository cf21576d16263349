//! H.265 (HEVC) in a byte stream (ITU-T H.265): access units (7.4.2.4.4) and sequence parameter sets (7.3.2.2, annex E).

use std::fmt::Write as _;

use super::frame_rate::FrameRate;
use super::nal::{BitReader, nal_starts, nal_units, unescape};
use super::video::{
    AccessUnitStart, NalType, PictureFormat, Vui, cropped_size, read_cropping, read_vui_start,
};

const BLA_W_LP: u8 = 16;
const BLA_N_LP: u8 = 18;
const CRA: u8 = 21;
const LAST_IRAP: u8 = 23;
const IDR_W_RADL: u8 = 19;
const IDR_N_LP: u8 = 20;
const LAST_SLICE: u8 = 31;
const VPS: u8 = 32;
const SPS: u8 = 33;
const PPS: u8 = 34;
const DELIMITER: u8 = 35;
const PREFIX_SEI: u8 = 39;

/// `nal_unit_type` (table 7-1).
fn nal_unit_type(nal: &[u8]) -> u8 {
    nal[0] >> 1 & 0x3F
}

/// The type of a NAL unit, which is not empty and may be truncated behind its third byte (7.4.2.4.4).
pub(super) fn nal_type(nal: &[u8]) -> NalType {
    // Only units of the base layer, with a nuh_layer_id of 0, begin an access unit.
    let is_base = nal[0] & 1 == 0 && nal.get(1).is_none_or(|byte| byte >> 3 == 0);
    match nal_unit_type(nal) {
        slice @ 0..=LAST_SLICE => {
            // first_slice_segment_in_pic_flag
            let first = is_base && nal.get(2).is_none_or(|byte| byte & 0x80 != 0);
            NalType::Slice { idr: matches!(slice, IDR_W_RADL | IDR_N_LP), first }
        }
        _ if !is_base => NalType::Other,
        set @ VPS..=PPS => NalType::ParameterSet(usize::from(set - VPS)),
        DELIMITER => NalType::Delimiter,
        // Table 7-1 reserves these types for what comes before a picture.
        PREFIX_SEI | 41..=44 | 48..=55 => NalType::Prefix,
        _ => NalType::Other,
    }
}

/// Parses the start of an access unit, up to its first slice.
pub fn access_unit_start(bytes: &[u8]) -> AccessUnitStart {
    AccessUnitStart::parse::<3>(bytes, nal_type, note_random_access)
}

/// Notes whether a slice is of an intra random access point: an IDR, BLA or CRA picture.
fn note_random_access(nal: &[u8], start: &mut AccessUnitStart) {
    start.recovery = (BLA_W_LP..=LAST_IRAP).contains(&nal_unit_type(nal)).then_some(0);
    // Those that no picture refers to are not told apart.
    start.reference = true;
}

/// A random access picture as one that begins a sequence (`BLA_N_LP` in place of CRA, 7.4.2.2, with the same slice headers):
/// it decodes the same whatever came before it, and no leading pictures follow.
pub(super) fn without_leading_pictures(mut access_unit: Vec<u8>) -> Vec<u8> {
    let starts: Vec<usize> = nal_starts(&access_unit).collect();
    for start in starts {
        if let Some(header) = access_unit.get_mut(start).filter(|header| nal_unit_type(&[**header]) == CRA) {
            *header = *header & 0x81 | BLA_N_LP << 1;
        }
    }
    access_unit
}

/// The picture format in the first sequence parameter set of a byte stream that can be parsed.
pub fn picture(bytes: &[u8]) -> Option<PictureFormat> {
    nal_units(bytes).filter(|nal| is_sps(nal[0])).find_map(parse_sps)
}

/// Whether the NAL unit with this first byte is a sequence parameter set.
pub(super) fn is_sps(first: u8) -> bool {
    nal_unit_type(&[first]) == SPS
}

/// The id of a parameter set, and of a PPS that of its SPS (7.3.2.1 to 7.3.2.3).
pub(super) fn parameter_set_id(nal: &[u8]) -> Option<(u32, u32)> {
    let rbsp = unescape(nal);
    let mut bits = BitReader::new(rbsp.get(2..)?);
    let id = match nal_unit_type(nal) {
        VPS => bits.take(4)?,
        SPS => {
            bits.skip(4)?; // sps_video_parameter_set_id
            let max_sub_layers_minus1 = bits.take(3)?;
            bits.skip(1 + 96)?; // sps_temporal_id_nesting_flag, general profile and level
            skip_sub_layer_levels(&mut bits, max_sub_layers_minus1)?;
            bits.ue()?
        }
        _ => return Some((bits.ue()?, bits.ue()?)).filter(|(pps, sps)| *pps < 64 && *sps < 16),
    };
    (id < 16).then_some((id, id))
}

/// The id of the PPS of the first slice segment of a picture (7.3.6.1).
pub(super) fn slice_pps_id(nal: &[u8]) -> Option<u32> {
    let rbsp = unescape(nal);
    let mut bits = BitReader::new(rbsp.get(2..)?);
    bits.skip(1)?; // first_slice_segment_in_pic_flag
    if (BLA_W_LP..=LAST_IRAP).contains(&nal_unit_type(nal)) {
        bits.skip(1)?; // no_output_of_prior_pics_flag
    }
    bits.ue()
}

/// The picture format in a sequence parameter set.
pub(super) fn parse_sps(nal: &[u8]) -> Option<PictureFormat> {
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
    let (depth, chroma_depth) = (bits.ue()?.checked_add(8)?, bits.ue()?.checked_add(8)?);
    let mut vui = Vui::default();
    // What is behind a truncated field stays unknown.
    let _ = parse_after_depth(&mut bits, max_sub_layers_minus1, &mut vui);
    Some(PictureFormat {
        codecs: codecs(*profile_tier_level),
        profile: profile_tier_level[0] & 0x1F,
        width: cropped_size(columns, crop_x)?,
        height: cropped_size(rows, crop_y)?,
        coded: (columns, rows),
        sample_aspect_ratio: vui.sample_aspect_ratio,
        field_sequence: vui.field_sequence,
        chroma: u8::try_from(chroma).ok().filter(|chroma| *chroma <= 3)?,
        depth: u8::try_from(depth).ok().filter(|depth| *depth <= 16)?,
        chroma_depth: u8::try_from(chroma_depth).ok().filter(|depth| *depth <= 16)?,
        colour: vui.colour,
        // general_progressive_source_flag is not set, general_interlaced_source_flag is.
        interlaced: profile_tier_level[5] & 0xC0 == 0x40,
        rate: vui.rate,
        reorder: vui.reorder,
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

/// Reads the rest of a sequence parameter set, from `log2_max_pic_order_cnt_lsb_minus4` to the timing information of the VUI.
fn parse_after_depth(bits: &mut BitReader<'_>, max_sub_layers_minus1: u32, vui: &mut Vui) -> Option<()> {
    let (order_bits, reorder) = parse_picture_order(bits, max_sub_layers_minus1)?;
    vui.reorder = Some(reorder);
    bits.skip_ue(6)?; // sizes of coding and transform blocks
    // scaling_list_enabled_flag, sps_scaling_list_data_present_flag
    if bits.flag()? && bits.flag()? {
        skip_scaling_lists(bits)?;
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
    if bits.flag()? { parse_vui(bits, vui) } else { Some(()) }
}

/// Skips the scaling lists (7.3.4): six of 16 coefficients, twelve of 64, and two of 64 for the largest blocks. Those for
/// the larger half of the blocks have a further one in front.
fn skip_scaling_lists(bits: &mut BitReader<'_>) -> Option<()> {
    for (lists, coefficients) in [(6, 16), (6, 64), (6, 65), (2, 65)] {
        for _ in 0..lists {
            if bits.flag()? {
                // A signed code takes as many bits as an unsigned one.
                bits.skip_ue(coefficients)?;
            } else {
                bits.ue()?; // scaling_list_pred_matrix_id_delta
            }
        }
    }
    Some(())
}

/// Skips the short-term reference picture sets (7.3.7). One may be predicted from the one before, whose number of pictures
/// decides its length.
fn skip_short_term_sets(bits: &mut BitReader<'_>) -> Option<()> {
    let mut pictures = 0;
    for index in 0..bits.ue()?.min(64) {
        if index > 0 && bits.flag()? {
            bits.skip(1)?; // delta_rps_sign
            bits.ue()?; // abs_delta_rps_minus1
            let mut kept = 0;
            for _ in 0..=pictures {
                // used_by_curr_pic_flag; where it is not set, use_delta_flag follows
                kept += u32::from(bits.flag()? || bits.flag()?);
            }
            pictures = kept.min(32);
            continue;
        }
        pictures = bits.ue()?.min(16) + bits.ue()?.min(16);
        for _ in 0..pictures {
            bits.ue()?; // delta_poc_s0_minus1 or delta_poc_s1_minus1
            bits.skip(1)?; // used_by_curr_pic_s0_flag or used_by_curr_pic_s1_flag
        }
    }
    Some(())
}

/// Reads the VUI (E.2.1), in which a picture takes one tick.
fn parse_vui(bits: &mut BitReader<'_>, vui: &mut Vui) -> Option<()> {
    read_vui_start(bits, vui)?;
    bits.skip(1)?; // neutral_chroma_indication_flag
    vui.field_sequence = bits.flag()?;
    bits.skip(1)?; // frame_field_info_present_flag
    if bits.flag()? {
        bits.skip_ue(4)?; // default display window
    }
    if bits.flag()? {
        let (num_units_in_tick, time_scale) = (bits.take(32)?, bits.take(32)?);
        vui.rate = FrameRate::new(time_scale.into(), num_units_in_tick.into());
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of a text of bits, in which spaces do not count.
    fn bytes(bits: &str) -> Vec<u8> {
        let bits: Vec<u8> = bits.bytes().filter(|bit| *bit != b' ').map(|bit| bit - b'0').collect();
        let byte = |bits: &[u8]| bits.iter().enumerate().fold(0, |byte, (at, bit)| byte | bit << (7 - at));
        bits.chunks(8).map(byte).collect()
    }

    #[test]
    fn what_precedes_the_vui_is_skipped_to_the_bit() {
        let rest = "1010 0110 0001 0111";
        let predicted = "0 010".repeat(6);
        let explicit = format!("1 {}", "1".repeat(16));
        let explicit_large = format!("1 {}", "00100".repeat(65));
        let lists = [&predicted, &*predicted, &explicit_large, &"0 1".repeat(5), "0 1 0 1"].concat();
        let others = [&explicit, &*"0 1".repeat(5), &predicted, &predicted, "0 1 0 1"].concat();
        for text in [lists, others] {
            let bytes = bytes(&format!("{text}{rest}"));
            let mut bits = BitReader::new(&bytes);
            skip_scaling_lists(&mut bits).expect("scaling lists");
            assert_eq!(bits.take(16), Some(0xA617), "{text}");
        }
        let rows = [
            // No set.
            "1",
            // One set: one picture before and two behind.
            "010  010 011 1 1 1 1 010 0",
            // Two, the second predicted from the first: of its four flags two keep a picture.
            "011  010 010 1 1 1 1  1 0 1 1 00 01",
            // Three: the third, predicted from two pictures, has three flags.
            "00100  010 010 1 1 1 1  1 0 1 1 00 01  1 1 010 1 1 00",
        ];
        for text in rows {
            let bytes = bytes(&format!("{text}{rest}"));
            let mut bits = BitReader::new(&bytes);
            skip_short_term_sets(&mut bits).expect("sets");
            assert_eq!(bits.take(16), Some(0xA617), "{text}");
        }
    }
}
