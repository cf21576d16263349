//! Live windows in real players, in real time: over an hour border, and over a gap. `scripts/test` and
//! `scripts/test-players` run these tests alone, because players stutter on a machine that is busy with other tests.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ChildStdout;
use std::sync::{Mutex, PoisonError};

use restreamer::timestamp::{Span, Timestamp};
use tempfile::TempDir;

use crate::broadcast::{Broadcast, Gap, SEGMENT_SECS, Screen, Shown};
use crate::browsers::start_chromium;
use crate::footage::{HEIGHT, WIDTH, number};
use crate::harness::{time, write_whole};
use crate::nginx::peer;
use crate::process::{Program, Running, say, setting};

/// hls.js in the npm registry, and the SHA-256 of this package.
const HLS_JS: &str = "https://registry.npmjs.org/hls.js/-/hls.js-1.7.4.tgz";
const HLS_JS_SHA256: &str = "e4ab3d5d13f7cca9ef241d098f39686e19fd451831ba07dc9943482fd5ff75c7";

/// Longer without a new picture is a stall: a whole segment.
const STALL: Span = Span::from_secs(SEGMENT_SECS);

/// What a player shows in its first seconds does not count.
const SETTLING: Span = Span::from_secs(3);

/// Where players begin: so many segments before the end of the playlist.
const BEGIN: i64 = 3;

/// The same for VLC in a long window: 15 s before the last segment.
const VLC_BEGINS: i64 = 9;

/// Players that look at the same broadcast, and what they have shown.
struct Audience {
    viewers: Vec<Viewer>,
    /// With the directories of their own, which are removed after them.
    running: Vec<(Running, Option<TempDir>)>,
}

/// A player of an audience.
struct Viewer {
    name: &'static str,
    /// How many segments before the end of the playlist it begins.
    begins: i64,
    screen: Screen,
}

/// How VLC plays.
struct Vlc {
    name: &'static str,
    /// The range that it asks for.
    query: &'static str,
    options: &'static [&'static str],
    /// How many segments before the end of the playlist it begins.
    begins: i64,
}

/// Chromium, and what its page plays with besides Chromium's own player.
struct Chromium {
    program: PathBuf,
    /// The source of hls.js.
    hls_js: Option<String>,
}

/// For how many seconds each player plays; `None` if these tests are not wanted.
fn seconds_to_play() -> Option<i64> {
    let seconds = setting("RESTREAMER_TEST_PLAYERS")?;
    Some(seconds.to_str().and_then(|text| text.parse().ok()).expect("RESTREAMER_TEST_PLAYERS is a number"))
}

/// Only one audience at a time, so that players have the machine for themselves.
static ALONE: Mutex<()> = Mutex::new(());

impl Audience {
    /// Starts all players that there are. `query` is the range that all but VLC ask for.
    fn of(broadcast: &Broadcast, query: &str, vlcs: &[Vlc], chromium: Option<&Chromium>) -> Self {
        let mut audience = Self { viewers: Vec::new(), running: Vec::new() };
        let media = broadcast.url(&format!("/playlist/test/source.m3u8?{query}"));
        let multivariant = broadcast.url(&format!("/playlist/test.m3u8?{query}"));
        audience.start_ffmpeg(broadcast, &media);
        for vlc in vlcs {
            audience.start_vlc(broadcast, vlc);
        }
        if let Some(chromium) = chromium {
            audience.start_chromium(chromium, broadcast, &multivariant);
        }
        audience
    }

    fn screen(&mut self, broadcast: &Broadcast, name: &'static str, begins: i64) -> Screen {
        let screen = broadcast.screen();
        self.viewers.push(Viewer { name, begins, screen: screen.clone() });
        screen
    }

    fn start_ffmpeg(&mut self, broadcast: &Broadcast, url: &str) {
        let screen = self.screen(broadcast, "ffmpeg", BEGIN);
        let pictures = "-map 0:v -fps_mode passthrough -f rawvideo -pix_fmt gray pipe:1 -map 0:a -f null -";
        let ffmpeg = Program::new("ffmpeg").args(["-nostdin", "-v", "error", "-re", "-i", url]);
        let show = move |stdout| show_pictures(stdout, &screen, WIDTH * HEIGHT);
        self.running.push((ffmpeg.args(pictures.split(' ')).start_read(show), None));
    }

