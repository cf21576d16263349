//! Parts as they are on disk: read, scanned, and told as facts for the plan.

use std::fs::File;
use std::io::{self, Read};

use crate::archive::open_regular;
use crate::error::{Error, Result};
use crate::mpegts::audio::Coding;
use crate::mpegts::codec::Codec;
use crate::mpegts::frame_rate::{self, FrameRate};
use crate::mpegts::pes::{Assembler, Pes, TICKS_PER_SECOND, Ticks};
use crate::mpegts::probe::{self, Program};
use crate::mpegts::scan::{Scan, Track};
use crate::timestamp::{Span, Timestamp};

use super::plan::{self, Facts, Plan, Planned};
use super::{Kind, Part};

/// Bytes of a segment that are read first, and that may be all that is needed.
const HEAD: u64 = 64 * 1024;
/// Bytes of a segment that are looked at to describe its streams.
const LOOK: u64 = 1024 * 1024;
/// The largest segment that is taken into memory.
const MAX_SEGMENT: u64 = 1024 * 1024 * 1024;
/// Names may overlap by this much for rounding alone, so that no frame is there twice.
const ROUNDING: Span = Span::from_millis(4);
/// Where the first frame goes in the output, unless its reorder delay needs more.
const FIRST_FRAME_AT: i64 = 6 * TICKS_PER_SECOND / 10;

/// A segment in memory.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) bytes: Vec<u8>,
    pub(super) scan: Scan,
}

/// Reads and scans a segment.
pub(super) fn load(part: &Part) -> Result<Loaded> {
    let mut bytes = Vec::new();
    open(part)?
        .take(MAX_SEGMENT + 1)
        .read_to_end(&mut bytes)
        .map_err(Error::io("read the segment", &part.path))?;
    if bytes.len() as u64 > MAX_SEGMENT {
        return Err(unsupported(part, "is larger than a gigabyte"));
    }
    let scan = Scan::of(&bytes, part.whole).ok_or_else(|| unsupported(part, "has no program tables"))?;
    if scan.scrambled {
        return Err(unsupported(part, "is encrypted"));
    }
    if scan.split_header {
        return Err(unsupported(part, "has PES headers that go over two packets"));
    }
    Ok(Loaded { bytes, scan })
}

/// Opens a segment, and nothing else that may stand under its name: a pipe would keep whoever opens it waiting.
fn open(part: &Part) -> Result<File> {
    match open_regular(&part.path) {
        Ok(opened) if opened.len > MAX_SEGMENT => Err(unsupported(part, "is larger than a gigabyte")),
        Ok(opened) => Ok(opened.file),
        Err(Error::NotFound { .. }) => {
            Err(Error::io("open the segment", &part.path)(io::ErrorKind::NotFound.into()))
        }
        Err(error) => Err(error),
    }
}

/// A refusal that names the segment, and what works whatever the segments hold.
pub(super) fn unsupported(part: &Part, why: &str) -> Error {
    let name = part.path.file_name().unwrap_or_default().to_string_lossy();
    Error::Unsupported { why: format!("segment `{name}` {why}; type=rough works with any") }
}

/// The start of a segment, described.
struct Head {
    program: Program,
    lowest: Option<Ticks>,
    frame_90k: i64,
}

/// Reads as much of a segment as it takes to know its streams and its lowest time stamp. It begins with as much as the
/// segment before took, which `bytes` still has, and leaves what it read there.
fn head(part: &Part, bytes: &mut Vec<u8>) -> Result<Option<Head>> {
    let mut file = open(part)?;
    let mut wanted = (bytes.len() as u64).next_power_of_two().clamp(HEAD, LOOK);
    bytes.clear();
    loop {
        let at_end = !fill(&mut file, bytes, wanted).map_err(Error::io("read the segment", &part.path))?;
        let program = probe::probe(bytes);
        if at_end || wanted >= LOOK || program.as_ref().is_some_and(described) {
            let scan = Scan::of(bytes, false);
            let lowest = scan.as_ref().and_then(|scan| settled(scan, at_end));
            if at_end || lowest.is_some() {
                let frame_90k =
                    scan.as_ref().and_then(Scan::reference_track).map_or(0, |track| frame_90k(track, None));
                return Ok(program.map(|program| Head { program, lowest, frame_90k }));
            }
        }
        if wanted >= MAX_SEGMENT {
            return Ok(None);
        }
        wanted *= 2;
    }
}

