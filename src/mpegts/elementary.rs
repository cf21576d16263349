//! Elementary streams: the payloads of the PES packets of one PID, joined. Frames lie in there regardless of how PES packets
//! divide them (ISO/IEC 13818-1, 2.4.3.6).

use super::packet::{Packet, packets};
use super::pes::{Header, Ticks};

/// The length of the longest PES header in bytes: `PES_header_data_length` has 8 bits.
const MAX_HEADER_BYTES: usize = 9 + 255;

/// The joined payloads of the PES packets of one PID in a segment, in order.
///
/// Payload before the first PES header belongs to a PES packet that began in the segment before. Duplicate transport
/// packets are skipped.
#[derive(Debug, Clone, Default)]
pub struct JoinedStream {
    /// The payloads.
    pub bytes: Vec<u8>,
    /// Where each PES packet starts.
    pub starts: Vec<PesStart>,
    /// The length of what this segment has; bytes behind it are of the next one.
    pub len: usize,
}

/// The start of a PES packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PesStart {
    /// The offset of its payload in the joined stream.
    pub offset: usize,
    /// The offset of its first transport packet in the segment.
    pub packet_offset: usize,
    /// `stream_id`; see [`Header::stream_id`].
    pub stream_id: u8,
    /// The presentation timestamp.
    pub pts: Option<Ticks>,
    /// The decoding timestamp; the PTS where the header has none.
    pub dts: Option<Ticks>,
}

/// What the next payload of the PID is.
#[derive(Debug, Clone, Copy)]
enum Position {
    /// Part of no PES packet.
    Outside,
    /// The rest of a header, the first packet of which is at this offset.
    Header(usize),
    /// Data, of which so many bytes are to come at most.
    Data(usize),
}

/// Finds the data of the elementary stream in the transport packets of one PID. Duplicate packets have none.
#[derive(Debug)]
pub(super) struct Payloads<'a> {
    position: Position,
    /// The bytes so far of a header that goes over several packets.
    header: Vec<u8>,
    last_packet: Option<Packet<'a>>,
}

impl JoinedStream {
    /// The joined stream of a PID in the bytes of a segment.
    pub fn of(segment: &[u8], pid: u16) -> Self {
        let mut joined = Self::default();
        let mut payloads = Payloads::default();
        for (offset, packet) in packets(segment).filter(|(_, packet)| packet.pid() == pid) {
            let (started, data) = payloads.push(offset, packet);
            if let Some((packet_offset, header)) = started {
                let Header { stream_id, pts, dts, .. } = header;
                let offset = joined.bytes.len();
                joined.starts.push(PesStart { offset, packet_offset, stream_id, pts, dts: dts.or(pts) });
            }
            joined.bytes.extend_from_slice(data);
        }
        joined.len = joined.bytes.len();
        joined
    }

    /// Appends the start of the next segment's stream, so that a frame that goes on there can be found whole. It may be
    /// truncated.
    pub fn append_next(&mut self, next: &JoinedStream) {
        self.bytes.extend_from_slice(&next.bytes);
    }
}

impl Default for Payloads<'_> {
    /// Data before the first header belong to a PES packet that began earlier.
    fn default() -> Self {
        Self { position: Position::Data(usize::MAX), header: Vec::new(), last_packet: None }
    }
}

impl<'a> Payloads<'a> {
    /// Takes the next packet of the PID, which is at `offset`. Returns the header of a PES packet, if it is complete now, with
    /// the offset of the packet in which that begins, and the data behind it.
    pub(super) fn push(&mut self, offset: usize, packet: Packet<'a>) -> (Option<(usize, Header)>, &'a [u8]) {
        if self.last_packet.replace(packet).is_some_and(|last| packet.is_duplicate_of(last)) {
            return (None, &[]);
        }
        if packet.starts_unit() {
            self.header.clear();
            self.position = Position::Header(offset);
        }
        let payload = packet.payload();
        match self.position {
            Position::Outside => (None, &[]),
            Position::Data(left) => (None, self.data(payload, left)),
            Position::Header(offset) => {
                let earlier = self.header.len();
                self.header.extend_from_slice(payload);
                match self.parse_header() {
                    Some(header) => {
                        let data = payload.get(header.len - earlier..).unwrap_or(&[]);
                        let left = header.packet_len.map_or(usize::MAX, |len| len.saturating_sub(header.len));
                        (Some((offset, header)), self.data(data, left))
                    }
                    None => (None, &[]),
                }
            }
        }
    }

