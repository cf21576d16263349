//! Cuts as MP4 movies of all kinds of footage: which frames they show and when, that ffmpeg reads them without a warning, and
//! that every byte range is that of the whole.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use restreamer::cut::movie::MovieOptions;
use restreamer::cut::{CutSegment, ExactType, PreparedCut, prepare_movie};
use restreamer::mp4::movie::MovieInfo;
use restreamer::timestamp::{Span, Timestamp};

use crate::cut_engine::{select, times, tools};
use crate::footage::{self, Footage, FootageKind, PLAIN, Shown, base, check_beeps, look, psnr, run, to_f64};

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
    prepare_movie(exact_type, segments, trailing, &mut preceding, (start, end), &tools, &|| false)
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
    let read = |range| -> Vec<u8> {
        let pieces = Arc::clone(&movie).read(range, Arc::clone(&encoded));
        pieces.flat_map(|piece| piece.expect("a piece").to_vec()).collect()
    };
    let whole = read(0..movie.len());
    assert_eq!(whole.len() as u64, movie.len());
    let third = movie.len() / 3;
    for range in [0..2, third..2 * third, movie.len() - 1000..movie.len(), third..movie.len()] {
        let expected = &whole[range.start as usize..range.end as usize];
        assert!(read(range.clone()) == expected, "{range:?} of {}", movie.len());
    }
    std::fs::write(&path, whole).expect("a file");
    path
}

/// The times of the frames that are shown, in seconds.
pub(crate) fn frame_times(path: &Path) -> Vec<f64> {
    let path = path.to_string_lossy();
    let args =
        ["-v", "error", "-select_streams", "v:0", "-show_entries", "frame=pts_time", "-of", "csv=p=0", &path];
    let text = String::from_utf8_lossy(&run("ffprobe", &args).stdout).into_owned();
    text.lines().filter_map(|line| line.trim_matches(',').parse().ok()).collect()
}

/// Makes the movie of a range of footage with pictures, and checks what holds for all.
fn check(exact_type: ExactType, footage: &Footage, sounds: usize, start_ms: i64, end_ms: i64) -> Shown {
    let (start, end) = (base() + Span::from_millis(start_ms), base() + Span::from_millis(end_ms));
    let times = times(footage, &footage.segments).into_iter();
    let expected: Vec<i64> =
        times.filter(|(_, time)| start <= *time && *time < end).map(|(number, _)| number).collect();
    let segments = select(&footage.segments, start, end);
    let trailing =
        footage.segments.iter().find(|segment| segments.last().is_some_and(|last| last.end == segment.start));
    let before =
        footage.segments.iter().filter(|segment| segment.end <= segments[0].start).cloned().collect();
    let prepared = prepared(exact_type, segments, trailing, before, start, end);
    let options = options(start);
    let path = write(&prepared, &options);
    let mut shown = look(&path, sounds, true);
    shown.times = frame_times(&path);
    assert_eq!(shown.numbers, expected, "{exact_type:?} {start_ms} {end_ms} {}", path.display());
    assert!(shown.times[0].abs() < 0.001, "{exact_type:?} begins at {}", shown.times[0]);
    let frame = to_f64(footage.rate.1) / to_f64(footage.rate.0);
    for pair in shown.times.windows(2) {
        let step = pair[1] - pair[0];
        assert!(step > 0.0 && step < frame * 1.5, "{}: a step of {step} at {}", path.display(), pair[0]);
    }
    check_beeps(&shown, footage.rate);
    let name = path.to_string_lossy();
    let output =
        run("ffmpeg", &["-v", "warning", "-i", &name, "-map", "0:v", "-map", "0:a?", "-f", "null", "-"]);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{name}: decoding");
    let estimated = prepared.estimate_movie(&options, &|| false).expect("a length");
    eprintln!(
        "{exact_type:?} {start_ms} {end_ms}: {} bytes, estimated {estimated}",
        std::fs::metadata(&path).expect("a file").len()
    );
    if exact_type == ExactType::Copy {
        assert_eq!(estimated, std::fs::metadata(&path).expect("a file").len());
    }
    std::fs::remove_file(&path).expect("a movie");
    shown
}

fn check_pictures(footage: &Footage, shown: &Shown, group: i64) {
    let (first, last) = (shown.numbers[0], shown.numbers[shown.numbers.len() - 1]);
    for (number, luma) in shown.numbers.iter().zip(&shown.luma) {
        let begin = number / group * group;
        let near = psnr(luma, &footage.luma[usize::try_from(*number).expect("a number")]);
        if group == 0 || begin >= first && (begin + group - 1 <= last || last == footage.frames - 1) {
            assert!(near.is_infinite(), "frame {number} of {first} to {last} is not the source's: {near} dB");
        } else {
            assert!(near > 38.0, "frame {number} of {first} to {last}: {near} dB");
        }
    }
}

/// Makes movies of footage of a kind; `group` is the length of its groups of pictures in frames.
fn all(kind: &FootageKind, group: i64) {
    let footage = footage::make(kind);
    let last = kind.seconds * 1000;
    for (start, end) in [(2500, last - 2310), (1000, 6000), (300, 1501)] {
        let copy = check(ExactType::Copy, &footage, kind.sounds, start, end);
        for (number, luma) in copy.numbers.iter().zip(&copy.luma) {
            assert!(psnr(luma, &footage.luma[usize::try_from(*number).expect("a number")]).is_infinite());
        }
        let smart = check(ExactType::Smart, &footage, kind.sounds, start, end);
        check_pictures(&footage, &smart, group);
    }
}

pub(crate) const PYRAMID: &str =
    "-c:v libx264 -preset veryfast -sc_threshold 0 -bf 3 -x264-params b-pyramid=normal -c:a aac -g";

#[test]
fn movies_of_footage_without_b_pictures_are_exact() {
    all(&FootageKind { name: "movie-plain", ..PLAIN }, 50);
}

#[test]
fn movies_of_footage_with_a_b_pyramid_at_29_97_are_exact() {
    let codecs = &format!("{PYRAMID} 60");
    all(&FootageKind { name: "movie-pyramid", rate: (30_000, 1001), codecs, ..PLAIN }, 60);
}

#[test]
fn movies_of_hevc_are_exact() {
    let codecs = "-c:v libx265 -preset ultrafast -g 50 -x265-params log-level=error:bframes=3:open-gop=0:scenecut=0 -c:a aac";
    all(&FootageKind { name: "movie-hevc", codecs, seconds: 8, ..PLAIN }, 50);
}

#[test]
fn movies_without_sound_are_exact() {
    all(&FootageKind { name: "movie-silent", sounds: 0, ..PLAIN }, 50);
}

#[test]
fn movies_with_two_sounds_on_other_pids_are_exact() {
    let options = "mpegts_start_pid=801:mpegts_pmt_start_pid=496";
    all(&FootageKind { name: "movie-sounds", sounds: 2, options, ..PLAIN }, 50);
}

#[test]
fn movies_over_the_wrap_of_the_clock_are_exact() {
    let codecs = &format!("{PYRAMID} 50 -output_ts_offset 95438.3");
    all(&FootageKind { name: "movie-wrap", codecs, ..PLAIN }, 50);
}
