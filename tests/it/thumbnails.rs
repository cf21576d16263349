//! `/thumbnail`: a frame below a template that is sent or that the server has, and what is refused.

use std::fs;
use std::io::{Cursor, Write};
use std::net::SocketAddr;
use std::time::Duration;

use restreamer::server::Limits;

use crate::cuts::{archive, at_rest, holdings};
use crate::harness::{Answer, Site, ask, connect, read_one, wait_until};
use crate::movie_requests::metric;
use crate::process::Served;

const TIME: &str = "timestamp=2026-11-20T10:59:58.5";
/// The size of templates here.
const SIZE: [u32; 2] = [400, 300];

/// A template: opaque red in the left tenth, half transparent green in the right tenth, transparent between.
fn template() -> Vec<u8> {
    let [width, height] = SIZE;
    let pixel = |x: u32| match x {
        0..40 => [255, 0, 0, 255],
        360.. => [0, 255, 0, 128],
        _ => [9, 9, 9, 0],
    };
    let rgba: Vec<u8> = (0..height).flat_map(|_| (0..width).flat_map(pixel)).collect();
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgba);
    encoder.write_header().expect("a header").write_image_data(&rgba).expect("pixels");
    bytes
}

/// The pixels of a PNG as red, green, blue and alpha, by their place.
fn pixels(png: &[u8]) -> impl Fn(u32, u32) -> [u8; 4] {
    let mut decoder = png::Decoder::new(Cursor::new(png));
    decoder.set_transformations(png::Transformations::ALPHA);
    let mut reader = decoder.read_info().expect("a PNG");
    let mut rgba = vec![0; reader.output_buffer_size().expect("a size")];
    let width = reader.next_frame(&mut rgba).expect("pixels").width;
    move |x, y| {
        let start = 4 * (y * width + x) as usize;
        rgba[start..start + 4].try_into().expect("a pixel")
    }
}

fn request(method: &str, query: &str, headers: &str) -> Vec<u8> {
    format!("{method} /thumbnail/s/v.png?{query} HTTP/1.1\r\nHost: x\r\n{headers}\r\n").into_bytes()
}

/// The answer to a POST of a body in one piece, or in chunks.
fn post(address: SocketAddr, query: &str, body: &[u8], chunks: Option<usize>) -> Answer {
    let mut stream = connect(address);
    let (framing, body) = match chunks {
        None => (format!("Content-Length: {}\r\n", body.len()), body.to_vec()),
        Some(size) => {
            let chunks = body.chunks(size).flat_map(|chunk| {
                [format!("{:x}\r\n", chunk.len()).into_bytes(), chunk.to_vec(), b"\r\n".to_vec()].concat()
            });
            ("Transfer-Encoding: chunked\r\n".to_owned(), chunks.chain(*b"0\r\n\r\n").collect())
        }
    };
    stream.write_all(&request("POST", query, &framing)).expect("a head");
    stream.write_all(&body).expect("a body");
    read_one(&mut stream)
}

#[test]
fn a_thumbnail_is_the_frame_below_the_template() {
    let base = archive();
    let (served, held) = at_rest(base.path(), &[]);
    let frame = ask(served.address, "GET", &format!("/frame/s/v.png?{TIME}"), &[]);
    let of_frame = pixels(&frame.body);
    let (red, green) = ([255, 0, 0, 255], [0, 255, 0, 128]);

    // Of its own size, from x = 20 to 340 and from y = 50 to 230.
    let placed = format!("{TIME}&crop=0,0,320,180&location=20,50,340,230");
    let answer = post(served.address, &placed, &template(), None);
    assert_eq!((answer.status, answer.header("content-type")), (200, "image/png"), "{answer:?}");
    assert_eq!((answer.header("cache-control"), answer.header("etag")), ("no-store", ""));
    assert_eq!(answer.header("x-frame-time"), frame.header("x-frame-time"));
    let of_thumbnail = pixels(&answer.body);
    for (x, y) in (0..400).flat_map(|x| (0..300).map(move |y| (x, y))) {
        let expected = match (x, y) {
            (0..40, _) => red,
            (360.., _) => green,
            (40..340, 50..230) => of_frame(x - 20, y - 50),
            _ => [9, 9, 9, 0],
        };
        assert_eq!(of_thumbnail(x, y), expected, "{x},{y}");
    }
    for size in [1000, 7] {
        let chunked = post(served.address, &placed, &template(), Some(size));
        assert!(chunked.body == answer.body, "in chunks of {size}: {}", chunked.status);
    }

    // A black part, scaled up to the whole template.
    let answer =
        post(served.address, &format!("{TIME}&crop=300,142,320,178&location=0,0,400,300"), &template(), None);
    let of_thumbnail = pixels(&answer.body);
    for (x, y, expected) in
        [(39, 0, red), (40, 0, [0, 0, 0, 255]), (359, 299, [0, 0, 0, 255]), (399, 9, [0, 128, 0, 255])]
    {
        let found = of_thumbnail(x, y);
        let is_near = found.iter().zip(expected).all(|(found, expected)| found.abs_diff(expected) <= 1);
        assert!(is_near, "{x},{y}: {found:?}, not {expected:?}");
    }
    wait_until("nothing is left", || holdings(&served.running) == held);
}

