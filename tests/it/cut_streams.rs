//! Which streams a cut has: sound of all codecs, sound that comes and goes, streams without packets, frame rates that vary.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use restreamer::cut::{ExactType, prepare};
use restreamer::error::{Error, Result};
use restreamer::ffmpeg::Tools;
use restreamer::mpegts::packet::{PACKET_BYTES, packets};
use restreamer::mpegts::psi::{ElementaryStream, Pmt, write_pmt};
use restreamer::mpegts::scan::Scan;
use restreamer::timestamp::Span;

use crate::cut_engine::{cut, select, tools};
use crate::cuts::fake;
use crate::footage::{self, Footage, FootageKind, Shown, base, ffmpeg, look, look_and, run};

const BOTH: [ExactType; 2] = [ExactType::Smart, ExactType::Full];
const VIDEO: &str = "-c:v libx264 -preset ultrafast -sc_threshold 0 -bf 0 -g 10";
const AUDIO_PID: u16 = 0x101;

/// Ten frames a second, because most tests are about sound.
const KIND: FootageKind<'_> =
    FootageKind { name: "", rate: (10, 1), seconds: 6, codecs: "", ..footage::PLAIN };

/// A cut of a range in milliseconds, all streams of which decode without a warning; and its pictures and first sound.
fn cut_of(exact_type: ExactType, footage: &Footage, start_ms: i64, end_ms: i64) -> (PathBuf, Shown) {
    let (start, end) = (base() + Span::from_millis(start_ms), base() + Span::from_millis(end_ms));
    let path = cut(exact_type, select(&footage.segments, start, end), start, end);
    let shown = look_and(&path, 1, true, "-map 0 -f null -");
    assert_eq!(shown.warnings, "", "{exact_type:?} {}", path.display());
    (path, shown)
}

/// Why a cut of all footage cannot be made, if it cannot.
fn refused(exact_type: ExactType, footage: &Footage, tools: &Tools) -> Option<String> {
    let (start, end) = (base() + Span::from_millis(300), base() + Span::from_millis(5700));
    let prepared: Result<_> =
        prepare(exact_type, footage.segments.clone(), None, &mut || Ok(None), (start, end), tools, &|| false);
    match prepared {
        Ok(_) => None,
        Err(Error::Unsupported(why)) => Some(why),
        Err(error) => panic!("{error:?}"),
    }
}

/// The codec and the number of packets of each stream, by PID.
fn streams(path: &Path) -> BTreeMap<u16, (String, u32)> {
    let options = "-v error -count_packets -show_entries stream=id,codec_name,nb_read_packets -of csv=p=0 -i";
    let args: Vec<_> = options.split(' ').chain(path.to_str()).collect();
    let text = String::from_utf8(run("ffprobe", &args).stdout).expect("text");
    let row = |line: &str| {
        let [codec, pid, count] = line.split(',').collect::<Vec<_>>()[..] else { panic!("`{line}`") };
        let pid = u16::from_str_radix(pid.trim_start_matches("0x"), 16).expect("a PID");
        (pid, (codec.to_owned(), count.parse().unwrap_or(0)))
    };
    text.lines().filter(|line| !line.is_empty()).map(row).collect()
}

/// Changes the PMT of a segment, and leaves out the packets on some PIDs.
pub(crate) fn rewrite(path: &Path, without: &[u16], change: impl Fn(&mut Pmt)) {
    let bytes = std::fs::read(path).expect("a segment");
    let scan = Scan::of(&bytes, true).expect("a scan");
    let mut pmt = scan.pmt.clone();
    change(&mut pmt);
    let mut out = Vec::new();
    for (_, packet) in packets(&bytes).filter(|(_, packet)| !without.contains(&packet.pid())) {
        if packet.pid() == scan.pmt_pid {
            out.extend(write_pmt(scan.pmt_pid, &pmt));
        } else {
            out.extend(packet.bytes());
        }
    }
    std::fs::write(path, out).expect("a segment");
}

/// Makes a segment as if it had no sound.
fn silence(path: &Path) {
    rewrite(path, &[AUDIO_PID], |pmt| pmt.streams.retain(|stream| stream.pid != AUDIO_PID));
}

/// Asserts which beeps the first sound of a cut has, by their second in the footage, and that they are in their place.
/// Those at even seconds do not count: segments begin there, and the sound of a segment may begin in the one before.
fn check_beeps(shown: &Shown, start_ms: i64, expected: &[i64]) {
    let begin = shown.times[0] * 1000.0 - footage::to_f64(start_ms);
    let mut found: Vec<_> = shown.beeps[0].iter().map(|beep| beep * 1000.0 - begin).collect();
    let from = |beep: f64, second: i64| (beep - footage::to_f64(second * 1000)).abs();
    found.retain(|beep| [0, 2, 4, 6].iter().all(|second| from(*beep, *second) > 500.0));
    let is_there = |(beep, second): (&f64, &i64)| from(*beep, *second) < 60.0;
    assert!(
        found.len() == expected.len() && found.iter().zip(expected).all(is_there),
        "{found:?} ms instead of {expected:?} s"
    );
}

