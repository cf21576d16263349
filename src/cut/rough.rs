//! The segments that cover a range, byte for byte one after another. No ffmpeg.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::archive::selection::Selection;
use crate::archive::{Archive, OpenFile, open_found};
use crate::error::{Error, Result};

/// How many bytes the file at `path` has.
///
/// # Errors
/// [`Error::Changed`] if it has gone since it was chosen, or is no file.
pub fn measure(path: &Path) -> Result<u64> {
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_file() => Ok(meta.len()),
        Ok(_) => Err(changed(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(changed(path)),
        Err(error) => Err(Error::io("look at", path)(error)),
    }
}

/// The files of a rough cut, found and opened one by one as they are needed, so that a cut of many costs no more
/// memory and descriptors than one of few.
#[derive(Debug)]
pub struct Files {
    archive: Arc<Archive>,
    selection: Selection,
}

impl Files {
    /// The files of the segments of a selection.
    pub fn new(archive: Arc<Archive>, selection: Selection) -> Self {
        Self { archive, selection }
    }
}

/// # Errors
/// An item is an error where its file has gone.
impl Iterator for Files {
    type Item = Result<OpenFile>;

    fn next(&mut self) -> Option<Self::Item> {
        let path = match self.selection.next_segment() {
            Ok(None) => return None,
            Err(error) => return Some(Err(error)),
            Ok(Some(chosen)) => self.archive.segment_path(chosen.variant, &chosen.segment),
        };
        // They have all been measured.
        Some(match open_found(&path) {
            Err(Error::NotFound { .. }) => Err(changed(&path)),
            other => other,
        })
    }
}

/// The error for a file that has gone.
fn changed(path: &Path) -> Error {
    Error::Changed { what: format!("`{}`", path.display()) }
}
