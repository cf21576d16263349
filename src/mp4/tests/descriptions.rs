//! What a movie says of its tracks: sample entries, languages, times, its title and text.

use mp4_atom::{Codec as Entry, Decode, DecodeMaybe, Ftyp, Header, Moov};

use super::*;
use crate::mp4::entries::text_sample;
use crate::mp4::movie::head;
use crate::mp4::tracks::{EditEntry, Track, TrackKind};

/// A movie with a track of each format, its first sample 40 ms long, as `mp4-atom` reads it.
fn moov_of(formats: &[SampleFormat]) -> Moov {
    let tracks: Vec<_> = formats.iter().map(track_of).collect();
    let head = head(&info(), &tracks, 0);
    let mut bytes = &head[..];
    let ftyp = Ftyp::decode(&mut bytes).expect("ftyp");
    assert_eq!(ftyp.major_brand, (*b"isom").into());
    let moov = Moov::decode(&mut bytes).expect("moov");
    let header = Header::decode_maybe(&mut bytes).expect("a header").expect("mdat");
    assert_eq!((header.kind, header.size, bytes.len()), ((*b"mdat").into(), Some(0), 0));
    moov
}

fn track_of(format: &SampleFormat) -> Track {
    let is_video = matches!(format, SampleFormat::Video(_));
    let kind = if is_video { TrackKind::Video } else { TrackKind::Audio };
    let timescale = if is_video { 90_000 } else { 48_000 };
    let mut track = Track::new(kind, timescale, Some(*b"deu"));
    assert_eq!([track.add_format(format), track.add_format(&format.clone())], [1, 1]);
    track.push(Sample { size: 0, duration: timescale / 25, composition: 0, sync: true });
    track.end_chunk(0, 1);
    track
}

#[test]
fn sample_entries_of_video_say_what_a_decoder_needs() {
    let moov = moov_of(&[video(Codec::H264), video(Codec::Hevc)]);
    let entry = |track: usize| &moov.trak[track].mdia.minf.stbl.stsd.codecs[..];

    let [Entry::Avc1(avc1)] = entry(0) else { panic!("{:?}", entry(0)) };
    assert_eq!((avc1.visual.width, avc1.visual.height), (720, 576));
    assert_eq!(
        (avc1.avcc.avc_profile_indication, avc1.avcc.profile_compatibility, avc1.avcc.avc_level_indication),
        (0x64, 0, 0x1E)
    );
    assert_eq!(avc1.avcc.length_size, 4);
    assert_eq!(
        (&avc1.avcc.sequence_parameter_sets, &avc1.avcc.picture_parameter_sets),
        (&vec![bytes(H264[0])], &vec![bytes(H264[1])])
    );
    let ext = avc1.avcc.ext.as_ref().expect("chroma format and depths");
    assert_eq!((ext.chroma_format, ext.bit_depth_luma, ext.bit_depth_chroma), (1, 8, 8));
    let pasp = avc1.pasp.as_ref().expect("pasp");
    assert_eq!((pasp.h_spacing, pasp.v_spacing), (16, 11));
    let colr = mp4_atom::Colr::Nclx {
        colour_primaries: 5,
        transfer_characteristics: 5,
        matrix_coefficients: 5,
        full_range_flag: false,
    };
    assert_eq!(avc1.colr.as_ref(), Some(&colr));

    let [Entry::Hvc1(hvc1)] = entry(1) else { panic!("{:?}", entry(1)) };
    assert_eq!((hvc1.visual.width, hvc1.visual.height), (320, 180));
    let config = &hvc1.hvcc;
    assert_eq!(
        (config.general_profile_idc, config.general_profile_compatibility_flags, config.general_level_idc),
        (2, [0x20, 0, 0, 0], 60)
    );
    assert_eq!(
        (config.chroma_format_idc, config.bit_depth_luma_minus8, config.bit_depth_chroma_minus8),
        (1, 2, 2)
    );
    assert_eq!(
        (config.num_temporal_layers, config.temporal_id_nested, config.length_size_minus_one),
        (1, true, 3)
    );
    let arrays: Vec<_> = config
        .arrays
        .iter()
        .map(|array| (array.completeness, array.nal_unit_type, &array.nalus[..]))
        .collect();
    let sets: Vec<_> = HEVC.iter().map(|set| [bytes(set)]).collect();
    assert_eq!(arrays, [(false, 32, &sets[0][..]), (false, 33, &sets[1]), (false, 34, &sets[2])]);
}

