//! The rough cut: the segments that cover a range, byte for byte one after another, without ffmpeg.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::archive::selection::Selection;
use crate::archive::{Archive, OpenFile, open_regular};
use crate::error::{Error, Result};

/// The size of a segment's file in bytes.
///
/// # Errors
/// [`Error::Changed`] if it was deleted since it was selected, or is not a file.
pub fn measure(path: &Path) -> Result<u64> {
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_file() => Ok(meta.len()),
        Ok(_) => Err(changed(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(changed(path)),
        Err(error) => Err(Error::io("get the size of", path)(error)),
    }
}

/// The files of a rough cut. They are selected and opened one by one, so the memory and descriptors that a cut takes do not
/// depend on its length.
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
/// [`Error::Changed`] in place of a file that was deleted.
impl Iterator for Files {
    type Item = Result<OpenFile>;

    fn next(&mut self) -> Option<Self::Item> {
        let path = match self.selection.next_segment() {
            Ok(None) => return None,
            Err(error) => return Some(Err(error)),
            Ok(Some(chosen)) => self.archive.segment_path(chosen.variant, &chosen.segment),
        };
        // The file was there when its size was taken.
        Some(match open_regular(&path) {
            Err(Error::NotFound { .. }) => Err(changed(&path)),
            other => other,
        })
    }
}

/// The error for a file that was deleted.
fn changed(path: &Path) -> Error {
    Error::Changed { what: format!("`{}`", path.display()) }
}