/// The `channel_configuration` of the first frame of ADTS on a PID.
fn channel_configuration(path: &Path, pid: u16) -> u8 {
    let bytes = std::fs::read(path).expect("a cut");
    let mut payloads = packets(&bytes).filter(|(_, packet)| packet.pid() == pid && packet.starts_unit());
    let payload = payloads.next().expect("sound").1.payload().to_vec();
    let frame = payload.windows(2).position(|pair| pair[0] == 0xFF && pair[1] & 0xF6 == 0xF0).expect("ADTS");
    (payload[frame + 2] & 1) << 2 | payload[frame + 3] >> 6
}

#[test]
fn sound_of_all_codecs_is_kept() {
    for (name, codec, options, copied) in [
        ("opus", "-c:a libopus", "", "opus"),
        ("opus120", "-c:a libopus -frame_duration 120", "", "opus"),
        ("dts", "-c:a dca -strict -2", "", "dts"),
        ("s302m", "-c:a s302m -strict -2 -ac 2 -sample_fmt s16", "", "s302m"),
        ("latm", "-c:a aac", "mpegts_flags=latm", "aac_latm"),
        ("mp2", "-c:a mp2", "", "mp2"),
        ("eac3", "-c:a eac3", "", "eac3"),
    ] {
        let codecs = &format!("{VIDEO} {codec}");
        let footage = footage::make(&FootageKind { name, codecs, options, ..KIND });
        for exact_type in BOTH {
            let (path, shown) = cut_of(exact_type, &footage, 500, 5600);
            let expected = if exact_type == ExactType::Full { "aac" } else { copied };
            let streams = streams(&path);
            assert_eq!(streams[&AUDIO_PID].0, expected, "{name}");
            check_beeps(&shown, 500, &[1, 3, 5]);
        }
    }
}

#[test]
fn surround_sound_gets_a_layout_that_aac_has_a_channel_configuration_for() {
    for (name, codec, configuration) in [
        ("ac3-5.1", "-c:a ac3 -channel_layout 5.1(side)", 6),
        ("ac3-5.0", "-c:a ac3 -channel_layout 5.0(side)", 5),
        ("ac3-quad", "-c:a ac3 -channel_layout quad(side)", 5),
        ("ac3-4.0", "-c:a ac3 -channel_layout 4.0", 4),
        ("ac3-3.0", "-c:a ac3 -channel_layout 3.0", 3),
        ("eac3-5.1", "-c:a eac3 -channel_layout 5.1(side)", 6),
        ("dts-5.1", "-c:a dca -strict -2 -channel_layout 5.1(side)", 6),
        ("opus-6.1", "-c:a libopus -mapping_family 1 -channel_layout 6.1", 7),
        ("opus-7.1", "-c:a libopus -mapping_family 1 -channel_layout 7.1", 7),
        ("ac3-1.0", "-c:a ac3 -ac 1", 1),
        ("mp2-2.0", "-c:a mp2 -ac 2", 2),
    ] {
        let codecs = &format!("{VIDEO} {codec}");
        let kind = FootageKind { name, codecs, seconds: 2, ..KIND };
        let (path, _) = cut_of(ExactType::Full, &footage::make(&kind), 300, 1700);
        assert_eq!(channel_configuration(&path, AUDIO_PID), configuration, "{name}");
    }
}

#[test]
fn sound_that_begins_late_or_is_missing_in_the_midst_is_kept_in_its_place() {
    let codecs = &format!("{VIDEO} -c:a aac");
    for (name, silent, expected) in [("late", 0, [3, 5]), ("missing", 1, [1, 5]), ("ends", 2, [1, 3])] {
        let footage = footage::make(&FootageKind { name, codecs, ..KIND });
        silence(&footage.segments[silent].path);
        for exact_type in BOTH {
            let (path, shown) = cut_of(exact_type, &footage, 500, 5600);
            let pids: Vec<_> = streams(&path).into_keys().collect();
            assert_eq!(pids, [0x100, AUDIO_PID], "{name} {exact_type:?}");
            check_beeps(&shown, 500, &expected);
        }
    }
}

