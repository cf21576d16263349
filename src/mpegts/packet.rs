//! Transport packets: 188 bytes with a 4-byte header, an optional adaptation field and a payload (ISO/IEC 13818-1, 2.4.3.2
//! to 2.4.3.5).

/// The length of a transport packet in bytes.
pub const PACKET_BYTES: usize = 188;
/// The sync byte, the first of every packet.
pub const SYNC: u8 = 0x47;
/// The PID of null packets, which only fill up a constant bit rate.
pub const NULL_PID: u16 = 0x1FFF;
/// The number of PIDs there can be, of 13 bits each.
pub(super) const PID_COUNT: usize = 1 << 13;
/// The offset of the PCR in a packet that has one, in bytes.
pub(super) const PCR_OFFSET: usize = 6;

/// A transport packet that begins with the sync byte.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a>(&'a [u8; PACKET_BYTES]);

impl<'a> Packet<'a> {
    /// The packet in `bytes`; `None` if these are not 188 or do not begin with the sync byte.
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        let bytes: &[u8; PACKET_BYTES] = bytes.try_into().ok()?;
        (bytes[0] == SYNC).then_some(Self(bytes))
    }

    /// All 188 bytes.
    pub fn bytes(self) -> &'a [u8; PACKET_BYTES] {
        self.0
    }

    /// The packet identifier (PID), 13 bits.
    pub fn pid(self) -> u16 {
        u16::from(self.0[1] & 0x1F) << 8 | u16::from(self.0[2])
    }

    /// `payload_unit_start_indicator`: a PES packet or a PSI section starts in the payload.
    pub fn starts_unit(self) -> bool {
        self.0[1] & 0x40 != 0
    }

    /// Whether the payload is encrypted (`transport_scrambling_control`).
    pub fn scrambled(self) -> bool {
        self.0[3] & 0xC0 != 0
    }

    /// The continuity counter, 4 bits.
    pub fn continuity_counter(self) -> u8 {
        self.0[3] & 0x0F
    }

    /// Whether there is a payload.
    pub fn has_payload(self) -> bool {
        self.0[3] & 0x10 != 0
    }

    /// The adaptation field without its length byte, truncated to the packet.
    pub fn adaptation_field(self) -> Option<&'a [u8]> {
        let end = (5 + usize::from(self.0[4])).min(PACKET_BYTES);
        (self.0[3] & 0x20 != 0).then(|| &self.0[5..end])
    }

    /// The payload; empty if there is none.
    pub fn payload(self) -> &'a [u8] {
        if !self.has_payload() {
            return &[];
        }
        let start = self.adaptation_field().map_or(4, |_| 5 + usize::from(self.0[4]));
        self.0.get(start..).unwrap_or(&[])
    }

    /// Whether the packet is the duplicate of the `last` one of its PID (2.4.3.3).
    pub(super) fn is_duplicate_of(self, last: Packet<'_>) -> bool {
        self.has_payload() && last.0[1..4] == self.0[1..4] && last.payload() == self.payload()
    }

    /// Whether the adaptation field has stuffing: only the last packet of a PES packet needs it.
    pub(super) fn has_stuffing(self) -> bool {
        let Some(field) = self.adaptation_field() else { return false };
        // A field without content is there to stuff.
        let Some(flags) = field.first().filter(|flags| **flags != 0) else { return true };
        let mut used = 1;
        // PCR, OPCR and splice countdown have a fixed length; private data and the extension begin with theirs.
        for (bit, bytes) in [(0x10, 6), (0x08, 6), (0x04, 1)] {
            used += if flags & bit == 0 { 0 } else { bytes };
        }
        for bit in [0x02, 0x01] {
            let length = field.get(used).map_or(0, |length| usize::from(*length) + 1);
            used += if flags & bit == 0 { 0 } else { length };
        }
        field.len() > used
    }

    /// `random_access_indicator`: decoding can begin here.
    pub fn is_random_access(self) -> bool {
        self.adaptation_field().is_some_and(|field| field.first().is_some_and(|flags| flags & 0x40 != 0))
    }

    /// The program clock reference (PCR), in ticks of 27 MHz.
    pub fn pcr(self) -> Option<u64> {
        let [flags, b0, b1, b2, b3, b4, b5, ..] = *self.adaptation_field()? else { return None };
        let base = u64::from(u32::from_be_bytes([b0, b1, b2, b3])) << 1 | u64::from(b4 >> 7);
        let extension = (u64::from(b4 & 1) << 8 | u64::from(b5)) % 300;
        (flags & 0x10 != 0).then_some(base * 300 + extension)
    }
}

