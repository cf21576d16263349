//! Fragments, and the initialization sections before them.

use std::ops::Range;

use mp4_atom::{Decode, Ftyp, Moof, Moov};
use proptest::prelude::*;

use super::*;
use crate::mp4::fragment::{Run, fragment, init, movie_head};
use crate::mp4::tracks::{TrackInfo, TrackKind};

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
