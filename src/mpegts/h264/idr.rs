//! An I picture of H.264 as an IDR picture, which decodes the same whatever came before it: only its slice headers change
//! (ITU-T H.264, 7.3.3).
//!
//! Decoders put pictures in order by counts that go on from the last IDR picture. Of I pictures from here and there, those
//! that seem to go back are lost.

use super::{
    BitReader, PPS, SLICE_IDR, SLICE_NON_IDR, is_sps, nal_unit_type, parameter_set_id, skip_scaling_lists,
    slice_pps_id,
};
use crate::mpegts::nal::{trimmed_nal_units, unescape, unescape_whole};

/// What slice headers depend on.
#[derive(Debug, Clone, Copy)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of a parameter set")]
struct Syntax {
    separate_colour_planes: bool,
    frame_num_bits: u32,
    /// The bits of `pic_order_cnt_lsb`, if that is there.
    poc_lsb_bits: Option<u32>,
    /// Whether there is `delta_pic_order_cnt[0]`.
    has_poc_delta: bool,
    frame_mbs_only: bool,
    cabac: bool,
    bottom_field_poc: bool,
    deblocking_control: bool,
    redundant_pic_cnt: bool,
}

/// An access unit as an IDR access unit. `None` if its picture is not of I slices only, is a field, or has headers that
/// cannot be parsed.
pub(in crate::mpegts) fn as_idr(access_unit: &[u8]) -> Option<Vec<u8>> {
    let nals: Vec<&[u8]> = trimmed_nal_units(access_unit).collect();
    let mut out = Vec::with_capacity(access_unit.len() + 64);
    for nal in &nals {
        out.extend([0, 0, 0, 1]);
        match nal_unit_type(nal) {
            SLICE_NON_IDR => {
                let pps = find(&nals, slice_pps_id(nal)?, |nal| nal_unit_type(nal) == PPS)?;
                let sps = find(&nals, parameter_set_id(pps)?.1, |nal| is_sps(nal[0]))?;
                rewrite_slice(nal, Syntax::of(sps, pps)?, &mut out)?;
            }
            2..=4 => return None,
            _ => out.extend_from_slice(nal),
        }
    }
    Some(out)
}

/// The last parameter set of a kind that has this id.
fn find<'a>(nals: &[&'a [u8]], id: u32, is_kind: impl Fn(&[u8]) -> bool) -> Option<&'a [u8]> {
    let has_id = |nal: &&&[u8]| is_kind(nal) && parameter_set_id(nal).is_some_and(|(found, _)| found == id);
    nals.iter().rfind(has_id).copied()
}

impl Syntax {
    /// Parses the two sets (7.3.2.1.1, 7.3.2.2).
    fn of(sps: &[u8], pps: &[u8]) -> Option<Self> {
        let sps = unescape(sps);
        let mut bits = BitReader::new(sps.get(4..)?);
        bits.ue()?; // seq_parameter_set_id
        let mut separate_colour_planes = false;
        if matches!(sps[1], 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135) {
            let chroma = bits.ue()?;
            separate_colour_planes = chroma == 3 && bits.flag()?;
            bits.skip_ue(2)?;
            bits.skip(1)?; // qpprime_y_zero_transform_bypass_flag
            if bits.flag()? {
                skip_scaling_lists(&mut bits, if chroma == 3 { 12 } else { 8 })?;
            }
        }
        let field_bits = |bits: &mut BitReader| Some(bits.ue()?.checked_add(4)?).filter(|bits| *bits <= 16);
        let frame_num_bits = field_bits(&mut bits)?;
        let (mut poc_lsb_bits, mut has_poc_delta) = (None, false);
        match bits.ue()? {
            0 => poc_lsb_bits = Some(field_bits(&mut bits)?),
            1 => {
                has_poc_delta = !bits.flag()?;
                bits.skip_ue(2)?;
                let count = bits.ue()?.min(255);
                bits.skip_ue(count)?;
            }
            _ => {}
        }
        bits.ue()?; // max_num_ref_frames
        bits.skip(1)?; // gaps_in_frame_num_value_allowed_flag
        bits.skip_ue(2)?; // width and height
        let frame_mbs_only = bits.flag()?;
        let pps = unescape(pps);
        let mut bits = BitReader::new(pps.get(1..)?);
        bits.skip_ue(2)?;
        let (cabac, bottom_field_poc) = (bits.flag()?, bits.flag()?);
        if bits.ue()? > 0 {
            return None; // Slice groups.
        }
        bits.skip_ue(2)?;
        bits.skip(3)?; // weighted prediction
        bits.skip_ue(3)?; // Signed codes, which take as many bits.
        let deblocking_control = bits.flag()?;
        bits.skip(1)?; // constrained_intra_pred_flag
        let redundant_pic_cnt = bits.flag()?;
        Some(Self {
            separate_colour_planes,
            frame_num_bits,
            poc_lsb_bits,
            has_poc_delta,
            frame_mbs_only,
            cabac,
            bottom_field_poc,
            deblocking_control,
            redundant_pic_cnt,
        })
    }
}

