//! The frames of an elementary stream: access units of H.264 and H.265, and frames of audio. They are found in the joined
//! payloads of its PES packets, so it does not matter how these divide them.
//!
//! A frame has the timestamps of the PES packet in which it commences if it is the first that does (ISO/IEC 13818-1,
//! 2.4.3.7). Later audio frames of that packet follow from the number of samples. A later picture has no time of its own: it
//! is the second field of the first, or one of several pictures whose times the stream does not tell.

use std::ops::Range;

use super::audio::Coding;
use super::codec::Codec;
use super::elementary::JoinedStream;
use super::nal::nal_starts;
use super::pes::Ticks;
use super::video::{AccessUnitStart, NalType};
use super::{audio, h264, hevc};

/// The bytes of an audio frame's header that [`Coding::frame`] may look at.
pub(super) const AUDIO_HEADER_BYTES: usize = 8;
/// How many frames in a row prove that a sync word is none by chance.
const FRAMES_IN_SYNC: usize = 3;

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its bytes in the joined stream. An access unit begins with the zero byte before its first start code, if there is
    /// one, and ends before the next one.
    pub bytes: Range<usize>,
    /// The index in [`JoinedStream::starts`] of the PES packet in which it commences; `None` if that began in the segment
    /// before. An access unit commences with its first start code of three bytes.
    pub pes: Option<usize>,
    /// The presentation timestamp, if it is known.
    pub pts: Option<Ticks>,
    /// The decoding timestamp, if it is known.
    pub dts: Option<Ticks>,
    /// Whether decoding can begin with it; of audio only `picture` is false.
    pub access_unit: AccessUnitStart,
    /// Whether its end was found. Only the last frame can be incomplete; it ends with the segment then, and an access unit
    /// may still be whole.
    pub complete: bool,
}

/// How the frames of a codec are found.
#[derive(Debug, Clone, Copy)]
pub(super) enum Framing {
    /// By the types of NAL units.
    Nal(fn(&[u8]) -> NalType, fn(&[u8]) -> AccessUnitStart),
    /// By headers with a length.
    Audio(Coding),
}

impl Framing {
    /// The framing of a codec; `None` if its frames cannot be found.
    pub(super) fn of(codec: Codec) -> Option<Self> {
        match codec {
            Codec::H264 => Some(Self::Nal(h264::nal_type, h264::access_unit_start)),
            Codec::Hevc => Some(Self::Nal(hevc::nal_type, hevc::access_unit_start)),
            codec => codec.coding().map(Self::Audio),
        }
    }
}

/// Finds the frames that begin in a segment, in the order they are stored; `None` if frames of this codec cannot be found.
///
/// Bytes before the first frame are skipped, as they belong to one that began in the segment before.
pub fn frames(codec: Codec, stream: &JoinedStream) -> Option<Vec<Frame>> {
    match Framing::of(codec)? {
        Framing::Nal(nal_type, access_unit_start) => Some(access_units(stream, nal_type, access_unit_start)),
        Framing::Audio(coding) => Some(audio_frames(stream, coding)),
    }
}

/// The indices of the units, which are PES packets with a PTS and those without that follow, that have a picture without a
/// time; one for each such picture.
pub fn units_with_untimed_pictures(codec: Codec, stream: &JoinedStream) -> impl Iterator<Item = usize> {
    let frames = if codec.is_video() { frames(codec, stream) } else { None };
    let untimed = frames.into_iter().flatten().filter(|frame| frame.pts.is_none());
    let (mut started, mut units) = (0, 0);
    untimed.filter_map(move |frame| {
        for start in &stream.starts[started..=frame.pes?] {
            units += usize::from(start.pts.is_some());
            started += 1;
        }
        usize::checked_sub(units, 1)
    })
}

/// The PES packet in which each frame commences, for offsets that ascend.
struct Commencing<'a> {
    stream: &'a JoinedStream,
    /// The number of PES packets that start at or before the last offset.
    started: usize,
    /// The number of those when the last frame commenced.
    last: Option<usize>,
}

impl<'a> Commencing<'a> {
    fn new(stream: &'a JoinedStream) -> Self {
        Self { stream, started: 0, last: None }
    }

    /// The index of the PES packet in which `offset` lies, and its timestamps if this is the first frame there.
    fn at(&mut self, offset: usize) -> (Option<usize>, Option<(Ticks, Ticks)>) {
        let starts = &self.stream.starts;
        while starts.get(self.started).is_some_and(|start| start.offset <= offset) {
            self.started += 1;
        }
        let is_first = self.last.replace(self.started) != Some(self.started);
        let pes = self.started.checked_sub(1);
        let start = pes.and_then(|pes| starts.get(pes)).filter(|_| is_first);
        (pes, start.and_then(|start| start.pts.zip(start.dts)))
    }
}

fn access_units(
    stream: &JoinedStream,
    nal_type: fn(&[u8]) -> NalType,
    access_unit_start: fn(&[u8]) -> AccessUnitStart,
) -> Vec<Frame> {
    let bounds = access_unit_bounds(stream, nal_type);
    let mut commencing = Commencing::new(stream);
    let mut frames = Vec::with_capacity(bounds.len());
    for (index, start_code) in bounds.iter().copied().enumerate().filter(|(_, start)| *start < stream.len) {
        let next = bounds.get(index + 1).copied();
        let end = next.map_or(stream.len, |next| with_zero_byte(&stream.bytes, next));
        let bytes = with_zero_byte(&stream.bytes, start_code)..end;
        let (pes, timestamps) = commencing.at(start_code);
        frames.push(Frame {
            access_unit: access_unit_start(&stream.bytes[bytes.clone()]),
            bytes,
            pes,
            pts: timestamps.map(|timestamps| timestamps.0),
            dts: timestamps.map(|timestamps| timestamps.1),
            complete: next.is_some(),
        });
    }
    frames
}

