//! What a newcomer runs first: what the scripts install, and `scripts/demo`, also after it was interrupted.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use restreamer::archive::layout::hour_name;
use restreamer::clock::Clock;
use restreamer::cut::CutSegment;
use restreamer::timestamp::Timestamp;
use rustix::process::{Signal, kill_process_group};
use tempfile::TempDir;

use crate::footage::{self, FootageKind};
use crate::harness::{wait_until, write_whole};
use crate::process::{Program, RESTREAMER, Running, Served, find, setting};

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(name)
}

/// Writes a shell script that takes the place of a program.
fn stand_in(path: &Path, text: &str) {
    write_whole(path, format!("#!/bin/sh\n{text}\n").as_bytes());
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("an executable");
}

/// A directory that is searched for programs before the others.
fn path_with(first: &Path) -> String {
    format!("{}:{}", first.display(), setting("PATH").expect("a PATH").display())
}

/// Links all programs that are installed, except `missing`, into a directory. `apt-get` and what it needs are replaced by
/// programs that write to the file `log`, and fail to install anything.
fn machine_without(directory: &Path, missing: &[&str]) {
    fs::create_dir(directory).expect("a directory");
    for searched in std::env::split_paths(&setting("PATH").expect("a PATH")) {
        for entry in fs::read_dir(searched).into_iter().flatten().flatten() {
            // The first of two programs of one name counts.
            if !missing.iter().any(|name| entry.file_name() == **name) {
                let _ = symlink(entry.path(), directory.join(entry.file_name()));
            }
        }
    }
    for name in ["apt-get", "dpkg", "sudo", "cargo"] {
        let _ = fs::remove_file(directory.join(name));
    }
    stand_in(&directory.join("apt-get"), "echo \"$*\" >>\"${0%/*}/log\"; [ \"$1\" = update ]");
    stand_in(&directory.join("dpkg"), "");
    stand_in(&directory.join("sudo"), "exec \"$@\"");
    stand_in(&directory.join("cargo"), "");
}

#[test]
fn scripts_install_what_they_need_and_nothing_else() {
    let base = tempfile::tempdir().expect("a directory");
    let root = base.path().join("root");
    fs::create_dir(&root).expect("a directory");
    let (root, output) = (root.to_str().expect("text"), base.path().join("packages"));
    let output = output.to_str().expect("text");
    let archive = base.path().join("archive");
    let archive = archive.to_str().expect("text");
    let missing = ["cc", "chromium", "dpkg-shlibdeps", "ffmpeg", "shellcheck", "strace", "vlc"];
    let rows: [(&str, &[&str], &str); 6] = [
        ("demo", &["--dir", archive, "--port", "0"], "gcc libc6-dev ffmpeg"),
        ("install", &["--root", root], "gcc libc6-dev"),
        ("package", &["--output", output], "dpkg-dev gcc libc6-dev"),
        ("package", &["--output", output, "--binary", RESTREAMER], "dpkg-dev"),
        ("test", &["--quick"], "gcc libc6-dev ffmpeg strace shellcheck dpkg-dev"),
        ("test-players", &[], "gcc libc6-dev ffmpeg chromium vlc-bin vlc-plugin-base"),
    ];
    for (number, (name, args, packages)) in rows.into_iter().enumerate() {
        let machine = base.path().join(number.to_string());
        machine_without(&machine, &missing);
        let ran = Program::new(script(name)).args(args).env("PATH", &machine).run();
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert_eq!(ran.code, Some(1), "{name}: {said}");
        assert!(said.contains(&format!("installing from Debian: {packages}\n")), "{name}: {said}");
        assert!(said.contains(&format!("apt-get could not install {packages};")), "{name}: {said}");
        let log = fs::read_to_string(machine.join("log")).expect("apt-get was run");
        let lines: Vec<_> = log.lines().filter(|line| line.starts_with("install ")).collect();
        // An interrupted installation is repaired, and tried once more.
        assert!(lines.len() == 2 && lines.iter().all(|line| line.ends_with(packages)), "{name}: {log}");
        assert!(lines[1].contains("--fix-broken"), "{name}: {log}");
    }
    assert!(!Path::new(archive).exists(), "the demo fails before it changes anything");
}

