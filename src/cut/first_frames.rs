//! When the first frames of segments are shown, and a cache of that: playlists of fragments look at one segment of each run.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::archive::open_regular;
use crate::bounded_cache::BoundedCache;
use crate::error::{Error, Result};
use crate::mpegts::pes::Ticks;
use crate::mpegts::scan::{Scan, Unit};

/// How many bytes of a segment are looked at, first, and then if these are not enough.
const LOOKED_AT_BYTES: [usize; 4] = [64 << 10, 256 << 10, 1 << 20, 4 << 20];

/// How much memory the first frames that were looked for may take: those of 2,000 segments or more.
const CACHE_BYTES: usize = 1 << 20;

/// The first frames that were looked for: the PTS of each, if there is one.
///
/// A segment's name has the hash of its bytes, so what is known of one never changes.
#[derive(Debug)]
pub struct FirstFrames(BoundedCache<PathBuf, Option<Ticks>>);

/// The start of a segment is not enough to know its first frame.
struct NeedsMore;

impl Default for FirstFrames {
    fn default() -> Self {
        Self(BoundedCache::new(CACHE_BYTES))
    }
}

impl FirstFrames {
    /// The PTS of the first frame of the segment at `path`; see [`first_pts`].
    ///
    /// # Errors
    /// [`Error::NotFound`] if it is not there, [`Error::Io`] if it cannot be read.
    pub fn find(&self, path: &Path) -> Result<Option<Ticks>> {
        let path = path.to_owned();
        if let Some(known) = self.0.find([&path], |_, _| true) {
            return Ok(*known);
        }
        let pts = read_first_pts(&path)?;
        let bytes = path.capacity();
        self.0.insert(path, Arc::new(pts), bytes);
        Ok(pts)
    }
}

/// The PTS of the first frame that a segment shows: the lowest of its first video, or of its first audio if it has no video.
/// `None` if there are no frames, or if they are encrypted.
pub fn first_pts(segment: &[u8]) -> Option<Ticks> {
    let mut prefixes = LOOKED_AT_BYTES.iter();
    let known =
        prefixes.find_map(|len| first_pts_of_start(segment.get(..*len).unwrap_or(segment), *len).ok());
    known.flatten()
}

/// The same of the segment at `path`, of which no more is read than is needed.
fn read_first_pts(path: &Path) -> Result<Option<Ticks>> {
    let opened = open_regular(path)?;
    let mut start = Vec::new();
    for len in LOOKED_AT_BYTES {
        let missing = (len - start.len()) as u64;
        let read = (&opened.file).take(missing).read_to_end(&mut start);
        read.map_err(Error::io("read the segment", path))?;
        if let Ok(pts) = first_pts_of_start(&start, len) {
            return Ok(pts);
        }
    }
    Ok(None)
}

/// The PTS of the first frame of a segment of which the first `len` bytes are there, or all if there are fewer.
fn first_pts_of_start(start: &[u8], len: usize) -> Result<Option<Ticks>, NeedsMore> {
    let is_all = start.len() < len || Some(&len) == LOOKED_AT_BYTES.last();
    let scan = Scan::of(start, false).filter(|scan| !scan.scrambled);
    let found = scan.as_ref().and_then(|scan| {
        let track = scan.reference_track()?;
        Some((scan, track, track.lowest_pts()?))
    });
    let Some((scan, track, lowest)) = found else { return if is_all { Ok(None) } else { Err(NeedsMore) } };
    // No frame is shown before it is decoded, and those that follow are decoded later.
    let is_lowest = |unit: &Unit| unit.dts.since(lowest) >= 0;
    let video_may_follow = !track.codec.is_video() && scan.tracks.iter().any(|track| track.codec.is_video());
    let is_known = !video_may_follow && track.units.iter().any(is_lowest);
    if is_all || is_known { Ok(Some(lowest)) } else { Err(NeedsMore) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mpegts::pes::{Pes, write_pes};
    use crate::mpegts::psi::{ElementaryStream, Pmt, write_pat, write_pmt};

    /// A PES packet: stream type, PTS and DTS.
    type Unit = (u8, i64, i64);

    /// A segment with PES packets of `bytes` each.
    fn segment(units: &[Unit], bytes: usize) -> Vec<u8> {
        let stream = |stream_type: u8| ElementaryStream {
            pid: 0x100 + u16::from(stream_type),
            stream_type,
            descriptors: Vec::new(),
        };
        let pmt = Pmt {
            program: 1,
            pcr_pid: 0x11B,
            descriptors: Vec::new(),
            streams: [0x0F, 0x1B].map(stream).to_vec(),
        };
        let mut out = [write_pat(1, 0x1000), write_pmt(0x1000, &pmt)].concat();
        for (stream_type, pts, dts) in units {
            let (pts, dts) = (Ticks::new(*pts), Ticks::new(*dts));
            let pes = Pes { stream_id: 0xE0, pts, dts, payload: vec![0xAA; bytes] };
            write_pes(&pes, 0x100 + u16::from(*stream_type), &mut 0, false, &mut out);
        }
        out
    }

    #[test]
    fn the_first_frame_is_the_lowest_of_the_video_or_else_of_the_audio() {
        let (audio, video) = (0x0F, 0x1B);
        let rows: [(&[Unit], Option<i64>); 8] = [
            (&[], None),
            (&[(audio, 500, 500), (audio, 2420, 2420)], Some(500)),
            (&[(audio, 500, 500), (video, 9000, 6000), (video, 18_000, 9000)], Some(9000)),
            // Pictures that are shown before the first one that is stored.
            (&[(video, 12_000, 3000), (video, 9000, 6000), (video, 6000, 6000)], Some(6000)),
            (&[(video, 9000, 0), (video, 18_000, 3000), (video, 12_000, 6000)], Some(9000)),
            // Across the wrap of the clock.
            (&[(video, 3000, -6000), (video, -3000, -3000), (video, 0, 0)], Some((1 << 33) - 3000)),
            (&[(video, -3000, -3000), (video, 0, 0)], Some((1 << 33) - 3000)),
            (&[(video, 9000, 9000)], Some(9000)),
        ];
        for bytes in [10, 50_000, 300_000, 1_500_000] {
            for (units, expected) in rows {
                // Beyond what is looked at, there is nothing.
                let looked_at = units.len() * bytes < 4 << 20;
                let segment = segment(units, bytes);
                let found = first_pts(&segment).map(Ticks::get);
                assert!(found == expected || !looked_at, "{units:?} of {bytes} bytes: {found:?}");
                let file = tempfile::NamedTempFile::new().expect("a file");
                std::fs::write(file.path(), &segment).expect("a segment");
                let read = read_first_pts(file.path()).expect("a segment").map(Ticks::get);
                assert_eq!(read, found, "{units:?} of {bytes} bytes");
            }
        }
    }

    #[test]
    fn a_deleted_segment_is_known_if_it_was_looked_at() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("segment.ts");
        let frames = FirstFrames::default();
        assert!(matches!(frames.find(&path), Err(Error::NotFound(_))));
        std::fs::write(&path, segment(&[(0x1B, 7, 7)], 10)).expect("a segment");
        assert_eq!(frames.find(&path).expect("a segment"), Some(Ticks::new(7)));
        std::fs::remove_file(&path).expect("delete it");
        assert_eq!(frames.find(&path).expect("it is known"), Some(Ticks::new(7)));
    }
}
