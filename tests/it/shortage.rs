//! A server that lacks something: descriptors, processes, permissions, disk space, or its archive.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, geteuid, getrlimit, prlimit};

use crate::abuse::status_of;
use crate::cuts;
use crate::harness::{Site, ask, connect, read_until_closed, take_apart, target_of, wait_until, write_whole};
use crate::process::{Program, RESTREAMER, Served, say};

/// The number of open descriptors of the server.
fn descriptors(served: &Served) -> usize {
    std::fs::read_dir(served.running.proc_file("fd")).expect("its descriptors").count()
}

/// Sends a request on a new connection. Returns its status, or `None` if it was closed without a response.
fn try_once(served: &Served, target: &str) -> Option<u16> {
    let mut stream = connect(served.address);
    let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    // Sending may fail, because the server may have closed the connection already.
    stream.write_all(request.as_bytes()).ok()?;
    take_apart(&read_until_closed(&mut stream), &[]).first().map(|answer| answer.status)
}

#[test]
fn a_server_short_of_descriptors_recovers_by_itself() {
    let archive = tempfile::tempdir().expect("a temporary directory");
    write_whole(&archive.path().join("s/a.txt"), b"ready");
    for most in [64, 128, 256] {
        let program = Program::new("prlimit").args([&format!("--nofile={most}"), "--", RESTREAMER]);
        let served = Served::by(program, archive.path(), &["--max-connections", "1000"]);
        wait_until("it has looked for ffmpeg", || try_once(&served, "/health") == Some(200));
        let before = descriptors(&served);
        for _ in 0..3 {
            let crowd: Vec<TcpStream> = (0..600).map(|_| connect(served.address)).collect();
            thread::sleep(Duration::from_millis(100));
            // Some of these connections are closed without a response; none hangs.
            for _ in 0..10 {
                try_once(&served, "/segments/s/a.txt");
            }
            drop(crowd);
            wait_until("all descriptors are back", || descriptors(&served) <= before);
            // Afterwards the server works as before.
            for _ in 0..20 {
                assert_eq!(try_once(&served, "/segments/s/a.txt"), Some(200), "with {most} descriptors");
            }
        }
    }
}

#[test]
fn a_file_that_grows_is_sent_in_its_original_length() {
    const LARGE: usize = 16 * 1024 * 1024;
    let site = Site::at("2026-11-22T00:00:00");
    let path = site.write("s/large.bin", &vec![b'x'; LARGE]);
    let mut stream = connect(site.address);
    let request = "GET /segments/s/large.bin HTTP/1.1\r\nHost: a\r\n\r\nGET /files HTTP/1.0\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("ask");
    let mut bytes = vec![0; 1000];
    stream.read_exact(&mut bytes).expect("the beginning");
    let mut file = fs::File::options().append(true).open(&path).expect("the file");
    file.write_all(&vec![b'y'; LARGE]).expect("let it grow");
    stream.read_to_end(&mut bytes).expect("the rest");
    let answers = take_apart(&bytes, &[]);
    assert_eq!(answers[0].body.len(), LARGE);
    assert!(answers[0].body.iter().all(|byte| *byte == b'x'), "something new was sent");
    assert_eq!(answers[1].text(), "[\"s\"]", "the connection goes on behind it");
}

