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

/// Opens the segments of a selection one by one, so the memory and descriptors that a rough cut takes do not depend on its
/// length. A file that was deleted yields [`Error::Changed`].
pub fn files(
    archive: Arc<Archive>,
    mut selection: Selection,
) -> impl Iterator<Item = Result<OpenFile>> + Send {
    std::iter::from_fn(move || {
        let path = match selection.next_segment().transpose()? {
            Ok(chosen) => archive.segment_path(chosen.variant, &chosen.segment),
            Err(error) => return Some(Err(error)),
        };
        // The file was there when its size was taken.
        Some(open_regular(&path).map_err(|error| match error {
            Error::NotFound(_) => changed(&path),
            other => other,
        }))
    })
}

fn changed(path: &Path) -> Error {
    Error::Changed(format!("`{}`", path.display()))
}
