//! `restreamer prune`, `keep` and `unkeep`.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use restreamer::clock::Clock;
use restreamer::config::{KeepConfig, PruneConfig, markdown_table};
use restreamer::record::prune::{Outcome, Pruner};
use restreamer::timestamp::Span;
use rustix::process::{Signal, geteuid};
use tempfile::TempDir;

use crate::harness::{Site, time, wait_until, write_whole};
use crate::process::{Output, Program, RESTREAMER, say};
use crate::shortage::{as_nobody, copy_for_anybody};

fn restreamer(args: &[&str]) -> Output {
    Program::new(RESTREAMER).args(args).run()
}

/// All files and links below a directory, and all empty directories, by their paths.
fn paths(root: &Path) -> BTreeSet<String> {
    let (mut found, mut directories) = (BTreeSet::new(), vec![root.to_owned()]);
    while let Some(directory) = directories.pop() {
        let entries: Vec<_> =
            fs::read_dir(&directory).expect("a directory").map(|entry| entry.expect("an entry")).collect();
        let shown = |path: &Path| path.strip_prefix(root).expect("below").display().to_string();
        if entries.is_empty() {
            found.insert(shown(&directory) + "/");
        }
        for entry in entries {
            if entry.file_type().expect("a type").is_dir() {
                directories.push(entry.path());
            } else {
                found.insert(shown(&entry.path()));
            }
        }
    }
    found
}

/// Writes segments of half an hour into hours of a variant.
fn record(base: &Path, variant: &str, hours: &[&str]) {
    for hour in hours {
        for start in ["00:00.000", "30:00.000"] {
            write_whole(&base.join(format!("{variant}/{hour}/{start}-1800.000-full-abc.ts")), b"0123456789");
        }
    }
}

/// What a file of ten bytes takes here.
fn file_bytes(base: &Path) -> u64 {
    let file = fs::metadata(write_whole(&base.join(".probe"), b"0123456789")).expect("a file");
    fs::remove_file(base.join(".probe")).expect("remove it");
    file.len().max(file.blocks() * 512)
}

const HOURS: [&str; 4] = ["2026-11-20T08", "2026-11-20T09", "2026-11-20T10", "2026-11-20T11"];

/// Files that are not of a recording.
const OTHERS: [&str; 6] = [
    "a/chat/2026-11-20T08/00:00.000-1800.000-abc.json",
    "a/source/2026-11-20T08/notes.txt",
    "a/source/2026-11-20T08/odd.ts",
    "a/source/2026-11-20/00:00.000-2.000-full-abc.ts",
    "a/.hidden/2026-11-20T08/00:00.000-2.000-full-abc.ts",
    "00:00.000-2.000-full-abc.ts",
];

/// Writes an archive with everything that is not to be deleted, partly by links to a directory outside.
fn awkward_archive(base: &Path, outside: &Path) {
    record(base, "a/source", &HOURS);
    record(base, "b/source", &HOURS[1..3]);
    record(outside, "linked", &HOURS);
    fs::create_dir_all(base.join("c")).expect("a stream");
    symlink(outside, base.join("stream")).expect("a link");
    symlink(outside.join("linked"), base.join("c/variant")).expect("a link");
    symlink(outside.join("linked/2026-11-20T08"), base.join("b/source/2026-11-20T08")).expect("a link");
    for path in OTHERS {
        write_whole(&base.join(path), b"x");
    }
    fs::create_dir_all(base.join("a/source/2026-11-20T08/30:00.000-2.000-full-abc.ts")).expect("a directory");
    for extension in ["json", "tombstone"] {
        write_whole(
            &base.join(format!("a/source/2026-11-20T08/30:00.000-1800.000-full-abc.{extension}")),
            b"x",
        );
    }
    let target = outside.join("linked/2026-11-20T08/00:00.000-1800.000-full-abc.ts");
    symlink(&target, base.join("a/source/2026-11-20T09/10:00.000-2.000-full-abc.ts")).expect("a link");
}

