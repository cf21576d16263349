//! The web page in Chromium and Firefox, on footage whose frames show their numbers: links, frames, holes, marks, downloads,
//! live recordings, a restart of the server. Each browser does all of it by its keys.

use std::fs;
use std::path::Path;

use restreamer::clock::Clock;
use restreamer::cut::CutSegment;
use restreamer::timestamp::Timestamp;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::browsers::{Browser, Start};
use crate::cuts::file;
use crate::footage::{FootageKind, PLAIN, base, look, make};
use crate::harness::Site;
use crate::nginx::free_port;
use crate::playback::{FRAME_NUMBER, FRAMES, RUNS, Run, frame_time, recorded};
use crate::process::{Program, RESTREAMER, Served};

/// Functions for scripts that look at the page.
const HELPERS: &str = "
    const $ = (id) => document.getElementById(id);
    const video = $('video');
    const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [320, 180];
    const context = canvas.getContext('2d', {willReadFrequently: true});

    const clock = () => $('clock').textContent;
    const statuses = () => [...document.querySelectorAll('[data-part=status]')].map((status) => status.textContent);
    const state = () => JSON.stringify([clock(), number(), video.currentTime, video.error?.message, location.hash,
        $('notice').textContent, $('away').textContent, $('messageText').textContent, statuses()]);

    async function until(what, test) {
        for (const begun = Date.now(); Date.now() - begun < 60000; await pause(25)) {
            const found = test();
            if (found) return found;
        }
        throw new Error(`not ${what}: ${state()}`);
    }

    const shows = (expected) => until(`frame ${expected}`, () => !video.seeking && number() === expected);
";

/// Runs the body of an async function with [`HELPERS`].
fn look_at(browser: &mut Browser, body: &str) -> Value {
    browser.call(&format!("{HELPERS}{FRAME_NUMBER}{body}"))
}

/// Opens the page with what its address says behind `#`, and records its errors.
fn open(browser: &mut Browser, address: std::net::SocketAddr, hash: &str) {
    // A change behind `#` alone would not load the page again.
    browser.open("about:blank");
    browser.open(&format!("http://{address}/{hash}"));
    let watch = "const add = (text) => document.documentElement.dataset.problems =
            `${document.documentElement.dataset.problems ?? ''}${text}\\n`;
        window.addEventListener('error', (event) => add(event.message));
        window.addEventListener('unhandledrejection', (event) => add(event.reason));
        document.addEventListener('securitypolicyviolation', (event) => add(event.violatedDirective));";
    browser.call(watch);
}

/// Checks that neither the page nor the browser has reported an error.
fn check_problems(browser: &mut Browser) {
    let reported = browser.call("return document.documentElement.dataset.problems ?? '';");
    assert_eq!((reported, browser.problems()), (json!(""), Vec::new()), "in {}", browser.name);
}

/// Goes to a time by the keyboard.
fn go_to(browser: &mut Browser, time: &str) {
    browser.press(["g"]);
    let characters: Vec<_> = time.chars().map(String::from).collect();
    browser.press(characters.iter().map(String::as_str));
    browser.press(["Enter"]);
}

/// The part of a link that says a time.
fn link(run: &Run, frame: i64) -> String {
    format!("#s=s&v=v&t={}", frame_time(run, frame))
}

/// Opens a moment, steps, plays over the border of an hour and over a hole, steps back over it.
fn check_frames(browser: &mut Browser, site: &Site) {
    open(browser, site.address, &link(&RUNS[0], 30));
    look_at(browser, "await shows(30); await until('the time', () => clock() === '10:59:58.200');");
    for (key, frame) in [(".", 31), (".", 32), (".", 33), (",", 32), (",", 31)] {
        browser.press([key]);
        look_at(browser, &format!("await shows({frame});"));
    }
    // Keys that come faster than pictures are not lost.
    browser.press(["."; 5]);
    look_at(browser, "await shows(36); await until('the time', () => clock() === '10:59:58.440');");
    browser.press([" "]);
    let seen = look_at(
        browser,
        "const seen = [];
        await until('the other side', () => {
            if (number() !== seen.at(-1)?.[0]) seen.push([number(), clock()]);
            return clock() > '11:00:07.500';
        });
        return {seen, notice: $('notice').textContent};",
    );
    assert_eq!(seen["notice"], "Skipped 6 s that were not recorded", "{}", browser.name);
    let seen: Vec<(i64, String)> = serde_json::from_value(seen["seen"].clone()).expect("numbers and times");
    let split = seen.partition_point(|(_, clock)| clock.as_str() < "11:00:07");
    for part in [&seen[..split], &seen[split..]] {
        // At the hole, the clock is ahead of the picture for a moment.
        let numbers = part.iter().map(|(number, _)| *number).skip_while(|number| *number > 90);
        assert!(numbers.is_sorted(), "{} went back: {seen:?}", browser.name);
    }
    browser.press(["k"]);
    go_to(browser, "11:00:07");
    look_at(browser, "await shows(0);");
    for (key, frame) in [(",", FRAMES - 1), (",", FRAMES - 2), (".", FRAMES - 1), (".", 0), (".", 1)] {
        browser.press([key]);
        look_at(browser, &format!("await shows({frame});"));
    }
    go_to(browser, "11:00:04");
    let notice = look_at(browser, "await shows(0); return $('notice').textContent;");
    assert_eq!(notice, "Nothing was recorded at 11:00:04. This is 3 s later.", "{}", browser.name);
    check_problems(browser);
}

