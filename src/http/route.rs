//! The table of routes: patterns of paths, each with its handler, worker pool and metrics label.
//!
//! A new route is a row of [`ROUTES`] and a file with its [`Handler`]. Finding and decoding touch no disk, because the
//! event loop does both.

use std::collections::BTreeSet;

use super::aliases::AliasRequest;
use super::assets::AssetRequest;
use super::channels::ChannelsRequest;
use super::chat::ChatRequest;
use super::coverage::{CoverageJsonRequest, CoveragePictureRequest};
use super::cuts::{CutQuery, MovieQuery, WebmQuery};
use super::files::{ExtrasRequest, HoursRequest, NamesRequest, StreamsRequest, VariantsRequest};
use super::fmp4::{FragmentRequest, InitRequest};
use super::handler::{Handler, Pool};
use super::health::HealthRequest;
use super::metrics::MetricsRequest;
use super::openapi::OpenApiRequest;
use super::page::FrontPageRequest;
use super::path::{Captures, PathNames, VariantPath};
use super::pictures::{
    JpegFrameRequest, PngFrameRequest, StoryboardRequest, StoryboardTrackRequest, ThumbnailRequest,
    WaveformLevels, WaveformPicture,
};
use super::playlists::{MediaRequest, MultivariantRequest};
use super::query::Query;
use super::reply::ALLOW;
use super::segments::FileRequest;
use crate::error::{Error, Result};
use crate::pictures::templates::MAX_TEMPLATE_BYTES;

/// All routes. The first that matches a path is taken.
pub static ROUTES: [Route; 33] = [
    route::<FrontPageRequest>("/", "home", Pool::Quick).uncompressed(),
    route::<AssetRequest>("/page/{hash}/{name}", "page", Pool::Quick),
    route::<HealthRequest>("/health", "health", Pool::Quick),
    route::<MetricsRequest>("/metrics", "metrics", Pool::Quick),
    route::<MetricsRequest>("/metrics/restreamer", "metrics", Pool::Quick),
    route::<OpenApiRequest>("/openapi.yaml", "openapi", Pool::Quick),
    route::<StreamsRequest>("/files", "list_streams", Pool::Quick),
    route::<VariantsRequest>("/files/{stream}", "list_variants", Pool::Quick),
    route::<HoursRequest>("/files/{stream}/{variant}", "list_hours", Pool::Quick),
    route::<NamesRequest>("/files/{stream}/{variant}/{hour}", "list_segments", Pool::Quick),
    route::<ExtrasRequest>("/extras/{dir}", "list_extras", Pool::Playlist),
    route::<FileRequest>("/segments/{path...}", "segments", Pool::Media).uncompressed(),
    route::<InitRequest>("/fmp4/{stream}/{variant}/{hour}/{name}.init.mp4", "fmp4_init", Pool::Media)
        .uncompressed(),
    route::<FragmentRequest>("/fmp4/{stream}/{variant}/{hour}/{name}.m4s", "fmp4", Pool::Media)
        .uncompressed(),
    route::<MultivariantRequest>("/playlist/{stream}.m3u8", "generate_master_playlist", Pool::Playlist),
    route::<MediaRequest>("/playlist/{stream}/{variant}.m3u8", "generate_media_playlist", Pool::Playlist),
    route::<AliasRequest>(
        "/playlist/{stream}/{variant}/{alias}.m3u8",
        "generate_archive_playlist",
        Pool::Playlist,
    ),
    route::<ChannelsRequest>("/channels.m3u", "list_channels", Pool::Playlist),
    route::<CoverageJsonRequest>("/coverage/{stream}.json", "coverage", Pool::Playlist),
    route::<CoverageJsonRequest>("/coverage/{stream}/{variant}.json", "coverage", Pool::Playlist),
    route::<CoveragePictureRequest>("/coverage/{stream}.svg", "coverage", Pool::Playlist),
    route::<CoveragePictureRequest>("/coverage/{stream}/{variant}.svg", "coverage", Pool::Playlist),
    route::<CutQuery>("/cut/{stream}/{variant}.ts", "cut", Pool::Quick).uncompressed(),
    route::<MovieQuery>("/cut/{stream}/{variant}.mp4", "cut", Pool::Quick).uncompressed(),
    route::<WebmQuery>("/cut/{stream}/{variant}.webm", "cut", Pool::Quick).uncompressed(),
    route::<PngFrameRequest>("/frame/{stream}/{variant}.png", "get_frame", Pool::Picture).uncompressed(),
    route::<JpegFrameRequest>("/frame/{stream}/{variant}.jpg", "get_frame", Pool::Picture).uncompressed(),
    route::<StoryboardRequest>("/storyboard/{stream}/{variant}.jpg", "get_storyboard", Pool::Picture)
        .uncompressed(),
    route::<StoryboardTrackRequest>(
        "/storyboard/{stream}/{variant}.vtt",
        "get_storyboard_track",
        Pool::Picture,
    )
    .uncompressed(),
    route::<WaveformPicture>("/waveform/{stream}/{variant}.png", "generate_waveform", Pool::Picture)
        .uncompressed(),
    route::<WaveformLevels>("/waveform/{stream}/{variant}.json", "generate_waveform", Pool::Picture)
        .uncompressed(),
    route::<ThumbnailRequest>(
        "/thumbnail/{stream}/{variant}.png",
        "get_thumbnail_named_template",
        Pool::Picture,
    )
    .uncompressed()
    .with_post("get_thumbnail_uploaded_template", MAX_TEMPLATE_BYTES),
    // A stream may have the name of another route, which is meant then.
    route::<ChatRequest>("/{stream}/chat.json", "get_chat_messages", Pool::Playlist),
];

