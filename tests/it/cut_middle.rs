//! Cuts of ranges with a bad segment between good ones: only its start is read before the cut, and what that shows is
//! refused before the first byte. And clients that leave meanwhile.

use std::io::Write;
use std::path::{Path, PathBuf};

use restreamer::mpegts::nal::nal_units;
use restreamer::mpegts::packet::{PACKET_BYTES, packets};
use tempfile::TempDir;

use crate::cut_references::rewrite_pictures;
use crate::cut_streams::rewrite;
use crate::cuts::{archive, cut};
use crate::footage::ffmpeg;
use crate::harness::{ask, connect, wait_until};
use crate::process::Served;

const VIDEO_PID: u16 = 0x100;
const SOUND_PID: u16 = 0x101;
/// A range of five segments, which begins and ends within segments.
const RANGE: &str = "start=2026-11-20T10:59:57.5&end=2026-11-20T11:00:06.5";
/// The segment of the second hour whose name begins so.
fn segment_at(base: &Path, start: &str) -> PathBuf {
    let mut files = std::fs::read_dir(base.join("s/v/2026-11-20T11")).expect("an hour").flatten();
    let found = files.find(|file| file.file_name().to_string_lossy().starts_with(start));
    found.expect("a segment").path()
}

/// Sets `transport_scrambling_control` of all video.
fn encrypt(path: &Path) {
    let mut bytes = std::fs::read(path).expect("a segment");
    let offsets: Vec<_> =
        packets(&bytes).filter(|(_, packet)| packet.pid() == VIDEO_PID).map(|(offset, _)| offset).collect();
    for offset in offsets {
        bytes[offset + 3] |= 0x80;
    }
    std::fs::write(path, bytes).expect("a segment");
}

/// Moves the first PES packet on a PID to the start of the segment, with a header that continues in a second packet: all but
/// `first_len` bytes of the first one are stuffing.
fn split_header(path: &Path, pid: u16, first_len: usize) {
    let mut bytes = std::fs::read(path).expect("a segment");
    let is_first = |packet: &[u8]| packet[1] & 0x40 != 0;
    let found = packets(&bytes).find(|(_, packet)| packet.pid() == pid && is_first(packet.bytes()));
    let (offset, packet) = found.expect("a PES packet");
    let (payload, header) = (packet.payload().to_vec(), [0x47, packet.bytes()[1], packet.bytes()[2]]);
    let mut new = Vec::new();
    for (start, flag, counter) in [(0, 0x40, 0), (first_len, 0, 1)] {
        let part = if start == 0 { &payload[..first_len] } else { &payload[first_len..] };
        let stuffing = PACKET_BYTES - 4 - part.len();
        new.extend([header[0], header[1] & !0x40 | flag, header[2], 0x30 | counter]);
        new.extend([u8::try_from(stuffing - 1).expect("short"), 0]);
        new.extend(vec![0xFF; stuffing - 2]);
        new.extend(part);
    }
    let mut video = packets(&bytes).filter(|(_, packet)| packet.pid() == VIDEO_PID);
    let start = video.next().map_or(0, |(start, _)| start);
    bytes.drain(offset..offset + PACKET_BYTES);
    bytes.splice(start..start, new);
    std::fs::write(path, bytes).expect("a segment");
}

/// Gives the pictures the sequence parameter set of pictures of another size.
fn resize(path: &Path, size: &str) {
    let input = format!("color=s={size}:r=25");
    let made = ffmpeg(&[
        "-v",
        "error",
        "-f",
        "lavfi",
        "-i",
        &input,
        "-frames:v",
        "1",
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-f",
        "h264",
        "-",
    ]);
    let other = nal_units(&made).find(|nal| nal[0] & 0x1F == 7).expect("a sequence parameter set");
    rewrite_pictures(path, |_, pes| {
        let with_other = |nal| if nal_type(nal) == 7 { other } else { nal };
        pes.payload =
            nal_units(&pes.payload).flat_map(|nal| [&[0, 0, 0, 1], with_other(nal)].concat()).collect();
    });
}

fn nal_type(nal: &[u8]) -> u8 {
    nal[0] & 0x1F
}

