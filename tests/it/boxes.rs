//! The server on a machine with little memory and a fifth of a core: in control groups of both versions.

use std::fs;
use std::fs::Permissions;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::abuse::status_of;
use crate::cuts;
use crate::harness::{ask, connect, wait_until};
use crate::process::{Program, RESTREAMER, Served, say};

const MIB: u64 = 1024 * 1024;
const HOURS: usize = 720;
const SEGMENTS_AN_HOUR: usize = 300;

/// Groups with little memory and processor time. They are removed when this is dropped, after the processes in them.
struct Group {
    directories: Vec<PathBuf>,
}

impl Group {
    /// `None`, with the reason printed, where no groups can be made.
    fn of(memory_mib: u64) -> Option<Self> {
        static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut group = Self { directories: Vec::new() };
        let made = group.make(&format!("restreamer-test-{}-{number}", std::process::id()), memory_mib * MIB);
        made.map_err(|error| say(&format!("small boxes: no control groups can be made ({error}); skipped")))
            .ok()?;
        Some(group)
    }

    fn make(&mut self, name: &str, bytes: u64) -> io::Result<()> {
        let root = Path::new("/sys/fs/cgroup");
        if root.join("memory/memory.limit_in_bytes").exists() {
            let memory = self.add(root.join("memory").join(name))?;
            fs::write(memory.join("memory.limit_in_bytes"), bytes.to_string())?;
            // Absent where swap is not counted.
            let _ = fs::write(memory.join("memory.memsw.limit_in_bytes"), bytes.to_string());
            let cpu = self.add(root.join("cpu").join(name))?;
            return fs::write(cpu.join("cpu.cfs_quota_us"), "20000");
        }
        fs::write(root.join("cgroup.subtree_control"), "+memory +cpu")?;
        let both = self.add(root.join(name))?;
        fs::write(both.join("memory.max"), bytes.to_string())?;
        let _ = fs::write(both.join("memory.swap.max"), "0");
        fs::write(both.join("cpu.max"), "20000 100000")
    }

    fn add(&mut self, directory: PathBuf) -> io::Result<PathBuf> {
        fs::create_dir(&directory)?;
        self.directories.push(directory.clone());
        Ok(directory)
    }

    /// The server as a program that enters the group before it starts.
    fn program(&self) -> Program {
        let enter = "while [ \"$1\" != -- ]; do echo $$ > \"$1/cgroup.procs\" || exit; shift; done; shift; exec \"$@\"";
        Program::new("sh").args(["-c", enter, "sh"]).args(&self.directories).args(["--", RESTREAMER])
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for directory in &self.directories {
            // A process that was killed stays in its group until it has exited.
            wait_until("the group is empty", || fs::remove_dir(directory).is_ok());
        }
    }
}

/// Adds a month of hours with long names. They are symbolic links to one directory, but read and cached like any other.
fn add_month(base: &Path) {
    let variant = base.join("month/source");
    let hour = base.join(".hour");
    fs::create_dir_all(&variant).expect("make a directory");
    fs::create_dir(&hour).expect("make an hour");
    for number in 0..SEGMENTS_AN_HOUR {
        let (minute, second) = (number / 5, number % 5 * 12);
        let name = format!("{minute:02}:{second:02}.000-12.000-full-{number:0200}.ts");
        fs::write(hour.join(name), b"").expect("a segment");
    }
    for number in 0..HOURS {
        let name = format!("2026-10-{:02}T{:02}", number / 24 + 1, number % 24);
        symlink(&hour, variant.join(name)).expect("link an hour");
    }
}

/// Reads a playlist that may take long. Returns how many segments it has.
fn segments_of_playlist(served: &Served, range: &str) -> usize {
    let mut client = connect(served.address);
    // A fifth of a core, of which other tests may need the rest: generous, and only against waiting for ever.
    client.set_read_timeout(Some(Duration::from_secs(300))).expect("set a time limit");
    let target = format!("/playlist/month/source.m3u8?{range}");
    client.write_all(format!("GET {target} HTTP/1.0\r\n\r\n").as_bytes()).expect("ask");
    let lines = BufReader::with_capacity(256 * 1024, client).lines().map(|line| line.expect("read on"));
    lines.filter(|line| line.starts_with("#EXTINF:")).count()
}

