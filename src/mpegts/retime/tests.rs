use super::*;
use crate::mpegts::packet::pcr_packet;
use crate::mpegts::pes::{Assembler, write_pes};
use crate::mpegts::psi::{ElementaryStream, Pmt, write_pat, write_pmt};
use proptest::prelude::*;

const VIDEO: u16 = 0x100;
const AUDIO: u16 = 0x101;

/// A segment of four access units of video, each followed by two frames of audio, from PTS `start` on.
fn segment(start: i64) -> Vec<u8> {
    let stream = |(pid, stream_type)| ElementaryStream { pid, stream_type, descriptors: Vec::new() };
    let streams = [(VIDEO, 0x1B), (AUDIO, 0x0F)].map(stream).to_vec();
    let pmt = Pmt { program: 1, pcr_pid: VIDEO, descriptors: Vec::new(), streams };
    let mut bytes = [write_pat(1, 0x1000), write_pmt(0x1000, &pmt)].concat();
    let (mut video, mut audio) = (3, 9);
    let frame = [0xFF, 0xF1, 0x4C, 0x80, 0x01, 0x7F, 0xFC, 1, 2, 3, 4];
    for index in 0..4 {
        let pts = Ticks::new(start + index * 3840);
        let pes = Pes { stream_id: 0xE0, pts, dts: pts.plus(-3000), payload: vec![7; 500] };
        bytes.extend(pcr_packet(VIDEO, video, u64::try_from(pts.plus(-9000).get()).expect("positive") * 300));
        write_pes(&pes, VIDEO, &mut video, index == 0, &mut bytes);
        let pes = Pes { stream_id: 0xC0, pts, dts: pts, payload: [frame, frame].concat() };
        write_pes(&pes, AUDIO, &mut audio, true, &mut bytes);
    }
    bytes
}

/// Edits that take the given actions on video and trim all audio.
fn edits(scan: &Scan, clock: ClockMapping, video: &[Action], keep: Range<i64>) -> Vec<Edit> {
    let edit = |track: &crate::mpegts::scan::Track| Edit {
        input_pid: track.pid,
        output_pid: track.pid + 0x100,
        clock,
        actions: if track.pid == VIDEO { video.to_vec() } else { vec![Action::Trim; track.units.len()] },
        keep_90k: keep.clone(),
        coding: track.codec.coding(),
    };
    scan.tracks.iter().map(edit).collect()
}

fn rewrite(
    writer: &mut TsWriter,
    bytes: &[u8],
    clock: ClockMapping,
    video: &[Action],
    keep: Range<i64>,
) -> Vec<u8> {
    let scan = Scan::of(bytes, true).expect("a PMT");
    let mut rewriter = Rewriter::new(bytes, &scan, clock, i64::MAX, edits(&scan, clock, video, keep));
    let (mut out, mut buffer) = (Vec::new(), Vec::new());
    loop {
        let step = rewriter.step(writer, &mut buffer);
        if step == Step::Insert {
            let (pts, payload) = (Ticks::new(1), vec![8; 10]);
            writer.insert(&Pes { stream_id: 0xE0, pts, dts: pts, payload }, 0x200, false, &mut buffer);
        }
        out.append(&mut buffer);
        if step == Step::Done {
            return out;
        }
    }
}

/// The PTS and the payload's length of each PES packet on `pid`.
fn pes_packets(bytes: &[u8], pid: u16) -> Vec<(i64, usize)> {
    let (mut assembler, mut found) = (Assembler::default(), Vec::new());
    assembler.push(bytes, pid, |pes| found.push((pes.pts.get(), pes.payload.len())));
    found.extend(assembler.finish().map(|pes| (pes.pts.get(), pes.payload.len())));
    found
}

fn writer(bytes: &[u8]) -> TsWriter {
    let pmt = Scan::of(bytes, true).expect("a PMT").pmt;
    TsWriter::new(0x1000, &Pmt { pcr_pid: VIDEO + 0x100, ..pmt })
}

#[test]
fn segments_are_continuous_in_counters_timestamps_and_pcr() {
    let segments = [segment((1 << 33) - 5000), segment(7_000_000)];
    let mut writer = writer(&segments[0]);
    let mut out = Vec::new();
    for (segment, output_90k) in segments.iter().zip([20_000, 20_000 + 4 * 3840]) {
        let input = Scan::of(segment, true).expect("a PMT").tracks[0].units[0].pts;
        let clock = ClockMapping { input, output_90k };
        out.extend(rewrite(&mut writer, segment, clock, &[Action::Copy; 4], 0..i64::MAX));
    }
    let expected = |len| (0..8).map(|index| (20_000 + index * 3840, len)).collect::<Vec<_>>();
    assert_eq!(pes_packets(&out, 0x200), expected(500));
    assert_eq!(pes_packets(&out, 0x201), expected(22));
    assert_eq!(writer.audio_end_90k(0x201), Some(20_000 + 8 * 3840));
    let mut counters = std::collections::BTreeMap::new();
    let mut last_pcr = 0;
    for (_, packet) in packets(&out) {
        let last = counters.insert(packet.pid(), packet.continuity_counter());
        let expected = last.map(|last: u8| (last + u8::from(packet.has_payload())) & 15);
        assert!(expected.is_none_or(|expected| expected == packet.continuity_counter()));
        if let Some(pcr) = packet.pcr() {
            assert!(pcr > last_pcr);
            last_pcr = pcr;
        }
    }
    assert_eq!(last_pcr, (20_000 + 7 * 3840 - 9000) * 300);
}

