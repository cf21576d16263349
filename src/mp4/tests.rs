//! Heads and fragments as readers see them: a small one that is written here, and the crate `mp4-atom`.

use std::ops::Range;

use mp4_atom::{Codec as Entry, Decode, DecodeMaybe, Ftyp, Header, Moof, Moov};
use proptest::prelude::*;

use super::entries::text_sample;
use super::fragment::{Run, fragment, init, movie_head};
use super::layout::{Layout, Piece};
use super::movie::{MovieInfo, head};
use super::tracks::{EditEntry, Sample, Track, TrackInfo, TrackKind};
use crate::mpegts::codec::Codec;
use crate::mpegts::samples::{SampleFormat, VideoFormat};
use crate::mpegts::{h264, hevc};
use crate::timestamp::Timestamp;

/// Parameter sets of x264, 720x576 with samples of 16:11 and the colours of PAL.
const H264: &[&str] = &["6764001eacd940b4126c11a828282a000003000200000300641e2c5b2c", "68eae3cb22c0"];
/// Parameter sets of x265, 320x180, Main 10.
const HEVC: &[&str] = &[
    "40010c01ffff02200000030090000003000003003c959809",
    "42010102200000030090000003000003003ca00a080b9f6d96566924caf016e020202080000003008000000c84",
    "4401c172b46240",
];

fn bytes(hex: &str) -> Vec<u8> {
    let digits = |index| u8::from_str_radix(&hex[index..index + 2], 16).expect("hexadecimal digits");
    (0..hex.len()).step_by(2).map(digits).collect()
}

fn video(codec: Codec) -> SampleFormat {
    let parameter_sets: Vec<_> =
        if codec == Codec::H264 { H264 } else { HEVC }.iter().map(|set| bytes(set)).collect();
    let stream: Vec<u8> = parameter_sets.iter().flat_map(|set| [&[0, 0, 1], &set[..]].concat()).collect();
    let picture = if codec == Codec::H264 { h264::picture(&stream) } else { hevc::picture(&stream) };
    SampleFormat::Video(VideoFormat { codec, parameter_sets, picture: picture.expect("a picture format") })
}

fn aac() -> SampleFormat {
    SampleFormat::Aac { config: vec![0x11, 0x90], sample_rate: 48_000, channels: 2 }
}

fn info() -> MovieInfo {
    let created = Timestamp::parse("2026-11-20T21:05:02").expect("a time");
    MovieInfo { created, title: "größe source 2026-11-20T21:05:02".to_owned() }
}

/// A box: where it begins, and its content.
struct Found<'a> {
    start: usize,
    content: &'a [u8],
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).expect("a 64-bit machine")
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn index(bytes: &[u8]) -> usize {
    to_usize(number(bytes))
}

/// The boxes with that name; the last may be longer than the bytes.
fn boxes(bytes: &[u8], name: [u8; 4]) -> Vec<Found<'_>> {
    let (mut found, mut start) = (Vec::new(), 0);
    while start < bytes.len() {
        let (size, header) = match index(&bytes[start..start + 4]) {
            1 => (index(&bytes[start + 8..start + 16]), 16),
            size => (size, 8),
        };
        assert!(size >= header, "a box of {size} bytes");
        let end = (start + size).min(bytes.len());
        if bytes[start + 4..start + 8] == name {
            found.push(Found { start, content: &bytes[start + header..end] });
        }
        start += size;
    }
    found
}

/// The content of the first box at a path of names, such as `moov/mvhd`.
fn content<'a>(bytes: &'a [u8], path: &str) -> Option<&'a [u8]> {
    path.split('/').try_fold(bytes, |bytes, name| {
        boxes(bytes, name.as_bytes().try_into().expect("four letters")).first().map(|found| found.content)
    })
}

/// The entries of a table behind version, flags and `skip` further bytes, each with fields of that width in bytes.
fn entries<const FIELDS: usize>(table: &[u8], skip: usize, width: usize) -> Vec<[u64; FIELDS]> {
    let body = &table[4 + skip..];
    let (count, entries) = (index(&body[..4]), body[4..].chunks(width * FIELDS));
    let fields = |entry: &[u8]| std::array::from_fn(|field| number(&entry[field * width..][..width]));
    assert_eq!(entries.len(), count, "entries of a table");
    entries.map(fields).collect()
}

/// A sample as a reader of the tables sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    offset: u64,
    description: u32,
    sample: Sample,
}

