//! Waveforms: where sounds are in them, what is missing, what is decoded for them, and what wubloader's editor asks for.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cuts;
use crate::footage::{self, FootageKind, ffmpeg};
use crate::harness::{Answer, Site, ask};
use crate::process::Served;

/// The range of the footage of [`cuts::archive`].
const RANGE: &str = "start=2026-11-20T10:59:57&end=2026-11-20T11:00:07";

/// A server with these files as its variant `v` of a stream `s`.
fn site(files: &[PathBuf]) -> Site {
    let site = Site::at("2026-11-20T12");
    for file in files {
        add(&site, file);
    }
    site
}

fn add(site: &Site, file: &Path) {
    let hour = file.parent().and_then(Path::file_name).expect("an hour").to_string_lossy();
    let name = file.file_name().expect("a name").to_string_lossy();
    site.write(&format!("s/v/{hour}/{name}"), &fs::read(file).expect("a segment"));
}

/// The files of an archive, in order.
fn files(base: &Path) -> Vec<PathBuf> {
    let hours = fs::read_dir(base.join("s/v")).expect("a variant").flatten();
    let names = hours.flat_map(|hour| fs::read_dir(hour.path()).expect("an hour").flatten());
    let mut files: Vec<PathBuf> = names.map(|name| name.path()).collect();
    files.sort();
    files
}

/// The levels of a range: peaks and means.
fn levels(site: &Site, query: &str) -> (Vec<Option<f64>>, Vec<Option<f64>>) {
    let answer = site.get(&format!("/waveform/s/v.json?{query}"));
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, "application/json"),
        "{query}: {}",
        answer.text()
    );
    let json: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
    let list =
        |name: &str| json[name].as_array().expect("a list").iter().map(serde_json::Value::as_f64).collect();
    (list("peak"), list("mean"))
}

/// Seconds of sound that the server has decoded.
fn decoded(site: &Site) -> f64 {
    let metrics = site.get("/metrics").text();
    let line = metrics.lines().find_map(|line| line.strip_prefix("waveform_decoded_seconds_total "));
    line.expect("the metric").parse().expect("a number")
}

/// Checks that in steps of 10 ms a beep of 50 ms begins on each whole second, within 25 ms, and that nothing else is heard.
fn check_beeps(peaks: &[Option<f64>], what: &str) {
    let heard = |step: &usize| peaks[*step].is_some_and(|peak| peak > 0.1);
    for second in (0..peaks.len()).step_by(100) {
        let begins = (second.max(3) - 3..peaks.len()).find(heard).expect("a beep");
        assert!(begins <= second + 2, "{what}: the beep of second {} begins at {begins}", second / 100);
        let loudest = peaks[begins..begins + 6].iter().flatten().copied().fold(0.0, f64::max);
        assert!((0.4..0.6).contains(&loudest), "{what}: {loudest} at {begins}");
        let quiet = &peaks[second + 9..(second + 97).min(peaks.len())];
        assert!(quiet.iter().flatten().all(|peak| *peak < 0.05), "{what}: {quiet:?} after {second}");
    }
}

/// The heights of the columns of a picture, which is black on a transparent ground.
fn heights(png: &[u8]) -> Vec<usize> {
    let mut decoder = png::Decoder::new(std::io::Cursor::new(png));
    decoder.set_transformations(png::Transformations::EXPAND);
    let mut reader = decoder.read_info().expect("a head");
    let mut pixels = vec![0; reader.output_buffer_size().expect("a size")];
    let info = reader.next_frame(&mut pixels).expect("pixels");
    assert_eq!(info.color_type, png::ColorType::Rgba);
    let width = info.width as usize;
    let is_filled = |pixel: &[u8]| {
        assert_eq!(pixel[..3], [0, 0, 0]);
        pixel[3] > 0
    };
    let rows: Vec<Vec<bool>> =
        pixels.chunks_exact(width * 4).map(|row| row.chunks_exact(4).map(is_filled).collect()).collect();
    (0..width).map(|x| rows.iter().filter(|row| row[x]).count()).collect()
}

