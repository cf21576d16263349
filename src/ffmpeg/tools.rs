//! Which ffmpeg and ffprobe there are, and what they can do.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::child::{Child, Feed, Input, Waits};
use crate::error::{Error, Result};

/// How long a child may be without output, by default.
const STALL_LIMIT: Duration = Duration::from_secs(30);
/// How long ffprobe may take for a file.
const PROBE_LIMIT: Duration = Duration::from_secs(3);
/// How long a query for a version or a table of codecs may take.
const QUERY_LIMIT: Duration = Duration::from_secs(10);
/// How long an ffmpeg that records may take to exit once its output has ended.
const EXIT_LIMIT: Duration = Duration::from_secs(60);
/// How long the output of an ffmpeg that records is left to gather.
const GATHER: Duration = Duration::from_millis(100);
/// The options of ffmpeg and ffprobe for a transport stream from a pipe, whatever it holds: it is taken for nothing else,
/// opens no other file, and no picture above 40 million pixels is decoded (8192x4320 and what decoders add to it).
pub const INPUT_OPTIONS: &str = "-f mpegts -protocol_whitelist file,pipe -max_pixels 40000000";
/// The default limit to the size of a segment that is read for ffmpeg.
pub const MAX_SEGMENT_BYTES: u64 = 256 * 1024 * 1024;
/// The most output of a query that is read.
const MAX_OUTPUT_BYTES: usize = 4 * 1024 * 1024;

/// The programs that cuts are made with, and the limits for their use.
#[derive(Debug, Clone)]
pub struct Tools {
    ffmpeg: PathBuf,
    found: Result<Ffmpeg, Arc<Error>>,
    threads: usize,
    stall_limit: Duration,
    max_segment_bytes: u64,
}

/// An ffmpeg that runs.
#[derive(Debug, Clone)]
struct Ffmpeg {
    version: String,
    encoders: BTreeSet<String>,
    decoders: BTreeSet<String>,
    /// The transitions of its filter `xfade`, once they were asked for.
    transitions: Arc<OnceLock<BTreeSet<String>>>,
}

impl Tools {
    /// Looks for ffmpeg, which may be a name to be found in `PATH`. A missing program is no error here.
    pub fn find(ffmpeg: &Path) -> Self {
        Self { found: Ffmpeg::find(ffmpeg).map_err(Arc::new), ..Self::unused(ffmpeg) }
    }

    /// The tools for work that runs no program, without a search.
    pub(super) fn unused(ffmpeg: &Path) -> Self {
        let why = "it was not searched for".to_owned();
        Self {
            ffmpeg: ffmpeg.to_path_buf(),
            found: Err(Arc::new(Error::ProgramMissing { program: "ffmpeg", why })),
            threads: 1,
            stall_limit: STALL_LIMIT,
            max_segment_bytes: MAX_SEGMENT_BYTES,
        }
    }

    /// The same with this many threads for each child.
    #[must_use]
    pub fn with_threads(self, threads: usize) -> Self {
        Self { threads: threads.max(1), ..self }
    }

    /// The same with another limit to how long a child may be without output.
    #[must_use]
    pub fn with_stall_limit(self, stall_limit: Duration) -> Self {
        Self { stall_limit, ..self }
    }

    /// The same with another limit to the size of a segment that is read for them.
    #[must_use]
    pub fn with_max_segment_bytes(self, max_segment_bytes: u64) -> Self {
        Self { max_segment_bytes, ..self }
    }

    /// How long a child may be without output.
    pub fn stall_limit(&self) -> Duration {
        self.stall_limit
    }

    /// The size of the largest segment that is read for them: it is in memory as a whole.
    pub fn max_segment_bytes(&self) -> u64 {
        self.max_segment_bytes
    }

    /// ffmpeg's version, such as `5.1.9-0+deb12u1`, or why it cannot be used.
    pub fn ffmpeg_version(&self) -> Result<&str, &Error> {
        self.found.as_ref().map(|found| found.version.as_str()).map_err(AsRef::as_ref)
    }

    /// Threads that a child may use.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Checks that ffmpeg has an encoder.
    ///
    /// # Errors
    /// [`Error::ProgramMissing`] if there is no ffmpeg, [`Error::ProgramLacks`] if it has no such encoder,
    /// [`Error::NotStarted`] or [`Error::Child`] if it could not be asked.
    pub fn check_encoder(&self, name: &'static str) -> Result<()> {
        if self.found()?.encoders.contains(name) {
            return Ok(());
        }
        Err(Error::ProgramLacks { program: "ffmpeg", what: format!("the encoder {name}") })
    }

    /// Whether ffmpeg has one of these decoders.
    ///
    /// # Errors
    /// Those of [`Tools::check_encoder`], except [`Error::ProgramLacks`].
    pub fn has_decoder(&self, names: &[&str]) -> Result<bool> {
        let decoders = &self.found()?.decoders;
        Ok(names.iter().any(|name| decoders.contains(*name)))
    }

