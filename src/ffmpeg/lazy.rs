//! The programs that cuts are made with, looked for when they are first needed.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::tools::Tools;

/// How long a missing ffmpeg is remembered as missing.
const MISSING_TTL: Duration = Duration::from_secs(10);

/// The programs that cut. Looking for them runs them, which takes a moment, so the first caller waits for that.
///
/// An ffmpeg that was found is never looked for again, a missing one only after ten seconds. Nothing is remembered if
/// the system could not start it.
pub struct LazyTools {
    find: Box<dyn Fn() -> Tools + Send + Sync>,
    known: OnceLock<Mutex<Known>>,
}

/// The result of the last search.
struct Known {
    tools: Arc<Tools>,
    searched: Instant,
}

impl LazyTools {
    /// Programs that `find` looks for.
    pub fn new(find: Box<dyn Fn() -> Tools + Send + Sync>) -> Self {
        Self { find, known: OnceLock::new() }
    }

    /// What there is now.
    pub fn get(&self) -> Arc<Tools> {
        self.get_no_older_than(MISSING_TTL)
    }

    fn get_no_older_than(&self, missing_ttl: Duration) -> Arc<Tools> {
        let find = || Arc::new((self.find)());
        let mut is_new = false;
        let known = self.known.get_or_init(|| {
            is_new = true;
            Mutex::new(Known { tools: find(), searched: Instant::now() })
        });
        let mut last = lock(known);
        let tools = Arc::clone(&last.tools);
        let is_valid =
            tools.ffmpeg_version().is_ok() || !tools.is_undecided() && last.searched.elapsed() < missing_ttl;
        if is_new || is_valid {
            return tools;
        }
        // The lock is not held for the search: meanwhile other callers get the last result.
        last.searched = Instant::now();
        drop(last);
        let tools = find();
        lock(known).tools = Arc::clone(&tools);
        tools
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for LazyTools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LazyTools").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn a_missing_ffmpeg_is_looked_for_again_only_after_a_while() {
        let searches = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&searches);
        let tools = LazyTools::new(Box::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
            Tools::find(Path::new("/nowhere/ffmpeg"), Path::new("/nowhere/ffprobe"))
        }));
        assert_eq!(searches.load(Ordering::SeqCst), 0, "nothing has needed them yet");
        for _ in 0..3 {
            assert!(tools.get_no_older_than(Duration::from_secs(3600)).ffmpeg_version().is_err());
        }
        assert_eq!(searches.load(Ordering::SeqCst), 1);
        tools.get_no_older_than(Duration::ZERO);
        assert_eq!(searches.load(Ordering::SeqCst), 2);
    }
}