    fn data(&mut self, data: &'a [u8], left: usize) -> &'a [u8] {
        let used = data.len().min(left);
        self.position = Position::Data(left - used);
        &data[..used]
    }

    /// The header, if it is complete.
    fn parse_header(&mut self) -> Option<Header> {
        let Some(header) = Header::parse(&self.header) else {
            if self.header.len() >= 9 {
                self.position = Position::Outside;
            }
            return None;
        };
        (header.len <= self.header.len() || self.header.len() >= MAX_HEADER_BYTES).then_some(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mpegts::packet::PACKET_BYTES;
    use crate::mpegts::pes::{Pes, write_pes};

    fn pes(second: i64, payload: &[u8]) -> Vec<u8> {
        let pts = Ticks::new(second * 90_000);
        let mut bytes = Vec::new();
        let pes = Pes { stream_id: 0xC0, pts, dts: pts, payload: payload.to_vec() };
        write_pes(&pes, 0x100, &mut 0, false, &mut bytes);
        bytes
    }

    #[test]
    fn payloads_are_joined_and_the_starts_of_pes_packets_kept() {
        let before = [&[0x47, 0x01, 0x00, 0x30, 180, 0][..], &[0xFF; 179], b"end"].concat();
        let other = [&[0x47, 0x41, 0x01, 0x10][..], &[0; 184]].concat();
        let second = pes(2, &[7; 400]);
        let duplicate = &second[PACKET_BYTES..2 * PACKET_BYTES];
        let invalid = [&[0x47, 0x41, 0x00, 0x10][..], &[0; 184]].concat();
        let parts = [&before, &pes(1, b"one"), &other, &second[..2 * PACKET_BYTES], duplicate];
        let bytes = [&parts.concat()[..], &second[2 * PACKET_BYTES..], &invalid].concat();
        let joined = JoinedStream::of(&bytes, 0x100);
        assert_eq!(joined.bytes, [&b"endone"[..], &[7; 400]].concat());
        let starts: Vec<_> =
            joined.starts.iter().map(|pes| (pes.offset, pes.packet_offset / PACKET_BYTES)).collect();
        assert_eq!(starts, [(3, 1), (6, 3)]);
        assert_eq!(joined.starts[1].dts, Some(Ticks::new(180_000)));
    }

    #[test]
    fn a_header_may_go_over_packets_and_a_length_ends_the_payload() {
        let mut header = vec![0, 0, 1, 0xC0, 0, 3 + 20 + 2, 0x80, 0x80, 20];
        header.extend(Ticks::new(900).write(2));
        header.extend([0xFF; 15]);
        let payload = [&header[..], b"ab", b"behind its length"].concat();
        for first in 1..payload.len() {
            let mut bytes = Vec::new();
            for (index, part) in [&payload[..first], &payload[first..]].into_iter().enumerate() {
                let field = 183 - part.len();
                let start = if index == 0 { 0x41 } else { 0x01 };
                let counter = u8::try_from(index).expect("small");
                bytes.extend([0x47, start, 0, 0x30 | counter, u8::try_from(field).expect("small"), 0]);
                bytes.resize(bytes.len() + field - 1, 0xFF);
                bytes.extend_from_slice(part);
            }
            let joined = JoinedStream::of(&bytes, 0x100);
            assert_eq!((&joined.bytes[..], joined.starts.len()), (&b"ab"[..], 1), "{first}");
            assert_eq!(joined.starts[0].pts, Some(Ticks::new(900)), "{first}");
        }
    }
}
