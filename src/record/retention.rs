//! Which hours go: by the bounds, by what is kept, and by what is newest. It reads no file.

use crate::archive::layout::KeptRange;
use crate::timestamp::{Hour, Span, Timestamp};

/// Hours that end so shortly before the newest segment of their variant are not deleted: live players are in them.
pub(super) const LIVE: Span = Span::from_secs(600);

/// A variant with its hours.
#[derive(Debug)]
pub(super) struct Variant {
    pub(super) stream: String,
    pub(super) name: String,
    /// The hours that have segments, or are empty; sorted.
    pub(super) hours: Vec<HourSize>,
    pub(super) kept: Kept,
}

/// What an hour's directory holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HourSize {
    pub(super) hour: Hour,
    /// Its files that belong to segments.
    pub(super) files: u64,
    /// What these take on the disk.
    pub(super) bytes: u64,
    /// When the last segment ends; `None` if there is none.
    pub(super) latest_end: Option<Timestamp>,
    /// The file system that it is in.
    pub(super) device: u64,
}

/// What of a variant is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kept {
    /// These ranges.
    Ranges(Vec<KeptRange>),
    /// Everything, because the ranges are not known. The reason is for the log.
    All(String),
}

/// Why an hour is not deleted, whatever the bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protection {
    /// It is the newest one of its variant, or live players may be in it.
    Newest,
    /// It is kept.
    Kept,
}

impl Kept {
    /// Whether an hour may not be deleted: a range overlaps it, or the last segment in it.
    pub(super) fn covers(&self, hour: &HourSize) -> bool {
        let end = hour.latest_end.map_or(hour.hour.end(), |latest| latest.max(hour.hour.end()));
        match self {
            Self::Ranges(ranges) => {
                ranges.iter().any(|range| range.start < end && hour.hour.start() < range.end)
            }
            Self::All(_) => true,
        }
    }
}

impl Variant {
    /// Why an hour of it is not deleted; `None` if it may be.
    pub(super) fn protection(&self, hour: &HourSize) -> Option<Protection> {
        let newest = self.hours.iter().rev().find(|hour| hour.files > 0);
        let newest_hour = newest.map(|newest| newest.hour);
        let newest_end = self.hours.iter().filter_map(|hour| hour.latest_end).max();
        let is_live = hour.latest_end.zip(newest_end).is_some_and(|(end, newest)| end > newest - LIVE);
        if newest_hour.is_none_or(|newest| hour.hour >= newest) || is_live {
            Some(Protection::Newest)
        } else {
            self.kept.covers(hour).then_some(Protection::Kept)
        }
    }
}

/// An hour and whose it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listed<'a> {
    pub(super) variant: &'a Variant,
    pub(super) size: &'a HourSize,
    pub(super) protection: Option<Protection>,
}

/// All hours, the oldest first.
pub(super) fn oldest_first(variants: &[Variant]) -> Vec<Listed<'_>> {
    let listed =
        |variant| move |size| Listed { variant, size, protection: Variant::protection(variant, size) };
    let mut all: Vec<_> =
        variants.iter().flat_map(|variant| variant.hours.iter().map(listed(variant))).collect();
    all.sort_by_key(|listed| (listed.size.hour, &listed.variant.stream, &listed.variant.name));
    all
}

/// How far an archive exceeds its bounds. Hours are taken away from it until it does not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Excess {
    /// Hours that ended by then are too old.
    pub(super) oldest: Option<Timestamp>,
    /// By how much the segments exceed what they may take.
    pub(super) bytes: u64,
    /// How much free space is missing on a file system.
    pub(super) missing_bytes: u64,
    /// Which one it is.
    pub(super) device: u64,
}

impl Excess {
    /// Whether the hour has to go, if it is the oldest one that may.
    pub(super) fn demands(&self, hour: &HourSize) -> bool {
        let is_too_old = self.oldest.is_some_and(|oldest| hour.hour.end() <= oldest);
        is_too_old || self.bytes > 0 || (self.missing_bytes > 0 && hour.device == self.device)
    }