#[test]
fn a_bad_segment_between_good_ones_is_refused_before_the_first_byte() {
    type Ruin = fn(&Path);
    let both: &[&str] = &["smart", "full"];
    let rows: [(&str, &[&str], Ruin); 7] = [
        ("is encrypted", both, encrypt),
        ("has PES headers that go over two packets", both, |path| {
            // Frames of other streams are found whatever their headers are.
            rewrite(path, &[], |pmt| pmt.streams[1].stream_type = 0x06);
            split_header(path, SOUND_PID, 5);
        }),
        ("has pictures of 8256x64", both, |path| resize(path, "8256x64")),
        ("has pictures of another format", &["smart"], |path| resize(path, "640x360")),
        ("has pictures of another kind", both, |path| {
            rewrite(path, &[], |pmt| pmt.streams[0].stream_type = 0x24);
        }),
        ("has no pictures or sound", both, |path| {
            std::fs::write(path, vec![0xFF; 100_000]).expect("a segment");
        }),
        ("and exact cuts take at most 1000000", both, |path| {
            let file = std::fs::File::options().write(true).open(path).expect("a segment");
            file.set_len(1_000_001).expect("a longer segment");
        }),
    ];
    for (why, types, ruin) in rows {
        let base = archive();
        ruin(&segment_at(base.path(), "00:01"));
        let served = Served::over(base.path(), &["--max-segment-bytes", "1000000"]);
        for exact_type in types {
            let query = format!("{RANGE}&type={exact_type}");
            let answer = cut(&served, "GET", &query);
            assert_eq!((answer.status, answer.whole), (501, true), "{exact_type}: {why}");
            let text = answer.text();
            assert!(text.contains(why) && text.contains("`00:01."), "{exact_type}: {why}: {text}");
            assert_eq!(cut(&served, "HEAD", &query).status, 501, "{exact_type}: {why}");
        }
    }
}

#[test]
fn a_picture_whose_pes_header_goes_over_two_packets_is_kept() {
    let (all, lens) = (tempfile::tempdir().expect("a directory"), [1, 5, 9, 12, 17]);
    let served = Served::over(all.path(), &[]);
    let cuts: Vec<_> = lens.iter().flat_map(|len| [(len, "smart"), (len, "full")]).collect();
    let mut outputs = vec!["-v".to_owned(), "error".to_owned()];
    for (first_len, exact_type) in &cuts {
        let stream = format!("after-{first_len}");
        if !all.path().join(&stream).exists() {
            let base = archive();
            split_header(&segment_at(base.path(), "00:01"), VIDEO_PID, **first_len);
            std::fs::rename(base.path().join("s"), all.path().join(&stream)).expect("a stream");
        }
        let target = format!("/cut/{stream}/v.ts?{RANGE}&type={exact_type}");
        let answer = ask(served.address, "GET", &target, &[]);
        assert_eq!((answer.status, answer.whole), (200, true), "{exact_type} {first_len}");
        let path = all.path().join(format!("{first_len}-{exact_type}.ts"));
        std::fs::write(&path, &answer.body).expect("a cut");
        outputs.extend(["-i".to_owned(), path.display().to_string()]);
    }
    // One ffmpeg reads all cuts: its start takes longer than that.
    for number in 0..cuts.len() {
        let list = all.path().join(format!("{number}.packets")).display().to_string();
        let map = format!("{number}:v:0");
        outputs.extend(["-map", &map, "-c", "copy", "-copyinkf", "-f", "framecrc", &list].map(str::to_owned));
    }
    ffmpeg(&outputs.iter().map(String::as_str).collect::<Vec<_>>());
    for (number, (first_len, exact_type)) in cuts.iter().enumerate() {
        let list = std::fs::read_to_string(all.path().join(format!("{number}.packets"))).expect("a list");
        let pictures = list.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(pictures, 9 * 25, "{exact_type} {first_len}");
    }
}

/// An archive of an hour of partial segments that have no tables: a cut reads all of each, which takes minutes.
fn unreadable_hour() -> TempDir {
    let base = tempfile::tempdir().expect("a directory");
    let hour = base.path().join("s/v/2026-11-20T10");
    std::fs::create_dir_all(&hour).expect("an hour");
    let sparse = base.path().join("sparse");
    std::fs::File::create(&sparse).expect("a file").set_len(8 * 1024 * 1024).expect("a long file");
    for number in 0..6000 {
        let (minute, tenths) = (number / 100, number % 100 * 6);
        let name = format!("{minute:02}:{:02}.{}00000-0.600000-partial-x.ts", tenths / 10, tenths % 10);
        std::fs::hard_link(&sparse, hour.join(name)).expect("a segment");
    }
    base
}

#[test]
fn a_client_that_leaves_while_its_cut_is_prepared_frees_the_worker() {
    let base = unreadable_hour();
    let served = Served::over(base.path(), &["--cut-workers", "1"]);
    let is_busy =
        || ask(served.address, "GET", "/metrics", &[]).text().contains("pool_busy_workers{pool=\"cut\"} 1");
    for (method, exact_type) in [("GET", "smart"), ("HEAD", "full")] {
        let range = "start=2026-11-20T10&end=2026-11-20T11";
        let head = format!("{method} /cut/s/v.ts?{range}&type={exact_type} HTTP/1.1\r\nHost: x\r\n\r\n");
        let mut stream = connect(served.address);
        stream.write_all(head.as_bytes()).expect("a request");
        wait_until("a worker prepares the cut", is_busy);
        drop(stream);
        wait_until("the worker is free", || !is_busy());
    }
}
