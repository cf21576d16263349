//! Storyboards: key frames of a range at even distances, as tiles of one picture.
//!
//! One ffmpeg decodes them all and lays them out. A picture's PTS says which tiles it serves. Among the pictures lie empty ones,
//! one behind each tile's place, of which those stay that no picture has come for: where nothing was recorded, and where a
//! picture cannot be decoded.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use super::key_frame_feed::MAX_AGE;
use super::key_frame_feed::{KeyFrameFeed, STEPS, Tile};
use super::output::output;
use super::recording::{Recording, read};
use crate::cut::CutSegment;
use crate::cut::single_frame::refusal;
use crate::error::{Error, Result};
use crate::ffmpeg::{INPUT_OPTIONS, Tools};
use crate::mpegts::codec::Codec;
use crate::mpegts::key_frames::KeyFrames;
use crate::timestamp::Timestamp;

/// The largest number of tiles.
pub const MAX_TILES: u32 = 200;
/// Tiles in a row.
const COLUMNS: u32 = 10;
/// Pixels of the largest sheet, which ffmpeg holds in memory with 1.5 to 3 bytes each.
const MAX_PIXELS: u64 = 40_000_000;
/// The longest side that JPEG has.
const MAX_SIDE: u32 = 65_500;
/// How long ffmpeg may take for each tile, beside what it may take for any work: its output comes at the end.
const TILE_LIMIT: Duration = Duration::from_secs(1);
/// Bytes of a segment that are read first for the size of its pictures, and how many times that is doubled.
const FIRST_READ_BYTES: u64 = 64 * 1024;
/// How many segments are read for the size of their pictures.
const MAX_SIZE_SEGMENTS: usize = 31;
/// The colour of empty tiles: dark grey.
const EMPTY: &str = "0x202020";

/// The tiles of a storyboard, and how large they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sheet {
    /// How many tiles.
    pub count: u32,
    /// The width of a tile in pixels.
    pub width: u32,
    /// The height of a tile in pixels.
    pub height: u32,
}

impl Sheet {
    /// A sheet for tiles of about that width, with pictures that have this size on the screen. The sides of tiles are even, as
    /// chroma has half as many samples.
    ///
    /// # Errors
    /// [`Error::SheetTooLarge`].
    pub fn new(count: u32, width: u32, (display_width, display_height): (u32, u32)) -> Result<Self> {
        let sheet_of = |width: u32| {
            let exact = u64::from(width) * u64::from(display_height) / u64::from(display_width).max(1);
            let height = u32::try_from(exact.div_ceil(2) * 2).unwrap_or(u32::MAX).max(2);
            Self { count, width, height }
        };
        let sheet = sheet_of(width.next_multiple_of(2));
        if sheet.fits() {
            return Ok(sheet);
        }
        let largest = (16..width).rev().find(|width| sheet_of(width.next_multiple_of(2)).fits());
        Err(Error::SheetTooLarge { count, width, largest })
    }

    fn fits(self) -> bool {
        let (width, height) =
            (self.width.saturating_mul(self.columns()), self.height.saturating_mul(self.rows()));
        u64::from(width) * u64::from(height) <= MAX_PIXELS && width.max(height) <= MAX_SIDE
    }

    /// How many tiles a row has.
    fn columns(self) -> u32 {
        self.count.min(COLUMNS)
    }

    fn rows(self) -> u32 {
        self.count.div_ceil(COLUMNS)
    }

    /// Where the left upper corner of a tile is, in pixels.
    pub fn corner(self, number: u32) -> (u32, u32) {
        (number % COLUMNS * self.width, number / COLUMNS * self.height)
    }
}

/// A storyboard that can be made.
#[derive(Debug)]
pub struct Storyboard {
    recording: Recording,
    tiles: Vec<Tile>,
    codec: Codec,
    /// Its tiles and their size.
    pub sheet: Sheet,
}

/// The times of the tiles of a range, in order: the first is its start.
pub fn tile_times((start, end): (Timestamp, Timestamp), count: u32) -> impl Iterator<Item = Timestamp> {
    let length = i128::from(end.micros()) - i128::from(start.micros());
    (0..count).filter_map(move |number| {
        let after = length * i128::from(number) / i128::from(count);
        Some(Timestamp::from_micros(i64::try_from(i128::from(start.micros()) + after).ok()?))
    })
}

