//! A transport stream with one program that arrives in pieces, as ffmpeg's muxer writes it, and its packets as they are
//! written to segments: on another clock, with continuity counters and tables of their own.

use super::codec::Codec;
use super::packet::{NULL_PID, PACKET_BYTES, PCR_OFFSET, PID_COUNT, Packet, SYNC, write_pcr};
use super::pes::{DTS_OFFSET, Header, PTS_OFFSET, Ticks};
use super::psi::{PAT_PID, Pmt, find_pmt, write_pat, write_pmt};
use super::scan::access_unit_start;

/// Bytes in which the tables must have come.
const MAX_HEAD_BYTES: usize = 1024 * 1024;
/// Bytes of a picture that are searched for its first slice.
const MAX_SEARCH_BYTES: usize = 64 * 1024;

/// By how much PCR are before DTS. ffmpeg, which adds no delay, writes PCR that are DTS.
const PCR_LEAD_90K: i64 = 63_000;
/// The flag `discontinuity_indicator` of an adaptation field.
const DISCONTINUITY: u8 = 0x80;

/// The bytes of a transport packet.
pub type PacketBytes = [u8; PACKET_BYTES];

/// Splits a stream into packets.
#[derive(Debug, Default)]
pub struct PacketReader {
    /// Bytes behind the last whole packet.
    rest: Vec<u8>,
}

impl PacketReader {
    /// Takes the next bytes; returns the packets that they complete. Bytes outside packets are skipped.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<PacketBytes> {
        self.rest.extend_from_slice(bytes);
        let mut found = Vec::with_capacity(self.rest.len() / PACKET_BYTES);
        let mut at = 0;
        while let Some(packet) = self.rest[at..].first_chunk::<PACKET_BYTES>() {
            if packet[0] == SYNC {
                found.push(*packet);
                at += PACKET_BYTES;
            } else {
                at += 1;
            }
        }
        self.rest.drain(..at);
        found
    }
}

/// The program of a stream.
#[derive(Debug, Clone)]
pub struct Program {
    pmt_pid: u16,
    pmt: Pmt,
    /// The PID of the elementary stream whose frames give the time: the first video, else the first audio.
    pub reference_pid: u16,
    /// Its codec.
    pub codec: Codec,
}

impl Program {
    /// The program in `head`, the bytes of a stream from its beginning; `None` as long as its tables are not there.
    ///
    /// # Errors
    /// What is wrong, if there are no tables in the first mebibyte, or the program has neither video nor audio.
    pub fn find(head: &[u8]) -> Result<Option<Self>, &'static str> {
        let Some((_, pmt_pid, pmt)) = find_pmt(head) else {
            return if head.len() < MAX_HEAD_BYTES { Ok(None) } else { Err("ffmpeg writes no program") };
        };
        let first = |has_type: fn(Codec) -> bool| {
            let mut streams = pmt.streams.iter().map(|stream| (stream.pid, Codec::of(stream)));
            streams.find(|(_, codec)| has_type(*codec))
        };
        let reference = first(Codec::is_video).or_else(|| first(Codec::is_audio));
        let (reference_pid, codec) =
            reference.ok_or("it has neither video nor audio that can be recorded")?;
        Ok(Some(Self { pmt_pid, pmt, reference_pid, codec }))
    }

    /// Whether a packet belongs to one of its elementary streams.
    pub fn has(&self, packet: Packet<'_>) -> bool {
        packet.pid() != NULL_PID && self.pmt.streams.iter().any(|stream| stream.pid == packet.pid())
    }
}

/// Where a segment may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// No frame from here on refers to one before.
    Clean,
    /// Decoding can begin here, but pictures that are shown before this one may refer to earlier ones.
    Open,
    /// Not here.
    None,
    /// It takes more bytes to tell.
    Unknown,
}

