//! `--check`: its findings and problems; and what `README.md` says about it and about the options.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use restreamer::config::{Config, markdown_table};
use rustix::process::geteuid;
use tempfile::TempDir;

use crate::harness::write_whole;
use crate::process::{Output, Program, RESTREAMER, Served, say};
use crate::shortage::{as_nobody, copy_for_anybody};

const HOUR: &str = "gdq/source/2026-11-20T10";

/// Creates an archive with one segment.
fn archive() -> TempDir {
    let base = tempfile::tempdir().expect("a temporary directory");
    write_whole(&base.path().join(HOUR).join("55:02.000-2.000-full-abc.ts"), b"0123456789");
    base
}

/// A finished check.
struct Checked {
    ok: bool,
    stdout: String,
    stderr: String,
}

impl Checked {
    fn by(program: Program, base: &Path, more: &[&str]) -> Self {
        let Output { code, stdout, stderr } =
            program.args(["--check", "--base-dir"]).args([base]).args(more).run();
        assert!(matches!(code, Some(0 | 1)), "{code:?} {stdout} {stderr}");
        Self { ok: code == Some(0), stdout, stderr }
    }

    fn of(base: &Path, more: &[&str]) -> Self {
        Self::by(Program::new(RESTREAMER), base, more)
    }

    fn reports(&self, line: &str) -> bool {
        self.stdout.lines().any(|found| found.trim_start() == line)
    }

    /// The reported problems. Asserts that the check failed if and only if there are any.
    fn problems(&self) -> Vec<&str> {
        let problems: Vec<_> =
            self.stdout.lines().filter_map(|line| line.strip_prefix("PROBLEM: ")).collect();
        assert_eq!(self.ok, problems.is_empty(), "{}", self.stdout);
        assert_eq!(self.ok, self.stdout.ends_with("\nno problems found\n"), "{}", self.stdout);
        problems
    }
}

#[test]
fn a_check_reports_the_options_the_archive_and_the_programs() {
    let base = archive();
    fs::create_dir_all(base.path().join("gdq/chat")).expect("a variant without hours");
    fs::create_dir_all(base.path().join("idle/source/2026-11-20T11")).expect("an hour without segments");
    fs::create_dir_all(base.path().join("new")).expect("a stream without variants");
    let checked = Checked::of(base.path(), &["--workers", "3", "--head-timeout", "2.5"]);
    assert_eq!((checked.problems(), checked.stderr.as_str()), (Vec::new(), ""), "{}", checked.stdout);
    let shown = "stream `gdq`, variant `source`: 1 hour from 2026-11-20T10, \
                 newest segment ends at 2026-11-20T10:55:04.000000Z, ";
    let line = checked.stdout.lines().find_map(|line| line.trim_start().strip_prefix(shown));
    assert!(
        line.is_some_and(|age| age.contains(" days ago") || age.contains("in the future")),
        "{}",
        checked.stdout
    );
    for line in [
        &format!("--base-dir         {}", base.path().display()),
        "--workers          3",
        "--head-timeout     2.5",
        "--log-level        info",
        "stream `gdq`, variant `chat`: no hours",
        "stream `idle`, variant `source`: 1 hour from 2026-11-20T11, no segments",
        "stream `new`: no variants",
        "encoder libx264, for full cuts, and the ends of smart cuts of H.264",
        "encoder aac, for the sound of full cuts",
    ] {
        assert!(checked.reports(line), "it does not report `{line}`: {}", checked.stdout);
    }
}

fn readme() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("README.md")
}

#[test]
fn the_readme_shows_the_report_of_a_check() {
    let readme = readme();
    let (_, rest) = readme.split_once("```\neffective options:\n").expect("a sample");
    let (sample, _) = rest.split_once("```").expect("the end of the sample");
    let checked = Checked::of(archive().path(), &[]);
    // Values and versions depend on the machine, and the streams on the archive.
    let first_words = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.contains("stream `"));
        lines.map(|line| line.split_whitespace().next().unwrap_or_default().to_owned()).collect()
    };
    let shown = checked.stdout.strip_prefix("effective options:\n").expect("the options come first");
    assert_eq!(first_words(sample), first_words(shown));
}

#[test]
fn the_readme_has_the_table_of_the_options() {
    let readme = readme();
    let (_, rest) = readme.split_once("\n## Options\n").expect("a section about the options");
    let rows: Vec<_> = rest.lines().skip_while(|line| !line.starts_with("| `--")).collect();
    let rows: Vec<_> = rows.into_iter().take_while(|line| line.starts_with('|')).collect();
    let table = markdown_table::<Config>();
    let expected: Vec<_> = table.lines().collect();
    assert_eq!(rows, expected, "the table must be:\n{table}");
}

