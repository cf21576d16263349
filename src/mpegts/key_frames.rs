//! The key frames of a segment, each with what a decoder needs to decode it alone.
//!
//! A key frame is a picture with which decoding can begin and that is right itself: an IDR picture, an I picture that opens a
//! group of pictures which refer to others before it, or an I picture of MPEG-2. Pictures from which on the picture becomes
//! right step by step (a recovery point later than itself) are none.

use std::collections::BTreeMap;
use std::ops::Range;

use super::codec::Codec;
use super::elementary::JoinedStream;
use super::frames::frames;
use super::h264::idr::as_idr;
use super::nal::{nal_starts, trimmed_nal_units};
use super::pes::Ticks;
use super::psi::{ElementaryStream, find_pmt};
use super::video::{AccessUnitStart, NalType};
use super::{h264, hevc, mpeg2};

/// The video of a segment, and its key frames.
#[derive(Debug)]
pub struct KeyFrames {
    /// The stream as the PMT lists it.
    pub stream: ElementaryStream,
    /// Its codec.
    pub codec: Codec,
    /// The key frames, in the order they are stored.
    pub keys: Vec<KeyFrame>,
    joined: JoinedStream,
}

/// A key frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFrame {
    /// How long after the first frame of the segment it is shown, in ticks of 90 kHz.
    pub after_first_90k: i64,
    /// Whether the parameter sets that it needs are stored with it.
    pub has_parameter_sets: bool,
    /// Its bytes in the joined stream.
    bytes: Range<usize>,
}

/// A picture and when it is shown.
type Picture = (Range<usize>, AccessUnitStart, Option<Ticks>);

impl KeyFrames {
    /// Finds the key frames of a segment's first video that has PES packets; `None` if there is none. If the segment is not
    /// `whole`, its last picture may be truncated, and is left out.
    pub fn of(segment: &[u8], whole: bool) -> Option<Self> {
        let (_, _, pmt) = find_pmt(segment)?;
        let videos = pmt.streams.into_iter().filter(|stream| Codec::of(stream).is_video());
        let mut joined = videos.map(|stream| (JoinedStream::of(segment, stream.pid), stream));
        let (joined, stream) = joined.find(|(joined, _)| !joined.starts.is_empty())?;
        let codec = Codec::of(&stream);
        let pictures = pictures(codec, &joined, whole);
        let first = pictures.iter().find_map(|(_, _, pts)| *pts);
        let since = |pts: &Option<Ticks>| pts.zip(first).map(|(pts, first)| pts.since(first));
        let lowest = pictures.iter().filter_map(|(_, _, pts)| since(pts)).min().unwrap_or(0);
        let is_key = |start: &AccessUnitStart| start.picture && (start.idr || start.recovery == Some(0));
        let keys = pictures.iter().filter(|(_, start, _)| is_key(start)).filter_map(|(bytes, start, pts)| {
            Some(KeyFrame {
                after_first_90k: since(pts)? - lowest,
                has_parameter_sets: start.parameter_sets,
                bytes: bytes.clone(),
            })
        });
        Some(Self { codec, keys: keys.collect(), stream, joined })
    }

    /// The size of the pictures on the screen, in square pixels, by the first parameter sets; `None` if there are none.
    pub fn display_size(&self) -> Option<(u32, u32)> {
        let bytes = &self.joined.bytes;
        match self.codec {
            Codec::H264 => h264::picture(bytes).map(|picture| picture.display_size()),
            Codec::Hevc => hevc::picture(bytes).map(|picture| picture.display_size()),
            Codec::Mpeg2 => mpeg2::display_size(bytes),
            _ => None,
        }
    }

    /// The last parameter sets of each id that are stored before a key frame, or in all of the segment, as a byte stream.
    /// Empty if they are not all there.
    pub fn parameter_sets(&self, before: Option<&KeyFrame>) -> Vec<u8> {
        let end = before.map_or(self.joined.len, |key| key.bytes.start);
        let bytes = &self.joined.bytes[..end];
        match self.codec {
            Codec::H264 => parameter_sets::<2>(bytes, h264::nal_type, h264::parameter_set_id),
            Codec::Hevc => parameter_sets::<3>(bytes, hevc::nal_type, hevc::parameter_set_id),
            _ => Vec::new(),
        }
    }

