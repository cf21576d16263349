use super::*;

/// Bytes of hexadecimal digits.
fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..][..2], 16).expect("digits")).collect()
}

/// NAL units of hexadecimal digits as a byte stream.
fn byte_stream(nals: &[&str]) -> Vec<u8> {
    nals.iter().flat_map(|nal| [vec![0, 0, 1], hex(nal)].concat()).collect()
}

// Of x264 and x265, 1280x720.
const H264_SPS: &str = "6764001facd9405005bb0110000003001000000303c0f1831960";
const H264_PPS: &str = "68efbcb0";
const H264_IDR: &str = "658884004f5de795";
const HEVC_VPS: &str = "40010c01ffff01600000030090000003000003005d959409";
const HEVC_SPS: &str =
    "42010101600000030090000003000003005da00280802d16595952930bc05a020000030002000003003c10";
const HEVC_PPS: &str = "4401c073c189";
const HEVC_IDR: &str = "2601af1ca8";
/// Of x264 in Baseline, 320x176, with id 1.
const SMALL_SPS: &str = "6742c00c5640505ec044000003000400000300c83c50a920";
const SMALL_PPS: &str = "6848b83cb2";
const SMALL_IDR: &str = "65884102bc98a000";
/// Of x264, 720x576, interlaced, with id 0.
const OTHER_SPS: &str = "6764001eacd940b424d8088000000300800000190f8a14cb";

/// A slice that is not of an IDR picture.
const H264_SLICE: &str = "419a2464";

fn video(format: Option<SampleFormat>) -> VideoFormat {
    match format {
        Some(SampleFormat::Video(video)) => video,
        other => panic!("{other:?}"),
    }
}

#[test]
fn video_formats_are_those_of_the_parameter_sets_of_the_picture() {
    for (codec, nals, sets, size) in [
        (Codec::H264, &[H264_SPS, H264_PPS, H264_IDR][..], &[H264_SPS, H264_PPS][..], Some((1280, 720))),
        (Codec::H264, &["09f0", H264_PPS, H264_SPS, H264_IDR], &[H264_SPS, H264_PPS], Some((1280, 720))),
        (
            Codec::Hevc,
            &[HEVC_VPS, HEVC_SPS, HEVC_PPS, HEVC_IDR],
            &[HEVC_VPS, HEVC_SPS, HEVC_PPS],
            Some((1280, 720)),
        ),
        (
            Codec::H264,
            &[H264_SPS, H264_PPS, SMALL_SPS, SMALL_PPS, SMALL_IDR],
            &[H264_SPS, SMALL_SPS, H264_PPS, SMALL_PPS],
            Some((320, 176)),
        ),
        (
            Codec::H264,
            &[SMALL_SPS, SMALL_PPS, OTHER_SPS, H264_SPS, H264_PPS, H264_IDR],
            &[H264_SPS, SMALL_SPS, H264_PPS, SMALL_PPS],
            Some((1280, 720)),
        ),
        (Codec::H264, &[H264_SPS, H264_IDR], &[], None),
        (Codec::H264, &[H264_PPS, H264_IDR], &[], None),
        (Codec::Hevc, &[HEVC_VPS, HEVC_SPS, HEVC_IDR], &[], None),
        (Codec::H264, &[H264_SPS, H264_PPS], &[], None),
    ] {
        let format = video_format(codec, &byte_stream(nals));
        assert_eq!(format.is_some(), size.is_some(), "{nals:?}");
        if let Some(size) = size {
            let video = video(format);
            let hex: Vec<Vec<u8>> = sets.iter().map(|set| hex(set)).collect();
            assert_eq!(
                (video.parameter_sets, (video.picture.width, video.picture.height)),
                (hex, size),
                "{nals:?}"
            );
        }
    }
}

#[test]
fn formats_of_large_parameter_sets_that_change_often_do_not_fill_the_memory() {
    for (set_bytes, all_are_given) in [(100, true), (1000, true), (60_000, false), (300_000, false)] {
        let mut sets = ParameterSets::new(Codec::H264);
        let mut given = 0;
        for round in 0..20 {
            let nals = [H264_SPS, H264_PPS, SMALL_PPS, H264_IDR].map(hex);
            for (at, mut nal) in nals.into_iter().enumerate() {
                // The PPS that no picture uses is another one each time.
                if at == 2 {
                    nal.resize(set_bytes, 0x80 | round);
                }
                sets.push(&nal);
            }
            given += u8::from(sets.end_access_unit(true).is_some());
        }
        assert_eq!(
            (given == 20, sets.unsupported().is_none()),
            (all_are_given, all_are_given),
            "{set_bytes}"
        );
    }
}

