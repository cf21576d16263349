//! Full and smart cuts of all kinds of footage: which frames they show and when, and that ffmpeg reads them without a warning.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use restreamer::cut::{CutSegment, ExactType, prepare};
use restreamer::error::Error;
use restreamer::ffmpeg::Tools;
use restreamer::mpegts::packet::packets;
use restreamer::timestamp::{Span, Timestamp};

use crate::footage::{
    self, Footage, FootageKind, PLAIN, Shown, base, check_beeps, look_at_packets, psnr, to_f64,
};

/// ffmpeg, which is looked for once.
pub(crate) fn tools() -> Tools {
    static TOOLS: OnceLock<Tools> = OnceLock::new();
    TOOLS.get_or_init(|| Tools::find(Path::new("ffmpeg"))).clone()
}

fn long() -> bool {
    #[allow(clippy::disallowed_methods, reason = "the long form of a test is asked for from outside")]
    std::env::var_os("RESTREAMER_TEST_LONG").is_some()
}

/// The segments of a range, as the archive selects them.
pub(crate) fn select(segments: &[CutSegment], start: Timestamp, end: Timestamp) -> Vec<CutSegment> {
    segments.iter().filter(|segment| segment.end > start && segment.start < end).cloned().collect()
}

/// The number and the time of each frame of footage without gaps, by the names of its segments.
pub(crate) fn times(footage: &Footage, segments: &[CutSegment]) -> Vec<(i64, Timestamp)> {
    let mut times = Vec::new();
    let (num, den) = footage.rate;
    for number in 0..footage.frames {
        // Frames and segments begin together, and names are rounded to the millisecond.
        let nominal = number * den * 1_000_000 / num;
        let segment =
            segments.iter().rev().find(|segment| (segment.start - base()).micros() <= nominal + 1000);
        let Some(segment) = segment.filter(|segment| nominal < (segment.end - base()).micros() - 1000) else {
            continue;
        };
        let first = ((segment.start - base()).micros() * num + den * 500_000) / (den * 1_000_000);
        let ticks = (number - first) * den * 90_000 / num;
        times.push((number, segment.start + Span::from_micros((ticks * 200 + 9) / 18)));
    }
    times
}

/// The range of a cut, and the segments that it is made of.
pub(crate) struct Range {
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
    pub(crate) segments: Vec<CutSegment>,
    /// The one that continues the last.
    pub(crate) trailing: Option<CutSegment>,
    /// Those before the first.
    pub(crate) before: Vec<CutSegment>,
}

impl Range {
    /// A range in milliseconds after the start of the footage.
    pub(crate) fn of(footage: &Footage, start_ms: i64, end_ms: i64) -> Self {
        let (start, end) = (base() + Span::from_millis(start_ms), base() + Span::from_millis(end_ms));
        let segments = select(&footage.segments, start, end);
        let follows = |segment: &&CutSegment| segments.last().is_some_and(|last| last.end == segment.start);
        let trailing = footage.segments.iter().find(follows).cloned();
        let precedes =
            |segment: &&CutSegment| segments.first().is_some_and(|first| segment.end <= first.start);
        let before = footage.segments.iter().filter(precedes).cloned().collect();
        Self { start, end, segments, trailing, before }
    }

    /// The numbers of the frames that a cut shows.
    pub(crate) fn numbers(&self, footage: &Footage) -> Vec<i64> {
        let times = times(footage, &footage.segments).into_iter();
        let shown = times.filter(|(_, time)| self.start <= *time && *time < self.end);
        shown.map(|(number, _)| number).collect()
    }
}

/// Makes the cut of a range of footage with pictures, and checks what holds for all cuts.
pub(crate) fn check(
    exact_type: ExactType,
    footage: &Footage,
    sounds: usize,
    start_ms: i64,
    end_ms: i64,
) -> Option<Shown> {
    let (path, shown) = check_frames(exact_type, footage, sounds, start_ms, end_ms)?;
    check_stream(&path, &shown, &shown.times, footage.rate);
    std::fs::remove_file(&path).expect("a cut");
    Some(shown)
}

