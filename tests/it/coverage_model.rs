//! Coverage, compared with what follows from the names of segments alone, on random archives, and with playlists.

use std::fmt::Write as _;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use restreamer::archive::Archive;
use restreamer::archive::coverage::Coverage;
use restreamer::archive::layout::SegmentType;
use restreamer::archive::ranges::{Range, Union, scaled};
use restreamer::error::Error;
use restreamer::timestamp::{Span, Timestamp};

use crate::harness::{Site, time};
use crate::selection::{NAME, Sample, archives, chosen, instant, scratch, write_variant};

/// A range of time in which something was recorded: start, end and type.
type Part = (i64, i64, SegmentType);

/// What an archive has between two times, at the time `now`, by the model.
fn model(samples: &[Sample], (start, end): (i64, i64), now: i64) -> Vec<Part> {
    let mut shown = chosen(samples, start, end);
    let is_young = |time: i64| time > now - 15_000_000;
    let is_withheld = |(gap_before, sample): &(bool, &Sample)| {
        let is_full = sample.kind == SegmentType::Full;
        *gap_before && is_young(sample.start) || !is_full && is_young(sample.end())
    };
    shown.truncate(shown.iter().position(is_withheld).unwrap_or(shown.len()));
    let mut parts: Vec<Part> = Vec::new();
    for (number, (gap_before, sample)) in shown.iter().enumerate() {
        let next = shown.get(number + 1).map_or(i64::MAX, |(_, next)| next.start);
        // A gap or an overlap within the tolerance is neither.
        let sample_end = if next - sample.end() <= 10_000 { next } else { sample.end() };
        let (from, until) = (sample.start.max(start), sample_end.min(end));
        let is_continued = parts.last().is_some_and(|last| last.2 == sample.kind && last.1 == sample.start);
        match parts.last_mut() {
            Some(last) if !gap_before && is_continued => last.1 = until,
            _ => parts.push((from, until, sample.kind)),
        }
    }
    parts.retain(|part| part.0 < part.1);
    parts
}

fn part(range: Range) -> Part {
    (range.start.micros(), range.end.micros(), range.segment_type)
}

fn range((start, end, segment_type): Part) -> Range {
    Range { start: Timestamp::from_micros(start), end: Timestamp::from_micros(end), segment_type }
}

fn parts(ranges: impl Iterator<Item = Result<Range, Error>>) -> Vec<Part> {
    ranges.map(|range| part(range.expect("a range"))).collect()
}

/// The coverage by the archive.
fn read(archive: &Arc<Archive>, (start, end): (Option<i64>, Option<i64>), now: i64) -> Coverage {
    let hours = archive.hours(NAME).expect("the hours");
    let range = (start.map(Timestamp::from_micros), end.map(Timestamp::from_micros));
    Coverage::read(archive, NAME, hours, range, Timestamp::from_micros(now), &|| false).expect("a coverage")
}

/// One to four recorders of long segments, over a few hours, each with its own phase and its own losses.
fn recorders() -> impl Strategy<Value = Vec<Sample>> {
    let kind = prop_oneof![12 => Just(SegmentType::Full), 1 => Just(SegmentType::Suspect), 1 => Just(SegmentType::Partial)];
    let segment =
        (kind, prop::bool::weighted(0.1), prop::sample::select(vec![0, 0, 0, 0, 5_000, -5_000, 40_000]));
    let recorder = (
        0..700_i64,
        prop::sample::select(vec![600_000_000, 600_003_000, 450_000_000, 1_200_000_000]),
        prop::collection::vec(segment, 20..40),
    );
    prop::collection::vec(recorder, 1..5).prop_map(|recorders| {
        let mut samples: Vec<Sample> = Vec::new();
        for (number, (phase, duration, segments)) in recorders.into_iter().enumerate() {
            let mut cursor = time("2026-11-20T07:30:00").micros() + phase * 1_000_000;
            for (kind, is_lost, off) in segments {
                let start = cursor + off;
                cursor += duration;
                let hash = ["a", "b", "c", "d"][number];
                if !is_lost && samples.iter().all(|other| other.start != start) {
                    samples.push(Sample { start, duration, kind, size: 1, hash, tombstone: false });
                }
            }
        }
        samples
    })
}

fn resolved(samples: &[Sample], picks: &[Pick]) -> Vec<((i64, i64), i64)> {
    let pick = |pick: &Pick| {
        let [(from, from_off), (to, to_off), (at, at_off)] = pick;
        let [start, end, now] =
            [(from, from_off), (to, to_off), (at, at_off)].map(|(at, off)| instant(samples, *at, *off));
        ((start.min(end), start.max(end)), now)
    };
    picks.iter().map(pick).collect()
}

