//! The server's metrics, in the form that Prometheus reads.
//!
//! A server has its own [`Metrics`]; the log and the child processes belong to the process and are counted in
//! [`process`]. The number of series is bounded: of the names that clients send, only those of variants that exist
//! become labels, and at most [`variants::MAX_LABEL_SETS`] of them.

mod in_flight;
mod pools;
pub mod process;
pub mod recorder;
mod registry;
pub mod requests;
pub mod variants;

pub use self::pools::{PoolMetrics, Pools};
pub use self::registry::{Connections, Metrics, UNKNOWN_ENDPOINT};

/// The `Content-Type` of [`Metrics::page`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;
