//! Transport packets: 188 bytes, of which the first four are a header (ISO/IEC 13818-1, 2.4.3).

/// The length of a transport packet in bytes.
pub const PACKET_BYTES: usize = 188;
/// The first byte of every packet.
pub const SYNC: u8 = 0x47;
/// The PID of packets that only fill space.
pub const NULL_PID: u16 = 0x1FFF;

/// One transport packet, with its sync byte in place.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a>(&'a [u8; PACKET_BYTES]);

impl<'a> Packet<'a> {
    /// The packet that `bytes` are, if there are 188 of them and the first is the sync byte.
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        let bytes: &[u8; PACKET_BYTES] = bytes.try_into().ok()?;
        (bytes[0] == SYNC).then_some(Self(bytes))
    }

    /// All 188 bytes.
    pub fn bytes(self) -> &'a [u8; PACKET_BYTES] {
        self.0
    }

    /// The stream that the packet belongs to, 13 bits.
    pub fn pid(self) -> u16 {
        u16::from(self.0[1] & 0x1F) << 8 | u16::from(self.0[2])
    }

    /// Whether the sender marked the packet as damaged.
    pub fn damaged(self) -> bool {
        self.0[1] & 0x80 != 0
    }

    /// Whether a PES packet or a section starts in this packet's payload.
    pub fn starts_unit(self) -> bool {
        self.0[1] & 0x40 != 0
    }

    /// Whether the payload is encrypted.
    pub fn scrambled(self) -> bool {
        self.0[3] & 0xC0 != 0
    }

    /// The continuity counter, 4 bits.
    pub fn continuity_counter(self) -> u8 {
        self.0[3] & 0x0F
    }

    /// Whether there is a payload at all.
    pub fn has_payload(self) -> bool {
        self.0[3] & 0x10 != 0
    }

    /// The adaptation field without its length byte, cut to what the packet has; empty where there is none.
    pub fn adaptation(self) -> &'a [u8] {
        if self.0[3] & 0x20 == 0 {
            return &[];
        }
        let end = (5 + usize::from(self.0[4])).min(PACKET_BYTES);
        &self.0[5..end]
    }

    /// The payload; empty where there is none.
    pub fn payload(self) -> &'a [u8] {
        if !self.has_payload() {
            return &[];
        }
        let start = if self.0[3] & 0x20 == 0 { 4 } else { 5 + usize::from(self.0[4]) };
        self.0.get(start..).unwrap_or(&[])
    }

    /// Whether the adaptation field says that decoding can start here.
    pub fn random_access(self) -> bool {
        self.adaptation().first().is_some_and(|flags| flags & 0x40 != 0)
    }

    /// Whether the payload was too short for the packet, so that it is the end of a unit.
    pub fn stuffed(self) -> bool {
        if self.0[3] & 0x20 == 0 {
            return false;
        }
        // What the flags announce: two clocks, a countdown; private data and extensions tell their own length.
        let field = self.adaptation();
        let needed = match field.first() {
            None | Some(0) => 0,
            Some(flags) => {
                let mut needed = 1;
                for (bit, bytes) in [(0x10, 6), (0x08, 6), (0x04, 1)] {
                    needed += if flags & bit == 0 { 0 } else { bytes };
                }
                for bit in [0x02, 0x01] {
                    let length = field.get(needed).map_or(0, |length| usize::from(*length) + 1);
                    needed += if flags & bit == 0 { 0 } else { length };
                }
                needed
            }
        };
        field.is_empty() || field.len() > needed
    }

    /// The programme clock reference in ticks of 27 MHz.
    pub fn pcr(self) -> Option<u64> {
        let field = self.adaptation();
        let bytes: &[u8; 6] = field.get(1..7)?.try_into().ok()?;
        (field[0] & 0x10 != 0).then(|| read_pcr(*bytes))
    }
}

/// Where in a packet its PCR stands, if it has one.
pub const PCR_AT: usize = 6;

/// The PCR in six bytes: 33 bits of 90 kHz, 6 reserved, 9 bits that count 27 MHz.
fn read_pcr(bytes: [u8; 6]) -> u64 {
    let base = u64::from(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])) << 1
        | u64::from(bytes[4] >> 7);
    base * 300 + (u64::from(bytes[4] & 1) << 8 | u64::from(bytes[5])) % 300
}

