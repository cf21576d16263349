//! Regular files of the archive, found and opened. Other programs replace files at any time, so an open never blocks on
//! what may have taken a file's place.

use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{Mode, OFlags};

use super::directory::absent_is_none;
use crate::error::{Error, Result};

/// A regular file that exists.
#[derive(Debug)]
pub struct FoundFile {
    path: PathBuf,
    /// Its length in bytes.
    pub len: u64,
    /// When it was last written.
    pub modified: SystemTime,
}

/// An open regular file.
#[derive(Debug)]
pub struct OpenFile {
    /// The file.
    pub file: File,
    /// Its length in bytes when it was opened.
    pub len: u64,
    /// When it was last written.
    pub modified: SystemTime,
}

impl FoundFile {
    /// Finds the file at `path`, following symbolic links.
    pub(super) fn at(path: PathBuf) -> Result<Self> {
        let found = absent_is_none(std::fs::metadata(&path)).map_err(Error::io("inspect", &path))?;
        let meta = found.filter(Metadata::is_file).ok_or_else(no_such_file)?;
        let modified = meta.modified().map_err(Error::io("inspect", &path))?;
        Ok(Self { len: meta.len(), modified, path })
    }

    /// Opens the file for reading.
    ///
    /// # Errors
    /// As [`open_regular`].
    pub fn open(&self) -> Result<OpenFile> {
        open_regular(&self.path)
    }
}

/// Opens the regular file at `path` for reading.
///
/// # Errors
/// [`Error::NotFound`] if there is no such file or it is not a regular one.
pub fn open_regular(path: &Path) -> Result<OpenFile> {
    // Without `NONBLOCK` a pipe would keep its opener waiting for a writer.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = absent_is_none(rustix::fs::open(path, flags, Mode::empty()));
    let file = File::from(opened.map_err(Error::io("open", path))?.ok_or_else(no_such_file)?);
    let meta = file.metadata().map_err(Error::io("inspect", path))?;
    if !meta.is_file() {
        return Err(no_such_file());
    }
    let modified = meta.modified().map_err(Error::io("inspect", path))?;
    Ok(OpenFile { file, len: meta.len(), modified })
}

/// Whether what is at `path` has no bytes to read: an empty file, or no regular one. What cannot be inspected is for its
/// reader to report.
pub(super) fn is_empty(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| !meta.is_file() || meta.len() == 0)
}

fn no_such_file() -> Error {
    Error::NotFound("there is no such file".to_owned())
}
