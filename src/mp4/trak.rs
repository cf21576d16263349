//! What a movie says of a track besides its tables (`trak`; ISO/IEC 14496-12, 8.3 to 8.6).

use super::boxes::BoxWriter;
use super::entries::write_sample_descriptions;
use super::tracks::{EditEntry, MOVIE_TIMESCALE, TrackInfo, TrackKind};

/// What a track's boxes depend on besides the track itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Surroundings {
    /// The number of the track, from 1 on.
    pub(super) id: u32,
    /// When the movie was created, in seconds since 1904.
    pub(super) created_1904: u64,
    /// It is played, unless a viewer chooses another track of its kind.
    pub(super) is_enabled: bool,
    /// Width and height of the movie on the screen.
    pub(super) screen: (u32, u32),
}

impl Surroundings {
    /// Width and height of the area that text is shown in: the lowest eighth of the screen.
    pub(super) fn text_area(&self) -> (u32, u32) {
        (self.screen.0, self.screen.1 / 8)
    }
}

/// Writes `trak` for a track with media of that duration. `tables` writes the sample tables.
pub(super) fn write_trak(
    out: &mut BoxWriter,
    track: &TrackInfo,
    duration: u64,
    around: Surroundings,
    tables: impl FnOnce(&mut BoxWriter),
) {
    out.boxed(*b"trak", |out| {
        write_tkhd(out, track, duration, around);
        if !track.edits.is_empty() {
            out.boxed(*b"edts", |out| write_elst(out, &track.edits));
        }
        out.boxed(*b"mdia", |out| {
            write_mdhd(out, track, duration, around.created_1904);
            write_hdlr(out, track.kind);
            out.boxed(*b"minf", |out| {
                write_media_header(out, track.kind);
                write_dinf(out);
                out.boxed(*b"stbl", |out| {
                    write_sample_descriptions(out, track, around.text_area());
                    tables(out);
                });
            });
        });
    });
}

/// How long a track with media of that duration is presented, in the movie's timescale.
pub(super) fn presentation_duration(track: &TrackInfo, duration: u64) -> u64 {
    if track.edits.is_empty() {
        let scaled = u128::from(duration) * u128::from(MOVIE_TIMESCALE);
        u64::try_from(scaled.div_ceil(u128::from(track.timescale.max(1)))).unwrap_or(u64::MAX)
    } else {
        track.edits.iter().map(|edit| edit.duration_90k).sum()
    }
}

/// The fields that `mvhd`, `tkhd` and `mdhd` begin with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times<const N: usize> {
    pub(super) created_1904: u64,
    /// What lies between the times and the duration.
    pub(super) between: [u32; N],
    pub(super) duration: u64,
}

/// Writes a box that begins with times: with those of 64 bits (version 1) where 32 are too few.
pub(super) fn write_times<const N: usize>(
    out: &mut BoxWriter,
    name: [u8; 4],
    flags: u32,
    times: Times<N>,
    rest: impl FnOnce(&mut BoxWriter),
) {
    let narrow = u32::try_from(times.created_1904).ok().zip(u32::try_from(times.duration).ok());
    out.full_box(name, u8::from(narrow.is_none()), flags, |out| {
        // The times of creation and of modification are the same.
        match narrow {
            Some((created, _)) => out.u32s([created; 2]),
            None => out.bytes([times.created_1904.to_be_bytes(); 2].as_flattened()),
        }
        out.u32s(times.between);
        match narrow {
            Some((_, duration)) => out.u32(duration),
            None => out.u64(times.duration),
        }
        rest(out);
    });
}

/// 1 as a number with 16 bits behind the point.
pub(super) const ONE: u32 = 0x0001_0000;

/// Writes the matrix that moves pictures on the screen by columns and rows (6.2.2).
pub(super) fn write_matrix(out: &mut BoxWriter, columns: u32, rows: u32) {
    out.u32s([ONE, 0, 0, 0, ONE, 0, columns << 16, rows << 16, 0x4000_0000]);
}

