//! A full cut as fragmented MP4, which is sent while it is made.
//!
//! ffmpeg encodes into a transport stream, and the frames in each piece of that become a fragment. So there is one place
//! that knows how MP4 is laid out, and the priming of AAC encoders can be hidden exactly. The presentation begins with the
//! range: an edit list hides what of a track lies before that.

use std::collections::VecDeque;
use std::io::Write;

use crate::cut::encode::{FFMPEG_PID, failed};
use crate::cut::mux::send;
use crate::cut::plan::Plan;
use crate::cut::target::Target;
use crate::cut::{PreparedCut, full};
use crate::error::{Error, Result};
use crate::ffmpeg::Tools;
use crate::mp4::fragment::{Run, fragment, movie_head};
use crate::mp4::tracks::{EditEntry, Sample, TrackInfo, TrackKind};
use crate::mpegts::pes::{TICKS_PER_SECOND, Ticks};
use crate::mpegts::psi::ElementaryStream;
use crate::mpegts::samples::{SampleFormat, SampleIndex, TrackSamples, write_samples};
use crate::mpegts::scan::Scan;
use crate::timestamp::Timestamp;

use super::MovieOptions;
use super::pieces::{Piece, Splitter};
use super::sound_format::SoundFormats;
use super::text::{Changes, wall_clock_sample};
use super::track::{SoundTimes, scale, to_u32, to_u64};

/// When the range begins in ffmpeg's output: so late that nothing is before zero, where ffmpeg would move all of it.
const START_SECONDS: i64 = 100;
const START: Ticks = Ticks::new(START_SECONDS * TICKS_PER_SECOND);

impl PreparedCut {
    /// Makes a full cut as a fragmented movie and writes it to `out` fragment by fragment.
    ///
    /// `is_cancelled` is called as by [`PreparedCut::run`].
    ///
    /// # Errors
    /// Those of [`PreparedCut::run`]; `Unsupported`, before the first byte, for a sound that ffmpeg cannot decode.
    pub fn stream_movie(
        self,
        options: MovieOptions,
        out: &mut dyn Write,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<()> {
        let plans = self.all_plans(is_cancelled)?;
        let tools = &self.tools;
        let Some(first) = plans.first() else { return Err(Error::RangeIsEmpty) };
        let mut movie = FragmentedMovie::new(first, tools, options);
        for plan in plans.iter() {
            movie.add_range(plan);
        }
        let mut splitter = Splitter::new(movie.tracks.len());
        let mut write = |bytes: Vec<u8>| send(&bytes, out, is_cancelled);
        let mut take = |chunk: &[u8]| {
            splitter.push(chunk, |piece| write(movie.fragment(&piece, false, is_cancelled)?))
        };
        let target = Target::TransportStream { start_seconds: START_SECONDS };
        full::encode(plans.into_owned(), tools, target, &mut take, is_cancelled)?;
        write(movie.fragment(&splitter.finish(), true, is_cancelled)?)
    }
}

/// A movie that is being written.
struct FragmentedMovie {
    options: MovieOptions,
    /// The tracks of pictures and sound, in the order of ffmpeg's output.
    tracks: Vec<FragmentTrack>,
    /// When each sample of the text track that is to come is shown, from the start of the range on, and what it shows.
    texts: VecDeque<(i64, Timestamp)>,
    duration_90k: i64,
    /// The usual duration of a picture.
    frame_90k: i64,
    /// The number of fragments so far.
    fragments: u32,
    sound_formats: SoundFormats,
}

/// A track of pictures or sound. Its media time begins with its first sample, or with the range if that is earlier.
struct FragmentTrack {
    /// The PID of the stream in the cut's program.
    pid: u16,
    kind: TrackKind,
    language: Option<[u8; 3]>,
    timescale: i64,
    /// The media time at which the range begins.
    start: i64,
    times: SoundTimes,
}

/// The samples of a track in a fragment.
#[derive(Default)]
struct TrackRun {
    decode_time: i64,
    samples: Vec<Sample>,
    data: Vec<u8>,
}

impl FragmentedMovie {
    /// A movie with the streams of a plan, without a range so far.
    fn new(plan: &Plan, tools: &Tools, options: MovieOptions) -> Self {
        let streams = &plan.program.streams;
        let video = streams.iter().find(|stream| stream.codec.is_video());
        let sounds = streams.iter().filter(|stream| stream.codec.is_audio());
        let track = |pid, kind| {
            let listed = plan.program.pmt.streams.iter().find(|listed| listed.pid == pid);
            FragmentTrack {
                pid,
                kind,
                language: listed.and_then(ElementaryStream::language).filter(|_| kind == TrackKind::Audio),
                timescale: TICKS_PER_SECOND,
                start: 0,
                times: SoundTimes::default(),
            }
        };
        let video = video.map(|stream| track(stream.pid, TrackKind::Video));
        let tracks = video.into_iter().chain(sounds.map(|stream| track(stream.pid, TrackKind::Audio)));
        Self {
            options,
            tracks: tracks.collect(),
            texts: VecDeque::new(),
            duration_90k: 0,
            frame_90k: 0,
            fragments: 0,
            sound_formats: SoundFormats::new(plan, tools),
        }
    }