#[test]
fn beeps_are_where_they_are_heard_and_what_grows_decodes_only_what_is_new() {
    let base = cuts::archive();
    let files = files(base.path());
    let whole = site(&files);
    let query = format!("{RANGE}&points=1000");
    let (peaks, means) = levels(&whole, &query);
    check_beeps(&peaks, "whole");
    // A sine of half the scale has a mean of 0.318, and the beep lasts a half of this step.
    let (_, seconds) = levels(&whole, &format!("{RANGE}&points=100"));
    assert!((0.1..0.2).contains(&seconds[10].expect("a mean")), "{seconds:?}");
    assert!(peaks.iter().zip(&means).all(|(peak, mean)| peak >= mean));
    let first = decoded(&whole);
    assert!((9.9..10.5).contains(&first), "{first}");

    // The same levels, segment by segment.
    let growing = site(&files[..4]);
    let until_live = "start=2026-11-20T10:59:57&end=live";
    levels(&growing, until_live);
    let before = decoded(&growing);
    assert!((7.9..8.5).contains(&before), "{before}");
    add(&growing, &files[4]);
    let picture = growing.get(&format!("/waveform/s/v.png?{until_live}"));
    assert_eq!(picture.status, 200);
    let grown = decoded(&growing) - before;
    assert!((2.0..2.5).contains(&grown), "{grown}");
    let (grown_peaks, grown_means) = levels(&growing, &query);
    assert!(decoded(&growing) < before + 2.5, "the same sound is decoded again");
    for (one, other) in peaks.iter().zip(&grown_peaks).chain(means.iter().zip(&grown_means)) {
        let distance = one.zip(*other).map_or(0.0, |(one, other)| (one - other).abs());
        assert!(one.is_some() == other.is_some() && distance < 0.01, "{one:?} {other:?}");
    }

    // A hole, which has no levels in the list, and no place in the picture.
    let with_hole = site(&[&files[..2], &files[3..]].concat());
    let (peaks, _) = levels(&with_hole, &query);
    // The last sound before the hole may be stored in the segment that is missing.
    let is_hole = |step: &usize| (400..600).contains(step);
    assert!(peaks.iter().enumerate().all(|(step, peak)| peak.is_none() || !is_hole(&step)));
    assert!((0..390).chain(600..990).all(|step| peaks[step].is_some()), "{peaks:?}");
    let picture = with_hole.get(&format!("/waveform/s/v.png?{RANGE}&size=80x64"));
    let beeps: Vec<usize> =
        (0..).zip(heights(&picture.body)).filter(|(_, height)| *height > 12).map(|(x, _)| x).collect();
    assert_eq!(beeps, [0, 10, 20, 30, 40, 50, 60, 70]);

    // wubloader's own picture of the same segments, whose columns are equal numbers of samples.
    let joined: Vec<u8> = files.iter().flat_map(|file| fs::read(file).expect("a segment")).collect();
    let path = whole.archive.path().join("joined.ts");
    fs::write(&path, joined).expect("a file");
    let filter = "[0:a]showwavespic=size=40x64:colors=#000000:scale=sqrt[out]";
    let args = ["-v", "error", "-i", &path.to_string_lossy(), "-filter_complex", filter, "-map", "[out]"];
    let theirs = heights(&ffmpeg(&[&args[..], &["-f", "image2", "-c", "png", "-"]].concat()));
    let ours = heights(&whole.get(&format!("/waveform/s/v.png?{RANGE}&size=40x64")).body);
    for (x, (one, other)) in ours.iter().zip(&theirs).enumerate() {
        assert!(one.abs_diff(*other) <= 3, "column {x}: {ours:?} {theirs:?}");
    }
}

#[test]
fn the_first_sound_of_each_codec_is_measured() {
    for (name, codecs) in [
        ("wave-aac", "-c:a aac"),
        ("wave-mp3", "-c:a libmp3lame"),
        ("wave-mp2", "-c:a mp2"),
        ("wave-ac3", "-c:a ac3"),
        ("wave-eac3", "-c:a eac3"),
        ("wave-opus", "-c:a libopus -b:a 96k"),
    ] {
        let kind = FootageKind { name, seconds: 4, codecs, pictures: false, ..footage::PLAIN };
        let footage = footage::make(&kind);
        let base = tempfile::tempdir().expect("a directory");
        let files: Vec<_> = footage.segments.iter().map(|segment| cuts::file(base.path(), segment)).collect();
        let query = "start=2026-11-20T10:59:57&end=2026-11-20T11:00:01&points=400";
        check_beeps(&levels(&site(&files), query).0, name);
    }
    // Two sounds of two channels each: the louder one of the first counts.
    let sources = [
        "aevalsrc='0.1*sin(2000*PI*t)|0.99*sin(2000*PI*t)':s=44100:d=2",
        "aevalsrc='0.5*sin(2000*PI*t)|0.5*sin(2000*PI*t)':s=48000:d=2",
    ];
    for (order, peak, mean) in [([0, 1], 0.99, 0.63), ([1, 0], 0.5, 0.32)] {
        let inputs = order.map(|index| sources[index]);
        let args = ["-v", "error", "-f", "lavfi", "-i", inputs[0], "-f", "lavfi", "-i", inputs[1]];
        let coding = ["-map", "0", "-map", "1", "-c:a", "mp2", "-b:a", "384k", "-f", "mpegts", "-"];
        let bytes = ffmpeg(&[&args[..], &coding].concat());
        let site = Site::at("2026-11-20T12");
        site.write("s/v/2026-11-20T10/00:00-2-full-x.ts", &bytes);
        let (peaks, means) = levels(&site, "start=2026-11-20T10:00:00.5&duration=1s&points=10");
        assert!(
            peaks.iter().flatten().all(|found| (found - peak).abs() < 0.02) && peaks.len() == 10,
            "{peaks:?}"
        );
        assert!(means.iter().flatten().all(|found| (found - mean).abs() < 0.02), "{means:?}");
    }
}

