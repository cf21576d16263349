//! What it costs to count a request.

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Instant;

use divan::Bencher;
use restreamer::metrics::Metrics;
use restreamer::metrics::exchange::Meter;

fn main() {
    divan::main();
}

/// A request from its begin to its end, by so many threads at once.
#[divan::bench(threads = [1, 2])]
fn request(bencher: Bencher) {
    let metrics = Metrics::new().expect("metrics");
    let client = SocketAddr::from(([127, 0, 0, 1], 1234));
    bencher.bench(|| {
        let asked = ["GET", "/files"];
        let mut meter = Meter::begin(black_box(&metrics), "list_streams", client, asked, Instant::now());
        meter.ready(200);
        meter.sent(300);
        meter.end(None);
    });
}
