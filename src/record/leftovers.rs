//! What a recorder has left that was killed, or whose machine lost its power: segments with `temp` names.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};

use super::cutter::LONE_FRAME_90K;
use super::writer::{TEMP_MARK, lock, publish};
use crate::archive::layout::{SegmentName, SegmentType, hour_name, parse_hour_name};
use crate::mpegts::packet::{PACKET_BYTES, SYNC};
use crate::mpegts::pes::to_us;
use crate::mpegts::scan::Scan;
use crate::timestamp::{Hour, Span, Timestamp};

/// A file above this is not read.
const MAX_BYTES: u64 = 256 * 1024 * 1024;

/// Names what is left in a variant's directory: `partial` if there is a whole frame in it; else it is deleted. Files of other
/// recorders, and of those that still run, stay.
pub(super) fn name_leftovers(directory: &Path) {
    let hours = names(directory).into_iter().filter(|hour| parse_hour_name(hour).is_some());
    for hour in hours {
        let hour = directory.join(hour);
        for name in names(&hour) {
            let Some(parsed) = SegmentName::parse(&name) else { continue };
            if parsed.segment_type == SegmentType::Temp && parsed.hash.starts_with(TEMP_MARK) {
                let path = hour.join(&name);
                match name_leftover(&path, &parsed) {
                    Ok(Some(what)) => log::warn!("an earlier recorder has left `{}`: {what}", path.display()),
                    Ok(None) => {}
                    Err(error) => {
                        log::warn!(
                            "cannot name `{}`, which an earlier recorder has left: {error}",
                            path.display()
                        );
                    }
                }
            }
        }
    }
}

/// When the newest segment in a variant's directory ends.
pub(super) fn newest_end(directory: &Path) -> Option<Timestamp> {
    let mut hours: Vec<Hour> = names(directory).iter().filter_map(|name| parse_hour_name(name)).collect();
    hours.sort_unstable();
    hours.into_iter().rev().find_map(|hour| {
        let names = names(&directory.join(hour_name(hour)));
        let segments = names.iter().filter_map(|name| SegmentName::parse(name));
        let segments = segments.filter(|segment| segment.segment_type != SegmentType::Temp);
        segments.map(|segment| hour.start() + segment.offset + segment.duration).max()
    })
}

/// Names one file. Returns what became of it; `None` if its recorder still runs.
fn name_leftover(path: &Path, name: &SegmentName<'_>) -> io::Result<Option<String>> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    if lock(&file).is_err() {
        return Ok(None);
    }
    let len = file.metadata()?.len();
    if len > MAX_BYTES {
        return Err(io::Error::other(format!("it has {len} bytes")));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    // After a loss of power the end of a file may be anything.
    let whole =
        bytes.chunks_exact(PACKET_BYTES).take_while(|packet| packet[0] == SYNC).count() * PACKET_BYTES;
    bytes.truncate(whole);
    let Some(duration) = duration(&bytes) else {
        fs::remove_file(path)?;
        return Ok(Some("deleted, because it holds no whole frame".to_owned()));
    };
    file.set_len(whole as u64)?;
    let hash = BASE64URL_NOPAD.encode(&Sha256::digest(&bytes));
    let name = SegmentName::new(name.offset, duration, SegmentType::Partial, &hash).to_string();
    publish(&file, path, &name)?;
    Ok(Some(format!("it is now `{name}`")))
}

/// How long the whole frames of a segment are shown; `None` if there are none.
fn duration(bytes: &[u8]) -> Option<Span> {
    let scan = Scan::of(bytes, false)?;
    let track = scan.reference_track()?;
    let first = track.units.first().filter(|unit| unit.complete)?.pts;
    let mut shown: Vec<i64> =
        track.units.iter().filter(|unit| unit.complete).map(|unit| unit.pts.since(first)).collect();
    shown.sort_unstable();
    // The last frames may lack those that are shown between them.
    let frame = shown.windows(2).map(|pair| pair[1] - pair[0]).filter(|distance| *distance > 0).min();
    Some(Span::from_micros(to_us(shown.last()? + frame.unwrap_or(LONE_FRAME_90K)).max(1000)))
}

/// The names in a directory; none if it cannot be read, which a recorder finds out soon enough.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// The first line of a file.
///
/// # Errors
/// Why it cannot be read.
pub(super) fn first_line(path: &PathBuf) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(64 * 1024).read_to_string(&mut text)?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_segment_with_a_final_name_is_found() {
        let variant = tempfile::tempdir().expect("a temporary directory");
        assert_eq!(newest_end(variant.path()), None);
        for name in [
            "2026-11-20T09/59:59.000-2.000-full-a.ts",
            "2026-11-20T10/00:01.000-2.000-suspect-a.ts",
            "2026-11-20T10/00:02.500-0.400-full-a.ts",
            "2026-11-20T11/00:00.000-2.000-temp-recorder-1.ts",
            "notes/00:00.000-2.000-full-a.ts",
        ] {
            let path = variant.path().join(name);
            fs::create_dir_all(path.parent().expect("a directory")).expect("make a directory");
            fs::write(path, "").expect("write a file");
        }
        assert_eq!(newest_end(variant.path()), Timestamp::parse("2026-11-20T10:00:03"));
    }
}
