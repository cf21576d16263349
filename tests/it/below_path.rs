//! The server below a path of another site: the nginx block of `docs/install.md` in a real nginx, which rewrites nothing.

use std::fs;
use std::path::Path;

use crate::cuts::{RANGE, archive};
use crate::harness::{Answer, ask};
use crate::nginx::{Nginx, free_port, peer};
use crate::process::{Program, Served};
use crate::recording::count_packets;

/// Where the block of the documentation puts the server, and where this test does.
const PREFIXES: (&str, &str) = ("/archive", "/x/y");

/// An nginx that serves the server below a path, and its port; `None` without nginx.
fn front(served: &Served) -> Option<(Nginx, u16)> {
    let (nginx, port) = (peer("nginx")?, free_port());
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/install.md");
    let page = fs::read_to_string(page).expect("the page");
    let (_, rest) = page.split_once("```nginx\n").expect("a block");
    let (block, _) = rest.split_once("```").expect("its end");
    assert_eq!(block.matches(PREFIXES.0).count(), 3, "{block}");
    let block = block.replace(PREFIXES.0, PREFIXES.1).replace("127.0.0.1:8000", &served.address.to_string());
    let config = format!("server {{ listen 127.0.0.1:{port}; location / {{ return 404; }}\n{block} }}");
    let directory = tempfile::tempdir().expect("a directory");
    Some((Nginx::start(&nginx, directory, &config, port), port))
}

/// The target of a reference in the playlist at `target` (RFC 3986, section 5.2).
fn resolve(target: &str, reference: &str) -> String {
    let path = target.split('?').next().unwrap_or_default();
    let (directory, _) = path.rsplit_once('/').expect("a path");
    let mut names: Vec<_> = directory.split('/').collect();
    let mut rest = reference;
    while let Some(next) = rest.strip_prefix("../") {
        names.pop().expect("a directory");
        rest = next;
    }
    format!("{}/{rest}", names.join("/"))
}

/// The targets of a playlist's references.
fn references(target: &str, playlist: &Answer) -> Vec<String> {
    assert_eq!(playlist.status, 200, "{target}: {playlist:?}");
    let text = playlist.text();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let targets: Vec<_> = lines.map(|line| resolve(target, line)).collect();
    assert!(!targets.is_empty(), "{text}");
    targets
}

#[test]
fn the_server_works_below_a_path_of_nginx() {
    let base = archive();
    // A name that is not the same when it has been decoded and encoded again.
    let odd = "a%2F:b;c+d é";
    let odd_path = "a%252F%3Ab%3Bc%2Bd%20%C3%A9";
    fs::create_dir(base.path().join(odd)).expect("a stream");
    std::os::unix::fs::symlink(base.path().join("s/v"), base.path().join(odd).join("v")).expect("a link");
    let served = Served::over(base.path(), &[]);
    let Some((_front, port)) = front(&served) else { return };
    let address = ([127, 0, 0, 1], port).into();
    let get = |target: &str| ask(address, "GET", target, &[]);
    let below = |target: &str| format!("{}{target}", PREFIXES.1);
    for stream in ["s", odd_path] {
        // The epoch is that of 2026-11-20T10:59:57.
        let names = [
            format!("/playlist/{stream}/v.m3u8?{RANGE}"),
            format!("/playlist/{stream}/v.m3u8?start=-1h"),
            format!("/playlist/{stream}/v/archive-1795172397-10.m3u8"),
            format!("/playlist/{stream}/v/timeshift_abs-1795172397.m3u8"),
        ];
        for name in names.map(|name| below(&name)) {
            for segment in references(&name, &get(&name)) {
                let answer = get(&segment);
                let size = answer.body.len();
                assert_eq!((answer.status, size % 188, size > 0), (200, 0, true), "{name}: {segment}");
            }
        }
        for query in [RANGE, "start=-1h"] {
            let multivariant = below(&format!("/playlist/{stream}.m3u8?{query}"));
            for media in references(&multivariant, &get(&multivariant)) {
                assert!(media.starts_with(&below(&format!("/playlist/{stream}/v.m3u8?"))), "{media}");
                assert!(!references(&media, &get(&media)).is_empty());
            }
        }
        let ago = below(&format!("/playlist/{stream}/v/timeshift_rel-60.m3u8"));
        let redirect = get(&ago);
        assert_eq!(redirect.status, 302, "{redirect:?}");
        let location = resolve(&ago, redirect.header("location"));
        assert!(location.starts_with(&below(&format!("/playlist/{stream}/v/timeshift_abs-"))), "{location}");
        assert_eq!(get(&location).status, 200, "{location}");
        for kind in ["rough", "smart", "full"] {
            let target = below(&format!("/cut/{stream}/v.ts?{RANGE}&type={kind}"));
            let cut = get(&target);
            assert_eq!((cut.status, cut.whole, cut.body.len() % 188), (200, true, 0), "{target}");
        }
        assert_eq!(get(&below(&format!("/files/{stream}"))).text(), "[\"v\"]");
    }
    // A player finds everything.
    let played = format!("http://{address}{}", below(&format!("/playlist/{odd_path}.m3u8?{RANGE}")));
    assert!(count_packets(&played).get("video").is_some_and(|count| *count >= 7 * 25));
    // Absolute addresses are those of nginx.
    let own = format!("http://127.0.0.1:{port}{}", PREFIXES.1);
    let text = Program::new("curl").args(["-s", &format!("{own}/channels.m3u")]).run().stdout;
    let addresses: Vec<_> = text.match_indices("http").map(|(at, _)| &text[at..]).collect();
    assert!(!addresses.is_empty() && addresses.iter().all(|address| address.starts_with(&own)), "{text}");
    let channel = text.lines().find(|line| line.starts_with(&own)).expect("an address");
    let channel = channel.strip_prefix(&format!("http://127.0.0.1:{port}")).expect("its target");
    assert_eq!(get(channel).status, 200, "{channel}");
    for outside in ["/playlist/s.m3u8", "/x/files", "/x/y/../files"] {
        assert_eq!(get(outside).status, 404, "{outside}");
    }
}
