//! Cuts as MP4 over HTTP: ranges and conditional requests, what HEAD says, relative times, refusals.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use restreamer::timestamp::Span;

use crate::cuts::{RANGE, archive, fake, file};
use crate::footage::{self, Footage, FootageKind, PLAIN, run};
use crate::harness::{Answer, ask, wait_until};
use crate::process::Served;

/// The types of movies that have a length.
pub(crate) const FLAT: [&str; 3] = ["smart", "copy", "rough"];

pub(crate) fn target(query: &str) -> String {
    format!("/cut/s/v.mp4?{query}")
}

fn get(address: SocketAddr, query: &str, headers: &[(&str, &str)]) -> Answer {
    ask(address, "GET", &target(query), headers)
}

fn head(address: SocketAddr, query: &str) -> Answer {
    ask(address, "HEAD", &target(query), &[])
}

/// A range of a movie, which must be there.
pub(crate) fn part(address: SocketAddr, query: &str, first: usize, last: usize) -> Answer {
    let answer = get(address, query, &[("Range", &format!("bytes={first}-{last}"))]);
    assert_eq!((answer.status, answer.whole), (206, true), "{query} {first}-{last}: {answer:?}");
    answer
}

/// A number in a header.
fn number(answer: &Answer, name: &str) -> usize {
    answer.header(name).parse().unwrap_or_else(|_| panic!("{name} of {:?}", answer.headers))
}

fn has(answer: &Answer, name: &str) -> bool {
    answer.headers.contains_key(name)
}

/// The value of a line of the metrics.
pub(crate) fn metric(address: SocketAddr, name: &str) -> usize {
    let page = ask(address, "GET", "/metrics", &[]).text();
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {page}"))
}

/// An archive of footage of a kind.
fn archive_of(footage: &Footage) -> tempfile::TempDir {
    let base = tempfile::tempdir().expect("a directory");
    for segment in &footage.segments {
        file(base.path(), segment);
    }
    base
}

/// The paths of the segments of an archive, in order.
pub(crate) fn segments(base: &Path) -> Vec<PathBuf> {
    let hours = ["10", "11"].map(|hour| base.join(format!("s/v/2026-11-20T{hour}")));
    let mut paths: Vec<_> = hours.iter().flat_map(|hour| fs::read_dir(hour).expect("an hour")).collect();
    paths.sort_by_key(|entry| entry.as_ref().expect("an entry").path());
    paths.into_iter().map(|entry| entry.expect("an entry").path()).collect()
}

#[test]
fn a_movie_has_its_headers_and_ffmpeg_reads_it_without_a_warning() {
    let base = archive();
    let served = Served::over(base.path(), &[]);
    for (kind, shown) in [
        ("", ("2026-11-20T10:59:57.500000Z", "2026-11-20T11:00:04.500000Z")),
        ("&type=fast", ("2026-11-20T10:59:57.500000Z", "2026-11-20T11:00:04.500000Z")),
        ("&type=copy", ("2026-11-20T10:59:57.500000Z", "2026-11-20T11:00:04.500000Z")),
        ("&type=rough", ("2026-11-20T10:59:57.000000Z", "2026-11-20T11:00:05.000000Z")),
    ] {
        let query = format!("{RANGE}{kind}");
        let answer = get(served.address, &query, &[]);
        assert_eq!((answer.status, answer.whole), (200, true), "{kind}: {answer:?}");
        for (name, value) in [
            ("content-type", "video/mp4"),
            ("content-disposition", "attachment; filename=\"s_v_2026-11-20T10-59-57.500000Z.mp4\""),
            ("cache-control", "no-cache"),
            ("accept-ranges", "bytes"),
            ("x-cut-start", shown.0),
            ("x-cut-end", shown.1),
            ("x-cut-segments", "4"),
            ("x-cut-holes", "0"),
        ] {
            assert_eq!(answer.header(name), value, "{kind} {name}");
        }
        assert_eq!(number(&answer, "content-length"), answer.body.len());
        let boxes: Vec<_> =
            ["ftyp", "moov", "mdat"].iter().filter_map(|name| find(&answer.body, name)).collect();
        assert!(boxes.len() == 3 && boxes.is_sorted(), "{kind}: {boxes:?}");
        let path = base.path().join("cut.mp4");
        fs::write(&path, &answer.body).expect("write the cut");
        let path = path.display().to_string();
        let looked = run("ffmpeg", &["-v", "warning", "-i", &path, "-map", "0", "-f", "null", "-"]);
        assert_eq!(String::from_utf8_lossy(&looked.stderr), "", "{kind}");

        let inline = get(served.address, &format!("{query}&inline=true"), &[("Range", "bytes=0-1")]);
        assert!(!has(&inline, "content-disposition"), "{kind}: to be played, not saved");
        let same = get(served.address, &format!("{query}&inline=false"), &[("Range", "bytes=0-1")]);
        assert_eq!(same.header("etag"), answer.header("etag"), "{kind}");
    }
}