    /// Adds the range of a plan behind those so far.
    fn add_range(&mut self, plan: &Plan) {
        if self.options.timecode {
            let mut changes = Changes::default();
            let all = plan.segments.iter().flat_map(|planned| changes.push(&planned));
            let shown_90k = |start_90k: i64| self.duration_90k + (start_90k - plan.start_90k).max(0);
            self.texts.extend(all.map(|(start_90k, time)| (shown_90k(start_90k), time)));
        }
        self.duration_90k += plan.duration_90k();
        self.frame_90k = plan.segments.last().map_or(self.frame_90k, |last| last.frame_90k);
    }

    /// The fragment made of a piece, and before the first one the head of the movie.
    fn fragment(&mut self, piece: &Piece, is_last: bool, is_cancelled: &dyn Fn() -> bool) -> Result<Vec<u8>> {
        let scan = Scan::of(&piece.bytes, true).ok_or_else(|| failed("its output has no program tables"))?;
        let index = SampleIndex::of(&piece.bytes, &scan);
        let mut out = if self.fragments == 0 { self.head(&index, is_cancelled)? } else { Vec::new() };
        let mut runs = Vec::with_capacity(self.tracks.len() + 1);
        let mut end_90k = 0;
        for (pid, track) in (FFMPEG_PID..).zip(&mut self.tracks) {
            let Some(found) = index.tracks.iter().find(|found| found.pid == pid) else { continue };
            let mut run = track.run(found, piece.next_dts, self.frame_90k, self.duration_90k);
            write_samples(&piece.bytes, found, 0..found.samples.len(), &mut run.data);
            let last = found.samples.last();
            end_90k = last.map_or(end_90k, |last| end_90k.max(last.pts.since(START)));
            runs.push((usize::from(pid - FFMPEG_PID), run));
        }
        runs.push((self.tracks.len(), self.text_run(if is_last { i64::MAX } else { end_90k })));
        runs.retain(|(_, run)| !run.samples.is_empty());
        let described: Vec<_> = runs.iter().map(|(track, run)| run.describe(*track)).collect();
        self.fragments += 1;
        out.extend(fragment(self.fragments, &described, |run, out| out.extend_from_slice(&runs[run].1.data)));
        Ok(out)
    }

