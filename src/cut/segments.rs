//! Segments on disk or in memory, read as a whole and scanned.

use std::cell::OnceCell;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::mpegts::audio::Coding;
use crate::mpegts::pes::{Assembler, Pes, Ticks};
use crate::mpegts::picture_size::find_too_large;
use crate::mpegts::psi::Pmt;
use crate::mpegts::repacketize::{Repacketized, repacketize};
use crate::mpegts::samples::SampleIndex;
use crate::mpegts::scan::{Scan, Track};

use super::opened::{open, open_file, unsupported};
use super::plan::{CutSegment, Plan, PlannedSegment};
use super::samples_cache::{IndexedSegment, SamplesCache, SegmentKey};

/// How many segments a cut may have for their samples to be cached: about as many as the cache has room for.
const MAX_CACHED_SEGMENTS: usize = 2000;
/// Bytes of a segment that are read first; they are often enough.
pub(super) const FIRST_READ_BYTES: u64 = 64 * 1024;

/// A segment in memory, with frames that begin and end with its PES packets.
#[derive(Debug)]
pub(super) struct LoadedSegment {
    pub(super) scan: Scan,
    bytes: OnceCell<Vec<u8>>,
    /// Whether the bytes are not those of the file.
    rewritten: bool,
    /// The samples, if they were asked for, and what is read for the bytes if those were not needed yet.
    indexed: Option<Arc<IndexedSegment>>,
    unread: Option<Unread>,
}

/// What a segment is read from.
#[derive(Debug)]
struct Unread {
    segment: CutSegment,
    next: Option<CutSegment>,
    max_bytes: u64,
}

impl LoadedSegment {
    /// Reads and scans a segment of at most `max_bytes`, whose pictures may be decoded. Frames that go on in the segment that
    /// continues it, `next`, are completed from there.
    pub(super) fn load(segment: &CutSegment, next: Option<&CutSegment>, max_bytes: u64) -> Result<Self> {
        let loaded = Self::read(segment, next, max_bytes)?;
        check_picture_size(segment, loaded.bytes()?, &loaded.scan.pmt)?;
        Ok(loaded)
    }

    /// The same, but its pictures may be too large to be decoded.
    fn read(segment: &CutSegment, next: Option<&CutSegment>, max_bytes: u64) -> Result<Self> {
        let bytes = open(segment, max_bytes)?.read_whole(segment)?;
        let scan = Scan::of(&bytes, segment.complete)
            .ok_or_else(|| unsupported(segment, "has no program tables"))?;
        check_scrambling(segment, &scan)?;
        let loaded = Self::new(bytes, scan).aligned(segment.complete, next, max_bytes)?;
        check_headers(segment, &loaded.scan)?;
        Ok(loaded)
    }

    /// A segment of these bytes, whose frames are aligned.
    pub(super) fn new(bytes: Vec<u8>, scan: Scan) -> Self {
        Self { scan, bytes: OnceCell::from(bytes), rewritten: false, indexed: None, unread: None }
    }

    /// Loads `planned`, which is segment `index` of those that a plan writes.
    pub(super) fn written(plan: &Plan, index: usize, planned: &PlannedSegment) -> Result<Self> {
        Self::load(&planned.segment, plan.next(index).as_ref(), plan.max_segment_bytes)
    }

    /// Loads a segment, and its samples if there is a `cache` for them. Of one whose samples are cached the bytes are read
    /// when they are first needed. With a cache its pictures may be too large to be decoded.
    pub(super) fn indexed(
        cache: Option<&SamplesCache>,
        segment: &CutSegment,
        next: Option<CutSegment>,
        max_bytes: u64,
    ) -> Result<Self> {
        let Some(cache) = cache else { return Self::load(segment, next.as_ref(), max_bytes) };
        Self::with_samples(segment, next, max_bytes, |key, make| cache.get_or_insert(key, make))
    }

    /// Loads `planned` like [`Self::indexed`]. The samples of long cuts are not cached: they would only push out others.
    pub(super) fn written_indexed(
        plan: &Plan,
        cache: Option<&SamplesCache>,
        index: usize,
        planned: &PlannedSegment,
    ) -> Result<Self> {
        let (segment, next) = (&planned.segment, plan.next(index));
        if cache.is_some() && plan.segments.len() > MAX_CACHED_SEGMENTS {
            Self::indexed_again(cache, segment, next, plan.max_segment_bytes)
        } else {
            Self::indexed(cache, segment, next, plan.max_segment_bytes)
        }
    }

    /// The same for a segment whose samples were indexed before. They are not cached again.
    pub(super) fn indexed_again(
        cache: Option<&SamplesCache>,
        segment: &CutSegment,
        next: Option<CutSegment>,
        max_bytes: u64,
    ) -> Result<Self> {
        Self::with_samples(segment, next, max_bytes, |key, make| {
            cache.zip(key).and_then(|(cache, key)| cache.get(&key)).map_or_else(|| make().map(Arc::new), Ok)
        })
    }

