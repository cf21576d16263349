//! A small archive recorded by `restreamer record`, shared by tests, and what that recorder writes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use restreamer::archive::layout::{SegmentName, SegmentType};
use restreamer::timestamp::{Hour, Span, Timestamp};
use rustix::process::Signal;

use crate::harness::{time, wait_until};
use crate::process::{Output, Program, RESTREAMER, Running};

/// The variants of the stream `test`, with their resolutions.
pub(crate) const VARIANTS: [(&str, &str); 2] = [("source", "320x180"), ("small", "160x90")];

/// The start of each of the two runs, with the frequency of its tone. The first run crosses an hour boundary. Between them is
/// a gap.
const RUNS: [(&str, u32); 2] = [("2026-11-20T10:59:54", 330), ("2026-11-20T11:00:07.500", 440)];

/// The duration of a run in seconds.
const RUN_SECS: usize = 10;

/// The time range of the whole recording as a query.
pub(crate) const WHOLE: &str = "start=2026-11-20T10:59:54&end=2026-11-20T11:00:17.5";

/// Video frames in each variant.
pub(crate) const FRAMES: usize = RUNS.len() * RUN_SECS * 25;

/// The segments of each variant: hour directories and the beginnings of file names.
pub(crate) const SEGMENTS: [&str; 10] = [
    "2026-11-20T10/59:54.000-2.000-full-",
    "2026-11-20T10/59:56.000-2.000-full-",
    "2026-11-20T10/59:58.000-2.000-full-",
    "2026-11-20T11/00:00.000-2.000-full-",
    "2026-11-20T11/00:02.000-2.000-full-",
    "2026-11-20T11/00:07.500-2.000-full-",
    "2026-11-20T11/00:09.500-2.000-full-",
    "2026-11-20T11/00:11.500-2.000-full-",
    "2026-11-20T11/00:13.500-2.000-full-",
    "2026-11-20T11/00:15.500-2.000-full-",
];

/// The recording, which no test may change. It is made by the first test that needs it, among the footage of this run.
pub(crate) fn footage() -> &'static Path {
    static SHARED: OnceLock<PathBuf> = OnceLock::new();
    SHARED.get_or_init(|| {
        let base = crate::footage::root().join("recorded");
        record_all(&base);
        base
    })
}

/// Copies the files at `paths`, relative to the base directory `from`, into another archive.
pub(crate) fn copy_segments(from: &Path, to: &Path, paths: &[PathBuf]) {
    for path in paths {
        let bytes = fs::read(from.join(path)).expect("read a segment");
        crate::harness::write_whole(&to.join(path), &bytes);
    }
}

/// The sorted paths of a variant's files, hidden ones too, relative to the base directory.
pub(crate) fn files_of(base: &Path, variant: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directories = vec![base.join("test").join(variant)];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("read a directory") {
            let path = entry.expect("read a directory").path();
            if path.is_dir() {
                directories.push(path);
            } else {
                files.push(path.strip_prefix(base).expect("a path below it").to_owned());
            }
        }
    }
    files.sort_unstable();
    files
}

/// The number of packets of each codec type, `video` or `audio`, that ffprobe reads from `input`.
pub(crate) fn count_packets(input: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for line in probe(input, &["-count_packets", "-show_entries", "stream=index,codec_type,nb_read_packets"])
    {
        // A playlist's streams are listed with its programs and on their own.
        if let [_, kind, count] = line.split(',').collect::<Vec<_>>()[..] {
            counts.insert(kind.to_owned(), count.parse().expect("a number of packets"));
        }
    }
    counts
}

/// The output of ffprobe as lines of CSV; it must not write to stderr.
fn probe(input: &str, options: &[&str]) -> Vec<String> {
    let fixed = ["-v", "error", "-of", "csv=p=0", "-i", input];
    let Output { code, stdout, stderr } = Program::new("ffprobe").args(fixed).args(options).run();
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "ffprobe on {input}");
    stdout.lines().map(|line| line.trim_end_matches(',').to_owned()).collect()
}

/// The PTS of the video frames in a file, in ticks of 90 kHz.
pub(crate) fn video_pts(path: &Path) -> Vec<i64> {
    let lines = probe(&path.to_string_lossy(), &["-select_streams", "v:0", "-show_entries", "packet=pts"]);
    // Side data of a packet is printed as an empty line.
    let times = lines.iter().filter(|line| !line.is_empty()).map(|line| line.parse().expect("a PTS"));
    times.collect()
}

