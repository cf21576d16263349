//! What the server is told at start: arguments, and the environment behind them. Nobody else reads either.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use log::LevelFilter;

/// All options, as they are in force.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where the archive is.
    pub base_dir: PathBuf,
    /// The address to listen at.
    pub host: String,
    /// The port to listen at; 0 takes a free one.
    pub port: u16,
    /// The port of the console, on this machine only; 0 for none.
    pub backdoor_port: u16,
    /// Workers in each lane but that for cuts.
    pub workers: usize,
    /// Workers in the lane for cuts.
    pub cut_workers: usize,
    /// Connections at once; `None` follows from the limit of open descriptors.
    pub max_connections: Option<usize>,
    /// How long the head of a request may take to come.
    pub head_timeout: Duration,
    /// How much memory hours that were read may take; 0 reads each hour anew.
    pub cache_bytes: usize,
    /// What the URIs of segments in playlists begin with.
    pub segments_url: String,
    /// The ffmpeg to start.
    pub ffmpeg: PathBuf,
    /// The ffprobe to start.
    pub ffprobe: PathBuf,
    /// What is logged.
    pub log_level: LevelFilter,
}

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// To serve.
    Serve(Box<Config>),
    /// To look at everything once, say what there is, and end.
    Check(Box<Config>),
    /// To explain the options.
    Help,
    /// To say which version this is.
    Version,
}

/// A command line or environment that cannot be understood: one line that says why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageError(String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; try --help", self.0)
    }
}

impl std::error::Error for UsageError {}

/// An option: its name, what its value is called, and what it does. A flag has no value.
struct Known {
    name: &'static str,
    value: &'static str,
    about: &'static str,
}

const OPTIONS: [Known; 14] = [
    Known { name: "base-dir", value: "DIR", about: "the archive [default: .]" },
    Known { name: "host", value: "ADDR", about: "the address to listen at [default: 0.0.0.0]" },
    Known { name: "port", value: "N", about: "the port to listen at; 0 takes a free one [default: 8000]" },
    Known {
        name: "backdoor-port",
        value: "N",
        about: "the port of a console, on 127.0.0.1 only; 0 for none [default: 0]",
    },
    Known {
        name: "workers",
        value: "N",
        about: "requests worked on at once, of each kind: lists, playlists, files\n[default: twice the cores, 4 to 32]",
    },
    Known {
        name: "cut-workers",
        value: "N",
        about: "cuts made at once; twice as many may wait [default: half the cores, 2 to 32]",
    },
    Known {
        name: "max-connections",
        value: "N",
        about: "connections at once; beyond them the one idle longest gives way\n[default: what the limit of open files allows, 10000 at most]",
    },
    Known {
        name: "head-timeout",
        value: "S",
        about: "seconds that the head of a request may take to come [default: 10]",
    },
    Known {
        name: "cache-bytes",
        value: "N",
        about: "memory for directories that were read already [default: 67108864]",
    },
    Known {
        name: "no-cache",
        value: "",
        about: "read every directory each time, for file systems whose directory times lie",
    },
    Known {
        name: "segments-url",
        value: "URL",
        about: "what segments' addresses in playlists begin with, where another server sends\nthem [default: /segments]",
    },
    Known { name: "ffmpeg", value: "PATH", about: "the ffmpeg that cuts [default: ffmpeg]" },
    Known { name: "ffprobe", value: "PATH", about: "the ffprobe that goes with it [default: ffprobe]" },
    Known {
        name: "log-level",
        value: "LEVEL",
        about: "off, error, warn, info, debug or trace [default: info]",
    },
];

impl Default for Config {
    fn default() -> Self {
        let cores = cores();
        Self {
            base_dir: PathBuf::from("."),
            host: "0.0.0.0".to_owned(),
            port: 8000,
            backdoor_port: 0,
            workers: (2 * cores).clamp(4, 32),
            cut_workers: (cores / 2).clamp(2, 32),
            max_connections: None,
            head_timeout: Duration::from_secs(10),
            cache_bytes: 64 * 1024 * 1024,
            segments_url: "/segments".to_owned(),
            ffmpeg: PathBuf::from("ffmpeg"),
            ffprobe: PathBuf::from("ffprobe"),
            log_level: LevelFilter::Info,
        }
    }
}

impl Command {
    /// Reads this process's arguments and environment.
    ///
    /// # Errors
    /// [`UsageError`] where they cannot be understood.
    #[allow(clippy::disallowed_methods, reason = "this module is the one that reads the environment")]
    pub fn from_process() -> Result<Self, UsageError> {
        Self::read(std::env::args_os().skip(1), |name| std::env::var_os(name))
    }

