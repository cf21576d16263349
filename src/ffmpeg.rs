//! ffmpeg and ffprobe: whether they are there. The only place where processes are started.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The programs as they were found at start.
#[derive(Debug, Clone)]
pub struct Tools {
    /// ffmpeg.
    pub ffmpeg: Tool,
    /// ffprobe.
    pub ffprobe: Tool,
}

/// A program that may or may not be there.
#[derive(Debug, Clone)]
pub struct Tool {
    /// The path or name it is started by.
    pub path: PathBuf,
    /// Its version, or why it cannot be started.
    pub version: Result<String, String>,
}

impl Tools {
    /// Starts both once, to see whether they are there.
    pub fn find(ffmpeg: &Path, ffprobe: &Path) -> Self {
        Self { ffmpeg: Tool::find(ffmpeg), ffprobe: Tool::find(ffprobe) }
    }
}

impl Tool {
    #[allow(clippy::disallowed_methods, reason = "this module is where children are started")]
    fn find(path: &Path) -> Self {
        let output = Command::new(path).arg("-version").stdin(Stdio::null()).output();
        let version = match output {
            Err(error) => Err(error.to_string()),
            Ok(output) if !output.status.success() => Err(output.status.to_string()),
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stdout);
                let word = text.lines().next().and_then(|line| line.split_whitespace().nth(2));
                word.map(str::to_owned).ok_or_else(|| "it does not say its version".to_owned())
            }
        };
        Self { path: path.to_owned(), version }
    }
}
