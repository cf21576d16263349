//! MP4 in Chromium and Firefox: movies by their address, and fragmented playlists through Media Source Extensions.
//! Frames show their numbers, which the page reads back from a canvas.

use std::ops::Range;
use std::sync::OnceLock;

use restreamer::cut::CutSegment;
use restreamer::timestamp::{Span, Timestamp};
use serde_json::{Value, json};

use crate::browsers::{Browser, Start};
use crate::cuts::file;
use crate::footage::{FootageKind, PLAIN, base, make};
use crate::harness::Site;
use crate::phone::check_phone;

/// Frames a second.
const RATE: i64 = 25;

/// The frames of a segment, which has a group of pictures.
const GROUP: i64 = 25;

/// The frames of a run of four segments.
pub(crate) const FRAMES: i64 = 4 * GROUP;

/// A frame of sound, in seconds.
const SOUND_FRAME: f64 = 1024.0 / 44_100.0;

/// When the first frame of all is shown, in seconds since 1970.
fn epoch() -> i64 {
    base().micros() / 1_000_000
}

/// A part of the recording on one clock.
pub(crate) struct Run {
    name: &'static str,
    /// When its first frame is shown, in seconds after that of the recording.
    start: i64,
    /// The PTS of its first frame in ticks of 90 kHz, for the seconds since 1970 at which it is shown.
    first_pts: fn(i64) -> i64,
}

/// Two runs with a gap between them. The first crosses an hour border.
pub(crate) const RUNS: [Run; 2] = [
    Run { name: "wall clock", start: 0, first_pts: |seconds| (seconds * 90_000).rem_euclid(1 << 33) },
    Run { name: "arbitrary clock", start: 10, first_pts: |_| 4_500_000_000 },
];

/// A page with a video element and functions that drive it. `open` is the whole of a player of fragmented playlists.
const PAGE: &str = include_str!("../data/movie.html");
/// A function for scripts: the number that the picture shows, by the blocks in it.
pub(crate) const FRAME_NUMBER: &str = include_str!("../data/frame_number.js");

/// A server of the recording, and of a page.
pub(crate) fn recorded() -> Site {
    let site = Site::at("2026-11-20T11:30:00");
    for segment in segments().iter().flatten() {
        file(site.archive.path(), segment);
    }
    site.write("s/page.html", PAGE.replace("{frame_number}", FRAME_NUMBER).as_bytes());
    site
}

/// The segments of each run.
fn segments() -> &'static [Vec<CutSegment>; 2] {
    static MADE: OnceLock<[Vec<CutSegment>; 2]> = OnceLock::new();
    MADE.get_or_init(|| RUNS.each_ref().map(record))
}

/// Makes the segments of a run.
fn record(run: &Run) -> Vec<CutSegment> {
    let first_pts = (run.first_pts)(epoch() + run.start);
    let micros = (first_pts * 100 + 4) / 9;
    let codecs = format!(
        "-c:v libx264 -preset ultrafast -bf 2 -sc_threshold 0 -g {GROUP} -pix_fmt yuv420p -c:a aac \
         -output_ts_offset {micros}us -muxdelay 0 -muxpreload 0"
    );
    let kind = FootageKind {
        name: run.name,
        seconds: FRAMES / RATE,
        segment_seconds: GROUP / RATE,
        codecs: &codecs,
        ..PLAIN
    };
    let mut segments = make(&kind).segments;
    for segment in &mut segments {
        segment.start = segment.start + Span::from_secs(run.start);
        segment.end = segment.end + Span::from_secs(run.start);
    }
    segments
}

/// Opens the page in a browser.
fn open_page(browser: &mut Browser, site: &Site) {
    browser.open(&format!("http://{}/segments/s/page.html", site.address));
}

/// The middle of the time in which a frame is shown, in seconds after the first of its run.
fn middle(frame: i64) -> f64 {
    let half_frames = i32::try_from(2 * frame + 1).expect("a small number");
    f64::from(half_frames) / f64::from(i32::try_from(2 * RATE).expect("a small number"))
}

