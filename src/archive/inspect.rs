//! What a variant's newest segments are like: their bit rates, what is in them, and when they ended.
//!
//! Only files are known here; [`super::Archive`] says which segments are the newest.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{Read, Seek};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use super::directory::absent_is_none;
use super::file::open_regular;
use super::media_info::{describe, is_independent, needs_ffprobe};
use super::probing::{ProbeQueue, Question};
use crate::error::{Error, Result};
use crate::ffmpeg::Ffprobe;
use crate::hls::multivariant::{Measured, MediaInfo};
use crate::mpegts::picture_size::find_too_large;
use crate::mpegts::probe::{Program, probe};
use crate::mpegts::scan::Scan;
use crate::timestamp::{Span, Timestamp};

/// How much of a segment is read to see what is in it.
const PROBED_BYTES: u64 = 1024 * 1024;
/// How many segments' contents are cached.
const MAX_CACHED: usize = 1024;
/// How long a failure of ffprobe is remembered.
const FAILURE_TTL: Duration = Duration::from_secs(10);
/// How long the ends of the newest segments are cached.
const NEWEST_INTERVAL: Duration = Duration::from_secs(1);

/// A variant, and the end of its newest segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewestSegment {
    /// The stream.
    pub stream: String,
    /// The variant of the stream.
    pub variant: String,
    /// When its newest segment ended.
    pub end: Timestamp,
}

/// What identifies the content of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    len: u64,
    modified: SystemTime,
}

/// A segment's file.
#[derive(Debug)]
struct SegmentFile {
    path: PathBuf,
    version: Version,
}

/// What is known of a segment.
#[derive(Debug)]
struct Look {
    version: Version,
    media: MediaInfo,
    state: State,
}

/// Whether ffprobe has been asked about a segment.
#[derive(Debug, Clone, Copy)]
enum State {
    /// Everything is known that can be known.
    Final,
    /// It was asked and has not answered yet.
    Asked,
    /// It failed at that time.
    Failed(Instant),
}

impl Look {
    /// Whether the segment need not be looked at again.
    fn is_valid_for(&self, version: Version) -> bool {
        let is_over = matches!(self.state, State::Failed(at) if at.elapsed() >= FAILURE_TTL);
        self.version == version && !is_over
    }

    /// What the segment holds, if everything is known that can be known.
    fn is_final_for(&self, version: Version) -> Option<MediaInfo> {
        let is_final = self.version == version && matches!(self.state, State::Final);
        is_final.then(|| self.media.clone())
    }
}

/// The ends of the newest segments as one look finds them. Concurrent callers wait for it.
type NewestLook = Arc<OnceLock<Arc<[NewestSegment]>>>;

/// Looks at segments, and caches what it has seen.
#[derive(Debug, Default)]
pub(super) struct Inspector {
    looks: Arc<Mutex<HashMap<PathBuf, Look>>>,
    queue: ProbeQueue,
    /// The latest look, and when it began.
    newest: Mutex<Option<(Instant, NewestLook)>>,
}

impl Inspector {
    /// Measures segments, given by their paths and durations, the newest first. One that is gone is left out.
    ///
    /// `ffprobe` is asked only about streams that [`probe`] does not describe, and nobody waits for its answer.
    pub(super) fn measure(&self, newest_first: &[(PathBuf, Span)], ffprobe: &Ffprobe) -> Result<Measured> {
        let (mut peak, mut bits, mut micros) = (1, 0_u128, 0_u128);
        let mut files = Vec::new();
        for (path, duration) in newest_first {
            let meta = absent_is_none(std::fs::metadata(path)).map_err(Error::io("inspect", path))?;
            let meta = meta.filter(Metadata::is_file);
            let (Some(meta), Ok(segment_micros @ 1..)) = (meta, u128::try_from(duration.micros())) else {
                continue;
            };
            let segment_bits = u128::from(meta.len()) * 8;
            peak = peak.max(bits_per_second(segment_bits, segment_micros));
            bits += segment_bits;
            micros += segment_micros;
            if let (1.., Ok(modified)) = (meta.len(), meta.modified()) {
                files
                    .push(SegmentFile { path: path.clone(), version: Version { len: meta.len(), modified } });
            }
        }
        let average_bandwidth = if micros > 0 { bits_per_second(bits, micros).max(1) } else { 1 };
        let media = self.newest_media(&files, ffprobe)?;
        Ok(Measured { peak_bandwidth: peak, average_bandwidth, media })
    }

