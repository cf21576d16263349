//! Live windows under a model of a client that reloads: entries keep their numbers, and none comes back (RFC 8216,
//! sections 6.2.1 and 6.2.2).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::harness::{Answer, app, ask, serve, time};
use crate::process::is_long_run;
use restreamer::clock::Clock;
use restreamer::server::{Limits, Server};
use restreamer::timestamp::{Span, Timestamp};

/// A playlist as a client reads it.
#[derive(Debug, Clone, Default)]
struct Playlist {
    target: i64,
    first: i64,
    /// The entries: discontinuity sequence number, duration in seconds, URI.
    entries: Vec<(i64, f64, String)>,
    skipped: usize,
    can_skip_until: Option<f64>,
    version: i64,
}

impl Playlist {
    /// Parses a playlist; of an update, only what it repeats.
    fn parse(text: &str) -> Self {
        let mut playlist = Self::default();
        let (mut discontinuity, mut duration) = (0, 0.0);
        for line in text.lines() {
            let (tag, value) = line.split_once(':').unwrap_or((line, ""));
            match tag {
                "#EXT-X-VERSION" => playlist.version = value.parse().expect(line),
                "#EXT-X-TARGETDURATION" => playlist.target = value.parse().expect(line),
                "#EXT-X-MEDIA-SEQUENCE" => playlist.first = value.parse().expect(line),
                "#EXT-X-DISCONTINUITY-SEQUENCE" => discontinuity = value.parse().expect(line),
                "#EXT-X-DISCONTINUITY" => discontinuity += 1,
                "#EXT-X-SERVER-CONTROL" => {
                    let seconds = value.strip_prefix("CAN-SKIP-UNTIL=").expect(line);
                    playlist.can_skip_until = Some(seconds.parse().expect(line));
                }
                "#EXT-X-SKIP" => {
                    let number = value.strip_prefix("SKIPPED-SEGMENTS=").expect(line);
                    playlist.skipped = number.parse().expect(line);
                }
                "#EXTINF" => duration = value.trim_end_matches(',').parse().expect(line),
                "#EXT-X-ENDLIST" | "#EXT-X-PLAYLIST-TYPE" => panic!("a live window has no {line}"),
                _ if !line.starts_with('#') => {
                    playlist.entries.push((discontinuity, duration, line.to_owned()));
                }
                _ => {}
            }
        }
        playlist
    }

    fn end(&self) -> i64 {
        self.first + i64::try_from(self.entries.len()).expect("few")
    }

    fn get(&self, number: i64) -> Option<&(i64, f64, String)> {
        usize::try_from(number - self.first).ok().and_then(|index| self.entries.get(index))
    }

    fn seconds(&self) -> f64 {
        self.entries.iter().map(|entry| entry.1).sum()
    }
}

/// A client that reloads a playlist and checks what it sees against what it has seen.
#[derive(Debug, Default)]
struct Client {
    last: Option<Playlist>,
    /// All URIs so far, with their numbers.
    numbers: BTreeMap<String, i64>,
}

impl Client {
    fn see(&mut self, text: &str) {
        let now = Playlist::parse(text);
        for (number, entry) in (now.first..).zip(&now.entries) {
            let known = self.numbers.insert(entry.2.clone(), number);
            assert!(
                known.is_none_or(|known| known == number),
                "{} had number {known:?}, now {number}",
                entry.2
            );
            assert!(entry.1 <= to_f64(now.target) + 0.5, "{entry:?} is longer than {}", now.target);
        }
        if let Some(last) = &self.last {
            assert!(now.first >= last.first, "entries before {} come back at {}", last.first, now.first);
            assert!(now.end() >= last.end(), "entries are taken back: {} is now {}", last.end(), now.end());
            assert!(now.target >= last.target, "the target duration falls to {}", now.target);
            for number in now.first..last.end() {
                assert_eq!(now.get(number), last.get(number), "entry {number} has changed");
            }
        }
        self.last = Some(now);
    }

    /// The playlist that an update makes of the last one.
    fn update(&self, text: &str) -> Playlist {
        let mut update = Playlist::parse(text);
        assert_eq!(update.version, 9);
        let last = self.last.as_ref().expect("a playlist");
        let skipped = update.first..update.first + i64::try_from(update.skipped).expect("few");
        let entries: Vec<_> = skipped.map(|number| last.get(number).expect("it was there").clone()).collect();
        let offset =
            entries.last().map_or(0, |entry| entry.0) - discontinuities_before_repeated(text, entries.last());
        let repeated: Vec<_> = update
            .entries
            .iter()
            .map(|(number, duration, uri)| (number + offset, *duration, uri.clone()))
            .collect();
        update.entries = [entries, repeated].concat();
        update
    }
}