    /// A key frame as a byte stream that decodes the same whatever was decoded before it. `parameter_sets` are those that it
    /// needs beside its own.
    pub fn alone(&self, key: &KeyFrame, parameter_sets: &[u8]) -> Vec<u8> {
        let access_unit = self.joined.bytes.get(key.bytes.clone()).unwrap_or_default();
        let whole = [parameter_sets, access_unit].concat();
        match self.codec {
            Codec::H264 if !is_idr(access_unit) => as_idr(&whole).unwrap_or(whole),
            Codec::Hevc => hevc::without_leading_pictures(whole),
            _ => whole,
        }
    }
}

/// The last parameter sets of each id in a byte stream, of `KINDS` kinds; empty if one kind is missing.
fn parameter_sets<const KINDS: usize>(
    bytes: &[u8],
    nal_type: fn(&[u8]) -> NalType,
    id: fn(&[u8]) -> Option<(u32, u32)>,
) -> Vec<u8> {
    let mut sets = BTreeMap::new();
    for nal in trimmed_nal_units(bytes) {
        if let (NalType::ParameterSet(kind), Some((id, _))) = (nal_type(nal), id(nal)) {
            sets.insert((kind, id), nal);
        }
    }
    let has_all = (0..KINDS).all(|kind| sets.keys().any(|(found, _)| *found == kind));
    if !has_all {
        return Vec::new();
    }
    sets.into_values().flat_map(|nal| [&[0, 0, 0, 1], nal].concat()).collect()
}

fn is_idr(access_unit: &[u8]) -> bool {
    h264::access_unit_start(access_unit).idr
}

/// The pictures of a stream that begin in a segment.
fn pictures(codec: Codec, joined: &JoinedStream, whole: bool) -> Vec<Picture> {
    if codec == Codec::Mpeg2 {
        return mpeg2_pictures(joined, whole);
    }
    let frames = frames(codec, joined).filter(|_| codec.is_video()).unwrap_or_default();
    let known = frames.into_iter().filter(|frame| frame.complete || whole);
    known.map(|frame| (frame.bytes, frame.access_unit, frame.pts)).collect()
}

/// The pictures of MPEG-2 (ISO/IEC 13818-2, 6.2.3), each with the headers before it, and with the time stamp of the PES packet
/// in which it commences if it is the first that does.
fn mpeg2_pictures(joined: &JoinedStream, whole: bool) -> Vec<Picture> {
    let bytes = &joined.bytes;
    let mut bounds = Vec::new();
    // Where the headers of the next picture begin.
    let mut headers = None;
    for start in nal_starts(bytes) {
        match bytes.get(start) {
            Some(0xB3 | 0xB8) => _ = headers.get_or_insert(start - 3),
            Some(0x00) => bounds.push((headers.take().unwrap_or(start - 3), start - 3)),
            _ => {}
        }
    }
    let ends: Vec<usize> = bounds.iter().skip(1).map(|(start, _)| *start).collect();
    let mut last_pes = 0;
    let picture = |(index, (start, picture)): (usize, (usize, usize))| {
        let end = ends.get(index).copied().or(whole.then_some(joined.len))?;
        let commences = joined.starts.partition_point(|pes| pes.offset <= picture);
        let is_first = std::mem::replace(&mut last_pes, commences) != commences;
        let pes = commences.checked_sub(1).and_then(|pes| joined.starts.get(pes)).filter(|_| is_first);
        let access_unit = mpeg2::access_unit_start(&bytes[start..end]);
        Some((start..end, access_unit, pes.and_then(|pes| pes.pts)))
    };
    bounds.into_iter().enumerate().filter_map(picture).collect()
}
