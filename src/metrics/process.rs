//! What a process has but one of: its log, and its children.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use log::Level;
use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, IntGauge, Opts, Registry, Result};

use super::live::note_child;
use super::register;

/// The levels as other programs' dashboards name them, gravest first.
const LEVELS: [&str; 5] = ["ERROR", "WARNING", "INFO", "DEBUG", "TRACE"];
/// How children end: with success, without, or because they were ended.
const RESULTS: [&str; 3] = ["ok", "failed", "killed"];

/// Lines of the log by module, for each level.
static LOGGED: [Mutex<BTreeMap<String, u64>>; 5] = [const { Mutex::new(BTreeMap::new()) }; 5];
static CHILDREN_RUNNING: AtomicI64 = AtomicI64::new(0);
static CHILDREN_ENDED: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

/// Counts lines that were logged. Modules are those of this program and of its libraries, so there are but a few.
pub fn logged(level: Level, module: &str, lines: u64) {
    if lines == 0 {
        return;
    }
    let mut modules = LOGGED[level as usize - 1].lock().unwrap_or_else(PoisonError::into_inner);
    match modules.get_mut(module) {
        Some(count) => *count += lines,
        None => drop(modules.insert(module.to_owned(), lines)),
    }
}

/// A child that runs. It counts as ended by force when this is dropped, unless it ended by itself before.
#[derive(Debug)]
pub struct RunningChild {
    ended: bool,
}

impl RunningChild {
    /// Counts a child that was started for the request that this thread answers, if it does.
    pub fn started(pid: u32) -> Self {
        CHILDREN_RUNNING.fetch_add(1, Ordering::Relaxed);
        note_child(pid);
        Self { ended: false }
    }

    /// Counts its end.
    pub fn ended(&mut self, success: bool) {
        self.end(usize::from(!success));
    }

    fn end(&mut self, result: usize) {
        if !std::mem::replace(&mut self.ended, true) {
            CHILDREN_RUNNING.fetch_sub(1, Ordering::Relaxed);
            CHILDREN_ENDED[result].fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for RunningChild {
    fn drop(&mut self) {
        self.end(2);
    }
}

/// What was counted so far.
pub(super) fn gather() -> Result<Vec<MetricFamily>> {
    let fresh = Registry::new();
    let lines = Opts::new("log_count_total", "Lines of the log.");
    let lines = register(&fresh, IntCounterVec::new(lines, &["level", "module"]))?;
    for (level, modules) in LEVELS.iter().zip(&LOGGED) {
        for (module, count) in modules.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            lines.with_label_values(&[level, module.as_str()]).inc_by(*count);
        }
    }
    let running = IntGauge::new("ffmpeg_running", "Runs of ffmpeg and ffprobe that have not ended.");
    register(&fresh, running)?.set(CHILDREN_RUNNING.load(Ordering::Relaxed));
    let exits = Opts::new("ffmpeg_exits_total", "Runs of ffmpeg and ffprobe that have ended, by how.");
    let exits = register(&fresh, IntCounterVec::new(exits, &["result"]))?;
    for (result, count) in RESULTS.iter().zip(&CHILDREN_ENDED) {
        exits.with_label_values(&[result]).inc_by(count.load(Ordering::Relaxed));
    }
    Ok(fresh.gather())
}
