//! The options, each of them defined completely by one entry of [`OPTIONS`].
//!
//! Parsing, environment variables, `--help`, the options that `--check` prints and the table in `README.md` all follow
//! from that table. A new option is one entry there and one field of [`Config`] with its default.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use log::LevelFilter;

use super::values::{level, number, path, seconds, text, url};

/// The effective value of every option.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Root directory of the archive.
    pub base_dir: PathBuf,
    /// Memory for cached hour directories; 0 reads every hour directory again.
    pub cache_bytes: usize,
    /// Address or name of the interface to listen on.
    pub host: String,
    /// TCP port to listen on; 0 lets the system choose one.
    pub port: u16,
    /// Maximum number of open connections; `None` derives it from the limit of open files.
    pub max_connections: Option<usize>,
    /// Time limit for receiving a request head.
    pub head_timeout: Duration,
    /// What segment URIs in playlists begin with, without a slash at the end.
    pub segments_url: String,
    /// Port of the console on the loopback interface; 0 for no console.
    pub backdoor_port: u16,
    /// Worker threads in each pool except the cut pool.
    pub workers: usize,
    /// Worker threads in the cut pool.
    pub cut_workers: usize,
    /// Path of the ffmpeg program.
    pub ffmpeg: PathBuf,
    /// Path of the ffprobe program.
    pub ffprobe: PathBuf,
    /// Least severe level that is logged.
    pub log_level: LevelFilter,
}

impl Default for Config {
    fn default() -> Self {
        let cores = cores();
        Self {
            base_dir: PathBuf::from("."),
            cache_bytes: 64 * 1024 * 1024,
            host: "0.0.0.0".to_owned(),
            port: 8000,
            max_connections: None,
            head_timeout: Duration::from_secs(10),
            segments_url: "/segments".to_owned(),
            backdoor_port: 0,
            workers: (2 * cores).clamp(4, 32),
            cut_workers: (cores / 2).clamp(2, 32),
            ffmpeg: PathBuf::from("ffmpeg"),
            ffprobe: PathBuf::from("ffprobe"),
            log_level: LevelFilter::Info,
        }
    }
}

impl Config {
    /// Number of threads for each ffmpeg process, so that all cuts together use every core once.
    pub fn cut_threads(&self) -> usize {
        cores().div_ceil(self.cut_workers)
    }

    /// Names and values of all options that have a value, in the order of [`OPTIONS`].
    pub fn settings(&self) -> impl Iterator<Item = (&'static str, String)> {
        OPTIONS.iter().filter_map(|option| match &option.effect {
            Effect::Value { show, .. } => Some((option.name, show(self))),
            Effect::Switch(_) | Effect::Mode { .. } => None,
        })
    }
}

/// Number of cores this process may use.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

/// The definition of one option.
#[derive(Debug)]
pub struct OptionSpec {
    /// Name on the command line, without the two dashes.
    pub name: &'static str,
    /// Heading of `--help` under which the option is listed.
    pub group: &'static str,
    /// Environment variables that set the option; the first one that is set and not empty counts.
    pub variables: &'static [&'static str],
    /// What the option is for: one sentence without a full stop.
    pub help: &'static str,
    /// What the option does.
    pub effect: Effect,
}

/// What an option does.
#[derive(Debug)]
pub enum Effect {
    /// Takes a value.
    Value {
        /// Name of the value in `--help`.
        name: &'static str,
        /// How a default that depends on the machine is computed; `None` for the fixed value in [`Config::default`].
        computed_default: Option<&'static str>,
        /// Parses the value and stores it; the error is the reason why the value is invalid.
        set: fn(&mut Config, &OsStr) -> Result<(), String>,
        /// Formats the value as the command line accepts it.
        show: fn(&Config) -> String,
    },
    /// Takes no value and changes the configuration.
    Switch(fn(&mut Config)),
    /// Takes no value and makes the program do something else than serve.
    Mode {
        /// What the program does.
        mode: Mode,
        /// Short name on the command line.
        short: Option<char>,
    },
}

/// What the program does instead of serving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Checks the options, the archive and the programs.
    Check,
    /// Prints the help.
    Help,
    /// Prints the version.
    Version,
}

