//! Program association and program map tables (ISO/IEC 13818-1, 2.4.4): which streams there are, on which PIDs.

use super::packet::{PACKET_BYTES, Packet, SYNC, packets};

/// The PID of the program association table.
pub const PAT_PID: u16 = 0;
/// The longest section there can be, in bytes.
const MAX_SECTION: usize = 3 + 0xFFF;

/// Gathers the sections of one PID from its packets.
#[derive(Debug, Clone, Default)]
pub struct Sections {
    gathered: Vec<u8>,
    gathering: bool,
}

impl Sections {
    /// Takes the next packet of the PID; returns the section that it completes, if that is sound (CRC).
    ///
    /// Where a packet completes several, which no table here does, the first is returned.
    pub fn push(&mut self, packet: Packet<'_>) -> Option<Vec<u8>> {
        let payload = packet.payload();
        if !packet.starts_unit() {
            return self.extend(payload);
        }
        let (pointer, rest) = payload.split_first()?;
        let (tail, head) = rest.split_at_checked(usize::from(*pointer))?;
        let done = self.extend(tail);
        self.gathered.clear();
        self.gathering = true;
        let next = self.extend(head);
        done.or(next)
    }

    fn extend(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        if !self.gathering {
            return None;
        }
        let room = MAX_SECTION.saturating_sub(self.gathered.len());
        self.gathered.extend_from_slice(&bytes[..bytes.len().min(room)]);
        let [_, l1, l0, ..] = self.gathered[..] else { return None };
        let length = 3 + (usize::from(l1 & 0x0F) << 8 | usize::from(l0));
        let section = self.gathered.get(..length)?.to_vec();
        self.gathering = false;
        (crc32(&section) == 0).then_some(section)
    }
}

/// One elementary stream of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ElementaryStream {
    /// Its PID.
    pub pid: u16,
    /// Its `stream_type`.
    pub stream_type: u8,
    /// Its descriptors, as they came.
    pub descriptors: Vec<u8>,
}

impl ElementaryStream {
    /// The bodies of the descriptors with this tag.
    pub fn descriptors_with(&self, tag: u8) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.descriptors[..];
        std::iter::from_fn(move || {
            let [found, length, tail @ ..] = rest else { return None };
            let (body, tail) = tail.split_at_checked(usize::from(*length))?;
            rest = tail;
            Some((*found, body))
        })
        .filter(move |(found, _)| *found == tag)
        .map(|(_, body)| body)
    }
}

/// A program map table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pmt {
    /// The program's number.
    pub program: u16,
    /// The PID whose packets carry the program's clock.
    pub pcr_pid: u16,
    /// The descriptors of the program as a whole.
    pub descriptors: Vec<u8>,
    /// The streams, in the table's order.
    pub streams: Vec<ElementaryStream>,
}

/// The programs of a PAT section: number and PID of the map. The network's entry (number 0) is left out.
pub fn parse_pat(section: &[u8]) -> Option<Vec<(u16, u16)>> {
    let body = body(section, 0x00)?;
    let programs = body.get(5..)?.as_chunks::<4>().0.iter();
    Some(
        programs
            .map(|[n1, n0, p1, p0]| (word(*n1, *n0), word(*p1, *p0) & 0x1FFF))
            .filter(|row| row.0 != 0)
            .collect(),
    )
}

/// The map in a PMT section.
pub fn parse_pmt(section: &[u8]) -> Option<Pmt> {
    let [n1, n0, _, _, _, c1, c0, d1, d0, rest @ ..] = body(section, 0x02)? else { return None };
    let (descriptors, mut rest) = rest.split_at_checked(usize::from(word(*d1, *d0) & 0x0FFF))?;
    let mut streams = Vec::new();
    while let [stream_type, p1, p0, l1, l0, tail @ ..] = rest {
        let (descriptors, tail) = tail.split_at_checked(usize::from(word(*l1, *l0) & 0x0FFF))?;
        let (pid, stream_type) = (word(*p1, *p0) & 0x1FFF, *stream_type);
        streams.push(ElementaryStream { pid, stream_type, descriptors: descriptors.to_vec() });
        rest = tail;
    }
    let (program, pcr_pid) = (word(*n1, *n0), word(*c1, *c0) & 0x1FFF);
    Some(Pmt { program, pcr_pid, descriptors: descriptors.to_vec(), streams })
}

/// The number of programs, and the PID and body of the first map there is.
pub(super) fn tables(bytes: &[u8]) -> Option<(usize, u16, Pmt)> {
    let mut pat = Sections::default();
    let mut programs: Vec<(u16, Sections)> = Vec::new();
    for (_, packet) in packets(bytes) {
        if packet.pid() == PAT_PID && programs.is_empty() {
            let found = pat.push(packet).and_then(|section| parse_pat(&section)).unwrap_or_default();
            programs = found.into_iter().map(|(_, pid)| (pid, Sections::default())).collect();
        } else if let Some((pid, sections)) = programs.iter_mut().find(|(pid, _)| *pid == packet.pid())
            && let Some(pmt) = sections.push(packet).and_then(|section| parse_pmt(&section))
        {
            let pid = *pid;
            return Some((programs.len(), pid, pmt));
        }
    }
    None
}

