//! Lists of what a directory holds: the hours of a variant, and the names of an hour's files as the JSON that is sent.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use super::cache::CacheValue;
use super::directory::{EntryType, read_names};
use super::layout::{Extension, parse_hour_name, split_file_name, tombstone_name};
use crate::error::{Error, Result};
use crate::fnv::Fnv;
use crate::timestamp::Hour;

/// The hours that a variant has directories for.
#[derive(Debug)]
pub(super) struct HourList {
    /// The hours, sorted.
    pub(super) hours: Arc<[Hour]>,
    /// Whether some of them are symbolic links, whose targets may change without a change of the variant's directory.
    has_links: bool,
}

impl HourList {
    /// Reads a variant's directory.
    ///
    /// # Errors
    /// [`Error::Io`] also if a link cannot be followed: a list without its hour would look complete.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let (mut hours, mut has_links, mut failure) = (Vec::new(), false, None);
        let each = |name: &str, entry_type| {
            let Some(hour) = parse_hour_name(name) else { return };
            has_links |= matches!(entry_type, EntryType::Link { .. });
            match entry_type {
                EntryType::Directory | EntryType::Link { to_directory: true } => hours.push(hour),
                EntryType::Unreadable(errno) => {
                    failure = Some(Error::io("inspect", path.join(name))(errno.into()));
                }
                EntryType::File | EntryType::Link { to_directory: false } | EntryType::Other => {}
            }
        };
        read_names(path, true, each)?;
        hours.sort_unstable();
        failure.map_or(Ok(Self { hours: hours.into(), has_links }), Err)
    }
}

impl CacheValue for HourList {
    fn bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.hours)
    }

    fn is_cacheable(&self) -> bool {
        !self.has_links
    }
}

/// The names in an hour's directory.
#[derive(Debug)]
pub struct Listing {
    /// The segments, of every type, and JSON files that have no tombstone.
    pub visible: Arc<NamesJson>,
    /// The same, and the tombstones.
    pub with_tombstones: Arc<NamesJson>,
}

/// Sorted names as a JSON array.
#[derive(Debug)]
pub struct NamesJson {
    /// The array.
    pub json: Arc<Vec<u8>>,
    /// A hash of the array: equal on all servers that have the same files, whichever build they run.
    pub fingerprint: u64,
    /// The compressed array, made when it is first asked for.
    compressed: OnceLock<Arc<Vec<u8>>>,
}

impl Listing {
    /// Reads the directory at `path`. One that does not exist has nothing to list.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let (mut names, mut deleted) = (Vec::new(), HashSet::new());
        let each = |name: &str, entry_type| match split_file_name(name) {
            Some((stem, Extension::Tombstone)) => {
                deleted.insert(stem.to_owned());
            }
            Some(_) if entry_type == EntryType::File => names.push(name.to_owned()),
            _ => {}
        };
        read_names(path, false, each)?;
        names.retain(|name| split_file_name(name).is_none_or(|(stem, _)| !deleted.contains(stem)));
        names.sort_unstable();
        let visible = Arc::new(NamesJson::new(&names)?);
        if deleted.is_empty() {
            return Ok(Self { with_tombstones: Arc::clone(&visible), visible });
        }
        names.extend(deleted.iter().map(|stem| tombstone_name(stem)));
        names.sort_unstable();
        Ok(Self { visible, with_tombstones: Arc::new(NamesJson::new(&names)?) })
    }
}

impl CacheValue for Listing {
    fn bytes(&self) -> usize {
        let is_shared = Arc::ptr_eq(&self.visible, &self.with_tombstones);
        self.visible.bytes() + if is_shared { 0 } else { self.with_tombstones.bytes() }
    }
}

impl NamesJson {
    /// The array of some names.
    ///
    /// # Errors
    /// [`Error::Io`] if they cannot be written as JSON, which is not expected.
    pub fn new(names: &[String]) -> Result<Self> {
        let json =
            serde_json::to_vec(names).map_err(|error| Error::io("write JSON for", "a list")(error.into()))?;
        let mut fingerprint = Fnv::new();
        fingerprint.write(&json);
        Ok(Self { json: json.into(), fingerprint: fingerprint.finish(), compressed: OnceLock::new() })
    }

    /// The array as `compress` returns it the first time.
    ///
    /// # Errors
    /// That of `compress`.
    pub fn compressed(&self, compress: impl FnOnce(&[u8]) -> Result<Vec<u8>>) -> Result<&Arc<Vec<u8>>> {
        if let Some(compressed) = self.compressed.get() {
            return Ok(compressed);
        }
        let compressed = compress(&self.json)?;
        Ok(self.compressed.get_or_init(|| compressed.into()))
    }

    /// Roughly how much memory it takes with the compressed array, which is smaller, as names hold hashes.
    fn bytes(&self) -> usize {
        size_of::<Self>() + 2 * self.json.capacity()
    }
}
