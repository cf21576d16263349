//! `--check`: what it says of the options, the archive and ffmpeg, and what it calls wrong.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::process::geteuid;
use tempfile::TempDir;

use crate::harness::write_whole;
use crate::process::{Output, Program, RESTREAMER, say};
use crate::shortage::{as_nobody, copy_for_anybody};

const HOUR: &str = "gdq/source/2026-11-20T10";

/// An archive with one segment.
fn archive() -> TempDir {
    let base = tempfile::tempdir().expect("a temporary directory");
    write_whole(&base.path().join(HOUR).join("55:02.000-2.000-full-abc.ts"), b"0123456789");
    base
}

/// A check that came to an end.
struct Checked {
    well: bool,
    stdout: String,
    stderr: String,
}

impl Checked {
    fn by(program: Program, base: &Path, more: &[&str]) -> Self {
        let Output { code, stdout, stderr } =
            program.args(["--check", "--base-dir"]).args([base]).args(more).run();
        assert!(matches!(code, Some(0 | 1)), "{code:?} {stdout} {stderr}");
        Self { well: code == Some(0), stdout, stderr }
    }

    fn of(base: &Path, more: &[&str]) -> Self {
        Self::by(Program::new(RESTREAMER), base, more)
    }

    fn says(&self, line: &str) -> bool {
        self.stdout.lines().any(|found| found.trim_start() == line)
    }

    /// The lines that say what is wrong. It must have failed if there are any, and only then.
    fn wrong(&self) -> Vec<&str> {
        let wrong: Vec<_> = self.stdout.lines().filter_map(|line| line.strip_prefix("WRONG: ")).collect();
        assert_eq!(self.well, wrong.is_empty(), "{}", self.stdout);
        assert_eq!(self.well, self.stdout.ends_with("\nall is well\n"), "{}", self.stdout);
        wrong
    }
}

#[test]
fn a_check_says_what_is_there() {
    let base = archive();
    fs::create_dir_all(base.path().join("gdq/chat")).expect("a variant without hours");
    fs::create_dir_all(base.path().join("idle/source/2026-11-20T11")).expect("an hour without segments");
    fs::create_dir_all(base.path().join("new")).expect("a stream without variants");
    let checked = Checked::of(base.path(), &["--workers", "3", "--head-timeout", "2.5"]);
    assert_eq!((checked.wrong(), checked.stderr.as_str()), (Vec::new(), ""), "{}", checked.stdout);
    let shown = "stream `gdq`, variant `source`: 1 hour from 2026-11-20T10 on, \
                 the newest segment ends 2026-11-20T10:55:04.000000Z, ";
    let line = checked.stdout.lines().find_map(|line| line.trim_start().strip_prefix(shown));
    assert!(line.is_some_and(|age| age.contains(" days ago") || age.contains("now")), "{}", checked.stdout);
    for line in [
        &format!("--base-dir         {}", base.path().display()),
        "--workers          3",
        "--head-timeout     2.5",
        "--log-level        info",
        "stream `gdq`, variant `chat`: no hours",
        "stream `idle`, variant `source`: 1 hour from 2026-11-20T11 on, no segments",
        "stream `new`: no variants",
        "ffmpeg's encoder libx264, for full cuts, and the ends of smart cuts of H.264",
        "ffmpeg's encoder aac, for the sound of full cuts",
    ] {
        assert!(checked.says(line), "it does not say `{line}`: {}", checked.stdout);
    }
}

#[test]
fn the_readme_shows_what_a_check_says() {
    let readme =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("README.md");
    let (_, rest) = readme.split_once("```\nthe options in force:\n").expect("a sample");
    let (sample, _) = rest.split_once("```").expect("its end");
    let checked = Checked::of(archive().path(), &[]);
    // What stands behind differs from machine to machine.
    let word = |line: &str| line.split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>();
    let first_words = |text: &str| -> Vec<_> {
        let named = text.lines().filter(|line| !line.contains("stream `"));
        named.map(|line| if line.starts_with("  ") { word(line)[..1].to_vec() } else { word(line) }).collect()
    };
    let shown = checked.stdout.strip_prefix("the options in force:\n").expect("the options first");
    assert_eq!(first_words(sample), first_words(shown));
}

#[test]
fn names_that_are_no_segments_are_told_and_are_nothing_wrong() {
    let base = archive();
    write_whole(&base.path().join(HOUR).join("odd.ts"), b"");
    let checked = Checked::of(base.path(), &[]);
    assert!(checked.wrong().is_empty());
    assert!(checked.says("in the newest hours one name is not that of a segment; the log says which"));
    assert!(checked.stderr.contains("skipped `odd.ts`"), "{}", checked.stderr);
}

