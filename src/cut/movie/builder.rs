//! Builds a movie: takes the frames of a cut segment by segment, and keeps what the tables need.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::mp4::movie::{self, MovieInfo};
use crate::mp4::tracks::Track;
use crate::mpegts::psi::ElementaryStream;
use crate::mpegts::retime::{Action, Edit};
use crate::mpegts::samples::{Sample, SampleFormat, TrackSamples, video_format, write_access_unit};

use super::encoded::EncodedPictures;
use super::flat::Movie;
use super::holdable::{changes, not_holdable};
use super::part::{Chunk, Parts, Record, Source, Special, Taken, all_chunks, interleave, part_start};
use super::text::WallClock;
use super::track::{MovieTrack, NewSample};
use crate::cut::mux::{EditedSegment, Mux, NextFrame, Output};
use crate::cut::plan::{ExactType, Plan, PlannedSegment};
use crate::cut::samples_cache::{IndexedSegment, SamplesCache};

/// How much memory the sample descriptions of a track may take: those of thousands of usual formats.
const MAX_FORMAT_BYTES: usize = 1024 * 1024;

/// A movie that is being built. It is a container without output: the samples are read again when they are sent.
pub(super) struct MovieBuilder<'a> {
    /// The plans of the cut's ranges.
    plans: &'a [Plan],
    /// The one that is being written.
    plan: &'a Plan,
    /// The ranges of the output that are shown, so far.
    shown_90k: Vec<Range<i64>>,
    /// The tracks of the plans' streams, once they have a sample.
    tracks: Vec<Option<MovieTrack>>,
    /// Which of them have samples of the range that is being written.
    has_begun: Vec<bool>,
    wall_clock: Option<WallClock>,
    /// When the first picture behind the range would be shown, if there is one.
    behind_90k: Option<i64>,
    encoded: EncodedPictures,
    records: Vec<Record>,
    special: BTreeMap<usize, Special>,
    texts: BTreeMap<usize, Vec<u8>>,
    part_ends: Vec<u64>,
    len: u64,
}

/// The samples that a part has of one track.
struct PartTrack {
    /// The index of the stream in the program.
    stream: usize,
    /// The index of the track in the segment.
    source: usize,
    taken: Vec<Taken>,
    added: Vec<(NewSample, u32)>,
}

impl<'a> MovieBuilder<'a> {
    /// A movie of these plans, of which `plan` is the first.
    pub(super) fn new(plan: &'a Plan, plans: &'a [Plan], timecode: bool) -> Self {
        Self {
            plans,
            plan,
            shown_90k: Vec::new(),
            tracks: plan.program.streams.iter().map(|_| None).collect(),
            has_begun: vec![false; plan.program.streams.len()],
            wall_clock: timecode.then(WallClock::default),
            behind_90k: None,
            encoded: EncodedPictures::default(),
            records: Vec::new(),
            special: BTreeMap::new(),
            texts: BTreeMap::new(),
            part_ends: Vec::new(),
            len: 0,
        }
    }

    /// The samples that an edit keeps of track `source` of a segment, for stream `stream` of the program.
    fn take(
        &mut self,
        edit: &Edit,
        (stream, source): (usize, usize),
        IndexedSegment { scan, index, .. }: &IndexedSegment,
        next_frame: NextFrame<'_>,
    ) -> Result<PartTrack> {
        let samples = &index.tracks[source];
        let mut part = PartTrack { stream, source, taken: Vec::new(), added: Vec::new() };
        let start_90k = edit.clock.to_output_90k(part_start(scan));
        let earlier_90k = if samples.codec.is_video() { self.plan.place.earlier_90k } else { 0 };
        for (index, sample) in (0..).zip(&samples.samples) {
            let (pts_90k, dts_90k) =
                (edit.clock.to_output_90k(sample.pts), edit.clock.to_output_90k(sample.dts));
            let unit = usize::try_from(sample.unit).unwrap_or(usize::MAX);
            let (source, index, new, format) = match edit.actions.get(unit).or(edit.actions.last()) {
                Some(Action::Trim) if !edit.keep_90k.contains(&pts_90k) => continue,
                Some(Action::Copy | Action::Trim) if sample.complete => {
                    let Sample { size, samples: count, mut sync, .. } = *sample;
                    // Players find where to begin by these. Footage with a gradual refresh has no others.
                    let begins_range = part.taken.is_empty() && !self.has_begun[stream];
                    sync |= begins_range && self.plan.exact_type == ExactType::Copy;
                    let dts_90k = dts_90k - earlier_90k;
                    let new = NewSample { size, pts_90k, dts_90k, samples: count, sync };
                    (Source::Copied, index, new, format_of(samples, index))
                }
                Some(Action::Replace) => {
                    let frame = next_frame()?;
                    let mut bytes = Vec::with_capacity(frame.data.len() + 16);
                    write_access_unit(&frame.data, &mut bytes);
                    let index = self.encoded.count();
                    self.encoded.push(&bytes);
                    let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                    let (pts_90k, dts_90k) = (frame.pts_90k, frame.dts_90k);
                    let new = NewSample { size, pts_90k, dts_90k, samples: 0, sync: frame.sync };
                    let format = if frame.sync { video_format(samples.codec, &frame.data) } else { None };
                    // Pictures that are only estimated have none.
                    let is_first = self.tracks[stream].is_none();
                    let other = || format_of(samples, u32::MAX).filter(|_| is_first);
                    (Source::Encoded, index, new, format.map(Arc::new).or_else(other))
                }
                _ => continue,
            };
            let description = self.description(stream, format.as_deref())?;
            part.taken.push(Taken { source, index, since_start_90k: new.dts_90k + earlier_90k - start_90k });
            part.added.push((new, description));
        }
        self.has_begun[stream] |= !part.taken.is_empty();
        Ok(part)
    }

