//! Reads the segments of a range as far as its plan needs: their starts, and those at the ends and next to discontinuities
//! as a whole.

use std::io::Read as _;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::mpegts::codec::Codec;
use crate::mpegts::frame_rate::{self, FrameRate};
use crate::mpegts::pes::{TICKS_PER_SECOND, Ticks};
use crate::mpegts::probe::{self, Program};
use crate::mpegts::repacketize::repacketize;
use crate::mpegts::scan::{Scan, Track, Unit};
use crate::timestamp::Timestamp;

use super::opened::{open, unsupported};
use super::plan::{self, CutSegment, ExactType, Facts, Place, Plan, PlannedSegment, Planner, SegmentList};
use super::program::{Streams, check_format};
use super::samples_cache::SamplesCache;
use super::segments::{FIRST_READ_BYTES, LoadedSegment, check_headers, check_picture_size, check_scrambling};

/// Bytes of a segment that are read at least, once others were read before it.
const MIN_READ_BYTES: u64 = 16 * 1024;
/// Bytes of a segment that are read at most to describe its streams.
const PROBE_BYTES: u64 = 1024 * 1024;
/// The output PTS of the first frame, unless its reorder delay needs more.
pub(super) const FIRST_PTS_90K: i64 = 6 * TICKS_PER_SECOND / 10;

