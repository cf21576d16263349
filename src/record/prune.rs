//! `restreamer prune`: deletes the oldest hours until the archive is within its bounds, once or every so often.

use std::io::{self, Write};
use std::process::ExitCode;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::directory::Directory;
use super::inventory::{Sizes, directories, read_kept};
use super::removal::{Removed, remove_hour};
use super::retention::{Excess, Kept, Listed, Protection, Variant, oldest_first};
use crate::clock::Clock;
use crate::config::{MinFree, PruneConfig};
use crate::timestamp::Span;

/// Why hours stay though the archive exceeds its bounds.
const WHY_LEFT: &str = "the other hours are kept, newest, or could not be deleted";

/// Prunes once, or until a signal comes. What a dry run finds is written to `out`.
///
/// # Errors
/// One line that says why the archive cannot be read at the beginning.
pub fn run(
    config: &PruneConfig,
    clock: &Clock,
    stop: &Receiver<()>,
    out: &mut dyn Write,
) -> Result<ExitCode, String> {
    let is_stopped = || !stop.is_empty();
    let mut pruner = Pruner::new(config.clone(), clock.clone());
    let mut outcome = pruner.round(&is_stopped, out)?;
    while let Some(every) = config.every {
        if is_stopped() || !matches!(stop.recv_timeout(every), Err(RecvTimeoutError::Timeout)) {
            log::info!("stopped");
            return Ok(ExitCode::SUCCESS);
        }
        match pruner.round(&is_stopped, out) {
            Ok(next) => outcome = next,
            Err(why) => log::warn!("{why}"),
        }
    }
    if is_stopped() {
        log::warn!("stopped before the archive was within its bounds");
    }
    Ok(if outcome.is_fine() && !is_stopped() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prunes an archive again and again. It remembers sizes from one round to the next.
#[derive(Debug)]
pub struct Pruner {
    config: PruneConfig,
    clock: Clock,
    sizes: Sizes,
}

/// What a round has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What was deleted, or would be.
    pub deleted: Sum,
    /// What stays.
    pub left: Sum,
    /// What stays because it is kept.
    pub kept: Sum,
    /// By how many bytes the archive still exceeds its bounds.
    pub excess_bytes: u64,
    /// How many directories could not be read, or not be deleted.
    pub failures: u64,
}

/// Hours with their files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    /// How many hours.
    pub hours: u64,
    /// How many files of segments.
    pub files: u64,
    /// What these take.
    pub bytes: u64,
}

impl Outcome {
    /// Whether the archive is within its bounds, and everything was read and deleted that had to be.
    pub fn is_fine(&self) -> bool {
        self.excess_bytes == 0 && self.failures == 0
    }
}

impl Sum {
    fn add(&mut self, hours: u64, files: u64, bytes: u64) {
        self.hours += hours;
        self.files += files;
        self.bytes += bytes;
    }
}

impl Pruner {
    /// Prepares to prune.
    pub fn new(config: PruneConfig, clock: Clock) -> Self {
        Self { config, clock, sizes: Sizes::default() }
    }

    /// Prunes once, and gives up early if `is_stopped`.
    ///
    /// # Errors
    /// One line that says why the archive cannot be read.
    pub fn round(&mut self, is_stopped: &dyn Fn() -> bool, out: &mut dyn Write) -> Result<Outcome, String> {
        let path = self.config.base_dir.clone();
        let fail = |error: io::Error| format!("cannot prune `{}`: {error}", path.display());
        let base = Directory::open(&path).map_err(fail)?;
        let mut outcome = Outcome::default();
        let variants = self.read(&base, is_stopped, &mut outcome).map_err(fail)?;
        let mut excess = self.excess(&base, &variants).map_err(fail)?;
        for listed in oldest_first(&variants) {
            let size = listed.size;
            if is_stopped() {
                return Ok(outcome);
            }
            if listed.protection.is_some() || !excess.demands(size) {
                outcome.left.add(1, size.files, size.bytes);
                if listed.protection == Some(Protection::Kept) {
                    outcome.kept.add(1, size.files, size.bytes);
                }
            } else if self.config.dry_run {
                excess.freed(size, size.bytes);
                outcome.deleted.add(1, size.files, size.bytes);
                let _ = writeln!(out, "would delete {}", describe(&listed, size.files, size.bytes));
            } else {
                let removed = remove(&base, &listed, is_stopped);
                match removed {
                    Ok(Some(removed)) => outcome.count(&listed, removed, &mut excess),
                    Ok(None) => outcome.left.add(1, size.files, size.bytes),
                    Err(error) => {
                        outcome.failures += 1;
                        log::warn!("cannot delete {}: {error}", name(&listed));
                    }
                }
            }
        }
        outcome.excess_bytes = excess.bytes.max(excess.missing_bytes);
        self.report(&excess, &outcome, out);
        Ok(outcome)
    }

    /// Reads all variants that are to be pruned. What cannot be read is logged and counted.
    fn read(
        &mut self,
        base: &Directory,
        is_stopped: &dyn Fn() -> bool,
        outcome: &mut Outcome,
    ) -> io::Result<Vec<Variant>> {
        self.sizes.begin_round();
        let mut found = Vec::new();
        for stream in directories(base, self.sizes.link_level())? {
            if is_selected(&self.config.streams, &stream) {
                let read = self.read_stream(base, &stream, is_stopped, &mut found);
                self.sizes.checked(read, &base.path().join(stream));
            }
        }
        outcome.failures += self.sizes.failures();
        for variant in &found {
            if let Kept::All(why) = &variant.kept {
                outcome.failures += 1;
                log::warn!("deletes nothing of {}/{}: {why}", variant.stream, variant.name);
            }
        }
        Ok(found)
    }

