//! Footage made by ffmpeg, whose frames show their numbers as blocks and whose sound beeps on each whole second; and the
//! numbers and beeps read back from a cut.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex, OnceLock};

use restreamer::cut::CutSegment;
use restreamer::mpegts::probe::probe;
use restreamer::mpegts::scan::Scan;
use restreamer::timestamp::{Span, Timestamp};

pub(crate) const WIDTH: usize = 320;
pub(crate) const HEIGHT: usize = 180;
const BITS: usize = 12;
/// The distance that a beep may have from its frame: one frame of sound, in seconds.
const SOUND_FRAME: f64 = 1024.0 / 44_100.0;

/// A kind of footage.
#[derive(Clone, Copy)]
pub(crate) struct FootageKind<'a> {
    pub(crate) name: &'static str,
    pub(crate) rate: (i64, i64),
    pub(crate) seconds: i64,
    pub(crate) segment_seconds: i64,
    /// Arguments for ffmpeg that choose codecs; `-map` comes before.
    pub(crate) codecs: &'a str,
    /// Options for the muxer, as `-segment_format_options` takes them.
    pub(crate) options: &'a str,
    /// How many sounds.
    pub(crate) sounds: usize,
    /// Whether there are pictures.
    pub(crate) pictures: bool,
}

/// Twelve seconds with a group of pictures in each segment; other kinds differ from it in what they name.
pub(crate) const PLAIN: FootageKind<'static> = FootageKind {
    name: "plain",
    rate: (25, 1),
    seconds: 12,
    segment_seconds: 2,
    codecs: "-c:v libx264 -preset veryfast -sc_threshold 0 -bf 0 -g 50 -c:a aac",
    options: "",
    sounds: 1,
    pictures: true,
};

/// Footage on disk, which a test may change.
pub(crate) struct Footage {
    pub(crate) rate: (i64, i64),
    /// The segments in order, without gaps.
    pub(crate) segments: Vec<CutSegment>,
    pub(crate) frames: i64,
    /// What the segments were copied from.
    originals: Arc<Vec<CutSegment>>,
    luma: OnceLock<Vec<Vec<u8>>>,
}

impl Footage {
    /// The luma of each frame, as it was made.
    pub(crate) fn luma(&self) -> &[Vec<u8>] {
        self.luma.get_or_init(|| {
            let paths: Vec<_> = self.originals.iter().map(|segment| segment.path.to_string_lossy()).collect();
            luma(&format!("concat:{}", paths.join("|")))
        })
    }
}

/// The directory of all footage of this run. The directories of earlier runs are removed.
pub(crate) fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let all = Path::new(env!("CARGO_TARGET_TMPDIR"));
        for entry in std::fs::read_dir(all).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let run = name.strip_prefix("footage-").and_then(|pid| pid.parse::<u32>().ok());
            if run.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        let root = all.join(format!("footage-{}", std::process::id()));
        std::fs::create_dir_all(&root).expect("a directory for footage");
        root
    })
}

/// When all footage starts: 2026-11-20T10:59:57Z, so that it spans two hours.
pub(crate) fn base() -> Timestamp {
    Timestamp::parse("2026-11-20T10:59:57").expect("a time")
}

#[allow(clippy::disallowed_methods, reason = "tests run ffmpeg themselves to see what it says")]
pub(crate) fn run(program: &str, args: &[&str]) -> Output {
    Command::new(program).args(args).output().expect("the program runs")
}