fn find(bytes: &[u8], text: &str) -> Option<usize> {
    bytes.windows(text.len()).position(|window| window == text.as_bytes())
}

#[test]
fn timecode_true_adds_a_text_track_with_the_wall_clock() {
    let base = archive();
    let served = Served::over(base.path(), &[]);
    for kind in FLAT {
        let plain = get(served.address, &format!("{RANGE}&type={kind}"), &[]);
        let answer = get(served.address, &format!("{RANGE}&type={kind}&timecode=True"), &[]);
        assert!(plain.status == 200 && answer.status == 200 && answer.whole, "{kind}");
        assert_ne!(plain.header("etag"), answer.header("etag"), "{kind}");
        let path = base.path().join("cut.mp4");
        fs::write(&path, &answer.body).expect("write the cut");
        let path = path.display().to_string();
        let text = run("ffmpeg", &["-v", "error", "-i", &path, "-map", "0:s", "-f", "srt", "-"]);
        let text = String::from_utf8_lossy(&text.stdout).into_owned();
        for second in ["10:59:58", "11:00:00", "11:00:04"] {
            assert!(text.contains(second), "{kind}: no {second} in {text}");
        }
    }
}

#[test]
fn ranges_in_any_order_are_those_of_the_whole() {
    let base = archive();
    let served = Served::over(base.path(), &[]);
    let small = Served::over(base.path(), &["--cut-cache-bytes", "0", "--movie-cache-bytes", "0"]);
    for kind in FLAT {
        let query = &format!("{RANGE}&type={kind}");
        let whole = get(served.address, query, &[]);
        let (len, etag) = (whole.body.len(), whole.header("etag").to_owned());
        assert!(etag.starts_with('"'), "it is strong: {etag}");
        // An iPhone asks for the first two bytes, then for all, then for the end.
        let mut ranges = vec![(0, 1), (0, len - 1), (len - 1, len - 1), (1, 1), (len / 2, len / 2 + 9)];
        let step = len / 11 + 1;
        ranges.extend((0..len).step_by(step).map(|first| (first, (first + step).min(len) - 1)).rev());
        for (server, ranges) in [(&served, &ranges[..]), (&small, &ranges[..5])] {
            for (first, last) in ranges {
                let answer = part(server.address, query, *first, *last);
                assert!(answer.body == whole.body[*first..=*last], "{kind} {first}-{last}");
                assert_eq!(answer.header("etag"), etag, "{kind} {first}-{last}");
                assert_eq!(answer.header("content-range"), format!("bytes {first}-{last}/{len}"), "{kind}");
            }
        }
        let last = get(served.address, query, &[("Range", "bytes=-7")]);
        assert_eq!((last.status, &last.body[..]), (206, &whole.body[len - 7..]));
        let beyond = get(served.address, query, &[("Range", &format!("bytes={len}-"))]);
        assert_eq!((beyond.status, beyond.header("content-range")), (416, &*format!("bytes */{len}")));
        assert_eq!(beyond.text().lines().count(), 1);
        let several = get(served.address, query, &[("Range", "bytes=0-1,4-5")]);
        assert!(several.status == 200 && several.body == whole.body, "several ranges get the whole");
    }
}

