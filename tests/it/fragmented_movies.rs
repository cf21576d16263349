//! Full cuts as fragmented MP4: which frames they show and when, and that their sound is that of the transport stream to the
//! sample.

use std::path::{Path, PathBuf};

use restreamer::cut::movie::MovieOptions;
use restreamer::cut::samples_cache::SamplesCache;
use restreamer::cut::{CutParts, CutRange, ExactType, MovieTools, prepare_movie};
use restreamer::mp4::movie::MovieInfo;
use restreamer::timestamp::Timestamp;

use crate::cut_engine::{EIGHT_SECONDS, HEVC, PYRAMID, Range, cut_with, times, tools};
use crate::cut_streams::rewrite;
use crate::cuts::{RANGE, archive};
use crate::footage::{self, Footage, FootageKind, PLAIN, Shown, check_beeps, ffmpeg, look, run, to_f64};
use crate::harness::ask;
use crate::process::Served;

const PLAIN_VIDEO: &str = "-c:v libx264 -preset veryfast -sc_threshold 0 -bf 0 -g 50";

impl Range {
    /// The full cut as a fragmented movie.
    fn movie(&self) -> PathBuf {
        static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = footage::root().join(format!("fragmented-{next}.mp4"));
        let mut before = self.before.clone();
        let mut preceding = || Ok(before.pop());
        let (segments, trailing) = (self.segments.clone(), self.trailing.as_ref());
        let prepared = prepare_movie(
            ExactType::Full,
            CutParts {
                ranges: vec![CutRange::new(segments, trailing, &mut preceding, (self.start, self.end))],
                overlaps: Vec::new(),
            },
            MovieTools {
                tools: &tools().with_threads(2),
                samples: &std::sync::Arc::new(SamplesCache::new(0)),
            },
            &|| false,
        );
        let info = MovieInfo { created: self.start, title: "stream variant start".to_owned() };
        let mut file = std::fs::File::create(&path).expect("a file");
        let options = MovieOptions { info, timecode: true };
        let streamed = prepared.expect("a cut").stream_movie(options, &mut file, &|| false);
        streamed.unwrap_or_else(|error| panic!("{} {}: {error}", self.start, self.end));
        path
    }

    /// The same as a transport stream.
    fn transport_stream(&self) -> PathBuf {
        let (segments, before) = (self.segments.clone(), self.before.clone());
        cut_with(ExactType::Full, segments, self.trailing.as_ref(), before, self.start, self.end)
    }
}

/// What ffprobe says of the packets of a stream: PTS and duration, in the timescale of the track.
fn packets(path: &Path, stream: &str) -> Vec<(i64, i64)> {
    let path = path.to_string_lossy();
    let entries = ["-show_entries", "packet=pts,duration", "-of", "csv=p=0", &path];
    let args = [&["-v", "warning", "-select_streams", stream][..], &entries].concat();
    let output = run("ffprobe", &args);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{path}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let number = |field: Option<&str>| field.and_then(|field| field.parse().ok()).unwrap_or(0);
    let row = |line: &str| {
        let mut fields = line.split(',');
        (number(fields.next()), number(fields.next()))
    };
    text.lines().filter(|line| !line.is_empty()).map(row).collect()
}

/// The samples of each sound of a movie and of a transport stream.
fn samples(movie: &Path, stream: &Path, sounds: usize) -> Vec<[Vec<u8>; 2]> {
    let files = [movie, stream].map(|path| path.to_string_lossy());
    let mut args: Vec<String> =
        ["-v", "error", "-i", &*files[0], "-i", &*files[1]].map(str::to_owned).to_vec();
    let name = |input: usize, sound: usize| format!("{}.{sound}.pcm", files[input]);
    let outputs = || (0..sounds).flat_map(|sound| [(0, sound), (1, sound)]);
    for (input, sound) in outputs() {
        let map = format!("{input}:a:{sound}");
        args.extend(["-map", &*map, "-f", "s16le", &*name(input, sound)].map(str::to_owned));
    }
    if sounds > 0 {
        ffmpeg(&args.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let take = |input: usize, sound: usize| {
        let bytes = std::fs::read(name(input, sound)).expect("samples");
        std::fs::remove_file(name(input, sound)).expect("remove them");
        bytes
    };
    (0..sounds).map(|sound| [take(0, sound), take(1, sound)]).collect()
}

/// Checks that the sounds of a movie have the samples of the transport stream, and begin with the range once their priming
/// is hidden.
fn check_sounds(range: &Range, movie: &Path, sounds: usize, duration: f64) {
    let stream = range.transport_stream();
    for (sound, [found, expected]) in samples(movie, &stream, sounds).into_iter().enumerate() {
        assert!(!found.is_empty() && found == expected, "sound {sound}: {}", movie.display());
        let packets = packets(movie, &format!("a:{sound}"));
        assert_eq!(packets[0].0, -1024, "{}", movie.display());
        assert!(packets.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 1024), "{}", movie.display());
        let (last, _) = packets[packets.len() - 1];
        let rate = [48_000.0, 44_100.0][sound % 2];
        assert!(to_f64(last) / rate < duration, "{}", movie.display());
    }
    std::fs::remove_file(&stream).expect("a cut");
}

fn check_warnings(movie: &Path, shown: &Shown) {
    let name = movie.to_string_lossy();
    assert_eq!(shown.warnings, "", "{name}: decoding");
    let tags = ["-show_entries", "format_tags=title,creation_time", "-of", "csv=p=0", &name];
    let output = run("ffprobe", &[&["-v", "warning"][..], &tags].concat());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{name}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("stream variant start") && text.contains("2026-11-20T1"), "{text}");
}