pub(crate) fn ffmpeg(args: &[&str]) -> Vec<u8> {
    let output = run("ffmpeg", args);
    assert!(output.status.success(), "ffmpeg {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The filter that draws the pictures: a moving test image, and the frame's number as blocks below.
pub(crate) fn picture(kind: &FootageKind<'_>) -> String {
    let (num, den) = kind.rate;
    let size = format!("{WIDTH}x{HEIGHT}");
    let mut filters = vec![
        format!("testsrc2=s={size}:r={num}/{den}:d={}", kind.seconds),
        "drawbox=x=0:y=140:w=320:h=40:c=black:t=fill".to_owned(),
    ];
    for bit in 0..BITS {
        let (x, full, half) = (8 + bit * 24, 2 << bit, 1 << bit);
        filters.push(format!(
            "drawbox=x={x}:y=148:w=20:h=24:c=white:t=fill:enable='gte(mod(n\\,{full})\\,{half})'"
        ));
    }
    filters.join(",")
}

/// The footage of a kind, with all frames of its rate.
pub(crate) fn make(kind: &FootageKind<'_>) -> Footage {
    let footage = make_uneven(kind);
    let pictures = |segment: &CutSegment| {
        let scan = Scan::of(&std::fs::read(&segment.path).expect("a segment"), true).expect("a scan");
        scan.reference_track().expect("pictures").units.len()
    };
    if kind.pictures {
        let found: usize = footage.segments.iter().map(pictures).sum();
        assert!(i64::try_from(found).is_ok_and(|found| found == footage.frames), "{found}");
    }
    footage
}

/// The footage of a kind whose codecs may leave frames out. It is made once in a run, whatever its name; each test gets a
/// copy.
pub(crate) fn make_uneven(kind: &FootageKind<'_>) -> Footage {
    type Made = Arc<OnceLock<Arc<Vec<CutSegment>>>>;
    static MADE: Mutex<BTreeMap<Vec<String>, Made>> = Mutex::new(BTreeMap::new());
    let args = arguments(kind);
    let (made, next) = {
        let mut all = MADE.lock().expect("no panic");
        let next = all.len();
        (Arc::clone(all.entry(args.clone()).or_default()), next)
    };
    let originals = Arc::clone(made.get_or_init(|| {
        let dir = root().join(format!("original-{next}"));
        std::fs::create_dir_all(&dir).expect("a directory");
        let pattern = dir.join("%03d.ts").to_string_lossy().into_owned();
        ffmpeg(&args.iter().chain([&pattern]).map(String::as_str).collect::<Vec<_>>());
        let files = std::fs::read_dir(&dir).expect("a directory");
        let mut paths: Vec<PathBuf> = files.map(|entry| entry.expect("an entry").path()).collect();
        paths.sort();
        Arc::new(name(&paths))
    }));
    let dir = root().join(kind.name);
    std::fs::create_dir_all(&dir).expect("a directory");
    let copy = |segment: &CutSegment| {
        let path = dir.join(segment.path.file_name().expect("a name"));
        std::fs::copy(&segment.path, &path).expect("a segment");
        CutSegment { path, ..segment.clone() }
    };
    let segments = originals.iter().map(copy).collect();
    let frames = (kind.seconds * kind.rate.0 + kind.rate.1 - 1) / kind.rate.1;
    Footage { rate: kind.rate, segments, frames, originals, luma: OnceLock::new() }
}

/// The arguments with which ffmpeg makes footage of a kind, without the names of its files.
fn arguments(kind: &FootageKind<'_>) -> Vec<String> {
    let (picture, seconds) = (picture(kind), kind.seconds);
    let mut args: Vec<String> = ["-v", "error", "-y", "-filter_threads", "1"].map(str::to_owned).to_vec();
    if kind.pictures {
        args.extend(["-f", "lavfi", "-i", &picture].map(str::to_owned));
    }
    for sound in 0..kind.sounds {
        let (tone, rate) = (1000 + sound * 700, [48_000, 44_100][sound % 2]);
        let beep = format!("aevalsrc='0.5*sin(2*PI*{tone}*t)*lt(mod(t\\,1)\\,0.05)':s={rate}:d={seconds}");
        args.extend(["-f", "lavfi", "-i", &beep].map(str::to_owned));
    }
    for input in 0..kind.sounds + usize::from(kind.pictures) {
        args.extend(["-map".to_owned(), input.to_string()]);
    }
    args.extend(["-threads", "1"].map(str::to_owned));
    args.extend(kind.codecs.split_whitespace().map(str::to_owned));
    let length = kind.segment_seconds.to_string();
    args.extend(["-f", "segment", "-segment_time", &length, "-segment_format", "mpegts"].map(str::to_owned));
    if !kind.options.is_empty() {
        args.extend(["-segment_format_options", kind.options].map(str::to_owned));
    }
    args
}

/// Segments that continue each other on one clock, each named by its lowest PTS to the millisecond.
pub(crate) fn name(paths: &[PathBuf]) -> Vec<CutSegment> {
    let lowest = |path: &PathBuf| {
        let bytes = std::fs::read(path).expect("a segment");
        assert!(probe(&bytes).is_some());
        let scan = Scan::of(&bytes, true).expect("a scan");
        let track = scan.reference_track().expect("pictures or sound");
        let lowest = track.lowest_pts().expect("a time stamp");
        let lengths = track.units.iter().map(|unit| unit.pts.since(lowest));
        (lowest, lengths.max().expect("a time stamp"))
    };
    let stamps: Vec<_> = paths.iter().map(lowest).collect();
    let mut starts = Vec::new();
    let mut at = 0;
    for (index, (stamp, _)) in stamps.iter().enumerate() {
        at += if index == 0 { 0 } else { stamp.since(stamps[index - 1].0) };
        starts.push(base() + Span::from_millis((at + 45).div_euclid(90)));
    }
    let end = |index: usize| {
        starts
            .get(index + 1)
            .copied()
            .unwrap_or_else(|| starts[index] + Span::from_millis(stamps[index].1 / 90 + 40))
    };
    let segment = |(index, path): (usize, &PathBuf)| CutSegment {
        path: path.clone(),
        bytes: None,
        start: starts[index],
        end: end(index),
        gap_before: false,
        complete: true,
    };
    paths.iter().enumerate().map(segment).collect()
}

/// What a cut shows.
#[derive(Debug)]
pub(crate) struct Shown {
    /// The numbers of its frames, as they are shown.
    pub(crate) numbers: Vec<i64>,
    /// When each is shown, in seconds.
    pub(crate) times: Vec<f64>,
    /// When each beep of each sound begins, in seconds.
    pub(crate) beeps: Vec<Vec<f64>>,
    /// When each packet of each sound is shown, in seconds, if packets were read.
    pub(crate) sound_packets: Vec<Vec<f64>>,
    /// The luma of each frame.
    pub(crate) luma: Vec<Vec<u8>>,
    /// What ffmpeg says while it decodes, and while it makes a movie of the packets: nothing, if all is well.
    pub(crate) warnings: String,
    /// Whether ffmpeg listed the packets and made a movie of them.
    pub(crate) are_packets_read: bool,
}

/// The peak signal-to-noise ratio of a frame in decibels; infinite if it is equal to its original.
pub(crate) fn psnr(one: &[u8], other: &[u8]) -> f64 {
    if one == other {
        return f64::INFINITY;
    }
    let square = |(a, b): (&u8, &u8)| u64::from(a.abs_diff(*b)).pow(2);
    let sum: u64 = one.iter().zip(other).map(square).sum();
    let mean = f64::from(u32::try_from(sum).expect("a small picture"))
        / to_f64(i64::try_from(one.len()).expect("small"));
    10.0 * (255.0 * 255.0 / mean).log10()
}

pub(crate) fn luma(path: &str) -> Vec<Vec<u8>> {
    let raw = ffmpeg(&[
        "-v",
        "error",
        "-threads",
        "1",
        "-i",
        path,
        "-map",
        "0:v",
        "-fps_mode",
        "passthrough",
        "-f",
        "rawvideo",
        "-pix_fmt",
        "gray",
        "-",
    ]);
    raw.chunks_exact(WIDTH * HEIGHT).map(<[u8]>::to_vec).collect()
}

/// Decodes a cut.
pub(crate) fn look(path: &Path, sounds: usize, pictures: bool) -> Shown {
    look_and(path, sounds, pictures, "")
}

/// Decodes a transport stream, lists its packets of sound, and makes a movie of its packets.
pub(crate) fn look_at_packets(path: &Path, sounds: usize, pictures: bool) -> Shown {
    let movie = format!("{}.mp4", path.display());
    let lists: Vec<_> = (0..sounds).map(|sound| format!("{}.{sound}.packets", path.display())).collect();
    let mut outputs = format!("-map 0:v:0? -map 0:a:0? -c copy {movie}");
    for (sound, list) in lists.iter().enumerate() {
        outputs.extend([&format!(" -map 0:a:{sound} -c copy -f framecrc "), list.as_str()]);
    }
    let shown = look_and(path, sounds, pictures, &outputs);
    std::fs::remove_file(&movie).expect("a movie");
    let sound_packets = lists.iter().map(|list| frame_times(&take(list))).collect();
    Shown { are_packets_read: true, sound_packets, ..shown }
}

/// Decodes a cut, and does what more outputs of ffmpeg ask for: all in one run, because its start takes longer than the rest.
pub(crate) fn look_and(path: &Path, sounds: usize, pictures: bool, outputs: &str) -> Shown {
    let path = path.to_string_lossy();
    let (frames, sound) = (format!("{path}.frames"), |sound: usize| format!("{path}.{sound}.pcm"));
    let mut args = vec![format!("-v warning -copyts -filter_threads 1 -threads 1 -y -i {path}")];
    if pictures {
        args.push("-map 0:v -fps_mode passthrough -pix_fmt gray -f rawvideo -".to_owned());
        args.push(format!("-map 0:v -fps_mode passthrough -f framecrc {frames}"));
    }
    for number in 0..sounds {
        let resample = "aresample=48000:async=1:min_hard_comp=0.01:first_pts=0";
        args.push(format!("-map 0:a:{number} -af {resample} -ac 1 -f s16le {}", sound(number)));
    }
    args.push(outputs.to_owned());
    let args = args.join(" ");
    let output = run("ffmpeg", &args.split_whitespace().collect::<Vec<_>>());
    let warnings = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "ffmpeg {args}: {warnings}");
    let luma: Vec<_> = output.stdout.chunks_exact(WIDTH * HEIGHT).map(<[u8]>::to_vec).collect();
    Shown {
        numbers: luma.iter().map(|luma| number(luma)).collect(),
        times: if pictures { frame_times(&take(&frames)) } else { Vec::new() },
        beeps: (0..sounds).map(|number| beeps(&take(&sound(number)))).collect(),
        sound_packets: Vec::new(),
        luma,
        warnings,
        are_packets_read: false,
    }
}

/// Reads a file that ffmpeg has written, and removes it.
fn take(path: &str) -> Vec<u8> {
    let bytes = std::fs::read(path).expect("what ffmpeg has written");
    std::fs::remove_file(path).expect("remove it");
    bytes
}

/// The times in seconds of the frames or packets that ffmpeg's `framecrc` lists.
fn frame_times(list: &[u8]) -> Vec<f64> {
    let list = String::from_utf8_lossy(list).into_owned();
    let number = |text: &str| text.trim().parse::<f64>().expect("a number");
    let base =
        list.lines().find_map(|line| line.strip_prefix("#tb 0: ")).and_then(|base| base.split_once('/'));
    let tick = base.map_or(0.0, |(num, den)| number(num) / number(den));
    let frames = list.lines().filter(|line| !line.starts_with('#'));
    frames.filter_map(|line| Some(number(line.split(',').nth(2)?) * tick)).collect()
}

pub(crate) fn packet_times(path: &str, stream: &str) -> Vec<f64> {
    let output = run(
        "ffprobe",
        &[
            "-v",
            "error",
            "-select_streams",
            stream,
            "-show_entries",
            "packet=pts_time",
            "-of",
            "csv=p=0",
            path,
        ],
    );
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().filter_map(|line| line.trim_matches(',').parse().ok()).collect()
}

/// The number that a frame of luma shows.
pub(crate) fn number(frame: &[u8]) -> i64 {
    let bright = |bit: usize| frame[160 * WIDTH + 18 + bit * 24] > 128;
    (0..BITS).filter(|bit| bright(*bit)).map(|bit| 1 << bit).sum()
}

fn beeps(raw: &[u8]) -> Vec<f64> {
    let samples = raw.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]]));
    let mut found = Vec::new();
    let mut quiet = 48_000;
    for (index, sample) in samples.enumerate() {
        if sample.unsigned_abs() > 3000 {
            if quiet > 4800 {
                found.push(f64::from(u32::try_from(index).expect("a short cut")) / 48_000.0);
            }
            quiet = 0;
        } else {
            quiet += 1;
        }
    }
    found
}

/// Checks that each beep is near its frame; returns the number of beeps.
pub(crate) fn check_beeps(shown: &Shown, rate: (i64, i64)) -> usize {
    let seconds = |number: i64| to_f64(number * rate.1) / to_f64(rate.0);
    for beep in shown.beeps.iter().flatten() {
        // At a discontinuity the beep may begin a little before its frame.
        let before = shown.times.iter().rposition(|time| *time <= *beep).unwrap_or(0);
        let from = |index: usize| {
            let source = seconds(shown.numbers[index]) + beep - shown.times[index];
            (source - source.round()).abs()
        };
        let index = before;
        let off = from(index).min(from((index + 1).min(shown.times.len() - 1)));
        // A cut may begin in the middle of a beep.
        let most = if *beep < shown.times[0] + 0.05 { SOUND_FRAME + 0.05 } else { SOUND_FRAME };
        assert!(off <= most, "a beep at {beep} is {off} s away from its frame {}", shown.numbers[index]);
    }
    shown.beeps.iter().map(Vec::len).sum()
}

pub(crate) fn to_f64(number: i64) -> f64 {
    f64::from(i32::try_from(number).expect("a small number"))
}
