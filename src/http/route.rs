//! What a path and a query ask for. Pure.

use super::query::{Query, decode};
use crate::error::{Error, Result};
use crate::timestamp::Timestamp;

/// Something that can be asked for, with all it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// What this server is.
    Home,
    /// How this server is.
    Health,
    /// What this server has counted.
    Metrics,
    /// What this server can be asked, for programs.
    OpenApi,
    /// The names of the streams.
    Streams,
    /// The names of a stream's variants.
    Variants {
        /// The stream.
        stream: String,
    },
    /// The hours of a variant.
    Hours(VariantPath),
    /// The names of the files of an hour.
    Names {
        /// Whose hour.
        of: VariantPath,
        /// The hour's directory.
        hour: String,
        /// Whether tombstones are named as well.
        tombstones: bool,
    },
    /// A file.
    File {
        /// The names that lead to it from the base directory; at least one.
        parts: Vec<String>,
    },
    /// The playlist of a stream's variants.
    Multivariant {
        /// The stream.
        stream: String,
        /// The time that is wanted of them.
        range: Range,
    },
    /// The playlist of a variant's segments.
    Media {
        /// The variant.
        of: VariantPath,
        /// The time that is wanted of it.
        range: Range,
    },
    /// An exact range as one file.
    Cut(CutRequest),
}

/// A stream and a variant of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VariantPath {
    /// The stream.
    pub stream: String,
    /// The variant.
    pub variant: String,
}

/// A time range, open at either end where that was not given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Range {
    /// Its first instant, and how it was written.
    pub start: Option<(Timestamp, String)>,
    /// The first instant after it, and how it was written.
    pub end: Option<(Timestamp, String)>,
}

/// What is asked for of a cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutRequest {
    /// What is cut.
    pub of: VariantPath,
    /// The first instant.
    pub start: Timestamp,
    /// The first instant that is left out; after `start`.
    pub end: Timestamp,
    /// Whether a range with holes will do.
    pub allow_holes: bool,
    /// How it is cut.
    pub kind: CutType,
}

/// How a range is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CutType {
    /// Every frame is encoded anew.
    Full,
    /// Only the groups of pictures at the ends are.
    Smart,
    /// The segments are joined as they are.
    Rough,
}

