//! The files below a directory that holds other things than segments, such as images and logs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::directory::{EntryType, directory_id, read_names};
use super::file::FoundFile;
use crate::error::{Error, Result};

/// How many files are listed, and how many directories are read for that.
const MAX_NAMES: usize = 100_000;
/// How many bytes their paths have together.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// A directory that is to be read.
struct Pending {
    path: PathBuf,
    /// The path below the root, with a slash at its end; empty for the root.
    prefix: String,
    /// The device and inode of each directory on the way to it, so that no link leads in a circle.
    ancestors: Rc<[(u64, u64)]>,
}

/// The paths of all regular files below `root`, relative to it, sorted. Symbolic links are followed. Hidden files and
/// directories are left out, and so is what no request can name. None where there is no such directory.
///
/// # Errors
/// [`Error::TooLarge`] if there are more than 100,000 files or directories; [`Error::Io`] if one of them cannot be read: the list
/// would look complete; [`Error::Cancelled`] once `is_cancelled` returns true.
pub(super) fn list(root: PathBuf, is_cancelled: &dyn Fn() -> bool) -> Result<Vec<String>> {
    let mut pending = vec![Pending { path: root, prefix: String::new(), ancestors: Rc::default() }];
    let mut found = BTreeSet::new();
    let (mut directories, mut bytes) = (0, 0);
    while let Some(next) = pending.pop() {
        if is_cancelled() {
            return Err(Error::Cancelled);
        }
        let Some(id) = directory_id(&next.path)? else { continue };
        if next.ancestors.contains(&id) {
            continue;
        }
        let ancestors: Rc<[_]> = next.ancestors.iter().copied().chain([id]).collect();
        for (name, entry_type) in entries(&next.path)? {
            let path = next.path.join(&name);
            match entry_type {
                EntryType::Directory | EntryType::Link { to_directory: true } => {
                    let prefix = format!("{}{name}/", next.prefix);
                    directories += 1;
                    bytes += prefix.len();
                    pending.push(Pending { path, prefix, ancestors: Rc::clone(&ancestors) });
                }
                EntryType::Link { to_directory: false } if !is_file(path.clone())? => {}
                EntryType::File | EntryType::Link { to_directory: false } => {
                    let file = format!("{}{name}", next.prefix);
                    bytes += file.len();
                    found.insert(file);
                }
                EntryType::Unreadable(errno) => return Err(Error::io("inspect", path)(errno.into())),
                EntryType::Other => {}
            }
            if found.len().max(directories) > MAX_NAMES || bytes > MAX_BYTES {
                return Err(too_many());
            }
        }
    }
    Ok(found.into_iter().collect())
}

/// The entries of a directory that requests can name. They are collected, so that it is not open while links are followed.
fn entries(path: &Path) -> Result<Vec<(String, EntryType)>> {
    let mut entries = Vec::new();
    read_names(path, true, |name, entry_type| {
        // No name in a path of a request may hold a backslash.
        if !name.contains('\\') && entries.len() <= MAX_NAMES {
            entries.push((name.to_owned(), entry_type));
        }
    })?;
    Ok(entries)
}

/// Whether a link leads to a regular file.
fn is_file(path: PathBuf) -> Result<bool> {
    match FoundFile::at(path) {
        Err(Error::NotFound(_)) => Ok(false),
        found => found.map(|_| true),
    }
}

fn too_many() -> Error {
    let limit = MAX_BYTES / (1024 * 1024);
    Error::TooLarge(format!(
        "there are more than {MAX_NAMES} files in this directory, or paths of more than {limit} MiB: distribute them over \
         several directories"
    ))
}