#[test]
fn the_package_is_written_where_the_help_says() {
    let base = tempfile::tempdir().expect("a directory");
    let bin = base.path().join("bin");
    // A `cargo deb` that only says where the package would be.
    stand_in(
        &bin.join("cargo"),
        "for word; do [ \"$before\" != --output ] || echo \"${word}x.deb\"; before=$word; done",
    );
    stand_in(&bin.join("dpkg-shlibdeps"), "");
    let by_default = script("../target/debian").join("x.deb");
    let by_default = by_default.display().to_string().replace("scripts/../", "");
    let elsewhere = base.path().join("new/directory").display().to_string();
    let rows: [(&[&str], String); 3] = [
        (&[], by_default.clone()),
        (&["--binary", RESTREAMER], by_default),
        (&["--binary", RESTREAMER, "--output", &elsewhere], format!("{elsewhere}/x.deb")),
    ];
    for (args, path) in rows {
        let ran = Program::new(script("package")).args(args).env("PATH", path_with(&bin)).run();
        assert!(ran.stdout.starts_with(&format!("package: built {path}\n")), "{args:?}: {ran:?}");
    }
}

/// A demo with programs of its own: `cargo` does what the file `build` says.
struct Demo {
    base: TempDir,
}

impl Demo {
    fn new() -> Self {
        let base = tempfile::tempdir().expect("a directory");
        let release = base.path().join("target/release");
        fs::create_dir_all(&release).expect("a directory");
        symlink(RESTREAMER, release.join("restreamer")).expect("a link");
        let builds = "cd \"${0%/*}/..\"; touch builds; . ./build";
        stand_in(&base.path().join("bin/cargo"), builds);
        Self { base }
    }

    fn archive(&self) -> PathBuf {
        self.base.path().join("archive")
    }

    /// Starts it. Its output goes to the file `output`.
    fn start(&self, build: &str, more: &[&str]) -> Running {
        let base = self.base.path();
        for name in ["builds", "output"] {
            let _ = fs::remove_file(base.join(name));
        }
        write_whole(&base.join("build"), build.as_bytes());
        Program::new("bash")
            .args(["-c", "exec \"$0\" \"$@\" >\"$OUTPUT\" 2>&1"])
            .args([script("demo")])
            .args([Path::new("--dir"), &self.archive()])
            .args(["--port", "0"])
            .args(more)
            .env("OUTPUT", self.base.path().join("output"))
            .env("PATH", path_with(&base.join("bin")))
            .env("CARGO_TARGET_DIR", base.join("target"))
            .start()
    }

    fn output(&self) -> String {
        fs::read_to_string(self.base.path().join("output")).unwrap_or_default()
    }

    fn wait_for(&self, demo: &Running, what: &str, is_so: impl Fn() -> bool) {
        wait_until(what, || {
            assert!(is_so() || !demo.has_ended(), "it ended before {what}: {}", self.output());
            is_so()
        });
    }
}

#[test]
fn a_demo_that_was_interrupted_can_be_started_again() {
    let demo = Demo::new();
    // What SIGKILL leaves behind stays until the end of the test.
    let mut killed = Vec::new();
    let rows = [
        ("build", "exit 1", None),
        ("build", "exec sleep 1000", Some(Signal::TERM)),
        ("build", "exec sleep 1000", Some(Signal::KILL)),
        ("footage", "exit 0", Some(Signal::TERM)),
        ("footage", "exit 0", Some(Signal::KILL)),
        ("footage", "exit 0", Some(Signal::HUP)),
    ];
    for (stage, build, signal) in rows {
        let running = demo.start(build, &[]);
        demo.wait_for(&running, &format!("the {stage} begins"), || match stage {
            "build" => demo.base.path().join("builds").exists(),
            _ => demo.output().contains("recording three") && demo.archive().join("demo/source").exists(),
        });
        match signal {
            Some(Signal::KILL) => running.signal(Signal::KILL),
            // A terminal signals the whole process group.
            Some(signal) => kill_process_group(running.pid(), signal).expect("send a signal"),
            None => {}
        }
        wait_until("it has ended", || running.has_ended());
        if signal == Some(Signal::KILL) {
            killed.push(running);
        }
    }
    let said = demo.output();
    assert!(
        said.contains("the footage in ") && said.contains(" is incomplete: recording it again"),
        "{said}"
    );
}

