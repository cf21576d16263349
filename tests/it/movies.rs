//! Cuts as MP4 movies of all kinds of footage: which frames they show and when, that ffmpeg reads them without a warning, and
//! that every byte range is that of the whole.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use restreamer::cut::movie::{MovieOptions, MovieSource, RecentParts};
use restreamer::cut::samples_cache::SamplesCache;
use restreamer::cut::{CutParts, CutRange, CutSegment, ExactType, MovieTools, PreparedCut, prepare_movie};
use restreamer::error::{Error, Result};
use restreamer::mp4::movie::MovieInfo;
use restreamer::timestamp::{Span, Timestamp};

use crate::cut_engine::{EIGHT_SECONDS, HEVC, PYRAMID, Range, check_pictures, ranges, select, tools};
use crate::cut_holes::{make_gap, restart};
use crate::cut_references::{KIND, REFRESH};
use crate::footage::{
    self, Footage, FootageKind, PLAIN, Shown, base, check_beeps, look, packet_times, psnr, run, to_f64,
};

/// Prepares a movie of ranges of footage, one after another.
fn joined(exact_type: ExactType, ranges: &[Range]) -> PreparedCut {
    let sources = ranges.iter().map(|range| CutRange {
        place: (0, 1),
        segments: Arc::new(range.segments.clone()),
        trailing: range.trailing.clone(),
        preceding: Box::new({
            let mut before = range.before.clone();
            move || Ok(before.pop())
        }),
        range: (range.start, range.end),
    });
    let tools = tools().with_threads(2);
    let samples = Arc::new(SamplesCache::new(1 << 24));
    let movie_tools = MovieTools { tools: &tools, samples: &samples };
    let parts = CutParts { ranges: sources.collect(), overlaps: Vec::new() };
    prepare_movie(exact_type, parts, movie_tools, &|| false).expect("a movie that can be made")
}

/// Prepares a movie of segments, with the segment after them and those before.
fn prepared(
    exact_type: ExactType,
    segments: Vec<CutSegment>,
    trailing: Option<&CutSegment>,
    mut before: Vec<CutSegment>,
    start: Timestamp,
    end: Timestamp,
) -> PreparedCut {
    let mut preceding = || Ok(before.pop());
    let tools = tools().with_threads(2);
    prepare_movie(
        exact_type,
        CutParts {
            ranges: vec![CutRange::new(segments, trailing, &mut preceding, (start, end))],
            overlaps: Vec::new(),
        },
        MovieTools { tools: &tools, samples: &Arc::new(SamplesCache::new(1 << 24)) },
        &|| false,
    )
    .unwrap_or_else(|error| panic!("{exact_type:?} {start} {end}: {error}"))
}

fn options(start: Timestamp) -> MovieOptions {
    let info = MovieInfo { created: start, title: "stream variant start".to_owned() };
    MovieOptions { info, timecode: true }
}

/// Writes a movie to a file. Reads it whole and in uneven pieces.
fn write(prepared: &PreparedCut, options: &MovieOptions) -> PathBuf {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let path = footage::root().join(format!("movie-{next}.mp4"));
    let (movie, encoded) = prepared.movie(options, &|| false).expect("a movie");
    let (movie, encoded) = (Arc::new(movie), Arc::new(encoded));
    let parts = Arc::new(RecentParts::new(1024 * 1024));
    let read = |range| -> Vec<u8> {
        let (movie, encoded) = (Arc::clone(&movie), Arc::clone(&encoded));
        let pieces = MovieSource { movie, name: (0, 0), encoded, parts: Arc::clone(&parts) }.read(range);
        pieces.map(|piece| piece.expect("a piece").to_vec()).collect::<Vec<_>>().concat()
    };
    let whole = read(0..movie.len());
    assert_eq!(whole.len() as u64, movie.len());
    let third = movie.len() / 3;
    for range in [0..2, third..2 * third, movie.len() - 1000..movie.len(), third..movie.len()] {
        let offset = |bytes: u64| usize::try_from(bytes).expect("a small movie");
        let expected = &whole[offset(range.start)..offset(range.end)];
        assert!(read(range.clone()) == expected, "{range:?} of {}", movie.len());
    }
    std::fs::write(&path, whole).expect("a file");
    path
}

/// Checks that ffmpeg reads a movie without a warning.
fn check_warnings(path: &Path) {
    let name = path.to_string_lossy();
    let output =
        run("ffmpeg", &["-v", "warning", "-i", &name, "-map", "0:v?", "-map", "0:a?", "-f", "null", "-"]);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{name}: decoding");
}

