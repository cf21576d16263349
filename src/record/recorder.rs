//! `restreamer record`: reads an input by ffmpeg, again and again, and records what it delivers.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use super::clock::ReceiveTime;
use super::cutter::Ending;
use super::hls_clock::HlsClock;
use super::leftovers::{first_line, name_leftovers, newest_end};
use super::progress::Progress;
use super::segmenter::{Failure, Segmenter};
use super::source::{Address, BackOff};
use super::writer::ArchiveWriter;
use crate::archive::layout::VariantName;
use crate::clock::Clock;
use crate::config::{Input, RecordConfig, Retry, variable};
use crate::error::Error;
use crate::ffmpeg::{Child, Tools};
use crate::metrics::recorder::RecorderMetrics;

/// How often time is looked at while nothing arrives.
const TICK: Duration = Duration::from_millis(200);
/// A network source that delivers nothing for so long is opened again.
const STALL_LIMIT: Duration = Duration::from_secs(30);
/// A source that has delivered for so long has not failed at once.
const GOOD_TIME: Duration = Duration::from_secs(10);
/// ffmpeg gets a second SIGTERM after this time, which interrupts what it waits for, and is killed after twice of it.
const STOP_TIME: Duration = Duration::from_secs(2);
/// The exit code where a restart does not help.
const MISUSED: u8 = 2;

/// Records until the input has ended for good, or a signal stops it.
///
/// # Errors
/// One line that says why it cannot record.
pub fn run(
    config: &RecordConfig,
    metrics: &Arc<RecorderMetrics>,
    stop: &Receiver<()>,
) -> Result<ExitCode, String> {
    let address = address(&config.input)?;
    let tools = Tools::find(&config.ffmpeg);
    tools.ffmpeg_version().map_err(ToString::to_string)?;
    if config.encode {
        for encoder in ["libx264", "aac"] {
            tools.check_encoder(encoder).map_err(|error| error.to_string())?;
        }
    }
    let name = VariantName { stream: &config.stream, variant: &config.variant };
    let directory = name.directory(&config.base_dir);
    name_leftovers(&directory);
    log::info!("recording `{}` into `{}`", address.shown(), directory.display());
    // Given times are taken as they are.
    let end = if config.start.is_none() { newest_end(&directory) } else { None };
    let writer = ArchiveWriter::new(directory, config.segment_duration, Arc::clone(metrics));
    let is_listed = config.start.is_none() && address.is_hls(&config.ffmpeg_args);
    let mut recorder = Recorder {
        list: is_listed.then(|| HlsClock::new(tools.clone(), address.clone(), config.ffmpeg_args.clone())),
        segmenter: Segmenter::new(writer, config.segment_duration, config.start, end),
        tools,
        config,
        address,
        metrics,
        stop,
        origin: Instant::now(),
        progress: Progress::new(),
    };
    recorder.run()
}

fn address(input: &Input) -> Result<Address, String> {
    let text = match input {
        Input::Address(text) => text.0.clone(),
        Input::File(path) => first_line(path)
            .map_err(|error| format!("cannot read the input's address from `{}`: {error}", path.display()))?,
        Input::Variable(name) => {
            variable(name).ok_or_else(|| format!("the variable `{name}` holds no address"))?
        }
    };
    if text.trim().is_empty() {
        return Err("the input's address is empty".to_owned());
    }
    Ok(Address::new(&text))
}

struct Recorder<'a> {
    segmenter: Segmenter<ArchiveWriter>,
    /// The times of an HLS list.
    list: Option<HlsClock>,
    tools: Tools,
    config: &'a RecordConfig,
    address: Address,
    metrics: &'a RecorderMetrics,
    stop: &'a Receiver<()>,
    /// When the monotonic clock was 0.
    origin: Instant,
    progress: Progress,
}

/// How an attempt to record an input has ended.
enum Attempt {
    /// A signal has stopped it.
    Stopped,
    /// The input has ended.
    Ended,
    /// It has failed, and may work when it is opened again.
    Failed(String),
    /// It cannot be recorded in this way.
    Refused(String),
}