/// Bits that are written, most significant first.
#[derive(Default)]
struct BitWriter {
    bytes: Vec<u8>,
    count: usize,
}

impl BitWriter {
    fn push(&mut self, bit: bool) {
        if self.count.is_multiple_of(8) {
            self.bytes.push(0);
        }
        if let Some(last) = self.bytes.last_mut() {
            *last |= u8::from(bit) << (7 - self.count % 8);
        }
        self.count += 1;
    }

    /// Copies bits up to where `end` stands.
    fn copy(&mut self, from: &mut BitReader<'_>, end: &BitReader<'_>) -> Option<()> {
        while from.position() < end.position() {
            self.push(from.flag()?);
        }
        Some(())
    }
}

/// Appends a slice of an I picture as one of an IDR picture.
fn rewrite_slice(nal: &[u8], syntax: Syntax, out: &mut Vec<u8>) -> Option<()> {
    let rbsp = unescape_whole(nal);
    let reference = nal[0] & 0x60;
    let mut bits = BitReader::new(rbsp.get(1..)?);
    let mut copied = bits.clone();
    let mut written = BitWriter::default();
    bits.ue()?; // first_mb_in_slice
    if !matches!(bits.ue()?, 2 | 7) {
        return None;
    }
    bits.ue()?; // pic_parameter_set_id
    bits.skip(if syntax.separate_colour_planes { 2 } else { 0 })?;
    written.copy(&mut copied, &bits)?;
    // frame_num, which is 0.
    bits.skip(usize::try_from(syntax.frame_num_bits).ok()?)?;
    (0..syntax.frame_num_bits).for_each(|_| written.push(false));
    copied = bits.clone();
    if !syntax.frame_mbs_only && bits.flag()? {
        return None; // A field.
    }
    written.copy(&mut copied, &bits)?;
    written.push(true); // idr_pic_id, which is 0.
    bits.skip(usize::try_from(syntax.poc_lsb_bits.unwrap_or(0)).ok()?)?;
    let deltas = u32::from(syntax.has_poc_delta)
        + u32::from(syntax.bottom_field_poc && (syntax.has_poc_delta || syntax.poc_lsb_bits.is_some()));
    bits.skip_ue(deltas + u32::from(syntax.redundant_pic_cnt))?;
    written.copy(&mut copied, &bits)?;
    // no_output_of_prior_pics_flag and long_term_reference_flag, in place of the marking of other pictures.
    (0..2).for_each(|_| written.push(false));
    if reference != 0 {
        skip_marking(&mut bits)?;
    }
    copied = bits.clone();
    bits.skip_ue(1)?; // slice_qp_delta
    if syntax.deblocking_control && bits.ue()? != 1 {
        bits.skip_ue(2)?;
    }
    written.copy(&mut copied, &bits)?;
    let header = if reference == 0 { 0x20 } else { reference } | SLICE_IDR;
    let payload = rbsp.get(1..)?;
    if syntax.cabac {
        while !written.count.is_multiple_of(8) {
            written.push(true);
        }
        written.bytes.extend_from_slice(payload.get(bits.position().div_ceil(8)..)?);
    } else {
        // The last bit that is set is the stop bit.
        let stop = payload.len() * 8 - usize::try_from(payload.last()?.trailing_zeros()).ok()?;
        while copied.position() < stop {
            written.push(copied.flag()?);
        }
    }
    out.push(header);
    escape(&written.bytes, out);
    Some(())
}

/// Skips `dec_ref_pic_marking` of a picture that is no IDR picture (7.3.3.3).
fn skip_marking(bits: &mut BitReader<'_>) -> Option<()> {
    if bits.flag()? {
        loop {
            match bits.ue()? {
                0 => break,
                3 => bits.skip_ue(2)?,
                5 => {}
                _ => bits.skip_ue(1)?,
            }
        }
    }
    Some(())
}

/// Appends bytes with emulation prevention bytes (7.4.1).
fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    let mut zeros = 0;
    for byte in bytes {
        if zeros == 2 && *byte <= 3 {
            out.push(3);
            zeros = 0;
        }
        out.push(*byte);
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
    }
}