/// The offset of a start code with the zero byte before it, if there is one (annex B.1.2).
fn with_zero_byte(bytes: &[u8], start_code: usize) -> usize {
    start_code - usize::from(start_code > 0 && bytes[start_code - 1] == 0)
}

/// The offsets of the start codes that access units begin with, up to the first behind the segment (H.264, 7.4.1.2.3;
/// H.265, 7.4.2.4.4).
fn access_unit_bounds(stream: &JoinedStream, nal_type: fn(&[u8]) -> NalType) -> Vec<usize> {
    let mut bounds = Vec::new();
    // How many access units have a delimiter, and whether the first has.
    let (mut delimited, mut is_first_delimited) = (0, false);
    // The start of an access unit whose first slice is to come, and whether that is a delimiter.
    let mut prefix: Option<(usize, bool)> = None;
    for start in nal_starts(&stream.bytes) {
        let Some(nal) = stream.bytes.get(start..).filter(|nal| !nal.is_empty()) else { break };
        match nal_type(nal) {
            NalType::Delimiter => prefix = Some((start - 3, true)),
            NalType::ParameterSet(_) | NalType::Prefix => prefix = prefix.or(Some((start - 3, false))),
            NalType::Slice { first: true, .. } => {
                let (bound, has_delimiter) = prefix.take().unwrap_or((start - 3, false));
                is_first_delimited |= bounds.is_empty() && has_delimiter;
                delimited += usize::from(has_delimiter);
                bounds.push(bound);
                if bound >= stream.len {
                    break;
                }
            }
            // Units between the slices of a picture, such as the prefixes of scalable coding, begin nothing.
            NalType::Slice { first: false, .. } => prefix = None,
            NalType::Other => {}
        }
    }
    // Where all others have delimiters, the one of the first is in the segment before, and so this is not its beginning.
    if bounds.len() > 1 && !is_first_delimited && delimited == bounds.len() - 1 {
        bounds.remove(0);
    }
    bounds
}

fn audio_frames(stream: &JoinedStream, coding: Coding) -> Vec<Frame> {
    let headers = audio_headers(stream, coding);
    let mut commencing = Commencing::new(stream);
    let mut frames: Vec<Frame> = Vec::with_capacity(headers.len());
    // The last timestamp of a PES packet, and the samples since.
    let (mut clock, mut samples) = (None::<Ticks>, 0);
    for (offset, header) in &headers {
        let (pes, timestamps) = commencing.at(*offset);
        if let Some((pts, _)) = timestamps {
            if clock.is_none() {
                // The frames before the first timestamp end there.
                for (frame, (_, header)) in frames.iter_mut().zip(&headers) {
                    frame.pts = Some(pts.plus(-header.to_90k(samples)));
                    frame.dts = frame.pts;
                    samples -= i64::from(header.samples);
                }
            }
            (clock, samples) = (Some(pts), 0);
        }
        let pts = clock.map(|pts| pts.plus(header.to_90k(samples)));
        samples += i64::from(header.samples);
        let end = offset + header.bytes;
        let complete = end <= stream.bytes.len();
        let bytes = *offset..if complete { end } else { stream.len };
        frames.push(Frame { bytes, pes, pts, dts: pts, access_unit: AccessUnitStart::default(), complete });
    }
    frames
}

/// The offsets and headers of the audio frames that begin in the segment. If the last header is truncated, the one before
/// stands for it.
fn audio_headers(stream: &JoinedStream, coding: Coding) -> Vec<(usize, audio::Frame)> {
    let bytes = &stream.bytes[..];
    let has_next = bytes.len() > stream.len;
    let mut headers: Vec<(usize, audio::Frame)> = Vec::new();
    let mut offset = find_sync(bytes, 0, coding);
    while offset < stream.len {
        let end = headers.last().map_or(0, |(offset, header)| offset + header.bytes);
        match coding.frame(&bytes[offset..]) {
            // Across the border only if the next segment goes on with it.
            Some(header)
                if offset + header.bytes <= stream.len || !has_next || in_sync(bytes, offset, coding) =>
            {
                headers.push((offset, header));
                offset += header.bytes;
            }
            None if bytes.len() - offset < AUDIO_HEADER_BYTES && offset == end => {
                let last = headers.last().map(|(_, header)| (offset, *header));
                headers.extend(last.filter(|(offset, header)| offset + header.bytes > bytes.len()));
                break;
            }
            _ => offset = find_sync(bytes, offset + 1, coding),
        }
    }
    headers
}

/// The offset of the first frame from `offset` on that is in sync; the length of `bytes` if there is none.
fn find_sync(bytes: &[u8], offset: usize, coding: Coding) -> usize {
    (offset..bytes.len()).find(|offset| in_sync(bytes, *offset, coding)).unwrap_or(bytes.len())
}

/// Whether a frame at `offset` and those behind it follow each other, as far as they are there.
fn in_sync(bytes: &[u8], mut offset: usize, coding: Coding) -> bool {
    let mut sample_rate = None;
    for _ in 0..FRAMES_IN_SYNC {
        let rest = bytes.get(offset..).unwrap_or(&[]);
        let Some(header) = coding.frame(rest) else {
            return sample_rate.is_some() && rest.len() < AUDIO_HEADER_BYTES;
        };
        if *sample_rate.get_or_insert(header.sample_rate) != header.sample_rate {
            return false;
        }
        offset += header.bytes;
    }
    true
}

#[cfg(test)]
pub(super) mod tests;