#[test]
fn a_template_of_the_server_is_taken_by_its_name() {
    let base = archive();
    let templates = tempfile::tempdir().expect("a directory");
    let write = |name: &str, bytes: &[u8]| fs::write(templates.path().join(name), bytes).expect("a file");
    let placement = br#"{"crop":[0,0,320,180],"location":[20,50,340,230]}"#;
    for name in ["main", "Größe (2)", "bad"] {
        write(&format!("{name}.png"), &template());
    }
    write("gif.png", b"GIF89a");
    write("main.json", placement);
    write("gif.json", placement);
    write("bad.json", br#"{"crop":[0,0,320],"location":[20,50,340,230]}"#);
    write("only.json", placement);
    write(".hidden.png", &template());
    let served = Served::over(base.path(), &["--templates-dir", &templates.path().to_string_lossy()]);
    let get = |query: &str, headers: &[(&str, &str)]| {
        ask(served.address, "GET", &format!("/thumbnail/s/v.png?{TIME}&{query}"), headers)
    };
    let placed = "crop=0,0,320,180&location=20,50,340,230";
    let sent = post(served.address, &format!("{TIME}&{placed}"), &template(), None);
    let named = get("template=main", &[]);
    assert!(named.status == 200 && named.body == sent.body, "{named:?}");
    for query in [&format!("template=Gr%C3%B6%C3%9Fe+(2)&{placed}"), "template=main&crop=0,0,320,180"] {
        let again = get(query, &[]);
        assert_eq!((again.header("etag"), again.body == named.body), (named.header("etag"), true), "{query}");
    }
    assert_eq!(metric(served.address, "picture_cache_misses_total"), 1);
    let unchanged = get("template=main", &[("If-None-Match", named.header("etag"))]);
    assert_eq!((unchanged.status, unchanged.header("x-frame-time")), (304, named.header("x-frame-time")));
    assert_ne!(get("template=main&crop=0,0,160,90", &[]).header("etag"), named.header("etag"));
    write("main.json", br#"{"crop":[0,0,320,180],"location":[0,0,320,180]}"#);
    assert_ne!(get("template=main", &[]).header("etag"), named.header("etag"));

    let rows = [
        ("", 400, "missing template: expected the name of a template"),
        ("template=", 400, "bad template ``"),
        ("template=..", 400, "bad template `..`"),
        ("template=../main", 400, "bad template `../main`"),
        ("template=.hidden", 400, "bad template `.hidden`"),
        ("template=a%00", 400, "bad template"),
        ("template=none", 404, "Template none not found"),
        ("template=only", 404, "Template only not found"),
        ("template=bad", 501, "the template `bad` does not say where the frame goes"),
        ("template=gif", 400, "the template must be a PNG"),
    ];
    for (query, status, text) in rows {
        let answer = get(query, &[]);
        assert!(answer.status == status && answer.text().starts_with(text), "{query}: {answer:?}");
    }
    let without = Served::over(base.path(), &[]);
    let answer = ask(without.address, "GET", &format!("/thumbnail/s/v.png?{TIME}&template=main"), &[]);
    assert!(answer.status == 501 && answer.text().contains("--templates-dir"), "{answer:?}");
}

#[test]
fn what_is_no_template_or_does_not_fit_is_refused() {
    let base = archive();
    let served = Served::over(base.path(), &["--ffmpeg", "/nowhere/ffmpeg"]);
    let good = template();
    let bomb = [&good[..16], &65_535_u32.to_be_bytes().repeat(2), &good[24..]].concat();
    let fits = "crop=0,0,320,180&location=0,0,400,300";
    let rows: [(&str, &[u8], u16, &str); 11] = [
        (&format!("{TIME}&location=0,0,1,1"), &good, 400, "missing crop: expected the left, top, right"),
        (&format!("{TIME}&crop=0,0,1,1"), &good, 400, "missing location: expected the left, top, right"),
        (&format!("{TIME}&crop=0,0,0,1&location=0,0,1,1"), &good, 400, "bad crop `0,0,0,1`: expected"),
        (&format!("{TIME}&crop=0,0,1,1&location=0,-1,1,1"), &good, 400, "bad location `0,-1,1,1`: expected"),
        (fits, &good, 400, "missing timestamp"),
        (&format!("{TIME}&{fits}"), b"", 400, "the template must be a PNG"),
        (&format!("{TIME}&{fits}"), b"\xff\xd8\xff\xe0JFIF", 400, "the template must be a PNG"),
        (&format!("{TIME}&{fits}"), &bomb, 400, "the template has 65535x65535 pixels; as many as 4096x2160"),
        (
            &format!("{TIME}&crop=0,0,9,9&location=0,0,401,300"),
            &good,
            400,
            "bad location `0,0,401,300`: the template has 400x300",
        ),
        (&format!("timestamp=2026-11-20T09&{fits}"), &good, 406, "We have no content available"),
        (&format!("{TIME}&{fits}"), &good, 503, "this needs ffmpeg"),
    ];
    for (query, body, status, text) in rows {
        let answer = post(served.address, query, body, None);
        assert!(answer.status == status && answer.text().starts_with(text), "{query}: {answer:?}");
    }
    let served = Served::over(base.path(), &[]);
    for (crop, body, text) in [
        ("0,0,321,180", &good[..], "bad crop `0,0,321,180`: the frame has 320x180 pixels"),
        ("0,0,320,180", &good[..good.len() / 2], "the template must be a PNG: "),
    ] {
        let answer = post(served.address, &format!("{TIME}&crop={crop}&location=0,0,400,300"), body, None);
        assert!(answer.status == 400 && answer.text().starts_with(text), "{crop}: {answer:?}");
    }
}

#[test]
fn bodies_have_limits_of_length_number_and_time() {
    let site = Site::with(
        "2026-11-22T00:00:00",
        Limits { head_timeout: Duration::from_secs(2), ..Limits::default() },
    );
    let query = format!("{TIME}&crop=0,0,1,1&location=0,0,1,1");
    let begin = |method: &str, headers: &str, body: &[u8]| {
        let mut stream = connect(site.address);
        stream.write_all(&[&request(method, &query, headers)[..], body].concat()).expect("a request");
        stream
    };
    let options = ask(site.address, "OPTIONS", "/thumbnail/s/v.png", &[]);
    assert_eq!((options.status, options.header("allow")), (200, "GET, HEAD, POST, OPTIONS"));
    assert!(options.header("access-control-allow-methods").contains("POST"));
    let rows = [
        // Refused before it is asked for.
        (
            "POST",
            "Content-Length: 8388609\r\nExpect: 100-continue\r\n",
            413,
            "the body may have 8192 KiB at most here",
        ),
        (
            "POST",
            "Transfer-Encoding: chunked\r\n\r\n800001\r\n",
            413,
            "the body may have 8192 KiB at most here",
        ),
        ("POST", "Transfer-Encoding: chunked\r\n\r\nx\r\n", 400, "the chunks of the body are malformed"),
        (
            "GET",
            "Content-Length: 65537\r\n",
            413,
            "a body may have 64 KiB at most, and nothing is done with it",
        ),
        (
            "PUT",
            "Content-Length: 1\r\n\r\nx",
            405,
            "these methods are answered here: GET, HEAD, POST, OPTIONS",
        ),
    ];
    for (method, headers, status, text) in rows {
        let answer = read_one(&mut begin(method, headers, b""));
        assert!(answer.status == status && answer.text().starts_with(text), "{headers:?}: {answer:?}");
    }
    // The longest body, of which the client sees the answer though it is refused for what it is.
    let longest = post(site.address, &query, &vec![b'x'; 8 << 20], None);
    assert!(longest.status == 400 && longest.text().starts_with("the template must be a PNG"), "{longest:?}");

    let mut slow: Vec<_> = (0..4).map(|_| begin("POST", "Content-Length: 5\r\n", b"x")).collect();
    let fifth = || post(site.address, &query, b"x", None);
    wait_until("four bodies are being received", || fifth().status == 503);
    let answer = fifth();
    assert!(
        answer.header("retry-after") == "1" && answer.text().contains("as many bodies as it can"),
        "{answer:?}"
    );
    assert_eq!(site.get("/files").status, 200);
    for stream in &mut slow {
        assert_eq!(read_one(stream).status, 408);
    }
    assert_eq!(fifth().status, 400);
}
