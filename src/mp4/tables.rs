//! The tables of a track's samples (ISO/IEC 14496-12, 8.6.1, 8.6.2, 8.7).

use std::ops::Range;

use super::boxes::{BoxWriter, saturating_u32};
use super::compact::RunLengths;
use super::tracks::{Chunk, Track};

/// About how many bytes the tables of a track take.
pub(super) fn tables_len(track: &Track) -> usize {
    let sync_samples = if has_sync_table(track) { track.sync_samples } else { 0 };
    let sizes = usize::try_from(track.samples.saturating_add(sync_samples)).unwrap_or(0);
    let runs = track.durations.len() + track.compositions.len();
    4 * sizes + 8 * runs + 20 * track.chunks.len()
}

/// Writes all tables of a track but its sample descriptions. Returns where its chunk offsets are: numbers of 64 bits if
/// `is_wide`, else of 32.
pub(super) fn write_sample_tables(out: &mut BoxWriter, track: &Track, is_wide: bool) -> Range<usize> {
    out.full_box(*b"stts", 0, 0, |out| write_runs(out, &track.durations));
    if has_sync_table(track) {
        out.full_box(*b"stss", 0, 0, |out| write_sync_samples(out, track));
    }
    if !track.compositions.are_all(0) {
        out.full_box(*b"ctts", 0, 0, |out| write_runs(out, &track.compositions));
    }
    out.full_box(*b"stsc", 0, 0, |out| write_chunk_sizes(out, &track.chunks));
    out.full_box(*b"stsz", 0, 0, |out| write_sizes(out, track));
    write_chunk_offsets(out, &track.chunks, is_wide)
}

/// Whether the table of sync samples is needed. Without it, every sample is one.
fn has_sync_table(track: &Track) -> bool {
    track.sync_samples < track.samples
}

fn write_runs(out: &mut BoxWriter, runs: &RunLengths) {
    out.counted(|out| runs.iter().map(|run| out.u32s([run.count, run.value])).count());
}

fn write_sync_samples(out: &mut BoxWriter, track: &Track) {
    out.u32(track.sync_samples);
    let mut number = 0;
    for distance in track.sync_distances.iter() {
        number += distance;
        out.u32(number);
    }
}

/// Writes how many samples chunks have, and which descriptions. An entry also holds for the chunks behind it.
fn write_chunk_sizes(out: &mut BoxWriter, chunks: &[Chunk]) {
    out.counted(|out| {
        let (mut count, mut last) = (0, None);
        for (number, chunk) in (1..).zip(chunks) {
            let entry = (chunk.samples, chunk.description);
            if last != Some(entry) {
                out.u32s([number, entry.0, entry.1]);
                last = Some(entry);
                count += 1;
            }
        }
        count
    });
}

/// Writes the sizes of samples; only one if they are all equal, as those of AC-3 are.
fn write_sizes(out: &mut BoxWriter, track: &Track) {
    let first = track.sizes.iter().next().unwrap_or(0);
    let is_constant = first > 0 && track.sizes.iter().all(|size| size == first);
    out.u32(if is_constant { first } else { 0 });
    out.u32(track.samples);
    if !is_constant {
        track.sizes.iter().for_each(|size| out.u32(size));
    }
}

/// Writes the offsets of chunks in the payload of `mdat`; returns where they are.
fn write_chunk_offsets(out: &mut BoxWriter, chunks: &[Chunk], is_wide: bool) -> Range<usize> {
    let mut start = 0;
    out.full_box(if is_wide { *b"co64" } else { *b"stco" }, 0, 0, |out| {
        out.u32(saturating_u32(chunks.len()));
        start = out.len();
        for chunk in chunks {
            if is_wide {
                out.u64(chunk.offset);
            } else {
                out.u32(saturating_u32(chunk.offset));
            }
        }
    });
    start..out.len()
}
