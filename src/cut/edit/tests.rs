use super::*;
use crate::cut::groups;
use crate::cut::mux::EncodedFrame;
use crate::cut::plan::{CutSegment, Place, PlannedSegments, ShownRange};
use crate::mpegts::alignment::Alignment;
use crate::mpegts::codec::Codec;
use crate::mpegts::pes::Ticks;
use crate::mpegts::probe::{AudioFormat, Program, Stream};
use crate::mpegts::psi::Pmt;
use crate::mpegts::scan::Scan;
use crate::mpegts::video::AccessUnitStart;
use crate::timestamp::Timestamp;

const VIDEO: u16 = 0x100;
const AUDIO: u16 = 0x101;
/// Pictures are 40 ms apart, and sound units as long.
const FRAME: i64 = 3600;
/// By how much a picture's DTS is below its PTS, at least.
const DELAY: i64 = 2 * FRAME;
/// Where the output starts.
const START: i64 = 54_000;
/// The first PTS of the footage: the clock wraps in the second segment.
const FIRST: i64 = (1 << 33) - 10 * FRAME;

/// A container that records what it is given: PID, PTS, DTS, whether decoding can begin there, whether it was encoded anew.
#[derive(Debug, Default)]
struct Recorder(Vec<Frame>);

type Frame = (u16, i64, i64, bool, bool);

impl Mux for Recorder {
    fn write(
        &mut self,
        segment: EditedSegment<'_>,
        next_frame: NextFrame<'_>,
        out: Output<'_>,
    ) -> Result<()> {
        for edit in &segment.edits {
            let track = segment.loaded.scan.tracks.iter().find(|track| track.pid == edit.input_pid);
            for (unit, action) in track.expect("a track").units.iter().zip(&edit.actions) {
                let (pts, dts) = (edit.clock.to_output_90k(unit.pts), edit.clock.to_output_90k(unit.dts));
                let frame = match action {
                    Action::Drop => continue,
                    // Units of sound have one frame here.
                    Action::Trim if !edit.keep_90k.contains(&pts) => continue,
                    Action::Copy | Action::Trim => (edit.output_pid, pts, dts, unit.access_unit.idr, false),
                    Action::Replace => {
                        let frame = next_frame()?;
                        (edit.output_pid, frame.pts_90k, frame.dts_90k, frame.sync, true)
                    }
                };
                self.0.push(frame);
                out(&[1])?;
            }
        }
        Ok(())
    }

    fn audio_end_90k(&self, _: u16) -> Option<i64> {
        None
    }
}

/// Eight pictures in two groups, stored as 0 3 1 2, with a unit of sound beside each; the first is frame `first`.
fn segment(first: i64) -> LoadedSegment {
    let unit = |number: i64, dts: i64, idr: bool| Unit {
        pts: Ticks::new(FIRST + number * FRAME),
        dts: Ticks::new(FIRST + dts),
        access_unit: AccessUnitStart {
            idr,
            recovery: idr.then_some(0),
            reference: true,
            parameter_sets: idr,
            picture: true,
        },
        complete: true,
    };
    let stored =
        |index: i64| first + index / 4 * 4 + [0, 3, 1, 2][usize::try_from(index % 4).expect("small")];
    let picture = |index: i64| unit(stored(index), (first + index) * FRAME - DELAY, index % 4 == 0);
    let sound = |index: i64| unit(first + index, (first + index) * FRAME, false);
    let tracks = vec![
        Track {
            pid: VIDEO,
            codec: Codec::H264,
            units: (0..8).map(picture).collect(),
            alignment: Alignment::default(),
        },
        Track {
            pid: AUDIO,
            codec: Codec::Aac,
            units: (0..8).map(sound).collect(),
            alignment: Alignment::default(),
        },
    ];
    let pmt = Pmt { program: 1, pcr_pid: VIDEO, descriptors: Vec::new(), streams: Vec::new() };
    let scan = Scan { pmt_pid: 0x1000, pmt, tracks, pcr_lead_90k: 0, scrambled: false, split_header: false };
    LoadedSegment::new(Vec::new(), scan)
}

