//! Program-specific information: the program association table (PAT) and the program map table (PMT), which say which
//! elementary streams there are and on which PIDs (ISO/IEC 13818-1, 2.4.4).

use std::collections::{BTreeMap, BTreeSet};

use super::packet::{PACKET_BYTES, Packet, SYNC, packets};

/// The PID of the PAT.
pub const PAT_PID: u16 = 0;
const PAT_TABLE_ID: u8 = 0x00;
const PMT_TABLE_ID: u8 = 0x02;

/// Assembles the PSI sections of one PID.
#[derive(Debug, Clone, Default)]
struct SectionAssembler {
    /// The bytes so far of a section that has begun.
    section: Option<Vec<u8>>,
}

impl SectionAssembler {
    /// Takes the next packet of the PID; returns the section that it completes, if the CRC is right.
    ///
    /// Of several sections that end in one packet the first is returned; a PAT or PMT is not packed so.
    fn push(&mut self, packet: Packet<'_>) -> Option<Vec<u8>> {
        let payload = packet.payload();
        if !packet.starts_unit() {
            return self.extend(payload);
        }
        let (pointer_field, rest) = payload.split_first()?;
        let (end_of_last, start_of_next) = rest.split_at_checked(usize::from(*pointer_field))?;
        let last = self.extend(end_of_last);
        self.section = Some(Vec::new());
        let next = self.extend(start_of_next);
        last.or(next)
    }

    fn extend(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let section = self.section.as_mut()?;
        section.extend_from_slice(bytes);
        let [_, l1, l0, ..] = section[..] else { return None };
        let length = 3 + usize::from(word(l1, l0) & 0x0FFF);
        if section.len() < length {
            return None;
        }
        section.truncate(length);
        self.section.take().filter(|section| crc32(section) == 0)
    }
}

/// An elementary stream as the PMT lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ElementaryStream {
    /// The PID of its packets.
    pub pid: u16,
    /// `stream_type` (table 2-34).
    pub stream_type: u8,
    /// Its descriptors, unparsed.
    pub descriptors: Vec<u8>,
}

impl ElementaryStream {
    /// The bodies of the descriptors with this tag, up to the first that is truncated.
    pub fn descriptors_with(&self, tag: u8) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.descriptors[..];
        std::iter::from_fn(move || {
            let [found, length, after @ ..] = rest else { return None };
            let (body, after) = after.split_at_checked(usize::from(*length))?;
            rest = after;
            Some((*found, body))
        })
        .filter(move |(found, _)| *found == tag)
        .map(|(_, body)| body)
    }

    /// Its language: a code of three letters (`ISO_639_language_descriptor`, 2.6.18).
    pub fn language(&self) -> Option<[u8; 3]> {
        let code =
            self.descriptors_with(0x0A).next()?.first_chunk::<3>()?.map(|letter| letter.to_ascii_lowercase());
        code.iter().all(u8::is_ascii_lowercase).then_some(code)
    }
}

/// A program map table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pmt {
    /// `program_number`.
    pub program: u16,
    /// The PID whose packets carry the PCR.
    pub pcr_pid: u16,
    /// The descriptors of the program, unparsed.
    pub descriptors: Vec<u8>,
    /// The elementary streams, in the table's order, each PID once.
    pub streams: Vec<ElementaryStream>,
}

/// Finds the first PMT in `bytes`. Returns the number of programs in the PAT, the PID of the PMT, and the PMT.
pub(super) fn find_pmt(bytes: &[u8]) -> Option<(usize, u16, Pmt)> {
    let mut pat = SectionAssembler::default();
    let mut count = 0;
    let mut programs: BTreeMap<u16, SectionAssembler> = BTreeMap::new();
    for (_, packet) in packets(bytes) {
        if packet.pid() == PAT_PID && programs.is_empty() {
            let pids = pat.push(packet).and_then(|section| parse_pat(&section)).unwrap_or_default();
            count = pids.len();
            programs = pids.into_iter().map(|pid| (pid, SectionAssembler::default())).collect();
        } else if let Some(pmt) = programs.get_mut(&packet.pid())
            && let Some(pmt) = pmt.push(packet).and_then(|section| parse_pmt(&section))
        {
            return Some((count, packet.pid(), pmt));
        }
    }
    None
}

/// The PIDs of the PMTs in a PAT section. The entry of program 0 is left out: it is the network PID.
fn parse_pat(section: &[u8]) -> Option<Vec<u16>> {
    let entries = body(section, PAT_TABLE_ID)?.get(5..)?.as_chunks::<4>().0.iter();
    let programs = entries.filter(|[n1, n0, ..]| word(*n1, *n0) != 0);
    Some(programs.map(|[_, _, p1, p0]| word(*p1, *p0) & 0x1FFF).collect())
}

