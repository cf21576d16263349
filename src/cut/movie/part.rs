//! The parts of a movie: which samples each has, in which order, and their bytes.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::fnv::Fnv;
use crate::mpegts::pes::{TICKS_PER_SECOND, Ticks};
use crate::mpegts::samples::{SampleIndex, write_samples};
use crate::mpegts::scan::Scan;

use super::encoded::EncodedPictures;
use crate::cut::opened::room_for;
use crate::cut::plan::{CutSegment, SegmentList};
use crate::cut::program::counterparts;
use crate::cut::samples_cache::SamplesCache;
use crate::cut::segments::LoadedSegment;
use crate::mpegts::probe::Program;

/// Tracks are interleaved in chunks of this duration.
const CHUNK_90K: i64 = TICKS_PER_SECOND;

/// The parts of a movie. Most have all samples of their segment, and take only a few bytes here.
#[derive(Debug)]
pub(super) struct Parts {
    /// The segments of each range.
    pub(super) lists: Vec<Arc<dyn SegmentList>>,
    pub(super) program: Program,
    pub(super) max_segment_bytes: u64,
    pub(super) samples: Option<Arc<SamplesCache>>,
    pub(super) records: Vec<Record>,
    pub(super) special: BTreeMap<usize, Special>,
    /// The text samples at the ends of parts.
    pub(super) texts: BTreeMap<usize, Vec<u8>>,
}

/// A part.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record {
    /// The number of its segment in the list of its range.
    pub(super) number: u32,
    /// The number of its range.
    pub(super) range: u16,
    /// Whether its frames may go on in the segment of the next part.
    pub(super) continues: bool,
}

/// What is unusual about a part.
#[derive(Debug, Clone, Default)]
pub(super) struct Special {
    /// Its segment, if that is not on the list.
    pub(super) segment: Option<CutSegment>,
    /// Its chunks, if it has not all samples of its segment.
    pub(super) chunks: Option<Vec<Chunk>>,
}

/// Samples of one track that lie one behind another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chunk {
    /// The index of the track in the index of the segment's samples.
    pub(super) track: usize,
    pub(super) source: Source,
    pub(super) samples: Range<u32>,
}

/// Where samples come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// From the segment.
    Copied,
    /// They are encoded pictures.
    Encoded,
}

impl Parts {
    pub(super) fn memory_bytes(&self) -> usize {
        let chunks =
            self.special.values().filter_map(|special| special.chunks.as_ref()).map(Vec::len).sum::<usize>();
        let texts = self.texts.values().map(|text| text.capacity() + 64).sum::<usize>();
        let held =
            self.lists.iter().flat_map(|list| list.held_bytes()).map(|bytes| bytes.len()).sum::<usize>();
        // An entry of a list takes 8 bytes.
        self.records.capacity() * (size_of::<Record>() + size_of::<u64>() + 8)
            + self.special.len() * 256
            + chunks * size_of::<Chunk>()
            + texts
            + held
    }

    pub(super) fn has_encoded(&self, index: usize) -> bool {
        let chunks = self.special.get(&index).and_then(|special| special.chunks.as_ref());
        chunks.is_some_and(|chunks| chunks.iter().any(|chunk| chunk.source == Source::Encoded))
    }

    fn segment(&self, index: usize) -> Option<CutSegment> {
        if let Some(segment) = self.special.get(&index).and_then(|special| special.segment.as_ref()) {
            return Some(segment.clone());
        }
        let record = self.records.get(index)?;
        self.lists.get(usize::from(record.range))?.segment(record.number)
    }

    /// A hash of `start`, of what transitions show, and of the names of segments outside the range.
    pub(super) fn hash_outside(&self, start: u64) -> u64 {
        let mut hash = Fnv::new();
        hash.write_u64(start);
        let outside = self.special.values().filter_map(|special| special.segment.as_ref());
        for bytes in self.lists.iter().flat_map(|list| list.held_bytes()) {
            hash.write(&bytes);
        }
        for name in outside.filter_map(|segment| segment.path.file_name()) {
            hash.write_str(&name.to_string_lossy());
        }
        hash.finish()
    }

