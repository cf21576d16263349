//! A request. The transport discards bodies, but for routes that take one.

use std::net::SocketAddr;
use std::sync::Arc;

use tiny_http::{HTTPVersion, Header, Method};

/// A request.
#[derive(Debug, Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The path and query, percent-encoded as received; `*` in an `OPTIONS` request for the whole server.
    pub target: String,
    /// The HTTP version, 1.0 or 1.1.
    pub version: HTTPVersion,
    /// The headers whose values are visible ASCII.
    pub headers: Vec<Header>,
    /// The body, if the route takes one with this method; else empty.
    pub body: Arc<Vec<u8>>,
    /// The address of the client.
    pub client: SocketAddr,
}

impl Request {
    /// The path, percent-encoded.
    pub fn path(&self) -> &str {
        self.target.split_once('?').map_or(self.target.as_str(), |(path, _)| path)
    }

    /// The query without its question mark, percent-encoded; empty if there is none.
    pub fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// The value of the first header of that name.
    pub fn header(&self, name: &'static str) -> Option<&str> {
        self.header_values(name).next()
    }

    /// The values of all headers of that name.
    pub fn header_values(&self, name: &'static str) -> impl Iterator<Item = &str> {
        self.headers.iter().filter(move |header| header.field.equiv(name)).map(|header| header.value.as_str())
    }
}
