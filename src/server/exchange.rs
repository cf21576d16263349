//! A request and its answer, from when somebody begins to work on it until it is over, in whichever way.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use log::LevelFilter;

use crate::error::Error;
use crate::http::request::Request;
use crate::http::route::UNKNOWN_ENDPOINT;
use crate::logging::{self, Answered};
use crate::metrics::Metrics;
use crate::metrics::exchange::Meter;
use crate::metrics::live::Flight;

/// A request being answered, for the log: every answer is logged once, when it is over.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) meter: Meter,
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
        let asked = [request.method.as_str(), &request.target];
        Self { meter: Meter::begin(metrics, endpoint, request.client, asked, begun) }
    }

    /// The exchange of something that was no request.
    pub(super) fn of_none(client: SocketAddr, metrics: &Arc<Metrics>) -> Self {
        Self { meter: Meter::begin(metrics, UNKNOWN_ENDPOINT, client, ["-", "-"], Instant::now()) }
    }

    /// Counts and logs how the exchange ended; when that was.
    pub(super) fn finish(&mut self, aborted: Option<&Abort>) -> Instant {
        let ended = Instant::now();
        self.meter.end(aborted.map(Abort::name));
        let Flight { client, asked, begun, sent, .. } = &*self.meter.flight;
        if let Some(Abort::Body(error)) = aborted {
            let (_, target) = asked.split_once(' ').unwrap_or(("", asked));
            log::error!("aborted `{}`: {error}", target.escape_debug());
        }
        if log::max_level() < LevelFilter::Info {
            return ended;
        }
        let how;
        let aborted = match aborted {
            None => "",
            Some(Abort::Gone(error)) => {
                how = format!("gone cause=\"{error}\"");
                &how
            }
            Some(abort) => abort.name(),
        };
        logging::answered(&Answered {
            client,
            asked,
            status: self.meter.status(),
            bytes: sent.load(Ordering::Relaxed),
            begun: *begun,
            ended,
            aborted,
        });
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
