//! What an operator installs: the scripts, the unit, the settings, the container's health check, the Debian package.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::process::geteuid;
use tempfile::TempDir;

use crate::harness::{ask, write_whole};
use crate::process::{Output, Program, RESTREAMER, Served, find, say, setting};

const PROGRAM: &str = "usr/local/bin/restreamer";
const UNIT: &str = "etc/systemd/system/restreamer.service";
const LINK: &str = "etc/systemd/system/multi-user.target.wants/restreamer.service";
const CONF: &str = "etc/restreamer.conf";

fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.as_ref().display()))
}

/// A directory to install below, with an archive in it.
fn place() -> TempDir {
    let root = tempfile::tempdir().expect("a temporary directory");
    write_whole(&root.path().join("srv/archive/s/v/2026-11-20T10/00:00.000-2.000-full-x.ts"), b"0123456789");
    root
}

/// Runs one of the scripts on what is below `root`.
fn script(name: &str, root: &Path, more: &[&str]) -> Output {
    Program::new(source("scripts").join(name)).args([Path::new("--root"), root]).args(more).run()
}

/// What the script says when it does its work.
fn says(name: &str, root: &Path, more: &[&str]) -> String {
    let Output { code, stdout, stderr } = script(name, root, more);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    assert!(stdout.lines().all(|line| line.starts_with(name)), "{stdout}");
    stdout
}

fn install(root: &Path, more: &[&str]) -> String {
    says("install", root, &[&["--binary", RESTREAMER], more].concat())
}

/// All files and links below a directory, with their modes, and when they were last written.
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
fn what_is_installed_twice_stays_as_it_is() {
    let root = place();
    let archive = files(&root.path().join("srv"));
    let said =
        install(root.path(), &["--base-dir", "/srv/my archive", "--host", "127.0.0.1", "--port", "8100"]);
    assert!(said.contains(&format!("installed {}\n", root.path().join(PROGRAM).display())), "{said}");
    assert!(said.contains("no user is created") && said.contains("nothing is started"), "{said}");
    let first = files(root.path());
    let modes: Vec<_> = [PROGRAM, UNIT, CONF].iter().map(|name| first[*name].0).collect();
    assert_eq!(modes, [0o755, 0o644, 0o644]);
    assert_eq!(first.len(), archive.len() + 4, "{first:?}");
    let link = fs::read_link(root.path().join(LINK)).expect("a link");
    assert_eq!(link, Path::new("/").join(UNIT), "as `systemctl enable` makes it");
    let conf = text(root.path().join(CONF));
    for line in
        ["RESTREAMER_BASE_DIR=\"/srv/my archive\"", "RESTREAMER_HOST=127.0.0.1", "RESTREAMER_PORT=8100"]
    {
        assert!(conf.lines().any(|found| found == line), "no {line} in {conf}");
    }

    let said = install(root.path(), &["--port", "8100"]);
    assert_eq!(said.matches(" is up to date\n").count(), 2, "{said}");
    assert!(said.contains("kept ") && said.contains("the service is enabled\n"), "{said}");
    assert_eq!(files(root.path()), first, "not even written anew");

    fs::write(root.path().join(CONF), format!("{conf}RESTREAMER_LOG_LEVEL=warn\n")).expect("a change");
    let said = install(root.path(), &["--prefix", "/opt/restreamer"]);
    assert!(said.contains(&format!("replaced {}\n", root.path().join(UNIT).display())), "{said}");
    assert!(text(root.path().join(CONF)).ends_with("\nRESTREAMER_LOG_LEVEL=warn\n"), "settings are kept");
    assert!(text(root.path().join(UNIT)).contains("\nExecStart=/opt/restreamer/bin/restreamer "));
    assert_eq!(files(&root.path().join("srv")), archive, "the archive is as it was");
}

#[test]
fn what_the_settings_contradict_is_not_installed() {
    let root = place();
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
fn misuse_of_the_scripts_is_one_line_and_changes_nothing() {
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
fn uninstalling_leaves_the_archive_and_the_settings_and_with_purge_the_archive() {
    let root = place();
    let archive = files(root.path());
    install(root.path(), &["--prefix", "/opt/restreamer"]);
    let change = root.path().join(format!("{UNIT}.d/limits.conf"));
    write_whole(&change, b"[Service]\nMemoryMax=1G\n");
    let said = says("uninstall", root.path(), &[]);
    assert!(said.contains("opt/restreamer/bin/restreamer\n"), "it finds the program by the unit: {said}");
    let mut left: Vec<_> = files(root.path()).into_keys().collect();
    left.retain(|name| !archive.contains_key(name));
    assert_eq!(left, [CONF, &format!("{UNIT}.d/limits.conf")]);
    says("uninstall", root.path(), &["--purge"]);
    assert_eq!(files(root.path()), archive);
    says("uninstall", root.path(), &["--purge"]);
}

#[test]
fn a_user_is_made_once_and_goes_with_a_purge() {
    if !geteuid().is_root() || find("useradd").is_none() {
        say("deploy: needs root and useradd to make a user; skipped");
        return;
    }
    let root = place();
    for name in ["passwd", "group", "shadow", "gshadow"] {
        write_whole(&root.path().join("etc").join(name), b"");
    }
    install(root.path(), &[]);
    let users = || text(root.path().join("etc/passwd"));
    assert!(users().starts_with("restreamer:x:") && users().ends_with(":/nonexistent:/usr/sbin/nologin\n"));
    let said = install(root.path(), &[]);
    assert!(said.contains("the user restreamer exists") && users().lines().count() == 1, "{said}");
    says("uninstall", root.path(), &[]);
    assert_eq!(users().lines().count(), 1);
    says("uninstall", root.path(), &["--purge"]);
    assert_eq!(users(), "");
}

/// The value of a setting of a unit, where it is once.
fn unit_value<'a>(unit: &'a str, name: &str) -> &'a str {
    let mut values = unit.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let value = values.next().unwrap_or_else(|| panic!("no {name} in {unit}"));
    assert_eq!(values.next(), None, "{name} is there twice");
    value
}