    /// The transitions between two videos that ffmpeg has, but `custom`, which takes a program of its own.
    ///
    /// # Errors
    /// Those of [`Tools::check_encoder`].
    pub fn transitions(&self) -> Result<&BTreeSet<String>> {
        let known = &self.found()?.transitions;
        if let Some(names) = known.get() {
            return Ok(names);
        }
        let answer = query("ffmpeg", &self.ffmpeg, ["-hide_banner", "-nostdin", "-h", "filter=xfade"])?;
        let names = transitions(&String::from_utf8_lossy(&answer));
        if names.is_empty() {
            return Err(Error::ProgramLacks { program: "ffmpeg", what: "the filter xfade".to_owned() });
        }
        Ok(known.get_or_init(|| names))
    }

    fn found(&self) -> Result<&Ffmpeg> {
        let program = "ffmpeg";
        self.found.as_ref().map_err(|error| match &**error {
            Error::ProgramMissing { why, .. } => Error::ProgramMissing { program, why: why.clone() },
            Error::NotStarted { why, .. } => Error::NotStarted { program, why: why.clone() },
            Error::Child { why, .. } => Error::Child { program, why: why.clone() },
            error => Error::Child { program, why: error.to_string() },
        })
    }

    /// The option that passes frames through with their time stamps: ffmpeg 5.1 renamed it.
    pub fn passthrough_option(&self) -> &'static str {
        if self.major_version().is_some_and(|major| major < 5) { "-vsync" } else { "-fps_mode" }
    }

    /// The first number of ffmpeg's version; `None` for one that was built between two versions.
    pub fn major_version(&self) -> Option<u32> {
        let version = self.ffmpeg_version().ok()?.trim_start_matches('n');
        version.split('.').next()?.parse().ok()
    }

    /// Starts ffmpeg with these arguments, which are separated by spaces.
    pub fn ffmpeg(&self, args: &str, feed: Feed) -> Result<Child> {
        Child::start(
            "ffmpeg",
            &self.ffmpeg,
            args.split(' '),
            Input::Feed(feed),
            Waits::stall(self.stall_limit),
        )
    }

    /// Starts an ffmpeg that records: its output is a stream without end, which may pause for any time. It is killed when
    /// this process ends, however that happens, so that it does not keep a port or a device. It reads `stdin`, if that is
    /// given. Output that `is_live` is passed on up to a tenth of a second late.
    ///
    /// # Errors
    /// As `Child::start`.
    pub fn recording(&self, args: &[String], stdin: Option<File>, is_live: bool) -> Result<Child> {
        let gather = if is_live { GATHER } else { Duration::ZERO };
        self.bound(args, stdin, Waits { stall_limit: EXIT_LIMIT, gather })
    }

    /// Starts an ffmpeg that reads an input for a moment. It is killed when this process ends, too.
    ///
    /// # Errors
    /// As `Child::start`.
    pub fn reading(&self, args: &[String]) -> Result<Child> {
        self.bound(args, None, Waits::stall(EXIT_LIMIT))
    }

    /// The whole output of an ffmpeg that ends soon, at most 4 MiB. It is killed when this process ends, too.
    ///
    /// # Errors
    /// As `Child::start`; [`Error::Child`] if it fails, takes longer than `limit` or writes more; [`Error::Cancelled`] once
    /// `is_cancelled` returns true.
    pub fn output(
        &self,
        args: &[String],
        limit: Duration,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Vec<u8>> {
        whole_output("ffmpeg", self.reading(args)?, limit, is_cancelled)
    }

    fn bound(&self, args: &[String], stdin: Option<File>, waits: Waits) -> Result<Child> {
        let input = |stdin: Option<File>| stdin.map_or(Input::Nothing, Input::File);
        let copy = stdin.as_ref().and_then(|stdin| stdin.try_clone().ok());
        let bound = ["--pdeathsig", "KILL"].map(OsStr::new).into_iter().chain([self.ffmpeg.as_os_str()]);
        let bound = bound.chain(args.iter().map(OsStr::new));
        match Child::start("ffmpeg", Path::new("setpriv"), bound, input(stdin), waits) {
            Err(Error::ProgramMissing { why, .. }) => {
                log::warn!("ffmpeg may outlive this process if that is killed: cannot run setpriv: {why}");
                Child::start("ffmpeg", &self.ffmpeg, args, input(copy), waits)
            }
            started => started,
        }
    }
}

impl Ffmpeg {
    fn find(path: &Path) -> Result<Self> {
        let version = version("ffmpeg", path)?;
        Ok(Self {
            version,
            encoders: codecs(path, "-encoders")?,
            decoders: codecs(path, "-decoders")?,
            transitions: Arc::default(),
        })
    }
}

