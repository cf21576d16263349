//! The command line and the environment. No other module reads either.
//!
//! Each command has one table of its arguments and one of its options: `options.rs` has those of the server.

mod help;
mod keep;
mod options;
mod prune;
mod record;
mod spec;
mod values;

use std::ffi::{OsStr, OsString};

use lexopt::Arg;

pub use help::{help, markdown_table};
pub use keep::{KeepConfig, ProtectionConfig, UnkeepConfig};
pub use options::{Config, OPTIONS};
pub use prune::{MinFree, PruneConfig};
pub use record::{Input, RecordConfig, Retry, Secret};
use spec::Set;
pub use spec::{ArgumentSpec, CommandLine, OptionSpec};

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Serve the archive.
    Serve(Config),
    /// Check the options, the archive and the programs, and exit.
    Check(Config),
    /// Record into the archive.
    Record(RecordConfig),
    /// Delete the oldest hours.
    Prune(PruneConfig),
    /// Protect a time range, or list those that are.
    Keep(KeepConfig),
    /// End the protection of a time range.
    Unkeep(UnkeepConfig),
    /// Print this help.
    Help(String),
    /// Print the version.
    Version,
}

/// The value of an environment variable that an argument names; `None` if it is unset or no text.
#[allow(clippy::disallowed_methods, reason = "only this module reads the environment")]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl Command {
    /// Reads the arguments and the environment of this process.
    ///
    /// # Errors
    /// One line that says which option is unknown, or why a value is invalid, and how to get the help.
    #[allow(clippy::disallowed_methods, reason = "only this module reads the environment")]
    pub fn from_process() -> Result<Self, String> {
        Self::read(std::env::args_os().skip(1), |name| std::env::var_os(name))
    }

    /// Reads `arguments`, and `environment` for options that are not among them.
    fn read(
        arguments: impl IntoIterator<Item = OsString>,
        environment: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, String> {
        let mut arguments = arguments.into_iter().peekable();
        let name = arguments.next_if(|argument| argument.as_encoded_bytes().first() != Some(&b'-'));
        let name = name.map_or("serve".to_owned(), |name| name.to_string_lossy().into_owned());
        match name.as_str() {
            Config::COMMAND => read_command(arguments, environment, |config, is_check| {
                if is_check { Self::Check(config) } else { Self::Serve(config) }
            }),
            RecordConfig::COMMAND => read_command(arguments, environment, |config, _| Self::Record(config)),
            PruneConfig::COMMAND => read_command(arguments, environment, |config, _| Self::Prune(config)),
            KeepConfig::COMMAND => read_command(arguments, environment, |config, _| Self::Keep(config)),
            UnkeepConfig::COMMAND => read_command(arguments, environment, |config, _| Self::Unkeep(config)),
            other => Err(format!(
                "there is no command `{other}`; expected serve, record, prune, keep or unkeep; try --help"
            )),
        }
    }
}

/// Reads the arguments of one command. `command` is called with whether it was given an option that sets nothing.
fn read_command<C: CommandLine>(
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl Fn(&str) -> Option<OsString>,
    command: fn(C, bool) -> Command,
) -> Result<Command, String> {
    let read = parse::<C>(arguments).and_then(|(given, other)| match other {
        Some("help") => Ok(Command::Help(help::<C>())),
        Some("version") => Ok(Command::Version),
        _ => Ok(command(configure(given, environment)?, other.is_some())),
    });
    let name = Some(C::COMMAND).filter(|name| *name != Config::COMMAND);
    let hint = name.map_or("--help".to_owned(), |name| format!("`restreamer {name} --help`"));
    read.map_err(|error| format!("{error}; try {hint}"))
}

/// What a command line gives, in its order.
struct Given<C: 'static> {
    arguments: Vec<OsString>,
    options: Vec<(&'static OptionSpec<C>, OsString)>,
}