/// Tells whether a segment may begin with a frame. `start` are the bytes of its elementary stream so far; `is_marked` is
/// whether the muxer has marked it as a key frame; `is_whole` is whether no more bytes will come.
pub fn entry(codec: Codec, start: &[u8], is_marked: bool, is_whole: bool) -> Entry {
    if codec.is_audio() {
        return Entry::Clean;
    }
    if !is_marked {
        return Entry::None;
    }
    let found = access_unit_start(codec, start);
    match found {
        _ if !matches!(codec, Codec::H264 | Codec::Hevc | Codec::Mpeg2) => Entry::Clean,
        _ if found.idr => Entry::Clean,
        _ if found.picture || is_whole || start.len() > MAX_SEARCH_BYTES => Entry::Open,
        _ => Entry::Unknown,
    }
}

/// Writes packets of programs to segments.
#[derive(Debug)]
pub struct LiveWriter {
    /// The continuity counter of the last packet, by PID. They go on from segment to segment.
    counters: Vec<u8>,
}

impl Default for LiveWriter {
    fn default() -> Self {
        Self { counters: vec![0x0F; PID_COUNT] }
    }
}

impl LiveWriter {
    /// Appends the PAT and the PMT, with which a segment begins. If it does not go on from what was written before, a
    /// packet of each stream says so of its clock and of its continuity counter (ISO/IEC 13818-1, 2.4.3.5).
    pub fn begin_segment(&mut self, program: &Program, goes_on: bool, out: &mut Vec<u8>) {
        let Program { pmt_pid, pmt, .. } = program;
        let tables = [write_pat(pmt.program, *pmt_pid), write_pmt(*pmt_pid, pmt)].concat();
        for packet in tables.as_chunks::<PACKET_BYTES>().0 {
            self.write(*packet, 0, out);
        }
        if !goes_on {
            self.write_discontinuity(program, out);
        }
    }

    fn write_discontinuity(&self, program: &Program, out: &mut Vec<u8>) {
        for stream in &program.pmt.streams {
            let [high, low] = stream.pid.to_be_bytes();
            let counter = self.counters[usize::from(stream.pid) % PID_COUNT];
            let mut packet = [0xFF; PACKET_BYTES];
            // An adaptation field and no payload.
            packet[..6].copy_from_slice(&[SYNC, high, low, 0x20 | counter, 183, DISCONTINUITY]);
            out.extend_from_slice(&packet);
        }
    }

    /// Appends a packet whose PTS, DTS and PCR are `shift_90k` ticks later.
    pub fn write(&mut self, mut packet: PacketBytes, shift_90k: i64, out: &mut Vec<u8>) {
        let Some(parsed) = Packet::new(&packet) else { return };
        let (pid, has_payload) = (parsed.pid(), parsed.has_payload());
        let pcr = parsed.pcr().filter(|_| pid != PAT_PID);
        let header = if parsed.starts_unit() { Header::parse(parsed.payload()) } else { None };
        let start = PACKET_BYTES - parsed.payload().len();
        let counter = &mut self.counters[usize::from(pid) % PID_COUNT];
        *counter = (*counter + u8::from(has_payload)) & 0x0F;
        packet[3] = packet[3] & 0xF0 | *counter;
        if let Some((pcr, base)) = pcr.and_then(|pcr| Some((pcr, i64::try_from(pcr / 300).ok()?))) {
            let base = u64::try_from(Ticks::new(base + shift_90k - PCR_LEAD_90K).get()).unwrap_or_default();
            packet[PCR_OFFSET..PCR_OFFSET + 6].copy_from_slice(&write_pcr(base * 300 + pcr % 300));
        }
        if let Some(header) = header {
            let prefix = if header.dts.is_some() { 3 } else { 2 };
            for (time, offset, prefix) in [(header.pts, PTS_OFFSET, prefix), (header.dts, DTS_OFFSET, 1)] {
                let at = start + offset;
                if let Some((time, field)) = time.zip(packet.get_mut(at..at + 5)) {
                    field.copy_from_slice(&time.plus(shift_90k).write(prefix));
                }
            }
        }
        out.extend_from_slice(&packet);
    }
}

