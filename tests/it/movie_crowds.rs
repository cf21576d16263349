//! Movies for many clients at once, while what they are made from leaves the caches or the archive.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;

use crate::abuse::status_of;
use crate::cuts::{RANGE, archive, at_rest, fake, file, holdings};
use crate::footage::{self, FootageKind, PLAIN};
use crate::harness::{Answer, ask, connect, take_apart, wait_until, write_whole};
use crate::movie_requests::{FLAT, metric, part, segments, target};
use crate::process::{Served, is_long_run};

/// Numbers that look random, the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % limit
    }
}

/// What was sent under each entity tag. Bytes of one tag must never differ.
#[derive(Default)]
struct Seen(Mutex<BTreeMap<String, Vec<Option<u8>>>>);

impl Seen {
    fn add(&self, answer: &Answer) {
        let range = answer.header("content-range").strip_prefix("bytes ").unwrap_or_default();
        let (first, len) = match range.split_once('-').zip(range.rsplit_once('/')) {
            Some(((first, _), (_, len))) => {
                (first.parse().expect("a number"), len.parse().expect("a number"))
            }
            None => (0, answer.body.len()),
        };
        let mut tags = self.0.lock().expect("no panic");
        let bytes = tags.entry(answer.header("etag").to_owned()).or_insert_with(|| vec![None; len]);
        assert_eq!(bytes.len(), len, "one length for {}", answer.header("etag"));
        for (known, byte) in bytes[first..].iter_mut().zip(&answer.body) {
            assert_eq!(*known.get_or_insert(*byte), *byte, "two answers under {}", answer.header("etag"));
        }
    }

    fn tags(&self) -> usize {
        self.0.lock().expect("no panic").len()
    }
}

/// Lets clients ask for random ranges at once. The one who resumes has `If-Range`, the other has not.
fn ask_in_turns(address: SocketAddr, query: &str, rounds: usize) -> Seen {
    let seen = Seen::default();
    let whole = ask(address, "GET", &target(query), &[]);
    seen.add(&whole);
    let len = whole.body.len();
    thread::scope(|scope| {
        for client in 0..2 {
            let (seen, mut etag) = (&seen, whole.header("etag").to_owned());
            scope.spawn(move || {
                let mut numbers = Numbers(client);
                for _ in 0..rounds {
                    let first = numbers.below(len);
                    let range = format!("bytes={first}-{}", first + numbers.below(len - first));
                    let mut headers = vec![("Range", &*range)];
                    if client == 0 {
                        headers.push(("If-Range", &*etag));
                    }
                    let answer = ask(address, "GET", &target(query), &headers);
                    assert!(answer.whole);
                    if answer.status == 416 {
                        // Another movie may be shorter.
                        continue;
                    }
                    let is_part = client == 1 || answer.header("etag") == etag;
                    assert_eq!(answer.status, if is_part { 206 } else { 200 }, "{range}");
                    seen.add(&answer);
                    answer.header("etag").clone_into(&mut etag);
                }
            });
        }
    });
    seen
}

#[test]
fn ranges_for_two_clients_are_of_one_movie_whatever_leaves_the_caches() {
    let base = archive();
    for (movie_bytes, encoded_bytes) in
        [("33554432", "67108864"), ("33554432", "0"), ("0", "67108864"), ("0", "0")]
    {
        let options = ["--movie-cache-bytes", movie_bytes, "--cut-cache-bytes", encoded_bytes];
        let served = Served::over(base.path(), &options);
        for kind in FLAT {
            let seen = ask_in_turns(
                served.address,
                &format!("{RANGE}&type={kind}"),
                if is_long_run() { 6 } else { 3 },
            );
            assert_eq!(seen.tags(), 1, "{kind} {options:?}: what is made again is the same");
        }
    }
}

/// An ffmpeg that never encodes the same pictures to the same bytes.
fn moody_ffmpeg(dir: &Path) -> String {
    let path = dir.join("ffmpeg-moody");
    let script = "#!/bin/bash\necho >> \"$0.runs\"\nquality=$((4 + $(wc -l < \"$0.runs\") % 15))\n\
                  exec ffmpeg \"${@/#18/$quality}\"\n";
    fs::write(&path, script).expect("a program");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
    path.display().to_string()
}

