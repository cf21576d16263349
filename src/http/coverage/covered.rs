//! What a request for coverage asks for, and what the archive has of it.

use crate::archive::VariantName;
use crate::archive::coverage::Coverage;
use crate::archive::layout::CHAT;
use crate::archive::ranges::{Range, Union, scaled};
use crate::error::{Error, Result};
use crate::fnv::Fnv;
use crate::http::handler::App;
use crate::http::path::PathNames;
use crate::http::playlists::{nothing_recorded, require_stream};
use crate::http::query::Query;
use crate::http::time_range::TimeRange;
use crate::timestamp::{Span, Timestamp};

/// A request for the coverage of a variant, or of all variants of a stream.
#[derive(Debug)]
pub(super) struct CoverageRequest {
    stream: String,
    variant: Option<String>,
    range: TimeRange,
    /// What is nearer together than this is one range.
    scale: Span,
}

/// The coverage of the variants that were asked for.
#[derive(Debug)]
pub(super) struct Covered {
    pub(super) stream: String,
    /// By name, sorted; one if one was asked for.
    pub(super) variants: Vec<(String, Coverage)>,
    /// Whether all variants were asked for.
    pub(super) is_stream: bool,
    /// From the earliest start of a range to the latest end.
    pub(super) span: (Timestamp, Timestamp),
    pub(super) scale: Span,
    is_relative: bool,
}

/// Ranges in order.
type Ranges<'a> = Box<dyn Iterator<Item = Result<Range>> + 'a>;

/// A stretch of time in which something was recorded, or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stretch {
    Recorded(Range),
    Hole(Timestamp, Timestamp),
}

impl CoverageRequest {
    pub(super) fn read(PathNames(names): PathNames, query: Query) -> Result<Self> {
        let mut names = names.into_iter();
        let (stream, variant) = (names.next().ok_or(Error::NoSuchRoute(None))?, names.next());
        let scale = query.length("scale")?.map_or(Span::ZERO, |(scale, _)| scale);
        Ok(Self { stream, variant, range: TimeRange::read(query)?, scale })
    }

    /// The coverage of the variant, or of all variants of which there are recordings. A time relative to the live end is
    /// relative to that of each.
    pub(super) fn covered(&self, app: &App, is_cancelled: &dyn Fn() -> bool) -> Result<Covered> {
        let (now, stream) = (app.clock.now(), self.stream.as_str());
        let names = if let Some(variant) = &self.variant {
            vec![variant.clone()]
        } else {
            require_stream(app, stream)?;
            app.archive.variants(stream)?.into_iter().filter(|variant| variant != CHAT).collect()
        };
        let mut variants = Vec::new();
        for variant in names {
            let name = VariantName { stream, variant: &variant };
            let hours = app.archive.hours(name)?;
            let range = self.range.resolve(&app.archive, name, &hours, now)?.filter(|_| !hours.is_empty());
            let Some(range) = range else { continue };
            let coverage = Coverage::read(&app.archive, name, hours, range, now, is_cancelled)?;
            variants.push((variant, coverage));
        }
        let start = variants.iter().map(|(_, coverage)| coverage.start).min();
        let end = variants.iter().map(|(_, coverage)| coverage.end).max();
        Ok(Covered {
            stream: stream.to_owned(),
            span: start.zip(end).ok_or(()).or_else(|()| Err(self.nothing_recorded(app)?))?,
            variants,
            is_stream: self.variant.is_none(),
            scale: self.scale,
            is_relative: self.range.is_relative(),
        })
    }

    fn nothing_recorded(&self, app: &App) -> Result<Error> {
        let stream = &self.stream;
        if let Some(variant) = &self.variant {
            return nothing_recorded(app, VariantName { stream, variant });
        }
        Ok(Error::NotFound(format!("nothing has been recorded of stream `{}`", stream.escape_debug())))
    }
}

impl Covered {
    /// How many ranges all variants have together.
    pub(super) fn ranges(&self) -> usize {
        self.variants.iter().map(|(_, coverage)| coverage.count).sum()
    }

    /// The range of the answer, if the request gave a relative time.
    pub(super) fn relative_span(&self) -> Option<(Timestamp, Timestamp)> {
        self.is_relative.then_some(self.span)
    }

    /// Where at least one variant has something.
    pub(super) fn any(&self) -> Ranges<'_> {
        Box::new(Union::new(self.variants.iter().map(|(_, coverage)| coverage.ranges())))
    }

    /// What lies between the two times of a span, in order, from some ranges inside it.
    pub(super) fn stretches<'a>(
        &self,
        ranges: Ranges<'a>,
        (start, end): (Timestamp, Timestamp),
    ) -> impl Iterator<Item = Result<Stretch>> + use<'a> {
        let mut ranges = scaled(ranges, self.scale);
        let (mut until, mut next) = (start, None);
        std::iter::from_fn(move || {
            let range = match next.take().or_else(|| ranges.next()) {
                Some(Ok(range)) => range,
                Some(Err(error)) => return Some(Err(error)),
                None if until < end => {
                    return Some(Ok(Stretch::Hole(std::mem::replace(&mut until, end), end)));
                }
                None => return None,
            };
            if until < range.start {
                next = Some(Ok(range));
                return Some(Ok(Stretch::Hole(std::mem::replace(&mut until, range.start), range.start)));
            }
            until = range.end;
            Some(Ok(Stretch::Recorded(range)))
        })
    }

    /// A hash of all that the answer depends on.
    pub(super) fn tag(&self, format: &str) -> Fnv {
        let mut tag = Fnv::new();
        tag.write_str(format);
        tag.write_str(&self.stream);
        tag.write_u64(self.is_stream.into());
        tag.write_u64(self.scale.micros().cast_unsigned());
        for (name, coverage) in &self.variants {
            tag.write_str(name);
            tag.write_u64(coverage.start.micros().cast_unsigned());
            tag.write_u64(coverage.end.micros().cast_unsigned());
            tag.write_u64(coverage.fingerprint);
        }
        tag
    }
}
