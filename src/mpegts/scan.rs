//! The PES packets of a segment, by elementary stream and in the order they are stored.

use super::alignment::{Alignment, AlignmentCheck};
use super::codec::Codec;
use super::frames::Framing;
use super::packet::{Packet, packets};
use super::pes::{Header, Ticks};
use super::psi::{ElementaryStream, Pmt, find_pmt};
use super::video::AccessUnitStart;
use super::{h264, hevc, mpeg2};

/// Bytes of a PES packet that are searched for the first slice.
const MAX_SEARCH_BYTES: usize = 64 * 1024;

/// The PES packets of a segment.
#[derive(Debug, Clone)]
pub struct Scan {
    /// The PID of the PMT.
    pub pmt_pid: u16,
    /// The PMT.
    pub pmt: Pmt,
    /// The elementary streams, in the order of the PMT.
    pub tracks: Vec<Track>,
    /// The time from the first PCR to the first DTS of the reference track, in ticks of 90 kHz.
    pub pcr_lead_90k: i64,
    /// Whether a packet is encrypted.
    pub scrambled: bool,
    /// Whether a PES header continues in a second transport packet, where [`super::retime`] does not rewrite it.
    pub split_header: bool,
}

/// The PES packets of an elementary stream.
#[derive(Debug, Clone)]
pub struct Track {
    /// The PID of the elementary stream.
    pub pid: u16,
    /// Its codec.
    pub codec: Codec,
    /// Its PES packets.
    pub units: Vec<Unit>,
    /// How its frames lie in them.
    pub alignment: Alignment,
}

/// A PES packet with a PTS, and those without one that follow it. Of video it is an access unit, if the track is aligned
/// and each has a time of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    /// The presentation timestamp.
    pub pts: Ticks,
    /// The decoding timestamp; the PTS where the header has none.
    pub dts: Ticks,
    /// Whether video can be decoded from here.
    pub access_unit: AccessUnitStart,
    /// Whether all of it is there; only the last unit of a segment can be truncated.
    pub complete: bool,
}

impl Scan {
    /// Scans a segment; `None` if there is no PMT. If it is not `whole`, the last units may be truncated.
    pub fn of(bytes: &[u8], whole: bool) -> Option<Self> {
        let (_, pmt_pid, pmt) = find_pmt(bytes)?;
        let mut scanners: Vec<TrackScanner<'_>> = pmt.streams.iter().map(TrackScanner::new).collect();
        let (mut first_pcr, mut scrambled, mut split_header) = (None, false, false);
        for (_, packet) in packets(bytes) {
            if packet.pid() == pmt.pcr_pid && first_pcr.is_none() {
                first_pcr = packet.pcr().and_then(|pcr| i64::try_from(pcr / 300).ok()).map(Ticks::new);
            }
            if let Some(scanner) = scanners.iter_mut().rfind(|scanner| scanner.track.pid == packet.pid()) {
                scrambled |= packet.scrambled();
                split_header |= scanner.push(packet);
            }
        }
        let tracks = scanners.into_iter().map(|scanner| scanner.finish(whole)).collect();
        let mut scan = Self { pmt_pid, pmt, tracks, pcr_lead_90k: 0, scrambled, split_header };
        if let Some((pcr, unit)) = first_pcr.zip(scan.reference_track().and_then(|track| track.units.first()))
        {
            scan.pcr_lead_90k = unit.dts.since(pcr);
        }
        Some(scan)
    }

    /// Whether the frames of all tracks begin and end with their PES packets, as far as they can be found.
    pub fn is_aligned(&self) -> bool {
        self.tracks.iter().all(|track| track.alignment == Alignment::default())
    }

    /// Roughly how many bytes of memory it takes.
    pub fn memory_bytes(&self) -> usize {
        let units: usize = self.tracks.iter().map(|track| track.units.capacity() * size_of::<Unit>()).sum();
        let streams = self.pmt.streams.iter().map(|stream| size_of_val(stream) + stream.descriptors.len());
        let tables = self.pmt.descriptors.len() + streams.sum::<usize>();
        size_of::<Self>() + self.tracks.len() * size_of::<Track>() + units + tables
    }

    /// The track whose frames a cut counts: the first video with PES packets, else the first such audio.
    pub fn reference_track(&self) -> Option<&Track> {
        let first = |has_type: fn(Codec) -> bool| {
            self.tracks.iter().find(|track| has_type(track.codec) && !track.units.is_empty())
        };
        first(Codec::is_video).or_else(|| first(Codec::is_audio))
    }
}

impl Track {
    /// The first PTS in presentation order.
    pub fn lowest_pts(&self) -> Option<Ticks> {
        let first = self.units.first()?.pts;
        self.units.iter().map(|unit| unit.pts).min_by_key(|pts| pts.since(first))
    }
}