/// Reads as much of a segment as it takes to know its streams and its lowest PTS; `None` if there are no frames.
///
/// `bytes` is what was read of the segment before, and then of this one. Half as much as that took is tried first.
fn read_start(
    exact_type: ExactType,
    segment: CutSegment,
    max_bytes: u64,
    bytes: &mut Vec<u8>,
) -> Result<Option<(Program, Scan, Facts)>> {
    let opened = open(&segment, max_bytes)?;
    let mut reader = opened.reader();
    let mut len = match bytes.len() as u64 {
        0 => FIRST_READ_BYTES,
        before => (before / 2).next_power_of_two().clamp(MIN_READ_BYTES, PROBE_BYTES),
    };
    bytes.clear();
    loop {
        let missing = len - bytes.len() as u64;
        let read = reader.by_ref().take(missing).read_to_end(bytes);
        let at_end = (read.map_err(Error::io("read the segment", &segment.path))? as u64) < missing;
        let program = probe::probe(bytes);
        if at_end || len >= PROBE_BYTES || program.as_ref().is_some_and(is_described) {
            let scan = Scan::of(bytes, false).map(|scan| match repacketize(bytes, &scan, false, &[]) {
                Some(aligned) => aligned.scan,
                None => scan,
            });
            if let Some(scan) = &scan {
                check_scrambling(&segment, scan)?;
                check_headers(&segment, scan)?;
            }
            let track = scan.as_ref().and_then(Scan::reference_track);
            let start = track.and_then(|track| Some((lowest_pts(track, at_end)?, frame_90k(track, None))));
            if at_end || start.is_some() {
                if let Some(program) = program.as_ref().filter(|_| exact_type.decodes()) {
                    check_picture_size(&segment, bytes, &program.pmt)?;
                }
                return Ok(program.zip(scan).zip(start).map(|((program, scan), (lowest_pts, frame_90k))| {
                    let mut videos = program.streams.iter().filter_map(|stream| stream.video.as_ref());
                    let announced_rate = videos.find_map(|video| video.rate);
                    (program, scan, Facts { segment, lowest_pts, frame_90k, announced_rate, frames: None })
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

/// What ranges are planned with.
#[derive(Clone, Copy)]
pub(super) struct Planning<'a> {
    pub(super) exact_type: ExactType,
    pub(super) max_segment_bytes: u64,
    pub(super) samples: Option<&'a SamplesCache>,
    pub(super) is_cancelled: &'a dyn Fn() -> bool,
}

/// Plans a range from what is on disk. Of all segments but three at a time only the plan is in memory, and what `samples`
/// keeps of those that are read as a whole.
///
/// The streams of the range are added to `streams`, those of the ranges before. It begins at `start_90k` in the output if
/// there are any.
pub(super) fn plan(
    Planning { exact_type, max_segment_bytes, samples, is_cancelled }: Planning<'_>,
    list: Arc<dyn SegmentList>,
    trailing: Option<&CutSegment>,
    (start, end): (Timestamp, Timestamp),
    streams: &mut Streams,
    mut start_90k: Option<i64>,
) -> Result<Plan> {
    let mut starts = Starts {
        exact_type,
        range: (start, end),
        max_segment_bytes,
        number: 0,
        streams,
        gap: false,
        bytes: Vec::new(),
    };
    let mut planner = Planner::new(list, (start, end));
    let mut continues_last = false;
    let mut current = starts.next(planner.list(), is_cancelled)?;
    let mut trailing_facts = None;
    while let Some((number, mut facts)) = current {
        let next = starts.next(planner.list(), is_cancelled)?;
        if next.is_none() {
            trailing_facts = trailing.and_then(|trailing| starts.trailing(trailing.clone()));
        }
        let follower = next.as_ref().map(|(_, next)| next).or(trailing_facts.as_ref());
        let follower = follower.filter(|next| next.continues(&facts.segment, facts.lowest_pts));
        let follower = follower.map(|next| &next.segment).filter(|next| facts.segment.is_followed_by(next));
        let continues_in_next = next.is_some() && follower.is_some();
        let is_inside = start <= facts.segment.start && facts.segment.end <= end;
        if !(is_inside && continues_last && continues_in_next) {
            let delay_90k = read_frames(&mut facts, follower, samples, max_segment_bytes)?;
            start_90k.get_or_insert(FIRST_PTS_90K.max(delay_90k + TICKS_PER_SECOND / 10));
        }
        planner.push(number, facts, start_90k.unwrap_or(FIRST_PTS_90K));
        (current, continues_last) = (next, continues_in_next);
    }
    let (segments, end_90k) = planner.finish()?;
    let ((program, found_in), start_90k) =
        starts.streams.found().zip(start_90k).ok_or(Error::RangeIsEmpty)?;
    let trailing = trailing_facts.zip(segments.last());
    let trailing = trailing.and_then(|(trailing, last)| plan::plan_trailing(&last, trailing, end_90k));
    Ok(Plan {
        exact_type,
        place: Place::ALONE,
        segments,
        trailing,
        lead_in: None,
        program,
        found_in,
        start_90k,
        end_90k,
        max_segment_bytes,
    })
}

/// Reads the starts of segments, one after another.
struct Starts<'a> {
    exact_type: ExactType,
    range: (Timestamp, Timestamp),
    max_segment_bytes: u64,
    /// The number of the next segment.
    number: u32,
    /// The streams of those so far, and of the ranges before.
    streams: &'a mut Streams,
    /// Whether a segment was left out before the next one.
    gap: bool,
    bytes: Vec<u8>,
}

impl Starts<'_> {
    /// The next segment's number and what its start tells; `None` after the last one. A segment that is not known to be
    /// complete and has no frames is left out.
    fn next(
        &mut self,
        list: &dyn SegmentList,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Option<(u32, Facts)>> {
        while let Some(mut segment) = list.segment(self.number) {
            if is_cancelled() {
                return Err(Error::Cancelled);
            }
            let number = self.number;
            self.number += 1;
            segment.gap_before |= std::mem::take(&mut self.gap);
            match read_start(self.exact_type, segment.clone(), self.max_segment_bytes, &mut self.bytes)? {
                Some((program, scan, facts)) => {
                    let added = self.streams.add(self.exact_type, self.range, &facts, (program, &scan));
                    added.map_err(|why| unsupported(&segment, &why))?;
                    return Ok(Some((number, facts)));
                }
                None if segment.complete => {
                    return Err(unsupported(&segment, "has no pictures or sound that can be read"));
                }
                None => self.gap = true,
            }
        }
        Ok(None)
    }

    /// What the start of the segment after the last one tells. A cut can do without it: there is none if it cannot be read
    /// or is not complete.
    fn trailing(&self, segment: CutSegment) -> Option<Facts> {
        if !segment.complete {
            return None;
        }
        let start = read_start(self.exact_type, segment, self.max_segment_bytes, &mut Vec::new());
        let (other, _, facts) = start.ok()??;
        check_format(self.exact_type, self.streams.program()?, &other).ok()?;
        Some(facts)
    }
}

/// Adds the frames of a segment at an end of the range or next to a discontinuity; `next` continues it. Returns its reorder
/// delay.
fn read_frames(
    facts: &mut Facts,
    next: Option<&CutSegment>,
    samples: Option<&SamplesCache>,
    max_segment_bytes: u64,
) -> Result<i64> {
    let loaded = LoadedSegment::indexed(samples, &facts.segment, next.cloned(), max_segment_bytes)?;
    let (frames, duration_90k) = loaded.frames()?;
    facts.frames = Some(frames);
    let Some(track) = loaded.reference_track() else { return Ok(0) };
    facts.frame_90k = duration_90k.unwrap_or_else(|| frame_90k(track, facts.announced_rate));
    facts.lowest_pts = track.lowest_pts().unwrap_or(facts.lowest_pts);
    Ok(track.units.iter().map(|unit| unit.pts.since(unit.dts)).max().unwrap_or(0))
}

/// Plans a segment before `next`, and finds its streams; `None` if `next` does not continue it.
pub(super) fn plan_before(
    plan: &Plan,
    next: &PlannedSegment,
    segment: CutSegment,
) -> Result<Option<(PlannedSegment, Program)>> {
    let start = read_start(plan.exact_type, segment, plan.max_segment_bytes, &mut Vec::new())?;
    let Some((program, _, facts)) = start else { return Ok(None) };
    if check_format(ExactType::Full, &plan.program, &program).is_err() {
        return Ok(None);
    }
    Ok(plan::plan_before(next, facts).map(|planned| (planned, program)))
}
