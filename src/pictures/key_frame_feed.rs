//! The key frames of a storyboard as a transport stream for ffmpeg, which is written while ffmpeg reads it: of the segments no
//! more than one is in memory.
//!
//! Each key frame is written once, decodes alone, and serves the tiles of a run. Its PTS says which: see [`pts_90k`].

use std::collections::VecDeque;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::recording::{Recording, read};
use crate::cut::CutSegment;
use crate::error::{Error, Result};
use crate::mpegts::codec::Codec;
use crate::mpegts::key_frames::{KeyFrame, KeyFrames};
use crate::mpegts::pes::{Pes, Ticks};
use crate::mpegts::picture_size::find_too_large;
use crate::mpegts::psi::{ElementaryStream, Pmt};
use crate::mpegts::writer::TsWriter;
use crate::timestamp::{Span, Timestamp};

/// How many steps of PTS a tile has: more than tiles that one key frame can serve, and one for a tile without.
pub(super) const STEPS: u32 = 256;
/// A step, in ticks of 90 kHz: 100 microseconds.
const STEP_90K: i64 = 9;
/// How many segments before that of a tile are searched for its key frame, and for parameter sets.
const MAX_LOOK_BACK: usize = 30;
/// How long before a tile its key frame may be.
pub const MAX_AGE: Span = Span::from_secs(30);
/// Of how many segments it is remembered when their key frames are shown.
const REMEMBERED: usize = MAX_LOOK_BACK + 2;
/// The PID of the PMT, and that of the video.
const PIDS: (u16, u16) = (0x1000, 0x100);
/// `stream_id` of video.
const VIDEO: u8 = 0xE0;

/// A tile: its time, and the segment of that time; `None` in a gap.
pub(super) type Tile = (Timestamp, Option<CutSegment>);

/// Writes the key frames of tiles.
#[derive(Debug)]
pub(super) struct KeyFrameFeed {
    pub(super) recording: Recording,
    pub(super) tiles: Vec<Tile>,
    /// The codec of the first picture.
    pub(super) codec: Codec,
    pub(super) max_segment_bytes: u64,
    /// Set where nobody waits for the picture any more.
    pub(super) stopped: Arc<AtomicBool>,
}

/// The PTS of a key frame that serves the tiles from `first` to `last`.
fn pts_90k(first: usize, last: usize) -> i64 {
    let step = |number: usize| i64::try_from(number).unwrap_or(0);
    (step(first) * i64::from(STEPS) + step(last - first)) * STEP_90K
}

impl KeyFrameFeed {
    /// Writes them to `out`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if there is none, or if one is of another codec or too large to be decoded; [`Error::Io`] if a
    /// segment cannot be read or `out` not be written.
    pub(super) fn run(self, out: &mut dyn Write) -> Result<()> {
        let Self { recording, tiles, codec, max_segment_bytes, stopped } = self;
        let loader = Loader { max_segment_bytes, loaded: None, remembered: VecDeque::new() };
        let mut search = Search { recording, codec, loader, gives_up: false };
        let mut writer = None;
        let mut run: Option<Run> = None;
        for (number, (time, segment)) in tiles.iter().enumerate() {
            if stopped.load(Ordering::Relaxed) {
                return Err(Error::Cancelled);
            }
            let found = segment.as_ref().map(|segment| search.find(segment, *time)).transpose()?.flatten();
            let Some(place) = found else { continue };
            if let Some(run) = run.as_mut().filter(|run| run.place == place && run.last + 1 == number) {
                run.last = number;
                continue;
            }
            let next = search.extract(place)?.map(|(stream, access_unit, place)| Run {
                place,
                first: number,
                last: number,
                stream,
                access_unit,
            });
            if let Some(next) = next
                && let Some(run) = run.replace(next)
            {
                run.write(&mut writer, out)?;
            }
        }
        let nothing =
            || Error::Unsupported("there are no key frames within 30 s before these times".to_owned());
        run.ok_or_else(nothing)?.write(&mut writer, out)
    }
}

/// A key frame for tiles in a row.
struct Run {
    place: Place,
    first: usize,
    last: usize,
    stream: ElementaryStream,
    access_unit: Vec<u8>,
}

impl Run {
    fn write(self, writer: &mut Option<TsWriter>, out: &mut dyn Write) -> Result<()> {
        let Self { place, first, last, stream, access_unit } = self;
        let pmt = Pmt {
            program: 1,
            pcr_pid: PIDS.1,
            descriptors: Vec::new(),
            streams: vec![ElementaryStream { pid: PIDS.1, ..stream }],
        };
        let pts = Ticks::new(pts_90k(first, last));
        let mut packets = Vec::new();
        let writer = writer.get_or_insert_with(|| TsWriter::new(PIDS.0, &pmt));
        let pes = Pes { stream_id: VIDEO, pts, dts: pts, payload: access_unit };
        writer.insert(&pes, PIDS.1, true, &mut packets);
        if let Some((width, height)) = find_too_large(&packets, &pmt) {
            let why = format!("has pictures of {width}x{height}, and those of at most 8192x4320 are decoded");
            return Err(unsupported(&place.segment, &why));
        }
        out.write_all(&packets).map_err(Error::io("write", "ffmpeg's input"))
    }
}