/// Makes the movie of a range of footage with pictures, and checks its pictures and where its beeps are.
fn check(footage: &Footage, sounds: usize, start_ms: i64, end_ms: i64) -> (PathBuf, Shown) {
    let range = Range::of(footage, start_ms, end_ms);
    let times = times(footage, &footage.segments).into_iter();
    let is_shown = |time: Timestamp| range.start <= time && time < range.end;
    let expected: Vec<i64> = times.filter(|(_, time)| is_shown(*time)).map(|(number, _)| number).collect();
    let path = range.movie();
    let shown = look(&path, sounds, true);
    assert_eq!(shown.numbers, expected, "{start_ms} {end_ms} {}", path.display());
    assert!(shown.times[0].abs() < 0.001, "it begins at {}", shown.times[0]);
    let frame = to_f64(footage.rate.1) / to_f64(footage.rate.0);
    for pair in shown.times.windows(2) {
        let off = pair[1] - pair[0] - frame;
        assert!(off.abs() < 0.0015, "{}: a step off by {off} at {}", path.display(), pair[0]);
    }
    check_beeps(&shown, footage.rate);
    check_warnings(&path, &shown);
    (path, shown)
}

fn all(kind: &FootageKind) {
    let footage = footage::make(kind);
    let (start, end) = (2500, kind.seconds * 1000 - 2310);
    let (path, shown) = check(&footage, kind.sounds, start, end);
    let duration = shown.times[shown.times.len() - 1] + 0.05;
    check_sounds(&Range::of(&footage, start, end), &path, kind.sounds, duration);
    std::fs::remove_file(&path).expect("a movie");
}

#[test]
fn full_cuts_as_mp4_are_exact() {
    let wrap = &format!("{PYRAMID} 50 -output_ts_offset 95438.3");
    let options = "mpegts_start_pid=801:mpegts_pmt_start_pid=496";
    for kind in [
        FootageKind { name: "fragmented-plain", ..EIGHT_SECONDS },
        FootageKind {
            name: "fragmented-pyramid",
            rate: (30_000, 1001),
            codecs: &format!("{PYRAMID} 60"),
            ..EIGHT_SECONDS
        },
        FootageKind { name: "fragmented-hevc", codecs: HEVC, ..EIGHT_SECONDS },
        FootageKind { name: "fragmented-sounds", sounds: 2, options, ..EIGHT_SECONDS },
        FootageKind { name: "fragmented-silent", sounds: 0, ..EIGHT_SECONDS },
        FootageKind { name: "fragmented-wrap", codecs: wrap, ..EIGHT_SECONDS },
    ] {
        all(&kind);
    }
}

#[test]
fn sound_that_mp4_or_browsers_do_not_take_is_aac_in_a_full_cut() {
    for (name, codec, channels) in [
        ("fragmented-ac3", "-c:a ac3 -channel_layout 5.1(side)", "6"),
        ("fragmented-opus", "-c:a libopus", "1"),
        ("fragmented-mp2", "-c:a mp2 -ac 2", "2"),
    ] {
        let codecs = &format!("{PLAIN_VIDEO} {codec}");
        let footage = footage::make(&FootageKind { name, codecs, seconds: 6, ..PLAIN });
        let (path, shown) = check(&footage, 1, 480, 5600);
        assert!(shown.beeps[0].len() >= 5, "{name}: {:?}", shown.beeps);
        let file = path.to_string_lossy();
        let entries = ["-show_entries", "stream=codec_name,channels", "-of", "csv=p=0", &file];
        let output = run("ffprobe", &[&["-v", "error", "-select_streams", "a"][..], &entries].concat());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(text.trim(), format!("aac,{channels}"), "{name}");
        std::fs::remove_file(&path).expect("a movie");
    }
}

#[test]
fn holes_have_no_duration_and_the_frames_around_them_are_shown() {
    let codecs = &format!("{PYRAMID} 50");
    let mut footage = footage::make(&FootageKind { name: "fragmented-hole", codecs, ..PLAIN });
    footage.segments.remove(2);
    footage.segments[2].gap_before = true;
    let (path, shown) = check(&footage, 1, 2500, 9690);
    assert!(shown.times.last().is_some_and(|last| (last - 5.16).abs() < 0.001), "{:?}", shown.times.last());
    std::fs::remove_file(&path).expect("a movie");
}

