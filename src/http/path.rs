//! Paths of requests: patterns with parameters, and the names captured by them. Pure.

use super::query::decode;
use crate::archive::VariantName;
use crate::error::{Error, Result};

/// What a pattern captured from a path: the parameters' names and their text, still percent-encoded, in order.
#[derive(Debug)]
pub struct Captures<'a>(Vec<(&'static str, &'a str)>);

/// The decoded parameters of a path, in order. Each is fit to be the name of a visible file.
#[derive(Debug)]
pub struct PathNames(pub Vec<String>);

/// A stream and one of its variants, as a path names them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VariantPath {
    /// The stream.
    pub stream: String,
    /// The variant.
    pub variant: String,
}

impl<'a> Captures<'a> {
    /// Matches a percent-encoded path against a pattern, part by part.
    ///
    /// In a pattern, `{name}` captures one part of the path, which may be empty; `{name}.ts` captures a part without
    /// its suffix; `{name...}` captures all remaining parts, of which there must be one. Everything else is literal.
    /// A path that ends with a slash matches no pattern but `/`.
    pub fn of(pattern: &'static str, path: &'a str) -> Option<Self> {
        if path.len() > 1 && path.ends_with('/') {
            return None;
        }
        let mut captures = Vec::new();
        let mut parts = path.split('/');
        for expected in pattern.split('/') {
            let part = parts.next()?;
            match expected.strip_prefix('{').and_then(|parameter| parameter.split_once('}')) {
                None if part == expected => {}
                None => return None,
                Some((name, suffix)) => {
                    let rest = name.strip_suffix("...");
                    captures.push((rest.unwrap_or(name), part.strip_suffix(suffix)?));
                    if let Some(name) = rest {
                        captures.extend(parts.by_ref().map(|part| (name, part)));
                    }
                }
            }
        }
        parts.next().is_none().then_some(Self(captures))
    }

    /// Decodes all captures. Malformed names are refused before hidden ones, wherever they stand.
    ///
    /// # Errors
    /// [`Error::BadPart`], [`Error::HiddenPart`].
    pub fn names(&self) -> Result<PathNames> {
        let decoded: Result<Vec<_>> = self.0.iter().map(|(name, text)| decode_part(name, text)).collect();
        let decoded = decoded?;
        self.0.iter().zip(&decoded).try_for_each(|((name, _), part)| refuse_hidden(name, part))?;
        Ok(PathNames(decoded))
    }

    /// The variant under which a request is counted, whether or not the rest of its path is good: that of the
    /// parameters `stream` and `variant`, or the one whose directory a file's path leads through.
    pub fn variant(&self) -> Option<VariantPath> {
        match self.0.as_slice() {
            [stream @ ("stream", _), variant @ ("variant", _), ..]
            | [stream @ ("path", _), variant @ ("path", _), _, ..] => {
                Self(vec![*stream, *variant]).names().and_then(PathNames::variant).ok()
            }
            _ => None,
        }
    }
}

impl PathNames {
    /// The names, of which the pattern must have as many as the handler takes.
    ///
    /// # Errors
    /// [`Error::NoSuchRoute`] if their number differs, which is a mistake in the table of routes.
    pub fn exactly<const N: usize>(self) -> Result<[String; N]> {
        self.0.try_into().map_err(|_| Error::NoSuchRoute(None))
    }

    /// The names of a stream and a variant.
    pub fn variant(self) -> Result<VariantPath> {
        let [stream, variant] = self.exactly()?;
        Ok(VariantPath { stream, variant })
    }
}

impl VariantPath {
    /// The name by which the archive knows it.
    pub fn name(&self) -> VariantName<'_> {
        VariantName { stream: &self.stream, variant: &self.variant }
    }
}

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

/// Refuses hidden files and, with them, `.` and `..`.
fn refuse_hidden(part: &'static str, decoded: &str) -> Result<()> {
    if decoded.starts_with('.') { Err(Error::HiddenPart(part)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_paths_part_by_part() {
        let rows: [(&str, &str, Option<&[&str]>); 20] = [
            ("/", "/", Some(&[])),
            ("/", "", None),
            ("/", "//", None),
            ("/", "/a", None),
            ("/files", "/files", Some(&[])),
            ("/files", "files", None),
            ("/files", "/files/", None),
            ("/files", "/%66iles", None),
            ("/files/{a}", "/files/x", Some(&["x"])),
            ("/files/{a}", "/files/", None),
            ("/files/{a}/{b}", "/files//y", Some(&["", "y"])),
            ("/files/{a}/{b}", "/files/x/", None),
            ("/files/{a}/{b}", "/files/x/y/z", None),
            ("/cut/{a}/{b}.ts", "/cut/x.ts/y.ts", Some(&["x.ts", "y"])),
            ("/cut/{a}/{b}.ts", "/cut/x/.ts", Some(&["x", ""])),
            ("/cut/{a}/{b}.ts", "/cut/x/y", None),
            ("/segments/{a...}", "/segments", None),
            ("/segments/{a...}", "/segments/", None),
            ("/segments/{a...}", "/segments/x", Some(&["x"])),
            ("/segments/{a...}", "/segments//y/z", Some(&["", "y", "z"])),
        ];
        for (pattern, path, expected) in rows {
            let captures = Captures::of(pattern, path);
            let texts = captures.map(|captures| captures.0.iter().map(|(_, text)| *text).collect::<Vec<_>>());
            assert_eq!(texts.as_deref(), expected, "{pattern} and {path}");
        }
    }

    #[test]
    fn the_variant_of_a_request_is_found_even_if_the_rest_of_its_path_is_bad() {
        let rows = [
            ("/files/{stream}/{variant}", "/files/s/v", true),
            ("/files/{stream}/{variant}/{hour}", "/files/%73/v/.hidden", true),
            ("/files/{stream}/{variant}", "/files/s/.v", false),
            ("/files/{stream}/{variant}", "/files/s/%zz", false),
            ("/files/{stream}", "/files/s", false),
            ("/segments/{path...}", "/segments/s/v/x/%zz", true),
            ("/segments/{path...}", "/segments/s/v", false),
            ("/segments/{path...}", "/segments/s/../x", false),
        ];
        for (pattern, path, is_found) in rows {
            let found = Captures::of(pattern, path).expect(path).variant();
            let expected = VariantPath { stream: "s".to_owned(), variant: "v".to_owned() };
            assert_eq!(found, is_found.then_some(expected), "{path}");
        }
    }
}