    /// Reads arguments, and behind them an environment. Of an option given twice the last counts.
    ///
    /// # Errors
    /// [`UsageError`] where they cannot be understood.
    pub fn read(
        arguments: impl IntoIterator<Item = OsString>,
        environment: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, UsageError> {
        let mut config = Config::default();
        let mut given = Vec::new();
        let mut check = false;
        let mut parser = lexopt::Parser::from_args(arguments);
        while let Some(argument) = parser.next().map_err(|error| UsageError(error.to_string()))? {
            use lexopt::Arg::{Long, Short};
            let name = match argument {
                Long("help") | Short('h') => return Ok(Self::Help),
                Long("version") | Short('V') => return Ok(Self::Version),
                Long("check") => {
                    check = true;
                    continue;
                }
                Long(name) => OPTIONS.iter().find(|known| known.name == name),
                _ => None,
            };
            let Some(known) = name else { return Err(UsageError(argument.unexpected().to_string())) };
            let value = if known.value.is_empty() {
                OsString::from("true")
            } else {
                parser.value().map_err(|error| UsageError(error.to_string()))?
            };
            given.push((known.name, value));
        }
        for known in OPTIONS.iter().filter(|known| given.iter().all(|(name, _)| *name != known.name)) {
            let also = (known.name == "log-level").then(|| "WUBLOADER_LOG_LEVEL".to_owned());
            for name in [variable(known.name)].into_iter().chain(also) {
                if let Some(value) = environment(&name).filter(|value| !value.is_empty()) {
                    config.set(known.name, &value).map_err(|why| UsageError(format!("bad {name}: {why}")))?;
                    break;
                }
            }
        }
        for (name, value) in given {
            config.set(name, &value).map_err(|why| UsageError(format!("bad --{name}: {why}")))?;
        }
        Ok(if check { Self::Check(Box::new(config)) } else { Self::Serve(Box::new(config)) })
    }
}

impl Config {
    /// How many threads each ffmpeg may have, so that all cuts together keep the cores busy and no more.
    pub fn cut_threads(&self) -> usize {
        cores().div_ceil(self.cut_workers)
    }

    /// Sets one option.
    fn set(&mut self, name: &str, value: &OsStr) -> Result<(), String> {
        let text = || value.to_str().ok_or_else(|| format!("`{}` is not UTF-8", value.display()));
        match name {
            "base-dir" => self.base_dir = value.into(),
            "host" => text()?.clone_into(&mut self.host),
            "port" => self.port = number(text()?, 0, u16::MAX)?,
            "backdoor-port" => self.backdoor_port = number(text()?, 0, u16::MAX)?,
            "workers" => self.workers = number(text()?, 1, 1024)?,
            "cut-workers" => self.cut_workers = number(text()?, 1, 256)?,
            "max-connections" => self.max_connections = Some(number(text()?, 1, 1_000_000)?),
            "head-timeout" => self.head_timeout = seconds(text()?)?,
            "cache-bytes" => self.cache_bytes = number(text()?, 0, usize::MAX)?,
            "no-cache" => match text()? {
                "true" | "1" => self.cache_bytes = 0,
                "false" | "0" => {}
                other => return Err(format!("`{other}` is neither `true` nor `false`")),
            },
            "segments-url" => self.segments_url = url(text()?)?,
            "ffmpeg" => self.ffmpeg = value.into(),
            "ffprobe" => self.ffprobe = value.into(),
            "log-level" => {
                let bad = |_| {
                    format!(
                        "`{}` is no level; expected off, error, warn, info, debug or trace",
                        value.display()
                    )
                };
                self.log_level = text()?.parse().map_err(bad)?;
            }
            other => return Err(format!("`{other}` is not an option")),
        }
        Ok(())
    }
}

/// How many cores this process may use.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

/// The variable of the environment that stands for an option.
fn variable(option: &str) -> String {
    format!("RESTREAMER_{}", option.to_ascii_uppercase().replace('-', "_"))
}

fn number<T: std::str::FromStr + PartialOrd + fmt::Display + Copy>(
    text: &str,
    min: T,
    max: T,
) -> Result<T, String> {
    let bad = || format!("`{text}` is not a number from {min} to {max}");
    text.parse().ok().filter(|value| *value >= min && *value <= max).ok_or_else(bad)
}

fn seconds(text: &str) -> Result<Duration, String> {
    let bad = || format!("`{text}` is not a number of seconds above 0 and up to 3600");
    let given = text.parse().ok().and_then(|secs| Duration::try_from_secs_f64(secs).ok());
    given.filter(|time| !time.is_zero() && *time <= Duration::from_secs(3600)).ok_or_else(bad)
}

/// An address, or a path on this server, without a slash at its end. It goes into playlists as it is.
fn url(text: &str) -> Result<String, String> {
    let fits = text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>'));
    let trimmed = text.trim_end_matches('/');
    if fits && !trimmed.is_empty() { Ok(trimmed.to_owned()) } else { Err(format!("`{text}` is not a URL")) }
}

/// The text of `--help`.
pub fn help() -> String {
    use std::fmt::Write;
    let mut text = String::from(
        "restreamer serves an archive of recorded live streams over HTTP: it lists what is there, makes\n\
         HLS playlists for any time range, serves the segments, and cuts exact ranges.\n\n\
         Usage: restreamer [OPTIONS]\n\n\
         The archive is a tree of directories, DIR/STREAM/VARIANT/YYYY-MM-DDTHH/SEGMENT.ts (UTC). It is only\n\
         read, and others may write to it at any time.\n\nOptions:\n",
    );
    for Known { name, value, about } in OPTIONS {
        let _ = writeln!(
            text,
            "  {:<22} {}",
            format!("--{name} {value}"),
            about.replace('\n', "\n                         ")
        );
    }
    text.push_str(
        "  --check                look at the options, the archive and ffmpeg, say what is there and what is wrong, and\n\
         \x20                        end: 0 if all is well, else 1\n\
         \x20 --help                 this text\n\
         \x20 --version              the version\n\n\
         Each option but these three can also be set in the environment, as in RESTREAMER_BASE_DIR; the command line wins.\n\
         When it listens, it says so on stdout: `listening on http://HOST:PORT`. The log goes to stderr.\n\
         SIGTERM, SIGINT and SIGHUP end it once what is being sent is sent, after 30 seconds at most; a second\n\
         signal ends it at once.\n\n\
         Try: restreamer --base-dir ./archive & curl http://localhost:8000/\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Command, String> {
        let value = |name: &str| {
            let found = environment.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| OsString::from(value))
        };
        Command::read(arguments.iter().map(OsString::from), value).map_err(|error| error.to_string())
    }