#[test]
fn sound_that_cannot_be_decoded_is_unknown_and_the_rest_is_not() {
    let base = cuts::archive();
    let files = files(base.path());
    let damage = |file: &Path, is_damaged: &dyn Fn(&[u8]) -> bool| {
        let mut bytes = fs::read(file).expect("a segment");
        for packet in bytes.chunks_exact_mut(188).filter(|packet| is_damaged(packet)) {
            packet[20..].fill(0x55);
        }
        fs::write(file, bytes).expect("a segment");
    };
    // ffmpeg gives the first sound the second of its PIDs. Headers of PES packets stay.
    damage(&files[1], &|packet| packet[1] & 0x5F == 1 && packet[2] == 1);
    fs::write(&files[3], b"no packets").expect("a segment");
    let damaged = site(&files);
    let (peaks, _) = levels(&damaged, &format!("{RANGE}&points=100"));
    // Silence is coded in so few bytes that it is not damaged.
    let expected: Vec<bool> = (0..10).map(|second| ![2, 3, 6, 7].contains(&second)).collect();
    let is_heard = |second: usize| peaks[second * 10].is_some_and(|peak| peak > 0.4);
    assert_eq!((0..10).map(is_heard).collect::<Vec<_>>(), expected, "{peaks:?}");
    assert!(
        [20, 30].iter().chain(&(61..79).collect::<Vec<_>>()).all(|step| peaks[*step].is_none()),
        "{peaks:?}"
    );

    // Nothing at all can be decoded.
    let query = "start=2026-11-20T11:00:03.5&end=2026-11-20T11:00:04.5";
    let none = damaged.get(&format!("/waveform/s/v.json?{query}"));
    assert_eq!(
        (none.status, &*none.text()),
        (501, "this variant has no sound in the requested time range\n")
    );
}

