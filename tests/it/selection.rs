//! Selection of segments in a range, compared with a slow and simple model, on random archives.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use restreamer::archive::layout::SegmentType;
use restreamer::archive::selection::Selection;
use restreamer::archive::{Archive, VariantName};
use restreamer::timestamp::{Hour, Span, Timestamp};
use tempfile::TempDir;

use crate::harness::time;

pub(crate) const NAME: VariantName = VariantName { stream: "s", variant: "v" };

/// A file of a random archive. Times are microseconds.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) start: i64,
    pub(crate) duration: i64,
    pub(crate) kind: SegmentType,
    pub(crate) size: u64,
    pub(crate) hash: &'static str,
    pub(crate) tombstone: bool,
}

/// An entry of a selection.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Hole,
    Segment(String),
}

impl Sample {
    pub(crate) fn end(&self) -> i64 {
        self.start + self.duration
    }

    fn hour(&self) -> Hour {
        Timestamp::from_micros(self.start).hour()
    }

    fn name(&self) -> String {
        let micros = self.start - self.hour().start().micros();
        let (minutes, seconds) = (micros / 60_000_000, Span::from_micros(micros % 60_000_000).to_string());
        let (whole, fraction) = seconds.split_once('.').expect("a fraction");
        let kind = format!("{:?}", self.kind).to_lowercase();
        let duration = Span::from_micros(self.duration);
        format!("{minutes:02}:{whole:0>2}.{fraction}-{duration}-{kind}-{}.ts", self.hash)
    }
}

/// Whether `a` is selected before `b` for the same start, by the rules of the API.
fn is_better(a: &Sample, b: &Sample) -> bool {
    let goodness = |kind| match kind {
        SegmentType::Full => 3,
        SegmentType::Suspect => 2,
        SegmentType::Partial => 1,
        SegmentType::Temp => 0,
    };
    if a.kind != b.kind {
        return goodness(a.kind) > goodness(b.kind);
    }
    if a.kind == SegmentType::Full && a.duration != b.duration {
        return a.duration > b.duration;
    }
    if a.size != b.size {
        return a.size > b.size;
    }
    if a.duration != b.duration {
        return a.duration > b.duration;
    }
    a.hash > b.hash
}

/// The segments of a range by the model, each with whether a gap is before it.
pub(crate) fn chosen(samples: &[Sample], start: i64, end: i64) -> Vec<(bool, &Sample)> {
    let alive: Vec<&Sample> =
        samples.iter().filter(|sample| !sample.tombstone && sample.kind != SegmentType::Temp).collect();
    let mut best: Vec<&Sample> = Vec::new();
    for candidate in &alive {
        let rivals =
            alive.iter().filter(|rival| rival.start == candidate.start && rival.name() != candidate.name());
        if rivals.into_iter().all(|rival| is_better(candidate, rival)) {
            best.push(candidate);
        }
    }
    best.sort_by_key(|sample| sample.start);
    best.dedup_by_key(|sample| sample.start);
    best.retain(|sample| sample.start >= start - 3_600_000_000 && sample.start < end);

    let covering = best.iter().position(|sample| sample.start <= start && start < sample.end());
    let inside = best.iter().position(|sample| sample.start > start);
    let Some(first) = covering.or(inside) else { return Vec::new() };
    let mut list = vec![(covering.is_none(), best[first])];
    let mut before = best[first];
    for sample in &best[first + 1..] {
        if before.end() >= end {
            break;
        }
        let distance = sample.start - before.end();
        if distance < -10_000 {
            continue;
        }
        list.push((distance > 10_000 || before.kind != SegmentType::Full, sample));
        before = sample;
    }
    list
}

/// The selection of a range by the model.
fn model(samples: &[Sample], start: i64, end: i64) -> Vec<Entry> {
    let chosen = chosen(samples, start, end);
    let mut list = Vec::new();
    for (gap_before, sample) in &chosen {
        list.extend(gap_before.then_some(Entry::Hole));
        list.push(Entry::Segment(sample.name()));
    }
    if chosen.last().is_none_or(|(_, last)| last.end() < end || last.kind != SegmentType::Full) {
        list.push(Entry::Hole);
    }
    list
}

