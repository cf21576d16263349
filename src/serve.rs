//! The server as a process: its limits and caches by the options and the memory there is, its start and its end.

use std::io::{self, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use crate::archive::Archive;
use crate::check::{MemoryUse, check};
use crate::clock::Clock;
use crate::config::Config;
use crate::cut::samples_cache::SamplesCache;
use crate::ffmpeg::LazyTools;
use crate::http::route::endpoints;
use crate::http::{App, Movies, Pictures, Service, Windows, auth};
use crate::logging::Log;
use crate::metrics::Metrics;
use crate::pictures::templates::Templates;
use crate::process::{MemoryLimit, memory_limit, raise_descriptor_limit};
use crate::server::{Limits, Server, Workers};

/// Time to finish responses after the first signal to stop.
const GRACE: Duration = Duration::from_secs(30);

/// Memory for cached directories on a machine with enough of it.
const DEFAULT_CACHE_BYTES: usize = 64 * 1024 * 1024;

/// Memory for the samples of segments on a machine with enough of it: those of about an hour.
const SAMPLES_CACHE_BYTES: usize = 16 * 1024 * 1024;

/// Memory for movies on a machine with enough of it: several hours of them.
const MOVIE_CACHE_BYTES: usize = 32 * 1024 * 1024;

/// Memory for pictures that were encoded for movies, on a machine with enough of it.
const CUT_CACHE_BYTES: usize = 64 * 1024 * 1024;

/// Memory for pictures that were made, on a machine with enough of it.
const PICTURE_CACHE_BYTES: usize = 32 * 1024 * 1024;

/// Serves until a signal stops the server.
/// `log` is flushed before the ready line.
///
/// # Errors
/// One line that says why it cannot serve.
pub fn serve(config: &Config, log: &Log, signals: &Receiver<()>) -> Result<ExitCode, String> {
    let memory = memory_limit();
    let config = &with_cache_sizes(config.clone(), memory.as_ref());
    let archive = Archive::new(&config.base_dir, config.cache_bytes.unwrap_or_default());
    archive.check().map_err(|error| format!("cannot serve `{}`: {error}", config.base_dir.display()))?;
    let limits = limits(config, raise_descriptor_limit(), memory.as_ref());
    let app = Arc::new(App {
        archive: Arc::new(archive),
        clock: Clock::System,
        samples: Arc::new(SamplesCache::new(scaled(SAMPLES_CACHE_BYTES, memory.as_ref()))),
        tools: LazyTools::new(config.ffmpeg.clone(), config.ffprobe.clone(), config.cut_threads())
            .with_max_segment_bytes(config.max_segment_bytes),
        segments_url: config.segments_url.clone(),
        max_cut_hours: config.max_cut_hours,
        windows: Windows::default(),
        first_frames: Arc::default(),
        movies: Movies::new(
            config.movie_cache_bytes.unwrap_or_default(),
            config.cut_cache_bytes.unwrap_or_default(),
        ),
        pictures: Pictures::new(config.picture_cache_bytes.unwrap_or_default()),
        templates: Templates::new(config.templates_dir.clone()),
        started: Instant::now(),
        auth: auth::everyone,
        metrics: Metrics::new(&endpoints())
            .map_err(|error| format!("cannot register the metrics: {error}"))?,
    });
    let workers = Workers { each: config.workers, cut: config.cut_workers };
    let mut server = Server::start(resolve(config)?, workers, limits, Arc::clone(&app) as Arc<dyn Service>)
        .map_err(|error| format!("cannot listen at {}:{}: {error}", config.host, config.port))?;
    log_options(config, &limits);
    if config.backdoor_port != 0 {
        let console = server.open_console(config.backdoor_port).map_err(|error| {
            format!("cannot open a console at 127.0.0.1:{}: {error}", config.backdoor_port)
        })?;
        log::info!("the console listens on {console}");
    }
    // The ready line comes last, so that whoever waits for it finds the log complete up to here.
    log.flush();
    // A closed stdout does not stop the server.
    let _ = writeln!(io::stdout(), "listening on http://{}", server.address());
    let tools_thread = std::thread::Builder::new().name("tools".to_owned()).spawn(move || log_ffmpeg(&app));

    let _ = signals.recv();
    log::info!("stopping; {} connections are open", server.connections());
    let is_hurried = || !signals.is_empty();
    let finished = server.stop_unless(GRACE, is_hurried);
    let _ = tools_thread.map(JoinHandle::join);
    if finished {
        log::info!("stopped");
    } else if is_hurried() {
        log::warn!("stopped at once by a second signal; responses were aborted");
        return Ok(ExitCode::FAILURE);
    } else {
        log::warn!("stopped after {GRACE:?}; responses were aborted");
    }
    Ok(ExitCode::SUCCESS)
}

/// Logs the options in effect. No database is used, and its address, which may hold a password, is not among them.
fn log_options(config: &Config, limits: &Limits) {
    log::info!("started with {config:?}, {limits:?}");
    if config.has_connection_string {
        log::info!("--connection-string is ignored: this server uses no database");
    }
}

/// Looks up ffmpeg before the first cut needs it, and logs the version or the problem.
fn log_ffmpeg(app: &App) {
    match app.tools.get().ffmpeg_version() {
        Ok(version) => log::info!("cuts use ffmpeg {version}"),
        Err(why) => log::warn!("{why}; full and smart cuts will fail"),
    }
}

/// Prints the report of `--check`.
pub fn run_check(mut config: Config) -> ExitCode {
    let memory = memory_limit();
    let limits = limits(&config, raise_descriptor_limit(), memory.as_ref());
    config.max_connections = Some(limits.max_connections);
    config = with_cache_sizes(config, memory.as_ref());
    let samples_bytes = scaled(SAMPLES_CACHE_BYTES, memory.as_ref());
    let memory = MemoryUse { limit: memory, held_bytes: limits.held_bytes, samples_bytes };
    let is_fine = check(&config, resolve(&config), &memory, &mut io::stdout().lock()).unwrap_or(false);
    if is_fine { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The address to listen on: the first one that the host name resolves to.
fn resolve(config: &Config) -> Result<SocketAddr, String> {
    let mut found = (config.host.as_str(), config.port)
        .to_socket_addrs()
        .map_err(|error| format!("cannot listen at `{}`: {error}", config.host))?;
    found.next().ok_or_else(|| format!("cannot listen at `{}`: the name has no address", config.host))
}

/// The size of a cache or buffer that has `bytes` on a machine with enough memory. With less memory, all caches and buffers
/// together take at most a quarter of it, because ffmpeg and the page cache need the rest.
fn scaled(bytes: usize, memory: Option<&MemoryLimit>) -> usize {
    let of_cuts = SAMPLES_CACHE_BYTES + MOVIE_CACHE_BYTES + CUT_CACHE_BYTES;
    let whole = (DEFAULT_CACHE_BYTES + of_cuts + PICTURE_CACHE_BYTES + Limits::default().held_bytes) as u64;
    match memory.map(|memory| memory.bytes / 4).filter(|quarter| *quarter < whole) {
        Some(quarter) => usize::try_from(quarter * bytes as u64 / whole).unwrap_or(bytes),
        None => bytes,
    }
}

/// The options, with the sizes of caches that they leave open.
fn with_cache_sizes(mut config: Config, memory: Option<&MemoryLimit>) -> Config {
    config.cache_bytes.get_or_insert_with(|| scaled(DEFAULT_CACHE_BYTES, memory));
    config.movie_cache_bytes.get_or_insert_with(|| scaled(MOVIE_CACHE_BYTES, memory));
    config.cut_cache_bytes.get_or_insert_with(|| scaled(CUT_CACHE_BYTES, memory));
    config.picture_cache_bytes.get_or_insert_with(|| scaled(PICTURE_CACHE_BYTES, memory));
    config
}

/// Derives the limits from the options, the number of file descriptors and the memory there is. A connection can need two
/// descriptors: its socket and the file that is sent.
fn limits(config: &Config, descriptors: u64, memory: Option<&MemoryLimit>) -> Limits {
    let defaults = Limits::default();
    let reserved = 32 + 3 * config.workers + 16 * config.cut_workers;
    let available = usize::try_from(descriptors).unwrap_or(usize::MAX).saturating_sub(reserved);
    let possible = (available / 2).clamp(8, defaults.max_connections);
    Limits {
        max_connections: config.max_connections.unwrap_or(possible),
        head_timeout: config.head_timeout,
        held_bytes: scaled(defaults.held_bytes, memory),
        ..defaults
    }
}
