//! Installation: the scripts, the systemd unit, the settings file, the container's health check, the Debian package.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use restreamer::config::OPTIONS;
use rustix::process::geteuid;
use tempfile::TempDir;

use crate::harness::{ask, write_whole};
use crate::process::{Output, Program, RESTREAMER, Served, find, say, setting};

const PROGRAM: &str = "usr/local/bin/restreamer";
const UNIT: &str = "etc/systemd/system/restreamer.service";
const LINK: &str = "etc/systemd/system/multi-user.target.wants/restreamer.service";
const WRITERS: [&str; 2] =
    ["etc/systemd/system/restreamer-record@.service", "etc/systemd/system/restreamer-prune.service"];
const CONF: &str = "etc/restreamer.conf";

fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.as_ref().display()))
}

/// Creates a root directory to install below, with an archive in it.
fn install_root() -> TempDir {
    let root = tempfile::tempdir().expect("a temporary directory");
    write_whole(&root.path().join("srv/archive/s/v/2026-11-20T10/00:00.000-2.000-full-x.ts"), b"0123456789");
    root
}

/// Runs one of the scripts with `--root`.
fn script(name: &str, root: &Path, more: &[&str]) -> Output {
    Program::new(source("scripts").join(name)).args([Path::new("--root"), root]).args(more).run()
}

/// Runs one of the scripts, which must succeed, and returns what it prints.
fn run_script(name: &str, root: &Path, more: &[&str]) -> String {
    let Output { code, stdout, stderr } = script(name, root, more);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    assert!(stdout.lines().all(|line| line.starts_with(name)), "{stdout}");
    stdout
}

fn install(root: &Path, more: &[&str]) -> String {
    run_script("install", root, &[&["--binary", RESTREAMER], more].concat())
}

/// Returns all files and links below a directory, with their modes and modification times.
fn files(root: &Path) -> BTreeMap<String, (u32, std::time::SystemTime)> {
    let (mut found, mut directories) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            let meta = path.symlink_metadata().expect("a file");
            if meta.is_dir() {
                directories.push(path);
            } else {
                let name = path.strip_prefix(root).expect("below the root").display().to_string();
                let mode = meta.permissions().mode() & 0o777;
                found.insert(name, (mode, meta.modified().expect("a time")));
            }
        }
    }
    found
}

#[test]
fn installing_again_changes_nothing() {
    let root = install_root();
    let archive = files(&root.path().join("srv"));
    let output =
        install(root.path(), &["--base-dir", "/srv/my archive", "--host", "127.0.0.1", "--port", "8100"]);
    assert!(output.contains(&format!("installed {}\n", root.path().join(PROGRAM).display())), "{output}");
    assert!(output.contains("no user is created") && output.contains("nothing is started"), "{output}");
    let absent = root.path().join("srv/my archive");
    let warning = format!("WARNING: the archive `{}` does not exist", absent.display());
    assert!(output.contains(&warning), "{output}");
    let first = files(root.path());
    let modes: Vec<_> = [PROGRAM, UNIT, CONF].iter().map(|name| first[*name].0).collect();
    assert_eq!(modes, [0o755, 0o644, 0o644]);
    assert_eq!(first.len(), archive.len() + 6, "{first:?}");
    for unit in WRITERS {
        let unit = text(root.path().join(unit));
        assert!(unit.contains("\nExecStart=/usr/local/bin/restreamer "), "{unit}");
        assert!(unit.contains("\nReadWritePaths=\"/srv/my archive\"\n"), "{unit}");
    }
    let link = fs::read_link(root.path().join(LINK)).expect("a link");
    assert_eq!(link, Path::new("/").join(UNIT), "the link that `systemctl enable` creates");
    let conf = text(root.path().join(CONF));
    for line in
        ["RESTREAMER_BASE_DIR=\"/srv/my archive\"", "RESTREAMER_HOST=127.0.0.1", "RESTREAMER_PORT=8100"]
    {
        assert!(conf.lines().any(|found| found == line), "no {line} in {conf}");
    }

    let output = install(root.path(), &["--port", "8100"]);
    assert_eq!(output.matches(" is up to date\n").count(), 4, "{output}");
    assert!(output.contains("kept ") && output.contains("the service is enabled\n"), "{output}");
    assert_eq!(files(root.path()), first, "no file is written again");

    fs::write(root.path().join(CONF), format!("{conf}RESTREAMER_LOG_LEVEL=warn\n")).expect("a change");
    let output = install(root.path(), &["--prefix", "/opt/restreamer"]);
    assert!(output.contains(&format!("replaced {}\n", root.path().join(UNIT).display())), "{output}");
    assert!(text(root.path().join(CONF)).ends_with("\nRESTREAMER_LOG_LEVEL=warn\n"), "the settings are kept");
    assert!(text(root.path().join(UNIT)).contains("\nExecStart=/opt/restreamer/bin/restreamer "));
    assert_eq!(files(&root.path().join("srv")), archive, "the archive is unchanged");
}

