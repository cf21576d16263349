//! The programs that cuts are made with, looked for when they are first needed.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::tools::Tools;

/// How long what could not be found is not looked for again.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// The programs that cut. Looking for them starts them, which takes a while, so whoever needs them first waits.
///
/// That there is no ffmpeg may be so for a moment only, while the system can start no process: it is looked for again
/// when somebody needs it.
pub struct LazyTools {
    find: Box<dyn Fn() -> Tools + Send + Sync>,
    known: OnceLock<Mutex<Known>>,
}

/// What was found when they were looked for last.
struct Known {
    tools: Arc<Tools>,
    looked: Instant,
}

impl LazyTools {
    /// Programs that `find` looks for.
    pub fn new(find: Box<dyn Fn() -> Tools + Send + Sync>) -> Self {
        Self { find, known: OnceLock::new() }
    }

    /// What there is now.
    pub fn get(&self) -> Arc<Tools> {
        self.look(LOOK_AGAIN)
    }

    fn look(&self, again: Duration) -> Arc<Tools> {
        let look = || Arc::new((self.find)());
        let known = self.known.get_or_init(|| Mutex::new(Known { tools: look(), looked: Instant::now() }));
        let mut before = lock(known);
        if before.tools.ffmpeg_version().is_ok() || before.looked.elapsed() < again {
            return Arc::clone(&before.tools);
        }
        // One looks, without the lock; the others make do with what is known.
        before.looked = Instant::now();
        drop(before);
        let tools = look();
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
    fn what_is_missing_is_looked_for_again_but_not_all_the_time() {
        let looks = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&looks);
        let tools = LazyTools::new(Box::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
            Tools::find(Path::new("/nowhere/ffmpeg"), Path::new("/nowhere/ffprobe"))
        }));
        assert_eq!(looks.load(Ordering::SeqCst), 0, "nobody has needed them yet");
        for _ in 0..3 {
            assert!(tools.look(Duration::from_secs(3600)).ffmpeg_version().is_err());
        }
        assert_eq!(looks.load(Ordering::SeqCst), 1);
        tools.look(Duration::ZERO);
        assert_eq!(looks.load(Ordering::SeqCst), 2);
    }
}
