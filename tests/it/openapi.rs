//! `docs/openapi.yaml`, `docs/api.md` and the code agree: routes, labels, parameters, headers, version. The responses
//! themselves are tested by `scripts/test-api`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use restreamer::error::Error;
use restreamer::http::reply::COMMON_HEADERS;
use restreamer::http::route::{ROUTES, endpoints, find};
use restreamer::metrics::UNKNOWN_ENDPOINT;

use crate::harness::{Site, ask};

fn source(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect(path)
}

/// The paths of the document, each with its description.
fn paths(document: &str) -> Vec<(String, String)> {
    let (_, paths) = document.split_once("\npaths:\n").expect("paths");
    let (paths, _) = paths.split_once("\ncomponents:\n").expect("components");
    let parts = paths.strip_prefix("  /").expect("a path").split("\n  /");
    parts
        .map(|part| part.split_once(":\n").expect("a path"))
        .map(|(path, said)| (format!("/{path}"), said.to_owned()))
        .collect()
}

/// The query parameters that the description of a path refers to: their names, and whether they are required.
fn query_parameters(document: &str, said: &str) -> BTreeSet<(String, bool)> {
    let references = said.split("'#/components/parameters/").skip(1);
    let described = references.filter_map(|reference| {
        let (key, _) = reference.split_once('\'').expect("a reference");
        let (_, rest) = document.split_once(&format!("\n    {key}:\n      name: ")).expect(key);
        let (name, rest) = rest.split_once("\n      in: ").expect(key);
        let rest = rest.strip_prefix("query\n")?;
        Some((name.to_owned(), rest.starts_with("      required: true\n")))
    });
    described.collect()
}

/// A path of the document with a valid value for each of its parameters.
fn filled(path: &str) -> String {
    path.replace("{alias}", "archive-1795171502-now")
        .split('{')
        .map(|part| part.split_once('}').map_or(part.to_owned(), |(_, rest)| format!("a{rest}")))
        .collect()
}

#[test]
fn routes_and_documented_paths_are_the_same() {
    let document = source("docs/openapi.yaml");
    let mut found = BTreeSet::new();
    for (path, said) in paths(&document) {
        found.insert(find(&filled(&path), "").expect(&path).route.pattern);
        for method in ["get", "head", "options"] {
            assert!(said.contains(&format!("    {method}:\n")), "{path} has no {method}");
        }
    }
    assert_eq!(found, ROUTES.iter().map(|route| route.pattern).collect());
}

#[test]
fn every_operation_has_an_id_of_its_own() {
    let document = source("docs/openapi.yaml");
    let mut ids = BTreeSet::new();
    for (path, said) in paths(&document) {
        for id in said.lines().filter_map(|line| line.strip_prefix("      operationId: ")) {
            assert!(ids.insert(id.to_owned()), "{path}: {id} is the id of another operation too");
        }
    }
    assert!(ids.len() >= 3 * ROUTES.len(), "the ids were not found");
}

#[test]
fn every_route_and_its_label_are_in_the_description_of_the_api() {
    let page = source("docs/api.md");
    for route in &ROUTES {
        let shown = route.pattern.replace("...}", "}").replace('{', "<").replace('}', ">");
        assert!(page.contains(&format!("`{shown}`")), "docs/api.md does not describe {shown}");
    }
    for endpoint in endpoints().into_iter().chain([UNKNOWN_ENDPOINT]) {
        assert!(page.contains(&format!("`{endpoint}`")), "docs/api.md does not name the endpoint {endpoint}");
    }
}

