//! Keeps the code as `ARCHITECTURE.md` describes it: which module may use what, and how long files and functions may be.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use crate::source::{Source, root, sources};

const MAX_FILE_LINES: usize = 350;
const MAX_FUNCTION_LINES: usize = 60;
const MAX_MEDIAN: usize = 8;
const MAX_90TH_PERCENTILE: usize = 25;

/// Paths that only some files may use.
struct Rule {
    reason: &'static str,
    /// Separated by spaces.
    paths: &'static str,
    is_allowed: fn(&str) -> bool,
}

const RULES: &[Rule] = &[
    Rule {
        reason: "only server/ names sockets",
        paths: "\
            std::net::TcpStream std::net::TcpListener std::net::UdpSocket std::os::unix::net \
            rustix::net",
        is_allowed: |name| name.starts_with("server/"),
    },
    Rule {
        reason: "only server/ and http/ use the vocabulary of tiny_http and the syntax of HTTP",
        paths: "tiny_http httparse httpdate",
        is_allowed: |name| name.starts_with("server/") || name.starts_with("http/"),
    },
    Rule {
        reason: "only ffmpeg/ starts processes",
        paths: "std::process::Command std::process::Stdio std::process::Child",
        is_allowed: |name| name.starts_with("ffmpeg/") || name == "ffmpeg.rs",
    },
    Rule {
        reason: "only config.rs reads arguments and the environment",
        paths: "std::env lexopt",
        is_allowed: |name| name == "config.rs",
    },
    Rule {
        reason: "only timestamp.rs uses the calendar",
        paths: "time",
        is_allowed: |name| name == "timestamp.rs",
    },
    Rule {
        reason: "only clock.rs reads the wall clock",
        paths: "std::time::SystemTime::now",
        is_allowed: |name| name == "clock.rs",
    },
    Rule {
        reason: "only record/ writes files, except that ffmpeg/child.rs writes to /proc for its children",
        paths: "\
            std::fs::write std::fs::copy std::fs::rename std::fs::hard_link std::fs::remove_file \
            std::fs::remove_dir std::fs::remove_dir_all std::fs::create_dir std::fs::create_dir_all \
            std::fs::set_permissions std::fs::DirBuilder std::fs::OpenOptions std::fs::File::create \
            std::fs::File::create_new std::fs::File::options std::os::unix::fs::symlink \
            rustix::fs::OFlags::WRONLY rustix::fs::OFlags::RDWR rustix::fs::OFlags::CREATE \
            rustix::fs::OFlags::TRUNC rustix::fs::OFlags::APPEND rustix::fs::rename \
            rustix::fs::renameat rustix::fs::unlink rustix::fs::unlinkat rustix::fs::mkdir \
            rustix::fs::mkdirat rustix::fs::link rustix::fs::linkat rustix::fs::symlink \
            rustix::fs::symlinkat",
        is_allowed: |name| name.starts_with("record/") || name == "ffmpeg/child.rs",
    },
    Rule {
        reason: "every channel has a bound, and every thread a name",
        paths: "crossbeam_channel::unbounded std::sync::mpsc std::thread::spawn std::thread::scope",
        is_allowed: |_| false,
    },
    Rule {
        reason: "only http/reply.rs maps errors to statuses",
        paths: "crate::error::Error::RangeHasHoles",
        is_allowed: |name| ["http/reply.rs", "http/cuts/segments.rs"].contains(&name),
    },
    Rule {
        reason: "pure modules touch no file, clock, thread or socket",
        paths: "\
            std::env std::fs std::io::stdin std::io::stdout std::io::stderr std::net::TcpStream \
            std::net::TcpListener std::net::UdpSocket std::net::ToSocketAddrs std::os std::process std::sync::Mutex std::sync::RwLock std::sync::Condvar std::sync::Once std::sync::OnceLock \
            std::sync::LazyLock std::sync::Barrier std::sync::mpsc std::sync::atomic \
            std::thread std::time::Instant std::time::SystemTime::now crossbeam_channel ctrlc rustix",
        is_allowed: |name| !is_pure(name),
    },
];

/// Whether the functions of a file depend on nothing but their arguments.
fn is_pure(name: &str) -> bool {
    let files = [
        "timestamp.rs",
        "error.rs",
        "archive/layout.rs",
        "archive/layout/kept.rs",
        "archive/messages.rs",
        "archive/select.rs",
        "config/help.rs",
        "config/values.rs",
        "cut/decoding.rs",
        "cut/groups.rs",
        "archive/runs.rs",
        "cut/fragment_times.rs",
        "cut/plan.rs",
        "cut/planned.rs",
        "http/conditional.rs",
        "http/path.rs",
        "http/query.rs",
        "http/route.rs",
        "record/clock.rs",
        "record/cutter.rs",
        "record/hls_list.rs",
        "record/listed.rs",
        "record/segmenter.rs",
        "record/source.rs",
        "server/parser.rs",
    ];
    files.contains(&name) || ["hls/", "mp4/", "mpegts/"].iter().any(|directory| name.starts_with(directory))
}