/// Parses the start of an access unit of that codec, up to its first slice. Of a codec that is not parsed it is a picture
/// of which nothing is known.
pub(super) fn access_unit_start(codec: Codec, bytes: &[u8]) -> AccessUnitStart {
    match codec {
        Codec::H264 => h264::access_unit_start(bytes),
        Codec::Hevc => hevc::access_unit_start(bytes),
        Codec::Mpeg2 => mpeg2::access_unit_start(bytes),
        _ => AccessUnitStart { picture: true, ..AccessUnitStart::default() },
    }
}

/// Finds the units of one elementary stream.
struct TrackScanner<'a> {
    track: Track,
    alignment: AlignmentCheck<'a>,
    /// The first bytes of the current unit, until its first slice is found.
    start: Option<Vec<u8>>,
    /// The length of `start` at which to search it again. It doubles, so that all searches together are linear in time.
    search_at: usize,
    /// The length of the current unit in bytes, from its header.
    expected_len: Option<usize>,
    /// The bytes of the current unit so far, with its header.
    len: usize,
    /// Whether the last packet had no stuffing, so that the unit may continue.
    is_open: bool,
    last_packet: Option<Packet<'a>>,
}

impl<'a> TrackScanner<'a> {
    fn new(stream: &ElementaryStream) -> Self {
        let (pid, codec) = (stream.pid, Codec::of(stream));
        Self {
            track: Track { pid, codec, units: Vec::new(), alignment: Alignment::default() },
            alignment: AlignmentCheck::new(Framing::of(codec)),
            start: None,
            search_at: 0,
            expected_len: None,
            len: 0,
            is_open: false,
            last_packet: None,
        }
    }

    /// Takes the next packet, unless it is a duplicate; returns whether a PES header continues after it.
    fn push(&mut self, packet: Packet<'a>) -> bool {
        if self.last_packet.replace(packet).is_some_and(|last| packet.is_duplicate_of(last)) {
            return false;
        }
        let payload = packet.payload();
        let header = if packet.starts_unit() { Header::parse(payload) } else { None };
        let mut data = payload;
        if let Some((header, pts)) = header.and_then(|header| Some((header, header.pts?))) {
            self.search();
            if let Some(start) = &self.start {
                self.alignment.check_start(start, false);
            }
            self.alignment.start_pes();
            let (dts, access_unit) = (header.dts.unwrap_or(pts), AccessUnitStart::default());
            self.track.units.push(Unit { pts, dts, access_unit, complete: true });
            (self.expected_len, self.len) = (header.packet_len, 0);
            self.start = self.track.codec.is_video().then(Vec::new);
            self.search_at = 1;
            data = payload.get(header.len..).unwrap_or(&[]);
        } else if packet.starts_unit() && self.track.codec.is_audio() {
            self.alignment.set_unaligned();
        }
        if !payload.is_empty() {
            self.is_open = !packet.has_stuffing();
            let left = self.expected_len.map_or(usize::MAX, |len| len.saturating_sub(self.len));
            let header_len = payload.len() - data.len();
            self.alignment.push(&data[..data.len().min(left.saturating_sub(header_len))]);
            self.len += payload.len();
        }
        if let Some(start) = &mut self.start {
            start.extend_from_slice(data);
            if start.len() >= self.search_at {
                self.search();
            }
        }
        let is_cut_short = || packet.starts_unit() && Header::is_cut_short(payload);
        let is_split = header.map_or_else(is_cut_short, |header| header.len > payload.len());
        if is_split {
            self.alignment.set_unaligned();
        }
        is_split
    }

    /// Searches the current unit for its first slice.
    fn search(&mut self) {
        let (Some(start), Some(unit)) = (&self.start, self.track.units.last_mut()) else { return };
        unit.access_unit = access_unit_start(self.track.codec, start);
        self.search_at = 2 * start.len();
        // The type of a slice is in its first byte, so the slice may be truncated.
        if unit.access_unit.picture || start.len() > MAX_SEARCH_BYTES {
            self.alignment.check_start(start, unit.access_unit.picture);
            self.start = None;
        }
    }

    fn finish(mut self, whole: bool) -> Track {
        self.search();
        // The last unit may go on in the next segment, and its first slice be there.
        if let Some(start) = &self.start {
            self.alignment.check_start(start, true);
        }
        let is_whole = self.expected_len.map_or(!self.is_open, |expected| self.len >= expected);
        if let Some(last) = self.track.units.last_mut() {
            last.complete = whole || is_whole;
        }
        self.track.alignment = self.alignment.finish(is_whole);
        self.track.units.shrink_to_fit();
        self.track
    }
}