#[test]
fn ends_that_are_encoded_to_other_bytes_give_another_entity_tag() {
    let (base, dir) = (archive(), tempfile::tempdir().expect("a directory"));
    let ffmpeg = moody_ffmpeg(dir.path());
    for movie_bytes in ["33554432", "0"] {
        let options = [
            "--ffmpeg",
            &ffmpeg,
            "--cut-cache-bytes",
            "0",
            "--movie-cache-bytes",
            movie_bytes,
            "--cut-workers",
            "2",
        ];
        let served = Served::over(base.path(), &options);
        let seen = ask_in_turns(served.address, RANGE, if is_long_run() { 12 } else { 4 });
        assert!(seen.tags() > 1, "the ends were never encoded again");
    }
}

#[test]
fn clients_that_ask_for_the_same_movie_at_once_share_one_build() {
    let (base, dir) = (archive(), tempfile::tempdir().expect("a directory"));
    // This ffmpeg takes a moment, so that all clients wait.
    let options = ["--ffmpeg", &fake(dir.path(), "ffmpeg-slow"), "--cut-workers", "8"];
    let served = Served::over(base.path(), &options);
    let address = served.address;
    let encoded = || metric(served.address, "ffmpeg_exits_total{result=\"ok\"}");
    assert_eq!(ask(served.address, "HEAD", &target(RANGE), &[]).status, 200);
    let before = encoded();
    let bodies: Vec<_> = thread::scope(|scope| {
        let clients: Vec<_> =
            (0..6).map(|number| scope.spawn(move || part(address, RANGE, number, 200_000))).collect();
        clients.into_iter().map(|client| client.join().expect("no panic")).collect()
    });
    for (number, answer) in bodies.iter().enumerate() {
        assert!(answer.body[..] == bodies[0].body[number..], "client {number}");
    }
    assert_eq!(encoded() - before, 2, "each end is encoded once");
}

#[test]
fn a_client_that_disconnects_while_its_movie_is_built_frees_its_worker() {
    let (base, dir) = (archive(), tempfile::tempdir().expect("a directory"));
    // This ffmpeg never ends by itself.
    let options = ["--ffmpeg", &fake(dir.path(), "ffmpeg-stalls"), "--cut-workers", "4"];
    let (served, before) = at_rest(base.path(), &options);
    let busy = |count: usize| metric(served.address, "pool_busy_workers{pool=\"cut\"}") == count;
    for _ in 0..3 {
        let mut clients: Vec<TcpStream> = (0..4).map(|_| begin(served.address, RANGE)).collect();
        wait_until("one builds the movie and three wait for it", || {
            busy(4) && holdings(&served.running).2 > 0
        });
        // The one that builds may be any of them: another takes over.
        while let Some(client) = clients.pop() {
            drop(client);
            let left = clients.len();
            wait_until("its worker is free", || busy(left));
        }
        wait_until("nothing is left behind", || holdings(&served.running) == before);
    }
}

fn begin(address: SocketAddr, query: &str) -> TcpStream {
    let mut stream = connect(address);
    let request = format!("GET {} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", target(query));
    stream.write_all(request.as_bytes()).expect("ask");
    stream
}

#[test]
fn a_segment_that_is_deleted_between_two_ranges_never_gives_wrong_bytes() {
    for options in [&[][..], &["--no-cache"], &["--movie-cache-bytes", "0"]] {
        let base = archive();
        let served = Served::over(base.path(), options);
        for kind in ["copy", "rough", "smart"] {
            let query = &format!("{RANGE}&type={kind}");
            let whole = ask(served.address, "GET", &target(query), &[]);
            let (etag, last) = (whole.header("etag").to_owned(), whole.body.len() - 1);
            let path = segments(base.path())[2].clone();
            let bytes = fs::read(&path).expect("a segment");
            fs::remove_file(&path).expect("delete a segment");
            for headers in [
                &[("Range", &*format!("bytes=1000-{last}"))][..],
                &[("Range", "bytes=0-1"), ("If-Range", &etag)],
            ] {
                let answer = ask(served.address, "GET", &target(query), headers);
                assert!([406, 500].contains(&answer.status), "{options:?} {kind} {headers:?}: {answer:?}");
            }
            let shorter = ask(
                served.address,
                "GET",
                &target(&format!("{query}&allow_holes=true")),
                &[("Range", "bytes=0-1"), ("If-Range", &etag)],
            );
            assert!(shorter.status == 200 && shorter.header("etag") != etag, "{kind}: {}", shorter.status);
            write_whole(&path, &bytes);
            wait_until("it is as before", || {
                let again = ask(served.address, "GET", &target(query), &[("If-None-Match", &etag)]);
                again.status == 304
            });
        }
    }
}

