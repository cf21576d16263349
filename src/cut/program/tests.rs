use super::*;
use crate::mpegts::probe::AudioFormat;
use crate::mpegts::psi::Pmt;

const STEREO: AudioFormat = AudioFormat { sample_rate: 48_000, channels: 2, samples: 1024 };

fn identity((pid, codec): (u16, Codec)) -> Identity {
    Identity { pid, codec, stream_type: None }
}

fn program(streams: &[(u16, Codec, Option<AudioFormat>)]) -> Program {
    let listed = |(pid, ..): &(u16, Codec, Option<AudioFormat>)| ElementaryStream {
        pid: *pid,
        stream_type: 0,
        descriptors: Vec::new(),
    };
    let pmt = Pmt {
        program: 1,
        pcr_pid: 0x100,
        descriptors: Vec::new(),
        streams: streams.iter().map(listed).collect(),
    };
    let stream = |(pid, codec, audio): &(u16, Codec, Option<AudioFormat>)| Stream {
        pid: *pid,
        codec: *codec,
        codecs: None,
        video: None,
        mean_rate: None,
        audio: *audio,
    };
    Program { pmt_pid: 0x1000, pmt, programs: 1, streams: streams.iter().map(stream).collect() }
}

#[test]
fn a_stream_continues_the_one_with_its_pid_or_else_the_first_of_its_codec() {
    use Codec::{Aac, H264, MpegAudio, Opus};
    let outputs = [(0x100, H264), (0x101, Aac), (0x102, Aac), (0x103, Opus)].map(identity);
    for (inputs, expected) in [
        (&[(0x100, H264), (0x101, Aac), (0x102, Aac)][..], &[Some(0), Some(1), Some(2)][..]),
        (&[(0x100, H264), (0x102, Aac)], &[Some(0), Some(2)]),
        (&[(0x200, H264), (0x201, Aac), (0x202, Aac)], &[Some(0), Some(1), Some(2)]),
        (&[(0x201, Aac), (0x101, Aac)], &[Some(2), Some(1)]),
        (&[(0x101, MpegAudio), (0x102, Aac)], &[None, Some(2)]),
        (&[(0x200, Aac), (0x201, Aac), (0x202, Aac)], &[Some(1), Some(2), None]),
        (&[(0x100, Opus)], &[Some(3)]),
    ] {
        let inputs: Vec<_> = inputs.iter().copied().map(identity).collect();
        assert_eq!(assign(&outputs, &inputs), expected, "{inputs:x?}");
    }
}

#[test]
fn data_streams_are_told_apart_by_their_stream_type() {
    let data = |pid, stream_type| Identity { pid, codec: Codec::Data, stream_type: Some(stream_type) };
    let outputs = [data(0x102, 0x15), data(0x103, 0x86)];
    assert_eq!(assign(&outputs, &[data(0x102, 0x86), data(0x109, 0x06)]), [Some(1), None]);
}

#[test]
fn streams_that_are_new_get_a_pid_that_is_free() {
    let mut all = program(&[(0x100, Codec::H264, None), (0x101, Codec::Aac, None)]);
    let other = [(0x101, Codec::Opus, None), (0x1000, Codec::Dts, None), (0x300, Codec::Aac, Some(STEREO))];
    extend(&mut all, program(&other)).expect("room");
    let pids: Vec<_> = all.streams.iter().map(|stream| (stream.pid, stream.codec)).collect();
    let expected = [(0x100, Codec::H264), (0x101, Codec::Aac), (0x102, Codec::Opus), (0x103, Codec::Dts)];
    assert_eq!(pids, expected);
    assert_eq!(
        all.pmt.streams.iter().map(|listed| listed.pid).collect::<Vec<_>>(),
        expected.map(|row| row.0)
    );
    assert_eq!(all.streams[1].audio, Some(STEREO), "a format that was not known");
    let many: Vec<_> = (0..250).map(|index| (0x400 + index, Codec::S302m, None)).collect();
    assert!(extend(&mut all, program(&many)).is_err());
}

#[test]
fn sound_may_come_and_go_but_not_change_in_a_smart_cut() {
    use Codec::{Aac, MpegAudio};
    let mono = AudioFormat { channels: 1, ..STEREO };
    let first = program(&[(0x101, Aac, Some(STEREO))]);
    for (streams, expected) in [
        (&[][..], false),
        (&[(0x101, Aac, Some(STEREO))], false),
        (&[(0x101, Aac, Some(STEREO)), (0x102, MpegAudio, Some(STEREO))], false),
        (&[(0x201, Aac, None)], false),
        (&[(0x201, Aac, Some(mono))], true),
        (&[(0x101, MpegAudio, Some(STEREO))], true),
        (&[(0x201, MpegAudio, Some(STEREO))], true),
    ] {
        let found = [ExactType::Smart, ExactType::Full]
            .map(|exact_type| check_format(exact_type, &first, &program(streams)).is_err());
        assert_eq!(found, [expected, false], "{streams:x?}");
    }
}
