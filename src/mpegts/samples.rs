//! The samples of a segment: its access units and audio frames as MP4 has them (ISO/IEC 14496-12 and 14496-15), without
//! their bytes, which are made from the segment again.
//!
//! A sample of video is a unit of the scan, with a length of four bytes before each NAL unit in place of its start code. A
//! sample of audio is a frame, of AAC without its ADTS header.

use std::ops::Range;
use std::sync::Arc;

use super::codec::Codec;
use super::nal::trimmed_nal_units;
use super::packet::packets;
use super::pes::Ticks;
use super::psi::Pmt;
use super::scan::{Scan, Track, Unit};
use super::units::{UnitData, UnitReader};

use super::sample_format::{AudioFrames, Formats, ParameterSets};
pub use super::sample_format::{SampleFormat, VideoFormat, video_format};

/// The length of a NAL unit is given in so many bytes (`lengthSizeMinusOne` is one less).
const LENGTH_BYTES: usize = 4;

/// The samples of a segment.
#[derive(Debug, Clone)]
pub struct SampleIndex {
    /// The tracks, in the order of [`Scan::tracks`].
    pub tracks: Vec<TrackSamples>,
}

/// The samples of an elementary stream.
#[derive(Debug, Clone)]
pub struct TrackSamples {
    /// The PID of the elementary stream.
    pub pid: u16,
    /// Its codec.
    pub codec: Codec,
    /// Its samples; none if the track cannot be held in MP4.
    pub samples: Vec<Sample>,
    /// The formats, each with the index of the first sample that has it. One of video begins with a sync sample, and is made
    /// of the parameter sets there and before. Empty if the track cannot be held in MP4, or if it is video of which no sync
    /// sample with all parameter sets is there.
    pub formats: Vec<(u32, Arc<SampleFormat>)>,
    /// Why the track cannot be held in MP4: the name of its codec.
    pub unsupported: Option<&'static str>,
    /// The offset of the first transport packet of each unit.
    unit_offsets: Vec<u32>,
}

/// A sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// The presentation timestamp: of an audio frame that of its PES packet and the samples since.
    pub pts: Ticks,
    /// The decoding timestamp; of audio the PTS.
    pub dts: Ticks,
    /// The index of its unit in [`Track::units`].
    pub unit: u32,
    /// Its size in MP4, in bytes.
    pub size: u32,
    /// The number of PCM samples a channel; of video 0.
    pub samples: u32,
    /// Whether decoding can begin with it, and all that is shown from it on is right.
    pub sync: bool,
    /// Whether all of it is there; only the last sample can be incomplete.
    pub complete: bool,
}

impl SampleIndex {
    /// The samples of a segment whose frames are aligned with its PES packets (see [`Scan::is_aligned`]).
    pub fn of(bytes: &[u8], scan: &Scan) -> Self {
        let mut tracks: Vec<TrackIndexer<'_>> =
            scan.tracks.iter().map(|track| TrackIndexer::new(track, &scan.pmt)).collect();
        for (offset, packet) in packets(bytes) {
            if let Some(track) = tracks.iter_mut().rfind(|track| track.out.pid == packet.pid()) {
                let TrackIndexer { reader, out, formats, units } = track;
                reader.push(offset, packet, |unit| out.push(&unit, units, formats));
            }
        }
        Self { tracks: tracks.into_iter().map(TrackIndexer::finish).collect() }
    }

    /// Roughly how many bytes of memory the index takes.
    pub fn memory_bytes(&self) -> usize {
        self.tracks.iter().map(TrackSamples::memory_bytes).sum()
    }
}

/// Finds the samples of one track.
struct TrackIndexer<'a> {
    reader: UnitReader<'a>,
    out: TrackSamples,
    formats: Formats,
    units: &'a [Unit],
}

impl<'a> TrackIndexer<'a> {
    fn new(track: &'a Track, pmt: &Pmt) -> Self {
        let listed = pmt.streams.iter().rfind(|stream| stream.pid == track.pid);
        let stream_type = listed.map_or(0, |stream| stream.stream_type);
        let formats = Formats::of(track.codec, stream_type);
        let out = TrackSamples {
            pid: track.pid,
            codec: track.codec,
            samples: Vec::new(),
            formats: Vec::new(),
            unsupported: None,
            unit_offsets: Vec::with_capacity(track.units.len()),
        };
        Self { reader: UnitReader::default(), out, formats, units: &track.units }
    }

    fn finish(mut self) -> TrackSamples {
        let Self { reader, out, formats, units } = &mut self;
        reader.finish(|unit| out.push(&unit, units, formats));
        out.unsupported = formats.unsupported();
        if out.unsupported.is_some() {
            (out.samples, out.formats, out.unit_offsets) = Default::default();
        }
        out.samples.shrink_to_fit();
        self.out
    }
}

impl TrackSamples {
    fn memory_bytes(&self) -> usize {
        let formats: usize = self.formats.iter().map(|(_, format)| format.memory_bytes()).sum();
        size_of::<Self>()
            + self.samples.capacity() * size_of::<Sample>()
            + self.unit_offsets.capacity() * size_of::<u32>()
            + formats
    }

    /// The offset of the first transport packet of a sample's unit.
    fn unit_offset(&self, sample: &Sample) -> Option<usize> {
        self.unit_offsets.get(sample.unit as usize).map(|offset| *offset as usize)
    }

