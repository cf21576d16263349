//! `--check`: looks at everything once, and says what is there and what is wrong.
//!
//! Wrong is what keeps the server from starting, or a route from working. What is only worth knowing, such as an archive
//! that nothing has been recorded into yet, is said without that word.

use std::fmt::Display;
use std::io::{self, Write};
use std::net::SocketAddr;

use crate::archive::{Archive, VariantName};
use crate::config::Config;
use crate::cut::ENCODERS;
use crate::error::Result;
use crate::ffmpeg::Tools;
use crate::timestamp::{Span, Timestamp};

/// What is looked at.
#[derive(Debug)]
pub struct Subject<'a> {
    /// The options in force.
    pub config: &'a Config,
    /// The address that follows from them, or why there is none.
    pub address: Result<SocketAddr, String>,
    /// The most connections that follow from them and from the limit of open files.
    pub max_connections: usize,
    /// The archive.
    pub archive: &'a Archive,
    /// The programs that cut.
    pub tools: &'a Tools,
    /// The present time, which the age of what is newest is counted from.
    pub now: Timestamp,
}

/// Writes to `out` what the options, the archive and the tools are like. Returns whether all is well.
///
/// # Errors
/// What is written to `out` cannot be.
pub fn check(subject: &Subject, out: &mut impl Write) -> io::Result<bool> {
    let mut report = Report { out, wrong: 0 };
    describe_options(subject, &mut report)?;
    describe_archive(subject, &mut report)?;
    describe_tools(subject.tools, &mut report)?;
    let wrong = report.wrong;
    match wrong {
        0 => writeln!(out, "all is well")?,
        1 => writeln!(out, "one thing is wrong")?,
        _ => writeln!(out, "{wrong} things are wrong")?,
    }
    Ok(wrong == 0)
}

/// What was found so far.
struct Report<'a, W> {
    out: &'a mut W,
    wrong: usize,
}

impl<W: Write> Report<'_, W> {
    fn heading(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{text}:")
    }

    fn say(&mut self, text: impl Display) -> io::Result<()> {
        writeln!(self.out, "  {text}")
    }

    fn wrong(&mut self, text: impl Display) -> io::Result<()> {
        self.wrong += 1;
        writeln!(self.out, "WRONG: {text}")
    }
}

fn describe_options(subject: &Subject, report: &mut Report<impl Write>) -> io::Result<()> {
    report.heading("the options in force")?;
    for (name, value) in options(subject.config, subject.max_connections) {
        report.say(format_args!("--{name:<16} {value}"))?;
    }
    subject.address.as_ref().map_or_else(|why| report.wrong(why), |_| Ok(()))
}

