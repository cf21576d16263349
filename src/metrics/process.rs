//! Metrics that belong to the process rather than to one server: log lines and child processes.

use std::sync::LazyLock;

use log::Level;
use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, IntGauge, Result, register_int_counter_vec, register_int_gauge};

use super::in_flight::note_child;

/// The metrics, which are part of the default registry.
static PROCESS: LazyLock<ProcessMetrics> =
    LazyLock::new(|| ProcessMetrics::register().expect("no other metric has one of the names"));

struct ProcessMetrics {
    log_lines: IntCounterVec,
    children_running: IntGauge,
    children_ended: IntCounterVec,
}

impl ProcessMetrics {
    fn register() -> Result<Self> {
        let ended_help = "Exits of ffmpeg and ffprobe processes.";
        let children_ended = register_int_counter_vec!("ffmpeg_exits_total", ended_help, &["result"])?;
        for result in ["ok", "failed", "killed"] {
            children_ended.with_label_values(&[result]);
        }
        Ok(Self {
            log_lines: register_int_counter_vec!(
                "log_count_total",
                "Log lines.",
                &["level", "module", "function"]
            )?,
            children_running: register_int_gauge!("ffmpeg_running", "Running ffmpeg and ffprobe processes.")?,
            children_ended,
        })
    }
}

/// The metrics of this module, and `process_*`.
pub(super) fn gather() -> Vec<MetricFamily> {
    LazyLock::force(&PROCESS);
    prometheus::gather()
}

/// Counts a log line. Modules are those of this program and its libraries, so there are only a few, with few places that
/// log.
///
/// Other programs tell places in a module apart by functions. The log does not know these, but the lines of the source.
pub fn count_log_line(level: Level, module: &str, line: Option<u32>) {
    // As other programs' dashboards name the levels.
    let level = if level == Level::Warn { "WARNING" } else { level.as_str() };
    let function = line.map_or_else(String::new, |line| format!("line {line}"));
    PROCESS.log_lines.with_label_values(&[level, module, &function]).inc();
}

/// A child process that runs. Its end is counted when this is dropped: as `killed`, unless it ended by itself.
#[derive(Debug)]
pub struct RunningChild {
    result: &'static str,
}

impl RunningChild {
    /// Counts a child that was started, and notes it in the request that this thread works for, if any.
    pub fn started(pid: u32) -> Self {
        PROCESS.children_running.inc();
        note_child(pid);
        Self { result: "killed" }
    }

    /// Notes that it ended by itself.
    pub fn ended(&mut self, success: bool) {
        self.result = if success { "ok" } else { "failed" };
    }
}

impl Drop for RunningChild {
    fn drop(&mut self) {
        PROCESS.children_running.dec();
        PROCESS.children_ended.with_label_values(&[self.result]).inc();
    }
}
