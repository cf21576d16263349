//! `/thumbnail/…`: a frame below a template, which the server has or the client sends.

use std::borrow::Cow;
use std::sync::Arc;

use tiny_http::Method;

use super::frame::FrameTime;
use crate::cut::single_frame::refusal;
use crate::error::{Error, Result};
use crate::http::handler::{App, Handler};
use crate::http::path::PathNames;
use crate::http::picture_cache::Picture;
use crate::http::query::Query;
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::pictures::ImageFormat;
use crate::pictures::thumbnail::{Placement, Rectangle, check_template, thumbnail};

/// What `crop` and `location` may be.
const EDGES: &str = "the left, top, right and bottom edge in pixels, as in `320,180,1600,900`";
/// What `template` may be.
const NAME: &str =
    "the name of a template: letters, digits, spaces and `-_.,()+`, but no period at its beginning";

/// `/thumbnail/{stream}/{variant}.png`: GET with the name of a template, or POST with a template as the body.
#[derive(Debug)]
pub(crate) struct ThumbnailRequest {
    time: FrameTime,
    template: Option<String>,
    crop: Option<Rectangle>,
    location: Option<Rectangle>,
}

impl Handler for ThumbnailRequest {
    fn decode(names: PathNames, query: Query) -> Result<Self> {
        let template = query.parsed("template", NAME, |name| is_name(name).then(|| name.to_owned()))?;
        let crop = query.parsed("crop", EDGES, Rectangle::parse)?;
        let location = query.parsed("location", EDGES, Rectangle::parse)?;
        Ok(Self { time: FrameTime::decode(names, query)?, template, crop, location })
    }

    fn handle(&self, app: &App, request: &Request, is_cancelled: &dyn Fn() -> bool) -> Result<Reply> {
        let is_post = request.method == Method::Post;
        let (template, placement) = if is_post { self.sent(request)? } else { self.named(app)? };
        check_template(&template, &placement)?;
        let frame = self.time.find(app, is_cancelled).map_err(refusal)?;
        let make = || {
            let picture = frame.picture(app, ImageFormat::Png, None, is_cancelled).map_err(refusal)?;
            thumbnail(&picture, &template, &placement, &app.tools.get(), is_cancelled)
        };
        let reply = if is_post {
            Reply::bytes("image/png", make()?).with("Cache-Control", "no-store")
        } else {
            let mut key = frame.key("thumbnail");
            key.write(&template);
            for edge in placement.crop.edges().into_iter().chain(placement.location.edges()) {
                key.write_u64(edge.into());
            }
            app.pictures.reply(request, key, is_cancelled, || {
                Ok(Picture { content_type: "image/png", bytes: Arc::new(make()?) })
            })?
        };
        Ok(reply.with("X-Frame-Time", frame.time().to_string()))
    }
}

impl ThumbnailRequest {
    /// The template in the body of a request.
    fn sent<'a>(&self, request: &'a Request) -> Result<(Cow<'a, [u8]>, Placement)> {
        let missing = |name| Error::MissingParameter { name, expected: EDGES };
        let crop = self.crop.ok_or_else(|| missing("crop"))?;
        let location = self.location.ok_or_else(|| missing("location"))?;
        Ok((Cow::Borrowed(&request.body), Placement { crop, location }))
    }

    /// The template of that name. The request may place the frame elsewhere than it says.
    fn named(&self, app: &App) -> Result<(Cow<'static, [u8]>, Placement)> {
        app.templates.check()?;
        let missing = Error::MissingParameter { name: "template", expected: NAME };
        let name = self.template.as_ref().ok_or(missing)?;
        let picture = app.templates.picture(name)?;
        let placement = match (self.crop, self.location) {
            (Some(crop), Some(location)) => Placement { crop, location },
            (crop, location) => {
                let said = app.templates.placement(name)?;
                Placement { crop: crop.unwrap_or(said.crop), location: location.unwrap_or(said.location) }
            }
        };
        Ok((Cow::Owned(picture), placement))
    }
}

/// Whether a template may have this name, which leads to no other directory.
fn is_name(name: &str) -> bool {
    let fits = |letter: char| letter.is_alphanumeric() || " -_.,()+".contains(letter);
    !name.is_empty() && !name.starts_with('.') && name.chars().all(fits)
}
