//! The program: runs the command that the arguments name and returns its exit code.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use log::LevelFilter;

use restreamer::clock::Clock;
use restreamer::config::{Command, RecordConfig};
use restreamer::http::RecorderPage;
use restreamer::logging::{self, Log};
use restreamer::metrics::recorder::RecorderMetrics;
use restreamer::server::{Limits, Server, Workers};
use restreamer::{record, serve};

fn main() -> ExitCode {
    match Command::from_process() {
        Ok(command) => run(command).unwrap_or_else(|error| fail(1, &error)),
        Err(error) => fail(2, &error),
    }
}

fn run(command: Command) -> Result<ExitCode, String> {
    match command {
        Command::Help(text) => Ok(print(&text)),
        Command::Version => Ok(print(concat!("restreamer ", env!("CARGO_PKG_VERSION"), "\n"))),
        Command::Check(config) => {
            let _log = start_log(config.log_level)?;
            Ok(serve::run_check(config))
        }
        Command::Serve(config) => {
            let log = start_log(config.log_level)?;
            serve::serve(&config, &log, &catch_signals()?)
        }
        Command::Record(config) => {
            let _log = start_log(config.log_level)?;
            record(&config)
        }
        Command::Prune(config) => {
            let _log = start_log(config.log_level)?;
            record::prune::run(&config, &Clock::System, &catch_signals()?, &mut io::stdout())
        }
        Command::Keep(config) => record::keep::run(&config, &mut io::stdout()),
        Command::Unkeep(config) => record::keep::run(&config, &mut io::stdout()),
    }
}

/// Records, and serves the metrics of it if they are asked for.
fn record(config: &RecordConfig) -> Result<ExitCode, String> {
    let stop = catch_signals()?;
    let metrics = RecorderMetrics::new().map_err(|error| format!("cannot register the metrics: {error}"))?;
    let service = Arc::new(RecorderPage(Arc::clone(&metrics)));
    let server = match config.metrics_port {
        0 => None,
        port => {
            let (address, workers) = (([0, 0, 0, 0], port).into(), Workers { each: 1, cut: 1 });
            let server = Server::start(address, workers, Limits::default(), service);
            Some(server.map_err(|error| format!("cannot serve metrics at port {port}: {error}"))?)
        }
    };
    let ended = record::run(config, &metrics, &stop);
    if let Some(server) = server {
        server.stop(Duration::ZERO);
    }
    ended
}

fn start_log(level: LevelFilter) -> Result<Log, String> {
    logging::start(level).map_err(|error| format!("cannot start the log thread: {error}"))
}

/// Returns a channel that receives the signals to stop: the first one lets the command finish its work, the second one
/// aborts it. A signal that finds the channel full exits the process directly, in case the abort hangs.
fn catch_signals() -> Result<Receiver<()>, String> {
    let (sender, receiver) = bounded(2);
    let handle = move || {
        if sender.try_send(()).is_err() {
            std::process::exit(1);
        }
    };
    ctrlc::set_handler(handle).map_err(|error| format!("cannot catch signals: {error}"))?;
    Ok(receiver)
}

/// Prints to stdout. A closed stdout does not stop the server.
fn print(text: &str) -> ExitCode {
    let mut out = io::stdout().lock();
    let printed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    if printed.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints the error to stderr in one line.
fn fail(code: u8, error: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "restreamer: {}", logging::one_line(error));
    ExitCode::from(code)
}