#[test]
fn conditional_requests_for_movies_are_answered() {
    let base = archive();
    let served = Served::over(base.path(), &[]);
    for kind in FLAT {
        let query = &format!("{RANGE}&type={kind}");
        let whole = get(served.address, query, &[]);
        let etag = whole.header("etag").to_owned();
        let matching = get(served.address, query, &[("Range", "bytes=5-9"), ("If-Range", &etag)]);
        assert_eq!((matching.status, &matching.body[..]), (206, &whole.body[5..10]), "{kind}");
        for other in ["\"another\"", &format!("W/{etag}"), "Fri, 20 Nov 2026 11:00:00 GMT"] {
            let answer = get(served.address, query, &[("Range", "bytes=5-9"), ("If-Range", other)]);
            assert!(answer.status == 200 && answer.body == whole.body, "{kind} {other}");
        }
        for method in ["GET", "HEAD"] {
            let current = ask(served.address, method, &target(query), &[("If-None-Match", &etag)]);
            assert_eq!((current.status, current.header("etag")), (304, &*etag), "{kind} {method}");
            assert!(current.body.is_empty());
        }
        let stale = get(served.address, query, &[("If-None-Match", "\"another\"")]);
        assert_eq!((stale.status, stale.body.len()), (200, whole.body.len()), "{kind}");
    }
}

#[test]
fn head_of_a_smart_movie_encodes_nothing() {
    let base = archive();
    let dir = tempfile::tempdir().expect("a directory");
    // This ffmpeg never ends by itself.
    let stalled = Served::over(base.path(), &["--ffmpeg", &fake(dir.path(), "ffmpeg-stalls")]);
    let answer = head(stalled.address, RANGE);
    assert_eq!((answer.status, answer.header("accept-ranges")), (200, "bytes"), "{answer:?}");
    assert!(number(&answer, "x-cut-size-estimate") > 0);
    for name in ["content-length", "etag", "transfer-encoding"] {
        assert!(!has(&answer, name), "{name} is not known yet: {answer:?}");
    }
    assert!(answer.header("access-control-expose-headers").contains("X-Cut-Size-Estimate"));
    for kind in ["copy", "rough"] {
        let answer = head(stalled.address, &format!("{RANGE}&type={kind}"));
        assert!(answer.status == 200 && number(&answer, "content-length") > 0, "{kind}");
        assert!(has(&answer, "etag") && !has(&answer, "x-cut-size-estimate"), "{kind}: {answer:?}");
    }

    for encoded_bytes in ["67108864", "0"] {
        let served = Served::over(base.path(), &["--cut-cache-bytes", encoded_bytes]);
        let whole = get(served.address, RANGE, &[]);
        let exits = metric(served.address, "ffmpeg_exits_total{result=\"ok\"}");
        let answer = head(served.address, RANGE);
        if encoded_bytes == "0" {
            assert!(!has(&answer, "content-length") && !has(&answer, "etag"), "{answer:?}");
            assert_eq!(number(&answer, "x-cut-size-estimate"), whole.body.len());
        } else {
            assert_eq!(number(&answer, "content-length"), whole.body.len());
            assert_eq!(answer.header("etag"), whole.header("etag"));
        }
        assert_eq!(metric(served.address, "ffmpeg_exits_total{result=\"ok\"}"), exits, "ffmpeg was started");
        // What the client has is current, whether the pictures are still there or not.
        let etag = whole.header("etag");
        assert_eq!(get(served.address, RANGE, &[("If-None-Match", etag)]).status, 304);
        assert_eq!(metric(served.address, "ffmpeg_exits_total{result=\"ok\"}"), exits, "ffmpeg was started");
    }
}

#[test]
fn the_size_of_half_a_minute_is_estimated_to_ten_percent() {
    for (name, codecs) in [
        ("estimate-good", "-c:v libx264 -preset veryfast -crf 20 -sc_threshold 0 -bf 2 -g 20 -c:a aac"),
        ("estimate-poor", "-c:v libx264 -preset veryfast -b:v 300k -sc_threshold 0 -bf 2 -g 20 -c:a aac"),
        ("estimate-rich", "-c:v libx264 -preset veryfast -b:v 4M -sc_threshold 0 -bf 0 -g 20 -c:a aac"),
    ] {
        let footage = footage::make(&FootageKind { name, codecs, rate: (10, 1), seconds: 34, ..PLAIN });
        let base = archive_of(&footage);
        let served = Served::over(base.path(), &[]);
        let start = footage::base() + Span::from_millis(1320);
        let query = format!("start={start}&end={}", start + Span::from_secs(30));
        let estimate = number(&head(served.address, &query), "x-cut-size-estimate");
        let actual = get(served.address, &query, &[]).body.len();
        assert!(actual.abs_diff(estimate) * 10 <= actual, "{name}: {estimate} was estimated, it is {actual}");
    }
}

