//! A request and its answer, from when somebody begins to work on it until it is over, in whichever way.

use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::error::Error;
use crate::http::request::Request;
use crate::metrics::Metrics;
use crate::metrics::UNKNOWN_ENDPOINT;
use crate::metrics::requests::{InFlightRequest, RequestMetrics};

/// A request being answered, for the log: every answer is logged once, when it is over.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) meter: RequestMetrics,
}

/// Why a response ends before its end.
#[derive(Debug)]
pub(super) enum Abort {
    /// The client went away.
    Gone(io::Error),
    /// The client took nothing for too long.
    Stalled,
    /// The client took too little for too long.
    TooSlow,
    /// The client left too much lying here for too long while others wanted room.
    Crowded,
    /// The server stops and cannot wait.
    Stopping,
    /// The body could not be had.
    Body(Error),
}

impl Exchange {
    /// The exchange of a request whose head was read.
    pub(super) fn of(
        request: &Request,
        begun: Instant,
        metrics: &Arc<Metrics>,
        endpoint: &'static str,
    ) -> Self {
        let (method, target) = (request.method.as_str(), &request.target);
        Self { meter: RequestMetrics::begin(metrics, endpoint, request.client, method, target, begun) }
    }

    /// The exchange of something that was no request.
    pub(super) fn of_none(client: SocketAddr, metrics: &Arc<Metrics>) -> Self {
        Self { meter: RequestMetrics::begin(metrics, UNKNOWN_ENDPOINT, client, "-", "-", Instant::now()) }
    }

    /// Counts and logs how the exchange ended; when that was.
    pub(super) fn finish(&mut self, aborted: Option<&Abort>) -> Instant {
        let ended = Instant::now();
        self.meter.end(aborted.map(Abort::name));
        let InFlightRequest { client, method, target, begun, sent, .. } = &**self.meter.request();
        let target = target.escape_debug();
        if let Some(Abort::Body(error)) = aborted {
            log::error!("aborted `{target}`: {error}");
        }
        let aborted = match aborted {
            None => Cow::Borrowed("no"),
            Some(abort @ Abort::Gone(error)) => Cow::Owned(format!("{} cause=\"{error}\"", abort.name())),
            Some(abort) => Cow::Borrowed(abort.name()),
        };
        log::info!(
            "client={client} method={method} target=\"{target}\" status={} bytes={} ms={:.1} aborted={aborted}",
            self.meter.status(),
            sent.load(Ordering::Relaxed),
            ended.saturating_duration_since(*begun).as_secs_f64() * 1e3,
        );
        ended
    }
}

impl Abort {
    /// The reason in one word, for the log and for whoever counts.
    fn name(&self) -> &'static str {
        match self {
            Self::Gone(_) => "gone",
            Self::Stalled => "stalled",
            Self::TooSlow => "slow",
            Self::Crowded => "crowded",
            Self::Stopping => "stopping",
            Self::Body(_) => "body",
        }
    }
}
