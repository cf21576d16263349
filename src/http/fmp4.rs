//! `/fmp4/…`: segments as fragments of MP4, and the initialization sections that those need.

use super::conditional::Validators;
use super::handler::{App, Handler};
use super::path::{PathNames, VariantPath};
use super::query::Query;
use super::reply::{Body, Reply};
use super::request::Request;
use super::segments::{describe, validators, with_range};
use crate::archive::hour::HourIndex;
use crate::archive::layout::{SEGMENT, Segment, SegmentName, SegmentType, parse_hour_name};
use crate::archive::runs::run_starts;
use crate::cut::CutSegment;
use crate::cut::fragment::{LAYOUT_VERSION, fragment, init_section};
use crate::error::{Error, Result};
use crate::mpegts::pes::Ticks;

/// The media type of fragments and initialization sections.
const CONTENT_TYPE: &str = "video/mp4";

/// How many segments are read for an initialization section, if the first ones do not have all that it needs.
const MAX_INIT_SEGMENTS: usize = 8;

/// The names and parameters of an address.
#[derive(Debug)]
struct Address {
    variant: VariantPath,
    /// The name of the hour's directory.
    hour: String,
    /// The name of the segment's file.
    file: String,
    /// The version of the layout, if the address says one.
    version: Option<u32>,
}

/// `/fmp4/{stream}/{variant}/{hour}/{name}.m4s`: a segment as a fragment.
#[derive(Debug)]
pub(super) struct FragmentRequest {
    address: Address,
    /// What is added to its timestamps.
    offset: Option<Ticks>,
}

/// `/fmp4/{stream}/{variant}/{hour}/{name}.init.mp4`: the initialization section of a segment and those that continue it.
#[derive(Debug)]
pub(super) struct InitRequest(Address);

/// The query of the address of an initialization section, with its question mark.
pub(super) fn init_query() -> String {
    format!("?v={LAYOUT_VERSION}")
}

/// The query of the address of a fragment, with its question mark.
pub(super) fn fragment_query(offset: Option<Ticks>) -> String {
    let offset = offset.map(|offset| format!("&o={}", offset.get())).unwrap_or_default();
    init_query() + &offset
}

impl Address {
    fn read(names: PathNames, query: Query) -> Result<Self> {
        let [stream, variant, hour, stem] = names.exactly()?;
        let expected = "the number in the playlist's addresses";
        let version = query.parsed("v", expected, |text| text.parse().ok())?;
        Ok(Self { variant: VariantPath { stream, variant }, hour, file: stem + SEGMENT, version })
    }

    /// The segment that the address names.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it names none, or bytes of another version: caches would keep these bytes in place of those.
    fn segment(&self) -> Result<Segment<'_>> {
        if let Some(version) = self.version.filter(|version| *version != LAYOUT_VERSION) {
            let what = format!(
                "this server writes layout version {LAYOUT_VERSION}, not {version}: load the playlist again"
            );
            return Err(Error::NotFound(what));
        }
        let named = self.named().filter(|segment| segment.name.segment_type != SegmentType::Temp);
        let what = "that is not the address of a segment; media playlists with `container=fmp4` have those";
        named.ok_or_else(|| Error::NotFound(what.to_owned()))
    }

    fn named(&self) -> Option<Segment<'_>> {
        Some(Segment { hour: parse_hour_name(&self.hour)?, name: SegmentName::parse(&self.file)? })
    }

    /// A segment of the same variant as it is read.
    fn source(&self, app: &App, segment: &Segment) -> CutSegment {
        CutSegment {
            path: app.archive.segment_path(self.variant.name(), segment),
            bytes: None,
            start: segment.start(),
            end: segment.end(),
            gap_before: false,
            complete: segment.name.segment_type == SegmentType::Full,
        }
    }

    /// The validators of what is made of a segment, and whether it never changes at this address. `part` tells apart what is
    /// made of the same segment.
    fn validators(&self, app: &App, segment: &Segment, part: &str) -> Result<(Validators, bool)> {
        let VariantPath { stream, variant } = &self.variant;
        let name = segment.name.to_string();
        let found = app.archive.find(&[stream, variant, &segment.hour.to_string(), &name])?;
        let hash = Some(segment.name.hash).filter(|_| segment.name.segment_type == SegmentType::Full);
        let of_file = validators(hash, found.len, found.modified);
        let etag = format!("\"{}-v{LAYOUT_VERSION}-{part}\"", of_file.etag.trim_matches('"'));
        Ok((Validators { etag, ..of_file }, hash.is_some() && self.version.is_some()))
    }
}