#[test]
fn sample_entries_of_sound_say_what_a_decoder_needs() {
    let mp3 = |sample_rate| SampleFormat::Mp3 { sample_rate, channels: 2 };
    let ac3 = SampleFormat::Ac3 { config: vec![0x10, 0x3D, 0xE0], sample_rate: 48_000, channels: 6 };
    let eac3 = SampleFormat::Eac3 { config: vec![0x0C, 0, 0x20, 0x0F, 0], sample_rate: 48_000, channels: 6 };
    let formats = [aac(), mp3(44_100), mp3(24_000), ac3, eac3];
    let moov = moov_of(&formats);
    let entry = |track: usize| &moov.trak[track].mdia.minf.stbl.stsd.codecs[..];

    for (track, object_type, rate, config) in
        [(0, 0x40, 48_000, true), (1, 0x6B, 44_100, false), (2, 0x69, 24_000, false)]
    {
        let [Entry::Mp4a(mp4a)] = entry(track) else { panic!("{:?}", entry(track)) };
        let decoder = &mp4a.esds.es_desc.dec_config;
        assert_eq!(
            (decoder.object_type_indication, decoder.stream_type, decoder.up_stream),
            (object_type, 5, 0)
        );
        assert_eq!((mp4a.audio.sample_rate.integer(), mp4a.audio.channel_count), (rate, 2));
        assert_eq!(decoder.dec_specific.is_some(), config);
    }
    let [Entry::Ac3(ac3)] = entry(3) else { panic!("{:?}", entry(3)) };
    assert_eq!((ac3.dac3.bsid, ac3.dac3.acmod, ac3.dac3.lfeon, ac3.dac3.bit_rate_code), (8, 7, true, 15));
    let [Entry::Eac3(eac3)] = entry(4) else { panic!("{:?}", entry(4)) };
    assert_eq!((eac3.dec3.data_rate, eac3.dec3.substreams[0].acmod), (384, 7));
}

#[test]
fn players_learn_times_languages_and_which_track_to_play() {
    let moov = moov_of(&[video(Codec::H264), aac(), aac()]);
    let created = 1_795_208_702 + 2_082_844_800;
    assert_eq!(
        (moov.mvhd.creation_time, moov.mvhd.timescale, moov.mvhd.duration, moov.mvhd.next_track_id),
        (created, 90_000, 3600, 4)
    );
    let tkhd = |track: usize| &moov.trak[track].tkhd;
    let rows: Vec<_> = (0..3)
        .map(|track| {
            (tkhd(track).track_id, tkhd(track).enabled, tkhd(track).alternate_group, tkhd(track).duration)
        })
        .collect();
    assert_eq!(rows, [(1, true, 0, 3600), (2, true, 1, 3600), (3, false, 1, 3600)]);
    // 720 columns of samples that are 16:11.
    assert_eq!((tkhd(0).width.integer(), tkhd(0).height.integer(), tkhd(1).width.integer()), (1047, 576, 0));
    let mdhd = |track: usize| &moov.trak[track].mdia.mdhd;
    assert_eq!((mdhd(1).timescale, mdhd(1).duration, mdhd(1).language.as_str()), (48_000, 1920, "deu"));
    assert!(moov.trak[1].mdia.minf.stbl.stss.is_none() && moov.trak[1].edts.is_none());
}