/// The samples of a track, from its `stbl`.
fn samples(stbl: &[u8]) -> Vec<Seen> {
    let table = |name| content(stbl, name);
    let runs = |table: &[u8]| -> Vec<u64> {
        entries::<2>(table, 0, 4)
            .iter()
            .flat_map(|[count, value]| vec![*value; usize::try_from(*count).unwrap()])
            .collect()
    };
    let durations = runs(table("stts").expect("stts"));
    let compositions = table("ctts").map_or(vec![0; durations.len()], runs);
    let sync = table("stss").map(|table| entries::<1>(table, 0, 4));
    let stsz = table("stsz").expect("stsz");
    let sizes: Vec<u64> = match number(&stsz[4..8]) {
        0 => entries::<1>(stsz, 4, 4).iter().map(|[size]| *size).collect(),
        size => vec![size; index(&stsz[8..12])],
    };
    let offsets = table("stco").map(|table| entries::<1>(table, 0, 4));
    let offsets = offsets.unwrap_or_else(|| entries::<1>(table("co64").expect("stco or co64"), 0, 8));
    let chunks = entries::<3>(table("stsc").expect("stsc"), 0, 4);
    let mut seen = Vec::new();
    for (chunk, [mut offset]) in (1..).zip(offsets) {
        let [_, count, description] = *chunks.iter().rfind(|[first, ..]| *first <= chunk).expect("an entry");
        for _ in 0..count {
            let at = seen.len();
            let as_u32 = |number: u64| u32::try_from(number).expect("32 bits");
            let sample = Sample {
                size: as_u32(sizes[at]),
                duration: as_u32(durations[at]),
                composition: as_u32(compositions[at]),
                sync: sync.as_ref().is_none_or(|sync| sync.contains(&[at as u64 + 1])),
            };
            seen.push(Seen { offset, description: as_u32(description), sample });
            offset += sizes[at];
        }
    }
    assert_eq!([durations.len(), compositions.len(), sizes.len()], [seen.len(); 3], "samples in tables");
    seen
}

fn stbl(movie: &[u8], track: usize) -> &[u8] {
    let traks = boxes(content(movie, "moov").expect("moov"), *b"trak");
    content(traks[track].content, "mdia/minf/stbl").expect("stbl")
}

/// Chunks of one track: each with its sample description, and its samples.
type Chunks = Vec<(u32, Vec<Sample>)>;

fn sample(
    size: impl Strategy<Value = u32>,
    sync: impl Strategy<Value = bool>,
) -> impl Strategy<Value = Sample> {
    let duration = prop_oneof![Just(1501_u32), Just(1502), any::<u32>()];
    let composition = prop_oneof![3 => Just(0_u32), 1 => Just(3003), 1 => 0..u32::MAX];
    (size, duration, composition, sync).prop_map(|(size, duration, composition, sync)| Sample {
        size,
        duration,
        composition,
        sync,
    })
}

/// Up to three tracks.
fn movie(sizes: Range<u32>) -> impl Strategy<Value = Vec<Chunks>> {
    let size = prop_oneof![Just(sizes.start + 1), sizes];
    let samples = prop_oneof![
        proptest::collection::vec(sample(size.clone(), Just(true)), 1..6),
        proptest::collection::vec(sample(size, any::<bool>()), 1..6),
    ];
    proptest::collection::vec(proptest::collection::vec((1_u32..=2, samples), 0..6), 1..=3)
}

/// The tracks with their chunks interleaved, and what a reader should see of them with offsets in the payload of `mdat`,
/// whose length comes last.
fn build(chunks: &[Chunks]) -> (Vec<Track>, Vec<Vec<Seen>>, u64) {
    let mut tracks: Vec<_> = chunks.iter().map(|_| Track::new(TrackKind::Video, 90_000, None)).collect();
    let mut seen = vec![Vec::new(); chunks.len()];
    let mut end = 0;
    for round in 0..chunks.iter().map(Vec::len).max().unwrap_or(0) {
        for (track, chunks) in chunks.iter().enumerate() {
            let Some((description, samples)) = chunks.get(round) else { continue };
            let start = end;
            for sample in samples {
                tracks[track].push(Sample { duration: sample.duration / 2, ..*sample });
                tracks[track].set_last_duration(sample.duration);
                seen[track].push(Seen { offset: end, description: *description, sample: *sample });
                end += u64::from(sample.size);
            }
            tracks[track].end_chunk(start, *description);
        }
    }
    (tracks, seen, end)
}