#[test]
fn options_that_contradict_the_settings_file_are_refused() {
    let root = install_root();
    install(root.path(), &["--port", "8100", "--no-start"]);
    let before = files(root.path());
    assert!(!before.contains_key(LINK), "--no-start");
    let output = script("install", root.path(), &["--binary", RESTREAMER, "--port", "8101"]);
    let why = "install: /etc/restreamer.conf says RESTREAMER_PORT=8100 and stays as it is: change it there, and \
               leave --port out here\n";
    assert_eq!((output.code, output.stderr.as_str()), (Some(1), why));
    assert_eq!(files(root.path()), before);
}

#[test]
fn usage_errors_of_the_scripts_are_one_line_and_change_nothing() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let rows: [(&str, &[&str], i32, &str); 9] = [
        ("install", &["--nope"], 2, "there is no option `--nope` (see scripts/install --help)"),
        ("install", &["--port"], 2, "--port needs a value"),
        ("install", &["--port", "70000"], 2, "--port needs a number up to 65535"),
        ("install", &["--host", "a b"], 2, "`a b` is not an address to listen on"),
        ("install", &["--base-dir", "archive"], 2, "--base-dir needs an absolute path"),
        ("install", &["--base-dir", "/home/me/archive"], 1, "the service cannot see `/home/me/archive`"),
        ("install", &["--binary", "/nowhere/restreamer"], 1, "`/nowhere/restreamer` is not a program"),
        ("install", &["--binary", "/bin/true"], 1, "`/bin/true` is not restreamer"),
        ("uninstall", &["everything"], 2, "there is no option `everything` (see scripts/uninstall --help)"),
    ];
    for (name, more, code, why) in rows {
        let output = script(name, root.path(), more);
        assert_eq!((output.code, output.stdout.as_str()), (Some(code), ""), "{name} {more:?}");
        assert!(output.stderr.starts_with(&format!("{name}: {why}")), "{name} {more:?}: {}", output.stderr);
        assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
    }
    assert!(files(root.path()).is_empty());
}

#[test]
fn uninstalling_keeps_the_archive_and_without_purge_the_settings() {
    let root = install_root();
    let archive = files(root.path());
    install(root.path(), &["--prefix", "/opt/restreamer"]);
    let change = root.path().join(format!("{UNIT}.d/limits.conf"));
    write_whole(&change, b"[Service]\nMemoryMax=1G\n");
    let output = run_script("uninstall", root.path(), &[]);
    assert!(output.contains("opt/restreamer/bin/restreamer\n"), "the unit names the program: {output}");
    let mut left: Vec<_> = files(root.path()).into_keys().collect();
    left.retain(|name| !archive.contains_key(name));
    assert_eq!(left, [CONF, &format!("{UNIT}.d/limits.conf")]);
    run_script("uninstall", root.path(), &["--purge"]);
    assert_eq!(files(root.path()), archive);
    run_script("uninstall", root.path(), &["--purge"]);
}

