//! A recording that is made in real time, at an hour of the test's choice, and what players show of it.
//!
//! ffmpeg makes the segments beforehand. A thread lets the server's clock run and gives each segment its name when it has
//! ended. Each picture shows its number, from which follows when it was recorded.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use restreamer::archive::layout::hour_name;
use restreamer::clock::Clock;
use restreamer::server::Server;
use restreamer::timestamp::{Span, Timestamp};
use tempfile::TempDir;

use crate::footage::{FootageKind, PLAIN, ffmpeg, picture, root};
use crate::harness::{PATIENCE, time, write_whole};
use crate::players::RequestLog;

/// The length of a segment in seconds; the target duration of all playlists.
pub(crate) const SEGMENT_SECS: i64 = 2;

/// The pictures of a segment.
const PICTURES: i64 = 10;

/// The segments in the footage.
const SEGMENTS: i64 = 280;

/// A gap in a broadcast, and a restart of the recorder's clock behind it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gap {
    pub(crate) start: &'static str,
    pub(crate) length: Span,
}

/// A recording in progress, and its server.
pub(crate) struct Broadcast {
    pub(crate) requests: Arc<RequestLog>,
    pub(crate) server: Server,
    pub(crate) archive: TempDir,
    clock: Arc<AtomicI64>,
    segments: Vec<Planned>,
    recorder: Option<JoinHandle<()>>,
    is_over: Arc<AtomicBool>,
}

/// A segment of a broadcast.
#[derive(Debug, Clone)]
struct Planned {
    start: Timestamp,
    /// Its number in the footage.
    number: i64,
}

/// When a picture was shown, and when it was recorded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shown {
    pub(crate) at: Timestamp,
    pub(crate) recorded: Timestamp,
}

/// What a player has shown, as numbers of pictures.
#[derive(Debug, Clone)]
pub(crate) struct Screen {
    clock: Arc<AtomicI64>,
    pictures: Arc<Mutex<Vec<(Timestamp, i64)>>>,
}

/// The segments of the footage, 5 pictures a second with sound.
fn footage() -> &'static [PathBuf] {
    static MADE: OnceLock<Vec<PathBuf>> = OnceLock::new();
    MADE.get_or_init(|| {
        let seconds = SEGMENTS * SEGMENT_SECS;
        let kind = FootageKind {
            name: "broadcast",
            rate: (PICTURES / SEGMENT_SECS, 1),
            seconds,
            segment_seconds: SEGMENT_SECS,
            codecs: "",
            ..PLAIN
        };
        let directory = root().join(kind.name);
        fs::create_dir_all(&directory).expect("a directory");
        let (pictures, sound) = (picture(&kind), format!("sine=sample_rate=48000:duration={seconds}"));
        let files = directory.join("%03d.ts").display().to_string();
        let inputs = ["-v", "error", "-f", "lavfi", "-i", &pictures, "-f", "lavfi", "-i", &sound];
        let codecs = "-c:v libx264 -preset ultrafast -bf 2 -sc_threshold 0 -g 10 -pix_fmt yuv420p -c:a aac \
                      -f segment -segment_time 2 -segment_format mpegts";
        let codecs: Vec<_> = codecs.split_whitespace().collect();
        ffmpeg(&[&inputs[..], &codecs, &[&*files]].concat());
        let files: Vec<_> = (0..SEGMENTS).map(|number| directory.join(format!("{number:03}.ts"))).collect();
        assert!(files.iter().all(|file| file.exists()), "{SEGMENTS} segments");
        files
    })
}