    /// The sample description of the next sample of a stream, which has this format if it is another than before.
    fn description(&mut self, stream: usize, format: Option<&SampleFormat>) -> Result<u32> {
        let program = &self.plan.program;
        let described = &program.streams[stream];
        let no_format = || {
            let pid = described.pid;
            let why =
                format!("no frame of PID {pid:#x} says how it is decoded; a cut as .ts keeps it as it is");
            Error::Unsupported(why)
        };
        let Some(format) = format else {
            return self.tracks[stream].as_ref().and_then(|track| track.description).ok_or_else(no_format);
        };
        let new = || match format.sample_rate() {
            None => MovieTrack::video(described.pid),
            Some(rate) => {
                let listed = program.pmt.streams.iter().find(|listed| listed.pid == described.pid);
                MovieTrack::audio(described.pid, rate, listed.and_then(ElementaryStream::language))
            }
        };
        let track = self.tracks[stream].get_or_insert_with(new);
        if format.sample_rate().is_some_and(|rate| i64::from(rate) != track.timescale()) {
            return Err(changes(described.pid, "its sampling rate inside a segment"));
        }
        let formats = track.table.formats().len();
        let description = track.table.add_format(format);
        let all = track.table.formats();
        if all.len() > formats && all.iter().map(SampleFormat::memory_bytes).sum::<usize>() > MAX_FORMAT_BYTES
        {
            return Err(changes(described.pid, "its format too often"));
        }
        track.description = Some(description);
        Ok(description)
    }

    /// Adds the samples of a part to the tables, in the order of its chunks.
    fn add_samples(&mut self, chunks: &[Chunk], parts: &[PartTrack], frame_90k: i64) {
        let mut samples: Vec<_> = parts.iter().map(|part| part.added.iter()).collect();
        for chunk in chunks {
            let Some(position) = parts.iter().position(|part| part.source == chunk.track) else { continue };
            let Some(track) = &mut self.tracks[parts[position].stream] else { continue };
            let mut last = None;
            let mut begin = self.len;
            for (sample, description) in samples[position].by_ref().take(chunk.samples.len()) {
                if let Some(last) = last.replace(*description).filter(|last| last != description) {
                    track.table.end_chunk(begin, last);
                    begin = self.len;
                }
                track.push(*sample, frame_90k);
                self.len += u64::from(sample.size);
            }
            track.table.end_chunk(begin, last.unwrap_or(1));
        }
    }

    /// Notes the part that was added, which is of segment `index` of those that the plan writes.
    fn add_part(&mut self, index: usize, planned: &PlannedSegment, chunks: Option<Vec<Chunk>>) {
        let inside = index.checked_sub(self.plan.before().len());
        let number = inside.and_then(|index| self.plan.segments.number(index));
        let segment = number.is_none().then(|| planned.segment.clone());
        if chunks.is_some() || segment.is_some() {
            self.special.insert(self.records.len(), Special { segment, chunks });
        }
        let continues = self.plan.next(index).is_some();
        let range = u16::try_from(self.plan.place.number).unwrap_or(u16::MAX);
        self.records.push(Record { number: number.unwrap_or(0), range, continues });
        self.part_ends.push(self.len);
    }

    /// Where what is shown of the plan that is being written begins in the output.
    fn shown_from_90k(&self) -> i64 {
        let starts = self.tracks.iter().flatten().filter_map(MovieTrack::range_start_90k);
        let whole = self.plan.exact_type == ExactType::Whole;
        if whole { starts.min().unwrap_or(self.plan.start_90k) } else { self.plan.start_90k }
    }

    /// Notes what is shown of the plan that has been written.
    fn end_range(&mut self) {
        let plan = self.plan;
        let ends = self.tracks.iter().flatten().filter_map(MovieTrack::audio_end_90k);
        let end_90k = match plan.exact_type {
            ExactType::Whole => ends.fold(plan.end_90k, i64::max),
            // The next range begins where this one ends.
            ExactType::Smart if !plan.place.is_last => plan.end_90k,
            // Where the frame rate varies, the next picture may come before the last one's usual end.
            _ => self.behind_90k.map_or(plan.end_90k, |behind| behind.min(plan.end_90k)),
        };
        let start_90k = self.shown_from_90k();
        match self.shown_90k.last_mut().filter(|last| last.end == start_90k) {
            Some(last) => last.end = end_90k,
            None => self.shown_90k.push(start_90k..end_90k),
        }
        self.behind_90k = None;
        self.tracks.iter_mut().flatten().for_each(MovieTrack::end_range);
    }