/// Where a key frame is.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    segment: CutSegment,
    /// Its number among the key frames of the segment.
    number: usize,
}

/// Looks for key frames.
struct Search {
    recording: Recording,
    codec: Codec,
    loader: Loader,
    /// Whether a search through segments without a gap has found nothing. No other one is made: each would read as much.
    gives_up: bool,
}

impl Search {
    /// The last key frame at `time` or before, in the segment of that time or those that it continues.
    fn find(&mut self, segment: &CutSegment, time: Timestamp) -> Result<Option<Place>> {
        let mut segment = segment.clone();
        for _ in 0..=MAX_LOOK_BACK {
            let times = self.loader.times(&segment)?;
            if let Some(number) = times.iter().rposition(|key| *key <= time) {
                let is_near = time - times[number] <= MAX_AGE;
                return Ok(is_near.then_some(Place { segment, number }));
            }
            if self.gives_up || time - segment.start > MAX_AGE {
                break;
            }
            let Some(before) = self.recording.before(&segment)? else { return Ok(None) };
            segment = before;
        }
        self.gives_up = true;
        Ok(None)
    }

    /// The key frame, so that it can be decoded alone, and its stream. `None` if parameter sets are missing.
    fn extract(&mut self, place: Place) -> Result<Option<(ElementaryStream, Vec<u8>, Place)>> {
        let parameter_sets = self.parameter_sets(&place)?;
        let Place { segment, number } = &place;
        let Some(loaded) = self.loader.load(segment)? else { return Ok(None) };
        if loaded.codec != self.codec {
            return Err(unsupported(
                segment,
                "has pictures of another codec than the first: ask for a part of the range",
            ));
        }
        let key = loaded.keys.get(*number);
        let alone = key.zip(parameter_sets).map(|(key, sets)| loaded.alone(key, &sets));
        let stream = loaded.stream.clone();
        Ok(alone.map(|alone| (stream, alone, place)))
    }

    /// The parameter sets that a key frame needs beside its own: the last ones before it, in its segment or those that it
    /// continues.
    fn parameter_sets(&mut self, place: &Place) -> Result<Option<Vec<u8>>> {
        let Some(loaded) = self.loader.load(&place.segment)? else { return Ok(None) };
        let key = loaded.keys.get(place.number);
        if key.is_some_and(|key| key.has_parameter_sets) {
            return Ok(Some(Vec::new()));
        }
        let mut sets = loaded.parameter_sets(key);
        let mut segment = place.segment.clone();
        for _ in 0..MAX_LOOK_BACK {
            if !sets.is_empty() {
                return Ok(Some(sets));
            }
            let Some(before) = self.recording.before(&segment)? else { return Ok(None) };
            segment = before;
            sets = self.loader.load(&segment)?.map_or_else(Vec::new, |loaded| loaded.parameter_sets(None));
        }
        Ok(None)
    }
}

/// Reads segments, and keeps the last one.
struct Loader {
    max_segment_bytes: u64,
    /// The last one that was read, and its key frames; `None` if it has no video.
    loaded: Option<(PathBuf, Option<KeyFrames>)>,
    /// When the key frames of the last ones are shown.
    remembered: VecDeque<(PathBuf, Vec<Timestamp>)>,
}

impl Loader {
    /// The key frames of a segment; `None` if it has no video.
    fn load(&mut self, segment: &CutSegment) -> Result<Option<&KeyFrames>> {
        let is_loaded = self.loaded.as_ref().is_some_and(|(path, _)| *path == segment.path);
        if !is_loaded {
            // Its memory is free for the next one.
            self.loaded = None;
            let bytes = read(segment, u64::MAX, self.max_segment_bytes)?;
            self.loaded = Some((segment.path.clone(), KeyFrames::of(&bytes, segment.complete)));
        }
        Ok(self.loaded.as_ref().and_then(|(_, loaded)| loaded.as_ref()))
    }

    /// When the key frames of a segment are shown, in the order they are stored.
    fn times(&mut self, segment: &CutSegment) -> Result<Vec<Timestamp>> {
        if let Some((_, times)) = self.remembered.iter().find(|(path, _)| *path == segment.path) {
            return Ok(times.clone());
        }
        let keys = self.load(segment)?.map_or(&[][..], |loaded| &loaded.keys);
        let times: Vec<_> = keys.iter().map(|key| time(segment, key)).collect();
        if self.remembered.len() == REMEMBERED {
            self.remembered.pop_front();
        }
        self.remembered.push_back((segment.path.clone(), times.clone()));
        Ok(times)
    }
}

/// When a key frame is shown, as cuts have it.
fn time(segment: &CutSegment, key: &KeyFrame) -> Timestamp {
    // A tick is 100/9 microseconds; halves cannot occur.
    segment.start + Span::from_micros((key.after_first_90k * 200 + 9).div_euclid(18))
}

fn unsupported(segment: &CutSegment, why: &str) -> Error {
    let name = segment.path.file_name().unwrap_or_default().to_string_lossy();
    Error::Unsupported(format!("segment `{name}` {why}"))
}
