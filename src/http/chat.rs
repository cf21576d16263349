//! `/{stream}/chat.json`: the chat of a stream in a range of time.

use super::handler::{App, Handler};
use super::path::PathNames;
use super::playlists::with_range;
use super::query::Query;
use super::reply::Reply;
use super::request::Request;
use super::text::{text_reply, with_text};
use super::time_range::TimeRange;
use crate::error::{Error, Result};
use crate::fnv::Fnv;
use crate::timestamp::Span;

/// The longest range.
const MAX_RANGE: Span = Span::from_secs(2 * 3600);
/// What is missing in a request without a range.
const EXPECTED: &str = "a range, as in `start=2026-11-20T10:55:02&end=2026-11-20T11:00`";

/// `/{stream}/chat.json`.
#[derive(Debug)]
pub(super) struct ChatRequest {
    stream: String,
    range: TimeRange,
}

impl Handler for ChatRequest {
    fn decode(names: PathNames, query: Query) -> Result<Self> {
        let [stream] = names.exactly()?;
        let range = TimeRange::read(query)?;
        for (time, name) in [(range.start, "start"), (range.end, "end")] {
            time.ok_or(Error::MissingParameter { name, expected: EXPECTED })?;
        }
        if range.is_backwards() {
            return Err(Error::EndNotAfterStart);
        }
        Ok(Self { stream, range })
    }

    fn handle(&self, app: &App, request: &Request, is_cancelled: &dyn Fn() -> bool) -> Result<Reply> {
        let resolved = self.range.resolve_of_stream(&app.archive, &self.stream, app.clock.now())?;
        let range = resolved.and_then(|(start, end)| start.zip(end));
        let json = match range {
            Some((start, end)) if end <= start => return Err(Error::EndNotAfterStart),
            Some((start, end)) if end - start > MAX_RANGE => {
                return Err(Error::OutOfBounds("Cannot request more than 2h of chat"));
            }
            Some(range) => app.archive.chat(&self.stream, range, is_cancelled)?,
            // Relative to recordings that are not there.
            None => b"[]".to_vec(),
        };
        let mut tag = Fnv::new();
        tag.write(&json);
        let reply = text_reply(request, "application/json", "max-age=1", tag, |reply| {
            with_text(request, reply, json)
        })?;
        Ok(with_range(reply, range.filter(|_| self.range.is_relative())))
    }
}
