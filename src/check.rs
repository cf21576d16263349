//! `--check`: checks the options, the archive and the programs once, and reports what it finds.
//!
//! A problem is what keeps the server from starting or a route from working. What is only worth knowing, such as an
//! archive without any recording, is reported as a finding.

use std::fmt::Display;
use std::io::{self, Write};
use std::net::SocketAddr;

use crate::archive::{Archive, VariantName};
use crate::clock::Clock;
use crate::config::Config;
use crate::error::Result;
use crate::ffmpeg::{Ffprobe, Tools};
use crate::process::MemoryLimit;
use crate::timestamp::Span;

/// The memory there is, and what is used of it.
#[derive(Debug)]
pub struct MemoryUse {
    /// The limit, if it is known.
    pub limit: Option<MemoryLimit>,
    /// The most memory for unsent responses.
    pub held_bytes: usize,
    /// The most memory for the samples of segments.
    pub samples_bytes: usize,
}

/// Checks everything and writes a report to `out`. `address` is what to listen on, or why the options do not give that.
/// Returns whether there is no problem.
///
/// # Errors
/// The report cannot be written.
pub fn check(
    config: &Config,
    address: Result<SocketAddr, String>,
    memory: &MemoryUse,
    out: &mut impl Write,
) -> io::Result<bool> {
    let mut report = Report { out, problems: 0 };
    report.heading("effective options");
    for (name, value) in config.settings() {
        report.finding(format_args!("--{name:<16} {value}"));
    }
    if let Err(why) = address {
        report.problem(why);
    }
    describe_memory(config, memory, &mut report);
    check_archive(config, &mut report);
    if let Some(directory) = config.templates_dir.as_ref().filter(|directory| !directory.is_dir()) {
        report.problem(format_args!("`{}` of --templates-dir is not a directory", directory.display()));
    }
    check_tools(&Tools::find(&config.ffmpeg), &Ffprobe::new(config.ffprobe.clone()), &mut report);
    let problems = report.problems;
    match problems {
        0 => writeln!(out, "no problems found")?,
        1 => writeln!(out, "1 problem found")?,
        _ => writeln!(out, "{problems} problems found")?,
    }
    Ok(problems == 0)
}

/// The report, and the number of problems in it. Errors of `out` are ignored, because its last line would fail too.
struct Report<'a> {
    out: &'a mut dyn Write,
    problems: usize,
}

impl Report<'_> {
    fn heading(&mut self, text: &str) {
        let _ = writeln!(self.out, "{text}:");
    }

    fn finding(&mut self, text: impl Display) {
        let _ = writeln!(self.out, "  {text}");
    }

    fn problem(&mut self, text: impl Display) {
        self.problems += 1;
        let _ = writeln!(self.out, "PROBLEM: {text}");
    }
}

fn describe_memory(config: &Config, memory: &MemoryUse, report: &mut Report) {
    report.heading("memory");
    match &memory.limit {
        Some(limit) => {
            report.finding(format_args!("limit {} bytes, by `{}`", limit.bytes, limit.file.display()));
        }
        None => report.finding("limit unknown: neither /proc/meminfo nor a control group has a limit"),
    }
    report.finding(format_args!("directories {} bytes", config.cache_bytes.unwrap_or_default()));
    report.finding(format_args!("unsent responses {} bytes", memory.held_bytes));
    report.finding(format_args!("samples of segments {} bytes", memory.samples_bytes));
    report.finding(format_args!("movies {} bytes", config.movie_cache_bytes.unwrap_or_default()));
    report.finding(format_args!("encoded pictures {} bytes", config.cut_cache_bytes.unwrap_or_default()));
    report.finding(format_args!("pictures {} bytes", config.picture_cache_bytes.unwrap_or_default()));
}

fn check_archive(config: &Config, report: &mut Report) {
    report.heading("archive");
    let archive = Archive::new(&config.base_dir, config.cache_bytes.unwrap_or_default());
    if let Err(error) = archive.check() {
        return report.problem(format_args!("cannot serve `{}`: {error}", config.base_dir.display()));
    }
    let streams = match archive.streams() {
        Ok(streams) => streams,
        Err(error) => return report.problem(error),
    };
    if streams.is_empty() {
        report.finding("the archive is empty: there is no STREAM/VARIANT directory yet");
    }
    for stream in streams {
        check_stream(&archive, &stream, report);
    }
    match archive.unparsable_names_total() {
        0 => {}
        1 => report.finding("1 file is skipped in the newest hours because of the name; see the log"),
        count => report.finding(format_args!(
            "{count} files are skipped in the newest hours because of their names; see the log"
        )),
    }
}