    /// Takes away what was deleted of an hour.
    pub(super) fn freed(&mut self, hour: &HourSize, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
        if hour.device == self.device {
            self.missing_bytes = self.missing_bytes.saturating_sub(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hour(name: &str) -> Hour {
        Hour::parse(&format!("2026-11-20T{name}")).expect(name)
    }

    /// A variant with hours `(name, seconds of the last segment's end, bytes)`.
    fn variant(name: &str, hours: &[(&str, i64, u64)], kept: &[&str]) -> Variant {
        let size = |(name, end, bytes): &(&str, i64, u64)| HourSize {
            hour: hour(name),
            files: u64::from(*bytes > 0),
            bytes: *bytes,
            latest_end: (*bytes > 0).then(|| hour(name).start() + Span::from_secs(*end)),
            device: 1,
        };
        let kept = kept.iter().map(|name| KeptRange::parse(name).expect(name)).collect();
        let hours = hours.iter().map(size).collect();
        Variant { stream: "s".to_owned(), name: name.to_owned(), hours, kept: Kept::Ranges(kept) }
    }

    /// The hours that go, as `variant/hour`, and what remains of the excess.
    fn deleted(variants: &[Variant], mut excess: Excess) -> (Vec<String>, Excess) {
        let mut names = Vec::new();
        for listed in oldest_first(variants) {
            if listed.protection.is_none() && excess.demands(listed.size) {
                excess.freed(listed.size, listed.size.bytes);
                let hour = listed.size.hour.to_string();
                names.push(format!("{}/{}", listed.variant.name, &hour[11..]));
            }
        }
        (names, excess)
    }

    #[test]
    fn the_oldest_hours_of_all_variants_go_first() {
        let a = variant("a", &[("08", 3600, 10), ("09", 3600, 10), ("10", 3600, 10)], &[]);
        let b = variant("b", &[("07", 3600, 10), ("09", 3600, 10), ("10", 1800, 10)], &[]);
        let variants = [a, b];
        let rows: [(u64, &[&str], u64); 5] = [
            (0, &[], 0),
            (1, &["b/07"], 0),
            (11, &["b/07", "a/08"], 0),
            (31, &["b/07", "a/08", "a/09", "b/09"], 0),
            (60, &["b/07", "a/08", "a/09", "b/09"], 20),
        ];
        for (bytes, expected, left) in rows {
            let (names, excess) = deleted(&variants, Excess { bytes, ..Excess::default() });
            assert_eq!(
                (names, excess.bytes),
                (expected.iter().map(ToString::to_string).collect(), left),
                "{bytes}"
            );
        }
        let oldest = Some(hour("09").end());
        let by_age = deleted(&variants, Excess { oldest, ..Excess::default() }).0;
        assert_eq!(by_age, ["b/07", "a/08", "a/09", "b/09"]);
        let elsewhere = Excess { missing_bytes: 100, device: 2, ..Excess::default() };
        assert_eq!(deleted(&variants, elsewhere.clone()), (Vec::new(), elsewhere));
        let here = Excess { missing_bytes: 15, device: 1, ..Excess::default() };
        assert_eq!(deleted(&variants, here).0, ["b/07", "a/08"]);
    }

    #[test]
    fn newest_live_and_kept_hours_stay() {
        type Row = (&'static [(&'static str, i64, u64)], &'static [&'static str], &'static [&'static str]);
        const HOURS: &[(&str, i64, u64)] = &[("08", 3600, 10), ("09", 3600, 10), ("10", 3600, 10)];
        let all = Excess { bytes: u64::MAX, ..Excess::default() };
        let rows: [Row; 9] = [
            (HOURS, &[], &["v/08", "v/09"]),
            (HOURS, &["2026-11-20T08:59:59_2026-11-20T09:00:00"], &["v/09"]),
            (HOURS, &["2026-11-20T09:00:00_2026-11-20T09:00:01"], &["v/08"]),
            (HOURS, &["2026-11-19_2026-11-21"], &[]),
            // The last segment of the hour before is needed too.
            (&[("08", 3601, 10), ("09", 3600, 10), ("10", 3600, 10)], &["2026-11-20T09_2026-11-20T10"], &[]),
            // Live players are still in hour 9.
            (&[("08", 3600, 10), ("09", 3600, 10), ("10", 2, 10)], &[], &["v/08"]),
            (&[("08", 3600, 10), ("09", 3600, 10), ("10", 700, 10)], &[], &["v/08", "v/09"]),
            // An hour that has just begun may have no segment yet.
            (&[("08", 3600, 10), ("09", 3600, 10), ("10", 0, 0)], &[], &["v/08"]),
            (&[("08", 3600, 0), ("09", 3600, 0)], &[], &[]),
        ];
        for (hours, kept, expected) in rows {
            let variants = [variant("v", hours, kept)];
            assert_eq!(deleted(&variants, all.clone()).0, expected, "{hours:?} {kept:?}");
        }
        let mut unknown = variant("v", HOURS, &[]);
        unknown.kept = Kept::All("x".to_owned());
        assert!(deleted(&[unknown], all).0.is_empty());
    }
}
