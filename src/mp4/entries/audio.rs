//! Sample entries of sound: `mp4a` (ISO/IEC 14496-14), `ac-3` and `ec-3` (ETSI TS 102 366, annex F).

use crate::mp4::boxes::BoxWriter;
use crate::mpegts::samples::SampleFormat;

/// Object types of the MP4 registration authority.
mod object_type {
    pub(super) const AAC: u8 = 0x40;
    /// MPEG-2 audio, which has half the sampling rates of MPEG-1 audio.
    pub(super) const MPEG_2_AUDIO: u8 = 0x69;
    pub(super) const MPEG_1_AUDIO: u8 = 0x6B;
}

/// The lowest sampling rate of MPEG-1 audio.
const MPEG_1_MIN_RATE: u32 = 32_000;

/// Writes the sample entry of a format of sound; nothing for video.
pub(super) fn write_entry(out: &mut BoxWriter, format: &SampleFormat) {
    match format {
        SampleFormat::Aac { config, sample_rate, channels } => {
            write_audio(out, *b"mp4a", *sample_rate, *channels, |out| {
                write_esds(out, object_type::AAC, Some(config));
            });
        }
        SampleFormat::Mp3 { sample_rate, channels } => {
            let is_mpeg_1 = *sample_rate >= MPEG_1_MIN_RATE;
            let object = if is_mpeg_1 { object_type::MPEG_1_AUDIO } else { object_type::MPEG_2_AUDIO };
            write_audio(out, *b"mp4a", *sample_rate, *channels, |out| write_esds(out, object, None));
        }
        SampleFormat::Ac3 { config, sample_rate, channels } => {
            write_audio(out, *b"ac-3", *sample_rate, *channels, |out| {
                out.boxed(*b"dac3", |out| out.bytes(config));
            });
        }
        SampleFormat::Eac3 { config, sample_rate, channels } => {
            write_audio(out, *b"ec-3", *sample_rate, *channels, |out| {
                out.boxed(*b"dec3", |out| out.bytes(config));
            });
        }
        SampleFormat::Video(_) => {}
    }
}

/// Writes an `AudioSampleEntry` (ISO/IEC 14496-12, 12.2.3).
fn write_audio(
    out: &mut BoxWriter,
    name: [u8; 4],
    sample_rate: u32,
    channels: u8,
    config: impl FnOnce(&mut BoxWriter),
) {
    out.sample_entry(name, |out| {
        out.zeros(8);
        out.u16(channels.into());
        out.u16(16); // samplesize
        out.zeros(4);
        // A rate that has more than 16 bits is only in the timescale and in the configuration.
        out.u16(u16::try_from(sample_rate).unwrap_or(0));
        out.u16(0);
        config(out);
    });
}

/// Writes the elementary stream descriptor (ISO/IEC 14496-1, 7.2.6.5).
fn write_esds(out: &mut BoxWriter, object_type: u8, config: Option<&[u8]>) {
    const ES: u8 = 3;
    const DECODER_CONFIG: u8 = 4;
    const DECODER_SPECIFIC_INFO: u8 = 5;
    const SL_CONFIG: u8 = 6;
    /// `streamType` 5, `upStream` 0, and a reserved bit.
    const AUDIO_STREAM: u8 = 5 << 2 | 1;
    let specific = config.map(|config| descriptor(DECODER_SPECIFIC_INFO, config)).unwrap_or_default();
    // The size of the decoder's buffer and the bit rates are not known.
    let decoder = [&[object_type, AUDIO_STREAM][..], &[0; 11], &specific].concat();
    // In MP4 files ES_ID is 0 and `predefined` is 2.
    let stream = [&[0; 3], &descriptor(DECODER_CONFIG, &decoder)[..], &descriptor(SL_CONFIG, &[2])].concat();
    out.full_box(*b"esds", 0, 0, |out| out.bytes(&descriptor(ES, &stream)));
}

/// A descriptor: its tag, and its length in four bytes of seven bits.
fn descriptor(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = |shift: u32| u8::try_from(body.len() >> shift & 0x7F).unwrap_or(0);
    let header = [tag, length(21) | 0x80, length(14) | 0x80, length(7) | 0x80, length(0)];
    [&header, body].concat()
}