/// The six bytes of a PCR, given in ticks of 27 MHz: a base of 33 bits in ticks of 90 kHz, which wraps, 6 reserved bits,
/// and an extension of 9 bits in ticks of 27 MHz.
pub fn write_pcr(pcr: u64) -> [u8; 6] {
    let (base, extension) = ((pcr / 300) & 0x1_FFFF_FFFF, pcr % 300);
    let [.., b0, b1, b2, b3] = (base >> 1).to_be_bytes();
    let [.., high, low] = extension.to_be_bytes();
    let last_bit = if base & 1 == 1 { 0x80 } else { 0 };
    [b0, b1, b2, b3, last_bit | 0x7E | high, low]
}

/// A packet with a PCR, in ticks of 27 MHz, and no payload.
///
/// `counter` is the continuity counter of the PID's last packet: a packet without payload does not increment it.
pub fn pcr_packet(pid: u16, counter: u8, pcr: u64) -> [u8; PACKET_BYTES] {
    let [p1, p0] = pid.to_be_bytes();
    let mut packet = [0xFF; PACKET_BYTES];
    packet[..PCR_OFFSET].copy_from_slice(&[SYNC, p1 & 0x1F, p0, 0x20 | counter, 183, 0x10]);
    packet[PCR_OFFSET..PCR_OFFSET + 6].copy_from_slice(&write_pcr(pcr));
    packet
}

/// An iterator over the packets in a byte slice; see [`packets`].
#[derive(Debug, Clone)]
pub struct Packets<'a> {
    bytes: &'a [u8],
    offset: usize,
}

/// Iterates over the packets in `bytes`, each with its offset. Bytes outside packets are skipped, and a packet that is
/// truncated at the end is ignored.
pub fn packets(bytes: &[u8]) -> Packets<'_> {
    Packets { bytes, offset: 0 }
}

impl<'a> Iterator for Packets<'a> {
    type Item = (usize, Packet<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let rest = self.bytes.get(self.offset..)?;
            let packet = rest.get(..PACKET_BYTES)?;
            if let Some(packet) = Packet::new(packet) {
                let offset = self.offset;
                self.offset += PACKET_BYTES;
                return Some((offset, packet));
            }
            self.offset += resync(rest)?;
        }
    }
}

/// The offset of the next packet in `bytes`: of a sync byte with another one 188 bytes later, or with the end before that.
fn resync(bytes: &[u8]) -> Option<usize> {
    let mut offset = 1;
    loop {
        offset += bytes.get(offset..)?.iter().position(|byte| *byte == SYNC)?;
        if bytes.get(offset + PACKET_BYTES).is_none_or(|byte| *byte == SYNC) {
            return Some(offset);
        }
        offset += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_found_after_bytes_without_sync_and_a_truncated_packet_is_ignored() {
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
        assert_eq!(packet.adaptation_field().map(<[u8]>::len), Some(PACKET_BYTES - 5));
    }

    #[test]
    fn a_pcr_packet_has_a_pcr_and_no_payload() {
        for pcr in [0, 299, 300, 27_000_123, 0x1_FFFF_FFFF * 300 + 299] {
            let bytes = pcr_packet(0x100, 5, pcr);
            let packet = Packet::new(&bytes).expect("a packet");
            assert_eq!(
                (packet.pcr(), packet.has_payload(), packet.continuity_counter()),
                (Some(pcr), false, 5)
            );
        }
    }
}