#[test]
fn the_oldest_hours_go_and_nothing_else_is_touched() {
    let (base, outside) = (TempDir::new().expect("a directory"), TempDir::new().expect("a directory"));
    let base = base.path();
    awkward_archive(base, outside.path());
    let (before, before_outside) = (paths(base), paths(outside.path()));

    let path = base.to_str().expect("text");
    let dry = restreamer(&["prune", path, "--max-bytes", "0", "--dry-run"]);
    let listed: Vec<_> =
        dry.stdout.lines().filter_map(|line| line.strip_prefix("would delete ")?.split(':').next()).collect();
    let expected = [
        "a/source/2026-11-20T08",
        "a/source/2026-11-20T09",
        "b/source/2026-11-20T09",
        "a/source/2026-11-20T10",
    ];
    assert_eq!((&listed[..4], dry.code), (&expected[..], Some(1)), "{} {}", dry.stdout, dry.stderr);
    assert!(
        listed[4].starts_with("4 hours, 11 files, ") && dry.stdout.contains("; 2 hours, 4 files, "),
        "{}",
        dry.stdout
    );
    assert_eq!(paths(base), before, "a dry run deletes nothing");

    let other = restreamer(&["prune", path, "--max-bytes", "0", "--stream", "b", "--variant", "none"]);
    assert_eq!((other.code, paths(base)), (Some(0), before.clone()), "{}", other.stderr);
    let pruned = restreamer(&["prune", path, "--max-bytes", "0"]);
    assert_eq!(pruned.code, Some(1), "the newest hours exceed the bound: {}", pruned.stderr);
    for line in [
        "/stream`: a symbolic link",
        "/c/variant`: a symbolic link",
        "/b/source/2026-11-20T08`: a symbolic link",
        "deleted a/source/2026-11-20T09: 3 files, ",
        "left a/source/2026-11-20T08: 3 entries do not belong to segments, such as `",
        "deleted 4 hours, 11 files, ",
        " more than --max-bytes: the other hours are kept, newest, or could not be deleted",
    ] {
        assert!(pruned.stderr.contains(line), "it does not log `{line}`: {}", pruned.stderr);
    }
    let is_pruned = |path: &&String| {
        let is_old = expected.iter().any(|hour| path.starts_with(hour));
        is_old && !OTHERS.contains(&path.as_str()) && !path.ends_with('/')
    };
    let expected: BTreeSet<_> = before.iter().filter(|path| !is_pruned(path)).cloned().collect();
    assert_eq!(paths(base), expected);
    assert_eq!(paths(outside.path()), before_outside, "no link is followed");
    let again = restreamer(&["prune", path, "--max-age", "1h"]);
    assert_eq!((again.code, paths(base)), (Some(0), expected), "{}", again.stderr);
}

#[test]
fn what_cannot_be_read_or_deleted_is_reported_and_the_next_hour_goes() {
    if !geteuid().is_root() {
        say("skipped: it takes root to make files that another user cannot delete");
        return;
    }
    let (base, place) = (TempDir::new().expect("a directory"), TempDir::new().expect("a directory"));
    let variant = base.path().join("s/v");
    record(base.path(), "s/v", &HOURS);
    let set_mode =
        |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).expect("a mode");
    let modes = [0o700, 0o755, 0o777, 0o777].into_iter().zip(HOURS.map(|hour| variant.join(hour)));
    modes.for_each(|(mode, hour)| set_mode(&hour, mode));
    for path in [base.path(), &base.path().join("s"), &variant, place.path()] {
        set_mode(path, 0o777);
    }
    let bound = (4 * file_bytes(base.path())).to_string();
    let args = ["prune", base.path().to_str().expect("text"), "--max-bytes", &bound];
    let Output { code, stderr, .. } = as_nobody(&copy_for_anybody(place.path()), &[]).args(args).run();
    assert_eq!(code, Some(1), "{stderr}");
    for why in ["cannot read `", "could not delete 2 files of s/v/2026-11-20T09: Permission denied"] {
        assert!(stderr.contains(why), "it does not log `{why}`: {stderr}");
    }
    let hours = fs::read_dir(&variant).expect("a variant").map(|entry| entry.expect("an entry").file_name());
    let hours: BTreeSet<_> = hours.map(|name| name.into_string().expect("text")).collect();
    assert_eq!(hours, ["2026-11-20T08", "2026-11-20T09", "2026-11-20T11"].map(str::to_owned).into());
    assert_eq!(paths(&variant.join("2026-11-20T09")).len(), 2);
}

#[test]
fn the_page_has_the_tables_of_the_commands() {
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/recording.md")).expect("a page");
    for table in [markdown_table::<PruneConfig>(), markdown_table::<KeepConfig>()] {
        assert!(page.contains(&table), "docs/recording.md must have this table:\n{table}");
    }
}

/// A configuration that prunes everything that it may.
fn everything(base: &Path) -> PruneConfig {
    PruneConfig { base_dir: base.to_owned(), max_bytes: Some(0), ..PruneConfig::default() }
}

