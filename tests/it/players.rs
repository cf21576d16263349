//! Playlists in real players, of a recording with a gap and a restarted clock.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use percent_encoding::percent_decode_str;
use restreamer::clock::Clock;
use restreamer::http::reply::Reply;
use restreamer::http::request::Request;
use restreamer::http::{App, Routed, Service};
use restreamer::server::{Limits, Server};

use crate::browsers::start_chromium;
use crate::harness::{PATIENCE, Site, app, serve, wait_until, write_whole};
use crate::nginx::peer;
use crate::process::{Output, Program};
use crate::recording::{FRAMES, VARIANTS, WHOLE, copy_segments, count_packets, files_of, footage};

/// A server that records the targets of its requests.
pub(crate) struct RequestLog {
    app: App,
    targets: Mutex<Vec<String>>,
    listener: Mutex<Option<Listener>>,
}

/// A function that is called with the decoded target of each request.
type Listener = Box<dyn Fn(&str) + Send>;

fn decoded(target: &str) -> String {
    percent_decode_str(target).decode_utf8_lossy().into_owned()
}

impl Service for RequestLog {
    fn route(&self, request: &Request) -> Routed {
        self.app.route(request)
    }

    fn call(&self, request: &Request, routed: Routed, is_cancelled: &dyn Fn() -> bool) -> Reply {
        self.targets.lock().expect("the targets").push(request.target.clone());
        if let Some(listener) = &*self.listener.lock().expect("the listener") {
            listener(&decoded(&request.target));
        }
        self.app.call(request, routed, is_cancelled)
    }
}

impl RequestLog {
    pub(crate) fn over(base: &Path, clock: Clock) -> (Arc<Self>, Server) {
        let app = app(base, clock);
        let requests = Arc::new(Self { app, targets: Mutex::default(), listener: Mutex::default() });
        let server = serve(Arc::clone(&requests) as Arc<dyn Service>, Limits::default());
        (requests, server)
    }

    /// The decoded targets that begin with `prefix`, without it.
    pub(crate) fn requested(&self, prefix: &str) -> Vec<String> {
        let targets = self.targets.lock().expect("the targets");
        let rests = targets.iter().filter_map(|target| target.strip_prefix(prefix));
        rests.map(decoded).collect()
    }

    /// Calls `listener` with the decoded target of each further request.
    pub(crate) fn on_request(&self, listener: impl Fn(&str) + Send + 'static) {
        *self.listener.lock().expect("the listener") = Some(Box::new(listener));
    }
}

/// ffmpeg, which plays a URL and prints only errors and progress.
fn ffmpeg(url: &str, options: &[&str]) -> Program {
    let quiet = ["-nostdin", "-nostats", "-v", "error", "-progress", "pipe:1"];
    Program::new("ffmpeg").args(quiet).args(options).args(["-i", url, "-c", "copy", "-f", "null", "-"])
}

/// Checks that ffmpeg has played to the end without an error. Returns the number of video frames.
fn frames_played(output: Output) -> usize {
    let Output { code, stdout, stderr } = output;
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "ffmpeg");
    let last = stdout.lines().filter_map(|line| line.strip_prefix("frame=")).next_back();
    last.and_then(|count| count.trim().parse().ok()).unwrap_or_else(|| panic!("no frames: {stdout}"))
}

/// The packets of each kind in all the files of a variant.
fn packets_in_files(base: &Path, variant: &str) -> BTreeMap<String, usize> {
    let mut sum = BTreeMap::new();
    for file in files_of(base, variant) {
        for (kind, count) in count_packets(&base.join(file).to_string_lossy()) {
            *sum.entry(kind).or_default() += count;
        }
    }
    sum
}

#[test]
fn ffmpeg_plays_a_media_playlist_over_a_gap_without_losing_a_packet() {
    let footage = footage();
    let (_, server) = RequestLog::over(footage, Clock::System);
    for (variant, _) in VARIANTS {
        let url = format!("http://{}/playlist/test/{variant}.m3u8?{WHOLE}", server.address());
        assert_eq!(frames_played(ffmpeg(&url, &[]).run()), FRAMES, "{variant}");
        let in_files = packets_in_files(footage, variant);
        assert_eq!(in_files.get("video"), Some(&FRAMES), "{variant}");
        assert_eq!(count_packets(&url), in_files, "{variant}");
    }
    assert!(server.stop(PATIENCE));
}

