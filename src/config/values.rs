//! Parsers of option values. An error is the reason why the value is invalid.

use std::ffi::OsStr;
use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use log::LevelFilter;

use crate::archive::layout::is_hidden;
use crate::timestamp::{Span, Timestamp};

#[allow(clippy::unnecessary_wraps, reason = "it has the shape of the other parsers")]
pub(super) fn path(value: &OsStr) -> Result<PathBuf, String> {
    Ok(value.into())
}

pub(super) fn text(value: &OsStr) -> Result<String, String> {
    value.to_str().map(str::to_owned).ok_or_else(|| format!("`{}` is not UTF-8", value.display()))
}

/// A whole number from `min` to `max`.
pub(super) fn number<T>(value: &OsStr, min: T, max: T) -> Result<T, String>
where
    T: Copy + Display + FromStr + PartialOrd,
{
    let text = text(value)?;
    let number = text.parse().ok().filter(|number| (min..=max).contains(number));
    number.ok_or_else(|| format!("`{text}` is not a number from {min} to {max}"))
}

/// Decimal seconds.
pub(super) fn seconds(value: &OsStr) -> Result<Duration, String> {
    let text = text(value)?;
    let time = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    time.filter(|time| !time.is_zero() && *time <= Duration::from_secs(3600))
        .ok_or_else(|| format!("`{text}` is not a number of seconds above 0 and up to 3600"))
}

/// A URL or a path on this server, without the slashes at its end. Playlists contain it unquoted and unescaped.
pub(super) fn url(value: &OsStr) -> Result<String, String> {
    let text = text(value)?;
    let is_valid = text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>'));
    let trimmed = text.trim_end_matches('/');
    if is_valid && !trimmed.is_empty() {
        Ok(trimmed.to_owned())
    } else {
        Err(format!("`{text}` is not a URL"))
    }
}

/// A log level, in upper or lower case.
pub(super) fn level(value: &OsStr) -> Result<LevelFilter, String> {
    let text = text(value)?;
    text.parse()
        .map_err(|_| format!("`{text}` is not a log level; expected off, error, warn, info, debug or trace"))
}

/// Whether a switch is on.
pub(super) fn flag(value: &OsStr) -> Result<bool, String> {
    match value.to_str() {
        Some("true" | "1") => Ok(true),
        Some("false" | "0") => Ok(false),
        _ => Err(format!("`{}` is neither `true` nor `false`", value.display())),
    }
}

/// The name of a stream or a variant.
pub(super) fn directory_name(value: &OsStr) -> Result<String, String> {
    let name = text(value)?;
    if name.is_empty() || is_hidden(name.as_bytes()) || name.contains(['/', '\0']) {
        return Err(format!(
            "`{name}` cannot name a directory: it is empty, begins with a period or has a slash"
        ));
    }
    Ok(name)
}

/// An instant, as ISO 8601 has it.
pub(super) fn time(value: &OsStr) -> Result<Timestamp, String> {
    let text = text(value)?;
    Timestamp::parse(&text).ok_or_else(|| format!("`{text}` is not a time such as 2026-11-20T10:55:02Z"))
}

/// Decimal seconds up to `max`.
pub(super) fn span_of_seconds(value: &OsStr, max: i64) -> Result<Span, String> {
    let text = text(value)?;
    let span = Span::parse_seconds(&text).filter(|span| *span > Span::ZERO && *span <= Span::from_secs(max));
    span.ok_or_else(|| format!("`{text}` is not a number of seconds above 0 and up to {max}"))
}

