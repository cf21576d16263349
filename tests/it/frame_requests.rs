//! `/frame`: its headers, sizes and colours, what is refused, and what a crowd of clients leaves behind.

use std::fs;
use std::io::Write;
use std::thread;

use restreamer::timestamp::Timestamp;

use crate::cuts::{archive, at_rest, fake, holdings};
use crate::footage::{ffmpeg, run};
use crate::harness::{Answer, Site, ask, connect, wait_until, write_whole};
use crate::movie_requests::metric;
use crate::process::Served;

/// A time within the footage that tests share.
const AT: &str = "2026-11-20T10:59:58.5";

fn target(extension: &str, query: &str) -> String {
    format!("/frame/s/v.{extension}?{query}")
}

/// Width, height and sample aspect ratio of a picture, and the colour in its middle.
fn look(answer: &Answer) -> (String, [u8; 3]) {
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), &answer.body).expect("a picture");
    let path = file.path().to_string_lossy();
    let entries = "stream=width,height,sample_aspect_ratio";
    let probed = run("ffprobe", &["-v", "error", "-show_entries", entries, "-of", "csv=p=0", &path]);
    let size = String::from_utf8_lossy(&probed.stdout).trim().to_owned();
    let middle = "crop=2:2,scale=in_color_matrix=bt601:in_range=pc";
    let filter = if answer.header("content-type") == "image/jpeg" { middle } else { "crop=2:2" };
    let raw =
        ffmpeg(&["-v", "error", "-i", &path, "-vf", filter, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]);
    (size, [raw[0], raw[1], raw[2]])
}

#[test]
fn a_frame_is_decoded_once_and_has_its_time_and_entity_tag() {
    let base = archive();
    let served = Served::over(base.path(), &[]);
    let get = |method, target: &str, headers: &[(&str, &str)]| ask(served.address, method, target, headers);
    let first = get("GET", &target("png", &format!("timestamp={AT}")), &[]);
    assert_eq!((first.status, first.header("content-type")), (200, "image/png"));
    assert!(
        first.body.starts_with(b"\x89PNG") && first.header("x-frame-time") == "2026-11-20T10:59:58.480000Z"
    );
    assert_eq!(first.header("cache-control"), "no-cache");
    assert!(first.header("access-control-expose-headers").contains("X-Frame-Time"));
    // Another time at which the same frame is on the screen, and the same time as an editor writes it.
    for time in ["2026-11-20T10:59:58.480", "2026-11-20T10:59:58.519999", "1795172398.5"] {
        let again = get("GET", &target("png", &format!("timestamp={time}")), &[]);
        assert_eq!((again.header("etag"), &again.body), (first.header("etag"), &first.body), "{time}");
    }
    let head = get("HEAD", &target("png", &format!("timestamp={AT}")), &[]);
    assert_eq!(head.header("content-length"), first.body.len().to_string());
    let unchanged =
        get("GET", &target("png", &format!("timestamp={AT}")), &[("If-None-Match", first.header("etag"))]);
    for answer in [&head, &unchanged] {
        assert_eq!(answer.header("x-frame-time"), first.header("x-frame-time"));
    }
    assert_eq!((head.status, unchanged.status), (200, 304));
    assert_eq!(metric(served.address, "picture_cache_misses_total"), 1);

    for (extension, query) in [("jpg", ""), ("png", "&width=160"), ("jpg", "&width=160")] {
        let other = get("GET", &target(extension, &format!("timestamp={AT}{query}")), &[]);
        assert_eq!(other.status, 200);
        assert_ne!(other.header("etag"), first.header("etag"), "{extension} {query}");
    }
}

#[test]
fn what_cannot_be_shown_is_refused_with_the_reason() {
    let base = archive();
    let sound = ["-v", "error", "-f", "lavfi", "-i", "sine=d=2", "-c:a", "aac", "-f", "mpegts", "-"];
    write_whole(&base.path().join("s/sound/2026-11-20T10/00:00-2-full-x.ts"), &ffmpeg(&sound));
    let served = Served::over(base.path(), &[]);
    let missing = "missing timestamp: expected a time, as in `timestamp=2026-11-20T10:55:02.123`";
    let nothing = "We have no content available within the requested time range.";
    let rows = [
        ("/frame/s/v.png", 400, missing),
        ("/frame/s/v.png?timestamp=", 400, "bad timestamp ``: expected a time such as"),
        ("/frame/s/v.png?timestamp=25:00", 400, "bad timestamp `25:00`: expected a time such as"),
        ("/frame/s/v.png?timestamp=live&width=15", 400, "bad width `15`: expected a width in pixels from 16"),
        ("/frame/s/v.png?timestamp=live&width=3841", 400, "bad width `3841`"),
        ("/frame/s/v.jpg?timestamp=2026-11-20T09", 406, nothing),
        ("/frame/s/none.png?timestamp=live", 404, "there is no variant `none` of a stream `s`"),
        ("/frame/s/sound.png?timestamp=2026-11-20T10:00:01", 501, "has no pictures"),
        ("/frame/s/v.gif?timestamp=live", 404, "no such page"),
    ];
    for (target, status, text) in rows {
        let answer = ask(served.address, "GET", target, &[]);
        assert!(answer.status == status && answer.text().contains(text), "{target}: {answer:?}");
        assert_eq!(ask(served.address, "HEAD", target, &[]).status, status, "{target}");
    }
    let without = Served::over(base.path(), &["--ffmpeg", "/nowhere/ffmpeg"]);
    let answer = ask(without.address, "GET", &target("png", "timestamp=live"), &[]);
    assert!(answer.status == 503 && answer.text().contains("not installed"), "{answer:?}");
}

