//! Segments on disk: read, scanned, and turned into a plan.

use std::fs::File;
use std::io::{self, Read as _};

use crate::archive::open_regular;
use crate::error::{Error, Result};
use crate::mpegts::audio::Coding;
use crate::mpegts::codec::Codec;
use crate::mpegts::frame_rate::{self, FrameRate};
use crate::mpegts::pes::{Assembler, Pes, TICKS_PER_SECOND, Ticks};
use crate::mpegts::probe::{self, Program};
use crate::mpegts::scan::{Scan, Track, Unit};
use crate::timestamp::{Span, Timestamp};

use super::plan::{self, CutSegment, ExactType, Facts, Plan, PlannedSegment};

/// Bytes of a segment that are read first; they are often enough.
const FIRST_READ_BYTES: u64 = 64 * 1024;
/// Bytes of a segment that are read at most to describe its streams.
const PROBE_BYTES: u64 = 1024 * 1024;
/// The largest segment that is read into memory.
const MAX_SEGMENT_BYTES: u64 = 1024 * 1024 * 1024;
/// By how much names may overlap through rounding alone, so that no frame is there twice.
const ROUNDING: Span = Span::from_millis(4);
/// The output PTS of the first frame, unless its reorder delay needs more.
pub(super) const FIRST_PTS_90K: i64 = 6 * TICKS_PER_SECOND / 10;

/// A segment in memory.
#[derive(Debug)]
pub(super) struct LoadedSegment {
    pub(super) bytes: Vec<u8>,
    pub(super) scan: Scan,
}

impl LoadedSegment {
    /// Reads and scans a segment.
    pub(super) fn load(segment: &CutSegment) -> Result<Self> {
        let mut bytes = Vec::new();
        let file = open(segment)?;
        file.take(MAX_SEGMENT_BYTES)
            .read_to_end(&mut bytes)
            .map_err(Error::io("read the segment", &segment.path))?;
        let scan = Scan::of(&bytes, segment.complete)
            .ok_or_else(|| unsupported(segment, "has no program tables"))?;
        check_packets(segment, &scan)?;
        Ok(Self { bytes, scan })
    }

    /// The track whose frames the cut counts: the first video, else the first sound.
    pub(super) fn reference_track(&self) -> Option<&Track> {
        self.scan.reference_track()
    }

    /// The reference track if it is video.
    pub(super) fn video_track(&self) -> Option<&Track> {
        self.reference_track().filter(|track| track.codec.is_video())
    }

    /// The PTS of all frames of the reference track that a cut can show, sorted, and for sound the duration of a frame.
    fn frames(&self) -> (Vec<Ticks>, Option<i64>) {
        let Some(track) = self.reference_track() else { return (Vec::new(), None) };
        let (mut shown, frame_90k) = if let Some(coding) = track.codec.coding() {
            audio_frames(&self.bytes, track.pid, coding)
        } else {
            let complete = track.units.iter().filter(|unit| unit.complete);
            (complete.map(|unit| unit.pts).collect(), None)
        };
        if let Some(lowest) = track.lowest_pts() {
            shown.sort_unstable_by_key(|pts: &Ticks| pts.since(lowest));
        }
        (shown, frame_90k)
    }
}

/// Refuses a segment whose PES packets cannot be read or rewritten.
fn check_packets(segment: &CutSegment, scan: &Scan) -> Result<()> {
    match scan {
        Scan { scrambled: true, .. } => Err(unsupported(segment, "is encrypted")),
        Scan { split_header: true, .. } => {
            Err(unsupported(segment, "has PES headers that go over two packets"))
        }
        _ => Ok(()),
    }
}

/// Opens a segment if it is a regular file: opening a pipe would block.
fn open(segment: &CutSegment) -> Result<File> {
    match open_regular(&segment.path) {
        Ok(opened) if opened.len > MAX_SEGMENT_BYTES => {
            Err(unsupported(segment, "is larger than a gigabyte"))
        }
        Ok(opened) => Ok(opened.file),
        Err(Error::NotFound(_)) => {
            Err(Error::io("open the segment", &segment.path)(io::ErrorKind::NotFound.into()))
        }
        Err(error) => Err(error),
    }
}

/// A refusal that names the segment, and the type of cut that always works.
pub(super) fn unsupported(segment: &CutSegment, why: &str) -> Error {
    let name = segment.path.file_name().unwrap_or_default().to_string_lossy();
    Error::Unsupported(format!("segment `{name}` {why}; type=rough works with any"))
}

/// The PTS of each frame of an audio stream, and the duration of a frame.
fn audio_frames(bytes: &[u8], pid: u16, coding: Coding) -> (Vec<Ticks>, Option<i64>) {
    let mut timestamps = Vec::new();
    let mut duration_90k = None;
    let mut take = |pes: Pes| {
        for (offset, frame, time_90k) in coding.frames(&pes.payload) {
            if offset + frame.bytes <= pes.payload.len() {
                timestamps.push(pes.pts.plus(time_90k.start));
                duration_90k.get_or_insert(frame.duration_90k());
            }
        }
    };
    let mut assembler = Assembler::default();
    assembler.push(bytes, pid, &mut take);
    assembler.finish().into_iter().for_each(take);
    (timestamps, duration_90k)
}