    /// Appends the samples of the next unit.
    fn push(&mut self, unit: &UnitData<'_>, units: &[Unit], formats: &mut Formats) {
        // Offsets of 32 bits are enough for 4 GiB.
        let Ok(offset) = u32::try_from(unit.offset) else { return };
        let Ok(index) = u32::try_from(self.unit_offsets.len()) else { return };
        let Some(scanned) = units.get(self.unit_offsets.len()) else { return };
        self.unit_offsets.push(offset);
        match formats {
            Formats::Video(sets) => self.push_access_unit(unit.bytes, index, scanned, sets),
            Formats::Audio(frames) => self.push_frames(unit.bytes, index, scanned, frames),
            Formats::Unsupported(_) => {}
        }
    }

    fn push_access_unit(&mut self, bytes: &[u8], index: u32, unit: &Unit, sets: &mut ParameterSets) {
        let mut size = 0;
        for nal in trimmed_nal_units(bytes) {
            size += LENGTH_BYTES + nal.len();
            sets.push(nal);
        }
        let Ok(size @ 1..) = u32::try_from(size) else { return };
        let sync = unit.access_unit.idr || unit.access_unit.recovery == Some(0);
        self.set_format(sets.end_access_unit(sync));
        let Unit { pts, dts, complete, .. } = *unit;
        self.samples.push(Sample { pts, dts, unit: index, size, samples: 0, sync, complete });
    }

    fn push_frames(&mut self, bytes: &[u8], index: u32, unit: &Unit, frames: &mut AudioFrames) {
        let mut offset = 0;
        let mut time = 0;
        while let Some(frame) = frames.coding.frame(&bytes[offset..]) {
            let end = offset + frame.bytes;
            let header = frames.coding.removable_header_bytes(&bytes[offset..]);
            let complete = end <= bytes.len();
            let stored = &bytes[offset..end.min(bytes.len())];
            let Ok(size) = u32::try_from(stored.len().saturating_sub(header)) else { return };
            self.set_format(frames.format(stored, &frame));
            let pts = unit.pts.plus(frame.to_90k(time));
            time += i64::from(frame.samples);
            let samples = frame.samples;
            self.samples.push(Sample { pts, dts: pts, unit: index, size, samples, sync: true, complete });
            if !complete {
                return;
            }
            offset = end;
        }
    }

    /// Notes the format of the next sample, if it is another one.
    fn set_format(&mut self, format: Option<SampleFormat>) {
        let Some(format) = format else { return };
        if self.formats.last().is_none_or(|(_, last)| **last != format) {
            let index = u32::try_from(self.samples.len()).unwrap_or(u32::MAX);
            self.formats.push((index, Arc::new(format)));
        }
    }
}

/// Writes samples of a track, one after another, as MP4 stores them: as many bytes as their sizes are together. `bytes` is
/// the segment that the index was made from.
pub fn write_samples(bytes: &[u8], track: &TrackSamples, range: Range<usize>, out: &mut Vec<u8>) {
    let Some(first) = track.samples.get(range.clone()).and_then(<[Sample]>::first) else { return };
    let before = track.samples[..range.start].iter().rev();
    let skipped = before.take_while(|sample| sample.unit == first.unit).count();
    let samples = track.samples[range.start - skipped..range.end].iter();
    let mut writer = SampleWriter { track, samples, skipped };
    let Some(start) = track.unit_offset(first) else { return };
    let mut reader = UnitReader::default();
    for (offset, packet) in packets(bytes.get(start..).unwrap_or(&[])) {
        if writer.samples.as_slice().is_empty() {
            return;
        }
        if packet.pid() == track.pid {
            reader.push(start + offset, packet, |unit| writer.write(&unit, out));
        }
    }
    reader.finish(|unit| writer.write(&unit, out));
}

/// Writes the samples of units.
struct SampleWriter<'a> {
    track: &'a TrackSamples,
    /// The samples to come.
    samples: std::slice::Iter<'a, Sample>,
    /// How many of them are not written.
    skipped: usize,
}

impl SampleWriter<'_> {
    fn write(&mut self, unit: &UnitData<'_>, out: &mut Vec<u8>) {
        let mut rest = unit.bytes;
        while let Some(sample) = self.samples.as_slice().first() {
            if self.track.unit_offset(sample) != Some(unit.offset) {
                return;
            }
            self.samples.next();
            let Some(coding) = self.track.codec.coding() else {
                write_access_unit(unit.bytes, out);
                continue;
            };
            let header = coding.removable_header_bytes(rest);
            let (frame, later) = rest.split_at(rest.len().min(header + sample.size as usize));
            rest = later;
            if self.skipped > 0 {
                self.skipped -= 1;
            } else {
                out.extend_from_slice(frame.get(header..).unwrap_or(&[]));
            }
        }
    }
}

/// Writes an access unit, which is given as a byte stream with start codes, as MP4 stores it.
pub fn write_access_unit(byte_stream: &[u8], out: &mut Vec<u8>) {
    for nal in trimmed_nal_units(byte_stream) {
        out.extend(u32::try_from(nal.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend_from_slice(nal);
    }
}

/// The size in MP4 of an access unit that is given as a byte stream with start codes.
pub fn access_unit_size(byte_stream: &[u8]) -> u32 {
    let size = trimmed_nal_units(byte_stream).map(|nal| LENGTH_BYTES + nal.len()).sum::<usize>();
    u32::try_from(size).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
