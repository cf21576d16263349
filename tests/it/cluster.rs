//! The configuration of several servers in `scripts/deploy/cluster`. `scripts/cluster` runs it under load.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cuts::{RANGE, archive, fake};
use crate::harness::{ask, connect, exchange, wait_until, write_whole};
use crate::nginx::{FULL, NOT_ROUGH, Nginx, ROUGH, free_port, peer};
use crate::process::{Program, Running, Served};

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/deploy/cluster").join(name)
}

#[test]
fn haproxy_and_nginx_accept_their_configurations() {
    if let Some(haproxy) = peer("haproxy") {
        let checked =
            Program::new(haproxy).args([Path::new("-c"), Path::new("-f"), &deploy("haproxy.cfg")]).run();
        // Warnings would appear on stderr.
        assert_eq!((checked.code, checked.stderr.as_str()), (Some(0), ""), "{checked:?}");
    }
    let Some(nginx) = peer("nginx") else { return };
    let (directory, port) = (tempfile::tempdir().expect("a directory"), free_port());
    let cache = directory.path().join("cache-");
    let config = fs::read_to_string(deploy("nginx.conf")).expect("the configuration");
    let config = config
        .replace("127.0.0.1:8088", &format!("127.0.0.1:{port}"))
        .replace("127.0.0.1:8080", &format!("127.0.0.1:{}", free_port()))
        .replace("/var/cache/nginx-restreamer-", &cache.display().to_string());
    let _nginx = Nginx::start(&nginx, directory, &config, port);
    // Over HTTP/1.0 only rough cuts are forwarded. There is no server behind this nginx.
    let status = |query: &str| {
        let request = format!("GET /cut/s/v.ts?{query} HTTP/1.0\r\nHost: a\r\n\r\n");
        exchange(([127, 0, 0, 1], port).into(), request.as_bytes(), &[])[0].status
    };
    for query in NOT_ROUGH {
        assert_eq!(status(query), 505, "{query}");
    }
    for query in ROUGH {
        assert_eq!(status(query), 502, "{query}");
    }
}

