//! Divides a transport stream, as it comes, into pieces of whole PES packets, of which fragments of a movie are made.
//!
//! The stream is one that ffmpeg writes: the packets of a PES packet are not mixed with others.

use crate::error::Result;
use crate::mpegts::packet::{PACKET_BYTES, Packet, packets};
use crate::mpegts::pes::{Header, TICKS_PER_SECOND, Ticks};

use crate::cut::encode::FFMPEG_PID;

/// How long a piece is that does not end with its group of pictures.
const PIECE_90K: i64 = TICKS_PER_SECOND;
/// The same where the track that pieces follow has no frame.
const MAX_PIECE_90K: i64 = 3 * TICKS_PER_SECOND;
/// How large a piece may become.
const MAX_PIECE_BYTES: usize = 4 * 1024 * 1024;

/// A piece of a transport stream.
#[derive(Debug)]
pub(super) struct Piece {
    /// Program tables, and whole PES packets behind them.
    pub(super) bytes: Vec<u8>,
    /// When the next frame of the first stream is decoded, if the next piece begins with it.
    pub(super) next_dts: Option<Ticks>,
}

/// Divides the output of ffmpeg.
#[derive(Debug)]
pub(super) struct Splitter {
    /// Bytes of an incomplete packet.
    rest: Vec<u8>,
    /// The packets before the first PES packet.
    tables: Vec<u8>,
    /// The packets since then, or since the last piece.
    piece: Vec<u8>,
    /// When the first PES packet of the piece is decoded.
    begin: Option<Ticks>,
    /// Whether streams have begun. Once all have, the first piece ends, so that it comes early.
    begun: Vec<bool>,
}

impl Splitter {
    /// A splitter of a program with so many streams.
    pub(super) fn new(streams: usize) -> Self {
        Self {
            rest: Vec::new(),
            tables: Vec::new(),
            piece: Vec::new(),
            begin: None,
            begun: vec![false; streams],
        }
    }

    /// Takes the next bytes. They may complete pieces.
    pub(super) fn push(&mut self, chunk: &[u8], mut on_piece: impl FnMut(Piece) -> Result<()>) -> Result<()> {
        let mut bytes = std::mem::take(&mut self.rest);
        bytes.extend_from_slice(chunk);
        let whole = bytes.len() / PACKET_BYTES * PACKET_BYTES;
        for (_, packet) in packets(&bytes[..whole]) {
            let header = if packet.starts_unit() { Header::parse(packet.payload()) } else { None };
            let dts = header.and_then(|header| header.dts.or(header.pts));
            if let Some(dts) = dts {
                self.start_unit(packet, dts, &mut on_piece)?;
            }
            let part = if self.begin.is_some() { &mut self.piece } else { &mut self.tables };
            part.extend_from_slice(packet.bytes());
        }
        bytes.drain(..whole);
        self.rest = bytes;
        Ok(())
    }

    /// Ends the piece before a PES packet, if it is long enough.
    fn start_unit(
        &mut self,
        packet: Packet<'_>,
        dts: Ticks,
        on_piece: &mut impl FnMut(Piece) -> Result<()>,
    ) -> Result<()> {
        let begin = *self.begin.get_or_insert(dts);
        let (len_90k, is_first_stream) = (dts.since(begin), packet.pid() == FFMPEG_PID);
        let have_all_begun = !self.begun.is_empty() && self.begun.iter().all(|begun| *begun);
        let is_enough = if is_first_stream {
            let begins_group = packet.is_random_access() && len_90k > 0;
            begins_group || len_90k >= PIECE_90K || self.piece.len() >= MAX_PIECE_BYTES || have_all_begun
        } else {
            len_90k >= MAX_PIECE_90K
        };
        if is_enough && !self.piece.is_empty() {
            self.begun.clear();
            self.begin = Some(dts);
            on_piece(self.take(Some(dts).filter(|_| is_first_stream)))?;
        }
        let index = usize::from(packet.pid().saturating_sub(FFMPEG_PID));
        if let Some(begun) = self.begun.get_mut(index) {
            *begun = true;
        }
        Ok(())
    }

    /// The last piece, once the stream has ended.
    pub(super) fn finish(mut self) -> Piece {
        self.take(None)
    }

    fn take(&mut self, next_dts: Option<Ticks>) -> Piece {
        let bytes = [&self.tables[..], &self.piece].concat();
        self.piece.clear();
        Piece { bytes, next_dts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mpegts::pes::{Pes, write_pes};

    /// A picture or a frame of sound, when it is decoded in milliseconds, and its length in bytes.
    fn frame(pid: u16, is_sync: bool, millis: i64, len: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let pts = Ticks::new(millis * 90);
        write_pes(
            &Pes { stream_id: 0xE0, pts, dts: pts, payload: vec![7; len] },
            pid,
            &mut 0,
            is_sync,
            &mut out,
        );
        out
    }

    /// The pieces of frames behind a table: how many PES packets each has, and the next DTS in milliseconds.
    fn split(streams: usize, frames: &[(u16, bool, i64, usize)]) -> Vec<(usize, Option<i64>)> {
        let mut stream = [&[0x47, 0x40, 0, 0x10][..], &[0xFF; 184]].concat();
        for (pid, is_sync, millis, len) in frames {
            stream.extend(frame(*pid, *is_sync, *millis, *len));
        }
        let (mut splitter, mut pieces) = (Splitter::new(streams), Vec::new());
        for chunk in stream.chunks(777) {
            let pushed = splitter.push(chunk, |piece| {
                pieces.push(piece);
                Ok(())
            });
            pushed.expect("no failure");
        }
        pieces.push(splitter.finish());
        let units = |piece: &Piece| packets(&piece.bytes).filter(|(_, packet)| packet.starts_unit()).count();
        assert!(
            pieces
                .iter()
                .all(|piece| packets(&piece.bytes).next().is_some_and(|(_, first)| first.pid() == 0))
        );
        pieces.iter().map(|piece| (units(piece) - 1, piece.next_dts.map(|dts| dts.get() / 90))).collect()
    }

    #[test]
    fn pieces_end_with_groups_of_pictures_or_after_a_second() {
        let (video, sound) = (FFMPEG_PID, FFMPEG_PID + 1);
        let group = |start: i64| (0..4).map(move |at| (video, at == 0, start + at * 40, 500));
        let frames: Vec<_> = group(0).chain(group(160)).collect();
        assert_eq!(
            split(1, &frames),
            [(1, Some(40)), (3, Some(160)), (4, None)],
            "the first piece comes early"
        );
        let long: Vec<_> = (0..60).map(|at| (video, at == 0, at * 40, 500)).collect();
        assert_eq!(split(1, &long), [(1, Some(40)), (25, Some(1040)), (25, Some(2040)), (9, None)]);
        let large: Vec<_> = (0..4).map(|at| (video, at == 0, at * 40, 3_000_000)).collect();
        assert_eq!(split(1, &large), [(1, Some(40)), (2, Some(120)), (1, None)]);
        let late = [(video, true, 0, 9), (video, false, 40, 9), (sound, true, 40, 9), (video, false, 80, 9)];
        assert_eq!(split(2, &late), [(3, Some(80)), (1, None)], "the first piece has all streams");
        let without: Vec<_> = std::iter::once((video, true, 0, 9))
            .chain((0..50).map(|at| (sound, true, at * 100, 9)))
            .collect();
        assert_eq!(split(2, &without), [(31, None), (20, None)], "a picture lasts longer than pieces may");
    }
}