#[test]
fn skipped_file_names_are_reported_and_are_no_problem() {
    let base = archive();
    write_whole(&base.path().join(HOUR).join("odd.ts"), b"");
    let checked = Checked::of(base.path(), &[]);
    assert!(checked.problems().is_empty());
    assert!(checked.reports("1 file is skipped in the newest hours because of the name; see the log"));
    assert!(checked.stderr.contains("skipped `odd.ts`"), "{}", checked.stderr);
}

#[test]
fn an_empty_archive_is_no_problem_and_a_missing_one_is() {
    let base = tempfile::tempdir().expect("a temporary directory");
    let checked = Checked::of(base.path(), &[]);
    assert!(checked.problems().is_empty());
    assert!(
        checked.reports("the archive is empty: there is no STREAM/VARIANT directory yet"),
        "{}",
        checked.stdout
    );

    let missing = base.path().join("missing");
    let checked = Checked::of(&missing, &[]);
    let why = format!("cannot serve `{}`: the base directory is not there", missing.display());
    assert_eq!(checked.problems(), [why]);
    assert!(checked.stdout.ends_with("\n1 problem found\n"), "{}", checked.stdout);
}

#[test]
fn a_host_name_without_an_address_is_a_problem() {
    let base = archive();
    let checked = Checked::of(base.path(), &["--host", "nowhere.invalid"]);
    let problems = checked.problems();
    assert!(
        problems.len() == 1 && problems[0].starts_with("cannot listen at `nowhere.invalid`: "),
        "{problems:?}"
    );
}

#[test]
fn missing_ffmpeg_and_ffprobe_are_problems() {
    let base = archive();
    let checked = Checked::of(base.path(), &["--ffmpeg", "/nowhere/ffmpeg", "--ffprobe", "/nowhere/ffprobe"]);
    let problems = checked.problems();
    assert_eq!(problems.len(), 2, "{problems:?}");
    let why = "cannot run ffmpeg: `/nowhere/ffmpeg`: No such file or directory (os error 2); \
               full and smart cuts will fail";
    assert_eq!(problems[0], why);
    assert!(problems[1].starts_with("cannot run ffprobe: `/nowhere/ffprobe`: "), "{problems:?}");
    assert!(!checked.stdout.contains("encoder"), "{}", checked.stdout);
    assert!(checked.stdout.ends_with("\n2 problems found\n"), "{}", checked.stdout);
}

#[test]
fn the_address_of_a_database_is_taken_and_told_to_nobody() {
    let base = archive();
    let options = ["--connection-string", "host='db' password='hunter2'"];
    let checked = Checked::of(base.path(), &options);
    assert!(checked.ok, "{}", checked.stdout);
    let served = Served::over(base.path(), &options);
    served.running.signal(rustix::process::Signal::TERM);
    let log = served.running.wait().stderr;
    assert!(log.contains(" INFO serve: --connection-string is ignored: "), "{log}");
    for text in [&checked.stdout, &checked.stderr, &log] {
        assert!(!text.contains("hunter2") && !text.contains("'db'"), "{text}");
    }
}

#[test]
fn missing_encoders_are_reported() {
    let base = archive();
    let fake = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/ffmpeg-without");
    let fake = ["--ffmpeg", fake.to_str().expect("text")];
    for (encoder, purpose) in
        [("libx264", "full cuts, and the ends of smart cuts of H.264"), ("aac", "the sound of full cuts")]
    {
        let program = Program::new(RESTREAMER).env("WITHOUT", encoder);
        let checked = Checked::by(program, base.path(), &fake);
        assert_eq!(checked.problems(), [format!("ffmpeg has no encoder {encoder}, for {purpose}")]);
    }
    // The encoder for HEVC is optional, because most archives contain no HEVC.
    let program = Program::new(RESTREAMER).env("WITHOUT", "libx265");
    let checked = Checked::by(program, base.path(), &fake);
    assert!(checked.problems().is_empty());
    assert!(checked.reports("no encoder libx265, for the ends of smart cuts of HEVC"), "{}", checked.stdout);
}

#[test]
fn unreadable_directories_are_problems_and_the_others_are_still_reported() {
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
        let problems = checked.problems();
        assert!(problems.len() == 1 && problems[0].starts_with(subject), "{}: {problems:?}", path.display());
        assert!(problems[0].contains("Permission denied"), "{problems:?}");
        assert_eq!(checked.stdout.contains("variant `source`: 1 hour"), others, "{}", checked.stdout);
    }
}