/// Makes the cut, and checks its pictures and sounds.
pub(crate) fn check_frames(
    exact_type: ExactType,
    footage: &Footage,
    sounds: usize,
    start_ms: i64,
    end_ms: i64,
) -> Option<(PathBuf, Shown)> {
    let range = Range::of(footage, start_ms, end_ms);
    let expected = range.numbers(footage);
    let Range { start, end, segments, trailing, before } = range;
    if expected.is_empty() {
        let result = prepare(exact_type, segments, None, &mut || Ok(None), (start, end), &tools(), &|| false);
        assert!(matches!(result, Err(Error::RangeIsEmpty)), "{result:?}");
        return None;
    }
    let path = cut_with(exact_type, segments, trailing.as_ref(), before, start, end);
    let shown = look_at_packets(&path, sounds, true);
    assert_eq!(shown.numbers, expected, "{exact_type:?} {start_ms} {end_ms}");
    check_sound_end(sounds, &shown, footage.rate);
    check_beeps(&shown, footage.rate);
    Some((path, shown))
}

/// Checks that groups of pictures wholly inside a smart cut are bit-exact, and that the others come near the source.
pub(crate) fn check_pictures(footage: &Footage, shown: &Shown, group: i64) {
    let (first, last) = (shown.numbers[0], shown.numbers[shown.numbers.len() - 1]);
    for (number, luma) in shown.numbers.iter().zip(&shown.luma) {
        let begin = number / group * group;
        let near = psnr(luma, &footage.luma()[usize::try_from(*number).expect("a number")]);
        if begin >= first && (begin + group - 1 <= last || last == footage.frames - 1) {
            assert!(near.is_infinite(), "frame {number} of {first} to {last} is not the source's: {near} dB");
        } else {
            assert!(near > 38.0, "frame {number} of {first} to {last}: {near} dB");
        }
    }
}

/// Checks that the sound ends at most one of its frames before the last picture does.
fn check_sound_end(sounds: usize, shown: &Shown, rate: (i64, i64)) {
    let last = shown.times.last().expect("a picture") + to_f64(rate.1) / to_f64(rate.0);
    for sound in 0..sounds {
        let times = &shown.sound_packets[sound];
        let frame = 1024.0 / 44_100.0;
        let end = times.last().expect("sound") + frame;
        assert!(end > last - frame, "sound {sound} ends at {end}, the pictures at {last}");
    }
}

pub(crate) fn cut(
    exact_type: ExactType,
    segments: Vec<CutSegment>,
    start: Timestamp,
    end: Timestamp,
) -> PathBuf {
    cut_with(exact_type, segments, None, Vec::new(), start, end)
}

/// A cut of segments, with the segment after them and those before.
pub(crate) fn cut_with(
    exact_type: ExactType,
    segments: Vec<CutSegment>,
    trailing: Option<&CutSegment>,
    mut before: Vec<CutSegment>,
    start: Timestamp,
    end: Timestamp,
) -> PathBuf {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let path = footage::root().join(format!("cut-{next}.ts"));
    let mut file = std::fs::File::create(&path).expect("a file");
    let mut preceding = || Ok(before.pop());
    let tools = tools().with_threads(2);
    let cut = prepare(exact_type, segments, trailing, &mut preceding, (start, end), &tools, &|| false)
        .expect("a cut that can be made");
    cut.run(&mut file, &|| false).unwrap_or_else(|error| panic!("{exact_type:?} {start} {end}: {error}"));
    path
}

/// Checks time stamps and continuity counters, and that ffmpeg gives no warning.
pub(crate) fn check_stream(path: &Path, shown: &Shown, times: &[f64], rate: (i64, i64)) {
    check_steps(path, times, to_f64(rate.1) / to_f64(rate.0) * 1.5);
    check_warnings(path, shown);
}

/// Checks that the first frame is shown within a second, and each other at most `most` seconds after the one before.
fn check_steps(path: &Path, times: &[f64], most: f64) {
    let name = path.to_string_lossy();
    assert!(
        times.first().is_some_and(|time| (0.0..1.0).contains(time)),
        "{name} starts at {:?}",
        times.first()
    );
    for pair in times.windows(2) {
        let step = pair[1] - pair[0];
        assert!(step > 0.0 && step < most, "{name}: a step of {step} at {}", pair[0]);
    }
}