/// The PTS of the video frames in each file of the recording. One ffmpeg reads all files: its start takes longer than that.
fn pts_of_footage() -> &'static BTreeMap<PathBuf, Vec<i64>> {
    static READ: OnceLock<BTreeMap<PathBuf, Vec<i64>>> = OnceLock::new();
    READ.get_or_init(|| {
        let files: Vec<_> = VARIANTS.iter().flat_map(|(variant, _)| files_of(footage(), variant)).collect();
        let lists = tempfile::tempdir().expect("a temporary directory");
        let list = |number: usize| lists.path().join(number.to_string()).display().to_string();
        let mut args: Vec<String> = ["-v", "error", "-copyts"].map(str::to_owned).to_vec();
        for file in &files {
            args.extend(["-i".to_owned(), footage().join(file).display().to_string()]);
        }
        for number in 0..files.len() {
            let map = format!("{number}:v:0");
            args.extend(["-map", &map, "-c", "copy", "-copyinkf", "-f", "framecrc"].map(str::to_owned));
            args.push(list(number));
        }
        let Output { code, stderr, .. } = Program::new("ffmpeg").args(args).run();
        assert_eq!((code, stderr.as_str()), (Some(0), ""));
        let pts = |number: usize| -> Vec<i64> {
            let text = fs::read_to_string(list(number)).expect("a list of packets");
            assert!(text.contains("#tb 0: 1/90000\n"), "{text}");
            let packets = text.lines().filter(|line| !line.starts_with('#'));
            packets.map(|line| line.split(',').nth(2).expect(line).trim().parse().expect(line)).collect()
        };
        let all: Vec<_> = (0..files.len()).map(pts).collect();
        files.into_iter().zip(all).collect()
    })
}

/// Records both runs of all variants concurrently.
fn record_all(base: &Path) {
    let mut recorders = Vec::new();
    for (variant, size) in VARIANTS {
        for (start, pitch) in RUNS {
            // Audio must not end after the video: it would overlap the audio of the next run in a player.
            let input = format!(
                "testsrc2=size={size}:rate=25:duration={RUN_SECS}[out0];\
                 sine=frequency={pitch}:sample_rate=48000:duration={}.95[out1]",
                RUN_SECS - 1
            );
            recorders.push(start_recorder(&input, base, variant, &["--log-level", "warn", "--start", start]));
        }
    }
    for recorder in recorders {
        let Output { code, stdout, stderr } = recorder.wait();
        assert_eq!((code, stdout.as_str(), stderr.as_str()), (Some(0), "", ""), "the recorder");
    }
}

/// Starts to record a lavfi test source.
fn start_recorder(input: &str, base: &Path, variant: &str, options: &[&str]) -> Running {
    let base = base.to_str().expect("a path in UTF-8");
    let recorder = Program::new(RESTREAMER).args(["record", input, base, "test", variant, "--encode"]);
    recorder.args(["--ffmpeg-args", "-f lavfi"]).args(options).start()
}

/// The SHA-256 of a file, in URL-safe base64 without padding.
pub(crate) fn hash_of(path: &Path) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let printed = Program::new("sha256sum").args([path]).run().stdout;
    // sha256sum writes a backslash before the sum if the file name needs escapes.
    let sum = printed.trim_start_matches('\\').split(' ').next().unwrap_or_default();
    assert_eq!(sum.len(), 64, "sha256sum prints `{printed}`");
    // Three hexadecimal digits are two of base64.
    let padded = format!("{sum:0<66}");
    let threes = padded
        .as_bytes()
        .chunks(3)
        .map(|three| usize::from_str_radix(std::str::from_utf8(three).expect("text"), 16).expect("digits"));
    let digits = threes.flat_map(|bits| [bits >> 6, bits & 63]).map(|six| char::from(DIGITS[six]));
    digits.take(43).collect()
}

/// The hour and the file name in a path of the archive.
pub(crate) fn hour_and_name(path: &Path) -> (Hour, &str) {
    let mut parts = path.iter().skip(2).map(|part| part.to_str().expect("text"));
    let hour = Hour::parse(parts.next().expect("an hour")).expect("an hour");
    (hour, parts.next().expect("a name"))
}

/// Checks a recorded file's name against its content. Returns its start, duration and type.
fn check_name(base: &Path, path: &Path) -> (Timestamp, Span, SegmentType) {
    check_name_within(base, path, Span::ZERO)
}

/// The same for a name whose duration may be corrected by so much.
pub(crate) fn check_name_within(
    base: &Path,
    path: &Path,
    correction: Span,
) -> (Timestamp, Span, SegmentType) {
    check_name_of(base, path, &video_pts(&base.join(path)), correction)
}