#[test]
fn what_the_unit_starts_serves_what_the_settings_say() {
    let root = place();
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
    // The command below the root, with the environment that systemd would give it.
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
fn without_a_base_directory_in_its_settings_the_unit_starts_nothing() {
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
fn the_settings_have_every_option() {
    let conf = text(source("scripts/deploy/restreamer.conf"));
    let told: BTreeSet<_> = conf
        .lines()
        .filter_map(|line| line.trim_start_matches('#').strip_prefix("RESTREAMER_")?.split_once('='))
        .map(|(name, _)| format!("--{}", name.to_lowercase().replace('_', "-")))
        .collect();
    let help = restreamer::config::help();
    let options = help.split_whitespace().filter(|word| word.starts_with("--")).map(str::to_owned);
    let no_settings = ["--check", "--help", "--version"].map(str::to_owned);
    let settings: BTreeSet<_> = options.filter(|word| !no_settings.contains(word)).collect();
    assert_eq!(told, settings);
}

/// systemd's judge of units; `None` where it is to be left out.
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
fn systemd_has_nothing_against_the_unit() {
    let Some(analyze) = systemd_analyze() else { return };
    let place = tempfile::tempdir().expect("a temporary directory");
    let unit = place.path().join("restreamer.service");
    // It wants to see the program that is started.
    let here = text(source("scripts/deploy/restreamer.service")).replace("/usr/bin/restreamer", RESTREAMER);
    fs::write(&unit, here).expect("a unit");
    let output = Program::new(&analyze).args([Path::new("verify"), &unit]).run();
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{}", output.stdout);

    let output = Program::new(&analyze).args(["security", "--offline=true"]).args([&unit]).run();
    let found = output.stdout.split("Overall exposure level for restreamer.service: ").nth(1);
    let found: f64 = found.and_then(|rest| rest.split(' ').next()?.parse().ok()).expect("a figure");
    let page = text(source("docs/install.md"));
    let told = page.split("exposure level of ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
    let told: f64 = told.expect("docs/install.md says the figure");
    // Versions of systemd differ a little in what they know and count.
    assert!((found - told).abs() < 0.55, "docs/install.md says {told}, and systemd-analyze {found}");
}

#[test]
fn the_pages_and_the_unit_say_the_same() {
    let unit = text(source("scripts/deploy/restreamer.service"));
    let lines: Vec<_> = unit.lines().collect();
    let mut seen = 0;
    for page in ["docs/install.md", "docs/security.md", "docs/operations.md"] {
        // Outside of examples: those show what could be changed.
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
    assert!(seen > 10, "the pages say nothing of the unit: this test has gone blind");
}

#[test]
fn the_health_check_of_the_container_tells_good_from_bad() {
    let dockerfile = text(source("Dockerfile")).replace("\\\n", "");
    let line = dockerfile.lines().find(|line| line.starts_with("HEALTHCHECK")).expect("a health check");
    let words = line.split_once("CMD ").expect("a command").1;
    let words: Vec<String> = serde_json::from_str(words).expect("words as JSON");
    let base = place();
    let served = Served::over(&base.path().join("srv/archive"), &[]);
    let check = |port: u16| {
        Program::new(&words[0]).args(&words[1..]).env("RESTREAMER_PORT", port.to_string()).run().code
    };
    assert_eq!(check(served.address.port()), Some(0));
    fs::rename(base.path().join("srv/archive"), base.path().join("srv/gone")).expect("take the archive away");
    assert_eq!(check(served.address.port()), Some(1), "/health says 503");
    assert_eq!(check(1), Some(1), "nobody listens");
}

#[test]
fn the_image_is_built_from_all_that_cargo_needs() {
    let ignored = text(source(".dockerignore"));
    assert!(ignored.lines().any(|line| line == "*"), "{ignored}");
    for needed in ["Cargo.toml", "Cargo.lock", "build.rs", "src", "benches", "docs"] {
        assert!(source(needed).exists(), "{needed} is there no more");
        assert!(ignored.lines().any(|line| line == format!("!/{needed}")), "{needed} stays out of the image");
    }
}

/// Programs of cargo's, which want to know whose they are.
fn at_home(program: Program) -> Program {
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
fn the_debian_package_has_the_program_the_unit_and_the_settings() {
    let cargo_deb = at_home(Program::new("cargo")).args(["deb", "--version"]).run();
    if cargo_deb.code != Some(0) || find("dpkg-deb").is_none() {
        say("skipped the Debian package: cargo deb is not installed (cargo install cargo-deb --locked)");
        return;
    }
    let place = tempfile::tempdir().expect("a temporary directory");
    let output = at_home(Program::new(source("scripts/package")))
        .args(["--binary", RESTREAMER, "--output", place.path().to_str().expect("text")])
        .patience(std::time::Duration::from_secs(120))
        .run();
    assert_eq!(output.code, Some(0), "{} {}", output.stdout, output.stderr);
    let mut packages: Vec<_> =
        fs::read_dir(place.path()).expect("the package").flatten().map(|entry| entry.path()).collect();
    packages.retain(|path| path.extension().is_some_and(|extension| extension == "deb"));
    assert_eq!(packages.len(), 1, "{packages:?}");
    let root = place.path().join("root");
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