#[test]
fn ffmpeg_plays_a_multivariant_playlist_without_losing_a_frame() {
    let footage = footage();
    let (requests, server) = RequestLog::over(footage, Clock::System);
    let url = format!("http://{}/playlist/test.m3u8?{WHOLE}", server.address());
    assert_eq!(frames_played(ffmpeg(&url, &[]).run()), FRAMES);
    for (variant, _) in VARIANTS {
        assert!(!requests.requested(&format!("/playlist/test/{variant}.m3u8?")).is_empty(), "{variant}");
        assert!(
            !requests.requested(&format!("/segments/test/{variant}/2026-11-20T10/")).is_empty(),
            "{variant}"
        );
    }
    assert!(server.stop(PATIENCE));
}

#[test]
fn ffmpeg_follows_a_live_playlist_to_its_end() {
    let footage = footage();
    let site = Site::at("2026-11-20T11:00:04");
    let files = files_of(footage, "source");
    let (first_run, second_run) = files.split_at(5);
    copy_segments(footage, site.archive.path(), first_run);
    let target = format!("/playlist/test/source.m3u8?{WHOLE}");
    assert!(!site.get(&target).text().contains("#EXT-X-ENDLIST"), "the playlist is live");

    let url = format!("http://{}{target}", site.address);
    let player = ffmpeg(&url, &["-live_start_index", "0"]).start();
    wait_until("the player has connected", || site.server().connections() > 0);
    site.set_clock("2026-11-20T11:00:40");
    for file in second_run {
        copy_segments(footage, site.archive.path(), std::slice::from_ref(file));
    }
    assert_eq!(frames_played(player.wait()), FRAMES);
}

/// A page that plays the recording at four times its speed and reports its progress.
fn page(source: &str) -> String {
    let mut page =
        String::from("<!doctype html><title>player</title><video id=video muted autoplay></video><script>");
    let _ = write!(page, "const source = '{source}';");
    page.push_str(
        "const video = document.getElementById('video');
        const report = (what) => fetch('/files/report-' + encodeURIComponent(what), {cache: 'no-store'});
        const seen = () => `${video.currentTime} ${video.getVideoPlaybackQuality().totalVideoFrames}`;
        video.onerror = () => report(`error ${video.error.code} ${video.error.message}`);
        video.onended = () => report(`ended ${seen()}`);
        video.ontimeupdate = () => report(`at ${seen()}`);
        video.defaultPlaybackRate = 4;
        video.src = source;
        </script>",
    );
    page
}

#[test]
fn chromium_plays_a_multivariant_playlist_over_a_gap() {
    let Some(chromium) = peer("chromium") else { return };
    let footage = footage();
    let archive = tempfile::tempdir().expect("a temporary directory");
    for (variant, _) in VARIANTS {
        copy_segments(footage, archive.path(), &files_of(footage, variant));
    }
    let page = page(&format!("/playlist/test.m3u8?{WHOLE}"));
    write_whole(&archive.path().join("test/page.html"), page.as_bytes());
    let (requests, server) = RequestLog::over(archive.path(), Clock::System);

    let profile = tempfile::tempdir().expect("a temporary directory");
    let url = format!("http://{}/segments/test/page.html", server.address());
    let browser = start_chromium(&chromium, profile.path(), &url);
    let begun = Instant::now();
    let reports = loop {
        let reports = requests.requested("/files/report-");
        if reports.iter().any(|report| report.starts_with("ended") || report.starts_with("error")) {
            break reports;
        }
        let is_playing = !browser.has_ended() && begun.elapsed() < PATIENCE;
        assert!(is_playing, "it reported {reports:?}, requested {:?}", requests.requested("/"));
        std::thread::sleep(Duration::from_millis(20));
    };
    drop(browser);
    assert!(!reports.iter().any(|report| report.starts_with("error")), "{reports:?}");
    let ended = reports.iter().find_map(|report| report.strip_prefix("ended ")).expect("its end");
    // A player skips the gap: two runs of 10 s are 20 s.
    let (played, frames) = ended.split_once(' ').expect("a time and a number of frames");
    assert!((19.5..20.5).contains(&played.parse::<f64>().expect("a time")), "{reports:?}");
    assert!(frames.parse::<usize>().expect("a number") > 0, "{reports:?}");
    assert!(reports.iter().any(|report| report.starts_with("at ")), "{reports:?}");
    assert!(
        !requests.requested("/segments/test/source/2026-11-20T11/").is_empty(),
        "the variant with the highest bandwidth is played"
    );
}
