//! Dependencies between the files of `src/`: they point down the layers of `ARCHITECTURE.md`, and form no circle.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::source::{Source, sources};

/// One file uses something of another one.
#[derive(Debug)]
struct Dependency {
    from: String,
    to: String,
    line: usize,
    path: String,
}

impl fmt::Display for Dependency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "src/{}:{}: {} is in src/{}", self.from, self.line, self.path, self.to)
    }
}

/// The path of the module that a file holds; empty for the root of the crate.
fn module_of(name: &str) -> Vec<String> {
    let path = name.trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    if path == "lib" { Vec::new() } else { path.split('/').map(str::to_owned).collect() }
}

/// Returns every use of one file by another.
///
/// A path stands for the last module in it, so a re-export is a use of the file that re-exports. A parent that only
/// declares a child with `mod` does not use it.
fn dependencies(sources: &[Source]) -> Vec<Dependency> {
    let files: BTreeMap<_, _> =
        sources.iter().map(|source| (module_of(&source.name), source.name.as_str())).collect();
    let mut found = Vec::new();
    for source in sources {
        let module = module_of(&source.name);
        for path in source.paths() {
            let Some(full) = absolute(&source.name, &module, &path.segments, &files) else { continue };
            let mut prefixes = (0..=full.len()).rev().map(|length| &full[..length]);
            let to = prefixes.find_map(|prefix| files.get(prefix)).copied().unwrap_or("lib.rs");
            if to != source.name {
                let (from, to, path_text) = (source.name.clone(), to.to_owned(), path.segments.join("::"));
                found.push(Dependency { from, to, line: path.line, path: path_text });
            }
        }
    }
    found
}

/// A path from the root of the crate; `None` for a path in another crate or in no module.
fn absolute(
    name: &str,
    module: &[String],
    segments: &[String],
    files: &BTreeMap<Vec<String>, &str>,
) -> Option<Vec<String>> {
    let supers = segments.iter().take_while(|segment| *segment == "super").count();
    let child = [module, &segments[..1]].concat();
    match segments[0].as_str() {
        "crate" => Some(segments[1..].to_vec()),
        "restreamer" if name == "main.rs" => Some(segments[1..].to_vec()),
        "self" => Some([module, &segments[1..]].concat()),
        "super" => Some([&module[..module.len().saturating_sub(supers)], &segments[supers..]].concat()),
        _ if files.contains_key(&child) => Some([module, segments].concat()),
        _ => None,
    }
}

/// The sets of files that depend on each other, directly or through others.
fn circles(dependencies: &[Dependency]) -> BTreeSet<BTreeSet<&str>> {
    let mut reachable: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for dependency in dependencies {
        reachable.entry(&dependency.from).or_default().insert(&dependency.to);
    }
    loop {
        let before = reachable.clone();
        for file in reachable.keys().copied().collect::<Vec<_>>() {
            let further = reachable[file].iter().filter_map(|to| reachable.get(to)).flatten().copied();
            let further: Vec<_> = further.collect();
            reachable.entry(file).or_default().extend(further);
        }
        if before == reachable {
            break;
        }
    }
    let is_mutual = |a: &str, b: &str| {
        let reaches = |from: &str, to: &str| reachable.get(from).is_some_and(|files| files.contains(to));
        reaches(a, b) && reaches(b, a)
    };
    let in_circles = reachable.keys().filter(|file| is_mutual(file, file));
    in_circles
        .map(|file| reachable.keys().copied().filter(|other| is_mutual(file, other)).collect())
        .collect()
}

/// The pure files of folders whose other files are not.
const PURE: &[&str] = &[
    "archive/chains.rs",
    "archive/layout.rs",
    "archive/layout/kept.rs",
    "archive/messages.rs",
    "archive/ranges.rs",
    "archive/runs.rs",
    "archive/select.rs",
    "cut/plan.rs",
    "cut/planned.rs",
    "cut/program.rs",
    "cut/decoding.rs",
    "cut/groups.rs",
    "cut/fragment_times.rs",
    "cut/webm_times.rs",
];

/// The layer of a file, from 0 at the bottom to 4 at the top.
fn layer(name: &str) -> u8 {
    let first = name.split(['/', '.']).next().unwrap_or_default();
    match first {
        "main" | "config" | "check" | "serve" | "record" | "server" => 4,
        "http" | "page" => 3,
        "hls" | "mp4" | "mpegts" => 1,
        _ if PURE.contains(&name) => 1,
        "timestamp" | "fnv" | "error" | "clock" | "lib" => 0,
        _ => 2,
    }
}

