//! Metrics that belong to the process rather than to one server: log lines and child processes.

use std::sync::LazyLock;

use log::Level;
use prometheus::{IntCounterVec, IntGauge, Opts, Registry, Result};

use super::in_flight::note_child;

/// The results of children: exited with success, exited without, or killed.
const RESULTS: [&str; 3] = ["ok", "failed", "killed"];

static LOG_LINES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let opts = Opts::new("log_count_total", "Lines of the log.");
    IntCounterVec::new(opts, &["level", "module"]).expect("valid names")
});
static CHILDREN_RUNNING: LazyLock<IntGauge> = LazyLock::new(|| {
    IntGauge::new("ffmpeg_running", "Runs of ffmpeg and ffprobe that have not ended.").expect("a valid name")
});
static CHILDREN_ENDED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let opts = Opts::new("ffmpeg_exits_total", "Runs of ffmpeg and ffprobe that have ended, by how.");
    let ended = IntCounterVec::new(opts, &["result"]).expect("valid names");
    for result in RESULTS {
        ended.with_label_values(&[result]);
    }
    ended
});

/// Makes the metrics part of a server's registry.
pub(super) fn register(registry: &Registry) -> Result<()> {
    registry.register(Box::new(LOG_LINES.clone()))?;
    registry.register(Box::new(CHILDREN_RUNNING.clone()))?;
    registry.register(Box::new(CHILDREN_ENDED.clone()))
}

/// Counts a log line. Modules are those of this program and its libraries, so there are only a few.
pub fn count_log_line(level: Level, module: &str) {
    // As other programs' dashboards name the levels.
    let level = if level == Level::Warn { "WARNING" } else { level.as_str() };
    LOG_LINES.with_label_values(&[level, module]).inc();
}

/// A child process that runs. It counts as killed when this is dropped, unless its end was counted before.
#[derive(Debug)]
pub struct RunningChild {
    ended: bool,
}

impl RunningChild {
    /// Counts a child that was started, and notes it in the request that this thread works for, if any.
    pub fn started(pid: u32) -> Self {
        CHILDREN_RUNNING.inc();
        note_child(pid);
        Self { ended: false }
    }

    /// Counts its end.
    pub fn ended(&mut self, success: bool) {
        self.end(if success { "ok" } else { "failed" });
    }

    fn end(&mut self, result: &str) {
        if !std::mem::replace(&mut self.ended, true) {
            CHILDREN_RUNNING.dec();
            CHILDREN_ENDED.with_label_values(&[result]).inc();
        }
    }
}

impl Drop for RunningChild {
    fn drop(&mut self) {
        self.end("killed");
    }
}
