//! Times as requests may give them: absolute ones, and ones relative to the clock or to the end of the recordings.
//!
//! They are parsed without either, and resolved later against values of both.

use super::{HOUR, SECOND, Span, Timestamp, digits, micros_of_fraction};

/// The units of a length of time, the largest first.
const UNITS: [(&str, i64); 5] =
    [("d", 24 * HOUR), ("h", HOUR), ("m", 60 * SECOND), ("s", SECOND), ("ms", SECOND / 1000)];

/// More digits of a fraction than these make no difference to a microsecond, of whatever unit.
const FRACTION_DIGITS: usize = 12;

/// A time as a request gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimeExpression {
    /// An instant.
    Absolute(Timestamp),
    /// So long after the time of the request, or before it if the span is negative.
    Now(Span),
    /// So long after the live end, or before it if the span is negative. The live end is when the last complete segment of
    /// a variant ended.
    Live(Span),
}

impl TimeExpression {
    /// Parses a time from a decoded query, where a `+` may have become a space.
    ///
    /// Accepts what [`Timestamp::parse`] does; seconds since 1970, with 9 to 11 digits and perhaps a fraction, which is
    /// truncated to microseconds; `now` and `live`, each perhaps with an offset such as `-90s` or `+1h30m`; and an offset
    /// with `-` alone, which is one from `live`. Returns `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(offset) = text.strip_prefix("now") {
            return Some(Self::Now(parse_offset(offset)?));
        }
        if let Some(offset) = text.strip_prefix("live") {
            return Some(Self::Live(parse_offset(offset)?));
        }
        if text.starts_with('-') {
            return Some(Self::Live(parse_offset(text)?));
        }
        parse_epoch(text).or_else(|| Timestamp::parse(text)).map(Self::Absolute)
    }

    /// The instant that it means. `None` if it depends on the live end, and there is none. Instants outside the years 1 to
    /// 9999 become the nearest one inside.
    pub fn resolve(self, now: Timestamp, live_end: Option<Timestamp>) -> Option<Timestamp> {
        let time = match self {
            Self::Absolute(time) => time,
            Self::Now(offset) => now + offset,
            Self::Live(offset) => live_end? + offset,
        };
        Some(time.clamp(Timestamp::MIN, Timestamp::MAX))
    }

    /// The time `span` later, or earlier if it is negative.
    #[must_use]
    pub fn shifted(self, span: Span) -> Self {
        let sum = |offset: Span| Span(offset.0.saturating_add(span.0));
        match self {
            Self::Absolute(time) => Self::Absolute(time + span),
            Self::Now(offset) => Self::Now(sum(offset)),
            Self::Live(offset) => Self::Live(sum(offset)),
        }
    }

    /// Whether it means different instants at different times.
    pub fn is_relative(self) -> bool {
        !matches!(self, Self::Absolute(_))
    }
}

/// Parses a length of time such as `1h30m`, `12.5s`, `500ms` or `90`, which are seconds.
///
/// The units are `d`, `h`, `m`, `s` and `ms`, the largest first, each at most once. Only the last number may have a
/// fraction, which is truncated to microseconds. Returns `None` for anything else, and for what 64 bits of microseconds
/// cannot hold.
pub fn parse_length(text: &str) -> Option<Span> {
    if !text.contains(|c: char| c.is_ascii_alphabetic()) {
        return parse_number(text, SECOND, true).map(Span);
    }
    let (mut units, mut micros, mut rest) = (UNITS.iter(), 0_i64, text);
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| c.is_ascii_alphabetic())?);
        let is_number = |c: char| c.is_ascii_digit() || c == '.';
        let (unit, after) = after.split_at(after.find(is_number).unwrap_or(after.len()));
        // Units that were passed over are gone, so that each occurs once and in order.
        let (_, unit_micros) = units.find(|(name, _)| *name == unit)?;
        micros = micros.checked_add(parse_number(number, *unit_micros, after.is_empty())?)?;
        rest = after;
    }
    Some(Span(micros))
}

/// Parses `+` or `-` and a length of time. A space is the `+` that it was before the query was decoded. An empty text is no
/// offset.
fn parse_offset(text: &str) -> Option<Span> {
    match text.split_at_checked(1) {
        None if text.is_empty() => Some(Span::ZERO),
        Some(("+" | " ", length)) => parse_length(length),
        Some(("-", length)) => parse_length(length).map(|span| -span),
        _ => None,
    }
}

/// Parses a number of units, in microseconds.
fn parse_number(text: &str, unit_micros: i64, may_have_fraction: bool) -> Option<i64> {
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) if may_have_fraction && !fraction.is_empty() => (whole, fraction),
        Some(_) => return None,
        None => (text, "0"),
    };
    if whole.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let fraction = &fraction[..fraction.len().min(FRACTION_DIGITS)];
    let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    let fraction_micros = i128::from(unit_micros) * i128::from(digits(fraction)?) / scale;
    digits(whole)?.checked_mul(unit_micros)?.checked_add(i64::try_from(fraction_micros).ok()?)
}

/// Parses seconds since 1970: 9 to 11 digits, because 8 would be a date, and perhaps a fraction, which is truncated to
/// microseconds.
pub fn parse_epoch(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !(9..=11).contains(&whole.len()) || !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let fraction = micros_of_fraction(&fraction[..fraction.len().min(6)])?;
    Some(Timestamp(digits(whole)? * SECOND + fraction))
}

#[cfg(test)]
mod tests;