/// Whether a packet can be the last one of its PES packet: only such a one has stuffing.
pub fn may_end_unit(packet: Packet<'_>) -> bool {
    packet.has_stuffing()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mpegts::pes::{Pes, write_pes};
    use crate::mpegts::psi::ElementaryStream;

    fn program() -> Vec<u8> {
        let stream = |pid, stream_type| ElementaryStream { pid, stream_type, descriptors: Vec::new() };
        let streams = vec![stream(0x101, 0x0F), stream(0x100, 0x1B)];
        let pmt = Pmt { program: 1, pcr_pid: 0x100, descriptors: Vec::new(), streams };
        [write_pat(1, 0x1000), write_pmt(0x1000, &pmt)].concat()
    }

    #[test]
    fn packets_are_found_in_pieces_of_any_size() {
        let bytes = [&b"xy"[..], &program(), &program()].concat();
        for size in [1, 7, 187, 188, 189, 1000] {
            let mut reader = PacketReader::default();
            let found: Vec<_> = bytes.chunks(size).flat_map(|chunk| reader.push(chunk)).collect();
            assert_eq!(found.concat(), [program(), program()].concat(), "{size}");
        }
    }

    #[test]
    fn the_reference_is_the_first_video() {
        let found = Program::find(&program()).expect("a program").expect("its tables");
        assert_eq!((found.reference_pid, found.codec), (0x100, Codec::H264));
        assert!(matches!(Program::find(&program()[..188]), Ok(None)));
        assert!(Program::find(&vec![0; MAX_HEAD_BYTES]).is_err());
    }

    #[test]
    fn written_packets_are_later_and_count_on_from_segment_to_segment() {
        let program = Program::find(&program()).expect("a program").expect("its tables");
        let pes =
            Pes { stream_id: 0xE0, pts: Ticks::new(5000), dts: Ticks::new(2000), payload: vec![9; 500] };
        let mut input = Vec::new();
        write_pes(&pes, 0x100, &mut 7, true, &mut input);
        let (mut writer, mut out) = (LiveWriter::default(), Vec::new());
        for _ in 0..2 {
            writer.begin_segment(&program, true, &mut out);
            for packet in input.as_chunks::<PACKET_BYTES>().0 {
                writer.write(*packet, (1 << 33) - 3000, &mut out);
            }
        }
        let written: Vec<_> = out.chunks(PACKET_BYTES).filter_map(Packet::new).collect();
        let counters: Vec<_> = written.iter().map(|packet| packet.continuity_counter()).collect();
        assert_eq!(counters, [0, 0, 0, 1, 2, 1, 1, 3, 4, 5]);
        let header = Header::parse(written[2].payload()).expect("a header");
        assert_eq!((header.pts, header.dts), (Some(Ticks::new(2000)), Some(Ticks::new(-1000))));
        assert!(Program::find(&out).is_ok_and(|found| found.is_some()));
    }

    #[test]
    fn a_discontinuity_is_a_packet_of_each_stream_that_does_not_count() {
        let program = Program::find(&program()).expect("a program").expect("its tables");
        let mut out = Vec::new();
        LiveWriter { counters: vec![4; PID_COUNT] }.write_discontinuity(&program, &mut out);
        let written: Vec<_> = out.chunks(PACKET_BYTES).filter_map(Packet::new).collect();
        let found: Vec<_> =
            written.iter().map(|packet| (packet.pid(), packet.continuity_counter())).collect();
        assert_eq!(found, [(0x101, 4), (0x100, 4)]);
        assert!(written.iter().all(|packet| !packet.has_payload() && packet.bytes()[5] == DISCONTINUITY));
    }

    #[test]
    fn a_segment_may_begin_with_key_frames_only() {
        let delimiter = [0, 0, 0, 1, 9, 0xF0];
        let with = |nal: &[u8]| [&delimiter[..], &[0, 0, 1], nal].concat();
        for (bytes, is_marked, is_whole, expected) in [
            (with(&[0x65, 0x88]), true, false, Entry::Clean),
            (with(&[0x65, 0x88]), false, false, Entry::None),
            (with(&[0x41, 0x88]), true, false, Entry::Open),
            (with(&[0x06, 0x05]), true, false, Entry::Unknown),
            (with(&[0x06, 0x05]), true, true, Entry::Open),
        ] {
            assert_eq!(entry(Codec::H264, &bytes, is_marked, is_whole), expected, "{bytes:?}");
        }
        assert_eq!(entry(Codec::Aac, &[], false, false), Entry::Clean);
    }
}
