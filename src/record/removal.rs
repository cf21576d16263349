//! Deletes the files of an hour, and its directory if nothing else is in it.
//!
//! The files go before the directory, the earliest segment first, and each segment before the tombstone that hides its
//! files. So a server that reads the directory meanwhile sees the archive begin later and later, and whatever interrupts
//! this leaves an hour that the next attempt goes on with.

use std::cmp::Reverse;
use std::io;

use rustix::fs::FileType;

use super::directory::Directory;
use super::inventory::bytes_on_disk;
use super::retention::HourSize;
use crate::archive::layout::{hour_name, parse_file_name};

/// What was deleted of an hour, and what was not.
#[derive(Debug, Default)]
pub(super) struct Removed {
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// How many entries do not belong to segments, and one of them.
    pub(super) others: (usize, Option<String>),
    /// How many files could not be deleted, and why the first one could not.
    pub(super) failed: (usize, Option<io::Error>),
    /// Whether the hour's directory is gone.
    pub(super) is_gone: bool,
}

/// Deletes an hour of the variant in a directory, until `is_stopped`.
pub(super) fn remove_hour(
    variant: &Directory,
    size: &HourSize,
    is_stopped: &dyn Fn() -> bool,
) -> io::Result<Removed> {
    let name = hour_name(size.hour);
    let mut removed = Removed::default();
    let Some(directory) = variant.child(&name)? else {
        return Ok(Removed { bytes: size.bytes, is_gone: true, ..removed });
    };
    let (files, others) = files_in_order(&directory)?;
    removed.others = others;
    for file in files {
        if is_stopped() {
            return Ok(removed);
        }
        match remove_file(&directory, &file) {
            Ok(Some(bytes)) => {
                removed.files += 1;
                removed.bytes += bytes;
            }
            Ok(None) => {}
            Err(error) => {
                removed.failed.0 += 1;
                removed.failed.1.get_or_insert(error);
            }
        }
    }
    if removed.failed.0 == 0 {
        // Others may have deleted some of them: they are gone all the same.
        removed.bytes = removed.bytes.max(size.bytes);
        removed.is_gone = removed.others.0 == 0 && variant.remove_directory(&name)?;
    }
    Ok(removed)
}

/// Deletes a file. Returns what it took, or `None` if it is gone already.
fn remove_file(directory: &Directory, name: &str) -> io::Result<Option<u64>> {
    let Some(stat) = directory.stat(name)? else { return Ok(None) };
    Ok(directory.remove_file(name)?.then(|| bytes_on_disk(&stat)))
}

/// How many entries there are of a sort, and one of them.
type Counted = (usize, Option<String>);

/// The names of the files that belong to segments, in the order in which they are deleted; and the other entries.
fn files_in_order(directory: &Directory) -> io::Result<(Vec<String>, Counted)> {
    let (entries, not_utf8) = directory.entries()?;
    let is_file = |file_type| file_type != FileType::Directory;
    let (files, others): (Vec<_>, Vec<_>) = entries
        .into_iter()
        .partition(|entry| is_file(entry.file_type) && parse_file_name(&entry.name).is_some());
    let mut names: Vec<_> = files.into_iter().map(|entry| entry.name).collect();
    sort(&mut names);
    let example = others.first().map(|entry| entry.name.clone());
    Ok((names, (others.len() + not_utf8, example)))
}

/// Sorts by start. Of segments with the same start the worst comes first, so that no worse one takes the place of a better
/// one in between.
fn sort(names: &mut [String]) {
    names.sort_by_cached_key(|name| {
        parse_file_name(name).map(|(segment, extension)| {
            // Worse types are greater.
            let worst_first = Reverse(segment.segment_type);
            (segment.offset, worst_first, segment.duration, segment.hash.to_owned(), extension)
        })
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_go_from_the_first_to_the_last_and_before_their_tombstones() {
        let expected = [
            "00:00.000-2.000-temp-b.ts",
            "00:00.000-2.000-partial-b.ts",
            "00:00.000-2.000-full-a.ts",
            "00:00.000-2.000-full-a.json",
            "00:00.000-2.000-full-a.tombstone",
            "00:02.000-1.000-full-a.ts",
            "00:02.000-1.000-full-a.tombstone",
            "00:02.000-2.000-full-c.ts",
            "10:00.000-2.000-full-a.ts",
        ]
        .map(str::to_owned);
        let mut names = expected.clone();
        names.reverse();
        sort(&mut names);
        assert_eq!(names, expected);
    }
}
