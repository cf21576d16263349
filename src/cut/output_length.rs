//! How long the output of ffmpeg is, in the container that it writes. It may be too short though ffmpeg succeeded.

use crate::error::Result;
use crate::mpegts::packet::{PACKET_BYTES, packets};
use crate::mpegts::pes::{Header, TICKS_PER_SECOND, Ticks};

use super::encode::failed;
use super::target::Target;
use super::webm_times::WebmTimes;

/// The length of an output, by the stream that lasts longest.
#[derive(Debug)]
pub(super) struct OutputLength {
    container: Container,
    /// Whether there is any output.
    pub(super) has_begun: bool,
}

#[derive(Debug)]
enum Container {
    TransportStream {
        /// Bytes of an incomplete packet.
        rest: Vec<u8>,
        highest_pts_90k: i64,
    },
    Webm(WebmTimes),
}

impl OutputLength {
    pub(super) fn new(target: Target) -> Self {
        let container = match target {
            Target::TransportStream { .. } => {
                Container::TransportStream { rest: Vec::new(), highest_pts_90k: 0 }
            }
            Target::Webm => Container::Webm(WebmTimes::default()),
        };
        Self { container, has_begun: false }
    }

    /// Takes the next bytes.
    pub(super) fn push(&mut self, chunk: &[u8]) {
        self.has_begun = true;
        let (rest, highest_pts_90k) = match &mut self.container {
            Container::TransportStream { rest, highest_pts_90k } => (rest, highest_pts_90k),
            Container::Webm(times) => return times.push(chunk),
        };
        rest.extend_from_slice(chunk);
        let whole = rest.len() / PACKET_BYTES * PACKET_BYTES;
        for (_, packet) in packets(&rest[..whole]).filter(|(_, packet)| packet.starts_unit()) {
            if let Some(pts) = Header::parse(packet.payload()).and_then(|header| header.pts) {
                // A cut may be longer than the 33 bits of the clock.
                *highest_pts_90k += pts.since(Ticks::new(*highest_pts_90k)).max(0);
            }
        }
        rest.drain(..whole);
    }

    /// Checks that the output has the length `expected_90k`.
    pub(super) fn check(&self, expected_90k: i64) -> Result<()> {
        let highest_90k = match &self.container {
            Container::TransportStream { highest_pts_90k, .. } => *highest_pts_90k,
            Container::Webm(times) => times.highest_ms() * TICKS_PER_SECOND / 1000,
        };
        if highest_90k >= expected_90k - TICKS_PER_SECOND {
            return Ok(());
        }
        let missing = (expected_90k - highest_90k) / TICKS_PER_SECOND;
        let why = format!("it ended without an error, but with {missing} s less than asked for");
        Err(failed(&why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mpegts::pes::{Pes, write_pes};

    #[test]
    fn the_length_is_that_of_the_stream_that_lasts_longest() {
        let mut bytes = Vec::new();
        for (pid, seconds) in
            [(0x100, 0), (0x101, 0), (0x101, 40_000), (0x101, 80_000), (0x101, 100_000), (0x100, 1)]
        {
            let pts = Ticks::new(seconds * TICKS_PER_SECOND);
            let pes = Pes { stream_id: 0xC0, pts, dts: pts, payload: vec![0; 300] };
            write_pes(&pes, pid, &mut 0, false, &mut bytes);
        }
        let mut length = OutputLength::new(Target::TransportStream { start_seconds: 0 });
        bytes.chunks(100).for_each(|chunk| length.push(chunk));
        assert!(length.check(100_001 * TICKS_PER_SECOND).is_ok(), "beyond the wrap of the clock");
        assert!(length.check(100_001 * TICKS_PER_SECOND + 1).is_err());
    }
}
