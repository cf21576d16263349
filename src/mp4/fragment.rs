//! Fragmented MP4 (ISO/IEC 14496-12, 8.8): a head without samples, and fragments with some samples of each track.

use super::boxes::{BoxWriter, saturating_u32};
use super::movie::{MovieInfo, track_id, write_ftyp, write_moov};
use super::tracks::{Sample, TrackInfo};

/// Some samples of a track that follow one another.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// The index of the track in the tracks of [`init`].
    pub track: usize,
    /// The index of the sample description, from 1 on.
    pub description: u32,
    /// The decoding time of the first sample, in the track's timescale.
    pub decode_time: u64,
    /// Is added to the composition offset of each sample, which may thereby become negative.
    pub composition_shift: i32,
    /// The samples, in decoding order.
    pub samples: &'a [Sample],
}

impl Run<'_> {
    /// The length of its samples together.
    fn data_len(&self) -> u64 {
        self.samples.iter().map(|sample| u64::from(sample.size)).sum()
    }
}

/// `ftyp` and `moov` of fragments that stand alone: the initialization section of an HLS playlist. Tracks without a format are
/// left out, but keep their numbers.
pub fn init(info: &MovieInfo, tracks: &[TrackInfo]) -> Vec<u8> {
    head(info, tracks, None)
}

/// `ftyp` and `moov` of a fragmented movie that takes so many ticks of 90 kHz in all.
pub fn movie_head(info: &MovieInfo, tracks: &[TrackInfo], duration_90k: u64) -> Vec<u8> {
    head(info, tracks, Some(duration_90k))
}

fn head(info: &MovieInfo, tracks: &[TrackInfo], duration_90k: Option<u64>) -> Vec<u8> {
    let mut out = BoxWriter::new();
    write_ftyp(&mut out, *b"iso5", &[*b"iso5", *b"iso6", *b"mp41"]);
    let described = tracks.iter().enumerate().filter(|(_, track)| track.is_described());
    let infos: Vec<_> = described.map(|(index, track)| (index, track, 0)).collect();
    let mvex = |out: &mut BoxWriter| write_mvex(out, &infos, duration_90k);
    write_moov(&mut out, info, &infos, |out, _| write_empty_tables(out), mvex);
    out.into_bytes()
}

/// Writes the tables that every track must have, without samples.
fn write_empty_tables(out: &mut BoxWriter) {
    for (name, fields) in [(*b"stts", 1), (*b"stsc", 1), (*b"stsz", 2), (*b"stco", 1)] {
        out.full_box(name, 0, 0, |out| out.zeros(4 * fields));
    }
}

/// Writes that the samples are in fragments, which tell everything of each sample.
fn write_mvex(out: &mut BoxWriter, tracks: &[(usize, &TrackInfo, u64)], duration_90k: Option<u64>) {
    out.boxed(*b"mvex", |out| {
        if let Some(duration) = duration_90k {
            out.full_box(*b"mehd", 1, 0, |out| out.u64(duration));
        }
        for (index, ..) in tracks {
            out.full_box(*b"trex", 0, 0, |out| {
                out.u32s([track_id(*index), 1, 0, 0, 0]);
            });
        }
    });
}

/// A fragment with some samples of each track: `moof` and `mdat`. Fragments of a stream are numbered by `sequence`.
/// `write_data` appends the bytes of all samples of the run with that index, one behind another.
pub fn fragment(sequence: u32, runs: &[Run<'_>], mut write_data: impl FnMut(usize, &mut Vec<u8>)) -> Vec<u8> {
    let mut out = BoxWriter::new();
    let data_len: u64 = runs.iter().map(Run::data_len).sum();
    let samples: usize = runs.iter().map(|run| run.samples.len()).sum();
    out.reserve(usize::try_from(data_len).unwrap_or(0) + 16 * samples + 128 * (runs.len() + 1));
    let mut data_offsets = Vec::with_capacity(runs.len());
    out.boxed(*b"moof", |out| {
        out.full_box(*b"mfhd", 0, 0, |out| out.u32(sequence));
        for run in runs {
            out.boxed(*b"traf", |out| data_offsets.push(write_traf(out, run)));
        }
    });
    out.mdat_header(data_len);
    // From the start of `moof`, which is the start of all.
    let mut start = u64::try_from(out.len()).unwrap_or(u64::MAX);
    for (run, data_offset) in runs.iter().zip(data_offsets) {
        out.set_u32(data_offset, saturating_u32(start));
        start = start.saturating_add(run.data_len());
    }
    let mut bytes = out.into_bytes();
    (0..runs.len()).for_each(|run| write_data(run, &mut bytes));
    bytes
}

/// Writes the header and the samples of a run; returns the offset of its `data_offset`.
fn write_traf(out: &mut BoxWriter, run: &Run<'_>) -> usize {
    const SAMPLE_DESCRIPTION_INDEX: u32 = 0x2;
    const DEFAULT_BASE_IS_MOOF: u32 = 0x2_0000;
    out.full_box(*b"tfhd", 0, DEFAULT_BASE_IS_MOOF | SAMPLE_DESCRIPTION_INDEX, |out| {
        out.u32s([track_id(run.track), run.description]);
    });
    out.full_box(*b"tfdt", 1, 0, |out| out.u64(run.decode_time));
    write_trun(out, run)
}

/// Writes the samples of a run; returns the offset of `data_offset`.
fn write_trun(out: &mut BoxWriter, run: &Run<'_>) -> usize {
    const DATA_OFFSET: u32 = 0x1;
    const DURATION_SIZE_FLAGS: u32 = 0x700;
    const COMPOSITION_OFFSET: u32 = 0x800;
    let offset_of = |sample: &Sample| run.composition_shift.saturating_add_unsigned(sample.composition);
    let has_offsets = run.samples.iter().any(|sample| offset_of(sample) != 0);
    let flags = DATA_OFFSET | DURATION_SIZE_FLAGS | if has_offsets { COMPOSITION_OFFSET } else { 0 };
    let mut data_offset = 0;
    // In version 1 composition offsets are signed.
    out.full_box(*b"trun", 1, flags, |out| {
        out.u32(saturating_u32(run.samples.len()));
        data_offset = out.len();
        out.u32(0);
        for sample in run.samples {
            out.u32s([sample.duration, sample.size, sample_flags(sample.sync)]);
            if has_offsets {
                out.bytes(&offset_of(sample).to_be_bytes());
            }
        }
    });
    data_offset
}

/// Whether a sample depends on others (`sample_depends_on`), and is not a sync sample (8.8.3.1).
fn sample_flags(is_sync: bool) -> u32 {
    const DEPENDS_ON_OTHERS: u32 = 1 << 24;
    const DEPENDS_ON_NONE: u32 = 2 << 24;
    const IS_NON_SYNC: u32 = 1 << 16;
    if is_sync { DEPENDS_ON_NONE } else { DEPENDS_ON_OTHERS | IS_NON_SYNC }
}