    fn served(arguments: &[&str], environment: &[(&str, &str)]) -> Config {
        match read(arguments, environment) {
            Ok(Command::Serve(config)) => *config,
            other => panic!("{arguments:?} {environment:?} gives {other:?}"),
        }
    }

    #[test]
    fn flags_win_over_the_environment() {
        let environment = [("RESTREAMER_PORT", "1"), ("RESTREAMER_BASE_DIR", "/a"), ("RESTREAMER_HOST", "")];
        let config = served(&["--port=2", "--head-timeout", "0.5"], &environment);
        assert_eq!((config.port, config.base_dir.to_str()), (2, Some("/a")));
        assert_eq!((config.host.as_str(), config.head_timeout), ("0.0.0.0", Duration::from_millis(500)));
        assert_eq!(served(&["--port", "1", "--port", "3"], &[]).port, 3);
        assert_eq!(served(&["--port", "1"], &[("RESTREAMER_PORT", "x")]).port, 1);
        assert_eq!(served(&["--no-cache"], &[("RESTREAMER_CACHE_BYTES", "7")]).cache_bytes, 0);
        assert_eq!(served(&[], &[("RESTREAMER_NO_CACHE", "1")]).cache_bytes, 0);
        assert_eq!(served(&[], &[("WUBLOADER_LOG_LEVEL", "DEBUG")]).log_level, LevelFilter::Debug);
        assert_eq!(
            served(&["--segments-url", "https://cdn.example/x/"], &[]).segments_url,
            "https://cdn.example/x"
        );
    }

    #[test]
    fn bad_usage_is_one_line_that_says_why() {
        type Row = (&'static [&'static str], &'static [(&'static str, &'static str)], &'static str);
        let rows: [Row; 14] = [
            (&["--port", "65536"], &[], "bad --port: `65536` is not a number from 0 to 65535"),
            (&["--port", "x"], &[], "bad --port: `x` is not a number"),
            (&["--port"], &[], "missing argument for option '--port'"),
            (&["--workers", "0"], &[], "bad --workers: `0` is not a number from 1"),
            (&["--head-timeout", "nan"], &[], "bad --head-timeout"),
            (&["--head-timeout", "-1"], &[], "bad --head-timeout"),
            (&["--head-timeout", "0"], &[], "bad --head-timeout"),
            (&["--log-level", "loud"], &[], "bad --log-level: `loud` is no level"),
            (&["--segments-url", "a b"], &[], "bad --segments-url: `a b` is not a URL"),
            (&["--segments-url", ""], &[], "bad --segments-url: `` is not a URL"),
            (&["--no-cache=x"], &[], "unexpected argument"),
            (&["--nope"], &[], "invalid option '--nope'"),
            (&["archive"], &[], "unexpected argument \"archive\""),
            (&[], &[("RESTREAMER_PORT", "x")], "bad RESTREAMER_PORT: `x` is not a number"),
        ];
        for (arguments, environment, shown) in rows {
            let error = read(arguments, environment).expect_err("bad usage");
            assert!(
                error.starts_with(shown) && !error.contains('\n'),
                "{arguments:?} {environment:?}: {error}"
            );
        }
    }

    #[test]
    fn the_help_names_every_option() {
        let help = help();
        for known in OPTIONS {
            assert!(help.contains(&format!("--{} ", known.name)), "{}", known.name);
        }
        assert!(help.lines().all(|line| line.len() <= 120), "{help}");
        assert_eq!(read(&["--port", "1", "--help"], &[]), Ok(Command::Help));
    }
}