#[test]
fn sound_that_begins_much_later_than_ffmpeg_looks_for_it_is_kept() {
    let codecs = "-c:v libx264 -preset ultrafast -sc_threshold 0 -bf 0 -g 20 -c:a aac";
    let kind = FootageKind { name: "much-later", seconds: 60, codecs, ..KIND };
    let footage = footage::make(&kind);
    footage.segments[..27].iter().for_each(|segment| silence(&segment.path));
    for exact_type in BOTH {
        let (start, end) = (base() + Span::from_millis(500), base() + Span::from_millis(58_500));
        let path = cut(exact_type, select(&footage.segments, start, end), start, end);
        let bytes = std::fs::read(&path).expect("a cut");
        let scan = Scan::of(&bytes, true).expect("a scan");
        let first = |index: usize| scan.tracks[index].lowest_pts().expect("packets");
        let distance = first(1).since(first(0));
        assert!((53 * 90_000..54 * 90_000).contains(&distance), "{exact_type:?} {distance}");
    }
}

#[test]
fn a_cut_lists_no_stream_without_packets() {
    let codecs = &format!("{VIDEO} -c:a aac");
    let footage = footage::make(&FootageKind { name: "listed", codecs, sounds: 2, ..KIND });
    let id3 = ElementaryStream { pid: 0x155, stream_type: 0x15, descriptors: b"\x26\x00".to_vec() };
    for (index, segment) in footage.segments.iter().enumerate() {
        // The clock reference is on a stream that is listed, and in later segments not there.
        let without: &[u16] = if index == 0 { &[] } else { &[0x102] };
        rewrite(&segment.path, without, |pmt| pmt.streams.push(id3.clone()));
    }
    for (start, end, expected) in [
        (500, 5500, &[0x100, 0x101, 0x102][..]),
        (2500, 5500, &[0x100, 0x101]),
        (2100, 3900, &[0x100, 0x101]),
    ] {
        for exact_type in BOTH {
            let (path, _) = cut_of(exact_type, &footage, start, end);
            let streams = streams(&path);
            assert_eq!(streams.keys().copied().collect::<Vec<_>>(), expected, "{exact_type:?} {start}");
            assert!(streams.values().all(|(_, count)| *count > 0), "{streams:?}");
        }
    }
}

#[test]
fn a_stream_that_only_a_segment_in_the_midst_has_is_found() {
    let codecs = &format!("{VIDEO} -c:a aac");
    let footage = footage::make(&FootageKind { name: "midst", codecs, seconds: 10, sounds: 2, ..KIND });
    for (_, segment) in footage.segments.iter().enumerate().filter(|(index, _)| *index != 2) {
        rewrite(&segment.path, &[0x102], |_| {});
    }
    for exact_type in BOTH {
        let (path, _) = cut_of(exact_type, &footage, 500, 9500);
        let counts: Vec<_> = streams(&path).into_values().map(|(_, count)| count > 0).collect();
        assert_eq!(counts, [true, true, true], "{exact_type:?}");
    }
}

#[test]
fn a_sound_of_another_codec_is_a_stream_of_its_own_or_refused() {
    let codecs = &format!("{VIDEO} -c:a aac");
    let mut footage = footage::make(&FootageKind { name: "another", codecs, ..KIND });
    let segment = &mut footage.segments[1];
    let path = segment.path.with_extension("mp2.ts");
    let (from, to) = (segment.path.to_string_lossy().into_owned(), path.to_string_lossy());
    let input = ["-v", "error", "-copyts", "-i", &from, "-c:v", "copy", "-c:a", "mp2"];
    ffmpeg(&[&input[..], &["-muxdelay", "0", "-muxpreload", "0", "-f", "mpegts", &to]].concat());
    segment.path = path;
    let why = refused(ExactType::Smart, &footage, &tools()).expect("a refusal");
    assert!(why.contains("sound of another format") && why.contains("type=full"), "{why}");
    let (path, shown) = cut_of(ExactType::Full, &footage, 500, 5600);
    let streams = streams(&path);
    assert_eq!(streams.len(), 3, "{streams:?}");
    check_beeps(&shown, 500, &[1, 5]);
}

