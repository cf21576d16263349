//! What is listed of directories, made once and kept for many: the hours of a variant, and the names of an hour's files
//! as the texts that are sent.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use super::cache::Kept;
use super::directory::{NameKind, read_names};
use super::hour::is_extension;
use crate::error::{Error, Result};
use crate::timestamp::Hour;

/// The hours that a variant has directories for.
#[derive(Debug)]
pub(super) struct HourList {
    /// The hours, sorted.
    pub(super) hours: Arc<[Hour]>,
    /// Whether some of them are links, which may come to lead elsewhere, or nowhere, without a trace here.
    linked: bool,
}

impl HourList {
    /// Reads a variant's directory.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let (mut hours, mut linked, mut lost) = (Vec::new(), false, None);
        let keep = |name: &str, kind| {
            let Some(hour) = Hour::parse(name) else { return };
            linked |= matches!(kind, NameKind::Link { .. });
            match kind {
                NameKind::Directory | NameKind::Link { to_directory: true } => hours.push(hour),
                NameKind::Lost(errno) => lost = Some(Error::io("look at", path.join(name))(errno.into())),
                NameKind::File | NameKind::Link { to_directory: false } | NameKind::Other => {}
            }
        };
        read_names(path, true, keep, || {})?;
        hours.sort_unstable();
        // A list without one that may be there would pass for whole.
        lost.map_or(Ok(Self { hours: hours.into(), linked }), Err)
    }
}

impl Kept for HourList {
    fn bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.hours)
    }

    fn is_lasting(&self) -> bool {
        !self.linked
    }
}

/// What there is to list of an hour's directory.
#[derive(Debug)]
pub struct Listing {
    /// The names of the segments (of every kind) and `.json` files, without those that have a tombstone.
    pub alive: Arc<NamesJson>,
    /// The same and the tombstones' own names.
    pub with_tombstones: Arc<NamesJson>,
}

/// Sorted names as a JSON array.
#[derive(Debug)]
pub struct NamesJson {
    json: Arc<[u8]>,
    fingerprint: u64,
    /// The same compressed, once somebody has wanted that.
    compressed: OnceLock<Arc<[u8]>>,
}

impl Listing {
    /// Reads the directory at `path`; of one that is not there nothing is listed.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let mut names = Vec::new();
        let mut dead = HashSet::new();
        let keep = |name: &str, kind| {
            if let Some(stem) = name.strip_suffix(".tombstone") {
                dead.insert(stem.to_owned());
            } else if kind == NameKind::File && (is_extension(name, "ts") || is_extension(name, "json")) {
                names.push(name.to_owned());
            }
        };
        read_names(path, false, keep, || {})?;
        if !dead.is_empty() {
            names.retain(|name| name.rsplit_once('.').is_none_or(|(stem, _)| !dead.contains(stem)));
        }
        names.sort_unstable();
        let alive = Arc::new(NamesJson::of(&names)?);
        if dead.is_empty() {
            return Ok(Self { with_tombstones: Arc::clone(&alive), alive });
        }
        names.extend(dead.into_iter().map(|stem| stem + ".tombstone"));
        names.sort_unstable();
        Ok(Self { alive, with_tombstones: Arc::new(NamesJson::of(&names)?) })
    }

    /// The listing of a directory that is not there.
    pub(super) fn empty() -> Result<Self> {
        let nothing = Arc::new(NamesJson::of(&[])?);
        Ok(Self { with_tombstones: Arc::clone(&nothing), alive: nothing })
    }
}

impl NamesJson {
    /// The text for some names.
    ///
    /// # Errors
    /// They cannot be written as JSON, which would be a mistake here.
    pub fn of(names: &[String]) -> Result<Self> {
        let json =
            serde_json::to_vec(names).map_err(|error| Error::io("write JSON for", "a list")(error.into()))?;
        let mut state = DefaultHasher::new();
        json.hash(&mut state);
        Ok(Self { json: json.into(), fingerprint: state.finish(), compressed: OnceLock::new() })
    }

    /// The text.
    pub fn json(&self) -> &Arc<[u8]> {
        &self.json
    }

    /// A number that differs where the names do: the same on every server that has the same files.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// The text as `compress` makes it of the plain one, for the first who wants it so.
    ///
    /// # Errors
    /// That of `compress`.
    pub fn compressed(&self, compress: impl FnOnce(&[u8]) -> Result<Vec<u8>>) -> Result<&Arc<[u8]>> {
        if let Some(compressed) = self.compressed.get() {
            return Ok(compressed);
        }
        let compressed = compress(&self.json)?;
        Ok(self.compressed.get_or_init(|| compressed.into()))
    }

    /// Roughly how much memory it takes. Names with hashes in them shrink to two thirds at best.
    fn bytes(&self) -> usize {
        size_of::<Self>() + 2 * self.json.len()
    }
}

impl Kept for Listing {
    fn bytes(&self) -> usize {
        let one = Arc::ptr_eq(&self.alive, &self.with_tombstones);
        self.alive.bytes() + if one { 0 } else { self.with_tombstones.bytes() }
    }
}