/// All options, group by group, in the order of `--help`.
pub const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "base-dir",
        group: "Archive",
        variables: &["RESTREAMER_BASE_DIR"],
        help: "root directory of the archive",
        effect: Effect::Value {
            name: "DIR",
            computed_default: None,
            set: |config, value| path(value).map(|path| config.base_dir = path),
            show: |config| config.base_dir.display().to_string(),
        },
    },
    OptionSpec {
        name: "cache-bytes",
        group: "Archive",
        variables: &["RESTREAMER_CACHE_BYTES"],
        help: "memory for cached hour directories, in bytes; 0 turns the cache off",
        effect: Effect::Value {
            name: "N",
            computed_default: None,
            set: |config, value| number(value, 0, usize::MAX).map(|bytes| config.cache_bytes = bytes),
            show: |config| config.cache_bytes.to_string(),
        },
    },
    OptionSpec {
        name: "no-cache",
        group: "Archive",
        variables: &["RESTREAMER_NO_CACHE"],
        help: "same as --cache-bytes 0, for file systems with unreliable modification times of directories",
        effect: Effect::Switch(|config| config.cache_bytes = 0),
    },
    OptionSpec {
        name: "host",
        group: "Network",
        variables: &["RESTREAMER_HOST"],
        help: "IP address or host name to listen on",
        effect: Effect::Value {
            name: "ADDR",
            computed_default: None,
            set: |config, value| text(value).map(|host| config.host = host),
            show: |config| config.host.clone(),
        },
    },
    OptionSpec {
        name: "port",
        group: "Network",
        variables: &["RESTREAMER_PORT"],
        help: "TCP port to listen on; 0 lets the system choose a free one",
        effect: Effect::Value {
            name: "N",
            computed_default: None,
            set: |config, value| number(value, 0, u16::MAX).map(|port| config.port = port),
            show: |config| config.port.to_string(),
        },
    },
    OptionSpec {
        name: "max-connections",
        group: "Network",
        variables: &["RESTREAMER_MAX_CONNECTIONS"],
        help: "maximum number of open connections; one more closes the connection that has been idle longest",
        effect: Effect::Value {
            name: "N",
            computed_default: Some("from the limit of open files, at most 10000"),
            set: |config, value| {
                number(value, 1, 1_000_000).map(|count| config.max_connections = Some(count))
            },
            show: |config| config.max_connections.map_or("auto".to_owned(), |count| count.to_string()),
        },
    },
    OptionSpec {
        name: "head-timeout",
        group: "Network",
        variables: &["RESTREAMER_HEAD_TIMEOUT"],
        help: "time limit for receiving a request head, in seconds",
        effect: Effect::Value {
            name: "S",
            computed_default: None,
            set: |config, value| seconds(value).map(|time| config.head_timeout = time),
            show: |config| config.head_timeout.as_secs_f64().to_string(),
        },
    },
    OptionSpec {
        name: "segments-url",
        group: "Network",
        variables: &["RESTREAMER_SEGMENTS_URL"],
        help: "what segment URIs in playlists begin with; change it if another server sends the segments",
        effect: Effect::Value {
            name: "URL",
            computed_default: None,
            set: |config, value| url(value).map(|url| config.segments_url = url),
            show: |config| config.segments_url.clone(),
        },
    },
    OptionSpec {
        name: "backdoor-port",
        group: "Network",
        variables: &["RESTREAMER_BACKDOOR_PORT"],
        help: "TCP port of the diagnostic console on 127.0.0.1; 0 turns the console off",
        effect: Effect::Value {
            name: "N",
            computed_default: None,
            set: |config, value| number(value, 0, u16::MAX).map(|port| config.backdoor_port = port),
            show: |config| config.backdoor_port.to_string(),
        },
    },
    OptionSpec {
        name: "workers",
        group: "Workers",
        variables: &["RESTREAMER_WORKERS"],
        help: "worker threads in each pool, except the pool for cuts",
        effect: Effect::Value {
            name: "N",
            computed_default: Some("twice the number of cores, 4 to 32"),
            set: |config, value| number(value, 1, 1024).map(|count| config.workers = count),
            show: |config| config.workers.to_string(),
        },
    },
    OptionSpec {
        name: "cut-workers",
        group: "Workers",
        variables: &["RESTREAMER_CUT_WORKERS"],
        help: "number of cuts made at the same time; twice as many can wait in the queue",
        effect: Effect::Value {
            name: "N",
            computed_default: Some("half the number of cores, 2 to 32"),
            set: |config, value| number(value, 1, 256).map(|count| config.cut_workers = count),
            show: |config| config.cut_workers.to_string(),
        },
    },
    OptionSpec {
        name: "ffmpeg",
        group: "Workers",
        variables: &["RESTREAMER_FFMPEG"],
        help: "path of the ffmpeg program used for cuts",
        effect: Effect::Value {
            name: "PATH",
            computed_default: None,
            set: |config, value| path(value).map(|path| config.ffmpeg = path),
            show: |config| config.ffmpeg.display().to_string(),
        },
    },
    OptionSpec {
        name: "ffprobe",
        group: "Workers",
        variables: &["RESTREAMER_FFPROBE"],
        help: "path of the ffprobe program used for cuts",
        effect: Effect::Value {
            name: "PATH",
            computed_default: None,
            set: |config, value| path(value).map(|path| config.ffprobe = path),
            show: |config| config.ffprobe.display().to_string(),
        },
    },
    OptionSpec {
        name: "log-level",
        group: "Logging",
        variables: &["RESTREAMER_LOG_LEVEL", "WUBLOADER_LOG_LEVEL"],
        help: "least severe level that is logged: off, error, warn, info, debug or trace",
        effect: Effect::Value {
            name: "LEVEL",
            computed_default: None,
            set: |config, value| level(value).map(|level| config.log_level = level),
            show: |config| config.log_level.as_str().to_ascii_lowercase(),
        },
    },
    OptionSpec {
        name: "check",
        group: "Other",
        variables: &[],
        help: "check the options, the archive and ffmpeg, print the findings, and exit with 0 if there is no \
               problem, else with 1",
        effect: Effect::Mode { mode: Mode::Check, short: None },
    },
    OptionSpec {
        name: "help",
        group: "Other",
        variables: &[],
        help: "print the options and exit",
        effect: Effect::Mode { mode: Mode::Help, short: Some('h') },
    },
    OptionSpec {
        name: "version",
        group: "Other",
        variables: &[],
        help: "print the version and exit",
        effect: Effect::Mode { mode: Mode::Version, short: Some('V') },
    },
];
