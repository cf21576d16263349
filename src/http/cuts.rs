//! `/cut/…`: a time range as one file.

mod segments;
mod timer;

mod request;
mod streamed;

mod movie;
mod stream;

pub(super) use movie::MovieQuery;
pub(super) use stream::CutQuery;