/// The same for a file with pictures at these PTS.
fn check_name_of(base: &Path, path: &Path, pts: &[i64], correction: Span) -> (Timestamp, Span, SegmentType) {
    let (hour, name) = hour_and_name(path);
    let parsed = SegmentName::parse(name).unwrap_or_else(|| panic!("`{name}` is not a segment name"));
    assert_eq!(parsed.hash, hash_of(&base.join(path)), "{name}");
    let (first, last) = (pts.iter().min().expect("a frame"), pts.iter().max().expect("a frame"));
    // A frame takes 3600 ticks at 25 frames a second.
    let off = (parsed.duration - Span::from_micros((last - first + 3600) * 100 / 9)).micros().abs();
    assert!(off <= correction.micros(), "{name} is off by {off} µs");
    (hour.start() + parsed.offset, parsed.duration, parsed.segment_type)
}

#[test]
fn a_recorder_names_segments_by_time_duration_and_hash() {
    let (footage, pts) = (footage(), pts_of_footage());
    for (variant, _) in VARIANTS {
        let files = files_of(footage, variant);
        let expected = SEGMENTS.map(|segment| format!("test/{variant}/{segment}"));
        assert_eq!(files.len(), expected.len(), "{files:?}");
        for (file, expected) in files.iter().zip(&expected) {
            let shown = file.to_str().expect("text");
            assert!(shown.starts_with(expected), "`{shown}` should begin with `{expected}`");
            check_name_of(footage, file, &pts[file], Span::ZERO);
        }
        let left: Vec<_> = fs::read_dir(footage.join("test").join(variant)).expect("hours").collect();
        assert_eq!(left.len(), 2, "only hour directories: {left:?}");
    }
}

#[test]
fn segments_of_one_run_have_continuous_timestamps() {
    let (footage, pts) = (footage(), pts_of_footage());
    let first_and_count = |path: &PathBuf| {
        let pts = &pts[path];
        (*pts.iter().min().expect("a frame"), pts.len())
    };
    // At the beginning of each run the timestamps are the wall clock.
    let ticks = |start: &str| time(start).micros() / 100 * 9 % (1 << 33);
    for (variant, _) in VARIANTS {
        let firsts: Vec<_> = files_of(footage, variant).iter().map(first_and_count).collect();
        let run = |start| (0..5).map(move |number| (ticks(start) + number * 180_000, 50));
        let expected: Vec<_> = RUNS.iter().flat_map(|(start, _)| run(start)).collect();
        assert_eq!(firsts, expected, "{variant}");
    }
}

#[test]
fn a_segment_has_a_temporary_name_until_it_is_complete() {
    let base = tempfile::tempdir().expect("a temporary directory");
    let begun = restreamer::clock::Clock::System.now();
    let input = "testsrc2=size=160x90:rate=25[out0];sine=sample_rate=48000[out1]";
    let recorder =
        start_recorder(input, base.path(), "live", &["--segment-seconds", "1", "--log-level", "warn"]);
    let names = |kind: &str| {
        let files = files_of(base.path(), "live");
        files.into_iter().filter(|file| file.to_string_lossy().contains(kind)).collect::<Vec<_>>()
    };
    let variant = base.path().join("test/live");
    wait_until("a segment is being written", || {
        assert!(!recorder.has_ended(), "the recorder ended");
        variant.is_dir() && names("-1.000-temp-").len() == 1
    });
    wait_until("a segment is complete", || !names("-full-").is_empty());
    wait_until("the next one is being written", || !names("-temp-").is_empty());
    let written = names("-temp-");
    let (_, name) = hour_and_name(&written[0]);
    let parsed = SegmentName::parse(name).expect("a segment name");
    assert_eq!((parsed.segment_type, parsed.hash.len()), (SegmentType::Temp, 45), "{name}");

    recorder.signal(Signal::TERM);
    let Output { code, stderr, .. } = recorder.wait();
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let ended = restreamer::clock::Clock::System.now();
    assert_eq!(names("-temp-"), Vec::<PathBuf>::new());
    let mut next = None;
    for file in files_of(base.path(), "live") {
        let (start, duration, kind) = check_name(base.path(), &file);
        assert_eq!(kind, SegmentType::Full, "{file:?}");
        assert!(start >= begun && start <= ended, "{file:?}, recorded from {begun} to {ended}");
        assert!(next.is_none_or(|next: Timestamp| next == start), "{file:?} after {next:?}");
        next = Some(start + duration);
    }
    assert!(next.is_some_and(|end| end > begun));
    assert!(begun > time("2026-01-01"), "a clock that is set");
}
