//! `restreamer record`: what it writes, and what it does when its input, its disk or itself fails.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use restreamer::archive::layout::SegmentType;
use restreamer::clock::Clock;
use restreamer::mpegts::pes::TICKS_PER_SECOND;
use restreamer::timestamp::{Span, Timestamp};
use rustix::process::Signal;

use crate::footage::{ffmpeg, look, picture, root};
use crate::harness::{Site, ask, wait_until};
use crate::process::{Output, Program, RESTREAMER, Running};
use crate::recording::{SEGMENTS, VARIANTS, check_name_within, copy_segments, files_of, footage};

/// How long the footage is, and a group of pictures in it.
const SECONDS: i64 = 8;
const GROUP: Span = Span::from_millis(480);

/// A transport stream of eight seconds, whose frames bear numbers, with a key frame every 0.48 s.
fn film() -> &'static Path {
    static FILM: OnceLock<PathBuf> = OnceLock::new();
    FILM.get_or_init(|| {
        let path = root().join("film.ts");
        let kind = crate::footage::FootageKind { seconds: SECONDS, ..crate::footage::PLAIN };
        let sound = format!("sine=frequency=500:sample_rate=48000:duration={SECONDS}");
        let codecs = "-c:v libx264 -preset ultrafast -bf 2 -g 12 -sc_threshold 0 -c:a aac -f mpegts";
        let pictures = picture(&kind);
        let mut args = vec!["-v", "error", "-y", "-f", "lavfi", "-i", &pictures, "-f", "lavfi", "-i", &sound];
        args.extend(codecs.split(' '));
        let shown = path.to_string_lossy().into_owned();
        args.push(&shown);
        ffmpeg(&args);
        path
    })
}

fn record(input: &str, base: &Path, options: &str) -> Running {
    let base = base.to_str().expect("a path in UTF-8");
    let recorder =
        Program::new(RESTREAMER).args(["record", input, base, "test", "v", "--segment-seconds", "0.48"]);
    recorder.args(options.split(' ')).start()
}

fn film_name() -> &'static str {
    film().to_str().expect("a path in UTF-8")
}

/// The segments in an archive of a file, in order; each is checked against its name.
fn segments(base: &Path) -> Vec<(Timestamp, Span, SegmentType)> {
    segments_within(base, Span::ZERO)
}

/// The same for names that may be corrected by so much a segment.
fn segments_within(base: &Path, correction: Span) -> Vec<(Timestamp, Span, SegmentType)> {
    let files = files_of(base, "v").into_iter().filter(|file| !file.to_string_lossy().contains("-temp-"));
    files.map(|file| check_name_within(base, &file, correction)).collect()
}

fn names(base: &Path, kind: &str) -> usize {
    if !base.join("test/v").is_dir() {
        return 0;
    }
    files_of(base, "v").iter().filter(|file| file.to_string_lossy().contains(kind)).count()
}

#[test]
fn a_recorded_file_is_served_like_any_other_recording() {
    let site = Site::at("2026-11-20T12:00");
    let base = site.archive.path();
    let Output { code, stdout, stderr } =
        record(film_name(), base, "--start 2026-11-20T10:59:57 --log-level warn").wait();
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (Some(0), "", ""));
    let found = segments(base);
    assert_eq!(found.len(), 17, "{found:?}");
    assert!(found.iter().all(|(_, _, kind)| *kind == SegmentType::Full));
    assert!(found.windows(2).all(|pair| pair[0].0 + pair[0].1 == pair[1].0), "{found:?}");
    assert_eq!(found[1].0 - found[0].0, GROUP);
    let whole = "start=2026-11-20T10:59:57&end=2026-11-20T11:00:05";
    let playlist = site.get(&format!("/playlist/test/v.m3u8?{whole}")).text();
    assert_eq!(playlist.matches("#EXTINF").count(), 17);
    assert!(!playlist.contains("DISCONTINUITY"), "{playlist}");
    let range = "start=2026-11-20T10:59:58.2&end=2026-11-20T11:00:01.4";
    for (kind, range, frames) in [("smart", range, 30..110), ("rough", whole, 0..200)] {
        let cut = site.get(&format!("/cut/test/v.ts?{range}&type={kind}"));
        assert_eq!(cut.status, 200, "{}", String::from_utf8_lossy(&cut.body));
        let path = root().join(format!("recorder-{kind}.ts"));
        fs::write(&path, cut.body).expect("write the cut");
        let shown = look(&path, 1, true);
        assert_eq!((shown.warnings.as_str(), shown.numbers), ("", frames.collect()), "{kind}");
    }
}

