//! What is counted of every request, whatever becomes of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry, Result};

use super::histogram::family;
use super::live::{Coming, Flight, Flights};
use super::tallies::Answer;
use super::variants::Variant;
use super::{COUNTED, Metrics, register};

/// The methods that are told apart; all others are one.
const METHODS: [&str; 5] = ["GET", "HEAD", "OPTIONS", "POST", "other"];
/// What a request is counted as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) endpoint: Endpoint,
    /// The number of its method.
    pub(super) method: u8,
}

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

impl From<&str> for Endpoint {
    /// The endpoint of that name; [`Endpoint::Unknown`] if there is none.
    fn from(name: &str) -> Self {
        Self::ALL.into_iter().find(|endpoint| endpoint.name() == name).unwrap_or(Self::Unknown)
    }
}

impl Kind {
    fn method_name(self) -> &'static str {
        METHODS[usize::from(self.method)]
    }
}

/// What is counted of requests that is not counted with their answers.
#[derive(Debug)]
pub(crate) struct Exchanges {
    aborted: IntCounterVec,
}

impl Exchanges {
    pub(super) fn new(registry: &Registry) -> Result<Self> {
        let aborted = Opts::new("aborted_responses_total", "Responses that ended before their end.");
        Ok(Self { aborted: register(registry, IntCounterVec::new(aborted, &["endpoint", "reason"]))? })
    }
}

/// The requests that are under way, and the answers that were counted, as monitors read them.
pub(super) fn gather(flights: &Flights) -> Result<Vec<MetricFamily>> {
    let fresh = Registry::new();
    let concurrency = Opts::new("http_request_concurrency_all", "Requests that are being answered.");
    let concurrency = register(&fresh, IntGaugeVec::new(concurrency, &["endpoint", "method"]))?;
    for endpoint in Endpoint::ALL {
        for method in METHODS {
            concurrency.with_label_values(&[endpoint.name(), method]).set(0);
        }
    }
    for kind in flights.all().iter().map(|flight| flight.kind) {
        concurrency.with_label_values(&[kind.endpoint.name(), kind.method_name()]).inc();
    }
    let over = flights.over();
    let counted = || {
        over.all().map(|((kind, status), tally)| {
            let labels = [
                ("endpoint", kind.endpoint.name().to_owned()),
                ("method", kind.method_name().to_owned()),
                ("status", status.to_string()),
            ];
            (Vec::from(labels), tally)
        })
    };
    let help = "Seconds from a request's last byte until the response to it is ready.";
    let latencies = counted().map(|(labels, tally)| (labels, &tally.latency_us));
    let latencies = family(("http_request_latency_all", help, 1e6), latencies);
    let help = "Bytes of body sent of a response.";
    let sizes = counted().map(|(labels, tally)| (labels, &tally.size_bytes));
    let sizes = family(("http_response_size_all", help, 1.0), sizes);
    Ok(fresh.gather().into_iter().chain(latencies).chain(sizes).collect())
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
        endpoint: &'static str,
        client: SocketAddr,
        [method, target]: [&str; 2],
        begun: Instant,
    ) -> Self {
        let number = METHODS.iter().position(|known| *known == method).unwrap_or(METHODS.len() - 1);
        let kind = Kind { endpoint: endpoint.into(), method: number.to_le_bytes()[0] };
        Self {
            flight: metrics.flights.enter(Coming { kind, client, asked: [method, target], begun }),
            metrics: Arc::clone(metrics),
            variant: None,
            status: 0,
            ready_after: Duration::ZERO,
            ended: false,
        }
    }

    /// Says which variant the request is about, if it is about one.
    pub fn set_variant(&mut self, variant: Option<Arc<Variant>>) {
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
        let (endpoint, status) = (flight.kind.endpoint, *status);
        if let Some(reason) = aborted {
            metrics.exchanges.aborted.with_label_values(&[endpoint.name(), reason]).inc();
        }
        let size_bytes = flight.sent.load(Ordering::Relaxed);
        let latency_us = u64::try_from(self.ready_after.as_micros()).unwrap_or(u64::MAX);
        let answer = (status != 0).then_some(Answer { status, latency_us, size_bytes });
        metrics.flights.leave(flight, answer);
        if let (Some(variant), Some(_)) = (variant, answer) {
            metrics.variants.count(variant, endpoint, status, size_bytes);
        }
    }
}

impl Drop for Meter {
    /// Who did not come to the end of a response has panicked, or was stopped.
    fn drop(&mut self) {
        self.end(Some(if std::thread::panicking() { "panic" } else { "stopping" }));
    }
}
