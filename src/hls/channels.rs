//! The text of a list of channels for IPTV players: M3U with the attributes that Kodi's IPTV Simple and others read.

use std::fmt::Write;

use super::{encode, quotable};

/// How much of a channel a player gets that asks for no time.
const LIVE_WINDOW: &str = "-2h";

/// A stream as players list it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// The stream's name, which may hold any character.
    pub stream: String,
    /// How many days back its recordings reach, rounded up.
    pub days: i64,
}

/// The list of `channels`, whose addresses begin with `base_url`, which must need no encoding.
///
/// Players put the start of a programme in seconds since 1970 in place of `{utc}`, and its length in seconds in place of
/// `{duration}`.
pub fn render(base_url: &str, channels: &[Channel]) -> String {
    let mut text = String::from("#EXTM3U\n");
    for Channel { stream, days } in channels {
        let name = quotable(stream);
        let url = format!("{base_url}/playlist/{}.m3u8", encode(stream));
        let _ = write!(
            text,
            "#EXTINF:-1 tvg-id=\"{name}\" tvg-name=\"{name}\" catchup=\"default\" catchup-days=\"{days}\" \
             catchup-source=\"{url}?start={{utc}}&duration={{duration}}\",{name}\n{url}?start={LIVE_WINDOW}\n"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(stream: &str) -> Channel {
        Channel { stream: stream.to_owned(), days: 3 }
    }

    #[test]
    fn a_channel_has_an_address_for_now_and_one_for_any_time() {
        let text = render("https://example.org/tv", &[channel("gdq"), channel("a b")]);
        let expected = "#EXTM3U\n\
            #EXTINF:-1 tvg-id=\"gdq\" tvg-name=\"gdq\" catchup=\"default\" catchup-days=\"3\" \
            catchup-source=\"https://example.org/tv/playlist/gdq.m3u8?start={utc}&duration={duration}\",gdq\n\
            https://example.org/tv/playlist/gdq.m3u8?start=-2h\n\
            #EXTINF:-1 tvg-id=\"a b\" tvg-name=\"a b\" catchup=\"default\" catchup-days=\"3\" \
            catchup-source=\"https://example.org/tv/playlist/a%20b.m3u8?start={utc}&duration={duration}\",a b\n\
            https://example.org/tv/playlist/a%20b.m3u8?start=-2h\n";
        assert_eq!(text, expected);
        assert_eq!(render("http://a", &[]), "#EXTM3U\n");
    }

    #[test]
    fn names_add_no_line_no_attribute_and_no_placeholder() {
        for name in [
            "a\nhttp://evil",
            "a\" catchup-source=\"http://evil",
            "a\r\n#EXTINF:-1,b",
            "{utc}|User-Agent=x",
            "a,b\u{2028}",
        ] {
            let text = render("http://a", &[channel(name)]);
            assert_eq!(text.lines().count(), 3, "{text}");
            assert_eq!(text.matches('"').count(), 10, "{text}");
            let addresses = text.replace("{utc}&duration={duration}", "").replace("-2h", "");
            for address in addresses.split("http://a/").skip(1) {
                let end = address.find(['"', '\n']).expect("an end");
                assert!(!address[..end].contains(['{', '}', '|', ' ', ',']), "{address}");
            }
        }
    }
}