    fn read_stream(
        &mut self,
        base: &Directory,
        stream: &str,
        is_stopped: &dyn Fn() -> bool,
        found: &mut Vec<Variant>,
    ) -> io::Result<()> {
        let Some(directory) = base.child(stream)? else { return Ok(()) };
        for name in directories(&directory, self.sizes.link_level())? {
            if is_selected(&self.config.variants, &name) && !is_stopped() {
                let variant = self.sizes.variant(stream, &name, &directory, is_stopped);
                found.extend(self.sizes.checked(variant, &directory.path().join(name)).flatten());
            }
        }
        Ok(())
    }

    fn excess(&self, base: &Directory, variants: &[Variant]) -> io::Result<Excess> {
        let total = variants.iter().flat_map(|variant| &variant.hours).map(|hour| hour.bytes).sum::<u64>();
        let age_us = |age: std::time::Duration| i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
        let oldest = |age| self.clock.now() - Span::from_micros(age_us(age));
        let system = base.file_system()?;
        let least = match self.config.min_free() {
            None => 0,
            Some(MinFree::Bytes(bytes)) => bytes,
            Some(MinFree::Permille(share)) => {
                share_of(system.f_blocks.saturating_mul(system.f_frsize), share)
            }
        };
        Ok(Excess {
            oldest: self.config.max_age.map(oldest),
            bytes: self.config.max_bytes.map_or(0, |most| total.saturating_sub(most)),
            missing_bytes: least.saturating_sub(system.f_bavail.saturating_mul(system.f_frsize)),
            device: base.own_stat()?.st_dev,
        })
    }

    fn report(&self, excess: &Excess, outcome: &Outcome, out: &mut dyn Write) {
        let Outcome { deleted, left, kept, .. } = outcome;
        let kept = if kept.hours == 0 { String::new() } else { format!(", of which {kept} are kept") };
        if self.config.dry_run {
            let _ = writeln!(out, "would delete {deleted} in all; {left} stay{kept}");
        } else {
            // Who prunes again and again need not hear each time that there was nothing to do.
            let is_news = deleted.hours > 0 || self.config.every.is_none();
            let level = if is_news { log::Level::Info } else { log::Level::Debug };
            log::log!(level, "deleted {deleted}; {left} stay{kept}");
        }
        if excess.bytes > 0 {
            log::warn!("the segments take {} more than --max-bytes: {WHY_LEFT}", shown(excess.bytes));
        }
        if excess.missing_bytes > 0 {
            log::warn!("{} are missing to --min-free: {WHY_LEFT}", shown(excess.missing_bytes));
        }
    }
}

impl Outcome {
    /// Adds what was done with an hour, and logs it.
    fn count(&mut self, listed: &Listed, removed: Removed, excess: &mut Excess) {
        let Removed { files, bytes, others, failed, is_gone } = removed;
        excess.freed(listed.size, bytes);
        self.deleted.add(u64::from(is_gone || others.0 > 0), files, bytes);
        log::info!("deleted {}", describe(listed, files, bytes));
        if let (count, Some(example)) = others {
            log::warn!(
                "left {}: {count} entries do not belong to segments, such as `{}`",
                name(listed),
                example.escape_debug()
            );
        }
        if let (count, Some(error)) = failed {
            self.failures += 1;
            log::warn!("could not delete {count} files of {}: {error}", name(listed));
        }
    }
}

fn is_selected(names: &[String], name: &String) -> bool {
    names.is_empty() || names.contains(name)
}

/// Deletes an hour. Returns `None` if it is kept by now.
fn remove(base: &Directory, listed: &Listed, is_stopped: &dyn Fn() -> bool) -> io::Result<Option<Removed>> {
    let Listed { variant: Variant { stream, name: variant, .. }, size, .. } = listed;
    let gone = || Some(Removed { bytes: size.bytes, is_gone: true, ..Removed::default() });
    let Some(stream) = base.child(stream)? else { return Ok(gone()) };
    let Some(directory) = stream.child(variant)? else { return Ok(gone()) };
    if read_kept(&directory).covers(size) {
        return Ok(None);
    }
    remove_hour(&directory, size, is_stopped).map(Some)
}

/// The path of an hour below the base directory.
fn name(listed: &Listed) -> String {
    format!("{}/{}/{}", listed.variant.stream, listed.variant.name, listed.size.hour)
}

fn describe(listed: &Listed, files: u64, bytes: u64) -> String {
    format!("{}: {}, {}", name(listed), counted(files, "file"), shown(bytes))
}

fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

impl std::fmt::Display for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, {}, {}", counted(self.hours, "hour"), counted(self.files, "file"), shown(self.bytes))
    }
}

/// A share of a size, in thousandths.
fn share_of(bytes: u64, permille: u16) -> u64 {
    u64::try_from(u128::from(bytes) * u128::from(permille) / 1000).unwrap_or(u64::MAX)
}

/// A number of bytes with three digits or so: `1.8 GB`.
fn shown(bytes: u64) -> String {
    let units = [("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1000)];
    match units.into_iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => format!("{}.{} {name}", bytes / unit, bytes % unit / (unit / 10)),
        None => format!("{bytes} bytes"),
    }
}
