//! `/`: the web page for browsers, and for other clients a text with an example command for each route.

use std::fmt::Write;

use super::address::base_url;
use super::assets::{accepts_html, page};
use super::handler::{App, Handler};
use super::path::PathNames;
use super::query::Query;
use super::reply::Reply;
use super::request::Request;
use crate::archive::VariantName;
use crate::archive::layout::{SEGMENT, hour_name};
use crate::error::Result;
use crate::hls::encode;
use crate::timestamp::{Span, Timestamp};

/// `/`.
#[derive(Debug)]
pub(super) struct FrontPageRequest;

impl Handler for FrontPageRequest {
    fn decode(_: PathNames, _: Query) -> Result<Self> {
        Ok(Self)
    }

    fn handle(&self, app: &App, request: &Request, _: &dyn Fn() -> bool) -> Result<Reply> {
        if accepts_html(request) {
            return Ok(page(request).with("Vary", "Accept, Accept-Encoding"));
        }
        Ok(front_page(app, request).with("Vary", "Accept, Accept-Encoding"))
    }
}

/// The names and times in the example commands, percent-encoded where a URL needs that.
#[derive(Debug)]
struct Example {
    stream: String,
    variant: String,
    hour: String,
    file: String,
    start: String,
    end: String,
}

/// The commands, as plain text for `curl`.
fn front_page(app: &App, request: &Request) -> Reply {
    let base = base_url(request);
    let version = env!("CARGO_PKG_VERSION");
    let mut text = format!("restreamer {version}: an archive of recorded live streams\n\n");
    let found = find_example(app).inspect_err(|error| log::error!("{error}"));
    let reason =
        if found.is_ok() { "Nothing has been recorded yet" } else { "The archive cannot be read just now" };
    let example = found.ok().flatten().unwrap_or_else(|| {
        let _ = writeln!(text, "{reason}; the names below are only examples.\n");
        Example {
            stream: "STREAM".to_owned(),
            variant: "VARIANT".to_owned(),
            hour: "2026-11-20T10".to_owned(),
            file: "NAME.ts".to_owned(),
            start: "2026-11-20T10:55:02".to_owned(),
            end: "2026-11-20T10:55:12".to_owned(),
        }
    });
    let commands = [footage_commands(&base, &example), overview_commands(&base, &example)];
    for (purpose, command) in commands.into_iter().flatten() {
        let _ = writeln!(text, "# {purpose}\n{command}\n");
    }
    Reply::bytes("text/plain; charset=utf-8", text.into_bytes()).with("Cache-Control", "no-store")
}

/// What there is to do with footage, and the commands that do it.
fn footage_commands(base: &str, example: &Example) -> Vec<(&'static str, String)> {
    let Example { stream, variant, hour, file, start, end } = example;
    let fragment =
        format!("{base}/fmp4/{stream}/{variant}/{hour}/{}", file.strip_suffix(SEGMENT).unwrap_or(file));
    vec![
        ("all of this in a browser: watch, find a moment, save a clip", format!("xdg-open {base}/")),
        ("the streams", format!("curl {base}/files")),
        ("the variants of a stream", format!("curl {base}/files/{stream}")),
        ("the hours of a variant", format!("curl {base}/files/{stream}/{variant}")),
        ("the files of an hour", format!("curl {base}/files/{stream}/{variant}/{hour}")),
        ("all files below a directory, such as images", format!("curl {base}/extras/media")),
        ("a file", format!("curl -O {base}/segments/{stream}/{variant}/{hour}/{file}")),
        ("play a stream, all of it", format!("ffplay {base}/playlist/{stream}.m3u8")),
        (
            "play a time range of a variant (times are UTC)",
            format!("ffplay '{base}/playlist/{stream}/{variant}.m3u8?start={start}&end={end}'"),
        ),
        (
            "the same as fragmented MP4, for HEVC and for browsers",
            format!(
                "ffplay '{base}/playlist/{stream}/{variant}.m3u8?start={start}&end={end}&container=fmp4'"
            ),
        ),
        (
            "a segment of that, which plays alone",
            format!("curl '{fragment}.init.mp4' '{fragment}.m4s' > segment.mp4"),
        ),
        (
            "an exact time range as one file",
            format!("curl -OJ '{base}/cut/{stream}/{variant}.ts?start={start}&end={end}&type=smart'"),
        ),
        (
            "the segments that cover a time range, as one file",
            format!("curl -OJ '{base}/cut/{stream}/{variant}.ts?start={start}&end={end}&type=rough'"),
        ),
        (
            "the same from an hour ago on, by a name that IPTV players know",
            format!("ffplay {base}/playlist/{stream}/{variant}/timeshift_rel-3600.m3u8"),
        ),
        (
            "the last 30 seconds there are, as one file",
            format!("curl -OJ '{base}/cut/{stream}/{variant}.ts?start=-30s&type=smart'"),
        ),
        (
            "the same as MP4, which phones and browsers play",
            format!("curl -OJ '{base}/cut/{stream}/{variant}.mp4?start=-30s'"),
        ),
        (
            "the same as WebM, encoded quickly, for a preview",
            format!("curl -OJ '{base}/cut/{stream}/{variant}.webm?start=-30s'"),
        ),
        (
            "several time ranges as one file",
            format!("curl -OJ '{base}/cut/{stream}/{variant}.mp4?range={start},{end}&range=-30s,-20s'"),
        ),
    ]
}

