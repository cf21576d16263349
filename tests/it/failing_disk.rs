//! A server whose disk fails. `strace` makes system calls of the running server for a given path fail with EIO, like a
//! broken disk, and then detaches. Requests for unreadable files fail, all others succeed, and afterwards the server has
//! neither cached the failure nor leaked anything.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::cuts::{RANGE, archive, at_rest, holdings};
use crate::footage::run;
use crate::harness::{ask, wait_until, write_whole};
use crate::process::{Program, Running, Served, find, say, setting};

/// The cause in the log.
const CAUSE: &str = "Input/output error (os error 5)";

/// The response that a client gets.
const TOLD: (u16, &str) = (500, "the archive cannot be read just now\n");

/// Injected failures of a server's system calls, until `end`.
struct Fault(Running);

impl Fault {
    /// Makes system calls for `path` fail as `how` specifies (`-e inject` of strace). Returns `None` and prints the reason
    /// if strace cannot be used on this machine.
    fn begin(served: &Served, path: &Path, how: &[&str]) -> Option<Self> {
        let wanted = setting("RESTREAMER_TEST_PEERS").is_some_and(|value| value == "1");
        let Some(strace) = find("strace") else {
            assert!(!wanted, "strace is not installed");
            say("failing disk: strace is not installed; skipped");
            return None;
        };
        let pid = served.running.proc_file("").file_name().expect("its number").display().to_string();
        let how = how.iter().flat_map(|how| ["-e".to_owned(), format!("inject={how}")]);
        let program =
            Program::new(strace).args(["-f", "-o", "/dev/null", "-p", &pid, "-P"]).args([path]).args(how);
        let tracer = program.start();
        while !traced(served).into_iter().all(|traced| traced) {
            if tracer.has_ended() {
                let said = tracer.wait().stderr;
                assert!(said.contains("ptrace"), "strace ended: {said}");
                say(&format!("failing disk: no process may be traced here ({}); skipped", said.trim_end()));
                return None;
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        Some(Self(tracer))
    }

    /// Detaches strace from the server.
    fn end(self, served: &Served) {
        self.0.signal(Signal::INT);
        self.0.wait();
        wait_until("nobody traces the server", || traced(served).into_iter().all(|traced| !traced));
    }
}

/// For each thread of a server, whether it is traced.
fn traced(served: &Served) -> Vec<bool> {
    let tasks = fs::read_dir(served.running.proc_file("task")).expect("its threads").flatten();
    let statuses = tasks.filter_map(|task| fs::read_to_string(task.path().join("status")).ok());
    statuses.map(|status| !status.contains("\nTracerPid:\t0\n")).collect()
}

fn answer(served: &Served, target: &str) -> (u16, String) {
    let answer = ask(served.address, "GET", target, &[]);
    assert!(answer.whole, "{target}");
    (answer.status, answer.text())
}

/// Stops a server and returns its log.
fn log_of(served: Served) -> String {
    served.running.signal(Signal::TERM);
    let output = served.running.wait();
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    output.stderr
}

/// Injects the failures in `rows` one by one. Each row has system calls, a path, and the targets that fail meanwhile. All
/// other targets, and afterwards all targets, must give the same as before. Returns `false` if strace cannot be used.
fn check_failures(served: &Served, targets: &[&str], rows: &[(&str, PathBuf, &[&str])]) -> bool {
    let before: Vec<_> = targets.iter().map(|target| answer(served, target)).collect();
    for (calls, path, failing) in rows {
        let Some(fault) = Fault::begin(served, path, &[&format!("{calls}:error=EIO")]) else { return false };
        for (target, before) in targets.iter().zip(&before) {
            let (status, text) = answer(served, target);
            let expected =
                if failing.contains(target) { (TOLD.0, TOLD.1) } else { (before.0, before.1.as_str()) };
            assert_eq!(
                (status, text.as_str()),
                expected,
                "{target} while {calls} of {} fails",
                path.display()
            );
        }
        fault.end(served);
        for (target, before) in targets.iter().zip(&before) {
            assert_eq!(&answer(served, target), before, "{target} after {calls} of {}", path.display());
        }
    }
    true
}

#[test]
fn an_unreadable_directory_gives_a_500_until_it_is_readable() {
    let place = tempfile::tempdir().expect("a directory");
    let base = place.path().join("base");
    for path in
        ["s/v/2026-11-20T10", "s/v/2026-11-20T11", "s/other/2026-11-20T10", "s/empty/x", "t/v/2026-11-20T10"]
    {
        write_whole(&base.join(path).join("00:00.000-2.000-full-x.ts"), b"ready");
    }
    // An hour and a stream on another disk.
    write_whole(&place.path().join("disk/00:00.000-2.000-full-y.ts"), b"more");
    symlink(place.path().join("disk"), base.join("s/v/2026-11-20T12")).expect("a link");
    symlink(place.path().join("base/t"), base.join("linked")).expect("a link");
    let served = Served::over(&base, &["--no-cache"]);
    wait_until("it has looked for ffmpeg", || answer(&served, "/health").0 == 200);
    let hours = "/files/s/v";
    let names = "/files/s/v/2026-11-20T10";
    let list = "/playlist/s/v.m3u8?end=2026-11-20T11";
    let cut = "/cut/s/v.ts?start=2026-11-20T10:00:00&end=2026-11-20T10:00:02&type=rough";
    let segment = "/segments/s/v/2026-11-20T10/00:00.000-2.000-full-x.ts";
    let others = ["/files/s/v/2026-11-20T11", "/playlist/s/other.m3u8", "/playlist/t.m3u8"];
    let [empty, variants, streams] = ["/playlist/s/empty.m3u8", "/playlist/s.m3u8", "/files/s"];
    let targets =
        [hours, names, list, cut, segment, others[0], others[1], others[2], empty, variants, streams];
    let hour = base.join("s/v/2026-11-20T10");
    let variant = base.join("s/v");
    let rows: [(&str, PathBuf, &[&str]); 7] = [
        ("getdents64", hour.clone(), &[names, list, cut]),
        ("?open,openat", hour.clone(), &[names, list, cut]),
        ("%%stat", hour, &[names, list, cut]),
        ("getdents64", variant.clone(), &[hours, list, cut, variants]),
        // The target of the link that is the third hour.
        ("?newfstatat,?statx,?fstatat64", variant, &[hours, list, cut, variants]),
        ("%%stat", base.join("s/empty"), &[empty, variants]),
        ("%%stat", base.join("s"), &[variants]),
    ];
    if !check_failures(&served, &targets, &rows) {
        return;
    }
    // A stream that is a link to a failing disk is left out of the list; the others remain.
    let Some(fault) = Fault::begin(&served, &base, &["?newfstatat,?statx,?fstatat64:error=EIO"]) else {
        return;
    };
    assert_eq!(answer(&served, "/files"), (200, "[\"s\",\"t\"]".to_owned()));
    fault.end(&served);
    assert_eq!(answer(&served, "/files").1, "[\"linked\",\"s\",\"t\"]");
    let Some(fault) = Fault::begin(&served, &base, &["getdents64:error=EIO"]) else { return };
    assert_eq!(answer(&served, "/files"), (TOLD.0, TOLD.1.to_owned()));
    assert_eq!(
        (answer(&served, "/health").0, answer(&served, "/").0, answer(&served, "/metrics").0),
        (503, 200, 200)
    );
    assert!(answer(&served, "/").1.contains("The archive cannot be read just now; "));
    assert_eq!(answer(&served, segment), (200, "ready".to_owned()));
    fault.end(&served);
    assert_eq!(answer(&served, "/health").0, 200);
    let log = log_of(served);
    for what in ["read the directory", "open the directory", "look at"] {
        assert!(
            log.contains(&format!("cannot {what} `{}", base.display())) && log.contains(CAUSE),
            "{what}: {log}"
        );
    }
}

#[test]
fn hours_are_not_cached_while_the_disk_fails() {
    let base = tempfile::tempdir().expect("a directory");
    let hour = base.path().join("s/v/2026-11-20T10");
    write_whole(&hour.join("00:00.000-2.000-full-small.ts"), b"x");
    let large = write_whole(&hour.join("00:00.000-2.000-full-large.ts"), b"xx");
    // Old enough to be cached.
    let past = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
    fs::File::open(&hour).and_then(|hour| hour.set_modified(past)).expect("a time");
    let served = Served::over(base.path(), &[]);
    wait_until("it has looked for ffmpeg", || answer(&served, "/health").0 == 200);
    let list = "/playlist/s/v.m3u8";
    let Some(fault) = Fault::begin(&served, &large, &["%%stat:error=EIO"]) else { return };
    for _ in 0..3 {
        assert_eq!(answer(&served, list), (TOLD.0, TOLD.1.to_owned()));
    }
    fault.end(&served);
    assert!(answer(&served, list).1.contains("full-large.ts"), "the larger one is the better");
}

/// Fetches with curl. Returns its exit code, the status, and the number of body bytes.
fn fetch(served: &Served, target: &str) -> (i32, u16, u64) {
    let url = format!("http://{}{target}", served.address);
    let format = "%{http_code} %{size_download}";
    let output = run("curl", &["-s", "-o", "/dev/null", "-m", "20", "-w", format, &url]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let (status, size) = said.split_once(' ').expect("two numbers");
    (
        output.status.code().expect("an exit code"),
        status.parse().expect("a status"),
        size.parse().expect("a size"),
    )
}

#[test]
fn an_unreadable_file_gives_a_500_or_an_aborted_response() {
    const LARGE: u64 = 16 * 1024 * 1024;
    let base = tempfile::tempdir().expect("a directory");
    let path =
        write_whole(&base.path().join("s/large.bin"), &vec![b'x'; usize::try_from(LARGE).expect("a size")]);
    write_whole(&base.path().join("s/a.txt"), b"ready");
    let (served, before) = at_rest(base.path(), &["--workers", "1"]);
    let target = "/segments/s/large.bin";
    // The injected failures, whether the response is a 500, and whether part of the file arrives.
    let rows: [(&[&str], bool, bool); 6] = [
        (&["?open,openat:error=EIO"], true, false),
        (&["%%stat:error=EIO"], true, false),
        (&["sendfile:error=EIO"], false, false),
        (&["sendfile:error=EIO:when=3+"], false, true),
        // A file system without sendfile.
        (&["sendfile:error=EINVAL", "pread64:error=EIO"], false, false),
        (&["sendfile:error=EINVAL", "pread64:error=EIO:when=3+"], false, true),
    ];
    for (how, answered, some) in rows {
        let Some(fault) = Fault::begin(&served, &path, how) else { return };
        let (code, status, size) = fetch(&served, target);
        if answered {
            assert_eq!((code, status), (0, 500), "{how:?}");
        } else {
            assert!(
                code != 0 && size < LARGE && (size > 0) == some,
                "{how:?}: {code}, {status}, {size} bytes"
            );
        }
        assert_eq!(answer(&served, "/segments/s/a.txt"), (200, "ready".to_owned()), "{how:?}");
        fault.end(&served);
        assert_eq!(fetch(&served, target), (0, 200, LARGE), "after {how:?}");
    }
    // After a single failure the next request succeeds.
    let Some(fault) = Fault::begin(&served, &path, &["?open,openat:error=EIO:when=1"]) else { return };
    assert_eq!(fetch(&served, target).1, 500);
    assert_eq!(fetch(&served, target), (0, 200, LARGE));
    fault.end(&served);
    wait_until("nothing is left behind", || holdings(&served.running) == before);
    let log = log_of(served);
    assert!(
        log.contains(&format!("aborted the response to `{target}`: cannot read")) && log.contains(CAUSE),
        "{log}"
    );
}

#[test]
fn an_unreadable_segment_gives_a_500_or_an_aborted_cut() {
    let base = archive();
    let (served, before) = at_rest(base.path(), &["--workers", "1", "--cut-workers", "1"]);
    let hour = base.path().join("s/v/2026-11-20T11");
    let paths = fs::read_dir(&hour).expect("the second hour").flatten().map(|entry| entry.path());
    let path = paths.min().expect("the segment in the middle");
    let target = |kind: &str| format!("/cut/s/v.ts?{RANGE}&type={kind}");
    let whole = |kind: &str| matches!(fetch(&served, &target(kind)), (0, 200, 1..));
    let cut_with_fault = |kind: &str, when: &str| {
        let how = format!("?read,?pread64,?readv,?sendfile:error=EIO{when}");
        let fault = Fault::begin(&served, &path, &[&how])?;
        let outcome = fetch(&served, &target(kind));
        fault.end(&served);
        assert!(whole(kind), "{kind} after {how}");
        Some(outcome)
    };
    let Some((code, status, _)) = cut_with_fault("rough", "") else { return };
    assert!(code != 0 && status == 200, "rough: {code}, {status}");
    for kind in ["smart", "full"] {
        let Some((code, status, _)) = cut_with_fault(kind, "") else { return };
        assert_eq!((code, status), (0, 500), "{kind}");
        // An exact cut inspects each segment before its first byte, and reads most of them again while it is sent.
        let is_aborted = (2..10).any(|number| {
            let (code, status, size) = cut_with_fault(kind, &format!(":when={number}+")).expect("strace");
            let is_error = (code, status) == (0, 500);
            assert!(
                is_error || code != 0 && status == 200,
                "{kind} {number}: {code}, {status}, {size} bytes"
            );
            !is_error
        });
        assert!(is_aborted, "{kind}");
    }
    wait_until("nothing is left behind", || holdings(&served.running) == before);
    assert!(log_of(served).contains(CAUSE));
}