#[test]
fn a_segment_that_is_deleted_while_a_movie_is_sent_aborts_it() {
    let base = large_archive();
    let (served, before) = at_rest(base.path(), &[]);
    let mut stream = begin(served.address, &format!("{RANGE}&type=copy"));
    stream.read_exact(&mut [0; 1000]).expect("the beginning");
    fs::remove_file(&segments(base.path())[3]).expect("delete one of the last");
    let mut rest = Vec::new();
    assert!(stream.read_to_end(&mut rest).is_err(), "the end looks like a proper one");
    wait_until("nothing is left behind", || holdings(&served.running) == before);
}

#[test]
fn a_segment_that_arrives_late_gives_another_entity_tag() {
    let base = archive();
    let late = segments(base.path())[2].clone();
    let bytes = fs::read(&late).expect("a segment");
    fs::remove_file(&late).expect("not there yet");
    let served = Served::over(base.path(), &[]);
    for kind in FLAT {
        let query = &format!("{RANGE}&type={kind}&allow_holes=true");
        let without = ask(served.address, "GET", &target(query), &[]);
        let etag = without.header("etag").to_owned();
        write_whole(&late, &bytes);
        let resumed = [("Range", "bytes=1000-2000"), ("If-Range", &*etag)];
        let mut answer = without.clone();
        wait_until("it is in the selection", || {
            answer = ask(served.address, "GET", &target(query), &resumed);
            answer.status == 200
        });
        assert!(answer.body.len() > without.body.len() && answer.header("etag") != etag, "{kind}");
        fs::remove_file(&late).expect("delete it again");
        wait_until("it is gone", || ask(served.address, "GET", &target(query), &resumed).status == 206);
    }
}

/// An archive whose segments are larger than the buffers of two sockets.
fn large_archive() -> tempfile::TempDir {
    let codecs =
        "-vf noise=alls=100:allf=t -c:v libx264 -preset ultrafast -qp 4 -bf 0 -sc_threshold 0 -g 50 -c:a aac";
    let footage = footage::make_uneven(&FootageKind { name: "large", seconds: 10, codecs, ..PLAIN });
    let base = tempfile::tempdir().expect("a directory");
    let paths: Vec<PathBuf> = footage.segments.iter().map(|segment| file(base.path(), segment)).collect();
    let sizes: Vec<u64> = paths.iter().map(|path| fs::metadata(path).expect("a segment").len()).collect();
    assert!(sizes.iter().all(|size| *size > 3 * 1024 * 1024), "{sizes:?}");
    base
}

#[test]
fn two_hundred_clients_that_stop_reading_take_bounded_memory() {
    let base = large_archive();
    let served = Served::over(base.path(), &["--workers", "4"]);
    let query = format!("{RANGE}&type=copy");
    let whole = ask(served.address, "GET", &target(&query), &[]);
    assert_eq!((whole.status, whole.whole), (200, true));
    let before = status_of(&served.running, "VmRSS");
    let mut clients: Vec<TcpStream> = (0..200).map(|_| begin(served.address, &query)).collect();
    for client in &mut clients {
        client.peek(&mut [0]).expect("an answer");
    }
    wait_until("no worker is busy", || metric(served.address, "pool_busy_workers{pool=\"media\"}") == 0);
    let most = status_of(&served.running, "VmHWM");
    // 256 KiB each.
    assert!(most < before + 96 * 1024, "{before} KiB before, {most} KiB at most");
    let page = ask(served.address, "GET", "/metrics", &[]).text();
    assert!(!page.contains("memory_limit"), "some were aborted: {page}");
    for mut client in clients.into_iter().take(3) {
        let mut bytes = Vec::new();
        client.read_to_end(&mut bytes).expect("the rest");
        assert!(take_apart(&bytes, &[])[0].body == whole.body);
    }
}