#[test]
fn the_user_is_created_once_and_removed_by_a_purge() {
    if !geteuid().is_root() || find("useradd").is_none() {
        say("deploy: skipped: creating a user needs root and useradd");
        return;
    }
    let root = install_root();
    for name in ["passwd", "group", "shadow", "gshadow"] {
        write_whole(&root.path().join("etc").join(name), b"");
    }
    install(root.path(), &[]);
    let users = || text(root.path().join("etc/passwd"));
    assert!(users().starts_with("restreamer:x:") && users().contains("\nrestreamer-record:x:"));
    assert!(users().ends_with(":/nonexistent:/usr/sbin/nologin\n"));
    let output = install(root.path(), &[]);
    assert!(!output.contains("WARNING"), "the archive exists: {output}");
    assert!(output.contains("the user restreamer exists") && users().lines().count() == 2, "{output}");
    run_script("uninstall", root.path(), &[]);
    assert_eq!(users().lines().count(), 2);
    run_script("uninstall", root.path(), &["--purge"]);
    assert_eq!(users(), "");
}

/// Returns the value of a setting that occurs once in a unit.
fn unit_value<'a>(unit: &'a str, name: &str) -> &'a str {
    let mut values = unit.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let value = values.next().unwrap_or_else(|| panic!("no {name} in {unit}"));
    assert_eq!(values.next(), None, "{name} occurs twice");
    value
}

#[test]
fn the_unit_starts_a_server_with_the_settings() {
    let root = install_root();
    install(root.path(), &["--host", "127.0.0.1", "--port", "0"]);
    let unit = text(root.path().join(UNIT));
    let conf = text(root.path().join(unit_value(&unit, "EnvironmentFile").trim_start_matches('/')));
    let settings: BTreeMap<_, _> =
        conf.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('=')).collect();
    assert_eq!(
        settings.keys().copied().collect::<Vec<_>>(),
        ["RESTREAMER_BASE_DIR", "RESTREAMER_HOST", "RESTREAMER_PORT"]
    );
    let archive = root.path().join(settings["RESTREAMER_BASE_DIR"].trim_start_matches('/'));
    // Runs a command of the unit below the root, with the environment that systemd sets.
    let program = |name: &str| {
        let line = unit_value(&unit, name).replace("${RESTREAMER_BASE_DIR}", archive.to_str().expect("text"));
        let words: Vec<_> =
            line.trim_start_matches("-/usr/bin/timeout 20 ").split(' ').map(str::to_owned).collect();
        let program = Program::new(root.path().join(words[0].trim_start_matches('/'))).args(&words[1..]);
        ["RESTREAMER_HOST", "RESTREAMER_PORT"]
            .iter()
            .fold(program, |program, name| program.env(name, settings[name]))
    };
    let Output { code, stdout, .. } = program("ExecStartPre").run();
    assert_eq!(code, Some(0), "{stdout}");
    assert!(stdout.contains("stream `s`, variant `v`: 1 hour"), "{stdout}");
    let served = Served::by_itself(program("ExecStart"));
    assert_eq!(ask(served.address, "GET", "/files", &[]).text(), "[\"s\"]");
}

#[test]
fn the_unit_fails_without_a_base_directory() {
    let start = text(source("scripts/deploy/restreamer.service"));
    let line = unit_value(&start, "ExecStart").replace("${RESTREAMER_BASE_DIR}", "");
    let words: Vec<_> = line.split(' ').skip(1).collect();
    let Output { code, stderr, .. } = Program::new(RESTREAMER).args(&words).run();
    assert_eq!(
        (code, stderr.as_str()),
        (Some(1), "restreamer: cannot serve ``: the base directory is not there\n")
    );
}

