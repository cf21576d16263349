//! The times of the blocks in a WebM file, read while it is written.
//!
//! A file is a sequence of EBML elements: an ID, a size, and a payload (RFC 8794). Blocks are in clusters, whose time stamp
//! is that to which the blocks' own are relative, in milliseconds (RFC 9559, 5.1.3 and 10).

/// Elements whose payload is elements of interest. Their sizes may be unknown.
const SEGMENT: u32 = 0x1853_8067;
const CLUSTER: u32 = 0x1F43_B675;
const BLOCK_GROUP: u32 = 0xA0;
/// The time stamp of a cluster.
const TIMESTAMP: u32 = 0xE7;
/// Blocks: the number of a track, which takes one byte, and a signed time stamp of two, precede the frame.
const SIMPLE_BLOCK: u32 = 0xA3;
const BLOCK: u32 = 0xA1;

/// Reads a file in chunks of any size. Frames are skipped without being kept.
#[derive(Debug, Default)]
pub(super) struct WebmTimes {
    /// The bytes of an incomplete header.
    rest: Vec<u8>,
    /// How many bytes to come are of no interest.
    skip: usize,
    cluster_ms: i64,
    highest_ms: i64,
}

impl WebmTimes {
    /// The highest time of a block so far.
    pub(super) fn highest_ms(&self) -> i64 {
        self.highest_ms
    }

    /// Takes the next bytes.
    pub(super) fn push(&mut self, chunk: &[u8]) {
        let skipped = self.skip.min(chunk.len());
        self.skip -= skipped;
        let mut bytes = std::mem::take(&mut self.rest);
        bytes.extend_from_slice(&chunk[skipped..]);
        let mut at = 0;
        while let Some(len) = bytes.get(at..).and_then(|next| self.element(next)) {
            at = at.saturating_add(len);
        }
        self.skip += at.saturating_sub(bytes.len());
        bytes.drain(..at.min(bytes.len()));
        self.rest = bytes;
    }

    /// Reads the element that `bytes` begin with. Returns how many bytes are before the next one of interest; `None` if its
    /// header, or a time stamp, is not complete.
    fn element(&mut self, bytes: &[u8]) -> Option<usize> {
        let id_len = length_of(*bytes.first()?);
        let id = bytes.get(..id_len)?.iter().fold(0, |id: u32, byte| id << 8 | u32::from(*byte));
        let size_len = length_of(*bytes.get(id_len)?);
        let header_len = id_len + size_len;
        let first = usize::from(bytes[id_len]) & (0xFF >> size_len);
        let rest = bytes.get(id_len + 1..header_len)?;
        let size = rest.iter().fold(first, |size, byte| size << 8 | usize::from(*byte));
        let payload = &bytes[header_len..];
        match id {
            SEGMENT | CLUSTER | BLOCK_GROUP => return Some(header_len),
            TIMESTAMP => {
                let time = payload.get(..size.min(8))?;
                self.cluster_ms = time.iter().fold(0, |time, byte| time << 8 | i64::from(*byte));
            }
            SIMPLE_BLOCK | BLOCK => {
                let [_, high, low] = *payload.first_chunk()?;
                let time = self.cluster_ms + i64::from(i16::from_be_bytes([high, low]));
                self.highest_ms = self.highest_ms.max(time);
            }
            _ => {}
        }
        Some(header_len.saturating_add(size))
    }
}

/// The length of a number of variable length, which the zeros before its first one tell. At most eight bytes.
fn length_of(first: u8) -> usize {
    (first.leading_zeros() as usize + 1).min(8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An element with a size of two bytes.
    fn element(id: &[u8], payload: &[u8]) -> Vec<u8> {
        let len = u16::try_from(payload.len()).expect("a short payload") | 0x4000;
        [id, &len.to_be_bytes(), payload].concat()
    }

    fn block(id: u8, time: i16, len: usize) -> Vec<u8> {
        element(&[id], &[&[0x81], &time.to_be_bytes()[..], &[0x80], &vec![0xA3; len]].concat())
    }

    #[test]
    fn the_highest_time_of_a_block_is_found_however_the_file_comes() {
        let unknown = [0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
        let cluster = |time: &[u8], blocks: &[Vec<u8>]| {
            element(&[0x1F, 0x43, 0xB6, 0x75], &[element(&[0xE7], time), blocks.concat()].concat())
        };
        let file = [
            element(&[0x1A, 0x45, 0xDF, 0xA3], b"webm"),
            [&[0x18, 0x53, 0x80, 0x67][..], &unknown].concat(),
            element(&[0x16, 0x54, 0xAE, 0x6B], &[0xE7; 40]),
            cluster(&[0], &[block(0xA3, -7, 3), block(0xA3, 0, 900), block(0xA3, 980, 0)]),
            cluster(&[1, 0, 0], &[element(&[0xA0], &block(0xA1, 20, 50)), block(0xA3, 10, 5)]),
            element(&[0xEC], &[0; 9]),
        ]
        .concat();
        for size in [1, 2, 3, 7, 50, 5000] {
            let mut times = WebmTimes::default();
            file.chunks(size).for_each(|chunk| times.push(chunk));
            assert_eq!(times.highest_ms(), 65_536 + 20, "in chunks of {size}");
            assert_eq!((times.rest.len(), times.skip), (0, 0), "in chunks of {size}");
        }
    }

    #[test]
    fn bytes_that_are_no_webm_do_no_harm() {
        let mut times = WebmTimes::default();
        for byte in [0x00, 0xFF, 0x01, 0x80, 0xE7, 0xA3] {
            times.push(&[byte; 300]);
        }
        assert!(times.rest.len() <= 300);
    }
}
