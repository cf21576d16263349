//! Waveforms: how loud a range is, as columns of a picture or as numbers.

use std::sync::Arc;

use crate::cut::{CutSegment, SegmentList};
use crate::error::{Error, Result};
use crate::ffmpeg::Tools;
use crate::timestamp::{Span, Timestamp};

use super::bins::Bins;
use super::decode_sound::{Run, decode};
use super::levels::{LevelsCache, Place, STEP, SegmentLevels};
use super::sound::{Found, Sound, read};

/// The sound of the segments of a range.
#[derive(Debug)]
pub struct Waveform {
    /// The segments without gaps between them.
    runs: Vec<ContinuousRun>,
}

/// Segments without gaps between them.
#[derive(Debug)]
struct ContinuousRun {
    start: Timestamp,
    end: Timestamp,
    /// The start of each segment, and its levels.
    segments: Vec<(Timestamp, Arc<SegmentLevels>)>,
}

/// What waveforms need beside the segments.
pub struct Decoder<'a> {
    /// Returns the programs. Called only if something has to be decoded.
    pub tools: &'a dyn Fn() -> Arc<Tools>,
    /// Levels that are known.
    pub cache: &'a LevelsCache,
    /// Whether the waveform is no longer needed; called several times a second.
    pub is_cancelled: &'a dyn Fn() -> bool,
    /// Called with seconds of sound that were decoded.
    pub on_decoded: &'a dyn Fn(f64),
}

impl Waveform {
    /// The waveform of segments. `before` is the one that the first continues, if there is one. Segments whose levels are not
    /// cached are decoded, as many in one run of ffmpeg as follow each other in one format.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if no segment has sound, or none that can be decoded; [`Error::Io`] if one cannot be read; those
    /// of [`Tools::ffmpeg`]; [`Error::Cancelled`].
    pub fn of(
        list: &Arc<dyn SegmentList>,
        before: Option<&CutSegment>,
        decoder: &Decoder<'_>,
    ) -> Result<Self> {
        let mut levels: Vec<Option<Arc<SegmentLevels>>> =
            (0..list.count()).map(|number| find(&**list, before, number, decoder.cache)).collect();
        let mut number = 0;
        while let Some(missing) = position_of(&levels, number, Option::is_none) {
            number = decode_from(list, before, missing, decoder, &mut levels)?;
        }
        let levels: Vec<_> = levels.into_iter().map(Option::unwrap_or_default).collect();
        if !levels.iter().any(|levels| levels.has_sound) {
            let why = "this variant has no sound in the requested time range";
            return Err(Error::Unsupported(why.to_owned()));
        }
        if levels.iter().all(|levels| levels.levels.is_empty()) {
            let why = "ffmpeg can decode none of the sound in the requested time range";
            return Err(Error::Unsupported(why.to_owned()));
        }
        Ok(Self { runs: runs(&**list, levels) })
    }

    /// The picture: black columns on a transparent ground. A column is as high as the square root of the mean level of its
    /// share of the segments, which follow each other without the gaps between them.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be compressed.
    pub fn png(&self, (width, height): (u32, u32)) -> Result<Vec<u8>> {
        let total: i64 = self.runs.iter().map(|run| (run.end - run.start).micros()).sum();
        let mut columns = Bins::new(total, width);
        let mut offset = 0;
        for run in &self.runs {
            run.add_to(&mut columns, run.start - Span::from_micros(offset));
            offset += (run.end - run.start).micros();
        }
        columns.png(height).map_err(|error| Error::io("compress", "a waveform")(error.into()))
    }

    /// The levels as JSON: `points` equal steps of the range, `null` where nothing is known.
    pub fn json(&self, (start, end): (Timestamp, Timestamp), points: u32) -> String {
        let mut steps = Bins::new((end - start).micros(), points);
        for run in &self.runs {
            run.add_to(&mut steps, start);
        }
        let (peak, mean) = steps.json();
        format!("{{\"start\":\"{start}\",\"end\":\"{end}\",\"peak\":[{peak}],\"mean\":[{mean}]}}\n")
    }
}

/// The cached levels of segment `number`.
fn find(
    list: &dyn SegmentList,
    before: Option<&CutSegment>,
    number: u32,
    cache: &LevelsCache,
) -> Option<Arc<SegmentLevels>> {
    with_place(list, before, number, |place| cache.find(place)).flatten()
}

