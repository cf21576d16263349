//! The options of the server, each of them defined completely by one entry of [`OPTIONS`].

use std::path::PathBuf;
use std::time::Duration;

use log::LevelFilter;

use crate::ffmpeg::MAX_SEGMENT_BYTES;

use super::spec::{ArgumentSpec, CommandLine, OptionSpec};
use super::values::{flag, level, number, path, seconds, text, url};

/// The effective value of every option.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Root directory of the archive.
    pub base_dir: PathBuf,
    /// Memory for cached hour directories; 0 reads every hour directory again; `None` derives it from the memory there is.
    pub cache_bytes: Option<usize>,
    /// Address or name of the interface to listen on.
    pub host: String,
    /// TCP port to listen on; 0 lets the system choose one.
    pub port: u16,
    /// Maximum number of open connections; `None` derives it from the limit of open files.
    pub max_connections: Option<usize>,
    /// Time limit for receiving a request head.
    pub head_timeout: Duration,
    /// What segment URIs in playlists begin with, without a slash at the end; `None` makes them relative.
    pub segments_url: Option<String>,
    /// Port of the console on the loopback interface; 0 for no console.
    pub backdoor_port: u16,
    /// Worker threads in each pool except the cut pool.
    pub workers: usize,
    /// Worker threads in the cut pool.
    pub cut_workers: usize,
    /// The size of the largest segment that exact cuts take.
    pub max_segment_bytes: u64,
    /// Memory for movies that were built, without the pictures that were encoded for them; `None` derives it from the memory
    /// there is.
    pub movie_cache_bytes: Option<usize>,
    /// Memory for pictures that were encoded for movies; `None` derives it from the memory there is.
    pub cut_cache_bytes: Option<usize>,
    /// Memory for pictures that were made; `None` derives it from the memory there is.
    pub picture_cache_bytes: Option<usize>,
    /// Directory of templates for thumbnails; `None` for none.
    pub templates_dir: Option<PathBuf>,
    /// The longest range of an exact cut, in hours.
    pub max_cut_hours: u32,
    /// Path of the ffmpeg program.
    pub ffmpeg: PathBuf,
    /// Path of the ffprobe program.
    pub ffprobe: PathBuf,
    /// Least severe level that is logged.
    pub log_level: LevelFilter,
    /// Whether the address of a database was given. It may hold a password, so it is not kept.
    pub has_connection_string: bool,
}

impl Default for Config {
    fn default() -> Self {
        let cores = cores();
        Self {
            base_dir: PathBuf::from("."),
            cache_bytes: None,
            host: "0.0.0.0".to_owned(),
            port: 8000,
            max_connections: None,
            head_timeout: Duration::from_secs(10),
            segments_url: None,
            backdoor_port: 0,
            workers: (2 * cores).clamp(4, 32),
            cut_workers: (cores / 2).clamp(2, 32),
            max_segment_bytes: MAX_SEGMENT_BYTES,
            movie_cache_bytes: None,
            cut_cache_bytes: None,
            picture_cache_bytes: None,
            templates_dir: None,
            max_cut_hours: 24,
            ffmpeg: PathBuf::from("ffmpeg"),
            ffprobe: PathBuf::from("ffprobe"),
            log_level: LevelFilter::Info,
            has_connection_string: false,
        }
    }
}

