//! Timed text (`tx3g`; 3GPP TS 26.245).

use crate::mp4::boxes::BoxWriter;

/// The bytes of a sample of a text track. A text of more than 65,535 bytes is cut off.
pub fn text_sample(text: &str) -> Vec<u8> {
    let end = (0..=text.len().min(0xFFFF)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    let shown = &text[..end];
    let length = u16::try_from(shown.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes(), shown.as_bytes()].concat()
}

/// Writes a sample entry for white text on a dark area of that width and height, in its middle (5.16).
pub(super) fn write_tx3g(out: &mut BoxWriter, (width, height): (u32, u32)) {
    /// Players show it also where viewers have not asked for subtitles, as Apple's do with forced ones.
    const ALL_SAMPLES_ARE_FORCED: u32 = 0xC000_0000;
    const CENTERED: u8 = 1;
    const WHITE: u32 = 0xFFFF_FFFF;
    const DARK: u32 = 0x0000_0080;
    const FONT: u16 = 1;
    let side = |pixels: u32| u16::try_from(pixels).unwrap_or(u16::MAX);
    let font_size = u8::try_from(height / 2).unwrap_or(u8::MAX).max(12);
    out.sample_entry(*b"tx3g", |out| {
        out.u32(ALL_SAMPLES_ARE_FORCED);
        out.bytes(&[CENTERED; 2]);
        out.u32(DARK);
        out.u16s([0, 0, side(height), side(width)]);
        // The style: of no characters in particular, which makes it the default.
        out.u16s([0, 0, FONT]);
        out.bytes(&[0, font_size]);
        out.u32(WHITE);
        out.boxed(*b"ftab", |out| {
            out.u16(1);
            out.u16(FONT);
            out.u8(10); // the length of the name
            out.bytes(b"Sans-Serif");
        });
    });
}