    /// The head of the movie. `index` has the first samples of all tracks but of sounds that begin late.
    fn head(&mut self, index: &SampleIndex, is_cancelled: &dyn Fn() -> bool) -> Result<Vec<u8>> {
        let mut infos = Vec::with_capacity(self.tracks.len() + 1);
        for (pid, track) in (FFMPEG_PID..).zip(&mut self.tracks) {
            let found = index.tracks.iter().find(|found| found.pid == pid);
            let first = found.and_then(|found| Some((found.samples.first()?, &found.formats.first()?.1)));
            let format = match first {
                Some((_, format)) => SampleFormat::clone(format),
                None if track.kind == TrackKind::Audio => self.sound_formats.find(track.pid, is_cancelled)?,
                None => return Err(failed("its output begins without a picture")),
            };
            track.timescale = format.sample_rate().map_or(TICKS_PER_SECOND, i64::from);
            let early_90k = first.map_or(0, |(sample, _)| START.since(sample.dts));
            track.start = scale(early_90k.max(0), track.timescale);
            infos.push(track.info(format));
        }
        if !self.texts.is_empty() {
            let (kind, timescale) = (TrackKind::Text, to_u32(TICKS_PER_SECOND));
            infos.push(TrackInfo { kind, timescale, language: None, formats: Vec::new(), edits: Vec::new() });
        }
        Ok(movie_head(&self.options.info, &infos, to_u64(self.duration_90k)))
    }

    /// The samples of the text track that are shown before `end_90k`.
    fn text_run(&mut self, end_90k: i64) -> TrackRun {
        let first = self.texts.front().map_or(0, |(start_90k, _)| *start_90k);
        let mut run = TrackRun { decode_time: first, ..TrackRun::default() };
        while let Some((start_90k, time)) = self.texts.front().copied().filter(|next| next.0 < end_90k) {
            self.texts.pop_front();
            let sample = wall_clock_sample(time);
            let next_90k = self.texts.front().map_or(self.duration_90k, |next| next.0);
            let size = u32::try_from(sample.len()).unwrap_or(0);
            let duration = to_u32(next_90k - start_90k);
            run.samples.push(Sample { size, duration, composition: 0, sync: true });
            run.data.extend(sample);
        }
        run
    }
}

impl FragmentTrack {
    fn info(&self, format: SampleFormat) -> TrackInfo {
        // Of a movie in fragments, an edit without a duration goes on to the end.
        let edit = EditEntry { duration_90k: 0, media_time: Some(to_u64(self.start)) };
        TrackInfo {
            kind: self.kind,
            timescale: to_u32(self.timescale),
            language: self.language,
            formats: vec![format],
            edits: if self.start > 0 { vec![edit] } else { Vec::new() },
        }
    }

    /// The samples that a piece has of the track, without their data.
    fn run(
        &mut self,
        found: &TrackSamples,
        next_dts: Option<Ticks>,
        frame_90k: i64,
        duration_90k: i64,
    ) -> TrackRun {
        let (start, timescale) = (self.start, self.timescale);
        let media_time = |ticks: Ticks| start + scale(ticks.since(START), timescale);
        let starts: Vec<i64> = found
            .samples
            .iter()
            .map(|sample| match self.kind {
                TrackKind::Audio => self.times.push(media_time(sample.dts), sample.samples.into()),
                _ => media_time(sample.dts),
            })
            .collect();
        let Some(last) = starts.last() else { return TrackRun::default() };
        let (next, end) = match self.kind {
            // The encoder fills up its last frame.
            TrackKind::Audio => (self.times.end(), self.start + scale(duration_90k, self.timescale)),
            _ => (next_dts.map_or(last + frame_90k, media_time), i64::MAX),
        };
        let ends = starts.iter().skip(1).copied().chain([next]);
        let durations = starts.iter().zip(ends).map(|(start, next)| to_u32(next.min(end) - start));
        let samples = found.samples.iter().zip(durations).map(|(sample, duration)| Sample {
            size: sample.size,
            duration,
            composition: to_u32(sample.pts.since(sample.dts)),
            sync: sample.sync,
        });
        TrackRun { decode_time: starts[0], samples: samples.collect(), data: Vec::new() }
    }
}

impl TrackRun {
    fn describe(&self, track: usize) -> Run<'_> {
        let decode_time = to_u64(self.decode_time);
        Run { track, description: 1, decode_time, composition_shift: 0, samples: &self.samples }
    }
}