/// Each use of a path against the rule.
fn violations(rule: &Rule, sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources.iter().filter(|source| !(rule.is_allowed)(&source.name)) {
        for path in source.paths() {
            let is_named = |listed: &str| {
                let listed: Vec<_> = listed.split("::").collect();
                path.segments.iter().zip(&listed).all(|(a, b)| a == b)
                    && (path.segments.len() >= listed.len() || path.is_glob)
            };
            if rule.paths.split(' ').any(is_named) {
                found.push(format!("src/{}:{}: {}", source.name, path.line, path.segments.join("::")));
            }
        }
    }
    found
}

/// Threads that are started without a name.
fn unnamed_threads(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        for path in
            source.paths().iter().filter(|path| path.segments.join("::") == "std::thread::Builder::new")
        {
            let rest = source.code[path.line - 1..].join("\n");
            let (_, call) = rest.split_once("Builder::new()").unwrap_or_default();
            if !call.trim_start().starts_with(".name(") {
                found.push(format!("src/{}:{}", source.name, path.line));
            }
        }
    }
    found
}

/// String literals with parts of the archive's names, outside of the module that knows how the tree is named.
fn layout_literals(sources: &[Source]) -> Vec<String> {
    let others = sources.iter().filter(|source| source.name != "archive/layout.rs");
    let literals =
        others.flat_map(|source| source.strings.iter().map(move |literal| (&source.name, literal)));
    let is_of_names =
        |text: &str| text.contains(".tombstone") || ["suspect", "partial", "temp"].contains(&text);
    let found = literals.filter(|(_, (_, text))| is_of_names(text));
    found.map(|(name, (line, text))| format!("src/{name}:{line}: {text:?}")).collect()
}

#[test]
fn each_file_uses_only_what_it_may() {
    let sources = sources();
    for rule in RULES {
        let found = violations(rule, sources);
        assert!(found.is_empty(), "{}:\n{}", rule.reason, found.join("\n"));
        let is_used = !violations(&Rule { is_allowed: |_| false, ..*rule }, sources).is_empty();
        let may_be_used = sources.iter().any(|source| (rule.is_allowed)(&source.name));
        assert!(is_used || !may_be_used, "{}: nothing in src/ uses {}", rule.reason, rule.paths);
    }
}

#[test]
fn every_thread_has_a_name() {
    let found = unnamed_threads(sources());
    assert!(found.is_empty(), "these threads have no name:\n{}", found.join("\n"));
}

#[test]
fn only_one_file_knows_how_the_archive_is_named() {
    let found = layout_literals(sources());
    assert!(found.is_empty(), "only archive/layout.rs knows how the archive is named:\n{}", found.join("\n"));
}

#[test]
fn every_rule_finds_what_it_forbids() {
    let rows = [
        ("http/files.rs", "use std::net::{IpAddr, TcpStream};"),
        ("http/files.rs", "fn f() { rustix::net::socket() }"),
        ("http/files.rs", "use std::net::*;"),
        ("archive/hour.rs", "use tiny_http::StatusCode;"),
        ("cut/full.rs", "use std::process;\nfn f() { process::Command::new() }"),
        ("main.rs", "fn f() { std::env::args() }"),
        ("hls/media.rs", "use time::Date;"),
        ("http/health.rs", "use std::time::SystemTime as T;\nfn f() { T::now() }"),
        ("archive/hour.rs", "use std::fs::{self, File};\nfn f() { fs::rename() }"),
        ("archive/hour.rs", "use std::fs::File;\nfn f() { File::create() }"),
        ("archive/hour.rs", "use rustix::fs::OFlags;\nconst A: OFlags = OFlags::RDONLY | OFlags::CREATE;"),
        ("server/pool.rs", "use crossbeam_channel::{bounded, unbounded};"),
        ("server/pool.rs", "use std::thread;\nfn f() { thread::spawn(g) }"),
        ("server/pool.rs", "use crate::error::Error;\nfn f() -> Error { Error::RangeHasHoles }"),
        ("hls/media.rs", "use std::{fmt, time::{Duration, Instant}};"),
        ("server/parser.rs", "use std::sync::Mutex;"),
    ];
    let mut broken = vec![0; RULES.len()];
    for (name, text) in rows {
        let sources = [Source::parse(name, text)];
        let mut is_found = false;
        for (rule, count) in RULES.iter().zip(&mut broken) {
            let found = violations(rule, &sources).len();
            is_found |= found > 0;
            *count += found;
        }
        assert!(is_found, "no rule finds {text}");
    }
    assert!(broken.iter().all(|count| *count > 0), "a rule without a sample: {broken:?}");
    let innocent = "//! std::fs::write\nuse std::net::SocketAddr;\nuse std::time::Duration;\nfn time() { a.time::<T>() }";
    assert!(
        RULES.iter().all(|rule| violations(rule, &[Source::parse("http/files.rs", innocent)]).is_empty())
    );
}