#[test]
fn a_directory_of_somebody_else_is_refused_and_may_be_deleted() {
    let demo = Demo::new();
    for files in [&["notes.txt"][..], &[".lock", "demo/source/notes.txt"]] {
        for file in files {
            write_whole(&demo.archive().join(file), b"");
        }
        let running = demo.start("exit 1", &[]);
        assert_eq!(running.wait().code, Some(1), "{files:?}");
        let said = demo.output();
        assert!(
            said.contains("give --dir a new directory, or delete this one if you do not need it"),
            "{said}"
        );
        fs::remove_dir_all(demo.archive()).expect("delete it");
    }
    // The lock of a demo that was interrupted early is nobody's file.
    write_whole(&demo.archive().join(".lock"), b"");
    let running = demo.start("exit 1", &[]);
    assert_eq!(running.wait().code, Some(1));
    assert!(demo.output().contains("the server could not be built"), "{}", demo.output());
}

/// Writes three minutes of segments as the demo records them, around the last full hour. The last 40 s are real footage, the
/// segments before are of one byte.
fn write_footage(archive: &Path) {
    let full_hour = Clock::System.now().hour().start().micros() / 1_000_000;
    let seconds = (-60..30).chain(36..126).step_by(2).map(|second| full_hour + second);
    let mut record = format!("{full_hour}\n");
    for second in seconds {
        let start = Timestamp::from_micros(second * 1_000_000);
        let offset = start.to_string()["2026-11-20T10:".len()..].replace("000Z", "");
        for variant in ["source", "480p"] {
            let hour = archive.join("demo").join(variant).join(hour_name(start.hour()));
            let real = usize::try_from((second - (full_hour + 86)) / 2).ok();
            let real = real.map(|number| fs::read(&real_footage()[number].path).expect("a segment"));
            let bytes = real.unwrap_or_else(|| b"x".to_vec());
            let path = write_whole(&hour.join(format!("{offset}-2.000-full-x.ts")), &bytes);
            record.extend([path.to_str().expect("text"), "\n"]);
        }
    }
    write_whole(&archive.join(".demo"), record.as_bytes());
}

#[test]
fn each_line_that_the_demo_prints_can_be_pasted_and_only_this_machine_is_served() {
    let demo = Demo::new();
    write_footage(&demo.archive());
    let bin = demo.base.path().join("bin");
    stand_in(&bin.join("ffplay"), "exit 0");
    let curl = find("curl").expect("curl is installed");
    stand_in(&bin.join("curl"), &format!("exec {} --silent --show-error --fail \"$@\"", curl.display()));
    for (more, serves_all) in [(&[][..], false), (&["--host", "0.0.0.0"], true)] {
        let running = demo.start("exit 0", more);
        demo.wait_for(&running, "its commands are printed", || demo.output().contains("Ctrl-C"));
        let said = demo.output();
        let printed: String = said.split_inclusive('\n').filter(|line| !line.starts_with("demo: ")).collect();
        assert_eq!(printed.matches("http://127.0.0.1:").count(), 13, "{said}");
        let directory = tempfile::tempdir().expect("a directory");
        let pasted = Program::new("bash")
            .args(["-e", "-c", &format!("cd {}\n{printed}", directory.path().display())])
            .env("PATH", path_with(&bin))
            .run();
        assert_eq!((pasted.code, pasted.stderr.as_str()), (Some(0), ""), "{said}");
        let cut = fs::read(directory.path().join("cut.ts")).expect("a cut");
        assert_eq!(cut.len(), 10, "one byte for each segment");
        let port = printed.split_once("http://127.0.0.1:").expect("an address").1.split('/').next();
        let port: u16 = port.and_then(|port| port.parse().ok()).expect("a port");
        assert_eq!(TcpStream::connect(("127.0.0.2", port)).is_ok(), serves_all, "{said}");
        running.signal(Signal::TERM);
        assert_eq!(running.wait().code, Some(143));
    }
}