/// The target of a reference that begins with `./`.
fn resolve(target: &str, reference: &str) -> String {
    let (directory, _) = target.split('?').next().and_then(|path| path.rsplit_once('/')).expect("a path");
    format!("{directory}/{}", reference.strip_prefix("./").expect("a relative reference"))
}

#[test]
fn a_relative_time_has_no_ranges_and_names_the_absolute_address() {
    let base = archive();
    let served = Served::over(base.path(), &[]);
    for (query, more) in [
        ("start=-3.5s", ""),
        ("start=2026-11-20T11:00:03.500", ""),
        ("start=live-3.5s&duration=3.5&type=copy&inline=true&timecode=true&allow_holes=true", "&inline=true"),
    ] {
        let relative = target(query);
        let whole = ask(served.address, "GET", &relative, &[]);
        assert_eq!((whole.status, whole.header("accept-ranges")), (200, "none"), "{query}: {whole:?}");
        let location = whole.header("content-location").to_owned();
        assert!(location.starts_with("./v.mp4?start=2026-11-20T11:00:03.5"), "{location}");
        assert!(location.contains(more), "{location}");
        let redirect = ask(served.address, "GET", &relative, &[("Range", "bytes=0-1")]);
        assert_eq!((redirect.status, redirect.header("location")), (307, &*location), "{query}");
        assert_eq!(redirect.header("cache-control"), "no-store");
        let absolute = resolve(&relative, &location);
        let part = ask(served.address, "GET", &absolute, &[("Range", "bytes=0-999")]);
        assert_eq!((part.status, &part.body[..]), (206, &whole.body[..1000]), "{absolute}");
        assert_eq!((part.header("accept-ranges"), part.header("etag")), ("bytes", whole.header("etag")));
        let head = ask(served.address, "HEAD", &relative, &[("Range", "bytes=0-1")]);
        assert_eq!((head.status, head.header("content-location")), (200, &*location), "{query}");
    }
}

#[test]
fn movies_with_holes_and_impossible_ones_are_refused_before_the_first_byte() {
    let base = archive();
    let served = Served::over(base.path(), &[]);
    let beyond = "start=2026-11-20T10:59:57.5&end=2026-11-20T11:00:24.5";
    let rows = [
        (beyond.to_owned(), 406, "contains holes"),
        ("start=2026-11-20T11:10&end=2026-11-20T11:11&allow_holes=true".to_owned(), 406, "no content"),
        ("start=2026-11-20T04:00:00&end=2026-11-20T10:00:00.000001".to_owned(), 400, "at most 6 hours"),
        ("start=2026-11-20T04:00:00&end=2026-11-20T10:00:01&type=rough".to_owned(), 400, "at most 6 hours"),
        ("start=2026-11-20T04:00:00&end=2026-11-20T10:00:00".to_owned(), 406, "no content"),
        (format!("{RANGE}&type=mp4"), 400, "bad type `mp4`: expected `smart`, `copy`, `rough` or `full`"),
        (format!("{RANGE}&inline=1"), 400, "bad inline `1`: expected `true` or `false`"),
        (format!("{RANGE}&timecode="), 400, "bad timecode ``: expected `true` or `false`"),
        ("start=2026-11-20T11&end=2026-11-20T10".to_owned(), 400, "End must be after start"),
    ];
    for (query, status, text) in rows {
        for kind in ["", "&type=copy", "&type=rough"] {
            let query = if query.contains("type=") { query.clone() } else { format!("{query}{kind}") };
            let answer = get(served.address, &query, &[]);
            assert!(answer.status == status && answer.text().contains(text), "{query}: {answer:?}");
            let part = get(served.address, &query, &[("Range", "bytes=0-1")]);
            assert_eq!((part.status, head(served.address, &query).status), (status, status), "{query}");
        }
    }
    for kind in FLAT {
        let answer = get(served.address, &format!("{beyond}&allow_holes=true&type={kind}"), &[]);
        assert_eq!((answer.status, answer.whole, answer.header("x-cut-holes")), (200, true, "1"), "{kind}");
    }
    fs::remove_file(&segments(base.path())[2]).expect("delete a segment");
    for kind in FLAT {
        let refused = get(served.address, &format!("{RANGE}&type={kind}"), &[]);
        assert!(refused.status == 406 && refused.text().contains("2.000 s"), "{kind}: {refused:?}");
        let answer = get(served.address, &format!("{RANGE}&type={kind}&allow_holes=true"), &[]);
        assert_eq!((answer.status, answer.header("x-cut-holes")), (200, "1"), "{kind}");
        let path = base.path().join("cut.mp4");
        fs::write(&path, &answer.body).expect("write the cut");
        let shown = footage::look(&path, 1, true).numbers.len();
        // Pictures of 5 s, or three whole segments, and those that `copy` hides.
        assert!((125..=200).contains(&shown), "{kind}: {shown}");
    }
    let limited = Served::over(base.path(), &["--max-cut-hours", "1"]);
    let hours = "start=2026-11-20T04:00:00&end=2026-11-20T05:00:01&type=copy";
    let answer = get(limited.address, hours, &[]);
    assert!(answer.status == 400 && answer.text().contains("at most 1 hour"), "{answer:?}");
}

