//! Segments as fragmented MP4: nothing is encoded, and each fragment is made of its own segment only.

use std::sync::Arc;

use super::first_frames::first_pts;
pub use super::fragment_times::time_offset;
use super::fragment_times::{TimeLine, audio_durations, to_timescale, video_durations};
use super::opened::read_whole;
use super::plan::{CutSegment, to_90k};
use super::samples_cache::{IndexedSegment, SamplesCache, SegmentKey};
use crate::archive::open_regular;
use crate::error::{Error, Result};
use crate::mp4::fragment::{Run, fragment as write_fragment, init as write_init};
use crate::mp4::movie::MovieInfo;
use crate::mp4::tracks::{Sample, TrackInfo, TrackKind};
use crate::mpegts::elementary::JoinedStream;
use crate::mpegts::frames::frames;
use crate::mpegts::pes::Ticks;
use crate::mpegts::psi::ElementaryStream;
use crate::mpegts::repacketize::repacketize;
use crate::mpegts::samples::{SampleFormat, SampleIndex, TrackSamples, write_samples};
use crate::mpegts::scan::{Scan, Track};
use crate::timestamp::Timestamp;

/// The version of the bytes of fragments and initialization sections. Caches keep what an address has given for ever, so
/// whatever changes one byte of any needs another version, which is part of the address.
pub const LAYOUT_VERSION: u32 = 1;

/// The timescale of video.
const VIDEO_TIMESCALE: u32 = 90_000;

/// A segment as a fragment.
#[derive(Debug)]
pub struct Fragment {
    /// The fragment.
    pub bytes: Vec<u8>,
    /// How many frames are left out because they go on in the next segment.
    pub frames_left_out: u64,
}

/// An initialization section for the fragments of a run.
#[derive(Debug)]
pub struct InitSection {
    /// The section.
    pub bytes: Vec<u8>,
    /// Whether it has all video and audio that the segment's program lists. A segment may begin without parameter sets, and
    /// audio later than video.
    pub is_complete: bool,
}

/// The fragment of a segment of at most `max_bytes`. `offset` is added to its timestamps; without one its first frame is at
/// the time in its name.
///
/// # Errors
/// [`Error::NotFound`] if the segment is not there, [`Error::Io`] if it cannot be read, [`Error::Unsupported`] if it is too
/// large, is no transport stream, is encrypted, or has a codec that MP4 does not hold here.
pub fn fragment(
    segment: &CutSegment,
    offset: Option<Ticks>,
    samples: &SamplesCache,
    max_bytes: u64,
) -> Result<Fragment> {
    let source = FragmentSource::read(segment, samples, max_bytes)?;
    let own_offset = || source.first_pts.map(|pts| time_offset(segment.start, pts));
    let offset = offset.or_else(own_offset).ok_or_else(|| refusal(segment, "has no frames"))?;
    let line = TimeLine::new(segment.start, offset);
    let media: Vec<_> = source.tracks().filter(SourceTrack::is_media).collect();
    let frames_left_out = media.iter().map(|track| track.left_out).sum();
    let media: Vec<_> = media.into_iter().filter(|track| track.whole > 0).collect();
    if media.is_empty() {
        return Err(refusal(segment, "has no whole frames"));
    }
    let tracks: Vec<_> = media.iter().map(|track| track.timed(line, segment)).collect();
    let runs: Vec<_> = tracks
        .iter()
        .map(|TimedTrack { number, decode_time, samples }| Run {
            track: *number,
            description: 1,
            decode_time: *decode_time,
            composition_shift: 0,
            samples,
        })
        .collect();
    let bytes = write_fragment(sequence_number(segment), &runs, |run, out| {
        write_samples(&source.bytes, media[run].index, 0..media[run].whole, out);
    });
    Ok(Fragment { bytes, frames_left_out })
}

