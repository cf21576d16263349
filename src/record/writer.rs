//! Writes segments into an archive. A segment has a `temp` name until all its bytes are on the disk.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};

use super::cutter::Sink;
use crate::archive::layout::{SegmentName, SegmentType, hour_name};
use crate::metrics::recorder::RecorderMetrics;
use crate::timestamp::{Span, Timestamp};

/// What the unique part of the `temp` names of this recorder begins with, by which its leftovers are known.
pub(super) const TEMP_MARK: &str = "recorder-";
/// Where the kernel gives names that are unique.
const UUID: &str = "/proc/sys/kernel/random/uuid";
/// By how much names have moved before that is logged again.
const LOGGED_SLEW_US: i64 = 100_000;

/// Writes the segments of a variant.
#[derive(Debug)]
pub(super) struct ArchiveWriter {
    /// The variant's directory.
    directory: PathBuf,
    /// The duration in `temp` names.
    target: Span,
    open: Option<OpenFile>,
    /// Whether the last segment could not be written.
    is_failing: bool,
    slew_us: i64,
    metrics: Arc<RecorderMetrics>,
}

/// A segment that is being written.
#[derive(Debug)]
struct OpenFile {
    file: File,
    path: PathBuf,
    start: Timestamp,
    hash: Sha256,
    bytes: u64,
}

impl ArchiveWriter {
    /// A writer to the directory of a variant, which need not exist.
    pub(super) fn new(directory: PathBuf, target: Span, metrics: Arc<RecorderMetrics>) -> Self {
        Self { directory, target, open: None, is_failing: false, slew_us: 0, metrics }
    }

    fn open(&self, start: Timestamp) -> io::Result<OpenFile> {
        let hour = self.directory.join(hour_name(start.hour()));
        make_directory(&hour)?;
        let unique = format!("{TEMP_MARK}{}", fs::read_to_string(UUID)?.trim());
        let name = SegmentName::new(start - start.hour().start(), self.target, SegmentType::Temp, &unique);
        let path = hour.join(name.to_string());
        let file = File::create_new(&path)?;
        // Another recorder of the variant sees that this file is in use.
        lock(&file).inspect_err(|_| drop(fs::remove_file(&path)))?;
        Ok(OpenFile { file, path, start, hash: Sha256::new(), bytes: 0 })
    }

    /// Tells of the first failure in a row.
    fn fail(&mut self, error: &io::Error) {
        if let Some(open) = self.open.take() {
            let _ = fs::remove_file(&open.path);
        }
        self.metrics.disk_failures.inc();
        if !self.is_failing {
            self.is_failing = true;
            log::error!(
                "cannot write to `{}`: {error}; trying again at each segment",
                self.directory.display()
            );
        }
    }
}

impl Drop for ArchiveWriter {
    fn drop(&mut self) {
        if let Some(open) = self.open.take() {
            let _ = fs::remove_file(&open.path);
        }
    }
}

impl Sink for ArchiveWriter {
    fn begin_run(&mut self, start: Timestamp, gap: Option<Span>) {
        self.metrics.runs.inc();
        match gap {
            None => log::info!("recording from {start}"),
            Some(gap) => log::info!("a new run begins at {start}, {gap} s after the end of the last segment"),
        }
    }

    fn begin(&mut self, start: Timestamp) -> bool {
        let was_failing = self.is_failing;
        match self.open(start) {
            Ok(open) => self.open = Some(open),
            Err(error) => self.fail(&error),
        }
        !was_failing
    }

    fn write(&mut self, bytes: &[u8]) {
        let Some(open) = &mut self.open else { return };
        open.hash.update(bytes);
        open.bytes += bytes.len() as u64;
        if let Err(error) = open.file.write_all(bytes) {
            self.fail(&error);
        }
    }

    fn end(&mut self, duration: Span, segment_type: SegmentType) {
        let Some(open) = &self.open else { return };
        let offset = open.start - open.start.hour().start();
        let hash = BASE64URL_NOPAD.encode(&open.hash.clone().finalize());
        let name =
            SegmentName::new(offset, duration.max(Span::from_millis(1)), segment_type, &hash).to_string();
        match publish(&open.file, &open.path, &name) {
            Ok(()) => {
                if std::mem::take(&mut self.is_failing) {
                    log::info!("can write to `{}` again", self.directory.display());
                }
                self.metrics.segment(segment_type, open.bytes, open.start + duration);
                log::debug!("{}/{name}", open.start.hour());
                self.open = None;
            }
            Err(error) => self.fail(&error),
        }
    }

    fn slew(&mut self, us: i64) {
        let before = self.slew_us / LOGGED_SLEW_US;
        self.slew_us += us;
        self.metrics.slew_microseconds.inc_by(us.unsigned_abs());
        if self.slew_us / LOGGED_SLEW_US != before {
            log::info!(
                "the source's clock and the wall clock have drifted apart: names were moved by {} ms so far",
                self.slew_us / 1000
            );
        }
    }
}

/// Gives a whole segment its name, once its bytes are on the disk.
pub(super) fn publish(file: &File, path: &Path, name: &str) -> io::Result<()> {
    file.sync_data()?;
    fs::rename(path, path.with_file_name(name))?;
    path.parent().map_or(Ok(()), |hour| File::open(hour)?.sync_all())
}

/// Locks a file for as long as it is open; fails if another process has locked it.
pub(super) fn lock(file: &File) -> io::Result<()> {
    Ok(rustix::fs::flock(file, rustix::fs::FlockOperation::NonBlockingLockExclusive)?)
}

/// Makes a directory and those above it, durably.
fn make_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make_directory(parent)?;
    }
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    path.parent().map_or(Ok(()), |parent| {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        File::open(parent)?.sync_all()
    })
}