/// Splits a command line. Also returns the last option that sets nothing; nothing behind `--help` or `--version` counts.
fn parse<C: CommandLine>(
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<(Given<C>, Option<&'static str>), lexopt::Error> {
    let mut given = Given { arguments: Vec::new(), options: Vec::new() };
    let mut other = None;
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        let is_named = |option: &&OptionSpec<C>| match argument {
            Arg::Long(name) => option.name == name,
            Arg::Short(letter) => option.short == Some(letter),
            Arg::Value(_) => false,
        };
        match (C::OPTIONS.iter().find(is_named), argument) {
            (Some(option), _) if option.value_name.is_some() => given.options.push((option, parser.value()?)),
            (Some(option), _) if option.set.is_some() => given.options.push((option, OsString::from("true"))),
            (Some(option), _) => other = Some(option.name),
            (None, Arg::Value(value)) if given.arguments.len() < C::ARGUMENTS.len() => {
                given.arguments.push(value);
            }
            (None, argument) => return Err(argument.unexpected()),
        }
        if matches!(other, Some("help" | "version")) {
            break;
        }
    }
    Ok((given, other))
}

/// The configuration by a command line and, for options that are not in it, the environment. The last of repeated options
/// counts, unless an option collects values.
fn configure<C: CommandLine>(
    given: Given<C>,
    environment: impl Fn(&str) -> Option<OsString>,
) -> Result<C, lexopt::Error> {
    let mut config = C::default();
    let is_given = |name: &str| given.options.iter().any(|(option, _)| option.name == name);
    for option in C::OPTIONS.iter().filter(|option| !is_given(option.name)) {
        let variables = option.variables().into_iter();
        let mut values = variables.filter_map(|name| Some((environment(&name)?, name)));
        if let Some((value, name)) = values.find(|(value, _)| !value.is_empty()) {
            apply(option.set, &value, &name, &mut config)?;
        }
    }
    for (option, value) in given.options {
        apply(option.set, &value, &format!("--{}", option.name), &mut config)?;
    }
    for (index, argument) in C::ARGUMENTS.iter().enumerate() {
        match given.arguments.get(index) {
            Some(value) => apply(Some(argument.set), value, argument.name, &mut config)?,
            None if argument.is_required => return Err(format!("missing argument {}", argument.name).into()),
            None => {}
        }
    }
    config.validate()?;
    Ok(config)
}