/// Marks a clip, saves it, and looks at each of its frames; then one with a hole.
fn check_clips(browser: &mut Browser, site: &Site) {
    for (from, to, start, end) in [("10:59:57.4", "10:59:59.32", 10, 58), ("10:59:59", "11:00:00.2", 50, 80)]
    {
        go_to(browser, from);
        look_at(browser, &format!("await shows({start});"));
        browser.press(["i"]);
        go_to(browser, to);
        look_at(browser, &format!("await shows({end});"));
        browser.press(["o"]);
        look_at(browser, "await until('checked', () => statuses().at(-1).startsWith('Complete'));");
        browser.press(["s"]);
        let shown = look(&browser.downloaded(), 1, true);
        assert_eq!(shown.numbers, (start..end).collect::<Vec<_>>(), "{}", browser.name);
    }
    let address = look_at(
        browser,
        "await until('two ranges', () => location.hash.split('in=').length === 3); return location.hash;",
    );
    open(browser, site.address, address.as_str().expect("an address"));
    look_at(browser, "await until('both checked', () => statuses().join() === statuses().map(() => statuses()[0]).join() || statuses().every((text) => text.startsWith('Complete')));
        await until('two clips', () => statuses().length === 2);");
    browser.press(["a"]);
    let joined = look(&browser.downloaded(), 1, true);
    assert_eq!(joined.numbers, (10..58).chain(50..80).collect::<Vec<_>>(), "{}", browser.name);
    let (start, end) = (frame_time(&RUNS[0], 90), frame_time(&RUNS[1], 10));
    open(browser, site.address, &format!("{}&in={start}&out={end}", link(&RUNS[1], 5)));
    look_at(
        browser,
        "await shows(5); await until('checked', () => statuses()[0].startsWith('6 s are missing at 11:00:01.0'));",
    );
    browser.press(["Enter"]);
    let shown = look(&browser.downloaded(), 1, true);
    assert_eq!(shown.numbers, (90..FRAMES).chain(0..10).collect::<Vec<_>>(), "{}", browser.name);
    // Over the hole, and to its end.
    browser.press(["p"]);
    look_at(browser, "await until('the end', () => $('notice').textContent === 'End of the preview');");
    check_problems(browser);
}

/// Names of any characters are text.
fn check_names(browser: &mut Browser, site: &Site) {
    let hostile = "<img src=x onerror=alert(1)>\"'&%2F#?\u{1f600}";
    let name = format!("{hostile}{}", "x".repeat(255 - hostile.len()));
    let directory = site.archive.path().join(&name);
    fs::create_dir(&directory).expect("a stream");
    std::os::unix::fs::symlink(site.archive.path().join("s/v"), directory.join(&name)).expect("a variant");
    open(browser, site.address, "");
    let seen = look_at(
        browser,
        &format!(
            "const name = {};
            await until('streams', () => $('stream').options.length > 1);
            $('stream').value = name;
            $('stream').dispatchEvent(new Event('change'));
            await until('a picture', () => $('variant').value === name && number() >= 0);
            await until('its address', () => location.hash.includes(encodeURIComponent('\u{1f600}')));
            return [document.images.length, location.hash];",
            json!(name)
        ),
    );
    assert_eq!(seen[0], 0, "{}", browser.name);
    open(browser, site.address, seen[1].as_str().expect("an address"));
    look_at(browser, &format!("await until('the stream', () => $('stream').value === {});", json!(name)));
    check_problems(browser);
    fs::remove_dir_all(&directory).expect("remove the stream");
}

/// Every control has a name, and Tab reaches it.
fn check_controls(browser: &mut Browser) {
    let controls =
        "[...document.querySelectorAll('button, select, input')].filter((control) => control.offsetParent)";
    let nameless = look_at(
        browser,
        &format!(
            "const name = (control) => control.ariaLabel || control.textContent.trim() || control.labels?.[0]?.textContent.trim();
            return {controls}.filter((control) => !name(control)).map((control) => control.outerHTML);"
        ),
    );
    assert_eq!(nameless, json!([]), "{}", browser.name);
    browser.press(["Tab"]);
    let first = browser.call("return document.activeElement.id;");
    browser.press(["Tab"]);
    let second = browser.call("return document.activeElement.id;");
    assert_eq!((first, second), (json!("stream"), json!("variant")), "{}", browser.name);
}

/// On a phone everything is as wide as the screen, large enough for fingers, and works by touch.
fn check_phone(browser: &mut Browser, site: &Site) {
    browser.become_phone();
    open(browser, site.address, &link(&RUNS[0], 30));
    let seen = look_at(
        browser,
        "await shows(30);
        const center = (id) => { const {x, y, width, height} = $(id).getBoundingClientRect(); return [x + width / 2, y + height / 2]; };
        const small = [...document.querySelectorAll('button, select')].filter((control) => control.offsetParent)
            .map((control) => [control.id, control.getBoundingClientRect()])
            .filter(([, {width, height}]) => width < 43.5 || height < 43.5).map(([id]) => id);
        return {width: document.documentElement.scrollWidth, small, next: center('nextFrame'), last: center('last30'), line: center('canvas')};",
    );
    assert_eq!((&seen["width"], &seen["small"]), (&json!(360), &json!([])), "{seen}");
    let mut tap = |name: &str| {
        let [x, y]: [f64; 2] = serde_json::from_value(seen[name].clone()).expect("a place");
        browser.tap(x, y);
    };
    tap("next");
    look_at(browser, "await shows(31);");
    let mut tap = |x: f64, y: f64| browser.tap(x, y);
    let [x, y]: [f64; 2] = serde_json::from_value(seen["line"].clone()).expect("a place");
    tap(x + 20.0, y);
    look_at(browser, "await until('another time', () => clock() !== '10:59:58.240' && !video.seeking);");
    let [x, y]: [f64; 2] = serde_json::from_value(seen["last"].clone()).expect("a place");
    browser.tap(x, y);
    look_at(browser, "await until('a clip', () => document.querySelectorAll('.clip').length === 1);");
    check_problems(browser);
}

/// Checks everything in one browser, because its start takes seconds.
fn page_shows_recordings(start: Start) {
    let Some(mut browser) = start() else { return };
    let site = recorded();
    check_frames(&mut browser, &site);
    check_clips(&mut browser, &site);
    check_controls(&mut browser);
    check_names(&mut browser, &site);
    check_live_recordings(&mut browser);
    if browser.name == "Chromium" {
        check_phone(&mut browser, &site);
    }
}

/// A recording whose last segments are written as the test goes on.
struct Recorder<'a> {
    base: &'a Path,
    left: std::vec::IntoIter<CutSegment>,
}

