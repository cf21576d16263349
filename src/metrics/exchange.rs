//! What is counted of every request, whatever becomes of it.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry, Result};

use super::histogram::{Histogram, family};
use super::live::{Flight, Flights};
use super::variants::Variant;
use super::{COUNTED, Metrics, register};

/// The upper bounds of latencies, in microseconds.
const LATENCY_BOUNDS_US: [u64; 14] = [
    1000,
    5000,
    10_000,
    50_000,
    100_000,
    500_000,
    1_000_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    120_000_000,
    300_000_000,
    600_000_000,
];
/// The upper bounds of sizes, in bytes: the powers of 4.
const SIZE_BOUNDS_BYTES: [u64; 16] = {
    let mut bounds = [1; 16];
    let mut power = 1;
    while power < bounds.len() {
        bounds[power] = 4 * bounds[power - 1];
        power += 1;
    }
    bounds
};
/// The methods that are told apart; all others are one.
const METHODS: [&str; 5] = ["GET", "HEAD", "OPTIONS", "POST", "other"];
/// The statuses that are given, in their order; all others are one.
const STATUSES: [u16; 20] =
    [200, 206, 304, 400, 403, 404, 405, 406, 408, 411, 413, 414, 416, 417, 431, 500, 501, 502, 503, 505];

/// What a request asks for, by the names that dashboards know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// The names of the streams.
    ListStreams,
    /// The names of a stream's variants.
    ListVariants,
    /// The hours of a variant.
    ListHours,
    /// The names of the files of an hour.
    ListSegments,
    /// A file.
    Segments,
    /// The playlist of a stream's variants.
    GenerateMasterPlaylist,
    /// The playlist of a variant's segments.
    GenerateMediaPlaylist,
    /// An exact range as one file.
    Cut,
    /// This page.
    Metrics,
    /// What the server can be asked.
    OpenApi,
    /// How the server is.
    Health,
    /// What the server is.
    Home,
    /// Nothing that there is, or no request at all.
    Unknown,
}

impl Endpoint {
    const ALL: [Self; 13] = [
        Self::ListStreams,
        Self::ListVariants,
        Self::ListHours,
        Self::ListSegments,
        Self::Segments,
        Self::GenerateMasterPlaylist,
        Self::GenerateMediaPlaylist,
        Self::Cut,
        Self::Metrics,
        Self::OpenApi,
        Self::Health,
        Self::Home,
        Self::Unknown,
    ];

    /// The value of the label.
    pub fn name(self) -> &'static str {
        match self {
            Self::ListStreams => "list_streams",
            Self::ListVariants => "list_variants",
            Self::ListHours => "list_hours",
            Self::ListSegments => "list_segments",
            Self::Segments => "segments",
            Self::GenerateMasterPlaylist => "generate_master_playlist",
            Self::GenerateMediaPlaylist => "generate_media_playlist",
            Self::Cut => "cut",
            Self::Metrics => "metrics",
            Self::OpenApi => "openapi",
            Self::Health => "health",
            Self::Home => "home",
            Self::Unknown => "unknown",
        }
    }
}

/// The counters of all requests.
#[derive(Debug)]
pub(crate) struct Exchanges {
    aborted: IntCounterVec,
    /// By endpoint, then by method, then by status.
    answers: Vec<[[OnceLock<Answers>; STATUSES.len() + 1]; METHODS.len()]>,
}

/// What is counted of one kind of answer.
#[derive(Debug)]
struct Answers {
    latency_us: Histogram,
    size_bytes: Histogram,
}

impl Exchanges {
    pub(super) fn new(registry: &Registry) -> Result<Self> {
        let aborted = Opts::new("aborted_responses_total", "Responses that ended before their end.");
        let none = |_| [const { OnceLock::new() }; STATUSES.len() + 1];
        Ok(Self {
            aborted: register(registry, IntCounterVec::new(aborted, &["endpoint", "reason"]))?,
            answers: Endpoint::ALL.iter().map(|_| METHODS.map(none)).collect(),
        })
    }

    /// The counters of one kind of answer.
    fn answers(&self, endpoint: Endpoint, method: usize, status: u16) -> &Answers {
        let index = STATUSES.binary_search(&status).unwrap_or(STATUSES.len());
        self.answers[endpoint as usize][method][index].get_or_init(|| Answers {
            latency_us: Histogram::new(&LATENCY_BOUNDS_US),
            size_bytes: Histogram::new(&SIZE_BOUNDS_BYTES),
        })
    }