impl Recorder<'_> {
    fn run(&mut self) -> Result<ExitCode, String> {
        let mut back_off = BackOff::default();
        loop {
            let begun = Instant::now();
            let attempt = self.attempt();
            self.metrics.connected.set(0);
            if begun.elapsed() >= GOOD_TIME {
                back_off.reset();
            }
            let may_retry = match self.config.retry {
                Retry::Auto => self.address.is_network() && self.config.start.is_none(),
                Retry::Forever => true,
                Retry::Times(count) => back_off.failures() < count,
            };
            let why = match attempt {
                Attempt::Stopped => {
                    log::info!("stopped");
                    return Ok(ExitCode::SUCCESS);
                }
                Attempt::Refused(why) => {
                    log::error!("{why}");
                    return Ok(ExitCode::from(MISUSED));
                }
                Attempt::Ended if !may_retry => return self.ended(),
                Attempt::Failed(why) if !may_retry => return Err(why),
                Attempt::Ended => format!("`{}` has ended", self.address.shown()),
                Attempt::Failed(why) => why,
            };
            let delay = back_off.next(random());
            log::warn!("{why}; opening it again in {:.1} s", delay.as_secs_f64());
            if self.stop.recv_timeout(delay).is_ok() {
                return Ok(ExitCode::SUCCESS);
            }
            self.metrics.reconnects.inc();
        }
    }

    fn ended(&self) -> Result<ExitCode, String> {
        let (count, _) = self.metrics.segments();
        if count == 0 {
            return Err(format!("`{}` holds nothing that could be recorded", self.address.shown()));
        }
        log::info!("`{}` has ended after {count} segments", self.address.shown());
        Ok(ExitCode::SUCCESS)
    }

    /// Reads the input once, to its end.
    fn attempt(&mut self) -> Attempt {
        let stop = self.stop;
        let listed = self.list.as_mut().and_then(|list| list.first_look(&|| !stop.is_empty()));
        let mut child = match self.start(listed.is_some()) {
            Ok(child) => child,
            Err(error) => return Attempt::Failed(self.address.redact(&error.to_string())),
        };
        if listed.is_some() {
            self.segmenter.set_listed(listed);
        }
        let mut heard = Instant::now();
        let mut stopping = Stopping::default();
        let (ending, attempt) = loop {
            let deadline = Instant::now() + TICK;
            self.look_at_list();
            let next = child.next_chunk(&|| !self.stop.is_empty() || Instant::now() >= deadline);
            let received = self.received();
            let failure = match next {
                Ok(Some(chunk)) => {
                    heard = Instant::now();
                    self.metrics.connected.set(1);
                    self.progress.update(chunk.len(), received.wall, self.metrics);
                    self.segmenter.push(&chunk, received).err()
                }
                Err(Error::Cancelled) => {
                    self.progress.update(0, received.wall, self.metrics);
                    self.segmenter.tick(received).err()
                }
                // ffmpeg reports a signal as a failure, but has written all that it had.
                Ok(None) | Err(_) if stopping.has_begun() => break (Ending::Orderly, Attempt::Stopped),
                Ok(None) => break (Ending::Orderly, Attempt::Ended),
                Err(error) => {
                    break (Ending::Broken, Attempt::Failed(self.address.redact(&error.to_string())));
                }
            };
            if let Some(failure) = failure {
                break (Ending::Broken, self.failed(failure));
            }
            if stopping.is_overdue(&child, self.stop) {
                break (Ending::Broken, Attempt::Stopped);
            }
            if self.address.is_network() && heard.elapsed() > STALL_LIMIT {
                let why = format!("`{}` has delivered nothing for {STALL_LIMIT:?}", self.address.shown());
                break (Ending::Broken, Attempt::Failed(why));
            }
        };
        drop(child);
        self.progress.end();
        match (self.segmenter.finish(ending), attempt) {
            (Err(failure), Attempt::Ended) => self.failed(failure),
            (_, attempt) => attempt,
        }
    }

    fn look_at_list(&mut self) {
        let need = self.segmenter.list_need();
        if let Some(list) = &mut self.list {
            list.poll(need, |times| self.segmenter.set_listed(times));
        }
    }

    fn start(&self, keeps_clock: bool) -> Result<Child, Error> {
        let config = self.config;
        let mut input_args = config.ffmpeg_args.clone();
        let has = |word: &str| input_args.iter().any(|arg| arg == word);
        let is_file = self.address.path().is_some_and(|path| Path::new(path).is_file());
        if config.start.is_none() && !has("-re") && (is_file || has("lavfi")) {
            // Files and generated pictures come as fast as they are read.
            input_args.insert(0, "-re".to_owned());
        }
        let seconds = config.encode.then(|| config.segment_duration.to_string());
        let args = self.address.ffmpeg_args(&input_args, seconds.as_deref(), keeps_clock);
        let stdin = if self.address.is_stdin() {
            let copied = std::io::stdin().as_fd().try_clone_to_owned();
            Some(File::from(copied.map_err(Error::io("read", "standard input"))?))
        } else {
            None
        };
        self.tools.recording(&args, stdin, config.start.is_none())
    }

    fn received(&self) -> ReceiveTime {
        let monotonic_us = i64::try_from(self.origin.elapsed().as_micros()).unwrap_or(i64::MAX);
        ReceiveTime { monotonic_us, wall: Clock::System.now() }
    }

    fn failed(&self, failure: Failure) -> Attempt {
        let shown = self.address.shown();
        match failure {
            Failure::FrozenClock => Attempt::Failed(format!("the clock of `{shown}` stands still")),
            Failure::NoProgram(why) => Attempt::Failed(format!("cannot record `{shown}`: {why}")),
            Failure::TooFast => Attempt::Refused(format!(
                "`{shown}` comes faster than real time, so it is no live source: give the time of its first frame by \
                 --start, or let ffmpeg pace it by --ffmpeg-args -re"
            )),
        }
    }
}

/// How far ffmpeg is on its way to end, after a signal to this process.
#[derive(Debug, Default)]
struct Stopping {
    since: Option<Instant>,
    is_interrupted: bool,
}

impl Stopping {
    fn has_begun(&self) -> bool {
        self.since.is_some()
    }

    /// Passes a signal on to ffmpeg; returns whether it takes too long to end, or a second signal has come.
    fn is_overdue(&mut self, child: &Child, stop: &Receiver<()>) -> bool {
        let is_signalled = stop.try_recv().is_ok();
        let Some(since) = self.since else {
            if is_signalled {
                self.since = Some(Instant::now());
                child.terminate();
            }
            return false;
        };
        if since.elapsed() > STOP_TIME && !self.is_interrupted {
            self.is_interrupted = true;
            child.terminate();
        }
        is_signalled || since.elapsed() > 2 * STOP_TIME
    }
}

/// A random number: the keys of hash tables are random.
fn random() -> u32 {
    u32::try_from(RandomState::new().hash_one(()) >> 32).unwrap_or_default()
}