#[test]
fn an_empty_archive_is_nothing_wrong_and_one_that_is_not_there_is() {
    let base = tempfile::tempdir().expect("a temporary directory");
    let checked = Checked::of(base.path(), &[]);
    assert!(checked.wrong().is_empty());
    assert!(checked.says("it is empty: there is no STREAM/VARIANT directory yet"), "{}", checked.stdout);

    let missing = base.path().join("missing");
    let checked = Checked::of(&missing, &[]);
    let why = format!("cannot serve `{}`: the base directory is not there", missing.display());
    assert_eq!(checked.wrong(), [why]);
    assert!(checked.stdout.ends_with("\none thing is wrong\n"), "{}", checked.stdout);
}

#[test]
fn a_host_that_has_no_address_is_wrong() {
    let base = archive();
    let checked = Checked::of(base.path(), &["--host", "nowhere.invalid"]);
    let wrong = checked.wrong();
    assert!(wrong.len() == 1 && wrong[0].starts_with("cannot listen at `nowhere.invalid`: "), "{wrong:?}");
}

#[test]
fn without_the_programs_that_cut_something_is_wrong() {
    let base = archive();
    let checked = Checked::of(base.path(), &["--ffmpeg", "/nowhere/ffmpeg", "--ffprobe", "/nowhere/ffprobe"]);
    let wrong = checked.wrong();
    assert_eq!(wrong.len(), 2, "{wrong:?}");
    let why = "cannot run ffmpeg: `/nowhere/ffmpeg`: No such file or directory (os error 2); \
               all but full and smart cuts will work";
    assert_eq!(wrong[0], why);
    assert!(wrong[1].starts_with("cannot run ffprobe: `/nowhere/ffprobe`: "), "{wrong:?}");
    assert!(!checked.stdout.contains("encoder"), "{}", checked.stdout);
    assert!(checked.stdout.ends_with("\n2 things are wrong\n"), "{}", checked.stdout);
}

#[test]
fn an_encoder_that_ffmpeg_lacks_is_told() {
    let base = archive();
    let fake = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/ffmpeg-without");
    let fake = ["--ffmpeg", fake.to_str().expect("text")];
    for (encoder, makes) in
        [("libx264", "full cuts, and the ends of smart cuts of H.264"), ("aac", "the sound of full cuts")]
    {
        let program = Program::new(RESTREAMER).env("WITHOUT", encoder);
        let checked = Checked::by(program, base.path(), &fake);
        assert_eq!(checked.wrong(), [format!("ffmpeg has no encoder {encoder}, for {makes}")]);
    }
    // Most archives have no HEVC.
    let program = Program::new(RESTREAMER).env("WITHOUT", "libx265");
    let checked = Checked::by(program, base.path(), &fake);
    assert!(checked.wrong().is_empty());
    assert!(checked.says("no encoder libx265, for the ends of smart cuts of HEVC"), "{}", checked.stdout);
}

#[test]
fn what_may_not_be_read_is_wrong_and_the_rest_is_told() {
    if !geteuid().is_root() {
        say("check: needs root to become another user; skipped");
        return;
    }
    let (place, base) = (tempfile::tempdir().expect("a place"), archive());
    let program = copy_for_anybody(place.path());
    write_whole(&base.path().join("gdq/closed/2026-11-20T10/00:00.000-2.000-full-x.ts"), b"x");
    let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).expect("a mode");
    mode(base.path(), 0o755);
    for (path, subject, others) in [
        ("gdq/closed/2026-11-20T10", "stream `gdq`, variant `closed`: ", true),
        ("gdq/closed", "stream `gdq`, variant `closed`: ", true),
        ("gdq", "stream `gdq`: ", false),
        ("", "cannot serve `", false),
    ] {
        let path = base.path().join(path);
        mode(&path, 0o700);
        let checked = Checked::by(as_nobody(&program, &[]), base.path(), &[]);
        mode(&path, 0o755);
        let wrong = checked.wrong();
        assert!(wrong.len() == 1 && wrong[0].starts_with(subject), "{}: {wrong:?}", path.display());
        assert!(wrong[0].contains("Permission denied"), "{wrong:?}");
        assert_eq!(checked.stdout.contains("variant `source`: 1 hour"), others, "{}", checked.stdout);
    }
}