fn round(pruner: &mut Pruner) -> Outcome {
    pruner.round(&|| false, &mut Vec::new()).expect("an archive")
}

#[test]
fn what_an_interruption_leaves_is_the_end_of_an_hour_and_goes_next_time() {
    let base = TempDir::new().expect("a directory");
    let name = |second: usize| format!("00:{second:02}.000-1.000-full-abc.ts");
    for second in 0..60 {
        for hour in ["2026-11-20T08", "2026-11-20T10"] {
            write_whole(&base.path().join("s/v").join(hour).join(name(second)), b"x");
        }
    }
    let hour = base.path().join("s/v/2026-11-20T08");
    let mut pruner = Pruner::new(everything(base.path()), Clock::System);
    let mut left = 60;
    for polls in [8, 20, 30] {
        let count = Cell::new(0);
        let is_stopped = || {
            count.set(count.get() + 1);
            count.get() > polls
        };
        pruner.round(&is_stopped, &mut Vec::new()).expect("an archive");
        let found = paths(&hour);
        assert!(found.len() < left, "{polls}");
        left = found.len();
        assert_eq!(found, (60 - left..60).map(name).collect(), "the first segments are gone");
    }
    // As after a kill between the last file and the directory.
    for path in paths(&hour) {
        fs::remove_file(hour.join(path)).expect("remove it");
    }
    assert_eq!(round(&mut pruner).deleted.hours, 1);
    assert!(!hour.exists());
    assert_eq!(paths(base.path()).len(), 60, "the newest hour stays");
}

#[test]
fn a_process_that_stays_prunes_again_and_ends_at_a_signal() {
    let base = TempDir::new().expect("a directory");
    record(base.path(), "s/v", &["2026-11-20T08", "2026-11-20T10"]);
    let path = base.path().to_str().expect("text");
    let running = Program::new(RESTREAMER).args(["prune", path, "--max-bytes", "0", "--every", "1s"]).start();
    wait_until("the old hour is gone", || !base.path().join("s/v/2026-11-20T08").exists());
    record(base.path(), "s/v", &["2026-11-20T09"]);
    wait_until("the next one is gone too", || !base.path().join("s/v/2026-11-20T09").exists());
    running.signal(Signal::TERM);
    let Output { code, stderr, .. } = running.wait();
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("more than --max-bytes") && stderr.contains(": stopped\n"), "{stderr}");
    let free = restreamer(&["prune", path, "--min-free", "99%", "--dry-run"]);
    assert!(free.code == Some(1) && free.stderr.contains("are missing to --min-free"), "{}", free.stderr);
}

