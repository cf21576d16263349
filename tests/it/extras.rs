//! `/extras`: which files it lists, in which order, that each of them can be fetched, and its bounds.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use crate::footage::run;
use crate::harness::{Site, ask};

/// The list of a directory.
fn extras(site: &Site, directory: &str) -> Vec<String> {
    let answer = site.get(&format!("/extras/{directory}"));
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"), "{answer:?}");
    serde_json::from_slice(&answer.body).expect("JSON")
}

/// A path of a URL, with the characters encoded that a client encodes.
fn encoded(path: &str) -> String {
    path.replace('%', "%25").replace(' ', "%20").replace('?', "%3F").replace('#', "%23").replace('\n', "%0A")
}

#[test]
fn every_file_below_a_directory_is_listed_and_can_be_fetched_by_its_path() {
    let site = Site::at("2026-11-22T00:00:00");
    let files =
        ["a.json", "a/b.png", "a/c/d", "a/c/50% #1?.txt", "a.b/e.html", "é/\n.gif", "emotes/25/dark-1.0"];
    for file in files {
        site.write(&format!("media/{file}"), file.as_bytes());
    }
    let media = site.archive.path().join("media");
    for hidden in [".x", ".d/x", "a/.x", "back\\slash", "a/back\\slash/x"] {
        site.write(&format!("media/{hidden}"), b"");
    }
    site.write("other/x.txt", b"x");
    symlink(media.join("a.json"), media.join("link")).expect("a link");
    symlink("../other", media.join("linked")).expect("a link");
    // None of these is a file, nor a directory beside those above.
    for (target, name) in [("/nowhere", "broken"), ("loop", "loop"), ("..", "a/up"), ("/dev/null", "null")] {
        symlink(target, media.join(name)).expect("a link");
    }
    fs::create_dir(media.join("empty")).expect("a directory");
    assert!(run("mkfifo", &[&media.join("pipe").to_string_lossy()]).status.success());

    let mut expected: Vec<_> = files.iter().copied().chain(["link", "linked/x.txt"]).collect();
    expected.sort_unstable();
    assert_eq!(extras(&site, "media"), expected);
    for path in expected {
        let answer = site.get(&format!("/segments/media/{}", encoded(path)));
        let text = match path {
            "link" => "a.json",
            "linked/x.txt" => "x",
            path => path,
        };
        assert_eq!((answer.status, answer.text().as_str()), (200, text), "{path}");
    }
    for nothing in ["media.none", "a", "media%00"] {
        let answer = site.get(&format!("/extras/{nothing}"));
        let expected = if nothing.contains('%') { 400 } else { 200 };
        assert!(answer.status == expected && (expected == 400 || answer.text() == "[]"), "{answer:?}");
    }
    for hidden in [".media", "..", "%2e%2e"] {
        let answer = site.get(&format!("/extras/{hidden}"));
        let text = "Bad dir: May not start with a period\n";
        assert_eq!((answer.status, answer.text().as_str()), (403, text), "{hidden}");
    }
    let etag = site.get("/extras/media").header("etag").to_owned();
    assert_eq!(ask(site.address, "GET", "/extras/media", &[("If-None-Match", &etag)]).status, 304);
    site.write("media/new", b"");
    assert_eq!(ask(site.address, "GET", "/extras/media", &[("If-None-Match", &etag)]).status, 200);
}

#[test]
fn extras_have_limits_and_lead_in_no_circle() {
    let site = Site::at("2026-11-22T00:00:00");
    let base = site.archive.path();
    fs::create_dir_all(base.join("many/files")).expect("a directory");
    for number in 0..1000 {
        fs::write(base.join(format!("many/files/{number}")), b"").expect("a file");
    }
    for number in 0..99 {
        symlink("files", base.join(format!("many/link{number}"))).expect("a link");
    }
    assert_eq!(extras(&site, "many").len(), 100_000);
    fs::write(base.join("many/one"), b"").expect("a file");
    let answer = site.get("/extras/many");
    assert!(answer.status == 413 && answer.text().contains("more than 100000 files"), "{answer:?}");

    // Each directory has two links to the next: a million ways to the last one.
    for number in 0..20 {
        fs::create_dir_all(base.join(format!("ways/{number:02}"))).expect("a directory");
        for name in ["a", "b"] {
            let next = format!("../{:02}", number + 1);
            symlink(next, base.join(format!("ways/{number:02}/{name}"))).expect("a link");
        }
    }
    assert_eq!(site.get("/extras/ways").status, 413);

    fs::create_dir(base.join("many/locked")).expect("a directory");
    fs::remove_file(base.join("many/one")).expect("a file");
    fs::set_permissions(base.join("many/locked"), fs::Permissions::from_mode(0o000)).expect("permissions");
    // Root may read everything.
    let is_root = fs::read_dir(base.join("many/locked")).is_ok();
    assert_eq!(site.get("/extras/many").status, if is_root { 200 } else { 500 });
}