/// The selection of a range by the archive.
fn selected(archive: &Arc<Archive>, start: i64, end: i64) -> Vec<Entry> {
    let hours = archive.hours(NAME).expect("the hours");
    let range = (Timestamp::from_micros(start), Timestamp::from_micros(end));
    let mut list = Vec::new();
    let mut selection = Selection::new(archive, NAME, &hours, range);
    while let Some(chosen) = selection.next_segment().expect("a walk") {
        if chosen.gap_before {
            list.push(Entry::Hole);
        }
        list.push(Entry::Segment(chosen.segment.name.to_string()));
    }
    if selection.ends_in_gap() {
        list.push(Entry::Hole);
    }
    list
}

/// Writes the samples into a base directory, and with `junk` also files that are no segments.
fn write(base: &Path, samples: &[Sample], junk: bool) {
    write_variant(&base.join("s/v"), samples, junk);
}

/// The same into the directory of a variant.
pub(crate) fn write_variant(variant: &Path, samples: &[Sample], junk: bool) {
    for sample in samples {
        let hour = variant.join(sample.hour().to_string());
        fs::create_dir_all(&hour).expect("an hour");
        let file = File::create(hour.join(sample.name())).expect("a segment");
        file.set_len(sample.size).expect("its size");
        if sample.tombstone {
            let name = sample.name();
            let stem = name.strip_suffix(".ts").expect("a segment's name");
            fs::write(hour.join(format!("{stem}.tombstone")), b"").expect("a tombstone");
        }
        if junk {
            for name in
                ["99:00.000-2.000-full-x.ts", "junk.ts", ".01:00.000-2.000-full-x.ts", "x.json", "\u{1}.txt"]
            {
                fs::write(hour.join(name), b"").expect("junk");
            }
            fs::create_dir_all(hour.join("00:01.000-9.000-full-directory.ts")).expect("a directory");
            fs::write(variant.join("2026-11-20T99"), b"").expect("no hour");
        }
    }
}

/// A directory in memory if possible, because thousands of small archives are written.
pub(crate) fn scratch() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory")
}

/// The distance from the end of a segment to the start of the next, in microseconds.
fn distances() -> impl Strategy<Value = i64> {
    prop_oneof![
        6 => Just(0),
        1 => prop::sample::select(vec![9_999, 10_000, 10_001, 500_000, 2_000_000, 900_000_000]),
        1 => prop::sample::select(vec![-9_999, -10_000, -10_001, -500_000, -2_000_000, -3_000_000]),
    ]
}

fn durations() -> impl Strategy<Value = i64> {
    prop_oneof![
        6 => Just(2_000_000),
        2 => prop::sample::select(vec![0, 1, 1_000_000, 2_002_000, 2_002_001, 10_000_000]),
        1 => prop::sample::select(vec![1_700_000_000, 3_600_000_000, 4_000_000_000]),
    ]
}

fn kinds() -> impl Strategy<Value = SegmentType> {
    prop_oneof![8 => Just(SegmentType::Full), 1 => Just(SegmentType::Suspect), 1 => Just(SegmentType::Partial), 1 => Just(SegmentType::Temp)]
}

/// A run of segments that begins shortly before an hour boundary; some have duplicates with the same start.
pub(crate) fn archives() -> impl Strategy<Value = Vec<Sample>> {
    let twin = (kinds(), durations(), 0..3_u64, any::<prop::sample::Index>());
    let slot = (distances(), prop::collection::vec(twin, 1..4), prop::bool::weighted(0.1));
    prop::collection::vec(slot, 0..14).prop_map(|slots| {
        let mut samples: Vec<Sample> = Vec::new();
        let mut cursor = time("2026-11-20T09:59:52").micros();
        for (distance, twins, tombstone) in slots {
            let start = cursor + distance;
            for (nth, (kind, duration, size, hash)) in twins.into_iter().enumerate() {
                let hash = ["a", "b-c", "-d", "_e", "Z"][hash.index(5)];
                let sample = Sample { start, duration, kind, size, hash, tombstone: tombstone && nth == 0 };
                if samples.iter().all(|other| other.start != start || other.name() != sample.name()) {
                    samples.push(sample);
                }
                if nth == 0 {
                    cursor = start + duration;
                }
            }
        }
        samples
    })
}