    /// VLC refuses to run as root, so root runs it as the user `nobody`.
    fn start_vlc(&mut self, broadcast: &Broadcast, vlc: &Vlc) {
        let Some(path) = peer("vlc") else { return };
        let url = broadcast.url(&format!("/playlist/test.m3u8?{}", vlc.query));
        let screen = self.screen(broadcast, vlc.name, vlc.begins);
        let home = tempfile::tempdir().expect("a temporary directory");
        fs::set_permissions(home.path(), Permissions::from_mode(0o777)).expect("a directory for everyone");
        // The pipe to this process would be another user's, which VLC could not open by its name.
        let script = "\"$@\" -I dummy --no-dbus --vout yuv --yuv-file /dev/stdout --yuv-yuv4mpeg2 --aout dummy \
                      --no-video-title-show | cat";
        let program = if rustix::process::geteuid().is_root() {
            let user =
                ["--reuid=nobody", "--regid=nogroup", "--clear-groups", "--pdeathsig=KILL", "--", "sh"];
            Program::new("setpriv").args(user)
        } else {
            Program::new("sh")
        };
        let program =
            program.args(["-c", script, "sh"]).args([path.as_os_str()]).args(vlc.options).args([url]);
        let program = program.env("HOME", home.path()).env("XDG_RUNTIME_DIR", home.path());
        let frame = WIDTH * HEIGHT * 3 / 2;
        let running = program.start_read(move |stdout| show_yuv4mpeg(stdout, &screen, frame));
        self.running.push((running, Some(home)));
    }

    /// Starts Chromium with a page that plays by Chromium's own player and by hls.js.
    fn start_chromium(&mut self, chromium: &Chromium, broadcast: &Broadcast, url: &str) {
        let own = self.screen(broadcast, "Chromium", BEGIN);
        let by_hls_js = chromium.hls_js.is_some().then(|| self.screen(broadcast, "hls.js", BEGIN));
        let page = page(url, chromium.hls_js.as_deref());
        write_whole(&broadcast.archive.path().join("test/page.html"), page.as_bytes());
        let profile = tempfile::tempdir().expect("a temporary directory");
        let url = broadcast.url("/segments/test/page.html");
        self.running.push((start_chromium(&chromium.program, profile.path(), &url), Some(profile)));
        broadcast.requests.on_request(move |target| {
            let report = target.strip_prefix("/files/shown-").and_then(|rest| rest.split_once('-'));
            let Some((player, picture)) = report else { return };
            let Ok(picture) = picture.parse() else { return };
            match &by_hls_js {
                Some(screen) if player == "hls.js" => screen.show(picture),
                _ => own.show(picture),
            }
        });
    }
}

impl Chromium {
    /// `None` if it is not installed or not wanted.
    fn find() -> Option<Self> {
        peer("chromium").map(|program| Self { program, hls_js: hls_js() })
    }
}

/// The source of hls.js, from npm. `None`, with the reason printed, if npm cannot be reached.
fn hls_js() -> Option<String> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hls.js");
    fs::create_dir_all(&directory).expect("a directory");
    let package = directory.join(HLS_JS.rsplit('/').next().expect("a name"));
    if !package.exists() {
        let download = directory.join("download");
        let curl = ["-sSfL", "--retry", "2", "--max-time", "60", "-o"].map(Path::new);
        let curl = Program::new("curl").args(curl).args([&download]).args([HLS_JS]);
        // Where a machine needs a proxy or certificates of its own to reach npm.
        let names = ["https_proxy", "HTTPS_PROXY", "CURL_CA_BUNDLE"];
        let curl = names.into_iter().fold(curl, |curl, name| match setting(name) {
            Some(value) => curl.env(name, value),
            None => curl,
        });
        let output = curl.run();
        if output.code != Some(0) {
            say(&format!("not tested with hls.js: {HLS_JS} cannot be fetched: {}", output.stderr.trim()));
            return None;
        }
        fs::rename(&download, &package).expect("name the package");
    }
    let sum = Program::new("sha256sum").args([&package]).run().stdout;
    assert!(sum.starts_with(HLS_JS_SHA256), "{}: {sum}", package.display());
    let source = Program::new("tar").args(["-xzOf"]).args([&package]).args(["package/dist/hls.min.js"]).run();
    assert_eq!((source.code, source.stderr.as_str()), (Some(0), ""));
    Some(source.stdout)
}

