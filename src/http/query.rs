//! Percent-decoding, and the parameters of a query. Pure.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::error::{Error, Result};
use crate::timestamp::Span;
use crate::timestamp::expression::{TimeExpression, parse_length};

/// The expected forms of a time, for error texts.
const GOOD_TIME: &str = "a time such as `2026-11-20T10:55:02.123`, `2026-11-20T11:55:02%2B01:00`, `1795171502` (seconds \
    since 1970), `now-90s`, or `-30s` (before the end of the newest recording)";

/// The expected forms of a length of time, for error texts.
const GOOD_LENGTH: &str = "a length of time such as `30s`, `12.5`, `1h30m` or `500ms`";

/// The parameters of a query. Each route reads those that it knows; the others are ignored.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    /// The parameters of a percent-encoded query, without its question mark.
    pub fn new(query: &'a str) -> Self {
        Self(query)
    }

    /// The first parameter of that name, decoded and then parsed. `expected` says in the error text what is valid.
    pub fn parsed<T>(
        self,
        name: &'static str,
        expected: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>> {
        for pair in self.0.split('&') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if decode(&key.replace('+', " ")).is_ok_and(|key| key == name) {
                let decoded = decode(&value.replace('+', " "));
                let parsed = decoded.as_deref().ok().and_then(parse);
                let value = decoded.unwrap_or_else(|_| value.to_owned());
                return parsed.map(Some).ok_or(Error::BadParameter { name, value, expected });
            }
        }
        Ok(None)
    }

    /// All parameters of that name, decoded. What cannot be decoded stays as it is.
    pub fn all(self, name: &'static str) -> Vec<String> {
        let pairs = self.0.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let named = pairs.filter(|(key, _)| decode(&key.replace('+', " ")).is_ok_and(|key| key == name));
        named
            .map(|(_, value)| decode(&value.replace('+', " ")).unwrap_or_else(|_| value.to_owned()))
            .collect()
    }

    /// A time, with the text it was read from.
    pub fn time(self, name: &'static str) -> Result<Option<(TimeExpression, String)>> {
        self.parsed(name, GOOD_TIME, |text| Some((TimeExpression::parse(text)?, text.to_owned())))
    }

    /// A length of time, with the text it was read from.
    pub fn length(self, name: &'static str) -> Result<Option<(Span, String)>> {
        self.parsed(name, GOOD_LENGTH, |text| Some((parse_length(text)?, text.to_owned())))
    }

    /// A flag: `true` or `false`, in any case; false if it is not given.
    pub fn flag(self, name: &'static str) -> Result<bool> {
        let parsed = self.parsed(name, "`true` or `false`", |text| text.to_ascii_lowercase().parse().ok());
        Ok(parsed?.unwrap_or(false))
    }
}

/// Percent-decodes a text.
///
/// # Errors
/// What is wrong with it, for the error text.
pub fn decode(text: &str) -> Result<String, &'static str> {
    let is_escape = |digits: &[u8]| digits.iter().all(u8::is_ascii_hexdigit);
    if !text.split('%').skip(1).all(|after| after.as_bytes().get(..2).is_some_and(is_escape)) {
        return Err("a `%` must have two hexadecimal digits behind it");
    }
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Cow::into_owned).map_err(|_| "it must be UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timestamp::Timestamp;

    #[test]
    fn the_first_of_repeated_parameters_counts_and_unknown_ones_are_ignored() {
        let query = Query::new("x=%zz&tombstones=TRUE&tombstones=no&y");
        assert!(query.flag("tombstones").unwrap());
        assert!(!query.flag("allow_holes").unwrap());
    }

    #[test]
    fn the_error_quotes_a_bad_value() {
        let rows = [
            "start=",
            "start",
            "start=%zz",
            "start=%ff",
            "start=2026-11-20T25",
            "start=2026-11-20T10%2",
            "st%61rt=x",
            "start=1&start=2026-11-20",
        ];
        for query in rows {
            let shown = Query::new(query).time("start").expect_err(query).to_string();
            assert!(
                shown.starts_with("bad start `") && shown.contains("2026-11-20T10:55:02"),
                "{query}: {shown}"
            );
        }
    }

    #[test]
    fn a_plus_sign_before_a_time_zone_may_be_unencoded() {
        let rows = [
            ("start=2026-11-20T10:00:00+02:00", "2026-11-20T08:00:00.000000Z"),
            ("start=2026-11-20T10:00:00%2B02:00", "2026-11-20T08:00:00.000000Z"),
            ("start=2026-11-20+10:00", "2026-11-20T10:00:00.000000Z"),
            ("start=2026-11-20%2010%3A00", "2026-11-20T10:00:00.000000Z"),
        ];
        for (query, shown) in rows {
            let (time, _) = Query::new(query).time("start").unwrap().unwrap();
            let expected = Timestamp::parse(shown).map(TimeExpression::Absolute);
            assert_eq!(Some(time), expected, "{query}");
        }
    }
}
