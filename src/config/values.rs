//! Parsers of option values. An error is the reason why the value is invalid.

use std::ffi::OsStr;
use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use log::LevelFilter;

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
