//! Instants and spans of time, exact to the microsecond.
//!
//! All times are integers: no floating point, no time zones, no leap seconds. This is the only module that uses the crate
//! `time`, for its calendar.

pub mod expression;

use std::fmt;
use std::ops::{Add, Neg, Sub};

use time::{Date, Month};

/// Microseconds in a second.
const SECOND: i64 = 1_000_000;
/// Microseconds in an hour.
const HOUR: i64 = 3600 * SECOND;
/// The Julian day of 1970-01-01.
const EPOCH_JULIAN_DAY: i32 = 2_440_588;

/// An instant: microseconds since 1970-01-01T00:00:00 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// A length of time in microseconds. The difference of an earlier and a later instant is negative.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(i64);

/// An hour of UTC, counted from 1970-01-01T00.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hour(i64);

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// A span of whole seconds.
    pub const fn from_secs(seconds: i64) -> Self {
        Self(seconds * SECOND)
    }

    /// A span of milliseconds.
    pub const fn from_millis(milliseconds: i64) -> Self {
        Self(milliseconds * 1000)
    }

    /// A span of microseconds.
    pub const fn from_micros(microseconds: i64) -> Self {
        Self(microseconds)
    }

    /// The span in microseconds.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// The span in seconds, rounded up.
    pub const fn ceil_secs(self) -> i64 {
        self.0.div_euclid(SECOND) + (self.0.rem_euclid(SECOND) != 0) as i64
    }

    /// Parses decimal seconds such as `2`, `2.002` or `0.033367`: 1 to 9 digits, perhaps a point and up to 6 digits.
    pub fn parse_seconds(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        if whole.is_empty() || whole.len() > 9 || fraction.len() > 6 {
            return None;
        }
        Some(Self(digits(whole)? * SECOND + micros_of_fraction(fraction)?))
    }
}

/// Decimal seconds with as many digits as they need, at least three: `2.000`, `0.033367`.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (whole, micros) = (self.0.unsigned_abs() / 1_000_000, self.0.unsigned_abs() % 1_000_000);
        if micros.is_multiple_of(1000) {
            write!(f, "{sign}{whole}.{:03}", micros / 1000)
        } else {
            write!(f, "{sign}{whole}.{micros:06}")
        }
    }
}

impl Timestamp {
    /// The first instant of year 1.
    pub const MIN: Self = Self(-62_135_596_800 * SECOND);
    /// The last microsecond of year 9999.
    pub const MAX: Self = Self(253_402_300_800 * SECOND - 1);

    /// The instant `microseconds` after 1970-01-01T00:00:00 UTC.
    pub const fn from_micros(microseconds: i64) -> Self {
        Self(microseconds)
    }

    /// Microseconds since 1970-01-01T00:00:00 UTC.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// The last whole second at or before this instant.
    #[must_use]
    pub const fn whole_second(self) -> Self {
        Self(self.0 - self.0.rem_euclid(SECOND))
    }

    /// The hour this instant lies in.
    pub const fn hour(self) -> Hour {
        Hour(self.0.div_euclid(HOUR))
    }

    /// Parses an ISO 8601 time from a decoded query, where a `+` may have become a space.
    ///
    /// Accepts a date (`2026-11-20`), perhaps followed by a `T` or a space and a time of day: an hour, minutes, seconds
    /// and a fraction of any length, which is truncated to microseconds. The basic format (`20261120T105502`) is accepted
    /// too. The zone is `Z`, `±HH:MM`, `±HHMM` or `±HH`, and UTC if absent. Returns `None` for anything else, and for
    /// instants outside the years 1 to 9999.
    pub fn parse(text: &str) -> Option<Self> {
        if !text.is_ascii() {
            return None;
        }
        let extended = text.as_bytes().get(4) == Some(&b'-');
        let (date, rest) = text.split_at_checked(if extended { 10 } else { 8 })?;
        let since_midnight = match rest.split_at_checked(1) {
            None => 0,
            Some(("T" | " ", rest)) => {
                // A zone begins with a sign, with a space that was a `+`, or is `Z`.
                let (time, zone) = rest.split_at(rest.find(['+', '-', ' ', 'Z']).unwrap_or(rest.len()));
                parse_time(time, extended)? - parse_offset(zone)?
            }
            Some(_) => return None,
        };
        let parsed = Self(parse_date(date, extended)? + since_midnight);
        (Self::MIN..=Self::MAX).contains(&parsed).then_some(parsed)
    }
}

impl Add for Span {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Neg for Span {
    type Output = Self;
    fn neg(self) -> Self {
        Self(self.0.saturating_neg())
    }
}

impl Add<Span> for Timestamp {
    type Output = Self;
    fn add(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Sub<Span> for Timestamp {
    type Output = Self;
    fn sub(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.0))
    }
}

impl Sub for Span {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Sub for Timestamp {
    type Output = Span;
    fn sub(self, other: Self) -> Span {
        Span(self.0.saturating_sub(other.0))
    }
}

/// RFC 3339 with microseconds: `2026-11-20T10:55:02.000000Z`. Instants outside the years 1 to 9999 are displayed as the
/// nearest instant inside.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clamped = (*self).clamp(Self::MIN, Self::MAX);
        let in_hour = clamped.0.rem_euclid(HOUR);
        let (minute, second, micros) = (in_hour / (60 * SECOND), in_hour / SECOND % 60, in_hour % SECOND);
        write!(f, "{}:{minute:02}:{second:02}.{micros:06}Z", clamped.hour())
    }
}