/// The initialization section that the fragment of a segment needs, and those of the segments that continue it.
///
/// # Errors
/// As [`fragment`].
pub fn init_section(segment: &CutSegment, samples: &SamplesCache, max_bytes: u64) -> Result<InitSection> {
    let source = FragmentSource::read(segment, samples, max_bytes)?;
    let infos: Vec<_> = source.tracks().map(|track| track.info()).collect();
    let is_complete = source.tracks().filter(SourceTrack::is_media).all(|track| track.format().is_some());
    if infos.iter().all(|info| info.formats.is_empty()) {
        return Err(refusal(segment, "has neither parameter sets nor whole frames of audio"));
    }
    let info = MovieInfo { created: segment.start, title: String::new() };
    Ok(InitSection { bytes: write_init(&info, &infos), is_complete })
}

/// A segment that a fragment is made of.
struct FragmentSource {
    /// The segment, with frames that begin and end with their PES packets.
    bytes: Vec<u8>,
    /// The PTS of its first frame.
    first_pts: Option<Ticks>,
    indexed: Arc<IndexedSegment>,
    rewritten: Rewritten,
}

/// How a segment whose frames were not aligned with its PES packets differs from its file.
#[derive(Default)]
struct Rewritten {
    /// The segment; `None` if it is as the file.
    bytes: Option<Vec<u8>>,
    /// Of each track, whether its last frame goes on in the next segment.
    has_split_end: Vec<bool>,
}

/// An elementary stream of it.
struct SourceTrack<'a> {
    /// Its place in the PMT.
    number: usize,
    index: &'a TrackSamples,
    /// How many samples are whole.
    whole: usize,
    /// How many frames go on in the next segment.
    left_out: u64,
    language: Option<[u8; 3]>,
}

/// The samples of a track with their times.
struct TimedTrack {
    number: usize,
    decode_time: u64,
    samples: Vec<Sample>,
}

impl FragmentSource {
    fn read(segment: &CutSegment, samples: &SamplesCache, max_bytes: u64) -> Result<Self> {
        let opened = open_regular(&segment.path)?;
        if opened.len > max_bytes {
            let why = format!("has {} bytes, and fragments are made of at most {max_bytes}", opened.len);
            return Err(refusal(segment, &why));
        }
        let key = SegmentKey::of(&segment.path, opened.len, segment.complete, None);
        let bytes = read_whole(opened).map_err(Error::io("read the segment", &segment.path))?;
        let mut rewritten = None;
        let make = || {
            let (indexed, how) = index(segment, &bytes)?;
            rewritten = Some(how);
            Ok(indexed)
        };
        let mut indexed = samples.get_or_insert(key, make)?;
        if rewritten.is_none() && indexed.depends_on_next {
            // The cache does not have its bytes.
            let (again, how) = index(segment, &bytes)?;
            (indexed, rewritten) = (Arc::new(again), Some(how));
        }
        let first_pts = first_pts(&bytes);
        let mut rewritten = rewritten.unwrap_or_default();
        let bytes = rewritten.bytes.take().unwrap_or(bytes);
        let source = Self { bytes, first_pts, indexed, rewritten };
        let unsupported =
            source.tracks().find_map(|track| track.index.unsupported.filter(|_| track.is_media()));
        unsupported.map_or(Ok(source), |codec| {
            Err(refusal(segment, &format!("has {codec}, which MP4 does not hold here")))
        })
    }

    /// Its elementary streams, in the order of the PMT.
    fn tracks(&self) -> impl Iterator<Item = SourceTrack<'_>> {
        let IndexedSegment { scan, index, .. } = &*self.indexed;
        index.tracks.iter().enumerate().map(|(number, track)| {
            let has_split_end = self.rewritten.has_split_end.get(number) == Some(&true);
            let language = scan.pmt.streams.get(number).and_then(ElementaryStream::language);
            SourceTrack::new(number, track, has_split_end, language)
        })
    }
}

/// The samples of a segment, and how its frames were aligned with its PES packets for that, if they were not.
fn index(segment: &CutSegment, bytes: &[u8]) -> Result<(IndexedSegment, Rewritten)> {
    let scan = Scan::of(bytes, segment.complete).ok_or_else(|| refusal(segment, "has no program tables"))?;
    if scan.scrambled {
        return Err(refusal(segment, "is encrypted"));
    }
    if scan.is_aligned() {
        let index = SampleIndex::of(bytes, &scan);
        return Ok((IndexedSegment { scan, index, depends_on_next: false }, Rewritten::default()));
    }
    let has_split_end = scan.tracks.iter().map(|track| has_split_end(bytes, track)).collect();
    let (bytes, scan, index) = match repacketize(bytes, &scan, segment.complete, &[]) {
        None => (None, scan.clone(), SampleIndex::of(bytes, &scan)),
        Some(aligned) => {
            let index = SampleIndex::of(&aligned.bytes, &aligned.scan);
            (Some(aligned.bytes), aligned.scan, index)
        }
    };
    Ok((IndexedSegment { scan, index, depends_on_next: true }, Rewritten { bytes, has_split_end }))
}

