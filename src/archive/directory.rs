//! Directories, read name by name without an allocation for each, and what identifies their state.

use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Stat};
use rustix::io::Errno;

use crate::clock::Clock;
use crate::error::{Error, Result};

/// How many bytes of directory entries are asked of the system at a time.
const BUFFER_BYTES: usize = 32 * 1024;

thread_local! {
    /// What this thread asks for entries with, while it does not.
    static BUFFER: Cell<Vec<MaybeUninit<u8>>> = const { Cell::new(Vec::new()) };
}

/// How long a changed directory's time stays open to another change that it would not show: more than a tick of the
/// slowest clock, which is 10 ms.
pub(super) const TICK_US: i64 = 12_000;
/// The same where the file system seems to keep whole seconds, or pairs of them.
const COARSE_TICK_US: i64 = 2_100_000;

/// What changes about a directory whenever a name in it comes or goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    mtime_ns: i128,
}

impl Stamp {
    /// The state of the directory at `path`; `None` where there is none.
    pub(super) fn of(path: &Path) -> Result<Option<Self>> {
        let stat = absent_is_none(rustix::fs::stat(path)).map_err(Error::io("look at", path))?;
        Ok(stat.as_ref().map(Self::from_stat))
    }

    fn from_stat(stat: &Stat) -> Self {
        let mtime_ns = i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec);
        Self { device: stat.st_dev, inode: stat.st_ino, mtime_ns }
    }

    /// How many microseconds ago the directory last changed, by this machine's clock; negative where that lies ahead.
    pub(super) fn age_us(&self) -> i64 {
        let mtime_us = i64::try_from(self.mtime_ns / 1000).unwrap_or(i64::MAX);
        Clock::System.now().micros().saturating_sub(mtime_us)
    }

    /// How long after a change another one may come that the time does not show.
    pub(super) fn tick_us(&self) -> i64 {
        if self.mtime_ns % 1_000_000_000 == 0 { COARSE_TICK_US } else { TICK_US }
    }
}

/// What kind of thing a name in a directory stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NameKind {
    /// A regular file, or a symbolic link that may lead to one.
    File,
    /// A directory, or a symbolic link to one.
    Directory,
    /// A symbolic link that was followed.
    Link {
        /// Whether it leads to a directory now. That may change without a change of the directory that it is in.
        to_directory: bool,
    },
    /// A socket, a pipe, a device.
    Other,
    /// A symbolic link that leads to what cannot be looked at, and why.
    Lost(Errno),
}

/// Calls `each` with every visible UTF-8 name in the directory at `path`, in no order.
///
/// Names that begin with a period are left out. What `follow` says decides whether symbolic links are looked up: with
/// `false` every link counts as a file. Returns `false` where there is no such directory. A name that is not UTF-8
/// could not be asked for: `not_text` is told.
pub(super) fn read_names(
    path: &Path,
    follow: bool,
    mut each: impl FnMut(&str, NameKind),
    mut not_text: impl FnMut(),
) -> Result<bool> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = absent_is_none(rustix::fs::open(path, flags, Mode::empty()));
    let Some(directory) = opened.map_err(Error::io("open the directory", path))? else {
        return Ok(false);
    };
    let mut buffer = BUFFER.take();
    buffer.resize(BUFFER_BYTES, MaybeUninit::uninit());
    let mut entries = RawDir::new(&directory, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = match entry {
            Ok(entry) => entry,
            // A directory that is deleted while it is read has no more names.
            Err(Errno::NOENT) => break,
            Err(errno) => return Err(Error::io("read the directory", path)(errno.into())),
        };
        let name = entry.file_name().to_bytes();
        if name.starts_with(b".") {
            continue;
        }
        match std::str::from_utf8(name) {
            Ok(text) => each(text, kind_of(&directory, entry.file_name(), entry.file_type(), follow)),
            Err(_) => not_text(),
        }
    }
    BUFFER.set(buffer);
    Ok(true)
}

/// The kind of one name, looked up where the directory does not say or where it is a link that is to be followed. What
/// cannot be looked up counts as a file where links do: whoever opens it will see.
fn kind_of(directory: impl AsFd, name: &std::ffi::CStr, told: FileType, follow: bool) -> NameKind {
    let kind = match told {
        FileType::Symlink if !follow => FileType::RegularFile,
        FileType::Symlink | FileType::Unknown => {
            match rustix::fs::statat(directory, name, AtFlags::empty()) {
                Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                Err(errno) if is_absence(errno) => FileType::Unknown,
                Err(_) if !follow => FileType::RegularFile,
                Err(errno) => return NameKind::Lost(errno),
            }
        }
        told => told,
    };
    match kind {
        kind if follow && told == FileType::Symlink => NameKind::Link { to_directory: kind.is_dir() },
        FileType::RegularFile => NameKind::File,
        FileType::Directory => NameKind::Directory,
        _ => NameKind::Other,
    }
}

/// Whether there is a directory at `path`.
pub(super) fn is_directory(path: &Path) -> Result<bool> {
    let stat = absent_is_none(rustix::fs::stat(path)).map_err(Error::io("look at", path))?;
    Ok(stat.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode).is_dir()))
}

/// Turns the errors that say that a path leads nowhere into `None`.
pub(super) fn absent_is_none<T, E: Into<io::Error>>(result: Result<T, E>) -> io::Result<Option<T>> {
    match result.map_err(Into::into) {
        Ok(value) => Ok(Some(value)),
        Err(error) if Errno::from_io_error(&error).is_some_and(is_absence) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether an error says that a path leads nowhere.
fn is_absence(errno: Errno) -> bool {
    // A link that leads to itself leads nowhere.
    matches!(errno, Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::LOOP)
}