/// Makes the movie of a range of footage with pictures, and checks what holds for all.
fn check(exact_type: ExactType, footage: &Footage, sounds: usize, start_ms: i64, end_ms: i64) -> Shown {
    let range = Range::of(footage, start_ms, end_ms);
    let expected = range.numbers(footage);
    let Range { start, end, segments, trailing, before } = range;
    let prepared = prepared(exact_type, segments, trailing.as_ref(), before, start, end);
    let options = options(start);
    let path = write(&prepared, &options);
    let shown = look(&path, sounds, true);
    assert_eq!(shown.numbers, expected, "{exact_type:?} {start_ms} {end_ms} {}", path.display());
    assert!(shown.times[0].abs() < 0.001, "{exact_type:?} begins at {}", shown.times[0]);
    let frame = to_f64(footage.rate.1) / to_f64(footage.rate.0);
    for pair in shown.times.windows(2) {
        let step = pair[1] - pair[0];
        assert!(step > 0.0 && step < frame * 1.5, "{}: a step of {step} at {}", path.display(), pair[0]);
    }
    check_beeps(&shown, footage.rate);
    assert_eq!(shown.warnings, "", "{}: decoding", path.display());
    let estimated = prepared.estimate_movie(&options, &|| false).expect("a length");
    if exact_type == ExactType::Copy {
        assert_eq!(estimated, std::fs::metadata(&path).expect("a file").len());
    }
    std::fs::remove_file(&path).expect("a movie");
    shown
}

/// Makes movies of footage of a kind; `group` is the length of its groups of pictures in frames.
fn all(kind: &FootageKind, group: i64) {
    let footage = footage::make(kind);
    for (start, end) in ranges(kind.seconds) {
        if Range::of(&footage, start, end).numbers(&footage).is_empty() {
            continue;
        }
        let copy = check(ExactType::Copy, &footage, kind.sounds, start, end);
        for (number, luma) in copy.numbers.iter().zip(&copy.luma) {
            assert!(psnr(luma, &footage.luma()[usize::try_from(*number).expect("a number")]).is_infinite());
        }
        let smart = check(ExactType::Smart, &footage, kind.sounds, start, end);
        check_pictures(&footage, &smart, group);
    }
}

#[test]
fn movies_of_footage_without_b_pictures_are_exact() {
    all(&FootageKind { name: "movie-plain", ..EIGHT_SECONDS }, 50);
}

#[test]
fn movies_of_footage_with_a_b_pyramid_at_29_97_are_exact() {
    let codecs = &format!("{PYRAMID} 60");
    all(&FootageKind { name: "movie-pyramid", rate: (30_000, 1001), codecs, ..EIGHT_SECONDS }, 60);
}

#[test]
fn movies_of_hevc_are_exact() {
    all(&FootageKind { name: "movie-hevc", codecs: HEVC, ..EIGHT_SECONDS }, 50);
}

#[test]
fn movies_without_sound_are_exact() {
    all(&FootageKind { name: "movie-silent", sounds: 0, ..EIGHT_SECONDS }, 50);
}

#[test]
fn movies_with_two_sounds_on_other_pids_are_exact() {
    let options = "mpegts_start_pid=801:mpegts_pmt_start_pid=496";
    all(&FootageKind { name: "movie-sounds", sounds: 2, options, ..EIGHT_SECONDS }, 50);
}

#[test]
fn movies_over_the_wrap_of_the_clock_are_exact() {
    let codecs = &format!("{PYRAMID} 50 -output_ts_offset 95438.3");
    all(&FootageKind { name: "movie-wrap", codecs, ..EIGHT_SECONDS }, 50);
}

#[test]
fn movies_of_footage_with_ac3_are_exact() {
    let codecs = "-c:v libx264 -preset veryfast -sc_threshold 0 -bf 0 -g 50 -c:a ac3";
    all(&FootageKind { name: "movie-ac3", codecs, ..EIGHT_SECONDS }, 50);
}

#[test]
fn movies_over_gaps_and_clocks_that_restart_are_exact() {
    let codecs = &format!("{PYRAMID} 50");
    let mut footage = footage::make(&FootageKind { name: "movie-gap", codecs, ..PLAIN });
    for segment in footage.segments.iter_mut().skip(3) {
        segment.path = restart(segment, "-6.5");
    }
    make_gap(&mut footage, 2);
    for exact_type in [ExactType::Copy, ExactType::Smart] {
        for (start, end) in [(2500, 9690), (3990, 6100), (1000, 20_000)] {
            check(exact_type, &footage, 1, start, end);
        }
    }
}

#[test]
fn a_rough_movie_has_all_frames_of_its_segments() {
    let footage = footage::make(&FootageKind { name: "movie-rough", ..PLAIN });
    let (start, end) = (footage.segments[1].start, footage.segments[3].end);
    let margin = Span::from_secs(60);
    let segments = footage.segments[1..4].to_vec();
    let prepared = prepared(ExactType::Whole, segments, None, Vec::new(), start - margin, end + margin);
    let path = write(&prepared, &options(start));
    let shown = look(&path, 1, true);
    assert_eq!(shown.numbers, (50..200).collect::<Vec<_>>());
    check_beeps(&shown, footage.rate);
    assert_eq!(shown.warnings, "", "{}: decoding", path.display());
    let audio = |path: &Path| packet_times(&path.to_string_lossy(), "a:0").len();
    let source: usize = footage.segments[1..4].iter().map(|segment| audio(&segment.path)).sum();
    assert_eq!(audio(&path), source, "frames of sound");
}