/// A PCR, in ticks of 27 MHz, as the six bytes of an adaptation field.
pub fn write_pcr(pcr: u64) -> [u8; 6] {
    let (base, extension) = ((pcr / 300) & 0x1_FFFF_FFFF, pcr % 300);
    let [.., b0, b1, b2, b3] = (base >> 1).to_be_bytes();
    let [.., high, low] = extension.to_be_bytes();
    let last_bit = if base & 1 == 1 { 0x80 } else { 0 };
    [b0, b1, b2, b3, last_bit | 0x7E | high, low]
}

/// A packet that carries a clock reference and nothing else; such packets do not count the continuity on.
pub fn pcr_packet(pid: u16, continuity: u8, pcr: u64) -> [u8; PACKET_BYTES] {
    let [p1, p0] = pid.to_be_bytes();
    let mut packet = [0xFF; PACKET_BYTES];
    packet[..6].copy_from_slice(&[SYNC, p1 & 0x1F, p0, 0x20 | continuity, 183, 0x10]);
    packet[6..12].copy_from_slice(&write_pcr(pcr));
    packet
}

/// Finds the stream of a PID in one step.
#[derive(Debug, Clone)]
pub(super) struct PidTable(Vec<u8>);

impl PidTable {
    pub(super) fn new(pids: impl Iterator<Item = u16>) -> Self {
        let mut indices = vec![u8::MAX; 1 << 13];
        for (pid, index) in pids.zip(0..u8::MAX) {
            if let Some(place) = indices.get_mut(usize::from(pid)) {
                *place = index;
            }
        }
        Self(indices)
    }

    pub(super) fn get(&self, pid: u16) -> Option<usize> {
        self.0.get(usize::from(pid)).filter(|index| **index != u8::MAX).map(|index| usize::from(*index))
    }
}

/// The packets in some bytes, each with its offset. Bytes that are not in a packet are skipped.
#[derive(Debug, Clone)]
pub struct Packets<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Walks the packets in `bytes`; a packet that is cut off at the end is not among them.
pub fn packets(bytes: &[u8]) -> Packets<'_> {
    Packets { bytes, at: 0 }
}

impl<'a> Iterator for Packets<'a> {
    type Item = (usize, Packet<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let rest = self.bytes.get(self.at..)?;
            let packet = rest.get(..PACKET_BYTES)?;
            if let Some(packet) = Packet::new(packet) {
                let at = self.at;
                self.at += PACKET_BYTES;
                return Some((at, packet));
            }
            self.at += resync(rest)?;
        }
    }
}

/// How far into `bytes` the next packet starts: a sync byte that has another one behind its packet, or the end.
fn resync(bytes: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += bytes.get(at..)?.iter().position(|byte| *byte == SYNC)?;
        if bytes.get(at + PACKET_BYTES).is_none_or(|byte| *byte == SYNC) {
            return Some(at);
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pcr_reads_as_it_was_written() {
        for pcr in [0, 299, 300, 27_000_000, 0x1_FFFF_FFFF * 300 + 299] {
            assert_eq!(read_pcr(write_pcr(pcr)), pcr);
        }
    }

    #[test]
    fn packets_are_found_behind_rubbish_and_not_beyond_the_end() {
        let mut bytes = vec![1, 2, SYNC, 3];
        for pid in [1_u8, 2] {
            let mut packet = [0_u8; PACKET_BYTES];
            (packet[0], packet[2], packet[3]) = (SYNC, pid, 0x10);
            bytes.extend(packet);
        }
        bytes.push(9);
        bytes.extend([SYNC; 100]);
        let found: Vec<_> = packets(&bytes).map(|(at, packet)| (at, packet.pid())).collect();
        assert_eq!(found, [(4, 1), (4 + PACKET_BYTES, 2)]);
    }

    #[test]
    fn an_adaptation_field_longer_than_its_packet_leaves_no_payload() {
        let mut bytes = [0xFF_u8; PACKET_BYTES];
        bytes[0] = SYNC;
        let packet = Packet::new(&bytes).expect("a sync byte");
        assert!(packet.payload().is_empty());
        assert_eq!(packet.adaptation().len(), PACKET_BYTES - 5);
    }

    #[test]
    fn a_clock_packet_has_a_clock_and_no_payload() {
        let bytes = pcr_packet(0x100, 5, 27_000_123);
        let packet = Packet::new(&bytes).expect("a packet");
        assert_eq!(
            (packet.pcr(), packet.has_payload(), packet.continuity_counter()),
            (Some(27_000_123), false, 5)
        );
    }
}
