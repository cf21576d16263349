//! Segments whose PES packets do not begin and end with frames, written anew: each PES packet then has exactly the frames
//! that begin in it, whole. What else there is stays as it is.

use std::ops::Range;

use super::elementary::{JoinedStream, PesStart};
use super::frames::{Frame, frames};
use super::packet::{Packet, packets, pcr_packet};
use super::pes::{Pes, write_pes};
use super::scan::{Scan, Track};

/// A segment whose frames are aligned with its PES packets.
#[derive(Debug, Clone)]
pub struct Repacketized {
    /// The segment.
    pub bytes: Vec<u8>,
    /// Its scan.
    pub scan: Scan,
    /// Whether a frame goes on in the next segment beyond what is known of that.
    pub needs_more: bool,
}

/// A track that is written anew.
struct Repacketizer<'a> {
    pid: u16,
    is_video: bool,
    stream: JoinedStream,
    frames: Vec<Frame>,
    /// The PES packets to write: the offset of the packet in the segment at which to do that, and the frames.
    pes: std::iter::Peekable<std::vec::IntoIter<(usize, Range<usize>)>>,
    /// The continuity counter of the last packet written.
    counter: u8,
    last_packet: Option<Packet<'a>>,
}

/// Aligns the tracks of a segment that need it, by their `Alignment`; `None` if none does.
///
/// `whole` is what [`Scan::of`] was called with. `next` is the start of the segment that continues this one: frames that go
/// on in there are completed from it. Empty says that there is none; then an audio frame that is not complete is left out,
/// and an access unit ends with the segment.
pub fn repacketize(segment: &[u8], scan: &Scan, whole: bool, next: &[u8]) -> Option<Repacketized> {
    let mut tracks: Vec<Repacketizer<'_>> = scan
        .tracks
        .iter()
        .filter(|track| track.alignment.unaligned || (track.alignment.open_end && !next.is_empty()))
        .filter_map(|track| Repacketizer::new(track, segment, next))
        .collect();
    if tracks.is_empty() {
        return None;
    }
    let mut bytes = Vec::with_capacity(segment.len() + next.len());
    for (offset, packet) in packets(segment) {
        match tracks.iter_mut().find(|track| track.pid == packet.pid()) {
            Some(track) => track.rewrite(offset, packet, &mut bytes),
            None => bytes.extend_from_slice(packet.bytes()),
        }
    }
    let mut aligned = Scan::of(&bytes, whole)?;
    for track in &mut aligned.tracks {
        let rewritten = tracks.iter().find(|rewritten| rewritten.pid == track.pid);
        let before = scan.tracks.iter().find(|before| before.pid == track.pid);
        let (Some(rewritten), Some(before), Some(last)) = (rewritten, before, track.units.last_mut()) else {
            continue;
        };
        let was_complete = before.units.last().is_some_and(|unit| unit.complete);
        last.complete = was_complete || !rewritten.is_video || !rewritten.is_truncated();
    }
    let needs_more = !next.is_empty() && tracks.iter().any(Repacketizer::is_truncated);
    Some(Repacketized { bytes, scan: aligned, needs_more })
}

impl<'a> Repacketizer<'a> {
    /// `None` if no frame with a time is found, so that the track stays as it is.
    fn new(track: &Track, segment: &'a [u8], next: &[u8]) -> Option<Self> {
        let mut stream = JoinedStream::of(segment, track.pid);
        stream.append_next(&JoinedStream::of(next, track.pid));
        let frames = frames(track.codec, &stream)?;
        let is_video = track.codec.is_video();
        let mut pes = pes_packets(&stream, &frames, is_video).into_iter().peekable();
        pes.peek()?;
        Some(Self { pid: track.pid, is_video, stream, frames, pes, counter: 0, last_packet: None })
    }

    fn is_truncated(&self) -> bool {
        self.frames.last().is_some_and(|frame| !frame.complete)
    }

    /// Takes a packet of the track: writes the PES packets that start there, and keeps its PCR.
    fn rewrite(&mut self, offset: usize, packet: Packet<'a>, out: &mut Vec<u8>) {
        let last = self.last_packet.replace(packet);
        if last.is_some_and(|last| packet.is_duplicate_of(last)) {
            return;
        }
        if last.is_none() {
            self.counter = packet.continuity_counter().wrapping_sub(1) & 0x0F;
        }
        if let Some(pcr) = packet.pcr() {
            out.extend(pcr_packet(self.pid, self.counter, pcr));
        }
        while let Some((_, range)) = self.pes.next_if(|(start, _)| *start <= offset) {
            self.write(range, out);
        }
    }

    fn write(&mut self, range: Range<usize>, out: &mut Vec<u8>) {
        let frames = &self.frames[range];
        let Some(first) = frames.first() else { return };
        let Some((pts, dts)) = first.pts.zip(first.dts) else { return };
        let starts = &self.stream.starts;
        let start: Option<&PesStart> = starts.get(first.pes.unwrap_or(0));
        let stream_id = start.map_or(if self.is_video { 0xE0 } else { 0xC0 }, |start| start.stream_id);
        let mut payload = Vec::new();
        for frame in frames.iter().filter(|frame| frame.complete || self.is_video) {
            payload.extend_from_slice(&self.stream.bytes[frame.bytes.clone()]);
        }
        let random_access = !self.is_video || first.access_unit.idr;
        if !payload.is_empty() {
            write_pes(&Pes { stream_id, pts, dts, payload }, self.pid, &mut self.counter, random_access, out);
        }
    }
}

/// The frames of each PES packet that has any, and the offset in the segment at which that starts.
///
/// A picture without a time of its own stays with the one before.
fn pes_packets(stream: &JoinedStream, frames: &[Frame], is_video: bool) -> Vec<(usize, Range<usize>)> {
    let mut pes: Vec<(usize, Range<usize>)> = Vec::new();
    let mut last = None;
    for (index, frame) in frames.iter().enumerate() {
        let begins = if is_video { frame.pts.is_some() } else { last != Some(frame.pes) };
        match pes.last_mut() {
            Some((_, range)) if !begins => range.end = index + 1,
            _ if frame.pts.is_none() => {}
            _ => {
                let start = frame.pes.and_then(|pes| stream.starts.get(pes));
                pes.push((start.map_or(0, |start| start.packet_offset), index..index + 1));
            }
        }
        last = Some(frame.pes);
    }
    pes
}

#[cfg(test)]
pub(super) mod tests;