/// Whether the last frame of a track goes on in the next segment.
///
/// A picture does not say where it ends. But segments begin with a PES packet: if those do not begin with pictures, segments
/// do not end with them.
fn has_split_end(bytes: &[u8], track: &Track) -> bool {
    if !track.alignment.unaligned || track.codec.is_video() {
        return track.alignment.unaligned;
    }
    let frames = frames(track.codec, &JoinedStream::of(bytes, track.pid));
    frames.is_some_and(|frames| frames.last().is_some_and(|last| !last.complete))
}

impl<'a> SourceTrack<'a> {
    fn new(number: usize, index: &'a TrackSamples, has_split_end: bool, language: Option<[u8; 3]>) -> Self {
        let all = index.samples.len();
        let mut whole = index.samples.iter().take_while(|sample| sample.complete).count();
        let mut left_out = 0;
        if has_split_end && index.codec.is_video() {
            whole = whole.min(all.saturating_sub(1));
        } else if has_split_end {
            // Such an audio frame is not among the samples.
            left_out = 1;
        }
        Self { number, left_out: left_out + (all - whole) as u64, index, whole, language }
    }

    /// Whether it is video or audio, and not data, which fragments leave out.
    fn is_media(&self) -> bool {
        self.index.codec.is_video() || self.index.codec.is_audio()
    }

    fn format(&self) -> Option<&SampleFormat> {
        self.index.formats.first().map(|(_, format)| &**format)
    }

    /// The track as initialization sections have it.
    fn info(&self) -> TrackInfo {
        let kind = if self.index.codec.is_audio() { TrackKind::Audio } else { TrackKind::Video };
        let (timescale, language) = (self.timescale(), self.language);
        let formats = self.format().cloned().into_iter().collect();
        TrackInfo { kind, timescale, language, formats, edits: Vec::new() }
    }

    fn timescale(&self) -> u32 {
        self.format().and_then(SampleFormat::sample_rate).unwrap_or(VIDEO_TIMESCALE)
    }

    /// The whole samples of the track with their times.
    fn timed(&self, line: TimeLine, segment: &CutSegment) -> TimedTrack {
        let (samples, timescale) = (&self.index.samples[..self.whole], self.timescale());
        let times = samples.iter().map(|sample| to_timescale(line.at(sample.dts), timescale));
        let times: Vec<_> = times.collect();
        let durations = if self.index.codec.is_video() {
            video_durations(&times, to_90k(segment.end - segment.start))
        } else {
            let counts: Vec<_> = samples.iter().map(|sample| sample.samples).collect();
            audio_durations(&times, &counts, timescale)
        };
        let with_durations = samples.iter().zip(durations).map(|(sample, duration)| Sample {
            size: sample.size,
            duration,
            composition: u32::try_from(sample.pts.since(sample.dts)).unwrap_or(0),
            sync: sample.sync,
        });
        let decode_time = times.first().map_or(0, |first| u64::try_from(*first).unwrap_or(0));
        TimedTrack { number: self.number, decode_time, samples: with_durations.collect() }
    }
}

/// A number that rises from segment to segment, in tenths of seconds.
fn sequence_number(segment: &CutSegment) -> u32 {
    let tenths = (segment.start - Timestamp::from_micros(0)).micros().div_euclid(100_000);
    u32::try_from(tenths.rem_euclid(1 << 32)).unwrap_or(0)
}

/// A refusal that names the segment, and what always works.
fn refusal(segment: &CutSegment, why: &str) -> Error {
    let name = segment.path.file_name().unwrap_or_default().to_string_lossy();
    Error::Unsupported(format!("segment `{name}` {why}; container=ts and `/segments/` work with any"))
}
