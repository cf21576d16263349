//! What multivariant playlists say of pictures, and how the programs that are asked for it are kept from harm.

use std::fs;
use std::path::Path;
use std::thread;

use restreamer::mpegts::pes::{Pes, Ticks, write_pes};
use restreamer::mpegts::psi::{ElementaryStream, Pmt, write_pat, write_pmt};
use rustix::process::Signal;

use crate::cuts::fake;
use crate::footage::{ffmpeg, root};
use crate::harness::{Site, ask, wait_until, write_whole};
use crate::process::Served;

const SEGMENT: &str = "v/2026-11-20T10/00:00.000-1.000-full-x.ts";

/// An SPS of H.264, Baseline, with pictures of 16384x16384.
const HUGE: &[u8] = &[0, 0, 0, 1, 0x67, 0x42, 0xC0, 0x3C, 0xDA, 0x00, 0x10, 0x00, 0x00, 0x80, 0x18, 0x80];

/// The attributes of the only variant of a stream, from its codecs on.
fn attributes(text: &str) -> &str {
    let line = text.lines().find(|line| line.starts_with("#EXT-X-STREAM-INF")).expect("a variant");
    let tail = line.split_once(",AVERAGE-BANDWIDTH=").expect("a bandwidth").1;
    let end = tail.find(",VIDEO=").expect("a group");
    tail[..end].split_once(',').map_or("", |(_, attributes)| attributes)
}

/// A transport stream of 40 ms a picture: H.264 on PID 0x100 with these bytes in each picture, and what else is listed.
fn stream(picture: &[u8], others: &[(u16, u8)]) -> Vec<u8> {
    let listed = [&[(0x100, 0x1B)], others].concat();
    let described = |(pid, stream_type)| ElementaryStream { pid, stream_type, descriptors: Vec::new() };
    let streams = listed.into_iter().map(described).collect();
    let pmt = Pmt { program: 1, pcr_pid: 0x100, descriptors: Vec::new(), streams };
    let mut bytes = write_pat(1, 0x1000);
    bytes.extend(write_pmt(0x1000, &pmt));
    let mut counter = 0;
    for frame in 0..25 {
        let pts = Ticks::new(90_000 + 3600 * frame);
        let pes = Pes { stream_id: 0xE0, pts, dts: pts, payload: picture.to_vec() };
        write_pes(&pes, 0x100, &mut counter, frame == 0, &mut bytes);
    }
    bytes
}

/// Footage of one second by ffmpeg.
fn footage(rate: &str, size: &str, codec: &str, container: &str) -> Vec<u8> {
    let picture = format!("testsrc2=s={size}:r={rate}:d=1");
    let start = ["-v", "error", "-f", "lavfi", "-i", &picture];
    let codec: Vec<&str> = codec.split(' ').collect();
    ffmpeg(&[&start[..], &codec, &["-pix_fmt", "yuv420p", "-f", container, "-"]].concat())
}