    /// What the newest of the segments holds. As long as ffprobe has not said what only it can say, that is what is known
    /// of the newest segment of which all is known; else what the newest one itself says.
    fn newest_media(&self, newest_first: &[SegmentFile], ffprobe: &Ffprobe) -> Result<MediaInfo> {
        let Some((newest, older)) = newest_first.split_first() else { return Ok(MediaInfo::default()) };
        let (media, is_final) = self.media(newest, ffprobe)?;
        if is_final {
            return Ok(media);
        }
        let looks = lock(&self.looks);
        let known = older.iter().find_map(|file| looks.get(&file.path)?.is_final_for(file.version));
        Ok(known.unwrap_or(media))
    }

    /// What a segment holds, and whether no more will be known of it. Of one that is gone nothing is known.
    fn media(&self, file: &SegmentFile, ffprobe: &Ffprobe) -> Result<(MediaInfo, bool)> {
        if let Some(look) = lock(&self.looks).get(&file.path).filter(|look| look.is_valid_for(file.version)) {
            return Ok((look.media.clone(), matches!(look.state, State::Final)));
        }
        let opened = match open_regular(&file.path) {
            Ok(opened) => opened,
            Err(Error::NotFound(_)) => return Ok((MediaInfo::default(), false)),
            Err(error) => return Err(error),
        };
        let version = Version { len: opened.len, modified: opened.modified };
        let mut bytes = Vec::new();
        let read = (&opened.file).take(PROBED_BYTES).read_to_end(&mut bytes);
        read.and_then(|_| (&opened.file).rewind()).map_err(Error::io("read", &file.path))?;
        let program = probe(&bytes);
        let is_independent = Scan::of(&bytes, false).is_some_and(|scan| is_independent(&scan));
        let describe = |known| describe(known, is_independent, &Value::Null);
        let media = program.as_ref().map_or_else(MediaInfo::default, describe);
        let file = SegmentFile { version, path: file.path.clone() };
        let mut looks = lock(&self.looks);
        // Another caller may have come first: ffprobe is asked once.
        if let Some(look) = looks.get(&file.path).filter(|look| look.is_valid_for(version)) {
            return Ok((look.media.clone(), matches!(look.state, State::Final)));
        }
        if looks.len() >= MAX_CACHED {
            looks.retain(|_, look| matches!(look.state, State::Asked));
        }
        let path = file.path.clone();
        // ffprobe decodes pictures.
        let may_decode = |program: &Program| find_too_large(&bytes, &program.pmt).is_none();
        let state = match program.filter(|program| needs_ffprobe(program) && may_decode(program)) {
            Some(program) => self.ask(file, program, opened.file, ffprobe),
            None => State::Final,
        };
        let is_final = matches!(state, State::Final);
        looks.insert(path, Look { version, media: media.clone(), state });
        Ok((media, is_final))
    }

    /// Asks ffprobe to complete the description of a segment.
    fn ask(&self, segment: SegmentFile, program: Program, file: File, ffprobe: &Ffprobe) -> State {
        let looks = Arc::clone(&self.looks);
        let done = move |answer: Result<Value>| {
            let mut looks = lock(&looks);
            let Some(look) = looks.get_mut(&segment.path).filter(|look| look.version == segment.version)
            else {
                return;
            };
            look.state = match answer {
                Ok(streams) => {
                    look.media = describe(&program, look.media.is_independent, &streams);
                    State::Final
                }
                Err(error) => {
                    // A playlist is useful without what ffprobe would add.
                    log::debug!("`{}`: {error}", segment.path.display());
                    State::Failed(Instant::now())
                }
            };
        };
        let question = Question { file, ffprobe: ffprobe.clone(), done: Box::new(done) };
        if self.queue.ask(question) { State::Asked } else { State::Failed(Instant::now()) }
    }