/// A part of a run as a movie.
struct Clip {
    run: &'static Run,
    /// The type of the cut.
    cut: &'static str,
    /// The numbers of its frames.
    frames: Range<i64>,
}

/// Clips that every browser shows exactly: parts of groups of pictures that are encoded, and whole groups that are copied.
/// Those of type `full` are fragmented, without a length.
const CLIPS: [Clip; 4] = [
    Clip { run: &RUNS[0], cut: "smart", frames: 10..58 },
    Clip { run: &RUNS[1], cut: "smart", frames: 33..80 },
    Clip { run: &RUNS[1], cut: "copy", frames: GROUP..3 * GROUP },
    Clip { run: &RUNS[0], cut: "full", frames: 33..60 },
];

/// Parts of groups that are copied, of which Firefox shows more: it does not honor an edit list to the frame.
const COPIED_WITHIN_GROUPS: Clip = Clip { run: &RUNS[0], cut: "copy", frames: 30..62 };

impl Clip {
    /// The address of the clip.
    fn address(&self) -> String {
        let time = |frame: i64| frame_time(self.run, frame);
        let (start, end) = (time(self.frames.start), time(self.frames.end));
        format!("/cut/s/v.mp4?start={start}&end={end}&type={}&inline=true", self.cut)
    }
}

/// When a frame of a run is shown.
pub(crate) fn frame_time(run: &Run, frame: i64) -> Timestamp {
    base() + Span::from_micros(run.start * 1_000_000 + frame * 1_000_000 / RATE)
}

/// Plays a movie, and seeks in it, forward and back, if it has a length.
fn check_clip(browser: &mut Browser, site: &Site, clip: &Clip) {
    let name = format!("{} of {} in {}", clip.cut, clip.run.name, browser.name);
    let Range { start, end } = clip.frames;
    let all = [end - 1, start, i64::midpoint(start, end), 2 * GROUP, 2 * GROUP - 1, start + 1, end - 2];
    // A fragmented movie is sent once, from its start to its end.
    let chosen = if clip.cut == "full" { &all[..0] } else { &all[..] };
    let frames: Vec<_> = chosen.iter().map(|number| (*number, middle(*number - start))).collect();
    open_page(browser, site);
    let (address, last) = (json!(clip.address()), end - 1);
    let (fewest, most) = counts(&(start..end), last);
    let seen = browser.run(&format!(
        "const begin = async () => {{
            video.src = {address};
            await event(video, 'canplaythrough');
            return 0;
        }};
        const counted = await count({fewest}, {most}, begin);
        const {{duration}} = video;
        return {{...counted, duration, hasSound: hasSound(), seeked: await seek({})}};",
        json!(frames)
    ));
    check_played(&name, &seen, start..end, last);
    assert_eq!(seen["seeked"], json!(chosen), "{name}: after seeks to {frames:?}");
    let duration = seen["duration"].as_f64().expect("a duration");
    let expected = middle(last - start) + middle(0);
    assert!((duration - expected).abs() < SOUND_FRAME, "{name}: {duration} s instead of {expected} s");
}

/// The fewest and the most frames that a browser counts which has played up to the frame `last` at least.
fn counts(frames: &Range<i64>, last: i64) -> (i64, i64) {
    // Firefox does not always count the first frame.
    (last - frames.start, frames.end - frames.start)
}

/// Checks what a browser has shown of `frames`, which it played up to the frame `last` at least.
fn check_played(name: &str, seen: &Value, frames: Range<i64>, last: i64) {
    let numbers = seen["played"].as_array().expect("numbers").iter().filter_map(Value::as_i64);
    let numbers: Vec<_> = numbers.collect();
    assert!(numbers.is_sorted(), "{name}: it went back: {numbers:?}");
    assert!(numbers.iter().all(|number| frames.contains(number)), "{name}: not {frames:?}: {numbers:?}");
    assert!(numbers.last() >= Some(&last), "{name}: not up to {last}: {numbers:?}");
    let (fewest, most) = counts(&frames, last);
    let count = seen["frames"].as_i64().expect("a number");
    assert!((fewest..=most).contains(&count), "{name}: {count} of {fewest} to {most} frames");
    assert_eq!(seen["hasSound"], true, "{name}");
}