    /// The movie, and the pictures that were encoded for it.
    pub(super) fn finish(
        mut self,
        info: &MovieInfo,
        samples: Option<Arc<SamplesCache>>,
    ) -> Result<(Movie, EncodedPictures)> {
        self.end_range();
        let plan = self.plan;
        let mut tracks: Vec<MovieTrack> = self.tracks.drain(..).flatten().collect();
        for track in &mut tracks {
            track.show(&self.shown_90k);
        }
        let mut tables: Vec<Track> = tracks.into_iter().map(|track| track.table).collect();
        let duration_90k = duration_90k(&self.shown_90k);
        tables.extend(self.wall_clock.map(|clock| clock.track(duration_90k)));
        if tables.is_empty() {
            return Err(Error::RangeIsEmpty);
        }
        let head = movie::head(info, &tables, self.len);
        self.encoded.finish();
        self.records.shrink_to_fit();
        self.part_ends.shrink_to_fit();
        let parts = Parts {
            lists: self.plans.iter().map(|plan| plan.segments.shared_list()).collect(),
            program: plan.program.clone(),
            max_segment_bytes: plan.max_segment_bytes,
            samples,
            records: self.records,
            special: self.special,
            texts: self.texts,
        };
        let movie = Movie::new(head, self.part_ends, parts, self.encoded.hash());
        Ok((movie, self.encoded))
    }
}

impl Mux for MovieBuilder<'_> {
    fn begin(&mut self, plan: &Plan) {
        let number = plan.place.number;
        if let Some(plan) = self.plans.get(number).filter(|_| number > self.plan.place.number) {
            self.end_range();
            self.plan = plan;
            self.has_begun.fill(false);
            if let Some(clock) = &mut self.wall_clock {
                clock.end_range();
            }
        }
    }

    fn write(&mut self, segment: EditedSegment<'_>, next_frame: NextFrame<'_>, _: Output<'_>) -> Result<()> {
        let EditedSegment { index, loaded, edits, .. } = segment;
        let Some(planned) = self.plan.written_at(index) else { return Ok(()) };
        let indexed = loaded.samples()?;
        let samples = &indexed.index;
        let mut parts = Vec::with_capacity(edits.len());
        for edit in edits {
            let source = samples.tracks.iter().position(|track| track.pid == edit.input_pid);
            let mut streams = self.plan.program.streams.iter();
            let stream = streams.position(|stream| stream.pid == edit.output_pid);
            let Some((stream, source)) = stream.zip(source) else { continue };
            let track = &samples.tracks[source];
            let is_video = track.codec.is_video();
            if !is_video && !track.codec.is_audio() {
                continue;
            }
            if let Some(name) = track.unsupported {
                return Err(not_holdable(track.pid, is_video, name));
            }
            parts.push(self.take(&edit, (stream, source), &indexed, next_frame)?);
            // What is decoded before the range is not behind it.
            if is_video && index >= self.plan.before().len() {
                let is_behind = |sample: &&Sample| planned.shown.time(sample.pts) >= planned.shown.end;
                let behind = track.samples.iter().filter(is_behind);
                let behind = behind.map(|sample| planned.clock.to_output_90k(sample.pts));
                self.behind_90k = behind.chain(self.behind_90k).min();
            }
        }
        let taken: Vec<_> = parts.iter().map(|part| (part.source, part.taken.clone())).collect();
        let chunks = interleave(&taken);
        self.add_samples(&chunks, &parts, planned.frame_90k);
        let inside = index.checked_sub(self.plan.before().len()).filter(|i| *i < self.plan.segments.len());
        let since_start_90k = duration_90k(&self.shown_90k) - self.shown_from_90k();
        if let Some(clock) = self.wall_clock.as_mut().filter(|_| inside.is_some()) {
            let text = clock.add(&planned.clone().shifted(since_start_90k), self.len);
            self.len += text.len() as u64;
            if !text.is_empty() {
                self.texts.insert(self.records.len(), text);
            }
        }
        let is_usual = chunks == all_chunks(&self.plan.program, &loaded.scan, samples);
        self.add_part(index, &planned, (!is_usual).then_some(chunks));
        Ok(())
    }

    fn audio_end_90k(&self, pid: u16) -> Option<i64> {
        let mut tracks = self.tracks.iter().flatten();
        tracks.find(|track| track.pid == pid).and_then(MovieTrack::audio_end_90k)
    }

    /// AAC and MP3 decode a frame with the help of the one before.
    fn hidden_audio_frames(&self) -> i64 {
        1
    }
}

/// How long ranges are together.
fn duration_90k(ranges: &[Range<i64>]) -> i64 {
    ranges.iter().map(|range| range.end - range.start).sum()
}

/// The format that begins with a sample, if one does, or that the first sample of a segment has.
fn format_of(track: &TrackSamples, index: u32) -> Option<Arc<SampleFormat>> {
    let formats = track.formats.iter().take_while(|(first, _)| *first <= index);
    formats.last().map(|(_, format)| Arc::clone(format))
}
