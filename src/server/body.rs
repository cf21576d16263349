//! The body of a request while it is received: discarded, or kept for the handler within a limit.

use std::sync::Arc;
use std::time::Duration;

use super::parser::BodyFraming;
use crate::http::reply::Reply;
use crate::quota::{Quota, Share};

/// The longest body that is discarded.
const MAX_DISCARDED_BYTES: u64 = 64 * 1024;
/// The rate, in bytes a second, at which a body that is kept must arrive on average, once the time for the head is over.
const MIN_RATE: u64 = 256 * 1024;
/// The longest line with the size of a chunk, and the most bytes of lines behind the last chunk.
const MAX_LINE_BYTES: usize = 4096;

/// A body that is being received.
#[derive(Debug)]
pub(super) struct BodyReader {
    next: Part,
    /// What was received, if it is kept.
    kept: Option<Kept>,
}

/// What comes next of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// So many bytes, the last ones.
    Rest(u64),
    /// The line with the size of a chunk (RFC 9112, section 7.1).
    ChunkSize,
    /// So many bytes of a chunk.
    Chunk(u64),
    /// The line break behind a chunk.
    ChunkEnd,
    /// The lines behind the last chunk, of which there were so many bytes.
    Trailer(usize),
    /// Nothing.
    End,
}

#[derive(Debug)]
struct Kept {
    bytes: Vec<u8>,
    max_bytes: usize,
    share: Share,
}

impl BodyReader {
    /// Begins to receive a body. If it may have `max_kept` bytes, it is kept, as far as the quota of bodies and `room` bytes of
    /// memory allow.
    ///
    /// # Errors
    /// The response to a body that is not received.
    pub(super) fn begin(
        framing: BodyFraming,
        max_kept: Option<usize>,
        bodies: &Arc<Quota>,
        room: usize,
    ) -> Result<Self, Reply> {
        let next = match framing {
            BodyFraming::Length(length) => Part::Rest(length),
            BodyFraming::Chunked => Part::ChunkSize,
        };
        let Some(max_bytes) = max_kept else {
            return match framing {
                BodyFraming::Length(0..=MAX_DISCARDED_BYTES) => Ok(Self { next, kept: None }),
                BodyFraming::Length(_) => {
                    Err(Reply::refusal(413, "a body may have 64 KiB at most, and nothing is done with it"))
                }
                BodyFraming::Chunked => Err(Reply::refusal(411, "a body needs a Content-Length here")),
            };
        };
        let expected = match framing {
            BodyFraming::Length(length) => usize::try_from(length).unwrap_or(usize::MAX),
            BodyFraming::Chunked => max_bytes,
        };
        if expected > max_bytes {
            return Err(too_long(max_bytes));
        }
        let share = Some(()).filter(|()| expected <= room).and_then(|()| bodies.take(1));
        let busy = || Reply::unavailable("this server receives as many bodies as it can just now");
        let share = share.ok_or_else(busy)?;
        Ok(Self { next, kept: Some(Kept { bytes: Vec::new(), max_bytes, share }) })
    }

    /// Takes what belongs to the body from the beginning of `input`. Returns whether that was all.
    ///
    /// # Errors
    /// The response to a body that is too long or malformed.
    pub(super) fn feed(&mut self, input: &mut Vec<u8>) -> Result<bool, Reply> {
        let mut used = 0;
        while self.next != Part::End {
            let bytes = &input[used..];
            let (count, next) = match self.next {
                Part::Rest(left) | Part::Chunk(left) => {
                    let count = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    self.keep(&bytes[..count])?;
                    let left = left - count as u64;
                    let next = match self.next {
                        Part::Rest(_) if left == 0 => Part::End,
                        Part::Rest(_) => Part::Rest(left),
                        _ if left == 0 => Part::ChunkEnd,
                        _ => Part::Chunk(left),
                    };
                    (count, next)
                }
                part => {
                    let Some(line) = line(bytes)? else { break };
                    (line.len() + 2, self.after_line(part, line)?)
                }
            };
            self.next = next;
            used += count;
            if used == input.len() {
                break;
            }
        }
        input.drain(..used);
        Ok(self.next == Part::End)
    }