/// The discontinuity sequence number that a parser has reached behind `EXT-X-SKIP`, if it counts no skipped tags.
fn discontinuities_before_repeated(text: &str, skipped: Option<&(i64, f64, String)>) -> i64 {
    let line = text.lines().find_map(|line| line.strip_prefix("#EXT-X-DISCONTINUITY-SEQUENCE:"));
    skipped.map_or(0, |_| line.expect("a number").parse().expect("a number"))
}

fn to_f64(number: i64) -> f64 {
    f64::from(i32::try_from(number).expect("small"))
}

/// Numbers that look random but are the same in each run (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// The file to which all segments are links.
const EMPTY: &str = ".empty";

/// An archive that grows with a clock that the test sets.
struct World {
    base: tempfile::TempDir,
    clock: Arc<AtomicI64>,
    /// Segments that are not written yet: when, and the path.
    pending: BTreeMap<(Timestamp, u64), PathBuf>,
    count: u64,
}

impl World {
    fn at(start: Timestamp) -> Self {
        let clock = Arc::new(AtomicI64::new(start.micros()));
        let base = tempfile::tempdir().expect("a directory");
        std::fs::write(base.path().join(EMPTY), b"").expect("an empty file");
        Self { base, clock, pending: BTreeMap::new(), count: 0 }
    }

    fn variant(&self) -> PathBuf {
        self.base.path().join("s/v")
    }

    fn server(&self) -> Server {
        let clock = Clock::Manual(Arc::clone(&self.clock));
        serve(Arc::new(app(self.base.path(), clock)), Limits::default())
    }

    /// Plans a segment that starts at `start` and is written at `at`.
    fn plan(&mut self, start: Timestamp, seconds: i64, at: Timestamp, recorder: &str) {
        let hour = start.hour();
        let offset = (start - hour.start()).micros();
        let (minutes, seconds_of, micros) =
            (offset / 60_000_000, offset / 1_000_000 % 60, offset % 1_000_000);
        let name = format!("{minutes:02}:{seconds_of:02}.{micros:06}-{seconds}.0-full-{recorder}.ts");
        self.count += 1;
        self.pending.insert((at, self.count), self.variant().join(hour.to_string()).join(name));
    }

    /// Lets time pass until `now`.
    fn pass(&mut self, now: Timestamp) {
        while let Some(entry) = self.pending.first_entry().filter(|entry| entry.key().0 <= now) {
            let path = entry.remove();
            std::fs::create_dir_all(path.parent().expect("an hour")).expect("an hour");
            // A new link takes less time than a new file.
            std::fs::hard_link(self.base.path().join(EMPTY), path).expect("a segment");
        }
        self.clock.store(now.micros(), Ordering::SeqCst);
    }

    /// Deletes what is in hours before `hour`, oldest first, at most `files` files.
    fn delete_before(&self, hour: Timestamp, mut files: usize) {
        for directory in sorted(&self.variant()) {
            let name = directory.file_name().expect("a name").to_string_lossy().into_owned();
            if Timestamp::parse(&name).is_none_or(|start| start >= hour) {
                return;
            }
            for file in sorted(&directory) {
                if files == 0 {
                    return;
                }
                files -= 1;
                std::fs::remove_file(file).expect("a segment");
            }
            std::fs::remove_dir(directory).expect("an hour");
        }
    }
}