    fn with_samples(
        segment: &CutSegment,
        next: Option<CutSegment>,
        max_bytes: u64,
        get: impl FnOnce(
            Option<SegmentKey>,
            &mut dyn FnMut() -> Result<IndexedSegment>,
        ) -> Result<Arc<IndexedSegment>>,
    ) -> Result<Self> {
        let len = open(segment, max_bytes)?.len();
        let next_path = next.as_ref().map(|next| &*next.path);
        let key = SegmentKey::of(&segment.path, len, segment.complete, next_path);
        let mut bytes = OnceCell::new();
        let indexed = get(key, &mut || {
            let loaded = Self::read(segment, next.as_ref(), max_bytes)?;
            let index = SampleIndex::of(loaded.bytes()?, &loaded.scan);
            bytes = loaded.bytes;
            Ok(IndexedSegment { scan: loaded.scan, index, depends_on_next: loaded.rewritten })
        })?;
        Ok(Self {
            scan: indexed.scan.clone(),
            bytes,
            rewritten: indexed.depends_on_next,
            indexed: Some(indexed),
            unread: Some(Unread { segment: segment.clone(), next, max_bytes }),
        })
    }

    /// Its bytes.
    pub(super) fn bytes(&self) -> Result<&[u8]> {
        if let Some(bytes) = self.bytes.get() {
            return Ok(bytes);
        }
        let Some(Unread { segment, next, max_bytes }) = &self.unread else { return Ok(&[]) };
        let bytes = if self.rewritten {
            Self::read(segment, next.as_ref(), *max_bytes)?.bytes.into_inner().unwrap_or_default()
        } else {
            open(segment, *max_bytes)?.read_whole(segment)?
        };
        Ok(self.bytes.get_or_init(|| bytes))
    }

    /// Whether frames may go on in the segment that continues it, so that its last ones may be known only with that.
    pub(super) fn depends_on_next(&self) -> bool {
        self.rewritten
    }

    /// Refuses the segment, `segment`, if its pictures are too large to be decoded.
    pub(super) fn check_picture_size(&self, segment: &CutSegment) -> Result<()> {
        check_picture_size(segment, self.bytes()?, &self.scan.pmt)
    }

    /// Its bytes.
    pub(super) fn into_bytes(self) -> Result<Vec<u8>> {
        self.bytes()?;
        Ok(self.bytes.into_inner().unwrap_or_default())
    }

    /// Its samples.
    pub(super) fn samples(&self) -> Result<Arc<IndexedSegment>> {
        if let Some(indexed) = &self.indexed {
            return Ok(Arc::clone(indexed));
        }
        let index = SampleIndex::of(self.bytes()?, &self.scan);
        Ok(Arc::new(IndexedSegment { scan: self.scan.clone(), index, depends_on_next: self.rewritten }))
    }

    /// Aligns the frames with the PES packets, if they are not.
    fn aligned(self, whole: bool, next: Option<&CutSegment>, max_bytes: u64) -> Result<Self> {
        if self.scan.is_aligned() {
            return Ok(self);
        }
        let next = next.map(|next| Ok((open_file(next, max_bytes)?.file, &*next.path))).transpose()?;
        let aligned = align(self.bytes()?, &self.scan, whole, next.as_ref())?;
        Ok(aligned.map_or(self, |aligned| Self { rewritten: true, ..Self::new(aligned.bytes, aligned.scan) }))
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
    pub(super) fn frames(&self) -> Result<(Vec<Ticks>, Option<i64>)> {
        let Some(track) = self.reference_track() else { return Ok((Vec::new(), None)) };
        let (mut shown, frame_90k) = if let Some(coding) = track.codec.coding() {
            audio_frames(self.bytes()?, track.pid, coding)
        } else {
            let complete = track.units.iter().filter(|unit| unit.complete);
            (complete.map(|unit| unit.pts).collect(), None)
        };
        if let Some(lowest) = track.lowest_pts() {
            shown.sort_unstable_by_key(|pts: &Ticks| pts.since(lowest));
        }
        Ok((shown, frame_90k))
    }
}

/// Refuses a segment whose payload is encrypted.
pub(super) fn check_scrambling(segment: &CutSegment, scan: &Scan) -> Result<()> {
    if scan.scrambled { Err(unsupported(segment, "is encrypted")) } else { Ok(()) }
}

/// Refuses a segment whose PES headers cannot be rewritten.
pub(super) fn check_headers(segment: &CutSegment, scan: &Scan) -> Result<()> {
    let refusal = || unsupported(segment, "has PES headers that go over two packets");
    if scan.split_header { Err(refusal()) } else { Ok(()) }
}

/// Refuses a segment before a decoder gets pictures that would take gigabytes.
pub(super) fn check_picture_size(segment: &CutSegment, bytes: &[u8], pmt: &Pmt) -> Result<()> {
    match find_too_large(bytes, pmt) {
        Some((width, height)) => {
            let why = format!("has pictures of {width}x{height}, and exact cuts take at most 8192x4320");
            Err(unsupported(segment, &why))
        }
        None => Ok(()),
    }
}

/// Aligns the frames of a segment with its PES packets. Frames that go on in the segment that continues it are completed from
/// `next`, its file and path, of which no more is read than that takes. `None` if no track needs it.
///
/// # Errors
/// [`Error::Io`] if that file cannot be read.
pub(crate) fn align(
    bytes: &[u8],
    scan: &Scan,
    whole: bool,
    next: Option<&(File, &Path)>,
) -> Result<Option<Repacketized>> {
    let (mut start, mut len) = (Vec::new(), FIRST_READ_BYTES);
    loop {
        let missing = len - start.len() as u64;
        let mut is_at_end = true;
        if let Some((file, path)) = next {
            let read = file.take(missing).read_to_end(&mut start);
            is_at_end = (read.map_err(Error::io("read the segment", *path))? as u64) < missing;
        }
        match repacketize(bytes, scan, whole, &start) {
            Some(aligned) if aligned.needs_more && !is_at_end => len *= 2,
            aligned => return Ok(aligned),
        }
    }
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
