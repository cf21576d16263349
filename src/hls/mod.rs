//! HLS playlists as text (RFC 8216). Pure.

pub mod channels;
pub mod media;
pub mod multivariant;
pub mod window;

use std::fmt::Write;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};

/// All characters but the unreserved ones: letters, digits and `-._~` (RFC 3986, section 2.3).
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// `text` as a segment of a path or as a value in a query: all but unreserved characters are percent-encoded.
pub fn encode(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, UNRESERVED)
}

/// A name for a quoted string, which may hold no line feed, carriage return or double quote (RFC 8216, section 4.2). These
/// and other control characters are percent-encoded, and so is `%`, so that different names stay different.
fn quotable(name: &str) -> String {
    let mut quoted = String::with_capacity(name.len());
    for character in name.chars() {
        if character.is_control() || matches!(character, '"' | '%' | '\u{2028}' | '\u{2029}') {
            let mut bytes = [0; 4];
            for byte in character.encode_utf8(&mut bytes).bytes() {
                let _ = write!(quoted, "%{byte:02X}");
            }
        } else {
            quoted.push(character);
        }
    }
    quoted
}
