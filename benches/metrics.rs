//! What it costs to count a request.

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Instant;

use divan::Bencher;
use restreamer::metrics::Metrics;
use restreamer::metrics::requests::RequestMetrics;

fn main() {
    divan::main();
}

/// A request from its begin to its end, by so many threads at once.
#[divan::bench(threads = [1, 2])]
fn request(bencher: Bencher) {
    let metrics = Metrics::new(&["list_streams"]).expect("metrics");
    let client = SocketAddr::from(([127, 0, 0, 1], 1234));
    bencher.bench(|| {
        let metrics = black_box(&metrics);
        let mut request =
            RequestMetrics::begin(metrics, "list_streams", client, "GET", "/files", Instant::now());
        request.ready(200);
        request.sent(300);
        request.end(None);
    });
}
