//! Directories: their entries, read without an allocation for each name, and the version by which a cache knows whether
//! a directory has changed.

use std::ffi::CStr;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir};
use rustix::io::Errno;

use super::layout::is_hidden;
use crate::clock::Clock;
use crate::error::{Error, Result};

/// How many bytes of directory entries are read by one system call.
const BUFFER_BYTES: usize = 32 * 1024;

/// The granularity of ctimes: two changes within it may leave the same time. The kernel takes file times from its tick,
/// which is 10 ms at most.
pub(super) const CTIME_GRANULARITY_US: i64 = 12_000;
/// The same on a file system that seems to keep whole seconds, or pairs of them.
const COARSE_CTIME_GRANULARITY_US: i64 = 2_100_000;

/// The version of a directory, which changes whenever a name in it is added or removed.
///
/// Programs that copy directories set the mtime, even to one that the directory has had before. They cannot set the ctime,
/// which is when the directory or its mtime last changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct DirectoryVersion {
    device: u64,
    inode: u64,
    mtime_ns: i128,
    ctime_ns: i128,
}

impl DirectoryVersion {
    /// The version of the directory at `path`; `None` where there is none.
    pub(super) fn of(path: &Path) -> Result<Option<Self>> {
        let stat = absent_is_none(rustix::fs::stat(path)).map_err(Error::io("inspect", path))?;
        Ok(stat.map(|stat| Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            mtime_ns: i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec),
            ctime_ns: i128::from(stat.st_ctime) * 1_000_000_000 + i128::from(stat.st_ctime_nsec),
        }))
    }

    /// For how many microseconds from now on the directory may change without a change of its version (a racy ctime); no
    /// longer if negative.
    pub(super) fn racy_for_us(&self) -> i64 {
        let is_coarse = self.ctime_ns % 1_000_000_000 == 0;
        let granularity_us = if is_coarse { COARSE_CTIME_GRANULARITY_US } else { CTIME_GRANULARITY_US };
        let ctime_us = i64::try_from(self.ctime_ns / 1000).unwrap_or(i64::MAX);
        ctime_us.saturating_add(granularity_us).saturating_sub(Clock::System.now().micros())
    }
}

/// The device and inode of the directory at `path`, links followed; `None` where there is none.
pub(super) fn directory_id(path: &Path) -> Result<Option<(u64, u64)>> {
    Ok(DirectoryVersion::of(path)?.map(|version| (version.device, version.inode)))
}

/// What an entry of a directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EntryType {
    /// A regular file, or a symbolic link that was not followed.
    File,
    /// A directory.
    Directory,
    /// A symbolic link that was followed.
    Link {
        /// Whether it leads to a directory now. That may change without a change of the directory that holds the link.
        to_directory: bool,
    },
    /// A socket, a pipe or a device, or an entry that is gone already.
    Other,
    /// An entry whose type cannot be read, and why.
    Unreadable(Errno),
}

/// Calls `each` with every entry of the directory at `path` that is not hidden, in no order. Returns `None` where there is
/// no such directory, else how many entries were left out because their names are not UTF-8: no request can name them.
///
/// With `follow_links` symbolic links are followed; without, every link counts as a file.
pub(super) fn read_names(
    path: &Path,
    follow_links: bool,
    mut each: impl FnMut(&str, EntryType),
) -> Result<Option<usize>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = absent_is_none(rustix::fs::open(path, flags, Mode::empty()));
    let Some(directory) = opened.map_err(Error::io("open the directory", path))? else {
        return Ok(None);
    };
    let mut not_utf8 = 0;
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    let mut entries = RawDir::new(&directory, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = match entry {
            Ok(entry) => entry,
            // The directory was deleted while it was being read.
            Err(Errno::NOENT) => break,
            Err(errno) => return Err(Error::io("read the directory", path)(errno.into())),
        };
        let name = entry.file_name();
        match name.to_str() {
            _ if is_hidden(name.to_bytes()) => {}
            Ok(text) => each(text, entry_type(&directory, name, entry.file_type(), follow_links)),
            Err(_) => not_utf8 += 1,
        }
    }
    Ok(Some(not_utf8))
}

/// The type of an entry that the directory says is `listed`, with a system call only where that leaves it open.
///
/// Where links count as files, so does an entry whose type cannot be read: opening it will give the error.
fn entry_type(directory: impl AsFd, name: &CStr, listed: FileType, follow_links: bool) -> EntryType {
    let file_type = match listed {
        FileType::Symlink if !follow_links => FileType::RegularFile,
        FileType::Symlink | FileType::Unknown => {
            match rustix::fs::statat(directory, name, AtFlags::empty()) {
                Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                Err(errno) if is_absence(errno) => FileType::Unknown,
                Err(_) if !follow_links => FileType::RegularFile,
                Err(errno) => return EntryType::Unreadable(errno),
            }
        }
        listed => listed,
    };
    match file_type {
        _ if follow_links && listed == FileType::Symlink => {
            EntryType::Link { to_directory: file_type.is_dir() }
        }
        FileType::RegularFile => EntryType::File,
        FileType::Directory => EntryType::Directory,
        _ => EntryType::Other,
    }
}

/// Whether there is a directory at `path`.
pub(super) fn is_directory(path: &Path) -> Result<bool> {
    let stat = absent_is_none(rustix::fs::stat(path)).map_err(Error::io("inspect", path))?;
    Ok(stat.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode).is_dir()))
}

/// Turns the errors that say that nothing exists at a path into `None`.
pub(super) fn absent_is_none<T, E: Into<io::Error>>(result: Result<T, E>) -> io::Result<Option<T>> {
    match result.map_err(Into::into) {
        Ok(value) => Ok(Some(value)),
        Err(error) if Errno::from_io_error(&error).is_some_and(is_absence) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether an error says that nothing exists at a path. A symbolic link that leads to itself leads to nothing.
fn is_absence(errno: Errno) -> bool {
    matches!(errno, Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::LOOP)
}
