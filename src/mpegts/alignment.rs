//! Whether the PES packets of an elementary stream begin and end with frames. Almost all do, so this is noticed with little
//! work: from the start and the end of each PES packet of video, and from the headers of audio frames.

use super::audio::Coding;
use super::frames::{AUDIO_HEADER_BYTES, Framing};
use super::nal::nal_units;
use super::video::NalType;

/// How the frames of an elementary stream lie in its PES packets. The default is what those have whose frames cannot be
/// found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Alignment {
    /// A frame begins in one PES packet and ends in another, or before the first one. So does the segment begin in the
    /// midst of a frame.
    pub unaligned: bool,
    /// The last frame may go on in the next segment.
    pub open_end: bool,
}

/// Finds the alignment of an elementary stream.
#[derive(Debug)]
pub(super) struct AlignmentCheck<'a> {
    framing: Option<Framing>,
    alignment: Alignment,
    /// The bytes of the current audio frame that are to come.
    missing: usize,
    /// The bytes so far of the header of an audio frame.
    header: Vec<u8>,
    /// The data of the last two transport packets.
    tail: [&'a [u8]; 2],
}

impl<'a> AlignmentCheck<'a> {
    pub(super) fn new(framing: Option<Framing>) -> Self {
        Self { framing, alignment: Alignment::default(), missing: 0, header: Vec::new(), tail: [&[], &[]] }
    }

    /// Notes that a PES packet does not begin and end with a frame, so that it must be rewritten.
    pub(super) fn set_unaligned(&mut self) {
        self.alignment.unaligned = self.framing.is_some();
    }

    /// Starts a PES packet with a PTS.
    pub(super) fn start_pes(&mut self) {
        match self.framing {
            Some(Framing::Nal(nal_type, _)) => {
                let tail = self.tail.concat();
                let last = nal_units(&tail).last().map(nal_type);
                let is_prefix = |last: NalType| !matches!(last, NalType::Slice { .. } | NalType::Other);
                self.alignment.unaligned |= last.is_some_and(is_prefix);
            }
            Some(Framing::Audio(_)) => self.alignment.unaligned |= self.is_inside_frame(),
            None => {}
        }
        self.missing = 0;
        self.tail = [&[], &[]];
        self.header.clear();
    }

    /// Takes the data of a transport packet.
    pub(super) fn push(&mut self, data: &'a [u8]) {
        match self.framing {
            Some(Framing::Audio(coding)) if !self.alignment.unaligned => self.push_audio(coding, data),
            _ => self.tail = [self.tail[1], data],
        }
    }

    fn push_audio(&mut self, coding: Coding, mut data: &[u8]) {
        loop {
            let skipped = self.missing.min(data.len());
            self.missing -= skipped;
            data = &data[skipped..];
            if data.is_empty() {
                return;
            }
            let part = data.len().min(AUDIO_HEADER_BYTES - self.header.len());
            let earlier = self.header.len();
            self.header.extend_from_slice(&data[..part]);
            if self.header.len() < AUDIO_HEADER_BYTES {
                return;
            }
            // A header that is none, or a frame that is shorter than a header can be.
            let frame = coding.frame(&self.header).filter(|frame| frame.bytes >= AUDIO_HEADER_BYTES);
            let Some(frame) = frame else { return self.set_unaligned() };
            self.missing = frame.bytes - earlier;
            self.header.clear();
        }
    }

    fn is_inside_frame(&self) -> bool {
        self.missing > 0 || !self.header.is_empty()
    }

    /// Takes the start of the data of a video PES packet. One without a slice ends before its access unit does.
    pub(super) fn check_start(&mut self, start: &[u8], has_slice: bool) {
        let Some(Framing::Nal(nal_type, _)) = self.framing else { return };
        let zeros = start.iter().take_while(|byte| **byte == 0).count();
        let has_start_code = zeros >= 2 && start.get(zeros) == Some(&1);
        let first = start.get(zeros + 1..).filter(|nal| has_start_code && !nal.is_empty()).map(nal_type);
        // A packet that ends within its first start code is judged by having no slice.
        let begins = first.map_or(zeros == start.len(), NalType::may_begin_access_unit);
        self.alignment.unaligned |= !begins || !has_slice;
    }

    /// The alignment, once the segment has ended. `is_whole` says that its last PES packet is.
    pub(super) fn finish(mut self, is_whole: bool) -> Alignment {
        self.alignment.open_end = match self.framing {
            Some(Framing::Nal(..)) => !is_whole,
            Some(Framing::Audio(_)) => self.is_inside_frame(),
            None => false,
        };
        self.alignment
    }
}
