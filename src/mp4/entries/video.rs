//! Sample entries of video: `avc1` and `hvc1` (ISO/IEC 14496-15).

use crate::mp4::boxes::BoxWriter;
use crate::mpegts::codec::Codec;
use crate::mpegts::nal::unescape;
use crate::mpegts::samples::VideoFormat;
use crate::mpegts::video::{Colour, PictureFormat};

/// Writes the sample entry of a format of video.
pub(super) fn write_entry(out: &mut BoxWriter, format: &VideoFormat) {
    let is_hevc = format.codec == Codec::Hevc;
    out.sample_entry(if is_hevc { *b"hvc1" } else { *b"avc1" }, |out| {
        write_visual(out, &format.picture);
        if is_hevc {
            out.boxed(*b"hvcC", |out| write_hevc_config(out, format));
        } else {
            out.boxed(*b"avcC", |out| write_avc_config(out, format));
        }
        if let Some((x, y)) = format.picture.sample_aspect_ratio {
            out.boxed(*b"pasp", |out| out.u32s([x, y]));
        }
        if let Some(colour) = format.picture.colour {
            out.boxed(*b"colr", |out| write_colour(out, colour));
        }
    });
}

/// Writes the fields of a `VisualSampleEntry` (ISO/IEC 14496-12, 12.1.3).
fn write_visual(out: &mut BoxWriter, picture: &PictureFormat) {
    const DOTS_PER_INCH: u32 = 72 << 16;
    out.zeros(16);
    out.u16s([picture.width, picture.height].map(|side| u16::try_from(side).unwrap_or(u16::MAX)));
    out.u32s([DOTS_PER_INCH; 2]);
    out.zeros(4);
    out.u16(1); // frame_count
    out.zeros(32); // compressorname
    out.u16(0x18); // depth
    out.u16(0xFFFF);
}

fn write_colour(out: &mut BoxWriter, colour: Colour) {
    out.bytes(b"nclx");
    out.u16s([colour.primaries, colour.transfer, colour.matrix].map(u16::from));
    out.u8(if colour.full_range { 0x80 } else { 0 });
}

/// The parameter sets of a kind that the configuration can hold: at most `count`, each of at most 65,535 bytes. Those that
/// it cannot hold are still in the samples.
fn parameter_sets(format: &VideoFormat, count: usize, is_kind: impl Fn(u8) -> bool) -> Vec<&[u8]> {
    let sets = format.parameter_sets.iter().map(Vec::as_slice);
    let fitting = sets.filter(|set| !set.is_empty() && is_kind(set[0]) && u16::try_from(set.len()).is_ok());
    fitting.take(count).collect()
}

/// Writes parameter sets, each behind its length.
fn write_sets(out: &mut BoxWriter, sets: &[&[u8]]) {
    for set in sets {
        out.u16(u16::try_from(set.len()).unwrap_or(u16::MAX));
        out.bytes(set);
    }
}

/// The lengths of NAL units have four bytes (`lengthSizeMinusOne`).
const LENGTH_SIZE_MINUS_1: u8 = 3;

/// Writes an `AVCDecoderConfigurationRecord` (5.3.3.1).
fn write_avc_config(out: &mut BoxWriter, format: &VideoFormat) {
    const SPS: u8 = 7;
    const PPS: u8 = 8;
    let picture = &format.picture;
    let sps = parameter_sets(format, 31, |first| first & 0x1F == SPS);
    let pps = parameter_sets(format, 255, |first| first & 0x1F == PPS);
    out.u8(1); // configurationVersion
    // Profile, compatibility and level.
    out.bytes(sps.first().and_then(|sps| sps.get(1..4)).unwrap_or(&[0; 3]));
    out.u8(0xFC | LENGTH_SIZE_MINUS_1);
    out.u8(0xE0 | u8::try_from(sps.len()).unwrap_or(0));
    write_sets(out, &sps);
    out.u8(u8::try_from(pps.len()).unwrap_or(0));
    write_sets(out, &pps);
    // Baseline, Main and Extended profile have no other chroma formats and depths.
    if !matches!(picture.profile, 66 | 77 | 88) {
        out.u8(0xFC | picture.chroma);
        out.u8(0xF8 | (picture.depth - 8) & 7);
        out.u8(0xF8 | (picture.chroma_depth - 8) & 7);
        out.u8(0); // extensions of sequence parameter sets
    }
}

/// Writes an `HEVCDecoderConfigurationRecord` (8.3.3.1).
fn write_hevc_config(out: &mut BoxWriter, format: &VideoFormat) {
    const VPS: u8 = 32;
    const SPS: u8 = 33;
    const PPS: u8 = 34;
    let picture = &format.picture;
    let sets = [VPS, SPS, PPS].map(|kind| {
        let is_kind = |first: u8| first >> 1 & 0x3F == kind;
        (kind, parameter_sets(format, 0xFFFF, is_kind))
    });
    // The SPS begins with a header of two bytes, and then the numbers that the record repeats.
    let sps = sets[1].1.first().map(|sps| unescape(sps)).unwrap_or_default();
    let layers = sps.get(2).copied().unwrap_or(0);
    out.u8(1); // configurationVersion
    out.bytes(sps.get(3..15).unwrap_or(&[0; 12])); // profile, compatibility, constraints, level
    out.u16(0xF000); // min_spatial_segmentation_idc
    out.u8(0xFC); // parallelismType
    out.u8(0xFC | picture.chroma);
    out.u8(0xF8 | (picture.depth - 8) & 7);
    out.u8(0xF8 | (picture.chroma_depth - 8) & 7);
    out.u16(0); // avgFrameRate
    let (max_sub_layers_minus1, is_nested) = (layers >> 1 & 7, layers & 1);
    out.u8((max_sub_layers_minus1 + 1) << 3 | is_nested << 2 | LENGTH_SIZE_MINUS_1);
    let present = || sets.iter().filter(|(_, sets)| !sets.is_empty());
    out.u8(u8::try_from(present().count()).unwrap_or(0));
    for (kind, sets) in present() {
        // array_completeness is 0: there are parameter sets in the samples too.
        out.u8(*kind);
        out.u16(u16::try_from(sets.len()).unwrap_or(u16::MAX));
        write_sets(out, sets);
    }
}
