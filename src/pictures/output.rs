//! What ffmpeg makes, as a whole.

use crate::error::{Error, Result};
use crate::ffmpeg::{Feed, Tools};

/// The largest picture that is held in memory: more than a PNG of 8192x4320 takes of anything but noise.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// The whole output of ffmpeg with these arguments, which are separated by spaces.
///
/// # Errors
/// Those of [`Tools::ffmpeg`]; [`Error::Child`] if ffmpeg fails, [`Error::Cancelled`] once `is_cancelled` returns true,
/// which is called several times a second, and [`Error::Unsupported`] for more output than is held in memory.
pub(super) fn output(
    tools: &Tools,
    args: &str,
    feed: Feed,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<Vec<u8>> {
    let mut child = tools.ffmpeg(args, feed)?;
    let mut output = Vec::new();
    while let Some(chunk) = child.next_chunk(is_cancelled)? {
        if output.len() + chunk.len() > MAX_BYTES {
            let limit = MAX_BYTES / (1024 * 1024);
            let why =
                format!("the picture takes more than {limit} MiB: ask for a smaller `width`, or for .jpg");
            return Err(Error::Unsupported(why));
        }
        output.extend_from_slice(&chunk);
    }
    Ok(output)
}
