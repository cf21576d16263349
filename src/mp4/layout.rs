//! The layout of a movie: its head, and the parts of its samples behind it.

use std::ops::Range;

/// Which bytes of a movie are whose.
#[derive(Debug, Clone)]
pub struct Layout {
    head: usize,
    /// Where each part ends, from the end of the head on.
    part_ends: Vec<u64>,
}

/// A piece of a movie that lies in one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// These bytes of the head.
    Head(Range<usize>),
    /// Bytes of a part.
    Part {
        /// The number of the part, from 0 on.
        index: usize,
        /// Its bytes, from its own start on.
        bytes: Range<u64>,
    },
}

impl Layout {
    /// A movie with a head of that many bytes, and parts that end at these offsets behind it: each at or after the end of
    /// the one before, the last at the end of the movie.
    pub fn new(head: usize, part_ends: Vec<u64>) -> Self {
        debug_assert!(part_ends.is_sorted(), "parts in another order");
        Self { head, part_ends }
    }

    /// The length of the movie in bytes.
    #[allow(clippy::len_without_is_empty, reason = "a movie has a head, so it is never empty")]
    pub fn len(&self) -> u64 {
        self.head_len() + self.part_ends.last().copied().unwrap_or(0)
    }

    fn head_len(&self) -> u64 {
        u64::try_from(self.head).unwrap_or(u64::MAX)
    }

    /// The pieces that make up a byte range, as far as the movie has it; no piece is empty.
    pub fn pieces(&self, range: Range<u64>) -> impl Iterator<Item = Piece> + '_ {
        let clamped = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(self.head);
        let head = clamped(range.start)..clamped(range.end);
        let in_head = [Piece::Head(head)];
        let start = range.start.saturating_sub(self.head_len());
        let end = range.end.saturating_sub(self.head_len());
        let first = self.part_ends.partition_point(|part_end| *part_end <= start);
        let parts = (first..self.part_ends.len()).map(|index| (index, self.part(index)));
        let in_parts = parts.take_while(move |(_, part)| part.start < end).map(move |(index, part)| {
            let bytes = start.max(part.start) - part.start..end.min(part.end) - part.start;
            Piece::Part { index, bytes }
        });
        in_head.into_iter().chain(in_parts).filter(|piece| !piece.is_empty())
    }

    /// The length of a part in bytes.
    pub fn part_len(&self, index: usize) -> u64 {
        let part = self.part(index);
        part.end - part.start
    }

    /// The bytes of a part, from the end of the head on.
    fn part(&self, index: usize) -> Range<u64> {
        let start = index.checked_sub(1).map_or(0, |before| self.part_ends[before]);
        start..self.part_ends[index]
    }
}

impl Piece {
    fn is_empty(&self) -> bool {
        match self {
            Self::Head(bytes) => bytes.is_empty(),
            Self::Part { bytes, .. } => bytes.is_empty(),
        }
    }
}