impl CommandLine for Config {
    const COMMAND: &'static str = "serve";
    const VARIABLES: &'static str = "RESTREAMER_";
    const INTRODUCTION: &'static str = "\
restreamer serves an archive of recorded live streams over HTTP. It lists the archive, makes HLS
playlists for any time range, serves the segments, and cuts time ranges exactly. Commands record
live streams and keep the archive within bounds.

Usage: restreamer [serve] [OPTIONS]
       restreamer record INPUT BASE_DIR STREAM VARIANT [OPTIONS]
       restreamer prune BASE_DIR [OPTIONS]
       restreamer keep|unkeep BASE_DIR [STREAM] [VARIANT] [START] [END]
       restreamer COMMAND --help

Commands:
  serve                    serve the archive; also without a command. It takes the options below
  record                   record a live stream or a file into the archive
  prune                    delete the oldest hours, by age, size or free space
  keep, unkeep             protect a time range from prune, or no longer; list what is protected

The archive is a directory tree, DIR/STREAM/VARIANT/YYYY-MM-DDTHH/SEGMENT.ts, with hours in UTC.
The server only reads it. Other programs can add, rename and delete files at any time.
";
    const NOTES: &'static str = "
Environment:
  Every option above \"Other\" can also be set by a variable: RESTREAMER_BASE_DIR for --base-dir,
  RESTREAMER_NO_CACHE=true for --no-cache, and so on. The command line takes precedence. An empty
  variable counts as unset. WUBLOADER_LOG_LEVEL is read if RESTREAMER_LOG_LEVEL is unset.

Output:
  When the server is ready, it prints `listening on http://HOST:PORT` to stdout. The log goes to
  stderr.

Signals:
  SIGTERM, SIGINT and SIGHUP stop the server. It finishes responses for up to 30 seconds. A second
  signal stops it immediately.

Example:
  restreamer --base-dir /srv/archive --port 8080 &
  curl http://localhost:8080/files
";
    const ARGUMENTS: &'static [ArgumentSpec<Self>] = &[];
    const OPTIONS: &'static [OptionSpec<Self>] = OPTIONS;
}

impl Config {
    /// Number of threads for each ffmpeg process, so that all cuts together use every core once.
    pub fn cut_threads(&self) -> usize {
        cores().div_ceil(self.cut_workers)
    }

    /// Names and values of all options that have a value, in the order of [`OPTIONS`].
    pub fn settings(&self) -> impl Iterator<Item = (&'static str, String)> {
        OPTIONS.iter().filter_map(|option| Some((option.name, option.show?(self))))
    }
}

/// Number of cores this process may use.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

const fn option(group: &'static str, name: &'static str) -> OptionSpec<Config> {
    OptionSpec::new(group, name)
}

/// A value that is derived from the machine unless it is given.
fn auto_or(value: Option<usize>) -> String {
    value.map_or("auto".to_owned(), |value| value.to_string())
}

