//! H.264 in a byte stream: sequence parameter sets and what kind of picture begins (ITU-T H.264, 7.3, annex E).

use super::frame_rate::FrameRate;
use super::nal::{BitReader, nal_units, unescape};
use super::video::{AccessUnitStart, PictureFormat, size};

/// What a NAL unit of this type is, as far as anyone here asks.
const SLICE: u8 = 1;
const SLICE_IDR: u8 = 5;
const SPS: u8 = 7;
const PPS: u8 = 8;

/// Looks at the start of an access unit, as far as its first slice.
pub fn access_unit_start(bytes: &[u8]) -> AccessUnitStart {
    let mut access = AccessUnitStart::default();
    let (mut sps, mut pps) = (false, false);
    for nal in nal_units(bytes) {
        match nal[0] & 0x1F {
            SPS => sps = true,
            PPS => pps = true,
            kind @ SLICE..=SLICE_IDR => {
                access =
                    AccessUnitStart { idr: kind == SLICE_IDR, parameter_sets: sps && pps, picture: true };
                break;
            }
            _ => {}
        }
    }
    access
}

/// Finds the first sequence parameter set in a byte stream and describes the pictures it announces.
pub fn picture(bytes: &[u8]) -> Option<PictureFormat> {
    nal_units(bytes).filter(|nal| nal[0] & 0x1F == SPS).find_map(parse_sps)
}

/// Whether a profile's parameter sets tell the chroma format (7.3.2.1.1).
fn is_high(profile: u8) -> bool {
    matches!(profile, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135)
}

fn parse_sps(nal: &[u8]) -> Option<PictureFormat> {
    let plain = unescape(nal);
    let [_, profile, constraints, level, ..] = plain[..] else { return None };
    let mut bits = BitReader::new(&plain[4..]);
    bits.ue()?;
    let (mut chroma, mut depth) = (1, 8);
    if is_high(profile) {
        chroma = bits.ue()?;
        if chroma == 3 {
            bits.flag()?;
        }
        depth = bits.ue()?.checked_add(8)?;
        bits.ue()?;
        bits.flag()?;
        if bits.flag()? {
            skip_scaling_lists(&mut bits, if chroma == 3 { 12 } else { 8 })?;
        }
    }
    bits.ue()?;
    skip_order_count(&mut bits)?;
    bits.ue()?;
    bits.flag()?;
    let (columns, rows) = (bits.ue()?.checked_add(1)?, bits.ue()?.checked_add(1)?);
    let progressive = bits.flag()?;
    if !progressive {
        bits.flag()?;
    }
    bits.flag()?;
    let crop = if bits.flag()? { [bits.ue()?, bits.ue()?, bits.ue()?, bits.ue()?] } else { [0; 4] };
    let (unit_x, unit_y) = (if matches!(chroma, 1 | 2) { 2 } else { 1 }, if chroma == 1 { 2 } else { 1 });
    let fields = if progressive { 1 } else { 2 };
    let (rate, reorder) = if bits.flag()? { vui(&mut bits).unwrap_or_default() } else { (None, None) };
    Some(PictureFormat {
        codecs: format!("avc1.{profile:02X}{constraints:02X}{level:02X}"),
        profile,
        level,
        width: size(columns, 16, crop[0], crop[1], unit_x)?,
        height: size(rows, 16 * fields, crop[2], crop[3], unit_y * fields)?,
        chroma: u8::try_from(chroma).ok().filter(|chroma| *chroma <= 3)?,
        depth: u8::try_from(depth).ok().filter(|depth| *depth <= 14)?,
        interlaced: !progressive,
        rate,
        reorder,
    })
}

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

fn skip_order_count(bits: &mut BitReader<'_>) -> Option<()> {
    match bits.ue()? {
        0 => {
            bits.ue()?;
        }
        1 => {
            bits.flag()?;
            bits.se()?;
            bits.se()?;
            for _ in 0..bits.ue()?.min(255) {
                bits.se()?;
            }
        }
        _ => {}
    }
    Some(())
}

/// The frame rate of the VUI, where two ticks make a frame, and the most frames that are reordered (E.2.1).
fn vui(bits: &mut BitReader<'_>) -> Option<(Option<FrameRate>, Option<u32>)> {
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
        bits.ue()?;
        bits.ue()?;
    }
    let mut rate = None;
    if bits.flag()? {
        let (tick, scale) = (bits.take(32)?, bits.take(32)?);
        rate = FrameRate::new(u64::from(scale), u64::from(tick) * 2);
        bits.flag()?;
    }
    Some((rate, reorder(bits)))
}

/// The number of reordered frames, behind the buffer models and the first limits.
fn reorder(bits: &mut BitReader<'_>) -> Option<u32> {
    let models = [skip_model(bits)?, skip_model(bits)?];
    if models.contains(&true) {
        bits.flag()?;
    }
    bits.flag()?;
    if !bits.flag()? {
        return None;
    }
    bits.flag()?;
    for _ in 0..4 {
        bits.ue()?;
    }
    bits.ue()
}

/// Passes over a buffer model (E.1.2); says whether there is one.
fn skip_model(bits: &mut BitReader<'_>) -> Option<bool> {
    if !bits.flag()? {
        return Some(false);
    }
    let count = bits.ue()?.min(31) + 1;
    bits.skip(8)?;
    for _ in 0..count {
        bits.ue()?;
        bits.ue()?;
        bits.flag()?;
    }
    bits.skip(20)?;
    Some(true)
}
