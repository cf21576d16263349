//! `/cut/…`: a time range as one file.

mod segments;
mod timer;
mod transitions;

mod request;
mod streamed;

mod parts;

mod movie;
mod stream;

pub(super) use movie::MovieQuery;
pub(super) use request::{RangeParameters, hours_of_variant, preceding};
pub(super) use segments::{CutRequest, preceding_segment, selection, trailing_segment};
pub(super) use stream::{CutQuery, WebmQuery};
