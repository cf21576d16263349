//! What a browser loads of the web page, without a browser: addresses, headers, sizes.

use std::collections::BTreeSet;

use crate::harness::{Answer, Site, ask};

const BROWSER: (&str, &str) =
    ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8");
const GZIP: (&str, &str) = ("Accept-Encoding", "gzip, deflate, br");

/// The most that all of the page may take on the wire.
const MOST_BYTES: usize = 80_000;

fn site() -> Site {
    Site::at("2026-11-20T11:30:00")
}

/// Files that a text of the page names, below `/`.
fn references(text: &str) -> BTreeSet<String> {
    let quoted = text.split(['"', '\'']).skip(1).step_by(2);
    quoted.filter(|name| name.starts_with("page/")).map(|name| format!("/{name}")).collect()
}

/// The page, and all files that it names.
fn files(site: &Site, headers: &[(&str, &str)]) -> Vec<(String, Answer)> {
    let html = ask(site.address, "GET", "/", &[BROWSER]).text();
    let mut all = vec![("/".to_owned(), ask(site.address, "GET", "/", &[&[BROWSER], headers].concat()))];
    for target in references(&html) {
        let answer = ask(site.address, "GET", &target, headers);
        all.push((target, answer));
    }
    all
}

#[test]
fn browsers_get_a_page_and_other_clients_a_text() {
    let site = site();
    let page = ask(site.address, "GET", "/", &[BROWSER]);
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(page.text().starts_with("<!doctype html>"));
    assert_eq!(page.header("cache-control"), "no-cache");
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'; "), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
    let again = ask(site.address, "GET", "/", &[BROWSER, ("If-None-Match", page.header("etag"))]);
    assert_eq!((again.status, again.body.len()), (304, 0));
    assert_eq!(again.header("content-security-policy"), policy);
    for headers in [&[][..], &[("Accept", "*/*")], &[("Accept", "text/plain")]] {
        let text = ask(site.address, "GET", "/", headers);
        assert_eq!(text.header("content-type"), "text/plain; charset=utf-8", "{headers:?}");
        assert_eq!(text.header("vary"), page.header("vary"));
    }
    assert_eq!(page.header("vary"), "Accept, Accept-Encoding");
}

#[test]
fn the_files_of_the_page_are_compressed_and_cached_for_ever() {
    let site = site();
    let packed = files(&site, &[GZIP]);
    let total: usize = packed.iter().map(|(_, answer)| answer.body.len()).sum();
    assert!(total < MOST_BYTES, "the page takes {total} bytes");
    let types = [
        "text/html; charset=utf-8",
        "text/css; charset=utf-8",
        "text/javascript; charset=utf-8",
        "image/svg+xml",
    ];
    let found: BTreeSet<_> = packed.iter().map(|(_, answer)| answer.header("content-type")).collect();
    assert_eq!(found, BTreeSet::from(types));
    for ((target, packed), (_, plain)) in packed.iter().zip(&files(&site, &[])) {
        assert_eq!((packed.status, plain.status), (200, 200), "{target}");
        assert_eq!(
            (packed.header("content-encoding"), plain.header("content-encoding")),
            ("gzip", ""),
            "{target}"
        );
        assert_eq!(packed.header("x-content-type-options"), "nosniff", "{target}");
        if target != "/" {
            assert_eq!(packed.header("cache-control"), "public, max-age=31536000, immutable", "{target}");
            assert_eq!(packed.header("vary"), "Accept-Encoding", "{target}");
        }
    }
    for target in ["/page/0123456789abcdef/main.js", "/page/x", "/page/x/y/z"] {
        assert_eq!(site.get(target).status, 404, "{target}");
    }
    let (main, _) = packed.iter().find(|(target, _)| target.ends_with("/main.js")).expect("its script");
    for name in ["index.html", "style.css.gz", "nothing"] {
        assert_eq!(site.get(&main.replace("main.js", name)).status, 404, "{name}");
    }
}

#[test]
fn every_address_in_the_page_is_relative() {
    let modules: BTreeSet<String> = files(&site(), &[])
        .into_iter()
        .map(|(target, answer)| {
            let text = answer.text().replace("http://www.w3.org/2000/svg", "").replace("'/'", "");
            for absolute in ["=\"/", "='/", "('/", "(\"/", "`/", "http:", "https:", "url(/", "//cdn"] {
                assert!(!text.contains(absolute), "{target} contains {absolute}");
            }
            for inline in
                ["<script>", "<style>", " style=\"", " onclick=", "javascript:", "eval(", "innerHTML"]
            {
                assert!(!text.contains(inline), "{target} contains {inline}");
            }
            target.rsplit('/').next().unwrap_or_default().to_owned()
        })
        .collect();
    // Each module is named by the page, so that all are loaded at once.
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/src/page");
    for entry in std::fs::read_dir(directory).expect("the page's files") {
        let name = entry.expect("a file").file_name().into_string().expect("a name");
        assert!(name == "index.html" || modules.contains(&name), "the page does not name {name}");
    }
}