/// ffprobe, which may be missing.
#[derive(Debug, Clone)]
pub struct Ffprobe(PathBuf);

impl Ffprobe {
    /// The program at this path, or of this name in `PATH`. It is not searched for.
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Its version. Cuts do not need ffprobe, so nothing that they wait for asks this.
    ///
    /// # Errors
    /// As `Child::start`; [`Error::Child`] if it reports no version.
    pub fn version(&self) -> Result<String> {
        version("ffprobe", &self.0)
    }

    /// The streams of a file, as ffprobe's JSON. ffprobe reads the open file, so that no name can lead it to another one.
    ///
    /// # Errors
    /// As `Child::start`; [`Error::Child`] if ffprobe fails, takes more than three seconds or does not answer in JSON;
    /// [`Error::Cancelled`] once `is_cancelled` returns true, which is called several times a second.
    pub fn streams(&self, file: File, is_cancelled: &dyn Fn() -> bool) -> Result<serde_json::Value> {
        let program = "ffprobe";
        let args = format!("-v error -threads 1 {INPUT_OPTIONS} -of json -show_streams -i pipe:0");
        let child =
            Child::start(program, &self.0, args.split(' '), Input::File(file), Waits::stall(PROBE_LIMIT))?;
        let answer = whole_output(program, child, PROBE_LIMIT, is_cancelled)?;
        let not_json = |error| Error::Child { program, why: format!("its answer is not JSON: {error}") };
        serde_json::from_slice(&answer).map_err(not_json)
    }
}

/// The names in one of ffmpeg's tables of codecs.
fn codecs(path: &Path, table: &str) -> Result<BTreeSet<String>> {
    let answer = query("ffmpeg", path, ["-hide_banner", "-nostdin", table])?;
    let text = String::from_utf8_lossy(&answer);
    let rows = text.lines().skip_while(|line| !line.contains("------")).skip(1);
    Ok(rows.filter_map(|line| line.split_whitespace().nth(1)).map(str::to_owned).collect())
}

/// The values but `custom` of the first option in ffmpeg's help on the filter `xfade`.
fn transitions(help: &str) -> BTreeSet<String> {
    let is_option = |line: &&str| line.split_whitespace().nth(1).is_some_and(|kind| kind.starts_with('<'));
    let values = help.lines().skip_while(|line| !is_option(line)).skip(1).take_while(|line| !is_option(line));
    let names = values.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "custom");
    names.map(str::to_owned).collect()
}

fn version(program: &'static str, path: &Path) -> Result<String> {
    let answer = query(program, path, ["-version"])?;
    let text = String::from_utf8_lossy(&answer);
    let word = text.split_whitespace().skip_while(|word| *word != "version").nth(1);
    word.map(str::to_owned)
        .ok_or_else(|| Error::Child { program, why: format!("`{}` reports no version", path.display()) })
}

/// The whole output of a program that answers soon.
fn query(program: &'static str, path: &Path, args: impl IntoIterator<Item: AsRef<OsStr>>) -> Result<Vec<u8>> {
    let child = Child::start(program, path, args, Input::Nothing, Waits::stall(QUERY_LIMIT))?;
    whole_output(program, child, QUERY_LIMIT, &|| false)
}

/// The whole output of a child that may run for `limit`.
fn whole_output(
    program: &'static str,
    mut child: Child,
    limit: Duration,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<Vec<u8>> {
    let since = Instant::now();
    let mut output = Vec::new();
    loop {
        let is_late = || since.elapsed() >= limit;
        let why = match child.next_chunk(&|| is_cancelled() || is_late()) {
            Ok(Some(chunk)) => {
                output.extend(chunk);
                if output.len() > MAX_OUTPUT_BYTES {
                    format!("more than {MAX_OUTPUT_BYTES} bytes of output")
                } else if is_late() {
                    format!("not done after {limit:?}")
                } else {
                    continue;
                }
            }
            Ok(None) => return Ok(output),
            Err(Error::Cancelled) if is_late() => format!("no answer in {limit:?}"),
            Err(error) => return Err(error),
        };
        return Err(Error::Child { program, why });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transitions_are_read_from_the_help_on_the_filter() {
        let help = "Filter xfade\n    Inputs:\n       #0: main (video)\nxfade AVOptions:\n   \
            transition        <int>        ..FV....... set cross fade transition (default fade)\n     \
            custom          -1           ..FV....... custom transition\n     \
            fade            0            ..FV....... fade transition\n     \
            wipeleft        1            ..FV....... wipe left transition\n   \
            duration          <duration>   ..FV....... set cross fade duration (default 1)\n";
        assert_eq!(transitions(help).into_iter().collect::<Vec<_>>(), ["fade", "wipeleft"]);
        assert!(transitions("Unknown filter 'xfade'.\n").is_empty());
    }
}
