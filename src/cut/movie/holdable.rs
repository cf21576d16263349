//! Which streams MP4 can hold.

use crate::cut::plan::Plan;
use crate::error::{Error, Result};
use crate::mpegts::codec::Codec;
use crate::mpegts::probe::Stream;

/// Checks that MP4 can hold the pictures.
pub(crate) fn check(plan: &Plan) -> Result<()> {
    for Stream { pid, codec, .. } in plan.program.streams.iter().filter(|stream| stream.codec.is_video()) {
        if !matches!(codec, Codec::H264 | Codec::Hevc) {
            let listed = plan.program.pmt.streams.iter().find(|listed| listed.pid == *pid);
            return Err(not_holdable(*pid, true, codec.name(listed.map_or(0, |listed| listed.stream_type))));
        }
    }
    Ok(())
}

/// The refusal of a stream that MP4 cannot hold.
pub(super) fn not_holdable(pid: u16, is_video: bool, name: &str) -> Error {
    let what = if is_video { "video" } else { "sound" };
    Error::Unsupported(format!(
        "the {what} on PID {pid:#x} is {name}, which this server does not put into MP4: type=full encodes it, \
         and a cut as .ts keeps it"
    ))
}

/// The refusal of a stream that changes `what` in the range.
pub(super) fn changes(pid: u16, what: &str) -> Error {
    Error::Unsupported(format!(
        "the stream on PID {pid:#x} changes {what}: type=full encodes it, and a cut as .ts keeps it"
    ))
}
