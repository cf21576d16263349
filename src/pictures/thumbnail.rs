//! Thumbnails: a part of a frame below a template, which is a PNG that is transparent where the frame shows.

use std::io::{Cursor, Write};

use png::{BitDepth, ColorType, Compression, Decoder, Encoder, Limits, Transformations};

use super::output::output;
use crate::error::{Error, Result};
use crate::ffmpeg::Tools;

/// The most pixels that a template has, as many as a picture of 4096x2160.
const MAX_PIXELS: u64 = 4096 * 2160;
/// The longest side of a template.
const MAX_SIDE: u32 = 8192;
/// The most memory that the PNG decoder takes beside the picture itself.
const DECODER_BYTES: usize = 64 * 1024 * 1024;
/// The first bytes of a PNG, up to its size: the signature, and the length and name of the chunk `IHDR`.
const HEADER: [u8; 16] = *b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR";

/// A part of a picture, in pixels from its upper left corner. It is not empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rectangle {
    left: u32,
    top: u32,
    right: u32,
    bottom: u32,
}

/// Which part of the frame is shown, and in which part of the template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// The part of the frame.
    pub crop: Rectangle,
    /// The part of the template.
    pub location: Rectangle,
}

/// A picture of 8 bits a sample.
struct Pixels {
    width: u32,
    height: u32,
    /// Red, green, blue and alpha of each pixel, row by row.
    rgba: Vec<u8>,
}

impl Rectangle {
    /// The rectangle with these edges: left, top, right and bottom; the latter two are the first pixels outside. `None` if it is
    /// empty.
    pub fn new([left, top, right, bottom]: [u32; 4]) -> Option<Self> {
        (left < right && top < bottom).then_some(Self { left, top, right, bottom })
    }

    /// Parses the four edges, separated by commas.
    pub fn parse(text: &str) -> Option<Self> {
        let edges: Option<Vec<u32>> = text.split(',').map(|edge| edge.trim().parse().ok()).collect();
        Self::new(edges?.try_into().ok()?)
    }

    /// Its edges: left, top, right, bottom.
    pub fn edges(&self) -> [u32; 4] {
        [self.left, self.top, self.right, self.bottom]
    }

    fn width(&self) -> u32 {
        self.right - self.left
    }

    fn height(&self) -> u32 {
        self.bottom - self.top
    }

    /// Fails if it is not in a picture of that size.
    fn check_inside(&self, name: &str, picture: &str, (width, height): (u32, u32)) -> Result<()> {
        if self.right <= width && self.bottom <= height {
            return Ok(());
        }
        let [left, top, right, bottom] = self.edges();
        Err(Error::BadTemplate(format!(
            "bad {name} `{left},{top},{right},{bottom}`: the {picture} has {width}x{height} pixels"
        )))
    }
}

/// Checks that a template is a PNG that is not too large, without decoding it, and that the frame's place is in it.
///
/// # Errors
/// [`Error::BadTemplate`].
pub fn check_template(template: &[u8], placement: &Placement) -> Result<()> {
    let size = png_size(template).ok_or_else(|| not_a_png("its first bytes are not those of a PNG"))?;
    let (width, height) = size;
    if width.max(height) > MAX_SIDE || u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(Error::BadTemplate(format!(
            "the template has {width}x{height} pixels; as many as 4096x2160 are taken, and {MAX_SIDE} on a side"
        )));
    }
    placement.location.check_inside("location", "template", size)
}