fn write_tkhd(out: &mut BoxWriter, track: &TrackInfo, duration: u64, around: Surroundings) {
    const ENABLED: u32 = 1;
    const IN_MOVIE: u32 = 2;
    let flags = if around.is_enabled { ENABLED | IN_MOVIE } else { IN_MOVIE };
    let duration = presentation_duration(track, duration);
    let times = Times { created_1904: around.created_1904, between: [around.id, 0], duration };
    // Players present one track of each group.
    let (group, volume, size, from_top) = match track.kind {
        TrackKind::Video => (0, 0, track.display_size().unwrap_or((0, 0)), 0),
        TrackKind::Audio => (1, 0x100, (0, 0), 0),
        TrackKind::Text => (2, 0, around.text_area(), around.screen.1 - around.text_area().1),
    };
    write_times(out, *b"tkhd", flags, times, |out| {
        out.zeros(8);
        out.u16(0); // layer
        out.u16(group);
        out.u16(volume);
        out.zeros(2);
        write_matrix(out, 0, from_top);
        out.u32s([size.0, size.1].map(|side| side.min(0xFFFF) << 16));
    });
}

/// Writes the edit list, with times of 64 bits (version 1) where 32 are too few.
fn write_elst(out: &mut BoxWriter, edits: &[EditEntry]) {
    let is_wide = edits.iter().any(|edit| {
        u32::try_from(edit.duration_90k).is_err() || i32::try_from(edit.media_time.unwrap_or(0)).is_err()
    });
    out.full_box(*b"elst", u8::from(is_wide), 0, |out| {
        out.counted(|out| {
            for edit in edits {
                // An empty edit has a media time of -1.
                write_edit_times(out, edit.duration_90k, edit.media_time.unwrap_or(u64::MAX), is_wide);
                out.u32(ONE); // media_rate
            }
            edits.len()
        });
    });
}

/// Writes two numbers, or the lower halves of them.
fn write_edit_times(out: &mut BoxWriter, duration: u64, media_time: u64, is_wide: bool) {
    for number in [duration, media_time] {
        let bytes = number.to_be_bytes();
        out.bytes(if is_wide { &bytes } else { &bytes[4..] });
    }
}

fn write_mdhd(out: &mut BoxWriter, track: &TrackInfo, duration: u64, created_1904: u64) {
    let times = Times { created_1904, between: [track.timescale], duration };
    write_times(out, *b"mdhd", 0, times, |out| {
        out.u16(packed_language(track.language));
        out.u16(0);
    });
}

/// A language code as three numbers of five bits, of which 1 is `a` (8.4.2.3); `und` for none.
fn packed_language(language: Option<[u8; 3]>) -> u16 {
    let letters = language.filter(|code| code.iter().all(u8::is_ascii_lowercase)).unwrap_or(*b"und");
    letters.iter().fold(0, |packed, letter| packed << 5 | u16::from(letter - 0x60))
}

fn write_hdlr(out: &mut BoxWriter, kind: TrackKind) {
    let (handler, name) = match kind {
        TrackKind::Video => (b"vide", &b"VideoHandler\0"[..]),
        TrackKind::Audio => (b"soun", &b"SoundHandler\0"[..]),
        // As Apple's players expect it of `tx3g`.
        TrackKind::Text => (b"sbtl", &b"SubtitleHandler\0"[..]),
    };
    out.full_box(*b"hdlr", 0, 0, |out| {
        out.u32(0);
        out.bytes(handler);
        out.zeros(12);
        out.bytes(name);
    });
}

fn write_media_header(out: &mut BoxWriter, kind: TrackKind) {
    match kind {
        TrackKind::Video => out.full_box(*b"vmhd", 0, 1, |out| out.zeros(8)),
        TrackKind::Audio => out.full_box(*b"smhd", 0, 0, |out| out.zeros(4)),
        TrackKind::Text => out.full_box(*b"nmhd", 0, 0, |_| {}),
    }
}

/// Writes that samples are in this file.
fn write_dinf(out: &mut BoxWriter) {
    const SELF_CONTAINED: u32 = 1;
    out.boxed(*b"dinf", |out| {
        out.full_box(*b"dref", 0, 0, |out| {
            out.counted(|out| {
                out.full_box(*b"url ", 0, SELF_CONTAINED, |_| {});
                1
            });
        });
    });
}