impl Storyboard {
    /// Finds the segments of the tiles, and the size of these. The height of tiles of `width` follows from the first picture.
    ///
    /// # Errors
    /// [`Error::RangeIsEmpty`] if nothing was recorded at the times of all tiles; [`Error::Unsupported`] if no segment
    /// has pictures that can be decoded; [`Error::SheetTooLarge`]; [`Error::Io`] if the archive cannot be read.
    pub fn prepare(
        recording: Recording,
        range: (Timestamp, Timestamp),
        count: u32,
        width: u32,
        max_segment_bytes: u64,
    ) -> Result<Self> {
        let tile = |time: Timestamp| Ok((time, recording.at(time)?));
        let tiles = tile_times(range, count).map(tile).collect::<Result<Vec<Tile>>>()?;
        let (codec, size) = picture_size(&recording, &tiles, max_segment_bytes)?;
        let sheet = Sheet::new(count, width, size)?;
        Ok(Self { recording, tiles, codec, sheet })
    }

    /// The numbers of the tiles at whose times something was recorded.
    pub fn recorded(&self) -> impl Iterator<Item = u32> {
        let recorded = (0..).zip(&self.tiles).filter(|(_, (_, segment))| segment.is_some());
        recorded.map(|(number, _)| number)
    }

    /// Makes the picture, as JPEG.
    ///
    /// # Errors
    /// Those of [`Tools::check_encoder`]; [`Error::Unsupported`] if there are no key frames, they cannot be decoded, or the codec
    /// changes; [`Error::Io`] if a segment cannot be read, [`Error::Child`] if ffmpeg fails, [`Error::Cancelled`] once
    /// `is_cancelled` returns true.
    pub fn jpeg(self, tools: &Tools, is_cancelled: &dyn Fn() -> bool) -> Result<Vec<u8>> {
        tools.check_encoder("mjpeg")?;
        let stopped = Arc::new(AtomicBool::new(false));
        let _stop = StopOnDrop(Arc::clone(&stopped));
        let args = arguments(self.sheet, tools);
        let tools = tools.clone().with_stall_limit(tools.stall_limit() + TILE_LIMIT * self.sheet.count);
        let Self { recording, tiles, codec, .. } = self;
        let max_segment_bytes = tools.max_segment_bytes();
        let feed = KeyFrameFeed { recording, tiles, codec, max_segment_bytes, stopped };
        let picture = output(&tools, &args, Box::new(move |stdin| feed.run(stdin)), is_cancelled);
        let picture = picture.map_err(refusal)?;
        if picture.is_empty() {
            return Err(Error::Unsupported("ffmpeg cannot decode any of the key frames".to_owned()));
        }
        Ok(picture)
    }
}

/// Tells the feed of ffmpeg that it is not needed any more.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The codec of the first picture of tiles, and its size on the screen in square pixels. Where the first segment does not tell
/// that, one that it continues may, or else that of another tile.
fn picture_size(
    recording: &Recording,
    tiles: &[Tile],
    max_segment_bytes: u64,
) -> Result<(Codec, (u32, u32))> {
    let mut segments = tiles.iter().filter_map(|(_, segment)| segment.clone());
    let first = segments.next().ok_or(Error::RangeIsEmpty)?;
    let mut before = Some(first.clone());
    for _ in 0..MAX_SIZE_SEGMENTS {
        let Some(segment) = before else { break };
        if let Some(found) = size_in_segment(&segment, max_segment_bytes)? {
            return Ok(found);
        }
        before = recording.before(&segment)?;
    }
    for segment in segments {
        if let Some(found) = size_in_segment(&segment, max_segment_bytes)? {
            return Ok(found);
        }
    }
    let name = first.path.file_name().unwrap_or_default().to_string_lossy();
    Err(Error::Unsupported(format!("segment `{name}` has no pictures that can be decoded")))
}