fn apply<C>(set: Option<Set<C>>, value: &OsStr, source: &str, config: &mut C) -> Result<(), String> {
    set.map_or(Ok(()), |set| set(config, value)).map_err(|why| format!("bad {source}: {why}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use log::LevelFilter;

    use super::*;

    fn read(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Command, String> {
        let value = |name: &str| {
            let found = environment.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| OsString::from(value))
        };
        Command::read(arguments.iter().map(OsString::from), value)
    }

    fn served(arguments: &[&str], environment: &[(&str, &str)]) -> Config {
        match read(arguments, environment) {
            Ok(Command::Serve(config)) => config,
            other => panic!("{arguments:?} {environment:?} gives {other:?}"),
        }
    }

    #[test]
    fn the_command_line_takes_precedence_over_the_environment() {
        let environment = [("RESTREAMER_PORT", "1"), ("RESTREAMER_BASE_DIR", "/a"), ("RESTREAMER_HOST", "")];
        let config = served(&["--port=2", "--head-timeout", "0.5"], &environment);
        assert_eq!((config.port, config.base_dir.to_str()), (2, Some("/a")));
        assert_eq!((config.host.as_str(), config.head_timeout), ("0.0.0.0", Duration::from_millis(500)));
        assert_eq!(served(&["--port", "1", "--port", "3"], &[]).port, 3);
        assert_eq!(served(&["--port", "1"], &[("RESTREAMER_PORT", "x")]).port, 1);
        assert_eq!(served(&["--no-cache"], &[("RESTREAMER_CACHE_BYTES", "7")]).cache_bytes, Some(0));
        assert_eq!(served(&[], &[("RESTREAMER_NO_CACHE", "1")]).cache_bytes, Some(0));
        assert_eq!(served(&[], &[("WUBLOADER_LOG_LEVEL", "DEBUG")]).log_level, LevelFilter::Debug);
        assert_eq!(
            served(&["--segments-url", "https://cdn.example/x/"], &[]).segments_url.as_deref(),
            Some("https://cdn.example/x")
        );
    }

    #[test]
    fn a_usage_error_is_one_line_with_the_reason() {
        type Row = (&'static [&'static str], &'static [(&'static str, &'static str)], &'static str);
        let rows: [Row; 34] = [
            (&["--port", "65536"], &[], "bad --port: `65536` is not a number from 0 to 65535"),
            (&["--port", "x"], &[], "bad --port: `x` is not a number"),
            (&["--port"], &[], "missing argument for option '--port'"),
            (&["--workers", "0"], &[], "bad --workers: `0` is not a number from 1"),
            (&["--head-timeout", "nan"], &[], "bad --head-timeout"),
            (&["--head-timeout", "-1"], &[], "bad --head-timeout"),
            (&["--head-timeout", "0"], &[], "bad --head-timeout"),
            (&["--log-level", "loud"], &[], "bad --log-level: `loud` is not a log level"),
            (&["--segments-url", "a b"], &[], "bad --segments-url: `a b` is not a URL"),
            (&["--segments-url", ""], &[], "bad --segments-url: `` is not a URL"),
            (&["--no-cache=x"], &[], "unexpected argument"),
            (&["--nope"], &[], "invalid option '--nope'"),
            (&["--port", "1", "archive"], &[], "unexpected argument \"archive\""),
            (
                &["archive"],
                &[],
                "there is no command `archive`; expected serve, record, prune, keep or unkeep",
            ),
            (&[], &[("RESTREAMER_PORT", "x")], "bad RESTREAMER_PORT: `x` is not a number"),
            (&["serve", "--nope"], &[], "invalid option '--nope'; try --help"),
            (&["prune", "/a", "--nope"], &[], "invalid option '--nope'; try `restreamer prune --help`"),
            (&["prune", "--max-age", "1d"], &[], "missing argument BASE_DIR; try `restreamer prune --help`"),
            (&["prune", "/a"], &[], "there is no bound: give --max-age, --max-bytes or --min-free"),
            (&["prune", "/a", "/b", "--max-age", "1d"], &[], "unexpected argument \"/b\""),
            (&["prune", "/a", "--every", "10m", "--dry-run"], &[], "--dry-run lists once: leave --every out"),
            (&["prune", "/a", "--max-bytes", "1X"], &[], "bad --max-bytes: `1X` is not a number of bytes"),
            (&["prune", "/a", "--max-age", "0s"], &[], "bad --max-age: `0s` is not a length of time"),
            (&["prune", "/a", "--min-free", "100%"], &[], "bad --min-free: `100%` is not a share"),
            (&["prune", "/a", "--stream", "../b"], &[], "bad --stream: `../b` cannot name a directory"),
            (
                &["prune", "/a"],
                &[("RESTREAMER_PRUNE_MAX_AGE", "x")],
                "bad RESTREAMER_PRUNE_MAX_AGE: `x` is not",
            ),
            (&["keep"], &[], "missing argument BASE_DIR; try `restreamer keep --help`"),
            (&["keep", "/a", "s", "v", "2026-11-20"], &[], "missing argument END"),
            (&["unkeep", "/a", "s", "v", "2026-11-21", "2026-11-20"], &[], "END must be later than START"),
            (&["keep", "/a", "s", "v", "then", "2026-11-20"], &[], "bad START: `then` is not a time"),
            (&["record", "x", "/a", "s"], &[], "missing argument VARIANT; try `restreamer record --help`"),
            (&["record", "x", "/a", ".s", "v"], &[], "bad STREAM: `.s` cannot name a directory"),
            (
                &["record", "x", "/a", "s", "v", "--segment-seconds", "0"],
                &[],
                "bad --segment-seconds: `0` is not",
            ),
            (&["record", "x", "/a", "s", "v", "--retry", "often"], &[], "bad --retry: `often` is neither"),
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
    fn the_help_wins_over_what_follows_it() {
        for arguments in [&["--port", "1", "--help"][..], &["-h", "--nope"], &["--check", "--help"]] {
            assert_eq!(read(arguments, &[]), Ok(Command::Help(help::<Config>())), "{arguments:?}");
        }
        for arguments in [&["prune", "--help"][..], &["prune", "/a", "-h", "--nope"]] {
            assert_eq!(read(arguments, &[]), Ok(Command::Help(help::<PruneConfig>())), "{arguments:?}");
        }
        assert_eq!(read(&["-V"], &[]), Ok(Command::Version));
        assert!(matches!(read(&["--check", "--port", "1"], &[]), Ok(Command::Check(_))));
    }

    #[test]
    fn a_connection_string_is_taken_and_not_kept() {
        let secret = "host='db' password='hunter2'";
        for config in [
            served(&["--connection-string", secret], &[]),
            served(&[], &[("RESTREAMER_CONNECTION_STRING", secret)]),
        ] {
            assert!(config.has_connection_string);
            assert!(!format!("{config:?}").contains("hunter2"));
            assert!(
                config
                    .settings()
                    .all(|(name, value)| { name != "connection-string" && !value.contains("hunter2") })
            );
        }
        assert!(!served(&["--connection-string", ""], &[]).has_connection_string);
    }

    #[test]
    fn each_command_has_arguments_options_and_variables_of_its_own() {
        assert_eq!(served(&["serve", "--port", "2"], &[]), served(&["--port", "2"], &[]));
        let environment = [("RESTREAMER_PRUNE_MAX_BYTES", "2G"), ("RESTREAMER_LOG_LEVEL", "warn")];
        let arguments = ["prune", "--variant", "a", "/base", "--max-age", "2d", "--variant", "b"];
        let expected = PruneConfig {
            base_dir: "/base".into(),
            max_age: Some(Duration::from_secs(172_800)),
            max_bytes: Some(2_000_000_000),
            variants: vec!["a".to_owned(), "b".to_owned()],
            log_level: LevelFilter::Warn,
            ..PruneConfig::default()
        };
        assert_eq!(read(&arguments, &environment), Ok(Command::Prune(expected)));
        let Ok(Command::Prune(staying)) = read(&["prune", "/base", "--every", "10m"], &[]) else { panic!() };
        assert_eq!(staying.min_free(), Some(MinFree::Permille(50)));

        let arguments =
            ["record", "@/etc/key", "/base", "s", "v", "--retry", "forever", "--segment-seconds=1.5"];
        let Ok(Command::Record(recorded)) = read(&arguments, &[("RESTREAMER_FFMPEG", "/f")]) else {
            panic!()
        };
        assert_eq!(recorded.input, Input::File("/etc/key".into()));
        assert_eq!((recorded.stream.as_str(), recorded.variant.as_str()), ("s", "v"));
        assert_eq!((recorded.retry, recorded.segment_duration.micros()), (Retry::Forever, 1_500_000));
        assert_eq!(recorded.ffmpeg.to_str(), Some("/f"));
        let Ok(Command::Record(recorded)) = read(&["record", "rtmp://a/key", "/b", "s", "v"], &[]) else {
            panic!()
        };
        assert!(!format!("{recorded:?}").contains("key"), "an address is secret");

        let arguments = ["keep", "/base", "s", "v", "2026-11-20T10", "2026-11-20T12"];
        let Ok(Command::Keep(kept)) = read(&arguments, &[]) else { panic!() };
        assert_eq!(kept.end.map(|end| end.to_string()).as_deref(), Some("2026-11-20T12:00:00.000000Z"));
        assert!(matches!(read(&["unkeep", "/base"], &[]), Ok(Command::Unkeep(_))));
    }

    #[test]
    fn every_shown_value_can_be_given_again() {
        let given = Config {
            max_connections: Some(7),
            cache_bytes: Some(1 << 20),
            movie_cache_bytes: Some(1 << 21),
            cut_cache_bytes: Some(0),
            picture_cache_bytes: Some(1 << 22),
            segments_url: Some("https://cdn.example".to_owned()),
            templates_dir: Some("/templates".into()),
            ..Config::default()
        };
        let mut arguments = Vec::new();
        for (name, value) in given.settings() {
            arguments.extend([format!("--{name}"), value]);
        }
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        assert_eq!(served(&arguments, &[]), given);
    }
}