/// The thumbnail as a PNG of the template's size: `crop` of the frame, which is a PNG, scaled into `location` and laid below the
/// template.
///
/// # Errors
/// Those of [`check_template`]; [`Error::BadTemplate`] if the frame has no such part or the template cannot be decoded; those of
/// ffmpeg, which scales.
pub fn thumbnail(
    frame: &[u8],
    template: &[u8],
    placement: &Placement,
    tools: &Tools,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<Vec<u8>> {
    let Placement { crop, location } = placement;
    check_template(template, placement)?;
    let mut result = decode(template).map_err(not_a_png)?;
    let frame = decode(frame).map_err(|why| Error::Child { program: "ffmpeg", why })?;
    crop.check_inside("crop", "frame", (frame.width, frame.height))?;
    let cropped = frame.rgb_of(crop);
    drop(frame);
    let below = scaled(cropped, crop, location, tools, is_cancelled)?;
    result.lay_over(&below, location);
    result.encode().map_err(|error| Error::io("encode", "a thumbnail")(error.into()))
}

/// Width and height in the header of a PNG; `None` if it is none.
fn png_size(bytes: &[u8]) -> Option<(u32, u32)> {
    let rest = bytes.strip_prefix(&HEADER)?;
    let (width, rest) = rest.split_first_chunk()?;
    let (height, _) = rest.split_first_chunk()?;
    let size = (u32::from_be_bytes(*width), u32::from_be_bytes(*height));
    Some(size).filter(|size| size.0 > 0 && size.1 > 0)
}

#[allow(clippy::needless_pass_by_value, reason = "it is an error mapper of strings of both kinds")]
fn not_a_png(why: impl ToString) -> Error {
    Error::BadTemplate(format!("the template must be a PNG: {}", why.to_string()))
}

/// Decodes a PNG, whose size was checked.
fn decode(bytes: &[u8]) -> Result<Pixels, String> {
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), Limits { bytes: DECODER_BYTES });
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    decoder.set_transformations(Transformations::normalize_to_color8() | Transformations::ALPHA);
    let mut reader = decoder.read_info().map_err(|error| error.to_string())?;
    let size = reader.output_buffer_size().ok_or("it is too large")?;
    let mut samples = vec![0; size];
    let info = reader.next_frame(&mut samples).map_err(|error| error.to_string())?;
    samples.truncate(info.buffer_size());
    let rgba = match info.color_type {
        ColorType::Rgba => samples,
        ColorType::GrayscaleAlpha => {
            let (pairs, _) = samples.as_chunks();
            pairs.iter().flat_map(|&[grey, alpha]| [grey, grey, grey, alpha]).collect()
        }
        other => return Err(format!("it was decoded as {other:?}")),
    };
    Ok(Pixels { width: info.width, height: info.height, rgba })
}