/// The same of one segment; `None` if it does not tell.
fn size_in_segment(segment: &CutSegment, max_segment_bytes: u64) -> Result<Option<(Codec, (u32, u32))>> {
    let mut len = FIRST_READ_BYTES;
    loop {
        let bytes = read(segment, len, max_segment_bytes)?;
        let is_all = (bytes.len() as u64) < len;
        let found = KeyFrames::of(&bytes, false);
        if let Some(found) = &found
            && !matches!(found.codec, Codec::H264 | Codec::Hevc | Codec::Mpeg2)
        {
            let codec = found.codec.name(found.stream.stream_type);
            let why = format!("pictures are made from H.264, H.265 and MPEG-2, and this one is {codec}");
            return Err(Error::Unsupported(why));
        }
        match found.and_then(|found| Some((found.codec, found.display_size()?))) {
            None if !is_all => len *= 4,
            found => return Ok(found),
        }
    }
}

fn arguments(sheet: Sheet, tools: &Tools) -> String {
    let Sheet { count, width, height } = sheet;
    let (threads, columns, rows) = (tools.threads(), sheet.columns(), sheet.rows());
    // Time stamps are in microseconds from here on, as the filter `interleave` has them. A tile is STEPS steps of 100; the
    // empty picture is at the last of them, and a picture at the one whose number is how many more tiles it serves.
    let tile_us = STEPS * 100;
    let empty = STEPS - 1;
    let step = |pts: &str| format!("mod({pts}/100\\,{STEPS})");
    let number = |pts: &str| format!("floor({pts}/{tile_us})");
    let last = "prev_selected_pts";
    let select = format!(
        "if(eq({own_step}\\,{empty})\\,isnan({last})+eq({last_step}\\,{empty})+gt({own}-{before}\\,{last_step})\\,\
        isnan({last})+gt(pts\\,{last}))",
        own_step = step("pts"),
        last_step = step(last),
        own = number("pts"),
        before = number(last),
    );
    let format = "format=yuvj420p,setsar=1,settb=1/1000000";
    let graph = format!(
        "[0:v:0]scale=w={width}:h={height}:out_color_matrix=bt601:out_range=pc,{format}[pictures];\
        color=c={EMPTY}:s={width}x{height}:r=1:d={frames},{format},setpts=N*{tile_us}+{empty_us}[empty];\
        [pictures][empty]interleave,select={select},setpts=floor(PTS/{tile_us})*1000000,fps=1:start_time=0,\
        tile={columns}x{rows}:nb_frames={count}:color={EMPTY}",
        frames = count + 1,
        empty_us = empty * 100,
    );
    // The graph takes pictures of any size, so it need not be made anew where the size changes.
    format!(
        "-hide_banner -v error -threads {threads} -copyts -analyzeduration 100000 -fpsprobesize 0 -reinit_filter 0 \
        {INPUT_OPTIONS} -i pipe:0 -filter_complex {graph} -frames:v 1 -threads 1 -c:v mjpeg -q:v 3 \
        -f image2pipe pipe:1"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sheets_have_rows_of_ten_and_a_bound() {
        let rows = [
            ((100, 160, (1280, 720)), Some((160, 90))),
            ((1, 17, (16, 9)), Some((18, 10))),
            ((200, 16, (65_536, 1)), Some((16, 2))),
            ((200, 594, (16, 9)), Some((594, 334))),
            ((200, 596, (16, 9)), None),
            ((200, 3840, (1920, 1080)), None),
            ((200, 64, (9, 1000)), None),
        ];
        for ((count, width, size), expected) in rows {
            let found = Sheet::new(count, width, size);
            let tile = found.as_ref().ok().map(|sheet| (sheet.width, sheet.height));
            assert_eq!(tile, expected, "{count} of {width}: {found:?}");
        }
        let sheet = Sheet::new(25, 160, (16, 9)).expect("a sheet");
        assert_eq!((sheet.columns(), sheet.rows()), (10, 3));
        assert_eq!(
            [0, 9, 10, 24].map(|number| sheet.corner(number)),
            [(0, 0), (1440, 0), (0, 90), (640, 180)]
        );
        assert!(matches!(
            Sheet::new(200, 3840, (16, 9)),
            Err(Error::SheetTooLarge { largest: Some(594), .. })
        ));
    }

    #[test]
    fn tiles_begin_with_the_start_and_end_before_the_end() {
        let at = Timestamp::from_micros;
        let times: Vec<_> = tile_times((at(1000), at(2000)), 3).map(Timestamp::micros).collect();
        assert_eq!(times, [1000, 1333, 1666]);
    }
}