proptest! {
    #[test]
    fn the_tables_of_a_movie_give_back_the_samples(small in movie(0..5000), large in movie(0..u32::MAX)) {
        for chunks in [small, large] {
            let (tracks, expected, mdat_len) = build(&chunks);
            let head = head(&info(), &tracks, mdat_len);
            prop_assert!(head.capacity() < 8192 + head.len() * 2, "{} bytes for {}", head.capacity(), head.len());
            let mdat = boxes(&head, *b"mdat").first().map(|found| found.start).expect("mdat");
            let header = if mdat_len + 8 > u64::from(u32::MAX) { 16 } else { 8 };
            prop_assert_eq!(mdat + header, head.len());
            let size = if header == 16 { number(&head[mdat + 8..]) } else { number(&head[mdat..mdat + 4]) };
            prop_assert_eq!(size, mdat_len + header as u64);
            for (index, expected) in expected.iter().enumerate() {
                let mut seen = samples(stbl(&head, index));
                for seen in &mut seen {
 seen.offset -= head.len() as u64;
}
                prop_assert_eq!(&seen, expected);
                prop_assert_eq!(tracks[index].duration(), expected.iter().map(|seen| u64::from(seen.sample.duration)).sum::<u64>());
            }
            let moov = Moov::decode(&mut &head[boxes(&head, *b"moov")[0].start..]).expect("moov");
            prop_assert_eq!(moov.trak.len(), tracks.len());
        }
    }

    #[test]
    fn every_byte_range_of_a_movie_is_that_of_the_whole(
        chunks in movie(0..40),
        parts in proptest::collection::vec(any::<prop::sample::Index>(), 0..5),
        ranges in proptest::collection::vec(any::<(prop::sample::Index, prop::sample::Index)>(), 20),
    ) {
        let (tracks, expected, mdat_len) = build(&chunks);
        let head = head(&info(), &tracks, mdat_len);
        let payload: Vec<u8> = (0..mdat_len).map(|index| (index % 251) as u8).collect();
        let whole = [&head[..], &payload].concat();
        let mut ends: Vec<_> = parts.iter().map(|end| end.index(payload.len() + 1) as u64).chain([mdat_len]).collect();
        ends.sort_unstable();
        let layout = Layout::new(head.len(), ends.clone());
        prop_assert_eq!(layout.len(), whole.len() as u64);
        let behind = whole.len() as u64 + 10;
        let random = ranges.iter().map(|(a, b)| (a.index(whole.len() + 2) as u64, b.index(whole.len() + 2) as u64));
        let near_borders = ends.iter().flat_map(|end| [(*end, *end + 1), (0, *end + 1)]);
        let near_borders = near_borders.map(|(start, end)| (head.len() as u64 + start, head.len() as u64 + end));
        for (start, end) in random.chain(near_borders).chain([(0, behind), (0, 2), (behind, behind + 5), (0, u64::MAX)]) {
            let mut composed = Vec::new();
            for piece in layout.pieces(start..end) {
                let before = composed.len();
                match piece {
                    Piece::Head(bytes) => composed.extend_from_slice(&head[bytes]),
                    Piece::Part { index, bytes } => {
                        let part_start = index.checked_sub(1).map_or(0, |before| ends[before]);
                        prop_assert!(part_start + bytes.end <= ends[index]);
                        composed.extend_from_slice(&payload[to_usize(part_start + bytes.start)..to_usize(part_start + bytes.end)]);
                    }
                }
                prop_assert!(composed.len() > before, "an empty piece");
            }
            let clamped = |offset: u64| offset.min(whole.len() as u64);
            prop_assert_eq!(&composed[..], whole.get(to_usize(clamped(start))..to_usize(clamped(end))).unwrap_or_default());
        }
        for (index, expected) in expected.iter().enumerate() {
            for (seen, expected) in samples(stbl(&whole, index)).iter().zip(expected) {
                let at = |offset: u64| to_usize(offset)..to_usize(offset) + seen.sample.size as usize;
                prop_assert_eq!(&whole[at(seen.offset)], &payload[at(expected.offset)]);
            }
        }
    }
}

/// A sample in a fragment.
struct InFragment {
    /// Its bytes, from the start of the fragment on.
    place: Range<usize>,
    duration: u64,
    composition: i32,
    flags: u64,
}

/// For each track of a fragment, the decoding time of the first sample, and the samples.
fn fragment_samples(bytes: &[u8]) -> Vec<(u64, Vec<InFragment>)> {
    let trafs = boxes(content(bytes, "moof").expect("moof"), *b"traf");
    let read = |traf: &Found<'_>| {
        let trun = content(traf.content, "trun").expect("trun");
        let has_offsets = trun[2] & 8 != 0;
        let mut offset = index(&trun[8..12]);
        let samples = trun[12..].chunks(if has_offsets { 16 } else { 12 }).map(|entry| {
            let start = offset;
            offset += index(&entry[4..8]);
            InFragment {
                place: start..offset,
                duration: number(&entry[..4]),
                flags: number(&entry[8..12]),
                composition: entry
                    .get(12..16)
                    .map_or(0, |bytes| i32::from_be_bytes(bytes.try_into().unwrap())),
            }
        });
        (number(&content(traf.content, "tfdt").expect("tfdt")[4..]), samples.collect())
    };
    trafs.iter().map(read).collect()
}