#[test]
fn kept_ranges_are_written_listed_hidden_and_respected() {
    let site = Site::at("2026-11-20T12:00:00Z");
    let base = site.archive.path();
    record(base, "s/v", &["2026-11-20T08", "2026-11-20T09", "2026-11-20T10", "2026-11-20T11"]);
    let path = base.to_str().expect("text");
    let range = ["2026-11-20T09:10", "2026-11-20T09:20:00.5Z"];
    let kept = restreamer(&["keep", path, "s", "v", range[0], range[1]]);
    assert_eq!((kept.code, kept.stdout.as_str(), kept.stderr.as_str()), (Some(0), "", ""));
    let file = "s/v/.keep/2026-11-20T09:10:00Z_2026-11-20T09:20:00.500000Z";
    assert!(base.join(file).exists());
    for command in ["keep", "unkeep"] {
        let listed = restreamer(&[command, path]);
        assert_eq!(
            listed.stdout, "s v 2026-11-20T09:10:00Z 2026-11-20T09:20:00.500000Z\n",
            "{}",
            listed.stderr
        );
        assert_eq!(restreamer(&[command, path, "s", "w"]).stdout, "");
    }
    assert_eq!(
        site.get("/files/s/v").text(),
        r#"["2026-11-20T08","2026-11-20T09","2026-11-20T10","2026-11-20T11"]"#
    );
    assert_eq!(site.get("/segments/s/v/.keep/x.ts").status, 403);

    let mut pruner = Pruner::new(everything(base), Clock::System);
    let outcome = round(&mut pruner);
    assert_eq!((outcome.deleted.hours, outcome.kept.hours, outcome.left.hours), (2, 1, 2));
    assert_eq!(site.get("/files/s/v").text(), r#"["2026-11-20T09","2026-11-20T11"]"#);
    assert!(outcome.excess_bytes > 0);

    // What cannot be understood protects the variant.
    let misspelt = base.join("s/v/.keep/2026-11-20T9");
    assert_eq!(restreamer(&["unkeep", path, "s", "v", range[0], range[1]]).code, Some(0));
    assert!(!base.join("s/v/.keep").exists());
    write_whole(&misspelt, b"");
    let left = restreamer(&["prune", path, "--max-bytes", "0"]);
    assert!(left.code == Some(1) && left.stderr.contains("deletes nothing of s/v: `"), "{}", left.stderr);
    assert!(base.join("s/v/2026-11-20T09").exists());
    fs::remove_file(misspelt).expect("remove it");
    assert_eq!(round(&mut pruner).deleted.hours, 1);

    for (args, why) in [
        (&["unkeep", path, "s", "v", range[0], range[1]][..], "the range 2026-11-20T09:10:00Z_"),
        (&["keep", path, "s", "w", range[0], range[1]], "there is no variant `"),
        (&["keep", "/nowhere", "s", "v", range[0], range[1]], "cannot read `/nowhere`: No such file"),
        (&["prune", "/nowhere", "--max-age", "1d"], "cannot prune `/nowhere`: No such file"),
    ] {
        let Output { code, stdout, stderr } = restreamer(args);
        assert_eq!((code, stdout.as_str(), stderr.lines().count()), (Some(1), "", 1), "{stderr}");
        assert!(stderr.starts_with(&format!("restreamer: {why}")), "{stderr}");
    }
}

/// The entries of a media playlist by their numbers.
fn numbered(playlist: &str) -> BTreeMap<u64, String> {
    let first =
        playlist.lines().find_map(|line| line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:")).expect("a number");
    let uris = playlist.lines().filter(|line| !line.starts_with('#')).map(str::to_owned);
    (first.parse().expect("a number")..).zip(uris).collect()
}

#[test]
fn a_year_of_recording_stays_within_its_bound_and_a_live_window_goes_on() {
    // Every third hour is recorded, so that it takes a few seconds.
    const STEP_HOURS: i64 = 24;
    let site = Site::at("2025-11-20T00:00:00Z");
    let base = site.archive.path();
    let each = file_bytes(base);
    let (bound, recorded) = (32 * each, 10 * each);
    let now = Arc::new(AtomicI64::new(0));
    let month = Some(Duration::from_secs(30 * 86_400));
    let config = PruneConfig { max_bytes: Some(bound), max_age: month, ..everything(base) };
    let mut pruner = Pruner::new(config, Clock::Manual(Arc::clone(&now)));
    let (start, mut seen) = (time("2025-11-20T00:00:00Z"), BTreeMap::new());
    let at = |hours: i64| start + Span::from_secs(hours * 3600);
    let write = |variant: &str, hours: i64| {
        let hour = base.join(variant).join(at(hours).hour().to_string());
        fs::create_dir_all(&hour).expect("an hour");
        fs::write(hour.join("00:00.000-3600.000-full-abc.ts"), b"0123456789").expect("a segment");
    };
    for step in 0..365 {
        for hour in (step * STEP_HOURS..(step + 1) * STEP_HOURS).step_by(3) {
            write("s/a", hour);
            if hour % 12 == 0 {
                write("s/b", hour);
            }
        }
        let end = at((step + 1) * STEP_HOURS);
        site.set_clock(&end.to_string());
        now.store(end.micros(), Ordering::SeqCst);
        if step == 50 {
            let mark = format!("s/a/.keep/{}_{}", at(step * STEP_HOURS), at(step * STEP_HOURS + 7));
            write_whole(&base.join(mark), b"");
        }
        let outcome = round(&mut pruner);
        let before = outcome.deleted.bytes + outcome.left.bytes;
        assert!(
            before <= bound + recorded && outcome.left.bytes <= bound && outcome.is_fine(),
            "{outcome:?}"
        );
        // A live player loads the list: each entry keeps its number.
        for (number, uri) in numbered(&site.get("/playlist/s/a.m3u8?start=-30h").text()) {
            assert_eq!(seen.entry(number).or_insert_with(|| uri.clone()), &uri, "{number} in step {step}");
        }
    }
    let kept = paths(&base.join("s/a")).iter().filter(|path| path.starts_with("2026-01-09T")).count();
    assert_eq!(kept, 3, "the kept hours are there, and none beside them");
    assert!(paths(base).len() <= 33, "the bound holds on the disk, with the kept range");
    assert_eq!(seen.len(), 365 * 8, "each segment was in the window once");
}