/// Real footage, shared by tests.
fn real_footage() -> &'static [CutSegment] {
    static MADE: OnceLock<Vec<CutSegment>> = OnceLock::new();
    MADE.get_or_init(|| {
        let codecs = "-c:v libx264 -preset ultrafast -bf 2 -sc_threshold 0 -g 20 -c:a aac";
        let kind = FootageKind { name: "jobs", rate: (10, 1), seconds: 72, codecs, ..footage::PLAIN };
        footage::make(&kind).segments
    })
}

/// Writes real footage from ten seconds before a full hour to a minute after it, with the gap of the demo.
fn write_real_footage(archive: &Path) {
    let full_hour = Timestamp::parse("2026-11-20T11").expect("a time").micros() / 1_000_000;
    let seconds = (-10..30).chain(36..68).step_by(2);
    for (segment, second) in real_footage().iter().zip(seconds) {
        let start = Timestamp::from_micros((full_hour + second) * 1_000_000);
        let hour = archive.join("demo/source").join(hour_name(start.hour()));
        fs::create_dir_all(&hour).expect("an hour");
        let offset = start.to_string()["2026-11-20T10:".len()..].replace("000Z", "");
        fs::copy(&segment.path, hour.join(format!("{offset}-2.000-full-x.ts"))).expect("a segment");
    }
}

#[test]
fn each_line_of_the_table_of_jobs_in_the_readme_works() {
    let base = tempfile::tempdir().expect("a directory");
    let archive = base.path().join("demo-archive");
    write_real_footage(&archive);
    let old = archive.join("demo/480p/2020-10-01T00");
    for hour in [&old, &archive.join("demo/480p/2020-10-01T01")] {
        write_whole(&hour.join("00:00.000-2.000-full-x.ts"), b"x");
    }
    let readme = fs::read_to_string(script("../README.md")).expect("README.md");
    let hour = readme.lines().find(|line| line.starts_with("hour=")).expect("how to set the hour");
    let jobs = readme.split_once("| job | command |").expect("the table of jobs").1;
    let rows = jobs.lines().skip(2).take_while(|line| line.starts_with("| "));
    let rows: Vec<(&str, &str)> = rows
        .map(|row| row[2..].split_once(" | `").expect("two columns"))
        .map(|(job, command)| (job, command.trim_end_matches("` |")))
        .collect();
    let bin = base.path().join("bin");
    stand_in(&bin.join("ffplay"), "exec curl -o played \"$@\"");
    let served = Served::over(&archive, &[]);
    // What the commands print that make no file, by the first word of the job.
    let shown = [
        ("find", "\"2026-11-20T11\""),
        ("list", "\"00:58.000-2.000-full-x.ts\""),
        ("share", "?start=2026-11-20T11:00:05&end=2026-11-20T11:00:25\n"),
        ("gaps", "all holes together last 6.000 s"),
        ("watch", ""),
        ("delete", ""),
    ];
    for (job, command) in &rows {
        let text = format!("cd {} && {hour} && {command}", base.path().display());
        let text = text.replace("127.0.0.1:8000", &served.address.to_string());
        let text = text.replace("target/release/restreamer", RESTREAMER);
        let ran = Program::new("bash").args(["-c", &text]).env("PATH", path_with(&bin)).run();
        let expected = shown.iter().find(|(word, _)| job.starts_with(word)).map_or("", |(_, text)| text);
        assert!(ran.code == Some(0) && ran.stdout.contains(expected), "{job}: {ran:?}");
    }
    let is_cut = |path: &PathBuf| {
        path.extension().is_some_and(|extension| ["ts", "mp4"].iter().any(|known| extension == *known))
    };
    let files = fs::read_dir(base.path()).expect("a directory").map(|entry| entry.expect("a file").path());
    let cuts: Vec<PathBuf> = files.filter(is_cut).collect();
    let clips = rows.iter().filter(|(job, _)| job.starts_with("clip")).count();
    assert_eq!((cuts.len(), clips), (7, 7), "{cuts:?}");
    for cut in cuts {
        assert!(fs::metadata(&cut).expect("a cut").len() > 50_000, "{} is an error", cut.display());
    }
    assert!(
        !old.exists() && archive.join("demo/source/2026-11-20T11").exists(),
        "only old hours are deleted"
    );
    let played = fs::read_to_string(base.path().join("played")).expect("a playlist");
    assert!(played.starts_with("#EXTM3U"), "{played}");
}
