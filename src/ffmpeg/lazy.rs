//! The programs that cuts are made with, looked for when they are first needed.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::tools::Tools;
use crate::error::Error;

/// How long a missing ffmpeg is remembered as missing.
const MISSING_TTL: Duration = Duration::from_secs(10);

/// The programs that cuts are made with. A search runs them, which takes a moment: concurrent first callers share one.
///
/// An ffmpeg that was found is never looked for again, a missing one only after ten seconds. Nothing is remembered if
/// the system could not start it.
#[derive(Debug)]
pub struct LazyTools {
    ffmpeg: PathBuf,
    ffprobe: PathBuf,
    threads: usize,
    /// The result of the last search, and its time.
    last: Mutex<Option<(Arc<Tools>, Instant)>>,
}

impl LazyTools {
    /// The programs at these paths, or of these names in `PATH`. Each process may use that many threads.
    pub fn new(ffmpeg: PathBuf, ffprobe: PathBuf, threads: usize) -> Self {
        Self { ffmpeg, ffprobe, threads, last: Mutex::new(None) }
    }

    /// The result of the last search, or of a new one where that is no longer valid.
    pub fn get(&self) -> Arc<Tools> {
        let mut last = self.lock();
        let Some((tools, searched)) = last.as_mut() else {
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

    fn find(&self) -> Arc<Tools> {
        Arc::new(Tools::find(&self.ffmpeg, &self.ffprobe).with_threads(self.threads))
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
}
