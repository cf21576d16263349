//! `/health`: whether this server can read its archive.

use serde_json::json;

use super::handler::{App, Handler};
use super::path::PathNames;
use super::query::Query;
use super::reply::Reply;
use super::request::Request;
use crate::error::Result;

/// `/health`.
#[derive(Debug)]
pub(super) struct HealthRequest;

impl Handler for HealthRequest {
    fn decode(_: PathNames, _: Query) -> Result<Self> {
        Ok(Self)
    }

    /// 200 if the archive can be read, else 503, with details as JSON. A missing ffmpeg is reported but does not change
    /// the status: everything but exact cuts still works, so a load balancer should keep the server.
    fn handle(&self, app: &App, _: &Request, _: &dyn Fn() -> bool) -> Result<Reply> {
        let archive = app.archive.check();
        if let Err(error) = &archive {
            log::error!("the archive cannot be read: {error}");
        }
        let tools = app.tools.get();
        let body = json!({
            "status": if archive.is_ok() { "ok" } else { "unavailable" },
            "archive": archive.is_ok(),
            "ffmpeg": tools.ffmpeg_version().is_ok(),
            "ffmpeg_version": tools.ffmpeg_version().ok(),
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_seconds": app.started.elapsed().as_secs(),
        });
        let reply = Reply::bytes("application/json", format!("{body}\n").into_bytes());
        let status = if archive.is_ok() { 200 } else { 503 };
        Ok(reply.with_status(status).with("Cache-Control", "no-store"))
    }
}