impl Hour {
    /// Parses `2026-11-20T10`, and no other format.
    pub fn parse(name: &str) -> Option<Self> {
        let (date, hour) = name.split_once('T')?;
        if date.len() != 10 {
            return None;
        }
        let midnight = parse_date(date, true)?;
        Some(Timestamp(midnight + two_digits(hour, 23)? * HOUR).hour())
    }

    /// The first instant of the hour.
    pub const fn start(self) -> Timestamp {
        Timestamp(self.0 * HOUR)
    }

    /// The first instant after the hour.
    pub const fn end(self) -> Timestamp {
        Timestamp((self.0 + 1) * HOUR)
    }
}

/// ISO 8601 to the hour: `2026-11-20T10`.
impl fmt::Display for Hour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let day = i32::try_from(self.0.div_euclid(24)).unwrap_or(i32::MAX).saturating_add(EPOCH_JULIAN_DAY);
        let (year, month, day) = Date::from_julian_day(day).unwrap_or(Date::MAX).to_calendar_date();
        write!(f, "{year:04}-{:02}-{day:02}T{:02}", u8::from(month), self.0.rem_euclid(24))
    }
}

/// Microseconds from the epoch to the start of the day `2026-11-20` (extended format) or `20261120` (basic format).
fn parse_date(text: &str, extended: bool) -> Option<i64> {
    let (year, month, day) = if extended {
        let (year, rest) = text.split_once('-')?;
        let (month, day) = rest.split_once('-')?;
        (year, month, day)
    } else {
        (text.get(..4)?, text.get(4..6)?, text.get(6..)?)
    };
    if year.len() != 4 {
        return None;
    }
    let year = i32::try_from(digits(year)?).ok().filter(|year| *year >= 1)?;
    let month = Month::try_from(u8::try_from(two_digits(month, 12)?).ok()?).ok()?;
    let date = Date::from_calendar_date(year, month, u8::try_from(two_digits(day, 31)?).ok()?).ok()?;
    Some(i64::from(date.to_julian_day() - EPOCH_JULIAN_DAY) * 24 * HOUR)
}

/// Microseconds since midnight of `10`, `10:55`, `10:55:02` or `10:55:02.5`; in the basic format of `10`, `1055` and so on.
fn parse_time(text: &str, extended: bool) -> Option<i64> {
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (text, None),
    };
    let fields: Vec<&str> = if extended {
        whole.split(':').collect()
    } else {
        (0..whole.len()).step_by(2).map(|at| whole.get(at..at + 2)).collect::<Option<_>>()?
    };
    let (hour, minute, second, fraction) = match (&fields[..], fraction) {
        ([hour], None) => (*hour, "00", "00", "0"),
        ([hour, minute], None) => (*hour, *minute, "00", "0"),
        ([hour, minute, second], fraction) => (*hour, *minute, *second, fraction.unwrap_or("0")),
        _ => return None,
    };
    if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds = two_digits(hour, 23)? * 3600 + two_digits(minute, 59)? * 60 + two_digits(second, 59)?;
    Some(seconds * SECOND + micros_of_fraction(&fraction[..fraction.len().min(6)])?)
}

/// The offset from UTC, in microseconds, of a zone such as `Z`, `+02:00`, `-0200` or ` 02`, where the space was a `+`; 0
/// for an empty text.
fn parse_offset(zone: &str) -> Option<i64> {
    if matches!(zone, "" | "Z") {
        return Some(0);
    }
    let (sign, rest) = match zone.split_at_checked(1)? {
        ("+" | " ", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = match rest.len() {
        2 => (rest, "00"),
        4 => rest.split_at(2),
        5 => rest.split_once(':')?,
        _ => return None,
    };
    Some(sign * (two_digits(hours, 23)? * HOUR + two_digits(minutes, 59)? * 60 * SECOND))
}

/// The value of a text of decimal digits, and `None` for any other text.
fn digits(text: &str) -> Option<i64> {
    // `parse` alone would accept a sign.
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// The value of exactly two digits, `max` at most.
fn two_digits(text: &str, max: i64) -> Option<i64> {
    if text.len() == 2 { digits(text).filter(|value| *value <= max) } else { None }
}

/// The microseconds of up to six digits behind a decimal point. No digits are zero.
fn micros_of_fraction(fraction: &str) -> Option<i64> {
    if fraction.is_empty() {
        return Some(0);
    }
    let missing = u32::try_from(6_usize.checked_sub(fraction.len())?).ok()?;
    Some(digits(fraction)? * 10_i64.pow(missing))
}

#[cfg(test)]
mod tests;
