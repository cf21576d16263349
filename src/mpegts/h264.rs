//! H.264 in a byte stream (ITU-T H.264): access units (7.4.1.2) and sequence parameter sets (7.3.2.1, annex E).

use super::frame_rate::FrameRate;
use super::nal::{BitReader, nal_units, unescape};
use super::video::{
    AccessUnitStart, NalType, PictureFormat, Vui, cropped_size, read_cropping, read_vui_start,
};

pub(super) mod idr;

const SLICE_NON_IDR: u8 = 1;
const DATA_PARTITION_B: u8 = 3;
const DATA_PARTITION_C: u8 = 4;
const SLICE_IDR: u8 = 5;
const SEI: u8 = 6;
const SPS: u8 = 7;
const PPS: u8 = 8;
const DELIMITER: u8 = 9;

/// `nal_unit_type` (table 7-1).
fn nal_unit_type(nal: &[u8]) -> u8 {
    nal[0] & 0x1F
}

/// The type of a NAL unit, which is not empty and may be truncated behind its second byte (7.4.1.2.3).
pub(super) fn nal_type(nal: &[u8]) -> NalType {
    match nal_unit_type(nal) {
        DELIMITER => NalType::Delimiter,
        set @ (SPS | PPS) => NalType::ParameterSet(usize::from(set - SPS)),
        // Table 7-1 reserves these types for what comes before a picture.
        SEI | 14..=18 => NalType::Prefix,
        DATA_PARTITION_B | DATA_PARTITION_C => NalType::Slice { idr: false, first: false },
        // A slice begins with first_mb_in_slice; the Exp-Golomb code of zero is a set bit.
        slice @ SLICE_NON_IDR..=SLICE_IDR => {
            NalType::Slice { idr: slice == SLICE_IDR, first: nal.get(1).is_none_or(|byte| byte & 0x80 != 0) }
        }
        _ => NalType::Other,
    }
}

/// Parses the start of an access unit, up to its first slice.
pub fn access_unit_start(bytes: &[u8]) -> AccessUnitStart {
    AccessUnitStart::parse::<2>(bytes, nal_type, note_random_access)
}

/// Notes a recovery point, and what the header of a slice tells.
fn note_random_access(nal: &[u8], start: &mut AccessUnitStart) {
    match nal_unit_type(nal) {
        SEI => start.recovery = start.recovery.or_else(|| recovery_point(nal)),
        slice @ SLICE_NON_IDR..=SLICE_IDR => {
            // nal_ref_idc
            start.reference = nal[0] & 0x60 != 0;
            start.recovery = if slice == SLICE_IDR { Some(0) } else { start.recovery };
        }
        _ => {}
    }
}

/// `recovery_frame_cnt`, if the SEI has a recovery point (7.3.2.3.1, D.1.8).
fn recovery_point(nal: &[u8]) -> Option<u32> {
    const RECOVERY_POINT: usize = 6;
    let rbsp = unescape(nal);
    let mut rest = rbsp.get(1..)?;
    loop {
        let payload_type = sei_number(&mut rest)?;
        let size = sei_number(&mut rest)?;
        let (payload, later) = rest.split_at_checked(size)?;
        if payload_type == RECOVERY_POINT {
            return BitReader::new(payload).ue();
        }
        rest = later;
    }
}

/// A type or size in an SEI message: bytes of 255 and a last one, added up.
fn sei_number(bytes: &mut &[u8]) -> Option<usize> {
    let mut number = 0;
    loop {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number += usize::from(*byte);
        if *byte != 255 {
            return Some(number);
        }
    }
}

/// The picture format in the first sequence parameter set of a byte stream that can be parsed.
pub fn picture(bytes: &[u8]) -> Option<PictureFormat> {
    nal_units(bytes).filter(|nal| is_sps(nal[0])).find_map(parse_sps)
}

/// Whether the NAL unit with this first byte is a sequence parameter set.
pub(super) fn is_sps(first: u8) -> bool {
    nal_unit_type(&[first]) == SPS
}