#[test]
fn an_hour_with_a_hundred_thousand_files_is_served_in_little_memory() {
    let archive = tempfile::tempdir().expect("a temporary directory");
    let hour = archive.path().join("s/v/2026-11-20T10");
    fs::create_dir_all(&hour).expect("make the hour");
    for number in 0..100_000 {
        let (minute, second, fraction) = (number / 2000, number / 40 % 50, number % 40 * 25);
        let name = format!("{minute:02}:{second:02}.{fraction:03}-0.025-full-x{number}.ts");
        fs::File::create(hour.join(name)).expect("make a file");
    }
    let served = Served::over(archive.path(), &["--log-level", "warn"]);
    let names = ask(served.address, "GET", "/files/s/v/2026-11-20T10", &[]).text();
    assert_eq!(names.matches(".ts\"").count(), 100_000);
    let zipped = ask(served.address, "GET", "/files/s/v/2026-11-20T10", &[("Accept-Encoding", "gzip")]);
    assert!(zipped.whole && zipped.body.len() < names.len() / 3);
    let list = ask(served.address, "GET", "/playlist/s/v.m3u8", &[]);
    assert!(list.whole && list.text().ends_with("#EXT-X-ENDLIST\n"));
    assert_eq!(list.text().matches("#EXTINF:").count(), 100_000);
    let most = status_of(&served.running, "VmHWM");
    assert!(most < 64 * 1024, "it took {most} KiB");
}

/// A copy of the server that any user may execute.
pub(crate) fn copy_for_anybody(directory: &Path) -> std::path::PathBuf {
    let program = directory.join("restreamer");
    fs::copy(RESTREAMER, &program).expect("copy the server");
    for path in [directory, &program] {
        fs::set_permissions(path, Permissions::from_mode(0o755)).expect("let anybody in");
    }
    program
}

/// Runs the program through `by_way_of` as a user who owns no files and has no other processes.
pub(crate) fn as_nobody(program: &Path, by_way_of: &[String]) -> Program {
    let user = 20_000 + std::process::id() % 30_000;
    let who = [format!("--reuid={user}"), format!("--regid={user}"), "--clear-groups".to_owned()];
    Program::new("setpriv").args(who).args(["--pdeathsig", "KILL", "--"]).args(by_way_of).args([program])
}

#[test]
fn files_without_read_permission_give_a_500_and_the_rest_is_served() {
    if !geteuid().is_root() {
        say("shortage: needs root to become another user; skipped");
        return;
    }
    let (place, archive) = (tempfile::tempdir().expect("a place"), tempfile::tempdir().expect("an archive"));
    let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).expect("a mode");
    mode(archive.path(), 0o755);
    let good = write_whole(&archive.path().join("s/good/2026-11-20T10/00:00.000-2.000-full-x.ts"), b"ready");
    let closed = write_whole(&archive.path().join("s/closed/2026-11-20T10/00:00.000-2.000-full-x.ts"), b"x");
    let served = Served::by(as_nobody(&copy_for_anybody(place.path()), &[]), archive.path(), &["--no-cache"]);
    let range = "start=2026-11-20T10:00:00&end=2026-11-20T10:00:02";
    let [segment, names, list, cut] = [
        "/segments/s/closed/2026-11-20T10/00:00.000-2.000-full-x.ts",
        "/files/s/closed/2026-11-20T10",
        "/playlist/s/closed.m3u8",
        &format!("/cut/s/closed.ts?{range}&type=rough"),
    ];
    let hour = closed.parent().expect("an hour");
    let status = |target: &str| {
        let answer = ask(served.address, "GET", target, &[]);
        assert!(answer.status == 200 || !answer.text().contains('/'), "a path was told: {}", answer.text());
        (answer.status, answer.text().lines().count())
    };
    for (path, targets) in [
        (closed.as_path(), &[segment, cut][..]),
        (hour, &[segment, names, list, cut]),
        (hour.parent().expect("a variant"), &["/files/s/closed", list, cut]),
        (&archive.path().join("s"), &["/files/s"]),
    ] {
        let before = fs::metadata(path).expect("a mode").permissions();
        mode(path, 0o000);
        for target in targets {
            assert_eq!(status(target), (500, 1), "{target} without {}", path.display());
        }
        if path.starts_with(archive.path().join("s/closed")) {
            let good = good.strip_prefix(archive.path()).expect("below").display().to_string();
            assert_eq!(ask(served.address, "GET", &format!("/segments/{good}"), &[]).text(), "ready");
        }
        fs::set_permissions(path, before).expect("the mode it had");
        for target in targets {
            assert_eq!(ask(served.address, "GET", target, &[]).status, 200, "{target} afterwards");
        }
    }
}