#[test]
fn a_changed_parameter_set_makes_a_new_format_from_the_next_sync_sample_on() {
    let mut sets = ParameterSets::new(Codec::H264);
    for (at, (nals, sync, size)) in [
        (&[H264_SLICE][..], false, None),
        (&[H264_SPS, H264_PPS, H264_IDR], true, Some((1280, 720))),
        (&[H264_SPS, H264_PPS, H264_IDR], true, None),
        (&[OTHER_SPS, H264_SLICE], false, None),
        (&[H264_SLICE], false, None),
        (&[H264_IDR], true, Some((720, 576))),
        (&[H264_IDR], true, None),
        // The second SPS, and then the first one again.
        (&[SMALL_SPS, SMALL_PPS, SMALL_IDR], true, Some((320, 176))),
        (&[SMALL_IDR], true, None),
        (&[H264_IDR], true, Some((720, 576))),
        (&[H264_SPS, H264_IDR], true, Some((1280, 720))),
    ]
    .into_iter()
    .enumerate()
    {
        for nal in nals {
            sets.push(&hex(nal));
        }
        let format = sets.end_access_unit(sync).map(|format| video(Some(format)));
        assert_eq!(
            format.map(|format| (format.picture.width, format.picture.height)),
            size,
            "{at}: {nals:?}"
        );
    }
}

#[test]
fn audio_formats_are_those_of_the_frame_headers() {
    let aac = |config: &str, sample_rate, channels| {
        Ok(SampleFormat::Aac { config: hex(config), sample_rate, channels })
    };
    let mp3 = |sample_rate, channels| Ok(SampleFormat::Mp3 { sample_rate, channels });
    let ac3 = |config: &str, sample_rate, channels| {
        Ok(SampleFormat::Ac3 { config: hex(config), sample_rate, channels })
    };
    let eac3 = |config: &str, sample_rate, channels| {
        Ok(SampleFormat::Eac3 { config: hex(config), sample_rate, channels })
    };
    // Headers and boxes are those of ffmpeg.
    for (codec, header, expected) in [
        (Codec::Aac, "fff15040213ffcde", aac("1208", 44_100, 1)),
        (Codec::Aac, "fff150802b3ffcde", aac("1210", 44_100, 2)),
        (Codec::Aac, "fff14c8024fffcde", aac("1190", 48_000, 2)),
        (Codec::Aac, "fff14d802fdffcde", aac("11b0", 48_000, 6)),
        (Codec::Aac, "fff14dc032dffcde", aac("11b8", 48_000, 8)),
        (Codec::Aac, "fff14c0024fffcde", Err("AAC with a program config element")),
        (Codec::Aac, "fff14c8024fffdde", Err("AAC with several raw data blocks in a frame")),
        (Codec::MpegAudio, "fffb906400000000", mp3(44_100, 2)),
        (Codec::MpegAudio, "fffb54c400000000", mp3(48_000, 1)),
        (Codec::MpegAudio, "fff340c400000000", mp3(22_050, 1)),
        (Codec::MpegAudio, "fffde4c400000000", Err("MPEG audio layer II")),
        (Codec::MpegAudio, "ffffe4c400000000", Err("MPEG audio layer I")),
        (Codec::Ac3, "0b77c2ea544043e1", ac3("501140", 44_100, 2)),
        (Codec::Ac3, "0b77b50b1e40ebf8", ac3("103de0", 48_000, 6)),
        (Codec::Ac3, "0b77480d0c402f84", ac3("1008c0", 48_000, 1)),
        (Codec::Ac3, "0b77037f3f87c000", eac3("0e00200f00", 48_000, 6)),
        (Codec::Ac3, "0b77437f3f87c000", Err("E-AC-3 with several substreams")),
        (Codec::Ac3, "0b770b7f3f87c000", Err("E-AC-3 with several substreams")),
        (Codec::Ac3, "0b77037f2f87c000", Err("E-AC-3 with fewer than six blocks in a frame")),
    ] {
        let Formats::Audio(mut frames) = Formats::of(codec, 0) else { panic!("{codec:?}") };
        let bytes = hex(header);
        let frame = frames.coding.frame(&bytes).expect("a header");
        let format = frames.format(&bytes, &frame);
        let name = Formats::Audio(frames).unsupported();
        assert_eq!(format.ok_or(name.unwrap_or_default()), expected, "{header}");
    }
}

#[test]
fn codecs_without_a_format_are_named() {
    for (codec, stream_type, name) in [
        (Codec::H264, 0x1B, None),
        (Codec::Aac, 0x0F, None),
        (Codec::Mpeg2, 0x01, Some("MPEG-1 video")),
        (Codec::Mpeg2, 0x02, Some("MPEG-2 video")),
        (Codec::Opus, 0x06, Some("Opus")),
        (Codec::AacLatm, 0x11, Some("AAC in LATM")),
        (Codec::Dts, 0x82, Some("DTS")),
        (Codec::OtherAudio, 0x83, Some("TrueHD")),
        (Codec::OtherAudio, 0xCF, Some("encrypted")),
        (Codec::OtherVideo, 0xDB, Some("encrypted")),
        (Codec::Ac3, 0xC1, Some("encrypted")),
        (Codec::Data, 0x15, Some("data")),
    ] {
        assert_eq!(Formats::of(codec, stream_type).unsupported(), name, "{codec:?}");
    }
}