fn sorted(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

fn get(server: &Server, target: &str) -> Answer {
    ask(server.address(), "GET", target, &[])
}

fn text(server: &Server, target: &str) -> String {
    let answer = get(server, target);
    assert_eq!(answer.status, 200, "{target}: {}", answer.text());
    answer.text()
}

/// The address of the variant in a multivariant playlist.
fn variant_address(server: &Server, target: &str) -> String {
    let text = text(server, target);
    let uri = text.lines().find(|line| !line.starts_with('#')).expect("a variant").to_owned();
    format!("/playlist/{uri}")
}

/// Plans segments of 10 s, some late, some missing, a pause, a few of another length.
fn plan_days(world: &mut World, random: &mut Random, start: Timestamp, end: Timestamp) {
    let mut at = start;
    while at < end {
        let seconds = if random.below(50) == 0 { 7 } else { 10 };
        let late = if random.below(6) == 0 { i64::try_from(random.below(14)).expect("small") } else { 0 };
        if random.below(40) != 0 {
            world.plan(at, seconds, at + Span::from_secs(seconds + late), "x");
        }
        at = at + Span::from_secs(seconds);
        if random.below(3000) == 0 {
            at = at + Span::from_secs(5000);
        }
    }
}

/// Checks that an update makes the whole playlist, and repeats no more of it than it has to.
fn check_update(whole: &Playlist, update: &Playlist) {
    assert_eq!((update.first, &update.entries), (whole.first, &whole.entries));
    assert!(update.skipped > 0);
    let repeated = &whole.entries[update.skipped..];
    let seconds: f64 = repeated.iter().map(|entry| entry.1).sum();
    assert!(seconds >= to_f64(6 * whole.target) && repeated.len() < 20, "{seconds} s are repeated");
}

#[test]
fn a_window_keeps_the_numbers_of_its_entries_for_days() {
    let mut random = Random(0x2545_F491_4F6C_DD1D);
    let start = time("2026-11-20T10:57:03.25");
    let mut world = World::at(start);
    let end = start + Span::from_secs(2 * 24 * 3600);
    plan_days(&mut world, &mut random, start, end);
    let mut now = start + Span::from_secs(600);
    world.pass(now);
    let (mut server, other) = (world.server(), world.server());
    let multivariant = "/playlist/s.m3u8?start=-1h";
    let mut anchored = variant_address(&server, multivariant);
    assert_eq!(anchored, "/playlist/s/v.m3u8?start=-1h&anchor=2026-11-20T10");
    let plain = "/playlist/s/v.m3u8?start=now-1h";
    // Longer than segments are kept, so that its first entries are deleted.
    let long = "/playlist/s/v.m3u8?start=-6h";
    let (mut one, mut two, mut three) = (Client::default(), Client::default(), Client::default());
    let (mut before_restart, mut updates) = (0, 0);
    while now < end {
        now = now + Span::from_millis(i64::try_from(60_000 + random.below(840_000)).expect("small"));
        world.pass(now);
        // Hours are kept for three hours; a prune deletes some files at a time.
        let files = usize::try_from(random.below(500)).expect("small");
        world.delete_before(now - Span::from_secs(3 * 3600), files);
        if random.below(100) == 0 {
            // A restart: what was counted before is lost.
            server = world.server();
            before_restart = two.last.as_ref().map_or(0, |last| last.first);
            (two, three) = (Client::default(), Client::default());
            let answer = get(&server, &anchored);
            if answer.status == 410 {
                let text = "the anchor was deleted: load the multivariant playlist again\n";
                assert_eq!(answer.text(), text);
                anchored = variant_address(&server, multivariant);
                one = Client::default();
            }
        }
        let shown = text(&server, &anchored);
        one.see(&shown);
        if let Some(last) = one.last.as_ref().filter(|last| last.can_skip_until.is_some()) {
            check_update(last, &one.update(&text(&server, &format!("{anchored}&_HLS_skip=YES"))));
            updates += 1;
        }
        let answer = get(&other, &anchored);
        if answer.status == 200 {
            assert_eq!(answer.text(), shown, "two servers show the same");
        }
        two.see(&text(&server, plain));
        three.see(&text(&server, long));
        let last = two.last.as_ref().expect("a playlist");
        assert!(last.first >= before_restart, "numbers jump forward, if they jump");
        assert!(last.entries.is_empty() || last.seconds() >= to_f64(3 * last.target).min(600.0));
    }
    assert!(one.numbers.len() > 500 && two.numbers.len() > 100 && updates > 100);
    drop((server, other));
}

#[test]
fn a_window_over_two_staggered_recorders_never_swaps_its_contents() {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let start = time("2026-11-20T10:50:00");
    let mut world = World::at(start);
    let end = start + Span::from_secs(if is_long_run() { 6 } else { 3 } * 3600);
    for (recorder, stagger) in [("a", 0), ("b", 1300)] {
        let mut at = start + Span::from_millis(stagger);
        while at < end {
            let late = Span::from_millis(i64::try_from(random.below(12_000)).expect("small"));
            if random.below(30) != 0 {
                world.plan(at, 4, at + Span::from_secs(4) + late, recorder);
            }
            at = at + Span::from_secs(4);
        }
    }
    let mut now = start + Span::from_secs(120);
    world.pass(now);
    let server = world.server();
    let mut clients: Vec<(String, Client)> =
        ["start=-2m", "start=now-10m", "start=-1s", "start=-2m&anchor=2026-11-20T10"]
            .map(|query| (format!("/playlist/s/v.m3u8?{query}"), Client::default()))
            .into();
    while now < end {
        now = now + Span::from_millis(i64::try_from(3000 + random.below(60_000)).expect("small"));
        world.pass(now);
        for (target, client) in &mut clients {
            client.see(&text(&server, target));
        }
    }
}
