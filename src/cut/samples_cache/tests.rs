use std::path::PathBuf;

use super::*;
use crate::error::Error;
use crate::mpegts::psi::{Pmt, write_pat, write_pmt};

/// The path of a segment with a hash of this letter.
fn path(letter: &str) -> PathBuf {
    PathBuf::from(format!("/archive/s/v/2026-11-20T10/00:02.000-2.000-full-{}.ts", letter.repeat(43)))
}

fn indexed(depends_on_next: bool) -> IndexedSegment {
    let pmt = Pmt { program: 1, pcr_pid: 0x100, descriptors: Vec::new(), streams: Vec::new() };
    let bytes = [write_pat(1, 0x1000), write_pmt(0x1000, &pmt)].concat();
    let scan = Scan::of(&bytes, true).expect("a PMT");
    let index = SampleIndex::of(&bytes, &scan);
    IndexedSegment { scan, index, depends_on_next }
}

#[test]
fn only_segments_with_hashes_have_keys() {
    let text = |name: &str| PathBuf::from(name);
    let hash = "A".repeat(43);
    let rows = [
        (path("A"), None, true),
        (path("A"), Some(path("B")), true),
        (text(&format!("00:02.000-2.000-partial-{hash}.ts")), None, true),
        (text(&format!("00:02.000-2.000-temp-{hash}.ts")), None, false),
        (text("00:02.000-2.000-full-abc.ts"), None, false),
        (text(&format!("{hash}.ts")), None, false),
        (path("A"), Some(text("00:04.000-2.000-full-abc.ts")), false),
    ];
    for (path, next, expected) in rows {
        let key = SegmentKey::of(&path, 1000, true, next.as_deref());
        assert_eq!(key.is_some(), expected, "{} {next:?}", path.display());
    }
}

#[test]
fn samples_are_made_once_for_all_that_they_depend_on() {
    let [a, b, c] = ["A", "B", "C"].map(path);
    let key = |path: &PathBuf, len, complete, next: Option<&PathBuf>| {
        SegmentKey::of(path, len, complete, next.map(PathBuf::as_path))
    };
    // The keys that are asked for in turn, whether what is made depends on the next segment, and how often it is made.
    let rows = [
        (vec![key(&a, 9, true, None); 3], true, 1),
        (vec![key(&a, 9, true, None), key(&b, 9, true, None), key(&a, 9, true, None)], true, 2),
        (vec![key(&a, 9, true, None), key(&a, 8, true, None)], true, 2),
        (vec![key(&a, 9, true, None), key(&a, 9, false, None)], true, 2),
        (vec![key(&a, 9, true, Some(&b)), key(&a, 9, true, Some(&b))], true, 1),
        (vec![key(&a, 9, true, Some(&b)), key(&a, 9, true, Some(&c)), key(&a, 9, true, None)], true, 3),
        (vec![key(&a, 9, true, Some(&b)), key(&a, 9, true, Some(&c)), key(&a, 9, true, None)], false, 1),
        (vec![key(&a, 9, true, None), key(&a, 9, true, Some(&c))], true, 2),
        (vec![key(&a, 9, true, None), key(&a, 9, true, Some(&c))], false, 1),
        (vec![None, None], false, 2),
    ];
    for (index, (keys, depends_on_next, expected)) in rows.into_iter().enumerate() {
        let cache = SamplesCache::new(1 << 20);
        let mut count = 0;
        for key in keys {
            let make = || {
                count += 1;
                Ok(indexed(depends_on_next))
            };
            cache.get_or_insert(key, make).expect("no error");
        }
        assert_eq!(count, expected, "row {index}");
    }
}

#[test]
fn cached_samples_are_found_without_making_others() {
    let cache = SamplesCache::new(1 << 20);
    let key = |next: Option<&str>| {
        SegmentKey::of(&path("A"), 9, true, next.map(path).as_deref()).expect("a hash in each name")
    };
    assert!(cache.get(&key(Some("B"))).is_none());
    cache.get_or_insert(Some(key(Some("B"))), || Ok(indexed(true))).expect("no error");
    let found = [Some("B"), Some("C"), None].map(|next| cache.get(&key(next)).is_some());
    assert_eq!((found, cache.stats().entries), ([true, false, false], 1));
}

#[test]
fn hits_misses_and_bytes_are_counted_and_failures_not_kept() {
    let cache = SamplesCache::new(1 << 20);
    let key = SegmentKey::of(&path("A"), 1, true, None);
    assert!(cache.get_or_insert(key.clone(), || Err(Error::Cancelled)).is_err());
    for _ in 0..3 {
        cache.get_or_insert(key.clone(), || Ok(indexed(false))).expect("no error");
    }
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.entries), (2, 2, 1));
    assert!(stats.bytes > size_of::<Scan>(), "{stats:?}");
    let full = SamplesCache::new(10);
    full.get_or_insert(key, || Ok(indexed(false))).expect("no error");
    assert_eq!((full.stats().entries, full.stats().bytes), (0, 0));
}