#[test]
fn the_title_is_where_itunes_has_it() {
    let head = head(&info(), &[track_of(&aac())], 0);
    let meta = content(&head, "moov/udta/meta").expect("meta");
    assert_eq!(content(&meta[4..], "hdlr").map(|hdlr| &hdlr[8..16]), Some(&b"mdirappl"[..]));
    let item =
        boxes(content(&meta[4..], "ilst").expect("ilst"), *b"\xA9nam").first().map(|found| found.content);
    let data = item.and_then(|item| content(item, "data")).expect("data");
    assert_eq!((number(&data[..4]), &data[8..]), (1, "größe source 2026-11-20T21:05:02".as_bytes()));
}

#[test]
fn times_take_64_bits_where_they_must() {
    let entry = |duration_90k, media_time| EditEntry { duration_90k, media_time };
    let far = u64::from(u32::MAX) + 1;
    for (edits, version, expected) in [
        (
            vec![entry(900, None), entry(5400, Some(1024))],
            0,
            "00000384ffffffff00010000_000015180000040000010000",
        ),
        (vec![entry(900, Some(1 << 31))], 1, "00000000000003840000000080000000_00010000"),
        (vec![entry(far, None)], 1, "0000000100000000ffffffffffffffff_00010000"),
    ] {
        let mut track = Track::new(TrackKind::Video, 90_000, Some(*b"DE1"));
        let total: u64 = edits.iter().map(|edit| edit.duration_90k).sum();
        let count = edits.len();
        track.set_edits(edits);
        let head = head(&info(), &[track], 0);
        let described = content(&head, "moov/trak").expect("described");
        let elst = content(described, "edts/elst").expect("elst");
        assert_eq!(
            (elst[0], index(&elst[4..8]), &elst[8..]),
            (version, count, &bytes(&expected.replace('_', ""))[..])
        );
        let (tkhd, mvhd) =
            (content(described, "tkhd").expect("tkhd"), content(&head, "moov/mvhd").expect("mvhd"));
        let is_wide = total >= far;
        assert_eq!([tkhd[0], mvhd[0]], [u8::from(is_wide); 2]);
        let (of_track, of_movie) =
            if is_wide { (&tkhd[28..36], &mvhd[24..32]) } else { (&tkhd[20..24], &mvhd[16..20]) };
        assert_eq!([number(of_track), number(of_movie)], [total; 2]);
        // A language of other than three small letters is not known.
        assert_eq!(content(described, "mdia/mdhd").map(|mdhd| index(&mdhd[20..22])), Some(0x55C4));
        assert_eq!(
            Moov::decode(&mut &head[boxes(&head, *b"moov")[0].start..]).map(|moov| moov.trak.len()).ok(),
            Some(1)
        );
    }
}

#[test]
fn text_is_shown_over_the_lowest_part_of_the_pictures() {
    let mut text = Track::new(TrackKind::Text, 1000, None);
    let sample = text_sample("21:05:02 ü");
    assert_eq!(sample, [&[0, 11][..], "21:05:02 ü".as_bytes()].concat());
    text.push(Sample { size: 13, duration: 1000, composition: 0, sync: true });
    text.end_chunk(0, 1);
    let head = head(&info(), &[track_of(&video(Codec::H264)), text], 13);
    let moov = Moov::decode(&mut &head[boxes(&head, *b"moov")[0].start..]).expect("moov");
    let [Entry::Tx3g(tx3g)] = &moov.trak[1].mdia.minf.stbl.stsd.codecs[..] else { panic!("no tx3g") };
    assert_eq!(tx3g.box_record, [0, 0, 72, 1047]);
    let tkhd = &moov.trak[1].tkhd;
    assert_eq!(
        (tkhd.enabled, tkhd.width.integer(), tkhd.height.integer(), tkhd.matrix.y >> 16),
        (true, 1047, 72, 504)
    );
    assert_eq!(moov.trak[1].mdia.hdlr.handler, (*b"sbtl").into());
    // A text is cut off between letters.
    assert_eq!(text_sample(&"ü".repeat(40_000)).len(), 2 + 65_534);
}
