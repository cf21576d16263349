//! The tables of a command as text.

use std::fmt::Write;

use super::spec::{CommandLine, OptionSpec};

/// Maximum length of a line of the help.
const COLUMNS: usize = 100;
/// Column where the explanations of options begin.
const INDENT: usize = 27;

/// The text of a command's `--help`.
pub fn help<C: CommandLine>() -> String {
    let mut text = C::INTRODUCTION.to_owned();
    if !C::ARGUMENTS.is_empty() {
        let _ = writeln!(text, "\nArguments:");
    }
    for argument in C::ARGUMENTS {
        append_entry(&mut text, &argument.usage(), argument.help);
    }
    let mut group = "";
    for option in C::OPTIONS {
        if option.group != group {
            group = option.group;
            let _ = writeln!(text, "\n{group}:");
        }
        let short = option.short.map_or(String::new(), |letter| format!("-{letter}, "));
        let default = option.default_text().map_or(String::new(), |default| format!(" [default: {default}]"));
        append_entry(&mut text, &format!("{short}{}", option.usage()), &format!("{}{default}", option.help));
    }
    text + C::NOTES
}

/// Writes an entry of a list, with its explanation in lines of the same indentation.
fn append_entry(text: &mut String, name: &str, explanation: &str) {
    let mut line = format!("  {name:<width$}", width = INDENT - 2);
    for word in explanation.split(' ') {
        if line.len() + word.len() > COLUMNS {
            let _ = writeln!(text, "{}", line.trim_end());
            line = " ".repeat(INDENT);
        }
        line.extend([word, " "]);
    }
    let _ = writeln!(text, "{}", line.trim_end());
}

impl<C: CommandLine> OptionSpec<C> {
    /// The option as it is written on the command line, such as `--port N`.
    pub fn usage(&self) -> String {
        let value = self.value_name.map(|name| format!(" {name}"));
        format!("--{}{}", self.name, value.unwrap_or_default())
    }

    /// The default value, or how it is computed; `None` for an option without a value.
    pub fn default_text(&self) -> Option<String> {
        let fixed = || self.show.map(|show| show(&C::default()));
        self.computed_default.map(str::to_owned).or_else(fixed)
    }
}

/// The table of a command's arguments and options, as the documents have it.
pub fn markdown_table<C: CommandLine>() -> String {
    let mut text = String::new();
    for argument in C::ARGUMENTS {
        let _ = writeln!(text, "| `{}` | | {} |", argument.usage(), argument.help);
    }
    for option in C::OPTIONS {
        let default = match option.computed_default {
            Some(rule) => format!("{rule} "),
            None => option.default_text().map_or(String::new(), |value| format!("`{value}` ")),
        };
        let _ = writeln!(text, "| `{}` | {default}| {} |", option.usage(), option.help);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::{ArgumentSpec, Config, KeepConfig, PruneConfig, RecordConfig, UnkeepConfig};

    fn check<C: CommandLine>() {
        let help = help::<C>();
        for entry in
            C::OPTIONS.iter().map(OptionSpec::usage).chain(C::ARGUMENTS.iter().map(ArgumentSpec::usage))
        {
            assert!(
                help.lines().any(|line| line.contains(&entry)),
                "{} --help does not list {entry}",
                C::COMMAND
            );
        }
        assert!(help.lines().all(|line| line.len() <= COLUMNS), "{help}");
        // The options of a group stand together.
        let mut groups: Vec<_> = C::OPTIONS.iter().map(|option| option.group).collect();
        groups.dedup();
        assert_eq!(groups.iter().collect::<BTreeSet<_>>().len(), groups.len(), "{groups:?}");
        let required = C::ARGUMENTS.iter().take_while(|argument| argument.is_required).count();
        assert!(C::ARGUMENTS[required..].iter().all(|argument| !argument.is_required), "{}", C::COMMAND);
    }

    #[test]
    fn the_help_lists_every_option_in_lines_of_at_most_100_columns() {
        check::<Config>();
        check::<RecordConfig>();
        check::<PruneConfig>();
        check::<KeepConfig>();
        check::<UnkeepConfig>();
    }

    #[test]
    fn the_help_aligns_wrapped_lines_and_shows_defaults() {
        let help = help::<Config>();
        let shown = "\
\x20 --max-connections N      maximum number of open connections; one more closes the connection that
                           has been idle longest [default: from the limit of open files, at most
                           10000]
";
        assert!(help.contains(shown), "{help}");
        assert!(
            help.contains("[default: 24]\n") && help.contains("  -h, --help               print"),
            "{help}"
        );
    }
}