/// A path that leads to a route, before its parts are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape<'a> {
    /// [`Route::Home`].
    Home,
    /// [`Route::Health`].
    Health,
    /// [`Route::Metrics`].
    Metrics,
    /// [`Route::OpenApi`].
    OpenApi,
    /// [`Route::Streams`].
    Streams,
    /// [`Route::Variants`].
    Variants([&'a str; 1]),
    /// [`Route::Hours`].
    Hours([&'a str; 2]),
    /// [`Route::Names`].
    Names([&'a str; 3]),
    /// [`Route::File`].
    File(&'a str),
    /// [`Route::Multivariant`].
    Multivariant([&'a str; 1]),
    /// [`Route::Media`].
    Media([&'a str; 2]),
    /// [`Route::Cut`].
    Cut([&'a str; 2]),
}

impl<'a> Shape<'a> {
    /// The shape of a percent-encoded path. A trailing slash makes a path unknown.
    ///
    /// # Errors
    /// [`Error::NoSuchRoute`].
    pub fn of(path: &'a str) -> Result<Self> {
        let (first, rest) = match path.strip_prefix('/').ok_or(Error::NoSuchRoute)?.split_once('/') {
            Some((_, rest)) if rest.is_empty() || rest.ends_with('/') => return Err(Error::NoSuchRoute),
            Some((first, rest)) => (first, Some(rest)),
            None => (&path[1..], None),
        };
        let shape = match (first, rest) {
            ("", None) => Some(Self::Home),
            ("health", None) => Some(Self::Health),
            ("metrics", None | Some("restreamer")) => Some(Self::Metrics),
            ("openapi.yaml", None) => Some(Self::OpenApi),
            ("files", None) => Some(Self::Streams),
            ("files", Some(rest)) => (split(rest).map(Self::Variants))
                .or_else(|| split(rest).map(Self::Hours))
                .or_else(|| split(rest).map(Self::Names)),
            ("segments", Some(rest)) => Some(Self::File(rest)),
            ("playlist", Some(rest)) => rest.strip_suffix(".m3u8").and_then(|rest| {
                split(rest).map(Self::Multivariant).or_else(|| split(rest).map(Self::Media))
            }),
            ("cut", Some(rest)) => rest.strip_suffix(".ts").and_then(split).map(Self::Cut),
            _ => None,
        };
        shape.ok_or(Error::NoSuchRoute)
    }
}

impl Route {
    /// The route of a shape, with its parts decoded and checked and its parameters read.
    ///
    /// # Errors
    /// [`Error::BadPart`], [`Error::HiddenPart`], [`Error::BadParameter`], [`Error::MissingParameter`],
    /// [`Error::EndNotAfterStart`].
    pub fn decode(shape: Shape, query: Query) -> Result<Self> {
        Ok(match shape {
            Shape::Home => Self::Home,
            Shape::Health => Self::Health,
            Shape::Metrics => Self::Metrics,
            Shape::OpenApi => Self::OpenApi,
            Shape::Streams => Self::Streams,
            Shape::Variants(parts) => {
                let [stream] = decode_parts(["stream"], parts)?;
                Self::Variants { stream }
            }
            Shape::Hours(parts) => Self::Hours(decode_variant(parts)?),
            Shape::Names(parts) => {
                let [stream, variant, hour] = decode_parts(["stream", "variant", "hour"], parts)?;
                let tombstones = query.flag("tombstones")?.unwrap_or(false);
                Self::Names { of: VariantPath { stream, variant }, hour, tombstones }
            }
            Shape::File(path) => {
                let parts: Result<Vec<String>> =
                    path.split('/').map(|part| decode_part("path", part)).collect();
                let parts = parts?;
                parts.iter().try_for_each(|part| refuse_hidden("path", part))?;
                Self::File { parts }
            }
            Shape::Multivariant(parts) => {
                let [stream] = decode_parts(["stream"], parts)?;
                Self::Multivariant { stream, range: Range::read(query)? }
            }
            Shape::Media(parts) => Self::Media { of: decode_variant(parts)?, range: Range::read(query)? },
            Shape::Cut(parts) => Self::Cut(CutRequest::read(decode_variant(parts)?, query)?),
        })
    }
}

impl Range {
    fn read(query: Query) -> Result<Self> {
        Ok(Self { start: query.time("start")?, end: query.time("end")? })
    }
}

impl CutRequest {
    fn read(of: VariantPath, query: Query) -> Result<Self> {
        const KINDS: [(&str, CutType); 5] = [
            ("full", CutType::Full),
            ("mpegts", CutType::Full),
            ("smart", CutType::Smart),
            ("fast", CutType::Smart),
            ("rough", CutType::Rough),
        ];
        let (start, end) = (query.required_time("start")?, query.required_time("end")?);
        if end <= start {
            return Err(Error::EndNotAfterStart);
        }
        let allow_holes = query.flag("allow_holes")?.unwrap_or(false);
        let experimental = query.flag("experimental")?.unwrap_or(false);
        let kind = query.word("type", &KINDS, "`full`, `smart` or `rough`")?;
        let default = if experimental { CutType::Smart } else { CutType::Full };
        Ok(Self { of, start, end, allow_holes, kind: kind.unwrap_or(default) })
    }
}

/// A path as exactly `N` parts.
fn split<const N: usize>(path: &str) -> Option<[&str; N]> {
    let mut parts = path.split('/');
    let mut found = [""; N];
    for part in &mut found {
        *part = parts.next()?;
    }
    parts.next().is_none().then_some(found)
}

fn decode_variant(parts: [&str; 2]) -> Result<VariantPath> {
    let [stream, variant] = decode_parts(["stream", "variant"], parts)?;
    Ok(VariantPath { stream, variant })
}

/// Decodes the parts of a path and checks that each can be the name of a visible file; malformed ones come first.
fn decode_parts<const N: usize>(names: [&'static str; N], parts: [&str; N]) -> Result<[String; N]> {
    let mut decoded = [const { String::new() }; N];
    for ((decoded, name), part) in decoded.iter_mut().zip(names).zip(parts) {
        *decoded = decode_part(name, part)?;
    }
    for (name, part) in names.into_iter().zip(&decoded) {
        refuse_hidden(name, part)?;
    }
    Ok(decoded)
}

/// Decodes one part of a path.
fn decode_part(part: &'static str, encoded: &str) -> Result<String> {
    let decoded = decode(encoded).map_err(|why| Error::BadPart { part, why })?;
    if decoded.is_empty() {
        return Err(Error::BadPart { part, why: "it must not be empty" });
    }
    if decoded.contains(['/', '\\', '\0']) {
        return Err(Error::BadPart { part, why: "it must not hold a slash, a backslash or a NUL" });
    }
    Ok(decoded)
}

/// Keeps off hidden files and, with them, the ways up the tree.
fn refuse_hidden(part: &'static str, decoded: &str) -> Result<()> {
    if decoded.starts_with('.') { Err(Error::HiddenPart { part }) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