/// What stands between a section's length and its CRC, if its table has this id and is in force.
fn body(section: &[u8], table_id: u8) -> Option<&[u8]> {
    let [id, _, _, rest @ ..] = section else { return None };
    let body = rest.get(..rest.len().checked_sub(4)?)?;
    (*id == table_id && body.get(2)? & 1 == 1).then_some(body)
}

fn word(high: u8, low: u8) -> u16 {
    u16::from_be_bytes([high, low])
}

/// Packets of a PAT that lists one program.
pub fn write_pat(program: u16, pmt_pid: u16) -> Vec<u8> {
    let mut body = vec![0, 1, 0xC1, 0, 0];
    body.extend(program.to_be_bytes());
    body.extend((pmt_pid | 0xE000).to_be_bytes());
    packetize(PAT_PID, &section(0x00, &body))
}

/// Packets of a PMT, on `pid`.
pub fn write_pmt(pid: u16, pmt: &Pmt) -> Vec<u8> {
    let mut body = pmt.program.to_be_bytes().to_vec();
    body.extend([0xC1, 0, 0]);
    body.extend((pmt.pcr_pid | 0xE000).to_be_bytes());
    extend_with_descriptors(&mut body, &pmt.descriptors);
    for stream in &pmt.streams {
        body.push(stream.stream_type);
        body.extend((stream.pid | 0xE000).to_be_bytes());
        extend_with_descriptors(&mut body, &stream.descriptors);
    }
    packetize(pid, &section(0x02, &body))
}

fn extend_with_descriptors(body: &mut Vec<u8>, descriptors: &[u8]) {
    let length = u16::try_from(descriptors.len()).unwrap_or(0) & 0x0FFF;
    body.extend((length | 0xF000).to_be_bytes());
    body.extend(&descriptors[..usize::from(length)]);
}

/// A section with its header and CRC.
fn section(table_id: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len() + 4).unwrap_or(0x0FFF) & 0x0FFF;
    let mut section = vec![table_id];
    section.extend((length | 0xB000).to_be_bytes());
    section.extend(body);
    section.extend(crc32(&section).to_be_bytes());
    section
}

/// A section in packets, with continuity counters from 0.
fn packetize(pid: u16, section: &[u8]) -> Vec<u8> {
    let [p1, p0] = pid.to_be_bytes();
    let mut payload = vec![0];
    payload.extend(section);
    let mut packets = Vec::new();
    for (index, chunk) in payload.chunks(PACKET_BYTES - 4).enumerate() {
        let start = if index == 0 { 0x40 } else { 0 };
        packets.extend([SYNC, start | p1, p0, 0x10 | u8::try_from(index & 0x0F).unwrap_or(0)]);
        packets.extend(chunk);
        packets.resize(packets.len().next_multiple_of(PACKET_BYTES), 0xFF);
    }
    packets
}

/// The CRC of a section (annex A); 0 over a section with its CRC.
fn crc32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0xFFFF_FFFF, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| {
            if crc & 0x8000_0000 == 0 { crc << 1 } else { crc << 1 ^ 0x04C1_1DB7 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut sections = Sections::default();
        packets(bytes).filter_map(|(_, packet)| sections.push(packet)).collect()
    }

    #[test]
    fn tables_read_as_they_were_written_in_one_packet_or_several() {
        let pat = round(&write_pat(7, 0x1ABC));
        assert_eq!(parse_pat(&pat[0]), Some(vec![(7, 0x1ABC)]));
        for count in [1, 3, 60, 150] {
            let streams = (0..count)
                .map(|index| ElementaryStream {
                    pid: 0x100 + index,
                    stream_type: 0x1B,
                    descriptors: vec![5, 2, 1, 2],
                })
                .collect();
            let pmt = Pmt { program: 7, pcr_pid: 0x100, descriptors: vec![9, 1, 0], streams };
            let sections = round(&write_pmt(0x1ABC, &pmt));
            assert_eq!(parse_pmt(&sections[0]).as_ref(), Some(&pmt), "{count}");
        }
    }

    #[test]
    fn a_damaged_section_is_none() {
        let mut bytes = write_pat(1, 0x1000);
        bytes[12] ^= 1;
        assert!(round(&bytes).is_empty());
    }

    #[test]
    fn descriptors_are_found_by_tag_and_a_cut_one_ends_them() {
        let stream =
            ElementaryStream { pid: 0, stream_type: 6, descriptors: vec![1, 1, 9, 5, 2, 7, 8, 5, 9, 0] };
        assert_eq!(stream.descriptors_with(5).collect::<Vec<_>>(), [[7, 8]]);
    }
}
