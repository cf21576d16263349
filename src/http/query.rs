//! Percent-decoding, and the parameters of a query. Pure.

use percent_encoding::percent_decode_str;

use crate::error::{Error, Result};
use crate::timestamp::Timestamp;

/// The expected form of a time, for error texts.
const GOOD_TIME: &str =
    "a time in ISO 8601 such as `2026-11-20T10:55:02.123` or `2026-11-20T11:55:02%2B01:00`";
/// The expected form of a flag, for error texts.
const GOOD_FLAG: &str = "`true` or `false`";

/// The parameters of a query. Each route reads those that it knows; the others are ignored.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    /// The parameters of a percent-encoded query, without its question mark.
    pub fn new(query: &'a str) -> Self {
        Self(query)
    }

    /// The decoded value of the first parameter of that name.
    fn get(self, name: &'static str, expected: &'static str) -> Result<Option<String>> {
        for pair in self.0.split('&') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if decode(&key.replace('+', " ")).is_ok_and(|key| key == name) {
                let bad = |_| Error::BadParameter { name, value: value.to_owned(), expected };
                return decode(&value.replace('+', " ")).map(Some).map_err(bad);
            }
        }
        Ok(None)
    }

    /// A time, with the text it was read from.
    pub fn time(self, name: &'static str) -> Result<Option<(Timestamp, String)>> {
        let Some(value) = self.get(name, GOOD_TIME)? else { return Ok(None) };
        match Timestamp::parse(&value) {
            Some(time) => Ok(Some((time, value))),
            None => Err(Error::BadParameter { name, value, expected: GOOD_TIME }),
        }
    }

    /// A time without which the request is refused.
    pub fn required_time(self, name: &'static str) -> Result<Timestamp> {
        let found = self.time(name)?.map(|(time, _)| time);
        found.ok_or(Error::MissingParameter { name, expected: GOOD_TIME })
    }

    /// A flag: `true` or `false`, in any case.
    pub fn flag(self, name: &'static str) -> Result<Option<bool>> {
        match self.get(name, GOOD_FLAG)? {
            None => Ok(None),
            Some(value) if value.eq_ignore_ascii_case("true") => Ok(Some(true)),
            Some(value) if value.eq_ignore_ascii_case("false") => Ok(Some(false)),
            Some(value) => Err(Error::BadParameter { name, value, expected: GOOD_FLAG }),
        }
    }

    /// One of several words, each with its meaning. `expected` lists them for the error text.
    pub fn word<T: Copy>(
        self,
        name: &'static str,
        words: &[(&str, T)],
        expected: &'static str,
    ) -> Result<Option<T>> {
        let Some(value) = self.get(name, expected)? else { return Ok(None) };
        match words.iter().find(|(word, _)| *word == value) {
            Some((_, meaning)) => Ok(Some(*meaning)),
            None => Err(Error::BadParameter { name, value, expected }),
        }
    }
}

/// Percent-decodes a text.
///
/// # Errors
/// What is wrong with it, for the error text.
pub fn decode(text: &str) -> Result<String, &'static str> {
    if !text.as_bytes().contains(&b'%') {
        return Ok(text.to_owned());
    }
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('%') {
        if !after.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
            return Err("a `%` must have two hexadecimal digits behind it");
        }
        rest = &after[2..];
    }
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(std::borrow::Cow::into_owned).map_err(|_| "it must be UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_repeated_parameters_counts_and_unknown_ones_are_ignored() {
        let query = Query::new("x=%zz&tombstones=TRUE&tombstones=no&y");
        assert_eq!(query.flag("tombstones").unwrap(), Some(true));
        assert_eq!(query.flag("allow_holes").unwrap(), None);
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
            assert_eq!(time.to_string(), shown, "{query}");
        }
    }
}