fn check_stream(archive: &Archive, stream: &str, report: &mut Report) {
    let label = format!("stream `{}`", stream.escape_debug());
    let variants = match archive.variants(stream) {
        Ok(variants) => variants,
        Err(error) => return report.problem(format_args!("{label}: {error}")),
    };
    if variants.is_empty() {
        report.finding(format_args!("{label}: no variants"));
    }
    for variant in variants {
        let label = format!("{label}, variant `{}`", variant.escape_debug());
        let name = VariantName { stream, variant: &variant };
        match describe_variant(archive, name) {
            Ok(description) => report.finding(format_args!("{label}: {description}")),
            Err(error) => report.problem(format_args!("{label}: {error}")),
        }
    }
}

/// Returns the number of hours of a variant, and when its newest segment ends.
fn describe_variant(archive: &Archive, name: VariantName) -> Result<String> {
    let hours = archive.hours(name)?;
    let (Some(first), count) = (hours.first(), hours.len()) else { return Ok("no hours".to_owned()) };
    let hours_from = format!("{count} hour{} from {first}", if count == 1 { "" } else { "s" });
    for hour in hours.iter().rev() {
        let index = archive.hour(name, *hour)?;
        if let Some(newest) = index.segments().next_back() {
            let end = newest.end();
            let age = format_age(Clock::System.now() - end);
            return Ok(format!("{hours_from}, newest segment ends at {end}, {age}"));
        }
    }
    Ok(format!("{hours_from}, no segments"))
}

/// Formats an age. A negative one is in the future.
fn format_age(age: Span) -> String {
    let seconds = age.micros() / 1_000_000;
    let amount = match seconds.abs() {
        whole @ 0..120 => format!("{whole} s"),
        whole @ 120..7200 => format!("{} min", whole / 60),
        whole @ 7200..172_800 => format!("{} h", whole / 3600),
        whole => format!("{} days", whole / 86_400),
    };
    if seconds < 0 {
        format!("{amount} in the future: compare the clocks of this machine and the recorder")
    } else {
        format!("{amount} ago")
    }
}

fn check_tools(tools: &Tools, ffprobe: &Ffprobe, report: &mut Report) {
    report.heading("programs");
    match tools.ffmpeg_version() {
        Ok(version) => {
            report.finding(format_args!("ffmpeg {version}"));
            check_encoders(tools, report);
        }
        Err(why) => report.problem(format_args!("{why}; full and smart cuts will fail")),
    }
    match ffprobe.version() {
        Ok(version) => report.finding(format_args!("ffprobe {version}")),
        Err(why) => report.problem(why),
    }
}

fn check_encoders(tools: &Tools, report: &mut Report) {
    // Whether every archive needs the encoder.
    let encoders = [
        ("libx264", "full cuts, and the ends of smart cuts of H.264", true),
        ("aac", "the sound of full cuts", true),
        ("libx265", "the ends of smart cuts of HEVC", false),
        ("libvpx", "cuts as WebM", false),
        ("libopus", "the sound of cuts as WebM", false),
    ];
    for (name, purpose, is_needed) in encoders {
        match tools.check_encoder(name) {
            Ok(()) => report.finding(format_args!("encoder {name}, for {purpose}")),
            Err(_) if !is_needed => report.finding(format_args!("no encoder {name}, for {purpose}")),
            Err(_) => report.problem(format_args!("ffmpeg has no encoder {name}, for {purpose}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_formatted_in_a_suitable_unit() {
        let rows = [
            (0, "0 s ago"),
            (119, "119 s ago"),
            (120, "2 min ago"),
            (7199, "119 min ago"),
            (7200, "2 h ago"),
            (172_800, "2 days ago"),
            (-5, "5 s in the future: compare the clocks of this machine and the recorder"),
        ];
        for (seconds, shown) in rows {
            assert_eq!(format_age(Span::from_secs(seconds)), shown);
        }
    }
}