/// Calls `f` with the files of segment `number` and of its neighbours.
fn with_place<T>(
    list: &dyn SegmentList,
    before: Option<&CutSegment>,
    number: u32,
    f: impl FnOnce(&Place<'_>) -> T,
) -> Option<T> {
    let segment = list.segment(number)?;
    let before = preceding(list, before, number, &segment);
    let next = list.segment(number + 1).filter(|next| !next.gap_before);
    let path = |segment: &'_ Option<CutSegment>| segment.as_ref().map(|segment| segment.path.clone());
    let (before, next) = (path(&before), path(&next));
    Some(f(&Place { path: &segment.path, before: before.as_deref(), next: next.as_deref() }))
}

/// The segment that `segment`, which is `number`, continues.
fn preceding(
    list: &dyn SegmentList,
    before: Option<&CutSegment>,
    number: u32,
    segment: &CutSegment,
) -> Option<CutSegment> {
    let preceding = number.checked_sub(1).map_or_else(|| before.cloned(), |number| list.segment(number));
    preceding.filter(|_| !segment.gap_before)
}

fn position_of<T>(values: &[T], from: u32, is_searched: impl Fn(&T) -> bool) -> Option<u32> {
    let index = values.iter().skip(from as usize).position(is_searched)?;
    u32::try_from(index).ok().map(|index| from + index)
}

/// Decodes segment `number` and those behind it that are not known either; returns the number behind the last one.
fn decode_from(
    list: &Arc<dyn SegmentList>,
    before: Option<&CutSegment>,
    number: u32,
    decoder: &Decoder<'_>,
    levels: &mut [Option<Arc<SegmentLevels>>],
) -> Result<u32> {
    if (decoder.is_cancelled)() {
        return Err(Error::Cancelled);
    }
    let Some(segment) = list.segment(number) else { return Ok(number + 1) };
    let tools = (decoder.tools)();
    let max_bytes = tools.max_segment_bytes();
    let end = position_of(levels, number, Option::is_some).unwrap_or(list.count());
    let mut undecodable = None;
    let mut each = |number: u32, found: SegmentLevels| {
        if found.has_sound && found.levels.is_empty() {
            undecodable = undecodable.or(Some(number));
        }
        let found = Arc::new(found);
        with_place(&**list, before, number, |place| decoder.cache.insert(place, &found));
        if let Some(levels) = levels.get_mut(number as usize) {
            *levels = Some(found);
        }
    };
    let next = list.segment(number + 1).filter(|next| !next.gap_before);
    let next = match read(&segment, next.as_ref(), max_bytes)? {
        Found::Sound(sound) => {
            let before = with_sound(preceding(&**list, before, number, &segment), &segment, max_bytes)?;
            let run = Run { list, first: number, sound, before, end };
            let (next, seconds) = decode(run, &tools, decoder.is_cancelled, &mut each)?;
            (decoder.on_decoded)(seconds);
            next
        }
        found => {
            each(number, SegmentLevels::none(found.is_listed()));
            number + 1
        }
    };
    if let Some(segment) = undecodable.and_then(|number| list.segment(number)) {
        let path = segment.path.display();
        log::warn!("waveforms lack sound that cannot be decoded, of `{path}` and perhaps of later segments");
    }
    Ok(next)
}

/// The segment that `segment` continues, with its sound.
fn with_sound(
    preceding: Option<CutSegment>,
    segment: &CutSegment,
    max_bytes: u64,
) -> Result<Option<(CutSegment, Box<Sound>)>> {
    let Some(preceding) = preceding else { return Ok(None) };
    match read(&preceding, Some(segment), max_bytes)? {
        Found::Sound(sound) => Ok(Some((preceding, sound))),
        Found::Nothing | Found::Unusable => Ok(None),
    }
}

/// The runs of segments, with their levels.
fn runs(list: &dyn SegmentList, levels: Vec<Arc<SegmentLevels>>) -> Vec<ContinuousRun> {
    let mut runs: Vec<ContinuousRun> = Vec::new();
    for (number, levels) in (0..).zip(levels) {
        let Some(CutSegment { start, end, gap_before, .. }) = list.segment(number) else { break };
        if let Some(run) = runs.last_mut().filter(|_| !gap_before) {
            run.end = end;
            run.segments.push((start, levels));
            continue;
        }
        // A segment that is not complete may claim to last until later.
        if let Some(run) = runs.last_mut() {
            run.end = run.end.min(start);
        }
        runs.push(ContinuousRun { start, end, segments: vec![(start, levels)] });
    }
    runs
}

impl ContinuousRun {
    /// Adds the levels within the run to bins, the first of which begins at `origin`.
    fn add_to(&self, bins: &mut Bins, origin: Timestamp) {
        let run = (self.start - origin).micros()..(self.end - origin).micros();
        for (start, levels) in &self.segments {
            let first = (*start - origin).micros() + levels.first_step * STEP.micros();
            for (index, level) in (0..).zip(&levels.levels) {
                let start = first + index * STEP.micros();
                let end = (start + STEP.micros()).min(run.end);
                bins.add(start.max(run.start)..end, *level);
            }
        }
    }
}