/// Which instants are taken as start, end and now, and how far from them.
type Pick = [(prop::sample::Index, i64); 3];

fn picks() -> impl Strategy<Value = Vec<Pick>> {
    let off = || {
        prop::sample::select(vec![
            0,
            0,
            1,
            -1,
            3_000,
            -9_999,
            10_000,
            -1_000_000,
            5_000_000,
            -3_600_000_000,
            3_600_000_000,
        ])
    };
    let later = prop::sample::select(vec![
        0,
        15_000_000,
        15_000_001,
        14_999_999,
        16_000_000,
        86_400_000_000,
        86_400_000_000,
    ]);
    let index = any::<prop::sample::Index>;
    prop::collection::vec(((index(), off()), (index(), off()), (index(), later)).prop_map(Into::into), 1..5)
}

fn check(samples: &[Sample], picks: &[Pick]) -> Result<(), TestCaseError> {
    let base = scratch();
    write_variant(&base.path().join("s/v"), samples, false);
    // Without a cache no reading waits until a directory that was just made can be cached.
    let archive = Arc::new(Archive::new(base.path(), 0));
    for (span, now) in resolved(samples, picks) {
        let coverage = read(&archive, (Some(span.0), Some(span.1)), now);
        prop_assert_eq!(parts(coverage.ranges()), model(samples, span, now), "{:?} at {}", span, now);
        prop_assert_eq!((coverage.start.micros(), coverage.end.micros()), span);
    }
    let now = i64::MAX / 4;
    if let Some(first) = samples.iter().map(|sample| sample.start).min() {
        let last = samples.iter().map(|sample| sample.start).max().unwrap_or(first);
        let hour = 3_600_000_000;
        let all = model(samples, (first - first % hour, last - last % hour + 2 * hour), now);
        let coverage = read(&archive, (None, None), now);
        prop_assert_eq!(parts(coverage.ranges()), all.clone());
        if let (Some(first), Some(last)) = (all.first(), all.last()) {
            prop_assert_eq!((coverage.start.micros(), coverage.end.micros()), (first.0, last.1));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn coverage_follows_from_the_names_of_segments(samples in archives(), picks in picks()) {
        check(&samples, &picks)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn coverage_of_staggered_recorders_follows_from_the_names_of_segments(
        samples in recorders(),
        picks in picks(),
    ) {
        check(&samples, &picks)?;
    }
}

/// Ranges between 0 and about 60, in order, some of which touch.
fn small_ranges() -> impl Strategy<Value = Vec<Part>> {
    let kind = prop::sample::select(vec![SegmentType::Full, SegmentType::Suspect, SegmentType::Partial]);
    prop::collection::vec((0..4_i64, 1..8_i64, kind), 0..9).prop_map(|steps| {
        let mut cursor = 0;
        let place = |(distance, length, kind): (i64, i64, SegmentType)| {
            let start = cursor + distance;
            cursor = start + length;
            (start, cursor, kind)
        };
        steps.into_iter().map(place).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_scale_joins_what_is_nearer_together(parts_before in small_ranges(), scale in 0..6_i64) {
        let ranges = parts_before.iter().copied().map(|part| Ok(range(part)));
        let shown = parts(scaled(ranges, Span::from_micros(scale)));
        let mut expected = parts_before;
        while let Some(at) = (1..expected.len()).find(|at| expected[*at].0 - expected[at - 1].1 < scale) {
            let (_, end, kind) = expected.remove(at);
            expected[at - 1].1 = end;
            expected[at - 1].2 = expected[at - 1].2.max(kind);
        }
        prop_assert_eq!(shown, expected);
    }

    #[test]
    fn a_union_has_the_best_type_of_each_instant(sources in prop::collection::vec(small_ranges(), 0..5)) {
        let ranges = |source: &Vec<Part>| source.clone().into_iter().map(|part| Ok(range(part)));
        let union = parts(Union::new(sources.iter().map(ranges)));
        let best = |of: &mut dyn Iterator<Item = &Part>, at: i64| {
            of.filter(|(start, end, _)| (*start..*end).contains(&at)).map(|part| part.2).min()
        };
        for at in 0..100 {
            prop_assert_eq!(best(&mut union.iter(), at), best(&mut sources.iter().flatten(), at), "at {}", at);
        }
        for pair in union.windows(2) {
            prop_assert!(pair[0].1 < pair[1].0 || pair[0].1 == pair[1].0 && pair[0].2 != pair[1].2);
        }
    }
}

/// The entries of a playlist as ranges: a discontinuity, another type or missing time ends one.
fn ranges_of_playlist(text: &str, (start, end): (i64, i64)) -> Vec<Part> {
    let (mut entries, mut at, mut length, mut gap_before): (Vec<(bool, Part)>, _, _, _) =
        (Vec::new(), 0, 0, true);
    for line in text.lines() {
        if let Some(date) = line.strip_prefix("#EXT-X-PROGRAM-DATE-TIME:") {
            at = time(date).micros();
        } else if let Some(seconds) = line.strip_prefix("#EXTINF:") {
            length = Span::parse_seconds(seconds.trim_end_matches(',')).expect("a duration").micros();
        } else if line == "#EXT-X-DISCONTINUITY" {
            gap_before = true;
        } else if !line.starts_with('#') {
            let types = [SegmentType::Full, SegmentType::Suspect, SegmentType::Partial];
            let kind = types.into_iter().find(|kind| line.contains(&format!("-{}-", kind.name())));
            entries.push((gap_before, (at, at + length, kind.expect("a type"))));
            gap_before = false;
        }
    }
    let mut parts: Vec<Part> = Vec::new();
    for number in 0..entries.len() {
        let (gap_before, (from, mut until, kind)) = entries[number];
        if let Some((_, (next, _, _))) =
            entries.get(number + 1).filter(|(_, (next, ..))| next - until <= 10_000)
        {
            until = *next;
        }
        match parts.last_mut() {
            Some(last) if !gap_before && last.2 == kind => last.1 = until,
            _ => parts.push((from, until, kind)),
        }
    }
    let clipped = parts.into_iter().map(|(from, until, kind)| (from.max(start), until.min(end), kind));
    clipped.filter(|part| part.0 < part.1).collect()
}

/// An answer in JSON: its ranges and holes.
fn parse(json: &serde_json::Value) -> (Vec<Part>, Vec<(i64, i64)>) {
    let micros = |value: &serde_json::Value| time(value.as_str().expect("a time")).micros();
    let span = |item: &serde_json::Value| (micros(&item["start"]), micros(&item["end"]));
    let list = |name: &str| json[name].as_array().expect(name).clone();
    let types = [SegmentType::Full, SegmentType::Suspect, SegmentType::Partial];
    let kind = |item: &serde_json::Value| {
        types.into_iter().find(|kind| item["type"] == kind.name()).expect("a type")
    };
    let ranges = list("ranges").iter().map(|item| (span(item).0, span(item).1, kind(item))).collect();
    (ranges, list("holes").iter().map(span).collect())
}

#[test]
fn coverage_agrees_with_the_playlist_of_the_same_range() {
    let site = Site::at("2026-11-20T10:00:10");
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut generate = |recorded: bool| {
        let samples = if recorded { recorders().boxed() } else { archives().boxed() };
        (samples, picks()).new_tree(&mut runner).expect("a tree").current()
    };
    let cases: Vec<_> = (0..80).map(|number| generate(number % 3 == 0)).collect();
    for (number, (samples, _)) in cases.iter().enumerate() {
        write_variant(&site.archive.path().join(format!("s/{number}")), samples, true);
    }
    for (number, (samples, picks)) in cases.iter().enumerate().filter(|(_, (samples, _))| !samples.is_empty())
    {
        for (span, now) in resolved(samples, picks) {
            site.set_clock(&Timestamp::from_micros(now).to_string());
            let mut query = String::new();
            for (name, at) in [("start", span.0), ("end", span.1)] {
                let _ = write!(query, "{name}={}&", Timestamp::from_micros(at));
            }
            let playlist = site.get(&format!("/playlist/s/{number}.m3u8?{query}"));
            let answer = site.get(&format!("/coverage/s/{number}.json?{query}"));
            assert_eq!((playlist.status, answer.status), (200, 200), "{query}: {answer:?}");
            let json: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
            let (ranges, holes) = parse(&json);
            assert_eq!(ranges, ranges_of_playlist(&playlist.text(), span), "{number} {query}");
            // Ranges and holes are all of the time.
            let mut all: Vec<_> = ranges.iter().map(|(start, end, _)| (*start, *end)).chain(holes).collect();
            all.sort_unstable();
            let mut until = span.0;
            for (start, end) in all {
                assert!(start == until && start < end, "{number} {query}: {json}");
                until = end;
            }
            assert_eq!(until, span.1, "{number} {query}: {json}");
            let recorded: i64 = ranges.iter().map(|(start, end, _)| end - start).sum();
            let seconds = answer.text().split("\"recorded_seconds\":").nth(1).map(|rest| {
                Span::parse_seconds(rest.split(',').next().unwrap_or_default()).expect("seconds").micros()
            });
            assert_eq!(seconds, Some(recorded), "{number} {query}");
        }
    }
}