#[test]
fn a_server_without_a_writable_disk_serves_every_route() {
    let archive = cuts::archive();
    // No file can grow, as on a full disk, and there is no directory for temporary files.
    let program = Program::new("prlimit").args(["--fsize=0", "--", RESTREAMER]).env("TMPDIR", "/nowhere");
    let served = Served::by(program, archive.path(), &[]);
    for target in ["/files/s/v/2026-11-20T10", "/playlist/s/v.m3u8", "/playlist/s.m3u8", "/metrics"] {
        assert_eq!(ask(served.address, "GET", target, &[]).status, 200, "{target}");
    }
    for kind in ["rough", "smart", "full"] {
        let answer = ask(served.address, "GET", &format!("/cut/s/v.ts?{}&type={kind}", cuts::RANGE), &[]);
        assert!(answer.status == 200 && answer.whole && !answer.body.is_empty(), "{kind}: {}", answer.status);
    }
}

#[test]
fn the_longest_file_names_and_control_characters_are_served() {
    let site = Site::at("2026-11-22T00:00:00");
    let begin = "00:00.000-2.000-full-";
    let long = format!("{begin}{}.ts", "h".repeat(255 - begin.len() - ".ts".len()));
    let odd = "00:02.000-2.000-full-a\nb\r\u{7f}\u{e9}\".ts";
    let variant = format!("{}\n", "v".repeat(254));
    let hour = site.archive.path().join("s").join(&variant).join("2026-11-20T10");
    // Written directly, because a temporary name would be too long.
    fs::create_dir_all(&hour).expect("an hour");
    fs::write(hour.join(&long), "long").expect("a segment");
    fs::write(hour.join(odd), "odd").expect("a segment");
    let encoded = format!("{}%0A", "v".repeat(254));
    let names = site.get(&format!("/files/s/{encoded}/2026-11-20T10")).text();
    let names: Vec<String> = serde_json::from_str(&names).expect("JSON");
    assert_eq!(names, [long.as_str(), odd]);
    let list = site.get(&format!("/playlist/s/{encoded}.m3u8")).text();
    let addresses: Vec<&str> = list.lines().filter(|line| !line.starts_with('#')).collect();
    let texts: Vec<String> = addresses.iter().map(|address| site.get(&target_of(address)).text()).collect();
    assert_eq!(texts, ["long"], "the other's name has no hash: {list}");
    let address = "00%3A02.000-2.000-full-a%0Ab%0D%7F%C3%A9%22.ts";
    assert_eq!(site.get(&format!("/segments/s/{encoded}/2026-11-20T10/{address}")).text(), "odd");
}

#[test]
fn an_archive_that_disappears_and_returns_is_served_again() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let (base, away) = (place.path().join("base"), place.path().join("away"));
    write_whole(&base.join("s/v/2026-11-20T10/00:00.000-2.000-full-x.ts"), b"ready");
    let served = Served::over(&base, &[]);
    let status = |target: &str| ask(served.address, "GET", target, &[]).status;
    let segment = "/segments/s/v/2026-11-20T10/00:00.000-2.000-full-x.ts";
    let list = "/playlist/s/v.m3u8";
    for _ in 0..3 {
        wait_until("it is well", || status("/health") == 200);
        assert_eq!([status("/files"), status(segment), status(list)], [200; 3]);
        fs::rename(&base, &away).expect("take it away");
        assert_eq!(
            [status("/health"), status("/files"), status(segment), status(list)],
            [503, 200, 404, 404]
        );
        // An empty directory takes its place, as if the disk were not mounted.
        fs::create_dir(&base).expect("an empty directory");
        assert_eq!(
            [status("/health"), status("/files"), status(segment), status(list)],
            [200, 200, 404, 404]
        );
        fs::remove_dir(&base).expect("take that away");
        fs::rename(&away, &base).expect("put it back");
    }
}