/// An instant near the start or end of a sample.
pub(crate) fn instant(samples: &[Sample], at: prop::sample::Index, off: i64) -> i64 {
    let mut marks = vec![time("2026-11-20T10:00:00").micros()];
    marks.extend(samples.iter().flat_map(|sample| [sample.start, sample.end()]));
    marks[at.index(marks.len())] + off
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_selection_follows_the_documented_rules(
        samples in archives(),
        junk in prop::bool::weighted(0.2),
        ranges in prop::collection::vec(
            (
                any::<prop::sample::Index>(),
                any::<prop::sample::Index>(),
                prop::sample::select(vec![0, 0, 1, -1, 10_000, -1_000_000, -3_600_000_000]),
                prop::sample::select(vec![0, 0, 1, -1, 1_000_000, 3_600_000_000]),
            ),
            1..6,
        ),
    ) {
        let base = scratch();
        write(base.path(), &samples, junk);
        let archive = Arc::new(Archive::new(base.path(), 1 << 20));
        for (from, to, from_off, to_off) in ranges {
            let (start, end) = (instant(&samples, from, from_off), instant(&samples, to, to_off));
            if start < end {
                prop_assert_eq!(selected(&archive, start, end), model(&samples, start, end), "{} to {}", start, end);
            }
        }
    }
}

#[test]
fn an_hour_that_changes_is_read_again_even_within_the_mtime_granularity() {
    let base = tempfile::tempdir().expect("a directory");
    let archive = Arc::new(Archive::new(base.path(), 1 << 20));
    let (start, end) = (time("2026-11-20T10").micros(), time("2026-11-20T11").micros());
    let mut expected = Vec::new();
    let hour = base.path().join("s/v/2026-11-20T10");
    fs::create_dir_all(&hour).expect("an hour");
    for second in 0..59 {
        let name = format!("00:{second:02}.000-1.000-full-x.ts");
        fs::write(hour.join(&name), b"").expect("a segment");
        expected.push(Entry::Segment(name));
        let mut list = selected(&archive, start, end);
        assert_eq!(list.pop(), Some(Entry::Hole));
        assert_eq!(list, expected);
    }
    fs::write(hour.join("00:58.000-1.000-full-x.tombstone"), b"").expect("a tombstone");
    expected.pop();
    assert_eq!(selected(&archive, start, end)[..expected.len()], expected[..]);
    assert_eq!(selected(&archive, start, end).len(), expected.len() + 1);
    fs::remove_dir_all(&hour).expect("remove the hour");
    assert_eq!(selected(&archive, start, end), [Entry::Hole]);
}

/// Waits until the ctimes of all directories that were changed so far are no longer racy.
fn settle() {
    std::thread::sleep(std::time::Duration::from_millis(50));
}

/// Sets the mtime of a directory, as programs do that copy directories.
fn set_mtime(directory: &Path, seconds: u64) {
    let modified = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    let times = fs::FileTimes::new().set_modified(modified);
    File::open(directory).expect("the directory").set_times(times).expect("set its time");
}

#[test]
fn an_hour_that_is_completed_under_the_same_mtime_is_seen_and_any_mtime_is_cached() {
    // Long ago, and in the future, on a server whose clock is right.
    for mtime in [1_500_000_000, 7_500_000_000] {
        let base = tempfile::tempdir().expect("a directory");
        let (variant, hour) = (base.path().join("s/v"), base.path().join("s/v/2026-11-20T10"));
        fs::create_dir_all(&hour).expect("an hour");
        let archive = Arc::new(Archive::new(base.path(), 1 << 20));
        let index = Hour::parse("2026-11-20T10").expect("an hour");
        for passes in 1..=3 {
            for second in 0..10 {
                let name = format!("0{passes}:{second:02}.000-1.000-full-x.ts");
                fs::write(hour.join(name), b"").expect("a segment");
            }
            fs::create_dir(variant.join(format!("2026-11-20T1{passes}"))).expect("another hour");
            set_mtime(&hour, mtime);
            set_mtime(&variant, mtime);
            settle();
            let before = archive.cache_stats();
            for _ in 0..3 {
                assert_eq!(archive.hour(NAME, index).expect("an hour").segments().count(), passes * 10);
                let listing = archive.listing(NAME, "2026-11-20T10").expect("a listing");
                let names: Vec<String> = serde_json::from_slice(&listing.visible.json).expect("JSON");
                assert_eq!(names.len(), passes * 10);
                assert_eq!(archive.hours(NAME).expect("hours").len(), passes + 1);
            }
            let after = archive.cache_stats();
            assert_eq!((after.misses - before.misses, after.hits - before.hits), (1, 2), "{mtime} {passes}");
        }
    }
}

