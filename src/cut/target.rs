//! What a full cut is encoded as: the encoders, their options, and the container that ffmpeg writes.

use crate::ffmpeg::Tools;
use crate::mpegts::pes::TICKS_PER_SECOND;
use crate::mpegts::probe::Video;

use super::encode::rate_option;
use super::plan::ExactType;

/// The filter for the channel layouts that AAC has a `channel_configuration` for (ISO/IEC 14496-3, 1.6.3.4).
pub(super) const AAC_FORMAT: &str = "aformat=channel_layouts=mono|stereo|3.0|4.0|5.0|5.1|7.1";
/// The options of the encoder of AAC.
pub(super) const AAC_OPTIONS: &str = "-c:a aac -b:a 192k";
/// The filter for the sound of previews.
const OPUS_FORMAT: &str = "aformat=sample_rates=48000:channel_layouts=mono|stereo";
/// How far ahead libopus looks: 312 samples, which players leave out.
const OPUS_DELAY: &str = "312/48000";
/// The first ffmpeg whose WebM muxer knows that the time stamps of Opus include that delay. Others shift the pictures by it.
const KNOWS_OPUS_DELAY: u32 = 6;
/// The options of libvpx. Positive values of `cpu-used` make its speed, and so its output, depend on the load of the machine.
const VP8_OPTIONS: &str = "-c:v libvpx -deadline realtime -cpu-used -16 -lag-in-frames 0 -crf 20";
/// The highest bit rate of a preview, for each pixel of its pictures.
const VP8_BITS_PER_PIXEL: u32 = 2;
/// The lowest and the highest bit rate that a preview is limited to.
const VP8_BIT_RATES: (u32, u32) = (500_000, 8_000_000);

/// What ffmpeg makes of all frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// H.264 and AAC in a transport stream, in which the range begins so late unless something would be before zero.
    TransportStream { start_seconds: i64 },
    /// VP8 and Opus in WebM, in which the range begins at zero.
    Webm,
}

impl Target {
    /// What a cut that is encoded as a whole becomes.
    pub(super) fn of(exact_type: ExactType) -> Self {
        match exact_type {
            ExactType::Webm => Self::Webm,
            _ => Self::TransportStream { start_seconds: 0 },
        }
    }

    /// The encoders of pictures and sound.
    pub(super) fn encoders(self) -> [&'static str; 2] {
        match self {
            Self::TransportStream { .. } => ["libx264", "aac"],
            Self::Webm => ["libvpx", "libopus"],
        }
    }

    /// When the range begins in the output.
    pub(super) fn start_90k(self) -> i64 {
        match self {
            Self::TransportStream { start_seconds } => start_seconds * TICKS_PER_SECOND,
            Self::Webm => 0,
        }
    }

    /// The encoder of pictures and its options.
    pub(super) fn video_options(self, video: Option<&Video>) -> String {
        match self {
            Self::TransportStream { .. } => {
                let rate = video.map_or_else(String::new, rate_option);
                format!(
                    "-c:v libx264 -preset veryfast -crf 18 -pix_fmt yuv420p -x264-params {rate}force-cfr=1"
                )
            }
            Self::Webm => {
                let (lowest, highest) = VP8_BIT_RATES;
                let pixels = video.map(|video| video.picture.width.saturating_mul(video.picture.height));
                let bits = pixels.map_or(highest, |pixels| pixels.saturating_mul(VP8_BITS_PER_PIXEL));
                format!("{VP8_OPTIONS} -b:v {} -pix_fmt yuv420p", bits.clamp(lowest, highest))
            }
        }
    }

    /// The filter of a sound whose time stamps begin with the range.
    pub(super) fn sound_filter(self, tools: &Tools) -> String {
        match self {
            Self::TransportStream { .. } => AAC_FORMAT.to_owned(),
            Self::Webm if tools.major_version().is_some_and(|major| major < KNOWS_OPUS_DELAY) => {
                format!("asetpts=PTS+{OPUS_DELAY}/TB,{OPUS_FORMAT}")
            }
            Self::Webm => OPUS_FORMAT.to_owned(),
        }
    }

    /// The encoder of sound, and the container of a cut that lasts so long.
    pub(super) fn output_options(self, duration_90k: i64) -> String {
        match self {
            Self::TransportStream { start_seconds } => format!(
                "{AAC_OPTIONS} -output_ts_offset {start_seconds} -muxdelay 0 -muxpreload 0 -f mpegts pipe:1"
            ),
            // The muxer takes the duration from there if it cannot go back to write it.
            Self::Webm => format!(
                "-c:a libopus -b:a 96k -metadata:s:v DURATION={} -f webm pipe:1",
                clock(duration_90k / (TICKS_PER_SECOND / 1000))
            ),
        }
    }
}

/// A number of milliseconds as `HH:MM:SS.mmm`.
fn clock(millis: i64) -> String {
    let (seconds, millis) = (millis / 1000, millis % 1000);
    format!("{:02}:{:02}:{:02}.{millis:03}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_the_muxer_reads_them() {
        for (millis, text) in [(0, "00:00:00.000"), (61_005, "00:01:01.005"), (86_399_999, "23:59:59.999")] {
            assert_eq!(clock(millis), text);
        }
    }
}
