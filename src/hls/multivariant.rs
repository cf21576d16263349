//! The text of a multivariant playlist: the variants of one stream (RFC 8216, section 4.3.4).

use std::cmp::Reverse;
use std::fmt::Write;

use super::quotable;

/// A variant of a stream, as a multivariant playlist describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct VariantStream {
    /// Its name, which may hold any character.
    pub name: String,
    /// The URI of its media playlist.
    pub uri: String,
    /// What its newest segments are like.
    pub measured: Measured,
}

/// Bit rates and content of a variant's newest segments.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// The greatest bit rate of a segment, in bits a second; 1 where none could be measured.
    pub peak_bandwidth: u64,
    /// The mean bit rate, in bits a second; 1 where no segment could be measured.
    pub average_bandwidth: u64,
    /// What the newest segment holds, as far as that is known.
    pub media: MediaInfo,
}

/// What a segment holds, as a multivariant playlist describes it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MediaInfo {
    /// The codecs, as RFC 6381 names them, with commas between.
    pub codecs: Option<String>,
    /// Width and height of the picture in pixels.
    pub resolution: Option<(u32, u32)>,
    /// Frames a second.
    pub frame_rate: Option<f64>,
    /// Whether the segment begins with a picture from which decoding can begin, so that it and all later pictures are right.
    pub is_independent: bool,
}

/// The playlist of `variants`, in order of falling bandwidth.
///
/// An attribute that is unknown for one variant is omitted for all, because players compare variants by it.
pub fn render(mut variants: Vec<VariantStream>) -> String {
    variants.sort_by_cached_key(|VariantStream { name, measured, .. }| {
        (Reverse((measured.peak_bandwidth, measured.average_bandwidth)), name.clone())
    });
    let all_have =
        |is_known: fn(&MediaInfo) -> bool| variants.iter().all(|variant| is_known(&variant.measured.media));
    let with_codecs = all_have(|media| media.codecs.is_some());
    let with_resolution = all_have(|media| media.resolution.is_some());
    let with_frame_rate = all_have(|media| media.frame_rate.is_some());

    let mut text = String::from("#EXTM3U\n#EXT-X-VERSION:3\n");
    if !variants.is_empty() && all_have(|media| media.is_independent) {
        text.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
    }
    for VariantStream { name, uri, measured } in &variants {
        let Measured { peak_bandwidth, average_bandwidth, media } = measured;
        let name = quotable(name);
        let mut line = format!("BANDWIDTH={peak_bandwidth},AVERAGE-BANDWIDTH={average_bandwidth}");
        if let (true, Some(codecs)) = (with_codecs, &media.codecs) {
            let _ = write!(line, ",CODECS=\"{codecs}\"");
        }
        if let (true, Some((width, height))) = (with_resolution, media.resolution) {
            let _ = write!(line, ",RESOLUTION={width}x{height}");
        }
        if let (true, Some(rate)) = (with_frame_rate, media.frame_rate) {
            let _ = write!(line, ",FRAME-RATE={rate:.3}");
        }
        let _ = write!(
            text,
            "#EXT-X-MEDIA:TYPE=VIDEO,GROUP-ID=\"{name}\",NAME=\"{name}\",AUTOSELECT=YES,DEFAULT=YES\n\
             #EXT-X-STREAM-INF:{line},VIDEO=\"{name}\",NAME=\"{name}\"\n{uri}\n"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variant(name: &str, peak_bandwidth: u64, media: MediaInfo) -> VariantStream {
        let uri = format!("/playlist/s/{}.m3u8", super::super::encode(name));
        let measured = Measured { peak_bandwidth, average_bandwidth: peak_bandwidth / 2, media };
        VariantStream { name: name.to_owned(), uri, measured }
    }

    fn known() -> MediaInfo {
        MediaInfo {
            codecs: Some("avc1.64001F,mp4a.40.2".to_owned()),
            resolution: Some((1280, 720)),
            frame_rate: Some(30000.0 / 1001.0),
            is_independent: true,
        }
    }

    #[test]
    fn variants_come_in_order_of_falling_bandwidth() {
        let text = render(vec![variant("480p", 900, known()), variant("source", 5000, known())]);
        let expected = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-INDEPENDENT-SEGMENTS\n\
            #EXT-X-MEDIA:TYPE=VIDEO,GROUP-ID=\"source\",NAME=\"source\",AUTOSELECT=YES,DEFAULT=YES\n\
            #EXT-X-STREAM-INF:BANDWIDTH=5000,AVERAGE-BANDWIDTH=2500,CODECS=\"avc1.64001F,mp4a.40.2\",\
            RESOLUTION=1280x720,FRAME-RATE=29.970,VIDEO=\"source\",NAME=\"source\"\n/playlist/s/source.m3u8\n\
            #EXT-X-MEDIA:TYPE=VIDEO,GROUP-ID=\"480p\",NAME=\"480p\",AUTOSELECT=YES,DEFAULT=YES\n\
            #EXT-X-STREAM-INF:BANDWIDTH=900,AVERAGE-BANDWIDTH=450,CODECS=\"avc1.64001F,mp4a.40.2\",\
            RESOLUTION=1280x720,FRAME-RATE=29.970,VIDEO=\"480p\",NAME=\"480p\"\n/playlist/s/480p.m3u8\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn an_attribute_that_is_unknown_for_one_is_omitted_for_all() {
        let audio = MediaInfo { codecs: Some("mp4a.40.2".to_owned()), ..MediaInfo::default() };
        let text = render(vec![variant("source", 5000, known()), variant("audio", 100, audio)]);
        assert!(text.contains("CODECS=\"mp4a.40.2\""), "{text}");
        for tag in ["RESOLUTION", "FRAME-RATE", "INDEPENDENT"] {
            assert!(!text.contains(tag), "{text}");
        }
        let text =
            render(vec![variant("source", 5000, known()), variant("unknown", 100, MediaInfo::default())]);
        assert!(!text.contains("CODECS"), "{text}");
    }

    #[test]
    fn names_cannot_break_out_of_their_quotes() {
        let rows = [("a\"b", "a%22b"), ("a\nb\r", "a%0Ab%0D"), ("a%22b", "a%2522b"), ("é x,=", "é x,=")];
        for (name, quoted) in rows {
            assert_eq!(quotable(name), quoted);
        }
        assert_eq!(render(vec![variant("x\"\n#EXT-X-ENDLIST", 1, MediaInfo::default())]).lines().count(), 5);
    }
}
