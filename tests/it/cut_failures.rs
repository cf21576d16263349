//! Cuts that fail: they end soon, with an error that says why, and leave no process behind.

use std::cell::Cell;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use restreamer::cut::{CutSegment, ExactType, prepare};
use restreamer::error::{Error, Result};
use restreamer::ffmpeg::{LazyTools, Tools};
use restreamer::timestamp::{Span, Timestamp};

use crate::cuts;
use crate::footage::{self, FootageKind, base, run};
use crate::harness::{PATIENCE, wait_until};

const BOTH: [ExactType; 2] = [ExactType::Smart, ExactType::Full];

fn segments(name: &'static str) -> Vec<CutSegment> {
    let kind = FootageKind {
        name,
        seconds: 8,
        codecs: "-c:v libx264 -preset ultrafast -sc_threshold 0 -g 50 -c:a aac",
        ..footage::PLAIN
    };
    footage::make(&kind).segments
}

fn range() -> (Timestamp, Timestamp) {
    (base() + Span::from_millis(500), base() + Span::from_millis(7500))
}

/// One of the programs in `tests/data`, linked into `dir`.
fn fake(dir: &Path, name: &str) -> (Tools, PathBuf) {
    let path = PathBuf::from(cuts::fake(dir, name));
    let tools = Tools::find(&path).with_stall_limit(PATIENCE);
    assert!(tools.ffmpeg_version().is_ok(), "{:?}", tools.ffmpeg_version());
    (tools, path)
}

fn cut(
    exact_type: ExactType,
    segments: Vec<CutSegment>,
    tools: &Tools,
    out: &mut dyn Write,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<()> {
    let (start, end) = range();
    prepare(exact_type, segments, None, &mut || Ok(None), (start, end), tools, is_cancelled)?
        .run(out, is_cancelled)
}

fn why(result: Result<()>) -> String {
    result.expect_err("a cut that fails").to_string()
}

/// Asserts that no process of the group that a fake ffmpeg led is left.
fn assert_gone(path: &Path) {
    let group = std::fs::read_to_string(format!("{}.pid", path.display())).expect("a pid");
    assert!(!Path::new("/proc").join(group.trim()).exists(), "ffmpeg was not reaped");
    wait_until("its process group has exited", || {
        let output = run("ps", &["-e", "-o", "pgid=,stat="]);
        let all = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(all.lines().count() > 1, "ps lists nothing");
        let mut rows = all.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        // Orphans that have exited are left to init.
        !rows.any(|row| row[0] == group.trim() && !row[1].starts_with('Z'))
    });
}

#[test]
fn a_stalled_ffmpeg_is_killed_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().expect("a directory");
    let (tools, path) = fake(dir.path(), "ffmpeg-stalls");
    let tools = tools.with_stall_limit(Duration::from_secs(2));
    let segments = segments("stalls");
    for exact_type in BOTH {
        let mut out = Vec::new();
        let why = why(cut(exact_type, segments.clone(), &tools, &mut out, &|| false));
        assert!(why.contains("no output for 2.0 s") && why.contains("thinking"), "{why}");
        assert!(out.is_empty());
        assert_gone(&path);
    }
}

#[test]
fn ffmpeg_is_killed_when_its_cut_is_cancelled() {
    let dir = tempfile::tempdir().expect("a directory");
    let (tools, path) = fake(dir.path(), "ffmpeg-stalls");
    let segments = segments("leaves");
    let pid_file = format!("{}.pid", path.display());
    for exact_type in BOTH {
        // The client leaves when ffmpeg runs.
        let is_cancelled = || std::fs::read_to_string(&pid_file).is_ok_and(|pid| !pid.is_empty());
        let result = cut(exact_type, segments.clone(), &tools, &mut Vec::new(), &is_cancelled);
        assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");
        assert_gone(&path);
        std::fs::remove_file(&pid_file).expect("remove its pid");
    }
}

#[test]
fn an_ffmpeg_that_fails_is_quoted() {
    let dir = tempfile::tempdir().expect("a directory");
    let (tools, _) = fake(dir.path(), "ffmpeg-fails");
    let segments = segments("fails");
    for exact_type in BOTH {
        let mut out = Vec::new();
        let why = why(cut(exact_type, segments.clone(), &tools, &mut out, &|| false));
        assert!(why.contains("exit status: 69") && why.contains("no such codec today"), "{why}");
        assert!(out.is_empty());
    }
}

#[test]
fn an_ffmpeg_that_quits_early_or_dies_fails_the_cut() {
    let dir = tempfile::tempdir().expect("a directory");
    let (quits, dies) = (fake(dir.path(), "ffmpeg-quits").0, fake(dir.path(), "ffmpeg-dies").0);
    let segments = segments("quits");
    for exact_type in BOTH {
        let why = why(cut(exact_type, segments.clone(), &quits, &mut Vec::new(), &|| false));
        assert!(why.contains("than it was given") || why.contains("less than"), "{why}");
        let why = self::why(cut(exact_type, segments.clone(), &dies, &mut Vec::new(), &|| false));
        assert!(why.contains("signal: 9"), "{why}");
    }
}