#[test]
fn the_settings_file_has_the_variable_of_every_option() {
    let conf = text(source("scripts/deploy/restreamer.conf"));
    let names = conf.lines().filter_map(|line| Some(line.trim_start_matches('#').split_once('=')?.0));
    let listed: BTreeSet<_> = names.filter(|name| name.starts_with("RESTREAMER_")).collect();
    let variables: Vec<_> =
        OPTIONS.iter().filter_map(|option| option.variables().into_iter().next()).collect();
    assert_eq!(listed, variables.iter().map(String::as_str).collect());
}

/// Returns the path of systemd-analyze; `None` if it is not installed or the test is turned off.
fn systemd_analyze() -> Option<PathBuf> {
    let wanted = setting("RESTREAMER_TEST_PEERS");
    if wanted.as_deref().is_some_and(|wanted| wanted == "0") {
        say("skipped systemd-analyze: RESTREAMER_TEST_PEERS is 0");
        return None;
    }
    let found = find("systemd-analyze");
    if found.is_none() {
        assert!(wanted.is_none(), "systemd-analyze is not installed, and RESTREAMER_TEST_PEERS asks for it");
        say("skipped: systemd-analyze is not installed");
    }
    found
}

#[test]
fn systemd_accepts_the_units() {
    let Some(analyze) = systemd_analyze() else { return };
    let directory = tempfile::tempdir().expect("a temporary directory");
    for name in ["restreamer-record@.service", "restreamer-prune.service", "restreamer.service"] {
        // `systemd-analyze verify` requires that the program exists.
        let unit = text(source("scripts/deploy").join(name)).replace("/usr/bin/restreamer", RESTREAMER);
        let path = directory.path().join(name);
        fs::write(&path, unit).expect("a unit");
        let output = Program::new(&analyze).args([Path::new("verify"), &path]).run();
        assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{name}: {}", output.stdout);
    }
    let unit = directory.path().join("restreamer.service");
    let output = Program::new(&analyze).args(["security", "--offline=true"]).args([&unit]).run();
    let found = output.stdout.split("Overall exposure level for restreamer.service: ").nth(1);
    let found: f64 = found.and_then(|rest| rest.split(' ').next()?.parse().ok()).expect("a figure");
    let page = text(source("docs/install.md"));
    let documented =
        page.split("exposure level of ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
    let documented: f64 = documented.expect("docs/install.md says the figure");
    // Versions of systemd weigh the settings slightly differently.
    assert!(
        (found - documented).abs() < 0.55,
        "docs/install.md says {documented}, and systemd-analyze {found}"
    );
}

#[test]
fn the_pages_quote_the_settings_of_the_unit() {
    let unit = text(source("scripts/deploy/restreamer.service"));
    let lines: Vec<_> = unit.lines().collect();
    let mut seen = 0;
    for page in ["docs/install.md", "docs/security.md", "docs/operations.md"] {
        // Examples may show other values.
        let page_text = text(source(page));
        let prose: String = page_text.split("```").step_by(2).collect();
        for word in prose.split('`').skip(1).step_by(2) {
            let is_setting = word.split_once('=').is_some_and(|(name, _)| {
                name.starts_with(|first: char| first.is_ascii_uppercase())
                    && name.chars().all(|letter| letter.is_ascii_alphabetic())
                    && name.contains(|letter: char| letter.is_ascii_lowercase())
            });
            if is_setting {
                seen += 1;
                assert!(lines.contains(&word), "{page} says `{word}`, and the unit does not");
            }
        }
    }
    assert!(seen > 10, "the settings on the pages were not found");
}

#[test]
fn the_health_check_of_the_container_fails_without_archive_or_server() {
    let dockerfile = text(source("Dockerfile")).replace("\\\n", "");
    let line = dockerfile.lines().find(|line| line.starts_with("HEALTHCHECK")).expect("a health check");
    let words = line.split_once("CMD ").expect("a command").1;
    let words: Vec<String> = serde_json::from_str(words).expect("words as JSON");
    let base = install_root();
    let served = Served::over(&base.path().join("srv/archive"), &[]);
    let check = |port: u16| {
        Program::new(&words[0]).args(&words[1..]).env("RESTREAMER_PORT", port.to_string()).run().code
    };
    assert_eq!(check(served.address.port()), Some(0));
    fs::rename(base.path().join("srv/archive"), base.path().join("srv/gone")).expect("move the archive");
    assert_eq!(check(served.address.port()), Some(1), "/health is 503");
    assert_eq!(check(1), Some(1), "no server");
}

#[test]
fn the_image_contains_everything_that_cargo_needs() {
    let ignored = text(source(".dockerignore"));
    assert!(ignored.lines().any(|line| line == "*"), "{ignored}");
    for needed in ["Cargo.toml", "Cargo.lock", "build.rs", "src", "benches", "docs"] {
        assert!(source(needed).exists(), "{needed} does not exist");
        assert!(
            ignored.lines().any(|line| line == format!("!/{needed}")),
            "{needed} is not copied into the image"
        );
    }
}

/// Adds the variables that cargo and its subcommands need.
fn with_cargo_variables(program: Program) -> Program {
    ["HOME", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"].into_iter().fold(program, |program, name| {
        match setting(name) {
            Some(value) => program.env(name, value),
            None => program,
        }
    })
}

