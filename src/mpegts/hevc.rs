//! HEVC in a byte stream: sequence parameter sets and what kind of picture begins (ITU-T H.265, 7.3; ISO/IEC 14496-15, annex E).

use std::fmt::Write as _;

use super::frame_rate::FrameRate;
use super::nal::{BitReader, nal_units, unescape};
use super::video::{AccessUnitStart, PictureFormat, size};

const IDR_W_RADL: u8 = 19;
const IDR_N_LP: u8 = 20;
const LAST_PICTURE: u8 = 31;
const VPS: u8 = 32;
const SPS: u8 = 33;
const PPS: u8 = 34;

/// The type of a NAL unit.
fn kind(nal: &[u8]) -> u8 {
    nal[0] >> 1 & 0x3F
}

/// Looks at the start of an access unit, as far as its first slice.
pub fn access_unit_start(bytes: &[u8]) -> AccessUnitStart {
    let mut access = AccessUnitStart::default();
    let mut sets = [false; 3];
    for nal in nal_units(bytes) {
        match kind(nal) {
            set @ VPS..=PPS => sets[usize::from(set - VPS)] = true,
            kind @ 0..=LAST_PICTURE => {
                let idr = matches!(kind, IDR_W_RADL | IDR_N_LP);
                access = AccessUnitStart { idr, parameter_sets: sets == [true; 3], picture: true };
                break;
            }
            _ => {}
        }
    }
    access
}

/// Finds the first sequence parameter set in a byte stream and describes the pictures it announces.
pub fn picture(bytes: &[u8]) -> Option<PictureFormat> {
    nal_units(bytes).filter(|nal| kind(nal) == SPS).find_map(parse_sps)
}

fn parse_sps(nal: &[u8]) -> Option<PictureFormat> {
    let plain = unescape(nal);
    let mut bits = BitReader::new(plain.get(2..)?);
    bits.skip(4)?;
    let sub_layers = bits.take(3)?;
    bits.flag()?;
    let tier: &[u8; 12] = plain.get(3..15)?.try_into().ok()?;
    bits.skip(96)?;
    skip_sub_layers(&mut bits, sub_layers)?;
    bits.ue()?;
    let chroma = bits.ue()?;
    if chroma == 3 {
        bits.flag()?;
    }
    let (columns, rows) = (bits.ue()?, bits.ue()?);
    let crop = if bits.flag()? { [bits.ue()?, bits.ue()?, bits.ue()?, bits.ue()?] } else { [0; 4] };
    let (unit_x, unit_y) = (if matches!(chroma, 1 | 2) { 2 } else { 1 }, if chroma == 1 { 2 } else { 1 });
    let depth = bits.ue()?.checked_add(8)?;
    let (rate, reorder) = rest(&mut bits, sub_layers);
    Some(PictureFormat {
        codecs: codecs(*tier),
        profile: tier[0] & 0x1F,
        level: tier[11],
        width: size(columns, 1, crop[0], crop[1], unit_x)?,
        height: size(rows, 1, crop[2], crop[3], unit_y)?,
        chroma: u8::try_from(chroma).ok().filter(|chroma| *chroma <= 3)?,
        depth: u8::try_from(depth).ok().filter(|depth| *depth <= 16)?,
        interlaced: tier[5] & 0xC0 == 0x40,
        rate,
        reorder,
    })
}

/// `hvc1.` with profile space and profile, compatibility bits reversed, tier and level, and the constraint bytes.
fn codecs(tier: [u8; 12]) -> String {
    let space = ["", "A", "B", "C"][usize::from(tier[0] >> 6)];
    let letter = if tier[0] & 0x20 == 0 { 'L' } else { 'H' };
    let compatibility = u32::from_be_bytes([tier[1], tier[2], tier[3], tier[4]]).reverse_bits();
    let mut text = format!("hvc1.{space}{}.{compatibility:X}.{letter}{}", tier[0] & 0x1F, tier[11]);
    let constraints = &tier[5..11];
    let used = constraints.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    for byte in &constraints[..used] {
        let _infallible = write!(text, ".{byte:X}");
    }
    text
}

fn skip_sub_layers(bits: &mut BitReader<'_>, count: u32) -> Option<()> {
    let mut present = Vec::new();
    for _ in 0..count {
        present.push((bits.flag()?, bits.flag()?));
    }
    if count > 0 {
        bits.skip(usize::try_from(8 - count).ok()? * 2)?;
    }
    for (profile, level) in present {
        bits.skip(if profile { 88 } else { 0 } + if level { 8 } else { 0 })?;
    }
    Some(())
}

fn skip_codes(bits: &mut BitReader<'_>, count: usize) -> Option<()> {
    (0..count).try_for_each(|_| bits.ue().map(|_| ()))
}

/// The frame rate, where the way there is without the rarer structures, and the most pictures that are reordered.
fn rest(bits: &mut BitReader<'_>, sub_layers: u32) -> (Option<FrameRate>, Option<u32>) {
    let Some((order_bits, reorder)) = order(bits, sub_layers) else { return (None, None) };
    (rest_to_rate(bits, order_bits), Some(reorder))
}

/// The bits of a picture order count, and the most pictures that are reordered in the highest layer.
fn order(bits: &mut BitReader<'_>, sub_layers: u32) -> Option<(usize, u32)> {
    bits.ue()?;
    let order_bits = bits.ue()?.checked_add(4).filter(|bits| *bits <= 16)?;
    let all_layers = bits.flag()?;
    let mut reorder = 0;
    for _ in 0..if all_layers { sub_layers + 1 } else { 1 } {
        bits.ue()?;
        reorder = bits.ue()?;
        bits.ue()?;
    }
    Some((usize::try_from(order_bits).ok()?, reorder))
}

fn rest_to_rate(bits: &mut BitReader<'_>, order_bits: usize) -> Option<FrameRate> {
    skip_codes(bits, 6)?;
    if bits.flag()? && bits.flag()? {
        return None;
    }
    bits.skip(2)?;
    if bits.flag()? {
        bits.skip(8)?;
        skip_codes(bits, 2)?;
        bits.flag()?;
    }
    skip_short_term_sets(bits)?;
    if bits.flag()? {
        for _ in 0..bits.ue()?.min(33) {
            bits.skip(order_bits + 1)?;
        }
    }
    bits.skip(2)?;
    if bits.flag()? { vui(bits) } else { None }
}

/// Short-term reference picture sets; one that is predicted from another ends the way.
fn skip_short_term_sets(bits: &mut BitReader<'_>) -> Option<()> {
    for index in 0..bits.ue()?.min(64) {
        if index > 0 && bits.flag()? {
            return None;
        }
        for _ in 0..bits.ue()?.min(16) + bits.ue()?.min(16) {
            bits.ue()?;
            bits.flag()?;
        }
    }
    Some(())
}

fn vui(bits: &mut BitReader<'_>) -> Option<FrameRate> {
    if bits.flag()? && bits.take(8)? == 255 {
        bits.skip(32)?;
    }
    if bits.flag()? {
        bits.flag()?;
    }
    if bits.flag()? {
        bits.skip(4)?;
        if bits.flag()? {
            bits.skip(24)?;
        }
    }
    if bits.flag()? {
        skip_codes(bits, 2)?;
    }
    bits.skip(3)?;
    if bits.flag()? {
        skip_codes(bits, 4)?;
    }
    if !bits.flag()? {
        return None;
    }
    let (tick, scale) = (bits.take(32)?, bits.take(32)?);
    FrameRate::new(u64::from(scale), u64::from(tick))
}
