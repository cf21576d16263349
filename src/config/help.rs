//! The option table as text.

use std::fmt::Write;

use super::options::{Config, OPTIONS, OptionSpec};

/// Maximum length of a line of the help.
const COLUMNS: usize = 100;
/// Column where the explanations of options begin.
const INDENT: usize = 27;

const INTRODUCTION: &str = "\
restreamer serves an archive of recorded live streams over HTTP. It lists the archive, makes HLS
playlists for any time range, serves the segments, and cuts time ranges exactly.

Usage: restreamer [OPTIONS]

The archive is a directory tree, DIR/STREAM/VARIANT/YYYY-MM-DDTHH/SEGMENT.ts, with hours in UTC.
The server only reads it. Other programs can add, rename and delete files at any time.
";

const NOTES: &str = "
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

/// The text of `--help`.
pub fn help() -> String {
    let mut text = INTRODUCTION.to_owned();
    let mut group = "";
    for option in OPTIONS {
        if option.group != group {
            group = option.group;
            let _ = writeln!(text, "\n{group}:");
        }
        let short = option.short.map_or(String::new(), |letter| format!("-{letter}, "));
        let mut line = format!("  {:<width$}", format!("{short}{}", option.usage()), width = INDENT - 2);
        let default = option.default_text().map(|default| format!(" [default: {default}]"));
        for word in format!("{}{}", option.help, default.unwrap_or_default()).split(' ') {
            if line.len() + word.len() > COLUMNS {
                let _ = writeln!(text, "{}", line.trim_end());
                line = " ".repeat(INDENT);
            }
            line.extend([word, " "]);
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text + NOTES
}

impl OptionSpec {
    /// The option as it is written on the command line, such as `--port N`.
    pub fn usage(&self) -> String {
        let value = self.value_name.map(|name| format!(" {name}"));
        format!("--{}{}", self.name, value.unwrap_or_default())
    }

    /// The default value, or how it is computed; `None` for an option without a value.
    pub fn default_text(&self) -> Option<String> {
        let fixed = || self.show.map(|show| show(&Config::default()));
        self.computed_default.map(str::to_owned).or_else(fixed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_lists_every_option_in_lines_of_at_most_100_columns() {
        let help = help();
        for option in OPTIONS {
            let listed = help.lines().any(|line| line.contains(&option.usage()));
            assert!(listed, "--help does not list --{}", option.name);
        }
        assert!(help.lines().all(|line| line.len() <= COLUMNS), "{help}");
    }

    #[test]
    fn the_help_aligns_wrapped_lines_and_shows_defaults() {
        let help = help();
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

    #[test]
    fn options_of_a_group_stand_together() {
        let mut groups: Vec<_> = OPTIONS.iter().map(|option| option.group).collect();
        groups.dedup();
        let distinct: std::collections::BTreeSet<_> = groups.iter().collect();
        assert_eq!(distinct.len(), groups.len(), "{groups:?}");
    }
}