/// The plan of a cut of frames `from` to before `to` of two segments.
fn plan(from: i64, to: i64) -> Plan {
    let time = |frame: i64| Timestamp::from_micros(frame * 40_000);
    let planned = |first: i64| PlannedSegment {
        segment: CutSegment {
            path: "x.ts".into(),
            bytes: None,
            start: time(first),
            end: time(first + 8),
            gap_before: false,
            complete: true,
        },
        clock: ClockMapping { input: Ticks::new(FIRST), output_90k: START - from * FRAME },
        continuous: first > 0,
        shown: ShownRange {
            segment_start: time(first),
            lowest_pts: Ticks::new(FIRST + first * FRAME),
            start: time(from),
            end: time(to),
            after: None,
        },
        frame_90k: FRAME,
        last_90k: None,
    };
    let stream =
        |(pid, codec, audio)| Stream { pid, codec, codecs: None, video: None, mean_rate: None, audio };
    let audio = AudioFormat { sample_rate: 25_600, channels: 2, samples: 1024 };
    let streams = [(VIDEO, Codec::H264, None), (AUDIO, Codec::Aac, Some(audio))].map(stream).to_vec();
    let pmt = segment(0).scan.pmt;
    let program = Program { pmt_pid: 0x1000, pmt, programs: 1, streams };
    let both = [planned(0), planned(8)];
    let list: Vec<CutSegment> = both.iter().map(|planned| planned.segment.clone()).collect();
    let mut segments = PlannedSegments::new(std::sync::Arc::new(list), (time(from), time(to)));
    (0..).zip(&both).for_each(|(number, planned)| segments.push(number, planned));
    let end_90k = START + (to - from) * FRAME;
    Plan {
        place: Place::ALONE,
        exact_type: ExactType::Smart,
        segments,
        trailing: None,
        lead_in: None,
        program,
        found_in: vec![None; 2],
        start_90k: START,
        end_90k,
        max_segment_bytes: 0,
    }
}

#[test]
fn any_container_is_given_each_frame_of_a_smart_cut_once_and_in_order() {
    for (from, to, copied) in [(0, 16, 0..16), (1, 14, 4..12), (4, 12, 4..12), (6, 9, 0..0)] {
        let plan = plan(from, to);
        let mut recorder = Recorder::default();
        let mut muxer = Muxer::new(&plan, &mut recorder);
        let mut written = 0;
        let mut out = |bytes: &[u8]| {
            written += bytes.len();
            Ok(())
        };
        for (index, planned) in plan.written().enumerate() {
            let loaded = segment(i64::try_from(index).expect("few") * 8);
            let track = loaded.video_track().expect("video");
            let splice = groups::splice(track, &planned.shown, planned.continuous, true).expect("a splice");
            let shown = splice.partial.into_iter().flat_map(|group| group.shown.into_iter().enumerate());
            let mut encoded = shown.map(|(index, pts)| {
                let pts_90k = planned.clock.to_output_90k(pts);
                EncodedFrame { pts_90k, dts_90k: pts_90k - DELAY, sync: index == 0, data: Vec::new() }
            });
            let mut next_frame = || Ok(encoded.next().expect("a frame"));
            muxer.segment(index, &loaded, splice.actions, &mut next_frame, &mut out).expect("a segment");
            assert_eq!(encoded.next(), None, "a frame was not asked for");
        }
        let of = |pid| -> Vec<Frame> { recorder.0.iter().filter(|frame| frame.0 == pid).copied().collect() };
        let (pictures, sound) = (of(VIDEO), of(AUDIO));
        assert!(pictures.is_sorted_by(|one, next| one.2 < next.2), "DTS do not rise: {pictures:?}");
        assert!(pictures.iter().all(|frame| frame.2 <= frame.1), "a DTS is above its PTS: {pictures:?}");
        let mut shown = pictures.clone();
        shown.sort_by_key(|frame| frame.1);
        let place = |frame: i64| START + (frame - from) * FRAME;
        assert!(shown.iter().map(|frame| frame.1).eq((from..to).map(place)), "{from} to {to}: {shown:?}");
        for (number, frame) in (from..to).zip(&shown) {
            let begins = number % 4 == 0 || number == from;
            assert_eq!(
                (frame.3, frame.4),
                (begins, !copied.contains(&number)),
                "frame {number} of {from} to {to}"
            );
        }
        let starts: Vec<i64> = sound.iter().map(|frame| frame.1).collect();
        assert_eq!(starts, (from..to).map(place).collect::<Vec<_>>(), "sound of {from} to {to}");
        assert_eq!(written, pictures.len() + sound.len());
    }
}