/// Reads on until there are `wanted` bytes; whether there are.
fn fill(file: &mut File, bytes: &mut Vec<u8>, wanted: u64) -> io::Result<bool> {
    let mut filled = bytes.len();
    bytes.resize(usize::try_from(wanted).unwrap_or(usize::MAX), 0);
    while filled < bytes.len() {
        match file.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let whole = filled == bytes.len();
    bytes.truncate(filled);
    Ok(whole)
}

/// Whether the format of every stream of picture and sound is told that can be told.
fn described(program: &Program) -> bool {
    program.streams.iter().all(|stream| match stream.codec {
        Codec::H264 | Codec::Hevc => stream.video.is_some(),
        codec => codec.coding().is_none() || stream.audio.is_some(),
    })
}

/// The lowest time stamp, if no later unit can have a lower one.
fn settled(scan: &Scan, at_end: bool) -> Option<Ticks> {
    let track = scan.reference_track()?;
    let lowest = track.lowest_pts()?;
    // A frame is decoded before it is shown, and frames are stored as they are decoded. Sound may turn out to be all
    // there is only at the end.
    let later = |unit: &&crate::mpegts::scan::Unit| unit.dts.since(lowest) >= 0;
    let video = track.codec.is_video();
    let first_is_first =
        video && track.units.first().is_some_and(|unit| unit.access_unit.idr && track.codec == Codec::H264);
    (at_end || first_is_first || video && track.units.iter().skip(1).any(|unit| later(&unit)))
        .then_some(lowest)
}

/// The usual length of a frame.
fn frame_90k(track: &Track, announced: Option<FrameRate>) -> i64 {
    let stamps: Vec<Ticks> = track.units.iter().map(|unit| unit.pts).collect();
    frame_rate::estimate(&stamps, announced).map_or(TICKS_PER_SECOND / 25, FrameRate::frame_90k)
}

/// Whether each unit can be decoded: with a break before, what comes before the first parameter sets cannot.
pub(super) fn decodable(track: &Track, joined: bool) -> usize {
    if joined || !matches!(track.codec, Codec::H264 | Codec::Hevc) {
        return 0;
    }
    track.units.iter().position(|unit| unit.access_unit.parameter_sets).unwrap_or(0)
}

/// All that a cut may show of a segment: the time stamps of its pictures, or of its sound's frames.
fn frames(loaded: &Loaded, joined: bool) -> (Vec<Ticks>, Option<i64>) {
    let Some(track) = loaded.scan.reference_track() else { return (Vec::new(), None) };
    let (mut stamps, frame_90k) = if let Some(coding) = track.codec.coding() {
        sound_frames(&loaded.bytes, track.pid, coding)
    } else {
        let units = track.units.iter().skip(decodable(track, joined)).filter(|unit| unit.complete);
        (units.map(|unit| unit.pts).collect(), None)
    };
    if let Some(lowest) = track.lowest_pts() {
        stamps.sort_unstable_by_key(|pts: &Ticks| pts.since(lowest));
    }
    (stamps, frame_90k)
}

/// The time stamp of each frame of a sound, and the length of one.
fn sound_frames(bytes: &[u8], pid: u16, coding: Coding) -> (Vec<Ticks>, Option<i64>) {
    let mut stamps = Vec::new();
    let mut length = None;
    let mut take = |pes: Pes| {
        let Some((mut at, _)) = coding.find(&pes.payload) else { return };
        let mut samples = 0;
        while let Some(frame) = pes.payload.get(at..).and_then(|rest| coding.frame(rest)) {
            at += frame.bytes;
            if at > pes.payload.len() {
                return;
            }
            let rate = i64::from(frame.sample_rate.max(1));
            stamps.push(pes.pts.plus((samples * TICKS_PER_SECOND + rate / 2) / rate));
            samples += i64::from(frame.samples);
            length.get_or_insert(frame.duration_90k());
        }
    };
    let mut assembler = Assembler::default();
    assembler.push(bytes, pid, &mut take);
    assembler.finish().into_iter().for_each(take);
    (stamps, length)
}

/// A part whose start was read, and what is to be known of it. There may be very many.
struct Opened {
    part: Part,
    lowest: Ticks,
    frame_90k: i64,
    /// The frame rate that its pictures announce.
    announced: Option<FrameRate>,
}

impl Opened {
    fn new(part: Part, head: &Head, lowest: Ticks) -> Self {
        let announced = head.program.streams.iter().find_map(|stream| stream.video.as_ref()?.rate);
        Self { part, lowest, frame_90k: head.frame_90k, announced }
    }
}

/// Plans a cut from what is on disk.
pub(super) fn plan(
    kind: Kind,
    parts: Vec<Part>,
    tail: Option<Part>,
    (start, end): (Timestamp, Timestamp),
    is_cancelled: &dyn Fn() -> bool,
) -> Result<Plan> {
    let (program, parts) = with_heads(kind, parts, is_cancelled)?;
    let announced: Vec<_> = parts.iter().map(|part| part.announced).collect();
    let mut facts: Vec<Facts> = parts
        .into_iter()
        .map(|Opened { part, lowest, frame_90k, .. }| Facts { part, lowest, frame_90k, frames: None })
        .collect();
    let joins: Vec<bool> =
        (0..facts.len()).map(|index| index > 0 && facts[index].joins(&facts[index - 1])).collect();
    let overlaps = |index: usize| facts[index].part.start + ROUNDING < facts[index - 1].part.end;
    let broken: Vec<bool> = (0..=facts.len())
        .map(|index| index == 0 || index == facts.len() || !joins[index] || overlaps(index))
        .collect();
    let mut delay_90k = 0;
    let mut lead_90k = 0;
    for (index, fact) in facts.iter_mut().enumerate() {
        let inside = start <= fact.part.start && fact.part.end <= end;
        if inside && !broken[index] && !broken[index + 1] {
            continue;
        }
        if is_cancelled() {
            return Err(Error::Cancelled);
        }
        let loaded = load(&fact.part)?;
        let (stamps, length) = frames(&loaded, joins[index]);
        fact.frames = Some(stamps);
        if let Some(track) = loaded.scan.reference_track() {
            fact.frame_90k = length.unwrap_or_else(|| frame_90k(track, announced[index]));
            fact.lowest = track.lowest_pts().unwrap_or(fact.lowest);
            if index == 0 {
                delay_90k = track.units.iter().map(|unit| unit.pts.since(unit.dts)).max().unwrap_or(0);
                lead_90k = loaded.scan.pcr_lead_90k;
            }
        }
    }
    let at = FIRST_FRAME_AT.max(delay_90k + TICKS_PER_SECOND / 10);
    let (parts, end) = plan::plan(facts, start, end, at)?;
    let tail = tail.zip(parts.last()).and_then(|(tail, last)| plan_tail(kind, &program, last, tail, end));
    Ok(Plan { parts, tail, program, start: at, end, lead_90k })
}

/// The plan of the segment behind the last part. A cut can do without it: where it cannot be read, is not complete or
/// does not go on from the last part, there is none.
fn plan_tail(kind: Kind, program: &Program, last: &Planned, tail: Part, end: i64) -> Option<Planned> {
    let has_pictures = program.streams.iter().any(|stream| stream.codec.is_video());
    let has_sound = program.streams.iter().any(|stream| stream.codec.is_audio());
    if !(has_pictures && has_sound && tail.whole) {
        return None;
    }
    let head = head(&tail, &mut Vec::new()).ok()??;
    check_format(kind, program, &tail, &head.program).ok()?;
    plan::tail(last, tail, head.lowest?, end)
}

/// Reads the starts of all parts: the streams of the first, which all of them have, and what there is to know of each. A
/// part that is not known to be complete, and has nothing that could be shown, is left out.
fn with_heads(
    kind: Kind,
    parts: Vec<Part>,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<(Program, Vec<Opened>)> {
    let mut first: Option<Program> = None;
    let mut read = Vec::with_capacity(parts.len());
    let mut hole = false;
    let mut bytes = Vec::new();
    for mut part in parts {
        if is_cancelled() {
            return Err(Error::Cancelled);
        }
        part.hole_before |= std::mem::take(&mut hole);
        match head(&part, &mut bytes)?.and_then(|head| head.lowest.map(|lowest| (head, lowest))) {
            Some((head, lowest)) => {
                if let Some(first) = &first {
                    check_format(kind, first, &part, &head.program)?;
                }
                read.push(Opened::new(part, &head, lowest));
                first.get_or_insert(head.program);
            }
            None if part.whole => {
                return Err(unsupported(&part, "has no pictures or sound that can be read"));
            }
            None => hole = true,
        }
    }
    first.map(|program| (program, read)).ok_or(Error::RangeIsEmpty)
}

/// Refuses a part whose streams cannot go on where those of the first part end.
fn check_format(kind: Kind, first: &Program, part: &Part, other: &Program) -> Result<()> {
    let picture = |program: &Program| {
        let stream = program.streams.iter().find(|stream| stream.codec.is_video())?;
        let size = stream.video.as_ref().map(|video| {
            let picture = &video.picture;
            (picture.width, picture.height, picture.chroma, picture.depth)
        });
        Some((stream.codec, size))
    };
    let sounds = |program: &Program| -> Vec<_> {
        let streams = program.streams.iter().filter(|stream| stream.audio.is_some());
        streams.map(|stream| (stream.codec, stream.audio)).collect()
    };
    let (old, new) = (picture(first), picture(other));
    if old.map(|old| old.0) != new.map(|new| new.0) {
        return Err(unsupported(part, "has pictures of another kind than the ones before"));
    }
    if kind == Kind::Full {
        return Ok(());
    }
    if old != new {
        return Err(unsupported(
            part,
            "has pictures of another format than the ones before; type=full can cut it",
        ));
    }
    let (old, new) = (sounds(first), sounds(other));
    if old.iter().zip(&new).any(|(old, new)| old != new) {
        return Err(unsupported(
            part,
            "has sound of another format than the ones before; type=full can cut it",
        ));
    }
    Ok(())
}