/// The units of lengths of time, in seconds.
const TIME_UNITS: [(&str, u64); 5] = [("w", 604_800), ("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];

/// A length of time with its unit, up to a thousand years.
pub(super) fn duration(value: &OsStr) -> Result<Duration, String> {
    let text = text(value)?;
    let parse =
        |(unit, seconds): &(&str, u64)| text.strip_suffix(unit)?.parse::<u64>().ok()?.checked_mul(*seconds);
    let seconds =
        TIME_UNITS.iter().find_map(parse).filter(|seconds| (1..=1000 * 366 * 86_400).contains(seconds));
    let why = || format!("`{text}` is not a length of time such as 90s, 10m, 12h or 30d");
    seconds.map(Duration::from_secs).ok_or_else(why)
}

/// A length of time in its largest unit.
pub(super) fn shown_duration(time: Duration) -> String {
    let seconds = time.as_secs();
    let unit = TIME_UNITS.iter().skip(1).find(|(_, unit)| seconds.is_multiple_of(*unit));
    unit.map_or_else(|| format!("{seconds}s"), |(name, unit)| format!("{}{name}", seconds / unit))
}

/// The units of sizes. Those that end like others come first.
const SIZE_UNITS: [(&str, u64); 11] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("Pi", 1 << 50),
    ("k", 1000),
    ("K", 1000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("P", 1_000_000_000_000_000),
];

/// A number of bytes, perhaps with a fraction and a unit, such as `500G`, `1.5TiB` or `1000000`.
pub(super) fn bytes(value: &OsStr) -> Result<u64, String> {
    let text = text(value)?;
    let number = text.strip_suffix('B').unwrap_or(&text);
    let with_unit = |(unit, factor): &(&'static str, u64)| Some((number.strip_suffix(unit)?, *factor));
    let (number, factor) = SIZE_UNITS.iter().find_map(with_unit).unwrap_or((number, 1));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let are_digits = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    let is_number = !whole.is_empty() && are_digits(whole) && fraction.len() <= 6 && are_digits(fraction);
    let scaled = is_number.then(|| format!("{whole}{fraction:0<6}").parse::<u128>().ok()).flatten();
    let bytes = scaled.and_then(|millionths| u64::try_from(millionths * u128::from(factor) / 1_000_000).ok());
    bytes.ok_or_else(|| format!("`{text}` is not a number of bytes such as 500G, 1.5Ti or 1000000"))
}

/// A number of bytes in the largest unit that leaves it whole.
pub(super) fn shown_bytes(bytes: u64) -> String {
    let is_whole = |(_, factor): &&(&str, u64)| bytes > 0 && bytes.is_multiple_of(*factor);
    let unit = SIZE_UNITS.iter().filter(is_whole).max_by_key(|(_, factor)| *factor);
    unit.map_or_else(|| bytes.to_string(), |(name, factor)| format!("{}{name}", bytes / factor))
}

/// A share of a whole, in percent with at most one decimal, as thousandths.
pub(super) fn share(percent: &str) -> Result<u16, String> {
    let (whole, tenth) = percent.split_once('.').unwrap_or((percent, "0"));
    let parse = |digits: &str| {
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<u16>().ok())?
    };
    let permille = (tenth.len() == 1).then(|| Some(parse(whole)?.checked_mul(10)? + parse(tenth)?)).flatten();
    let permille = permille.filter(|permille| (1..=990).contains(permille));
    permille.ok_or_else(|| format!("`{percent}%` is not a share from 0.1% to 99%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_lengths_of_time_have_units() {
        let size = |text: &str| bytes(text.as_ref()).ok();
        for (text, expected) in [
            ("0", Some(0)),
            ("1000000", Some(1_000_000)),
            ("500G", Some(500_000_000_000)),
            ("500GB", Some(500_000_000_000)),
            ("1.5Ti", Some(3 << 39)),
            ("1.5TiB", Some(3 << 39)),
            ("2K", Some(2000)),
            ("2k", Some(2000)),
            ("", None),
            ("G", None),
            ("-1G", None),
            ("1 G", None),
            ("+1G", None),
            ("1e9", None),
            ("99999999P", None),
            (".5G", None),
        ] {
            assert_eq!(size(text), expected, "{text}");
        }
        let time = |text: &str| duration(text.as_ref()).ok().map(|time| time.as_secs());
        for (text, expected) in [
            ("90s", Some(90)),
            ("10m", Some(600)),
            ("30d", Some(2_592_000)),
            ("2w", Some(1_209_600)),
            ("10", None),
            ("0s", None),
            ("m", None),
            ("1.5h", None),
            ("99999999999999w", None),
        ] {
            assert_eq!(time(text), expected, "{text}");
        }
        for (text, expected) in
            [("5", Some(50)), ("0.1", Some(1)), ("99", Some(990)), ("100", None), ("0", None)]
        {
            assert_eq!(share(text).ok(), expected, "{text}");
        }
        assert_eq!(
            ["90s", "60s", "24h", "14d"].map(|text| shown_duration(duration(text.as_ref()).expect(text))),
            ["90s", "1m", "1d", "14d"]
        );
        assert_eq!(
            ["500GB", "1.5Ti", "1001", "0", "2k"].map(|text| shown_bytes(size(text).expect(text))),
            ["500G", "1536Gi", "1001", "0", "2K"]
        );
    }
}