/// A row of the table.
#[derive(Debug)]
pub struct Route {
    /// Which paths it has: see [`Captures::of`].
    pub pattern: &'static str,
    /// The value of the metrics label `endpoint`, by which dashboards know it.
    pub endpoint: &'static str,
    /// The pool for its requests, unless [`Handler::pool`] names another.
    pub pool: Pool,
    /// Whether responses depend on `Accept-Encoding`, which `Vary` must say.
    pub is_compressible: bool,
    /// What it takes by POST, if anything.
    pub post: Option<Post>,
    decode: fn(PathNames, Query) -> Result<Box<dyn Handler>>,
}

/// Requests with a body, which a route answers beside GET and HEAD.
#[derive(Debug, Clone, Copy)]
pub struct Post {
    /// The value of the metrics label `endpoint` for them.
    pub endpoint: &'static str,
    /// The longest body, in bytes.
    pub max_body: usize,
}

/// A request's route, with the request decoded.
#[derive(Debug)]
pub struct Match {
    /// The row of the table.
    pub route: &'static Route,
    /// The variant named in the path, under which the response is counted.
    pub variant: Option<VariantPath>,
    /// The decoded request, or what is wrong with a name or a parameter.
    pub handler: Result<Box<dyn Handler>>,
}

/// Finds the route of a path, and decodes path and query, both percent-encoded. `None` if no route matches.
pub fn find(path: &str, query: &str) -> Option<Match> {
    let matching = |route: &'static Route| Some((route, Captures::of(route.pattern, path)?));
    let (route, captures) = ROUTES.iter().find_map(matching)?;
    let handler = captures.names().and_then(|names| (route.decode)(names, Query::new(query)));
    Some(Match { route, variant: captures.variant(), handler })
}

/// The path that was probably meant by one that no route matches: without the slash at its end, or with the suffix that
/// the route needs.
pub fn similar_path(path: &str) -> Option<String> {
    let path = path.trim_end_matches('/');
    let without = |suffixes: &[&str]| suffixes.iter().find_map(|suffix| path.strip_suffix(suffix));
    let movie = without(&[".mp4", ".m4v", ".mov"]);
    let other = || without(&[".m3u8", ".m3u", ".ts", ".png", ".jpg", ".jpeg", ".json", ".svg", ".vtt"]);
    let stem = movie.or_else(other).unwrap_or(path);
    let file = if movie.is_some() { "mp4" } else { "ts" };
    let candidates = ["m3u8", file, "png", "jpg", "json"].map(|suffix| format!("{stem}.{suffix}"));
    [path.to_owned()]
        .into_iter()
        .chain(candidates)
        .find(|path| find(path, "").is_some_and(|found| is_named(&found)))
}

/// Whether the path of a match names everything that its route needs: `/files//.m3u8` does not.
fn is_named(found: &Match) -> bool {
    !matches!(found.handler, Err(Error::BadPart { .. } | Error::HiddenPart(_)))
}

/// The metrics labels of all routes, each once.
pub fn endpoints() -> Vec<&'static str> {
    let posts = ROUTES.iter().filter_map(|route| Some(route.post?.endpoint));
    let endpoints: BTreeSet<_> = ROUTES.iter().map(|route| route.endpoint).chain(posts).collect();
    endpoints.into_iter().collect()
}

/// A route whose requests decode to `H`.
const fn route<H: Handler + 'static>(pattern: &'static str, endpoint: &'static str, pool: Pool) -> Route {
    let decode = |names: PathNames, query: Query| -> Result<Box<dyn Handler>> {
        Ok(Box::new(H::decode(names, query)?))
    };
    Route { pattern, endpoint, pool, is_compressible: true, post: None, decode }
}

impl Route {
    /// The methods that it answers, for `Allow`.
    pub fn methods(&self) -> &'static str {
        if self.post.is_some() { "GET, HEAD, POST, OPTIONS" } else { ALLOW }
    }

    /// The same route, which also takes bodies by POST.
    const fn with_post(self, endpoint: &'static str, max_body: usize) -> Self {
        Self { post: Some(Post { endpoint, max_body }), ..self }
    }

    /// The same route, whose responses are never compressed.
    const fn uncompressed(self) -> Self {
        Self { is_compressible: false, ..self }
    }
}

#[cfg(test)]
mod tests;