/// What the server takes beside caches and buffers: `docs/install.md` says 20 MB.
const SERVER_KIB: u64 = 20 * 1024;

#[test]
fn a_small_box_serves_lists_playlists_and_cuts_with_default_options() {
    let base = cuts::archive();
    add_month(base.path());
    // At once, because each is idle most of the time.
    thread::scope(|scope| {
        for memory_mib in [48, 128] {
            let base = base.path();
            scope.spawn(move || check_small_box(base, memory_mib));
        }
    });
}

fn check_small_box(base: &Path, memory_mib: u64) {
    let Some(group) = Group::of(memory_mib) else { return };
    let served = Served::by(group.program(), base, &["--log-level", "warn"]);
    let hours = ask(served.address, "GET", "/files/month/source", &[]).text();
    assert_eq!(hours.matches('T').count(), HOURS);
    let names = ask(served.address, "GET", "/files/month/source/2026-10-07T05", &[]).text();
    assert_eq!(names.matches(".ts\"").count(), SEGMENTS_AN_HOUR);
    let day = segments_of_playlist(&served, "start=2026-10-05T00&end=2026-10-06T00");
    assert_eq!(day, 24 * SEGMENTS_AN_HOUR);
    let month = segments_of_playlist(&served, "start=2026-10-01T00&end=2026-11-01T00");
    assert_eq!(month, HOURS * SEGMENTS_AN_HOUR);
    for cut_type in ["rough", "smart"] {
        let target = format!("/cut/s/v.ts?{}&type={cut_type}", cuts::RANGE);
        let got = ask(served.address, "GET", &target, &[]);
        assert!(got.status == 200 && got.whole, "{memory_mib} MiB, {cut_type}: {}", got.status);
    }
    let peak_kib = status_of(&served.running, "VmHWM");
    let most_kib = SERVER_KIB + memory_mib * 1024 / 4;
    assert!(peak_kib <= most_kib, "{peak_kib} KiB in {memory_mib} MiB");
}

#[test]
fn a_cut_that_is_too_large_for_a_small_box_loses_its_ffmpeg_and_not_the_server() {
    let (base, dir) = (cuts::archive(), tempfile::tempdir().expect("a directory"));
    let ffmpeg = dir.path().join("ffmpeg");
    // Reads zeros, and keeps them all until there is a line break.
    let script =
        "#!/bin/sh\ncase $* in *-version*|*-encoders*) exec ffmpeg \"$@\";; esac\nexec tail /dev/zero\n";
    fs::write(&ffmpeg, script).expect("a program");
    fs::set_permissions(&ffmpeg, Permissions::from_mode(0o755)).expect("a mode");
    let Some(group) = Group::of(48) else { return };
    let options = ["--log-level", "warn", "--ffmpeg", &ffmpeg.to_string_lossy()];
    let served = Served::by(group.program(), base.path(), &options);
    for _ in 0..2 {
        let got = ask(served.address, "GET", &format!("/cut/s/v.ts?{}&type=full", cuts::RANGE), &[]);
        assert_eq!(got.status, 500, "{}", got.text());
        assert_eq!(ask(served.address, "GET", "/files/s/v", &[]).status, 200);
    }
}

#[test]
fn the_check_shows_the_memory_there_is_and_what_comes_of_it() {
    let base = tempfile::tempdir().expect("a directory");
    let Some(group) = Group::of(48) else { return };
    let check = |options: &[&str]| {
        let check = group.program().args(["--check", "--base-dir"]).args([base.path()]).args(options);
        check.run().stdout
    };
    let shown = check(&[]);
    for line in [
        "limit 50331648 bytes, by `/sys/fs/cgroup/",
        "directories 2396745 bytes",
        "unsent responses 4793490 bytes",
        "samples of segments 599186 bytes",
        "movies 1198372 bytes",
        "encoded pictures 2396745 bytes",
        "pictures 1198372 bytes",
    ] {
        assert!(shown.lines().any(|found| found.trim_start().starts_with(line)), "{line}: {shown}");
    }
    let given = check(&["--cache-bytes", "100000000"]);
    assert!(
        given.contains("directories 100000000 bytes") && given.contains("unsent responses 4793490 bytes"),
        "{given}"
    );
}
