//! Metrics that belong to the process rather than to one server: log lines and child processes.

use std::sync::LazyLock;

use log::Level;
use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, IntGauge, register_int_counter_vec, register_int_gauge};

use super::in_flight::note_child;

static LOG_LINES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let lines = register_int_counter_vec!("log_count_total", "Log lines.", &["level", "module"]);
    lines.expect("no other metric of that name")
});
static CHILDREN_RUNNING: LazyLock<IntGauge> = LazyLock::new(|| {
    let running = register_int_gauge!("ffmpeg_running", "Running ffmpeg and ffprobe processes.");
    running.expect("no other metric of that name")
});
static CHILDREN_ENDED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Exits of ffmpeg and ffprobe processes.";
    let ended = register_int_counter_vec!("ffmpeg_exits_total", help, &["result"]);
    ended.expect("no other metric of that name")
});

/// The metrics of this module, and `process_*`, which are part of the default registry.
pub(super) fn gather() -> Vec<MetricFamily> {
    LazyLock::force(&CHILDREN_RUNNING);
    for result in ["ok", "failed", "killed"] {
        CHILDREN_ENDED.with_label_values(&[result]);
    }
    prometheus::gather()
}

/// Counts a log line. Modules are those of this program and its libraries, so there are only a few.
pub fn count_log_line(level: Level, module: &str) {
    // As other programs' dashboards name the levels.
    let level = if level == Level::Warn { "WARNING" } else { level.as_str() };
    LOG_LINES.with_label_values(&[level, module]).inc();
}

/// A child process that runs. Its end is counted when this is dropped: as `killed`, unless it ended by itself.
#[derive(Debug)]
pub struct RunningChild {
    result: &'static str,
}

impl RunningChild {
    /// Counts a child that was started, and notes it in the request that this thread works for, if any.
    pub fn started(pid: u32) -> Self {
        CHILDREN_RUNNING.inc();
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
        CHILDREN_RUNNING.dec();
        CHILDREN_ENDED.with_label_values(&[self.result]).inc();
    }
}
