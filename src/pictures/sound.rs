//! The sound of a segment, without the pictures: what a decoder of sound needs of it.

use std::fs::File;
use std::io::{self, Read as _};

use crate::archive::OpenFile;
use crate::cut::{CutSegment, align, open_segment};
use crate::error::{Error, Result};
use crate::mpegts::codec::Codec;
use crate::mpegts::packet::{PACKET_BYTES, Packet, packets};
use crate::mpegts::pes::{Header, Ticks};
use crate::mpegts::probe::{AudioFormat, probe};
use crate::mpegts::psi::{ElementaryStream, Pmt, write_pat, write_pmt};
use crate::mpegts::scan::{Scan, Unit};

/// Bytes of a segment that are read at once, and as long as its tables are searched.
const CHUNK_BYTES: usize = 256 * 1024;
const TABLES_CHUNK_BYTES: usize = 8 * 1024;
/// Bytes of a segment in which its tables must be.
const MAX_TABLES_BYTES: usize = 4 << 20;

/// What a segment has of sound.
#[derive(Debug)]
pub(super) enum Found {
    /// It lists none.
    Nothing,
    /// It lists one, which cannot be decoded.
    Unusable,
    /// Its first one.
    Sound(Box<Sound>),
}

impl Found {
    /// Whether the segment lists a sound.
    pub(super) fn is_listed(&self) -> bool {
        !matches!(self, Self::Nothing)
    }
}

/// The first sound of a segment, as a transport stream of nothing else, whose frames begin and end with PES packets.
#[derive(Debug)]
pub(super) struct Sound {
    pub(super) bytes: Vec<u8>,
    pub(super) scan: Scan,
    /// The PTS at the segment's start, by its name: the lowest of its video, or of the sound if it has no video.
    pub(super) start: Ticks,
    /// What a decoder is chosen and set up by.
    pub(super) format: Format,
    /// Whether its last frame goes on in the next segment.
    pub(super) depends_on_next: bool,
}

/// The format of a sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Format {
    stream_type: u8,
    descriptors: Vec<u8>,
    codecs: Option<String>,
    audio: Option<AudioFormat>,
}

impl Sound {
    /// The PID of its packets.
    pub(super) fn pid(&self) -> u16 {
        self.scan.pmt.pcr_pid
    }

    /// Its PES packets.
    pub(super) fn units(&self) -> &[Unit] {
        self.scan.tracks.first().map_or(&[], |track| &track.units)
    }
}

/// Reads the sound of a segment of at most `max_bytes`. A frame that goes on in the segment that continues it, `next`, is
/// completed from there.
///
/// # Errors
/// [`Error::Io`] if it cannot be read.
pub(super) fn read(segment: &CutSegment, next: Option<&CutSegment>, max_bytes: u64) -> Result<Found> {
    let OpenFile { file, len, .. } = open_segment(segment)?;
    if len > max_bytes {
        return Ok(Found::Unusable);
    }
    let mut filter = match read_filtered(&file, len).map_err(Error::io("read the segment", &segment.path))? {
        Ok(filter) => filter,
        Err(found) => return Ok(found),
    };
    let bytes = std::mem::take(&mut filter.kept);
    let Some(scan) = Scan::of(&bytes, segment.complete) else { return Ok(Found::Nothing) };
    if scan.scrambled {
        return Ok(Found::Unusable);
    }
    let is_aligned = scan.is_aligned();
    let (bytes, scan) = if is_aligned {
        (bytes, scan)
    } else {
        let next = next.map(|next| Ok((open_segment(next)?.file, &*next.path))).transpose()?;
        let aligned = align(&bytes, &scan, segment.complete, next.as_ref())?;
        aligned.map_or((bytes, scan), |aligned| (aligned.bytes, aligned.scan))
    };
    let first = scan.tracks.first().and_then(|track| track.units.first()).map(|unit| unit.pts);
    let Some(first) = first.filter(|_| !scan.split_header) else { return Ok(Found::Unusable) };
    let start = filter.lowest_video_pts().unwrap_or(first);
    let format = Format::of(&bytes, &scan);
    Ok(Found::Sound(Box::new(Sound { bytes, scan, start, format, depends_on_next: !is_aligned })))
}

