//! The name under which a client saves a response: `Content-Disposition` (RFC 6266).

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What is encoded in an extended parameter: all but the `attr-char` of RFC 8187, section 3.2.1.
const EXTENDED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// The header's value for a file to be saved as `name`, in which characters that no file system or no header takes are
/// replaced.
///
/// `filename` has ASCII letters, digits, `-`, `_` and `.` only. A name beyond ASCII comes in `filename*` too, which clients
/// prefer.
pub(super) fn attachment(name: &str) -> String {
    let replaced = |is_kept: fn(char) -> bool| -> String {
        name.chars().map(|character| if is_kept(character) { character } else { '-' }).collect()
    };
    let value = format!("attachment; filename=\"{}\"", replaced(is_plain));
    if name.is_ascii() {
        return value;
    }
    let extended =
        replaced(|character| is_plain(character) || !character.is_ascii() && is_visible(character));
    format!("{value}; filename*=UTF-8''{}", utf8_percent_encode(&extended, EXTENDED))
}

/// Whether a character is valid on every file system and needs no escape in a quoted string.
fn is_plain(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.')
}

/// Whether a character is visible and does not affect those around it. Control characters, line separators and characters
/// that change the direction of text do not belong in file names.
fn is_visible(character: char) -> bool {
    let is_format = matches!(character, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}');
    !character.is_control() && !is_format
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beyond_ascii_come_in_both_forms() {
        let rows = [
            ("s_v_2026.ts", "attachment; filename=\"s_v_2026.ts\""),
            ("a b\"c\\d;e:f/g%.ts", "attachment; filename=\"a-b-c-d-e-f-g-.ts\""),
            ("a\r\nX: y\0\u{7F}.ts", "attachment; filename=\"a--X--y--.ts\""),
            ("café.ts", "attachment; filename=\"caf-.ts\"; filename*=UTF-8''caf%C3%A9.ts"),
            (
                "日本 \"1\".ts",
                "attachment; filename=\"----1-.ts\"; filename*=UTF-8''%E6%97%A5%E6%9C%AC--1-.ts",
            ),
            (
                "é\u{85}\u{202E}\u{2028}'.ts",
                "attachment; filename=\"-----.ts\"; filename*=UTF-8''%C3%A9----.ts",
            ),
            ("🎬.ts", "attachment; filename=\"-.ts\"; filename*=UTF-8''%F0%9F%8E%AC.ts"),
        ];
        for (name, value) in rows {
            assert_eq!(attachment(name), value, "{name:?}");
        }
    }
}
