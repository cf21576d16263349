//! The tables of movies, and byte ranges.

use std::ops::Range;

use mp4_atom::{Decode, Moov};
use proptest::prelude::*;

use super::*;
use crate::mp4::layout::{Layout, Piece};
use crate::mp4::movie::head;
use crate::mp4::tracks::{Track, TrackKind};

/// Chunks of one track: each with its sample description, and its samples.
type Chunks = Vec<(u32, Vec<Sample>)>;

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
