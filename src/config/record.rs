//! The arguments and options of `restreamer record`.

use std::fmt;
use std::path::PathBuf;

use log::LevelFilter;

use super::spec::{ArgumentSpec, CommandLine, OptionSpec};
use super::values::{directory_name, flag, level, number, path, span_of_seconds, text, time};
use crate::timestamp::{Span, Timestamp};

/// The effective value of every argument and option.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordConfig {
    /// What to record.
    pub input: Input,
    /// Root directory of the archive.
    pub base_dir: PathBuf,
    /// The stream to record into.
    pub stream: String,
    /// Its variant.
    pub variant: String,
    /// About how long segments are.
    pub segment_duration: Span,
    /// Whether the video is encoded, with a key frame at the beginning of each segment.
    pub encode: bool,
    /// When a file begins; `None` for a live source.
    pub start: Option<Timestamp>,
    /// Further arguments of ffmpeg, in front of its input.
    pub ffmpeg_args: Vec<String>,
    /// Whether the input is opened again when it has ended or failed.
    pub retry: Retry,
    /// Port that serves `/metrics`; 0 for none.
    pub metrics_port: u16,
    /// Path of the ffmpeg program.
    pub ffmpeg: PathBuf,
    /// Least severe level that is logged.
    pub log_level: LevelFilter,
}

impl Default for RecordConfig {
    fn default() -> Self {
        Self {
            input: Input::Address(Secret(String::new())),
            base_dir: PathBuf::new(),
            stream: String::new(),
            variant: String::new(),
            segment_duration: Span::from_secs(2),
            encode: false,
            start: None,
            ffmpeg_args: Vec::new(),
            retry: Retry::Auto,
            metrics_port: 0,
            ffmpeg: PathBuf::from("ffmpeg"),
            log_level: LevelFilter::Info,
        }
    }
}

/// Where the address to record is.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// It is this one.
    Address(Secret),
    /// It is the first line of this file.
    File(PathBuf),
    /// It is the value of this environment variable.
    Variable(String),
}

/// A text that may hold a password, and is shown nowhere.
#[derive(Clone, PartialEq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// Whether an input is opened again when it has ended or failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// A live source for ever, a file never.
    Auto,
    /// For ever.
    Forever,
    /// So many times in a row.
    Times(u32),
}

const fn option(group: &'static str, name: &'static str) -> OptionSpec<RecordConfig> {
    OptionSpec::new(group, name)
}

impl CommandLine for RecordConfig {
    const COMMAND: &'static str = "record";
    const VARIABLES: &'static str = "RESTREAMER_RECORD_";
    const INTRODUCTION: &'static str = "\
restreamer record records a live stream, or a file, into an archive.

Usage: restreamer record INPUT BASE_DIR STREAM VARIANT [OPTIONS]
";
    const NOTES: &'static str = "
Environment:
  Every option above \"Other\" can also be set by a variable: RESTREAMER_RECORD_ENCODE=true for
  --encode, and so on; RESTREAMER_FFMPEG and RESTREAMER_LOG_LEVEL are those of the server too. The
  command line takes precedence. An empty variable counts as unset.

Example:
  restreamer record srt://0.0.0.0:9000?mode=listener /srv/archive gdq source
";
    const ARGUMENTS: &'static [ArgumentSpec<Self>] = &[
        ArgumentSpec::required(
            "INPUT",
            "what ffmpeg can read: an address, a file or a device; `@FILE` reads it from a file, `env:NAME` from a \
             variable",
            |config, value| input(&text(value)?).map(|input| config.input = input),
        ),
        ArgumentSpec::required("BASE_DIR", "root directory of the archive", |config, value| {
            path(value).map(|path| config.base_dir = path)
        }),
        ArgumentSpec::required("STREAM", "name of the stream to record into", |config, value| {
            directory_name(value).map(|name| config.stream = name)
        }),
        ArgumentSpec::required(
            "VARIANT",
            "name of the variant of the stream, such as `source`",
            |config, value| directory_name(value).map(|name| config.variant = name),
        ),
    ];
    fn validate(&self) -> Result<(), String> {
        let is_retried = !matches!(self.retry, Retry::Auto | Retry::Times(0));
        if self.start.is_some() && is_retried {
            return Err("with --start an input is read once: --retry must be 0".to_owned());
        }
        Ok(())
    }

    const OPTIONS: &'static [OptionSpec<Self>] = &[
        option("Recording", "segment-seconds")
            .help("about how long segments are, in seconds; they are cut at key frames")
            .value("S", |config, value| {
                span_of_seconds(value, 60).map(|span| config.segment_duration = span)
            })
            .shown(|config| trimmed_seconds(config.segment_duration)),
        option("Recording", "encode")
            .help("encode the video, with a key frame at the beginning of each segment, instead of copying it")
            .switch(|config, value| flag(value).map(|is_on| config.encode = is_on)),
        option("Recording", "start")
            .help("when a file begins, such as 2026-11-20T10:55:02Z")
            .value("TIME", |config, value| time(value).map(|time| config.start = Some(time)))
            .shown(|config| config.start.map_or("none".to_owned(), |time| time.to_string()))
            .computed_default("none"),
        option("Recording", "retry")
            .help("how many times in a row an input is opened again that ended or failed: `forever` or a number")
            .value("N", |config, value| retry(&text(value)?).map(|retry| config.retry = retry))
            .shown(|config| match config.retry {
                Retry::Auto => "auto".to_owned(),
                Retry::Forever => "forever".to_owned(),
                Retry::Times(count) => count.to_string(),
            })
            .computed_default("forever for live sources, 0 for files"),
        option("Recording", "ffmpeg")
            .help("path of the ffmpeg program")
            .value("PATH", |config, value| path(value).map(|path| config.ffmpeg = path))
            .shown(|config| config.ffmpeg.display().to_string())
            .common(),
        option("Recording", "ffmpeg-args")
            .help("further arguments of ffmpeg in front of its input, separated by spaces")
            .value("ARGS", |config, value| {
                text(value).map(|args| config.ffmpeg_args = args.split_whitespace().map(str::to_owned).collect())
            })
            .shown(|config| config.ffmpeg_args.join(" "))
            .computed_default("none"),
        option("Recording", "metrics")
            .help("TCP port that serves /metrics for Prometheus; 0 for none")
            .value("PORT", |config, value| number(value, 0, u16::MAX).map(|port| config.metrics_port = port))
            .shown(|config| config.metrics_port.to_string()),
        OptionSpec::log_level(
            |config, value| level(value).map(|level| config.log_level = level),
            |config| config.log_level.as_str().to_ascii_lowercase(),
        ),
        OptionSpec::for_help(),
    ];
}

fn input(text: &str) -> Result<Input, String> {
    if let Some(path) = text.strip_prefix('@') {
        return Ok(Input::File(PathBuf::from(path)));
    }
    if let Some(name) = text.strip_prefix("env:") {
        return Ok(Input::Variable(name.to_owned()));
    }
    if text.is_empty() { Err("it is empty".to_owned()) } else { Ok(Input::Address(Secret(text.to_owned()))) }
}

fn retry(text: &str) -> Result<Retry, String> {
    match (text, text.parse()) {
        ("forever", _) => Ok(Retry::Forever),
        (_, Ok(count)) => Ok(Retry::Times(count)),
        _ => Err(format!("`{text}` is neither `forever` nor a number")),
    }
}

/// Seconds without the zeros at the end.
fn trimmed_seconds(span: Span) -> String {
    span.to_string().trim_end_matches('0').trim_end_matches('.').to_owned()
}
