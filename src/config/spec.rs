//! How a command's arguments and options are defined: by one table of each.
//!
//! Parsing, environment variables, `--help`, the options that `--check` prints and the tables in the documents all follow
//! from these tables. A new option is one entry there and one field of the command's configuration with its default.

use std::ffi::OsStr;

/// A configuration that a command line is parsed into.
pub trait CommandLine: Default + 'static {
    /// The name of the command.
    const COMMAND: &'static str;
    /// What each environment variable of the command's own begins with.
    const VARIABLES: &'static str;
    /// What `--help` begins with.
    const INTRODUCTION: &'static str;
    /// What `--help` ends with.
    const NOTES: &'static str;
    /// The arguments, in their order; those that may be absent come last.
    const ARGUMENTS: &'static [ArgumentSpec<Self>];
    /// The options, group by group, in the order of `--help`.
    const OPTIONS: &'static [OptionSpec<Self>];

    /// Checks what no single option decides.
    ///
    /// # Errors
    /// One line that says which options contradict each other, or which one is missing.
    fn validate(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Parses a value and stores it. The error is the reason why the value is invalid.
pub(super) type Set<C> = fn(&mut C, &OsStr) -> Result<(), String>;
/// Formats a value as the command line accepts it.
pub(super) type Show<C> = fn(&C) -> String;

/// The definition of one argument that is no option.
#[derive(Debug)]
pub struct ArgumentSpec<C> {
    /// Name in `--help`.
    pub name: &'static str,
    /// What the argument is for: one sentence without a full stop.
    pub help: &'static str,
    pub(super) is_required: bool,
    pub(super) set: Set<C>,
}

impl<C> ArgumentSpec<C> {
    pub(super) const fn required(name: &'static str, help: &'static str, set: Set<C>) -> Self {
        Self { name, help, is_required: true, set }
    }

    pub(super) const fn optional(name: &'static str, help: &'static str, set: Set<C>) -> Self {
        Self { name, help, is_required: false, set }
    }

    /// The argument as usage lines show it.
    pub fn usage(&self) -> String {
        if self.is_required { self.name.to_owned() } else { format!("[{}]", self.name) }
    }
}

/// The definition of one option.
#[derive(Debug)]
pub struct OptionSpec<C> {
    /// Name on the command line, without the two dashes.
    pub name: &'static str,
    /// Heading of `--help` under which the option is listed.
    pub(super) group: &'static str,
    /// What the option is for: one sentence without a full stop.
    pub help: &'static str,
    /// One-letter name on the command line.
    pub(super) short: Option<char>,
    /// Name of the value in `--help`; `None` for an option without a value.
    pub(super) value_name: Option<&'static str>,
    /// `None` for an option that makes the program do something else.
    pub(super) set: Option<Set<C>>,
    /// `None` for an option without a value.
    pub(super) show: Option<Show<C>>,
    /// How a default that is no fixed value is computed; `None` for the value in the default configuration.
    pub computed_default: Option<&'static str>,
    /// Whether all commands have the option, and its environment variable names none of them.
    is_common: bool,
}

impl<C: CommandLine> OptionSpec<C> {
    /// The environment variables that set the option. The first one that is set and not empty counts.
    pub fn variables(&self) -> Vec<String> {
        let prefix = if self.is_common { "RESTREAMER_" } else { C::VARIABLES };
        let variable = |_| format!("{prefix}{}", self.name.to_ascii_uppercase().replace('-', "_"));
        let other_name = (self.name == "log-level").then(|| "WUBLOADER_LOG_LEVEL".to_owned());
        self.set.map(variable).into_iter().chain(other_name).collect()
    }
}

impl<C> OptionSpec<C> {
    pub(super) const fn new(group: &'static str, name: &'static str) -> Self {
        Self {
            name,
            group,
            help: "",
            short: None,
            value_name: None,
            set: None,
            show: None,
            computed_default: None,
            is_common: false,
        }
    }

    pub(super) const fn help(mut self, help: &'static str) -> Self {
        self.help = help;
        self
    }

    pub(super) const fn value(mut self, name: &'static str, set: Set<C>) -> Self {
        self.value_name = Some(name);
        self.set = Some(set);
        self
    }

    pub(super) const fn shown(mut self, show: Show<C>) -> Self {
        self.show = Some(show);
        self
    }

    pub(super) const fn computed_default(mut self, rule: &'static str) -> Self {
        self.computed_default = Some(rule);
        self
    }

    pub(super) const fn switch(mut self, set: Set<C>) -> Self {
        self.set = Some(set);
        self
    }

    pub(super) const fn short(mut self, letter: char) -> Self {
        self.short = Some(letter);
        self
    }

    /// The option of all commands that says what is logged.
    pub(super) const fn log_level(set: Set<C>, show: Show<C>) -> Self {
        Self::new("Logging", "log-level")
            .help("least severe level that is logged: off, error, warn, info, debug or trace")
            .value("LEVEL", set)
            .shown(show)
            .common()
    }

    /// The option of all commands that asks for the help.
    pub(super) const fn for_help() -> Self {
        Self::new("Other", "help").help("print the options and exit").short('h')
    }

    pub(super) const fn common(mut self) -> Self {
        self.is_common = true;
        self
    }
}
