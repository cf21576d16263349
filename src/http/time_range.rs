//! The time range of a request: `start`, `end` and `duration`, any of which may be missing.

use super::query::Query;
use crate::archive::layout::CHAT;
use crate::archive::{Archive, VariantName};
use crate::error::{Error, Result};
use crate::hls::encode;
use crate::timestamp::expression::TimeExpression;
use crate::timestamp::{Hour, Span, Timestamp};

/// A time range as a request gives it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct TimeRange {
    pub(super) start: Option<TimeExpression>,
    pub(super) end: Option<TimeExpression>,
    /// The parameters as received: names and decoded values.
    given: Vec<(&'static str, String)>,
}

/// A range whose times are resolved; `None` for an end that the request does not give.
pub(super) type ResolvedRange = (Option<Timestamp>, Option<Timestamp>);

impl TimeRange {
    /// The range that a query asks for. A duration replaces the start or the end.
    ///
    /// # Errors
    /// [`Error::BadParameter`] for a malformed parameter, and for a duration with both ends; [`Error::MissingParameter`] for a
    /// duration with neither.
    pub(super) fn read(query: Query) -> Result<Self> {
        let (start, end) = (query.time("start")?, query.time("end")?);
        let duration = query.length("duration")?;
        let mut given = Vec::new();
        let mut keep = |name, text: Option<&String>| given.extend(text.map(|text| (name, text.clone())));
        keep("start", start.as_ref().map(|(_, text)| text));
        keep("end", end.as_ref().map(|(_, text)| text));
        keep("duration", duration.as_ref().map(|(_, text)| text));
        let (start, end) = (start.map(|(time, _)| time), end.map(|(time, _)| time));
        let (start, end) = match (start, end, duration) {
            (start, end, None) => (start, end),
            (Some(start), None, Some((duration, _))) => (Some(start), Some(start.shifted(duration))),
            (None, Some(end), Some((duration, _))) => (Some(end.shifted(-duration)), Some(end)),
            (Some(_), Some(_), Some((_, value))) => {
                let expected =
                    "`start` or `end` beside it, not both, as in `start=2026-11-20T10:55:02&duration=30s`";
                return Err(Error::BadParameter { name: "duration", value, expected });
            }
            (None, None, Some(_)) => {
                let expected =
                    "one of them beside `duration`, as in `start=2026-11-20T10:55:02&duration=30s`";
                return Err(Error::MissingParameter { name: "start or end", expected });
            }
        };
        Ok(Self { start, end, given })
    }

    /// The ranges that `range` parameters ask for, in order.
    ///
    /// # Errors
    /// [`Error::BadParameter`] for one that is not two times.
    pub(super) fn read_pairs(query: Query) -> Result<Vec<Self>> {
        let parse = |value: String| {
            let pair = value
                .split_once(',')
                .and_then(|(start, end)| Some((TimeExpression::parse(start)?, TimeExpression::parse(end)?)));
            let expected = "a start and an end, as in `range=2026-11-20T10:55:02,2026-11-20T10:55:30` or `range=-60s,-30s`";
            match pair {
                Some((start, end)) => Ok(Self { start: Some(start), end: Some(end), given: Vec::new() }),
                None => Err(Error::BadParameter { name: "range", value, expected }),
            }
        };
        query.all("range").into_iter().map(parse).collect()
    }

    /// The range from `start` on, which ends at `end` if that is given.
    pub(super) fn absolute(start: Timestamp, end: Option<Timestamp>) -> Self {
        let absolute = TimeExpression::Absolute;
        Self { start: Some(absolute(start)), end: end.map(absolute), given: Vec::new() }
    }

    /// The same range, which ends at the live end if no end is given.
    pub(super) fn or_until_live(self) -> Self {
        Self { end: Some(self.end.unwrap_or(TimeExpression::Live(Span::ZERO))), ..self }
    }

    /// Whether it means different ranges at different times.
    pub(super) fn is_relative(&self) -> bool {
        self.expressions().any(TimeExpression::is_relative)
    }

    /// Whether it is a live window: its start moves, and it has no end.
    pub(super) fn is_window(&self) -> bool {
        self.start.is_some_and(TimeExpression::is_relative) && self.end.is_none()
    }

    /// Whether it is absolute and its end is not after its start.
    pub(super) fn is_backwards(&self) -> bool {
        match (self.start, self.end) {
            (Some(TimeExpression::Absolute(start)), Some(TimeExpression::Absolute(end))) => end <= start,
            _ => false,
        }
    }

    /// The range of a variant that has these `hours`, at the time `now`. `None` if it depends on the variant's live end,
    /// and there is none.
    ///
    /// # Errors
    /// [`Error::Io`] if the archive must be read for it, and cannot be.
    pub(super) fn resolve(
        &self,
        archive: &Archive,
        variant: VariantName,
        hours: &[Hour],
        now: Timestamp,
    ) -> Result<Option<ResolvedRange>> {
        let resolved = Self::resolve_all(std::slice::from_ref(self), archive, variant, hours, now)?;
        Ok(resolved.into_iter().next().flatten())
    }

