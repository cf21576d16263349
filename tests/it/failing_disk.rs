//! What befalls a server whose disk fails. `strace` lets system calls of the running server that are about a certain path
//! fail with EIO, as a broken disk does, and then lets go of it: what the server cannot read is an error that says so, the
//! rest goes on, and nothing is left of it afterwards.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::cuts::{RANGE, archive, at_rest, holdings};
use crate::footage::run;
use crate::harness::{ask, wait_until, write_whole};
use crate::process::{Program, Running, Served, find, say, setting};

/// What the log says of such a failure.
const CAUSE: &str = "Input/output error (os error 5)";

/// What a client is told of it.
const TOLD: (u16, &str) = (500, "the archive cannot be read just now\n");

/// A server's system calls fail while this lasts.
struct Fault(Running);

impl Fault {
    /// Lets system calls about `path` fail as each of `how` says (`-e inject` of strace). `None`, with the reason said,
    /// where that cannot be done here.
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

    /// Lets go of the server.
    fn end(self, served: &Served) {
        self.0.signal(Signal::INT);
        self.0.wait();
        wait_until("nobody traces the server", || traced(served).into_iter().all(|traced| !traced));
    }
}

/// Of each thread of a server whether somebody traces it.
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

/// Stops a server; its log.
fn log_of(served: Served) -> String {
    served.running.signal(Signal::TERM);
    let output = served.running.wait();
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    output.stderr
}

/// Lets each of `rows` fail in turn: system calls about a path, the targets that cannot be answered meanwhile. All others,
/// and afterwards all, are answered as before. `false` where nothing can be made to fail here.
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
fn a_directory_that_cannot_be_read_is_an_error_until_it_can() {
    let place = tempfile::tempdir().expect("a directory");
    let base = place.path().join("base");
    for path in
        ["s/v/2026-11-20T10", "s/v/2026-11-20T11", "s/other/2026-11-20T10", "s/empty/x", "t/v/2026-11-20T10"]
    {
        write_whole(&base.join(path).join("00:00.000-2.000-full-x.ts"), b"ready");
    }
    // An hour, and a stream, that lie on another disk.
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
        // What the link to the third hour leads to.
        ("?newfstatat,?statx,?fstatat64", variant, &[hours, list, cut, variants]),
        ("%%stat", base.join("s/empty"), &[empty, variants]),
        ("%%stat", base.join("s"), &[variants]),
    ];
    if !check_failures(&served, &targets, &rows) {
        return;
    }
    // A link among streams that leads nowhere just now takes no other from the list.
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
fn an_hour_is_not_remembered_as_it_looked_while_the_disk_failed() {
    let base = tempfile::tempdir().expect("a directory");
    let hour = base.path().join("s/v/2026-11-20T10");
    write_whole(&hour.join("00:00.000-2.000-full-small.ts"), b"x");
    let large = write_whole(&hour.join("00:00.000-2.000-full-large.ts"), b"xx");
    // Old enough to be remembered.
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

/// Fetches with curl: its exit code, the status, and how many bytes of body came.
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
fn a_file_that_cannot_be_read_is_an_error_or_ends_so_that_the_client_can_tell() {
    const LARGE: u64 = 16 * 1024 * 1024;
    let base = tempfile::tempdir().expect("a directory");
    let path =
        write_whole(&base.path().join("s/large.bin"), &vec![b'x'; usize::try_from(LARGE).expect("a size")]);
    write_whole(&base.path().join("s/a.txt"), b"ready");
    let (served, before) = at_rest(base.path(), &["--workers", "1"]);
    let target = "/segments/s/large.bin";
    // What fails, whether it is an answer of its own, whether some of the file comes.
    let rows: [(&[&str], bool, bool); 6] = [
        (&["?open,openat:error=EIO"], true, false),
        (&["%%stat:error=EIO"], true, false),
        (&["sendfile:error=EIO"], false, false),
        (&["sendfile:error=EIO:when=3+"], false, true),
        // A file system that knows no sendfile.
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
    // One failure is one failure.
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
fn a_segment_that_cannot_be_read_fails_a_cut_so_that_the_client_can_tell() {
    let base = archive();
    let (served, before) = at_rest(base.path(), &["--workers", "1", "--cut-workers", "1"]);
    let hour = base.path().join("s/v/2026-11-20T11");
    let paths = fs::read_dir(&hour).expect("the second hour").flatten().map(|entry| entry.path());
    let path = paths.min().expect("the segment in the middle");
    let target = |kind: &str| format!("/cut/s/v.ts?{RANGE}&type={kind}");
    let whole = |kind: &str| matches!(fetch(&served, &target(kind)), (0, 200, 1..));
    // An exact cut looks at each segment before it begins, and reads most of them on its way.
    for (kind, when, answered) in [
        ("rough", "", false),
        ("smart", "", true),
        ("smart", ":when=2+", false),
        ("full", "", true),
        ("full", ":when=2+", false),
    ] {
        let how = format!("?read,?pread64,?readv,?sendfile:error=EIO{when}");
        let Some(fault) = Fault::begin(&served, &path, &[&how]) else { return };
        let (code, status, size) = fetch(&served, &target(kind));
        if answered {
            assert_eq!((code, status), (0, 500), "{kind}{when}");
        } else {
            assert!(code != 0 && status == 200, "{kind}{when}: {code}, {status}, {size} bytes");
        }
        fault.end(&served);
        assert!(whole(kind), "{kind} after {how}");
    }
    wait_until("nothing is left behind", || holdings(&served.running) == before);
    assert!(log_of(served).contains(CAUSE));
}