/// A page that plays a playlist by Chromium's own player and by hls.js, and reports each picture by its number.
fn page(url: &str, hls_js: Option<&str>) -> String {
    let script = "
        const report = (what) => fetch('/files/' + encodeURIComponent(what), {cache: 'no-store'});
        function watch(name) {
            const video = document.createElement('video');
            const canvas = document.createElement('canvas');
            const context = canvas.getContext('2d', {willReadFrequently: true});
            [canvas.width, canvas.height] = [320, 180];
            let last = -1;
            const show = () => {
                if (video.readyState < 2) return;
                context.drawImage(video, 0, 0, 320, 180);
                const line = context.getImageData(0, 160, 320, 1).data;
                let number = 0;
                for (let bit = 0; bit < 12; bit++) number |= (line[(18 + bit * 24) * 4] > 128) << bit;
                if (number != last) report(`shown-${name}-${last = number}`);
            };
            setInterval(show, 50);
            for (const event of ['waiting', 'playing', 'seeking', 'error', 'ended', 'stalled'])
                video['on' + event] = () => report(`event ${name} ${event} ${video.currentTime} ${video.error?.message}`);
            [video.muted, video.autoplay] = [true, true];
            document.body.append(video);
            return video;
        }
        watch('own').src = url;
        if (window.Hls) {
            const hls = new Hls();
            hls.on(Hls.Events.ERROR, (_, data) => report(`event hls.js ${data.details} ${data.fatal}`));
            hls.loadSource(url);
            hls.attachMedia(watch('hls.js'));
        }";
    let hls_js = hls_js.unwrap_or_default();
    assert!(!hls_js.contains("</script"), "the source of hls.js ends its element");
    format!(
        "<!doctype html><meta charset=utf-8><title>players</title><body><script>{hls_js}</script>\
         <script>const url = '{url}';{script}</script>"
    )
}

/// Reads pictures, of `bytes` bytes each, until the player ends.
fn show_pictures(stdout: ChildStdout, screen: &Screen, bytes: usize) {
    let mut stdout = BufReader::new(stdout);
    let mut picture = vec![0; bytes];
    while stdout.read_exact(&mut picture).is_ok() {
        screen.show(number(&picture));
    }
}

/// The same for YUV4MPEG2: a line before each picture, and another when output begins, also when it begins again.
fn show_yuv4mpeg(stdout: ChildStdout, screen: &Screen, bytes: usize) {
    let mut stdout = BufReader::new(stdout);
    let mut picture = vec![0; bytes];
    let mut line = Vec::new();
    while stdout.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
        match &line[..] {
            b"FRAME\n" if stdout.read_exact(&mut picture).is_ok() => screen.show(number(&picture)),
            line => assert!(
                line.starts_with(b"YUV4MPEG2 W320 H180 ") || line == b"FRAME\n",
                "VLC writes {line:?}"
            ),
        }
        line.clear();
    }
}

/// What a player has shown, once it plays.
struct Watched {
    name: &'static str,
    begins: i64,
    shown: Vec<Shown>,
    /// How long it took to start.
    startup: Span,
    /// How far behind the recording it was at the end.
    behind: Span,
}

impl Audience {
    /// Stops the players and prints what each has shown.
    fn leave(self, broadcast: &Broadcast, start: Timestamp) -> Vec<Watched> {
        let end = broadcast.now();
        drop(self.running);
        let watched = |Viewer { name, begins, screen }: &Viewer| {
            let mut shown = broadcast.shown(screen);
            let first = shown.first().unwrap_or_else(|| panic!("{name} has shown nothing")).at;
            // At first Chromium shows the oldest picture that there is, before it goes where it will play.
            shown.retain(|shown| shown.at > first + SETTLING);
            let [from, .., to] = &shown[..] else { panic!("{name} has stopped") };
            let (startup, behind) = (first - start, end - to.recorded);
            let watched = Watched { name, begins: *begins, startup, behind, shown: shown.clone() };
            let (wait, skip, behind) = (watched.longest_wait(), watched.longest_skip(), watched.behind);
            say(&format!(
                "{name}: from {from} to {to}, waited {wait} s and skipped {skip} s at most, {behind} s behind"
            ));
            watched
        };
        self.viewers.iter().map(watched).collect()
    }
}

impl Watched {
    /// The longest time without a new picture, in seconds.
    fn longest_wait(&self) -> Span {
        let waits = self.shown.windows(2).map(|pair| pair[1].at - pair[0].at);
        waits.max().expect("two pictures")
    }

    /// The longest time between two pictures as they were recorded, in seconds.
    fn longest_skip(&self) -> Span {
        let skips = self.shown.windows(2).map(|pair| pair[1].recorded - pair[0].recorded);
        skips.max().expect("two pictures")
    }

