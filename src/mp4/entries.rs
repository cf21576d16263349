//! Sample descriptions (`stsd`; ISO/IEC 14496-12, 8.5.2): what a decoder has to know before the first sample.

mod audio;
mod text;
mod video;

use super::boxes::{BoxWriter, saturating_u32};
use super::tracks::{TrackInfo, TrackKind};
use crate::mpegts::samples::SampleFormat;

pub use text::text_sample;

/// Writes the sample descriptions of a track. Text is shown in an area of that width and height.
pub(super) fn write_sample_descriptions(out: &mut BoxWriter, track: &TrackInfo, text_area: (u32, u32)) {
    out.full_box(*b"stsd", 0, 0, |out| {
        if track.kind == TrackKind::Text {
            out.u32(1);
            text::write_tx3g(out, text_area);
        } else {
            out.u32(saturating_u32(track.formats.len()));
            track.formats.iter().for_each(|format| write_entry(out, format));
        }
    });
}

fn write_entry(out: &mut BoxWriter, format: &SampleFormat) {
    match format {
        SampleFormat::Video(video) => video::write_entry(out, video),
        sound => audio::write_entry(out, sound),
    }
}