fn upward(dependencies: &[Dependency]) -> impl Iterator<Item = &Dependency> {
    dependencies.iter().filter(|dependency| layer(&dependency.from) < layer(&dependency.to))
}

#[test]
fn files_do_not_depend_on_each_other_in_circles() {
    let dependencies = dependencies(sources());
    assert!(dependencies.len() > 200, "the dependencies were not found");
    let found = circles(&dependencies);
    let report: Vec<_> = found.iter().map(|circle| describe(circle, &dependencies)).collect();
    assert!(report.is_empty(), "these files depend on each other in a circle:\n{}", report.join("\n"));
}

/// The files of a circle, and where they use each other.
fn describe(circle: &BTreeSet<&str>, dependencies: &[Dependency]) -> String {
    let names: Vec<_> = circle.iter().copied().collect();
    let is_inside = |file: &String| circle.contains(file.as_str());
    let inside = dependencies.iter().filter(|used| is_inside(&used.from) && is_inside(&used.to));
    let lines: Vec<_> = inside.map(|used| format!("\n    {used}")).collect();
    format!("{}:{}", names.join(", "), lines.concat())
}

#[test]
fn no_file_depends_on_a_higher_layer() {
    let dependencies = dependencies(sources());
    let found: Vec<_> = upward(&dependencies).map(ToString::to_string).collect();
    assert!(found.is_empty(), "these files use a higher layer:\n{}", found.join("\n"));
}

/// Dependencies between files of these names and texts.
fn sample(files: &[(&str, &str)]) -> Vec<Dependency> {
    dependencies(&files.iter().map(|(name, text)| Source::parse(name, text)).collect::<Vec<_>>())
}

#[test]
fn the_check_finds_circles_of_every_form() {
    type Row = (&'static [(&'static str, &'static str)], &'static [&'static [&'static str]]);
    let rows: [Row; 7] = [
        (&[("a.rs", "use crate::b::B;"), ("b.rs", "fn f() { crate::a::f() }")], &[&["a.rs", "b.rs"]]),
        (
            &[("a/mod.rs", "mod b;\npub use b::B;\npub struct A;"), ("a/b.rs", "use super::A;")],
            &[&["a/b.rs", "a/mod.rs"]],
        ),
        (&[("a.rs", "mod b; fn f() { self::b::f() }"), ("a/b.rs", "use super::*;")], &[&["a.rs", "a/b.rs"]]),
        (
            &[
                ("a/mod.rs", "mod b; mod c; mod d;"),
                ("a/b.rs", "use super::c;\nfn f() { c::f() }"),
                ("a/c.rs", "use super::{d::D};"),
                ("a/d.rs", "use crate::{a::b as e}; fn f() { e::f() }"),
            ],
            &[&["a/b.rs", "a/c.rs", "a/d.rs"]],
        ),
        // A declaration alone is no use, and a re-export is a use of the file that re-exports.
        (&[("a/mod.rs", "mod b;\npub struct A;"), ("a/b.rs", "use super::A;")], &[]),
        (
            &[
                ("a/mod.rs", "mod b;\npub use self::b::B;"),
                ("a/b.rs", "use crate::c::C;"),
                ("c.rs", "use std::a::B;"),
            ],
            &[],
        ),
        // Comments, tests, and other crates.
        (
            &[
                ("a.rs", "// crate::b::B\nuse b::B;\n#[cfg(test)]\nmod tests { use crate::b::B; }"),
                ("b.rs", "use crate::a::A;"),
            ],
            &[],
        ),
    ];
    for (files, expected) in rows {
        let dependencies = sample(files);
        let expected: BTreeSet<BTreeSet<&str>> =
            expected.iter().map(|circle| circle.iter().copied().collect()).collect();
        assert_eq!(circles(&dependencies), expected, "{files:?}");
    }
}

#[test]
fn the_check_finds_uses_of_a_higher_layer() {
    for (from, text, to) in [
        ("archive/hour.rs", "use crate::http::Reply;", "http/mod.rs"),
        ("hls/media.rs", "fn f() { crate::archive::open() }", "archive/mod.rs"),
        ("http/files.rs", "use crate::{config::Config};", "config.rs"),
        ("error.rs", "use crate::mpegts;", "mpegts/mod.rs"),
    ] {
        let (upper, lower) = (sample(&[(from, text), (to, "")]), sample(&[(from, ""), (to, text)]));
        assert_eq!(upward(&upper).count(), 1, "{from}: {text}");
        assert_eq!(upward(&lower).count(), 0, "{to}: {text}");
    }
}