/// All options by their names, as the command line has them.
fn options(config: &Config, most: usize) -> [(&'static str, String); 13] {
    let Config {
        base_dir,
        host,
        port,
        backdoor_port,
        workers,
        cut_workers,
        max_connections,
        head_timeout,
        cache_bytes,
        segments_url,
        ffmpeg,
        ffprobe,
        log_level,
    } = config;
    [
        ("base-dir", base_dir.display().to_string()),
        ("host", host.clone()),
        ("port", port.to_string()),
        ("backdoor-port", backdoor_port.to_string()),
        ("workers", workers.to_string()),
        ("cut-workers", cut_workers.to_string()),
        ("max-connections", max_connections.unwrap_or(most).to_string()),
        ("head-timeout", head_timeout.as_secs_f64().to_string()),
        ("cache-bytes", cache_bytes.to_string()),
        ("segments-url", segments_url.clone()),
        ("ffmpeg", ffmpeg.display().to_string()),
        ("ffprobe", ffprobe.display().to_string()),
        ("log-level", log_level.as_str().to_ascii_lowercase()),
    ]
}

fn describe_archive(subject: &Subject, report: &mut Report<impl Write>) -> io::Result<()> {
    let Subject { config, archive, .. } = subject;
    report.heading("the archive")?;
    if let Err(error) = archive.check() {
        return report.wrong(format_args!("cannot serve `{}`: {error}", config.base_dir.display()));
    }
    let streams = match archive.streams() {
        Ok(streams) => streams,
        Err(error) => return report.wrong(error),
    };
    if streams.is_empty() {
        report.say("it is empty: there is no STREAM/VARIANT directory yet")?;
    }
    for stream in streams {
        describe_stream(subject, &stream, report)?;
    }
    let unparsable = archive.unparsable_names_total();
    if unparsable > 0 {
        let some = if unparsable == 1 { "one name is" } else { &format!("{unparsable} names are") };
        report.say(format_args!("in the newest hours {some} not that of a segment; the log says which"))?;
    }
    Ok(())
}

fn describe_stream(subject: &Subject, stream: &str, report: &mut Report<impl Write>) -> io::Result<()> {
    let label = format!("stream `{}`", stream.escape_debug());
    let variants = match subject.archive.variants(stream) {
        Ok(variants) => variants,
        Err(error) => return report.wrong(format_args!("{label}: {error}")),
    };
    if variants.is_empty() {
        report.say(format_args!("{label}: no variants"))?;
    }
    for variant in variants {
        let label = format!("{label}, variant `{}`", variant.escape_debug());
        let name = VariantName { stream, variant: &variant };
        match describe_variant(subject.archive, name, subject.now) {
            Ok(description) => report.say(format_args!("{label}: {description}"))?,
            Err(error) => report.wrong(format_args!("{label}: {error}"))?,
        }
    }
    Ok(())
}

/// How many hours a variant has, and its newest segment.
fn describe_variant(archive: &Archive, name: VariantName, now: Timestamp) -> Result<String> {
    let hours = archive.hours(name)?;
    let (Some(first), count) = (hours.first(), hours.len()) else { return Ok("no hours".to_owned()) };
    let hours_from = format!("{count} hour{} from {first} on", if count == 1 { "" } else { "s" });
    for hour in hours.iter().rev() {
        let index = archive.hour(name, *hour)?;
        if let Some(newest) = index.segments().next_back() {
            let end = newest.end();
            return Ok(format!("{hours_from}, the newest segment ends {end}, {}", distance(now - end)));
        }
    }
    Ok(format!("{hours_from}, no segments"))
}

/// How long ago something is that is `age` old, or how far ahead.
fn distance(age: Span) -> String {
    let seconds = age.micros() / 1_000_000;
    let whole = seconds.abs();
    let amount = match whole {
        0..120 => format!("{whole} s"),
        120..7200 => format!("{} min", whole / 60),
        7200..172_800 => format!("{} h", whole / 3600),
        _ => format!("{} days", whole / 86_400),
    };
    if seconds < 0 {
        format!("{amount} from now: do the recorder's clock and this one agree?")
    } else {
        format!("{amount} ago")
    }
}

fn describe_tools(tools: &Tools, report: &mut Report<impl Write>) -> io::Result<()> {
    report.heading("the programs that cut")?;
    match tools.ffmpeg_version() {
        Ok(version) => {
            report.say(format_args!("ffmpeg {version}"))?;
            describe_encoders(tools, report)?;
        }
        Err(why) => {
            report.wrong(format_args!("{why}; all but full and smart cuts will work"))?;
        }
    }
    match tools.ffprobe_version() {
        Ok(version) => report.say(format_args!("ffprobe {version}")),
        Err(why) => report.wrong(why),
    }
}

fn describe_encoders(tools: &Tools, report: &mut Report<impl Write>) -> io::Result<()> {
    for encoder in ENCODERS {
        let (name, makes) = (encoder.name, encoder.makes);
        match tools.check_encoder(name) {
            Ok(()) => report.say(format_args!("ffmpeg's encoder {name}, for {makes}"))?,
            Err(_) if encoder.optional => report.say(format_args!("no encoder {name}, for {makes}"))?,
            Err(_) => report.wrong(format_args!("ffmpeg has no encoder {name}, for {makes}"))?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_of_the_help_is_told() {
        let told = options(&Config::default(), 1);
        let help = crate::config::help();
        for option in help.split_whitespace().filter_map(|word| word.strip_prefix("--")) {
            let told = told.iter().any(|(name, _)| *name == option);
            // The others are no settings, but for one that `cache-bytes` tells of.
            assert!(told || ["check", "help", "version", "no-cache"].contains(&option), "{option}");
        }
    }

    #[test]
    fn distances_are_told_in_a_unit_that_fits() {
        let rows = [
            (0, "0 s ago"),
            (119, "119 s ago"),
            (120, "2 min ago"),
            (7199, "119 min ago"),
            (7200, "2 h ago"),
            (172_800, "2 days ago"),
            (-5, "5 s from now: do the recorder's clock and this one agree?"),
        ];
        for (seconds, shown) in rows {
            assert_eq!(distance(Span::from_secs(seconds)), shown);
        }
    }
}