fn parse_pmt(section: &[u8]) -> Option<Pmt> {
    let [n1, n0, _, _, _, c1, c0, d1, d0, rest @ ..] = body(section, PMT_TABLE_ID)? else { return None };
    let (descriptors, mut rest) = rest.split_at_checked(usize::from(word(*d1, *d0) & 0x0FFF))?;
    let mut streams = Vec::new();
    let mut pids = BTreeSet::new();
    while let [stream_type, p1, p0, l1, l0, after @ ..] = rest {
        let (descriptors, after) = after.split_at_checked(usize::from(word(*l1, *l0) & 0x0FFF))?;
        let (pid, stream_type) = (word(*p1, *p0) & 0x1FFF, *stream_type);
        if pids.insert(pid) {
            streams.push(ElementaryStream { pid, stream_type, descriptors: descriptors.to_vec() });
        }
        rest = after;
    }
    let (program, pcr_pid) = (word(*n1, *n0), word(*c1, *c0) & 0x1FFF);
    Some(Pmt { program, pcr_pid, descriptors: descriptors.to_vec(), streams })
}

/// The bytes between a section's length and its CRC; `None` if it is of another table or not in force yet
/// (`current_next_indicator`).
fn body(section: &[u8], table_id: u8) -> Option<&[u8]> {
    let [id, _, _, rest @ ..] = section else { return None };
    let body = rest.get(..rest.len().checked_sub(4)?)?;
    (*id == table_id && body.get(2)? & 1 == 1).then_some(body)
}

fn word(high: u8, low: u8) -> u16 {
    u16::from_be_bytes([high, low])
}

/// The packets of a PAT with one program, with continuity counters from 0.
pub fn write_pat(program: u16, pmt_pid: u16) -> Vec<u8> {
    let mut body = vec![0, 1, 0xC1, 0, 0];
    body.extend(program.to_be_bytes());
    body.extend((pmt_pid | 0xE000).to_be_bytes());
    packetize(PAT_PID, &section(PAT_TABLE_ID, &body))
}

/// The packets of a PMT on `pid`, with continuity counters from 0.
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
    packetize(pid, &section(PMT_TABLE_ID, &body))
}

fn extend_with_descriptors(body: &mut Vec<u8>, descriptors: &[u8]) {
    let length = u16::try_from(descriptors.len()).unwrap_or(0) & 0x0FFF;
    body.extend((length | 0xF000).to_be_bytes());
    body.extend(&descriptors[..usize::from(length)]);
}

/// A section: `body` with its header and CRC.
fn section(table_id: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len() + 4).unwrap_or(0x0FFF) & 0x0FFF;
    let mut section = vec![table_id];
    section.extend((length | 0xB000).to_be_bytes());
    section.extend(body);
    section.extend(crc32(&section).to_be_bytes());
    section
}

/// The packets of a section, with continuity counters from 0.
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

/// The CRC of a section (annex A); 0 over a section that ends with its CRC.
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

    fn sections_in(bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut sections = SectionAssembler::default();
        packets(bytes).filter_map(|(_, packet)| sections.push(packet)).collect()
    }

    #[test]
    fn written_tables_parse_to_the_same_value_in_one_packet_or_several() {
        let pat = sections_in(&write_pat(7, 0x1ABC));
        assert_eq!(parse_pat(&pat[0]), Some(vec![0x1ABC]));
        for count in [1, 3, 60, 150] {
            let streams = (0..count)
                .map(|index| ElementaryStream {
                    pid: 0x100 + index,
                    stream_type: 0x1B,
                    descriptors: vec![5, 2, 1, 2],
                })
                .collect();
            let pmt = Pmt { program: 7, pcr_pid: 0x100, descriptors: vec![9, 1, 0], streams };
            let sections = sections_in(&write_pmt(0x1ABC, &pmt));
            assert_eq!(parse_pmt(&sections[0]).as_ref(), Some(&pmt), "{count}");
        }
    }

    #[test]
    fn a_pid_that_is_listed_often_is_one_stream() {
        let stream = |pid, stream_type| ElementaryStream { pid, stream_type, descriptors: Vec::new() };
        let streams =
            [vec![stream(0x100, 0x1B); 700], vec![stream(0x101, 0x0F), stream(0x100, 0x24)]].concat();
        let pmt = Pmt { program: 1, pcr_pid: 0x100, descriptors: Vec::new(), streams };
        let sections = sections_in(&write_pmt(0x1000, &pmt));
        let parsed = parse_pmt(&sections[0]).expect("a PMT");
        assert_eq!(parsed.streams, [stream(0x100, 0x1B), stream(0x101, 0x0F)]);
    }

    #[test]
    fn a_section_with_a_wrong_crc_is_dropped() {
        let mut bytes = write_pat(1, 0x1000);
        bytes[12] ^= 1;
        assert!(sections_in(&bytes).is_empty());
    }

    #[test]
    fn descriptors_are_found_by_tag_up_to_a_truncated_one() {
        let stream =
            ElementaryStream { pid: 0, stream_type: 6, descriptors: vec![1, 1, 9, 5, 2, 7, 8, 5, 9, 0] };
        assert_eq!(stream.descriptors_with(5).collect::<Vec<_>>(), [[7, 8]]);
    }
}
