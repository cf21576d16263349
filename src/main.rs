//! The program: arguments in, exit code out.

use std::cell::Cell;
use std::fmt::Display;
use std::io::{self, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};

use restreamer::archive::Archive;
use restreamer::check::{Subject, check};
use restreamer::clock::Clock;
use restreamer::config::{Command, Config, help};
use restreamer::ffmpeg::{LazyTools, Tools};
use restreamer::http::{App, Service};
use restreamer::logging::{self, Log};
use restreamer::metrics::Metrics;
use restreamer::server::{Limits, Server, Workers, raise_descriptor_limit};

/// How long a server that was told to stop goes on with what it has begun.
const GRACE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let command = match Command::from_process() {
        Ok(command) => command,
        Err(error) => return fail(2, &error),
    };
    match command {
        Command::Help => say(&help()),
        Command::Version => say(concat!("restreamer ", env!("CARGO_PKG_VERSION"), "\n")),
        Command::Check(config) => look(&config).unwrap_or_else(|error| fail(1, &error)),
        Command::Serve(config) => serve(&config).unwrap_or_else(|error| fail(1, &error)),
    }
}

/// Begins to log.
fn start_log(config: &Config) -> Result<Log, String> {
    logging::start(config.log_level).map_err(|error| format!("cannot start the log's thread: {error}"))
}

/// Serves until a signal says to stop.
fn serve(config: &Config) -> Result<ExitCode, String> {
    let log = start_log(config)?;
    let archive = Archive::new(&config.base_dir, config.cache_bytes);
    archive.check().map_err(|error| format!("cannot serve `{}`: {error}", config.base_dir.display()))?;
    let signals = catch_signals()?;
    let limits = limits(config, raise_descriptor_limit());
    let app = Arc::new(App {
        archive: Arc::new(archive),
        clock: Clock::System,
        tools: tools(config.clone()),
        segments_url: config.segments_url.clone(),
        started: Instant::now(),
        metrics: Metrics::new().map_err(|error| format!("cannot count anything: {error}"))?,
    });
    let workers = Workers { each: config.workers, cut: config.cut_workers };
    let mut server = Server::start(resolve(config)?, workers, limits, Arc::clone(&app) as Arc<dyn Service>)
        .map_err(|error| format!("cannot listen at {}:{}: {error}", config.host, config.port))?;
    let console = open_console(&mut server, config.backdoor_port)?;
    log::info!("started with {config:?}, {limits:?}");
    if let Some(console) = console {
        log::info!("the console is at {console}");
    }
    // Last, for whoever has waited for it may change at once what is logged, or look what was.
    log.flush();
    say(&format!("listening on http://{}\n", server.address()));
    let looker = std::thread::Builder::new().name("tools".to_owned()).spawn(move || look_for_ffmpeg(&app));

    let _ = signals.recv();
    log::info!("stopping: {} connections are open", server.connections());
    let hurried = Cell::new(false);
    let finished = server.stop_unless(GRACE, || {
        hurried.set(hurried.get() || signals.try_recv().is_ok());
        hurried.get()
    });
    let _ = looker.map(JoinHandle::join);
    match (finished, hurried.get()) {
        (true, _) => log::info!("stopped"),
        (false, true) => log::warn!("stopped at once, by a second signal; what was not finished is cut off"),
        (false, false) => log::warn!("stopped; what was not finished in {GRACE:?} is cut off"),
    }
    Ok(if finished || !hurried.get() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Opens the console, if one is wanted.
fn open_console(server: &mut Server, port: u16) -> Result<Option<SocketAddr>, String> {
    if port == 0 {
        return Ok(None);
    }
    let opened = server.open_console(port);
    opened.map(Some).map_err(|error| format!("cannot open a console at 127.0.0.1:{port}: {error}"))
}

/// The programs that cut, which are looked for when somebody needs them.
fn tools(config: Config) -> LazyTools {
    LazyTools::new(Box::new(move || {
        Tools::find(&config.ffmpeg, &config.ffprobe).with_threads(config.cut_threads())
    }))
}

/// Looks for the programs that cut as soon as the server listens, and says what is missing.
fn look_for_ffmpeg(app: &App) {
    match app.tools.get().ffmpeg_version() {
        Ok(version) => log::info!("cuts are made by ffmpeg {version}"),
        Err(why) => log::warn!("{why}; all but full and smart cuts will work"),
    }
}

/// Looks at everything once.
fn look(config: &Config) -> Result<ExitCode, String> {
    let _log = start_log(config)?;
    let archive = Archive::new(&config.base_dir, config.cache_bytes);
    let subject = Subject {
        config,
        address: resolve(config),
        max_connections: limits(config, raise_descriptor_limit()).max_connections,
        archive: &archive,
        tools: &Tools::find(&config.ffmpeg, &config.ffprobe),
        now: Clock::System.now(),
    };
    match check(&subject, &mut io::stdout().lock()) {
        Ok(true) => Ok(ExitCode::SUCCESS),
        Ok(false) | Err(_) => Ok(ExitCode::FAILURE),
    }
}

/// The address to listen at.
fn resolve(config: &Config) -> Result<SocketAddr, String> {
    let mut found = (config.host.as_str(), config.port)
        .to_socket_addrs()
        .map_err(|error| format!("cannot listen at `{}`: {error}", config.host))?;
    found.next().ok_or_else(|| format!("cannot listen at `{}`: it has no address", config.host))
}

/// The limits that follow from the options and from how many descriptors there are. A connection can need two: its
/// own, and that of the file it is sent.
fn limits(config: &Config, descriptors: u64) -> Limits {
    let defaults = Limits::default();
    let needed = 32 + 3 * config.workers + 8 * config.cut_workers;
    let left = usize::try_from(descriptors).unwrap_or(usize::MAX).saturating_sub(needed);
    let possible = (left / 2).clamp(8, defaults.max_connections);
    Limits {
        max_connections: config.max_connections.unwrap_or(possible),
        head_timeout: config.head_timeout,
        ..defaults
    }
}

/// Where signals to stop arrive: the first means to finish what was begun, the second to cut it off. Should even
/// that hang, a third one ends the process where it stands.
fn catch_signals() -> Result<Receiver<()>, String> {
    let (sender, receiver) = bounded(2);
    let count = AtomicUsize::new(0);
    ctrlc::set_handler(move || {
        if count.fetch_add(1, Ordering::SeqCst) >= 2 {
            std::process::exit(1);
        }
        let _ = sender.try_send(());
    })
    .map_err(|error| format!("cannot catch signals: {error}"))?;
    Ok(receiver)
}

/// Writes to stdout. That nobody may be listening there is no reason to stop.
fn say(text: &str) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Says in one line on stderr what went wrong.
fn fail(code: u8, error: &dyn Display) -> ExitCode {
    let _ = writeln!(io::stderr(), "restreamer: {}", logging::one_line(&error.to_string()));
    ExitCode::from(code)
}