/// Checks that continuity counters have no gap, and that ffmpeg gave no warning when it decoded the cut and made a movie of
/// it.
pub(crate) fn check_warnings(path: &Path, shown: &Shown) {
    let name = path.to_string_lossy();
    let mut counters = std::collections::BTreeMap::new();
    for (_, packet) in packets(&std::fs::read(path).expect("a cut")) {
        let last = counters.insert(packet.pid(), packet.continuity_counter());
        let step = u8::from(packet.has_payload());
        if let Some(last) = last.filter(|_| packet.pid() != 0x1FFF) {
            assert_eq!(packet.continuity_counter(), (last + step) & 15, "{name}: pid {}", packet.pid());
        }
    }
    assert!(shown.are_packets_read, "{name}");
    assert_eq!(shown.warnings, "", "{name}: decoding and to MP4");
}

/// Ranges in milliseconds over `seconds` of footage, few unless the long tests are run.
pub(crate) fn ranges(seconds: i64) -> Vec<(i64, i64)> {
    let last = seconds * 1000;
    let mut ranges = vec![(2500, last - 310), (1000, 6000), (300, 1501)];
    if long() {
        ranges.extend([
            (0, last + 1000),
            (0, 2000),
            (1999, 2001),
            (2500, last - 2310),
            (2000, 4000),
            (2002, 2080),
            (1, 4001),
            (3999, last),
            (3133, 3967),
            (40, 80),
            (2040, 6040),
            (2900, 3100),
            (1480, last - 480),
            (last - 700, last),
            (last - 1100, last - 40),
            (1900, 4100),
            (0, 100),
            (4444, 8888),
        ]);
    }
    ranges
}

/// Cuts footage of a kind in both ways; `group` is the length of its groups of pictures in frames.
fn all(kind: &FootageKind, group: i64) {
    let footage = footage::make(kind);
    for (start, end) in ranges(kind.seconds) {
        if let Some(smart) = check(ExactType::Smart, &footage, kind.sounds, start, end) {
            check_pictures(&footage, &smart, group);
        }
        check(ExactType::Full, &footage, kind.sounds, start, end);
    }
}

/// Footage for tests of all kinds: long enough for cuts with whole groups of pictures between their ends.
pub(crate) const EIGHT_SECONDS: FootageKind<'static> = FootageKind { seconds: 8, ..PLAIN };

/// Closed groups of pictures with B pictures.
pub(crate) const HEVC: &str = "-c:v libx265 -preset ultrafast -g 50 -x265-params log-level=error:bframes=3:open-gop=0:scenecut=0 -c:a aac";

pub(crate) const PYRAMID: &str =
    "-c:v libx264 -preset veryfast -sc_threshold 0 -bf 3 -x264-params b-pyramid=normal -c:a aac -g";

#[test]
fn cuts_of_footage_without_b_pictures_are_exact() {
    all(&EIGHT_SECONDS, 50);
}

#[test]
fn cuts_of_footage_with_a_b_pyramid_at_29_97_are_exact() {
    let codecs = &format!("{PYRAMID} 60");
    all(&FootageKind { name: "pyramid", rate: (30_000, 1001), codecs, ..EIGHT_SECONDS }, 60);
}

#[test]
fn cuts_at_50_frames_a_second_with_several_groups_in_a_segment_are_exact() {
    let codecs = &format!("{PYRAMID} 25");
    all(&FootageKind { name: "fifty", rate: (50, 1), codecs, ..EIGHT_SECONDS }, 25);
}

#[test]
fn cuts_at_60_frames_a_second_in_segments_of_10_seconds_are_exact() {
    let codecs = &format!("{PYRAMID} 120 -force_key_frames expr:gte(t,n_forced*2)");
    all(
        &FootageKind { name: "sixty", rate: (60, 1), seconds: 14, segment_seconds: 10, codecs, ..PLAIN },
        120,
    );
}

#[test]
fn cuts_of_hevc_are_exact() {
    all(&FootageKind { name: "hevc", codecs: HEVC, ..EIGHT_SECONDS }, 50);
}

#[test]
fn cuts_without_sound_are_exact() {
    all(&FootageKind { name: "silent", sounds: 0, ..EIGHT_SECONDS }, 50);
}

#[test]
fn cuts_with_two_sounds_on_other_pids_are_exact() {
    let options = "mpegts_start_pid=801:mpegts_pmt_start_pid=496";
    all(&FootageKind { name: "sounds", sounds: 2, options, ..EIGHT_SECONDS }, 50);
}

#[test]
fn cuts_over_the_wrap_of_the_clock_are_exact() {
    let codecs = &format!("{PYRAMID} 50 -output_ts_offset 95438.3");
    all(&FootageKind { name: "wrap", codecs, ..EIGHT_SECONDS }, 50);
}