#[test]
fn the_debian_changelog_begins_with_this_version() {
    let first = concat!("restreamer (", env!("CARGO_PKG_VERSION"), "-1) ");
    assert!(text(source("scripts/deploy/debian/changelog")).starts_with(first));
}

#[test]
fn the_debian_package_contains_the_program_the_unit_and_the_settings() {
    let cargo_deb = with_cargo_variables(Program::new("cargo")).args(["deb", "--version"]).run();
    if cargo_deb.code != Some(0) || find("dpkg-deb").is_none() {
        say("skipped the Debian package: cargo deb is not installed (scripts/test --long installs it)");
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let output = with_cargo_variables(Program::new(source("scripts/package")))
        .args(["--binary", RESTREAMER, "--output", directory.path().to_str().expect("text")])
        .run();
    assert_eq!(output.code, Some(0), "{} {}", output.stdout, output.stderr);
    let mut packages: Vec<_> =
        fs::read_dir(directory.path()).expect("the package").flatten().map(|entry| entry.path()).collect();
    packages.retain(|path| path.extension().is_some_and(|extension| extension == "deb"));
    assert_eq!(packages.len(), 1, "{packages:?}");
    let root = directory.path().join("root");
    let unpacked = Program::new("dpkg-deb").args([Path::new("-R"), &packages[0], &root]).run();
    assert_eq!(unpacked.code, Some(0), "{}", unpacked.stderr);
    let own = |path: &str| text(source("scripts/deploy").join(path));
    let unit = ["usr/lib", "lib"].map(|lib| root.join(lib).join("systemd/system/restreamer.service"));
    let unit = unit.iter().find(|path| path.exists()).expect("a unit");
    assert_eq!(text(unit), own("restreamer.service"));
    assert_eq!(text(root.join("etc/restreamer.conf")), own("restreamer.conf"));
    assert_eq!(text(root.join("DEBIAN/conffiles")).trim(), "/etc/restreamer.conf");
    let control = text(root.join("DEBIAN/control"));
    assert!(control.contains("\nRecommends: ffmpeg\n") && control.contains("adduser"), "{control}");
    let made = text(root.join("DEBIAN/postinst"));
    assert!(made.contains("adduser") && made.contains("deb-systemd-helper enable"), "{made}");
    let version = Program::new(root.join("usr/bin/restreamer")).args(["--version"]).run();
    assert_eq!(version.stdout, concat!("restreamer ", env!("CARGO_PKG_VERSION"), "\n"));
}
