//! `restreamer keep` and `restreamer unkeep`: protect ranges from `restreamer prune`, and list them.

use std::io::{self, Write};
use std::process::ExitCode;

use log::Level;

use super::directory::Directory;
use super::inventory::{directories, kept_names};
use crate::archive::layout::{KEEP_DIRECTORY, KeptRange, short_time};
use crate::config::ProtectionConfig;

/// Protects a range, or ends its protection, or without a range lists those that are protected.
///
/// # Errors
/// One line that says why that is not possible.
pub fn run<const IS_KEPT: bool>(
    config: &ProtectionConfig<IS_KEPT>,
    out: &mut dyn Write,
) -> Result<ExitCode, String> {
    let fail = |error: io::Error| format!("cannot read `{}`: {error}", config.base_dir.display());
    let base = Directory::open(&config.base_dir).map_err(fail)?;
    let (Some(stream), Some(variant), Some(start), Some(end)) =
        (&config.stream, &config.variant, config.start, config.end)
    else {
        list(&base, config, out).map_err(fail)?;
        return Ok(ExitCode::SUCCESS);
    };
    let range = KeptRange { start, end };
    let found = base.child(stream).and_then(|found| found.map_or(Ok(None), |stream| stream.child(variant)));
    let path = base.path().join(stream).join(variant);
    let found = found.map_err(|error| format!("cannot open `{}`: {error}", path.display()))?;
    let directory = found.ok_or_else(|| format!("there is no variant `{}`", path.display()))?;
    let fail = |error: io::Error| format!("cannot change `{}`: {error}", path.join(KEEP_DIRECTORY).display());
    if IS_KEPT {
        directory
            .make_child(KEEP_DIRECTORY)
            .and_then(|kept| kept.make_file(&range.to_string()))
            .map_err(fail)?;
    } else if !remove(&directory, range).map_err(fail)? {
        let command = format!("restreamer unkeep {}", config.base_dir.display());
        return Err(format!(
            "the range {range} of {stream}/{variant} is not kept; `{command}` lists those that are"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Removes the names of a range. Returns whether there was one.
fn remove(variant: &Directory, range: KeptRange) -> io::Result<bool> {
    let Some(directory) = variant.child(KEEP_DIRECTORY)? else { return Ok(false) };
    let mut is_found = false;
    for (name, _) in kept_names(variant)?.into_iter().filter(|(_, kept)| *kept == Some(range)) {
        is_found |= directory.remove_file(&name)?;
    }
    directory.sync()?;
    variant.remove_directory(KEEP_DIRECTORY)?;
    Ok(is_found)
}

/// Lists the ranges, each as the arguments that would end its protection.
fn list<const IS_KEPT: bool>(
    base: &Directory,
    config: &ProtectionConfig<IS_KEPT>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let is_selected =
        |selected: &Option<String>, name: &String| selected.as_ref().is_none_or(|one| one == name);
    for stream in
        directories(base, Level::Debug)?.into_iter().filter(|name| is_selected(&config.stream, name))
    {
        let Some(directory) = base.child(&stream)? else { continue };
        for variant in directories(&directory, Level::Debug)?
            .into_iter()
            .filter(|name| is_selected(&config.variant, name))
        {
            let Some(directory) = directory.child(&variant)? else { continue };
            for (name, range) in kept_names(&directory)? {
                match range {
                    Some(KeptRange { start, end }) => {
                        writeln!(out, "{stream} {variant} {} {}", short_time(start), short_time(end))?;
                    }
                    None => writeln!(out, "{stream} {variant} `{}` is not START_END", name.escape_debug())?,
                }
            }
        }
    }
    Ok(())
}