#[test]
fn a_source_whose_clock_wraps_is_recorded_without_a_gap() {
    // ffmpeg lets the clock of its output begin here, so that its 33 bits end within the fourth second.
    let base = tempfile::tempdir().expect("a temporary directory");
    let directory = base.path().to_str().expect("a path in UTF-8");
    let recorder = Program::new(RESTREAMER).args(["record", film_name(), directory, "test", "v"]);
    let recorder = recorder.args(["--segment-seconds", "0.48", "--start", "2026-11-20T10:59:57"]);
    let recorder = recorder.args(["--log-level", "warn", "--ffmpeg-args", "-copyts -itsoffset 95439"]);
    let Output { code, stderr, .. } = recorder.start().wait();
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let found = segments(base.path());
    assert_eq!(found.len(), 17, "{found:?}");
    assert!(found.iter().all(|(_, _, kind)| *kind == SegmentType::Full), "{found:?}");
    assert!(found.windows(2).all(|pair| pair[0].0 + pair[0].1 == pair[1].0), "{found:?}");
}

#[test]
fn of_two_recorders_that_overlap_at_most_one_segment_is_skipped() {
    let site = Site::at("2026-11-20T12:00");
    for start in ["2026-11-20T10:59:57", "2026-11-20T11:00:01.203"] {
        let options = format!("--start {start} --log-level warn");
        let Output { code, stderr, .. } = record(film_name(), site.archive.path(), &options).wait();
        assert_eq!((code, stderr.as_str()), (Some(0), ""));
    }
    let range = "start=2026-11-20T10:59:57&end=2026-11-20T11:00:09.203";
    let playlist = site.get(&format!("/playlist/test/v.m3u8?{range}")).text();
    let durations = playlist.lines().filter_map(|line| line.strip_prefix("#EXTINF:"));
    let total: f64 = durations.map(|text| text.trim_end_matches(',').parse::<f64>().expect("seconds")).sum();
    assert!((12.203 - 0.5..12.203 + 0.02).contains(&total), "{total} {playlist}");
    assert_eq!(playlist.matches("#EXT-X-DISCONTINUITY\n").count(), 1, "{playlist}");
}

#[test]
fn what_a_killed_recorder_has_left_is_named_by_the_next_one() {
    let base = tempfile::tempdir().expect("a temporary directory");
    let recorder = record(film_name(), base.path(), "--log-level warn");
    wait_until("segments are written", || {
        names(base.path(), "-full-") >= 3 && names(base.path(), "-temp-") == 1
    });
    recorder.signal(Signal::KILL);
    recorder.wait();
    assert_eq!(names(base.path(), "-temp-"), 1);
    // Files of others stay, and one without a frame goes.
    let hour = files_of(base.path(), "v")[0].parent().expect("an hour").to_owned();
    let hour = base.path().join(hour);
    let other = hour.join("59:59.000-2.000-temp-3f0c8b1e-0000-4000-8000-1234567890ab.ts");
    fs::write(&other, b"x").expect("write a file");
    fs::write(hour.join("59:58.000-2.000-temp-recorder-1.ts"), b"G").expect("write a file");
    let Output { code, stderr, .. } =
        record(film_name(), base.path(), "--start 2001-01-01T00:00 --log-level warn").wait();
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(stderr.matches("an earlier recorder has left").count(), 2, "{stderr}");
    fs::remove_file(other).expect("it is still there");
    let left = names(base.path(), "-partial-");
    assert!(names(base.path(), "-temp-") == 0 && left <= 1, "{:?}", files_of(base.path(), "v"));
    let found = segments_within(base.path(), CORRECTION);
    let before =
        found.iter().filter(|(start, _, _)| *start > Timestamp::parse("2020-01-01").expect("a time"));
    let before: Vec<_> = before.collect();
    assert!(before.windows(2).all(|pair| pair[0].0 + pair[0].1 == pair[1].0), "{before:?}");
}

