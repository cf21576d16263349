//! Tables of heads and how they parse.

use super::*;

fn parsed(bytes: &[u8]) -> Parsed {
    parse(bytes, ([127, 0, 0, 1], 1).into())
}

/// The head in `text`, which must be valid.
fn valid(text: &str) -> RequestHead {
    match parsed(text.as_bytes()) {
        Parsed::Complete(head) => head,
        other => panic!("{text:?} gives {other:?}"),
    }
}

/// The status code with which a head is refused.
fn status(bytes: &[u8]) -> u16 {
    match parsed(bytes) {
        Parsed::Refused(refusal) => refusal.status,
        other => panic!("{:?} gives {other:?}", String::from_utf8_lossy(bytes)),
    }
}

#[test]
fn malformed_heads_are_refused() {
    let rows: [(&[u8], u16); 43] = [
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET / HTTP/9.9\r\n", 505),
        (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505),
        (b"GET / HTTP/0.9\r\n\r\n", 505),
        (b"GET / FOO/1.1\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"GET\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01", 400),
        (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"G@T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n folded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: foo\r\n\r\n", 417),
        (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET files HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET ftp://a/files HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET http:///files HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET http:// HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /#x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ];
    for (bytes, refused) in rows {
        assert_eq!(status(bytes), refused, "{:?}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn heads_have_limits() {
    let headers = |count: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(count - 1));
    assert_eq!(valid(&headers(100)).request.headers.len(), 100);
    assert_eq!(status(headers(101).as_bytes()), 431);
    let sized = |len: usize| {
        let empty = "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n".len();
        format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(len - empty))
    };
    assert_eq!(valid(&sized(MAX_HEAD_BYTES)).len, MAX_HEAD_BYTES);
    assert_eq!(status(sized(MAX_HEAD_BYTES + 1).as_bytes()), 431);
    assert!(matches!(parsed(&sized(MAX_HEAD_BYTES + 1).as_bytes()[..MAX_HEAD_BYTES]), Parsed::Partial));
    assert_eq!(status(&sized(MAX_HEAD_BYTES + 100).as_bytes()[..=MAX_HEAD_BYTES]), 431);
    assert_eq!(status(&vec![b'a'; MAX_HEAD_BYTES + 1]), 431);
    assert!(matches!(parsed(b""), Parsed::Partial));
    assert!(matches!(parsed(b"GET / HTTP/1.1\r\nHost: a\r\n"), Parsed::Partial));
}

#[test]
fn targets_are_reduced_to_path_and_query() {
    let rows = [
        ("GET /files?x=y HTTP/1.1", "/files?x=y"),
        ("GET http://a/files?x=y HTTP/1.1", "/files?x=y"),
        ("GET HTTPS://a:80/files HTTP/1.1", "/files"),
        ("GET http://a HTTP/1.1", "/"),
        ("GET http://a?x HTTP/1.1", "/?x"),
        ("GET //x HTTP/1.1", "//x"),
        ("GET /a:b@c HTTP/1.1", "/a:b@c"),
        ("OPTIONS * HTTP/1.1", "*"),
    ];
    for (line, target) in rows {
        assert_eq!(valid(&format!("{line}\r\nHost: a\r\n\r\n")).request.target, target, "{line}");
    }
}

#[test]
fn the_client_decides_whether_a_connection_persists() {
    let rows = [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: foo, Close\r\n", false),
        ("1.1", "Connection: keep-alive\r\n", true),
        ("1.1", "Connection: keep-alive\r\nConnection: close\r\n", false),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
    ];
    for (version, header, keep_alive) in rows {
        let head = valid(&format!("GET / HTTP/{version}\r\nHost: a\r\n{header}\r\n"));
        assert_eq!(head.keep_alive, keep_alive, "{version} {header:?}");
    }
}

#[test]
fn body_lengths_and_expectations_are_read() {
    let head =
        valid("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 65536\r\nExpect: 100-Continue\r\n\r\nbody");
    assert_eq!((head.body, head.expects_continue), (BodyFraming::Length(65536), true));
    let head = valid("POST / HTTP/1.0\r\nContent-Length: 0005\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!((head.body, head.expects_continue), (BodyFraming::Length(5), false));
    for (header, body) in [
        ("Content-Length: 99999999999999999999999999", BodyFraming::Length(u64::MAX)),
        ("Transfer-Encoding: chunked", BodyFraming::Chunked),
        ("Transfer-Encoding: CHUNKED", BodyFraming::Chunked),
        ("Accept: */*", BodyFraming::Length(0)),
    ] {
        assert_eq!(valid(&format!("POST / HTTP/1.1\r\nHost: a\r\n{header}\r\n\r\n")).body, body);
    }
}

#[test]
fn bytes_behind_a_head_are_not_consumed() {
    let first = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
    let head = valid(&format!("{first}GET /b HTTP/1.1\r\n"));
    assert_eq!((head.request.target.as_str(), head.len), ("/a", first.len()));
    // Some clients send an empty line after the body of the request before (RFC 9112, section 2.2).
    assert_eq!(valid(&format!("\r\n{first}")).len, first.len() + 2);
}

#[test]
fn headers_that_are_not_visible_ascii_are_left_out() {
    let head = valid("GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: m\u{fc}de\r\nRange: bytes=0-1\r\n\r\n");
    assert_eq!(head.request.header("user-agent"), None);
    assert_eq!(head.request.header("Range"), Some("bytes=0-1"));
}

/// Pseudo-random numbers that are the same in every run.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % bound as u64).expect("a small number")
    }

    /// A request head with some bytes changed, moved, doubled or removed.
    fn mutated(&mut self) -> Vec<u8> {
        const HEADS: [&str; 6] = [
            "GET /files?a=b%20c&start=2026-11-20 HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip;q=0.5, *\r\n\r\n",
            "POST http://a:80/x HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\nExpect: 100-continue\r\n\r\n",
            "OPTIONS * HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
            "GET /segments/s/a.ts HTTP/1.1\r\nHost: a\r\nRange: bytes=0-99\r\nIf-Range: \"a\"\r\n\r\n",
            "\r\n\r\nHEAD /cut/s/v.ts HTTP/1.1\nHost: a\nIf-None-Match: W/\"a\", \"b\n\n",
        ];
        const SPECIAL: &[u8] = b"\r\n\0 \t:/?#%*,;=\"HTTP0129\x7f\x80\xff";
        let mut bytes = HEADS[self.below(HEADS.len())].as_bytes().to_vec();
        for _ in 0..self.below(6) {
            let at = self.below(bytes.len().max(1)).min(bytes.len());
            let to = (at + self.below(20)).min(bytes.len());
            match self.below(5) {
                0 => drop(bytes.drain(at..to)),
                1 => bytes.insert(at, SPECIAL[self.below(SPECIAL.len())]),
                2 => bytes[at..to].fill(SPECIAL[self.below(SPECIAL.len())]),
                3 => bytes.extend_from_within(at..to),
                _ => bytes[at..to].iter_mut().for_each(|byte| *byte ^= 1 << self.below(8)),
            }
        }
        bytes
    }

    fn random(&mut self) -> Vec<u8> {
        (0..self.below(200)).map(|_| u8::try_from(self.below(256)).expect("a byte")).collect()
    }
}

#[test]
fn no_input_makes_the_parser_panic_or_read_past_the_head() {
    let mut seeded = Seeded(20_261_120);
    let mut outcomes = [0; 3];
    for number in 0..100_000 {
        let bytes = if number % 4 == 0 { seeded.random() } else { seeded.mutated() };
        match parsed(&bytes) {
            Parsed::Partial => outcomes[0] += 1,
            Parsed::Refused(refusal) => {
                outcomes[1] += 1;
                assert!((400..=505).contains(&refusal.status), "{refusal:?} to {bytes:?}");
            }
            Parsed::Complete(head) => {
                outcomes[2] += 1;
                assert!(head.len <= bytes.len(), "{head:?} of {bytes:?}");
                // The result does not depend on bytes behind the head, and the head is incomplete without its last byte.
                assert!(matches!(parsed(&bytes[..head.len - 1]), Parsed::Partial), "{bytes:?}");
                let more = [&bytes[..head.len], b"GET /other HTTP/1.1\r\n"].concat();
                let Parsed::Complete(again) = parsed(&more) else { panic!("{bytes:?}") };
                assert_eq!((again.len, again.request.target), (head.len, head.request.target), "{bytes:?}");
            }
        }
    }
    assert!(outcomes.iter().all(|count| *count > 1000), "too much of one kind: {outcomes:?}");
}