/// Scales a picture of the size of `from`, in RGB, to the size of `to`.
fn scaled(
    rgb: Vec<u8>,
    from: &Rectangle,
    to: &Rectangle,
    tools: &Tools,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<Vec<u8>> {
    let ([width, height], [to_width, to_height]) = ([from.width(), from.height()], [to.width(), to.height()]);
    if [width, height] == [to_width, to_height] {
        return Ok(rgb);
    }
    // Planes of red, green and blue are scaled each by itself, without the rounding of another colour space.
    let args = format!(
        "-hide_banner -v error -threads 1 -protocol_whitelist pipe -f rawvideo -pixel_format rgb24 \
         -video_size {width}x{height} -i pipe:0 -vf format=gbrp,scale=w={to_width}:h={to_height}:flags=lanczos+accurate_rnd,format=rgb24 \
         -frames:v 1 -threads {} -f rawvideo pipe:1",
        tools.threads()
    );
    let feed = Box::new(move |stdin: &mut dyn Write| {
        stdin.write_all(&rgb).map_err(Error::io("write", "ffmpeg's input"))
    });
    let scaled = output(tools, &args, feed, is_cancelled)?;
    if scaled.len() as u64 != 3 * u64::from(to_width) * u64::from(to_height) {
        let why = format!("it scaled a picture to {} bytes", scaled.len());
        return Err(Error::Child { program: "ffmpeg", why });
    }
    Ok(scaled)
}

impl Pixels {
    /// A part as red, green and blue.
    fn rgb_of(&self, part: &Rectangle) -> Vec<u8> {
        let (pixels, _) = self.rgba.as_chunks::<4>();
        let rows = pixels.chunks(self.width as usize).take(part.bottom as usize).skip(part.top as usize);
        let of_row = |row: &[[u8; 4]]| row[part.left as usize..part.right as usize].to_vec();
        rows.flat_map(of_row).flat_map(|[red, green, blue, _]| [red, green, blue]).collect()
    }

    /// Lays the picture over another one, `below` in RGB, of which `location` is the place.
    fn lay_over(&mut self, below: &[u8], location: &Rectangle) {
        let (pixels, _) = self.rgba.as_chunks_mut::<4>();
        let rows = pixels.chunks_mut(self.width as usize).take(location.bottom as usize);
        let (below, _) = below.as_chunks::<3>();
        for (row, below) in rows.skip(location.top as usize).zip(below.chunks(location.width() as usize)) {
            for (pixel, below) in row[location.left as usize..].iter_mut().zip(below) {
                let [.., alpha] = *pixel;
                let mixed = |over: u8, below: u8| {
                    let sum = u32::from(over) * u32::from(alpha) + u32::from(below) * u32::from(255 - alpha);
                    u8::try_from((sum + 127) / 255).unwrap_or(255)
                };
                let [red, green, blue, _] = *pixel;
                *pixel = [mixed(red, below[0]), mixed(green, below[1]), mixed(blue, below[2]), 255];
            }
        }
    }

    fn encode(&self) -> Result<Vec<u8>, png::EncodingError> {
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes, self.width, self.height);
        encoder.set_color(ColorType::Rgba);
        encoder.set_depth(BitDepth::Eight);
        encoder.set_compression(Compression::Fast);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.rgba)?;
        writer.finish()?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rectangles_have_four_edges_and_are_not_empty() {
        let rows = [
            ("0,0,1,1", Some([0, 0, 1, 1])),
            (" 10, 20 ,1920,1080", Some([10, 20, 1920, 1080])),
            ("1,0,1,1", None),
            ("0,2,1,1", None),
            ("-1,0,1,1", None),
            ("0,0,1", None),
            ("0,0,1,1,1", None),
            ("0,0,1.5,1", None),
            ("0,0,4294967296,1", None),
            ("", None),
        ];
        for (text, edges) in rows {
            assert_eq!(Rectangle::parse(text).map(|rectangle| rectangle.edges()), edges, "{text}");
        }
    }

    /// A PNG whose pixels count up.
    fn png(width: u32, height: u32, color: ColorType) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes, width, height);
        encoder.set_color(color);
        encoder.set_depth(BitDepth::Eight);
        let samples: Vec<u8> =
            (0..=255).cycle().take(width as usize * height as usize * color.samples()).collect();
        let mut writer = encoder.write_header().expect("a header");
        writer.write_image_data(&samples).expect("pixels");
        drop(writer);
        bytes
    }

    #[test]
    fn templates_are_refused_by_their_headers() {
        let good = png(4, 2, ColorType::Rgba);
        let sized = |width: u32, height: u32| {
            [&HEADER[..], &width.to_be_bytes(), &height.to_be_bytes(), &good[24..]].concat()
        };
        let rows = [
            (good.clone(), [0, 0, 4, 2], None),
            (good.clone(), [0, 0, 5, 2], Some("bad location `0,0,5,2`: the template has 4x2 pixels")),
            (good.clone(), [0, 1, 4, 3], Some("bad location")),
            (Vec::new(), [0, 0, 4, 2], Some("the template must be a PNG")),
            (good[..23].to_vec(), [0, 0, 4, 2], Some("the template must be a PNG")),
            (b"GIF89a".repeat(10), [0, 0, 4, 2], Some("the template must be a PNG")),
            (sized(0, 2), [0, 0, 4, 2], Some("the template must be a PNG")),
            (sized(65_535, 65_535), [0, 0, 4, 2], Some("the template has 65535x65535 pixels")),
            (sized(u32::MAX, 1), [0, 0, 4, 1], Some("the template has 4294967295x1 pixels")),
            (sized(4096, 2161), [0, 0, 4, 2], Some("the template has 4096x2161 pixels")),
            (sized(2160, 4096), [0, 0, 4, 2], None),
        ];
        for (template, location, refusal) in rows {
            let location = Rectangle::new(location).expect("a rectangle");
            let checked = check_template(&template, &Placement { crop: location, location });
            let shown = checked.err().map(|error| error.to_string());
            assert!(
                shown.as_deref().map_or(refusal.is_none(), |shown| shown.starts_with(refusal.unwrap_or("-"))),
                "{shown:?}, not {refusal:?}"
            );
        }
    }

    #[test]
    fn any_kind_of_png_is_decoded_to_colours_and_alpha() {
        let rows = [
            (ColorType::Grayscale, vec![0, 0, 0, 255, 1, 1, 1, 255]),
            (ColorType::GrayscaleAlpha, vec![0, 0, 0, 1, 2, 2, 2, 3]),
            (ColorType::Rgb, vec![0, 1, 2, 255, 3, 4, 5, 255]),
            (ColorType::Rgba, vec![0, 1, 2, 3, 4, 5, 6, 7]),
        ];
        for (color, rgba) in rows {
            assert_eq!(decode(&png(2, 1, color)).map(|pixels| pixels.rgba), Ok(rgba), "{color:?}");
        }
        let whole = png(40, 40, ColorType::Rgba);
        assert!(decode(&whole[..whole.len() / 2]).is_err());
    }

    #[test]
    fn a_template_covers_what_is_below_as_far_as_it_is_opaque() {
        let rgba = [[10, 20, 30, 0], [10, 20, 30, 255], [100, 100, 100, 128], [1, 2, 3, 77]].concat();
        let mut template = Pixels { width: 2, height: 2, rgba };
        let frame = Pixels { width: 3, height: 2, rgba: (0..24).collect() };
        let crop = Rectangle::new([1, 0, 2, 2]).expect("a rectangle");
        let below = frame.rgb_of(&crop);
        assert_eq!(below, [4, 5, 6, 16, 17, 18]);
        template.lay_over(&below, &Rectangle::new([0, 0, 1, 2]).expect("a rectangle"));
        let expected = [[4, 5, 6, 255], [10, 20, 30, 255], [58, 59, 59, 255], [1, 2, 3, 77]].concat();
        assert_eq!(template.rgba, expected);
        let encoded = template.encode().expect("a PNG");
        assert_eq!(decode(&encoded).map(|pixels| pixels.rgba), Ok(expected));
    }
}