impl Recorder<'_> {
    /// Writes the next segments.
    fn record(&mut self, count: usize) {
        for segment in self.left.by_ref().take(count) {
            file(self.base, &segment);
        }
    }
}

/// Segments of a second, of which the first begins at a time.
fn segments_from(start: Timestamp) -> Vec<CutSegment> {
    let kind = FootageKind {
        name: "live page",
        seconds: 44,
        segment_seconds: 1,
        codecs: "-c:v libx264 -preset ultrafast -sc_threshold 0 -bf 0 -g 25 -pix_fmt yuv420p -c:a aac",
        ..PLAIN
    };
    let mut segments = make(&kind).segments;
    for segment in &mut segments {
        (segment.start, segment.end) = (start + (segment.start - base()), start + (segment.end - base()));
    }
    segments
}

/// Follows a live recording, saves the last seconds by two keys, and goes on after the server was away.
fn check_live_recordings(browser: &mut Browser) {
    let archive = tempfile::tempdir().expect("a directory");
    let now = Clock::System.now().micros() / 1_000_000 - 34;
    let segments = segments_from(Timestamp::from_micros(now * 1_000_000));
    let mut recorder = Recorder { base: archive.path(), left: segments.into_iter() };
    recorder.record(33);
    let port = free_port().to_string();
    let serve = || {
        let program = Program::new(RESTREAMER).args(["--host", "127.0.0.1", "--port", &port, "--base-dir"]);
        Served::by_itself(program.args([archive.path()]))
    };
    let served = serve();
    open(browser, served.address, "");
    look_at(browser, "await until('live', () => $('liveText').textContent === 'Live' && number() > 0);");
    recorder.record(3);
    // It has 36 s and goes on to play what has come: live is three seconds behind.
    look_at(browser, "await until('it goes on', () => number() > 32 * 25);");
    check_problems(browser);
    // From the open page to a saved clip: two keys.
    browser.press(["c", "s"]);
    let shown = look(&browser.downloaded(), 1, true);
    assert_eq!(shown.numbers, (6 * 25..36 * 25).collect::<Vec<_>>(), "{}", browser.name);

    served.running.signal(Signal::TERM);
    drop(served);
    look_at(
        browser,
        "await until('it says so', () => !$('away').hidden && $('away').textContent.includes('does not answer'));",
    );
    recorder.record(4);
    let _served = serve();
    look_at(browser, "await until('it goes on', () => $('away').hidden && number() > 36 * 25);");
    let reported = browser.call("return document.documentElement.dataset.problems ?? '';");
    assert_eq!(reported, "", "in {}", browser.name);
}

#[test]
fn chromium_shows_old_and_live_recordings_and_saves_clips() {
    page_shows_recordings(Browser::chromium);
}

#[test]
fn firefox_shows_old_and_live_recordings_and_saves_clips() {
    page_shows_recordings(Browser::firefox);
}