    /// The bytes of a part, of which there should be `len`.
    pub(super) fn read(&self, index: usize, len: usize, encoded: &EncodedPictures) -> Result<Vec<u8>> {
        let (segment, record) =
            self.segment(index).zip(self.records.get(index)).ok_or_else(|| self.changed(index))?;
        let next = if record.continues { self.segment(index + 1) } else { None };
        let cache = self.samples.as_deref();
        let loaded = LoadedSegment::indexed_again(cache, &segment, next, self.max_segment_bytes)?;
        let indexed = loaded.samples()?;
        let (samples, bytes) = (&indexed.index, loaded.bytes()?);
        let special = self.special.get(&index).and_then(|special| special.chunks.as_ref());
        let all = || all_chunks(&self.program, &loaded.scan, samples);
        let mut out = Vec::with_capacity(room_for(len));
        for chunk in special.map_or_else(all, Clone::clone) {
            match chunk.source {
                Source::Copied => {
                    let range = chunk.samples.start as usize..chunk.samples.end as usize;
                    let track =
                        samples.tracks.get(chunk.track).filter(|track| range.end <= track.samples.len());
                    write_samples(bytes, track.ok_or_else(|| self.changed(index))?, range, &mut out);
                }
                Source::Encoded => {
                    let pictures = encoded.get(chunk.samples.clone());
                    out.extend_from_slice(pictures.ok_or_else(|| self.changed(index))?);
                }
            }
        }
        out.extend_from_slice(self.texts.get(&index).map_or(&[][..], Vec::as_slice));
        Ok(out)
    }

    /// The error for a part whose segment is not what it was.
    pub(super) fn changed(&self, index: usize) -> Error {
        let path = self.segment(index).map(|segment| segment.path).unwrap_or_default();
        Error::Changed(format!("`{}`", path.display()))
    }
}

/// The chunks of a part that has all complete samples of its segment.
pub(super) fn all_chunks(program: &Program, scan: &Scan, index: &SampleIndex) -> Vec<Chunk> {
    let clock = part_start(scan);
    let mut tracks = Vec::new();
    for track in counterparts(program, scan).into_iter().flatten() {
        let Some(track) = index.tracks.iter().position(|samples| samples.pid == track.pid) else { continue };
        let samples = &index.tracks[track].samples;
        let complete = samples.iter().take_while(|sample| sample.complete);
        let taken = (0..).zip(complete).map(|(index, sample)| Taken {
            source: Source::Copied,
            index,
            since_start_90k: sample.dts.since(clock),
        });
        tracks.push((track, taken.collect()));
    }
    interleave(&tracks)
}

/// The time that the chunks of a part are counted from.
pub(super) fn part_start(scan: &Scan) -> Ticks {
    let first = scan.reference_track().and_then(|track| track.units.first());
    first.map_or(Ticks::new(0), |unit| unit.dts)
}

/// A sample of a part.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken {
    pub(super) source: Source,
    /// The number of the sample, or of the encoded picture.
    pub(super) index: u32,
    /// When it is decoded, from [`part_start`] on.
    pub(super) since_start_90k: i64,
}

/// The samples of tracks, given by their indexes, as chunks that take turns.
pub(super) fn interleave(tracks: &[(usize, Vec<Taken>)]) -> Vec<Chunk> {
    let mut positions = vec![0; tracks.len()];
    let mut chunks: Vec<Chunk> = Vec::new();
    let first = |(track, position): (&(usize, Vec<Taken>), &usize)| {
        track.1.get(*position).map(|taken| taken.since_start_90k.div_euclid(CHUNK_90K))
    };
    while let Some(turn) = tracks.iter().zip(&positions).filter_map(first).min() {
        let end_90k = (turn + 1) * CHUNK_90K;
        for ((track, samples), position) in tracks.iter().zip(&mut positions) {
            let mut is_first = true;
            while let Some(taken) = samples.get(*position).filter(|taken| taken.since_start_90k < end_90k) {
                *position += 1;
                let last = chunks.last_mut().filter(|last| {
                    !is_first && last.source == taken.source && last.samples.end == taken.index
                });
                if let Some(last) = last {
                    last.samples.end += 1;
                } else {
                    let samples = taken.index..taken.index + 1;
                    chunks.push(Chunk { track: *track, source: taken.source, samples });
                }
                is_first = false;
            }
        }
    }
    chunks
}
