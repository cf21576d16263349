//! Keeps the house as `ARCHITECTURE.md` describes it: who may know whom, and how large a file may grow.

use std::fs;
use std::path::{Path, PathBuf};

/// A source file, by its path below `src`, and its lines of code: no comments, no tests.
struct Source {
    name: String,
    code: Vec<String>,
    lines: usize,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files_below(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("read a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files_below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    files_below(&root().join("src"), &mut paths);
    let sources: Vec<Source> =
        paths.iter().filter(|path| !path.ends_with("tests.rs")).map(|path| read(path)).collect();
    assert!(sources.len() > 30, "the sources were not found");
    sources
}

fn read(path: &Path) -> Source {
    let text = fs::read_to_string(path).expect("a source");
    let below = path.strip_prefix(root().join("src")).expect("a path below src");
    let untested = text.split("#[cfg(test)]").next().unwrap_or_default();
    let code = untested.lines().map(|line| line.split("//").next().unwrap_or_default().to_owned()).collect();
    Source { name: below.display().to_string(), code, lines: text.lines().count() }
}

/// Asserts that of all sources only those that `may` says have one of the words in their code.
fn only(what: &str, words: &[&str], may: impl Fn(&str) -> bool) {
    let mut seen = false;
    for source in sources() {
        for (number, line) in source.code.iter().enumerate() {
            if words.iter().any(|word| line.contains(word)) {
                seen = true;
                assert!(may(&source.name), "src/{}:{}: {what}: {}", source.name, number + 1, line.trim());
            }
        }
    }
    assert!(seen, "nothing has {words:?}: this test has gone blind");
}

/// Modules whose functions give the same for the same, whenever and wherever they are called.
fn is_pure(name: &str) -> bool {
    let files = [
        "timestamp.rs",
        "error.rs",
        "archive/layout.rs",
        "archive/select.rs",
        "cut/plan.rs",
        "http/conditional.rs",
        "http/path.rs",
        "http/query.rs",
        "server/head.rs",
    ];
    files.contains(&name) || name.starts_with("hls/") || name.starts_with("mpegts/")
}

#[test]
fn pure_modules_touch_no_file_clock_thread_or_socket() {
    let words = [
        "std::fs",
        "File::",
        "std::thread",
        "Instant",
        "SystemTime::now",
        "std::sync",
        "TcpStream",
        "rustix::",
        "Command",
        "std::env",
        "crossbeam",
    ];
    only("a pure module reaches out", &words, |name| !is_pure(name));
}

#[test]
fn each_power_is_in_few_hands() {
    only(
        "sockets belong to server/",
        &["TcpStream", "TcpListener", "rustix::net", "UdpSocket", "UnixStream"],
        |name| name.starts_with("server/"),
    );
    only("tiny_http's vocabulary belongs to server/ and http/", &["tiny_http"], |name| {
        name.starts_with("server/") || name.starts_with("http/")
    });
    only("processes belong to ffmpeg", &["process::Command", "std::process::{", "Stdio"], |name| {
        name == "ffmpeg.rs" || name.starts_with("ffmpeg/")
    });
    only("the environment belongs to config.rs", &["env::var", "env::args"], |name| name == "config.rs");
    only("the calendar belongs to timestamp.rs", &["use time::"], |name| name == "timestamp.rs");
    only("the wall clock belongs to clock.rs", &["SystemTime::now"], |name| name == "clock.rs");
    only("statuses are given to errors in one place", &["Error::RangeHasHoles"], |name| {
        ["http/reply.rs", "http/cuts.rs"].contains(&name)
    });
}

#[test]
fn lower_floors_do_not_know_the_upper_ones() {
    let roof = ["crate::config", "crate::check", "crate::server"];
    only("only the roof and the server know these", &roof, |name| {
        ["main.rs", "check.rs"].contains(&name) || name.starts_with("server/")
    });
    let is_engine = |name: &str| {
        ["archive/", "cut/", "ffmpeg", "hls/", "mpegts/"].iter().any(|part| name.starts_with(part))
    };
    only("the engine knows no HTTP", &["crate::http", "httparse", "httpdate"], |name| !is_engine(name));
    only(
        "pure modules know no engine",
        &["crate::ffmpeg", "crate::cut::", "crate::archive::Archive"],
        |name| !is_pure(name) || name == "cut/plan.rs",
    );
}

#[test]
fn files_are_of_a_size_to_be_read() {
    for source in sources() {
        assert!(
            source.lines <= 400,
            "src/{} has {} lines: does it hold two things?",
            source.name,
            source.lines
        );
    }
    let architecture = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    assert!(architecture.lines().count() <= 150, "ARCHITECTURE.md is to be read at one sitting");
}

#[test]
fn architecture_names_every_module() {
    let architecture = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    for source in sources() {
        let name = Path::new(&source.name);
        let (file, parent) = (name.file_name().expect("a name"), name.parent().expect("a parent"));
        let shown = if file == "mod.rs" { parent.display().to_string() } else { file.display().to_string() };
        assert!(architecture.contains(&shown), "ARCHITECTURE.md does not say what src/{} is", source.name);
    }
}

#[test]
fn the_readme_explains_every_option() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    let help = restreamer::config::help();
    let options = help.split_whitespace().filter(|word| word.starts_with("--"));
    for option in options {
        assert!(readme.contains(&format!("`{option}")), "README.md does not explain {option}");
    }
}