    /// What was counted, but for what ended before its end; and what is under way.
    pub(super) fn gather(&self, flights: &Flights) -> Result<Vec<MetricFamily>> {
        let fresh = Registry::new();
        let concurrency = Opts::new("http_request_concurrency_all", "Requests that are being answered.");
        let concurrency = register(&fresh, IntGaugeVec::new(concurrency, &["endpoint", "method"]))?;
        let of = |endpoint: Endpoint, method: usize| {
            concurrency.with_label_values(&[endpoint.name(), METHODS[method]])
        };
        for endpoint in Endpoint::ALL {
            (0..METHODS.len()).for_each(|method| of(endpoint, method).set(0));
        }
        for flight in flights.all() {
            of(flight.kind.0, flight.kind.1).inc();
        }
        let help = "Seconds from a request's last byte until the response to it is ready.";
        let latencies = self.counted().map(|(labels, answers)| (labels, &answers.latency_us));
        let latencies = family(("http_request_latency_all", help, 1e6), latencies);
        let help = "Bytes of body sent of a response.";
        let sizes = self.counted().map(|(labels, answers)| (labels, &answers.size_bytes));
        let sizes = family(("http_response_size_all", help, 1.0), sizes);
        Ok(fresh.gather().into_iter().chain(latencies).chain(sizes).collect())
    }

    /// The counters of all kinds of answers that there were, with their labels.
    fn counted(&self) -> impl Iterator<Item = (Vec<(&'static str, String)>, &Answers)> {
        let methods = Endpoint::ALL.into_iter().zip(&self.answers).flat_map(|(endpoint, methods)| {
            METHODS.into_iter().zip(methods).map(move |(method, answers)| (endpoint, method, answers))
        });
        methods.flat_map(|(endpoint, method, answers)| {
            answers.iter().enumerate().filter_map(move |(index, answers)| {
                let status = STATUSES.get(index).map_or_else(|| "other".to_owned(), u16::to_string);
                let labels = [
                    ("endpoint", endpoint.name().to_owned()),
                    ("method", method.to_owned()),
                    ("status", status),
                ];
                Some((labels.into(), answers.get()?))
            })
        })
    }
}

/// What a request is counted by from when somebody begins to answer it until that is over, in whichever way.
#[derive(Debug)]
pub struct Meter {
    metrics: Arc<Metrics>,
    variant: Option<Arc<Variant>>,
    /// What there is to see of it meanwhile.
    pub flight: Arc<Flight>,
    status: u16,
    ready_after: Duration,
    ended: bool,
}

impl Meter {
    /// Begins to count a request of `client` for a method and a target, which was there at `begun`.
    pub fn begin(
        metrics: &Arc<Metrics>,
        endpoint: Endpoint,
        client: SocketAddr,
        asked: (String, String),
        begun: Instant,
    ) -> Self {
        let method = METHODS.iter().position(|known| *known == asked.0).unwrap_or(METHODS.len() - 1);
        Self {
            flight: metrics.flights.enter((endpoint, method), client, asked, begun),
            metrics: Arc::clone(metrics),
            variant: None,
            status: 0,
            ready_after: Duration::ZERO,
            ended: false,
        }
    }

    /// Says which variant the request is about, if it is about one.
    pub fn about(&mut self, variant: Option<Arc<Variant>>) {
        self.variant = variant;
    }

    /// The response is ready to be sent, or another one in its place.
    pub fn ready(&mut self, status: u16) {
        self.status = status;
        self.ready_after = self.flight.begun.elapsed();
    }

    /// The status, once that is known; else 0.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Bytes of the body were sent.
    pub fn sent(&self, bytes: u64) {
        self.flight.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// It is over, for the reason `aborted` where that was before its end.
    pub fn end(&mut self, aborted: Option<&str>) {
        if std::mem::replace(&mut self.ended, true) || !COUNTED {
            return;
        }
        let Self { metrics, variant, flight, status, .. } = self;
        let (endpoint, method) = flight.kind;
        if let Some(reason) = aborted {
            metrics.exchanges.aborted.with_label_values(&[endpoint.name(), reason]).inc();
        }
        metrics.flights.leave(flight);
        if *status == 0 {
            return;
        }
        let bytes = flight.sent.load(Ordering::Relaxed);
        let answers = metrics.exchanges.answers(endpoint, method, *status);
        answers.latency_us.observe(u64::try_from(self.ready_after.as_micros()).unwrap_or(u64::MAX));
        answers.size_bytes.observe(bytes);
        if let Some(variant) = variant {
            metrics.variants.count(variant, endpoint, *status, bytes);
        }
    }
}

impl Drop for Meter {
    /// Who did not come to the end of a response has panicked, or was stopped.
    fn drop(&mut self) {
        self.end(Some(if std::thread::panicking() { "panic" } else { "stopping" }));
    }
}
