//! The data of units: of PES packets with a PTS, joined with those without one that follow. They are the units of
//! [`super::scan`], with their bytes.

use super::elementary::Payloads;
use super::packet::Packet;

/// The bytes of a unit.
#[derive(Debug, Clone, Copy)]
pub(super) struct UnitData<'a> {
    /// The offset of its first transport packet.
    pub(super) offset: usize,
    /// The data of the elementary stream.
    pub(super) bytes: &'a [u8],
}

/// Joins the data of units, one at a time.
#[derive(Debug, Default)]
pub(super) struct UnitReader<'a> {
    payloads: Payloads<'a>,
    /// The offset of the first transport packet of the current unit.
    offset: Option<usize>,
    /// The data of the current unit so far.
    bytes: Vec<u8>,
}

impl<'a> UnitReader<'a> {
    /// Takes the next packet of the PID, which is at `offset`. It may complete a unit.
    pub(super) fn push(&mut self, offset: usize, packet: Packet<'a>, on_unit: impl FnOnce(UnitData<'_>)) {
        let (started, data) = self.payloads.push(offset, packet);
        if let Some((packet_offset, _)) = started.filter(|(_, header)| header.pts.is_some()) {
            self.finish(on_unit);
            self.offset = Some(packet_offset);
        }
        if self.offset.is_some() {
            self.bytes.extend_from_slice(data);
        }
    }

    /// Completes the last unit, once the stream has ended.
    pub(super) fn finish(&mut self, on_unit: impl FnOnce(UnitData<'_>)) {
        if let Some(offset) = self.offset.take() {
            on_unit(UnitData { offset, bytes: &self.bytes });
        }
        self.bytes.clear();
    }
}
