//! The arguments and options of `restreamer keep` and `restreamer unkeep`.

use std::path::PathBuf;

use super::spec::{ArgumentSpec, CommandLine, OptionSpec};
use super::values::{directory_name, path, time};
use crate::timestamp::Timestamp;

/// The arguments of `restreamer keep`, or of `restreamer unkeep`. Without a range both list.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProtectionConfig<const IS_KEPT: bool> {
    /// Root directory of the archive.
    pub base_dir: PathBuf,
    /// The stream.
    pub stream: Option<String>,
    /// Its variant.
    pub variant: Option<String>,
    /// When the range begins.
    pub start: Option<Timestamp>,
    /// The first instant after the range.
    pub end: Option<Timestamp>,
}

/// The arguments of `restreamer keep`.
pub type KeepConfig = ProtectionConfig<true>;
/// The arguments of `restreamer unkeep`.
pub type UnkeepConfig = ProtectionConfig<false>;

impl<const IS_KEPT: bool> CommandLine for ProtectionConfig<IS_KEPT> {
    const COMMAND: &'static str = if IS_KEPT { "keep" } else { "unkeep" };
    const VARIABLES: &'static str = "RESTREAMER_KEEP_";
    const INTRODUCTION: &'static str = if IS_KEPT {
        "\
restreamer keep protects a time range of a variant: `restreamer prune` deletes no hour in which any
of it lies. Without a range it lists the protected ranges.

Usage: restreamer keep BASE_DIR STREAM VARIANT START END
       restreamer keep BASE_DIR [STREAM] [VARIANT]
"
    } else {
        "\
restreamer unkeep ends the protection of a time range by `restreamer keep`. The range is one that is
listed. Without a range it lists the protected ranges.

Usage: restreamer unkeep BASE_DIR STREAM VARIANT START END
       restreamer unkeep BASE_DIR [STREAM] [VARIANT]
"
    };
    const NOTES: &'static str = "
Times are in UTC unless they have a zone: 2026-11-20T10:55:02Z, 2026-11-20T10, 2026-11-20.

A protected range is an empty file, BASE_DIR/STREAM/VARIANT/.keep/START_END.

Example:
  restreamer keep /srv/archive gdq source 2026-11-20T10:30 2026-11-20T12:15
  restreamer keep /srv/archive
  restreamer unkeep /srv/archive gdq source 2026-11-20T10:30 2026-11-20T12:15
";
    const ARGUMENTS: &'static [ArgumentSpec<Self>] = &[
        ArgumentSpec::required("BASE_DIR", "root directory of the archive", |config, value| {
            path(value).map(|path| config.base_dir = path)
        }),
        ArgumentSpec::optional("STREAM", "name of the stream; all if it is absent", |config, value| {
            directory_name(value).map(|name| config.stream = Some(name))
        }),
        ArgumentSpec::optional("VARIANT", "name of the variant; all if it is absent", |config, value| {
            directory_name(value).map(|name| config.variant = Some(name))
        }),
        ArgumentSpec::optional("START", "when the range begins", |config, value| {
            time(value).map(|time| config.start = Some(time))
        }),
        ArgumentSpec::optional("END", "when the range ends", |config, value| {
            time(value).map(|time| config.end = Some(time))
        }),
    ];
    const OPTIONS: &'static [OptionSpec<Self>] = &[OptionSpec::for_help()];

    fn validate(&self) -> Result<(), String> {
        match (self.start, self.end) {
            (Some(start), Some(end)) if start >= end => Err("END must be later than START".to_owned()),
            (Some(_), None) => Err("missing argument END".to_owned()),
            _ => Ok(()),
        }
    }
}
