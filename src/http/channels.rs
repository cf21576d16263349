//! `/channels.m3u`: the streams for IPTV players.

use super::address::base_url;
use super::handler::{App, Handler};
use super::path::PathNames;
use super::query::Query;
use super::reply::Reply;
use super::request::Request;
use super::text::with_text;
use crate::archive::VariantName;
use crate::archive::layout::CHAT;
use crate::error::Result;
use crate::hls::channels::{Channel, render};
use crate::timestamp::{Span, Timestamp};

/// A day.
const DAY: Span = Span::from_secs(86_400);

/// `/channels.m3u`.
#[derive(Debug)]
pub(super) struct ChannelsRequest;

impl Handler for ChannelsRequest {
    fn decode(_: PathNames, _: Query) -> Result<Self> {
        Ok(Self)
    }

    fn handle(&self, app: &App, request: &Request, _: &dyn Fn() -> bool) -> Result<Reply> {
        let now = app.clock.now();
        let mut channels = Vec::new();
        for stream in app.archive.streams()? {
            if let Some(first) = first_hour(app, &stream)? {
                channels.push(Channel { stream, days: days_between(first, now) });
            }
        }
        let text = render(&base_url(request), &channels);
        let reply = Reply::empty(200).with("Content-Type", "audio/x-mpegurl; charset=utf-8");
        with_text(request, reply.with("Cache-Control", "no-store"), text.into())
    }
}

/// The start of the first hour of any variant of a stream; `None` for a stream without recordings.
fn first_hour(app: &App, stream: &str) -> Result<Option<Timestamp>> {
    let mut first = None;
    for variant in app.archive.variants(stream)?.iter().filter(|variant| *variant != CHAT) {
        let hours = app.archive.hours(VariantName { stream, variant })?;
        first = [first, hours.first().map(|hour| hour.start())].into_iter().flatten().min();
    }
    Ok(first)
}

/// Days from `first` to `now`, rounded up, at least one.
fn days_between(first: Timestamp, now: Timestamp) -> i64 {
    let (micros, day) = ((now - first).micros(), DAY.micros());
    (micros.div_euclid(day) + i64::from(micros.rem_euclid(day) != 0)).max(1)
}