impl Handler for FragmentRequest {
    fn decode(names: PathNames, query: Query) -> Result<Self> {
        let expected = "the number in the playlist's addresses, from 0 to 8589934591";
        let parse = |text: &str| text.parse().ok().filter(|ticks| Ticks::new(*ticks).get() == *ticks);
        let offset = query.parsed("o", expected, parse)?.map(Ticks::new);
        Ok(Self { address: Address::read(names, query)?, offset })
    }

    fn handle(&self, app: &App, request: &Request, _: &dyn Fn() -> bool) -> Result<Reply> {
        let segment = self.address.segment()?;
        let part = self.offset.map_or_else(|| "own".to_owned(), |offset| offset.get().to_string());
        let (validators, is_immutable) = self.address.validators(app, &segment, &part)?;
        if validators.not_modified(request) {
            return Ok(describe(&validators, is_immutable).with_status(304));
        }
        let source = self.address.source(app, &segment);
        let made = fragment(&source, self.offset, &app.samples, app.tools.max_segment_bytes())?;
        app.metrics.left_frames_out(made.frames_left_out);
        Ok(reply(request, &validators, is_immutable, made.bytes))
    }
}

impl Handler for InitRequest {
    fn decode(names: PathNames, query: Query) -> Result<Self> {
        Ok(Self(Address::read(names, query)?))
    }

    /// The section is made of the named segment. If that is gone, or has not all that is needed, it is made of the next one of
    /// the run that has; so this address may give another one later.
    fn handle(&self, app: &App, request: &Request, _: &dyn Fn() -> bool) -> Result<Reply> {
        let Self(address) = self;
        let named = address.segment()?;
        let index = app.archive.hour(address.variant.name(), named.hour)?;
        let (mut incomplete, mut refusal, mut looked_at) = (None, None, 0);
        for segment in [named].into_iter().chain(continuing(&index, &named)) {
            let source = address.source(app, &segment);
            match init_section(&source, &app.samples, app.tools.max_segment_bytes()) {
                Ok(section) if section.is_complete => {
                    incomplete = Some((segment, section));
                    break;
                }
                Ok(section) => _ = incomplete.get_or_insert((segment, section)),
                Err(Error::NotFound(_)) => continue,
                Err(error @ Error::Unsupported(_)) => _ = refusal.get_or_insert(error),
                Err(error) => return Err(error),
            }
            looked_at += 1;
            if looked_at == MAX_INIT_SEGMENTS {
                break;
            }
        }
        let Some((segment, section)) = incomplete else {
            return Err(refusal.unwrap_or_else(|| {
                Error::NotFound("neither this segment is there, nor one that continues it".to_owned())
            }));
        };
        let (validators, is_immutable) = address.validators(app, &segment, "init")?;
        let is_immutable = is_immutable && segment == named;
        if validators.not_modified(request) {
            return Ok(describe(&validators, is_immutable).with_status(304));
        }
        Ok(reply(request, &validators, is_immutable, section.bytes))
    }
}

/// The segments that continue `named`. If that is not in its hour, as it was deleted, these are the next one and those that
/// continue that.
fn continuing<'a>(index: &'a HourIndex, named: &Segment) -> impl Iterator<Item = Segment<'a>> {
    let runs = run_starts(index.segments());
    let next = index.position(named.start());
    let is_there = index.segment(next).as_ref() == Some(named);
    let run = runs.get(next).copied();
    let later = next + usize::from(is_there)..runs.len();
    later.filter(move |position| runs.get(*position).copied() == run).filter_map(|at| index.segment(at))
}

/// The response with bytes in memory, or the range of them that is asked for.
fn reply(request: &Request, validators: &Validators, is_immutable: bool, bytes: Vec<u8>) -> Reply {
    let reply = describe(validators, is_immutable).with("Content-Type", CONTENT_TYPE);
    with_range(request, validators, reply, bytes.len() as u64, |offset, len| {
        let part = usize::try_from(offset).ok().zip(usize::try_from(offset + len).ok());
        let part =
            part.and_then(|(start, end)| bytes.get(start..end)).filter(|part| part.len() < bytes.len());
        Body::bytes(part.map(<[u8]>::to_vec).unwrap_or(bytes))
    })
}