impl Broadcast {
    /// Begins at the time `start`, with a recording of the `before` before it.
    pub(crate) fn begin(start: &str, before: Span, gap: Option<Gap>) -> Self {
        let start = time(start);
        let segments = plan(start, before, gap);
        let archive = tempfile::tempdir().expect("a temporary directory");
        let clock = Arc::new(AtomicI64::new(start.micros()));
        let (past, future): (Vec<_>, Vec<_>) =
            segments.iter().cloned().partition(|segment| segment.end() <= start);
        for segment in &past {
            segment.write(archive.path());
        }
        let (requests, server) = RequestLog::over(archive.path(), Clock::Manual(Arc::clone(&clock)));
        let is_over = Arc::new(AtomicBool::new(false));
        let record = {
            let (is_over, clock, base) =
                (Arc::clone(&is_over), Arc::clone(&clock), archive.path().to_owned());
            let begun = Instant::now();
            let mut future = future.into_iter().peekable();
            move || {
                while !is_over.load(Ordering::SeqCst) {
                    let elapsed = i64::try_from(begun.elapsed().as_micros()).expect("a short test");
                    let now = start + Span::from_micros(elapsed);
                    while let Some(segment) = future.next_if(|segment| segment.end() <= now) {
                        segment.write(&base);
                    }
                    clock.store(now.micros(), Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
        };
        let recorder = Builder::new().name("recorder".to_owned()).spawn(record).expect("a thread");
        Self { requests, server, archive, clock, segments, recorder: Some(recorder), is_over }
    }

    /// The address of a target.
    pub(crate) fn url(&self, target: &str) -> String {
        format!("http://{}{target}", self.server.address())
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.clock.load(Ordering::SeqCst))
    }

    /// Waits until the time `end`.
    pub(crate) fn wait_until(&self, end: Timestamp) {
        let begun = Instant::now();
        while self.now() < end {
            assert!(begun.elapsed() < PATIENCE, "the clock stands still");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn screen(&self) -> Screen {
        Screen { clock: Arc::clone(&self.clock), pictures: Arc::default() }
    }

    /// What a screen has shown, without repeated pictures.
    pub(crate) fn shown(&self, screen: &Screen) -> Vec<Shown> {
        let mut pictures = screen.pictures.lock().expect("the pictures").clone();
        pictures.dedup_by_key(|picture| picture.1);
        let shown = |(at, picture): (Timestamp, i64)| {
            let segment = self.segments.iter().find(|segment| segment.number == picture / PICTURES);
            let start = segment.unwrap_or_else(|| panic!("picture {picture} was not recorded")).start;
            let offset = picture % PICTURES * SEGMENT_SECS * 1_000_000 / PICTURES;
            Shown { at, recorded: start + Span::from_micros(offset) }
        };
        pictures.into_iter().map(shown).collect()
    }
}

impl Drop for Broadcast {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        if let Some(recorder) = self.recorder.take() {
            let _ = recorder.join();
        }
    }
}

/// The segments of a broadcast. Behind a gap the footage begins again, so that its timestamps fall.
fn plan(start: Timestamp, before: Span, gap: Option<Gap>) -> Vec<Planned> {
    let segment = Span::from_secs(SEGMENT_SECS);
    let gap = gap.map(|gap| (time(gap.start), gap.length));
    let mut numbers = if gap.is_some() { SEGMENTS / 2..SEGMENTS } else { 0..SEGMENTS };
    let mut segments = Vec::new();
    // Segments start at full seconds of even number.
    let mut at =
        Timestamp::from_micros((start - before).micros().div_euclid(segment.micros()) * segment.micros());
    loop {
        if let Some((begin, length)) = gap
            && at == begin
        {
            at = at + length;
            numbers = 0..SEGMENTS / 2;
        }
        let Some(number) = numbers.next() else { return segments };
        segments.push(Planned { start: at, number });
        at = at + segment;
    }
}

impl Planned {
    fn end(&self) -> Timestamp {
        self.start + Span::from_secs(SEGMENT_SECS)
    }

    fn write(&self, base: &Path) {
        let hour = self.start.hour();
        let seconds = (self.start - hour.start()).micros() / 1_000_000;
        let (minute, second, number) = (seconds / 60, seconds % 60, self.number);
        let name = format!("{minute:02}:{second:02}.000-{SEGMENT_SECS}.000-full-{number}.ts");
        let bytes = fs::read(&footage()[usize::try_from(number).expect("a number")]).expect("a segment");
        write_whole(&base.join("test/source").join(hour_name(hour)).join(name), &bytes);
    }
}

impl Screen {
    /// The player shows the picture of this number now.
    pub(crate) fn show(&self, picture: i64) {
        let now = Timestamp::from_micros(self.clock.load(Ordering::SeqCst));
        self.pictures.lock().expect("the pictures").push((now, picture));
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.recorded, self.at)
    }
}
