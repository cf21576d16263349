//! The arguments and options of `restreamer prune`.

use std::path::PathBuf;
use std::time::Duration;

use log::LevelFilter;

use super::spec::{ArgumentSpec, CommandLine, OptionSpec};
use super::values::{
    bytes, directory_name, duration, flag, level, path, share, shown_bytes, shown_duration, text,
};

/// The effective value of every argument and option.
#[derive(Debug, Clone, PartialEq)]
pub struct PruneConfig {
    /// Root directory of the archive.
    pub base_dir: PathBuf,
    /// The oldest that an hour may become.
    pub max_age: Option<Duration>,
    /// The most bytes that the archive may take.
    pub max_bytes: Option<u64>,
    /// The least that must be free on the archive's file system.
    pub min_free: Option<MinFree>,
    /// The streams to prune; empty for all.
    pub streams: Vec<String>,
    /// The variants to prune; empty for all.
    pub variants: Vec<String>,
    /// Whether to list only what would be deleted.
    pub dry_run: bool,
    /// How long to wait before each next time; `None` to end after the first one.
    pub every: Option<Duration>,
    /// Least severe level that is logged.
    pub log_level: LevelFilter,
}

impl Default for PruneConfig {
    fn default() -> Self {
        Self {
            base_dir: PathBuf::new(),
            max_age: None,
            max_bytes: None,
            min_free: None,
            streams: Vec::new(),
            variants: Vec::new(),
            dry_run: false,
            every: None,
            log_level: LevelFilter::Info,
        }
    }
}

/// The least free space of a file system.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MinFree {
    /// So many bytes.
    Bytes(u64),
    /// So many thousandths of its size.
    Permille(u16),
}

impl PruneConfig {
    /// What must be free: what is given, or 5 % if it stays and no bound is given.
    pub fn min_free(&self) -> Option<MinFree> {
        let is_default = self.every.is_some() && self.max_age.is_none() && self.max_bytes.is_none();
        self.min_free.or_else(|| is_default.then_some(MinFree::Permille(50)))
    }
}

const fn option(group: &'static str, name: &'static str) -> OptionSpec<PruneConfig> {
    OptionSpec::new(group, name)
}

impl CommandLine for PruneConfig {
    const COMMAND: &'static str = "prune";
    const VARIABLES: &'static str = "RESTREAMER_PRUNE_";
    const INTRODUCTION: &'static str = "\
restreamer prune deletes the oldest hours of an archive until it is within the bounds that are
given. It never deletes the newest hour of a variant, nor what `restreamer keep` protects.

Usage: restreamer prune BASE_DIR [OPTIONS]
";
    const NOTES: &'static str = "
Sizes are in bytes; k, M, G and T stand for powers of 1000, Ki, Mi, Gi and Ti for powers of 1024.
Lengths of time have units: 90s, 10m, 12h, 30d, 2w.

Environment:
  Every option above \"Other\" can also be set by a variable: RESTREAMER_PRUNE_MAX_AGE for --max-age,
  and so on; RESTREAMER_LOG_LEVEL is that of the server too. The command line takes precedence. An
  empty variable counts as unset.

Exit code:
  0 if the archive is within the bounds, 1 if it is not, or if not all could be deleted, 2 after a
  usage error. With --every it is 0 after SIGTERM or SIGINT.

Example:
  restreamer prune /srv/archive --max-age 30d --max-bytes 500G --dry-run
";
    const ARGUMENTS: &'static [ArgumentSpec<Self>] =
        &[ArgumentSpec::required("BASE_DIR", "root directory of the archive", |config, value| {
            path(value).map(|path| config.base_dir = path)
        })];
    const OPTIONS: &'static [OptionSpec<Self>] = &[
        option("Bounds", "max-age")
            .help("delete hours that ended longer ago than this")
            .value("AGE", |config, value| duration(value).map(|age| config.max_age = Some(age)))
            .shown(|config| config.max_age.map_or("none".to_owned(), shown_duration)),
        option("Bounds", "max-bytes")
            .help("delete the oldest hours until the segments take at most this many bytes")
            .value("SIZE", |config, value| bytes(value).map(|bytes| config.max_bytes = Some(bytes)))
            .shown(|config| config.max_bytes.map_or("none".to_owned(), shown_bytes)),
        option("Bounds", "min-free")
            .help("delete the oldest hours until this much of the archive's file system is free, such as 5% or 50G")
            .value("SIZE", |config, value| min_free(&text(value)?).map(|least| config.min_free = Some(least)))
            .shown(|config| match config.min_free() {
                None => "none".to_owned(),
                Some(MinFree::Bytes(bytes)) => shown_bytes(bytes),
                Some(MinFree::Permille(share)) => format!("{}%", f64::from(share) / 10.0),
            })
            .computed_default("5% with --every and no other bound, else none"),
        option("Selection", "stream")
            .help("prune only this stream; the option can be repeated")
            .value("NAME", |config, value| directory_name(value).map(|name| config.streams.push(name)))
            .shown(|config| shown_names(&config.streams)),
        option("Selection", "variant")
            .help("prune only variants of this name; the option can be repeated")
            .value("NAME", |config, value| directory_name(value).map(|name| config.variants.push(name)))
            .shown(|config| shown_names(&config.variants)),
        option("Selection", "dry-run")
            .help("delete nothing: list the hours that would be deleted, and their sum")
            .switch(|config, value| flag(value).map(|is_on| config.dry_run = is_on)),
        option("Selection", "every")
            .help("stay, and prune again after this time, such as 10m")
            .value("TIME", |config, value| duration(value).map(|time| config.every = Some(time)))
            .shown(|config| config.every.map_or("none".to_owned(), shown_duration))
            .computed_default("prune once"),
        OptionSpec::log_level(
            |config, value| level(value).map(|level| config.log_level = level),
            |config| config.log_level.as_str().to_ascii_lowercase(),
        ),
        OptionSpec::for_help(),
    ];

    fn validate(&self) -> Result<(), String> {
        if self.dry_run && self.every.is_some() {
            return Err("--dry-run lists once: leave --every out".to_owned());
        }
        if self.max_age.is_none() && self.max_bytes.is_none() && self.min_free().is_none() {
            return Err("there is no bound: give --max-age, --max-bytes or --min-free".to_owned());
        }
        Ok(())
    }
}

fn min_free(text: &str) -> Result<MinFree, String> {
    match text.strip_suffix('%') {
        Some(percent) => share(percent).map(MinFree::Permille),
        None => bytes(text.as_ref()).map(MinFree::Bytes),
    }
}

fn shown_names(names: &[String]) -> String {
    if names.is_empty() { "all".to_owned() } else { names.join(" ") }
}
