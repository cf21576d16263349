//! The command line and the environment. No other module reads either.
//!
//! The options are defined in one table, [`OPTIONS`].

mod help;
mod options;
mod values;

use std::ffi::{OsStr, OsString};

use lexopt::Arg;

pub use help::help;
pub use options::{Config, OPTIONS, OptionSpec};

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Serve the archive.
    Serve(Config),
    /// Check the options, the archive and the programs, and exit.
    Check(Config),
    /// Print the help.
    Help,
    /// Print the version.
    Version,
}

impl Command {
    /// Reads the arguments and the environment of this process.
    ///
    /// # Errors
    /// One line that says which option is unknown, or why a value is invalid.
    #[allow(clippy::disallowed_methods, reason = "only this module reads the environment")]
    pub fn from_process() -> Result<Self, lexopt::Error> {
        Self::read(std::env::args_os().skip(1), |name| std::env::var_os(name))
    }

    /// Reads `arguments`, and `environment` for options that are not among them. The last of repeated options counts.
    fn read(
        arguments: impl IntoIterator<Item = OsString>,
        environment: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, lexopt::Error> {
        let mut given = Vec::new();
        let mut check = false;
        let mut parser = lexopt::Parser::from_args(arguments);
        while let Some(argument) = parser.next()? {
            let is_named = |option: &&OptionSpec| match argument {
                Arg::Long(name) => option.name == name,
                Arg::Short(letter) => option.short == Some(letter),
                Arg::Value(_) => false,
            };
            let Some(option) = OPTIONS.iter().find(is_named) else { return Err(argument.unexpected()) };
            match option.name {
                "help" => return Ok(Self::Help),
                "version" => return Ok(Self::Version),
                "check" => check = true,
                _ if option.value_name.is_some() => given.push((option, parser.value()?)),
                _ => given.push((option, OsString::from("true"))),
            }
        }
        let mut config = Config::default();
        for option in OPTIONS.iter().filter(|option| given.iter().all(|(other, _)| other.name != option.name))
        {
            let variables = option.variables().into_iter();
            let mut values = variables.filter_map(|name| Some((environment(&name)?, name)));
            if let Some((value, name)) = values.find(|(value, _)| !value.is_empty()) {
                option.apply(&value, &name, &mut config)?;
            }
        }
        for (option, value) in given {
            option.apply(&value, &format!("--{}", option.name), &mut config)?;
        }
        Ok(if check { Self::Check(config) } else { Self::Serve(config) })
    }
}

impl OptionSpec {
    fn apply(&self, value: &OsStr, source: &str, config: &mut Config) -> Result<(), String> {
        let applied = self.set.map_or(Ok(()), |set| set(config, value));
        applied.map_err(|why| format!("bad {source}: {why}"))
    }
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
        Command::read(arguments.iter().map(OsString::from), value).map_err(|error| error.to_string())
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
        let rows: [Row; 14] = [
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
    fn the_help_wins_over_what_follows_it() {
        for arguments in [&["--port", "1", "--help"][..], &["-h", "--nope"], &["--check", "--help"]] {
            assert_eq!(read(arguments, &[]), Ok(Command::Help), "{arguments:?}");
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
