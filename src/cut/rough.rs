//! The segments that cover a range, byte for byte one after another. No ffmpeg.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::Part;
use crate::archive::open_regular;
use crate::error::{Error, Result};

/// The files of a rough cut, opened one by one as they are needed, so that a cut of many costs no more descriptors
/// than one.
#[derive(Debug)]
pub struct Rough {
    sources: VecDeque<(PathBuf, u64)>,
    len: u64,
}

/// One file of a rough cut.
#[derive(Debug)]
pub struct RoughFile {
    /// The file, open.
    pub file: File,
    /// Its length in bytes, which is what it was when the cut was measured.
    pub len: u64,
}

impl Rough {
    /// Measures the files.
    ///
    /// # Errors
    /// [`Error::Changed`] if one has gone since it was chosen.
    pub fn measure(parts: Vec<Part>) -> Result<Self> {
        let mut rough = Self { sources: VecDeque::with_capacity(parts.len()), len: 0 };
        for Part { path, .. } in parts {
            let meta = std::fs::metadata(&path).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => changed(&path),
                _ => Error::io("look at", &path)(error),
            })?;
            rough.len += meta.len();
            rough.sources.push_back((path, meta.len()));
        }
        Ok(rough)
    }

    /// How many bytes the files have together.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is nothing in them.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// # Errors
/// An item is an error where its file has gone, or is not as long as it was.
impl Iterator for Rough {
    type Item = Result<RoughFile>;

    fn next(&mut self) -> Option<Self::Item> {
        let (path, len) = self.sources.pop_front()?;
        Some(match open_regular(&path) {
            Ok(open) if open.len == len => Ok(RoughFile { file: open.file, len }),
            Ok(_) | Err(Error::NotFound { .. }) => Err(changed(&path)),
            Err(error) => Err(error),
        })
    }
}

/// The error for a file that has gone, or is no longer what it was.
fn changed(path: &Path) -> Error {
    Error::Changed { what: format!("`{}`", path.display()) }
}