    /// The same for several ranges, which mean one live end.
    ///
    /// # Errors
    /// Those of [`Self::resolve`].
    pub(super) fn resolve_all(
        ranges: &[Self],
        archive: &Archive,
        variant: VariantName,
        hours: &[Hour],
        now: Timestamp,
    ) -> Result<Vec<Option<ResolvedRange>>> {
        let mut all = ranges.iter().flat_map(Self::expressions);
        let needs_live_end = all.any(|time| matches!(time, TimeExpression::Live(_)));
        let live_end = if needs_live_end { archive.live_end(variant, hours)? } else { None };
        Ok(ranges.iter().map(|range| range.resolve_at(now, live_end)).collect())
    }

    /// The range at the time `now`, where the recordings end at `live_end`.
    pub(super) fn resolve_at(&self, now: Timestamp, live_end: Option<Timestamp>) -> Option<ResolvedRange> {
        let resolve = |time: Option<TimeExpression>| time.map(|time| time.resolve(now, live_end));
        match (resolve(self.start), resolve(self.end)) {
            (Some(None), _) | (_, Some(None)) => None,
            (start, end) => Some((start.flatten(), end.flatten())),
        }
    }

    /// The range as all of a stream's variants have it: its live end is the latest of theirs.
    ///
    /// # Errors
    /// Those of [`TimeRange::resolve`].
    pub(super) fn resolve_of_stream(
        &self,
        archive: &Archive,
        stream: &str,
        now: Timestamp,
    ) -> Result<Option<ResolvedRange>> {
        let mut live_end = None;
        if self.expressions().any(|time| matches!(time, TimeExpression::Live(_))) {
            for variant in archive.variants(stream)?.iter().filter(|variant| *variant != CHAT) {
                let name = VariantName { stream, variant };
                live_end = live_end.max(archive.live_end(name, &archive.hours(name)?)?);
            }
        }
        Ok(self.resolve_at(now, live_end))
    }

    /// The query that asks for the same range, with its question mark; empty for a range without ends. Relative times stay
    /// relative.
    pub(super) fn query(&self) -> String {
        let parameters: Vec<_> =
            self.given.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
        if parameters.is_empty() { String::new() } else { format!("?{}", parameters.join("&")) }
    }

    fn expressions(&self) -> impl Iterator<Item = TimeExpression> {
        self.start.into_iter().chain(self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<TimeRange, String> {
        TimeRange::read(Query::new(query)).map_err(|error| error.to_string())
    }

    /// A range as it is resolved at 12:00, when the live end is at 11:00.
    fn shown(range: &TimeRange) -> (Option<String>, Option<String>) {
        let time = |text| Timestamp::parse(text).expect("a time");
        let resolve = |expression: TimeExpression| {
            let resolved = expression.resolve(time("2026-11-20T12"), Some(time("2026-11-20T11")));
            resolved.map(|time| time.to_string().trim_end_matches(".000000Z").to_owned())
        };
        (range.start.and_then(resolve), range.end.and_then(resolve))
    }

    #[test]
    fn a_duration_replaces_one_end() {
        let rows = [
            ("", None, None),
            ("start=2026-11-20T10", Some("2026-11-20T10:00:00"), None),
            ("end=now", None, Some("2026-11-20T12:00:00")),
            ("start=2026-11-20T10&duration=30s", Some("2026-11-20T10:00:00"), Some("2026-11-20T10:00:30")),
            ("duration=3600&start=1795168800", Some("2026-11-20T10:00:00"), Some("2026-11-20T11:00:00")),
            ("end=2026-11-20T10&duration=1h30m", Some("2026-11-20T08:30:00"), Some("2026-11-20T10:00:00")),
            ("end=now&duration=90", Some("2026-11-20T11:58:30"), Some("2026-11-20T12:00:00")),
            ("start=-1m&duration=30s", Some("2026-11-20T10:59:00"), Some("2026-11-20T10:59:30")),
            ("end=live&duration=0", Some("2026-11-20T11:00:00"), Some("2026-11-20T11:00:00")),
            ("start=now+1h&end=now%2B2h", Some("2026-11-20T13:00:00"), Some("2026-11-20T14:00:00")),
        ];
        for (query, start, end) in rows {
            let range = read(query).expect(query);
            assert_eq!(shown(&range), (start.map(str::to_owned), end.map(str::to_owned)), "{query}");
            let is_relative = ["now", "live", "=-"].iter().any(|relative| query.contains(relative));
            assert_eq!(range.is_relative(), is_relative, "{query}");
            // The query that is handed on means the same.
            let handed_on = range.query();
            assert_eq!(read(handed_on.trim_start_matches('?')).as_ref(), Ok(&range), "{query}: {handed_on}");
        }
    }

    #[test]
    fn a_duration_needs_exactly_one_end() {
        let rows = [
            (
                "start=-1m&end=now&duration=30s",
                "bad duration `30s`: expected `start` or `end` beside it, not both",
            ),
            ("duration=30s", "missing start or end: expected one of them beside `duration`"),
        ];
        for (query, shown) in rows {
            let error = read(query).expect_err(query);
            assert!(error.starts_with(shown) && error.contains("&duration=30s`"), "{query}: {error}");
        }
        for value in ["", "-30s", "+30s", "1h30", "now", "30S", "%zz", "2026-11-20"] {
            let error = read(&format!("start=now&duration={value}")).expect_err(value);
            assert!(error.starts_with("bad duration `") && error.contains("`1h30m`"), "{value}: {error}");
        }
    }
}