#[test]
fn copy_and_rough_need_no_ffmpeg() {
    let base = archive();
    let served = Served::over(base.path(), &["--ffmpeg", "/nowhere/ffmpeg", "--ffprobe", "/nowhere/ffprobe"]);
    for kind in ["copy", "rough"] {
        let answer = get(served.address, &format!("{RANGE}&type={kind}&timecode=true"), &[]);
        assert_eq!((answer.status, answer.whole), (200, true), "{kind}: {answer:?}");
        part(served.address, &format!("{RANGE}&type={kind}&timecode=true"), 100, 2000);
    }
    for method in ["GET", "HEAD"] {
        assert_eq!(ask(served.address, method, &target(RANGE), &[]).status, 503, "{method}");
    }
    let text = get(served.address, RANGE, &[]).text();
    assert_eq!(text, "this needs ffmpeg, which is not installed on this server\n");
    // Both ends between two groups of pictures.
    let aligned = "start=2026-11-20T10:59:57&end=2026-11-20T11:00:03";
    assert_eq!(get(served.address, aligned, &[]).status, 200, "there is nothing to encode");
}

#[test]
fn streams_that_mp4_cannot_hold_are_named_with_a_type_that_works() {
    let video = "-c:v libx264 -preset ultrafast -bf 0 -g 50 -sc_threshold 0";
    for (name, codecs, options, named) in [
        ("mp4-opus", &*format!("{video} -c:a libopus"), "", "Opus"),
        ("mp4-latm", &format!("{video} -c:a aac"), "mpegts_flags=latm", "LATM"),
        ("mp4-mp2", &format!("{video} -c:a mp2"), "", "layer II"),
        ("mp4-mpeg2", "-c:v mpeg2video -bf 0 -g 50 -sc_threshold 1000000000 -c:a aac", "", "MPEG-2"),
    ] {
        let kind = FootageKind { name, codecs, options, seconds: 6, ..PLAIN };
        let base = archive_of(&footage::make_uneven(&kind));
        let served = Served::over(base.path(), &[]);
        let range = "start=2026-11-20T10:59:57.5&end=2026-11-20T11:00:00.5&allow_holes=true";
        for kind in FLAT {
            let answer = get(served.address, &format!("{range}&type={kind}"), &[]);
            assert_eq!(answer.status, 501, "{name} {kind}: {answer:?}");
            let text = answer.text();
            let is_helpful = text.contains(named) && text.contains("type=full") && text.lines().count() == 1;
            assert!(is_helpful, "{name} {kind}: {text}");
            assert_eq!(head(served.address, &format!("{range}&type={kind}")).status, 501, "{name} {kind}");
            let part = get(served.address, &format!("{range}&type={kind}"), &[("Range", "bytes=0-1")]);
            assert_eq!(part.status, 501, "{name} {kind}");
        }
    }
}

#[test]
fn cuts_as_mp4_are_counted() {
    let base = archive();
    let served = Served::over(base.path(), &[]);
    for kind in FLAT {
        get(served.address, &format!("{RANGE}&type={kind}"), &[]);
        let name = format!("cut_seconds_count{{result=\"ok\",type=\"{kind}\"}}");
        wait_until("it is counted", || metric(served.address, &name) == 1);
    }
    let requests = "http_request_latency_all_count{endpoint=\"cut\",method=\"GET\",status=\"200\"}";
    wait_until("each request is counted", || metric(served.address, requests) == 3);
    assert!(metric(served.address, "cut_output_bytes_total") > 0);
}