#[test]
fn recording_goes_on_when_the_disk_is_back() {
    let base = tempfile::tempdir().expect("a temporary directory");
    let disk = base.path().join("test");
    fs::write(&disk, b"no directory").expect("write a file");
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its number").port();
    let recorder = record(film_name(), base.path(), &format!("--log-level info --metrics {port}"));
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    wait_until("metrics are served", || TcpStream::connect(address).is_ok());
    let metrics = || ask(address, "GET", "/metrics", &[]).text();
    wait_until("some segments could not be written", || {
        let metrics = metrics();
        let mut failures =
            metrics.lines().filter_map(|line| line.strip_prefix("recorder_disk_failures_total "));
        failures.any(|count| count.parse::<u32>().is_ok_and(|count| count >= 2))
    });
    assert_eq!(ask(address, "GET", "/", &[]).status, 404);
    fs::remove_file(&disk).expect("remove the file");
    wait_until("segments are written", || names(base.path(), "-full-") >= 2);
    recorder.signal(Signal::TERM);
    let Output { code, stderr, .. } = recorder.wait();
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(stderr.matches("cannot write to").count(), 1, "{stderr}");
    assert_eq!(stderr.matches("can write to").count(), 1, "{stderr}");
    let found = segments_within(base.path(), CORRECTION);
    assert!(found.iter().all(|(_, _, kind)| *kind == SegmentType::Full), "{found:?}");
}

/// Sends the film as a live source: bursts of what the clock of its packets says, for `range` of it in seconds.
fn send(socket: &UdpSocket, to: u16, origin: Instant, range: std::ops::Range<i64>) {
    let bytes = fs::read(film()).expect("the film");
    let packets: Vec<_> =
        bytes.chunks_exact(188).filter_map(restreamer::mpegts::packet::Packet::new).collect();
    let mut first = None;
    let mut at = 0;
    for group in packets.chunks(7) {
        for packet in group {
            if let Some(pcr) = packet.pcr() {
                let pcr = i64::try_from(pcr / 300).expect("a PCR");
                at = pcr - *first.get_or_insert(pcr);
            }
        }
        if !(range.start * TICKS_PER_SECOND..range.end * TICKS_PER_SECOND).contains(&at) {
            continue;
        }
        let due = Duration::from_micros(u64::try_from(at * 100 / 9).expect("a time"));
        std::thread::sleep((origin + due).saturating_duration_since(Instant::now()));
        let bytes: Vec<u8> = group.iter().flat_map(|packet| *packet.bytes()).collect();
        // Nobody may listen yet.
        let _ = socket.send_to(&bytes, ("127.0.0.1", to));
    }
}

#[test]
fn a_gap_of_a_live_source_is_a_gap_of_the_same_length() {
    let base = tempfile::tempdir().expect("a temporary directory");
    film();
    let port = UdpSocket::bind("127.0.0.1:0").expect("a port").local_addr().expect("its number").port();
    let secret = "s3cr3tp4ss";
    let address = base.path().join("address");
    fs::write(&address, format!("udp://127.0.0.1:{port}?dummy={secret}\n")).expect("write the address");
    let input = format!("@{}", address.display());
    let recorder = Program::new(RESTREAMER).args(["record", &input]).args([base.path()]).args(["test", "v"]);
    let recorder = recorder.args(["--segment-seconds", "0.48", "--log-level", "info"]);
    let recorder = recorder.args(["--ffmpeg-args", "-analyzeduration 1000000 -f mpegts"]).start();
    let shown = format!(":{port:04X} ");
    wait_until("ffmpeg listens", || {
        fs::read_to_string("/proc/net/udp").is_ok_and(|table| table.contains(&shown))
    });
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let origin = Instant::now();
    let began = Clock::System.now();
    send(&socket, port, origin, 0..3);
    send(&socket, port, origin, 5..8);
    wait_until("all is recorded", || segments_end(base.path()) > began + Span::from_millis(6500));
    recorder.signal(Signal::TERM);
    let Output { code, stdout, stderr } = recorder.wait();
    assert_eq!((code, stdout.as_str()), (Some(0), ""), "{stderr}");
    assert!(!stderr.contains(secret), "{stderr}");
    let found = segments_within(base.path(), CORRECTION);
    let ends = found.windows(2).map(|pair| pair[1].0 - (pair[0].0 + pair[0].1));
    let gaps: Vec<_> = ends.filter(|gap| *gap != Span::ZERO).collect();
    let [gap] = gaps[..] else { panic!("{gaps:?} {found:?}") };
    assert!((Span::from_millis(1500)..Span::from_millis(3000)).contains(&gap), "{gap}");
    // Names are the wall clock, less what an encoder and a test that is late for its turn add.
    let late = found[0].0 - began;
    assert!((Span::from_millis(-300)..Span::from_millis(900)).contains(&late), "{late} {stderr}");
    for file in files_of(base.path(), "v") {
        let (start, ..) = check_name_within(base.path(), &file, CORRECTION);
        let pts = crate::recording::video_pts(&base.path().join(&file))[0];
        let ticks = start.micros() * 9 / 100 % (1 << 33);
        assert!((pts - ticks).abs() < TICKS_PER_SECOND / 10, "{file:?}: {pts} {ticks}");
    }
}