/// Writes a segment of one colour, as hexadecimal digits, and returns that colour.
fn write_colour(archive: &Site, minute: usize, size: &str, matrix: &str, marks: &[&str]) -> [u8; 3] {
    let (hex, rgb) = ("C83C28", [0xC8, 0x3C, 0x28]);
    let source = format!("color=0x{hex}:s={size}:r=25:d=0.4,format=gbrp");
    let filter = format!("scale=out_color_matrix={matrix}:out_range=tv,format=yuv420p");
    let mut args = vec!["-v", "error", "-f", "lavfi", "-i", &source, "-vf", &filter];
    args.extend(["-c:v", "libx264", "-preset", "ultrafast", "-crf", "8"]);
    args.extend(marks);
    args.extend(["-f", "mpegts", "-"]);
    archive.write(&format!("s/v/2026-11-20T10/{minute:02}:00-0.400-full-x{minute}.ts"), &ffmpeg(&args));
    rgb
}

#[test]
fn colours_are_right_and_a_width_gives_square_pixels() {
    let site = Site::at("2026-11-22T00:00:00");
    let bt709 = ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709"];
    let rows: [(&str, &str, &[&str], &str, &str); 4] = [
        // Size, matrix, how the segment says it, the picture's size, and its size with a width of 256.
        ("1280x720", "bt709", &bt709, "1280,720", "256,144"),
        ("1280x720", "bt709", &[], "1280,720", "256,144"),
        ("360x288", "bt601", &["-aspect", "16:9"], "360,288", "256,144"),
        ("200x300", "bt709", &bt709, "200,300", "256,384"),
    ];
    for (minute, (size, matrix, marks, own, scaled)) in rows.into_iter().enumerate() {
        let rgb = write_colour(&site, minute, size, matrix, marks);
        for (extension, width) in [("png", false), ("jpg", true)] {
            let query =
                format!("timestamp=2026-11-20T10:{minute:02}:00.2{}", if width { "&width=256" } else { "" });
            let (shown, middle) = look(&site.get(&target(extension, &query)));
            let expected = if width { scaled } else { own };
            assert!(shown.starts_with(expected), "{size} {extension}: {shown}");
            assert!(!width || shown.ends_with(",1:1"), "{size} {extension}: {shown}");
            let is_near = |(one, other): (&u8, &u8)| one.abs_diff(*other) <= 3;
            assert!(
                middle.iter().zip(&rgb).all(is_near),
                "{size} {marks:?} {extension}: {middle:?}, not {rgb:?}"
            );
        }
    }
}

#[test]
fn a_client_that_leaves_stops_the_decoder() {
    let base = archive();
    let fakes = tempfile::tempdir().expect("a directory");
    let ffmpeg = fake(fakes.path(), "ffmpeg-stalls");
    let (served, held) = at_rest(base.path(), &["--ffmpeg", &ffmpeg]);
    let mut stream = connect(served.address);
    let request = format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", target("png", &format!("timestamp={AT}")));
    stream.write_all(request.as_bytes()).expect("a request");
    let pid = format!("{ffmpeg}.pid");
    wait_until("the decoder runs", || fs::read_to_string(&pid).is_ok_and(|pid| pid.ends_with('\n')));
    drop(stream);
    wait_until("nothing is left", || holdings(&served.running) == held);
}

#[test]
fn a_crowd_gets_frames_or_is_told_to_come_again() {
    let base = archive();
    let (served, held) = at_rest(base.path(), &["--cut-workers", "1"]);
    let begin = Timestamp::parse("2026-11-20T10:59:57").expect("a time");
    let ask_for = |number: i64| {
        let time = begin + restreamer::timestamp::Span::from_millis(number * 50);
        ask(served.address, "GET", &target("jpg", &format!("timestamp={time}&width=64")), &[])
    };
    let answers: Vec<_> = thread::scope(|scope| {
        let clients: Vec<_> = (0..200).map(|number| scope.spawn(move || ask_for(number))).collect();
        clients.into_iter().map(|client| client.join().expect("no panic")).collect()
    });
    let good = answers.iter().filter(|answer| answer.status == 200 && answer.whole).count();
    let busy =
        answers.iter().filter(|answer| answer.status == 503 && answer.header("retry-after") == "1").count();
    assert!(good > 0 && good + busy == 200, "{good} frames, {busy} times 503");
    wait_until("nothing is left", || holdings(&served.running) == held);
}