/// All options, group by group, in the order of `--help`.
pub const OPTIONS: &[OptionSpec<Config>] = &[
    option("Archive", "base-dir")
        .help("root directory of the archive")
        .value("DIR", |config, value| path(value).map(|path| config.base_dir = path))
        .shown(|config| config.base_dir.display().to_string()),
    option("Archive", "cache-bytes")
        .help("memory for cached hour directories, in bytes; 0 turns the cache off")
        .value("N", |config, value| {
            number(value, 0, usize::MAX).map(|bytes| config.cache_bytes = Some(bytes))
        })
        .shown(|config| auto_or(config.cache_bytes))
        .computed_default("a twenty-first of the memory, at most 67108864"),
    option("Archive", "no-cache")
        .help("same as --cache-bytes 0, for file systems with unreliable modification times of directories")
        .switch(|config, value| {
            if flag(value)? {
                config.cache_bytes = Some(0);
            }
            Ok(())
        }),
    option("Archive", "templates-dir")
        .help("directory of templates for thumbnails: NAME.png, and NAME.json with `crop` and `location`")
        .value("DIR", |config, value| path(value).map(|path| config.templates_dir = Some(path)))
        .shown(|config| {
            config.templates_dir.as_ref().map_or("none".to_owned(), |path| path.display().to_string())
        })
        .computed_default("none"),
    option("Network", "host")
        .help("IP address or host name to listen on")
        .value("ADDR", |config, value| text(value).map(|host| config.host = host))
        .shown(|config| config.host.clone()),
    option("Network", "port")
        .help("TCP port to listen on; 0 lets the system choose a free one")
        .value("N", |config, value| number(value, 0, u16::MAX).map(|port| config.port = port))
        .shown(|config| config.port.to_string()),
    option("Network", "max-connections")
        .help("maximum number of open connections; one more closes the connection that has been idle longest")
        .value("N", |config, value| {
            number(value, 1, 1_000_000).map(|count| config.max_connections = Some(count))
        })
        .shown(|config| auto_or(config.max_connections))
        .computed_default("from the limit of open files, at most 10000"),
    option("Network", "head-timeout")
        .help("time limit for receiving a request head, in seconds")
        .value("S", |config, value| seconds(value).map(|time| config.head_timeout = time))
        .shown(|config| config.head_timeout.as_secs_f64().to_string()),
    option("Network", "segments-url")
        .help("what segment URIs in playlists begin with, if another server sends the segments")
        .value("URL", |config, value| url(value).map(|url| config.segments_url = Some(url)))
        .shown(|config| config.segments_url.clone().unwrap_or_else(|| "relative".to_owned()))
        .computed_default("relative to the playlist"),
    option("Network", "backdoor-port")
        .help("TCP port of the diagnostic console on 127.0.0.1; 0 turns the console off")
        .value("N", |config, value| number(value, 0, u16::MAX).map(|port| config.backdoor_port = port))
        .shown(|config| config.backdoor_port.to_string()),
    option("Workers", "workers")
        .help("worker threads in each pool, except the pools for cuts and for pictures")
        .value("N", |config, value| number(value, 1, 1024).map(|count| config.workers = count))
        .shown(|config| config.workers.to_string())
        .computed_default("twice the number of cores, 4 to 32"),
    option("Workers", "cut-workers")
        .help(
            "number of cuts made at the same time, twice as many can wait in the queue; and of pictures, 16 times \
             as many can wait",
        )
        .value("N", |config, value| number(value, 1, 256).map(|count| config.cut_workers = count))
        .shown(|config| config.cut_workers.to_string())
        .computed_default("half the number of cores, 2 to 32"),
    option("Workers", "max-segment-bytes")
        .help("largest segment that full and smart cuts take, in bytes; each cut has up to two in memory")
        .value("N", |config, value| number(value, 1, 1 << 40).map(|bytes| config.max_segment_bytes = bytes))
        .shown(|config| config.max_segment_bytes.to_string()),
    option("Workers", "max-cut-hours")
        .help("longest range of an exact cut, in hours; rough cuts have no limit, MP4 has 6 hours at most")
        .value("N", |config, value| number(value, 1, 8784).map(|hours| config.max_cut_hours = hours))
        .shown(|config| config.max_cut_hours.to_string()),
    option("Workers", "movie-cache-bytes")
        .help("memory for the tables of MP4 cuts, so that other ranges of one are sent at once, in bytes")
        .value("N", |config, value| {
            number(value, 0, usize::MAX).map(|bytes| config.movie_cache_bytes = Some(bytes))
        })
        .shown(|config| auto_or(config.movie_cache_bytes))
        .computed_default("a forty-second of the memory, at most 33554432"),
    option("Workers", "cut-cache-bytes")
        .help("memory for pictures that were encoded for MP4 cuts, in bytes")
        .value("N", |config, value| {
            number(value, 0, usize::MAX).map(|bytes| config.cut_cache_bytes = Some(bytes))
        })
        .shown(|config| auto_or(config.cut_cache_bytes))
        .computed_default("a twenty-first of the memory, at most 67108864"),
    option("Workers", "picture-cache-bytes")
        .help("memory for pictures that were made (frames, storyboards, waveforms), in bytes")
        .value("N", |config, value| {
            number(value, 0, usize::MAX).map(|bytes| config.picture_cache_bytes = Some(bytes))
        })
        .shown(|config| auto_or(config.picture_cache_bytes))
        .computed_default("a forty-second of the memory, at most 33554432"),
    option("Workers", "ffmpeg")
        .help("path of the ffmpeg program used for cuts and pictures")
        .value("PATH", |config, value| path(value).map(|path| config.ffmpeg = path))
        .shown(|config| config.ffmpeg.display().to_string()),
    option("Workers", "ffprobe")
        .help("path of the ffprobe program used for multivariant playlists")
        .value("PATH", |config, value| path(value).map(|path| config.ffprobe = path))
        .shown(|config| config.ffprobe.display().to_string()),
    OptionSpec::log_level(
        |config, value| level(value).map(|level| config.log_level = level),
        |config| config.log_level.as_str().to_ascii_lowercase(),
    ),
    option("Compatibility", "connection-string")
        .help("taken and ignored, because wubloader's compose file passes it: no route needs a database")
        .value("DSN", |config, value| {
            config.has_connection_string = !value.is_empty();
            Ok(())
        })
        .computed_default("none"),
    option("Other", "check").help(
        "check the options, the archive and ffmpeg, print the findings, and exit with 0 if there is no \
         problem, else with 1",
    ),
    OptionSpec::for_help(),
    option("Other", "version").help("print the version and exit").short('V'),
];
