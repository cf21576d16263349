//! What transitions are encoded as: what the footage next to them is encoded as.

use crate::cut::encode::Format;
use crate::cut::plan::Plan;
use crate::error::{Error, Result};
use crate::mpegts::codec::Codec;
use crate::mpegts::probe::{Program, Stream, Video};
use crate::mpegts::video::PictureFormat;

/// The lowest sampling rate at which MPEG audio has all bit rates.
const FULL_RATE: u32 = 32_000;

/// How a transition is encoded.
#[derive(Debug)]
pub(super) struct Encoding {
    pictures: Pictures,
    sounds: Vec<Sound>,
}

/// How its pictures are encoded.
#[derive(Debug)]
enum Pictures {
    /// In the codec and format of those next to it, with pixels of this format.
    Like(Box<Format>, &'static str),
    /// As MPEG-2, which is only decoded again.
    Mpeg2,
}

/// How one of its sounds is encoded.
#[derive(Debug)]
struct Sound {
    codec: Codec,
    encoder: &'static str,
    bit_rate: &'static str,
    /// Samples a second, and channels, if they are known.
    sample_rate: Option<u32>,
    channels: Option<u8>,
}

impl Encoding {
    /// The encoding of a program's pictures and sounds, of which `from` and `to` are the sides of the transition.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for what ffmpeg cannot encode as it is.
    pub(super) fn of(program: &Program, from: &Plan, to: &Plan) -> Result<Self> {
        let first_video =
            |program: &Program| program.streams.iter().find(|stream| stream.codec.is_video()).cloned();
        let video = first_video(program).ok_or_else(|| refused("there are no pictures to be blended"))?;
        let mut formats = [program, &from.program, &to.program].into_iter().filter_map(first_video);
        let format = formats.find_map(|stream| stream.video);
        let pictures = Pictures::of(video.codec, format)?;
        let sounds = program.streams.iter().filter(|stream| stream.codec.is_audio()).map(|stream| {
            let listed = program.pmt.streams.iter().find(|listed| listed.pid == stream.pid);
            let name = stream.codec.name(listed.map_or(0, |listed| listed.stream_type));
            let why = format!("the sound on PID {:#x} is {name}, which ffmpeg does not encode", stream.pid);
            Sound::of(stream).ok_or_else(|| refused(&why))
        });
        Ok(Self { pictures, sounds: sounds.collect::<Result<_>>()? })
    }

    /// The encoders.
    pub(super) fn encoders(&self) -> impl Iterator<Item = &'static str> {
        let pictures = self.format().map_or("mpeg2video", Format::encoder);
        [pictures].into_iter().chain(self.sounds.iter().map(|sound| sound.encoder))
    }

    /// The codec and format of the pictures, if those of the footage may be copied next to them.
    pub(super) fn format(&self) -> Option<&Format> {
        match &self.pictures {
            Pictures::Like(format, _) => Some(format),
            Pictures::Mpeg2 => None,
        }
    }

    /// The encoder of the pictures and its options.
    pub(super) fn picture_options(&self, reorder: u32) -> String {
        match &self.pictures {
            Pictures::Like(format, pixels) => format!("{} -pix_fmt {pixels}", format.options(reorder)),
            Pictures::Mpeg2 => "-c:v mpeg2video -q:v 2 -bf 0 -strict unofficial -pix_fmt yuv420p".to_owned(),
        }
    }

    /// The output stream of a sound, its encoder and the options of that, and a space.
    pub(super) fn sound_options(&self, index: usize) -> String {
        let Some(Sound { encoder, bit_rate, sample_rate, channels, .. }) = self.sounds.get(index) else {
            return String::new();
        };
        let rate = sample_rate.map_or_else(String::new, |rate| format!("-ar:a:{index} {rate} "));
        let channels = channels.map_or_else(String::new, |channels| format!("-ac:a:{index} {channels} "));
        // Some of the encoders are called experimental.
        format!(
            "-map [a{index}] -c:a:{index} {encoder} -strict:a:{index} experimental -b:a:{index} {bit_rate} {rate}{channels}"
        )
    }

    /// The options of the transport stream, and a space.
    pub(super) fn container_options(&self) -> &'static str {
        let is_latm = self.sounds.iter().any(|sound| sound.codec == Codec::AacLatm);
        if is_latm { "-mpegts_flags latm " } else { "" }
    }
}

impl Pictures {
    fn of(codec: Codec, format: Option<Video>) -> Result<Self> {
        match (codec, format) {
            (Codec::H264 | Codec::Hevc, Some(video)) => {
                let pixels = pixel_format(&video.picture)
                    .ok_or_else(|| refused("the pictures are in a format that is not encoded"))?;
                Ok(Self::Like(Box::new(Format { codec, video }), pixels))
            }
            (Codec::H264 | Codec::Hevc, None) => {
                Err(refused("the pictures have no parameter sets that can be read"))
            }
            (Codec::Mpeg2, _) => Ok(Self::Mpeg2),
            _ => Err(refused("the pictures are of a codec that is not encoded")),
        }
    }
}

impl Sound {
    /// The encoding that continues a sound; `None` if there is none.
    fn of(stream: &Stream) -> Option<Self> {
        let (sample_rate, channels) = stream.audio.map(|audio| (audio.sample_rate, audio.channels)).unzip();
        let channels = channels.filter(|channels| *channels > 0);
        let is_surround = channels.is_some_and(|channels| channels > 2);
        let is_full =
            channels.is_none_or(|channels| channels > 1) && sample_rate.is_none_or(|rate| rate >= FULL_RATE);
        let (encoder, bit_rate) = match (stream.codec, stream.codecs.as_deref()) {
            (Codec::Aac | Codec::AacLatm, _) => ("aac", if is_surround { "448k" } else { "192k" }),
            (Codec::MpegAudio, Some("mp4a.40.34")) => ("libmp3lame", if is_full { "192k" } else { "96k" }),
            (Codec::MpegAudio, _) => ("mp2", if is_full { "192k" } else { "96k" }),
            (Codec::Ac3, Some("ec-3")) => ("eac3", if is_surround { "448k" } else { "224k" }),
            (Codec::Ac3, _) => ("ac3", if is_surround { "448k" } else { "224k" }),
            (Codec::Opus, _) => ("libopus", "192k"),
            (Codec::Dts, _) => ("dca", "1536k"),
            (Codec::S302m, _) => ("s302m", "2304k"),
            _ => return None,
        };
        Some(Self { codec: stream.codec, encoder, bit_rate, sample_rate, channels })
    }
}

/// The refusal of a transition.
pub(super) fn refused(why: &str) -> Error {
    Error::Unsupported(format!("there can be no transition, as {why}: without `transition` it is a hard cut"))
}

/// ffmpeg's name of a format of pixels.
fn pixel_format(picture: &PictureFormat) -> Option<&'static str> {
    match (picture.chroma, picture.depth, picture.chroma_depth) {
        (0, 8, _) => Some("gray"),
        (1, 8, 8) => Some("yuv420p"),
        (2, 8, 8) => Some("yuv422p"),
        (3, 8, 8) => Some("yuv444p"),
        (1, 10, 10) => Some("yuv420p10le"),
        (2, 10, 10) => Some("yuv422p10le"),
        (3, 10, 10) => Some("yuv444p10le"),
        _ => None,
    }
}
