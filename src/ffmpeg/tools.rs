//! Which ffmpeg and ffprobe there are, and what they can do.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::child::Child;
use super::pipes::Feed;
use crate::error::{Error, Result};

/// How long a child may be silent, unless told otherwise.
const STALL_LIMIT: Duration = Duration::from_secs(30);
/// How long a question about a version or a file may take.
const QUESTION_LIMIT: Duration = Duration::from_secs(10);

/// The programs that cuts are made with.
#[derive(Debug, Clone)]
pub struct Tools {
    ffmpeg: Found,
    ffprobe: Found,
    encoders: BTreeSet<String>,
    threads: usize,
    stall_limit: Duration,
}

#[derive(Debug, Clone)]
struct Found {
    path: PathBuf,
    /// The version, or why there is none.
    version: Result<String, String>,
}

impl Tools {
    /// Looks for both programs; either may be a name to be found in `PATH`. That one is missing is no failure here.
    pub fn find(ffmpeg: &Path, ffprobe: &Path) -> Self {
        let ffmpeg = Found::ask("ffmpeg", ffmpeg);
        let encoders = if ffmpeg.version.is_ok() { encoders(&ffmpeg.path) } else { BTreeSet::new() };
        let ffprobe = Found::ask("ffprobe", ffprobe);
        Self { ffmpeg, ffprobe, encoders, threads: 1, stall_limit: STALL_LIMIT }
    }

    /// The same with this many threads for each child.
    #[must_use]
    pub fn with_threads(self, threads: usize) -> Self {
        Self { threads: threads.max(1), ..self }
    }

    /// The same with another limit to how long a child may be silent.
    #[must_use]
    pub fn with_stall_limit(self, stall_limit: Duration) -> Self {
        Self { stall_limit, ..self }
    }

    /// ffmpeg's version, such as `5.1.9-0+deb12u1`; why there is none otherwise.
    pub fn ffmpeg_version(&self) -> Result<&str, &str> {
        self.ffmpeg.version.as_deref().map_err(String::as_str)
    }

    /// ffprobe's version; why there is none otherwise.
    pub fn ffprobe_version(&self) -> Result<&str, &str> {
        self.ffprobe.version.as_deref().map_err(String::as_str)
    }

    /// Threads that a child may use.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// The first of these encoders that ffmpeg has.
    ///
    /// # Errors
    /// [`Error::ProgramMissing`] if there is no ffmpeg, [`Error::ProgramLacks`] if it has none of them.
    pub fn encoder(&self, names: &[&'static str]) -> Result<&'static str> {
        if let Err(why) = self.ffmpeg_version() {
            return Err(Error::ProgramMissing { program: "ffmpeg", why: why.to_owned() });
        }
        names.iter().find(|name| self.encoders.contains(**name)).copied().ok_or_else(|| Error::ProgramLacks {
            program: "ffmpeg",
            what: format!("the encoder {}", names.join(" or ")),
        })
    }

    /// The option that takes frames as they come, which has had two names.
    pub fn frames_as_they_come(&self) -> &'static str {
        let major =
            self.ffmpeg_version().unwrap_or("").trim_start_matches('n').split('.').next().unwrap_or("");
        if major.parse().is_ok_and(|major: u32| major < 5) { "-vsync" } else { "-fps_mode" }
    }

    /// Starts ffmpeg.
    ///
    /// # Errors
    /// [`Error::ProgramMissing`] if it cannot be started.
    pub fn ffmpeg(&self, args: &[String], feed: Option<Feed>) -> Result<Child> {
        Child::start("ffmpeg", &self.ffmpeg.path, args, feed, self.stall_limit)
    }

    /// What ffprobe says of the streams and the format of a file, as its JSON.
    ///
    /// # Errors
    /// [`Error::ProgramMissing`] without ffprobe; [`Error::Child`] if it fails, takes more than ten seconds, or says
    /// something that is not JSON.
    pub fn probe(&self, path: &Path) -> Result<serde_json::Value> {
        let mut file = std::ffi::OsString::from("file:");
        file.push(path);
        let options = ["-v", "error", "-of", "json", "-show_streams", "-show_format", "-i"].map(Into::into);
        let args = options.into_iter().chain([file]);
        let answer = ask("ffprobe", &self.ffprobe.path, args)?;
        serde_json::from_slice(&answer).map_err(|error| Error::Child {
            program: "ffprobe",
            why: format!("its answer is not JSON: {error}"),
        })
    }
}

impl Found {
    fn ask(program: &'static str, path: &Path) -> Self {
        let version = ask(program, path, ["-version".into()])
            .map_err(|error| match error {
                Error::ProgramMissing { why, .. } => why,
                other => other.to_string(),
            })
            .and_then(|answer| {
                let text = String::from_utf8_lossy(&answer);
                let word = text.split_whitespace().skip_while(|word| *word != "version").nth(1);
                word.map(str::to_owned).ok_or_else(|| format!("`{}` tells no version", path.display()))
            });
        Self { path: path.to_path_buf(), version }
    }
}

/// The names of the encoders that an ffmpeg lists.
fn encoders(path: &Path) -> BTreeSet<String> {
    let answer =
        ask("ffmpeg", path, ["-hide_banner", "-nostdin", "-encoders"].map(Into::into)).unwrap_or_default();
    let text = String::from_utf8_lossy(&answer);
    let rows = text.lines().skip_while(|line| !line.contains("------")).skip(1);
    rows.filter_map(|line| line.split_whitespace().nth(1)).map(str::to_owned).collect()
}

fn ask(
    program: &'static str,
    path: &Path,
    args: impl IntoIterator<Item = std::ffi::OsString>,
) -> Result<Vec<u8>> {
    let since = Instant::now();
    let child = Child::start(program, path, args, None, QUESTION_LIMIT)?;
    child.read_to_end(&|| since.elapsed() < QUESTION_LIMIT)
}