    /// What follows a line of the chunked coding.
    fn after_line(&self, part: Part, line: &[u8]) -> Result<Part, Reply> {
        match part {
            Part::ChunkSize => match chunk_size(line).ok_or_else(malformed)? {
                0 => Ok(Part::Trailer(0)),
                size if size > self.left() => Err(too_long(self.max_bytes())),
                size => Ok(Part::Chunk(size)),
            },
            Part::ChunkEnd if line.is_empty() => Ok(Part::ChunkSize),
            Part::Trailer(_) if line.is_empty() => Ok(Part::End),
            // The fields are discarded.
            Part::Trailer(before) if before + line.len() < MAX_LINE_BYTES => {
                Ok(Part::Trailer(before + line.len() + 2))
            }
            _ => Err(malformed()),
        }
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), Reply> {
        if let Some(kept) = &mut self.kept {
            if kept.bytes.len() + bytes.len() > kept.max_bytes {
                return Err(too_long(kept.max_bytes));
            }
            kept.bytes.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn max_bytes(&self) -> usize {
        self.kept.as_ref().map_or(0, |kept| kept.max_bytes)
    }

    /// How many bytes may still be kept.
    fn left(&self) -> u64 {
        self.kept.as_ref().map_or(0, |kept| (kept.max_bytes - kept.bytes.len()) as u64)
    }

    /// How much more time the body has for what has come of it. A body that is discarded has none of its own.
    pub(super) fn earned_time(&self) -> Duration {
        let received = self.kept.as_ref().map_or(0, |kept| kept.bytes.len());
        Duration::from_millis(received as u64 * 1000 / MIN_RATE)
    }

    /// The memory that it holds, in bytes.
    pub(super) fn held_bytes(&self) -> usize {
        self.kept.as_ref().map_or(0, |kept| kept.bytes.capacity())
    }

    /// The bytes that were kept, and their share of the quota.
    pub(super) fn into_kept(self) -> (Vec<u8>, Option<Share>) {
        self.kept.map_or_else(Default::default, |kept| (kept.bytes, Some(kept.share)))
    }
}

/// The line at the beginning of `bytes`, without its line break; `None` if more of it is to come.
fn line(bytes: &[u8]) -> Result<Option<&[u8]>, Reply> {
    match bytes.iter().position(|byte| *byte == b'\n') {
        // A line break alone, which others may not take for one, could hide another request.
        Some(end) if end > 0 && bytes[end - 1] == b'\r' && end <= MAX_LINE_BYTES => {
            Ok(Some(&bytes[..end - 1]))
        }
        None if bytes.len() <= MAX_LINE_BYTES => Ok(None),
        _ => Err(malformed()),
    }
}

/// The size in hexadecimal digits, behind which there may be extensions.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|byte| *byte == b';').next()?.trim_ascii_end();
    let is_size = (1..=8).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
    let digits = std::str::from_utf8(digits).ok().filter(|_| is_size && !line.contains(&b'\r'))?;
    u64::from_str_radix(digits, 16).ok()
}

fn too_long(max_bytes: usize) -> Reply {
    Reply::refusal(413, &format!("the body may have {} KiB at most here", max_bytes / 1024))
}

fn malformed() -> Reply {
    Reply::refusal(400, "the chunks of the body are malformed")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds a body, followed by `next`, in pieces of `step` bytes. Returns what was kept, or the status of the refusal.
    fn received(framing: BodyFraming, body: &[u8], step: usize) -> Result<Vec<u8>, u16> {
        let quota = Quota::new(1);
        let mut reader = BodyReader::begin(framing, Some(10), &quota, 10).map_err(|reply| reply.status.0)?;
        let whole = [body, b"next"].concat();
        let mut input = Vec::new();
        for piece in whole.chunks(step) {
            input.extend_from_slice(piece);
            if reader.feed(&mut input).map_err(|reply| reply.status.0)? {
                assert!(b"next".starts_with(&input), "what follows is left: {input:?}");
                return Ok(reader.into_kept().0);
            }
        }
        Err(0)
    }

    #[test]
    fn bodies_are_kept_whatever_pieces_they_come_in() {
        type Row = (BodyFraming, &'static [u8], Result<&'static [u8], u16>);
        let rows: [Row; 17] = [
            (BodyFraming::Length(4), b"1234", Ok(b"1234")),
            (BodyFraming::Length(10), b"0123456789", Ok(b"0123456789")),
            (BodyFraming::Length(11), b"", Err(413)),
            (BodyFraming::Chunked, b"0\r\n\r\n", Ok(b"")),
            (BodyFraming::Chunked, b"3\r\nabc\r\n2;x=\"y\"\r\nde\r\n00\r\nA: b\r\n\r\n", Ok(b"abcde")),
            (BodyFraming::Chunked, b"A\r\n0123456789\r\n0\r\n\r\n", Ok(b"0123456789")),
            (BodyFraming::Chunked, b"b\r\n0123456789a\r\n0\r\n\r\n", Err(413)),
            (BodyFraming::Chunked, b"9\r\n012345678\r\n2\r\n90\r\n0\r\n\r\n", Err(413)),
            (BodyFraming::Chunked, b"fffffffff\r\n", Err(400)),
            (BodyFraming::Chunked, b"\r\n", Err(400)),
            (BodyFraming::Chunked, b"+1\r\na\r\n0\r\n\r\n", Err(400)),
            (BodyFraming::Chunked, b"0x1\r\na\r\n0\r\n\r\n", Err(400)),
            (BodyFraming::Chunked, b" 1\r\na\r\n0\r\n\r\n", Err(400)),
            (BodyFraming::Chunked, b"1\na\r\n0\r\n\r\n", Err(400)),
            (BodyFraming::Chunked, b"1\r\rx\r\na\r\n0\r\n\r\n", Err(400)),
            (BodyFraming::Chunked, b"1\r\nab\r\n0\r\n\r\n", Err(400)),
            (BodyFraming::Chunked, b"1\r\na\r\n0\r\n", Err(0)),
        ];
        for (framing, body, expected) in rows {
            for step in [1, 2, 3, 1000] {
                let shown = String::from_utf8_lossy(body);
                let expected = expected.map(<[u8]>::to_vec);
                let found = received(framing, body, step);
                // The end of the last row is taken for a field behind the last chunk.
                assert_eq!(found, expected, "{shown:?} in pieces of {step}");
            }
        }
        for long in [b"1;".repeat(4000), [b"0\r\n".to_vec(), b"A: b\r\n".repeat(1000)].concat()] {
            assert_eq!(received(BodyFraming::Chunked, &long, 100), Err(400));
        }
    }

    #[test]
    fn a_body_needs_memory_and_a_share_and_gives_them_back() {
        let quota = Quota::new(2);
        let begin = |room| BodyReader::begin(BodyFraming::Chunked, Some(10), &quota, room);
        assert_eq!(begin(9).map_err(|reply| reply.status.0).err(), Some(503));
        let one = begin(10).expect("a share");
        let _two = begin(10).expect("a share");
        assert_eq!(begin(10).map_err(|reply| reply.status.0).err(), Some(503));
        let (_, share) = one.into_kept();
        assert!(begin(10).is_err());
        drop(share);
        assert!(begin(10).is_ok());
        for (framing, status) in [
            (BodyFraming::Length(65_536), None),
            (BodyFraming::Length(65_537), Some(413)),
            (BodyFraming::Chunked, Some(411)),
        ] {
            let discarded = BodyReader::begin(framing, None, &quota, 0);
            assert_eq!(discarded.map_err(|reply| reply.status.0).err(), status);
        }
    }
}
