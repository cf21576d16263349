//! `--check`: looks at everything once, and says what is there and what is wrong.

use std::io::{self, Write};

use crate::archive::{Archive, VariantName};
use crate::error::Error;
use crate::ffmpeg::Tools;

/// Writes to `out` what the archive and the tools are like. Returns whether all is well.
///
/// # Errors
/// What is written to `out` cannot be.
pub fn check(archive: &Archive, tools: &Tools, out: &mut impl Write) -> io::Result<bool> {
    let well = match archive.check() {
        Ok(()) => describe_archive(archive, out)?,
        Err(error) => {
            writeln!(out, "WRONG: {error}")?;
            false
        }
    };
    let ffmpeg = describe_tool("ffmpeg", tools.ffmpeg_version(), out)?;
    let ffprobe = describe_tool("ffprobe", tools.ffprobe_version(), out)?;
    Ok(well && ffmpeg && ffprobe)
}

fn describe_archive(archive: &Archive, out: &mut impl Write) -> io::Result<bool> {
    let mut well = true;
    let mut found = false;
    for stream in archive.streams().unwrap_or_default() {
        for variant in archive.variants(&stream).unwrap_or_default() {
            found = true;
            let label = format!("stream `{}`, variant `{}`", stream.escape_debug(), variant.escape_debug());
            match describe_variant(archive, VariantName { stream: &stream, variant: &variant }) {
                Ok(description) => writeln!(out, "{label}: {description}")?,
                Err(error) => {
                    writeln!(out, "WRONG: {label}: {error}")?;
                    well = false;
                }
            }
        }
    }
    if !found {
        writeln!(out, "the archive is empty: it has no STREAM/VARIANT directory")?;
    }
    let unparsable = archive.unparsable_names_total();
    if unparsable > 0 {
        writeln!(
            out,
            "{unparsable} names in the newest hours are not those of segments; the log says which"
        )?;
    }
    Ok(well)
}

/// How many hours a variant has, and its newest segment.
fn describe_variant(archive: &Archive, name: VariantName) -> Result<String, Error> {
    let hours = archive.hours(name)?;
    for hour in hours.iter().rev() {
        let index = archive.hour(name, *hour)?;
        if let Some(newest) = index.segments().next_back() {
            return Ok(format!("{} hours, the newest segment ends {}", hours.len(), newest.end()));
        }
    }
    Ok(format!("{} hours, no segment", hours.len()))
}

fn describe_tool(name: &str, version: Result<&str, &str>, out: &mut impl Write) -> io::Result<bool> {
    match version {
        Ok(version) => writeln!(out, "{name} {version}")?,
        Err(why) => writeln!(out, "WRONG: cannot run {name}: {why}")?,
    }
    Ok(version.is_ok())
}
