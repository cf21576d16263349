//! The head of a movie (ISO/IEC 14496-12, 8.2): everything but the samples themselves.

use super::boxes::{BoxWriter, saturating_u32};
use super::tables::{tables_len, write_sample_tables};
use super::tracks::{MOVIE_TIMESCALE, Track, TrackInfo};
use super::trak::{ONE, Surroundings, Times, presentation_duration, write_matrix, write_times, write_trak};
use crate::timestamp::Timestamp;

/// What there is to say of a movie besides its tracks.
#[derive(Debug, Clone)]
pub struct MovieInfo {
    /// When the recording of what it shows began.
    pub created: Timestamp,
    /// Its title; left out if it is empty.
    pub title: String,
}

impl MovieInfo {
    /// Seconds since 1904.
    fn created_1904(&self) -> u64 {
        const FROM_1904_TO_1970: i64 = 2_082_844_800;
        let seconds = self.created.micros().div_euclid(1_000_000);
        u64::try_from(seconds.saturating_add(FROM_1904_TO_1970)).unwrap_or(0)
    }
}

/// `ftyp`, `moov`, and the header of an `mdat` with `mdat_len` bytes of samples. Every sample is in a chunk.
pub fn head(info: &MovieInfo, tracks: &[Track], mdat_len: u64) -> Vec<u8> {
    // A head of hours takes megabytes, so it is not tried for nothing.
    if u32::try_from(mdat_len).is_ok() {
        let narrow = head_with_offsets(info, tracks, mdat_len, false);
        let end = u64::try_from(narrow.len()).unwrap_or(u64::MAX).saturating_add(mdat_len);
        if u32::try_from(end).is_ok() {
            return narrow;
        }
    }
    head_with_offsets(info, tracks, mdat_len, true)
}

/// The head with chunk offsets of 32 bits, or of 64.
fn head_with_offsets(info: &MovieInfo, tracks: &[Track], mdat_len: u64, is_wide: bool) -> Vec<u8> {
    let mut out = BoxWriter::new();
    out.reserve(4096 + tracks.iter().map(tables_len).sum::<usize>());
    write_ftyp(&mut out, *b"isom", &[*b"isom", *b"iso2", *b"avc1", *b"mp41"]);
    let infos: Vec<_> =
        tracks.iter().enumerate().map(|(index, track)| (index, &track.info, track.duration)).collect();
    let mut offsets = Vec::new();
    let tables =
        |out: &mut BoxWriter, index: usize| offsets.push(write_sample_tables(out, &tracks[index], is_wide));
    write_moov(&mut out, info, &infos, tables, |_| {});
    out.mdat_header(mdat_len);
    let head = out.len();
    let mut bytes = out.into_bytes();
    for table in offsets {
        add_to_offsets(&mut bytes[table], head, is_wide);
    }
    bytes
}

/// Adds the length of the head to offsets in the payload of `mdat`.
fn add_to_offsets(table: &mut [u8], head: usize, is_wide: bool) {
    let width = if is_wide { 8 } else { 4 };
    for offset in table.chunks_exact_mut(width) {
        let mut number = [0; 8];
        number[8 - width..].copy_from_slice(offset);
        let absolute = u64::from_be_bytes(number).saturating_add(u64::try_from(head).unwrap_or(u64::MAX));
        offset.copy_from_slice(&absolute.to_be_bytes()[8 - width..]);
    }
}

/// Writes `ftyp`: the brand that the file is best read as, and all that it conforms to.
pub(super) fn write_ftyp(out: &mut BoxWriter, major: [u8; 4], compatible: &[[u8; 4]]) {
    out.boxed(*b"ftyp", |out| {
        out.bytes(&major);
        out.u32(0x200); // the minor version that other muxers write
        out.bytes(compatible.as_flattened());
    });
}

/// Writes `moov` for tracks with their indices, in ascending order, and the durations of their media. `tables` writes the
/// sample tables of the track with that index, `extension` what follows the tracks.
pub(super) fn write_moov(
    out: &mut BoxWriter,
    info: &MovieInfo,
    tracks: &[(usize, &TrackInfo, u64)],
    mut tables: impl FnMut(&mut BoxWriter, usize),
    extension: impl FnOnce(&mut BoxWriter),
) {
    let screen = tracks.iter().find_map(|(_, track, _)| track.display_size()).unwrap_or((0, 0));
    let created_1904 = info.created_1904();
    out.boxed(*b"moov", |out| {
        write_mvhd(out, created_1904, tracks);
        for (position, (index, track, duration)) in tracks.iter().enumerate() {
            let is_enabled = tracks[..position].iter().all(|(_, other, _)| other.kind != track.kind);
            let around = Surroundings { id: track_id(*index), created_1904, is_enabled, screen };
            write_trak(out, track, *duration, around, |out| tables(out, *index));
        }
        extension(out);
        if !info.title.is_empty() {
            write_title(out, &info.title);
        }
    });
}

/// The number of the track with that index.
pub(super) fn track_id(index: usize) -> u32 {
    saturating_u32(index + 1)
}

fn write_mvhd(out: &mut BoxWriter, created_1904: u64, tracks: &[(usize, &TrackInfo, u64)]) {
    let durations = tracks.iter().map(|(_, track, duration)| presentation_duration(track, *duration));
    let duration = durations.max().unwrap_or(0);
    write_times(out, *b"mvhd", 0, Times { created_1904, between: [MOVIE_TIMESCALE], duration }, |out| {
        out.u32(ONE); // rate
        out.u16(0x100); // volume
        out.zeros(10);
        write_matrix(out, 0, 0);
        out.zeros(24);
        out.u32(track_id(tracks.last().map_or(0, |(index, ..)| index + 1))); // next_track_ID
    });
}

/// Writes the title where iTunes has it, which is where players look for it.
fn write_title(out: &mut BoxWriter, title: &str) {
    const UTF_8: u32 = 1;
    let item = |out: &mut BoxWriter| {
        out.full_box(*b"data", 0, UTF_8, |out| {
            out.u32(0); // locale
            out.bytes(title.as_bytes());
        });
    };
    out.boxed(*b"udta", |out| {
        out.full_box(*b"meta", 0, 0, |out| {
            out.full_box(*b"hdlr", 0, 0, |out| out.bytes(b"\0\0\0\0mdirappl\0\0\0\0\0\0\0\0\0"));
            out.boxed(*b"ilst", |out| out.boxed(*b"\xA9nam", item));
        });
    });
}