/// Reads as much of a segment as it takes to know its streams and its lowest PTS; `None` if there are no frames.
///
/// `bytes` is a buffer. As many bytes as the segment before needed are read at once.
fn read_start(segment: CutSegment, bytes: &mut Vec<u8>) -> Result<Option<(Program, Facts)>> {
    let file = open(&segment)?;
    let mut len = (bytes.len() as u64).next_power_of_two().clamp(FIRST_READ_BYTES, PROBE_BYTES);
    bytes.clear();
    loop {
        let missing = len - bytes.len() as u64;
        let read = (&file).take(missing).read_to_end(bytes);
        let at_end = (read.map_err(Error::io("read the segment", &segment.path))? as u64) < missing;
        let program = probe::probe(bytes);
        if at_end || len >= PROBE_BYTES || program.as_ref().is_some_and(is_described) {
            let scan = Scan::of(bytes, false);
            scan.as_ref().map_or(Ok(()), |scan| check_packets(&segment, scan))?;
            let track = scan.as_ref().and_then(Scan::reference_track);
            let start = track.and_then(|track| Some((lowest_pts(track, at_end)?, frame_90k(track, None))));
            if at_end || start.is_some() {
                return Ok(program.zip(start).map(|(program, (lowest_pts, frame_90k))| {
                    let mut videos = program.streams.iter().filter_map(|stream| stream.video.as_ref());
                    let announced_rate = videos.find_map(|video| video.rate);
                    (program, Facts { segment, lowest_pts, frame_90k, announced_rate, frames: None })
                }));
            }
        }
        len *= 2;
    }
}

/// Whether the format of every stream is known, as far as it can be.
fn is_described(program: &Program) -> bool {
    program.streams.iter().all(|stream| match stream.codec {
        Codec::H264 | Codec::Hevc => stream.video.is_some(),
        codec => codec.coding().is_none() || stream.audio.is_some(),
    })
}

/// The lowest PTS, if no unit further on can have a lower one.
fn lowest_pts(track: &Track, at_end: bool) -> Option<Ticks> {
    let lowest = track.lowest_pts()?;
    // Units are stored by DTS, and no PTS is below its DTS. That sound is the reference track is known only at the end.
    let is_later = |unit: &Unit| unit.dts.since(lowest) >= 0;
    let starts_with_idr =
        track.codec == Codec::H264 && track.units.first().is_some_and(|unit| unit.access_unit.idr);
    let is_final = track.codec.is_video() && (starts_with_idr || track.units.iter().skip(1).any(is_later));
    (at_end || is_final).then_some(lowest)
}

/// The usual duration of a frame.
fn frame_90k(track: &Track, announced: Option<FrameRate>) -> i64 {
    let timestamps: Vec<Ticks> = track.units.iter().map(|unit| unit.pts).collect();
    frame_rate::estimate(&timestamps, announced).map_or(TICKS_PER_SECOND / 25, FrameRate::frame_90k)
}

/// Plans a cut from what is on disk.
pub(super) fn plan(
    exact_type: ExactType,
    segments: Vec<CutSegment>,
    trailing: Option<CutSegment>,
    (start, end): (Timestamp, Timestamp),
    is_cancelled: &dyn Fn() -> bool,
) -> Result<Plan> {
    let (program, mut facts) = read_starts(exact_type, segments, is_cancelled)?;
    let delay_90k = read_frames(&mut facts, (start, end), is_cancelled)?;
    let start_90k = FIRST_PTS_90K.max(delay_90k + TICKS_PER_SECOND / 10);
    let (segments, end_90k) = plan::plan(facts, (start, end), start_90k)?;
    let trailing = trailing.zip(segments.last());
    let trailing =
        trailing.and_then(|(trailing, last)| plan_trailing(exact_type, &program, last, trailing, end_90k));
    Ok(Plan { segments, trailing, lead_in: None, program, start_90k, end_90k })
}