/// The id of a parameter set, and of a PPS that of its SPS (7.3.2.1.1, 7.3.2.2).
pub(super) fn parameter_set_id(nal: &[u8]) -> Option<(u32, u32)> {
    let rbsp = unescape(nal);
    if is_sps(*nal.first()?) {
        // Profile, constraints and level come first.
        return BitReader::new(rbsp.get(4..)?).ue().map(|id| (id, id)).filter(|(id, _)| *id < 32);
    }
    let mut bits = BitReader::new(rbsp.get(1..)?);
    Some((bits.ue()?, bits.ue()?)).filter(|(pps, sps)| *pps < 256 && *sps < 32)
}

/// The id of the PPS of a slice (7.3.3).
pub(super) fn slice_pps_id(nal: &[u8]) -> Option<u32> {
    let rbsp = unescape(nal);
    let mut bits = BitReader::new(rbsp.get(1..)?);
    bits.skip_ue(2)?; // first_mb_in_slice, slice_type
    bits.ue()
}

/// The picture format in a sequence parameter set.
pub(super) fn parse_sps(nal: &[u8]) -> Option<PictureFormat> {
    let rbsp = unescape(nal);
    let [_, profile, constraints, level, ..] = rbsp[..] else { return None };
    let mut bits = BitReader::new(&rbsp[4..]);
    bits.ue()?; // seq_parameter_set_id
    let (mut chroma, mut depth, mut chroma_depth) = (1, 8, 8);
    if matches!(profile, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135) {
        chroma = bits.ue()?;
        if chroma == 3 {
            bits.skip(1)?; // separate_colour_plane_flag
        }
        depth = bits.ue()?.checked_add(8)?;
        chroma_depth = bits.ue()?.checked_add(8)?;
        bits.skip(1)?; // qpprime_y_zero_transform_bypass_flag
        if bits.flag()? {
            skip_scaling_lists(&mut bits, if chroma == 3 { 12 } else { 8 })?;
        }
    }
    bits.ue()?; // log2_max_frame_num_minus4
    skip_picture_order_count(&mut bits)?;
    bits.ue()?; // max_num_ref_frames
    bits.skip(1)?; // gaps_in_frame_num_value_allowed_flag
    let (columns, rows) = (bits.ue()?.checked_add(1)?, bits.ue()?.checked_add(1)?);
    let frame_mbs_only = bits.flag()?;
    if !frame_mbs_only {
        bits.skip(1)?; // mb_adaptive_frame_field_flag
    }
    bits.skip(1)?; // direct_8x8_inference_flag
    let fields = if frame_mbs_only { 1 } else { 2 };
    let (crop_x, crop_y) = read_cropping(&mut bits, chroma)?;
    let mut vui = Vui::default();
    if bits.flag()? {
        // What is behind a truncated field stays unknown.
        let _ = parse_vui(&mut bits, &mut vui);
    }
    let coded = (columns.checked_mul(16)?, rows.checked_mul(16 * fields)?);
    Some(PictureFormat {
        codecs: format!("avc1.{profile:02X}{constraints:02X}{level:02X}"),
        profile,
        width: cropped_size(coded.0, crop_x)?,
        height: cropped_size(coded.1, crop_y.checked_mul(fields)?)?,
        coded,
        sample_aspect_ratio: vui.sample_aspect_ratio,
        field_sequence: false,
        chroma: u8::try_from(chroma).ok().filter(|chroma| *chroma <= 3)?,
        depth: u8::try_from(depth).ok().filter(|depth| *depth <= 14)?,
        chroma_depth: u8::try_from(chroma_depth).ok().filter(|depth| *depth <= 14)?,
        colour: vui.colour,
        interlaced: !frame_mbs_only,
        rate: vui.rate,
        reorder: vui.reorder,
    })
}

