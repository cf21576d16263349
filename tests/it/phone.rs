//! An iPhone's requests for a movie, replayed: two bytes to learn whether the server knows ranges, then the file in ranges
//! on a few connections, some of which it closes before their end.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::harness::{Answer, Site, ask, connect, exchange, read_one, received};

/// The last byte of a range that iOS asks for where it does not know the length.
const FAR: u64 = 1_073_741_822;

/// A phone that plays a movie.
struct Phone<'a> {
    address: SocketAddr,
    target: &'a str,
    /// What it accepts differs between Safari and apps.
    encoding: &'a str,
    session: &'a str,
}

impl Phone<'_> {
    /// A request with the headers of `AVFoundation`.
    fn request(&self, range: &str, if_range: Option<&str>) -> String {
        let Self { address, target, encoding, session } = self;
        let if_range = if_range.map_or_else(String::new, |tag| format!("If-Range: {tag}\r\n"));
        format!(
            "GET {target} HTTP/1.1\r\nHost: {address}\r\nX-Playback-Session-Id: {session}\r\n\
             Range: bytes={range}\r\n{if_range}Accept: */*\r\n\
             User-Agent: AppleCoreMedia/1.0.0.22C152 (iPhone; U; CPU OS 18_2 like Mac OS X; en_us)\r\n\
             Accept-Language: en-US,en;q=0.9\r\nAccept-Encoding: {encoding}\r\nConnection: keep-alive\r\n\r\n"
        )
    }

    /// Sends a request on a connection that stays open.
    fn get(&self, stream: &mut TcpStream, range: &str, if_range: Option<&str>) -> Answer {
        stream.write_all(self.request(range, if_range).as_bytes()).expect("send a request");
        read_one(stream)
    }

    /// Reads the beginning of a range, and closes the connection.
    fn begin(&self, range: &str, bytes: usize) {
        let mut stream = connect(self.address);
        stream.write_all(self.request(range, None).as_bytes()).expect("send a request");
        received(stream.read_exact(&mut vec![0; bytes]), "the beginning of a range");
    }
}

/// Checks a response to a range of a movie.
fn check_part(answer: &Answer, movie: &Answer, first: usize, last: usize) {
    let length = movie.body.len();
    assert_eq!(answer.status, 206, "{first}-{last}: {:?}", answer.headers);
    assert_eq!(answer.header("content-range"), format!("bytes {first}-{last}/{length}"));
    assert_eq!(answer.header("content-length"), (last - first + 1).to_string());
    for name in ["content-type", "etag"] {
        assert_eq!(answer.header(name), movie.header(name), "{first}-{last}: {name}");
    }
    assert_eq!(answer.headers.get("content-encoding"), None, "{first}-{last}");
    assert!(answer.body == movie.body[first..=last], "{first}-{last} has other bytes");
}

/// Replays a phone's requests for a movie, and checks each response against the whole movie.
pub(crate) fn check_phone(address: SocketAddr, target: &str) {
    let movie = ask(address, "GET", target, &[]);
    assert_eq!((movie.status, movie.whole, movie.header("content-type")), (200, true, "video/mp4"));
    assert_eq!(movie.header("accept-ranges"), "bytes");
    let tag = movie.header("etag");
    assert!(tag.starts_with('"') && tag.len() > 2, "a strong ETag: {tag}");
    let length = movie.body.len();
    let last = length - 1;
    let rows = [
        ("identity", "7D5E1A10-3B39-4C0B-9E2F-0C8A5D0B4A11"),
        ("gzip", "C383BAE7-086D-40C2-8439-3F687785CB58"),
    ];
    for (encoding, session) in rows {
        let phone = Phone { address, target, encoding, session };
        let mut first = connect(address);
        check_part(&phone.get(&mut first, "0-1", None), &movie, 0, 1);
        check_part(&phone.get(&mut first, &format!("0-{last}"), None), &movie, 0, last);
        check_part(&phone.get(&mut first, &format!("0-{FAR}"), Some(tag)), &movie, 0, last);

        // It closes a connection when it has the tables, and goes on where it stopped.
        phone.begin(&format!("0-{last}"), length / 3);
        let mut second = connect(address);
        for (range, from, to) in [
            (format!("{}-", length / 3), length / 3, last),
            (format!("{}-{}", length / 2, length / 2 + 65_535), length / 2, (length / 2 + 65_535).min(last)),
            (format!("{}-{last}", length - 1000), length - 1000, last),
            ("-500".to_owned(), length - 500, last),
            (format!("-{FAR}"), 0, last),
            (format!("{last}-{last}"), last, last),
            ("0-".to_owned(), 0, last),
        ] {
            check_part(&phone.get(&mut second, &range, Some(tag)), &movie, from, to);
            // The other connection is still open, and asks without a condition.
            check_part(&phone.get(&mut first, &range, None), &movie, from, to);
        }
        let other = phone.get(&mut second, "0-1", Some("\"another\""));
        assert_eq!((other.status, other.header("etag")), (200, tag), "the movie has another ETag");
        assert!(other.body == movie.body, "a movie with another ETag comes whole");
        let behind = phone.get(&mut second, &format!("{length}-"), None);
        assert_eq!((behind.status, behind.header("content-range")), (416, &*format!("bytes */{length}")));
    }
    check_head(address, target, &movie);
}

/// Messengers ask by HEAD how large a movie is.
fn check_head(address: SocketAddr, target: &str, movie: &Answer) {
    let request = format!("HEAD {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let head = exchange(address, request.as_bytes(), &["HEAD"]).remove(0);
    assert_eq!((head.status, head.header("content-length")), (200, &*movie.body.len().to_string()));
    for name in ["content-type", "etag", "accept-ranges"] {
        assert_eq!(head.header(name), movie.header(name), "{name}");
    }
}

#[test]
fn a_phone_reads_a_movie_in_ranges() {
    let site = Site::at("2026-11-20T11:30:00");
    // No gzip makes these bytes shorter.
    let mut state: u32 = 1;
    let bytes: Vec<u8> = (0..300_000)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        })
        .collect();
    site.write("s/movie.mp4", &bytes);
    check_phone(site.address, "/segments/s/movie.mp4");
}