#[test]
fn movies_of_sound_alone_have_its_samples() {
    let kind = FootageKind { name: "movie-sound", pictures: false, codecs: "-c:a aac", ..PLAIN };
    let footage = footage::make(&kind);
    let decode =
        |path: &str| footage::ffmpeg(&["-v", "error", "-i", path, "-map", "0:a:0", "-f", "s16le", "-"]);
    let joined: Vec<_> =
        footage.segments.iter().map(|segment| segment.path.to_string_lossy().into_owned()).collect();
    let source = decode(&format!("concat:{}", joined.join("|")));
    for exact_type in [ExactType::Copy, ExactType::Smart] {
        let (start, end) = (base() + Span::from_millis(2500), base() + Span::from_millis(7100));
        let segments = select(&footage.segments, start, end);
        let path = write(&prepared(exact_type, segments, None, Vec::new(), start, end), &options(start));
        check_warnings(&path);
        let samples = decode(&path.to_string_lossy());
        // Two bytes each. All frames of sound that begin in the range are there; none is shown before it.
        let (found, expected) = (samples.len() / 2, 4600 * 48);
        assert!(found.abs_diff(expected) <= 1024, "{found} samples, not {expected}");
        let inner = &samples[8192..samples.len() - 8192];
        let is_there = source.windows(inner.len()).step_by(2).any(|window| window == inner);
        assert!(is_there, "{exact_type:?}: the samples are those of the source");
    }
}

#[test]
fn a_movie_of_which_a_segment_is_gone_says_so() {
    let footage = footage::make(&FootageKind { name: "movie-gone", seconds: 6, ..PLAIN });
    let Range { start, end, segments, .. } = Range::of(&footage, 500, 5500);
    let prepared = prepared(ExactType::Copy, segments, None, Vec::new(), start, end);
    let (movie, encoded) = prepared.movie(&options(start), &|| false).expect("a movie");
    let movie = Arc::new(movie);
    std::fs::remove_file(&footage.segments[1].path).expect("a segment");
    assert!(!movie.is_broken());
    let parts = Arc::new(RecentParts::new(0));
    let source = MovieSource { movie: Arc::clone(&movie), name: (1, 1), encoded: Arc::new(encoded), parts };
    let pieces: Vec<_> = source.read(0..movie.len()).collect();
    let (last, before) = pieces.split_last().expect("pieces");
    assert!(matches!(last, Err(Error::Io { .. })), "{last:?}");
    assert!(before.iter().all(Result::is_ok) && movie.is_broken());
}

#[test]
fn a_sampling_rate_that_changes_inside_a_segment_is_refused() {
    let dir = footage::root().join("movie-rates");
    std::fs::create_dir_all(&dir).expect("a directory");
    let sound = |rate: &str, offset: &str| {
        let path = dir.join(format!("{rate}.ts"));
        let sine = format!("sine=r={rate}:d=1");
        let codec = ["-c:a", "aac", "-ar", rate, "-output_ts_offset", offset, &*path.to_string_lossy()];
        footage::ffmpeg(&[&["-v", "error", "-y", "-f", "lavfi", "-i", &sine][..], &codec].concat());
        std::fs::read(path).expect("sound")
    };
    let path = dir.join("both.ts");
    std::fs::write(&path, [sound("48000", "0"), sound("44100", "1")].concat()).expect("a segment");
    let (start, end) = (base(), base() + Span::from_secs(2));
    let segment = CutSegment { path, bytes: None, start, end, gap_before: false, complete: true };
    for exact_type in [ExactType::Copy, ExactType::Smart, ExactType::Whole] {
        let prepared = prepared(exact_type, vec![segment.clone()], None, Vec::new(), start, end);
        let refused = prepared.movie(&options(start), &|| false).map(drop);
        let Err(Error::Unsupported(why)) = refused else { panic!("{exact_type:?}: {refused:?}") };
        assert!(why.contains("changes its sampling rate") && why.contains("type=full"), "{why}");
    }
}

#[test]
fn edit_lists_show_several_ranges_of_footage_with_a_gradual_refresh() {
    // Its only IDR picture is the first one; the movie begins with another, from which pictures are whole a second later. They
    // are decoded when they are shown.
    let codecs = &REFRESH.replace("keyint=30", "keyint=50:repeat-headers=1");
    let footage = footage::make(&FootageKind { name: "refresh-ranges", segment_seconds: 8, codecs, ..KIND });
    let ranges = [Range::of(&footage, 3000, 4800), Range::of(&footage, 600, 2400)];
    let path = write(&joined(ExactType::Copy, &ranges), &options(ranges[0].start));
    check_warnings(&path);
    let shown = look(&path, 1, true);
    let numbers: Vec<i64> = ranges.iter().flat_map(|range| range.numbers(&footage)).collect();
    assert_eq!(shown.numbers, numbers);
}