#[test]
fn resolutions_are_those_on_the_screen_and_frame_rates_do_not_depend_on_the_clock() {
    let site = Site::at("2026-11-22T00:00:00");
    let h264 = "-c:v libx264 -preset ultrafast";
    let hevc = "-c:v libx265 -preset ultrafast -x265-params log-level=error";
    // The codec, the rate, the size of the pictures, a filter, the size on the screen, the rate that is said.
    let rows = [
        (h264, "25", "360x288", "setsar=64/45", "512x288", "25.000"),
        (h264, "25", "360x288", "setsar=16/11", "524x288", "25.000"),
        (h264, "30000/1001", "352x240", "setsar=10/11", "320x240", "29.970"),
        (h264, "25", "362x202", "null", "362x202", "25.000"),
        (h264, "50", "320x180", "setfield=tff -flags +ilme+ildct", "320x180", "50.000"),
        (hevc, "25", "360x202", "setsar=64/45", "512x202", "25.000"),
        (hevc, "60000/1001", "320x180", "null", "320x180", "59.940"),
        ("-c:v mpeg2video", "25", "360x288", "setsar=64/45", "512x288", "25.000"),
    ];
    for (index, (codec, rate, size, filter, resolution, said)) in rows.into_iter().enumerate() {
        let bytes = footage(rate, size, &format!("{codec} -vf {filter}"), "mpegts");
        site.write(&format!("s{index}/{SEGMENT}"), &bytes);
        let expected = format!("RESOLUTION={resolution},FRAME-RATE={said}");
        let list = || site.get(&format!("/playlist/s{index}.m3u8")).text();
        wait_until(&format!("{expected} of {codec} {filter}"), || attributes(&list()).ends_with(&expected));
    }
    // FLV has a clock of milliseconds.
    for rate in ["24000/1001", "24", "25", "30000/1001", "30", "48", "50", "60000/1001", "60"] {
        let millis = root().join("millis.flv");
        fs::write(&millis, footage(rate, "320x180", h264, "flv")).expect("a file");
        let bytes =
            ffmpeg(&["-v", "error", "-i", &millis.to_string_lossy(), "-c", "copy", "-f", "mpegts", "-"]);
        let (num, den) = rate.split_once('/').unwrap_or((rate, "1"));
        let [num, den] = [num, den].map(|text| text.parse::<f64>().expect("a number"));
        site.write(&format!("m{num}{den}/{SEGMENT}"), &bytes);
        let text = site.get(&format!("/playlist/m{num}{den}.m3u8")).text();
        assert!(attributes(&text).ends_with(&format!("FRAME-RATE={:.3}", num / den)), "{rate}: {text}");
    }
    // Without parameter sets the size is not known.
    let unknown = site.write(&format!("unknown/{SEGMENT}"), &stream(&[0, 0, 0, 1, 0x41, 0x9A, 0x24], &[]));
    for _ in 0..2 {
        assert_eq!(attributes(&site.get("/playlist/unknown.m3u8").text()), "FRAME-RATE=25.000");
        wait_until("ffprobe has ended", || site.get("/metrics").text().contains("ffmpeg_running 0\n"));
    }
    assert!(unknown.exists());
}

#[test]
fn a_playlist_goes_without_what_ffprobe_has_not_said_yet() {
    let base = tempfile::tempdir().expect("a directory");
    let programs = tempfile::tempdir().expect("a directory");
    let common = footage("25", "320x180", "-c:v libx264 -preset ultrafast", "mpegts");
    let rare = footage("25", "320x180", "-c:v mpeg2video", "mpegts");
    write_whole(&base.path().join("common").join(SEGMENT), &common);
    write_whole(&base.path().join("rare").join(SEGMENT), &rare);
    let ffprobe = fake(programs.path(), "ffprobe-hangs");
    let runs = || fs::read_to_string(format!("{ffprobe}.runs")).unwrap_or_default();
    let served = Served::over(base.path(), &["--workers", "1", "--ffprobe", &ffprobe]);
    let list = |stream: &str| ask(served.address, "GET", &format!("/playlist/{stream}.m3u8"), &[]).text();
    thread::scope(|scope| {
        let asked: Vec<_> = (0..16).map(|_| scope.spawn(|| list("rare"))).collect();
        for text in asked {
            let text = text.join().expect("a list");
            assert_eq!(attributes(&text), "", "{text}");
        }
    });
    assert!(attributes(&list("common")).contains("RESOLUTION=320x180,FRAME-RATE=25.000"));
    wait_until("ffprobe runs", || !runs().is_empty());
    let pid = runs().trim().to_owned();
    wait_until("it is killed", || !Path::new(&format!("/proc/{pid}")).exists());
    assert_eq!((attributes(&list("rare")), runs().lines().count()), ("", 1), "it is not asked again at once");

    // Another segment is another question, which a stop does not wait for.
    write_whole(&base.path().join("rare/v/2026-11-20T10/00:01.000-1.000-full-y.ts"), &rare);
    assert_eq!(attributes(&list("rare")), "");
    wait_until("ffprobe runs", || runs().lines().count() == 2);
    let pid = runs().lines().nth(1).expect("a pid").to_owned();
    served.running.signal(Signal::TERM);
    let ended = served.running.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(!Path::new(&format!("/proc/{pid}")).exists(), "ffprobe goes on");
}