#[test]
fn sound_that_begins_late_has_a_track_from_the_start_and_is_in_its_place() {
    for (name, codec) in [("fragmented-late", "aac"), ("fragmented-late-opus", "libopus")] {
        let codecs = &format!("{PLAIN_VIDEO} -c:a {codec}");
        let footage = footage::make(&FootageKind { name, codecs, seconds: 8, ..PLAIN });
        for segment in &footage.segments[..2] {
            rewrite(&segment.path, &[0x101], |pmt| pmt.streams.retain(|stream| stream.pid != 0x101));
        }
        let (path, shown) = check(&footage, 1, 480, 7600);
        // Sound of the first seconds may be in the last segment that has none.
        let beeps: Vec<_> = shown.beeps[0].iter().map(|beep| (beep + 0.48).round()).collect();
        assert!(
            beeps.ends_with(&[5.0, 6.0, 7.0]) && beeps.iter().all(|beep| *beep > 3.0),
            "{name}: {beeps:?}"
        );
        std::fs::remove_file(&path).expect("a movie");
    }
}

#[test]
fn a_full_cut_of_sound_alone_is_a_movie() {
    let kind = FootageKind { name: "fragmented-radio", codecs: "-c:a aac", pictures: false, ..PLAIN };
    let footage = footage::make(&kind);
    let range = Range::of(&footage, 2500, 9690);
    let path = range.movie();
    let shown = look(&path, 1, false);
    check_warnings(&path, &shown);
    check_sounds(&range, &path, 1, 7.3);
    let beeps = &shown.beeps[0];
    let is_in_place = |(beep, second): (&f64, f64)| (beep - second).abs() < 0.03;
    assert!(
        beeps.len() == 7 && beeps.iter().zip([0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5]).all(is_in_place),
        "{beeps:?}"
    );
    std::fs::remove_file(&path).expect("a movie");
}

#[test]
fn the_wall_clock_is_shown_second_by_second_also_over_a_hole() {
    let mut footage = footage::make(&FootageKind { name: "fragmented-clock", ..PLAIN });
    footage.segments.remove(1);
    footage.segments[1].gap_before = true;
    let path = Range::of(&footage, 1500, 6500).movie();
    let starts: Vec<_> = packets(&path, "s:0").iter().map(|(pts, _)| pts / 90).collect();
    // The first frame is that of 1.52 s.
    assert_eq!(starts, [0, 480, 1480, 2480]);
    let file = path.to_string_lossy();
    let text = ffmpeg(&["-v", "error", "-i", &file, "-map", "0:s", "-f", "srt", "-"]);
    let text = String::from_utf8_lossy(&text).into_owned();
    let shown: Vec<_> = text.match_indices("2026-11-20 ").map(|(at, _)| &text[at..at + 23]).collect();
    let expected = [
        "2026-11-20 10:59:58 UTC",
        "2026-11-20 11:00:01 UTC",
        "2026-11-20 11:00:02 UTC",
        "2026-11-20 11:00:03 UTC",
    ];
    assert_eq!(shown, expected, "{text}");
    std::fs::remove_file(&path).expect("a movie");
}

#[test]
fn a_full_cut_as_mp4_has_no_length_and_no_ranges() {
    let base = archive();
    let served = Served::over(base.path(), &[]);
    let address = |more: &str| format!("/cut/s/v.mp4?{RANGE}&type=full{more}");
    for (more, headers) in
        [("", &[][..]), ("&timecode=true", &[("Range", "bytes=0-1")]), ("&inline=true", &[])]
    {
        let head = ask(served.address, "HEAD", &address(more), headers);
        let answer = ask(served.address, "GET", &address(more), headers);
        assert_eq!((head.status, answer.status, answer.whole), (200, 200, true), "{more}");
        assert!(answer.body.windows(4).any(|name| name == b"moof"), "{more}");
        let disposition = "attachment; filename=\"s_v_2026-11-20T10-59-57.500000Z.mp4\"";
        for answer in [head, answer] {
            for (name, value) in [
                ("content-type", "video/mp4"),
                ("cache-control", "no-store"),
                ("accept-ranges", "none"),
                ("content-length", ""),
                ("etag", ""),
                ("x-cut-size-estimate", ""),
                ("content-disposition", if more.contains("inline") { "" } else { disposition }),
                ("x-cut-start", "2026-11-20T10:59:57.500000Z"),
                ("x-cut-end", "2026-11-20T11:00:04.500000Z"),
            ] {
                assert_eq!(answer.header(name), value, "{name} {more}");
            }
        }
    }
    for (query, status) in [
        ("start=2026-11-20T10:00:00&end=2026-11-20T16:00:01&type=full", 400),
        ("start=2026-11-20T10:00:00&end=2026-11-20T11:00:01&type=full", 406),
        ("start=2026-11-20T08:00:00&end=2026-11-20T08:00:01&type=full&allow_holes=true", 406),
    ] {
        for method in ["HEAD", "GET"] {
            let answer = ask(served.address, method, &format!("/cut/s/v.mp4?{query}"), &[]);
            assert_eq!(answer.status, status, "{method} {query}");
        }
    }
    let relative = ask(served.address, "GET", "/cut/s/v.mp4?start=-2s&type=full", &[("Range", "bytes=0-1")]);
    assert_eq!((relative.status, relative.header("accept-ranges")), (200, "none"));
    assert!(relative.header("content-location").contains("type=full"));
}