#[test]
fn an_ffmpeg_that_floods_stderr_still_makes_the_cut() {
    let dir = tempfile::tempdir().expect("a directory");
    let (tools, _) = fake(dir.path(), "ffmpeg-floods");
    let segments = segments("floods");
    for exact_type in BOTH {
        let mut out = Vec::new();
        cut(exact_type, segments.clone(), &tools, &mut out, &|| false).expect("a cut");
        assert!(out.len() > 50_000);
    }
}

#[test]
fn a_process_that_ffmpeg_leaves_behind_is_killed() {
    let dir = tempfile::tempdir().expect("a directory");
    let (tools, path) = fake(dir.path(), "ffmpeg-forks");
    let segments = segments("forks");
    for exact_type in BOTH {
        let mut out = Vec::new();
        cut(exact_type, segments.clone(), &tools, &mut out, &|| false).expect("a cut");
        assert!(out.len() > 50_000);
        assert_gone(&path);
    }
}

#[test]
fn an_ffmpeg_that_takes_a_moment_to_start_is_found() {
    let dir = tempfile::tempdir().expect("a directory");
    fake(dir.path(), "ffmpeg-slow").0.check_encoder("libx264").expect("an encoder");
}

#[test]
fn a_segment_that_is_deleted_during_a_cut_fails_it() {
    let tools = Tools::find(Path::new("ffmpeg"));
    for (exact_type, name) in BOTH.into_iter().zip(["vanishes", "vanishes-too"]) {
        let segments = segments(name);
        let (start, end) = range();
        let cut =
            prepare(exact_type, segments.clone(), None, &mut || Ok(None), (start, end), &tools, &|| false)
                .expect("a cut");
        std::fs::remove_file(&segments[2].path).expect("a segment");
        let result = cut.run(&mut Vec::new(), &|| false);
        assert!(matches!(&result, Err(Error::Io { path, .. }) if *path == segments[2].path), "{result:?}");
    }
}

#[test]
fn a_cancelled_cut_is_not_prepared() {
    let tools = Tools::find(Path::new("ffmpeg"));
    let segments = segments("cancelled");
    for exact_type in BOTH {
        let asked = Cell::new(0);
        let is_cancelled = || asked.replace(asked.get() + 1) >= 2;
        let result =
            prepare(exact_type, segments.clone(), None, &mut || Ok(None), range(), &tools, &is_cancelled);
        assert!(matches!(&result, Err(Error::Cancelled)), "{result:?}");
        assert_eq!(asked.get(), 3, "it was not given up");
    }
}

#[test]
fn an_output_that_fails_ends_the_cut() {
    struct Fails;
    impl Write for Fails {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::ConnectionReset.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let tools = Tools::find(Path::new("ffmpeg"));
    let segments = segments("reader");
    for exact_type in BOTH {
        let result = cut(exact_type, segments.clone(), &tools, &mut Fails, &|| false);
        assert!(matches!(&result, Err(Error::Io { action: "write", .. })), "{result:?}");
    }
}

#[test]
fn without_ffmpeg_only_cuts_that_need_none_can_be_made() {
    let tools = Tools::find(Path::new("/nowhere/ffmpeg"));
    assert!(tools.ffmpeg_version().is_err());
    let segments = segments("without");
    for exact_type in BOTH {
        let (start, end) = range();
        let result =
            prepare(exact_type, segments.clone(), None, &mut || Ok(None), (start, end), &tools, &|| false);
        assert!(matches!(&result, Err(Error::ProgramMissing { .. })), "{result:?}");
    }
    let mut out = Vec::new();
    let (start, end) = (segments[1].start, segments[2].end);
    let cut = prepare(
        ExactType::Smart,
        segments[1..3].to_vec(),
        None,
        &mut || Ok(None),
        (start, end),
        &tools,
        &|| false,
    )
    .expect("a cut without ends");
    cut.run(&mut out, &|| false).expect("a cut");
    assert!(out.len() > 50_000);
}

#[test]
fn ffprobe_describes_a_segment_as_json() {
    let tools = LazyTools::new("ffmpeg".into(), "ffprobe".into(), 1);
    let ask = |path: &Path| tools.ffprobe().streams(std::fs::File::open(path).expect("a file"), &|| false);
    let answer = ask(&segments("asked")[0].path).expect("an answer");
    assert_eq!(answer["streams"][0]["codec_name"], "h264");
    assert!(matches!(ask(Path::new("/dev/null")), Err(Error::Child { .. })));
}

#[test]
fn cuts_do_not_wait_for_ffprobe() {
    let dir = tempfile::tempdir().expect("a directory");
    let asked = dir.path().join("asked");
    let ffprobe = dir.path().join("ffprobe");
    let script = format!("#!/bin/sh\necho asked > {}\nexec sleep 60\n", asked.display());
    std::fs::write(&ffprobe, script).expect("a script");
    std::fs::set_permissions(&ffprobe, std::fs::Permissions::from_mode(0o755)).expect("executable");
    assert!(LazyTools::new("ffmpeg".into(), ffprobe, 1).get().ffmpeg_version().is_ok());
    assert!(!asked.exists(), "ffprobe was started");
}