#[test]
fn a_playlist_changes_its_entity_tag_when_ffprobe_has_answered() {
    let site = Site::at("2026-11-22T00:00:00");
    let rare = footage("25", "320x180", "-c:v mpeg2video", "mpegts");
    site.write(&format!("s/{SEGMENT}"), &rare);
    let before = site.get("/playlist/s.m3u8");
    assert_eq!(attributes(&before.text()), "");
    let known = "CODECS=\"mp4v.61\",RESOLUTION=320x180,FRAME-RATE=25.000";
    let list = || site.get("/playlist/s.m3u8");
    wait_until("ffprobe has answered", || attributes(&list().text()) == known);
    assert_ne!(list().header("etag"), before.header("etag"));
    // What is known of the segment before stands in for what is not known yet.
    site.write("s/v/2026-11-20T10/00:01.000-1.000-full-y.ts", &rare);
    for _ in 0..3 {
        assert_eq!(attributes(&list().text()), known);
    }
}

#[test]
fn a_segment_that_is_a_playlist_leads_to_no_other_file() {
    let site = Site::at("2026-11-22T00:00:00");
    let other = site.write("other.ts", &footage("25", "640x360", "-c:v mpeg2video", "mpegts"));
    let playlist =
        format!("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n", other.display());
    let bytes = [playlist.as_bytes(), &footage("25", "320x180", "-c:v mpeg2video", "mpegts")].concat();
    site.write(&format!("s/{SEGMENT}"), &bytes);
    let list = || site.get("/playlist/s.m3u8").text();
    wait_until("ffprobe has answered", || attributes(&list()).contains("RESOLUTION="));
    assert!(attributes(&list()).contains("RESOLUTION=320x180"), "{}", list());
}

#[test]
fn pictures_above_the_limit_start_no_decoder() {
    let base = tempfile::tempdir().expect("a directory");
    let programs = tempfile::tempdir().expect("a directory");
    // ffprobe would be asked about the sound.
    write_whole(&base.path().join("s").join(SEGMENT), &stream(HUGE, &[(0x101, 0x11)]));
    let ffprobe = fake(programs.path(), "ffprobe-hangs");
    let ffmpeg = fake(programs.path(), "ffmpeg-stalls");
    let served = Served::over(base.path(), &["--ffprobe", &ffprobe, "--ffmpeg", &ffmpeg]);
    let text = ask(served.address, "GET", "/playlist/s.m3u8", &[]).text();
    assert_eq!(attributes(&text), "RESOLUTION=16384x16384,FRAME-RATE=25.000");
    let range = "start=2026-11-20T10:00:00&end=2026-11-20T10:00:01";
    for kind in ["full", "smart"] {
        let target = format!("/cut/s/v.ts?{range}&type={kind}");
        let answer = ask(served.address, "GET", &target, &[]);
        assert_eq!(answer.status, 501, "{kind}: {}", answer.text());
        assert!(answer.text().contains("has pictures of 16384x16384"), "{}", answer.text());
        assert_eq!(ask(served.address, "HEAD", &target, &[]).status, 501, "HEAD {kind}");
    }
    let answer = ask(served.address, "GET", "/frame/s/v.png?timestamp=2026-11-20T10:00:00.5", &[]);
    assert!(answer.status == 501 && answer.text().contains("16384x16384"), "{}", answer.text());
    assert!(!Path::new(&format!("{ffprobe}.runs")).exists(), "ffprobe ran");
    assert!(!Path::new(&format!("{ffmpeg}.pid")).exists(), "ffmpeg ran");
}