#[test]
fn the_requests_of_wubloader_have_the_responses_it_expects() {
    let base = cuts::archive();
    let site = site(&files(base.path()));
    let get = |target: &str| site.get(&format!("/waveform/{target}"));
    // As `updateWaveform` of its editor asks.
    let picture = get(&format!("s/v.png?size=1920x125&{RANGE}&t=1795171502"));
    assert_eq!((picture.status, picture.header("content-type")), (200, "image/png"));
    assert_eq!(picture.header("access-control-allow-origin"), "*");
    let columns = heights(&picture.body);
    assert_eq!((columns.len(), &picture.body[16..24]), (1920, &[0, 0, 7, 128, 0, 0, 0, 125][..]));
    assert_eq!(heights(&get(&format!("s/v.png?{RANGE}")).body).len(), 1024);
    assert_eq!(heights(&get(&format!("s/v.png?{RANGE}&size=1x1")).body).len(), 1);

    let good = "start=2026-11-20T10:59:57&end=2026-11-20T11:00:07";
    let no_variant = "there is no variant `w` of a stream `s`";
    let nothing = "We have no content available within the requested time range.";
    let bounds = "Image size must be between 1x1 and 4096x4096";
    let rows: &[(&str, u16, &str)] = &[
        ("s/v.png?start=2026-11-20T11&end=2026-11-20T10", 400, "End must be after start"),
        ("s/v.png?start=2026-11-20T11&end=2026-11-20T11", 400, "End must be after start"),
        ("s/v.png?start=now&end=-1h", 400, "End must be after start"),
        ("s/v.png?start=2026-11-20T11&duration=21601", 400, "Range may not be longer than 6 hours"),
        ("s/v.json?start=-7h&end=now", 400, "Range may not be longer than 6 hours"),
        ("s/v.png?end=2026-11-20T11", 400, "missing start: expected both ends"),
        ("s/v.json?start=2026-11-20T11", 400, "missing end: expected both ends"),
        ("s/v.png?start=yesterday&end=now", 400, "bad start `yesterday`"),
        (&format!("s/v.png?{good}&size=64"), 400, "bad size `64`: expected WIDTHxHEIGHT"),
        (&format!("s/v.png?{good}&size=0x64"), 400, bounds),
        (&format!("s/v.png?{good}&size=64x-1"), 400, bounds),
        (&format!("s/v.png?{good}&size=4097x64"), 400, bounds),
        (&format!("s/v.json?{good}&points=0"), 400, "bad points `0`: expected a number from 1 to 10000"),
        (&format!("s/v.json?{good}&points=10001"), 400, "bad points `10001`"),
        (&format!("s/w.png?{good}"), 404, no_variant),
        ("s/v.png?start=2026-11-20T08&end=2026-11-20T09", 406, nothing),
        ("s/.v.png?start=2026-11-20T08&end=2026-11-20T09", 403, "Bad variant: May not start with a period"),
    ];
    for (target, status, text) in rows {
        let answer = get(target);
        assert_eq!(answer.status, *status, "{target}: {}", answer.text());
        assert!(answer.text().starts_with(text), "{target}: {}", answer.text());
    }
}

#[test]
fn waveforms_have_validators_and_say_what_relative_times_mean() {
    let base = cuts::archive();
    let files = files(base.path());
    let whole = site(&files);
    let target = format!("/waveform/s/v.png?{RANGE}");
    let ask = |method: &str, headers: &[(&str, &str)]| ask(whole.address, method, &target, headers);
    let answer = ask("GET", &[]);
    let head = ask("HEAD", &[]);
    assert_eq!((head.status, head.header("content-length")), (200, &*answer.body.len().to_string()));
    let unchanged = ask("GET", &[("If-None-Match", answer.header("etag"))]);
    assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));
    let relative = whole.get("/waveform/s/v.json?start=-4s&end=live&points=4");
    let shown = |answer: &Answer| ["x-range-start", "x-range-end"].map(|name| answer.header(name).to_owned());
    let [start, end] = shown(&relative);
    let begins = format!("{{\"start\":\"{start}\",\"end\":\"{end}\",\"peak\":[0.");
    assert!(relative.text().starts_with(&begins), "{}", relative.text());
    assert_eq!(
        (shown(&answer), relative.header("cache-control")),
        ([String::new(), String::new()], "no-cache")
    );

    // An empty file leaves a hole until it is replaced.
    let replaced = site(&files);
    let name = files[2].strip_prefix(base.path()).expect("a path").to_string_lossy();
    replaced.write(&name, b"");
    let etag = |answer: &Answer| answer.header("etag").to_owned();
    assert_ne!(etag(&replaced.get(&target)), etag(&answer));
    let list = format!("{RANGE}&points=10");
    assert!(levels(&replaced, &list).0[4].is_none() && levels(&whole, &list).0[4].is_some());
    add(&replaced, &files[2]);
    assert_eq!(etag(&replaced.get(&target)), etag(&answer));
}

#[test]
fn a_variant_without_sound_and_a_server_without_ffmpeg_say_so() {
    let silent = FootageKind { name: "wave-silent", seconds: 2, sounds: 0, ..footage::PLAIN };
    let base = tempfile::tempdir().expect("a directory");
    let file = cuts::file(base.path(), &footage::make(&silent).segments[0]);
    let query = "start=2026-11-20T10:59:57&end=2026-11-20T10:59:58";
    let refused = site(&[file]).get(&format!("/waveform/s/v.png?{query}"));
    let why = "this variant has no sound in the requested time range\n";
    assert_eq!((refused.status, &*refused.text()), (501, why));

    let base = cuts::archive();
    let without = Served::over(base.path(), &["--ffmpeg", "/nowhere/ffmpeg"]);
    let refused = ask(without.address, "GET", &format!("/waveform/s/v.png?{query}"), &[]);
    let why = "this needs ffmpeg, which is not installed on this server\n";
    assert_eq!((refused.status, &*refused.text()), (503, why));
}
