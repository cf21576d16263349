//! What there is to prune: variants, their hours with sizes, and what is kept.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use log::Level;
use rustix::fs::{FileType, Stat};

use super::directory::Directory;
use super::retention::{HourSize, Kept, Variant};
use crate::archive::layout::{
    Extension, KEEP_DIRECTORY, KeptRange, Segment, hour_name, is_hidden, parse_file_name, parse_hour_name,
};
use crate::clock::Clock;
use crate::timestamp::Hour;

/// A directory that was changed so shortly before it was read may have changed since without another time.
const RACY_SECONDS: i64 = 3;
/// What an allocated block has.
const BLOCK_BYTES: u64 = 512;

/// The sizes of hours, remembered by the versions of their directories.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    known: HashMap<(u64, u64), Known>,
    /// The number of the current round. What was not found in it is forgotten after it.
    round: u64,
    failures: u64,
}

#[derive(Debug)]
struct Known {
    changed: (i64, i64),
    /// `None` of an hour without a file of a segment, but with others.
    size: Option<HourSize>,
    round: u64,
}

/// Finds the directories in one that are not hidden, by their names, sorted. Links are left out, and logged at `level`.
pub(super) fn directories(directory: &Directory, level: Level) -> io::Result<Vec<String>> {
    let (entries, _) = directory.entries()?;
    let mut names = Vec::new();
    for entry in entries.into_iter().filter(|entry| !is_hidden(entry.name.as_bytes())) {
        match entry.file_type {
            FileType::Directory => names.push(entry.name),
            FileType::Symlink => {
                log::log!(level, "left `{}`: a symbolic link", directory.path().join(&entry.name).display());
            }
            _ => {}
        }
    }
    names.sort_unstable();
    Ok(names)
}

impl Sizes {
    /// Begins a round, and forgets what the one before did not find.
    pub(super) fn begin_round(&mut self) {
        let round = self.round;
        self.known.retain(|_, known| known.round == round);
        self.round += 1;
        self.failures = 0;
    }

    /// At which level links are logged: they are news only once.
    pub(super) fn link_level(&self) -> Level {
        if self.round <= 1 { Level::Warn } else { Level::Debug }
    }

    /// Reads a variant of the stream in a directory; `None` if it is gone.
    pub(super) fn variant(
        &mut self,
        stream: &str,
        name: &str,
        directory: &Directory,
        is_stopped: &dyn Fn() -> bool,
    ) -> io::Result<Option<Variant>> {
        let Some(directory) = directory.child(name)? else { return Ok(None) };
        let mut hours = Vec::new();
        for name in directories(&directory, self.link_level())? {
            let Some(hour) = parse_hour_name(&name) else { continue };
            if is_stopped() {
                break;
            }
            let size = self.hour(hour, &directory);
            hours.extend(self.checked(size, &directory.path().join(name)).flatten());
        }
        hours.sort_unstable_by_key(|size| size.hour);
        let (stream, name) = (stream.to_owned(), name.to_owned());
        Ok(Some(Variant { stream, name, hours, kept: read_kept(&directory) }))
    }

    /// Logs and counts a failure to read what is at `path`: the rest is pruned all the same.
    pub(super) fn checked<T>(&mut self, read: io::Result<T>, path: &Path) -> Option<T> {
        let log = |error: &io::Error| log::warn!("cannot read `{}`: {error}", path.display());
        let read = read.inspect_err(log).ok();
        self.failures += u64::from(read.is_none());
        read
    }

    /// How many failures there were in this round.
    pub(super) fn failures(&self) -> u64 {
        self.failures
    }

    /// The size of an hour; `None` if it is gone, or holds only what does not belong to segments.
    fn hour(&mut self, hour: Hour, variant: &Directory) -> io::Result<Option<HourSize>> {
        let Some(directory) = variant.child(&hour_name(hour))? else { return Ok(None) };
        let stat = directory.own_stat()?;
        let (key, changed) =
            ((stat.st_dev, stat.st_ino), (stat.st_ctime, i64::try_from(stat.st_ctime_nsec).unwrap_or(0)));
        let round = self.round;
        if let Some(known) = self.known.get_mut(&key).filter(|known| known.changed == changed) {
            known.round = round;
            if known.size.is_none_or(|size| size.hour == hour) {
                return Ok(known.size);
            }
        }
        let size = measure(hour, &directory, &stat)?;
        // File systems have the system's time, whatever the clock is that hours are compared with.
        if changed.0 + RACY_SECONDS < Clock::System.now().micros() / 1_000_000 {
            self.known.insert(key, Known { changed, size, round });
        }
        Ok(size)
    }
}

/// Adds up the files of an hour.
fn measure(hour: Hour, directory: &Directory, own: &Stat) -> io::Result<Option<HourSize>> {
    let (entries, not_utf8) = directory.entries()?;
    let mut size = HourSize { hour, files: 0, bytes: 0, latest_end: None, device: own.st_dev };
    let mut others = not_utf8;
    for entry in entries {
        let parsed = parse_file_name(&entry.name).filter(|_| entry.file_type != FileType::Directory);
        let Some((name, extension)) = parsed else {
            others += 1;
            continue;
        };
        let Some(stat) = directory.stat(&entry.name)? else { continue };
        size.files += 1;
        size.bytes += bytes_on_disk(&stat);
        if extension == Extension::Segment {
            size.latest_end = size.latest_end.max(Some(Segment { hour, name }.end()));
        }
    }
    Ok((size.files > 0 || others == 0).then_some(size))
}

/// What a file takes: what is allocated for it, or its length if that is more, because file systems allocate late.
pub(super) fn bytes_on_disk(stat: &Stat) -> u64 {
    let length = u64::try_from(stat.st_size).unwrap_or(0);
    let allocated = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(BLOCK_BYTES);
    length.max(allocated)
}

/// The names in the directory of kept ranges, with the ranges that they mean.
pub(super) fn kept_names(variant: &Directory) -> io::Result<Vec<(String, Option<KeptRange>)>> {
    let Some(directory) = variant.child(KEEP_DIRECTORY)? else { return Ok(Vec::new()) };
    let (entries, not_utf8) = directory.entries()?;
    let visible = entries.into_iter().map(|entry| entry.name).filter(|name| !is_hidden(name.as_bytes()));
    let mut names: Vec<_> =
        visible.map(|name| (KeptRange::parse(&name), name)).map(|(range, name)| (name, range)).collect();
    names.extend((0..not_utf8).map(|_| ("a name that is not UTF-8".to_owned(), None)));
    names.sort_unstable_by(|(a, range_a), (b, range_b)| (range_a, a).cmp(&(range_b, b)));
    Ok(names)
}

/// What of a variant is kept. If that cannot be told, all of it is.
pub(super) fn read_kept(variant: &Directory) -> Kept {
    let keep_path = variant.path().join(KEEP_DIRECTORY);
    let names = match kept_names(variant) {
        Ok(names) => names,
        Err(error) => return Kept::All(format!("cannot read `{}`: {error}", keep_path.display())),
    };
    let unknown = names.iter().find(|(_, range)| range.is_none());
    match unknown {
        Some((name, _)) => {
            let path = keep_path.join(name);
            Kept::All(format!("`{}` is not START_END with times such as 2026-11-20T10", path.display()))
        }
        None => Kept::Ranges(names.into_iter().filter_map(|(_, range)| range).collect()),
    }
}
