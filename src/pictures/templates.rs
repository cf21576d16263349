//! The directory of templates for thumbnails: `NAME.png`, and `NAME.json` with the place of the frame.

use std::io::Read;
use std::path::PathBuf;

use super::thumbnail::{Placement, Rectangle};
use crate::archive::open_regular;
use crate::error::{Error, Result};

/// The largest template.
pub const MAX_TEMPLATE_BYTES: usize = 8 * 1024 * 1024;
/// The largest description of one.
const MAX_JSON_BYTES: usize = 64 * 1024;

/// The templates that a server has.
#[derive(Debug, Default)]
pub struct Templates(Option<PathBuf>);

impl Templates {
    /// The templates in a directory; none without one.
    pub fn new(directory: Option<PathBuf>) -> Self {
        Self(directory)
    }

    /// Fails if there is no directory of templates.
    ///
    /// # Errors
    /// [`Error::Unsupported`].
    pub fn check(&self) -> Result<()> {
        self.directory().map(drop)
    }

    /// The PNG of a template. A name is that of a visible file, without a slash.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if there is no directory, [`Error::NotFound`] if it has no such template,
    /// [`Error::TooLarge`] if that is too large.
    pub fn picture(&self, name: &str) -> Result<Vec<u8>> {
        self.read(name, "png", MAX_TEMPLATE_BYTES)
    }

    /// Where the frame goes in a template.
    ///
    /// # Errors
    /// Those of [`Templates::picture`]; [`Error::Unsupported`] if it is not said, or not as it is to be.
    pub fn placement(&self, name: &str) -> Result<Placement> {
        let json = self.read(name, "json", MAX_JSON_BYTES);
        let json = match json {
            Err(Error::NotFound(_)) => Vec::new(),
            json => json?,
        };
        let value: serde_json::Value = serde_json::from_slice(&json).unwrap_or_default();
        let rectangle = |field: &str| {
            let edges = value.get(field)?.as_array()?.iter();
            let edges: Option<Vec<u32>> = edges.map(|edge| u32::try_from(edge.as_u64()?).ok()).collect();
            Rectangle::new(edges?.try_into().ok()?)
        };
        rectangle("crop")
            .zip(rectangle("location"))
            .map(|(crop, location)| Placement { crop, location })
            .ok_or_else(|| {
                Error::Unsupported(format!(
                    "the template `{name}` does not say where the frame goes: give `crop` and `location`"
                ))
            })
    }

    fn read(&self, name: &str, extension: &str, max_bytes: usize) -> Result<Vec<u8>> {
        let path = self.directory()?.join(format!("{name}.{extension}"));
        let opened = open_regular(&path).map_err(|error| match error {
            Error::NotFound(_) => Error::NotFound(format!("Template {name} not found")),
            error => error,
        })?;
        let mut bytes = Vec::new();
        let read = opened.file.take(max_bytes as u64 + 1).read_to_end(&mut bytes);
        read.map_err(Error::io("read", &path))?;
        if bytes.len() > max_bytes {
            let limit = max_bytes / 1024;
            return Err(Error::TooLarge(format!("`{name}.{extension}` has more than {limit} KiB")));
        }
        Ok(bytes)
    }

    fn directory(&self) -> Result<&PathBuf> {
        let without =
            "this server has no templates, as it was started without `--templates-dir`: POST one instead";
        self.0.as_ref().ok_or_else(|| Error::Unsupported(without.to_owned()))
    }
}
