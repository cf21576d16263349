//! ffmpeg and ffprobe, looked for when they are first needed.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::tools::{Ffprobe, MAX_SEGMENT_BYTES, Tools};
use crate::error::Error;

/// How long a missing ffmpeg is remembered as missing.
const MISSING_TTL: Duration = Duration::from_secs(10);

/// The programs that cuts are made with. A search runs them, which takes a moment: concurrent first callers share one.
///
/// An ffmpeg that was found is never searched for again, a missing one only after ten seconds. Nothing is remembered if
/// the system could not start it.
#[derive(Debug)]
pub struct LazyTools {
    ffmpeg: PathBuf,
    ffprobe: Ffprobe,
    threads: usize,
    max_segment_bytes: u64,
    /// The result of the last search, and its time.
    last: Mutex<Option<(Arc<Tools>, Instant)>>,
}

impl LazyTools {
    /// The programs at these paths, or of these names in `PATH`. Each process may use that many threads.
    pub fn new(ffmpeg: PathBuf, ffprobe: PathBuf, threads: usize) -> Self {
        let ffprobe = Ffprobe::new(ffprobe);
        Self { ffmpeg, ffprobe, threads, max_segment_bytes: MAX_SEGMENT_BYTES, last: Mutex::new(None) }
    }

    /// The same with another limit to the size of a segment that is read for them.
    #[must_use]
    pub fn with_max_segment_bytes(self, max_segment_bytes: u64) -> Self {
        Self { max_segment_bytes, ..self }
    }

    /// The size of the largest segment that is read into memory.
    pub fn max_segment_bytes(&self) -> u64 {
        self.max_segment_bytes
    }

    /// ffprobe, which is not searched for.
    pub fn ffprobe(&self) -> &Ffprobe {
        &self.ffprobe
    }

    /// The result of the last search, or of a new one where that is no longer valid.
    pub fn get(&self) -> Arc<Tools> {
        let mut last = self.lock();
        let Some((tools, searched)) = last.as_mut() else {
            // The first search holds the lock, because no caller can go on without its result.
            return Arc::clone(&last.insert((self.find(), Instant::now())).0);
        };
        let is_valid = match tools.ffmpeg_version() {
            Ok(_) => true,
            Err(Error::NotStarted { .. }) => false,
            Err(_) => searched.elapsed() < MISSING_TTL,
        };
        if is_valid {
            return Arc::clone(tools);
        }
        // The lock is not held for the search: meanwhile other callers get the last result.
        *searched = Instant::now();
        drop(last);
        let tools = self.find();
        *self.lock() = Some((Arc::clone(&tools), Instant::now()));
        tools
    }

    /// The tools for work that runs no program, without a search, which would take longer than much of that work.
    pub fn unused(&self) -> Arc<Tools> {
        let tools = Tools::unused(&self.ffmpeg).with_threads(self.threads);
        Arc::new(tools.with_max_segment_bytes(self.max_segment_bytes))
    }

    fn find(&self) -> Arc<Tools> {
        let tools = Tools::find(&self.ffmpeg).with_threads(self.threads);
        Arc::new(tools.with_max_segment_bytes(self.max_segment_bytes))
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Arc<Tools>, Instant)>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_ffmpeg_is_looked_for_again_only_after_a_while() {
        let tools = LazyTools::new("/nowhere/ffmpeg".into(), "/nowhere/ffprobe".into(), 1);
        assert!(tools.lock().is_none(), "nothing has needed them yet");
        let first = tools.get();
        assert!(first.ffmpeg_version().is_err());
        for _ in 0..3 {
            assert!(Arc::ptr_eq(&first, &tools.get()));
        }
        tools.lock().as_mut().expect("a search").1 -= MISSING_TTL;
        assert!(!Arc::ptr_eq(&first, &tools.get()));
    }

    #[test]
    fn tools_that_are_not_used_are_not_looked_for() {
        let tools = LazyTools::new("ffmpeg".into(), "ffprobe".into(), 1).with_max_segment_bytes(7);
        let unused = tools.unused();
        assert!(tools.lock().is_none());
        assert_eq!(unused.max_segment_bytes(), 7);
        assert!(matches!(unused.check_encoder("libx264"), Err(Error::ProgramMissing { .. })));
    }
}