/// Asserts that a cut which needs ffmpeg is refused with 503 and `Retry-After`.
fn assert_ffmpeg_is_not_started(served: &Served) {
    for kind in ["full", "smart"] {
        let answer = ask(served.address, "GET", &format!("/cut/s/v.ts?{}&type={kind}", cuts::RANGE), &[]);
        assert_eq!((answer.status, answer.header("retry-after")), (503, "1"), "{kind}");
        assert_eq!(answer.text(), "the system cannot start ffmpeg just now\n", "{kind}");
    }
}

#[test]
fn a_server_without_descriptors_for_ffmpeg_answers_503_with_retry_after() {
    let archive = cuts::archive();
    let served = Served::over(archive.path(), &[]);
    wait_until("it has found ffmpeg", || {
        ask(served.address, "GET", "/health", &[]).text().contains("\"ffmpeg\":true")
    });
    let limit = |limit| {
        prlimit(Some(served.running.pid()), Resource::Nofile, limit).expect("another limit");
    };
    let usual = getrlimit(Resource::Nofile);
    wait_until("connections are closed", || descriptors(&served) < 50);
    // Enough descriptors for the connection and a segment, but not for three pipes.
    let most = u64::try_from(descriptors(&served)).expect("few") + 4;
    limit(Rlimit { current: Some(most), ..usual });
    assert_ffmpeg_is_not_started(&served);
    limit(usual);
    assert_eq!(try_once(&served, &format!("/cut/s/v.ts?{}&type=full", cuts::RANGE)), Some(200));
}

#[test]
fn a_server_at_its_process_limit_keeps_serving() {
    if !geteuid().is_root() {
        say("shortage: needs root to become another user; skipped");
        return;
    }
    let (place, archive) = (tempfile::tempdir().expect("a place"), cuts::archive());
    fs::set_permissions(archive.path(), Permissions::from_mode(0o755)).expect("a mode");
    let program = copy_for_anybody(place.path());
    let served = Served::by(as_nobody(&program, &[]), archive.path(), &[]);
    wait_until("it has looked for ffmpeg", || try_once(&served, "/health") == Some(200));
    let threads = status_of(&served.running, "Threads");
    drop(served);
    let limited =
        |most: u64| as_nobody(&program, &["prlimit".into(), format!("--nproc={most}:"), "--".into()]);

    // With only enough processes for its own threads it serves everything that needs no ffmpeg.
    let served = Served::by(limited(threads), archive.path(), &[]);
    wait_until("it has looked for ffmpeg", || try_once(&served, "/health") == Some(200));
    for _ in 0..3 {
        assert!(ask(served.address, "GET", "/health", &[]).text().contains("\"ffmpeg\":false"));
        assert_eq!(try_once(&served, &format!("/cut/s/v.ts?{}&type=rough", cuts::RANGE)), Some(200));
        assert_eq!(try_once(&served, "/playlist/s/v.m3u8"), Some(200));
        assert_ffmpeg_is_not_started(&served);
    }
    // The failure is not cached: ffmpeg is started as soon as the limit allows it.
    let pid = served.running.pid().as_raw_nonzero().to_string();
    let more = as_nobody(Path::new("prlimit"), &[]).args(["--pid", &pid, "--nproc=1000:"]).run();
    assert_eq!(more.code, Some(0), "{more:?}");
    assert_eq!(try_once(&served, &format!("/cut/s/v.ts?{}&type=full", cuts::RANGE)), Some(200));
    drop(served);

    // With fewer the server exits with one line on stderr.
    let options =
        ["--host", "127.0.0.1", "--port", "0", "--base-dir", archive.path().to_str().expect("a path")];
    let ended = limited(threads / 2).args(options).args(["--log-level", "warn"]).run();
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
}
