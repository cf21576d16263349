//! The context of a request while it is answered, and the access-log record that ends it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::error::Error;
use crate::http::request::Request;
use crate::metrics::requests::{InFlightRequest, RequestMetrics};
use crate::metrics::{Metrics, UNKNOWN_ENDPOINT};

/// A request that is being answered. Each is counted and logged once, when it is over.
#[derive(Debug)]
pub(super) struct RequestContext {
    pub(super) metrics: RequestMetrics,
}

/// Why a response ends before its last byte.
#[derive(Debug)]
pub(super) enum Abort {
    /// The client closed the connection, or the network failed.
    ClientClosed(io::Error),
    /// The client accepted no byte for longer than the write timeout.
    WriteTimeout,
    /// The client read a streamed body too slowly.
    LowRate,
    /// There were too many connections, and this one was without progress for longest.
    Evicted,
    /// Slow clients held too much memory, and this one was without progress for longest.
    MemoryLimit,
    /// The server stops and the grace period is over.
    Shutdown,
    Body(Error),
}

impl RequestContext {
    /// The context of a request whose head was complete at `begun`.
    pub(super) fn begin(
        metrics: &Arc<Metrics>,
        endpoint: &'static str,
        request: &Request,
        begun: Instant,
    ) -> Self {
        let (client, method) = (request.client, request.method.as_str());
        Self { metrics: RequestMetrics::begin(metrics, endpoint, client, method, &request.target, begun) }
    }

    /// The context of bytes that are not a valid request.
    pub(super) fn invalid(metrics: &Arc<Metrics>, client: SocketAddr) -> Self {
        let metrics = RequestMetrics::begin(metrics, UNKNOWN_ENDPOINT, client, "-", "-", Instant::now());
        Self { metrics }
    }

    /// Counts and logs how the request ended.
    pub(super) fn finish(&mut self, abort: Option<&Abort>) {
        self.metrics.end(abort.map(Abort::reason));
        let InFlightRequest { client, method, target, begun, sent, .. } = &**self.metrics.request();
        let target = target.escape_debug();
        if let Some(Abort::Body(error)) = abort {
            log::error!("aborted the response to `{target}`: {error}");
        }
        let (status, bytes) = (self.metrics.status(), sent.load(Ordering::Relaxed));
        let ms = begun.elapsed().as_secs_f64() * 1000.0;
        let record = format_args!(
            "client={client} method={method} target=\"{target}\" status={status} bytes={bytes} ms={ms:.1}"
        );
        match abort {
            None => log::info!("{record} aborted=no"),
            Some(Abort::ClientClosed(cause)) => {
                log::info!("{record} aborted=client_closed cause=\"{cause}\"");
            }
            Some(abort) => log::info!("{record} aborted={}", abort.reason()),
        }
    }
}

impl Abort {
    /// The reason as the access log and the metrics name it.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::ClientClosed(_) => "client_closed",
            Self::WriteTimeout => "write_timeout",
            Self::LowRate => "low_rate",
            Self::Evicted => "evicted",
            Self::MemoryLimit => "memory_limit",
            Self::Shutdown => "shutdown",
            Self::Body(_) => "body_error",
        }
    }
}