#[test]
fn a_name_that_is_not_a_segments_is_counted_once() {
    use std::os::unix::ffi::OsStrExt as _;
    let base = tempfile::tempdir().expect("a directory");
    let hours = ["2026-11-20T10", "2026-11-20T11"].map(|hour| base.path().join("s/v").join(hour));
    // Nothing is cached, so each hour is read each time.
    let archive = Archive::new(base.path(), 0);
    let read = || {
        for hour in archive.hours(NAME).expect("the hours").iter() {
            archive.hour(NAME, *hour).expect("an hour");
        }
        archive.unparsable_names_total()
    };
    for hour in &hours {
        fs::create_dir_all(hour).expect("an hour");
        for name in ["Thumbs.db".as_ref(), "a.ts".as_ref(), std::ffi::OsStr::from_bytes(b"\xff.ts")] {
            fs::write(hour.join(name), b"").expect("a file");
        }
    }
    assert_eq!([read(), read(), read()], [6, 6, 6]);
    fs::write(hours[1].join("b.ts"), b"").expect("a file");
    fs::write(hours[1].join(std::ffi::OsStr::from_bytes(b"\xfe.ts")), b"").expect("a file");
    assert_eq!([read(), read()], [8, 8]);
}

#[test]
fn an_unchanged_hour_is_read_once() {
    let base = tempfile::tempdir().expect("a directory");
    let hour = base.path().join("s/v/2026-11-20T10");
    fs::create_dir_all(&hour).expect("an hour");
    fs::write(hour.join("00:00.000-1.000-full-x.ts"), b"").expect("a segment");
    settle();
    let archive = Arc::new(Archive::new(base.path(), 1 << 20));
    let index = Hour::parse("2026-11-20T10").expect("an hour");
    for _ in 0..5 {
        assert_eq!(archive.hour(NAME, index).expect("an hour").segments().count(), 1);
    }
    let stats = archive.cache_stats();
    assert_eq!((stats.misses, stats.hits, stats.entries), (1, 4, 1));
    let small = Archive::new(base.path(), 1);
    let uncached = Archive::new(base.path(), 0);
    for archive in [&small, &uncached] {
        for _ in 0..3 {
            assert_eq!(archive.hour(NAME, index).expect("an hour").segments().count(), 1);
        }
        assert_eq!(archive.cache_stats().misses, 3);
        assert_eq!(archive.cache_stats().bytes, 0);
    }
}

#[test]
fn each_change_is_read_at_most_twice_by_concurrent_readers() {
    let base = tempfile::tempdir().expect("a directory");
    let hour = base.path().join("s/v/2026-11-20T10");
    fs::create_dir_all(&hour).expect("an hour");
    let archive = Arc::new(Archive::new(base.path(), 1 << 20));
    let index = Hour::parse("2026-11-20T10").expect("an hour");
    let changes = 20;
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut seen = 0;
                while !done.load(std::sync::atomic::Ordering::SeqCst) {
                    let now = archive.hour(NAME, index).expect("an hour").segments().count();
                    assert!(now >= seen, "{seen} segments became {now}");
                    seen = now;
                }
            });
        }
        for second in 0..changes {
            fs::write(hour.join(format!("00:{second:02}.000-1.000-full-x.ts")), b"").expect("a segment");
            assert_eq!(archive.hour(NAME, index).expect("an hour").segments().count(), second + 1, "at once");
            std::thread::sleep(std::time::Duration::from_millis(30));
        }
        done.store(true, std::sync::atomic::Ordering::SeqCst);
    });
    // The first state of the directory counts as a change.
    let most = 2 * (changes as u64 + 1);
    let stats = archive.cache_stats();
    assert!(stats.misses <= most, "{} readings of {changes} changes", stats.misses);
}

