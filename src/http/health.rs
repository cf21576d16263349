//! `/health`: whether this server can do its work.

use serde_json::json;

use super::app::App;
use super::reply::Reply;

/// 200 where the archive can be read, else 503, with the particulars as JSON. Without ffmpeg all but cuts still works,
/// so its absence is told but is no reason to take the server out of service.
pub(super) fn health(app: &App) -> Reply {
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
    Reply::bytes("application/json", format!("{body}\n").into_bytes())
        .with_status(if archive.is_ok() { 200 } else { 503 })
        .with("Cache-Control", "no-store")
}