/// Reads the starts of all segments: the streams of the first, which the others must have too, and the facts of each. A
/// segment that is not known to be complete and has no frames is left out.
fn read_starts(
    exact_type: ExactType,
    segments: Vec<CutSegment>,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<(Program, Vec<Facts>)> {
    let mut first: Option<Program> = None;
    let mut facts = Vec::with_capacity(segments.len());
    let mut gap = false;
    let mut bytes = Vec::new();
    for mut segment in segments {
        if is_cancelled() {
            return Err(Error::Cancelled);
        }
        segment.gap_before |= std::mem::take(&mut gap);
        match read_start(segment.clone(), &mut bytes)? {
            Some((program, fact)) => {
                if let Some(first) = &first {
                    check_format(exact_type, first, &segment, &program)?;
                }
                facts.push(fact);
                first.get_or_insert(program);
            }
            None if segment.complete => {
                return Err(unsupported(&segment, "has no pictures or sound that can be read"));
            }
            None => gap = true,
        }
    }
    first.map(|program| (program, facts)).ok_or(Error::RangeIsEmpty)
}

/// Adds the frames of the segments at the ends of the range and next to discontinuities. Returns the reorder delay of the
/// first segment.
fn read_frames(
    facts: &mut [Facts],
    (start, end): (Timestamp, Timestamp),
    is_cancelled: &dyn Fn() -> bool,
) -> Result<i64> {
    let continues = |pair: &[Facts]| pair[1].continues(&pair[0].segment, pair[0].lowest_pts);
    let overlaps = |pair: &[Facts]| pair[1].segment.start + ROUNDING < pair[0].segment.end;
    let joins_smoothly: Vec<bool> = facts.windows(2).map(|pair| continues(pair) && !overlaps(pair)).collect();
    let mut delay_90k = 0;
    for (index, fact) in facts.iter_mut().enumerate() {
        let is_inside = start <= fact.segment.start && fact.segment.end <= end;
        let joins = index > 0 && joins_smoothly[index - 1] && joins_smoothly.get(index) == Some(&true);
        if is_inside && joins {
            continue;
        }
        if is_cancelled() {
            return Err(Error::Cancelled);
        }
        let loaded = LoadedSegment::load(&fact.segment)?;
        let (frames, duration_90k) = loaded.frames();
        fact.frames = Some(frames);
        if let Some(track) = loaded.reference_track() {
            fact.frame_90k = duration_90k.unwrap_or_else(|| frame_90k(track, fact.announced_rate));
            fact.lowest_pts = track.lowest_pts().unwrap_or(fact.lowest_pts);
            if index == 0 {
                delay_90k = track.units.iter().map(|unit| unit.pts.since(unit.dts)).max().unwrap_or(0);
            }
        }
    }
    Ok(delay_90k)
}

/// Plans the segment after the last one. A cut can do without it: there is none if it cannot be read, is not complete or
/// does not continue the last one.
fn plan_trailing(
    exact_type: ExactType,
    program: &Program,
    last: &PlannedSegment,
    segment: CutSegment,
    end_90k: i64,
) -> Option<PlannedSegment> {
    let has_video = program.streams.iter().any(|stream| stream.codec.is_video());
    let has_audio = program.streams.iter().any(|stream| stream.codec.is_audio());
    if !(has_video && has_audio && segment.complete) {
        return None;
    }
    let (other, facts) = read_start(segment, &mut Vec::new()).ok()??;
    check_format(exact_type, program, &facts.segment, &other).ok()?;
    plan::plan_trailing(last, facts, end_90k)
}

/// Plans a segment before `next`, and finds its streams; `None` if `next` does not continue it.
pub(super) fn plan_before(
    plan: &Plan,
    next: &PlannedSegment,
    segment: CutSegment,
) -> Result<Option<(PlannedSegment, Program)>> {
    let Some((program, facts)) = read_start(segment, &mut Vec::new())? else { return Ok(None) };
    if check_format(ExactType::Full, &plan.program, &facts.segment, &program).is_err() {
        return Ok(None);
    }
    Ok(plan::plan_before(next, facts).map(|planned| (planned, program)))
}

/// Refuses a segment whose streams cannot continue those of the first one.
fn check_format(exact_type: ExactType, first: &Program, segment: &CutSegment, other: &Program) -> Result<()> {
    let video = |program: &Program| {
        let stream = program.streams.iter().find(|stream| stream.codec.is_video())?;
        let format = stream.video.as_ref().map(|video| {
            let picture = &video.picture;
            (picture.width, picture.height, picture.chroma, picture.depth)
        });
        Some((stream.codec, format))
    };
    let audio = |program: &Program| -> Vec<_> {
        let streams = program.streams.iter().filter(|stream| stream.audio.is_some());
        streams.map(|stream| (stream.codec, stream.audio)).collect()
    };
    let (old, new) = (video(first), video(other));
    if old.map(|old| old.0) != new.map(|new| new.0) {
        return Err(unsupported(segment, "has pictures of another kind than the ones before"));
    }
    let pictures_differ = matches!((&old, &new), (Some((_, Some(old))), Some((_, Some(new)))) if old != new);
    let sound_differs = audio(first).iter().zip(&audio(other)).any(|(old, new)| old != new);
    let what = match exact_type {
        // Without parameter sets a segment continues the one before.
        ExactType::Smart if pictures_differ => "pictures",
        ExactType::Smart if sound_differs => "sound",
        ExactType::Smart | ExactType::Full => return Ok(()),
    };
    let why = format!("has {what} of another format than the ones before; type=full can cut it");
    Err(unsupported(segment, &why))
}
