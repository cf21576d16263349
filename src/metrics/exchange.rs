//! What is counted of every request, whatever becomes of it.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, Result,
};

use super::live::Flight;
use super::variants::Variant;
use super::{COUNTED, Metrics, register};

/// The upper bounds of latencies, in seconds.
const LATENCY_BUCKETS: [f64; 14] =
    [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];
/// How many upper bounds sizes have: the powers of 4 from 1 on.
const SIZE_BUCKETS: i32 = 16;
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
    latency: HistogramVec,
    size: HistogramVec,
    aborted: IntCounterVec,
    /// By endpoint, then by method.
    slots: Vec<[Slot; METHODS.len()]>,
}

/// What is kept at hand of one endpoint and method.
#[derive(Debug)]
struct Slot {
    concurrency: IntGauge,
    answers: [OnceLock<(Histogram, Histogram)>; STATUSES.len() + 1],
}

impl Exchanges {
    pub(super) fn new(registry: &Registry) -> Result<Self> {
        let labels = ["endpoint", "method", "status"];
        let latency = HistogramOpts::new(
            "http_request_latency_all",
            "Seconds from a request's last byte until the response to it is ready.",
        );
        let size = HistogramOpts::new("http_response_size_all", "Bytes of body sent of a response.");
        let concurrency = Opts::new("http_request_concurrency_all", "Requests that are being answered.");
        let concurrency = register(registry, IntGaugeVec::new(concurrency, &labels[..2]))?;
        let aborted = Opts::new("aborted_responses_total", "Responses that ended before their end.");
        let sizes = (0..SIZE_BUCKETS).map(|power| 4_f64.powi(power)).collect();
        let slots = Endpoint::ALL.map(|endpoint| {
            METHODS.map(|method| Slot {
                concurrency: concurrency.with_label_values(&[endpoint.name(), method]),
                answers: [const { OnceLock::new() }; STATUSES.len() + 1],
            })
        });
        Ok(Self {
            latency: register(
                registry,
                HistogramVec::new(latency.buckets(LATENCY_BUCKETS.to_vec()), &labels),
            )?,
            size: register(registry, HistogramVec::new(size.buckets(sizes), &labels))?,
            aborted: register(registry, IntCounterVec::new(aborted, &["endpoint", "reason"]))?,
            slots: slots.into(),
        })
    }

    /// The histograms of latency and size of one kind of answer.
    fn answers(&self, endpoint: Endpoint, method: usize, status: u16) -> &(Histogram, Histogram) {
        let index = STATUSES.binary_search(&status).unwrap_or(STATUSES.len());
        self.slots[endpoint as usize][method].answers[index].get_or_init(|| {
            let status = STATUSES.get(index).map_or_else(|| "other".to_owned(), u16::to_string);
            let labels = [endpoint.name(), METHODS[method], &status];
            (self.latency.with_label_values(&labels), self.size.with_label_values(&labels))
        })
    }
}

/// What a request is counted by from when somebody begins to answer it until that is over, in whichever way.
#[derive(Debug)]
pub struct Meter {
    metrics: Arc<Metrics>,
    endpoint: Endpoint,
    method: usize,
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
        if COUNTED {
            metrics.exchanges.slots[endpoint as usize][method].concurrency.inc();
        }
        Self {
            flight: metrics.flights.enter(client, asked, begun),
            metrics: Arc::clone(metrics),
            endpoint,
            method,
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
        let Self { metrics, endpoint, method, variant, flight, status, .. } = self;
        if let Some(reason) = aborted {
            metrics.exchanges.aborted.with_label_values(&[endpoint.name(), reason]).inc();
        }
        metrics.exchanges.slots[*endpoint as usize][*method].concurrency.dec();
        metrics.flights.leave(flight);
        if *status == 0 {
            return;
        }
        let bytes = flight.sent.load(Ordering::Relaxed);
        let (latency, size) = metrics.exchanges.answers(*endpoint, *method, *status);
        latency.observe(self.ready_after.as_secs_f64());
        #[allow(clippy::cast_precision_loss, reason = "a size is counted in powers of four")]
        size.observe(bytes as f64);
        if let Some(variant) = variant {
            metrics.variants.count(variant, *endpoint, *status, bytes);
        }
    }
}

impl Drop for Meter {
    /// Who did not come to the end of a response has panicked, or was stopped.
    fn drop(&mut self) {
        self.end(Some(if std::thread::panicking() { "panic" } else { "stopping" }));
    }
}