impl Format {
    fn of(bytes: &[u8], scan: &Scan) -> Self {
        let listed = scan.pmt.streams.first();
        let found = probe(bytes).and_then(|program| program.streams.into_iter().next());
        Self {
            stream_type: listed.map_or(0, |stream| stream.stream_type),
            descriptors: listed.map_or_else(Vec::new, |stream| stream.descriptors.clone()),
            audio: found.as_ref().and_then(|stream| stream.audio),
            codecs: found.and_then(|stream| stream.codecs),
        }
    }
}

/// Reads a file and keeps its sound. Of a segment without one no more is read than its tables.
fn read_filtered(file: &File, len: u64) -> io::Result<Result<Filter, Found>> {
    let mut filter: Option<Filter> = None;
    let mut file = file.take(len);
    let mut buffer = Vec::with_capacity(2 * CHUNK_BYTES);
    loop {
        let chunk = if filter.is_some() { CHUNK_BYTES } else { TABLES_CHUNK_BYTES.max(buffer.len()) };
        let read = (&mut file).take(chunk as u64).read_to_end(&mut buffer)?;
        if filter.is_none() {
            match Filter::of(&buffer) {
                Some(Ok(found)) => filter = Some(found),
                Some(Err(found)) => return Ok(Err(found)),
                None if read == 0 || buffer.len() > MAX_TABLES_BYTES => {
                    return Ok(Err(Found::Nothing));
                }
                None => {}
            }
        }
        if let Some(filter) = &mut filter {
            // What is behind the last packet is the start of another one, or no packets.
            let used = filter.push(&buffer).max(buffer.len().saturating_sub(2 * PACKET_BYTES));
            buffer.drain(..used);
            if read == 0 {
                break;
            }
        }
    }
    Ok(filter.ok_or(Found::Nothing))
}

/// Keeps the packets of one sound, and the times of pictures.
struct Filter {
    pid: u16,
    /// A transport stream of the sound.
    kept: Vec<u8>,
    /// The PIDs of video, with the lowest PTS of each.
    video: Vec<(u16, Option<Ticks>)>,
}

impl Filter {
    /// For the segment that begins with these bytes. `None` if its tables are not there.
    fn of(start: &[u8]) -> Option<Result<Self, Found>> {
        let Scan { pmt_pid, pmt, .. } = Scan::of(start, false)?;
        let is_audio = |stream: &&ElementaryStream| Codec::of(stream).is_audio();
        let Some(sound) = pmt.streams.iter().find(is_audio) else { return Some(Err(Found::Nothing)) };
        let pid = sound.pid;
        let is_video = |stream: &&ElementaryStream| Codec::of(stream).is_video();
        let video = pmt.streams.iter().filter(is_video).map(|stream| (stream.pid, None)).collect();
        let streams = vec![sound.clone()];
        let alone = Pmt { pcr_pid: pid, streams, descriptors: Vec::new(), program: pmt.program };
        let mut kept = write_pat(pmt.program, pmt_pid);
        kept.extend(write_pmt(pmt_pid, &alone));
        Some(Ok(Self { pid, kept, video }))
    }

    /// Takes the whole packets at the start of `bytes`; returns how many bytes these are.
    fn push(&mut self, bytes: &[u8]) -> usize {
        let mut used = 0;
        for (offset, packet) in packets(bytes) {
            used = offset + PACKET_BYTES;
            if packet.pid() == self.pid {
                self.kept.extend_from_slice(packet.bytes());
            } else if packet.starts_unit() {
                self.note_time(packet);
            }
        }
        used
    }

    fn note_time(&mut self, packet: Packet<'_>) {
        let Some((_, lowest)) = self.video.iter_mut().find(|(pid, _)| *pid == packet.pid()) else { return };
        if let Some(pts) = Header::parse(packet.payload()).and_then(|header| header.pts) {
            *lowest = Some(lowest.filter(|lowest| lowest.since(pts) <= 0).unwrap_or(pts));
        }
    }

    /// The lowest PTS of the first video that has frames.
    fn lowest_video_pts(&self) -> Option<Ticks> {
        self.video.iter().find_map(|(_, lowest)| *lowest)
    }
}