#[test]
fn a_listing_that_changes_is_read_again_even_within_the_mtime_granularity() {
    let base = tempfile::tempdir().expect("a directory");
    let hour = base.path().join("s/v/2026-11-20T10");
    let archive = Archive::new(base.path(), 1 << 20);
    let list = |tombstones| {
        let listing = archive.listing(NAME, "2026-11-20T10").expect("a list");
        let names = if tombstones { &listing.with_tombstones } else { &listing.visible };
        String::from_utf8(names.json.to_vec()).expect("text")
    };
    assert_eq!(list(false), "[]");
    fs::create_dir_all(&hour).expect("an hour");
    assert_eq!(list(false), "[]");
    let mut names = Vec::new();
    for second in 10..50 {
        names.push(format!("\"00:{second}.000-1.000-full-x.ts\""));
        fs::write(hour.join(format!("00:{second}.000-1.000-full-x.ts")), b"").expect("a segment");
        assert_eq!(list(false), format!("[{}]", names.join(",")));
    }
    fs::write(hour.join("00:10.000-1.000-full-x.tombstone"), b"").expect("a tombstone");
    assert_eq!(list(false), format!("[{}]", names[1..].join(",")));
    assert_eq!(list(true), format!("[\"00:10.000-1.000-full-x.tombstone\",{}]", names[1..].join(",")));
    fs::remove_dir_all(&hour).expect("remove the hour");
    assert_eq!((list(false), list(true)), ("[]".to_owned(), "[]".to_owned()));
}

#[test]
fn added_and_removed_hours_are_seen_at_once_even_behind_links() {
    let base = tempfile::tempdir().expect("a directory");
    let variant = base.path().join("s/v");
    let archive = Archive::new(base.path(), 1 << 20);
    let hours =
        || archive.hours(NAME).expect("the hours").iter().map(ToString::to_string).collect::<Vec<_>>();
    assert!(hours().is_empty());
    let name = |number: u32| format!("2026-11-20T{number:02}");
    for number in 0..20 {
        fs::create_dir_all(variant.join(name(number))).expect("an hour");
        assert_eq!(hours(), (0..=number).map(name).collect::<Vec<_>>());
    }
    fs::remove_dir(variant.join(name(7))).expect("remove an hour");
    assert_eq!(hours().len(), 19);
    // The variant's directory does not change while the target of a link appears and disappears.
    let elsewhere = base.path().join("elsewhere");
    std::os::unix::fs::symlink(&elsewhere, variant.join(name(23))).expect("a link");
    std::thread::sleep(std::time::Duration::from_millis(50));
    for _ in 0..2 {
        assert_eq!(hours().len(), 19);
        fs::create_dir(&elsewhere).expect("a directory");
        assert_eq!(hours().last(), Some(&name(23)));
        assert_eq!(hours().len(), 20);
        fs::remove_dir(&elsewhere).expect("remove it");
    }
}

#[test]
fn summaries_outlive_the_indexes_of_evicted_hours() {
    const HASH: &str = "YgymESyiQJNzDMws7vAG6AsWwLPeaFlNQYrCKsMQyQ4";
    let base = tempfile::tempdir().expect("a directory");
    for hour in 0..6 {
        let directory = base.path().join(format!("s/v/2026-11-20T{hour:02}"));
        fs::create_dir_all(&directory).expect("an hour");
        for second in 0..400 {
            let name = format!("{:02}:{:02}.000-{}.000-full-{HASH}.ts", second / 60, second % 60, 1 + hour);
            fs::write(directory.join(name), b"").expect("a segment");
        }
    }
    // Directories with a racy ctime are not cached.
    settle();
    // 55 KiB of it are for indexes, of about 25 KiB for each hour.
    let archive = Archive::new(base.path(), 80 * 1024);
    let hours = archive.hours(NAME).expect("the hours");
    let first = archive.summaries(NAME, &hours).expect("summaries");
    let stats = archive.cache_stats();
    assert!(stats.misses == 6 && stats.entries < 3, "{stats:?}");
    assert_eq!(archive.summaries(NAME, &hours).expect("summaries"), first);
    assert_eq!(archive.cache_stats().misses, 6, "they were read again");
    let longest: Vec<_> = first.iter().map(|summary| (summary.segments, summary.longest)).collect();
    let expected: Vec<_> = (1..=6).map(|seconds| (400, Span::from_secs(seconds))).collect();
    assert_eq!(longest, expected);
    fs::remove_dir_all(base.path().join("s/v/2026-11-20T05")).expect("remove an hour");
    assert_eq!(archive.summaries(NAME, &hours).expect("summaries")[5].segments, 0);
}