    /// Checks that no picture came back, that it played on to the end, and that it was at most `behind` before the end
    /// of the playlist then, plus the time that it took to start.
    fn check(&self, end: Timestamp, longest_wait: Span, behind: Span) {
        let name = self.name;
        let came_back = self.shown.windows(2).find(|pair| pair[1].recorded < pair[0].recorded);
        assert!(came_back.is_none(), "{name} went back: {came_back:?}");
        let too_early = self.shown.iter().find(|shown| shown.recorded > shown.at);
        assert!(too_early.is_none(), "{name} shows what was not recorded: {too_early:?}");
        let wait = self.longest_wait();
        assert!(wait <= longest_wait, "{name} waited {wait} s");
        let last = self.shown.last().expect("a picture").at;
        // ffmpeg hurries behind a gap until it gets each segment as soon as there is one.
        assert!(end - last <= STALL + STALL, "{name} stands still since {last}");
        // The playlist lacks the segment that is being recorded.
        let allowed = behind + Span::from_secs(SEGMENT_SECS) + self.startup;
        assert!(self.behind <= allowed, "{name} is {} s behind, which is more than {allowed} s", self.behind);
    }
}

/// Plays a broadcast from its start on; returns what was shown and when it ended.
fn watch(
    broadcast: &Broadcast,
    query: &str,
    seconds: i64,
    vlcs: &[Vlc],
    chromium: Option<&Chromium>,
) -> (Vec<Watched>, Timestamp) {
    let start = broadcast.now();
    let audience = Audience::of(broadcast, query, vlcs, chromium);
    broadcast.wait_until(start + Span::from_secs(seconds));
    let watched = audience.leave(broadcast, start);
    let events = broadcast.requests.requested("/files/event ");
    let is_error = |event: &&String| event.contains("error") || event.ends_with(" true");
    assert_eq!(events.iter().find(is_error), None, "{events:?}");
    (watched, start + Span::from_secs(seconds))
}

#[test]
fn players_watch_a_live_window_over_an_hour_border() {
    let Some(seconds) = seconds_to_play() else { return };
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let chromium = Chromium::find();
    let broadcast = Broadcast::begin("2026-11-20T10:59:57", Span::from_secs(420), None);
    // A window of more than 200 entries, so that hls.js asks for updates.
    let query = "start=-7m";
    let vlcs = [
        Vlc { name: "VLC", query, options: &[], begins: VLC_BEGINS },
        Vlc { name: "VLC in a short window", query: "start=-10s", options: &[], begins: BEGIN },
        Vlc { name: "VLC with an option", query, options: &["--adaptive-livedelay=6000"], begins: 4 },
    ];
    let (watched, end) = watch(&broadcast, query, seconds, &vlcs, chromium.as_ref());
    for player in &watched {
        let behind = Span::from_secs(player.begins * SEGMENT_SECS);
        player.check(end, STALL, behind);
        let border = time("2026-11-20T11:00:00");
        let [first, .., last] = &player.shown[..] else { panic!("{} has stopped", player.name) };
        assert!(first.recorded < border, "{} has not played before the border", player.name);
        // In a short test VLC does not get there from where it begins in a long window.
        let gets_there = end - behind - Span::from_secs(SEGMENT_SECS) > border;
        assert!(!gets_there || last.recorded > border, "{} has not played over the border", player.name);
        let skipped = player.longest_skip();
        assert!(skipped <= STALL, "{} skipped {skipped} s", player.name);
    }
    if watched.iter().any(|player| player.name == "hls.js") {
        let updates = broadcast
            .requests
            .requested("/playlist/test/source.m3u8?start=-7m&anchor=2026-11-20T10&_HLS_skip=YES");
        assert!(updates.len() >= 3, "hls.js asked for {} updates", updates.len());
    }
}

#[test]
fn players_wait_for_what_is_behind_a_gap_and_go_on() {
    let Some(seconds) = seconds_to_play() else { return };
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let gap = Gap { start: "2026-11-20T11:10:02", length: Span::from_secs(4) };
    let chromium = Chromium::find();
    let broadcast = Broadcast::begin("2026-11-20T11:10:00", Span::from_secs(60), Some(gap));
    let held_back = Span::from_secs(15);
    let query = "start=-1m";
    // It is as far behind before the gap as the others are after it.
    let vlc = Vlc { name: "VLC", query, options: &[], begins: VLC_BEGINS };
    let (watched, end) = watch(&broadcast, query, seconds + 21, &[vlc], chromium.as_ref());
    for player in &watched {
        let wait = gap.length + held_back + Span::from_secs(SEGMENT_SECS);
        player.check(end, wait, held_back + Span::from_secs(BEGIN * SEGMENT_SECS));
        let behind_gap = time(gap.start) + gap.length;
        let last = player.shown.last().expect("a picture").recorded;
        assert!(last > behind_gap + STALL, "{} shows {last} at the end", player.name);
    }
}
