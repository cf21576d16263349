//! HLS playlists as text (RFC 8216). Pure: what goes in comes from the caller, what comes out is bytes.

pub mod media;
pub mod multivariant;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};

/// What stands for itself in a part of a path or a query: letters, digits and `-._~` (RFC 3986, section 2.3).
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// `text` as a part of a path or a query, with all but unreserved characters percent-encoded.
pub fn encode(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, UNRESERVED)
}
