//! The body of a cut that is made while it is sent.

use std::cell::RefCell;
use std::io::{self, Write};
use std::sync::Arc;

use super::timer::CutTimer;
use crate::error::Result;
use crate::http::handler::App;
use crate::http::reply::{Body, Sink};
use crate::metrics::Metrics;

/// The body of a cut that `run` writes while it is sent.
pub(super) fn streamed(
    app: &App,
    label: &'static str,
    run: impl FnOnce(&mut dyn Write, &dyn Fn() -> bool) -> Result<()> + Send + 'static,
) -> Body {
    let metrics = Arc::clone(&app.metrics);
    Body::streamed(move |sink| {
        // Started here, because the body of a response to HEAD is dropped.
        let mut timer = CutTimer::start(&metrics, label, "panic");
        let sink = RefCell::new(sink);
        let mut out = FlushingSink { sink: &sink, metrics: &metrics };
        let result = run(&mut out, &|| sink.borrow().is_cancelled());
        timer.result = match &result {
            Ok(()) => "ok",
            Err(_) if sink.borrow().is_cancelled() => "cancelled",
            Err(_) => "failed",
        };
        result
    })
}

/// A sink that sends each write at once, so that the client gets the first frames early. It counts the bytes. The cell
/// lets the cut poll for cancellation between writes.
struct FlushingSink<'a, 'b> {
    sink: &'a RefCell<&'b mut dyn Sink>,
    metrics: &'a Metrics,
}

impl Write for FlushingSink<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut sink = self.sink.borrow_mut();
        sink.write_all(bytes)?;
        sink.flush()?;
        self.metrics.cut_wrote(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.borrow_mut().flush()
    }
}
