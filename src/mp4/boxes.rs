//! Writes boxes (ISO/IEC 14496-12, 4.2), whose size is known only once they are written.

/// Bytes of boxes, as they are written.
#[derive(Debug, Default)]
pub struct BoxWriter {
    bytes: Vec<u8>,
}

impl BoxWriter {
    /// A writer that has written nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of bytes written so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What was written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Makes room for that many further bytes.
    pub fn reserve(&mut self, bytes: usize) {
        self.bytes.reserve(bytes);
    }

    /// Writes bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Writes that many bytes of zero.
    pub fn zeros(&mut self, count: usize) {
        self.bytes.resize(self.bytes.len() + count, 0);
    }

    /// Writes 8 bits.
    pub fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    /// Writes 16 bits.
    pub fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    /// Writes 32 bits.
    pub fn u32(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    /// Writes several numbers of 16 bits.
    pub fn u16s<const N: usize>(&mut self, values: [u16; N]) {
        self.bytes(values.map(u16::to_be_bytes).as_flattened());
    }

    /// Writes several numbers of 32 bits.
    pub fn u32s<const N: usize>(&mut self, values: [u32; N]) {
        self.bytes(values.map(u32::to_be_bytes).as_flattened());
    }

    /// Writes 64 bits.
    pub fn u64(&mut self, value: u64) {
        self.bytes(&value.to_be_bytes());
    }

    /// Writes 32 bits in place of those at an offset.
    pub fn set_u32(&mut self, offset: usize, value: u32) {
        self.bytes[offset..offset + 4].copy_from_slice(&value.to_be_bytes());
    }

    /// Writes a box with what `content` writes. It must be shorter than 4 GiB.
    pub fn boxed(&mut self, name: [u8; 4], content: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.u32(0);
        self.bytes(&name);
        content(self);
        self.set_u32(start, saturating_u32(self.bytes.len() - start));
    }

    /// Writes a box with a version and flags (`FullBox`).
    pub fn full_box(&mut self, name: [u8; 4], version: u8, flags: u32, content: impl FnOnce(&mut Self)) {
        self.boxed(name, |out| {
            out.u32(u32::from(version) << 24 | flags);
            content(out);
        });
    }

    /// Writes a sample entry: a box that begins with where the samples are.
    pub fn sample_entry(&mut self, name: [u8; 4], content: impl FnOnce(&mut Self)) {
        self.boxed(name, |out| {
            out.zeros(6);
            out.u16(1); // data_reference_index
            content(out);
        });
    }

    /// Writes the header of an `mdat` with that many bytes of samples: 8 bytes, or 16 where the size takes 64 bits.
    pub fn mdat_header(&mut self, samples: u64) {
        let narrow = u32::try_from(samples.saturating_add(8));
        // A size of 1 says that the size is behind the name.
        self.u32(narrow.unwrap_or(1));
        self.bytes(b"mdat");
        if narrow.is_err() {
            self.u64(samples.saturating_add(16));
        }
    }

    /// Writes that many entries behind their number, which is written when `entries` has returned it.
    pub fn counted(&mut self, entries: impl FnOnce(&mut Self) -> usize) {
        let start = self.bytes.len();
        self.u32(0);
        let count = entries(self);
        self.set_u32(start, saturating_u32(count));
    }
}

/// A number of 32 bits; the largest one if it takes more.
pub(super) fn saturating_u32(value: impl TryInto<u32>) -> u32 {
    value.try_into().unwrap_or(u32::MAX)
}