/// Starts `HAProxy` in front of three servers, with its configuration in `directory`. Returns its port too.
fn haproxy(servers: &[Served; 3], directory: &Path) -> Option<(Running, u16)> {
    let (haproxy, port) = (peer("haproxy")?, free_port());
    let mut config = fs::read_to_string(deploy("haproxy.cfg")).expect("the configuration");
    for (number, served) in (1..).zip(servers) {
        config = config.replace(&format!("127.0.0.1:800{number}"), &served.address.to_string());
    }
    let path = directory.join("haproxy.cfg");
    // Responses tell which backend the request went to. A busy machine must not make servers look dead.
    for (old, new) in [
        ("X-Served-By %s", "X-Served-By %b"),
        ("check inter 1s fastinter 500ms downinter 1s", "check inter 1h fastinter 1h downinter 1h"),
        ("timeout connect 1s", "timeout connect 20s"),
    ] {
        assert!(config.contains(old), "`{old}`");
        config = config.replace(old, new);
    }
    fs::write(&path, config.replace("127.0.0.1:8080", &format!("127.0.0.1:{port}")))
        .expect("its configuration");
    let running = Program::new(haproxy).args([Path::new("-db"), Path::new("-f"), &path]).start();
    wait_until("HAProxy listens", || {
        assert!(!running.has_ended(), "HAProxy has exited");
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    Some((running, port))
}

#[test]
fn cuts_are_queued_by_haproxy_and_those_of_closed_connections_are_dropped() {
    let base = archive();
    let dir = tempfile::tempdir().expect("a directory");
    // This ffmpeg never exits by itself.
    let ffmpeg = fake(dir.path(), "ffmpeg-stalls");
    let servers = [(); 3].map(|()| Served::over(base.path(), &["--ffmpeg", &ffmpeg, "--cut-workers", "2"]));
    let Some((_haproxy, port)) = haproxy(&servers, dir.path()) else { return };
    let pools = |name: &str| {
        let line = format!("pool_{name}{{pool=\"cut\"}} ");
        let count = |served: &Served| {
            let page = ask(served.address, "GET", "/metrics", &[]).text();
            let found = page.lines().find_map(|found| found.strip_prefix(&line)?.parse::<usize>().ok());
            found.expect("a count")
        };
        servers.each_ref().map(count)
    };
    let frontend = SocketAddr::from(([127, 0, 0, 1], port));
    let request = format!("GET /cut/s/v.ts?{RANGE}&type=full HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut clients: Vec<TcpStream> = (0..10).map(|_| connect(frontend)).collect();
    for client in &mut clients {
        client.write_all(request.as_bytes()).expect("send a request");
    }
    wait_until("each server makes two cuts", || pools("busy_workers") == [2, 2, 2]);
    assert_eq!(pools("queue_length"), [0, 0, 0], "the others wait in HAProxy");
    let rough = ask(frontend, "GET", &format!("/cut/s/v.ts?{RANGE}&type=rough"), &[]);
    assert!(rough.status == 200 && rough.whole, "rough cuts need no worker for exact cuts");
    drop(clients);
    wait_until("all have ended", || pools("busy_workers") == [0, 0, 0]);
}

#[test]
fn haproxy_limits_every_cut_that_the_server_may_take_for_an_exact_one() {
    let (base, dir) = (archive(), tempfile::tempdir().expect("a directory"));
    let servers = [(); 3].map(|()| Served::over(base.path(), &[]));
    let Some((_haproxy, port)) = haproxy(&servers, dir.path()) else { return };
    let backend = |target: &str| {
        let answer = ask(([127, 0, 0, 1], port).into(), "GET", target, &[]);
        (answer.status, answer.header("x-served-by").to_owned())
    };
    // The server refuses every cut whose range is empty.
    let empty = "start=2026-11-20T11&end=2026-11-20T10";
    for path in ["/cut/s/v.ts", "http://test/cut/s/v.ts", "/cut/s/v.mp4", "/cut/s/%76.ts"] {
        let is_movie = path.ends_with("mp4");
        let rows = NOT_ROUGH
            .map(|query| (query, if is_movie && !FULL.contains(&query) { "movies" } else { "cuts" }));
        let rough = ROUGH.map(|query| (query, if is_movie { "movies" } else { "files" }));
        for (query, expected) in rows.into_iter().chain(rough) {
            assert_eq!(
                backend(&format!("{path}?{query}&{empty}")),
                (400, expected.to_owned()),
                "{path}?{query}"
            );
        }
        let usual = if is_movie { "movies" } else { "cuts" };
        assert_eq!(backend(&format!("{path}?{empty}")).1, usual, "{path}");
    }
    // Paths that HAProxy does not take for cuts are none for the server either.
    for path in ["//cut/s/v.ts", "/%63ut/s/v.ts", "/Cut/s/v.ts", "/./cut/s/v.ts", "/cut"] {
        assert_eq!(backend(&format!("{path}?{RANGE}")), (404, "lists".to_owned()), "{path}");
    }
}

#[test]
fn a_copy_by_rsync_has_the_playable_files_and_the_same_etags() {
    if peer("rsync").is_none() {
        return;
    }
    let place = tempfile::tempdir().expect("a directory");
    let (from, to) = (place.path().join("from"), place.path().join("to"));
    let hour = from.join("s/v/2026-11-20T10");
    for name in [
        "00:00.000-2.000-full-a.ts",
        "00:02.000-2.000-suspect-b.ts",
        "00:04.000-2.000-temp-c.ts",
        ".00:06.000-2.000-full-d.ts",
        "00:02.000-2.000-suspect-b.ts.tombstone",
    ] {
        write_whole(&hour.join(name), name.as_bytes());
    }
    // The copy of a directory does not take over the modification time of the original.
    let time_of = |path: &Path| fs::metadata(path).and_then(|of| of.modified()).expect("a time");
    let old = time_of(&hour) - Duration::from_secs(1000);
    fs::File::open(&hour).and_then(|directory| directory.set_modified(old)).expect("a time");
    let copy = |options: &[&str]| {
        let program = Program::new(deploy("sync-archive")).args(options).args([&from, &to]);
        let done = program.run();
        assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{done:?}");
    };
    copy(&["--once"]);
    let there = to.join("s/v/2026-11-20T10");
    let names = || {
        let entries = fs::read_dir(&there).expect("the hour").flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name().display().to_string()).collect();
        names.sort();
        names
    };
    let kept = [
        "00:00.000-2.000-full-a.ts",
        "00:02.000-2.000-suspect-b.ts",
        "00:02.000-2.000-suspect-b.ts.tombstone",
    ];
    assert_eq!(names(), kept);
    assert!(time_of(&there) > old + Duration::from_secs(900));

    let tags = [&from, &to].map(|base| {
        let served = Served::over(base, &[]);
        [
            "/playlist/s/v.m3u8?start=2026-11-20T10&end=2026-11-20T11",
            "/segments/s/v/2026-11-20T10/00:02.000-2.000-suspect-b.ts",
        ]
        .map(|target| ask(served.address, "GET", target, &[]).header("etag").to_owned())
    });
    assert_eq!(tags[0], tags[1]);
    assert!(tags[0].iter().all(|tag| tag.len() > 5), "{tags:?}");

    fs::remove_file(hour.join(kept[2])).expect("remove the tombstone");
    copy(&["--once"]);
    assert_eq!(names().len(), 3, "nothing is deleted without --delete");
    copy(&["--once", "--delete"]);
    assert_eq!(names(), kept[..2]);
}
