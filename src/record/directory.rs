//! Directories of an archive, opened without ever following a symbolic link below the base directory.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, StatVfs};
use rustix::io::Errno;

const OPEN: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// An open directory. It stays the same one, whatever is renamed.
#[derive(Debug)]
pub(super) struct Directory {
    descriptor: OwnedFd,
    path: PathBuf,
}

/// An entry of a directory whose name is UTF-8.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) file_type: FileType,
}

impl Directory {
    /// Opens the base directory, which may be a link.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let descriptor = rustix::fs::open(path, OPEN, Mode::empty())?;
        Ok(Self { descriptor, path: path.to_owned() })
    }

    /// Opens a directory in this one; `None` if there is nothing of this name.
    ///
    /// # Errors
    /// Also if it is not a directory, or a symbolic link to one.
    pub(super) fn child(&self, name: &str) -> io::Result<Option<Self>> {
        match rustix::fs::openat(&self.descriptor, name, OPEN | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(descriptor) => Ok(Some(Self { descriptor, path: self.path.join(name) })),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::NOTDIR | Errno::LOOP) => {
                Err(io::Error::other("it is a symbolic link, which is not followed, or no directory"))
            }
            Err(errno) => Err(errno.into()),
        }
    }

    /// Its path, for messages.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The entries, in no order, and how many others have names that are not UTF-8.
    pub(super) fn entries(&self) -> io::Result<(Vec<Entry>, usize)> {
        let (mut entries, mut not_utf8) = (Vec::new(), 0);
        for entry in Dir::read_from(&self.descriptor)? {
            let entry = match entry {
                Ok(entry) => entry,
                // The directory was deleted while it was being read.
                Err(Errno::NOENT) => break,
                Err(errno) => return Err(errno.into()),
            };
            match entry.file_name().to_str() {
                Ok("." | "..") => {}
                Ok(name) => {
                    let file_type = match entry.file_type() {
                        FileType::Unknown => self.file_type(name)?,
                        known => known,
                    };
                    entries.push(Entry { name: name.to_owned(), file_type });
                }
                Err(_) => not_utf8 += 1,
            }
        }
        Ok((entries, not_utf8))
    }

    fn file_type(&self, name: &str) -> io::Result<FileType> {
        Ok(self.stat(name)?.map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.st_mode)))
    }

    /// What an entry is, without following a link; `None` if it is gone.
    pub(super) fn stat(&self, name: &str) -> io::Result<Option<Stat>> {
        absent_is_none(rustix::fs::statat(&self.descriptor, name, AtFlags::SYMLINK_NOFOLLOW))
    }

    /// What the directory itself is.
    pub(super) fn own_stat(&self) -> io::Result<Stat> {
        Ok(rustix::fs::fstat(&self.descriptor)?)
    }

    /// The file system that it is in.
    pub(super) fn file_system(&self) -> io::Result<StatVfs> {
        Ok(rustix::fs::fstatvfs(&self.descriptor)?)
    }

    /// Deletes a file, or a link itself. Returns whether it was there.
    pub(super) fn remove_file(&self, name: &str) -> io::Result<bool> {
        Ok(absent_is_none(rustix::fs::unlinkat(&self.descriptor, name, AtFlags::empty()))?.is_some())
    }

    /// Deletes an empty directory. Returns whether there is none now: one that is not empty stays.
    pub(super) fn remove_directory(&self, name: &str) -> io::Result<bool> {
        match rustix::fs::unlinkat(&self.descriptor, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(true),
            Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Makes a directory if there is none, and opens it.
    pub(super) fn make_child(&self, name: &str) -> io::Result<Self> {
        match rustix::fs::mkdirat(&self.descriptor, name, Mode::from_raw_mode(0o777)) {
            Ok(()) => self.sync()?,
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        self.child(name)?.ok_or_else(|| Errno::NOENT.into())
    }

    /// Makes an empty file. Returns whether it is new.
    pub(super) fn make_file(&self, name: &str) -> io::Result<bool> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.descriptor, name, flags, Mode::from_raw_mode(0o666)) {
            Ok(_) => self.sync().map(|()| true),
            Err(Errno::EXIST) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Waits until changes of its names are on the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.descriptor)?)
    }
}

fn absent_is_none<T>(result: Result<T, Errno>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}
