//! `/metrics` of a recorder: a service of one route.

use std::sync::Arc;

use tiny_http::Method;

use super::handler::Pool;
use super::reply::Reply;
use super::request::Request;
use super::service::{Routed, Service};
use crate::metrics::CONTENT_TYPE;
use crate::metrics::recorder::RecorderMetrics;

/// Serves the metrics of a recorder.
#[derive(Debug)]
pub struct RecorderPage(pub Arc<RecorderMetrics>);

impl Service for RecorderPage {
    fn route(&self, _: &Request) -> Routed {
        Pool::Quick.into()
    }

    fn call(&self, request: &Request, _: Routed, _: &dyn Fn() -> bool) -> Reply {
        if request.path() != "/metrics" {
            return Reply::refusal(404, "a recorder has no other page than /metrics");
        }
        if !matches!(request.method, Method::Get | Method::Head) {
            return Reply::refusal(405, "/metrics can only be read").with("Allow", "GET, HEAD");
        }
        match self.0.page() {
            Ok(page) => Reply::bytes(CONTENT_TYPE, page).with("Cache-Control", "no-store"),
            Err(error) => {
                log::error!("cannot write the metrics: {error}");
                Reply::refusal(500, "the metrics cannot be written")
            }
        }
    }
}