#[test]
fn the_checks_of_threads_and_literals_find_what_they_forbid() {
    let threads = |text: &str| unnamed_threads(&[Source::parse("a.rs", text)]).len();
    assert_eq!(threads("use std::thread::Builder;\nfn f() { Builder::new()\n.name(n)\n.spawn(g); }"), 0);
    assert_eq!(threads("use std::thread;\nfn f() { thread::Builder::new().spawn(g).name(n); }"), 1);
    assert_eq!(threads("fn f() { let b = std::thread::Builder::new();\nb.name(n).spawn(g); }"), 1);
    let literals = |name: &str, text: &str| layout_literals(&[Source::parse(name, text)]).len();
    assert_eq!(literals("archive/hour.rs", "// .tombstone\nfn f() { strip(\".tombstone\") }"), 1);
    assert_eq!(literals("archive/hour.rs", "fn f() { kind == \"partial\" }"), 1);
    assert_eq!(literals("archive/layout.rs", "const A: &str = \".tombstone\";"), 0);
}

/// What is too long, as one line each.
fn too_long(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    let mut lengths = Vec::new();
    for source in sources {
        let lines = source.code.len();
        if lines > MAX_FILE_LINES {
            found.push(format!("src/{} has {lines} lines; at most {MAX_FILE_LINES}", source.name));
        }
        for function in source.functions() {
            lengths.push(function.lines);
            if function.lines > MAX_FUNCTION_LINES {
                let place = format!("src/{}:{}: `{}`", source.name, function.line, function.name);
                found.push(format!("{place} has {} lines; at most {MAX_FUNCTION_LINES}", function.lines));
            }
        }
    }
    lengths.sort_unstable();
    let quantiles = [
        ("median", lengths.len() / 2, MAX_MEDIAN),
        ("90th percentile", lengths.len() * 9 / 10, MAX_90TH_PERCENTILE),
    ];
    for (name, index, most) in quantiles {
        let lines = lengths.get(index).copied().unwrap_or_default();
        if lines > most {
            found.push(format!("the {name} of the lengths of functions is {lines} lines; at most {most}"));
        }
    }
    found
}

#[test]
fn files_and_functions_are_short() {
    let found = too_long(sources());
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_check_of_lengths_finds_what_is_too_long() {
    let check = |functions: usize, lines: usize| {
        let function = format!("fn f() {{\n{}}}\n", "    g();\n".repeat(lines - 2));
        too_long(&[Source::parse("a.rs", &function.repeat(functions))])
    };
    assert_eq!(check(1, 8), Vec::<String>::new());
    assert_eq!(check(50, 8).len(), 1, "the file");
    assert_eq!(check(1, 9).len(), 1, "the median");
    assert_eq!(check(1, 26).len(), 2, "the median and the 90th percentile");
    assert_eq!(check(1, 61).len(), 3, "these and the function");
}

#[test]
fn the_architecture_names_every_file_and_is_short() {
    let architecture = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let sources = sources();
    for source in sources {
        let name = Path::new(&source.name);
        let (file, parent) = (name.file_name().expect("a name"), name.parent().expect("a parent"));
        let shown = if file == "mod.rs" { parent.display().to_string() } else { file.display().to_string() };
        assert!(architecture.contains(&shown), "ARCHITECTURE.md does not say what src/{} is", source.name);
    }
    let is_separator = |letter: char| !letter.is_ascii_alphanumeric() && !['_', '.', '/'].contains(&letter);
    let named =
        architecture.split(is_separator).filter(|word| Path::new(word).extension() == Some(OsStr::new("rs")));
    for name in
        named.filter(|name| !name.starts_with("tests/") && !["dependencies.rs", "words.rs"].contains(name))
    {
        let exists = sources.iter().any(|source| source.name.ends_with(name));
        assert!(exists, "ARCHITECTURE.md names {name}, which is not in src/");
    }
    assert!(architecture.lines().count() <= 150, "ARCHITECTURE.md has more than 150 lines");
}
