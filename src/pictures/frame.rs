//! One frame as a picture.

use std::io::Write;

use super::output::output;
use crate::cut::single_frame::EncodedFrame;
use crate::error::{Error, Result};
use crate::ffmpeg::{INPUT_OPTIONS, Tools};
use crate::mpegts::video::PictureFormat;

/// The height of the lowest picture that is taken for high definition. What does not say how its samples stand for colours
/// is by ITU-R BT.709 from there on, as players take it, and by BT.601 below.
const HD_HEIGHT: u32 = 720;
/// `matrix_coefficients` that say nothing (ISO/IEC 23091-2, table 4).
const UNSPECIFIED_MATRIX: u8 = 2;
/// The height of the highest picture that is made, whatever its aspect ratio.
const MAX_HEIGHT: u32 = 8192;

/// The flags of the filter `scale`: without the latter two, pictures are a little too dark.
const SCALER: &str = "bicubic+accurate_rnd+full_chroma_int";

/// What a picture is encoded as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageFormat {
    /// PNG with 8 bits a sample.
    Png,
    /// JPEG as of JFIF: by ITU-R BT.601, in full range.
    Jpeg,
}

impl ImageFormat {
    /// Its media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
        }
    }

    /// The name of ffmpeg's encoder.
    fn encoder(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "mjpeg",
        }
    }

    /// The options of that.
    fn options(self) -> &'static str {
        match self {
            Self::Png => "-c:v png",
            Self::Jpeg => "-c:v mjpeg -q:v 2",
        }
    }

    /// The samples that the encoder gets: what the filter `scale` converts to, and the format.
    fn samples(self) -> (&'static str, &'static str) {
        match self {
            Self::Png => ("", "rgb24"),
            Self::Jpeg => (":out_color_matrix=bt601:out_range=pc", "yuvj420p"),
        }
    }
}

/// Decodes a frame and encodes it as a picture: of its own size, or of this width and, with square pixels, the height that it
/// is displayed with.
///
/// # Errors
/// Those of [`Tools::check_encoder`]; [`Error::Unsupported`] if the frame cannot be decoded or the picture is too large to be
/// held in memory; [`Error::Child`] if ffmpeg fails; [`Error::Cancelled`] once `is_cancelled` returns true.
pub fn frame(
    encoded: EncodedFrame,
    format: ImageFormat,
    width: Option<u32>,
    tools: &Tools,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<Vec<u8>> {
    tools.check_encoder(format.encoder())?;
    let args = arguments(&encoded, format, width, tools);
    let input = encoded.input;
    let feed = Box::new(move |stdin: &mut dyn Write| {
        stdin.write_all(&input).map_err(Error::io("write", "ffmpeg's input"))
    });
    let picture = output(tools, &args, feed, is_cancelled)?;
    if picture.is_empty() {
        return Err(Error::Unsupported(
            "ffmpeg cannot decode the frame; a frame before or behind may work".to_owned(),
        ));
    }
    Ok(picture)
}

fn arguments(encoded: &EncodedFrame, format: ImageFormat, width: Option<u32>, tools: &Tools) -> String {
    let threads = tools.threads();
    let (start, end) = (encoded.pts_90k, encoded.pts_90k + 1);
    let size = width.map_or_else(
        || "w=iw:h=ih".to_owned(),
        // `dar` is that of the display.
        |width| format!("w={width}:h=clip(round({width}/dar)\\,1\\,{MAX_HEIGHT})"),
    );
    let square = if width.is_some() { ",setsar=1" } else { "" };
    let in_matrix = encoded
        .format
        .as_ref()
        .filter(|format| is_unmarked_hd(format))
        .map_or("", |_| ":in_color_matrix=bt709");
    let (samples, pixel_format) = format.samples();
    let options = format.options();
    // ffmpeg's own probe of its input can be short if the parameter sets tell all it needs.
    let has_reorder = encoded.format.as_ref().is_some_and(|format| format.reorder.is_some());
    let probe = if has_reorder { " -analyzeduration 100000 -fpsprobesize 0" } else { "" };
    format!(
        "-hide_banner -v error -threads {threads} -copyts{probe} {INPUT_OPTIONS} -i pipe:0 -map 0:v:0 \
        -vf trim=start_pts={start}:end_pts={end},scale={size}{in_matrix}{samples}:flags={SCALER},format={pixel_format}{square} \
        -frames:v 1 -threads 1 {options} -f image2pipe pipe:1"
    )
}

/// Whether the pictures are of high definition and do not say how their samples stand for colours.
fn is_unmarked_hd(format: &PictureFormat) -> bool {
    let is_marked = format.colour.is_some_and(|colour| colour.matrix != UNSPECIFIED_MATRIX);
    format.height >= HD_HEIGHT && !is_marked
}