#[test]
fn sound_that_ffmpeg_cannot_decode_is_refused_before_it_starts() {
    let opus = &format!("{VIDEO} -c:a libopus");
    let footage = footage::make(&FootageKind { name: "deaf", codecs: opus, ..KIND });
    let dir = tempfile::tempdir().expect("a directory");
    let deaf = Tools::find(Path::new(&fake(dir.path(), "ffmpeg-deaf")));
    let why = refused(ExactType::Full, &footage, &deaf).expect("a refusal");
    assert!(why.contains("Opus") && why.contains("0x101") && why.contains("type=smart"), "{why}");
    assert_eq!(refused(ExactType::Smart, &footage, &deaf), None);

    let change = |stream_type: u8, descriptors: &'static [u8]| {
        move |pmt: &mut Pmt| {
            pmt.streams[1].stream_type = stream_type;
            pmt.streams[1].descriptors = descriptors.to_vec();
        }
    };
    for (stream_type, descriptors, reason) in [
        (0x06, &b"\x05\x04AC-4"[..], "unknown codec"),
        (0xCF, b"", "encrypted"),
        (0x0F, b"", "without a frame"),
    ] {
        let changed = change(stream_type, descriptors);
        footage.segments.iter().for_each(|segment| rewrite(&segment.path, &[], changed));
        let why = refused(ExactType::Full, &footage, &tools()).expect("a refusal");
        assert!(why.contains(reason) && why.contains("type=rough"), "{why}");
        assert_eq!(refused(ExactType::Smart, &footage, &tools()), None);
    }
}

/// Makes the slices of all pictures undecodable; the parameter sets stay.
fn ruin_pictures(path: &Path) {
    let mut bytes = std::fs::read(path).expect("a segment");
    for packet in
        bytes.chunks_exact_mut(PACKET_BYTES).filter(|packet| packet[1] & 0x1F == 1 && packet[2] == 0)
    {
        let payload = if packet[3] & 0x20 == 0 { 4 } else { 5 + usize::from(packet[4]) };
        let is_slice = |bytes: &[u8]| bytes.starts_with(&[0, 0, 1]) && [1, 5].contains(&(bytes[3] & 0x1F));
        let slice = if packet[1] & 0x40 == 0 {
            Some(payload)
        } else {
            packet.windows(4).position(is_slice).map(|position| position + 4)
        };
        if let Some(slice) = slice {
            packet[slice..].fill(0xFF);
        }
    }
    std::fs::write(path, bytes).expect("a segment");
}

#[test]
fn pictures_that_ffmpeg_cannot_decode_are_unsupported_and_no_failure_of_the_server() {
    let codecs = &format!("{VIDEO} -c:a aac");
    let footage = footage::make(&FootageKind { name: "ruined", codecs, ..KIND });
    footage.segments.iter().for_each(|segment| ruin_pictures(&segment.path));
    // The first group of pictures has lost its parameter sets, too.
    let (start, end) = (base() + Span::from_millis(1300), base() + Span::from_millis(5700));
    let prepared =
        prepare(ExactType::Full, footage.segments, None, &mut || Ok(None), (start, end), &tools(), &|| false);
    let mut out = Vec::new();
    let result = prepared.expect("nothing that is known before").run(&mut out, &|| false);
    let Err(Error::Unsupported(why)) = result else { panic!("{result:?}") };
    assert!(why.contains("Cannot determine format of input stream") && out.is_empty(), "{why}");
}

#[test]
fn footage_with_a_varying_frame_rate_is_cut_to_the_frame_and_decodes_silently() {
    let varying = "-vf select=not(mod(n\\,3))+gt(random(1)\\,0.7) -fps_mode vfr";
    for (name, reorder) in [("varying", 0), ("varying-reordered", 3)] {
        let codecs =
            &format!("-c:v libx264 -preset veryfast -sc_threshold 0 -bf {reorder} -g 50 {varying} -c:a aac");
        let kind = FootageKind { name, codecs, rate: (25, 1), segment_seconds: 6, ..KIND };
        check_varying(&footage::make_uneven(&kind));
    }
}

/// Cuts footage of one segment with a varying frame rate.
fn check_varying(footage: &Footage) {
    let source = look(&footage.segments[0].path, 1, true);
    let time = |index: usize| ((source.times[index] - source.times[0]) * 1000.0).round();
    for (start, end) in [(340, 5640), (1300, 4700), (200, 1500), (2120, 3080)] {
        for exact_type in BOTH {
            let (_, shown) = cut_of(exact_type, footage, start, end);
            let is_shown =
                |index: &usize| (footage::to_f64(start)..footage::to_f64(end)).contains(&time(*index));
            let expected: Vec<_> = (0..source.numbers.len()).filter(is_shown).collect();
            let numbers: Vec<_> = expected.iter().map(|index| source.numbers[*index]).collect();
            assert_eq!(shown.numbers, numbers, "{exact_type:?} {start} {end}");
            for (index, shown_at) in expected.iter().zip(&shown.times) {
                let off = (shown_at - shown.times[0]) * 1000.0 - (time(*index) - time(expected[0]));
                assert!(off.abs() < 1.5, "{exact_type:?} {start} {end}: frame {index} is off by {off} ms");
            }
        }
    }
}