#[test]
fn pes_packets_are_dropped_replaced_and_trimmed_by_their_actions() {
    let bytes = segment(90_000);
    let clock = ClockMapping { input: Ticks::new(90_000), output_90k: 0 };
    let actions = [Action::Drop, Action::Replace, Action::Copy, Action::Drop];
    let out = rewrite(&mut writer(&bytes), &bytes, clock, &actions, 1920..3840 * 2 + 1);
    assert_eq!(pes_packets(&out, 0x200), [(1, 10), (2 * 3840, 500)]);
    assert_eq!(pes_packets(&out, 0x201), [(1920, 11), (3840, 22), (2 * 3840, 11)]);
}

#[test]
fn a_duplicate_packet_is_dropped() {
    let bytes = segment(90_000);
    let twice: Vec<u8> = bytes.chunks(PACKET_BYTES).flat_map(|packet| [packet, packet].concat()).collect();
    let clock = ClockMapping { input: Ticks::new(90_000), output_90k: 0 };
    let out = |bytes: &[u8]| rewrite(&mut writer(bytes), bytes, clock, &[Action::Copy; 4], 0..i64::MAX);
    assert_eq!(pes_packets(&out(&twice), 0x200), pes_packets(&out(&bytes), 0x200));
}

proptest! {
    #[test]
    fn damaged_segments_are_rewritten_without_a_panic(
        damage in proptest::collection::vec((0_usize..8000, any::<u8>()), 0..40),
        input in any::<i64>(),
        output_90k in -(1_i64 << 40)..1 << 40,
        len in 0_usize..8000,
    ) {
        let mut bytes = segment(90_000);
        let writer = &mut writer(&bytes);
        for (at, byte) in damage {
            if let Some(damaged) = bytes.get_mut(at) {
                *damaged ^= byte;
            }
        }
        bytes.truncate(len.max(1000));
        if Scan::of(&bytes, false).is_some() {
            let clock = ClockMapping { input: Ticks::new(input), output_90k };
            let actions = [Action::Copy, Action::Replace, Action::Trim, Action::Drop];
            let out = rewrite(writer, &bytes, clock, &actions, 0..i64::MAX);
            prop_assert_eq!(out.len() % PACKET_BYTES, 0);
        }
    }
}

#[test]
fn the_clock_reference_stays_on_its_pid_wherever_a_segment_has_it() {
    let mut bytes = segment(9_000_000);
    let scan = Scan::of(&bytes, true).expect("a PMT");
    let mut pmt = Pmt { pcr_pid: AUDIO, ..scan.pmt };
    pmt.program = 1;
    // The segment's clock reference moves into the packets of the sound, before what they have of stuffing.
    let tables = [write_pat(1, 0x1000), write_pmt(0x1000, &pmt)].concat();
    bytes.splice(..tables.len(), tables);
    let mut packets_of_sound = 0;
    for packet in bytes.chunks_exact_mut(PACKET_BYTES) {
        let pid = u16::from_be_bytes([packet[1] & 0x1F, packet[2]]);
        if pid == AUDIO && packet[4] > 7 {
            packet[5] |= 0x10;
            packet[PCR_OFFSET..PCR_OFFSET + 6]
                .copy_from_slice(&write_pcr(8_990_000 * 300 + packets_of_sound));
            packets_of_sound += 1;
        }
    }
    assert!(packets_of_sound > 0);
    let clock = ClockMapping { input: Ticks::new(9_000_000), output_90k: 90_000 };
    let scan = Scan::of(&bytes, true).expect("a PMT");
    let mut edits = edits(&scan, clock, &[Action::Copy], 0..i64::MAX);
    for edit in &mut edits {
        edit.actions = vec![Action::Copy];
    }
    let mut rewriter = Rewriter::new(&bytes, &scan, clock, i64::MAX, edits);
    let mut out = Vec::new();
    while rewriter.step(&mut writer(&bytes), &mut out) != Step::Done {}
    let carriers: Vec<_> = packets(&out).filter(|(_, packet)| packet.pcr().is_some()).collect();
    assert!(!carriers.is_empty() && carriers.iter().all(|(_, packet)| packet.pid() == VIDEO + 0x100));
    assert_eq!(pes_packets(&out, AUDIO + 0x100).len(), pes_packets(&bytes, AUDIO).len());
}