    /// The ends of the newest segments as `look` finds them, or as it found them less than a second before `now`.
    /// Concurrent callers share one look.
    pub(super) fn newest_ends(
        &self,
        now: Instant,
        look: impl FnOnce() -> Vec<NewestSegment>,
    ) -> Arc<[NewestSegment]> {
        let mut latest = lock(&self.newest);
        let is_valid = |(begun, ends): &&(Instant, NewestLook)| {
            ends.get().is_none() || now.saturating_duration_since(*begun) < NEWEST_INTERVAL
        };
        let ends = match latest.as_ref().filter(is_valid) {
            Some((_, ends)) => Arc::clone(ends),
            None => Arc::clone(&latest.insert((now, Arc::default())).1),
        };
        drop(latest);
        Arc::clone(ends.get_or_init(|| look().into()))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `bits` in `micros` microseconds, in bits a second, rounded up.
fn bits_per_second(bits: u128, micros: u128) -> u64 {
    u64::try_from((bits * 1_000_000).div_ceil(micros)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffmpeg::LazyTools;
    use crate::mpegts::psi::{ElementaryStream, Pmt, write_pat, write_pmt};
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn a_failed_look_at_a_file_is_repeated_after_a_while() {
        let streams = vec![ElementaryStream { pid: 0x100, stream_type: 2, descriptors: Vec::new() }];
        let pmt = Pmt { program: 1, pcr_pid: 0x100, descriptors: Vec::new(), streams };
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("segment.ts");
        std::fs::write(&path, [write_pat(1, 0x1000), write_pmt(0x1000, &pmt)].concat()).expect("a file");
        let tools = LazyTools::new("ffmpeg".into(), "/nowhere/ffprobe".into(), 1);
        let inspector = Inspector::default();
        let state = || {
            let measured = inspector.measure(&[(path.clone(), Span::from_secs(2))], tools.ffprobe());
            assert_eq!(measured.expect("measured").media, MediaInfo::default());
            lock(&inspector.looks).get(&path).map(|look| look.state)
        };
        let failure = || loop {
            match state() {
                Some(State::Failed(at)) => return at,
                Some(State::Asked) => std::thread::sleep(Duration::from_millis(1)),
                other => panic!("{other:?}"),
            }
        };
        let first = failure();
        assert_eq!(failure(), first);
        for look in lock(&inspector.looks).values_mut() {
            look.state = State::Failed(first.checked_sub(FAILURE_TTL).expect("a time"));
        }
        assert!(failure() >= first, "it was asked again");
        // A file that has changed is another one.
        std::fs::write(&path, [write_pat(1, 0x1000), write_pat(1, 0x1000)].concat()).expect("a file");
        assert!(matches!(state(), Some(State::Final)));
    }

    #[test]
    fn the_newest_segments_are_looked_for_once_a_second_however_many_ask() {
        let inspector = Inspector::default();
        let (asked, looks) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let begun = Instant::now();
        let ask = |millis| {
            asked.fetch_add(1, Ordering::SeqCst);
            let ends = inspector.newest_ends(begun + Duration::from_millis(millis), || {
                let look = looks.fetch_add(1, Ordering::SeqCst);
                // The others come meanwhile.
                while asked.load(Ordering::SeqCst) < 16 {
                    std::thread::yield_now();
                }
                std::thread::sleep(Duration::from_millis(50));
                let end = Timestamp::from_micros(i64::try_from(look).expect("a small number"));
                vec![NewestSegment { stream: "s".to_owned(), variant: "v".to_owned(), end }]
            });
            ends[0].end.micros()
        };
        std::thread::scope(|scope| {
            let scrapes: Vec<_> = (0..16).map(|nth| scope.spawn(move || ask(nth * 100))).collect();
            assert!(scrapes.into_iter().all(|scrape| scrape.join().expect("an answer") == 0));
        });
        let rows = [(0, 0), (999, 0), (2600, 1), (2700, 1), (3599, 1), (3600, 2), (0, 2)];
        for (millis, look) in rows {
            assert_eq!(ask(millis), look, "after {millis} ms");
        }
        assert_eq!(looks.load(Ordering::SeqCst), 3);
    }
}