#[test]
fn parameters_and_documented_parameters_are_the_same() {
    let document = source("docs/openapi.yaml");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http");
    let list = |directory: &Path| {
        let entries = fs::read_dir(directory).expect("the handlers");
        entries.map(|entry| entry.expect("an entry").path()).collect::<Vec<_>>()
    };
    let paths_of = |path: std::path::PathBuf| if path.is_dir() { list(&path) } else { vec![path] };
    let files = list(&root).into_iter().flat_map(paths_of);
    let code: String = files.map(|path| fs::read_to_string(path).expect("a handler")).collect();
    // `query.flag("tombstones")` and the like.
    let is_method = |name: &str| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let calls = code.split("query.").skip(1).filter_map(|call| call.split_once("(\""));
    let names = calls.filter(|(method, _)| is_method(method)).filter_map(|(_, rest)| rest.split_once('"'));
    let read: BTreeSet<&str> = names.map(|(name, _)| name).collect();
    assert!(read.len() > 5, "only {read:?} were found");
    let mut described = BTreeSet::new();
    for (path, said) in paths(&document) {
        let listed = query_parameters(&document, &said);
        let (target, names) = (filled(&path), listed.iter().map(|(name, _)| name.as_str()));
        let names: BTreeSet<&str> = names.collect();
        let decode = |query: &str| find(&target, query).expect("a route").handler;
        for name in &read {
            let query = format!("{name}=?&start=2026-11-20T10&end=2026-11-20T11");
            let refused =
                matches!(decode(&query), Err(Error::BadParameter { name: bad, .. }) if bad == *name);
            assert_eq!(refused, names.contains(name), "{name} of {path}");
        }
        let required = listed.iter().any(|(_, required)| *required);
        assert_eq!(matches!(decode(""), Err(Error::MissingParameter { .. })), required, "{path}");
        described.extend(listed.into_iter().map(|(name, _)| name));
    }
    assert_eq!(described.iter().map(String::as_str).collect::<BTreeSet<_>>(), read);
}

#[test]
fn every_documented_response_has_the_cors_headers() {
    let document = source("docs/openapi.yaml");
    let mut blocks = 0;
    for block in document.split(" headers:\n").skip(1).filter(|block| !block.starts_with("    AllowOrigin:"))
    {
        blocks += 1;
        let said: Vec<&str> = block.lines().take(COMMON_HEADERS.lines().count()).map(str::trim).collect();
        for (header, said) in COMMON_HEADERS.lines().zip(said) {
            let (name, value) = header.split_once(": ").expect(header);
            let (said_name, reference) = said.split_once(": {$ref: '#/components/headers/").expect(said);
            assert_eq!(said_name, name);
            let key = reference.trim_end_matches("'}");
            let (_, described) = document.split_once(&format!("\n    {key}:")).expect(key);
            let mut lines = described.split("\n    ");
            let first = lines.next().unwrap_or_default().to_owned();
            let described = first + &lines.take_while(|line| line.starts_with("  ")).collect::<String>();
            assert!(described.contains(value), "{name}: {value} in {described}");
        }
    }
    assert!(blocks > 20, "only {blocks} responses were found");
}

#[test]
fn the_document_is_served_unchanged_and_has_the_version_of_the_server() {
    let document = source("docs/openapi.yaml");
    assert!(document.starts_with("openapi: 3.1."));
    assert!(document.contains(concat!("\n  version: ", env!("CARGO_PKG_VERSION"), "\n")));
    let site = Site::at("2026-11-22T00:00:00");
    let answer = site.get("/openapi.yaml");
    assert_eq!((answer.status, answer.text()), (200, document));
    for (name, value) in
        [("content-type", "application/yaml"), ("cache-control", "max-age=3600"), ("vary", "Accept-Encoding")]
    {
        assert_eq!(answer.header(name), value, "{name}");
    }
    let etag = answer.header("etag");
    assert!(etag.starts_with("W/\""), "{etag}");
    let again = ask(site.address, "GET", "/openapi.yaml", &[("If-None-Match", etag)]);
    assert_eq!((again.status, again.header("vary")), (304, "Accept-Encoding"));
    let zipped = ask(site.address, "GET", "/openapi.yaml", &[("Accept-Encoding", "gzip")]);
    assert_eq!(zipped.header("content-encoding"), "gzip");
    assert!(zipped.whole && zipped.body.len() < answer.body.len() / 5, "{} bytes", zipped.body.len());
}
