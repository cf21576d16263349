//! How ranges of time are named that are not to be deleted: part of how the tree is named. Pure.

use std::fmt;

use crate::timestamp::Timestamp;

/// The directory in that of a variant whose names are [`KeptRange`]s.
pub const KEEP_DIRECTORY: &str = ".keep";

/// A range of time whose hours are not to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeptRange {
    /// When it starts.
    pub start: Timestamp,
    /// The first instant after it.
    pub end: Timestamp,
}

impl KeptRange {
    /// Parses a name in [`KEEP_DIRECTORY`]. Its times may be anything that [`Timestamp::parse`] accepts.
    pub fn parse(name: &str) -> Option<Self> {
        let (start, end) = name.split_once('_')?;
        let range = Self { start: Timestamp::parse(start)?, end: Timestamp::parse(end)? };
        (range.start < range.end).then_some(range)
    }
}

/// The name of the range, without the fractions of whole seconds.
impl fmt::Display for KeptRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", short_time(self.start), short_time(self.end))
    }
}

/// An instant in RFC 3339, without the fraction of a whole second.
pub fn short_time(time: Timestamp) -> String {
    time.to_string().replace(".000000Z", "Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_ranges_are_named_by_their_times() {
        for (name, written) in [
            (
                "2026-11-20T10:30:00Z_2026-11-20T12:15:00.5Z",
                Some("2026-11-20T10:30:00Z_2026-11-20T12:15:00.500000Z"),
            ),
            ("2026-11-20T10_2026-11-21", Some("2026-11-20T10:00:00Z_2026-11-21T00:00:00Z")),
            ("2026-11-21_2026-11-20", None),
            ("2026-11-20_2026-11-20", None),
            ("2026-11-20", None),
            ("2026-11-20_", None),
            ("notes", None),
        ] {
            assert_eq!(KeptRange::parse(name).map(|range| range.to_string()).as_deref(), written, "{name}");
        }
    }
}
