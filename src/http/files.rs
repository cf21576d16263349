//! `/files…`, `/extras/…`: the streams, variants, hours and files of the archive, as JSON arrays.

use std::sync::Arc;

use super::handler::{App, Handler};
use super::path::{PathNames, VariantPath};
use super::query::Query;
use super::reply::{Body, Reply};
use super::request::Request;
use super::text::{gzip, is_compressed, text_reply};
use crate::archive::layout::hour_name;
use crate::archive::listing::NamesJson;
use crate::error::Result;
use crate::fnv::Fnv;

/// `/files`: the names of the streams.
#[derive(Debug)]
pub(super) struct StreamsRequest;

/// `/files/{stream}`: the names of a stream's variants.
#[derive(Debug)]
pub(super) struct VariantsRequest {
    stream: String,
}

/// `/files/{stream}/{variant}`: the hours of a variant.
#[derive(Debug)]
pub(super) struct HoursRequest {
    variant: VariantPath,
}

/// `/files/{stream}/{variant}/{hour}`: the names of the files of an hour.
#[derive(Debug)]
pub(super) struct NamesRequest {
    variant: VariantPath,
    hour: String,
    /// Whether tombstones are listed too.
    tombstones: bool,
}

/// `/extras/{dir}`: all files below a directory, at any depth.
#[derive(Debug)]
pub(super) struct ExtrasRequest {
    directory: String,
}

impl Handler for StreamsRequest {
    fn decode(_: PathNames, _: Query) -> Result<Self> {
        Ok(Self)
    }

    fn handle(&self, app: &App, request: &Request, _: &dyn Fn() -> bool) -> Result<Reply> {
        json_array(request, &app.archive.streams()?)
    }
}

impl Handler for VariantsRequest {
    fn decode(names: PathNames, _: Query) -> Result<Self> {
        let [stream] = names.exactly()?;
        Ok(Self { stream })
    }

    fn handle(&self, app: &App, request: &Request, _: &dyn Fn() -> bool) -> Result<Reply> {
        json_array(request, &app.archive.variants(&self.stream)?)
    }
}

impl Handler for HoursRequest {
    fn decode(names: PathNames, _: Query) -> Result<Self> {
        Ok(Self { variant: names.variant()? })
    }

    fn handle(&self, app: &App, request: &Request, _: &dyn Fn() -> bool) -> Result<Reply> {
        let hours = app.archive.hours(self.variant.name())?;
        json_array(request, &hours.iter().copied().map(hour_name).collect::<Vec<_>>())
    }
}

impl Handler for NamesRequest {
    fn decode(names: PathNames, query: Query) -> Result<Self> {
        let [stream, variant, hour] = names.exactly()?;
        let tombstones = query.flag("tombstones")?;
        Ok(Self { variant: VariantPath { stream, variant }, hour, tombstones })
    }

    fn handle(&self, app: &App, request: &Request, _: &dyn Fn() -> bool) -> Result<Reply> {
        let listing = app.archive.listing(self.variant.name(), &self.hour)?;
        json_reply(request, if self.tombstones { &listing.with_tombstones } else { &listing.visible })
    }
}

impl Handler for ExtrasRequest {
    fn decode(names: PathNames, _: Query) -> Result<Self> {
        let [directory] = names.exactly()?;
        Ok(Self { directory })
    }

    fn handle(&self, app: &App, request: &Request, is_cancelled: &dyn Fn() -> bool) -> Result<Reply> {
        json_array(request, &app.archive.extras(&self.directory, is_cancelled)?)
    }
}

/// Sorted names as a response.
fn json_array(request: &Request, names: &[String]) -> Result<Reply> {
    json_reply(request, &NamesJson::new(names)?)
}

fn json_reply(request: &Request, names: &NamesJson) -> Result<Reply> {
    let mut tag = Fnv::new();
    tag.write_u64(names.fingerprint);
    text_reply(request, "application/json", "max-age=1", tag, |reply| {
        if is_compressed(request, names.json.len()) {
            let compressed = Arc::clone(names.compressed(gzip)?);
            return Ok(reply.with("Content-Encoding", "gzip").with_body(Body::bytes(compressed)));
        }
        Ok(reply.with_body(Body::bytes(Arc::clone(&names.json))))
    })
}