/// The address of a multivariant playlist of the whole recording as fragmented MP4.
const FRAGMENTED: &str = "/playlist/s.m3u8?start=2026-11-20T10:59&end=2026-11-20T11:01&container=fmp4";

/// Plays each run of a fragmented playlist, and shows each frame near a join of two segments. `currentTime` is in seconds
/// since 1970.
fn check_fragmented(browser: &mut Browser, site: &Site) {
    open_page(browser, site);
    let address = json!(FRAGMENTED);
    let ranges = browser.run(&format!("await open({address}); return buffered();"));
    let expected: Vec<_> = RUNS.iter().map(|run| at(run, 0..FRAMES)).collect();
    let found: Vec<[f64; 2]> = serde_json::from_value(ranges).expect("ranges");
    assert_eq!(found.len(), expected.len(), "{}: one range for each run: {found:?}", browser.name);
    for (found, expected) in found.iter().zip(&expected) {
        let off = found.iter().zip(expected).map(|(found, expected)| (found - expected).abs());
        assert!(off.fold(0.0, f64::max) < 2.0 * SOUND_FRAME, "{}: {found:?}, not {expected:?}", browser.name);
    }
    for (index, run) in RUNS.iter().enumerate() {
        let name = format!("{} in {}", run.name, browser.name);
        // Before a gap Chromium waits for more: when it has played most of the last frames, and at once after a seek.
        let is_last = index + 1 == RUNS.len();
        let (last, last_sought) =
            if is_last { (FRAMES - 1, FRAMES - 1) } else { (FRAMES - 5, FRAMES - GROUP / 2) };
        let time = |number: i64| at(run, 0..0)[0] + middle(number);
        let (fewest, most) = counts(&(0..FRAMES), last);
        let seen = browser.run(&format!(
            "const begin = async () => {{
                const before = total();
                await seek([[0, {}]]);
                return before;
            }};
            return {{...await count({fewest}, {most}, begin, {last}), hasSound: hasSound()}};",
            time(0)
        ));
        check_played(&name, &seen, 0..FRAMES, last);
        let near_joins = (1..FRAMES / GROUP).rev().flat_map(|index| index * GROUP - 2..index * GROUP + 2);
        let chosen: Vec<_> = near_joins.chain([0, last_sought]).collect();
        let frames: Vec<_> = chosen.iter().map(|number| (*number, time(*number))).collect();
        let seeked = browser.run(&format!("return seek({});", json!(frames)));
        assert_eq!(seeked, json!(chosen), "{name}: after seeks to {frames:?}");
    }
}

/// When frames of a run are shown, in seconds since 1970: when the first begins and the last ends.
fn at(run: &Run, frames: Range<i64>) -> [f64; 2] {
    [frames.start, frames.end].map(|frame| {
        let micros = (base() + Span::from_secs(run.start)).micros() + frame * 1_000_000 / RATE;
        let seconds = i32::try_from(micros / 1_000_000).expect("a time before 2038");
        f64::from(seconds) + f64::from(i32::try_from(micros % 1_000_000).expect("less than a second")) / 1e6
    })
}

/// Plays clips, and fragments, in one browser, because its start takes seconds.
fn plays_movies<'a>(start: Start, clips: impl IntoIterator<Item = &'a Clip>) {
    let Some(mut browser) = start() else { return };
    let site = recorded();
    for clip in clips {
        check_clip(&mut browser, &site, clip);
    }
    check_fragmented(&mut browser, &site);
}

#[test]
fn chromium_plays_movies_and_fragments_and_shows_each_frame_sought() {
    plays_movies(Browser::chromium, CLIPS.iter().chain([&COPIED_WITHIN_GROUPS]));
}

#[test]
fn firefox_plays_movies_and_fragments_and_shows_each_frame_sought() {
    plays_movies(Browser::firefox, &CLIPS);
}

#[test]
fn a_phone_reads_cuts_in_ranges() {
    let site = recorded();
    for run in &RUNS {
        for cut in ["smart", "copy", "rough"] {
            check_phone(site.address, &Clip { run, cut, frames: 10..58 }.address());
        }
    }
}
