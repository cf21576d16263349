//! `/playlist/{stream}/{variant}/{alias}.m3u8`: media playlists by the names that IPTV players know from other servers.
//!
//! `archive-`, `timeshift_abs-` and `timeshift_rel-` are those of Flussonic, `playlist_dvr_range-` is that of Nimble
//! Streamer. Times in them are seconds since 1970.

use super::handler::{App, Handler};
use super::path::{PathNames, VariantPath};
use super::playlists::{Container, MediaRequest, read_wants_update};
use super::query::Query;
use super::reply::Reply;
use super::request::Request;
use super::time_range::TimeRange;
use crate::error::{Error, Result};
use crate::timestamp::expression::{TimeExpression, parse_epoch};
use crate::timestamp::{Span, Timestamp};

/// The valid names, for error texts.
const GOOD_ALIAS: &str = "`archive-1795171502-3600`, `archive-1795171502-now`, `timeshift_abs-1795171502` or \
    `timeshift_rel-3600`, in seconds";

/// `/playlist/{stream}/{variant}/{alias}.m3u8`.
#[derive(Debug)]
pub(super) enum AliasRequest {
    /// A range that the name gives.
    Media(MediaRequest),
    /// From so long before now on: redirected to the name of the absolute time, so that reloads have the same start.
    Ago(Span),
}

/// What a name asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Alias {
    /// From `start` to `end`, or on.
    Range { start: Timestamp, end: Option<Timestamp> },
    /// From there on, to be played from there.
    From(Timestamp),
    /// From so long before now on, to be played from there.
    Ago(Span),
}

impl Handler for AliasRequest {
    fn decode(names: PathNames, query: Query) -> Result<Self> {
        let [stream, variant, name] = names.exactly()?;
        let container = Container::read(query)?.unwrap_or_default();
        let (start, end, plays_from_start) = match Alias::parse(&name)? {
            Alias::Range { start, end } => (start, end, false),
            Alias::From(start) => (start, None, true),
            Alias::Ago(span) => return Ok(Self::Ago(span)),
        };
        let (variant, range) = (VariantPath { stream, variant }, TimeRange::absolute(start, end));
        let wants_update = read_wants_update(query)?;
        Ok(Self::Media(MediaRequest {
            variant,
            range,
            plays_from_start,
            anchor: None,
            wants_update,
            container,
        }))
    }

    fn handle(&self, app: &App, request: &Request, is_cancelled: &dyn Fn() -> bool) -> Result<Reply> {
        match self {
            Self::Media(media) => media.handle(app, request, is_cancelled),
            Self::Ago(span) => Ok(redirect(app.clock.now(), *span, request.query())),
        }
    }
}

impl Alias {
    /// # Errors
    /// [`Error::NoSuchRoute`] if the name is none of these, [`Error::BadParameter`] if only its numbers are malformed.
    fn parse(name: &str) -> Result<Self> {
        let malformed =
            || Error::BadParameter { name: "playlist", value: name.to_owned(), expected: GOOD_ALIAS };
        let (kind, numbers) = name.split_once('-').ok_or(Error::NoSuchRoute(None))?;
        let parsed = match kind {
            "archive" | "playlist_dvr_range" => numbers.split_once('-').and_then(|(start, length)| {
                let start = parse_epoch(start)?;
                let end = if length == "now" { None } else { Some(start + Span::parse_seconds(length)?) };
                Some(Self::Range { start, end })
            }),
            "timeshift_abs" => parse_epoch(numbers).map(Self::From),
            "timeshift_rel" => Span::parse_seconds(numbers).map(Self::Ago),
            _ => return Err(Error::NoSuchRoute(None)),
        };
        parsed.ok_or_else(malformed)
    }
}

/// The redirect to the playlist that starts `ago` before `now`, in whole seconds. It is relative, so that it also holds
/// behind a proxy that serves this server below another path.
fn redirect(now: Timestamp, ago: Span, query: &str) -> Reply {
    let start = TimeExpression::Now(-ago).resolve(now, None).unwrap_or(now);
    let seconds = start.micros().div_euclid(1_000_000).max(0);
    let query = if query.is_empty() { String::new() } else { format!("?{query}") };
    Reply::empty(302)
        .with("Location", format!("timeshift_abs-{seconds:09}.m3u8{query}"))
        .with("Cache-Control", "no-store")
        .with("X-Range-Start", Timestamp::from_micros(seconds * 1_000_000).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: i64 = 1_795_171_502;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn names_of_other_servers_are_ranges() {
        let range = |end| Alias::Range { start: at(EPOCH), end };
        let rows = [
            ("archive-1795171502-3600", range(Some(at(EPOCH + 3600)))),
            ("archive-1795171502-0", range(Some(at(EPOCH)))),
            ("archive-1795171502-now", range(None)),
            ("playlist_dvr_range-1795171502-120", range(Some(at(EPOCH + 120)))),
            ("playlist_dvr_range-1795171502-now", range(None)),
            ("timeshift_abs-1795171502", Alias::From(at(EPOCH))),
            ("timeshift_abs-1795171502.0", Alias::From(at(EPOCH))),
            ("timeshift_rel-7200", Alias::Ago(Span::from_secs(7200))),
            ("timeshift_rel-0", Alias::Ago(Span::ZERO)),
        ];
        for (name, alias) in rows {
            assert_eq!(Alias::parse(name).expect(name), alias);
        }
    }

    #[test]
    fn malformed_numbers_are_named_and_other_names_are_unknown() {
        let malformed = [
            "archive-",
            "archive-1795171502",
            "archive-1795171502-",
            "archive-1795171502-later",
            "archive-1795171502--60",
            "archive-1795171502-1h",
            "archive-1795171502-60-60",
            "archive-now-60",
            "archive-20261120-60",
            "timeshift_abs-",
            "timeshift_abs-now",
            "timeshift_abs-2026-11-20",
            "timeshift_abs-1795171502-60",
            "timeshift_rel-",
            "timeshift_rel--60",
            "timeshift_rel-1795171502",
            "timeshift_rel-60s",
        ];
        for name in malformed {
            let error = Alias::parse(name).expect_err(name).to_string();
            assert!(error.starts_with(&format!("bad playlist `{name}`: expected `archive-")), "{error}");
        }
        for name in [
            "",
            "a",
            "index",
            "archive",
            "Archive-1795171502-60",
            "video-1795171502-60",
            "mono-timeshift_rel-60",
        ] {
            assert!(matches!(Alias::parse(name), Err(Error::NoSuchRoute(_))), "{name}");
        }
    }

    #[test]
    fn a_redirect_keeps_the_query_and_its_start_can_be_parsed() {
        let rows = [
            (at(EPOCH), Span::from_secs(90), "", "timeshift_abs-1795171412.m3u8"),
            (at(EPOCH), Span::from_millis(500), "", "timeshift_abs-1795171501.m3u8"),
            (at(EPOCH), Span::ZERO, "token=a%20b&x", "timeshift_abs-1795171502.m3u8?token=a%20b&x"),
            (at(5), Span::from_secs(90), "", "timeshift_abs-000000000.m3u8"),
        ];
        for (now, ago, query, location) in rows {
            let reply = redirect(now, ago, query);
            assert_eq!(reply.header("Location"), Some(location));
            let (name, _) = location.split_once(".m3u8").expect(location);
            assert!(matches!(Alias::parse(name), Ok(Alias::From(_))), "{name}");
        }
    }
}
