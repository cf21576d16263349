//! The units (PES packets with a time stamp) of a segment, stream by stream, in the order they are stored.

use super::codec::Codec;
use super::packet::{Packet, PidTable, packets};
use super::pes::{Header, Ticks};
use super::psi::{Pmt, find_pmt};
use super::video::AccessUnitStart;
use super::{h264, hevc};

/// Bytes of a unit that are searched for its first slice.
const LOOK: usize = 64 * 1024;

/// What a segment holds, unit by unit.
#[derive(Debug, Clone)]
pub struct Scan {
    /// The PID of the program map.
    pub pmt_pid: u16,
    /// The program map.
    pub pmt: Pmt,
    /// The streams, in the map's order.
    pub tracks: Vec<Track>,
    /// By how much the first clock reference lies before the decoding of the first picture, in ticks.
    pub pcr_lead_90k: i64,
    /// A packet was encrypted.
    pub scrambled: bool,
    /// A PES header goes on in a second packet, where it is not rewritten.
    pub split_header: bool,
}

/// The units of one stream.
#[derive(Debug, Clone)]
pub struct Track {
    /// The stream's PID.
    pub pid: u16,
    /// What it is.
    pub codec: Codec,
    /// Its units.
    pub units: Vec<Unit>,
}

/// A PES packet with a time stamp, and those without one that follow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    /// When it is shown.
    pub pts: Ticks,
    /// When it is decoded.
    pub dts: Ticks,
    /// For video: whether decoding can begin here.
    pub access_unit: AccessUnitStart,
    /// Whether it is all there; only the last unit of a segment can be cut short.
    pub complete: bool,
}

impl Scan {
    /// Scans a segment; of one that is not `whole` the last units may be cut short. `None` where there is no PMT.
    pub fn of(bytes: &[u8], whole: bool) -> Option<Self> {
        let (_, pmt_pid, pmt) = find_pmt(bytes)?;
        let mut scanner = Scanner::new(&pmt);
        for (_, packet) in packets(bytes) {
            scanner.push(packet, pmt.pcr_pid);
        }
        let scrambled = scanner.scrambled;
        let split_header = scanner.split_header;
        let first_pcr = scanner.first_pcr;
        let tracks: Vec<Track> = scanner.lanes.into_iter().map(|lane| lane.finish(whole)).collect();
        let first = reference_track(&tracks).and_then(|track| track.units.first());
        let pcr_lead_90k = first_pcr.zip(first).map_or(0, |(pcr, unit)| unit.dts.since(pcr));
        Some(Self { pmt_pid, pmt, tracks, pcr_lead_90k, scrambled, split_header })
    }

    /// The stream whose units are the frames that a cut counts: the first video, else the first sound.
    pub fn reference_track(&self) -> Option<&Track> {
        reference_track(&self.tracks)
    }
}

fn reference_track(tracks: &[Track]) -> Option<&Track> {
    let used = |wanted: fn(Codec) -> bool| {
        tracks.iter().find(|track| wanted(track.codec) && !track.units.is_empty())
    };
    used(Codec::is_video).or_else(|| used(Codec::is_audio))
}

impl Track {
    /// The earliest time at which a unit is shown.
    pub fn lowest_pts(&self) -> Option<Ticks> {
        let first = self.units.first()?.pts;
        self.units.iter().map(|unit| unit.pts).min_by_key(|pts| pts.since(first))
    }

    /// The latest time at which a unit that is all there is shown.
    pub fn highest(&self) -> Option<Ticks> {
        let first = self.units.first()?.pts;
        self.units.iter().filter(|unit| unit.complete).map(|unit| unit.pts).max_by_key(|pts| pts.since(first))
    }
}

struct Scanner {
    by_pid: PidTable,
    lanes: Vec<Lane>,
    first_pcr: Option<Ticks>,
    scrambled: bool,
    split_header: bool,
}

struct Lane {
    track: Track,
    /// Bytes of the current unit while its first slice is not found.
    start: Option<Vec<u8>>,
    /// How many of them there must be to look again: twice as many each time, so that all looks together take no
    /// longer than a few.
    look_at: usize,
    /// The length that the current unit should have, with its header.
    total: Option<usize>,
    /// The bytes of the current unit so far.
    seen: usize,
    /// Whether the last packet was filled to its end, so that more may have followed.
    filled: bool,
}

impl Scanner {
    fn new(pmt: &Pmt) -> Self {
        let track = |stream: &super::psi::ElementaryStream| Track {
            pid: stream.pid,
            codec: Codec::of(stream),
            units: Vec::new(),
        };
        let lane = |stream| Lane {
            track: track(stream),
            start: None,
            look_at: 0,
            total: None,
            seen: 0,
            filled: false,
        };
        Self {
            by_pid: PidTable::new(pmt.streams.iter().map(|stream| stream.pid)),
            lanes: pmt.streams.iter().map(lane).collect(),
            first_pcr: None,
            scrambled: false,
            split_header: false,
        }
    }

    fn push(&mut self, packet: Packet<'_>, pcr_pid: u16) {
        let pid = packet.pid();
        if pid == pcr_pid && self.first_pcr.is_none() {
            self.first_pcr = packet.pcr().and_then(|pcr| i64::try_from(pcr / 300).ok()).map(Ticks::new);
        }
        let Some(lane) = self.by_pid.get(pid).and_then(|index| self.lanes.get_mut(index)) else { return };
        self.scrambled |= packet.scrambled();
        self.split_header |= lane.push(packet);
    }
}

impl Lane {
    /// Takes a packet; says whether it holds only a part of a PES header.
    fn push(&mut self, packet: Packet<'_>) -> bool {
        let mut payload = packet.payload();
        let header = if packet.starts_unit() { Header::parse(payload) } else { None };
        if let Some((header, pts)) = header.and_then(|header| Some((header, header.pts?))) {
            let dts = header.dts.unwrap_or(pts);
            self.look();
            self.track.units.push(Unit { pts, dts, access_unit: AccessUnitStart::default(), complete: true });
            (self.total, self.seen) = (header.packet_len, 0);
            self.start = self.track.codec.is_video().then(Vec::new);
            self.look_at = 1;
            self.filled = !packet.has_stuffing();
            self.seen += payload.len();
            payload = payload.get(header.len..).unwrap_or(&[]);
        } else if !payload.is_empty() {
            self.filled = !packet.has_stuffing();
            self.seen += payload.len();
        }
        if let Some(start) = &mut self.start {
            start.extend_from_slice(payload);
            if start.len() >= self.look_at {
                self.look();
            }
        }
        header.is_some_and(|header| header.len > packet.payload().len())
    }

    /// Looks for the first slice in what there is of the current unit.
    fn look(&mut self) {
        let (Some(start), Some(unit)) = (&self.start, self.track.units.last_mut()) else { return };
        let access = match self.track.codec {
            Codec::H264 => h264::access_unit_start(start),
            Codec::Hevc => hevc::access_unit_start(start),
            _ => AccessUnitStart { picture: true, ..AccessUnitStart::default() },
        };
        unit.access_unit = access;
        self.look_at = 2 * start.len();
        // A slice's header may go on in the next packet, its kind may not.
        if access.picture || start.len() > LOOK {
            self.start = None;
        }
    }

    fn finish(mut self, whole: bool) -> Track {
        self.look();
        if let Some(last) = self.track.units.last_mut() {
            last.complete = whole || self.total.map_or(!self.filled, |total| self.seen >= total);
        }
        self.track
    }
}