/// Skips the scaling lists (7.3.2.1.1.1), whose length depends on their content.
fn skip_scaling_lists(bits: &mut BitReader<'_>, count: usize) -> Option<()> {
    for index in 0..count {
        if !bits.flag()? {
            continue;
        }
        let (mut last, mut next) = (8, 8);
        for _ in 0..if index < 6 { 16 } else { 64 } {
            if next != 0 {
                next = (last + bits.se()?.rem_euclid(256)) % 256;
            }
            last = if next == 0 { last } else { next };
        }
    }
    Some(())
}

/// Skips `pic_order_cnt_type` and the fields that depend on it.
fn skip_picture_order_count(bits: &mut BitReader<'_>) -> Option<()> {
    match bits.ue()? {
        0 => bits.skip_ue(1),
        1 => {
            bits.skip(1)?;
            // A signed code takes as many bits as an unsigned one.
            bits.skip_ue(2)?;
            let count = bits.ue()?.min(255);
            bits.skip_ue(count)
        }
        _ => Some(()),
    }
}

/// Reads the VUI (E.1.1), in which a frame takes two ticks.
fn parse_vui(bits: &mut BitReader<'_>, vui: &mut Vui) -> Option<()> {
    read_vui_start(bits, vui)?;
    if bits.flag()? {
        let (num_units_in_tick, time_scale) = (bits.take(32)?, bits.take(32)?);
        vui.rate = FrameRate::new(time_scale.into(), u64::from(num_units_in_tick) * 2);
        bits.skip(1)?; // fixed_frame_rate_flag
    }
    vui.reorder = max_num_reorder_frames(bits);
    Some(())
}

/// `max_num_reorder_frames`, after the HRD parameters and other bitstream restrictions.
fn max_num_reorder_frames(bits: &mut BitReader<'_>) -> Option<u32> {
    let has_hrd = [skip_hrd(bits)?, skip_hrd(bits)?];
    if has_hrd.contains(&true) {
        bits.skip(1)?; // low_delay_hrd_flag
    }
    bits.skip(1)?; // pic_struct_present_flag
    if !bits.flag()? {
        return None;
    }
    bits.skip(1)?; // motion_vectors_over_pic_boundaries_flag
    bits.skip_ue(4)?;
    bits.ue()
}

/// Skips HRD parameters (E.1.2); returns whether there are any.
fn skip_hrd(bits: &mut BitReader<'_>) -> Option<bool> {
    if !bits.flag()? {
        return Some(false);
    }
    let count = bits.ue()?.min(31) + 1;
    bits.skip(8)?;
    for _ in 0..count {
        bits.skip_ue(2)?;
        bits.skip(1)?;
    }
    bits.skip(20)?;
    Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding_can_begin_at_idr_pictures_and_recovery_points() {
        const SETS: &[u8] = &[0, 0, 1, 0x67, 0x64, 0, 0, 1, 0x68, 0xEE];
        // 130 bytes of user data, then a recovery point of which the first bits are the count.
        let sei = |count: u8| [&[0, 0, 1, 0x06, 5, 130][..], &[0xAA; 130], &[6, 1, count, 0x80]].concat();
        let start = |recovery, idr, reference, parameter_sets| AccessUnitStart {
            idr,
            recovery,
            reference,
            parameter_sets,
            picture: true,
        };
        let rows = [
            (vec![], [0x65, 0x88], start(Some(0), true, true, true)),
            (sei(0b1000_0000), [0x61, 0x88], start(Some(0), false, true, true)),
            (sei(0b0001_1010), [0x41, 0x9A], start(Some(12), false, true, true)),
            (sei(0b0000_0000), [0x41, 0x9A], start(None, false, true, true)),
            (vec![0, 0, 1, 0x06, 6, 200, 0x80], [0x01, 0x9E], start(None, false, false, true)),
        ];
        for (sei, slice, expected) in rows {
            let bytes = [SETS, &sei, &[0, 0, 1], &slice].concat();
            assert_eq!(access_unit_start(&bytes), expected, "{bytes:?}");
        }
    }
}