#[test]
fn the_names_of_a_list_that_gives_times_are_those_times() {
    // What is recorded is served as lists, and these are recorded.
    let footage = footage();
    let site = Site::at("2026-11-20T11:00:19");
    for (variant, _) in VARIANTS {
        copy_segments(footage, site.archive.path(), &files_of(footage, variant));
    }
    let starts = SEGMENTS.map(|name| name.strip_suffix("-2.000-full-").expect("a whole segment"));
    for (list, options, expected) in [
        // A list that has ended, in a list of variants.
        ("/playlist/test.m3u8?start=2026-11-20T10:59:54&end=2026-11-20T11:00:04", "", &starts[..5]),
        // A live one.
        ("/playlist/test/source.m3u8?start=2026-11-20T10:59:54", "-live_start_index 3", &starts[3..5]),
    ] {
        let base = tempfile::tempdir().expect("a temporary directory");
        let (directory, input) =
            (base.path().to_str().expect("text"), format!("http://{}{list}", site.address));
        let recorder = Program::new(RESTREAMER).args(["record", &input, directory, "test", "v"]);
        let recorder =
            recorder.args(["--retry", "0", "--log-level", "info", "--ffmpeg-args", options]).start();
        wait_until("all but the last segment is complete", || {
            recorder.has_ended() || names(base.path(), "") > names(base.path(), "-temp-") + expected.len() - 2
        });
        recorder.signal(Signal::TERM);
        let Output { stderr, .. } = recorder.wait();
        assert!(!stderr.contains("playlist"), "{stderr}");
        let found = files_of(base.path(), "v");
        assert!(found.len() >= expected.len(), "{list}: {found:?} {stderr}");
        let found =
            found.iter().map(|file| file.strip_prefix("test/v").expect("a segment").to_string_lossy());
        for (found, expected) in found.zip(expected) {
            assert!(found.starts_with(expected), "{list}: {found} {expected} {stderr}");
        }
    }
}

/// By how much the names of a live source follow the wall clock, at most, with each segment.
const CORRECTION: Span = Span::from_millis(1);

fn segments_end(base: &Path) -> Timestamp {
    let last =
        if names(base, "-full-") == 0 { None } else { segments_within(base, CORRECTION).last().copied() };
    last.map_or(Timestamp::MIN, |(start, duration, _)| start + duration)
}

#[test]
fn inputs_that_cannot_be_recorded_are_refused_with_the_reason() {
    let base = tempfile::tempdir().expect("a temporary directory");
    fs::write(base.path().join("empty"), "\n").expect("write a file");
    let empty = format!("@{}", base.path().join("empty").display());
    for (input, options, expected_code, reason) in [
        ("/nowhere.ts", "--log-level warn", 1, "No such file"),
        (&empty, "--log-level warn", 1, "the input's address is empty"),
        ("env:NOTHING", "--log-level warn", 1, "the variable `NOTHING` holds no address"),
        ("x.ts", "--ffmpeg /nowhere/ffmpeg", 1, "cannot run ffmpeg"),
        ("x.ts", "--start 2026-11-20T10:00 --retry 3", 2, "--retry must be 0"),
    ] {
        let Output { code, stderr, .. } = record(input, base.path(), options).wait();
        assert_eq!(code, Some(expected_code), "{input}: {stderr}");
        assert!(stderr.contains(reason) && stderr.lines().count() == 1, "{input}: {stderr}");
    }
}