proptest! {
    #[test]
    fn a_fragment_gives_back_its_samples(
        runs in proptest::collection::vec(proptest::collection::vec(sample(0..300_u32, any::<bool>()), 0..8), 1..4),
        decode_time in any::<u64>(),
        composition_shift in prop_oneof![Just(0), any::<i32>()],
    ) {
        let data: Vec<Vec<u8>> = (1..).zip(&runs)
            .map(|(track, samples)| vec![track; samples.iter().map(|sample| sample.size as usize).sum()])
            .collect();
        let given: Vec<_> = (0..runs.len())
            .map(|track| Run { track, description: 2, decode_time, composition_shift, samples: &runs[track] })
            .collect();
        let bytes = fragment(7, &given, |run, out| out.extend_from_slice(&data[run]));
        let moof = Moof::decode(&mut &bytes[..]).expect("moof");
        prop_assert_eq!(moof.mfhd.sequence_number, 7);
        for (track, (time, seen)) in fragment_samples(&bytes).iter().enumerate() {
            let traf = &moof.traf[track];
            prop_assert_eq!((traf.tfhd.track_id as usize, traf.tfhd.sample_description_index), (track + 1, Some(2)));
            prop_assert!(traf.tfhd.default_base_is_moof);
            prop_assert_eq!((traf.trun[0].samples.len(), *time), (runs[track].len(), decode_time));
            prop_assert_eq!(seen.len(), runs[track].len());
            for (seen, sample) in seen.iter().zip(&runs[track]) {
                let place = seen.place.clone();
                prop_assert!(bytes[place.clone()].iter().all(|byte| usize::from(*byte) == track + 1));
                prop_assert_eq!((place.len(), seen.duration), (sample.size as usize, u64::from(sample.duration)));
                prop_assert_eq!(seen.flags, if sample.sync { 0x0200_0000 } else { 0x0101_0000 });
                prop_assert_eq!(seen.composition, composition_shift.saturating_add_unsigned(sample.composition));
            }
        }
        let payload: usize = data.iter().map(Vec::len).sum();
        prop_assert_eq!(content(&bytes, "mdat").map(<[u8]>::len), Some(payload));
    }
}

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

#[test]
fn an_init_describes_tracks_without_samples() {
    let track = |kind, timescale, format| TrackInfo {
        kind,
        timescale,
        language: None,
        formats: vec![format],
        edits: Vec::new(),
    };
    let tracks =
        [track(TrackKind::Video, 90_000, video(Codec::Hevc)), track(TrackKind::Audio, 48_000, aac())];
    let init = init(&MovieInfo { title: String::new(), ..info() }, &tracks);
    let mut bytes = &init[..];
    Ftyp::decode(&mut bytes).expect("ftyp");
    let moov = Moov::decode(&mut bytes).expect("moov");
    assert!(bytes.is_empty() && moov.udta.is_none());
    let mvex = moov.mvex.clone().expect("mvex");
    assert!(mvex.mehd.is_none());
    let trex: Vec<_> =
        mvex.trex.iter().map(|trex| (trex.track_id, trex.default_sample_description_index)).collect();
    assert_eq!(trex, [(1, 1), (2, 1)]);
    let whole = movie_head(&info(), &tracks, 1 << 33);
    let ftyp = usize::from(whole[3]);
    let moov_of_whole = Moov::decode(&mut &whole[ftyp..]).expect("moov");
    let mehd = moov_of_whole.mvex.and_then(|mvex| mvex.mehd).expect("mehd");
    assert_eq!(mehd.fragment_duration, 1 << 33);
    for (index, trak) in moov.trak.iter().enumerate() {
        assert_eq!((trak.mdia.mdhd.duration, samples(stbl(&init, index)).len()), (0, 0));
        assert_eq!(trak.mdia.minf.stbl.stsd.codecs.len(), 1);
    }
}

#[test]
fn an_init_leaves_out_tracks_without_a_format_and_keeps_the_numbers_of_the_others() {
    let track = |format: Option<SampleFormat>| {
        let (kind, formats) = (TrackKind::Audio, format.into_iter().collect());
        TrackInfo { kind, timescale: 48_000, language: None, formats, edits: Vec::new() }
    };
    let init = init(&info(), &[track(None), track(Some(aac())), track(None)]);
    let moov = content(&init, "moov").expect("moov");
    assert_eq!(boxes(moov, *b"trak").len(), 1);
    let numbers = [("trak/tkhd", 12), ("mvex/trex", 4), ("mvhd", 96)]
        .map(|(path, offset)| index(&content(moov, path).expect(path)[offset..offset + 4]));
    assert_eq!(numbers, [2, 2, 3], "of the track, twice, and the next one");
}