/// The same for what shows a recording at a glance, and for the server itself.
fn overview_commands(base: &str, example: &Example) -> Vec<(&'static str, String)> {
    let Example { stream, variant, start, end, .. } = example;
    vec![
        (
            "when something was recorded, and what is missing",
            format!("curl '{base}/coverage/{stream}/{variant}.json?scale=60'"),
        ),
        ("the same of all variants of the stream", format!("curl '{base}/coverage/{stream}.json?scale=60'")),
        ("the same as a picture, for browsers", format!("curl -O {base}/coverage/{stream}/{variant}.svg")),
        ("a picture of all variants of the stream", format!("curl -O {base}/coverage/{stream}.svg")),
        (
            "the newest frame, as a picture",
            format!("curl -o frame.png '{base}/frame/{stream}/{variant}.png?timestamp=live'"),
        ),
        (
            "the frame at a time, smaller",
            format!("curl -o frame.jpg '{base}/frame/{stream}/{variant}.jpg?timestamp={start}&width=640'"),
        ),
        (
            "key frames of a time range as tiles of one picture",
            format!("curl -O '{base}/storyboard/{stream}/{variant}.jpg?start={start}&end={end}&count=10'"),
        ),
        (
            "where each of them is, for players (WebVTT)",
            format!("curl '{base}/storyboard/{stream}/{variant}.vtt?start={start}&end={end}&count=10'"),
        ),
        (
            "how loud a time range is, as a picture",
            format!("curl -o waveform.png '{base}/waveform/{stream}/{variant}.png?start={start}&end={end}'"),
        ),
        (
            "the same as numbers",
            format!("curl '{base}/waveform/{stream}/{variant}.json?start={start}&end={end}&points=10'"),
        ),
        (
            "the newest frame below a template, as a thumbnail",
            format!(
                "curl -o thumbnail.png --data-binary @template.png '{base}/thumbnail/{stream}/{variant}.png?timestamp=live&crop=0,0,1280,720&location=0,0,1280,720'"
            ),
        ),
        (
            "what was said in the chat, if that was recorded",
            format!("curl '{base}/{stream}/chat.json?start={start}&end={end}'"),
        ),
        ("the streams as channels, for Kodi and other IPTV players", format!("curl {base}/channels.m3u")),
        ("the health of this server", format!("curl {base}/health")),
        ("its metrics, for Prometheus", format!("curl {base}/metrics")),
        ("its API, for programs (OpenAPI 3.1)", format!("curl {base}/openapi.yaml")),
    ]
}

/// Names of the first variant that has an hour, and the last 10 s of its last hour; `None` for an archive without hours.
fn find_example(app: &App) -> Result<Option<Example>> {
    let archive = &app.archive;
    for stream in archive.streams()? {
        for variant in archive.variants(&stream)? {
            let name = VariantName { stream: &stream, variant: &variant };
            let Some(hour) = archive.hours(name)?.last().copied() else { continue };
            let index = archive.hour(name, hour)?;
            let newest = index.segments().next_back();
            let end = newest.map_or(hour.end(), |segment| segment.end());
            return Ok(Some(Example {
                stream: encode(&stream).to_string(),
                variant: encode(&variant).to_string(),
                hour: hour_name(hour),
                file: newest
                    .map_or("NAME.ts".to_owned(), |segment| encode(&segment.name.to_string()).to_string()),
                start: short(end - Span::from_secs(10)),
                end: short(end),
            }));
        }
    }
    Ok(None)
}

/// A time to the millisecond, truncated, so that a range that ends with it does not go past the last segment.
fn short(time: Timestamp) -> String {
    let text = time.to_string();
    text.get(.."2026-11-20T10:55:02.000".len()).unwrap_or(&text).to_owned()
}
